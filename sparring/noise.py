"""Distributions of latent noise, by name, and their truncation for sampling."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from sparring.errors import SparringError


def normal(g: Generator, shape: tuple[int, ...]) -> Tensor:
    """N(0, 1)."""
    return torch.randn(shape, generator=g)


def uniform(g: Generator, shape: tuple[int, ...]) -> Tensor:
    """U(-1, 1)."""
    return torch.rand(shape, generator=g).mul_(2).sub_(1)


def unit_uniform(g: Generator, shape: tuple[int, ...]) -> Tensor:
    """U(-sqrt 3, sqrt 3), whose variance is 1."""
    return uniform(g, shape).mul_(3**0.5)


def truncated(g: Generator, shape: tuple[int, ...]) -> Tensor:
    """N(0, 1) truncated to [-2, 2]."""
    return truncated_normal(g, shape, 2.0)


def spherical(g: Generator, shape: tuple[int, ...]) -> Tensor:
    """Uniform on the sphere of radius sqrt(d), near which N(0, 1) in d dimensions concentrates."""
    z = torch.randn(shape, generator=g)
    on_sphere: Tensor = z * (shape[-1] ** 0.5 / z.norm(dim=-1, keepdim=True))
    return on_sphere


NOISE_DISTRIBUTIONS: dict[str, Callable[[Generator, tuple[int, ...]], Tensor]] = {
    "normal": normal,
    "uniform": uniform,
    "unit-uniform": unit_uniform,
    "truncated": truncated,
    "spherical": spherical,
}
"""Noise distributions by name: (generator, shape) -> float32 tensor on the CPU."""


def draw_noise(kind: str, g: Generator, shape: tuple[int, ...], truncation: float | None = None) -> Tensor:
    """Noise of this kind, truncated to [-truncation, truncation] if requested (Brock et al. 2019, section 3.1).

    Raises SparringError for a truncation that is not positive, and for spherical noise, whose norm is fixed.
    """
    if truncation is None:
        return NOISE_DISTRIBUTIONS[kind](g, shape)
    if not truncation > 0:
        raise SparringError(f"truncation is {truncation}: it must be above 0 (2 truncates little, .5 strongly)")
    if kind == "uniform":
        return uniform(g, shape) * min(truncation, 1.0)
    if kind == "unit-uniform":
        return uniform(g, shape) * min(truncation, 3**0.5)
    if kind == "spherical":
        raise SparringError("spherical noise has a fixed norm and cannot be truncated: drop truncation")
    return truncated_normal(g, shape, min(truncation, 2.0) if kind == "truncated" else truncation)


def truncated_normal(g: Generator, shape: tuple[int, ...], threshold: float) -> Tensor:
    """N(0, 1) truncated to [-threshold, threshold].

    By inverting the distribution function: the distribution of rejection sampling, in one step for any threshold.
    """
    mass = torch.special.erf(torch.tensor(threshold, dtype=torch.float64) / 2**0.5)
    u = torch.rand(shape, generator=g, dtype=torch.float64) * 2 - 1
    z: Tensor = (torch.special.erfinv(u * mass) * 2**0.5).float()
    return z
