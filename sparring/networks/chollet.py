"""The networks of Chollet 2017, Deep Learning with Python: a DCGAN for CIFAR-10 frogs (8.5), and a VAE for MNIST (8.4).

The DCGAN has no batch norm. Its tricks: tanh output, LeakyReLU instead of ReLU, dropout in D, and kernel sizes
divisible by the stride (no checkerboard artifacts).
"""

from __future__ import annotations

from torch import Tensor, nn

from sparring.networks import init
from sparring.networks.mlp import FromUnitRange, ToUnitRange
from sparring.networks.noise import Dropout
from sparring.networks.resample import Crop

SLOPE = 0.3
"""Keras's default slope of LeakyReLU."""


class ClampInEval(nn.Module):
    """Clamps to [-1, 1] in evaluation mode; the identity in training mode, so that D sees G's raw output."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same shape; in [-1, 1] in evaluation mode."""
        return x if self.training else x.clamp(-1, 1)


def generator(latent_dim: int, width: int = 128, channels: int = 3, *, unit_range: bool = False) -> nn.Sequential:
    """(B, latent) -> (B, channels, 32, 32) in [-1, 1]; `width` feature maps at 16x16, then twice as many.

    `unit_range`: tanh's output is treated as pixels in [0, 1], so that images range from -3 to 1; in evaluation mode
    they are clamped to [-1, 1].
    """
    doubled = 2 * width
    return init.keras(
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
            *([FromUnitRange(), ClampInEval()] if unit_range else []),
        )
    )


def discriminator(width: int = 128, channels: int = 3, *, unit_range: bool = False) -> nn.Sequential:
    """(B, channels, 32, 32) -> (B, 1) logits: 32 -> 30 -> 14 -> 6 -> 2, no padding.

    `unit_range`: rescales pixels to [0, 1] first.
    """
    return init.keras(
        nn.Sequential(
            *([ToUnitRange()] if unit_range else []),
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


def vae_encoder(latent_dim: int, channels: int = 1) -> nn.Sequential:
    """Chollet 2017, listing 8.23: (B, channels, 28, 28) -> (B, 2 latent)."""
    return init.keras(
        nn.Sequential(
            ToUnitRange(),
            nn.Conv2d(channels, 32, 3, padding=1),
            nn.ReLU(),
            nn.ZeroPad2d((0, 1, 0, 1)),  # Keras's "same" for an even side: pads right and below
            nn.Conv2d(32, 64, 3, stride=2),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64 * 14 * 14, 32),
            nn.ReLU(),
            nn.Linear(32, 2 * latent_dim),
        ),
        heads=2,
    )


def vae_decoder(latent_dim: int, channels: int = 1) -> nn.Sequential:
    """Chollet 2017, listing 8.25: (B, latent) -> (B, channels, 28, 28) logits."""
    return init.keras(
        nn.Sequential(
            nn.Linear(latent_dim, 64 * 14 * 14),
            nn.ReLU(),
            nn.Unflatten(1, (64, 14, 14)),
            nn.ConvTranspose2d(64, 32, 3, stride=2),
            Crop(28),
            nn.ReLU(),
            nn.Conv2d(32, channels, 3, padding=1),
        )
    )
