"""List the images of a folder or archive with their classes, in a stable order, without reading pixels."""

from __future__ import annotations

import os
import re
import sqlite3
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np
import torch

from sparring.data.dataset import held_out_of
from sparring.data.file_index import FileEntry, FileIndex, LazyColumn, folder, natural_key
from sparring.data.labels import SUFFIXES as TABLES
from sparring.data.labels import assign, read_labels
from sparring.data.pixels import MAX_BYTES
from sparring.data.zip_members import (
    LOCAL,
    gunzipped,
    kind_of,
    members,
    read_member,
    regular,
    require_plausible,
    tar_members,
)
from sparring.errors import SparringError, StorageError, shown
from sparring.seeds import make_generator

SUFFIXES = frozenset(
    [".png", ".jpg", ".jpeg", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"]
)
UNSUPPORTED = {
    ".heic": "HEIC",
    ".heif": "HEIC",
    ".avif": "AVIF",
    ".jxl": "JPEG XL",
    ".jp2": "JPEG 2000",
    ".psd": "Photoshop",
    ".svg": "SVG",
    ".pdf": "PDF",
    ".dcm": "DICOM",
    ".dng": "camera raw",
    ".cr2": "camera raw",
    ".nef": "camera raw",
    ".arw": "camera raw",
}
"""Image formats that are not supported, by suffix."""

MASKS = {"mask", "masks", "annotation", "annotations", "segmentation", "segmentations", "groundtruth", "ground_truth"}
SPLITS = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "validation": ("val", "valid", "validation", "dev"),
}
"""Folder names of a data set that comes split."""

MAX_DEPTH = 8  # levels of folders to scan
MAX_SKIPPED = 0.2  # largest share of images that is skipped for its location; otherwise the user must choose

Open = Callable[[str], Path | BytesIO]


@dataclass(frozen=True)
class Listing:
    """The images of a folder, a zip or a tar, by class and then in natural order (2.png before 10.png).

    numbers   (n,) image numbers in `files`, in the order of the listing
    classes   class names; () if the images have no labels
    notes     sentences about skipped files
    test      the folder of the source's own test set, or None
    unzipped  the uncompressed content of a .tar.gz
    skipped   number of other images in the source: in other places, without a label, or of an unsupported format
    """

    source: Path
    files: FileIndex
    numbers: np.ndarray
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    test: str | None = None
    unzipped: BinaryIO | None = None
    skipped: int = 0

    @property
    def names(self) -> LazyColumn[str]:
        """Path of each image inside the source, with '/'."""
        return LazyColumn(self.files.name, self.numbers)

    @property
    def labels(self) -> LazyColumn[int] | None:
        """Index into `classes` of each image, or None when there are no classes."""
        return LazyColumn(self.files.label, self.numbers) if self.classes else None

    @property
    def sizes(self) -> LazyColumn[int]:
        """Bytes of each image, compressed or not."""
        return LazyColumn(self.files.size, self.numbers)

    def with_held_out_last(self, held_out: float) -> tuple[Listing, int]:
        """The same images with the held-out ones last, and the number of training images. The choice is deterministic.

        held_out  a share below 1, or a number of images
        """
        order = torch.randperm(len(self.names), generator=make_generator("held-out")).numpy()
        n_train = max(0, len(order) - held_out_of(len(order), held_out))
        for part in (order[:n_train], order[n_train:]):
            part.sort()
        return replace(self, numbers=self.numbers[order]), n_train

    @contextmanager
    def opener(self) -> Iterator[Open]:
        """A thread-safe function from a name to a path or stream for `open_image`."""
        with _opener(self.source, self.unzipped) as open_entry:
            yield lambda name: open_entry(self.files.entry(name))


@contextmanager
def _opener(source: Path, unzipped: BinaryIO | None) -> Iterator[Callable[[FileEntry], Path | BytesIO]]:
    if source.is_dir():
        yield lambda entry: source / entry.name
        return
    with nullcontext(unzipped) if unzipped else open(source, "rb") as archive:
        yield lambda entry: read_member(archive.fileno(), _member(entry))


def list_images(source: Path, *, labels_from: str | None = None, part: str | None = None) -> Listing:
    """List the images of a folder, a zip or a tar.

    labels_from  "folders": the top-level folder of an image is its class, and images outside folders are skipped;
                 "none": all images, without classes; the path of a .csv, .tsv or .json file with a label for each file;
                 None: StyleGAN's dataset.json if there is one, else folders unless that is ambiguous
    part         list only this folder of the source, for example the `test` of an earlier listing

    Raises `SparringError` if there are no images, or if it is ambiguous which ones to use.
    """
    scan = _ScanNotes()
    unzipped = None
    kind = None if source.is_dir() else kind_of(source)
    if source.is_dir():
        entries = _files_of_folder(source, scan)
    elif kind == "zip":
        entries = _files_of_archive(source, members(source), scan)
    elif kind is not None:
        unzipped = gunzipped(source) if kind == "tar.gz" else regular(source)
        entries = _files_of_archive(source, tar_members(unzipped), scan)
    else:
        raise SparringError(
            f"'{shown(str(source))}' is neither a folder nor an archive; give a folder, zip, tar, .npy or .npz file"
        )
    try:
        files = FileIndex(scan.images(entries))
        if kind is not None:
            _refuse_bombs(source, files, 0 if unzipped else LOCAL.size)
        return _listing(source, files, scan, labels_from, part, unzipped)
    except sqlite3.Error as error:
        raise StorageError(
            f"cannot keep the names of the images in '{shown(str(source))}' in a temporary file: {error}; free some "
            "space or set TMPDIR"
        ) from error


def _refuse_bombs(source: Path, files: FileIndex, header: int) -> None:
    place = f"'{shown(str(source))}'"
    if (name := files.overlapping(header)) is not None:
        raise SparringError(f"{place} is not a valid archive: {shown(name)} overlaps another member")
    require_plausible(files.total_size(), source.stat().st_size, place)


def one_image(path: Path) -> Listing:
    """A listing of one image file."""
    files = FileIndex([FileEntry(path.name, path.stat().st_size, path.stat().st_mtime_ns)])
    return Listing(path.parent, files, np.arange(files.select({"": None})))


def _listing(
    source: Path,
    files: FileIndex,
    scan: _ScanNotes,
    labels_from: str | None,
    part: str | None,
    unzipped: BinaryIO | None,
) -> Listing:
    counts = files.folders()
    place = f"'{shown(str(source))}'"
    base = scan.top if not source.is_dir() and scan.has_single_top else ""
    test: str | None = None
    notes: list[str] = []
    if part is not None:
        base = part
    elif split := _split(_below(counts, base)):
        other = split.get("test") or split.get("validation")
        notes.append(
            f"only {shown(split['train'])}/ is used for training"
            + (f", {shown(other)}/ is the test set" if other else "")
        )
        if "test" in split and "validation" in split:
            notes.append(f"skipped {shown(split['validation'])}/")
        base, test = f"{base}{split['train']}/", other and f"{base}{other}/"
    inside = _below(counts, base)
    if not inside:
        raise _no_images_error(place, scan)

    labels: Mapping[str, int]
    if labels_from not in (None, "folders", "none"):
        table_name = f"'{shown(labels_from)}'"
        with regular(Path(labels_from)) as file:
            pairs = read_labels(file.read(MAX_BYTES), labels_from, table_name)
        if pairs is None:
            raise SparringError(f"the labels in {table_name} are null: omit labels_from")
        labels, classes, class_notes = assign(files, base, pairs, table_name)
        used = files.select_labeled(labels)
    elif labels_from is None and (table := scan.tables.get(f"{base}dataset.json")) is not None:
        with _opener(source, unzipped) as open_entry:
            opened = open_entry(table)
            with regular(opened) if isinstance(opened, Path) else opened as file:
                pairs = read_labels(file.read(MAX_BYTES), table.name, "dataset.json")
        if pairs is None:
            used, classes, class_notes = files.select(dict.fromkeys(_path(base, name) for name in inside)), (), []
        else:
            labels, classes, class_notes = assign(files, base, pairs, "dataset.json")
            used = files.select_labeled(labels)
    else:
        shards = all(SHARD.fullmatch(name) for name in inside) and all(
            SHARD_IMAGE.match(PurePosixPath(files.first_in(_path(base, name))).name) for name in inside
        )
        folder_classes, class_notes = _classes(inside, "none" if shards else labels_from, place, scan, base, files)
        classes = tuple(sorted({name for name in folder_classes.values() if name is not None}, key=natural_key))
        number = {name: label for label, name in enumerate(classes)}
        used = files.select({_path(base, name): None if c is None else number[c] for name, c in folder_classes.items()})
        if classes and labels_from is None:
            class_notes += _class_warnings(classes, scan, base)
    for name in classes:
        if not _is_utf8(name):
            raise SparringError(f"the class {shown(name)} in {place} has a name that is not UTF-8: rename it")
    notes += [*class_notes, *scan.notes(files, base, labels_from)]
    if len(classes) == 1:
        notes.append(f"there is only one class: {shown(classes[0])}")
    skipped = max(0, sum(inside.values()) - used) + sum(count for kind, count in scan.kinds.items() if kind)
    return Listing(source, files, np.arange(used), classes, tuple(notes), test, unzipped, skipped)


SHARD, SHARD_IMAGE = re.compile(r"\d{5}"), re.compile(r"img\d{8}\.")
"""Folder and file names of StyleGAN's dataset_tool.py: 00000/img00000000.png."""


def _below(counts: Mapping[str, int], base: str) -> dict[str, int]:
    """{folder relative to `base`: number of images in it}; '' is `base` itself."""
    return {
        f"{name}/".removeprefix(base).removesuffix("/"): count
        for name, count in counts.items()
        if f"{name}/".startswith(base) or not base
    }


def _path(base: str, name: str) -> str:
    """The path inside the source of a folder relative to `base`."""
    return f"{base}{name}".removesuffix("/")


def _split(inside: Mapping[str, int]) -> dict[str, str]:
    """{"train" | "test" | "validation": folder}; {} if the top-level folders are not a split."""
    tops = {name.partition("/")[0] for name in inside}
    meaning = {top: kind for top in tops for kind, names in SPLITS.items() if top.lower() in names}
    split = {kind: top for top, kind in meaning.items()}
    return split if len(meaning) == len(tops) == len(split) and "train" in split else {}


def _classes(
    inside: Mapping[str, int], labels_from: str | None, place: str, scan: _ScanNotes, base: str, files: FileIndex
) -> tuple[dict[str, str | None], list[str]]:
    """{selected folder: class, or None for unlabeled images}, and notes about skipped images."""
    if labels_from == "none":
        return dict.fromkeys(inside), []
    direct = inside.get("", 0)
    tops: Counter[str] = Counter()
    for name, count in inside.items():
        if name:
            tops[name.partition("/")[0]] += count
    nested, total = tops.total(), sum(inside.values())
    if not tops:
        if labels_from == "folders":
            raise SparringError(
                f"labels_from is 'folders', but all images are directly in {place}: use --labels-from none"
            )
        return {"": None}, []
    by_folder = (
        labels_from == "folders"
        or not direct
        or nested > (1 - MAX_SKIPPED) * total
        or (len(tops) > 1 and 2 * direct <= nested)
    )
    if not by_folder and nested <= MAX_SKIPPED * total:
        example = files.first_in(_path(base, min((name for name in inside if name), key=natural_key)))
        return {"": None}, [
            f"skipped {nested:,} images in deeper folders, e.g. {shown(example)}: most are directly in the source; "
            "--labels-from none uses all"
        ]
    if not by_folder:
        folders = ", ".join(map(shown, sorted(tops, key=natural_key)[:5]))
        raise SparringError(
            f"{direct:,} images are directly in {place} and {nested:,} in its folders ({folders}): choose "
            "--labels-from folders (images in folders; the folders are the classes) or none (all images, no classes)"
        )
    deep = {name: count for name, count in inside.items() if "/" in name}
    if labels_from is None and len(deep) == len(inside):
        example = files.first_in(_path(base, min(deep, key=natural_key)))
        better = shown(f"{place.strip(chr(39))}/{PurePosixPath(example).parent.parent}")
        raise SparringError(
            f"the images in {place} are nested too deep, e.g. {shown(example)}: give the folder whose subfolders are "
            f"the classes, perhaps '{better}'; or choose --labels-from folders (the top-level folder) or none"
        )
    notes = []
    if direct:
        stray = files.first_in(_path(base, ""))
        notes.append(
            f"skipped {direct:,} images outside the class folders, e.g. {shown(stray)}: --labels-from none uses all "
            "images, without classes"
        )
    if deep:
        example = files.first_in(_path(base, min(deep, key=natural_key)))
        notes.append(
            f"{sum(deep.values()):,} images in nested folders take the top-level folder as class, e.g. {shown(example)}"
        )
    return {name: name.partition("/")[0] for name in inside if name}, notes


def _class_warnings(classes: tuple[str, ...], scan: _ScanNotes, base: str) -> Iterator[str]:
    """Notes about class folders without images and about folders that are probably masks."""
    empty = sorted({f.removeprefix(base) for f in scan.folders if f.startswith(base)} - {*classes}, key=natural_key)
    empty = [name for name in empty if name and "/" not in name]
    if empty:
        more = f" and {len(empty) - 5} more" if len(empty) > 5 else ""
        yield f"no images in {len(empty)} folders: {', '.join(map(shown, empty[:5]))}{more}"
    if masks := [name for name in classes if name.lower() in MASKS]:
        yield f"{', '.join(map(shown, masks))} sounds like masks but is used as a class: give the folder of images"


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass
class _ScanNotes:
    """Observations while scanning the files.

    unread           folders that cannot be read
    too_deep         folders below `MAX_DEPTH` levels
    kinds, examples  files that are not images: number and first name per unsupported format ("": other files)
    masks, mask      number and first name of images named like masks
    tables           files that may contain labels
    folders          all folders, first two levels
    tops, has_bare   top-level folders of images (at most two), and whether an image is outside of folders
    """

    unread: list[str] = field(default_factory=list)
    too_deep: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    masks: int = 0
    mask: str = ""
    tables: dict[str, FileEntry] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    tops: set[str] = field(default_factory=set)
    has_bare: bool = False

    def images(self, entries: Iterator[FileEntry]) -> Iterator[FileEntry]:
        """Yield the image files; record everything else."""
        previous = None
        for file in entries:
            suffix = os.path.splitext(file.name)[1].lower()
            if (place := folder(file.name)) != previous:
                self.add_folder(previous := place)
            if suffix not in SUFFIXES:
                kind = UNSUPPORTED.get(suffix, "")
                self.kinds[kind] += 1
                self.examples.setdefault(kind, file.name)
                if suffix in TABLES and len(self.tables) < 1000:
                    self.tables[file.name] = file
                continue
            if MASK.search(file.name):
                self.masks, self.mask = self.masks + 1, self.mask or file.name
            first, slash, _ = file.name.partition("/")
            self.has_bare |= not slash
            if slash and len(self.tops) < 2:
                self.tops.add(first)
            yield file

    def add_folder(self, folder: str) -> None:
        if len(self.folders) < 10_000:
            self.folders.update("/".join(folder.split("/")[:levels]) for levels in (1, 2))

    @property
    def has_single_top(self) -> bool:
        """Whether one top-level folder contains all images."""
        return len(self.tops) == 1 and not self.has_bare

    @property
    def top(self) -> str:
        return f"{min(self.tops)}/"

    def notes(self, files: FileIndex, base: str, labels_from: str | None) -> Iterator[str]:
        yield from (f"skipped a folder that cannot be read: {shown(name)}" for name in self.unread)
        yield from (f"skipped a folder more than {MAX_DEPTH} levels deep: {shown(name)}" for name in self.too_deep[:3])
        yield from (self.unsupported(kind) for kind in sorted(self.kinds) if kind)
        tables = [name for name in sorted(self.tables, key=natural_key) if name != f"{base}dataset.json"]
        tables = [name for name in tables if folder(name) in ("", base.removesuffix("/"))]
        if tables and labels_from is None:
            yield f"{shown(tables[0])} was not read: use --labels-from FILE for labels from a table"
        others = self.kinds[""] - len(tables) * (labels_from is None) - (f"{base}dataset.json" in self.tables)
        if others > 0:
            yield f"skipped {others} files without an image suffix, e.g. {shown(self.examples[''])}"
        if self.masks and self.masks < len(files):
            yield f"{self.masks:,} files are named like masks, e.g. {shown(self.mask)}: remove them if they are"
        count, name = files.repeated_names()
        if count:
            yield f"{count:,} names occur more than once, e.g. {shown(name)}: the last file of a name is used"

    def unsupported(self, kind: str) -> str:
        return (
            f"skipped {self.kinds[kind]} {kind} files, e.g. {shown(self.examples[kind])}: {kind} is not supported, "
            "convert them to JPEG or PNG"
        )


MASK = re.compile(r"[-_ ](mask|seg|segmentation|gt)\.\w+$", re.IGNORECASE)


def _files_of_folder(source: Path, scan: _ScanNotes) -> Iterator[FileEntry]:
    """Yield all files of a folder, recursively.

    Top-level links to folders are followed, unless they lead to a parent of the source; deeper ones are not, so link
    loops end.
    """
    root = os.path.realpath(source)
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
                        if entry.is_symlink() and f"{root}/".startswith(f"{os.path.realpath(entry.path)}/"):
                            continue
                        scan.add_folder(name)
                        if depth < MAX_DEPTH:
                            waiting.append((name, depth + 1))
                        else:
                            scan.too_deep.append(name)
                    elif not (entry.is_symlink() and entry.is_dir()):
                        exists = os.path.exists(entry.path)  # a dangling link becomes a bad file
                        status = entry.stat(follow_symlinks=exists)
                        yield FileEntry(name, status.st_size, status.st_mtime_ns)
        except OSError as error:
            if not inside:
                raise SparringError(f"cannot read the folder '{shown(str(source))}': {error.strerror}") from error
            scan.unread.append(inside)


def _files_of_archive(source: Path, members: Iterator[zipfile.ZipInfo], scan: _ScanNotes) -> Iterator[FileEntry]:
    try:
        for info in members:
            name = _plain(info.filename)
            if not name or any(_is_hidden(part) for part in name.split("/")):
                continue
            if info.is_dir() or info.filename.endswith("\\"):
                scan.add_folder(name)
                continue
            member = (info.header_offset, info.compress_size, info.compress_type, info.CRC, info.flag_bits)
            yield FileEntry(name, info.file_size, 0, member)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, ValueError, NotImplementedError) as error:
        raise SparringError(f"cannot read the archive '{shown(str(source))}': {error}") from error


UNUSUAL_NAME = re.compile(r"\\|:|^/|//|/$|(^|/)\.\.?(/|$)")


def _plain(name: str) -> str:
    """A member's name as a relative path with '/', whichever system and program wrote it."""
    if not UNUSUAL_NAME.search(name):
        return name
    name = re.sub(r"^[A-Za-z]:", "", name.replace("\\", "/"))
    return "/".join(part for part in name.split("/") if part not in ("", ".", ".."))


def _member(entry: FileEntry) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(entry.name)
    info.file_size = entry.size
    info.header_offset, info.compress_size, info.compress_type, info.CRC, info.flag_bits = entry.member
    return info


def _no_images_error(place: str, scan: _ScanNotes) -> SparringError:
    if kind := next((kind for kind in sorted(scan.kinds) if kind), None):
        return SparringError(f"no images in {place}: {scan.unsupported(kind)}")
    others = scan.kinds.total()
    content = f"only {others} other files" if others else "no files"
    return SparringError(f"no images in {place}, {content}; supported suffixes: {' '.join(sorted(SUFFIXES))}")


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
