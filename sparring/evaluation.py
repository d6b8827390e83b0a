"""System + data -> numbers, each with its identity card: n, interval, real-against-real floor, extractor, split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from statistics import mean
from typing import Any, Protocol

import torch
from rich.table import Table
from torch import Tensor

from sparring.data.dataset import Dataset
from sparring.data.pixels import to_float, to_uint8
from sparring.errors import SparringError, unknown
from sparring.metrics import (
    ClassShare,
    Extractor,
    class_histogram,
    for_dataset,
    frechet_distance,
    kernel_distance,
    mean_interval,
    neighbours,
    total_variation,
    wilson_interval,
)
from sparring.seeds import derive, generator

SPLITS = ("held_out", "test", "train")


class Sampler(Protocol):
    """What `evaluate` asks of a system: images (n, C, H, W) in [-1, 1] that depend on (n, seed) only.

    With `classes`, sample takes labels; with `classify`, real images are classified.
    """

    def sample(self, n: int, *, seed: int) -> Tensor: ...


@dataclass(frozen=True)
class Rate:
    """How often something happened, of n times, with its 95 % Wilson interval.

    name   "classification error" of the system on real images of `split`; "class agreement": how often `judge` sees
           the class that a sample was asked to be
    real   the judge's agreement with the labels of real images; None where there is no judge
    """

    name: str
    value: float
    n: int
    interval: tuple[float, float]
    split: str
    judge: str | None = None
    real: float | None = None

    def __str__(self) -> str:
        low, high = self.interval
        beside = f"; {self.judge} agrees on {100 * self.real:.1f} % of real images" if self.real is not None else ""
        return f"{self.name} {100 * self.value:.2f} % ({100 * low:.2f} to {100 * high:.2f}), n = {self.n:,}{beside}"


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
class Evaluation:
    """All numbers of one evaluation.

    data         name of the data set
    fingerprint  of its training part
    n, repeats   images per repeat, number of repeats
    measures     the numbers
    classes      shares of the classes over all repeats; () if the extractor does not know the data's classes
    rates        classification error and class agreement, where the system classifies or takes labels
    sampling     what `sample` was asked for beside number and seed
    """

    data: str
    fingerprint: str
    n: int
    repeats: int
    measures: tuple[Measure, ...]
    classes: tuple[ClassShare, ...]
    rates: tuple[Rate, ...] = ()
    sampling: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Measure:
        """The measure of that name; 'FD', 'KID' and 'classes' may stay short."""
        for measure in self.measures:
            if measure.name == name or measure.name.startswith(f"{name}-"):
                return measure
        raise unknown("measure", name, [measure.name for measure in self.measures])

    def as_dict(self) -> dict[str, Any]:
        """Plain lists, dictionaries, strings and numbers: ready for JSON."""
        return {
            "data": self.data,
            "fingerprint": self.fingerprint,
            "n": self.n,
            "repeats": self.repeats,
            "metrics": [_plain(asdict(measure)) for measure in self.measures],
            "classes": [row._asdict() for row in self.classes],
            "rates": [_plain(asdict(rate)) for rate in self.rates],
            "sampling": dict(self.sampling),
        }

    def table(self) -> Table:
        """For the terminal: every number with its interval, its floor, and words."""
        split = self.measures[0].split.replace("_", "-")
        title = f"{self.data}: {self.n:,} samples, {self.repeats} times, against {self.n:,} {split} images"
        title += "".join(f", {name} {value}" for name, value in self.sampling.items())
        table = Table(title=title, title_justify="left")
        table.add_column("measure", no_wrap=True)
        for heading in ("value", "95 % interval", "real images"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("in words")
        for measure in self.measures:
            between = f"{measure.interval[0]:.3g} to {measure.interval[1]:.3g}" if measure.interval else "one sample"
            table.add_row(measure.name, f"{measure.value:.3g}", between, f"{measure.floor:.3g}", measure.words)
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


def evaluate(
    system: Sampler,
    data: Dataset,
    *,
    n: int = 10_000,
    split: str = "held_out",
    seed: int = 0,
    extractor: Extractor | None = None,
    repeats: int = 5,
    averaged: bool | None = None,
    sampling: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Measure a system against images it was not trained on.

    The system is sampled `repeats` times, n images each, and every metric compares them with the same n reference
    images of `split`: the interval is over the repeats (bootstrapping images would bias the distances). The floor puts
    up to `repeats` disjoint subsets of the training images in the place of the samples. n shrinks to what the
    reference and the training images can give; with split="train" the two halves of the training images play the two
    parts. The extractor is the one that knows the data best, unless given; `averaged` is only noted on the cards.
    `sampling` goes to `system.sample` (truncation=.5) and is kept with the numbers.

    Reference and floor depend on data, split and n, not on the seed. Raises SparringError for an unknown or missing
    split, too few images, and samples of a wrong shape or that are not finite.
    """
    extractor = extractor or for_dataset(data.name)
    if repeats < 1:
        raise SparringError(f"repeats must be at least 1; got {repeats}")
    reference, others = _reference(data, split, n, repeats)
    n = len(reference)
    real, real_logits = extractor.features(reference)
    judges = real_logits is not None and data.classes == extractor.classes

    # Sample, and compare.
    sample = partial(system.sample, n, **(sampling or {}))
    fakes = [extractor.features(_pixels(sample(seed=derive("evaluate", seed, i)), n, data)) for i in range(repeats)]
    floors = [extractor.features(images) for images in others.split(n) if len(images) == n]
    values = [_distances(extractor.name, real=real, fake=fake) for fake, _ in fakes]
    floor_values = [_distances(extractor.name, real=real, fake=fake) for fake, _ in floors]

    # Count the classes.
    histogram: list[ClassShare] = []
    if real_logits is not None and judges:
        count = partial(class_histogram, real=real_logits.argmax(1), classes=extractor.classes)
        labels = [logits.argmax(1) for _, logits in fakes + floors if logits is not None]
        histogram = count(fake=torch.cat(labels[:repeats]))
        for row, label in zip(values + floor_values, labels, strict=True):
            row["classes-TV"] = total_variation(count(fake=label))

    # Ask for classes, and give classes.
    rates = []
    part: Dataset = data if split == "train" else getattr(data, split)
    if judges and getattr(system, "classes", None) and "labels" not in (sampling or {}):
        rates.append(class_agreement(fakes, part, extractor, split))
    if callable(getattr(system, "classify", None)) and part.labels is not None:
        rates.append(classification_error(system, part, split))

    # Write the cards.
    measures = []
    for name in values[0]:
        repeated = [row[name] for row in values]
        floor = [row[name] for row in floor_values]
        numbers = (mean(repeated), n, mean_interval(repeated), mean(floor), mean_interval(floor))
        measures.append(Measure(name, *numbers, extractor.name, extractor.digest, split, averaged, seed))
    return Evaluation(
        data.name, data.fingerprint, n, repeats, tuple(measures), tuple(histogram), tuple(rates), dict(sampling or {})
    )


def class_agreement(fakes: Sequence[tuple[Tensor, Tensor | None]], real: Dataset, judge: Extractor, split: str) -> Rate:
    """How often the judge sees in a sample the class it was asked to be; samples were asked for each class in turn.

    fakes: (features, logits) of samples, as `Extractor.features` gives them.
    """
    classes = len(judge.classes)
    hits = n = 0
    for _, logits in fakes:
        assert logits is not None
        hits += int((logits.argmax(1) == torch.arange(len(logits)) % classes).sum())
        n += len(logits)
    _, logits = judge.features(real.images)
    assert logits is not None
    assert real.labels is not None
    agreement = float((logits.argmax(1) == real.labels).float().mean())
    return Rate("class agreement", hits / n, n, wilson_interval(hits, n), split, judge.name, agreement)


def classification_error(system: Any, part: Dataset, split: str) -> Rate:
    """How often `system.classify` is wrong on labelled images."""
    assert part.labels is not None
    wrong = sum(
        int((system.classify(to_float(part.images[rows])).argmax(1) != part.labels[rows]).sum())
        for rows in torch.arange(len(part)).split(2000)
    )
    return Rate("classification error", wrong / len(part), len(part), wilson_interval(wrong, len(part)), split)


class Yardstick:
    """FD against held-out images, for looking often while training: the reference and the floor are computed once.

    n      images per measurement; at most the asked number, and what the data can give
    name   of the number: FD-lenet-mnist@1000
    floor  the same, real against real: n training images in the place of samples
    """

    def __init__(self, data: Dataset, extractor: Extractor | None = None, n: int = 1000) -> None:
        self.extractor = extractor or for_dataset(data.name)
        self._data = data
        reference, others = _reference(data, "held_out", n, 1)
        self.n = len(reference)
        self.name = f"FD-{self.extractor.name}@{self.n}"
        self._real, _ = self.extractor.features(reference)
        self.floor = self.fd(others)

    def fd(self, images: Tensor) -> float:
        """FD of images (n, C, S, S), uint8 or floats in [-1, 1]; the same for the same images, whatever came before.

        Raises SparringError for another number of images than n (FD falls with the number, so they could not be
        compared), a wrong shape, or values that are not finite.
        """
        fake, _ = self.extractor.features(_pixels(images, self.n, self._data))
        return frechet_distance(real=self._real, fake=fake)


def _plain(card: dict[str, Any]) -> dict[str, Any]:
    """JSON has no tuples."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in card.items()}


def _distances(extractor: str, *, real: Tensor, fake: Tensor) -> dict[str, float]:
    return {
        f"FD-{extractor}@{len(real)}": frechet_distance(real=real, fake=fake),
        f"KID-{extractor}@{len(real)}": kernel_distance(real=real, fake=fake),
        **neighbours(real=real, fake=fake)._asdict(),
    }


def _reference(data: Dataset, split: str, n: int, subsets: int) -> tuple[Tensor, Tensor]:
    """Up to n images to measure against, and for the floor up to `subsets` times as many other real ones; shuffled."""
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    order = torch.randperm(len(data), generator=generator("evaluate", "floor"))
    if split == "train":
        n = min(n, len(data) // 2)
        return data.images[order[:n]], data.images[order[n : n + n * subsets]]
    part: Dataset | None = getattr(data, split)
    if not part:
        there = [name for name in SPLITS if name == "train" or getattr(data, name)]
        raise SparringError(f"data '{data.name}' has no {split} images; choose split from: {', '.join(there)}")
    n = min(n, len(part), len(data))
    chosen = torch.randperm(len(part), generator=generator("evaluate", "reference"))[:n]
    return part.images[chosen], data.images[order[: n * subsets]]


def _pixels(images: Tensor, n: int, data: Dataset) -> Tensor:
    """The samples as (n, C, S, S) uint8, or an error that says what is wrong with them."""
    if tuple(images.shape) != (n, *data.spec.shape):
        raise SparringError(
            f"samples must be {(n, *data.spec.shape)} for data '{data.name}'; got {tuple(images.shape)}"
        )
    if images.dtype == torch.uint8:
        return images
    broken = int((~images.isfinite()).flatten(1).any(1).sum())
    if broken:
        raise SparringError(f"{broken} of {n} samples hold NaN or infinite values: the generator has diverged")
    return to_uint8(images)
