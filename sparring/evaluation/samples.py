"""Samples against real images: distances, classes, blur, Parzen windows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from sparring.data.dataset import Dataset
from sparring.errors import SparringError
from sparring.evaluation.cards import Finding, Rate
from sparring.evaluation.images import pixels_of, reference_of, shuffled
from sparring.metrics import (
    SIGMAS,
    ClassShare,
    Extractor,
    blur_ratio,
    class_histogram,
    edges,
    for_dataset,
    frechet_distance,
    kernel_distance,
    neighbours,
    parzen_log_likelihood,
    total_variation,
    wilson_interval,
)
from sparring.metrics.intervals import Z
from sparring.seeds import derive

CENTRES, CHOOSING = 10_000, 1000
"""Of the Parzen window: samples, and images to choose its width with (Goodfellow et al. 2014)."""

PARZEN = "No claim of quality: k-means centres score higher than the true distribution (Theis et al. 2016)."


class Samples(NamedTuple):
    """Distances of each repeat and of each floor, shares of the classes; features and edges of the samples."""

    values: list[dict[str, float]]
    floors: list[dict[str, float]]
    histogram: list[ClassShare]
    features: list[tuple[Tensor, Tensor | None]]
    edges: Tensor


def compared(
    sample: Callable[..., Tensor], reference: Dataset, others: Dataset, extractor: Extractor, seed: int, repeats: int
) -> Samples:
    """Sample, compare with the reference, and put the other images in the samples' place."""
    n = len(reference)
    real, real_logits = extractor.features(reference.images)
    fakes, fake_edges = [], []
    for i in range(repeats):
        pictures = pixels_of(sample(seed=derive("evaluate", seed, i)), n, reference)
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
    return Samples(values, floor_values, histogram, fakes, torch.cat(fake_edges))


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


def blur(real: Tensor, others: Tensor, made: Mapping[str, Tensor], split: str) -> tuple[Finding, ...]:
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
    centres = data.images[shuffled(data, "parzen")[:CENTRES]]
    samples = pixels_of(sample(len(centres), seed=derive("evaluate", seed, "parzen")), len(centres), data)
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


class Yardstick:
    """FD against held-out images, for looking often while training: the reference and the floor are computed once.

    n      images per measurement; at most the asked number, and what the data can give
    name   of the number: FD-lenet-mnist@1000
    floor  the same, real against real: n training images in the place of samples
    """

    def __init__(self, data: Dataset, extractor: Extractor | None = None, n: int = 1000) -> None:
        self.extractor = extractor or for_dataset(data.name)
        self._data = data
        reference, others = reference_of(data, "held_out", n, 1)
        self.n = len(reference)
        self.name = f"FD-{self.extractor.name}@{self.n}"
        self._real, _ = self.extractor.features(reference.images)
        self.floor = self.fd(others.images)

    def fd(self, images: Tensor) -> float:
        """FD of images (n, C, S, S), uint8 or floats in [-1, 1]; the same for the same images, whatever came before.

        Raises SparringError for another number of images than n (FD falls with the number, so they could not be
        compared), a wrong shape, or values that are not finite.
        """
        fake, _ = self.extractor.features(pixels_of(images, self.n, self._data))
        return frechet_distance(real=self._real, fake=fake)


def _distances(extractor: str, *, real: Tensor, fake: Tensor) -> dict[str, float]:
    return {
        f"FD-{extractor}@{len(real)}": frechet_distance(real=real, fake=fake),
        f"KID-{extractor}@{len(real)}": kernel_distance(real=real, fake=fake),
        **neighbours(real=real, fake=fake)._asdict(),
    }
