"""Stacked digits: how many of the thousand modes samples reach, and how evenly (Metz et al. 2017; Lin et al. 2018)."""

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
"""As in the papers. Even a perfect generator has a reverse KL of about .019 then."""


def read_digits(images: Tensor) -> Tensor:
    """(N,) the number 0 to 999 that lenet-mnist reads in images (N, 3, 28, 28) uint8, a digit in each channel."""
    _, logits = extractor(LENET_MNIST).features(images.flatten(0, 1)[:, None])
    assert logits is not None
    return logits.argmax(1).view(-1, 3) @ torch.tensor([100, 10, 1])


def stacked_modes(sample: Callable[..., Tensor], data: Dataset, split: str, seed: int) -> tuple[Finding, ...]:
    """Modes and reverse KL of 26,000 samples, beside those of as many training images; () for other data."""
    if data.classes != STACKED or data.images.shape[1] != 3:
        return ()
    real = data.images[shuffled(data, "modes")[:SAMPLES]]
    made = pixels_of(sample(len(real), seed=derive_seed("evaluate", seed, "modes")), len(real), data)
    counts, usual = (torch.bincount(read_digits(images), minlength=len(STACKED)) for images in (made, real))
    beside = (None, f"{len(real):,} real training images", split)
    n, judged = len(made), f"as {LENET_MNIST} reads them"
    found, there = int((counts > 0).sum()), int((usual > 0).sum())
    return (
        Finding("modes", found, f"of {len(STACKED):,}", n, None, there, *beside, judged),
        Finding("reverse KL of the modes", reverse_kl(counts), "nats", n, None, reverse_kl(usual), *beside, judged),
    )
