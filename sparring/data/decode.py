"""Decode image files into one uint8 array, in several threads, and cache it on disk.

A cache entry is `images/<source>/<files>/` with `images.npy` and `report.json`. <source> is a hash of path, size and
channels; <files> changes with the name, size or mtime of any image, or of the archive. Labels and held-out images are
no part of it. An entry is written to a temporary folder and renamed, so it is never partial; after a kill, decoding
resumes from the temporary folder. `index/<source>.npz` is the file index of an archive, so that an unchanged one is not
listed again.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from hashlib import blake2b, sha256
from io import BufferedRandom
from itertools import islice
from pathlib import Path
from threading import Event, Lock
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np
from rich.console import Console
from rich.progress import Progress

from sparring.data.file_index import FileIndex, archive_state, read_index, write_index
from sparring.data.labels import natural_key
from sparring.data.pixels import (
    MAX_SIZE,
    BadImage,
    Half,
    Header,
    Scale,
    decode_image,
    has_color,
    inspect,
    open_image,
    read_header,
    scale_of,
    value_range,
)
from sparring.data.scan import scan
from sparring.errors import SparringError, StorageError, printable

MAX_BAD_FRACTION = 0.01  # above this share of bad files, loading fails
FALLBACK_SIZE = 64  # side for images of different sizes
GROUP, WINDOW = 16, 16  # files per task, and tasks in flight
SAVE_EVERY = 5.0  # seconds between two saves of the progress
CACHE_VERSION = 4  # raise when the same files would give a different entry, so that old ones are ignored

T = TypeVar("T")


@dataclass(frozen=True)
class DecodeReport:
    """Summary of decoding.

    files        number of files
    bad          {number of a file in the index: reason}
    conversions  {kind: count}
    notes        sentences about sizes and scales
    sha256       of the pixels of all good images, computed while decoding
    """

    files: int
    bad: dict[int, str]
    conversions: dict[str, int]
    notes: list[str]
    sha256: str


def cached_scan(source: Path, *, labels_from: str | None, cache: Path) -> FileIndex:
    """`scan`, with the index of an unchanged archive from the cache. Raises `StorageError` if the disk is full."""
    if source.is_dir():
        return scan(source, labels_from=labels_from)
    table = "" if labels_from in (None, "folders", "none") else archive_state(Path(labels_from))
    file = cache / "index" / f"{_digest(str(source.resolve()), labels_from)}.npz"
    state = _digest(CACHE_VERSION, archive_state(source), table)
    try:
        with open(file, "rb") as stored:
            return read_index(stored, source, state)
    except (OSError, ValueError, TypeError, LookupError, EOFError, BadZipFile):  # missing, damaged or outdated
        index = scan(source, labels_from=labels_from)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f".{file.stem}-{os.getpid()}")
        with open(new, "wb") as stored:
            write_index(stored, index, state)
        os.replace(new, file)
    except OSError as error:
        raise _storage_error(cache, error) from error
    return index


def decode(
    index: FileIndex, *, size: int | None, channels: int | None, cache: Path, half: Half | None = None
) -> tuple[np.ndarray, np.ndarray, DecodeReport]:
    """Decode the images of an index, or one half of each, or read them from the cache.

    Returns (M, C, S, S) uint8 images, memory-mapped copy-on-write; their (M,) numbers in the index; and a report.
    Raises `SparringError` if more than 1 % are bad, and `StorageError` if the disk is full.
    """
    source = cache / "images" / _digest(str(index.source.resolve()), size, channels, *([half] if half else []))
    entry = source / _digest(CACHE_VERSION, index.digest)
    try:
        return _read(entry, index.state)
    except (OSError, ValueError, TypeError, LookupError, AttributeError, EOFError):  # missing or damaged: decode again
        shutil.rmtree(entry, ignore_errors=True)
    try:
        source.mkdir(parents=True, exist_ok=True)
        with _work_folder(source / f".{entry.name}") as folder:
            _write(folder, index, size, channels, half)
            (folder / "state").write_text(index.state)
            os.replace(folder, entry)
        for name in ("lock", "progress.json"):
            (entry / name).unlink(missing_ok=True)
    except OSError as error:
        if not entry.is_dir():  # otherwise another process has written the same entry
            raise _storage_error(cache, error) from error
    _prune(source, index.state)
    return _read(entry, index.state)


def _storage_error(cache: Path, error: OSError) -> StorageError:
    what = f"cannot write the decoded images into the cache folder '{cache}'"
    return StorageError(f"{what}: {error.strerror}; free some space or set SPARRING_CACHE")


@contextmanager
def _work_folder(folder: Path) -> Iterator[Path]:
    """A locked temporary folder, with the progress that a killed process left in it.

    If another process holds the lock, a new empty folder. Removed after an error.
    """
    folder.mkdir(exist_ok=True)
    with open(folder / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            folder = Path(tempfile.mkdtemp(prefix=".temporary-", dir=folder.parent))
        try:
            yield folder
        except Exception:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def in_parallel(
    work: Callable[[int], T], images: Sequence[int], title: str, *, first: int = 0
) -> Iterator[tuple[int, T | BadImage]]:
    """Yield (image, result or BadImage) in the order of `images`, numbers in an index, from position `first` on.

    Shows a progress bar on a terminal.
    """
    console = Console(stderr=True)

    def attempt(group: Sequence[int]) -> list[tuple[int, T | BadImage]]:
        results: list[tuple[int, T | BadImage]] = []
        for image in group:
            try:
                results.append((image, work(image)))
            except BadImage as bad:
                results.append((image, bad))
        return results

    with (
        warnings.catch_warnings(),
        Progress(console=console, transient=True, disable=len(images) < 500 or not console.is_terminal) as bar,
        ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool,
    ):
        warnings.simplefilter("ignore")  # Pillow warns about broken metadata, and about sizes that open_image refuses
        task = bar.add_task(title, total=len(images), completed=first)
        groups = (images[start : start + GROUP] for start in range(first, len(images), GROUP))
        while window := list(islice(groups, WINDOW)):  # bounded, for low memory use and a prompt stop
            for results in pool.map(attempt, window):
                yield from results
                bar.advance(task, len(results))


def format_bad_files(bad: Mapping[str, str]) -> str:
    """The first ten of {name: reason}, on one line."""
    first = ", ".join(f"{printable(name)} ({bad[name]})" for name in sorted(bad, key=natural_key)[:10])
    return f"{first} and {len(bad) - 10} more" if len(bad) > 10 else first


def natural_size(index: FileIndex, *, halves: bool = False) -> int | None:
    """The common side if all images, or their halves, are square and of one size, else None; bad files are ignored."""
    common: int | None = None
    with index.opener() as open_file:
        for _, header in in_parallel(lambda image: read_header(open_file(image)), range(len(index)), "reading sizes"):
            if isinstance(header, BadImage):
                continue
            width = header.width / 2 if halves else header.width
            if width != header.height or common not in (None, header.height):
                return None
            common = header.height
    return common


def natural_channels(index: FileIndex) -> int:
    """3 if any image has color, else 1. An image is gray by its mode or if all its pixels are gray."""
    color_found = Event()

    def check_color(image: int) -> bool:
        if not color_found.is_set():
            with open_image(open_file(image)) as opened:
                if has_color(opened):
                    color_found.set()
        return color_found.is_set()

    with index.opener() as open_file:
        colored = in_parallel(check_color, range(len(index)), "checking for color")
        return 3 if any(result is True for _, result in colored) else 1


class SetScale:
    """The common scale of all images of an index with more than 8 bits per pixel, computed on the first call."""

    def __init__(self, index: FileIndex) -> None:
        """Read nothing yet."""
        self._index, self._lock = index, Lock()
        self._scale: Scale | None = None

    def __call__(self) -> Scale:
        """The scale, by kind of image. The first call reads all images; threads may share the object."""
        with self._lock:
            if self._scale is None:
                with self._index.opener() as open_file:

                    def read_range(image: int) -> tuple[str, float, float] | None:
                        with open_image(open_file(image)) as opened:
                            return value_range(opened)

                    results = in_parallel(read_range, range(len(self._index)), "reading ranges")
                    self._scale = scale_of(result for _, result in results if isinstance(result, tuple))
            return self._scale

    def notes(self) -> list[str]:
        """Sentences about the scale; empty if 16-bit images use the full range."""
        return [
            f"gray values of {kind} images from {low:g} to {high:g} become 0 to 255, by one scale for all"
            for kind, (low, high) in self().items()
            if (kind, high) != ("16-bit", 65535)
        ]


def _write(folder: Path, index: FileIndex, size: int | None, channels: int | None, half: Half | None) -> None:
    """Decode all images into `folder`, from where a killed process stopped."""
    done = _load_progress(folder)
    if done is None:
        done = _Progress(*_shape(index, size, channels, halves=half is not None))
        with open(folder / "images.npy", "wb") as new:
            np.lib.format.write_array_header_1_0(new, done.header(len(index)))
            done.start = new.tell()
    set_scale = SetScale(index)
    with open(folder / "images.npy", "r+b") as file:
        sha256 = _decode_into(file, done, index, set_scale, partial(_save_progress, folder, file, done), half)
        file.seek(0)  # numpy pads the header, so the number of images can be rewritten in place
        np.lib.format.write_array_header_1_0(file, done.header(done.good))
        file.flush()
        os.fsync(file.fileno())
    if len(done.bad) > MAX_BAD_FRACTION * len(index):
        raise SparringError(
            f"{len(done.bad)} of {len(index)} images in '{printable(str(index.source))}' cannot be used, more than "
            f"{MAX_BAD_FRACTION:.0%}: {format_bad_files(index.by_name(done.bad))}; repair or remove them"
        )
    if any("scaled to 8 bits" in kind for kind in done.conversions):
        done.notes += set_scale.notes()
    report = DecodeReport(len(index), done.bad, done.conversions, done.notes, sha256)
    (folder / "report.json").write_text(json.dumps(asdict(report), indent=1))


def _decode_into(
    file: BufferedRandom,
    done: _Progress,
    index: FileIndex,
    set_scale: SetScale,
    save: Callable[[], None],
    half: Half | None,
) -> str:
    """Append the pixels of the remaining images to the file. Returns the SHA-256 of all pixels in it."""

    def read(image: int) -> tuple[Header, np.ndarray]:
        with open_image(open_file(image)) as opened:
            header = inspect(opened)
            scale = set_scale() if header.values else None
            return header, decode_image(opened, size=done.size, channels=done.channels, scale=scale, half=half)

    file.truncate(done.start + done.good * done.channels * done.size * done.size)
    file.seek(done.start)
    digest = sha256()
    while before := file.read(1 << 20):  # decoded before a kill
        digest.update(before)
    saved = time.monotonic()
    with index.opener() as open_file:
        for image, result in in_parallel(read, range(len(index)), "decoding images", first=done.read):
            done.read += 1
            if isinstance(result, BadImage):
                done.bad[image] = str(result)
            else:
                done.add(result[0])
                pixels = result[1].tobytes()
                digest.update(pixels)
                file.write(pixels)
            if time.monotonic() - saved > SAVE_EVERY:
                save()
                saved = time.monotonic()
    return digest.hexdigest()


@dataclass
class _Progress:
    """Progress of decoding: files read, good images, and the reasons of bad ones.

    start  length of the array's header in bytes
    """

    size: int
    channels: int
    notes: list[str]
    start: int = 0
    read: int = 0
    good: int = 0
    bad: dict[int, str] = field(default_factory=dict)
    conversions: dict[str, int] = field(default_factory=dict)

    def add(self, header: Header) -> None:
        """Count a good image and its conversions."""
        self.good += 1
        is_small = 2 * min(header.width, header.height) < self.size
        for kind in (*header.conversions, *("upscaled by more than a factor of 2",) * is_small):
            self.conversions[kind] = self.conversions.get(kind, 0) + 1

    def header(self, images: int) -> dict[str, Any]:
        return {"descr": "|u1", "fortran_order": False, "shape": (images, self.channels, self.size, self.size)}


def _load_progress(folder: Path) -> _Progress | None:
    try:
        return _Progress(**_with_numbers(json.loads((folder / "progress.json").read_text())))
    except (OSError, ValueError, TypeError):
        return None


def _save_progress(folder: Path, file: BufferedRandom, done: _Progress) -> None:
    """Sync the pixels before the progress that counts them."""
    file.flush()
    os.fsync(file.fileno())
    temporary = folder / "progress.json.new"
    temporary.write_text(json.dumps(asdict(done)))
    os.replace(temporary, folder / "progress.json")


def _with_numbers(values: dict[str, Any]) -> dict[str, Any]:
    """`bad` with integer keys, which JSON does not have."""
    return {**values, "bad": {int(image): reason for image, reason in values["bad"].items()}}


def _shape(index: FileIndex, size: int | None, channels: int | None, *, halves: bool) -> tuple[int, int, list[str]]:
    """Side and channels of the decoded images or halves, and a note if the fallback size is used."""
    notes = []
    size = natural_size(index, halves=halves) if size is None else size
    if size is None or size > MAX_SIZE:
        size = FALLBACK_SIZE
        notes.append(f"the images have no common size up to {MAX_SIZE} pixels: resized and cropped to {size} x {size}")
    return size, natural_channels(index) if channels is None else channels, notes


def _read(entry: Path, state: str) -> tuple[np.ndarray, np.ndarray, DecodeReport]:
    report = DecodeReport(**_with_numbers(json.loads((entry / "report.json").read_text())))
    images = np.load(entry / "images.npy", mmap_mode="c", allow_pickle=False)
    good = np.delete(np.arange(report.files), [*report.bad])
    if len(images) != len(good):
        raise ValueError("images and report differ")
    with suppress(OSError):  # the cache may be read-only
        if _state(entry) != state:
            (entry / "state").write_text(state)  # still valid, although other images of the source have changed
    return images, good, report


def _state(entry: Path) -> str:
    """The state of the source when the entry was last used."""
    return (entry / "state").read_text() if (entry / "state").exists() else ""


def _prune(source: Path, state: str) -> None:
    """Remove entries of earlier states of the source, and temporary folders older than a day."""
    for entry in source.iterdir():
        with suppress(OSError):  # another process may have removed or renamed it
            is_old = time.time() - entry.stat().st_mtime > 86_400
            if is_old if entry.name.startswith(".") else _state(entry) != state:
                shutil.rmtree(entry, ignore_errors=True)


def _digest(*parts: object) -> str:
    return blake2b(repr(parts).encode(errors="surrogatepass"), digest_size=10).hexdigest()
