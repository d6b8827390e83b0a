"""Mode coverage and sample quality for a known mixture (Srivastava et al. 2017)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from sparring.errors import SparringError
from sparring.typed import require_finite, typed

HIGH_QUALITY_SIGMAS = 3.0
"""A sample within this many standard deviations of a mode is of high quality; in 2-D, 98.9 % of real points are."""


class Modes(NamedTuple):
    """Mode coverage of samples.

    found         number of modes that are nearest to at least one high-quality sample
    high_quality  share of samples within HIGH_QUALITY_SIGMAS standard deviations of their nearest mode
    reverse_kl    KL(histogram of the high-quality samples over the modes || uniform), in nats; inf if there are none
    spread        standard deviation of high-quality samples around their modes, over that of real points; below 1: too
                  narrow
    """

    found: int
    high_quality: float
    reverse_kl: float
    spread: float


@typed
def nearest_modes(points: Tensor, centers: Tensor, std: float, *, within: float = HIGH_QUALITY_SIGMAS) -> Tensor:
    """(N,) index of the nearest center of each of the points (N, D), or -1 beyond `within` standard deviations.

    Raises SparringError unless there are centers (M, D) and std is positive.
    """
    if points.ndim != 2 or centers.ndim != 2 or points.shape[1] != centers.shape[1] or not len(centers) or not std > 0:
        shapes = f"{tuple(points.shape)}, {tuple(centers.shape)}, {std:g}"
        raise SparringError(f"nearest_modes needs centers (M, D), M > 0, points (N, D) and std > 0; got {shapes}")
    require_finite(centers=centers)
    distance, mode = torch.cdist(points.double(), centers.double()).min(1)
    return torch.where(distance <= within * std, mode, -1)


@typed
def mode_coverage(*, fake: Tensor, centers: Tensor, std: float) -> Modes:
    """Compare samples fake (N, 2) with a mixture of N(center, std^2) with equally likely centers (M, 2).

    Raises SparringError for no points and for points that are not finite.
    """
    if fake.ndim != 2 or fake.shape[1] != 2 or not len(fake) or not fake.isfinite().all():
        raise SparringError(f"samples must be (N, 2) finite numbers, N > 0; got {tuple(fake.shape)}")
    mode = nearest_modes(fake, centers, std)
    good = mode >= 0
    counts = torch.bincount(mode[good], minlength=len(centers))
    squared = (fake[good] - centers[mode[good]]).double().square().sum(1).mean()
    # For real points r^2 / 2 is exponential: share beyond the limit, and mean of r^2 within it.
    beyond = math.exp(-(HIGH_QUALITY_SIGMAS**2) / 2)
    expected = std**2 * (2 - (2 + HIGH_QUALITY_SIGMAS**2) * beyond) / (1 - beyond)
    return Modes(
        int((counts > 0).sum()), float(good.double().mean()), reverse_kl(counts), float((squared / expected).sqrt())
    )


@typed
def reverse_kl(counts: Tensor) -> float:
    """KL(counts / their sum || uniform) = sum p log(p M) over M modes, in nats; inf if all counts are 0."""
    if counts.ndim != 1 or not bool(((counts >= 0) & (counts < math.inf)).all()):
        raise SparringError(f"counts must be (M,), finite and non-negative; got {tuple(counts.shape)}")
    if not float(counts.sum()):
        return math.inf
    p = counts.double() / counts.sum()
    return float(torch.special.xlogy(p, p * len(p)).sum())
