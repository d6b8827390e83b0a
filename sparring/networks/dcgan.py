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


def generator(
    latent_dim: int, width: int, channels: int, size: int = 64, *, slope: float = 0.0, radford_init: bool = True
) -> nn.Module:
    """(B, latent) -> (B, channels, size, size) in [-1, 1]; `width` feature maps before the last layer.

    slope         of the activations below 0; 0: ReLU (Radford), .01: PyTorch's LeakyReLU (Raschka)
    radford_init  N(0, .02) weights; False: PyTorch's (Raschka)
    """

    def finish(maps: int) -> list[nn.Module]:
        return [nn.BatchNorm2d(maps), nn.LeakyReLU(slope, inplace=True) if slope else nn.ReLU(inplace=True)]

    maps = width << (_halvings(size) - 1)
    layers: list[nn.Module] = [
        nn.Unflatten(1, (latent_dim, 1, 1)),
        nn.ConvTranspose2d(latent_dim, maps, 4, 1, 0, bias=False),
        *finish(maps),
    ]
    while maps > width:
        layers += [nn.ConvTranspose2d(maps, maps // 2, 4, 2, 1, bias=False), *finish(maps // 2)]
        maps //= 2
    layers += [nn.ConvTranspose2d(width, channels, 4, 2, 1, bias=False), nn.Tanh()]
    network = nn.Sequential(*layers)
    return dcgan(network) if radford_init else network


def discriminator(
    width: int,
    channels: int,
    size: int = 64,
    *,
    slope: float = 0.2,
    biases: bool = False,
    radford_init: bool = True,
) -> nn.Module:
    """(B, channels, size, size) -> (B, 1) logits; batch norm except at the input, LeakyReLU.

    slope         of LeakyReLU: .2 (Radford), .01 (Raschka)
    biases        in the first and in the last convolution, which have no batch norm (Raschka)
    radford_init  N(0, .02) weights; False: PyTorch's (Raschka)
    """
    layers: list[nn.Module] = [
        nn.Conv2d(channels, width, 4, 2, 1, bias=biases),
        nn.LeakyReLU(slope, inplace=True),
    ]
    maps = width
    for _ in range(_halvings(size) - 1):
        layers += [
            nn.Conv2d(maps, maps * 2, 4, 2, 1, bias=False),
            nn.BatchNorm2d(maps * 2),
            nn.LeakyReLU(slope, inplace=True),
        ]
        maps *= 2
    network = nn.Sequential(*layers, nn.Conv2d(maps, 1, 4, 1, 0, bias=biases), nn.Flatten())
    return dcgan(network) if radford_init else network
