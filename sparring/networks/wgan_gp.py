"""The networks of Gulrajani et al. 2017 (igul222/improved_wgan_training): MNIST and the CIFAR-10 ResNet.

Initial weights are those of the authors' code (`init.glorot_he`): uniform, zero biases, with He's gain in convolutions;
Glorot's in linear layers, shortcuts of the ResNet and the last convolution of its generator.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from sparring.networks.init import glorot_he
from sparring.networks.mlp import FromUnitRange, ToUnitRange
from sparring.networks.resample import Crop


def mnist_generator(latent_dim: int, width: int = 64, channels: int = 1) -> nn.Sequential:
    """(B, latent) -> (B, channels, 28, 28) in [-1, 1]: 4 -> 8 (cropped to 7) -> 14 -> 28, 5x5, no batch norm.

    Upsampling has TensorFlow's "SAME" padding: of 2 n + 3 rows the first and the last two are cropped.
    """

    def double(wide: int, narrow: int, size: int) -> tuple[nn.Module, nn.Module]:
        return glorot_he(nn.ConvTranspose2d(wide, narrow, 5, stride=2, padding=1)), Crop(size)

    return nn.Sequential(
        glorot_he(nn.Linear(latent_dim, 4 * width * 4 * 4), he=False),
        nn.ReLU(),
        nn.Unflatten(1, (4 * width, 4, 4)),
        *double(4 * width, 2 * width, 7),
        nn.ReLU(),
        *double(2 * width, width, 14),
        nn.ReLU(),
        *double(width, channels, 28),
        nn.Sigmoid(),
        FromUnitRange(),
    )


def mnist_critic(width: int = 64, channels: int = 1) -> nn.Sequential:
    """(B, channels, 28, 28) -> (B, 1): 5x5 convolutions with stride 2, LeakyReLU .2, no norm.

    Downsampling has TensorFlow's "SAME" padding: even sides by one before and two after, 7 by two on both sides.
    """

    def halve(narrow: int, wide: int, padding: int) -> nn.Conv2d:
        return glorot_he(nn.Conv2d(narrow, wide, 5, stride=2, padding=padding))

    return nn.Sequential(
        ToUnitRange(),
        nn.ZeroPad2d((1, 2, 1, 2)),
        halve(channels, width, 0),
        nn.LeakyReLU(0.2),
        nn.ZeroPad2d((1, 2, 1, 2)),
        halve(width, 2 * width, 0),
        nn.LeakyReLU(0.2),
        halve(2 * width, 4 * width, 2),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        glorot_he(nn.Linear(4 * width * 4 * 4, 1), he=False),
    )


class Residual(nn.Module):
    """Pre-activation block: [norm] ReLU conv [norm] ReLU conv, plus a shortcut; nearest-neighbor up, mean-pool down."""

    def __init__(self, narrow: int, wide: int, resize: Literal["up", "down", "none"], *, norm: bool) -> None:
        super().__init__()
        self.resize = resize
        self.norm1 = nn.BatchNorm2d(narrow) if norm else nn.Identity()
        self.conv1 = glorot_he(nn.Conv2d(narrow, wide, 3, padding=1))
        self.norm2 = nn.BatchNorm2d(wide) if norm else nn.Identity()
        self.conv2 = glorot_he(nn.Conv2d(wide, wide, 3, padding=1))
        flat = resize == "none" and narrow == wide
        self.shortcut = nn.Identity() if flat else glorot_he(nn.Conv2d(narrow, wide, 1), he=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, narrow, H, W) -> (B, wide, H, W), or twice or half the size."""
        h, short = F.relu(self.norm1(x)), x
        if self.resize == "up":
            h, short = F.interpolate(h, scale_factor=2), F.interpolate(x, scale_factor=2)
        h, short = self.conv2(F.relu(self.norm2(self.conv1(h)))), self.shortcut(short)
        if self.resize == "down":
            h, short = F.avg_pool2d(h, 2), F.avg_pool2d(short, 2)
        return h + short


class FirstDown(nn.Module):
    """The critic's first block: no activation before the first convolution, pooling before the shortcut's."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1 = glorot_he(nn.Conv2d(channels, width, 3, padding=1))
        self.conv2 = glorot_he(nn.Conv2d(width, width, 3, padding=1))
        self.shortcut = glorot_he(nn.Conv2d(channels, width, 1), he=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, width, H / 2, W / 2)."""
        out: Tensor = F.avg_pool2d(self.conv2(F.relu(self.conv1(x))), 2) + self.shortcut(F.avg_pool2d(x, 2))
        return out


class MeanPool(nn.Module):
    """(B, C, H, W) -> (B, C): the mean over the image."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C)."""
        return x.mean((2, 3))


def resnet_generator(latent_dim: int, width: int = 128, channels: int = 3) -> nn.Sequential:
    """(B, latent) -> (B, channels, 32, 32) in [-1, 1]: three doubling residual blocks with batch norm."""
    return nn.Sequential(
        glorot_he(nn.Linear(latent_dim, width * 4 * 4), he=False),
        nn.Unflatten(1, (width, 4, 4)),
        *[Residual(width, width, "up", norm=True) for _ in range(3)],
        nn.BatchNorm2d(width),
        nn.ReLU(),
        glorot_he(nn.Conv2d(width, channels, 3, padding=1), he=False),
        nn.Tanh(),
    )


def resnet_critic(width: int = 128, channels: int = 3) -> nn.Sequential:
    """(B, channels, 32, 32) -> (B, 1): two halving and two flat residual blocks, no norm, mean over the image."""
    return nn.Sequential(
        FirstDown(channels, width),
        Residual(width, width, "down", norm=False),
        Residual(width, width, "none", norm=False),
        Residual(width, width, "none", norm=False),
        nn.ReLU(),
        MeanPool(),
        glorot_he(nn.Linear(width, 1), he=False),
    )
