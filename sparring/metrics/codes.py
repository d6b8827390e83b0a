"""What an autoencoder keeps of images, and how its codes lie: errors, distance to a prior, active units."""

from __future__ import annotations

import torch
from torch import Tensor

from sparring.errors import SparringError
from sparring.typed import require_finite, require_images, typed

ACTIVE = 0.01
"""A unit whose mean code has a smaller variance over the images is not active (Burda et al. 2016, section 5.3)."""

COLLAPSED = 0.1
"""With a smaller share of active units the posterior has collapsed."""

BLOCK = 500  # rows of a distance matrix held at once


@typed
def squared_errors(*, real: Tensor, fake: Tensor) -> Tensor:
    """(N,) mean squared error per pixel of two sets of (N, C, H, W) uint8 images, pixels taken as 0 to 1; float64."""
    require_images(0, torch.uint8, real=real, fake=fake)
    if real.shape != fake.shape:
        raise SparringError(f"reconstructions {tuple(fake.shape)} do not have the images' shape {tuple(real.shape)}")
    pieces = zip(real.split(BLOCK), fake.split(BLOCK), strict=True)
    return torch.cat([((x.double() - y.double()) / 255).square().flatten(1).mean(1) for x, y in pieces])


@typed
def energy_distance(*, real: Tensor, fake: Tensor) -> float:
    """Energy distance of two sets of codes, real (N, F) and fake (M, F): 0 only if they are the same distribution.

    2 mean_{i,j} |x_i - y_j| - mean_{i,j} |x_i - x_j| - mean_{i,j} |y_i - y_j|       (Szekely and Rizzo 2013, eq. 6)

    Symmetric and never negative. A V-statistic: of two sets of one distribution it is about E|x - x'| (1/N + 1/M), so
    hold it against the same number of two sets from the prior. Raises SparringError for codes that are not finite, or
    of different F.
    """
    for name, codes in (("real", real), ("fake", fake)):
        if codes.ndim != 2 or not len(codes):
            raise SparringError(f"{name} codes must be (N, F), N > 0; got {tuple(codes.shape)}")
        if not codes.isfinite().all():
            raise SparringError(f"{int((~codes.isfinite()).any(1).sum())} of {len(codes)} codes are NaN or infinite")
    if real.shape[1] != fake.shape[1]:
        raise SparringError(f"real codes have {real.shape[1]} dimensions, fake ones {fake.shape[1]}")
    x, y = real.double(), fake.double()
    return 2 * _mean_distance(x, y) - _mean_distance(x, x) - _mean_distance(y, y)


def _mean_distance(x: Tensor, y: Tensor) -> float:
    # Not through |x|^2 + |y|^2 - 2 x.y: that makes the distance of equal points a rounding error.
    far = (torch.cdist(rows, y, compute_mode="donot_use_mm_for_euclid_dist").sum() for rows in x.split(BLOCK))
    return float(sum(far)) / (len(x) * len(y))


@typed
def active_units(codes: Tensor) -> Tensor:
    """(F,) bool: which units of mean codes (N, F) have a variance over the images of more than ACTIVE.

    Raises SparringError for fewer than 2 codes, which have no variance, and for codes that are not finite.
    """
    if codes.ndim != 2 or len(codes) < 2 or not codes.shape[1]:
        raise SparringError(f"codes must be (N, F), N > 1; got {tuple(codes.shape)}")
    require_finite(codes=codes)
    return codes.var(0) > ACTIVE


@typed
def posterior_collapsed(active: int, units: int) -> bool:
    """Whether so few of the units of a code are active that the decoder cannot be using it."""
    return active < COLLAPSED * units


@typed
def cluster_to_class(log_probabilities: Tensor, labels: Tensor) -> Tensor:
    """(clusters,) the class of each cluster: that of the image that is in it most certainly.

    log_probabilities  (N, clusters) of each image's cluster
    labels             (N,)

    As the authors of Makhzani et al. 2016 name the clusters of section 6: one labeled example for each. Raises
    SparringError unless there is a label for each image.
    """
    if log_probabilities.ndim != 2 or not labels.numel() or labels.shape != log_probabilities.shape[:1]:
        shapes = f"{tuple(log_probabilities.shape)} and {tuple(labels.shape)}"
        raise SparringError(f"clusters are named by (N, clusters) log-probabilities and (N,) labels; got {shapes}")
    return labels[log_probabilities.argmax(0)]
