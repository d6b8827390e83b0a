"""Configurable DCGAN networks (Radford et al. 2016), for the recipe `ganhacks`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from sparring.errors import require_size
from sparring.networks.init import dcgan
from sparring.networks.minibatch import MinibatchDiscrimination, MinibatchStd
from sparring.networks.mlp import FromUnitRange, ToUnitRange
from sparring.networks.noise import Dropout, GaussianNoise
from sparring.networks.norms import NORMS, WithReferenceBatch
from sparring.networks.resample import DOWN, UP

STARTS = {28: 7, 32: 4, 64: 4}
"""Side of the image -> side of the smallest feature maps."""

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky-relu": partial(nn.LeakyReLU, 0.2),
}

OUTPUTS: dict[str, Callable[[], nn.Module]] = {
    "tanh": nn.Tanh,
    "sigmoid": lambda: nn.Sequential(nn.Sigmoid(), FromUnitRange()),
}


def _sides(size: int) -> tuple[int, int]:
    """Side of the smallest feature maps, and the number of doublings to `size`."""
    require_size("ganhacks", size, [*STARTS])
    return STARTS[size], (size // STARTS[size]).bit_length() - 1


def generator(
    latent_dim: int,
    width: int,
    channels: int,
    size: int,
    *,
    upsampling: str = "transposed",
    norm: str = "batch",
    activation: str = "relu",
    output: str = "tanh",
    noise: float = 0.0,
    dropout: float = 0.0,
    active_in_eval: bool = True,
    vbn_size: int = 64,
) -> nn.Module:
    """(B, latent) -> (B, channels, size, size) in [-1, 1]; `width` feature maps before the last layer.

    upsampling, norm, activation, output  keys of UP, NORMS, ACTIVATIONS, OUTPUTS
    noise, dropout  Gaussian noise after every norm; dropout after every activation
    active_in_eval  also apply dropout in sampling
    vbn_size        size of virtual batch norm's reference batch of codes, N(0, 1) until they are set
    """
    side, doublings = _sides(size)
    maps = width << (doublings - 1)

    def finish(maps: int) -> list[nn.Module]:
        layers = [NORMS[norm](maps), *([GaussianNoise(noise)] if noise else []), ACTIVATIONS[activation]()]
        return [*layers, *([Dropout(dropout, active_in_eval=active_in_eval)] if dropout else [])]

    layers = [nn.Linear(latent_dim, maps * side * side), nn.Unflatten(1, (maps, side, side)), *finish(maps)]
    while maps > width:
        layers += [UP[upsampling](maps, maps // 2), *finish(maps // 2)]
        maps //= 2
    network = dcgan(nn.Sequential(*layers, UP[upsampling](width, channels), OUTPUTS[output]()))
    return WithReferenceBatch(network, torch.randn(vbn_size, latent_dim)) if norm == "virtual" else network


def discriminator(
    width: int,
    channels: int,
    size: int,
    *,
    downsampling: str = "strided",
    norm: str = "batch",
    activation: str = "leaky-relu",
    unit_range: bool = False,
    dropout: float = 0.0,
    minibatch: str = "none",
    mbstd_group: int = 4,
    vbn_size: int = 64,
) -> nn.Module:
    """(B, channels, size, size) -> (B, 1) logits; `width` feature maps after the first layer, doubling in each.

    downsampling, norm, activation  keys of DOWN, NORMS, ACTIVATIONS; no norm after the first layer
    unit_range  rescale pixels to [0, 1] first
    dropout     before the last layer
    minibatch   "none", "discrimination", or "std" over groups of `mbstd_group` images
    vbn_size    size of virtual batch norm's reference batch of images, noise until they are set
    """
    side, halvings = _sides(size)
    layers: list[nn.Module] = [ToUnitRange()] if unit_range else []
    layers += [DOWN[downsampling](channels, width), ACTIVATIONS[activation]()]
    maps = width
    for _ in range(halvings - 1):
        layers += [DOWN[downsampling](maps, 2 * maps), NORMS[norm](2 * maps), ACTIVATIONS[activation]()]
        maps *= 2
    features: nn.Module = nn.Sequential(*layers)
    if norm == "virtual":
        features = WithReferenceBatch(features, torch.randn(vbn_size, channels, size, size))

    ending: list[nn.Module] = [nn.Flatten(), *([Dropout(dropout)] if dropout else [])]
    inputs = maps * side * side
    if minibatch == "std":
        ending, inputs = [MinibatchStd(mbstd_group), *ending], inputs + side * side
    if minibatch == "discrimination":
        ending, inputs = [*ending, closeness := MinibatchDiscrimination(inputs)], inputs + len(closeness.bias)
    network = nn.Sequential(features, *ending, nn.Linear(inputs, 1))
    return dcgan(network)
