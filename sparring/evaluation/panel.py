"""The panel: all metrics that compare samples with real images, and the same metrics for other real images.

No single metric detects every fault. FD and KID reward copies of the training images, recall does not detect that half
of the samples are the same twenty, precision and density rise with blur, and no metric of features detects a weak
checkerboard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev
from typing import Any

import torch
from torch import Tensor

from sparring.evaluation.features import Features, pool
from sparring.evaluation.measurement import SIGMA_RED, Cell, Measurement
from sparring.evaluation.metrics import FROM_PIXELS, METRICS, OF_SAMPLES, Metric
from sparring.metrics.bins import Cells, bin_z, fit_cells, missing_cells
from sparring.metrics.classes import ClassShare, class_histogram
from sparring.metrics.distances import pairwise
from sparring.metrics.extractors import Extractor
from sparring.metrics.intervals import Z, mean_interval, t_quantile
from sparring.metrics.memorization import duplicate_threshold, nearest, nearest_other
from sparring.seeds import make_generator

FLOORS = 10
"""Number of sets of real images that take the place of samples to measure the floors."""

MAX_CELLS, IMAGES_PER_CELL = 100, 10
"""Maximum number of cells, and minimum number of real images per cell on average."""

CELL_IMAGES = 10_000
"""At most this many real images are used to fit the cells."""

NO_DIFFERENCE = "no significant difference from real images"
TOO_FEW = "too few images to tell"


@dataclass(frozen=True)
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
    def fit(cls, real: Features, others: Sequence[Features], extractor: Extractor, classes: tuple[str, ...]) -> Panel:
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

    def regions(self, images: Features) -> Tensor:
        """(K,) number of images in each cell."""
        return self.cells.counts(images.features)

    def class_counts(self, images: Features) -> Tensor:
        """(K,) number of images of each predicted class."""
        assert images.labels is not None
        return torch.bincount(images.labels, minlength=len(self.classes))

    def measure(self, samples: Features) -> dict[str, float]:
        """All metrics of one set of images, by name; the effective support is the number of duplicate pairs.

        Metrics that cannot be computed for these images are omitted.
        """
        inputs = {needs: arguments(self, samples) for needs, arguments in OF_SAMPLES.items()}
        results: dict[Any, Any] = {}
        numbers: dict[str, float] = {}
        for metric in _metrics_of_samples():
            call, arguments = (metric.function, metric.needs), inputs[metric.needs]
            if call not in results:
                results[call] = None if arguments is None else metric.function(**arguments)
            if results[call] is not None:
                numbers[metric.name] = getattr(results[call], metric.field) if metric.field else results[call]
        return numbers

    def histogram(self, sets: Sequence[Features]) -> list[ClassShare]:
        """Shares of the classes in all sets together; [] if the extractor does not recognize the classes."""
        if not self.classes:
            return []
        real, fake = self.real.labels, pool(sets).labels
        assert real is not None
        assert fake is not None
        return class_histogram(real=real, fake=fake, classes=self.classes)

    def p_values(self, sets: Sequence[Features]) -> dict[str, float]:
        """p-values of the difference from the reference, for the metrics with a known distribution."""
        pooled = pool(sets)
        p_values = {}
        for metric in _metrics_of_samples():
            arguments = OF_SAMPLES[metric.needs](self, pooled) if metric.p else None
            if metric.p and arguments is not None:
                p_values[metric.name] = metric.p(**arguments)
        return p_values

    def odd_cells(self, sets: Sequence[Features], most: int = 6) -> list[Cell]:
        """Cells with a wrong share: the missing ones, most common in the data first, then the overfull ones."""
        member = self.cells.of(self.real.features)
        real = torch.bincount(member, minlength=len(self.cells.centers))
        fake = self.regions(pool(sets))
        z, missing = bin_z(real=real, fake=fake), missing_cells(real=real, fake=fake)
        shares = torch.stack([real / real.sum(), fake / fake.sum()], 1).tolist()
        gone = [k for k in (real * missing).argsort(descending=True, stable=True).tolist() if missing[k]][:most]
        full = [k for k in z.argsort(descending=True, stable=True).tolist() if z[k] > 5][: most if not gone else 2]

        def name(k: int) -> str:
            if self.real.labels is None or not self.classes or not bool((member == k).any()):
                return ""
            return self.classes[int(torch.bincount(self.real.labels[member == k]).argmax())]

        return [
            Cell(k, name(k), real=shares[k][0], fake=shares[k][1], z=float(z[k]), missing=bool(missing[k]))
            for k in gone + full
        ]


def _metrics_of_samples() -> list[Metric]:
    return [metric for metric in METRICS.values() if metric.needs in OF_SAMPLES]


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
    return float(stdev(floors) / overlap**0.5 * correction)


def panel_measurements(
    panel: Panel, sets: Sequence[Features], floors: Sequence[Mapping[str, float]], total: int, split: str
) -> list[Measurement]:
    """Each metric of the panel: its mean over the sets of samples, and its floor over the sets of real images.

    floors  results of `Panel.measure` for real images in place of the samples
    total   number of real images that these sets were drawn from
    split   of the reference
    """
    n = len(panel.real.features)
    rows = [panel.measure(samples) for samples in sets]
    p_values = panel.p_values(sets)
    measurements = []
    for name in rows[0]:
        metric = METRICS[name]
        values, real = ([row[name] for row in group] for group in (rows, floors))
        value, interval = _pooled(metric, values, n)
        floor, between = _pooled(metric, real, n)
        pixels = metric.needs in FROM_PIXELS
        measurement = Measurement(
            metric=name,
            value=value,
            n=n,
            split=split,
            interval=interval,
            floor=floor,
            floor_interval=between,
            floor_name="real images",
            extractor="pixels" if pixels else panel.extractor.name,
            digest="" if pixels else panel.extractor.digest,
            by_extractor=metric.distance,
            spread=None if metric.pooled else floor_interval(real, n, total),
            p=p_values.get(name),
            against=n,
        )
        measurements.append(complete(measurement))
    return measurements


def _pooled(metric: Metric, values: Sequence[float], n: int) -> tuple[float, tuple[float, float] | None]:
    """One number and its interval from the numbers of several sets of n images."""
    if metric.pooled is not None:
        return metric.pooled(round(sum(values)), n, len(values))
    return mean(values), mean_interval(values)


def complete(measurement: Measurement) -> Measurement:
    """The measurement with the properties of its metric and, for samples, the verdict."""
    metric = METRICS[measurement.metric]
    measurement = replace(measurement, section=metric.section, better=metric.better, needed=metric.least)
    if metric.section == "samples" and not measurement.words:
        measurement = replace(measurement, words=verdict(measurement, ratio=metric.ratio))
    return measurement


def verdict(measurement: Measurement, *, ratio: bool) -> str:
    """The comparison of a metric of samples with its floor, in plain language; as a ratio, or as a difference."""
    value, floor, z = measurement.value, measurement.floor, measurement.z
    assert floor is not None
    low, high = measurement.interval or (value, value)
    floor_low, floor_high = measurement.floor_interval or (floor, floor)
    ratio = ratio and floor > 0
    if measurement.light == "gray" and (z is None or abs(z) < SIGMA_RED):
        return TOO_FEW
    if ratio and value < 0.5 * floor:
        return "closer than real images: copies?"
    if measurement.light == "green" or (not measurement.light and low <= floor_high and floor_low <= high):
        return NO_DIFFERENCE
    if ratio:
        return f"{value / floor:.1f} x the floor"
    return f"{abs(value - floor):.2g} {'above' if value > floor else 'below'} real images"


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
