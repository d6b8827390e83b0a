"""The results of an evaluation: numbers with the metadata that decides whether two of them can be compared."""

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

NO_DIFFERENCE = "no significant difference from real images"

TOO_FEW = "too few images to tell"

HUES = {"green": "#3c9a5f", "amber": "#e3b23c", "red": "#c23b3b", "gray": "#b9c0cc"}
LAMP = '<span style="color: {}">●</span> '

SEEN, SIGMA_RED = 3, 5
"""A number is amber, and red, from so many standard deviations (over sets of real images) from its floor."""

FORMAT = 3
"""Version of the format of `Evaluation.as_dict`."""

CARD = (
    *("section", "name", "value", "unit", "n", "interval", "floor", "floor_interval", "floor_name", "spread", "z", "p"),
    *("light", "against", "needed", "extractor", "digest", "split", "averaged", "seeds", "fingerprint", "words"),
)
"""Keys of every number in `Evaluation.as_dict`; see `Measure` and `Finding`."""


class Cell(NamedTuple):
    """A region of the feature space that is generated too rarely or too often.

    number   index of the region
    name     its most common class; "" if classes are unknown
    share    of the real images
    made     share of the samples
    z        difference in standard errors
    missing  whether it is hardly ever generated
    """

    number: int
    name: str
    share: float
    made: float
    z: float
    missing: bool


@dataclass(frozen=True)
class Rate:
    """A share of n images, with its 95 % Wilson interval.

    name        "classification error" of the system on real images of `split`; "clustering error": the same for
                clusters that were named after a class; "class agreement": share of samples that `classifier` assigns
                to the requested class
    classifier  name of the extractor that classified the samples; None if there is none
    real        the classifier's accuracy on real images; None if there is none
    note        how clusters were named, or where the requested class of a sample comes from; "" otherwise
    """

    name: str
    value: float
    n: int
    interval: tuple[float, float]
    split: str
    classifier: str | None = None
    real: float | None = None
    note: str = ""

    def card(self) -> dict[str, Any]:
        floor_name = "" if self.classifier is None else f"{self.classifier} on real images"
        return _plain(
            {"name": self.name, "value": self.value, "unit": "share", "n": self.n, "interval": self.interval}
            | {
                "floor": self.real,
                "floor_name": floor_name,
                "extractor": self.classifier,
                "split": self.split,
                "words": self.note,
            }
        )

    def __str__(self) -> str:
        low, high = self.interval
        baseline = f"; {self.classifier} on real images {100 * self.real:.1f} %" if self.real is not None else ""
        note = f"; {self.note}" if self.note else ""
        return (
            f"{self.name} {100 * self.value:.2f} % ({100 * low:.2f} to {100 * high:.2f}), n = {self.n:,}"
            + baseline
            + note
        )


@dataclass(frozen=True)
class Finding:
    """One number that needs no feature extractor, and its metadata.

    name       "reconstruction error"
    value      the number
    unit       "per pixel", "nats", "of 20"; "" for a ratio or a distance
    n          number of images (for the blur of samples: of samples)
    interval   95 % interval over images; for the distance to the prior: over draws from the prior; None for a count
    reference  the same number for a known baseline in place of the system, or None
    reference_interval  its 95 % interval; for the distance to the prior: from 0 to the 95 % quantile; or None
    reference_name      the baseline: "the mean training image"; "" if there is none
    split      of the real images: held_out, held_out_b, test or train
    words      verdict in plain language; "" if there is none
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
    """One metric and its metadata. Two of them can be compared if their metadata agree.

    name       of the metric; distances include extractor and n: FD-lenet-mnist@2000
    value      mean over the repeats
    n          samples, and reference images, per repeat
    interval   95 % t interval of the mean over repeats, that is, over sets of samples (not over training runs);
               None for a single repeat
    floor      the same metric for real images in place of the samples, at the same n
    floor_interval  its 95 % t interval over sets of real images; None for a single set
    extractor  name of the feature extractor
    digest     SHA-256 of its weights
    split      of the reference images: held_out, held_out_b, test or train
    averaged   whether the samples came from EMA weights; None if unknown
    seed       of the samples
    spread     standard deviation over sets of real images; None for fewer than two
    p          p-value of the difference; None if its distribution is unknown
    against    number of real images it was compared with; None if unknown
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
        """Distance to the floor in standard deviations over sets of real images; None if these are unknown."""
        return None if self.spread is None else (self.value - self.floor) / max(self.spread, 1 / self.n)

    @property
    def light(self) -> str:
        """green: as real images; amber: slightly off; red: off; gray: too few images to tell; "" if unknown."""
        if self.z is None:
            return ""
        if self.against is not None and self.against < needed(self.name):
            return "gray"
        return "green" if abs(self.z) < SEEN else "amber" if abs(self.z) < SIGMA_RED else "red"

    def card(self) -> dict[str, Any]:
        fields = asdict(self)
        del fields["seed"]
        derived = {"floor_name": "real images", "z": self.z, "light": self.light, "words": self.words}
        derived["needed"] = needed(self.name) or None
        return _plain({**fields, "unit": "", **derived})

    def __str__(self) -> str:
        between = f" ({self.interval[0]:.3g} to {self.interval[1]:.3g})" if self.interval else ""
        return f"{self.name} {self.value:.3g}{between}, real images {self.floor:.3g}: {self.words}"

    @property
    def words(self) -> str:
        """The comparison with the floor, in plain language."""
        low, high = self.interval or (self.value, self.value)
        floor_low, floor_high = self.floor_interval or (self.floor, self.floor)
        distance = self.name.startswith(("FD-", "classes-")) and "infinity" not in self.name and self.floor > 0
        if self.light == "gray" and (self.z is None or abs(self.z) < SIGMA_RED):
            return TOO_FEW
        if distance and self.value < 0.5 * self.floor:
            return "closer than real images: copies?"
        if self.light == "green" or (not self.light and low <= floor_high and floor_low <= high):
            return NO_DIFFERENCE
        if distance:
            return f"{self.value / self.floor:.1f} x the floor"
        return f"{abs(self.value - self.floor):.2g} {'above' if self.value > self.floor else 'below'} real images"


@dataclass(frozen=True)
class Unit:
    """One unit of the latent code, over the images of the split.

    kl        mean KL divergence from the prior, in nats
    variance  of its mean over images: how much it depends on the image
    """

    kl: float
    variance: float


@dataclass(frozen=True)
class Evaluation:
    """All numbers of one evaluation.

    data         name of the dataset
    fingerprint  of its training images
    n, repeats   images per repeat, number of repeats
    measures     metrics of samples; () if the system cannot sample
    classes      shares of the classes over all repeats; () if the extractor cannot classify the data
    rates        errors and class agreement, if the system classifies, clusters or takes labels
    sampling     arguments of `sample` other than number and seed
    reconstruction, blur, codes, likelihood, parzen, domains, modes  further numbers; () without the capability
    units        one entry per unit of the latent code, if the system has a KL divergence
    cells        regions of the feature space that are generated far too rarely or far too often
    averaged     whether EMA weights were measured; None if unknown
    seeds        the seeds of the samples
    range        pixel values of samples, before clipping, and of real images; {} if nothing was sampled
    system       properties of the system: see `splits.facts_of`
    notes        sentences on what could not be measured, and why
    pictures     name -> image that illustrates a metric: closest, twins, cells, overfull, far, near, spectrum
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
        """One line: the most important numbers and the diagnosis."""
        numbers = [
            f"{measure.name} {format_number(measure.value)} (real images {format_number(measure.floor)})"
            for measure in self.measures[:1]
        ]
        numbers += [
            f"{measure.name} {format_number(measure.value)}"
            for measure in self.measures
            if measure.name in ("precision", "recall")
        ]
        numbers += [f"{number.name} {format_number(number.value)}" for number in self.others[: 0 if numbers else 2]]
        causes = [diagnosis.cause for diagnosis in self.diagnoses]
        return f"{self.data}, n = {self.n:,}: {', '.join(numbers)}" + (f"; {', '.join(causes)}" if causes else "")

    def __repr__(self) -> str:
        return f"<Evaluation of {len(self._plain()['metrics'])} numbers on {self}>"

    def _repr_html_(self) -> str:
        """For notebooks: the numbers as a table, then the diagnosis."""
        rows = ""
        for measure in self.measures:
            lamp = LAMP.format(HUES.get(measure.light, "none")) if measure.light else ""
            interval = " to ".join(map(format_number, measure.interval or ()))
            cells = (
                lamp + html(measure.name),
                format_number(measure.value),
                interval,
                format_number(measure.floor),
                html(measure.words),
            )
            rows += f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        heads = "".join(f"<th>{head}</th>" for head in ("", "value", "95 % interval", "real images", "verdict"))
        lines = [*map(str, self.others), *self.notes, *map(str, self.diagnoses)]
        table = f"<table><tr>{heads}</tr>{rows}</table>" if rows else ""
        return f"<p>{html(self.title)}</p>{table}{''.join(f'<p>{html(line)}</p>' for line in lines)}"

    @property
    def title(self) -> str:
        """What was compared: data, samples and reference images."""
        if not self.measures:
            return f"{self.data}: {self.n:,} images"
        split = self.measures[0].split.replace("_", "-")
        times = f"{self.repeats} times, " if self.repeats > 1 else ""
        title = f"{self.data}: {self.n:,} samples, {times}against {self.n:,} {split} images"
        return title + "".join(f", {name} {value}" for name, value in self.sampling.items())

    def __getitem__(self, name: str) -> Measure:
        """The metric of that name; 'FD', 'KID' and 'classes' are short names."""
        for measure in self.measures:
            if measure.name == name or measure.name.startswith(f"{name}-"):
                return measure
        raise unknown_name_error("measure", name, [measure.name for measure in self.measures])

    def finding(self, name: str) -> Finding:
        """The number of that name, of those that need no extractor: "active units"."""
        by_name = {finding.name: finding for section in self.sections.values() for finding in section}
        if name not in by_name:
            raise unknown_name_error("finding", name, by_name)
        return by_name[name]

    @property
    def sections(self) -> dict[str, tuple[Finding, ...]]:
        """The numbers that need no feature extractor, by section."""
        names = ("reconstruction", "blur", "codes", "likelihood", "parzen", "domains", "modes")
        return {name: getattr(self, name) for name in names}

    @property
    def others(self) -> list[Rate | Finding]:
        """All numbers except those of the panel."""
        return [*self.rates, *(finding for section in self.sections.values() for finding in section)]

    @property
    def diagnoses(self) -> list[Diagnosis]:
        """The faults that the numbers indicate, most certain first."""
        return diagnose(self._plain())

    def as_dict(self) -> dict[str, Any]:
        """Lists, dictionaries, strings and numbers only, ready for JSON.

        format    version of this format
        metrics   one dictionary per number, with the keys of `CARD`; None if a key does not apply
        findings  the diagnoses, most certain first: the fields of `Diagnosis`
        classes   of the samples: the fields of `ClassShare`
        cells     generated too rarely or too often: the fields of `Cell`
        units     of the latent code: the fields of `Unit`
        range, system, notes  as in this class
        """
        plain = self._plain()
        return {**plain, "findings": [diagnosis.as_dict() for diagnosis in diagnose(plain)]}

    def _plain(self) -> dict[str, Any]:
        numbers: list[tuple[str, Measure | Rate | Finding]] = [("samples", measure) for measure in self.measures]
        numbers += [("classes", rate) for rate in self.rates]
        numbers += [(section, finding) for section, findings in self.sections.items() for finding in findings]
        shared = {"averaged": self.averaged, "seeds": list(self.seeds), "fingerprint": self.fingerprint}
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
            "metrics": [
                {**dict.fromkeys(CARD), "section": section, **shared, **number.card()} for section, number in numbers
            ],
            "classes": [row._asdict() for row in self.classes],
            "cells": [cell._asdict() for cell in self.cells],
            "units": [asdict(unit) for unit in self.units],
        }

    def table(self) -> Table:
        """For the terminal: all metrics of samples with interval, floor and verdict."""
        table = Table(title=self.title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column("measure", no_wrap=True)
        for heading in ("value", "95 % interval", "real"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("verdict", overflow="fold")
        for measure in self.measures:
            interval = " to ".join(map(format_number, measure.interval)) if measure.interval else "one repeat"
            lamp = f"[{COLORS[measure.light]}]●[/] " if measure.light else "  "
            words = "as real images" if measure.words == NO_DIFFERENCE else measure.words.removesuffix(" real images")
            table.add_row(
                lamp + measure.name, format_number(measure.value), interval, format_number(measure.floor), words
            )
        return table

    def class_table(self) -> Table:
        """For the terminal: the share of each class; no rows if the extractor cannot classify the data."""
        table = Table("class", title="classes of the samples", title_justify="left")
        for heading in ("share", "95 % interval", "real images"):
            table.add_column(heading, justify="right")
        for row in self.classes:
            share, low, high, real = (f"{100 * x:.1f} %" for x in row[1:])
            table.add_row(row.name, share, f"{low} to {high}", real)
        return table


def format_number(number: float) -> str:
    """Three significant digits, or an integer from 1,000 on, so that tables fit into 80 columns."""
    if abs(number) >= 1e5:
        return f"{number / 1e6:.3g}M"
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.3g}"


def _plain(card: dict[str, Any]) -> dict[str, Any]:
    """Tuples as lists, as in JSON."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in card.items()}
