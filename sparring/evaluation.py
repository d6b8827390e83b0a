"""System + data -> numbers, each with its identity card: n, interval, real-against-real floor, extractor, split."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from statistics import mean, quantiles
from typing import Any, NamedTuple

import torch
from rich.table import Table
from torch import Tensor

from sparring.data.dataset import Dataset
from sparring.data.pixels import to_float, to_uint8
from sparring.errors import SparringError, unknown
from sparring.metrics import (
    SIGMAS,
    ClassShare,
    Extractor,
    active_units,
    blur_ratio,
    class_histogram,
    edges,
    energy_distance,
    for_dataset,
    frechet_distance,
    kernel_distance,
    mean_interval,
    named_by_examples,
    neighbours,
    parzen_log_likelihood,
    squared_errors,
    total_variation,
    wilson_interval,
)
from sparring.metrics.intervals import Z
from sparring.seeds import derive, generator

SPLITS = ("held_out", "test", "train")

MEASURED = ("sample", "classify", "cluster", "reconstruct", "encode")
"""Abilities that have something to measure; a system needs one of them."""

CHUNK = 1000
"""Images that go through a system at once."""

AWAKE = 0.1
"""With a smaller share of active units the posterior has collapsed."""

CODES = 2000
"""At most so many codes are compared with the prior: the cost is quadratic."""

NULLS = 20
"""Pairs of sets from the prior, to know how far apart equal distributions are."""

DRAWS, WEIGHTED = 100, 1000
"""Draws of the importance-weighted log-likelihood for each image, and at most so many images."""

EXAMPLES = 10_000
"""At most so many labelled images are looked at to name clusters."""

CENTRES, CHOOSING = 10_000, 1000
"""Of the Parzen window: samples, and images to choose its width with (Goodfellow et al. 2014)."""

PARZEN = "No claim of quality: k-means centres score higher than the true distribution (Theis et al. 2016)."


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
    system: Any,
    data: Dataset,
    *,
    n: int = 10_000,
    split: str = "held_out",
    seed: int = 0,
    extractor: Extractor | None = None,
    repeats: int = 5,
    averaged: bool | None = None,
    sampling: Mapping[str, Any] | None = None,
    parzen: bool = False,
) -> Evaluation:
    """Measure what a system can do, against images it was not trained on.

    A system that can sample is sampled `repeats` times, n images each, and every metric compares them with the same n
    reference images of `split`: the interval is over the repeats (bootstrapping images would bias the distances). The
    floor puts up to `repeats` disjoint subsets of the training images in the place of the samples. n shrinks to what
    the reference and the training images can give; with split="train" the two halves of the training images play the
    two parts. The extractor is the one that knows the data best, unless given; `averaged` is only noted on the cards.
    `sampling` goes to `system.sample` (truncation=.5) and is kept with the numbers.

    Reconstructions, codes and likelihoods are of the same reference images; errors of classes and clusters, of all
    labelled images of the split. `parzen` adds the log-likelihood that Goodfellow et al. 2014 published.

    Reference and floor depend on data, split and n, not on the seed. Raises SparringError for a system that can do
    nothing of this, an unknown or missing split, too few images, and images of a wrong shape or that are not finite.
    """
    if not any(_can(system, ability) for ability in MEASURED):
        raise SparringError(f"{type(system).__name__} can do nothing that is measured: {', '.join(MEASURED)}")
    sampling = dict(sampling or {})
    if not _can(system, "sample") and (sampling or parzen):
        asked = next(iter(sampling), "parzen")
        raise SparringError(f"{asked} is about samples, and {type(system).__name__} cannot sample")
    if repeats < 1:
        raise SparringError(f"repeats must be at least 1; got {repeats}")
    reference, others = _reference(data, split, n, repeats)
    part: Dataset = data if split == "train" else getattr(data, split)
    measures: list[Measure] = []
    histogram: list[ClassShare] = []
    rates: list[Rate] = []
    edges_of: dict[str, Tensor] = {}

    if _can(system, "sample"):
        extractor = extractor or for_dataset(data.name)
        sample = partial(system.sample, len(reference), **sampling)
        made = _samples(sample, reference, others, extractor, seed, repeats)
        histogram, edges_of["samples"] = made.histogram, made.edges
        for name in made.values[0]:
            repeated, floor = [row[name] for row in made.values], [row[name] for row in made.floors]
            numbers = (mean(repeated), len(reference), mean_interval(repeated), mean(floor), mean_interval(floor))
            measures.append(Measure(name, *numbers, extractor.name, extractor.digest, split, averaged, seed))
        if histogram and getattr(system, "classes", None) and "labels" not in sampling:
            rates.append(class_agreement(made.features, part, extractor, split))
    if _can(system, "classify") and part.labels is not None:
        rates.append(classification_error(system, part, split))
    if _can(system, "cluster") and part.labels is not None:
        rates.append(clustering_error(system, data, split))

    reconstruction: tuple[Finding, ...] = ()
    if _can(system, "reconstruct"):
        pictures = reconstructed(system, reference)
        reconstruction = (reconstruction_error(reference, pictures, others, split),)
        edges_of["reconstructions"] = edges(pictures)
    codes, units = _codes(system, reference, split, seed, repeats)
    return Evaluation(
        data=data.name,
        fingerprint=data.fingerprint,
        n=len(reference),
        repeats=repeats,
        measures=tuple(measures),
        classes=tuple(histogram),
        rates=tuple(rates),
        sampling=sampling,
        reconstruction=reconstruction,
        blur=_blur(edges(reference.images), edges(others.images[: len(reference)]), edges_of, split),
        codes=codes,
        likelihood=_likelihood(system, reference, split, seed),
        parzen=(parzen_window(partial(system.sample, **sampling), data, seed),) if parzen else (),
        units=units,
    )


# Samples.


class _Samples(NamedTuple):
    """Distances of each repeat and of each floor, shares of the classes; features and edges of the samples."""

    values: list[dict[str, float]]
    floors: list[dict[str, float]]
    histogram: list[ClassShare]
    features: list[tuple[Tensor, Tensor | None]]
    edges: Tensor


def _samples(
    sample: Callable[..., Tensor], reference: Dataset, others: Dataset, extractor: Extractor, seed: int, repeats: int
) -> _Samples:
    """Sample, compare with the reference, and put the other images in the samples' place."""
    n = len(reference)
    real, real_logits = extractor.features(reference.images)
    fakes, fake_edges = [], []
    for i in range(repeats):
        pictures = _pixels(sample(seed=derive("evaluate", seed, i)), n, reference)
        fakes.append(extractor.features(pictures))
        fake_edges.append(edges(pictures))
    floors = [extractor.features(images) for images in others.images.split(n) if len(images) == n]
    values, floor_values = (
        [_distances(extractor.name, real=real, fake=fake) for fake, _ in one] for one in (fakes, floors)
    )
    histogram: list[ClassShare] = []
    if real_logits is not None and others.classes == extractor.classes:
        count = partial(class_histogram, real=real_logits.argmax(1), classes=extractor.classes)
        labels = [logits.argmax(1) for _, logits in fakes + floors if logits is not None]
        histogram = count(fake=torch.cat(labels[:repeats]))
        for row, label in zip(values + floor_values, labels, strict=True):
            row["classes-TV"] = total_variation(count(fake=label))
    return _Samples(values, floor_values, histogram, fakes, torch.cat(fake_edges))


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


def parzen_window(sample: Callable[..., Tensor], data: Dataset, seed: int) -> Finding:
    """The Parzen-window log-likelihood of test images, beside that of as many training images in place of samples.

    The width is chosen on held-out images; where there is no test set, the other held-out images are the test. Raises
    SparringError when nothing is held out.
    """
    if data.held_out is None or len(data.held_out) < 2:
        raise SparringError(f"the Parzen window needs held-out images, and data '{data.name}' has none")
    held_out = data.held_out.images[_shuffled(data.held_out, "parzen")]
    chosen_on = held_out[: min(CHOOSING, len(held_out) if data.test else len(held_out) // 2)]
    tested = data.test.images if data.test else held_out[len(chosen_on) :]
    centres = data.images[_shuffled(data, "parzen")[:CENTRES]]
    samples = _pixels(sample(len(centres), seed=derive("evaluate", seed, "parzen")), len(centres), data)
    made, real = (
        parzen_log_likelihood(real=tested / 255, fake=fake / 255, chosen_on=chosen_on / 255)
        for fake in (samples, centres)
    )
    edge = "the last of" if made.sigma in (SIGMAS[0], SIGMAS[-1]) else "out of"
    words = (
        f"{made.value:.1f} ± {made.error:.1f} (standard error) beside {real.value:.1f} ± {real.error:.1f}; "
        f"sigma {made.sigma:.3g}, {edge} ten from 0.1 to 1, chosen on {len(chosen_on):,} held-out images. {PARZEN}"
    )
    intervals = [(one.value - Z * one.error, one.value + Z * one.error) for one in (made, real)]
    beside = f"{len(centres):,} real training images in place of {len(centres):,} samples"
    split = "test" if data.test else "held_out"
    return Finding(
        "Parzen log-likelihood",
        made.value,
        "nats",
        len(tested),
        intervals[0],
        real.value,
        intervals[1],
        beside,
        split,
        words,
    )


# Classes and clusters.


def classification_error(system: Any, part: Dataset, split: str) -> Rate:
    """How often `system.classify` is wrong on labelled images."""
    assert part.labels is not None
    wrong = int((in_chunks(system.classify, part.images).argmax(1) != part.labels).sum())
    return Rate("classification error", wrong / len(part), len(part), wilson_interval(wrong, len(part)), split)


def clustering_error(system: Any, data: Dataset, split: str) -> Rate:
    """How often the class of an image of `split` is not the one that its cluster was named after.

    A cluster is named after the one image that is most certainly in it, among held-out images if the split is "test",
    else among training images; with "train" these are not measured.
    """
    naming = data.held_out if split == "test" and data.held_out else data
    order = _shuffled(naming, "clusters")
    examples = naming.rows(order[: min(EXAMPLES, -(-len(order) // 2))])
    part: Dataset = data.rows(order[len(examples) :]) if split == "train" else getattr(data, split)
    assert examples.labels is not None
    assert part.labels is not None
    names = named_by_examples(in_chunks(system.cluster, examples.images), examples.labels)
    wrong = int((names[in_chunks(system.cluster, part.images).argmax(1)] != part.labels).sum())
    alone = 1 - float(part.labels.bincount().max()) / len(part)
    note = (
        f"{len(names)} clusters, each named after one of {len(examples):,} "
        f"{'training' if naming is data else 'held-out'} images; with one cluster for all {100 * alone:.2f} %"
    )
    interval = wilson_interval(wrong, len(part))
    return Rate("clustering error", wrong / len(part), len(part), interval, split, note=note)


def in_chunks(ability: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """What an ability gives for (N, C, S, S) uint8 images."""
    return torch.cat([ability(to_float(rows)) for rows in images.split(CHUNK)])


# Codes and their images.


def reconstructed(system: Any, part: Dataset) -> Tensor:
    """(N, C, S, S) uint8: what the system keeps of the images; it is told their labels if it asks for labels."""
    told = part.labels is not None and "labels" in inspect.signature(system.reconstruct).parameters
    pieces = []
    for rows in torch.arange(len(part)).split(CHUNK):
        given = part.rows(rows)
        made = system.reconstruct(to_float(given.images), **({"labels": given.labels} if told else {}))
        pieces.append(_pixels(made, len(rows), part, "reconstructions", "autoencoder"))
    return torch.cat(pieces)


def reconstruction_error(part: Dataset, pictures: Tensor, others: Dataset, split: str) -> Finding:
    """Mean squared error per pixel, pixels from 0 to 1; beside it, that of the mean of `others` for every picture."""
    errors = squared_errors(real=part.images, fake=pictures)
    average = (others.images.sum(0) / len(others)).round().to(torch.uint8)
    without = squared_errors(real=part.images, fake=average.expand_as(part.images))
    return Finding(
        "reconstruction error",
        float(errors.mean()),
        "per pixel",
        len(part),
        mean_interval(errors.tolist()),
        float(without.mean()),
        mean_interval(without.tolist()),
        "the mean training image",
        split,
    )


def _blur(real: Tensor, others: Tensor, made: Mapping[str, Tensor], split: str) -> tuple[Finding, ...]:
    """The edges of what was made, over those of the reference images; nothing where these are flat."""
    if not float(real.mean()) > 0:
        return ()
    floor, around = blur_ratio(real=real, fake=others)
    found = []
    for what in sorted(made):
        ratio, between = blur_ratio(real=real, fake=made[what], paired=what == "reconstructions")
        words = "not told apart from real images"
        if between[1] < around[0] or around[1] < between[0]:
            words = "blurred, edges are lost" if ratio < floor else "more edges than real images, perhaps noise"
        name = f"blur ratio of {what}"
        found.append(
            Finding(name, ratio, "", len(made[what]), between, floor, around, "real training images", split, words)
        )
    return tuple(found)


def _codes(
    system: Any, part: Dataset, split: str, seed: int, repeats: int
) -> tuple[tuple[Finding, ...], tuple[Unit, ...]]:
    """Where the codes of the images lie, and which of their units say something."""
    found: list[Finding] = []
    units: tuple[Unit, ...] = ()
    if _can(system, "encode") and _can(system, "prior_codes"):
        found.append(distance_to_prior(system, part.images[:CODES], split, seed, repeats))
    if _can(system, "divergence"):
        each, means = (in_chunks(ability, part.images) for ability in (system.divergence, system.encode))
        total = _finite(each.sum(1), "KL divergences")
        between = mean_interval(total.tolist())
        found.append(Finding("KL divergence", float(total.mean()), "nats", len(part), between, None, None, "", split))
        units = tuple(Unit(*row) for row in torch.stack([each.mean(0), means.var(0)], 1).tolist())
        active = int(active_units(means).sum())
        collapsed = active < AWAKE * len(units)
        words = f"posterior collapse: fewer than {AWAKE:.0%} of the units tell images apart" if collapsed else ""
        card = (active, f"of {len(units)}", len(part), None, None, None, "", split, words)
        found.append(Finding("active units", *card))
    return tuple(found), units


def distance_to_prior(system: Any, images: Tensor, split: str, seed: int, repeats: int) -> Finding:
    """Energy distance of the codes of (N, C, S, S) uint8 images to as many of the prior; beside it, two sets of these.

    An `encode` that takes a seed gives codes with their noise, as the decoder met them.
    """
    noisy = "seed" in inspect.signature(system.encode).parameters
    options = {"seed": derive("evaluate", seed, "codes")} if noisy else {}
    codes = system.encode(to_float(images), **options)
    drawn = [_prior(system, len(codes), derive("evaluate", seed, "prior", i)) for i in range(repeats)]
    values = [energy_distance(real=prior, fake=codes) for prior in drawn]
    pairs = [
        [_prior(system, len(codes), derive("evaluate", "two priors", i, j)) for j in range(2)] for i in range(NULLS)
    ]
    null = [energy_distance(real=one, fake=other) for one, other in pairs]
    highest = quantiles(null, n=20, method="inclusive")[-1]
    value, typical = mean(values), mean(null)
    words = "not told apart from the prior" if value <= highest else f"{value / typical:.1f} x as far as two sets of it"
    if _can(system, "divergence") and not noisy:
        words += " (mean codes: their noise is left out)"
    return Finding(
        "energy distance to the prior",
        value,
        "",
        len(codes),
        mean_interval(values),
        typical,
        (0.0, highest),
        "two sets of prior codes",
        split,
        words,
    )


def _prior(system: Any, n: int, seed: int) -> Tensor:
    """(n, code) codes of the prior. They may come in each class in turn: a tenth of many has classes as they fall."""
    every = system.prior_codes(10 * n, seed=seed)
    return every[torch.randperm(len(every), generator=generator("evaluate", "prior", seed))[:n]]


def _likelihood(system: Any, part: Dataset, split: str, seed: int) -> tuple[Finding, ...]:
    if not _can(system, "log_likelihood"):
        return ()
    images = to_float(part.images[:WEIGHTED])
    estimate, bound = (
        _finite(system.log_likelihood(images, draws=draws, seed=derive("evaluate", seed, "draws")), "log-likelihoods")
        for draws in (DRAWS, 1)
    )
    found = Finding(
        "log-likelihood",
        float(estimate.mean()),
        "nats",
        len(images),
        mean_interval(estimate.tolist()),
        float(bound.mean()),
        mean_interval(bound.tolist()),
        "the bound (1 draw)",
        split,
        f"from below, {DRAWS} draws an image",
    )
    return (found,)


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
        self._real, _ = self.extractor.features(reference.images)
        self.floor = self.fd(others.images)

    def fd(self, images: Tensor) -> float:
        """FD of images (n, C, S, S), uint8 or floats in [-1, 1]; the same for the same images, whatever came before.

        Raises SparringError for another number of images than n (FD falls with the number, so they could not be
        compared), a wrong shape, or values that are not finite.
        """
        fake, _ = self.extractor.features(_pixels(images, self.n, self._data))
        return frechet_distance(real=self._real, fake=fake)


def _can(system: Any, ability: str) -> bool:
    return callable(getattr(system, ability, None))


def _shuffled(data: Dataset, purpose: str) -> Tensor:
    """(N,) row numbers in an order that depends on the purpose only."""
    return torch.randperm(len(data), generator=generator("evaluate", purpose))


def _finite(numbers: Tensor, what: str) -> Tensor:
    """(N,) numbers of images in float64, or an error."""
    broken = int((~numbers.isfinite()).sum())
    if broken:
        raise SparringError(f"{broken} of {len(numbers)} {what} are NaN or infinite: the system has diverged")
    return numbers.double()


def _plain(card: dict[str, Any]) -> dict[str, Any]:
    """JSON has no tuples."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in card.items()}


def _distances(extractor: str, *, real: Tensor, fake: Tensor) -> dict[str, float]:
    return {
        f"FD-{extractor}@{len(real)}": frechet_distance(real=real, fake=fake),
        f"KID-{extractor}@{len(real)}": kernel_distance(real=real, fake=fake),
        **neighbours(real=real, fake=fake)._asdict(),
    }


def _reference(data: Dataset, split: str, n: int, subsets: int) -> tuple[Dataset, Dataset]:
    """Up to n images to measure against, and for the floor up to `subsets` times as many other real ones; shuffled."""
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    order = _shuffled(data, "floor")
    if split == "train":
        n = min(n, len(data) // 2)
        return data.rows(order[:n]), data.rows(order[n : n + n * subsets])
    part: Dataset | None = getattr(data, split)
    if not part:
        there = [name for name in SPLITS if name == "train" or getattr(data, name)]
        raise SparringError(f"data '{data.name}' has no {split} images; choose split from: {', '.join(there)}")
    n = min(n, len(part), len(data))
    return part.rows(_shuffled(part, "reference")[:n]), data.rows(order[: n * subsets])


def _pixels(images: Tensor, n: int, data: Dataset, what: str = "samples", maker: str = "generator") -> Tensor:
    """Images that a system made as (n, C, S, S) uint8, or an error that says what is wrong with them."""
    if tuple(images.shape) != (n, *data.spec.shape):
        raise SparringError(f"{what} must be {(n, *data.spec.shape)} for data '{data.name}'; got {tuple(images.shape)}")
    if images.dtype == torch.uint8:
        return images
    broken = int((~images.isfinite()).flatten(1).any(1).sum())
    if broken:
        raise SparringError(f"{broken} of {n} {what} hold NaN or infinite values: the {maker} has diverged")
    return to_uint8(images)
