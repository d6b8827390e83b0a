"""Prior distributions of latent codes: mixtures of components, which labels can select.

A code is drawn in two steps, so that labels can replace the second: one code from every component, then the component.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from sparring.errors import SparringError, require_int
from sparring.seeds import make_generator
from sparring.typed import typed

MAX_SIZE = 1 << 20
"""Upper limit of the latent dimension, and of the number of components."""

Draw = Callable[[torch.Generator, int], Tensor]
"""draw(generator, n) -> (n, components, latent_dim) float32 on the CPU: one code from every component, n times."""


@dataclass(frozen=True)
class Prior:
    """A mixture of equally likely components.

    latent_dim  length of a code
    components  number of components
    each        draws one code from every component
    traversals  () -> {title: (rows, columns, latent_dim) codes for a grid of decoded images}
    """

    latent_dim: int
    components: int
    each: Draw
    traversals: Callable[[], Mapping[str, Tensor]] = dict

    def __post_init__(self) -> None:
        require_int("latent_dim", self.latent_dim, most=MAX_SIZE)
        require_int("components", self.components, most=MAX_SIZE)

    def draw(self, g: torch.Generator, n: int) -> Tensor:
        """(n, latent_dim) codes from the mixture."""
        components = torch.randint(self.components, (n,), generator=g)
        return self.each(g, n)[torch.arange(n), components]


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
    """Makhzani et al. 2016, figure 2: a mixture of 2-D Gaussians arranged like the petals of a flower.

    Component k is N(0, long^2) radially and N(0, short^2) across, shifted outward by `shift` and rotated by
    k / components of a full turn. The paper does not give the parameters; the defaults are those of common
    re-implementations.
    """
    _require_positive(long=long, short=short)
    angle = 2 * math.pi * torch.arange(require_int("components", components, most=MAX_SIZE)) / components
    along = torch.stack([angle.cos(), angle.sin()], 1)
    across = torch.stack([-angle.sin(), angle.cos()], 1)

    def each(g: torch.Generator, n: int) -> Tensor:
        u, v = torch.randn(2, n, components, 1, generator=g)
        out: Tensor = (shift + long * u) * along + short * v * across
        return out

    def traversals() -> Mapping[str, Tensor]:
        steps = shift + long * torch.linspace(-2, 2, 15)
        return {"along the main axis of each component": steps[:, None] * along[:, None]}

    return Prior(2, components, each, traversals)


@typed
def swiss_roll(components: int = 10) -> Prior:
    """Makhzani et al. 2016, figure 2: a 2-D spiral, cut into `components` segments of equal length in u.

    Segment k has u = (U(0, 1) + k) / components; radius 3 sqrt(u), angle 4 pi sqrt(u).
    """
    require_int("components", components, most=MAX_SIZE)

    def at(u: Tensor) -> Tensor:
        s = u.sqrt()
        return 3 * s[..., None] * torch.stack([(4 * math.pi * s).cos(), (4 * math.pi * s).sin()], -1)

    def each(g: torch.Generator, n: int) -> Tensor:
        return at((torch.rand(n, components, generator=g) + torch.arange(components)) / components)

    def traversals() -> Mapping[str, Tensor]:
        steps = (torch.linspace(0, 1, 15) + torch.arange(components)[:, None]) / components
        return {"along the roll, one segment per row": at(steps)}

    return Prior(2, components, each, traversals)


@typed
def categorical(count: int) -> Prior:
    """One-hot vectors of `count` equally likely categories."""
    require_int("count", count, most=4096)
    return Prior(count, count, lambda g, n: one_hot(torch.arange(count), count).float().repeat(n, 1, 1))


def from_sampler(sampler: Callable[[torch.Generator, int], Tensor], latent_dim: int) -> Prior:
    """A custom prior: sampler(generator, n) -> (n, latent_dim) floats. Raises SparringError for other shapes."""

    def each(g: torch.Generator, n: int) -> Tensor:
        codes = sampler(g, n)
        if tuple(codes.shape) != (n, latent_dim):
            raise SparringError(f"the prior returned codes {tuple(codes.shape)}: it must return ({n}, {latent_dim})")
        return codes[:, None]

    return Prior(latent_dim, 1, each)


def in_every_class(prior: Prior, classes: int, rows: int = 8) -> Tensor:
    """(rows, classes, classes + latent) codes: `rows` styles from the prior, each in every class."""
    styles = prior.draw(make_generator("styles"), rows)
    onehot = torch.eye(classes).expand(rows, -1, -1)
    return torch.cat([onehot, styles[:, None].expand(-1, classes, -1)], 2)


@typed
def icdf_grid(side: int = 15) -> Tensor:
    """(side, side, 2) quantiles of N(0, 1) in 2-D, in equal steps of probability from .05 to .95 (Chollet 2017)."""
    return _square(torch.special.ndtri(torch.linspace(0.05, 0.95, require_int("side", side, most=1024))))


def _require_positive(**sizes: float) -> None:
    for name, size in sizes.items():
        if not 0 < size < math.inf:
            raise SparringError(f"{name} is {size:g}: it must be a positive number")


def _square(steps: Tensor) -> Tensor:
    """(side, side, 2): x grows to the right, y upwards."""
    y, x = torch.meshgrid(steps.flip(0), steps, indexing="ij")
    return torch.stack([x, y], -1)
