"""Fully connected networks. Images are (B, C, H, W) in [-1, 1]."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from sparring.networks.noise import Dropout


class FromUnitRange(nn.Module):
    """[0, 1] -> [-1, 1]: for generators that end in a sigmoid."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape in [0, 1] -> the same shape in [-1, 1]."""
        return 2 * x - 1


class ToUnitRange(nn.Module):
    """[-1, 1] -> [0, 1]: for discriminators of pixels in [0, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape in [-1, 1] -> the same shape in [0, 1]."""
        return (x + 1) / 2


def generator(
    latent_dim: int,
    hidden: Sequence[int],
    shape: tuple[int, int, int],
    *,
    activation: Callable[[], nn.Module],
    dropout: float = 0.0,
    sigmoid: bool = False,
) -> nn.Sequential:
    """(B, latent) -> (B, *shape): linear layers of widths `hidden`, ending in tanh, or a rescaled sigmoid."""
    layers: list[nn.Module] = []
    for inputs, outputs in zip([latent_dim, *hidden], hidden, strict=False):
        layers += [nn.Linear(inputs, outputs), activation()]
        if dropout:
            layers.append(Dropout(dropout))
    layers.append(nn.Linear([latent_dim, *hidden][-1], math.prod(shape)))
    layers += [nn.Sigmoid(), FromUnitRange()] if sigmoid else [nn.Tanh()]
    return nn.Sequential(*layers, nn.Unflatten(1, shape))


def discriminator(
    shape: tuple[int, int, int],
    hidden: Sequence[int],
    *,
    activation: Callable[[], nn.Module],
    dropout: float = 0.0,
    unit_range: bool = False,
) -> nn.Sequential:
    """(B, *shape) -> (B, 1) logits: linear layers of widths `hidden`; `unit_range`: rescales pixels to [0, 1]."""
    layers: list[nn.Module] = [ToUnitRange()] if unit_range else []
    layers.append(nn.Flatten())
    widths = [math.prod(shape), *hidden]
    for inputs, outputs in zip(widths, hidden, strict=False):
        layers += [nn.Linear(inputs, outputs), activation()]
        if dropout:
            layers.append(Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(widths[-1], 1))
