"""Which images a folder or a zip holds, in which classes, in a stable order; no pixel is read here."""

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
NOT_READ = {
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
"""Pictures that are not read, and what they are called."""

MASKS = {"mask", "masks", "annotation", "annotations", "segmentation", "segmentations", "groundtruth", "ground_truth"}
SPLITS = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "validation": ("val", "valid", "validation", "dev"),
}
"""Folders of a set that somebody has split, by what their names mean."""

MAX_DEPTH = 8  # levels of folders to look at
MAX_PASSED_OVER = 0.2  # of images in other places than the rest are passed over and named; of more the user is asked

Open = Callable[[str], Path | BytesIO]


@dataclass(frozen=True)
class Listing:
    """The images of a folder, a zip or a tar, by class and then in natural order (2.png before 10.png).

    numbers  (n,) of the images in `files`, in their order here
    classes  () when the images have no labels
    notes    what was passed over
    passed   pictures that are there and not among them: in other places, without a label, of kinds that are not read
    test     the folder with the source's own test set, where it has one
    unzipped what a .tar.gz holds
    """

    source: Path
    files: FileIndex
    numbers: np.ndarray
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    test: str | None = None
    unzipped: BinaryIO | None = None
    passed: int = 0

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

    def held_out_last(self, held_out: float) -> tuple[Listing, int]:
        """The same images, those held out (the same ones every time) behind the others; and how many these others are.

        held_out  a share below 1, or a number of images
        """
        order = torch.randperm(len(self.names), generator=make_generator("held-out")).numpy()
        kept = max(0, len(order) - held_out_of(len(order), held_out))
        for part in (order[:kept], order[kept:]):
            part.sort()
        return replace(self, numbers=self.numbers[order]), kept

    @contextmanager
    def opener(self) -> Iterator[Open]:
        """A function from a name to what `open_image` takes; safe to call from many threads."""
        with _opener(self.source, self.unzipped) as open_found:
            yield lambda name: open_found(self.files.found(name))


@contextmanager
def _opener(source: Path, unzipped: BinaryIO | None) -> Iterator[Callable[[FileEntry], Path | BytesIO]]:
    if source.is_dir():
        yield lambda found: source / found.name
        return
    with nullcontext(unzipped) if unzipped else open(source, "rb") as archive:
        yield lambda found: read_member(archive.fileno(), _member(found))


def list_images(source: Path, *, labels_from: str | None = None, part: str | None = None) -> Listing:
    """The images of a folder, a zip or a tar.

    labels_from  "folders": the first folder on the way to an image is its class, and images outside folders are passed
                 over; "none": all images, without classes; the path of a .csv, .tsv or .json file with a label for each
                 file; None: StyleGAN's dataset.json where there is one, else folders where that is no guess
    part         only this folder inside the source, as a `test` that was found before

    Raises `SparringError` when there are none, or when it would be a guess which of them are meant.
    """
    passed = _ScanNotes()
    unzipped = None
    kind = None if source.is_dir() else kind_of(source)
    if source.is_dir():
        found = _files_of_folder(source, passed)
    elif kind == "zip":
        found = _files_of_archive(source, members(source), passed)
    elif kind is not None:
        unzipped = gunzipped(source) if kind == "tar.gz" else regular(source)
        found = _files_of_archive(source, tar_members(unzipped), passed)
    else:
        raise SparringError(
            f"'{shown(str(source))}' is neither a folder nor a zip; give one of these, or a tar, a .npy or a .npz file"
        )
    try:
        files = FileIndex(passed.images(found))
        if kind is not None:
            _refuse_bombs(source, files, 0 if unzipped else LOCAL.size)
        return _listing(source, files, passed, labels_from, part, unzipped)
    except sqlite3.Error as error:
        raise StorageError(
            f"cannot keep the names of the images in '{shown(str(source))}' in a temporary file: {error}; free some "
            "space or choose another folder with TMPDIR"
        ) from error


def _refuse_bombs(source: Path, files: FileIndex, header: int) -> None:
    place = f"'{shown(str(source))}'"
    if (name := files.overlapping(header)) is not None:
        raise SparringError(f"{place} is no sound archive: {shown(name)} lies within another file")
    require_plausible(files.total_size(), source.stat().st_size, place)


def one_image(path: Path) -> Listing:
    """A file that is an image, or is said to be."""
    files = FileIndex([FileEntry(path.name, path.stat().st_size, path.stat().st_mtime_ns)])
    return Listing(path.parent, files, np.arange(files.use({"": None})))


def _listing(
    source: Path,
    files: FileIndex,
    passed: _ScanNotes,
    labels_from: str | None,
    part: str | None,
    unzipped: BinaryIO | None,
) -> Listing:
    counts = files.folders()
    place = f"'{shown(str(source))}'"
    base = passed.top if not source.is_dir() and passed.one_top else ""
    test: str | None = None
    notes: list[str] = []
    if part is not None:
        base = part
    elif split := _split(_below(counts, base)):
        other = split.get("test") or split.get("validation")
        notes.append(
            f"only {shown(split['train'])}/ is trained on" + (f", {shown(other)}/ is the test set" if other else "")
        )
        if "test" in split and "validation" in split:
            notes.append(f"passed over {shown(split['validation'])}/")
        base, test = f"{base}{split['train']}/", other and f"{base}{other}/"
    inside = _below(counts, base)
    if not inside:
        raise _none_found(place, passed)

    labels: Mapping[str, int]
    if labels_from not in (None, "folders", "none"):
        what = f"'{shown(labels_from)}'"
        with regular(Path(labels_from)) as file:
            pairs = read_labels(file.read(MAX_BYTES), labels_from, what)
        if pairs is None:
            raise SparringError(f"{what} has no labels, they are null: leave it out")
        labels, classes, more = assign(files, base, pairs, what)
        used = files.use_labeled(labels)
    elif labels_from is None and (table := passed.tables.get(f"{base}dataset.json")) is not None:
        with _opener(source, unzipped) as open_found:
            opened = open_found(table)
            with regular(opened) if isinstance(opened, Path) else opened as file:
                pairs = read_labels(file.read(MAX_BYTES), table.name, "dataset.json")
        if pairs is None:
            used, classes, more = files.use(dict.fromkeys(_path(base, name) for name in inside)), (), []
        else:
            labels, classes, more = assign(files, base, pairs, "dataset.json")
            used = files.use_labeled(labels)
    else:
        shards = all(SHARD.fullmatch(name) for name in inside) and all(
            SHARD_IMAGE.match(PurePosixPath(files.first_in(_path(base, name))).name) for name in inside
        )
        chosen, more = _classes(inside, "none" if shards else labels_from, place, passed, base, files)
        classes = tuple(sorted({name for name in chosen.values() if name is not None}, key=natural_key))
        number = {name: label for label, name in enumerate(classes)}
        used = files.use({_path(base, name): None if c is None else number[c] for name, c in chosen.items()})
        if classes and labels_from is None:
            more += _strange_classes(classes, passed, base)
    for name in classes:
        if not _is_utf8(name):
            raise SparringError(f"the class {shown(name)} in {place} has a name that is not UTF-8: rename it")
    notes += [*more, *passed.notes(files, base, labels_from)]
    if len(classes) == 1:
        notes.append(f"there is only one class: {shown(classes[0])}")
    left = max(0, sum(inside.values()) - used) + sum(count for kind, count in passed.kinds.items() if kind)
    return Listing(source, files, np.arange(used), classes, tuple(notes), test, unzipped, left)


SHARD, SHARD_IMAGE = re.compile(r"\d{5}"), re.compile(r"img\d{8}\.")
"""Folders and files as StyleGAN's dataset_tool.py names them: 00000/img00000000.png."""


def _below(counts: Mapping[str, int], base: str) -> dict[str, int]:
    """The folders below one, as paths from there ('': itself), with the number of images in each."""
    return {
        f"{name}/".removeprefix(base).removesuffix("/"): count
        for name, count in counts.items()
        if f"{name}/".startswith(base) or not base
    }


def _path(base: str, name: str) -> str:
    """A folder below `base` as a path inside the source."""
    return f"{base}{name}".removesuffix("/")


def _split(inside: Mapping[str, int]) -> dict[str, str]:
    """What a split set's folders are called, by what they mean; {} where the first folders are no split."""
    tops = {name.partition("/")[0] for name in inside}
    meaning = {top: kind for top in tops for kind, names in SPLITS.items() if top.lower() in names}
    found = {kind: top for top, kind in meaning.items()}
    return found if len(meaning) == len(tops) == len(found) and "train" in found else {}


def _classes(
    inside: Mapping[str, int], labels_from: str | None, place: str, passed: _ScanNotes, base: str, files: FileIndex
) -> tuple[dict[str, str | None], list[str]]:
    """The class of each folder that is used, None for images without; and what is passed over."""
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
            raise SparringError(f"labels are to come from folders, and the images lie directly in {place}")
        return {"": None}, []
    wins = (
        labels_from == "folders"
        or not direct
        or nested > (1 - MAX_PASSED_OVER) * total
        or (len(tops) > 1 and 2 * direct <= nested)
    )
    if not wins and nested <= MAX_PASSED_OVER * total:
        example = files.first_in(_path(base, min((name for name in inside if name), key=natural_key)))
        return {"": None}, [
            f"passed over {nested:,} images in deeper folders, as {shown(example)}: most lie directly in the source; "
            "--labels-from none takes all"
        ]
    if not wins:
        folders = ", ".join(map(shown, sorted(tops, key=natural_key)[:5]))
        raise SparringError(
            f"{direct:,} images lie directly in {place} and {nested:,} in its folders ({folders}): choose with "
            "--labels-from folders (those in folders, which are the classes) or none (all of them, without classes)"
        )
    deep = {name: count for name, count in inside.items() if "/" in name}
    if labels_from is None and len(deep) == len(inside):
        example = files.first_in(_path(base, min(deep, key=natural_key)))
        better = shown(f"{place.strip(chr(39))}/{PurePosixPath(example).parent.parent}")
        raise SparringError(
            f"the images in {place} lie too deep, as {shown(example)}: give the folder whose subfolders are the "
            f"classes, here perhaps '{better}'; or choose --labels-from folders (the first folder on the way) or none"
        )
    notes = []
    if direct:
        stray = files.first_in(_path(base, ""))
        notes.append(
            f"passed over {direct:,} images outside the class folders, as {shown(stray)}: --labels-from none takes all "
            "images, without classes"
        )
    if deep:
        example = files.first_in(_path(base, min(deep, key=natural_key)))
        notes.append(
            f"{sum(deep.values()):,} images in deeper folders are of their first folder's class, as {shown(example)}"
        )
    return {name: name.partition("/")[0] for name in inside if name}, notes


def _strange_classes(classes: tuple[str, ...], passed: _ScanNotes, base: str) -> Iterator[str]:
    """Class folders that hold no images, and those that are called as masks are."""
    empty = sorted({f.removeprefix(base) for f in passed.folders if f.startswith(base)} - {*classes}, key=natural_key)
    empty = [name for name in empty if name and "/" not in name]
    if empty:
        more = f" and {len(empty) - 5} more" if len(empty) > 5 else ""
        yield f"no images in {len(empty)} folders: {', '.join(map(shown, empty[:5]))}{more}"
    if masks := [name for name in classes if name.lower() in MASKS]:
        yield f"{', '.join(map(shown, masks))} sounds like masks and is taken as a class: give the folder of images"


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass
class _ScanNotes:
    """What is noted on the way through the files.

    unread         folders that cannot be read
    deepest        folders too deep to look at
    kinds, others  files that are no images by their name: of kinds that have a name, and others; with the first of them
    masks          images that are called as masks are, and the first of them
    tables         files that may hold labels
    folders        folders that were seen, the first two levels
    tops, bare     the first folders on the ways to images, two of them at most, and whether an image has none
    """

    unread: list[str] = field(default_factory=list)
    deepest: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    masks: int = 0
    mask: str = ""
    tables: dict[str, FileEntry] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    tops: set[str] = field(default_factory=set)
    bare: bool = False

    def images(self, found: Iterator[FileEntry]) -> Iterator[FileEntry]:
        last = None
        for file in found:
            suffix = os.path.splitext(file.name)[1].lower()
            if (place := folder(file.name)) != last:
                self.see(last := place)
            if suffix not in SUFFIXES:
                kind = NOT_READ.get(suffix, "")
                self.kinds[kind] += 1
                self.examples.setdefault(kind, file.name)
                if suffix in TABLES and len(self.tables) < 1000:
                    self.tables[file.name] = file
                continue
            if MASK.search(file.name):
                self.masks, self.mask = self.masks + 1, self.mask or file.name
            first, slash, _ = file.name.partition("/")
            self.bare |= not slash
            if slash and len(self.tops) < 2:
                self.tops.add(first)
            yield file

    def see(self, folder: str) -> None:
        if len(self.folders) < 10_000:
            self.folders.update("/".join(folder.split("/")[:levels]) for levels in (1, 2))

    @property
    def one_top(self) -> bool:
        """Whether there is one folder that holds all images."""
        return len(self.tops) == 1 and not self.bare

    @property
    def top(self) -> str:
        return f"{min(self.tops)}/"

    def notes(self, files: FileIndex, base: str, labels_from: str | None) -> Iterator[str]:
        yield from (f"passed over a folder that cannot be read: {shown(name)}" for name in self.unread)
        yield from (
            f"passed over a folder more than {MAX_DEPTH} levels deep: {shown(name)}" for name in self.deepest[:3]
        )
        yield from (self.of_kind(kind) for kind in sorted(self.kinds) if kind)
        tables = [name for name in sorted(self.tables, key=natural_key) if name != f"{base}dataset.json"]
        tables = [name for name in tables if folder(name) in ("", base.removesuffix("/"))]
        if tables and labels_from is None:
            yield f"{shown(tables[0])} was seen and not read: labels are taken from a table by --labels-from FILE"
        others = self.kinds[""] - len(tables) * (labels_from is None) - (f"{base}dataset.json" in self.tables)
        if others > 0:
            yield f"passed over {others} files that are no images by their name, as {shown(self.examples[''])}"
        if self.masks and self.masks < len(files):
            yield f"{self.masks:,} files are called as masks are, as {shown(self.mask)}: take them away if they are"
        count, name = files.twice()
        if count:
            yield f"{count:,} names are there more than once and the last file of a name counts, as {shown(name)}"

    def of_kind(self, kind: str) -> str:
        return (
            f"passed over {self.kinds[kind]} {kind} files, as {shown(self.examples[kind])}: {kind} is not read, "
            "convert them to JPEG or PNG"
        )


MASK = re.compile(r"[-_ ](mask|seg|segmentation|gt)\.\w+$", re.IGNORECASE)


def _files_of_folder(source: Path, passed: _ScanNotes) -> Iterator[FileEntry]:
    """Everything that is no folder.

    Links to class folders are followed, unless they lead to a folder that holds the source; deeper ones are not: so a
    loop of links ends.
    """
    home = os.path.realpath(source)
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
                        if entry.is_symlink() and f"{home}/".startswith(f"{os.path.realpath(entry.path)}/"):
                            continue
                        passed.see(name)
                        if depth < MAX_DEPTH:
                            waiting.append((name, depth + 1))
                        else:
                            passed.deepest.append(name)
                    elif not (entry.is_symlink() and entry.is_dir()):
                        exists = os.path.exists(entry.path)  # a dangling link is a bad file
                        status = entry.stat(follow_symlinks=exists)
                        yield FileEntry(name, status.st_size, status.st_mtime_ns)
        except OSError as error:
            if not inside:
                raise SparringError(f"cannot read the folder '{shown(str(source))}': {error.strerror}") from error
            passed.unread.append(inside)


def _files_of_archive(source: Path, members: Iterator[zipfile.ZipInfo], passed: _ScanNotes) -> Iterator[FileEntry]:
    try:
        for info in members:
            name = _plain(info.filename)
            if not name or any(_is_hidden(part) for part in name.split("/")):
                continue
            if info.is_dir() or info.filename.endswith("\\"):
                passed.see(name)
                continue
            member = (info.header_offset, info.compress_size, info.compress_type, info.CRC, info.flag_bits)
            yield FileEntry(name, info.file_size, 0, member)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, ValueError, NotImplementedError) as error:
        raise SparringError(f"cannot read the archive '{shown(str(source))}': {error}") from error


UNUSUAL = re.compile(r"\\|:|^/|//|/$|(^|/)\.\.?(/|$)")


def _plain(name: str) -> str:
    """A member's name as a path inside the archive, whatever system and program wrote it: parts with '/' between."""
    if not UNUSUAL.search(name):
        return name
    name = re.sub(r"^[A-Za-z]:", "", name.replace("\\", "/"))
    return "/".join(part for part in name.split("/") if part not in ("", ".", ".."))


def _member(found: FileEntry) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(found.name)
    info.file_size = found.size
    info.header_offset, info.compress_size, info.compress_type, info.CRC, info.flag_bits = found.member
    return info


def _none_found(place: str, passed: _ScanNotes) -> SparringError:
    if kind := next((kind for kind in sorted(passed.kinds) if kind), None):
        return SparringError(f"no images in {place}: {passed.of_kind(kind)}")
    others = passed.kinds.total()
    found = f"only {others} files of other kinds" if others else "no files"
    return SparringError(f"no images in {place}, {found}; images end in {' '.join(sorted(SUFFIXES))}")


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
