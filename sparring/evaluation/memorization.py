"""Copies of training images among the samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from sparring.evaluation.features import Features, pool
from sparring.evaluation.measurement import Measurement
from sparring.metrics.extractors import Extractor
from sparring.metrics.intervals import Z, wilson_interval
from sparring.metrics.memorization import Authenticity, authenticity, nearest_train_test

if TYPE_CHECKING:
    from sparring.evaluation.context import Context


class Memorization(NamedTuple):
    """The metrics, and the closest pairs: row indices of samples and of training images."""

    measurements: list[Measurement]
    samples: Tensor
    training: Tensor


def copied_images(context: Context) -> Sequence[Measurement]:
    """The metrics of `memorization`; () if no images are held out."""
    return () if context.memorization is None else context.memorization.measurements


def memorization(
    sets: Sequence[Features],
    train: Features,
    held_out: Features,
    extractor: Extractor,
    pixels: tuple[Tensor, Tensor, Tensor],
    split: str,
) -> Memorization:
    """Copies of training images among the samples: by exchangeability in features and in pixels, and by AuthPct.

    pixels  principal components of the pixels of all samples, of the training images and of the held-out images
    split   of the reference
    """
    fake = pool(sets).features
    copies = authenticity(train=train.features, fake=fake)
    real = authenticity(train=train.features, fake=held_out.features)
    measurements = [
        _copied("copied-features", fake, train.features, held_out.features, extractor, split),
        _copied("copied-pixels", *pixels, None, split),
        _authentic(copies, real, extractor, split),
    ]
    return Memorization(measurements, *_closest(copies, len(sets[0].features)))


def _copied(
    metric: str, fake: Tensor, train: Tensor, held_out: Tensor, extractor: Extractor | None, split: str
) -> Measurement:
    """The share of copies that `nearest_train_test` estimates; extractor None: from pixels.

    Chance can make the estimate negative; the intervals end at 0 and 1.
    """
    test = nearest_train_test(train=train, held_out=held_out, fake=fake)
    spread = test.deviation / (1 - test.expected)
    return Measurement(
        metric=metric,
        value=test.copied,
        n=len(fake),
        split=split,
        interval=(max(min(0.0, test.copied), test.copied - Z * spread), min(1.0, test.copied + Z * spread)),
        floor=0.0,
        floor_interval=(0.0, min(1.0, Z * spread)),
        floor_name="real images",
        extractor="pixels" if extractor is None else extractor.name,
        digest="" if extractor is None else extractor.digest,
        spread=spread,
        p=test.p,
        against=len(held_out),
    )


def _authentic(copies: Authenticity, real: Authenticity, extractor: Extractor, split: str) -> Measurement:
    """AuthPct of samples; the floor is that of held-out images."""
    n, n_real = len(copies.at), len(real.at)
    return Measurement(
        metric="authentic",
        value=copies.share,
        n=n,
        split=split,
        interval=wilson_interval(round(copies.share * n), n),
        floor=real.share,
        floor_interval=wilson_interval(round(real.share * n_real), n_real),
        floor_name="real images",
        extractor=extractor.name,
        digest=extractor.digest,
        spread=(real.share * (1 - real.share) * (1 / n + 1 / n_real)) ** 0.5,
        against=n_real,
    )


def _closest(copies: Authenticity, n: int) -> tuple[Tensor, Tensor]:
    """Rows of up to ten of the first n samples, and of their nearest training images, closest first.

    Closeness is relative to the distance between training images there; each training image occurs once.
    """
    closeness = copies.distance[:n] / copies.own[:n].clamp(min=1e-12)
    closest: dict[int, int] = {}  # training image -> sample
    for i in closeness.argsort(stable=True).tolist():
        closest.setdefault(int(copies.at[i]), i)
    return torch.tensor([*closest.values()][:10]), torch.tensor([*closest][:10])
