"""The networks of an SMU course (CS 8321), after Chollet: GANs for CIFAR-10 frogs, and a VAE for MNIST.

The GANs are from its notebook GansWithTorch, the VAE from 07a. The GANs' G upsamples by bilinear interpolation and a
convolution, to avoid checkerboard artifacts.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from sparring.errors import require_size
from sparring.networks import init
from sparring.networks.mlp import ToUnitRange


def generator(latent_dim: int, channels: int = 3, size: int = 32) -> nn.Sequential:
    """(B, latent) -> (B, channels, size, size) in [-1, 1]; linear up to the first ReLU, except batch norm."""
    start = _final_side(size) * 4
    return nn.Sequential(
        nn.Linear(latent_dim, 128 * start * start),
        nn.Unflatten(1, (128, start, start)),
        nn.BatchNorm2d(128),
        nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.Conv2d(128, 128, 3, padding=1),
        nn.Conv2d(128, 128, 3, padding=1),
        nn.BatchNorm2d(128),
        nn.ReLU(),
        nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.Conv2d(128, 64, 3, padding=1),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.Conv2d(64, channels, 3, padding=1),
        nn.Tanh(),
    )


def discriminator(channels: int = 3, size: int = 32, *, sigmoid: bool = False) -> nn.Sequential:
    """(B, channels, size, size) -> (B, 1) logits, or probabilities with `sigmoid`; batch norm after LeakyReLU."""
    network = _conv_stack(channels, size, nn.BatchNorm2d, slope=0.3)
    return network.append(nn.Sigmoid()) if sigmoid else network


def critic(channels: int = 3, size: int = 32) -> nn.Sequential:
    """(B, channels, size, size) -> (B, 1): the discriminator with layer norm instead of batch norm."""
    return _conv_stack(channels, size, lambda maps: nn.GroupNorm(1, maps), slope=0.2)


def _conv_stack(channels: int, size: int, norm: Callable[[int], nn.Module], *, slope: float) -> nn.Sequential:
    """Four 3x3 convolutions with stride 2 and a linear layer; `slope` of the second LeakyReLU, .2 of the others."""

    def half(inputs: int, outputs: int) -> nn.Conv2d:
        return nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)

    end = _final_side(size)
    return nn.Sequential(
        half(channels, 16),
        nn.LeakyReLU(0.2),
        half(16, 32),
        nn.LeakyReLU(slope),
        norm(32),
        half(32, 64),
        nn.LeakyReLU(0.2),
        norm(64),
        half(64, 128),
        nn.LeakyReLU(0.2),
        norm(128),
        nn.Flatten(),
        nn.Linear(128 * end * end, 1),
    )


def _final_side(size: int) -> int:
    """The side of the image after four halvings."""
    require_size("the SMU course's GAN", size, multiple_of=16)
    return size // 16


def vae_encoder(latent_dim: int, channels: int = 1) -> nn.Sequential:
    """SMU's notebook 07a: (B, channels, 28, 28) -> (B, 2 latent); the layer of 32 units is linear."""
    return init.keras(
        nn.Sequential(
            ToUnitRange(),
            nn.Conv2d(channels, 32, 3, padding=1),
            nn.ReLU(),
            nn.ZeroPad2d((0, 1, 0, 1)),
            nn.Conv2d(32, 64, 3, stride=2),
            nn.ReLU(),
            nn.ZeroPad2d((0, 1, 0, 1)),
            nn.Conv2d(64, 64, 3, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64 * 7 * 7, 32),
            nn.Linear(32, 2 * latent_dim),
        ),
        heads=2,
    )


def vae_decoder(latent_dim: int, channels: int = 1) -> nn.Sequential:
    """SMU's notebook 07a: (B, latent) -> (B, channels, 28, 28) logits; 4x4 kernels with stride 2."""
    return init.keras(
        nn.Sequential(
            nn.Linear(latent_dim, 64 * 7 * 7),
            nn.ReLU(),
            nn.Unflatten(1, (64, 7, 7)),
            nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 32, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, channels, 3, padding=1),
        )
    )
