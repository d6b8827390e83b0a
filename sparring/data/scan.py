"""Scan a folder or archive: the names, sizes and classes of its images, in a stable order, without reading pixels."""

from __future__ import annotations

import os
import re
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from sparring.data.file_index import FILE, MEMBER, FileIndex, FileTable, archive_state, open_rows
from sparring.data.labels import SUFFIXES as TABLES
from sparring.data.labels import assign, classes_of_folders, folder_warnings, natural_key, read_labels, split_of_folders
from sparring.data.pixels import MAX_BYTES
from sparring.data.zip_members import (
    LOCAL,
    RAW,
    kind_of,
    members,
    plain_name,
    regular,
    require_plausible,
    tar_members,
)
from sparring.errors import SparringError, plural, printable

SUFFIXES = frozenset(
    [".png", ".jpg", ".jpeg", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"]
)
UNSUPPORTED = {
    **{".heic": "HEIC", ".heif": "HEIC", ".avif": "AVIF", ".jxl": "JPEG XL", ".jp2": "JPEG 2000"},
    **{".psd": "Photoshop", ".svg": "SVG", ".pdf": "PDF", ".dcm": "DICOM"},
    **dict.fromkeys((".dng", ".cr2", ".nef", ".arw"), "camera raw"),
}
"""Image formats that are not supported, by suffix."""

MASK = re.compile(r"[-_ ](mask|seg|segmentation|gt)\.\w+$", re.IGNORECASE)
DAMAGED = zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, OverflowError, ValueError, NotImplementedError
"""What reading a damaged archive may raise."""

MAX_DEPTH = 8  # levels of folders to scan


def scan(source: Path, *, labels_from: str | None = None) -> FileIndex:
    """List the images of a folder, a zip or a tar.

    labels_from  "folders": the top-level folder of an image is its class, and images outside folders are skipped;
                 "none": all images, without classes; the path of a .csv, .tsv or .json file with a label for each file;
                 None: StyleGAN's dataset.json if there is one, else folders unless that is ambiguous

    Raises `SparringError` if there are no images, or if it is ambiguous which ones to use.
    """
    contents = _Contents(source, FileTable(FILE if source.is_dir() else MEMBER))
    if source.is_dir():
        contents.add_folder_files()
    else:
        contents.add_archive_members()
    contents.sort()
    base = contents.base()
    split = split_of_folders(contents.below(base))
    other = split.get("test") or split.get("validation")
    notes: list[str] = []
    train = base
    if split:
        test_set = f", {printable(other)}/ is the test set" if other else ""
        notes.append(f"only {printable(split['train'])}/ is used for training{test_set}")
        train = f"{base}{split['train']}/"
    if "test" in split and "validation" in split:
        notes.append(f"skipped {printable(split['validation'])}/")
    index = contents.select(train, labels_from)
    test = None
    if other:
        try:
            test = _with_classes(contents.select(f"{base}{other}/", labels_from), index.classes)
        except SparringError as error:
            notes.append(f"the test set in {printable(f'{base}{other}/')} is not used: {error}")
    return replace(index, notes=(*notes, *index.notes), test=test)


def _with_classes(test: FileIndex, classes: tuple[str, ...]) -> FileIndex:
    """The index with these classes. Raises `SparringError` if it has other ones, or no labels."""
    if not classes:
        return replace(test, labels=None, classes=())
    if test.labels is None:
        raise SparringError("it has no labels")
    if unknown := [name for name in test.classes if name not in classes]:
        raise SparringError(f"{printable(unknown[0])} is not a class of the training images")
    numbers = np.array([classes.index(name) for name in test.classes], np.int32)
    return replace(test, labels=numbers[test.labels], classes=classes)


@dataclass
class _Contents:
    """What a source contains: its image files, and counts and examples of everything else.

    unreadable       folders that cannot be read
    too_deep         folders below `MAX_DEPTH` levels
    kinds, examples  files that are not images: number and first name per unsupported format ("": other files)
    masks, mask      number and first name of images named like masks
    tables           files that may contain labels
    folders          all folders, first two levels
    order            rows of `files` by folder and in natural order
    counts, first    {folder: number of images in it, and the row of the first}; '' is the source itself
    repeated         names that occur more than once in an archive
    """

    source: Path
    files: FileTable
    archive: str = ""
    unreadable: list[str] = field(default_factory=list)
    too_deep: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    masks: int = 0
    mask: str = ""
    tables: dict[str, tuple[int, ...]] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    order: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    counts: dict[str, int] = field(default_factory=dict)
    first: dict[str, int] = field(default_factory=dict)
    repeated: list[str] = field(default_factory=list)

    # Scan.

    def add_folder_files(self) -> None:
        """Add all files of a folder, recursively.

        Top-level links to folders are followed, unless they lead to a parent of the source; deeper ones are not, so
        link loops end.
        """
        root = os.path.realpath(self.source)
        waiting = [("", 0)]
        while waiting:
            folder, depth = waiting.pop()
            try:
                with os.scandir(self.source / folder) as entries:
                    for entry in entries:
                        name = f"{folder}/{entry.name}" if folder else entry.name
                        if _is_hidden(entry.name):
                            continue
                        if not entry.is_dir():
                            self.add_file(name, *_size_and_time(entry))
                        elif _is_followed(entry, depth, root):
                            self.add_folder(name)
                            if depth < MAX_DEPTH:
                                waiting.append((name, depth + 1))
                            else:
                                self.too_deep.append(name)
            except OSError as error:
                if not folder:
                    raise SparringError(
                        f"cannot read the folder '{printable(str(self.source))}': {error.strerror}"
                    ) from error
                self.unreadable.append(folder)

    def add_archive_members(self) -> None:
        """Add all files of an archive. Raises `SparringError` if it is damaged, or a zip bomb."""
        place = f"'{printable(str(self.source))}'"
        kind = kind_of(self.source)
        if kind is None:
            raise SparringError(
                f"{place} is neither a folder nor an archive; give a folder, zip, tar, .npy or .npz file"
            )
        self.archive = archive_state(self.source)
        try:
            if kind == "zip":
                self._add_members(members(self.source))
            elif kind == "tar":
                with regular(self.source) as file:
                    self._add_members(tar_members(file))
            else:
                self._add_members(tar_members(self.files.unpack(self.source)))
        except DAMAGED as error:
            raise SparringError(f"cannot read the archive {place}: {error}") from error

    def _add_members(self, infos: Iterator[zipfile.ZipInfo]) -> None:
        folder = ""
        for info in infos:
            name = plain_name(info.filename)
            if not name or any(_is_hidden(part) for part in name.split("/")):
                continue
            is_folder = info.is_dir() or info.filename.endswith("\\")
            if (inside := name if is_folder else name.rpartition("/")[0]) != folder:
                self.add_folder(folder := inside)
            if not is_folder:
                values = info.header_offset, info.compress_size, info.compress_type, info.CRC, info.flag_bits
                self.add_file(name, info.file_size, *values)

    def add_folder(self, folder: str) -> None:
        """Record a folder, for the names of empty ones."""
        if len(self.folders) < 10_000:
            self.folders.update("/".join(folder.split("/")[:levels]) for levels in (1, 2))

    def add_file(self, name: str, *values: int) -> None:
        """Add an image to the table, or count another file."""
        suffix = os.path.splitext(name)[1].lower()
        if suffix in SUFFIXES:
            if MASK.search(name):
                self.masks, self.mask = self.masks + 1, self.mask or name
            self.files.append(name, *values)
            return
        kind = UNSUPPORTED.get(suffix, "")
        self.kinds[kind] += 1
        self.examples.setdefault(kind, name)
        if suffix in TABLES and len(self.tables) < 1000:
            self.tables[name] = values

    def sort(self) -> None:
        """Put the images in order, after the last file. Raises `SparringError` for a zip bomb."""
        self.files.close()
        self.order, self.repeated = self.files.sorted()
        if not self.source.is_dir():
            self._refuse_bombs(f"'{printable(str(self.source))}'")
        numbers, at, counts = np.unique(self.files.rows["folder"][self.order], return_index=True, return_counts=True)
        names = [self.files.folders[number] for number in numbers.tolist()]
        self.counts = dict(zip(names, counts.tolist(), strict=True))
        self.first = dict(zip(names, self.order[at].tolist(), strict=True))

    def _refuse_bombs(self, place: str) -> None:
        """Members may not overlap, and the archive may not expand too much."""
        rows = self.files.rows
        order = self.order[np.lexsort((rows["packed"][self.order], rows["offset"][self.order]))]
        start, stop = rows["offset"][order], rows["packed"][order]
        stop += start
        header = 0 if (rows["method"] == RAW).all() else LOCAL.size
        overlaps = np.flatnonzero(start[1:] < stop[:-1] + header)
        if len(overlaps):
            name = self.files.name(int(order[overlaps[0] + 1]))
            raise SparringError(f"{place} is not a valid archive: {printable(name)} overlaps another member")
        require_plausible(int(rows["size"][self.order].sum(dtype=float)), self.source.stat().st_size, place)

    # Select.

    def base(self) -> str:
        """The folder inside an archive that contains all images, with '/', or ''."""
        tops = {name.partition("/")[0] for name in self.counts}
        return "" if self.source.is_dir() or len(tops) != 1 or tops == {""} else f"{min(tops)}/"

    def below(self, base: str) -> dict[str, int]:
        """{folder relative to `base`: number of images in it}; '' is `base` itself."""
        return {
            f"{name}/".removeprefix(base).removesuffix("/"): count
            for name, count in self.counts.items()
            if f"{name}/".startswith(base) or not base
        }

    def select(self, base: str, labels_from: str | None) -> FileIndex:
        """The images below the folder `base` that are used, with their labels. Raises `SparringError` as `scan`."""
        place = f"'{printable(str(self.source))}'"
        counts = self.below(base)
        if not counts:
            raise self._no_images_error(place)
        table, what = self._label_table(base, labels_from)
        notes: list[str]
        if table is None:
            source = "none" if what else labels_from
            folders, notes = classes_of_folders(counts, source, place, partial(self._first_in, base))
            classes = tuple(sorted({name for name in folders.values() if name is not None}, key=natural_key))
            rows, labels = self._in_folders({_path(base, name): y for name, y in folders.items()}, classes)
            if classes and labels_from is None:
                notes += folder_warnings(classes, {f.removeprefix(base) for f in self.folders if f.startswith(base)})
        else:
            names, classes, notes = assign(map(self.files.name, self.order.tolist()), base, table, what)
            rows, labels = self._named(names)
        for name in classes:
            if any("\ud800" <= character <= "\udfff" for character in name):
                raise SparringError(f"the class {printable(name)} in {place} has a name that is not UTF-8: rename it")
        notes += self._notes(base, labels_from)
        if len(classes) == 1:
            notes.append(f"there is only one class: {printable(classes[0])}")
        skipped = max(0, sum(counts.values()) - len(rows)) + sum(n for kind, n in self.kinds.items() if kind)
        return FileIndex(
            self.source,
            self.files,
            rows,
            labels if classes else None,
            classes,
            tuple(notes),
            skipped,
            archive=self.archive,
        )

    def _label_table(self, base: str, labels_from: str | None) -> tuple[list[tuple[str, str]] | None, str]:
        """(file, label) pairs of a table or of dataset.json, and how messages refer to it; without one (None, "").

        (None, "dataset.json") if its labels are null.
        """
        if labels_from not in (None, "folders", "none"):
            what = f"'{printable(labels_from)}'"
            with regular(Path(labels_from)) as file:
                pairs = read_labels(file.read(MAX_BYTES), labels_from, what)
            if pairs is None:
                raise SparringError(f"the labels in {what} are null: omit labels_from")
            return pairs, what
        values = self.tables.get(f"{base}dataset.json")
        if labels_from is not None or values is None:
            return None, ""
        table = FileTable(self.files.rows.dtype)
        table.append(f"{base}dataset.json", *values)
        table.unpacked = self.files.unpacked
        with open_rows(self.source, table) as open_row:
            opened = open_row(0)
            with regular(opened) if isinstance(opened, Path) else opened as file:
                return read_labels(file.read(MAX_BYTES), "dataset.json", "dataset.json"), "dataset.json"

    def _first_in(self, base: str, folder: str) -> str:
        """The first image of a folder relative to `base`."""
        return self.files.name(self.first[_path(base, folder)])

    def _in_folders(self, folders: Mapping[str, str | None], classes: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Rows and labels of the images in these folders; label -1 for the class None."""
        numbers = {name: y for y, name in enumerate(classes)}
        label = np.full(len(self.files.folders), -2, np.int32)
        for number, folder in enumerate(self.files.folders):
            if folder in folders:
                name = folders[folder]
                label[number] = -1 if name is None else numbers[name]
        labels = label[self.files.rows["folder"][self.order]]
        return self.order[labels > -2], labels[labels > -2]

    def _named(self, labels: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
        """Rows and labels of the images with these names."""
        number = np.fromiter((labels.get(self.files.name(row), -1) for row in self.order.tolist()), np.int32)
        return self.order[number >= 0], number[number >= 0]

    # Notes.

    def _notes(self, base: str, labels_from: str | None) -> Iterator[str]:
        yield from (f"skipped a folder that cannot be read: {printable(name)}" for name in self.unreadable)
        yield from (
            f"skipped a folder more than {MAX_DEPTH} levels deep: {printable(name)}" for name in self.too_deep[:3]
        )
        yield from (self._unsupported(kind) for kind in sorted(self.kinds) if kind)
        tables = [name for name in sorted(self.tables, key=natural_key) if name != f"{base}dataset.json"]
        tables = [name for name in tables if name.rpartition("/")[0] in ("", base.removesuffix("/"))]
        if tables and labels_from is None:
            yield f"{printable(tables[0])} was not read: use --labels-from FILE for labels from a table"
        others = self.kinds[""] - len(tables) * (labels_from is None) - (f"{base}dataset.json" in self.tables)
        if others > 0:
            yield f"skipped {plural(others, 'file')} without an image suffix, e.g. {printable(self.examples[''])}"
        if self.masks and self.masks < len(self.order):
            yield f"{self.masks:,} files are named like masks, e.g. {printable(self.mask)}: remove them if they are"
        if self.repeated:
            count, name = len(self.repeated), printable(self.repeated[0])
            yield f"{count:,} names occur more than once, e.g. {name}: the last file of a name is used"

    def _unsupported(self, kind: str) -> str:
        return (
            f"skipped {plural(self.kinds[kind], f'{kind} file')}, e.g. {printable(self.examples[kind])}: "
            f"{kind} is not supported, convert them to JPEG or PNG"
        )

    def _no_images_error(self, place: str) -> SparringError:
        if kind := next((kind for kind in sorted(self.kinds) if kind), None):
            return SparringError(f"no images in {place}: {self._unsupported(kind)}")
        others = self.kinds.total()
        content = f"only {plural(others, 'other file')}" if others else "no files"
        return SparringError(f"no images in {place}, {content}; supported suffixes: {' '.join(sorted(SUFFIXES))}")


def _path(base: str, name: str) -> str:
    """The path inside the source of a folder relative to `base`."""
    return f"{base}{name}".removesuffix("/")


def _is_followed(folder: os.DirEntry[str], depth: int, root: str) -> bool:
    """Whether a folder is scanned: links only at the top level, and only those that do not lead to a parent."""
    if not folder.is_symlink():
        return True
    return depth == 0 and not f"{root}/".startswith(f"{os.path.realpath(folder.path)}/")


def _size_and_time(entry: os.DirEntry[str]) -> tuple[int, int]:
    """Size and mtime of a file; of a dangling link itself, which becomes a bad file."""
    try:
        status = entry.stat()
    except OSError:
        status = entry.stat(follow_symlinks=False)
    return status.st_size, status.st_mtime_ns


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
