"""Parse classes that a user selects by name or by index."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence

from sparring.errors import SparringError, abbreviated, is_number, unknown_name_error


def numbers_of(text: str, classes: Sequence[str]) -> list[int]:
    """Class indices from a comma-separated list: cat,dog or 3,5; quote names that contain commas: "cat, big",dog.

    Raises SparringError as `number_of` does, and for an empty list.
    """
    if text in classes:
        return [number_of(text, classes)]
    try:
        words = next(csv.reader([text], skipinitialspace=True, strict=True), [])
    except csv.Error as error:
        raise SparringError(f"classes {abbreviated(text)} cannot be read ({error}): separate names by commas") from None
    if not words:
        raise SparringError(f"no class is named (possible: {', '.join(classes) or 'numbers'})")
    return [number_of(word.strip(), classes) for word in words]


def folders_of(classes: Sequence[str]) -> list[str]:
    """A folder name for the samples of each class: its name without special characters, or its index if two collide."""
    folders = [re.sub(r"[^\w-]+", "-", name).strip("-") for name in classes]
    if len({*folders, ""}) <= len(folders):  # an empty name, or two equal ones
        return [str(number) for number in range(len(classes))]
    return folders


def number_of(name: str, classes: Sequence[str]) -> int:
    """The index of the class `name`. An integer is an index, unless the class names are integers themselves.

    The range of an index is not checked here. Raises SparringError that lists the possible names.
    """
    if name in classes:
        return list(classes).index(name)
    if not is_number(name):
        raise unknown_name_error("class", name, [f'"{label}"' if "," in label else label for label in classes])
    if any(map(is_number, classes)):
        raise SparringError(
            f"unknown class '{name}': the class names are numbers here, so a number is a name, not an "
            f"index (possible: {', '.join(classes)})"
        )
    return int(name)
