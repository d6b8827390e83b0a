"""Metrics of autoencoders: reconstruction error, distance of codes to the prior, active units."""

from __future__ import annotations

import torch
from torch import Tensor

from sparring.errors import SparringError
from sparring.typed import require_finite, require_images, typed

ACTIVE = 0.01
"""A unit is active if the variance of its mean code over the images exceeds this (Burda et al. 2016, section 5.3)."""

COLLAPSED = 0.1
"""Below this share of active units, the posterior is considered collapsed."""

BLOCK = 500  # rows of a distance matrix held at once


@typed
def squared_errors(*, real: Tensor, fake: Tensor) -> Tensor:
    """(N,) mean squared error per pixel of two sets of (N, C, H, W) uint8 images, scaled to [0, 1]; float64."""
    require_images(0, torch.uint8, real=real, fake=fake)
    if real.shape != fake.shape:
        raise SparringError(f"reconstructions {tuple(fake.shape)} do not have the images' shape {tuple(real.shape)}")
    blocks = zip(real.split(BLOCK), fake.split(BLOCK), strict=True)
    return torch.cat([((x.double() - y.double()) / 255).square().flatten(1).mean(1) for x, y in blocks])


@typed
def energy_distance(*, real: Tensor, fake: Tensor) -> float:
    """Energy distance of two sets of codes, real (N, F) and fake (M, F): 0 only if they are the same distribution.

    2 mean_{i,j} |x_i - y_j| - mean_{i,j} |x_i - x_j| - mean_{i,j} |y_i - y_j|       (Szekely and Rizzo 2013, eq. 6)

    Symmetric and non-negative. A V-statistic: for two sets of one distribution it is about E|x - x'| (1/N + 1/M), so
    compare it with the value of two sets from the prior. Raises SparringError for codes that are not finite, or
    of different F.
    """
    for name, codes in (("real", real), ("fake", fake)):
        if codes.ndim != 2 or not len(codes):
            raise SparringError(f"{name} codes must be (N, F), N > 0; got {tuple(codes.shape)}")
        if not codes.isfinite().all():
            raise SparringError(f"{int((~codes.isfinite()).any(1).sum())} of {len(codes)} codes are NaN or infinite")
    if real.shape[1] != fake.shape[1]:
        raise SparringError(f"real codes have {real.shape[1]} dimensions, fake codes {fake.shape[1]}")
    x, y = real.double(), fake.double()
    return 2 * _mean_distance(x, y) - _mean_distance(x, x) - _mean_distance(y, y)


def _mean_distance(x: Tensor, y: Tensor) -> float:
    # Not as |x|^2 + |y|^2 - 2 x.y, which gives rounding errors instead of 0 for equal points.
    sums = (torch.cdist(rows, y, compute_mode="donot_use_mm_for_euclid_dist").sum() for rows in x.split(BLOCK))
    return float(sum(sums)) / (len(x) * len(y))


@typed
def active_units(codes: Tensor) -> Tensor:
    """(F,) bool: units of mean codes (N, F) with a variance above ACTIVE.

    Raises SparringError for fewer than 2 codes, and for codes that are not finite.
    """
    if codes.ndim != 2 or len(codes) < 2 or not codes.shape[1]:
        raise SparringError(f"codes must be (N, F), N > 1; got {tuple(codes.shape)}")
    require_finite(codes=codes)
    return codes.var(0) > ACTIVE


@typed
def posterior_collapsed(active: int, units: int) -> bool:
    """Whether the share of active units is below COLLAPSED."""
    return active < COLLAPSED * units


@typed
def cluster_to_class(log_probabilities: Tensor, labels: Tensor) -> Tensor:
    """(clusters,) class of each cluster: the label of the image with the highest probability of that cluster.

    log_probabilities  (N, clusters) log-probability of each cluster
    labels             (N,)

    As in section 6 of Makhzani et al. 2016. Raises SparringError unless there is one label per image.
    """
    if log_probabilities.ndim != 2 or not labels.numel() or labels.shape != log_probabilities.shape[:1]:
        shapes = f"{tuple(log_probabilities.shape)} and {tuple(labels.shape)}"
        raise SparringError(f"cluster_to_class needs (N, clusters) log-probabilities and (N,) labels; got {shapes}")
    return labels[log_probabilities.argmax(0)]
