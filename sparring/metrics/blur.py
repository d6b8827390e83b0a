"""Blur, measured by the variance of the Laplacian (Pech-Pacheco et al. 2000)."""

from __future__ import annotations

import torch
from torch import Tensor

from sparring.errors import SparringError
from sparring.metrics.intervals import Z
from sparring.typed import require_finite, typed

LUMA = (0.299, 0.587, 0.114)


def gray(images: Tensor) -> Tensor:
    """(N, H, W) luma of (N, 1 or 3, H, W) floats."""
    return images[:, 0] if images.shape[1] == 1 else torch.einsum("nchw,c->nhw", images, images.new_tensor(LUMA))


@typed
def laplacian_variance(images: Tensor) -> Tensor:
    """(N,) variance of the Laplacian within each of (N, C, H, W) images, C = 1 or 3 (luma), any range; float64.

    The Laplacian is the sum of the four neighbors minus four times the pixel, at interior pixels only; 0 for images
    without interior. Raises SparringError for other shapes, and for pixels that are not finite.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise SparringError(f"images must be (N, C, H, W) with C = 1 or 3; got {tuple(images.shape)}")
    require_finite(images=images)
    if min(images.shape[2:]) < 3 or not len(images):
        return torch.zeros(len(images), dtype=torch.float64)
    return torch.cat([_edges(chunk.double()) for chunk in images.split(500)])


def _edges(images: Tensor) -> Tensor:
    x = gray(images)
    center = x[:, 1:-1, 1:-1]
    neighbors = x[:, :-2, 1:-1] + x[:, 2:, 1:-1] + x[:, 1:-1, :-2] + x[:, 1:-1, 2:]
    return (neighbors - 4 * center).flatten(1).var(1, correction=0)


@typed
def blur_ratio(*, real: Tensor, fake: Tensor, paired: bool = False) -> tuple[float, tuple[float, float]]:
    """Mean `laplacian_variance` of fakes (M,) over that of reals (N,) (95 % CI): below 1 blurred, above 1 noisy.

    paired  whether fake i belongs to real i, as reconstructions do; narrows the interval

    The interval is from the delta method for a ratio of means. Raises SparringError if the reals have no edges, for
    fewer than two images of each, and for pairs of unequal number.
    """
    invalid = real.ndim != 1 or fake.ndim != 1 or min(len(real), len(fake)) < 2
    if invalid or (paired and len(real) != len(fake)):
        shapes = f"{tuple(real.shape)}, {tuple(fake.shape)}"
        raise SparringError(f"edges must be (N,), N > 1{', of pairs' if paired else ''}; got {shapes}")
    require_finite(real=real, fake=fake)
    if not float(real.mean()) > 0:
        raise SparringError("the real images are flat: there are no edges to compare with")
    ratio = float(fake.mean() / real.mean())
    if paired:
        variance = (fake - ratio * real).var() / len(real)
    else:
        variance = fake.var() / len(fake) + ratio**2 * real.var() / len(real)
    half = Z * float(variance.sqrt() / real.mean())
    return ratio, (ratio - half, ratio + half)


@typed
def median_edge_ratio(*, real: Tensor, fake: Tensor) -> float | None:
    """Median `laplacian_variance` of fakes (M,) over that of reals (N,); None if the reals have no edges.

    The median is robust against a few noise images. Raises SparringError for empty sets, and for numbers that are not
    finite.
    """
    if min(real.numel(), fake.numel()) < 1:
        raise SparringError(f"edges must be (N,), N > 0; got {tuple(real.shape)}, {tuple(fake.shape)}")
    require_finite(real=real, fake=fake)
    sharp = float(real.median())
    return float(fake.median()) / sharp if sharp > 0 else None
