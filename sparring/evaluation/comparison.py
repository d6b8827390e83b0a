"""Compare two evaluations number by number; numbers whose metadata differ cannot be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from sparring.errors import SparringError
from sparring.evaluation.measurement import format_number
from sparring.evaluation.result import FORMAT
from sparring.metrics.intervals import Z

MUST_MATCH = {
    "metric": "the metric",
    "direction": "the direction",
    "unit": "the unit",
    "n": "the number of images, on which most metrics depend,",
    "extractor": "the feature extractor",
    "digest": "the SHA-256 of the extractor's weights",
    "split": "the split",
    "fingerprint": "the fingerprint of the data",
}
"""Metadata that two numbers must share -> description. EMA weights and seeds may be what is compared."""


@dataclass(frozen=True)
class Difference:
    """The first number minus the second.

    interval   95 % interval, from those of both numbers; None if one has none. It is over sets of samples, not over
               training runs
    floor      of the first number
    closer     probability that the first number is closer to its floor; None without intervals
    """

    name: str
    first: float
    second: float
    interval: tuple[float, float] | None
    floor: float | None
    closer: float | None

    @property
    def words(self) -> str:
        """The conclusion, in plain language."""
        if self.closer is None:
            return "no interval, so no conclusion"
        if 0.025 < self.closer < 0.975:
            return "no significant difference"
        return f"the {'first' if self.closer > 0.5 else 'second'} is closer to real images"

    def __str__(self) -> str:
        interval = f" ({format_number(self.interval[0])} to {format_number(self.interval[1])})" if self.interval else ""
        return f"{self.name} {format_number(self.first)} - {format_number(self.second)}{interval}: {self.words}"


def difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> Difference:
    """Difference of two entries of `Evaluation.as_dict()["metrics"]`. Raises SparringError if their metadata differ."""
    for key, description in MUST_MATCH.items():
        if first[key] != second[key]:
            raise SparringError(
                f"{first['name']} and {second['name']} cannot be compared: {description} differs "
                f"({_format(first[key])} and {_format(second[key])})"
            )
    numbers = (first["value"], second["value"])
    if not first["interval"] or not second["interval"]:
        return Difference(first["name"], *numbers, None, first["floor"], None)
    half = sum(((one["interval"][1] - one["interval"][0]) / 2) ** 2 for one in (first, second)) ** 0.5
    gap = numbers[0] - numbers[1]
    closer = None
    if first["floor"] is not None:
        advantage = abs(numbers[1] - second["floor"]) - abs(numbers[0] - first["floor"])
        closer = NormalDist().cdf(advantage / (half / Z)) if half > 0 else float(advantage > 0) if advantage else 0.5
    return Difference(first["name"], *numbers, (gap - half, gap + half), first["floor"], closer)


def compare(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Difference]:
    """Differences of all numbers that two evaluations (`Evaluation.as_dict()`, eval.json) share.

    Raises SparringError if their metadata differ or they have no number in common.
    """
    for evaluation in (first, second):
        if evaluation.get("format") != FORMAT:
            raise SparringError("this evaluation was made by another version of sparring: run sparring evaluate again")
    if first["fingerprint"] != second["fingerprint"]:
        raise SparringError(f"the data differ: {first['data']} and {second['data']} contain different images")
    records = {_key(record): record for record in second["metrics"]}
    pairs = [(record, records[_key(record)]) for record in first["metrics"] if _key(record) in records]
    if not pairs:
        raise SparringError("the two evaluations have no number in common")
    return [difference(one, other) for one, other in pairs]


def _key(record: Mapping[str, Any]) -> tuple[str, str]:
    """Metric and direction, without extractor and n, so that another one raises an error instead of being skipped."""
    return record["metric"], record["direction"]


def _format(value: Any) -> str:
    return "none" if value is None else value[:12] if isinstance(value, str) and len(value) == 64 else str(value)
