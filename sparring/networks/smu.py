"""The networks of the SMU course's frogs from CIFAR-10 (notebook GansWithTorch), after Chollet and Radford et al. 2016.

G upsamples by bilinear interpolation and a convolution, to avoid checkerboard artifacts.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from sparring.errors import SparringError


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


def init(network: nn.Sequential) -> nn.Sequential:
    """Convolutions N(0, .02), batch norm gains N(1, .02), linear layers Glorot and Bengio 2010, eq. 16, bias .01."""
    for layer in network:
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.constant_(layer.bias, 0.01)
    return network


def _final_side(size: int) -> int:
    """The side of the image after four halvings."""
    if size < 16 or size % 16:
        raise SparringError(
            f"the SMU course's networks cannot make {size}x{size} images: --size must be a multiple of 16"
        )
    return size // 16
