"""The errors that a user can cause, and the one way to say that a name is unknown."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable
from pathlib import Path


class SparringError(Exception):
    """Something in the input is wrong. The message is one line: what was given, what was possible, what to do.

    The command line prints it without a traceback and exits with `exit_code`.
    """

    exit_code = 2


class InterruptedRun(SparringError):
    """Training stopped on a signal after saving; exits with 128 + the signal's number. `run`: its directory."""

    def __init__(self, message: str, signal_number: int, run: Path | None = None) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number
        self.run = run


class DivergedError(SparringError):
    """A loss or a gradient stopped being finite, or exploded; nothing was updated with it."""

    exit_code = 3


class StorageError(SparringError):
    """The disk refused: full, read-only, gone. Whatever was complete before is untouched."""

    exit_code = 4


class ProcessLostError(SparringError):
    """Another process of the same training died or did not answer in time; the last checkpoint is good."""

    exit_code = 5


def shown(text: str, keep: str = "") -> str:
    """What came from outside as it can be printed on one line: control characters and bytes that are no text are
    written out, so that the name of a file or of a class cannot send commands to the terminal.

    keep  characters that stay as they are, such as line breaks
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def unknown_name_error(kind: str, given: str, possible: Iterable[str]) -> SparringError:
    """An error that names what was given, the nearest right name, and everything that was possible."""
    possible = list(possible)
    nearest = difflib.get_close_matches(given, possible, n=1, cutoff=0.5)
    hint = f"; did you mean '{shown(nearest[0])}'?" if nearest else ""
    return SparringError(f"unknown {kind} '{shown(given)}'{hint} (possible: {', '.join(map(shown, possible))})")


MOST = 2**63 - 1
"""The largest whole number that tensors, seeds and files know."""


def require_int(what: str, value: object, least: int = 1, most: int = MOST) -> int:
    """The value, if it is a whole number within the limits; an error that names it and them if not."""
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


def require_path(what: str, value: object) -> Path:
    """The value as a path; an error that names it where it can be none."""
    if not isinstance(value, str | Path) or "\0" in str(value):
        raise SparringError(f"{what} is {abbreviated(value)}: give a path")
    return Path(value)


def is_number(text: str) -> bool:
    """Whether a text is a whole number as one writes it: digits 0 to 9 (not ² or ٣), at most 18 of them."""
    return text.isascii() and text.isdecimal() and len(text) <= 18


def abbreviated(value: object, most: int = 60) -> str:
    """What was given, in at most so many characters."""
    try:
        text = " ".join(repr(value).split())  # arrays are shown in several lines
    except ValueError:  # Python writes no numbers of more than 4,300 digits
        return "a number of more than 4,300 digits"
    return text if len(text) <= most else f"{text[: most - 3]}..."
