"""Classes that a user chooses, by name or by number."""

from __future__ import annotations

import csv
from collections.abc import Sequence

from sparring.errors import SparringError, is_number, unknown


def numbers_of(text: str, classes: Sequence[str]) -> list[int]:
    """Numbers of the classes in a text: cat,dog or 3,5; a name with commas stands in double quotes: "cat, big",dog.

    Raises SparringError as `number_of` does, and for a text without names.
    """
    if text in classes:
        return [number_of(text, classes)]
    try:
        words = next(csv.reader([text], skipinitialspace=True, strict=True), [])
    except csv.Error as error:
        raise SparringError(f"classes {text!r} cannot be read ({error}): give names with commas between them") from None
    if not words:
        raise SparringError(f"no class is named (possible: {', '.join(classes) or 'numbers'})")
    return [number_of(word.strip(), classes) for word in words]


def number_of(name: str, classes: Sequence[str]) -> int:
    """The number of the class of that name; or the number that `name` is, unless classes have numbers for names.

    Whether there are so many classes is for the system to say. Raises SparringError with what is possible.
    """
    if name in classes:
        return list(classes).index(name)
    if not is_number(name):
        raise unknown("class", name, classes)
    if any(map(is_number, classes)):
        raise SparringError(
            f"unknown class '{name}': these classes are named by numbers, so a number is a name, not a place in the "
            f"list (possible: {', '.join(classes)})"
        )
    return int(name)
