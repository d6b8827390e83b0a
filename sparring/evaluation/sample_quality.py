"""Samples against real images: the panel and its images, class agreement, blur, Parzen window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from sparring.data.dataset import Dataset
from sparring.data.pixels import to_float
from sparring.errors import SparringError
from sparring.evaluation.measurement import NO_DIFFERENCE, Cell, Finding, Measure, Rate
from sparring.evaluation.panel import (
    FLOORS,
    Features,
    Memorization,
    Panel,
    describe,
    duplicate_groups,
    far_and_near,
    floor_rows,
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

PARZEN_CENTERS, PARZEN_VALIDATION = 10_000, 1000
"""Number of samples, and of images that select the width of the window (Goodfellow et al. 2014)."""

PARZEN_CAVEAT = "Not a measure of quality: k-means centers score higher than the true distribution (Theis et al. 2016)."


class Samples(NamedTuple):
    """Results of `evaluate_samples`.

    measures   the metrics of the panel
    histogram  shares of the classes
    cells      generated too rarely or too often
    labels     predicted classes (n,) of each set of samples
    range      of the pixels
    pictures   name -> image that illustrates a metric
    """

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
    """Draw samples, and compare them and other real images with the reference.

    others    training images: sets of n for the floors, and more to search for copies
    held_out  held-out images to detect copies with; None: copies are not measured
    classes   that the extractor recognizes in the data; () if none
    """
    n, metadata = len(reference), {"split": split, "averaged": averaged, "seed": seed}
    n_train = min(len(others), FLOORS * n) if extractor.slow else len(others)
    train, real = describe(others.images[:n_train], extractor), describe(reference.images, extractor)
    floors = [subset(train, rows) for rows in floor_rows(n_train, n)]
    panel = Panel.of(real, floors, extractor, classes)
    sets, ranges = [], []
    for i in range(repeats):
        images = sample(seed=sample_seed(seed, i))
        sets.append(pixels_of(images, n, reference))
        ranges.append(range_of(images, reference.images))
    fakes = [describe(images, extractor) for images in sets]
    measures = measures_of(panel, fakes, [panel.measure(floor) for floor in floors], n_train, metadata)
    copies: Memorization | None = None
    if held_out is not None and len(held_out) > 1:
        pca = pixels_pca64(others.images)
        pixels = [pca.features(images)[0] for images in (torch.cat(sets), train.images, held_out.images)]
        copies = memorization(fakes, train, describe(held_out.images, extractor), extractor, pixels, metadata)
        measures += copies.measures
    labels = [fake.labels for fake in fakes if fake.labels is not None]
    cells = panel.odd_cells(fakes)
    pictures = _pictures(panel, fakes, cells, train, copies)
    return Samples(measures, panel.histogram(fakes), cells, labels, PixelRange.of_all(ranges), pictures)


def sample_seed(seed: int, repeat: int) -> int:
    """The seed of `system.sample` for one of the sets."""
    return derive_seed("evaluate", seed, repeat)


def _pictures(
    panel: Panel, fakes: Sequence[Features], cells: Sequence[Cell], train: Features, copies: Memorization | None
) -> dict[str, Image.Image]:
    """Images that illustrate the metrics, by name."""
    images, pictures = fakes[0].images, {}
    far, near = far_and_near(panel, fakes[0])
    for name, rows in (("far", far), ("near", near)):
        pictures[name] = grid(to_float(images[rows]), columns=8)
    if copies is not None:
        pairs = torch.cat([images[copies.samples], train.images[copies.training]])
        pictures["closest"] = grid(to_float(pairs), columns=len(copies.samples))
    pictures |= _rows("twins", [images[group] for group in duplicate_groups(panel, fakes[0])])
    for name, missing, source in (("cells", True, panel.real), ("overfull", False, fakes[0])):
        member = panel.cells.of(source.features)
        inside = [source.images[member == cell.number][:8] for cell in cells if cell.missing == missing]
        pictures |= _rows(name, [row for row in inside if len(row)])
    spectra = torch.stack([panel.real.spectrum, torch.stack([fake.spectrum for fake in fakes]).mean(0)])
    spectra = torch.fft.fftshift(spectra.clamp(min=1e-12).log10(), dim=(1, 2))[:, None]
    scaled = (spectra - spectra.quantile(0.02)) / (spectra.max() - spectra.quantile(0.02)).clamp(min=1e-9)
    pictures["spectrum"] = grid(2 * scaled.clamp(0, 1).float() - 1, columns=2)
    return pictures


def _rows(name: str, rows: Sequence[Tensor]) -> dict[str, Image.Image]:
    """{name: an image with one row for each set of up to 8 images}; {} without sets."""
    if not rows:
        return {}
    blank = torch.full((8, *rows[0].shape[1:]), 255, dtype=torch.uint8)
    return {name: grid(to_float(torch.cat([torch.cat([row, blank])[:8] for row in rows])), columns=8)}


def class_agreement(
    predicted: Sequence[Tensor],
    requested: Sequence[Tensor],
    real: Dataset,
    classifier: Extractor,
    split: str,
    note: str = "",
) -> Rate:
    """Share of samples that the classifier assigns to the requested class.

    predicted   classes (n,) of each set of samples, as predicted by the classifier
    requested   the requested classes (n,) of each set
    real        labeled images to measure the accuracy of the classifier on
    """
    hits = sum(int((labels == targets).sum()) for labels, targets in zip(predicted, requested, strict=True))
    n = sum(map(len, predicted))
    _, logits = classifier.features(real.images)
    assert logits is not None
    assert real.labels is not None
    agreement = float((logits.argmax(1) == real.labels).float().mean())
    return Rate("class agreement", hits / n, n, wilson_interval(hits, n), split, classifier.name, agreement, note)


def blur(real: Tensor, others: Tensor, reconstructed: Tensor, split: str) -> tuple[Finding, ...]:
    """Edge strength of reconstructions, divided by that of the original images; () if these have no edges.

    real, others, reconstructed  (N, C, S, S) uint8; `others` are training images for the baseline
    """
    sharp = laplacian_variance(real)
    if not float(sharp.mean()) > 0:
        return ()
    floor, floor_interval = blur_ratio(real=sharp, fake=laplacian_variance(others))
    ratio, interval = blur_ratio(real=sharp, fake=laplacian_variance(reconstructed), paired=True)
    words = NO_DIFFERENCE
    if interval[1] < floor_interval[0] or floor_interval[1] < interval[0]:
        words = "blurred: edges are lost" if ratio < floor else "more edges than real images, possibly noise"
    baseline = (floor, floor_interval, "real training images", split, words)
    return (Finding("blur ratio of reconstructions", ratio, "", len(reconstructed), interval, *baseline),)


def parzen_window(sample: Callable[..., Tensor], data: Dataset, seed: int) -> Finding:
    """Parzen-window log-likelihood of test images; the baseline is that of training images in place of samples.

    The width is chosen on held-out images; without a test set, the remaining held-out images are the test images.
    Raises SparringError if no images are held out.
    """
    if data.held_out is None or len(data.held_out) < 2:
        raise SparringError(f"the Parzen window needs held-out images, but data '{data.name}' has none")
    held_out = data.held_out.images[shuffled(data.held_out, "parzen")]
    validation = held_out[: min(PARZEN_VALIDATION, len(held_out) if data.test else len(held_out) // 2)]
    test = data.test.images if data.test else held_out[len(validation) :]
    centers = data.images[shuffled(data, "parzen")[:PARZEN_CENTERS]]
    samples = pixels_of(sample(len(centers), seed=derive_seed("evaluate", seed, "parzen")), len(centers), data)
    fake, real = (
        parzen_log_likelihood(real=test / 255, fake=images / 255, chosen_on=validation / 255)
        for images in (samples, centers)
    )
    place = "the first or last of" if fake.sigma in (SIGMAS[0], SIGMAS[-1]) else "out of"
    words = (
        f"{fake.value:.1f} ± {fake.error:.1f} (standard error), baseline {real.value:.1f} ± {real.error:.1f}; "
        f"sigma {fake.sigma:.3g}, {place} ten from 0.1 to 1, chosen on {len(validation):,} held-out images. "
        f"{PARZEN_CAVEAT}"
    )
    intervals = [(one.value - Z * one.error, one.value + Z * one.error) for one in (fake, real)]
    baseline = f"{len(centers):,} real training images in place of {len(centers):,} samples"
    split = "test" if data.test else "held_out"
    return Finding(
        "Parzen log-likelihood",
        fake.value,
        "nats",
        len(test),
        intervals[0],
        real.value,
        intervals[1],
        baseline,
        split,
        words,
    )


class TrainingEvaluator:
    """FD and KID during training, against each half of the held-out images.

    The first half selects the best checkpoint (by KID, which is unbiased); the second half measures it.

    n      images per measurement: the requested number, limited by the data
    names  of the two metrics: FD-lenet-mnist@1000, KID-lenet-mnist@1000
    """

    def __init__(self, data: Dataset, extractor: Extractor | None = None, n: int = 1000) -> None:
        self.extractor = extractor or choose_extractor(data)
        self._data = data
        if not data.held_out:
            raise SparringError(f"data '{data.name}' has no held-out images to compare with")
        first, second = (data.held_out.rows(rows) for rows in held_out_halves(data.held_out))
        self.n = min(n, len(first), len(second), len(data))
        self._halves = [self.extractor.features(half.images[: self.n])[0] for half in (first, second)]
        self.names = [f"{metric}-{self.extractor.name}@{self.n}" for metric in ("FD", "KID")]
        _, others = reference_split(data, "held_out", self.n, self.n)
        self._floor = self._measure(others.images)

    def lines(self, images: Tensor) -> list[dict[str, Any]]:
        """Both metrics of images (n, C, S, S), uint8 or floats in [-1, 1], as lines for a log.

        Each line has `value` (against the half that selects), `held_out_b` (against the other half) and `floor` (n
        training images in place of the samples). The result is deterministic. Raises SparringError if the number of
        images is not n (FD depends on it), and for a wrong shape or values that are not finite.
        """
        values = self._measure(pixels_of(images, self.n, self._data))
        card = {"n": self.n, "extractor": self.extractor.name}
        return [
            {"name": name, "value": fake[0], "held_out_b": fake[1], "floor": real[0], **card}
            for name, fake, real in zip(self.names, values, self._floor, strict=True)
        ]

    def _measure(self, images: Tensor) -> list[list[float]]:
        """FD and KID, each against both halves."""
        fake, _ = self.extractor.features(images)
        return [
            [metric(real=half, fake=fake) for half in self._halves] for metric in (frechet_distance, kernel_distance)
        ]
