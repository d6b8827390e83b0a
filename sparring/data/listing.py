"""Which images a folder or a zip holds, in which classes, in a stable order; no pixel is read here."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path, PurePosixPath

import torch

from sparring.data.pixels import MAX_BYTES, BadImage
from sparring.errors import SparringError
from sparring.seeds import generator

SUFFIXES = frozenset(
    [".png", ".jpg", ".jpeg", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"]
)

DEEPEST = 3  # levels of folders to look at, if only to say that the images lie too deep

Open = Callable[[str], Path | BytesIO]


@dataclass(frozen=True)
class Listing:
    """The images of a folder or a zip, by class and then in natural order (2.png before 10.png).

    names    path of each image inside the source, with '/'
    labels   index into `classes` of each image, or None when the images lie directly in the source
    stamps   (bytes, mtime in ns) of each file; for a zip, of the zip itself
    notes    what was passed over
    """

    source: Path
    names: list[str]
    labels: list[int] | None
    classes: tuple[str, ...]
    stamps: list[tuple[int, int]]
    notes: tuple[str, ...]

    def held_out_last(self, share: float) -> tuple[Listing, int]:
        """The same images, a share of them (the same ones every time) behind the others; and how many these are."""
        order = torch.randperm(len(self.names), generator=generator("held-out")).tolist()
        kept = len(order) - round(len(order) * share)
        rows = sorted(order[:kept]) + sorted(order[kept:])
        names, stamps = [self.names[row] for row in rows], [self.stamps[row] for row in rows]
        labels = None if self.labels is None else [self.labels[row] for row in rows]
        return replace(self, names=names, labels=labels, stamps=stamps), kept

    @contextmanager
    def opener(self) -> Iterator[Open]:
        """A function from a name to what `open_image` takes; safe to call from many threads."""
        if self.source.is_dir():
            yield lambda name: self.source / name
            return
        with zipfile.ZipFile(self.source) as archive:
            yield lambda name: _extract(archive, name)


def list_images(source: Path) -> Listing:
    """The images of a folder or a zip. Raises `SparringError` when there are none, or when they lie too deep."""
    if source.is_dir():
        files, unread = _files_of_folder(source)
        notes = [f"passed over a folder that cannot be read: {shown(name)}" for name in unread]
    elif source.is_file() and zipfile.is_zipfile(source):
        files, notes = _files_of_zip(source), []
    else:
        raise SparringError(
            f"'{shown(str(source))}' is neither a folder nor a zip; give one of these, or a .npy or .npz file"
        )

    names = [name for name in files if PurePosixPath(name).suffix.lower() in SUFFIXES]
    others = [name for name in files if PurePosixPath(name).suffix.lower() not in SUFFIXES]
    top = _common_folder(names) if source.is_file() else ""
    depth = {name: name.removeprefix(top).count("/") for name in names}
    flat = 0 in depth.values()
    used = sorted((name for name in names if depth[name] == (0 if flat else 1)), key=natural)
    if not used:
        raise _none_found(source, names, len(others))
    if others:
        notes.append(f"passed over {len(others)} files that are no images by their name, as {shown(others[0])}")
    if len(used) < len(names):
        example = next(name for name in names if depth[name] > (0 if flat else 1))
        why = "images lie directly in the folder" if flat else "class folders are looked at one level deep"
        notes.append(f"passed over {len(names) - len(used)} images in deeper folders, as {shown(example)}: {why}")

    folders = [PurePosixPath(name).parent.name for name in used]
    classes = () if flat else tuple(sorted(set(folders), key=natural))
    position = {name: index for index, name in enumerate(classes)}
    labels = None if flat else [position[folder] for folder in folders]
    if len(classes) == 1:
        notes.append(f"there is only one class folder: {shown(classes[0])}")
    return Listing(source, used, labels, classes, [files[name] for name in used], tuple(notes))


def shown(name: str) -> str:
    """A file's name as it can be printed on one line."""
    return name if name.isprintable() else ascii(name)


def _files_of_folder(source: Path) -> tuple[dict[str, tuple[int, int]], list[str]]:
    """{path inside: (bytes, mtime)} of everything that is no folder, and the folders that cannot be read.

    Links to class folders are followed, deeper ones are not: so a loop of links ends.
    """
    files: dict[str, tuple[int, int]] = {}
    unread: list[str] = []
    waiting = [("", 0)]
    while waiting:
        inside, depth = waiting.pop()
        try:
            entries = list(os.scandir(source / inside))
        except OSError as error:
            if not inside:
                raise SparringError(f"cannot read the folder '{shown(str(source))}': {error.strerror}") from error
            unread.append(inside)
            continue
        for entry in entries:
            name = f"{inside}/{entry.name}" if inside else entry.name
            if _is_hidden(entry.name):
                continue
            if entry.is_dir(follow_symlinks=depth == 0):
                if depth < DEEPEST:
                    waiting.append((name, depth + 1))
            elif not (entry.is_symlink() and entry.is_dir()):
                status = entry.stat(follow_symlinks=os.path.exists(entry.path))  # a dangling link is a bad file
                files[name] = (status.st_size, status.st_mtime_ns)
    return files, unread


def _files_of_zip(source: Path) -> dict[str, tuple[int, int]]:
    status = source.stat()
    try:
        with zipfile.ZipFile(source) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise SparringError(f"cannot read the zip '{shown(str(source))}': {error}") from error
    names = [name for name in names if not any(_is_hidden(part) for part in name.split("/"))]
    return dict.fromkeys(names, (status.st_size, status.st_mtime_ns))


def _extract(archive: zipfile.ZipFile, name: str) -> BytesIO:
    """The bytes of one member; `zipfile` stops at the size that was declared, and that size is checked first."""
    try:
        if archive.getinfo(name).file_size > MAX_BYTES:
            raise BadImage(f"more than {MAX_BYTES // 1_000_000} MB")
        return BytesIO(archive.read(name))
    except BadImage:
        raise
    except Exception as error:  # wrong checksum, encrypted, unknown compression, broken stream
        raise BadImage(str(error) or type(error).__name__) from error


def _none_found(source: Path, names: list[str], others: int) -> SparringError:
    place = f"'{shown(str(source))}'"
    if names:
        deep = PurePosixPath(min(names, key=natural))
        better = shown(str(source / deep.parent.parent))
        return SparringError(
            f"the images in {place} lie too deep, as {shown(str(deep))}: "
            f"give the folder whose subfolders are the classes, here perhaps '{better}'"
        )
    found = f"only {others} files of other kinds" if others else "no files"
    return SparringError(f"no images in {place}, {found}; images end in {' '.join(sorted(SUFFIXES))}")


def _common_folder(names: list[str]) -> str:
    """The one folder that holds everything in a zip, with its '/', or ''."""
    tops = {name.split("/")[0] for name in names if "/" in name}
    return f"{tops.pop()}/" if len(tops) == 1 and all("/" in name for name in names) else ""


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def natural(name: str) -> tuple[list[str], str]:
    """Numbers inside names count as numbers; equal keys fall back on the plain name."""
    return [part.zfill(20) if part.isdecimal() else part.lower() for part in re.split(r"(\d+)", name)], name
