"""The panel: all metrics that compare samples with real images, and the same metrics for other real images.

No single metric detects every fault. FD and KID reward copies of the training images, recall does not detect that half
of the samples are the same twenty, precision and density rise with blur, and no metric of features detects a weak
checkerboard. To add a metric: a function in sparring/metrics, a line in `Panel.measure`, and a line in `MEANING`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import mean, stdev
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sparring.evaluation.measurement import Cell, Measure
from sparring.metrics import (
    Cells,
    ClassShare,
    Extractor,
    authenticity,
    bin_z,
    checkerboard_power,
    chi_square_p,
    class_histogram,
    classifier_test,
    duplicate_threshold,
    duplicates,
    effective_support,
    fit_cells,
    frechet_distance,
    frechet_infinity,
    high_frequency_share,
    jensen_shannon,
    kernel_distance,
    laplacian_variance,
    mean_interval,
    missing_cells,
    missing_share,
    ndb,
    nearest,
    nearest_other,
    nearest_train_test,
    one_nn_accuracy,
    power_spectrum,
    prdc,
    prominence,
    total_variation,
    wilson_interval,
)
from sparring.metrics.distances import pairwise
from sparring.metrics.intervals import Z, t_quantile
from sparring.seeds import make_generator

FLOORS = 10
"""Number of sets of real images that take the place of samples to measure the floors."""

MAX_CELLS, IMAGES_PER_CELL = 100, 10
"""Maximum number of cells, and minimum number of real images per cell on average."""

COARSE_SIDE = 12
"""Side of the reduced images whose pixels are compared."""

CELL_IMAGES = 10_000
"""At most this many real images are used to fit the cells."""

COPY_POOL = {"quick": 30_000, "full": 100_000}
"""Level -> maximum number of training images that are searched for copies."""

MEANING = {
    "FD": "Fréchet distance: difference in mean and covariance of the features",
    "FD-infinity": "FD extrapolated to infinitely many samples",
    "KID": "kernel distance between the distributions of the features",
    "precision": "share of samples inside the neighborhoods of real images",
    "recall": "share of real images inside the neighborhoods of samples",
    "density": "how crowded the real images are around a sample; above 1: too close to the centers",
    "coverage": "share of real images with a sample in their neighborhood",
    "cells-JS": "Jensen-Shannon divergence between the frequencies of regions of the data",
    "cells-NDB": "share of regions that are generated too often or too rarely",
    "missing": "share of the real images in regions that are hardly ever generated",
    "classes-TV": "share of samples in the wrong class",
    "duplicates": "share of samples with a near-duplicate among the samples",
    "duplicates-pixels": "the same on pixels, where noise images are not similar",
    "effective support": "estimated number of different images (birthday paradox)",
    "C2ST": "accuracy of a classifier of samples against real images; 0.5: indistinguishable",
    "1-NN real": "share of real images whose nearest neighbor is real; 0.5: indistinguishable",
    "1-NN fake": "share of samples whose nearest neighbor is a sample; below 0.5: copies",
    "blur ratio": "edge strength of the median sample, divided by that of the median real image",
    "HF ratio": "high frequencies of samples, divided by those of real images",
    "Nyquist ratio": "power of the finest checkerboard, divided by that of real images",
    "Nyquist peak": "the same power, divided by that of the surrounding frequencies; about 1: no pattern",
    "quarter ratio": "power of a checkerboard twice as coarse, divided by that of real images",
    "quarter peak": "the same power, divided by that of the surrounding frequencies; about 1: no pattern",
    "copied-features": "share of samples that are copies of training images",
    "copied-pixels": "the same on pixels",
    "authentic": "share of samples farther from their nearest training image than its own nearest neighbor",
}
"""Metric -> its meaning in one line."""

PATTERNS = {"Nyquist": 2, "quarter": 4}
"""Regular pattern -> its period in pixels."""

ROUNDING = 1e-5
"""Share of a spectrum that comes from rounding to 256 levels, equal at all frequencies; less is not significant."""

FROM_PIXELS = (
    "duplicates-pixels",
    *("blur ratio", "HF ratio", "Nyquist ratio", "Nyquist peak", "quarter ratio", "quarter peak", "copied-pixels"),
)
"""Metrics that do not use a feature extractor."""


class Features(NamedTuple):
    """A set of images and its statistics.

    images    (N, C, S, S) uint8
    features  (N, F)
    labels    (N,) classes predicted by the extractor; None if it is not a classifier
    edges     (N,) variance of the Laplacian
    spectrum  (S, S) mean power spectrum
    coarse    (N, P) pixels, averaged to at most 12 x 12
    """

    images: Tensor
    features: Tensor
    labels: Tensor | None
    edges: Tensor
    spectrum: Tensor
    coarse: Tensor


def describe(images: Tensor, extractor: Extractor) -> Features:
    """The statistics of images (N, C, S, S) uint8."""
    features, logits = extractor.features(images)
    labels = None if logits is None else logits.argmax(1)
    side = min(COARSE_SIDE, images.shape[-1])
    coarse = torch.cat([F.adaptive_avg_pool2d(part.float(), side).flatten(1) for part in images.split(1000)])
    return Features(images, features, labels, laplacian_variance(images), power_spectrum(images), coarse)


def subset(whole: Features, rows: Tensor) -> Features:
    """The statistics of a subset, without running the extractor again."""
    labels = None if whole.labels is None else whole.labels[rows]
    images = whole.images[rows]
    spectrum = power_spectrum(images)
    return Features(images, whole.features[rows], labels, whole.edges[rows], spectrum, whole.coarse[rows])


@dataclass
class Panel:
    """The reference, and what was fitted to other real images: cells and thresholds for duplicates.

    real              the reference images
    extractor         of the features
    cells             regions of the feature space
    duplicate_below   distance of features below which two images are near-duplicates
    duplicate_pixels  the same for coarse pixels
    classes           of the data; () if the extractor does not recognize them
    """

    real: Features
    extractor: Extractor
    cells: Cells
    duplicate_below: float
    duplicate_pixels: float
    classes: tuple[str, ...]

    @classmethod
    def of(cls, real: Features, others: Sequence[Features], extractor: Extractor, classes: tuple[str, ...]) -> Panel:
        """Fit cells and thresholds.

        real     the reference
        others   sets of other real images, each as large as the reference
        classes  that the extractor recognizes; () if none
        """
        features = torch.cat([other.features for other in others])[:CELL_IMAGES]
        cells = fit_cells(features, max(2, min(MAX_CELLS, len(real.features) // IMAGES_PER_CELL)))
        below = duplicate_threshold(real.features, *(other.features for other in others))
        pixels = duplicate_threshold(real.coarse, *(other.coarse for other in others))
        return cls(real, extractor, cells, below, pixels, classes)

    def measure(self, samples: Features) -> dict[str, float]:
        """All metrics of one set of images; for the effective support, the number of duplicate pairs.

        Metrics that cannot be computed for these images are omitted.
        """
        real, fake = self.real.features, samples.features
        counts = {"real": self.cells.counts(real), "fake": self.cells.counts(fake)}
        extractor, n = self.extractor.name, len(real)
        one_nn, near_duplicates = (
            one_nn_accuracy(real=real, fake=fake),
            duplicates(fake=fake, within=self.duplicate_below),
        )
        numbers: dict[str, float] = {
            f"FD-{extractor}@{n}": frechet_distance(real=real, fake=fake),
            **({"FD-infinity": frechet_infinity(real=real, fake=fake)} if n >= 8 * real.shape[1] else {}),
            f"KID-{extractor}@{n}": kernel_distance(real=real, fake=fake),
            **prdc(real=real, fake=fake)._asdict(),
            "cells-JS": jensen_shannon(**counts),
            "cells-NDB": ndb(real=counts["real"], fake=counts["fake"]),
            "missing": missing_share(**counts),
            **({"classes-TV": total_variation(self.histogram([samples]))} if self.classes else {}),
            "duplicates": near_duplicates.share,
            "duplicates-pixels": duplicates(fake=samples.coarse, within=self.duplicate_pixels).share,
            "effective support": near_duplicates.pairs,
            "C2ST": classifier_test(real=real, fake=fake).accuracy,
            "1-NN real": one_nn.real,
            "1-NN fake": one_nn.fake,
        }
        sharp = float(self.real.edges.median())  # the median is robust against a few noise images
        if sharp > 0:
            numbers["blur ratio"] = float(samples.edges.median()) / sharp
        flat, rounding = not bool(self.real.spectrum.any()), torch.full_like(self.real.spectrum, ROUNDING)
        for name, share in self.bands.items() if not flat else ():
            offset = share(rounding / rounding.numel())
            numbers[name] = (share(samples.spectrum) + offset) / (share(self.real.spectrum) + offset)
            if name.endswith(" ratio") and (period := PATTERNS.get(name.removesuffix(" ratio"))):
                numbers[name.replace("ratio", "peak")] = prominence(samples.spectrum, period)
        return numbers

    @property
    def bands(self) -> dict[str, Callable[[Tensor], float]]:
        """Name -> function of the spectrum, for the bands that images of this size have."""
        size = self.real.images.shape[-1]
        bands: dict[str, Callable[[Tensor], float]] = {"HF ratio": high_frequency_share}
        for name, period in PATTERNS.items():
            if size % period == 0:
                bands[f"{name} ratio"] = partial(checkerboard_power, period=period)
        return bands

    def histogram(self, sets: Sequence[Features]) -> list[ClassShare]:
        """Shares of the classes in all sets together; [] if the extractor does not recognize the classes."""
        if not self.classes:
            return []
        labels = [samples.labels for samples in sets if samples.labels is not None]
        assert self.real.labels is not None
        return class_histogram(real=self.real.labels, fake=torch.cat(labels), classes=self.classes)

    def p_values(self, sets: Sequence[Features]) -> dict[str, float]:
        """p-values of the difference from the reference, for the metrics with a known distribution."""
        features = torch.cat([samples.features for samples in sets])
        counts = {"real": self.cells.counts(self.real.features), "fake": self.cells.counts(features)}
        p_values = {
            "cells-JS": chi_square_p(**counts),
            "C2ST": classifier_test(real=self.real.features, fake=sets[0].features).p,
        }
        if self.classes:
            labels = (self.real.labels, torch.cat([samples.labels for samples in sets if samples.labels is not None]))
            real, fake = (torch.bincount(part, minlength=len(self.classes)) for part in labels if part is not None)
            p_values["classes-TV"] = chi_square_p(real=real, fake=fake)
        return p_values

    def odd_cells(self, sets: Sequence[Features], most: int = 6) -> list[Cell]:
        """Cells with a wrong share: the missing ones, most common in the data first, then the overfull ones."""
        member = self.cells.of(self.real.features)
        real = torch.bincount(member, minlength=len(self.cells.centers))
        fake = self.cells.counts(torch.cat([samples.features for samples in sets]))
        z, missing = bin_z(real=real, fake=fake), missing_cells(real=real, fake=fake)
        shares = torch.stack([real / real.sum(), fake / fake.sum()], 1).tolist()
        gone = [k for k in (real * missing).argsort(descending=True, stable=True).tolist() if missing[k]][:most]
        full = [k for k in z.argsort(descending=True, stable=True).tolist() if z[k] > 5][: most if not gone else 2]

        def name(k: int) -> str:
            if self.real.labels is None or not self.classes or not bool((member == k).any()):
                return ""
            return self.classes[int(torch.bincount(self.real.labels[member == k]).argmax())]

        return [
            Cell(k, name(k), share=shares[k][0], made=shares[k][1], z=float(z[k]), missing=bool(missing[k]))
            for k in gone + full
        ]


def floor_rows(total: int, n: int) -> list[Tensor]:
    """Row indices of FLOORS sets of n out of `total` other real images: disjoint if there are enough, else random.

    A single set if `total` is less than 2 n.
    """
    if total < 2 * n:
        return [torch.arange(n)]
    if total >= FLOORS * n:
        return list(torch.arange(FLOORS * n).split(n))
    return [torch.randperm(total, generator=make_generator("floor", i))[:n] for i in range(FLOORS)]


def floor_interval(floors: Sequence[float], n: int, total: int) -> float | None:
    """Standard deviation of a metric over sets of n real images out of `total`; None for a single set.

    Corrected for overlapping sets, whose variance is smaller by 1 - n / total (sampling without replacement), and for
    the uncertainty of a deviation and a floor that are estimated from few sets.
    """
    if len(floors) < 2:
        return None
    overlap = 1 - n / total if total < FLOORS * n else 1.0
    correction = t_quantile(len(floors) - 1) / Z * (1 + n / total) ** 0.5
    return stdev(floors) / overlap**0.5 * correction


def measures_of(
    panel: Panel,
    sets: Sequence[Features],
    floors: Sequence[Mapping[str, float]],
    total: int,
    metadata: Mapping[str, Any],
) -> list[Measure]:
    """Each metric of the panel: its mean over the sets of samples, and its floor over the sets of real images.

    floors    results of `Panel.measure` for real images in place of the samples
    total     number of real images that these sets were drawn from
    metadata  split, averaged and seed
    """
    n = len(panel.real.features)
    rows = [panel.measure(samples) for samples in sets]
    p_values = panel.p_values(sets)
    measures = []
    for name in rows[0]:
        values, floor = [row[name] for row in rows], [row[name] for row in floors]
        card = {**extractor_record(None if name in FROM_PIXELS else panel.extractor), **metadata}
        if name == "effective support":
            fake, real = (effective_support(round(sum(pairs)), n, len(pairs)) for pairs in (values, floor))
            measures.append(Measure(name, fake[0], n, fake[1], real[0], real[1], against=n, **card))
        else:
            card |= {"spread": floor_interval(floor, n, total), "p": p_values.get(name), "against": n}
            interval = mean_interval(values)
            measures.append(Measure(name, mean(values), n, interval, mean(floor), mean_interval(floor), **card))
    return measures


def extractor_record(extractor: Extractor | None) -> dict[str, Any]:
    """Name and digest of the extractor; None: the metric is computed on pixels."""
    if extractor is None:
        return {"extractor": "pixels", "digest": ""}
    return {"extractor": extractor.name, "digest": extractor.digest}


# Memorization.


class Memorization(NamedTuple):
    """The metrics, and the closest pairs: row indices of samples and of training images."""

    measures: list[Measure]
    samples: Tensor
    training: Tensor


def memorization(
    sets: Sequence[Features],
    train: Features,
    held_out: Features,
    extractor: Extractor,
    pixels: Sequence[Tensor],
    metadata: Mapping[str, Any],
) -> Memorization:
    """Copies of training images among the samples: by exchangeability in features and in pixels, and by AuthPct.

    pixels    principal components of the pixels of all samples, of the training images and of the held-out images
    metadata  split, averaged and seed
    """
    features = [torch.cat([samples.features for samples in sets]), train.features, held_out.features]
    measures = []
    for name, source, (fake, in_train, in_held_out) in (
        ("copied-features", extractor, features),
        ("copied-pixels", None, pixels),
    ):
        test = nearest_train_test(train=in_train, held_out=in_held_out, fake=fake)
        spread = test.deviation / (1 - test.expected)
        interval, floor = ((center - Z * spread, center + Z * spread) for center in (test.copied, 0.0))
        card = {**extractor_record(source), **metadata, "spread": spread, "p": test.p, "against": len(in_held_out)}
        measures.append(Measure(name, test.copied, len(fake), interval, 0.0, floor, **card))

    fake, in_train, in_held_out = features
    copies, real = authenticity(train=in_train, fake=fake), authenticity(train=in_train, fake=in_held_out)
    interval, floor = (wilson_interval(round(part.share * len(part.at)), len(part.at)) for part in (copies, real))
    spread = (real.share * (1 - real.share) * (1 / len(fake) + 1 / len(in_held_out))) ** 0.5
    card = {**extractor_record(extractor), **metadata, "spread": spread, "against": len(in_held_out)}
    measures.append(Measure("authentic", copies.share, len(fake), interval, real.share, floor, **card))

    n = len(sets[0].features)
    closeness = copies.distance[:n] / copies.own[:n].clamp(min=1e-12)
    closest: dict[int, int] = {}  # training image -> sample
    for i in closeness.argsort(stable=True).tolist():
        closest.setdefault(int(copies.at[i]), i)
    return Memorization(measures, torch.tensor([*closest.values()][:10]), torch.tensor([*closest][:10]))


def far_and_near(panel: Panel, samples: Features, count: int = 16) -> tuple[Tensor, Tensor]:
    """Row indices of the samples farthest from, and nearest to, a real image, relative to its nearest neighbor."""
    distance, at = nearest(of=samples.features, among=panel.real.features)
    own = nearest_other(panel.real.features).float()
    order = (distance / own[at].clamp(min=1e-12)).argsort(descending=True, stable=True)
    return order[:count], order[-count:].flip(0)


def duplicate_groups(panel: Panel, samples: Features, count: int = 5, size: int = 8) -> list[Tensor]:
    """The largest groups of near-duplicates: for each, row indices of samples that are close to the same sample."""
    left, groups = torch.ones(len(samples.features), dtype=torch.bool), []
    close = [pairwise(rows, samples.features) <= panel.duplicate_below for rows in samples.features.split(500)]
    near = torch.cat(close)
    for _ in range(count):
        sizes = (near & left).sum(1) * left
        most = int(sizes.argmax())
        if sizes[most] < 2:
            break
        members = (near[most] & left).nonzero().flatten()
        groups.append(members[:size])
        left[members] = False
    return groups
