"""Which images a folder or a zip holds, in which classes, in a stable order; no pixel is read here."""

from __future__ import annotations

import os
import sqlite3
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from sparring.data.archive import content, members
from sparring.data.found import Column, Files, Found, natural
from sparring.errors import SparringError, StorageError
from sparring.seeds import generator

SUFFIXES = frozenset(
    [".png", ".jpg", ".jpeg", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"]
)

DEEPEST = 3  # levels of folders to look at, if only to say that the images lie too deep

Open = Callable[[str], Path | BytesIO]


@dataclass(frozen=True)
class Listing:
    """The images of a folder or a zip, by class and then in natural order (2.png before 10.png).

    numbers  (n,) of the images in `files`, in their order here
    classes  () when the images lie directly in the source
    notes    what was passed over
    """

    source: Path
    files: Files
    numbers: np.ndarray
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> Column[str]:
        """Path of each image inside the source, with '/'."""
        return Column(self.files.name, self.numbers)

    @property
    def labels(self) -> Column[int] | None:
        """Index into `classes` of each image, or None when there are no classes."""
        return Column(self.files.label, self.numbers) if self.classes else None

    @property
    def sizes(self) -> Column[int]:
        """Bytes of each image, compressed or not."""
        return Column(self.files.size, self.numbers)

    def held_out_last(self, share: float) -> tuple[Listing, int]:
        """The same images, a share of them (the same ones every time) behind the others; and how many these are."""
        order = torch.randperm(len(self.names), generator=generator("held-out")).numpy()
        kept = len(order) - round(len(order) * share)
        for part in (order[:kept], order[kept:]):
            part.sort()
        return replace(self, numbers=self.numbers[order]), kept

    @contextmanager
    def opener(self) -> Iterator[Open]:
        """A function from a name to what `open_image` takes; safe to call from many threads."""
        if self.source.is_dir():
            yield lambda name: self.source / name
            return
        with open(self.source, "rb") as archive:
            yield lambda name: content(archive.fileno(), _member(self.files.found(name)))


def list_images(source: Path) -> Listing:
    """The images of a folder or a zip. Raises `SparringError` when there are none, or when they lie too deep."""
    passed = _Passed()
    if source.is_dir():
        found = _files_of_folder(source, passed)
    elif source.is_file() and zipfile.is_zipfile(source):
        found = _files_of_zip(source)
    else:
        raise SparringError(
            f"'{shown(str(source))}' is neither a folder nor a zip; give one of these, or a .npy or .npz file"
        )
    try:
        return _listing(source, Files(passed.images(found)), passed)
    except sqlite3.Error as error:
        raise StorageError(
            f"cannot keep the names of the images in '{shown(str(source))}' in a temporary file: {error}; free some "
            "space or choose another folder with TMPDIR"
        ) from error


def one_image(path: Path) -> Listing:
    """A file that is an image, or is said to be."""
    files = Files([Found(path.name, path.stat().st_size, path.stat().st_mtime_ns)])
    return Listing(path.parent, files, np.arange(files.use(0, ())))


def _listing(source: Path, files: Files, passed: _Passed) -> Listing:
    top = 1 if source.is_file() and passed.one_top else 0
    flat = files.shallowest() == top
    depth = top if flat else top + 1
    classes = () if flat else tuple(sorted(files.folders(depth), key=natural))
    used = files.use(depth, classes)
    if not used:
        raise _none_found(source, files.first_below(depth), passed.others)
    notes = [f"passed over a folder that cannot be read: {shown(name)}" for name in passed.unread]
    if passed.others:
        notes.append(f"passed over {passed.others} files that are no images by their name, as {shown(passed.other)}")
    if used < len(files):
        example = files.first_below(depth)
        assert example is not None
        why = "images lie directly in the folder" if flat else "class folders are looked at one level deep"
        notes.append(f"passed over {len(files) - used} images in deeper folders, as {shown(example)}: {why}")
    if len(classes) == 1:
        notes.append(f"there is only one class folder: {shown(classes[0])}")
    return Listing(source, files, np.arange(used), classes, tuple(notes))


@dataclass
class _Passed:
    """What is noted on the way through the files.

    unread         folders that cannot be read
    others, other  files that are no images by their name, and the first of them
    tops, bare     the first folders on the ways to images, two of them at most, and whether an image has none
    """

    unread: list[str] = field(default_factory=list)
    others: int = 0
    other: str = ""
    tops: set[str] = field(default_factory=set)
    bare: bool = False

    def images(self, found: Iterator[Found]) -> Iterator[Found]:
        for file in found:
            if PurePosixPath(file.name).suffix.lower() not in SUFFIXES:
                self.others, self.other = self.others + 1, self.other or file.name
                continue
            first, slash, _ = file.name.partition("/")
            self.bare |= not slash
            if slash and len(self.tops) < 2:
                self.tops.add(first)
            yield file

    @property
    def one_top(self) -> bool:
        """Whether there is one folder that holds all images."""
        return len(self.tops) == 1 and not self.bare


def shown(name: str) -> str:
    """A file's name as it can be printed on one line."""
    return name if name.isprintable() else ascii(name)


def _files_of_folder(source: Path, passed: _Passed) -> Iterator[Found]:
    """Everything that is no folder.

    Links to class folders are followed, deeper ones are not: so a loop of links ends.
    """
    waiting = [("", 0)]
    while waiting:
        inside, depth = waiting.pop()
        try:
            with os.scandir(source / inside) as entries:
                for entry in entries:
                    name = f"{inside}/{entry.name}" if inside else entry.name
                    if _is_hidden(entry.name):
                        continue
                    if entry.is_dir(follow_symlinks=depth == 0):
                        if depth < DEEPEST:
                            waiting.append((name, depth + 1))
                    elif not (entry.is_symlink() and entry.is_dir()):
                        exists = os.path.exists(entry.path)  # a dangling link is a bad file
                        status = entry.stat(follow_symlinks=exists)
                        yield Found(name, status.st_size, status.st_mtime_ns)
        except OSError as error:
            if not inside:
                raise SparringError(f"cannot read the folder '{shown(str(source))}': {error.strerror}") from error
            passed.unread.append(inside)


def _files_of_zip(source: Path) -> Iterator[Found]:
    try:
        for info in members(source):
            if info.filename and not info.is_dir() and not any(_is_hidden(part) for part in info.filename.split("/")):
                member = (info.header_offset, info.compress_size, info.compress_type, info.CRC, info.flag_bits)
                yield Found(info.filename, info.file_size, 0, member)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise SparringError(f"cannot read the zip '{shown(str(source))}': {error}") from error


def _member(found: Found) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(found.name)
    info.file_size = found.size
    info.header_offset, info.compress_size, info.compress_type, info.CRC, info.flag_bits = found.member
    return info


def _none_found(source: Path, deep: str | None, others: int) -> SparringError:
    """deep  the first image that lies too deep"""
    place = f"'{shown(str(source))}'"
    if deep is not None:
        better = shown(str(source / PurePosixPath(deep).parent.parent))
        return SparringError(
            f"the images in {place} lie too deep, as {shown(deep)}: "
            f"give the folder whose subfolders are the classes, here perhaps '{better}'"
        )
    found = f"only {others} files of other kinds" if others else "no files"
    return SparringError(f"no images in {place}, {found}; images end in {' '.join(sorted(SUFFIXES))}")


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
