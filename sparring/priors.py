"""Distributions that codes are to follow. A prior has components; where it has one, labels mean nothing to it.

A code is drawn in two steps that are open to labels: one code from every component, then the component.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from sparring.errors import SparringError, require_int
from sparring.typed import typed

MOST = 1 << 20
"""Numbers of a code, and components, that a prior may have at most."""

Draw = Callable[[torch.Generator, int], Tensor]
"""draw(generator, n) -> (n, components, latent) float32 on the CPU: one code from every component, n times."""


@dataclass(frozen=True)
class Prior:
    """A mixture of equally likely components.

    latent_dim  length of a code
    components  how many
    each        draws one code from every component
    traversals  gives title -> (rows, columns, latent) codes worth looking at, row by row
    """

    latent_dim: int
    components: int
    each: Draw
    traversals: Callable[[], Mapping[str, Tensor]] = dict

    def __post_init__(self) -> None:
        require_int("latent", self.latent_dim, most=MOST)
        require_int("components", self.components, most=MOST)

    def draw(self, g: torch.Generator, n: int) -> Tensor:
        """(n, latent) codes from the whole."""
        kinds = torch.randint(self.components, (n,), generator=g)
        return self.each(g, n)[torch.arange(n), kinds]


@typed
def gaussian(latent_dim: int, *, std: float = 1.0) -> Prior:
    """N(0, std^2) in every dimension."""
    _require_positive(std=std)

    def traversals() -> Mapping[str, Tensor]:
        return {"the latent plane, in equal steps of probability": std * icdf_grid()} if latent_dim == 2 else {}

    return Prior(latent_dim, 1, lambda g, n: std * torch.randn(n, 1, latent_dim, generator=g), traversals)


@typed
def uniform(latent_dim: int, *, bound: float = 1.0) -> Prior:
    """U(-bound, bound) in every dimension."""
    _require_positive(bound=bound)

    def traversals() -> Mapping[str, Tensor]:
        return {"the latent plane": _square(torch.linspace(-bound, bound, 15))} if latent_dim == 2 else {}

    return Prior(latent_dim, 1, lambda g, n: bound * (2 * torch.rand(n, 1, latent_dim, generator=g) - 1), traversals)


@typed
def gaussian_mixture(components: int = 10, *, shift: float = 1.4, long: float = 0.5, short: float = 0.1) -> Prior:
    """Makhzani et al. 2016, figure 2: 2-D Gaussians like the petals of a flower, one component each.

    N(0, long^2) along the petal and N(0, short^2) across, moved outwards by `shift`, turned by k/components of a
    circle. The paper gives a picture and no numbers; these are the usual ones of its re-implementations.
    """
    _require_positive(long=long, short=short)
    angle = 2 * math.pi * torch.arange(require_int("components", components, most=MOST)) / components
    along = torch.stack([angle.cos(), angle.sin()], 1)
    across = torch.stack([-angle.sin(), angle.cos()], 1)

    def each(g: torch.Generator, n: int) -> Tensor:
        u, v = torch.randn(2, n, components, 1, generator=g)
        return (shift + long * u) * along + short * v * across

    def traversals() -> Mapping[str, Tensor]:
        steps = shift + long * torch.linspace(-2, 2, 15)
        return {"along the main axis of each component": steps[:, None] * along[:, None]}

    return Prior(2, components, each, traversals)


@typed
def swiss_roll(components: int = 10) -> Prior:
    """Makhzani et al. 2016, figure 2: a spiral in 2-D, cut into as many arms of equal length in u.

    Arm k has u = (U(0, 1) + k) / components; radius 3 sqrt(u), angle 4 pi sqrt(u).
    """

    require_int("components", components, most=MOST)

    def at(u: Tensor) -> Tensor:
        s = u.sqrt()
        return 3 * s[..., None] * torch.stack([(4 * math.pi * s).cos(), (4 * math.pi * s).sin()], -1)

    def each(g: torch.Generator, n: int) -> Tensor:
        return at((torch.rand(n, components, generator=g) + torch.arange(components)) / components)

    def traversals() -> Mapping[str, Tensor]:
        steps = (torch.linspace(0, 1, 15) + torch.arange(components)[:, None]) / components
        return {"along the roll, an arm per row": at(steps)}

    return Prior(2, components, each, traversals)


@typed
def categorical(count: int) -> Prior:
    """One-hot vectors of `count` categories, all equally likely."""
    require_int("count", count, most=4096)
    return Prior(count, count, lambda g, n: one_hot(torch.arange(count), count).float().repeat(n, 1, 1))


def from_sampler(sampler: Callable[[torch.Generator, int], Tensor], latent_dim: int) -> Prior:
    """The user's: sampler(generator, n) -> (n, latent) floats. Raises SparringError when it gives another shape."""

    def each(g: torch.Generator, n: int) -> Tensor:
        codes = sampler(g, n)
        if tuple(codes.shape) != (n, latent_dim):
            raise SparringError(f"the prior gave codes {tuple(codes.shape)}: it must give ({n}, {latent_dim})")
        return codes[:, None]

    return Prior(latent_dim, 1, each)


@typed
def icdf_grid(side: int = 15) -> Tensor:
    """(side, side, 2) codes over the plane of N(0, 1), in equal steps of probability from .05 to .95 (Chollet 2017)."""
    return _square(torch.special.ndtri(torch.linspace(0.05, 0.95, require_int("side", side, most=1024))))


def _require_positive(**sizes: float) -> None:
    for name, size in sizes.items():
        if not 0 < size < math.inf:
            raise SparringError(f"{name} is {size:g}: it must be a positive number")


def _square(steps: Tensor) -> Tensor:
    """(side, side, 2): x grows to the right, y upwards."""
    y, x = torch.meshgrid(steps.flip(0), steps, indexing="ij")
    return torch.stack([x, y], -1)
