"""The logs of a run: append-only JSON lines; damaged lines are skipped when read."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparring.errors import SparringError

LOGS = ("log", "metrics", "health")
"""Logs of deterministic values: truncated to the checkpoint when a run is resumed."""

TAIL = 1 << 16
"""Bytes at the end of a log in which its last line is searched."""

MAX_LINE_BYTES = 1 << 20
"""Longer lines are skipped; training writes none as long."""

ALARM = {"title": str, "sentence": str, "command": str, "cause": str, "certainty": str, "began": int, "noticed": int}
"""Fields of an alarm, in addition to `passed`: the round in which it passed, or None."""


def texts(file: Path) -> Iterator[bytes]:
    """The raw lines of a log, except those that are too long; none if there is no file."""
    if not file.is_file():
        return
    try:
        with open(file, "rb") as opened:
            whole = True
            while text := opened.readline(MAX_LINE_BYTES):
                if whole and (text.endswith(b"\n") or len(text) < MAX_LINE_BYTES):
                    yield text
                whole = text.endswith(b"\n")
    except OSError as error:
        raise SparringError(f"cannot read {file}: {error.strerror}") from None


def parsed(log: str, text: bytes) -> dict[str, Any] | None:
    """A line of "log", "metrics", "health" or "timing"; None if it is damaged."""
    try:
        line = json.loads(text)
        return line if isinstance(line, dict) and _is_line(log, line) else None
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return None


def _is_line(log: str, line: Mapping[str, Any]) -> bool:
    """Whether a line has the fields and types of this log."""

    def numbers(of: Mapping[str, Any], *names: str) -> bool:
        return all(_is_number(of[name]) for name in names)

    if log == "health" and "alarm" in line:
        alarm = line["alarm"]
        fields = {**alarm}
        passed = fields.pop("passed")
        valid = fields.keys() == ALARM.keys() and all(type(fields[name]) is kind for name, kind in ALARM.items())
        rounds = [alarm["began"], alarm["noticed"], *([] if passed is None else [passed])]
        return valid and all(map(_is_round, rounds))
    if not _is_round(line["round"]):
        return False
    if log == "health":
        return all(value is None or _is_number(value) for value in line.values())
    if log == "log":
        moves = [dict(move) for move in line["moves"]]
        named = all(isinstance(move.pop("player"), str) for move in moves)
        return named and bool(moves) and all(numbers(move, "loss", "gradient", *move) for move in moves)
    if log == "metrics":
        distance = ("floor", "held_out_b") if {"floor", "held_out_b", "extractor"} & line.keys() else ()
        finite = numbers(line, "value", "n", *distance) and all(abs(line[name]) < 1e30 for name in ("value", *distance))
        named = all(isinstance(line[key], str) for key in ("metric", "name", *(["extractor"] if distance else [])))
        return finite and named
    return numbers(line, "seconds") and 0 <= line["seconds"] < 1e12


def _is_round(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**53


def _is_number(value: object) -> bool:
    """Whether a value is a number in the range of floats."""
    return type(value) is float or (type(value) is int and abs(value) < 2**1000)


@dataclass
class Appended:
    """Length and running SHA-256 of a log."""

    length: int
    sha256: Any

    def add(self, data: bytes) -> None:
        """Update for bytes that were appended."""
        self.length += len(data)
        self.sha256.update(data)

    def as_dict(self) -> dict[str, Any]:
        """As JSON values, for a checkpoint."""
        return {"bytes": self.length, "sha256": self.sha256.hexdigest()}


def prefix(file: Path, length: int | None = None) -> Appended:
    """Length and SHA-256 of the first `length` bytes of a log (default: all), or of fewer if it is shorter."""
    state, remaining = Appended(0, hashlib.sha256()), sys.maxsize if length is None else length
    if file.is_file():
        with open(file, "rb") as opened:
            while remaining and (block := opened.read(min(remaining, 1 << 20))):
                state.add(block)
                remaining -= len(block)
    return state
