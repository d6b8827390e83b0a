"""Ways from one code to another: White 2016, "Sampling Generative Networks", and Radford et al. 2016, section 6.1."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sparring.errors import SparringError, require_int, unknown_name_error
from sparring.system import System
from sparring.typed import typed

Interpolation = Callable[[Tensor, Tensor, Tensor | float], Tensor]
"""between(a, b, t): codes (..., d) at shares t of the way; t is a number or broadcasts against (..., 1)."""

PARALLEL = 1e-4
"""Codes whose directions differ by less than this angle (from the same or from opposite ones) have no sphere's arc."""


def _check_ends(a: Tensor, b: Tensor) -> None:
    if a.shape[-1:] != b.shape[-1:] or not a.ndim:
        raise SparringError(f"codes {tuple(a.shape)} and {tuple(b.shape)} have no way between them: unequal dimensions")


def _check_stops(stops: Tensor) -> None:
    if stops.ndim != 3 or stops.shape[1] < 2:
        raise SparringError(f"stops must be (rows, stops, d), two stops or more; got {tuple(stops.shape)}")


@typed
def lerp(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """(1 - t) a + t b: the straight line. Half-way between independent codes of N(0, I_d) the norm is sqrt(d / 2)."""
    _check_ends(a, b)
    t = torch.as_tensor(t, dtype=a.dtype)
    return (1 - t) * a + t * b


@typed
def slerp(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """White 2016, section 2.1: (sin((1 - t) w) a + sin(t w) b) / sin w, with w the angle between a and b.

    Along the sphere, so norms stay where those of N(0, I_d) are, near sqrt(d). The ends are a and b themselves, of
    whatever norms. Where w is about 0 or pi (no arc, or no single one) the straight line is taken.
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
    """The straight line in probabilities: through the distribution function of N(0, 1), lerp, and back (plat).

    Each number stays between its ends and is N(0, 1)'s equal share of the way. Codes far out come back only as
    far as float64's probabilities reach, 8 deviations.
    """
    start, end = (torch.special.ndtr(one.double()) for one in (a, b))
    return torch.special.ndtri(lerp(start, end, t).clamp(1e-16, 1 - 1e-16)).to(a)


INTERPOLATIONS: dict[str, Interpolation] = {"lerp": lerp, "slerp": slerp, "lerp-gaussian": lerp_gaussian}


@typed
def default_interpolation(system: System) -> str:
    """The interpolation that fits the system's codes: slerp for those of N(0, 1), lerp for uniform ones and for w."""
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
    """(rows, (stops - 1) (steps - 1) + 1, d) codes through stops (rows, stops, d): `steps` from each to the next.

    Raises SparringError as `interpolate` does, and for fewer than 2 stops.
    """
    _check_stops(stops)
    legs = [
        interpolate(start, end, steps, how)
        for start, end in zip(stops[:, :-1].unbind(1), stops[:, 1:].unbind(1), strict=True)
    ]
    return torch.cat([legs[0], *(leg[:, 1:] for leg in legs[1:])], 1)


@typed
def closed_path(stops: Tensor, steps: int, how: str) -> Tensor:
    """(rows, stops * steps, d) codes of round trips: `steps` from each of the stops (rows, stops, d) to the next.

    From the last stop the way leads back to the first, so that the pictures of a walk can be shown over and over.
    Raises SparringError as `open_path` does.
    """
    _check_stops(stops)
    require_int("steps", steps)
    legs = [
        interpolate(start, end, steps + 1, how)[:, :-1]
        for start, end in zip(stops.unbind(1), stops.roll(-1, 1).unbind(1), strict=True)
    ]
    return torch.cat(legs, 1)
