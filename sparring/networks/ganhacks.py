"""DCGAN's shape (Radford et al. 2016) with a choice for every part: the networks of the recipe `ganhacks`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from sparring.errors import SparringError
from sparring.networks.initial import radford
from sparring.networks.minibatch import MinibatchDiscrimination, MinibatchStd
from sparring.networks.mlp import FromUnit, ToUnit
from sparring.networks.noise import Dropout, GaussianNoise
from sparring.networks.norms import NORMS, Virtual
from sparring.networks.resample import DOWN, UP

STARTS = {28: 7, 32: 4, 64: 4}
"""Side of the image -> side of the smallest maps; between them every layer doubles or halves."""

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky-relu": partial(nn.LeakyReLU, 0.2),
}

OUTPUTS: dict[str, Callable[[], nn.Module]] = {
    "tanh": nn.Tanh,
    "sigmoid": lambda: nn.Sequential(nn.Sigmoid(), FromUnit()),
}


def _sides(size: int) -> tuple[int, int]:
    """Side of the smallest maps, and how many layers double it to `size`."""
    if size not in STARTS:
        raise SparringError(f"ganhacks cannot make {size}x{size} images: choose --size from {tuple(STARTS)}")
    return STARTS[size], (size // STARTS[size]).bit_length() - 1


def generator(
    latent: int,
    width: int,
    channels: int,
    size: int,
    *,
    up: str = "transposed",
    norm: str = "batch",
    activation: str = "relu",
    output: str = "tanh",
    noise: float = 0.0,
    dropout: float = 0.0,
    lasting: bool = True,
    reference: int = 64,
) -> nn.Module:
    """(B, latent) -> (B, channels, size, size) in [-1, 1]; `width` maps before the last layer.

    up, norm, activation, output  keys of UP, NORMS, ACTIVATIONS, OUTPUTS
    noise, dropout  after every norm, N(0, noise^2); after every activation, dropout, if `lasting` when sampled, too
    reference       codes of virtual batch norm's reference batch, N(0, 1) until they are set
    """
    side, doublings = _sides(size)
    maps = width << (doublings - 1)

    def finish(maps: int) -> list[nn.Module]:
        layers = [NORMS[norm](maps), *([GaussianNoise(noise)] if noise else []), ACTIVATIONS[activation]()]
        return [*layers, *([Dropout(dropout, lasting=lasting)] if dropout else [])]

    layers = [nn.Linear(latent, maps * side * side), nn.Unflatten(1, (maps, side, side)), *finish(maps)]
    while maps > width:
        layers += [UP[up](maps, maps // 2), *finish(maps // 2)]
        maps //= 2
    network = radford(nn.Sequential(*layers, UP[up](width, channels), OUTPUTS[output]()))
    return Virtual(network, torch.randn(reference, latent)) if norm == "virtual" else network


def discriminator(
    width: int,
    channels: int,
    size: int,
    *,
    down: str = "strided",
    norm: str = "batch",
    activation: str = "leaky-relu",
    unit: bool = False,
    dropout: float = 0.0,
    minibatch: str = "none",
    group: int = 4,
    reference: int = 64,
) -> nn.Module:
    """(B, channels, size, size) -> (B, 1) logits; `width` maps after the first layer, twice as many after each.

    down, norm, activation  keys of DOWN, NORMS, ACTIVATIONS; no norm after the first layer
    unit       pixels are moved to [0, 1] first
    dropout    before the last layer
    minibatch  "none", "discrimination", or "std" over groups of `group` images
    reference  images of virtual batch norm's reference batch, noise until they are set
    """
    side, halvings = _sides(size)
    layers: list[nn.Module] = [ToUnit()] if unit else []
    layers += [DOWN[down](channels, width), ACTIVATIONS[activation]()]
    maps = width
    for _ in range(halvings - 1):
        layers += [DOWN[down](maps, 2 * maps), NORMS[norm](2 * maps), ACTIVATIONS[activation]()]
        maps *= 2
    features: nn.Module = nn.Sequential(*layers)
    if norm == "virtual":
        features = Virtual(features, torch.randn(reference, channels, size, size))

    ending: list[nn.Module] = [nn.Flatten(), *([Dropout(dropout)] if dropout else [])]
    inputs = maps * side * side
    if minibatch == "std":
        ending, inputs = [MinibatchStd(group), *ending], inputs + side * side
    if minibatch == "discrimination":
        ending, inputs = [*ending, closeness := MinibatchDiscrimination(inputs)], inputs + len(closeness.bias)
    network = nn.Sequential(features, *ending, nn.Linear(inputs, 1))
    return radford(network)
