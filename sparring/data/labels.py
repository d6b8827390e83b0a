"""Read labels from a file: StyleGAN's dataset.json, or a table with one file and label per line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from sparring.data.file_index import FileIndex, natural_key
from sparring.errors import SparringError, shown

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
    files: FileIndex, base: str, pairs: Iterable[tuple[str, str]], what: str
) -> tuple[dict[str, int], tuple[str, ...], list[str]]:
    """Match (file, label) pairs to images. Returns {image: label index}, the class names, and notes.

    A file is identified by its path inside the source (relative to `base`), or by its name or stem if that is unique.
    Raises `SparringError` if two lines contradict each other or no image has a label.
    """
    by_path = {name.removeprefix(base): name for name in files.names()}
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
                f"{what} gives {shown(image)} two labels, {shown(labels[image])} and {shown(label)}: keep one"
            )
    if not labels:
        example = f" (e.g. {shown(first_unknown)})" if first_unknown else ""
        raise SparringError(f"no file in {what} is an image of the source{example}: give paths relative to the source")
    classes = tuple(sorted(set(labels.values()), key=natural_key))
    number = {name: label for label, name in enumerate(classes)}
    notes = [f"labels from {what}: {len(labels):,} images, {len(classes):,} classes"]
    if len(labels) < len(by_path):
        missing = next(name for name in sorted(by_path.values(), key=natural_key) if name not in labels)
        notes.append(f"skipped {len(by_path) - len(labels):,} images without a label, e.g. {shown(missing)}")
    if unknown:
        notes.append(f"{what} lists {unknown:,} files that are not images of the source, e.g. {shown(first_unknown)}")
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
                f"{what} gives {shown(str(file))[:60]} the label {shown(str(label))[:60]}; give integers or names"
            )
    return [(file, str(label)) for file, label in pairs]


def _of_table(rows: list[list[str]], what: str) -> list[tuple[str, str]]:
    if not rows:
        raise SparringError(f"{what} is empty: give one line per image, with its file and label")
    header = [field.strip().lower() for field in rows[0]]
    file, label = (next((header.index(name) for name in names if name in header), None) for names in _COLUMNS)
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
            f"the columns of {what} are {shown(', '.join(header))[:200]}: name the column of files 'file' and "
            "the column of labels 'label'"
        )
    short = next((row for row in rows if len(row) <= max(file, label)), None)
    if short is not None:
        raise SparringError(
            f"a line of {what} has {len(short)} columns instead of {len(header)}: {shown(str(short))[:80]}"
        )
    return [(row[file].strip(), row[label].strip()) for row in rows if row[label].strip()]


_COLUMNS = (FILE_COLUMNS, LABEL_COLUMNS)
