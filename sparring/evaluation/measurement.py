"""What numbers come with, so that two of them may be compared only if their cards agree; and all of one evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from html import escape as html
from typing import Any, NamedTuple

from PIL.Image import Image
from rich import box
from rich.table import Table

from sparring.diagnose import Diagnosis, diagnose
from sparring.errors import unknown_name_error
from sparring.evaluation.power import needed
from sparring.metrics import ClassShare

COLORS = {"green": "green", "amber": "yellow", "red": "red", "gray": "bright_black"}

ALIKE = "not told apart from real images"

TOO_FEW = "too few images to tell"

HUES = {"green": "#3c9a5f", "amber": "#e3b23c", "red": "#c23b3b", "gray": "#b9c0cc"}
LAMP = '<span style="color: {}">●</span> '

SEEN, SURE = 3, 5
"""Standard deviations of real sets beyond which a number is off, and surely off."""

FORMAT = 3
"""Of `Evaluation.as_dict`."""

CARD = (
    *("section", "name", "value", "unit", "n", "interval", "floor", "floor_interval", "floor_name", "spread", "z", "p"),
    *("light", "against", "needed", "extractor", "digest", "split", "averaged", "seeds", "fingerprint", "words"),
)
"""Keys of a number's card, the same for every number; see `Measure` and `Finding`."""


class Cell(NamedTuple):
    """A region of the data that is not made as often as it occurs.

    share is among the real images, made among the samples; name is the commonest class in it, "" if classes are unknown
    """

    number: int
    name: str
    share: float
    made: float
    z: float
    missing: bool


@dataclass(frozen=True)
class Rate:
    """How often something happened, of n times, with its 95 % Wilson interval.

    name   "classification error" of the system on real images of `split`; "clustering error": the same for clusters
           that were named afterwards; "class agreement": how often `judge` sees the class that a sample was asked to be
    real   the judge's agreement with the labels of real images; None where there is no judge
    note   how clusters were named, or where the class comes from that a given sample was to be; "" elsewhere
    """

    name: str
    value: float
    n: int
    interval: tuple[float, float]
    split: str
    judge: str | None = None
    real: float | None = None
    note: str = ""

    def card(self) -> dict[str, Any]:
        judge = "" if self.judge is None else f"{self.judge} on real images"
        return _plain(
            {"name": self.name, "value": self.value, "unit": "share", "n": self.n, "interval": self.interval}
            | {
                "floor": self.real,
                "floor_name": judge,
                "extractor": self.judge,
                "split": self.split,
                "words": self.note,
            }
        )

    def __str__(self) -> str:
        low, high = self.interval
        beside = f"; {self.judge} agrees on {100 * self.real:.1f} % of real images" if self.real is not None else ""
        beside += f"; {self.note}" if self.note else ""
        return f"{self.name} {100 * self.value:.2f} % ({100 * low:.2f} to {100 * high:.2f}), n = {self.n:,}{beside}"


@dataclass(frozen=True)
class Finding:
    """One number that needs no feature extractor, and its identity card.

    name       "reconstruction error"
    value      the number
    unit       "per pixel", "nats", "of 20"; "" for a ratio or a distance
    n          images (for the blur of samples: samples) it is the mean of
    interval   95 %: over images; of the distance to the prior: over repeated draws from the prior; None for a count
    reference  what to hold it against: the same number where a known thing takes the system's place; or None
    reference_interval  its 95 % interval; of the distance to the prior: from 0 to the 95 % quantile; or None
    reference_name      that known thing: "the mean training image"; "" if there is none
    split      where the real images come from: held_out, test or train
    words      what the number says, in plain language; "" if it speaks for itself
    """

    name: str
    value: float
    unit: str
    n: int
    interval: tuple[float, float] | None
    reference: float | None
    reference_interval: tuple[float, float] | None
    reference_name: str
    split: str
    words: str = ""

    def card(self) -> dict[str, Any]:
        return _plain(
            {"name": self.name, "value": self.value, "unit": self.unit, "n": self.n, "interval": self.interval}
            | {"floor": self.reference, "floor_interval": self.reference_interval, "floor_name": self.reference_name}
            | {"split": self.split, "words": self.words}
        )

    def __str__(self) -> str:
        between = f" ({self.interval[0]:.4g} to {self.interval[1]:.4g})" if self.interval else ""
        line = f"{self.name} {self.value:.4g}{between}{' ' if self.unit else ''}{self.unit}, n = {self.n:,}"
        if self.reference is not None:
            line += f"; {self.reference_name} {self.reference:.4g}"
            if self.reference_interval:
                line += f" ({self.reference_interval[0]:.4g} to {self.reference_interval[1]:.4g})"
        return f"{line}: {self.words}" if self.words else line


@dataclass(frozen=True)
class Measure:
    """One number and its identity card. Two numbers may be compared if their cards agree.

    name       of the metric; distances carry extractor and n in theirs: FD-lenet-mnist@2000
    value      mean over the repeats
    n          images per repeat: that many fakes against that many reals
    interval   95 % t interval of the mean over repeats: how far the drawing of samples moved it, not the training;
               None if there was one repeat
    floor      the same metric, real images against real images at the same n
    floor_interval  its 95 % t interval over disjoint sets of real images; None if there was only one
    extractor  name of the feature extractor
    digest     SHA-256 of its weights
    split      where the reference images come from: held_out, test or train
    averaged   whether the samples came from averaged (EMA) weights; None if not known
    seed       of the samples
    spread     standard deviation of the number among sets of real images; None if there were fewer than two
    p          of a difference that large by chance; None where its law is not known
    against    real images that it was compared with; None if not known
    """

    name: str
    value: float
    n: int
    interval: tuple[float, float] | None
    floor: float
    floor_interval: tuple[float, float] | None
    extractor: str
    digest: str
    split: str
    averaged: bool | None
    seed: int
    spread: float | None = None
    p: float | None = None
    against: int | None = None

    @property
    def z(self) -> float | None:
        """How far from its floor, in standard deviations of real sets; None if these are not known."""
        return None if self.spread is None else (self.value - self.floor) / max(self.spread, 1 / self.n)

    @property
    def light(self) -> str:
        """green: as real images; amber: a little off; red: off; gray: too few images to tell; "" if not known."""
        if self.z is None:
            return ""
        if self.against is not None and self.against < needed(self.name):
            return "gray"
        return "green" if abs(self.z) < SEEN else "amber" if abs(self.z) < SURE else "red"

    def card(self) -> dict[str, Any]:
        fields = asdict(self)
        del fields["seed"]
        further = {"floor_name": "real images", "z": self.z, "light": self.light, "words": self.words}
        further["needed"] = needed(self.name) or None
        return _plain({**fields, "unit": "", **further})

    def __str__(self) -> str:
        between = f" ({self.interval[0]:.3g} to {self.interval[1]:.3g})" if self.interval else ""
        return f"{self.name} {self.value:.3g}{between}, real images {self.floor:.3g}: {self.words}"

    @property
    def words(self) -> str:
        """The number against its floor, in plain language."""
        low, high = self.interval or (self.value, self.value)
        floor_low, floor_high = self.floor_interval or (self.floor, self.floor)
        distance = self.name.startswith(("FD-", "classes-")) and "infinity" not in self.name and self.floor > 0
        if self.light == "gray" and (self.z is None or abs(self.z) < SURE):
            return TOO_FEW
        if distance and self.value < 0.5 * self.floor:
            return "closer than real images: copies?"
        if self.light == "green" or (not self.light and low <= floor_high and floor_low <= high):
            return ALIKE
        if distance:
            return f"{self.value / self.floor:.1f} x the floor"
        return f"{abs(self.value - self.floor):.2g} {'above' if self.value > self.floor else 'below'} real images"


@dataclass(frozen=True)
class Unit:
    """One unit of the code, over the images of the split.

    kl          mean KL divergence of its code from the prior, in nats
    variance    of its mean code: how much it tells images apart
    """

    kl: float
    variance: float


@dataclass(frozen=True)
class Evaluation:
    """All numbers of one evaluation.

    data         name of the data set
    fingerprint  of its training part
    n, repeats   images per repeat, number of repeats
    measures     of samples; () where the system cannot sample
    classes      shares of the classes over all repeats; () if the extractor does not know the data's classes
    rates        of errors and of agreement, where the system classifies, clusters or takes labels
    sampling     what `sample` was asked for beside number and seed
    reconstruction, blur, codes, likelihood, parzen, domains, modes  further numbers; () without the ability
    units        of the code, one by one, where it has a divergence
    cells        regions of the data that are made far less or far more often than they occur
    averaged     whether averaged (EMA) weights were measured; None if not known
    seeds        that `sample` was given
    range        values of the samples' pixels before they were clipped, and of real ones; {} where nothing was sampled
    system       what is known of the system: see `images.facts_of`
    notes        sentences on what could not be measured, and why
    pictures     name -> what the numbers mean, to look at: closest, twins, cells, overfull, far, near, spectrum
    """

    data: str
    fingerprint: str
    n: int
    repeats: int
    measures: tuple[Measure, ...]
    classes: tuple[ClassShare, ...]
    rates: tuple[Rate, ...] = ()
    sampling: Mapping[str, Any] = field(default_factory=dict)
    reconstruction: tuple[Finding, ...] = ()
    blur: tuple[Finding, ...] = ()
    codes: tuple[Finding, ...] = ()
    likelihood: tuple[Finding, ...] = ()
    parzen: tuple[Finding, ...] = ()
    domains: tuple[Finding, ...] = ()
    modes: tuple[Finding, ...] = ()
    units: tuple[Unit, ...] = ()
    cells: tuple[Cell, ...] = ()
    averaged: bool | None = None
    seeds: tuple[int, ...] = ()
    range: Mapping[str, float] = field(default_factory=dict)
    system: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    pictures: Mapping[str, Image] = field(default_factory=dict, compare=False, repr=False)

    def __str__(self) -> str:
        """One line: the first numbers, and what they speak of."""
        first = [
            f"{one.name} {format_number(one.value)} (real images {format_number(one.floor)})"
            for one in self.measures[:1]
        ]
        first += [
            f"{one.name} {format_number(one.value)}" for one in self.measures if one.name in ("precision", "recall")
        ]
        first += [f"{one.name} {format_number(one.value)}" for one in self.others[: 0 if first else 2]]
        causes = [one.cause for one in self.diagnoses]
        return f"{self.data}, n = {self.n:,}: {', '.join(first)}" + (f"; {', '.join(causes)}" if causes else "")

    def __repr__(self) -> str:
        return f"<Evaluation of {len(self._plain()['metrics'])} numbers on {self}>"

    def _repr_html_(self) -> str:
        """In a notebook: the numbers as a table, then what they speak of."""
        rows = ""
        for one in self.measures:
            lamp = LAMP.format(HUES.get(one.light, "none")) if one.light else ""
            between = " to ".join(map(format_number, one.interval or ()))
            cells = (
                lamp + html(one.name),
                format_number(one.value),
                between,
                format_number(one.floor),
                html(one.words),
            )
            rows += f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        heads = "".join(f"<th>{head}</th>" for head in ("", "value", "95 % interval", "real images", "in words"))
        lines = [*map(str, self.others), *self.notes, *map(str, self.diagnoses)]
        table = f"<table><tr>{heads}</tr>{rows}</table>" if rows else ""
        return f"<p>{html(self.title)}</p>{table}{''.join(f'<p>{html(line)}</p>' for line in lines)}"

    @property
    def title(self) -> str:
        """What was compared with what."""
        if not self.measures:
            return f"{self.data}: {self.n:,} images"
        split = self.measures[0].split.replace("_", "-")
        times = f"{self.repeats} times, " if self.repeats > 1 else ""
        title = f"{self.data}: {self.n:,} samples, {times}against {self.n:,} {split} images"
        return title + "".join(f", {name} {value}" for name, value in self.sampling.items())

    def __getitem__(self, name: str) -> Measure:
        """The measure of that name; 'FD', 'KID' and 'classes' may stay short."""
        for measure in self.measures:
            if measure.name == name or measure.name.startswith(f"{name}-"):
                return measure
        raise unknown_name_error("measure", name, [measure.name for measure in self.measures])

    def finding(self, name: str) -> Finding:
        """The number of that name that needs no extractor: "active units"."""
        named = {found.name: found for section in self.sections.values() for found in section}
        if name not in named:
            raise unknown_name_error("finding", name, named)
        return named[name]

    @property
    def sections(self) -> dict[str, tuple[Finding, ...]]:
        """What needs no feature extractor, by section."""
        names = ("reconstruction", "blur", "codes", "likelihood", "parzen", "domains", "modes")
        return {name: getattr(self, name) for name in names}

    @property
    def others(self) -> list[Rate | Finding]:
        """All numbers but those of the panel."""
        return [*self.rates, *(one for numbers in self.sections.values() for one in numbers)]

    @property
    def diagnoses(self) -> list[Diagnosis]:
        """What the numbers speak of, most certain first."""
        return diagnose(self._plain())

    def as_dict(self) -> dict[str, Any]:
        """Plain lists, dictionaries, strings and numbers: ready for JSON.

        format    of this dictionary
        metrics   every number as its card: a dictionary with the keys of `CARD`; None where there is nothing to say
        findings  what they speak of, most certain first: the fields of `Diagnosis` as dictionaries
        classes   of the samples: the fields of `ClassShare`
        cells     that are made too rarely or too often: the fields of `Cell`
        units     {"divergence": nats, "variance": of its mean over images} for each unit of the code
        range, system, notes  as they are
        """
        plain = self._plain()
        return {**plain, "findings": [one.as_dict() for one in diagnose(plain)]}

    def _plain(self) -> dict[str, Any]:
        found: list[tuple[str, Measure | Rate | Finding]] = [("samples", one) for one in self.measures]
        found += [("classes", one) for one in self.rates]
        found += [(section, one) for section, numbers in self.sections.items() for one in numbers]
        both = {"averaged": self.averaged, "seeds": list(self.seeds), "fingerprint": self.fingerprint}
        return {
            "format": FORMAT,
            "data": self.data,
            "fingerprint": self.fingerprint,
            "n": self.n,
            "repeats": self.repeats,
            "sampling": dict(self.sampling),
            "range": dict(self.range),
            "system": dict(self.system),
            "notes": list(self.notes),
            "metrics": [{**dict.fromkeys(CARD), "section": section, **both, **one.card()} for section, one in found],
            "classes": [row._asdict() for row in self.classes],
            "cells": [cell._asdict() for cell in self.cells],
            "units": [asdict(unit) for unit in self.units],
        }

    def table(self) -> Table:
        """For the terminal: every measure of samples with its interval, its floor, and words."""
        table = Table(title=self.title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column("measure", no_wrap=True)
        for heading in ("value", "95 % interval", "real"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("in words", overflow="fold")
        for measure in self.measures:
            between = " to ".join(map(format_number, measure.interval)) if measure.interval else "one sample"
            lamp = f"[{COLORS[measure.light]}]●[/] " if measure.light else "  "
            words = "as real images" if measure.words == ALIKE else measure.words.removesuffix(" real images")
            table.add_row(
                lamp + measure.name, format_number(measure.value), between, format_number(measure.floor), words
            )
        return table

    def class_table(self) -> Table:
        """For the terminal: how often each class is made; no rows if the extractor does not know the classes."""
        table = Table("class", title="classes of the samples", title_justify="left")
        for heading in ("share", "95 % interval", "real images"):
            table.add_column(heading, justify="right")
        for row in self.classes:
            share, low, high, real = (f"{100 * x:.1f} %" for x in row[1:])
            table.add_row(row.name, share, f"{low} to {high}", real)
        return table


def format_number(number: float) -> str:
    """Three digits, or the whole part of thousands: a table has 80 columns."""
    if abs(number) >= 1e5:
        return f"{number / 1e6:.3g}M"
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.3g}"


def _plain(card: dict[str, Any]) -> dict[str, Any]:
    """JSON has no tuples."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in card.items()}
