"""The fully connected networks of Pidhorskyi et al. 2020 (ALAE) for MNIST, from the authors' code (branch mnist_ref).

Layers have an equalized learning rate. Images are (B, C, H, W); the authors use pixels in [0, 1], we in [-1, 1].
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from sparring.networks.equalized import Linear
from sparring.networks.mlp import FromUnitRange, ToUnitRange


class PixelNorm(nn.Module):
    """Karras et al. 2018, section 4.2: (B, d) -> (B, d), rows normalized to mean square 1."""

    def forward(self, z: Tensor) -> Tensor:
        """(B, d) -> (B, d)."""
        return z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class FirstColumn(nn.Module):
    """(B, d) -> (B, 1): the first number of each row."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, d) -> (B, 1)."""
        return x[:, :1]


def mapping(latent_dim: int, layers: int) -> nn.Sequential:
    """F: (B, latent) codes z -> (B, latent) codes w; pixel norm, LeakyReLU .2, a tenth of the learning rate."""
    hidden: list[nn.Module] = []
    for _ in range(layers):
        hidden += [Linear(latent_dim, latent_dim, lr_multiplier=0.1), nn.LeakyReLU(0.2)]
    return nn.Sequential(PixelNorm(), *hidden)


def discriminator(latent_dim: int, outputs: int) -> nn.Sequential:
    """D: (B, latent) codes w -> (B, 1) logits; three linear layers with a tenth of the learning rate.

    Only the first of the `outputs` is used, as the logit; the authors' MNIST code has `latent_dim` of them.
    """
    first, second, last = (Linear(latent_dim, wide, lr_multiplier=0.1) for wide in (latent_dim, latent_dim, outputs))
    return nn.Sequential(first, second, last, FirstColumn())


def generator(latent_dim: int, width: int, shape: tuple[int, int, int]) -> nn.Sequential:
    """G: (B, latent) codes w -> (B, *shape), about [-1, 1], unbounded; LeakyReLU .01."""
    return nn.Sequential(
        Linear(latent_dim, width),
        nn.LeakyReLU(0.01),
        Linear(width, width),
        nn.LeakyReLU(0.01),
        Linear(width, math.prod(shape)),
        nn.Unflatten(1, shape),
        FromUnitRange(),
    )


class Encoder(nn.Module):
    """E: (B, *shape) -> (B, latent) codes w; LeakyReLU .2, and .01 at the code.

    features  (B, *shape) -> (B, width), the last hidden layer
    """

    def __init__(self, shape: tuple[int, int, int], width: int, latent_dim: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            ToUnitRange(),
            nn.Flatten(),
            Linear(math.prod(shape), width),
            nn.LeakyReLU(0.2),
            Linear(width, width),
            nn.LeakyReLU(0.2),
        )
        self.code = nn.Sequential(Linear(width, latent_dim), nn.LeakyReLU(0.01))

    def forward(self, x: Tensor) -> Tensor:
        """(B, *shape) images in [-1, 1] -> (B, latent) codes w."""
        out: Tensor = self.code(self.features(x))
        return out
