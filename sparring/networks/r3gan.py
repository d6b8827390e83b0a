"""The networks of Huang et al. 2024 (R3GAN): grouped bottleneck residual blocks, no normalization anywhere."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.errors import SparringError, require_size
from sparring.networks.init import lecun_normal

SIZES = (16, 32, 64, 128, 256)
SLOPE = 0.2
GAIN = math.sqrt(2 / (1 + SLOPE**2))


class Activation(nn.Module):
    """Adds a bias to each channel, then LeakyReLU .2: the only place with biases."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> the same shape."""
        return F.leaky_relu(x + self.bias.view(-1, 1, 1), SLOPE)


class Block(nn.Module):
    """x + W3 lrelu(W2 lrelu(W1 x + b1) + b2): 1x1, grouped 3x3, 1x1; W3 starts at 0 (identity)."""

    def __init__(self, width: int, groups: int, blocks: int, expansion: int = 2) -> None:
        super().__init__()
        wide = width * expansion
        gain = GAIN * blocks**-0.25  # blocks in the whole network; keeps the variance of the sum
        self.widen = lecun_normal(nn.Conv2d(width, wide, 1, bias=False), gain)
        self.spread = lecun_normal(nn.Conv2d(wide, wide, 3, padding=1, groups=groups, bias=False), gain)
        self.narrow = nn.Conv2d(wide, width, 1, bias=False)
        nn.init.zeros_(self.narrow.weight)
        self.first, self.second = Activation(wide), Activation(wide)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) -> the same shape."""
        out: Tensor = x + self.narrow(self.second(self.spread(self.first(self.widen(x)))))
        return out


class Resample(nn.Module):
    """Up- or downsampling by 2 with the smoothing kernel [1, 3, 3, 1]."""

    kernel: Tensor

    def __init__(self, width: int, *, up: bool) -> None:
        super().__init__()
        self.up = up
        line = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        kernel = torch.outer(line, line) * (4 if up else 1)
        self.register_buffer("kernel", kernel.expand(width, 1, 4, 4).clone(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) -> (B, width, 2 H, 2 W), or (B, width, H / 2, W / 2)."""
        kernel = self.kernel.to(x.dtype)
        resample = F.conv_transpose2d if self.up else F.conv2d
        return resample(x, kernel, stride=2, padding=1, groups=x.shape[1])


class LearnedBasis(nn.Module):
    """(B, latent) -> (B, width, 4, 4): a learned 4x4 pattern per channel, scaled by a linear map of the code."""

    def __init__(self, latent_dim: int, width: int) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.randn(width, 4, 4))
        self.linear = lecun_normal(nn.Linear(latent_dim, width, bias=False))

    def forward(self, z: Tensor) -> Tensor:
        """(B, latent) -> (B, width, 4, 4)."""
        out: Tensor = self.basis * self.linear(z)[:, :, None, None]
        return out


def _stages(size: int, width: int, groups: int) -> int:
    require_size("R3GAN", size, SIZES)
    if 2 * width % groups:
        raise SparringError(f"width {width}: twice the width must be a multiple of the {groups} groups")
    return SIZES.index(size) + 3


def generator(latent_dim: int, width: int, groups: int, blocks: int, channels: int, size: int) -> nn.Sequential:
    """(B, latent) -> (B, channels, size, size), about [-1, 1], unbounded; `blocks` blocks per resolution."""
    stages = _stages(size, width, groups)
    layers: list[nn.Module] = [LearnedBasis(latent_dim, width)]
    for stage in range(stages):
        layers += [Resample(width, up=True)] if stage else []
        layers += [Block(width, groups, stages * blocks) for _ in range(blocks)]
    return nn.Sequential(*layers, lecun_normal(nn.Conv2d(width, channels, 1, bias=False)))


def discriminator(width: int, groups: int, blocks: int, channels: int, size: int) -> nn.Sequential:
    """(B, channels, size, size) -> (B, 1) logits: mirrors G, ending in a depthwise 4x4 and a linear layer."""
    stages = _stages(size, width, groups)
    layers: list[nn.Module] = [lecun_normal(nn.Conv2d(channels, width, 1, bias=False))]
    for stage in range(stages):
        layers += [Resample(width, up=False)] if stage else []
        layers += [Block(width, groups, stages * blocks) for _ in range(blocks)]
    ending = lecun_normal(nn.Conv2d(width, width, 4, groups=width, bias=False))
    return nn.Sequential(*layers, ending, nn.Flatten(), lecun_normal(nn.Linear(width, 1, bias=False)))
