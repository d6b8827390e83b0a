"""Labels of image files: from their folders, StyleGAN's dataset.json, or a table with one file and label per line."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from sparring.errors import SparringError, plural, printable

FILE_COLUMNS = (
    "file",
    "filename",
    "file_name",
    "image",
    "image_id",
    "image_name",
    "img",
    "path",
    "filepath",
    "name",
    "id",
)
LABEL_COLUMNS = ("label", "labels", "class", "class_name", "category", "target", "species", "breed")
SUFFIXES = (".csv", ".tsv", ".json")

SPLITS = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "validation": ("val", "valid", "validation", "dev"),
}
"""Folder names of a data set that comes split."""

SHARD, SHARD_IMAGE = re.compile(r"\d{5}"), re.compile(r"img\d{8}\.")
"""Folder and file names of StyleGAN's dataset_tool.py: 00000/img00000000.png."""

MASKS = {"mask", "masks", "annotation", "annotations", "segmentation", "segmentations", "groundtruth", "ground_truth"}
MAX_SKIPPED = 0.2  # largest share of images that is skipped for its location; otherwise the user must choose


def natural_key(name: str) -> tuple[str, str]:
    """A sort key that compares digits inside names as numbers; ties are broken by the plain name."""
    return sort_key(name), name


def sort_key(name: str) -> str:
    """`natural_key` without the plain name: text in lower case, then the length and digits of each number."""
    parts = re.split(r"(\d+)", name)
    for i in range(1, len(parts), 2):
        digits = parts[i].lstrip("0")
        parts[i] = f"\0{chr(len(digits))}{digits}"  # NUL sorts before every character of a name
    parts[::2] = map(str.lower, parts[::2])
    return "".join(parts)


# Tables.


def read_labels(text: bytes, name: str, what: str) -> list[tuple[str, str]] | None:
    """Parse the (file, label) pairs of a .csv, .tsv or .json file; None if its `labels` are null (StyleGAN).

    .csv, .tsv  a header with columns `file` and `label` (or synonyms), or two columns without a header
    .json       {"labels": [[file, label], ...]} (StyleGAN) or {file: label, ...}

    text  content of the file
    name  name of the file; its suffix selects the format
    what  how error messages refer to the file

    Raises `SparringError` for anything else.
    """
    try:
        decoded = text.decode("utf-8-sig")
        if name.lower().endswith(".json"):
            return _of_json(json.loads(decoded), what)
        tab = name.lower().endswith(".tsv")
        rows = csv.reader(io.StringIO(decoded, newline=""), delimiter="\t" if tab else ",", strict=True)
        return _of_table([row for row in rows if any(field.strip() for field in row)], what)
    except (ValueError, RecursionError, csv.Error) as error:
        raise SparringError(f"cannot read labels from {what}: {str(error).splitlines()[0]}") from error


def assign(
    names: Iterable[str], base: str, pairs: Iterable[tuple[str, str]], what: str
) -> tuple[dict[str, int], tuple[str, ...], list[str]]:
    """Match (file, label) pairs to the `names` of images. Returns {name: label index}, the class names, and notes.

    A file is identified by its path inside the source (relative to `base`), or by its name or stem if that is unique.
    Raises `SparringError` if two lines contradict each other or no image has a label.
    """
    by_path = {name.removeprefix(base): name for name in names}
    by_name: dict[str, str | None] = {}
    for name in by_path.values():
        for short in {PurePosixPath(name).name, PurePosixPath(name).stem}:
            by_name[short] = None if short in by_name else name
    labels: dict[str, str] = {}
    unknown, first_unknown = 0, ""
    for file, label in pairs:
        path = file.replace("\\", "/").removeprefix("./")
        image = by_path.get(path) or by_path.get(path.removeprefix(base)) or by_name.get(PurePosixPath(path).name)
        if image is None:
            unknown, first_unknown = unknown + 1, first_unknown or file
        elif labels.setdefault(image, label) != label:
            raise SparringError(
                f"{what} gives {printable(image)} two labels, {printable(labels[image])} and {printable(label)}: keep "
                "one"
            )
    if not labels:
        example = f" (e.g. {printable(first_unknown)})" if first_unknown else ""
        raise SparringError(f"no file in {what} is an image of the source{example}: give paths relative to the source")
    classes = tuple(sorted(set(labels.values()), key=natural_key))
    number = {name: label for label, name in enumerate(classes)}
    notes = [f"labels from {what}: {len(labels):,} images, {len(classes):,} classes"]
    if len(labels) < len(by_path):
        missing = next(name for name in sorted(by_path.values(), key=natural_key) if name not in labels)
        skipped = plural(len(by_path) - len(labels), "image")
        notes.append(f"skipped {skipped} without a label, e.g. {printable(missing)}")
    if unknown:
        files = "1 file that is no image" if unknown == 1 else f"{unknown:,} files that are not images"
        notes.append(f"{what} lists {files} of the source, e.g. {printable(first_unknown)}")
    return {name: number[label] for name, label in labels.items()}, classes, notes


def _of_json(content: Any, what: str) -> list[tuple[str, str]] | None:
    labels = content.get("labels", content) if isinstance(content, dict) else None
    if labels is None and isinstance(content, dict):
        return None
    pairs = list(labels.items()) if isinstance(labels, dict) else labels
    if not isinstance(pairs, list) or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise SparringError(f'{what} has no labels in the expected format, {{"labels": [[file, label], ...]}}')
    for file, label in pairs:
        if not isinstance(file, str) or isinstance(label, bool) or not isinstance(label, int | str):
            raise SparringError(
                f"{what} gives {printable(str(file))[:60]} the label {printable(str(label))[:60]}; give integers or "
                "names"
            )
    return [(file, str(label)) for file, label in pairs]


def _of_table(rows: list[list[str]], what: str) -> list[tuple[str, str]]:
    if not rows:
        raise SparringError(f"{what} is empty: give one line per image, with its file and label")
    header = [field.strip().lower() for field in rows[0]]
    file, label = (
        next((header.index(name) for name in names if name in header), None) for names in (FILE_COLUMNS, LABEL_COLUMNS)
    )
    if len(header) == 2 and file is None and label is None:
        file, label = 0, 1  # no header
    elif len(header) == 2 and (file is None or label is None):
        file = 1 - label if label is not None and file is None else file
        label = 1 - file if file is not None and label is None else label
        rows = rows[1:]
    else:
        rows = rows[1:]
    if file is None or label is None:
        raise SparringError(
            f"the columns of {what} are {printable(', '.join(header))[:200]}: name the column of files 'file' and "
            "the column of labels 'label'"
        )
    short = next((row for row in rows if len(row) <= max(file, label)), None)
    if short is not None:
        raise SparringError(
            f"a line of {what} has {len(short)} columns instead of {len(header)}: {printable(str(short))[:80]}"
        )
    return [(row[file].strip(), row[label].strip()) for row in rows if row[label].strip()]


# Folders.


def classes_of_folders(
    counts: Mapping[str, int], labels_from: str | None, place: str, first_in: Callable[[str], str]
) -> tuple[dict[str, str | None], list[str]]:
    """{selected folder: class, or None for unlabeled images}, and notes about skipped images.

    counts       {folder: number of images in it}; '' is the source itself
    labels_from  "folders": the top-level folders are the classes; "none": all images, without classes; None: the
                 folders if there are any, unless that would skip many images
    place        how messages refer to the source
    first_in     the path of the first image in a folder

    Raises `SparringError` if it is ambiguous which images to use.
    """
    if labels_from == "none" or _are_shards(counts, first_in):
        return dict.fromkeys(counts), []
    direct, nested = counts.get("", 0), sum(counts.values()) - counts.get("", 0)
    if not nested and labels_from == "folders":
        raise SparringError(f"labels_from is 'folders', but all images are directly in {place}: use --labels-from none")
    if not nested:
        return {"": None}, []
    tops = {name.partition("/")[0] for name in counts if name}
    few_direct = (
        not direct or nested > (1 - MAX_SKIPPED) * (direct + nested) or (len(tops) > 1 and 2 * direct <= nested)
    )
    if labels_from != "folders" and not few_direct:
        return _without_folders(counts, place, tops, first_in)
    deep = {name: count for name, count in counts.items() if "/" in name}
    example = first_in(min(deep, key=natural_key)) if deep else ""
    if labels_from is None and len(deep) == len(counts):
        better = printable(f"{place.strip(chr(39))}/{PurePosixPath(example).parent.parent}")
        raise SparringError(
            f"the images in {place} are nested too deep, e.g. {printable(example)}: give the folder whose subfolders "
            f"are the classes, perhaps '{better}'; or choose --labels-from folders (the top-level folder) or none"
        )
    notes = []
    if direct:
        notes.append(
            f"skipped {plural(direct, 'image')} outside the class folders, e.g. {printable(first_in(''))}: "
            "--labels-from none uses all images, without classes"
        )
    if deep:
        notes.append(
            f"{sum(deep.values()):,} images in nested folders take the top-level folder as class, e.g. "
            f"{printable(example)}"
        )
    return {name: name.partition("/")[0] for name in counts if name}, notes


def _are_shards(counts: Mapping[str, int], first_in: Callable[[str], str]) -> bool:
    """Whether folders and files are named as by StyleGAN's dataset_tool.py."""
    return all(SHARD.fullmatch(name) for name in counts) and all(
        SHARD_IMAGE.match(PurePosixPath(first_in(name)).name) for name in counts
    )


def _without_folders(
    counts: Mapping[str, int], place: str, tops: Iterable[str], first_in: Callable[[str], str]
) -> tuple[dict[str, str | None], list[str]]:
    """Only the images that are directly in the source. Raises `SparringError` if that would skip many."""
    direct, nested = counts[""], sum(counts.values()) - counts[""]
    if nested > MAX_SKIPPED * (direct + nested):
        folders = ", ".join(map(printable, sorted(tops, key=natural_key)[:5]))
        raise SparringError(
            f"{direct:,} images are directly in {place} and {nested:,} in its folders ({folders}): choose "
            "--labels-from folders (images in folders; the folders are the classes) or none (all images, no classes)"
        )
    example = first_in(min((name for name in counts if name), key=natural_key))
    return {"": None}, [
        f"skipped {plural(nested, 'image')} in deeper folders, e.g. {printable(example)}: "
        "most are directly in the source; --labels-from none uses all"
    ]


def split_of_folders(counts: Mapping[str, int]) -> dict[str, str]:
    """{"train" | "test" | "validation": folder}; {} if the top-level folders are not a split."""
    tops = {name.partition("/")[0] for name in counts}
    meaning = {top: kind for top in tops for kind, names in SPLITS.items() if top.lower() in names}
    split = {kind: top for top, kind in meaning.items()}
    return split if len(meaning) == len(tops) == len(split) and "train" in split else {}


def folder_warnings(classes: Iterable[str], folders: set[str]) -> Iterator[str]:
    """Notes about class folders without images, and about folders that are probably masks."""
    empty = sorted((name for name in folders - {*classes} if name and "/" not in name), key=natural_key)
    if empty:
        more = f" and {len(empty) - 5} more" if len(empty) > 5 else ""
        yield f"no images in {plural(len(empty), 'folder')}: {', '.join(map(printable, empty[:5]))}{more}"
    if masks := [name for name in classes if name.lower() in MASKS]:
        yield f"{', '.join(map(printable, masks))} sounds like masks but is used as a class: give the folder of images"
