"""Modes of a mixture that is known: which of them samples reach, how near, and how evenly (Srivastava et al. 2017)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from sparring.errors import SparringError
from sparring.typed import require_finite, typed

HIGH_QUALITY_SIGMAS = 3.0
"""Standard deviations within which a sample is of high quality; in the plane 98.9 % of the mixture's own points are."""


class Modes(NamedTuple):
    """What samples make of a mixture.

    found         modes that are the nearest one of at least one high-quality sample
    high_quality  share of the samples within WITHIN standard deviations of their nearest mode
    reverse_kl    KL(histogram of the high-quality samples over the modes || uniform), in nats; inf if there are none
    spread        their standard deviation around their modes, over that of as many real points: below 1 is too narrow
    """

    found: int
    high_quality: float
    reverse_kl: float
    spread: float


@typed
def nearest_modes(points: Tensor, centers: Tensor, std: float, *, within: float = HIGH_QUALITY_SIGMAS) -> Tensor:
    """(N,) the nearest center of each of the points (N, D), or -1 beyond `within` standard deviations.

    Raises SparringError unless there are centers (M, D) and std is positive.
    """
    if points.ndim != 2 or centers.ndim != 2 or points.shape[1] != centers.shape[1] or not len(centers) or not std > 0:
        shapes = f"{tuple(points.shape)}, {tuple(centers.shape)}, {std:g}"
        raise SparringError(f"modes are centers (M, D), M > 0, of points (N, D), with std above 0; got {shapes}")
    require_finite(centers=centers)
    distance, mode = torch.cdist(points.double(), centers.double()).min(1)
    return torch.where(distance <= within * std, mode, -1)


@typed
def mode_coverage(*, fake: Tensor, centers: Tensor, std: float) -> Modes:
    """Samples fake (N, 2) against a mixture of N(center, std^2), equally likely centers (M, 2).

    Raises SparringError for no points and for points that are not finite.
    """
    if fake.ndim != 2 or fake.shape[1] != 2 or not len(fake) or not fake.isfinite().all():
        raise SparringError(f"samples must be (N, 2) finite numbers, N > 0; got {tuple(fake.shape)}")
    mode = nearest_modes(fake, centers, std)
    good = mode >= 0
    counts = torch.bincount(mode[good], minlength=len(centers))
    away = (fake[good] - centers[mode[good]]).double().square().sum(1).mean()
    beyond = math.exp(
        -(HIGH_QUALITY_SIGMAS**2) / 2
    )  # share of real points; below: mean of r^2 < 9 where r^2 / 2 is exponential
    usual = std**2 * (2 - (2 + HIGH_QUALITY_SIGMAS**2) * beyond) / (1 - beyond)
    return Modes(int((counts > 0).sum()), float(good.double().mean()), reverse_kl(counts), float((away / usual).sqrt()))


@typed
def reverse_kl(counts: Tensor) -> float:
    """KL(counts / their sum || uniform) = sum p log(p M) over M modes, in nats; inf when nothing was counted."""
    if counts.ndim != 1 or not bool(((counts >= 0) & (counts < math.inf)).all()):
        raise SparringError(f"counts must be (M,) numbers from 0; got {tuple(counts.shape)}")
    if not float(counts.sum()):
        return math.inf
    p = counts.double() / counts.sum()
    return float(torch.special.xlogy(p, p * len(p)).sum())
