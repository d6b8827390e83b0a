"""Radford et al. 2016, figure 1, with the 4x4 kernels of pytorch/examples: no pooling, no hidden linear layers."""

from __future__ import annotations

from torch import nn

from sparring.errors import require_size
from sparring.networks.init import dcgan

SIZES = (16, 32, 64, 128, 256)


def _halvings(size: int) -> int:
    """Number of stride-2 layers between 4x4 and size x size."""
    require_size("DCGAN", size, SIZES)
    return SIZES.index(size) + 2


def generator(latent_dim: int, width: int, channels: int, size: int = 64) -> nn.Module:
    """(B, latent) -> (B, channels, size, size) in [-1, 1]; `width` feature maps before the last layer."""
    maps = width << (_halvings(size) - 1)
    layers: list[nn.Module] = [
        nn.Unflatten(1, (latent_dim, 1, 1)),
        nn.ConvTranspose2d(latent_dim, maps, 4, 1, 0, bias=False),
        nn.BatchNorm2d(maps),
        nn.ReLU(inplace=True),
    ]
    while maps > width:
        layers += [
            nn.ConvTranspose2d(maps, maps // 2, 4, 2, 1, bias=False),
            nn.BatchNorm2d(maps // 2),
            nn.ReLU(inplace=True),
        ]
        maps //= 2
    layers += [nn.ConvTranspose2d(width, channels, 4, 2, 1, bias=False), nn.Tanh()]
    return dcgan(nn.Sequential(*layers))


def discriminator(width: int, channels: int, size: int = 64) -> nn.Module:
    """(B, channels, size, size) -> (B, 1) logits; batch norm except at the input, LeakyReLU .2."""
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
    maps = width
    for _ in range(_halvings(size) - 1):
        layers += [
            nn.Conv2d(maps, maps * 2, 4, 2, 1, bias=False),
            nn.BatchNorm2d(maps * 2),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        maps *= 2
    layers += [nn.Conv2d(maps, 1, 4, 1, 0, bias=False), nn.Flatten()]
    return dcgan(nn.Sequential(*layers))
