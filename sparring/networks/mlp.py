"""Fully connected networks of the lectures and of Goodfellow et al. 2014. Images are (B, C, H, W) in [-1, 1]."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from sparring.networks.init import uniform
from sparring.networks.noise import Dropout


class FromUnitRange(nn.Module):
    """[0, 1] -> [-1, 1]: for generators that end in a sigmoid."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x - 1


class ToUnitRange(nn.Module):
    """[-1, 1] -> [0, 1]: for discriminators of pixels in [0, 1]."""

    def forward(self, x: Tensor) -> Tensor:
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
    unit: bool = False,
) -> nn.Sequential:
    """(B, *shape) -> (B, 1) logits: linear layers of widths `hidden`; `unit`: rescales pixels to [0, 1]."""
    layers: list[nn.Module] = [ToUnitRange()] if unit else []
    layers.append(nn.Flatten())
    widths = [math.prod(shape), *hidden]
    for inputs, outputs in zip(widths, hidden, strict=False):
        layers += [nn.Linear(inputs, outputs), activation()]
        if dropout:
            layers.append(Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(widths[-1], 1))


class Maxout(nn.Module):
    """Goodfellow et al. 2013, eq. 1: (B, inputs) -> (B, units), each the maximum of `pieces` linear functions."""

    def __init__(self, inputs: int, units: int, pieces: int) -> None:
        super().__init__()
        self.units, self.pieces = units, pieces
        self.linear = uniform(nn.Linear(inputs, units * pieces), 0.005)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).unflatten(1, (self.units, self.pieces)).amax(2)


def goodfellow_generator(latent_dim: int, width: int, shape: tuple[int, int, int]) -> nn.Sequential:
    """The MNIST generator of Goodfellow et al. 2014 (mnist.yaml): two ReLU layers, sigmoid, weights U(-.05, .05)."""
    network = generator(latent_dim, [width, width], shape, activation=nn.ReLU, sigmoid=True)
    for layer in network:
        if isinstance(layer, nn.Linear):
            uniform(layer, 0.05)
    return network


def goodfellow_discriminator(shape: tuple[int, int, int], units: int, pieces: int) -> nn.Sequential:
    """The MNIST discriminator of Goodfellow et al. 2014: two maxout layers, dropout .2 at the input and .5 inside."""
    inputs = math.prod(shape)
    return nn.Sequential(
        ToUnitRange(),
        nn.Flatten(),
        Dropout(0.2),
        Maxout(inputs, units, pieces),
        Dropout(0.5),
        Maxout(units, units, pieces),
        Dropout(0.5),
        uniform(nn.Linear(units, 1), 0.005),
    )


@torch.no_grad()
def init_bias_to_marginals(network: nn.Sequential, images: Tensor) -> None:
    """Sets the last bias so that zero input to it gives the mean image; images: (M, C, H, W) uint8 (mnist.yaml)."""
    mean = images.double().mean(0).flatten() / 255
    last = [layer for layer in network if isinstance(layer, nn.Linear)][-1]
    last.bias.copy_(torch.logit(mean.clamp(1e-4, 1 - 1e-4)))
