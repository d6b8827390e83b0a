"""Classes that a user chooses, by name or by number."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence

from sparring.errors import SparringError, abbreviated, is_number, unknown_name_error


def numbers_of(text: str, classes: Sequence[str]) -> list[int]:
    """Numbers of the classes in a text: cat,dog or 3,5; a name with commas stands in double quotes: "cat, big",dog.

    Raises SparringError as `number_of` does, and for a text without names.
    """
    if text in classes:
        return [number_of(text, classes)]
    try:
        words = next(csv.reader([text], skipinitialspace=True, strict=True), [])
    except csv.Error as error:
        raise SparringError(f"classes {abbreviated(text)} cannot be read ({error}): put commas between names") from None
    if not words:
        raise SparringError(f"no class is named (possible: {', '.join(classes) or 'numbers'})")
    return [number_of(word.strip(), classes) for word in words]


def folders_of(classes: Sequence[str]) -> list[str]:
    """The folder that samples of each class are written to: its name without signs, or a number if two are alike."""
    folders = [re.sub(r"[^\w-]+", "-", name).strip("-") for name in classes]
    if len({*folders, ""}) <= len(folders):  # a name without letters, or two that are the same now
        return [str(number) for number in range(len(classes))]
    return folders


def number_of(name: str, classes: Sequence[str]) -> int:
    """The number of the class of that name; or the number that `name` is, unless classes have numbers for names.

    Whether there are so many classes is for the system to say. Raises SparringError with what is possible.
    """
    if name in classes:
        return list(classes).index(name)
    if not is_number(name):
        raise unknown_name_error("class", name, [f'"{one}"' if "," in one else one for one in classes])
    if any(map(is_number, classes)):
        raise SparringError(
            f"unknown class '{name}': these classes are named by numbers, so a number is a name, not a place in the "
            f"list (possible: {', '.join(classes)})"
        )
    return int(name)
