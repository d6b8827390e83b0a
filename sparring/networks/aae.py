"""The fully connected networks of Makhzani et al. 2016, appendix A: two hidden ReLU layers, weights N(0, .01^2).

Two additions are not in the paper: a convolutional encoder, and balanced cluster logits.

The paper writes N(0, .01) for the initial weights; we read .01 as the standard deviation. Biases start at 0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sparring.networks import init
from sparring.networks.mlp import FromUnitRange, ToUnitRange
from sparring.networks.noise import Dropout, TrainingNoise


def encoder(
    shape: tuple[int, int, int],
    width: int,
    outputs: int,
    *,
    noise: float = 0.0,
    dropout: float = 0.0,
    norm: bool = False,
) -> nn.Sequential:
    """(B, *shape) in [-1, 1] -> (B, outputs), linear.

    noise    standard deviation of Gaussian noise on pixels in [0, 1], in training mode
    dropout  share of pixels set to 0 in training mode
    norm     batch norm after both hidden layers
    """
    pixels = math.prod(shape)
    norm1 = [nn.BatchNorm1d(width)] if norm else []
    norm2 = [nn.BatchNorm1d(width)] if norm else []
    network = nn.Sequential(
        ToUnitRange(),
        nn.Flatten(),
        *([TrainingNoise(noise)] if noise else []),
        *([Dropout(dropout)] if dropout else []),
        nn.Linear(pixels, width),
        *norm1,
        nn.ReLU(),
        nn.Linear(width, width),
        *norm2,
        nn.ReLU(),
        nn.Linear(width, outputs),
    )
    return init.normal(network, 0.01, zero_bias=True)


def convolutional(
    shape: tuple[int, int, int], outputs: int, *, noise: float = 0.0, dropout: float = 0.0
) -> nn.Sequential:
    """(B, *shape) in [-1, 1] -> (B, outputs), linear: an encoder (not in the paper) of square images of 16x16 or more.

    noise    standard deviation of Gaussian noise on pixels in [0, 1], in training mode
    dropout  share of pixels set to 0 in training mode

    Two 5x5 convolutions of 32 and 64 feature maps, each with max pooling, and 512 units, with batch norm:
    without it some trainings diverge in the first hundred rounds at the paper's learning rates. Initial weights: He et
    al. 2015.
    """
    side = ((shape[1] - 4) // 2 - 4) // 2
    network = init.kaiming(
        nn.Sequential(
            ToUnitRange(),
            *([TrainingNoise(noise)] if noise else []),
            *([Dropout(dropout)] if dropout else []),
            nn.Conv2d(shape[0], 32, 5),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 5),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64 * side**2, 512),
            nn.BatchNorm1d(512),
            nn.ReLU(),
            nn.Linear(512, outputs),
        )
    )
    init.normal(network[-1:], 0.01, zero_bias=True)
    return network


class BalancedLogits(nn.Module):
    """(B, clusters + latent) -> the same: batch norm of the cluster logits, with a shared gain and no bias.

    Not in the paper. All cluster logits have the same mean and variance, so that no cluster dies out early, when a
    saturated softmax passes no gradient from the discriminator.
    """

    def __init__(self, clusters: int) -> None:
        super().__init__()
        self.clusters = clusters
        self.norm = nn.BatchNorm1d(clusters, affine=False)
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, codes: Tensor) -> Tensor:
        """(B, clusters + latent) codes -> the same shape; only the first `clusters` columns change."""
        logits, z = codes[:, : self.clusters], codes[:, self.clusters :]
        return torch.cat([self.gain * self.norm(logits), z], 1)


def balanced(encoder: nn.Module, clusters: int, balance: bool) -> nn.Module:
    """The encoder, with balanced cluster logits if `balance`."""
    return nn.Sequential(encoder, BalancedLogits(clusters)) if balance else encoder


def decoder(inputs: int, width: int, shape: tuple[int, int, int]) -> nn.Sequential:
    """(B, inputs) -> (B, *shape) in [-1, 1] from a sigmoid."""
    network = nn.Sequential(
        nn.Linear(inputs, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, math.prod(shape)),
        nn.Sigmoid(),
        FromUnitRange(),
        nn.Unflatten(1, shape),
    )
    return init.normal(network, 0.01, zero_bias=True)


def discriminator(inputs: int, width: int) -> nn.Sequential:
    """(B, inputs) codes -> (B, 1) logits."""
    network = nn.Sequential(
        nn.Linear(inputs, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, 1),
    )
    return init.normal(network, 0.01, zero_bias=True)
