"""Class histograms of real and generated images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sparring.errors import SparringError
from sparring.metrics.intervals import wilson_interval
from sparring.typed import typed


class ClassShare(NamedTuple):
    """One class: its share among the fakes with a 95 % Wilson interval, and its share among the reals."""

    name: str
    share: float
    low: float
    high: float
    real_share: float


@typed
def class_histogram(*, real: Tensor, fake: Tensor, classes: Sequence[str]) -> list[ClassShare]:
    """Shares of `classes` among the labels real (N,) and fake (M,), integers into `classes`.

    Label both sets with the same classifier, so that both have its errors. Raises SparringError for labels that are
    empty or out of range.
    """
    counts = []
    for name, labels in (("real", real), ("fake", fake)):
        if labels.ndim != 1 or labels.is_floating_point() or labels.dtype == torch.bool or not len(labels):
            raise SparringError(f"{name} labels must be (N,) integers, N > 0; got {tuple(labels.shape)} {labels.dtype}")
        if labels.min() < 0 or labels.max() >= len(classes):
            raise SparringError(
                f"{name} labels range from {labels.min()} to {labels.max()}; there are {len(classes)} classes"
            )
        counts.append(torch.bincount(labels, minlength=len(classes)).tolist())
    return [
        ClassShare(name, n_fake / len(fake), *wilson_interval(n_fake, len(fake)), n_real / len(real))
        for name, n_real, n_fake in zip(classes, *counts, strict=True)
    ]
