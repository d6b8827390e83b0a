"""Two evaluations, number by number: only if their cards agree, for else the difference says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from sparring.errors import SparringError
from sparring.evaluation.measurement import FORMAT, format_number
from sparring.metrics.intervals import Z

ALIKE = {
    "name": "the metric",
    "unit": "the unit",
    "n": "the number of images, which moves most numbers",
    "extractor": "the extractor of features",
    "digest": "the weights of the extractor",
    "split": "the real images to compare with",
    "fingerprint": "the data",
}
"""What two cards must have in common, in words. EMA or not, and seeds, may be what is compared."""


@dataclass(frozen=True)
class Difference:
    """The first number less the second.

    interval   95 %, from those of both; None if one has none. It is over drawing samples, not over trainings
    closer     probability that the first is the closer one to real images (to the floor); None without intervals
    """

    name: str
    first: float
    second: float
    interval: tuple[float, float] | None
    floor: float | None
    closer: float | None

    @property
    def words(self) -> str:
        if self.closer is None:
            return "no interval, no claim"
        if 0.025 < self.closer < 0.975:
            return "not told apart"
        return f"the {'first' if self.closer > 0.5 else 'second'} is closer to real images"

    def __str__(self) -> str:
        between = f" ({format_number(self.interval[0])} to {format_number(self.interval[1])})" if self.interval else ""
        return f"{self.name} {format_number(self.first)} - {format_number(self.second)}{between}: {self.words}"


def difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> Difference:
    """Of two cards (`Evaluation.as_dict()["metrics"]`). Raises SparringError, which says why, if they are unlike."""
    for key, what in ALIKE.items():
        if first[key] != second[key]:
            raise SparringError(
                f"{first['name']} and {second['name']} cannot be compared: {what} differs "
                f"({_said(first[key])} and {_said(second[key])})"
            )
    numbers = (first["value"], second["value"])
    if not first["interval"] or not second["interval"]:
        return Difference(first["name"], *numbers, None, first["floor"], None)
    half = sum(((card["interval"][1] - card["interval"][0]) / 2) ** 2 for card in (first, second)) ** 0.5
    apart = numbers[0] - numbers[1]
    closer = None
    if first["floor"] is not None:
        away = abs(numbers[1] - second["floor"]) - abs(numbers[0] - first["floor"])
        closer = NormalDist().cdf(away / (half / Z)) if half > 0 else float(away > 0) if away else 0.5
    return Difference(first["name"], *numbers, (apart - half, apart + half), first["floor"], closer)


def compare(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Difference]:
    """All numbers of two evaluations (`Evaluation.as_dict()`, eval.json) that both have.

    Raises SparringError if their cards are unlike or they have no number in common.
    """
    for one in (first, second):
        if one.get("format") != FORMAT:
            raise SparringError("an evaluation of another version of sparring cannot be compared: evaluate it again")
    if first["fingerprint"] != second["fingerprint"]:
        raise SparringError(f"the data differ: {first['data']} and {second['data']} have other images")
    cards = {_short_name(card): card for card in second["metrics"]}
    both = [(card, cards[_short_name(card)]) for card in first["metrics"] if _short_name(card) in cards]
    if not both:
        raise SparringError("the two evaluations have no number in common")
    return [difference(one, other) for one, other in both]


def _short_name(card: Mapping[str, Any]) -> str:
    """FD-lenet-mnist@2000 is an FD, so that another extractor or n is refused rather than passed over."""
    name, at, _ = card["name"].partition("@")
    return name.removesuffix(f"-{card['extractor']}") if at else name


def _said(value: Any) -> str:
    return "none" if value is None else value[:12] if isinstance(value, str) and len(value) == 64 else str(value)
