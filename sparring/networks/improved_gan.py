"""The MNIST networks of Salimans et al. 2016 (openai/improved-gan, train_mnist_feature_matching.py)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.networks import init
from sparring.networks.mlp import FromUnitRange, ToUnitRange
from sparring.networks.noise import TrainingNoise


class WeightNormLinear(nn.Module):
    """Salimans and Kingma 2016, eq. 2: (B, inputs) -> (B, outputs), y = (g / |v|) v x + b, one g per output.

    `train_scale`: g is learned; otherwise it keeps its data-dependent initial value (`init_from_data`).
    """

    def __init__(self, inputs: int, outputs: int, *, train_scale: bool = False) -> None:
        super().__init__()
        self.direction = nn.Parameter(torch.randn(outputs, inputs) * 0.1)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scale: Tensor
        if train_scale:
            self.scale = nn.Parameter(torch.ones(outputs))
        else:
            self.register_buffer("scale", torch.ones(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) -> (B, outputs)."""
        return F.linear(x, self.direction * (self.scale / self.direction.norm(dim=1))[:, None], self.bias)


HIDDEN = (1000, 500, 250, 250, 250)
"""Widths of the discriminator's layers."""


def trunk(shape: tuple[int, int, int]) -> nn.Sequential:
    """(B, C, H, W) in [-1, 1] -> (B, 250) features: noise before every layer, weight norm, ReLU."""
    widths = [math.prod(shape), *HIDDEN]
    layers: list[nn.Module] = [ToUnitRange(), nn.Flatten()]
    for i, (inputs, outputs) in enumerate(pairwise(widths)):
        layers += [TrainingNoise(0.5 if i else 0.3), WeightNormLinear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers)


def head(classes: int) -> nn.Sequential:
    """(B, 250) features -> (B, classes) logits.

    The sum of exponentiated logits is the odds of "real" (section 5); there is no logit for "generated".
    """
    return nn.Sequential(TrainingNoise(0.5), WeightNormLinear(HIDDEN[-1], classes, train_scale=True))


@torch.no_grad()
def init_from_data(layers: Iterable[nn.Module], images: Tensor) -> None:
    """Initializes scales and biases so that pre-activations have mean 0 and variance 1 on images (N, C, H, W).

    layers  of trunk and head, in order
    """
    h = images
    for layer in layers:
        if isinstance(layer, WeightNormLinear):
            outputs = layer(h)
            mean, std = outputs.mean(0), outputs.std(0, correction=0)
            layer.scale.div_(std)
            layer.bias.sub_(mean).div_(std)
        h = layer(h)


class ShiftedNorm(nn.BatchNorm1d):
    """Batch norm with a learned shift and no gain: (B, features) -> (B, features)."""

    def __init__(self, features: int) -> None:
        super().__init__(features, eps=1e-6, affine=False)
        self.shift = nn.Parameter(torch.zeros(features))

    def forward(self, x: Tensor) -> Tensor:
        """(B, features) -> (B, features)."""
        return super().forward(x) + self.shift


def generator(latent_dim: int, shape: tuple[int, int, int], width: int = 500) -> nn.Sequential:
    """(B, latent) -> (B, *shape) in [-1, 1]: softplus and batch norm twice, weight norm and a sigmoid at the end.

    Initial weights are Lasagne's default: Glorot and Bengio 2010, eq. 16.
    """
    network = nn.Sequential(
        nn.Linear(latent_dim, width, bias=False),
        ShiftedNorm(width),
        nn.Softplus(),
        nn.Linear(width, width, bias=False),
        ShiftedNorm(width),
        nn.Softplus(),
        WeightNormLinear(width, math.prod(shape), train_scale=True),
        nn.Sigmoid(),
        FromUnitRange(),
        nn.Unflatten(1, shape),
    )
    return init.glorot(network)
