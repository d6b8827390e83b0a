"""The networks of Chollet 2017, Deep Learning with Python, section 8.5: a DCGAN for CIFAR-10 frogs, without batch norm.

Tricks: tanh output, LeakyReLU instead of ReLU, dropout in D, and kernel sizes divisible by the stride (no checkerboard
artifacts).
"""

from __future__ import annotations

from torch import Tensor, nn

from sparring.networks.mlp import FromUnitRange, ToUnitRange
from sparring.networks.noise import Dropout

SLOPE = 0.3
"""Keras's default slope of LeakyReLU."""


class ClampInEval(nn.Module):
    """Clamps to [-1, 1] in evaluation mode; the identity in training mode, so that D sees G's raw output."""

    def forward(self, x: Tensor) -> Tensor:
        return x if self.training else x.clamp(-1, 1)


def generator(latent_dim: int, width: int = 128, channels: int = 3, *, unit: bool = False) -> nn.Sequential:
    """(B, latent) -> (B, channels, 32, 32) in [-1, 1]; `width` feature maps at 16x16, then twice as many.

    `unit`: tanh's output is treated as pixels in [0, 1], so that images range from -3 to 1; in evaluation mode they are
    clamped to [-1, 1].
    """
    doubled = 2 * width
    return keras_init(
        nn.Sequential(
            nn.Linear(latent_dim, width * 16 * 16),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Unflatten(1, (width, 16, 16)),
            nn.Conv2d(width, doubled, 5, padding=2),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.ConvTranspose2d(doubled, doubled, 4, stride=2, padding=1),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Conv2d(doubled, doubled, 5, padding=2),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Conv2d(doubled, doubled, 5, padding=2),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Conv2d(doubled, channels, 7, padding=3),
            nn.Tanh(),
            *([FromUnitRange(), ClampInEval()] if unit else []),
        )
    )


def discriminator(width: int = 128, channels: int = 3, *, unit: bool = False) -> nn.Sequential:
    """(B, channels, 32, 32) -> (B, 1) logits: 32 -> 30 -> 14 -> 6 -> 2, no padding; `unit`: pixels to [0, 1] first."""
    return keras_init(
        nn.Sequential(
            *([ToUnitRange()] if unit else []),
            nn.Conv2d(channels, width, 3),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Conv2d(width, width, 4, stride=2),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Conv2d(width, width, 4, stride=2),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Conv2d(width, width, 4, stride=2),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Flatten(),
            Dropout(0.4),
            nn.Linear(width * 2 * 2, 1),
        )
    )


def keras_init(network: nn.Sequential) -> nn.Sequential:
    """Keras's default initialization: Glorot and Bengio 2010, eq. 16; zero biases."""
    for weight in network.parameters():
        if weight.ndim == 1:
            nn.init.zeros_(weight)
        else:
            nn.init.xavier_uniform_(weight)
    return network
