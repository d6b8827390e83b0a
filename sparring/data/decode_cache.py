"""Decode image files into one uint8 array, in several threads, and cache it on disk.

A cache entry is `images/<source>/<state>/` with `images.npy`, optionally `labels.npy`, and `report.json`. <source> is a
hash of path, size and channels; <state> changes with the name, size or mtime of any file, or of the archive (an
unchanged archive is not listed again). An entry is written to a temporary folder and renamed, so it is never partial;
after a kill, decoding resumes from the temporary folder.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from hashlib import blake2b, sha256
from io import BufferedRandom
from itertools import islice
from pathlib import Path
from threading import Event, Lock
from typing import Any, TypeVar

import numpy as np
from rich.console import Console
from rich.progress import Progress

from sparring.data.file_index import natural_key
from sparring.data.listing import Listing, list_images
from sparring.data.pixels import (
    MAX_SIZE,
    BadImage,
    Header,
    Scale,
    decode,
    has_color,
    inspect,
    open_image,
    read_header,
    scale_of,
    value_range,
)
from sparring.errors import SparringError, StorageError, shown

MAX_BAD_FRACTION = 0.01  # above this share of bad files, loading fails
FALLBACK_SIZE = 64  # side for images of different sizes
GROUP, WINDOW = 16, 16  # files per task, and tasks in flight
SAVE_EVERY = 5.0  # seconds between two saves of the progress
CACHE_VERSION = 4  # raise when the same files would give a different entry, so that old ones are ignored

T = TypeVar("T")


@dataclass(frozen=True)
class DecodeReport:
    """Summary of decoding.

    files, last   number of files, and of held-out images, which are the last ones
    classes       class names; labels are indices into them
    bad           {name: reason}; conversions: {kind: count}
    passed, notes sentences about skipped files, and about everything else
    test          the folder of the source's own test set, or None
    pixels        SHA-256 of the good images, computed while decoding
    """

    files: int
    last: int
    classes: list[str]
    bad: dict[str, str]
    conversions: dict[str, int]
    passed: list[str]
    notes: list[str]
    test: str | None
    pixels: str


def decode_files(
    path: Path,
    *,
    size: int | None,
    channels: int | None,
    held_out: float,
    cache: Path,
    labels_from: str | None = None,
    part: str | None = None,
) -> tuple[np.ndarray, np.ndarray | None, DecodeReport]:
    """Decode the images of a folder or archive, or read them from the cache.

    Returns (M, C, S, S) uint8 images, memory-mapped copy-on-write with the held-out ones last; (M,) labels or None; and
    a report. Raises `SparringError` if there are no images or more than 1 % are bad, and `StorageError` if the disk
    is full.
    """
    source = cache / "images" / _digest(str(path.resolve()), size, channels, labels_from, part)
    scan = partial(list_images, path, labels_from=labels_from, part=part)
    listing = scan() if path.is_dir() else None
    if listing:
        state: tuple[object, ...] = (listing.files.digest(), listing.classes)
    else:
        files = [path] if labels_from in (None, "folders", "none") else [path, Path(labels_from)]
        state = tuple((status.st_size, status.st_mtime_ns) for status in map(os.stat, files))
    entry = source / _digest(CACHE_VERSION, *state, held_out)
    try:
        pixels, labels, report = _read(entry)
        return pixels, labels, replace(report, passed=list(listing.notes)) if listing else report
    except (OSError, ValueError, TypeError, EOFError):  # missing or damaged: decode again
        shutil.rmtree(entry, ignore_errors=True)

    listing, n_train = (listing or scan()).with_held_out_last(held_out)
    try:
        source.mkdir(parents=True, exist_ok=True)
        with _work_folder(source / f".{entry.name}") as folder:
            _write(folder, listing, n_train, size, channels)
            os.replace(folder, entry)
        for name in ("lock", "progress.json"):
            (entry / name).unlink(missing_ok=True)
    except OSError as error:
        if not entry.is_dir():  # otherwise another process has written the same entry
            raise StorageError(
                f"cannot write the decoded images into the cache folder '{cache}': {error.strerror}; "
                "free some space or set SPARRING_CACHE"
            ) from error
    _prune(source, entry)
    return _read(entry)


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
    work: Callable[[str], T], names: Sequence[str], title: str, *, first: int = 0
) -> Iterator[tuple[str, T | BadImage]]:
    """Yield (name, result or BadImage) in the order of `names`, starting at index `first`.

    Shows a progress bar on a terminal.
    """
    console = Console(stderr=True)
    quick = len(names) < 500 or not console.is_terminal

    def attempt(group: list[str]) -> list[tuple[str, T | BadImage]]:
        results: list[tuple[str, T | BadImage]] = []
        for name in group:
            try:
                results.append((name, work(name)))
            except BadImage as bad:
                results.append((name, bad))
        return results

    with (
        warnings.catch_warnings(),
        Progress(console=console, transient=True, disable=quick) as bar,
        ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool,
    ):
        warnings.simplefilter("ignore")  # Pillow warns about broken metadata, and about sizes that open_image refuses
        task = bar.add_task(title, total=len(names), completed=first)
        groups = (list(names[start : start + GROUP]) for start in range(first, len(names), GROUP))
        while window := list(islice(groups, WINDOW)):  # bounded, for low memory use and a prompt stop
            for results in pool.map(attempt, window):
                yield from results
                bar.advance(task, len(results))


def refuse_if_too_many(bad: dict[str, str], files: int, source: Path) -> None:
    """Raise `SparringError` that lists the first ten bad files if more than 1 % are bad."""
    if len(bad) > MAX_BAD_FRACTION * files:
        raise SparringError(
            f"{len(bad)} of {files} images in '{shown(str(source))}' cannot be used, more than {MAX_BAD_FRACTION:.0%}: "
            f"{format_bad_files(bad)}; repair or remove them"
        )


def format_bad_files(bad: dict[str, str]) -> str:
    """The first ten bad files with their reasons, on one line."""
    first = ", ".join(
        f"{shown(name)} ({reason})" for name, reason in sorted(bad.items(), key=lambda item: natural_key(item[0]))[:10]
    )
    return f"{first} and {len(bad) - 10} more" if len(bad) > 10 else first


def natural_size(listing: Listing) -> int | None:
    """The common side if all images are square and of one size, else None; bad files are ignored."""
    common: int | None = None
    with listing.opener() as open_name:
        for _, header in in_parallel(lambda name: read_header(open_name(name)), listing.names, "reading sizes"):
            if isinstance(header, BadImage):
                continue
            if header.width != header.height or common not in (None, header.width):
                return None
            common = header.width
    return common


def natural_channels(listing: Listing) -> int:
    """3 if any image has color, else 1. An image is gray by its mode or if all its pixels are gray."""
    color_found = Event()

    def check_color(name: str) -> bool:
        if not color_found.is_set():
            with open_image(open_name(name)) as image:
                if has_color(image):
                    color_found.set()
        return color_found.is_set()

    with listing.opener() as open_name:
        colored = in_parallel(check_color, listing.names, "checking for color")
        return 3 if any(result is True for _, result in colored) else 1


def enlargement_notes(header: Header, size: int) -> tuple[str, ...]:
    """A note if an image is less than half of `size`."""
    return ("upscaled by more than a factor of 2",) if 2 * min(header.width, header.height) < size else ()


class SetScale:
    """The common scale of all images of a listing with more than 8 bits per pixel, computed on the first call."""

    def __init__(self, listing: Listing) -> None:
        self._listing, self._lock = listing, Lock()
        self._scale: Scale | None = None

    def __call__(self) -> Scale:
        with self._lock:
            if self._scale is None:
                with self._listing.opener() as open_name:

                    def read_range(name: str) -> tuple[str, float, float] | None:
                        with open_image(open_name(name)) as image:
                            return value_range(image)

                    results = in_parallel(read_range, self._listing.names, "reading ranges")
                    self._scale = scale_of(result for _, result in results if isinstance(result, tuple))
            return self._scale

    def notes(self) -> list[str]:
        """Sentences about the scale; empty if 16-bit images use the full range."""
        return [
            f"gray values of {kind} images from {low:g} to {high:g} become 0 to 255, by one scale for all"
            for kind, (low, high) in self().items()
            if (kind, high) != ("16-bit", 65535)
        ]


def _write(folder: Path, listing: Listing, n_train: int, size: int | None, channels: int | None) -> None:
    done = _load_progress(folder)
    if done is None:
        done = _Progress(*_shape(listing, size, channels))
        with open(folder / "images.npy", "wb") as new:
            np.lib.format.write_array_header_1_0(new, done.header(len(listing.names)))
            done.start = new.tell()

    set_scale = SetScale(listing)
    with listing.opener() as open_name, open(folder / "images.npy", "r+b") as file:

        def read(name: str) -> tuple[Header, np.ndarray]:
            with open_image(open_name(name)) as image:
                header = inspect(image)
                scale = set_scale() if header.values else None
                return header, decode(image, size=done.size, channels=done.channels, scale=scale)

        file.truncate(done.start + done.good * done.channels * done.size**2)
        file.seek(done.start)
        pixels = sha256()
        while before := file.read(1 << 20):  # decoded before a kill
            pixels.update(before)
        saved = time.monotonic()
        for name, result in in_parallel(read, listing.names, "decoding images", first=done.read):
            done.read += 1
            if isinstance(result, BadImage):
                done.bad[name] = str(result)
            else:
                done.good += 1
                for kind in (*result[0].conversions, *enlargement_notes(result[0], done.size)):
                    done.conversions[kind] = done.conversions.get(kind, 0) + 1
                image = result[1].tobytes()
                pixels.update(image)
                file.write(image)
            if time.monotonic() - saved > SAVE_EVERY:
                _save_progress(folder, file, done)
                saved = time.monotonic()
        file.seek(0)  # numpy pads the header, so the number of images can be rewritten in place
        np.lib.format.write_array_header_1_0(file, done.header(done.good))
        file.flush()
        os.fsync(file.fileno())
    refuse_if_too_many(done.bad, len(listing.names), listing.source)
    if listing.labels is not None:
        pairs = zip(listing.names, listing.labels, strict=True)
        np.save(folder / "labels.npy", np.fromiter((label for name, label in pairs if name not in done.bad), np.int64))
    if any("scaled to 8 bits" in kind for kind in done.conversions):
        done.notes += set_scale.notes()
    report = DecodeReport(
        files=len(listing.names),
        last=sum(name not in done.bad for name in listing.names[n_train:]),
        classes=list(listing.classes),
        bad=done.bad,
        conversions=done.conversions,
        passed=list(listing.notes),
        notes=done.notes,
        test=listing.test,
        pixels=pixels.hexdigest(),
    )
    (folder / "report.json").write_text(json.dumps(asdict(report), indent=1))


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
    bad: dict[str, str] = field(default_factory=dict)
    conversions: dict[str, int] = field(default_factory=dict)

    def header(self, images: int) -> dict[str, Any]:
        return {"descr": "|u1", "fortran_order": False, "shape": (images, self.channels, self.size, self.size)}


def _load_progress(folder: Path) -> _Progress | None:
    try:
        return _Progress(**json.loads((folder / "progress.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _save_progress(folder: Path, file: BufferedRandom, done: _Progress) -> None:
    """Sync the pixels before the progress that counts them."""
    file.flush()
    os.fsync(file.fileno())
    temporary = folder / "progress.json.new"
    temporary.write_text(json.dumps(asdict(done)))
    os.replace(temporary, folder / "progress.json")


def _shape(listing: Listing, size: int | None, channels: int | None) -> tuple[int, int, list[str]]:
    """Side and channels of the decoded images, and a note if the fallback size is used."""
    notes = []
    if size is None:
        size = natural_size(listing)
    if size is None or size > MAX_SIZE:
        size = FALLBACK_SIZE
        notes.append(f"the images have no common size up to {MAX_SIZE} pixels: resized and cropped to {size} x {size}")
    return size, natural_channels(listing) if channels is None else channels, notes


def _read(entry: Path) -> tuple[np.ndarray, np.ndarray | None, DecodeReport]:
    report = DecodeReport(**json.loads((entry / "report.json").read_text()))
    labels = np.load(entry / "labels.npy", allow_pickle=False) if report.classes else None
    return np.load(entry / "images.npy", mmap_mode="c", allow_pickle=False), labels, report


def _prune(source: Path, entry: Path) -> None:
    """Remove earlier states of the same source, and temporary folders older than a day."""
    for other in source.iterdir():
        if other != entry and (not other.name.startswith(".") or time.time() - other.stat().st_mtime > 86_400):
            shutil.rmtree(other, ignore_errors=True)


def _digest(*parts: object) -> str:
    return blake2b(repr(parts).encode(errors="surrogatepass"), digest_size=10).hexdigest()
