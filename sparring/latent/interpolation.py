"""Interpolation of latent codes: White 2016, "Sampling Generative Networks", and Radford et al. 2016, section 6.1."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sparring.errors import SparringError, require_int, unknown_name_error
from sparring.system import System
from sparring.typed import typed

Interpolation = Callable[[Tensor, Tensor, Tensor | float], Tensor]
"""interpolate(a, b, t): codes (..., d) at t in [0, 1]; t is a number or broadcasts against (..., 1)."""

PARALLEL = 1e-4
"""Minimal angle in radians between two codes, or between one and the other's negative, for an arc on the sphere."""


def _check_ends(a: Tensor, b: Tensor) -> None:
    if a.shape[-1:] != b.shape[-1:] or not a.ndim:
        raise SparringError(
            f"cannot interpolate between codes {tuple(a.shape)} and {tuple(b.shape)}: lengths must be equal"
        )


def _check_stops(stops: Tensor) -> None:
    if stops.ndim != 3 or stops.shape[1] < 2:
        raise SparringError(f"stops must be (rows, stops, d) with at least 2 stops; got shape {tuple(stops.shape)}")


@typed
def lerp(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """(1 - t) a + t b: linear interpolation. The midpoint of two codes from N(0, I_d) has norm sqrt(d / 2)."""
    _check_ends(a, b)
    t = torch.as_tensor(t, dtype=a.dtype)
    return (1 - t) * a + t * b


@typed
def slerp(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """White 2016, section 2.1: (sin((1 - t) w) a + sin(t w) b) / sin w, with w the angle between a and b.

    Follows the sphere, so norms stay near sqrt(d), typical of N(0, I_d). The ends are exactly a and b, of any norm.
    Falls back to linear interpolation if w is about 0 or pi (no unique arc).
    """
    _check_ends(a, b)
    t = torch.as_tensor(t, dtype=a.dtype)
    cosine = torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=-1, eps=1e-30)
    angle = cosine.clamp(-1, 1).arccos()[..., None]
    arc = ((1 - t) * angle).sin() / angle.sin() * a + (t * angle).sin() / angle.sin() * b
    no_arc = angle.sin().abs() < PARALLEL
    return torch.where(no_arc, lerp(a, b, t), arc.to(a))


@typed
def lerp_gaussian(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """Linear interpolation of quantiles: to probabilities by the CDF of N(0, 1), lerp, and back (plat).

    Each number moves through N(0, 1) in steps of equal probability. Codes are limited to about 8 standard deviations by
    the precision of float64.
    """
    start, end = (torch.special.ndtr(code.double()) for code in (a, b))
    out: Tensor = torch.special.ndtri(lerp(start, end, t).clamp(1e-16, 1 - 1e-16)).to(a)
    return out


INTERPOLATIONS: dict[str, Interpolation] = {"lerp": lerp, "slerp": slerp, "lerp-gaussian": lerp_gaussian}


@typed
def default_interpolation(system: System) -> str:
    """The interpolation that fits the system's latent distribution: slerp for N(0, 1), lerp for uniform codes and w."""
    return "slerp" if system.spherical_latent else "lerp"


@typed
def interpolate(start: Tensor, end: Tensor, steps: int, how: str) -> Tensor:
    """(rows, steps, d) codes from `start` (rows, d) to `end` (rows, d), both included, in equal steps.

    Raises SparringError for an unknown interpolation and fewer than 2 steps.
    """
    if how not in INTERPOLATIONS:
        raise unknown_name_error("interpolation", how, INTERPOLATIONS)
    require_int("steps", steps, least=2)
    _check_ends(start, end)
    return INTERPOLATIONS[how](start[:, None], end[:, None], torch.linspace(0, 1, steps)[:, None])


@typed
def open_path(stops: Tensor, steps: int, how: str) -> Tensor:
    """(rows, (stops - 1) (steps - 1) + 1, d) codes through stops (rows, stops, d): `steps` per segment.

    Raises SparringError as `interpolate` does, and for fewer than 2 stops.
    """
    _check_stops(stops)
    segments = [
        interpolate(start, end, steps, how)
        for start, end in zip(stops[:, :-1].unbind(1), stops[:, 1:].unbind(1), strict=True)
    ]
    return torch.cat([segments[0], *(segment[:, 1:] for segment in segments[1:])], 1)


@typed
def closed_path(stops: Tensor, steps: int, how: str) -> Tensor:
    """(rows, stops * steps, d) codes of closed paths: `steps` per segment between stops (rows, stops, d).

    The path returns from the last stop to the first, so that an animation can loop. Raises SparringError as
    `open_path` does.
    """
    _check_stops(stops)
    require_int("steps", steps)
    segments = [
        interpolate(start, end, steps + 1, how)[:, :-1]
        for start, end in zip(stops.unbind(1), stops.roll(-1, 1).unbind(1), strict=True)
    ]
    return torch.cat(segments, 1)
