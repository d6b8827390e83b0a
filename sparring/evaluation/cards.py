"""What numbers come with, so that two of them may be compared only if their cards agree; and all of one evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.table import Table

from sparring.errors import unknown
from sparring.metrics import ClassShare


@dataclass(frozen=True)
class Rate:
    """How often something happened, of n times, with its 95 % Wilson interval.

    name   "classification error" of the system on real images of `split`; "clustering error": the same for clusters
           that were named afterwards; "class agreement": how often `judge` sees the class that a sample was asked to be
    real   the judge's agreement with the labels of real images; None where there is no judge
    note   how clusters were named; "" elsewhere
    """

    name: str
    value: float
    n: int
    interval: tuple[float, float]
    split: str
    judge: str | None = None
    real: float | None = None
    note: str = ""

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

    def __str__(self) -> str:
        between = f" ({self.interval[0]:.3g} to {self.interval[1]:.3g})" if self.interval else ""
        return f"{self.name} {self.value:.3g}{between}, real images {self.floor:.3g}: {self.words}"

    @property
    def words(self) -> str:
        """The number against its floor, in plain language."""
        low, high = self.interval or (self.value, self.value)
        floor_low, floor_high = self.floor_interval or (self.floor, self.floor)
        if low <= floor_high and floor_low <= high:
            return "not told apart from real images"
        if self.name.startswith(("FD-", "classes-")) and self.floor > 0:
            ratio = self.value / self.floor
            return f"{ratio:.1f} x the floor" if ratio > 0.5 else "closer than real images: copies?"
        return f"{abs(self.value - self.floor):.2g} {'above' if self.value > self.floor else 'below'} real images"


@dataclass(frozen=True)
class Unit:
    """One unit of the code, over the images of the split.

    divergence  mean KL divergence of its code from the prior, in nats
    variance    of its mean code: how much it tells images apart
    """

    divergence: float
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
    reconstruction, blur, codes, likelihood, parzen  findings; () where the system has not the ability
    units        of the code, one by one, where it has a divergence
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
    units: tuple[Unit, ...] = ()

    def __getitem__(self, name: str) -> Measure:
        """The measure of that name; 'FD', 'KID' and 'classes' may stay short."""
        for measure in self.measures:
            if measure.name == name or measure.name.startswith(f"{name}-"):
                return measure
        raise unknown("measure", name, [measure.name for measure in self.measures])

    def finding(self, name: str) -> Finding:
        """The finding of that name: "active units"."""
        named = {found.name: found for section in self.findings.values() for found in section}
        if name not in named:
            raise unknown("finding", name, named)
        return named[name]

    @property
    def findings(self) -> dict[str, tuple[Finding, ...]]:
        """What needs no feature extractor, by section."""
        return {name: getattr(self, name) for name in ("reconstruction", "blur", "codes", "likelihood", "parzen")}

    def as_dict(self) -> dict[str, Any]:
        """Plain lists, dictionaries, strings and numbers: ready for JSON.

        metrics, classes, rates  lists of dictionaries with the fields of `Measure`, `ClassShare` and `Rate`
        reconstruction, blur, codes, likelihood, parzen  lists of dictionaries with the fields of `Finding`; [] where
                                 there is nothing to say. Their names, in order:
            reconstruction       "reconstruction error"
            blur                 "blur ratio of reconstructions", "blur ratio of samples"
            codes                "energy distance to the prior", "KL divergence", "active units"
            likelihood           "log-likelihood"
            parzen               "Parzen log-likelihood": only where it was asked for
        units                    {"divergence": nats, "variance": of its mean over images} for each unit of the code
        """
        return {
            "data": self.data,
            "fingerprint": self.fingerprint,
            "n": self.n,
            "repeats": self.repeats,
            "metrics": [_plain(asdict(measure)) for measure in self.measures],
            "classes": [row._asdict() for row in self.classes],
            "rates": [_plain(asdict(rate)) for rate in self.rates],
            "sampling": dict(self.sampling),
            **{name: [_plain(asdict(f)) for f in found] for name, found in self.findings.items()},
            "units": [asdict(unit) for unit in self.units],
        }

    def table(self) -> Table:
        """For the terminal: every measure of samples with its interval, its floor, and words."""
        split = self.measures[0].split.replace("_", "-")
        title = f"{self.data}: {self.n:,} samples, {self.repeats} times, against {self.n:,} {split} images"
        title += "".join(f", {name} {value}" for name, value in self.sampling.items())
        table = Table(title=title, title_justify="left")
        table.add_column("measure", no_wrap=True)
        for heading in ("value", "95 % interval", "real images"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("in words", overflow="fold")
        for measure in self.measures:
            between = " to ".join(map(_short, measure.interval)) if measure.interval else "one sample"
            table.add_row(measure.name, _short(measure.value), between, _short(measure.floor), measure.words)
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


def _short(number: float) -> str:
    """Three digits or the whole part: a table has 80 columns."""
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.3g}"


def _plain(card: dict[str, Any]) -> dict[str, Any]:
    """JSON has no tuples."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in card.items()}
