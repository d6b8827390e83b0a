"""Stacked digits: how many of the 1,000 modes samples cover, and how evenly (Metz et al. 2017; Lin et al. 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sparring.data.builtin import STACKED
from sparring.evaluation.given import Images
from sparring.evaluation.measurement import Measurement
from sparring.evaluation.splits import pixels_of, shuffled
from sparring.metrics.extractors import LENET_MNIST, extractor
from sparring.metrics.modes import reverse_kl
from sparring.seeds import derive_seed

if TYPE_CHECKING:
    from sparring.evaluation.context import Context

SAMPLES = 26_000
"""Number of samples, as in the papers. With it even a perfect generator has a reverse KL of about 0.019."""


def read_digits(images: Tensor) -> Tensor:
    """(N,) numbers 0 to 999 that lenet-mnist recognizes in images (N, 3, 28, 28) uint8, one digit per channel."""
    _, logits = extractor(LENET_MNIST).features(images.flatten(0, 1)[:, None])
    assert logits is not None
    return logits.argmax(1).view(-1, 3) @ torch.tensor([100, 10, 1])


def stacked_modes(context: Context) -> Sequence[Measurement]:
    """Modes and reverse KL of 26,000 samples, with training images as the baseline; () for other data or images."""
    data = context.data
    if data.classes != STACKED or data.spec.channels != 3 or isinstance(context.system, Images):
        return ()
    real = data.images_at(shuffled(data, "modes")[:SAMPLES])
    samples = context.sample(len(real), seed=derive_seed("evaluate", context.seed, "modes"))
    fake = pixels_of(samples, len(real), data)
    counts, real_counts = (torch.bincount(read_digits(images), minlength=len(STACKED)) for images in (fake, real))
    return [
        Measurement(
            metric=metric,
            value=value,
            n=len(fake),
            split=context.split,
            unit=unit,
            floor=floor,
            floor_name=f"{len(real):,} real training images",
            words=f"classified by {LENET_MNIST}",
        )
        for metric, unit, value, floor in (
            ("modes", f"of {len(STACKED):,}", int((counts > 0).sum()), int((real_counts > 0).sum())),
            ("reverse KL of the modes", "nats", reverse_kl(counts), reverse_kl(real_counts)),
        )
    ]
