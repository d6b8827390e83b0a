"""The MNIST networks of Goodfellow et al. 2014, from their published configuration (mnist.yaml)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sparring.networks import mlp
from sparring.networks.init import uniform
from sparring.networks.mlp import ToUnitRange
from sparring.networks.noise import Dropout


class Maxout(nn.Module):
    """Goodfellow et al. 2013, eq. 1: (B, inputs) -> (B, units), each the maximum of `pieces` linear functions."""

    def __init__(self, inputs: int, units: int, pieces: int) -> None:
        super().__init__()
        self.units, self.pieces = units, pieces
        self.linear = uniform(nn.Linear(inputs, units * pieces), 0.005)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) -> (B, units)."""
        y: Tensor = self.linear(x)
        return y.view(len(x), self.units, self.pieces).amax(2)


def generator(latent_dim: int, width: int, shape: tuple[int, int, int]) -> nn.Sequential:
    """(B, latent) -> (B, *shape) in [-1, 1]: two ReLU layers, sigmoid, weights U(-.05, .05)."""
    network = mlp.generator(latent_dim, [width, width], shape, activation=nn.ReLU, output="sigmoid")
    for layer in network:
        if isinstance(layer, nn.Linear):
            uniform(layer, 0.05)
    return network


def discriminator(shape: tuple[int, int, int], units: int, pieces: int) -> nn.Sequential:
    """(B, *shape) -> (B, 1) logits: two maxout layers, dropout .2 at the input and .5 inside."""
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
