"""Samples against real images: the panel with its pictures, agreement of classes, blur, Parzen windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from sparring.data.dataset import Dataset
from sparring.data.pixels import to_float
from sparring.errors import SparringError
from sparring.evaluation.measurement import Cell, Finding, Measure, Rate
from sparring.evaluation.panel import (
    FLOORS,
    Features,
    Memorization,
    Panel,
    describe,
    far_and_near,
    floor_rows,
    groups_of_twins,
    measures_of,
    memorization,
    subset,
)
from sparring.evaluation.splits import (
    PixelRange,
    choose_extractor,
    held_out_halves,
    pixels_of,
    range_of,
    reference_split,
    shuffled,
)
from sparring.image_grid import grid
from sparring.metrics import (
    SIGMAS,
    ClassShare,
    Extractor,
    blur_ratio,
    frechet_distance,
    kernel_distance,
    laplacian_variance,
    parzen_log_likelihood,
    pixels_pca64,
    wilson_interval,
)
from sparring.metrics.intervals import Z
from sparring.seeds import derive_seed

CENTERS, CHOOSING = 10_000, 1000
"""Of the Parzen window: samples, and images to choose its width with (Goodfellow et al. 2014)."""

PARZEN = "No claim of quality: k-means centers score higher than the true distribution (Theis et al. 2016)."


class Samples(NamedTuple):
    """The panel's numbers, shares of classes, odd cells, classes seen in each set of samples, pixels, pictures."""

    measures: list[Measure]
    histogram: list[ClassShare]
    cells: list[Cell]
    labels: list[Tensor]
    range: PixelRange
    pictures: dict[str, Image.Image]


def evaluate_samples(
    sample: Callable[..., Tensor],
    reference: Dataset,
    others: Dataset,
    held_out: Dataset | None,
    extractor: Extractor,
    classes: tuple[str, ...],
    split: str,
    averaged: bool | None,
    seed: int,
    repeats: int,
) -> Samples:
    """Sample, compare with the reference, and put other real images in the samples' place.

    others    training images: the floors' sets of n, and then more, to look for copies among
    held_out  images that training has not seen and that are like the others; without them nothing is said of copies
    classes   that the extractor knows in these images; () where it knows none
    """
    n, stamp = len(reference), {"split": split, "averaged": averaged, "seed": seed}
    look = min(len(others), FLOORS * n) if extractor.slow else len(others)
    train, real = describe(others.images[:look], extractor), describe(reference.images, extractor)
    floors = [subset(train, rows) for rows in floor_rows(look, n)]
    panel = Panel.of(real, floors, extractor, classes)
    sets, ranges = [], []
    for i in range(repeats):
        images = sample(seed=sample_seed(seed, i))
        sets.append(pixels_of(images, n, reference))
        ranges.append(range_of(images, reference.images))
    made = [describe(pictures, extractor) for pictures in sets]
    measures = measures_of(panel, made, [panel.measure(one) for one in floors], look, stamp)
    found: Memorization | None = None
    if held_out is not None and len(held_out) > 1:
        judge = pixels_pca64(others.images)
        pixels = [judge.features(images)[0] for images in (torch.cat(sets), train.images, held_out.images)]
        unseen = describe(held_out.images, extractor)
        found = memorization(made, train, unseen, extractor, pixels, stamp)
        measures += found.measures
    labels = [one.labels for one in made if one.labels is not None]
    cells = panel.odd_cells(made)
    pictures = _pictures(panel, made, cells, train, found)
    return Samples(measures, panel.histogram(made), cells, labels, PixelRange.of_all(ranges), pictures)


def sample_seed(seed: int, repeat: int) -> int:
    """The seed that `system.sample` gets for one of the sets."""
    return derive_seed("evaluate", seed, repeat)


def _pictures(
    panel: Panel, made: Sequence[Features], cells: Sequence[Cell], train: Features, found: Memorization | None
) -> dict[str, Image.Image]:
    """What the numbers mean, to look at."""
    images, pictures = made[0].images, {}
    far, near = far_and_near(panel, made[0])
    for name, rows in (("far", far), ("near", near)):
        pictures[name] = grid(to_float(images[rows]), columns=8)
    if found is not None:
        pairs = torch.cat([images[found.samples], train.images[found.training]])
        pictures["closest"] = grid(to_float(pairs), columns=len(found.samples))
    pictures |= _rows("twins", [images[group] for group in groups_of_twins(panel, made[0])])
    for name, missing, one in (("cells", True, panel.real), ("overfull", False, made[0])):
        member = panel.cells.of(one.features)
        inside = [one.images[member == cell.number][:8] for cell in cells if cell.missing == missing]
        pictures |= _rows(name, [row for row in inside if len(row)])
    spectra = torch.stack([panel.real.spectrum, torch.stack([one.spectrum for one in made]).mean(0)])
    spectra = torch.fft.fftshift(spectra.clamp(min=1e-12).log10(), dim=(1, 2))[:, None]
    scaled = (spectra - spectra.quantile(0.02)) / (spectra.max() - spectra.quantile(0.02)).clamp(min=1e-9)
    pictures["spectrum"] = grid(2 * scaled.clamp(0, 1).float() - 1, columns=2)
    return pictures


def _rows(name: str, rows: Sequence[Tensor]) -> dict[str, Image.Image]:
    """A picture with one row for each set of up to 8 images; nothing for no rows."""
    if not rows:
        return {}
    blank = torch.full((8, *rows[0].shape[1:]), 255, dtype=torch.uint8)
    return {name: grid(to_float(torch.cat([torch.cat([row, blank])[:8] for row in rows])), columns=8)}


def class_agreement(
    seen: Sequence[Tensor], asked: Sequence[Tensor], real: Dataset, judge: Extractor, split: str, note: str = ""
) -> Rate:
    """How often the judge sees in a sample the class it was asked to be.

    seen, asked: the classes (n,) that the judge sees in each set of samples, and those that they were to be
    """
    hits = sum(int((labels == wanted).sum()) for labels, wanted in zip(seen, asked, strict=True))
    n = sum(map(len, seen))
    _, logits = judge.features(real.images)
    assert logits is not None
    assert real.labels is not None
    agreement = float((logits.argmax(1) == real.labels).float().mean())
    return Rate("class agreement", hits / n, n, wilson_interval(hits, n), split, judge.name, agreement, note)


def blur(real: Tensor, others: Tensor, rebuilt: Tensor, split: str) -> tuple[Finding, ...]:
    """The edges of reconstructions, over those of the images they are of; nothing where these are flat."""
    sharp = laplacian_variance(real)
    if not float(sharp.mean()) > 0:
        return ()
    floor, around = blur_ratio(real=sharp, fake=laplacian_variance(others))
    ratio, between = blur_ratio(real=sharp, fake=laplacian_variance(rebuilt), paired=True)
    words = "not told apart from real images"
    if between[1] < around[0] or around[1] < between[0]:
        words = "blurred, edges are lost" if ratio < floor else "more edges than real images, perhaps noise"
    beside = (floor, around, "real training images", split, words)
    return (Finding("blur ratio of reconstructions", ratio, "", len(rebuilt), between, *beside),)


def parzen_window(sample: Callable[..., Tensor], data: Dataset, seed: int) -> Finding:
    """The Parzen-window log-likelihood of test images, beside that of as many training images in place of samples.

    The width is chosen on held-out images; where there is no test set, the other held-out images are the test. Raises
    SparringError when nothing is held out.
    """
    if data.held_out is None or len(data.held_out) < 2:
        raise SparringError(f"the Parzen window needs held-out images, and data '{data.name}' has none")
    held_out = data.held_out.images[shuffled(data.held_out, "parzen")]
    chosen_on = held_out[: min(CHOOSING, len(held_out) if data.test else len(held_out) // 2)]
    tested = data.test.images if data.test else held_out[len(chosen_on) :]
    centers = data.images[shuffled(data, "parzen")[:CENTERS]]
    samples = pixels_of(sample(len(centers), seed=derive_seed("evaluate", seed, "parzen")), len(centers), data)
    made, real = (
        parzen_log_likelihood(real=tested / 255, fake=fake / 255, chosen_on=chosen_on / 255)
        for fake in (samples, centers)
    )
    edge = "the last of" if made.sigma in (SIGMAS[0], SIGMAS[-1]) else "out of"
    words = (
        f"{made.value:.1f} ± {made.error:.1f} (standard error) beside {real.value:.1f} ± {real.error:.1f}; "
        f"sigma {made.sigma:.3g}, {edge} ten from 0.1 to 1, chosen on {len(chosen_on):,} held-out images. {PARZEN}"
    )
    intervals = [(one.value - Z * one.error, one.value + Z * one.error) for one in (made, real)]
    beside = f"{len(centers):,} real training images in place of {len(centers):,} samples"
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


class TrainingEvaluator:
    """FD and KID for looking often while training, against one half of the held-out images and against the other.

    The best checkpoint is chosen by the first half (KID: it has no bias); what it is worth is said by the second.

    n      images per measurement; at most the asked number, and what the data can give
    names  of the two numbers: FD-lenet-mnist@1000, KID-lenet-mnist@1000
    """

    def __init__(self, data: Dataset, extractor: Extractor | None = None, n: int = 1000) -> None:
        self.extractor = extractor or choose_extractor(data)
        self._data = data
        if not data.held_out:
            raise SparringError(f"data '{data.name}' has no held_out images to measure against")
        chosen, other = (data.held_out.rows(rows) for rows in held_out_halves(data.held_out))
        self.n = min(n, len(chosen), len(other), len(data))
        self._halves = [self.extractor.features(half.images[: self.n])[0] for half in (chosen, other)]
        self.names = [f"{metric}-{self.extractor.name}@{self.n}" for metric in ("FD", "KID")]
        _, others = reference_split(data, "held_out", self.n, self.n)
        self._floor = self._measured(others.images)

    def lines(self, images: Tensor) -> list[dict[str, Any]]:
        """Both numbers of images (n, C, S, S), uint8 or floats in [-1, 1], as lines for a log.

        value is against the half that chooses, other_half against the other one; floor puts n training images in the
        place of samples. The same for the same images, whatever came before. Raises SparringError for another number
        of images than n (FD falls with the number, so they could not be compared), a wrong shape, or values that are
        not finite.
        """
        made = self._measured(pixels_of(images, self.n, self._data))
        card = {"n": self.n, "extractor": self.extractor.name}
        return [
            {"name": name, "value": mine[0], "other_half": mine[1], "floor": real[0], **card}
            for name, mine, real in zip(self.names, made, self._floor, strict=True)
        ]

    def _measured(self, pictures: Tensor) -> list[list[float]]:
        """FD and KID, each against both halves."""
        fake, _ = self.extractor.features(pictures)
        return [
            [metric(real=half, fake=fake) for half in self._halves] for metric in (frechet_distance, kernel_distance)
        ]
