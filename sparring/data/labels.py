"""Labels from a file: StyleGAN's dataset.json, or a table with a file and its label in each line."""

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
    """(file, label) of each line of a .csv, .tsv or .json file; None where its `labels` are null (StyleGAN).

    .csv, .tsv  columns `file` and `label` under a header (or names that mean these), or two columns without one
    .json       {"labels": [[file, label], ...]} (StyleGAN) or {file: label, ...}

    name  of the file; what: how it is called in an error. Raises `SparringError` for anything else.
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
    """The label of each image, by its name in `files`; the classes that labels count; and what is to be said.

    A file is named by its path inside the source (`base`: the folder that holds everything), or by its name or stem
    alone where only one image has it. Raises `SparringError` when two lines disagree or no image has a label.
    """
    by_path = {name.removeprefix(base): name for name in files.names()}
    by_name: dict[str, str | None] = {}
    for name in by_path.values():
        for short in {PurePosixPath(name).name, PurePosixPath(name).stem}:
            by_name[short] = None if short in by_name else name
    chosen: dict[str, str] = {}
    unknown, first = 0, ""
    for file, label in pairs:
        path = file.replace("\\", "/").removeprefix("./")
        found = by_path.get(path) or by_path.get(path.removeprefix(base)) or by_name.get(PurePosixPath(path).name)
        if found is None:
            unknown, first = unknown + 1, first or file
        elif chosen.setdefault(found, label) != label:
            raise SparringError(
                f"{what} gives {shown(found)} two labels, {shown(chosen[found])} and {shown(label)}: keep one"
            )
    if not chosen:
        example = f", as {shown(first)}" if first else ""
        raise SparringError(
            f"no file that {what} names is an image here{example}: give names as they are in the source"
        )
    classes = tuple(sorted(set(chosen.values()), key=natural_key))
    number = {name: label for label, name in enumerate(classes)}
    notes = [f"labels are from {what}: {len(chosen):,} images of {len(classes):,} classes"]
    if len(chosen) < len(by_path):
        missing = next(name for name in sorted(by_path.values(), key=natural_key) if name not in chosen)
        notes.append(f"passed over {len(by_path) - len(chosen):,} images without a label, as {shown(missing)}")
    if unknown:
        notes.append(f"{what} names {unknown:,} files that are no images here, as {shown(first)}")
    return {name: number[label] for name, label in chosen.items()}, classes, notes


def _of_json(found: Any, what: str) -> list[tuple[str, str]] | None:
    labels = found.get("labels", found) if isinstance(found, dict) else None
    if labels is None and isinstance(found, dict):
        return None
    pairs = list(labels.items()) if isinstance(labels, dict) else labels
    if not isinstance(pairs, list) or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise SparringError(f'{what} has no labels as they are read here: {{"labels": [[file, label], ...]}}')
    for file, label in pairs:
        if not isinstance(file, str) or isinstance(label, bool) or not isinstance(label, int | str):
            raise SparringError(
                f"{what} gives {shown(str(file))[:60]} the label {shown(str(label))[:60]}; give whole numbers or names"
            )
    return [(file, str(label)) for file, label in pairs]


def _of_table(rows: list[list[str]], what: str) -> list[tuple[str, str]]:
    if not rows:
        raise SparringError(f"{what} is empty: give a line with a file and its label for each image")
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
            f"the columns of {what} are {shown(', '.join(header))[:200]}: call the one with files 'file' and "
            "the one with labels 'label'"
        )
    short = next((row for row in rows if len(row) <= max(file, label)), None)
    if short is not None:
        raise SparringError(
            f"a line of {what} has {len(short)} columns where there should be {len(header)}: {shown(str(short))[:80]}"
        )
    return [(row[file].strip(), row[label].strip()) for row in rows if row[label].strip()]


_COLUMNS = (FILE_COLUMNS, LABEL_COLUMNS)
