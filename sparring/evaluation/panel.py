"""The panel: every number that compares samples with real images, and the same number for real images in their place.

No single number sees every fault. FD and KID reward copies of the training images, recall does not see that half of
the samples are the same twenty, precision and density rise with blur, and nothing that looks at features sees a weak
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
"""Sets of real images that take the place of samples, to know what each number is when nothing is wrong."""

CELLS, IN_A_CELL = 100, 10
"""Cells at most, and real images in each of them at least, on average."""

COARSE = 12
"""Side of the images whose pixels are compared with each other."""

CELLS_FROM = 10_000
"""Real images that cells are found on."""

POOL = {"quick": 30_000, "full": 100_000}
"""Training images at most among which copies are looked for."""

MEANING = {
    "FD": "how far mean and spread of the features are from those of real images",
    "FD-infinity": "the same, as it would be with endless samples",
    "KID": "how far the features' distribution is from that of real images",
    "precision": "share of samples that lie among real images",
    "recall": "share of real images that lie among samples",
    "density": "how crowded the real images are around a sample; above 1: too close to the centers",
    "coverage": "share of real images with a sample in their neighborhood",
    "cells-JS": "how unevenly the regions of the data are made",
    "cells-NDB": "share of regions that are made too often or too rarely",
    "missing": "share of the real images in regions that are hardly ever made",
    "classes-TV": "share of samples in the wrong class",
    "duplicates": "share of samples that have a twin among the samples",
    "duplicates-pixels": "the same, by pixels: noise is alike in features only",
    "effective support": "how many different images it makes, by the birthday paradox",
    "C2ST": "how often a classifier tells samples from real images; 0.5: never",
    "1-NN real": "how often the image nearest to a real one is real",
    "1-NN fake": "how often the image nearest to a sample is a sample; below 0.5: copies",
    "blur ratio": "edges of the typical sample over those of the typical real image",
    "HF ratio": "high frequencies of samples over those of real images",
    "Nyquist ratio": "power of the finest checkerboard over that of real images",
    "Nyquist peak": "the same power over that of the frequencies around it; about 1: no pattern stands out",
    "quarter ratio": "power of the checkerboard twice as coarse over that of real images",
    "quarter peak": "the same power over that of the frequencies around it",
    "copied-features": "share of samples that must be copies of training images",
    "copied-pixels": "the same, by pixels",
    "authentic": "share of samples that are not nearer to a training image than its own neighbor",
}
"""What each number says, in plain words."""

PATTERNS = {"Nyquist": 2, "quarter": 4}
"""Regular patterns that are looked for, and after how many pixels they repeat."""

ROUNDING = 1e-5
"""Share of a spectrum that rounding to 256 levels makes, at all frequencies alike: what is below it is no power."""

FROM_PIXELS = (
    "duplicates-pixels",
    *("blur ratio", "HF ratio", "Nyquist ratio", "Nyquist peak", "quarter ratio", "quarter peak", "copied-pixels"),
)
"""Numbers that no feature extractor had a part in."""


class Features(NamedTuple):
    """A set of images, and what is seen of them.

    images    (N, C, S, S) uint8
    features  (N, F)
    labels    (N,) classes that the extractor sees; None if it knows none
    laplacian_variance  (N,) variance of the Laplacian
    spectrum  (S, S) mean power spectrum
    coarse    (N, P) pixels, averaged to 12 x 12 where there are more
    """

    images: Tensor
    features: Tensor
    labels: Tensor | None
    edges: Tensor
    spectrum: Tensor
    coarse: Tensor


def describe(images: Tensor, extractor: Extractor) -> Features:
    features, logits = extractor.features(images)
    labels = None if logits is None else logits.argmax(1)
    side = min(COARSE, images.shape[-1])
    coarse = torch.cat([F.adaptive_avg_pool2d(part.float(), side).flatten(1) for part in images.split(1000)])
    return Features(images, features, labels, laplacian_variance(images), power_spectrum(images), coarse)


def subset(whole: Features, rows: Tensor) -> Features:
    """The view of some rows of a set that was seen."""
    labels = None if whole.labels is None else whole.labels[rows]
    images = whole.images[rows]
    spectrum = power_spectrum(images)
    return Features(images, whole.features[rows], labels, whole.edges[rows], spectrum, whole.coarse[rows])


@dataclass
class Panel:
    """Real images to measure against, and what was learnt from others: cells, and how near a twin is.

    real       the reference
    extractor  that made the features
    cells      of the space of features
    twin       distance of features under which two images are duplicates
    twin_pixels  the same of their coarse pixels
    classes    of the data; () if the extractor does not know them, or not these images
    """

    real: Features
    extractor: Extractor
    cells: Cells
    twin: float
    twin_pixels: float
    classes: tuple[str, ...]

    @classmethod
    def of(cls, real: Features, others: Sequence[Features], extractor: Extractor, classes: tuple[str, ...]) -> Panel:
        """others: sets of other real images, as large as the reference; classes: those that the extractor knows."""
        known = torch.cat([one.features for one in others])[:CELLS_FROM]
        cells = fit_cells(known, max(2, min(CELLS, len(real.features) // IN_A_CELL)))
        twin = duplicate_threshold(real.features, *(one.features for one in others))
        twin_pixels = duplicate_threshold(real.coarse, *(one.coarse for one in others))
        return cls(real, extractor, cells, twin, twin_pixels, classes)

    def measure(self, made: Features) -> dict[str, float]:
        """Every number of one set of images; of the effective support, the pairs of twins it comes from.

        Numbers that these images cannot have are left out.
        """
        real, fake = self.real.features, made.features
        kinds, made_kinds = self.cells.counts(real), self.cells.counts(fake)
        judge, n = self.extractor.name, len(real)
        alike, twins = one_nn_accuracy(real=real, fake=fake), duplicates(fake=fake, within=self.twin)
        numbers: dict[str, float] = {
            f"FD-{judge}@{n}": frechet_distance(real=real, fake=fake),
            **({"FD-infinity": frechet_infinity(real=real, fake=fake)} if n >= 8 * real.shape[1] else {}),
            f"KID-{judge}@{n}": kernel_distance(real=real, fake=fake),
            **prdc(real=real, fake=fake)._asdict(),
            "cells-JS": jensen_shannon(real=kinds, fake=made_kinds),
            "cells-NDB": ndb(real=kinds, fake=made_kinds),
            "missing": missing_share(real=kinds, fake=made_kinds),
            **({"classes-TV": total_variation(self.histogram([made]))} if self.classes else {}),
            "duplicates": twins.share,
            "duplicates-pixels": duplicates(fake=made.coarse, within=self.twin_pixels).share,
            "effective support": twins.pairs,
            "C2ST": classifier_test(real=real, fake=fake).accuracy,
            "1-NN real": alike.real,
            "1-NN fake": alike.fake,
        }
        sharp = float(self.real.edges.median())  # medians: a few samples of noise are not all samples sharpened
        if sharp > 0:
            numbers["blur ratio"] = float(made.edges.median()) / sharp
        flat, rounding = not bool(self.real.spectrum.any()), torch.full_like(self.real.spectrum, ROUNDING)
        for name, share in self.bands.items() if not flat else ():
            least = share(rounding / rounding.numel())
            numbers[name] = (share(made.spectrum) + least) / (share(self.real.spectrum) + least)
            if name.endswith(" ratio") and (period := PATTERNS.get(name.removesuffix(" ratio"))):
                numbers[name.replace("ratio", "peak")] = prominence(made.spectrum, period)
        return numbers

    @property
    def bands(self) -> dict[str, Callable[[Tensor], float]]:
        """Bands of the spectrum that images of this size have."""
        size = self.real.images.shape[-1]
        found: dict[str, Callable[[Tensor], float]] = {"HF ratio": high_frequency_share}
        for name, period in PATTERNS.items():
            if size % period == 0:
                found[f"{name} ratio"] = partial(checkerboard_power, period=period)
        return found

    def histogram(self, made: Sequence[Features]) -> list[ClassShare]:
        """Shares of the classes in all of these sets; [] if the extractor does not know the classes."""
        if not self.classes:
            return []
        labels = [one.labels for one in made if one.labels is not None]
        assert self.real.labels is not None
        return class_histogram(real=self.real.labels, fake=torch.cat(labels), classes=self.classes)

    def p_values(self, made: Sequence[Features]) -> dict[str, float]:
        """How likely so large a difference from the reference is by chance, for the numbers that have a known law."""
        features = torch.cat([one.features for one in made])
        counts = {"real": self.cells.counts(self.real.features), "fake": self.cells.counts(features)}
        found = {
            "cells-JS": chi_square_p(**counts),
            "C2ST": classifier_test(real=self.real.features, fake=made[0].features).p,
        }
        if self.classes:
            labels = (self.real.labels, torch.cat([one.labels for one in made if one.labels is not None]))
            real, fake = (torch.bincount(one, minlength=len(self.classes)) for one in labels if one is not None)
            found["classes-TV"] = chi_square_p(real=real, fake=fake)
        return found

    def odd_cells(self, made: Sequence[Features], most: int = 6) -> list[Cell]:
        """The cells that are furthest from their share: the rarest of the missing ones first, then the overfull."""
        member = self.cells.of(self.real.features)
        real = torch.bincount(member, minlength=len(self.cells.centers))
        fake = self.cells.counts(torch.cat([one.features for one in made]))
        z, missing = bin_z(real=real, fake=fake), missing_cells(real=real, fake=fake)
        shares = torch.stack([real / real.sum(), fake / fake.sum()], 1).tolist()
        gone = [k for k in (real * missing).argsort(descending=True, stable=True).tolist() if missing[k]][:most]
        full = [k for k in z.argsort(descending=True, stable=True).tolist() if z[k] > 5][: most if not gone else 2]

        def named(k: int) -> str:
            if self.real.labels is None or not self.classes or not bool((member == k).any()):
                return ""
            return self.classes[int(torch.bincount(self.real.labels[member == k]).argmax())]

        return [
            Cell(k, named(k), share=shares[k][0], made=shares[k][1], z=float(z[k]), missing=bool(missing[k]))
            for k in gone + full
        ]


def floor_rows(total: int, n: int) -> list[Tensor]:
    """Rows of FLOORS sets of n among `total` other real images: disjoint where there are enough, else drawn at random.

    None but the one that there is for fewer than 2 n.
    """
    if total < 2 * n:
        return [torch.arange(n)]
    if total >= FLOORS * n:
        return list(torch.arange(FLOORS * n).split(n))
    return [torch.randperm(total, generator=make_generator("floor", i))[:n] for i in range(FLOORS)]


def floor_interval(floors: Sequence[float], n: int, total: int) -> float | None:
    """Standard deviation of a number among sets of n real images, from sets out of `total`; None for a single set.

    Sets drawn from a small pile overlap and differ less than new ones would, by 1 - n / total (sampling without
    replacement); and the deviation and the floor are known from few sets only, which widens it.
    """
    if len(floors) < 2:
        return None
    overlap = 1 - n / total if total < FLOORS * n else 1.0
    few = t_quantile(len(floors) - 1) / Z * (1 + n / total) ** 0.5
    return stdev(floors) / overlap**0.5 * few


def measures_of(
    panel: Panel,
    made: Sequence[Features],
    nulls: Sequence[Mapping[str, float]],
    total: int,
    stamp: Mapping[str, Any],
) -> list[Measure]:
    """Each number of the panel: its mean over the sets of samples, beside its mean over the sets of real images.

    nulls  what `Panel.measure` says of real images in the samples' place
    total  how many real images these were drawn from
    stamp  split, averaged and seed of the cards
    """
    n = len(panel.real.features)
    values = [panel.measure(one) for one in made]
    chances = panel.p_values(made)
    found = []
    for name in values[0]:
        repeated, floor = [row[name] for row in values], [row[name] for row in nulls]
        card = {**extractor_record(None if name in FROM_PIXELS else panel.extractor), **stamp}
        if name == "effective support":
            ours, real = (effective_support(round(sum(pairs)), n, len(pairs)) for pairs in (repeated, floor))
            found.append(Measure(name, ours[0], n, ours[1], real[0], real[1], against=n, **card))
        else:
            card |= {"spread": floor_interval(floor, n, total), "p": chances.get(name), "against": n}
            value, null = mean(repeated), mean(floor)
            found.append(Measure(name, value, n, mean_interval(repeated), null, mean_interval(floor), **card))
    return found


def extractor_record(extractor: Extractor | None) -> dict[str, Any]:
    """The extractor of a card; None: the pixels themselves."""
    return (
        {"extractor": "pixels", "digest": ""}
        if extractor is None
        else {
            "extractor": extractor.name,
            "digest": extractor.digest,
        }
    )


# Memorization.


class Memorization(NamedTuple):
    """Its numbers, and for pictures the closest pairs: rows of the samples and of the training images."""

    measures: list[Measure]
    samples: Tensor
    training: Tensor


def memorization(
    made: Sequence[Features],
    train: Features,
    held_out: Features,
    extractor: Extractor,
    pixels: Sequence[Tensor],
    stamp: Mapping[str, Any],
) -> Memorization:
    """Copies of training images among the samples: by exchangeability in features and in pixels, and by AuthPct.

    pixels  principal components of the pixels of all samples, of the training images and of the held-out ones
    stamp   split, averaged and seed of the cards
    """
    features = [torch.cat([one.features for one in made]), train.features, held_out.features]
    found = []
    for name, judge, (fake, known, unseen) in (
        ("copied-features", extractor, features),
        ("copied-pixels", None, pixels),
    ):
        test = nearest_train_test(train=known, held_out=unseen, fake=fake)
        spread = test.deviation / (1 - test.expected)
        interval, null = ((middle - Z * spread, middle + Z * spread) for middle in (test.copied, 0.0))
        card = {**extractor_record(judge), **stamp, "spread": spread, "p": test.p, "against": len(unseen)}
        found.append(Measure(name, test.copied, len(fake), interval, 0.0, null, **card))

    fake, known, unseen = features
    copies, real = authenticity(train=known, fake=fake), authenticity(train=known, fake=unseen)
    interval, null = (wilson_interval(round(one.share * len(one.at)), len(one.at)) for one in (copies, real))
    spread = (real.share * (1 - real.share) * (1 / len(fake) + 1 / len(unseen))) ** 0.5
    card = {**extractor_record(extractor), **stamp, "spread": spread, "against": len(unseen)}
    found.append(Measure("authentic", copies.share, len(fake), interval, real.share, null, **card))

    first = len(made[0].features)
    closeness = copies.distance[:first] / copies.own[:first].clamp(min=1e-12)
    closest: dict[int, int] = {}  # training image -> sample
    for i in closeness.argsort(stable=True).tolist():
        closest.setdefault(int(copies.at[i]), i)
    return Memorization(found, torch.tensor([*closest.values()][:10]), torch.tensor([*closest][:10]))


def far_and_near(panel: Panel, made: Features, count: int = 16) -> tuple[Tensor, Tensor]:
    """Rows of the samples farthest from every real image, and of the nearest, in units of that image's own distance."""
    distance, at = nearest(of=made.features, among=panel.real.features)
    own = nearest_other(panel.real.features).float()
    order = (distance / own[at].clamp(min=1e-12)).argsort(descending=True, stable=True)
    return order[:count], order[-count:].flip(0)


def groups_of_twins(panel: Panel, made: Features, groups: int = 5, shown: int = 8) -> list[Tensor]:
    """The largest groups of duplicates: for each, rows of samples that are twins of one and the same sample."""
    left, found = torch.ones(len(made.features), dtype=torch.bool), []
    near = torch.cat([pairwise(rows, made.features) <= panel.twin for rows in made.features.split(500)])
    for _ in range(groups):
        sizes = (near & left).sum(1) * left
        most = int(sizes.argmax())
        if sizes[most] < 2:
            break
        members = (near[most] & left).nonzero().flatten()
        found.append(members[:shown])
        left[members] = False
    return found
