"""Stacked digits: how many of the 1,000 modes samples cover, and how evenly (Metz et al. 2017; Lin et al. 2018)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sparring.data.builtin import STACKED
from sparring.data.dataset import Dataset
from sparring.evaluation.measurement import Finding
from sparring.evaluation.splits import pixels_of, shuffled
from sparring.metrics import LENET_MNIST, extractor, reverse_kl
from sparring.seeds import derive_seed

SAMPLES = 26_000
"""Number of samples, as in the papers. With it even a perfect generator has a reverse KL of about 0.019."""


def read_digits(images: Tensor) -> Tensor:
    """(N,) numbers 0 to 999 that lenet-mnist recognizes in images (N, 3, 28, 28) uint8, one digit per channel."""
    _, logits = extractor(LENET_MNIST).features(images.flatten(0, 1)[:, None])
    assert logits is not None
    return logits.argmax(1).view(-1, 3) @ torch.tensor([100, 10, 1])


def stacked_modes(sample: Callable[..., Tensor], data: Dataset, split: str, seed: int) -> tuple[Finding, ...]:
    """Modes and reverse KL of 26,000 samples, with training images as the baseline; () for other data."""
    if data.classes != STACKED or data.images.shape[1] != 3:
        return ()
    real = data.images[shuffled(data, "modes")[:SAMPLES]]
    fake = pixels_of(sample(len(real), seed=derive_seed("evaluate", seed, "modes")), len(real), data)
    counts, real_counts = (torch.bincount(read_digits(images), minlength=len(STACKED)) for images in (fake, real))
    baseline = (None, f"{len(real):,} real training images", split)
    n, words = len(fake), f"classified by {LENET_MNIST}"
    modes, real_modes = int((counts > 0).sum()), int((real_counts > 0).sum())
    kl, real_kl = reverse_kl(counts), reverse_kl(real_counts)
    return (
        Finding("modes", modes, f"of {len(STACKED):,}", n, None, real_modes, *baseline, words),
        Finding("reverse KL of the modes", kl, "nats", n, None, real_kl, *baseline, words),
    )
