"""Errors that a user can cause, and helpers that check and format values for their messages."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable, Sequence
from pathlib import Path


class SparringError(Exception):
    """Invalid input. The message is one line: what was given, what is possible, what to do.

    The command line prints it without a traceback and exits with `exit_code`.
    """

    exit_code = 2


class InterruptedRun(SparringError):
    """A signal stopped training, after a checkpoint. `exit_code`: 128 + signal number; `run`: run directory."""

    def __init__(self, message: str, signal_number: int, run: Path | None = None) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number
        self.run = run


class DivergedError(SparringError):
    """A loss or gradient norm was not finite, or exploded; no weight was updated with it."""

    exit_code = 3


class StorageError(SparringError):
    """The disk is full, read-only or gone. Files that were complete before are untouched."""

    exit_code = 4


class ProcessLostError(SparringError):
    """Another process of the same training died or did not respond in time; the last checkpoint is valid."""

    exit_code = 5


def printable(text: str, keep: str = "") -> str:
    """`text` with control characters and undecodable bytes escaped, safe to print on one line.

    File and class names from elsewhere thus cannot send commands to the terminal.

    keep  characters that are not escaped, such as line breaks
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def unknown_name_error(kind: str, name: str, possible: Iterable[str]) -> SparringError:
    """An error with the unknown name, the closest valid name, and all valid names."""
    possible = list(possible)
    nearest = difflib.get_close_matches(name, possible, n=1, cutoff=0.5)
    hint = f"; did you mean '{printable(nearest[0])}'?" if nearest else ""
    return SparringError(f"unknown {kind} '{printable(name)}'{hint} (possible: {', '.join(map(printable, possible))})")


MOST = 2**63 - 1
"""The largest 64-bit signed integer: the limit of tensors, seeds and files."""

ROWS = r"^[0-9]{1,12}:[0-9]{1,12}$"
"""Rows of a data set as text: START:END."""


def require_int(what: str, value: object, least: int = 1, most: int = MOST) -> int:
    """The value as int. Raises SparringError unless it is a whole number in [least, most]."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or not least <= number <= most:
        limits = f"at least {least:,}" if most == MOST else f"from {least:,} to {most:,}"
        raise SparringError(
            f"{what} is {abbreviated(value)}: it must be {'a whole number, ' * (number is None)}{limits}"
        )
    return number


def require_size(
    name: str, size: int, sizes: Sequence[int] = (), *, multiple_of: int = 1, least: int = 1, others: str = ""
) -> None:
    """Raise SparringError unless `name`, a recipe or a kind of network, supports images of size x size pixels.

    sizes        all supported sizes; empty: every multiple of `multiple_of` from `least` on
    multiple_of  used if `sizes` is empty, as is `least`
    others       names of recipes for other sizes
    """
    if sizes:
        nearest = min(sizes, key=lambda supported: abs(supported - size))
        *but_last, last = map(str, sizes)
        supported = f"{', '.join(but_last)} or {last}" if but_last else last
    else:
        least = -(-least // multiple_of) * multiple_of
        nearest = max(least, round(size / multiple_of) * multiple_of)
        supported = f"a multiple of {multiple_of} and at least {least}" if multiple_of > 1 else f"at least {least}"
    if size != nearest:
        remedy = f"give --size {nearest}" + (f", or choose a recipe for other sizes ({others})" if others else "")
        raise SparringError(f"{name} supports images whose size is {supported} pixels, not {size}: {remedy}")


def require_path(what: str, value: object) -> Path:
    """The value as a path. Raises SparringError unless it is a valid one."""
    if not isinstance(value, str | Path) or "\0" in str(value):
        raise SparringError(f"{what} is {abbreviated(value)}: it must be a path")
    return Path(value)


def is_number(text: str) -> bool:
    """Whether a text is a whole number: ASCII digits 0 to 9 (not ² or ٣), at most 18 of them."""
    return text.isascii() and text.isdecimal() and len(text) <= 18


def abbreviated(value: object, most: int = 60) -> str:
    """`repr(value)` on one line, in at most `most` characters."""
    try:
        text = " ".join(repr(value).split())  # the repr of an array has several lines
    except ValueError:  # Python does not convert integers of more than 4,300 digits
        return "a number of more than 4,300 digits"
    return text if len(text) <= most else f"{text[: most - 3]}..."


def plural(number: int, noun: str) -> str:
    """A number and its noun: "1 image", "1,000 images"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
