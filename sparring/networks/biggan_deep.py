"""The networks of BigGAN-deep (Brock et al. 2019, appendix B): bottleneck blocks, two per resolution.

Shortcuts drop or append channels and pass the others through unchanged.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.errors import SparringError
from sparring.networks.attention import NonLocal
from sparring.networks.biggan import (
    DISCRIMINATOR,
    GENERATOR,
    ConditionalBatchNorm,
    Norm,
    ProjectionHead,
    ToImage,
    check,
)
from sparring.networks.init import orthogonal
from sparring.networks.spectral import SpectralConv2d, SpectralLinear

RATIO = 4
"""Reduction of channels in the two 3x3 convolutions of a bottleneck."""


class GeneratorBlock(nn.Module):
    """(B, before, H, W), (B, condition) -> (B, after, H, W), twice the size if `double`; conv 1, 3, 3, 1.

    Each convolution follows BN ReLU; upsampling before the first 3x3. The shortcut drops the last channels.
    """

    def __init__(self, before: int, after: int, norm: Norm, *, double: bool, attend: bool) -> None:
        super().__init__()
        self.after = after
        inner = before // RATIO
        self.norm1, self.norm2, self.norm3, self.norm4 = norm(before), norm(inner), norm(inner), norm(inner)
        self.narrow = SpectralConv2d(before, inner, 1)
        self.conv1, self.conv2 = SpectralConv2d(inner, inner, 3), SpectralConv2d(inner, inner, 3)
        self.widen = SpectralConv2d(inner, after, 1)
        self.resize = nn.Upsample(scale_factor=2) if double else nn.Identity()
        self.attention = NonLocal(after) if attend else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(B, before, H, W) and (B, condition) -> (B, after, H, W), or twice the size."""
        h = self.narrow(F.relu(self.norm1(x, condition)))
        h = self.conv1(self.resize(F.relu(self.norm2(h, condition))))
        h = self.conv2(F.relu(self.norm3(h, condition)))
        h = self.widen(F.relu(self.norm4(h, condition)))
        out: Tensor = self.attention(h + self.resize(x[:, : self.after]))
        return out


class Generator(nn.Module):
    """(B, latent), (B,) int64 -> (B, channels, size, size) in [-1, 1].

    The code and the class embedding (`embed_dim`) are the input of the first layer and of every batch norm.
    attention as in BigGAN.
    """

    def __init__(
        self,
        latent_dim: int,
        width: int,
        channels: int,
        size: int,
        *,
        classes: int,
        embed_dim: int = 128,
        attention: int = 0,
    ) -> None:
        super().__init__()
        check(size, attention)
        _check_width(width, min(GENERATOR[size][:-1]))
        maps = [width * multiple for multiple in GENERATOR[size]]
        stages = len(maps) - 1
        self.embedding = nn.Embedding(classes, embed_dim)
        linear = partial(SpectralLinear, bias=False)
        norm: Norm = partial(ConditionalBatchNorm, condition=embed_dim + latent_dim, linear=linear)

        start = size >> stages
        self.linear = SpectralLinear(embed_dim + latent_dim, maps[0] * start**2)
        self.unflatten = nn.Unflatten(1, (maps[0], start, start))
        blocks: list[nn.Module] = []
        for i in range(stages):
            blocks += [
                GeneratorBlock(maps[i], maps[i], norm, double=False, attend=False),
                GeneratorBlock(maps[i], maps[i + 1], norm, double=True, attend=attention == start << (i + 1)),
            ]
        self.blocks = nn.ModuleList(blocks)
        self.ending = ToImage(maps[-1], channels)
        orthogonal(self)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """(B, latent) codes and (B,) int64 classes -> (B, channels, size, size) in [-1, 1]."""
        return self.from_embedding(z, self.embed(y))

    def embed(self, y: Tensor) -> Tensor:
        """(B,) int64 -> (B, embed_dim) class embeddings."""
        out: Tensor = self.embedding(y)
        return out

    def from_embedding(self, z: Tensor, e: Tensor) -> Tensor:
        """(B, latent), (B, embed_dim) -> images; allows interpolation between classes."""
        condition = torch.cat([e, z], dim=1)
        h = self.unflatten(self.linear(condition))
        for block in self.blocks:
            h = block(h, condition)
        out: Tensor = self.ending(h)
        return out


class DiscriminatorBlock(nn.Module):
    """(B, before, H, W) -> (B, after, H, W), half the size if `halve`; ReLU before conv 1, 3, 3, 1.

    Mean pooling before the last convolution. The shortcut pools and appends the missing channels, a 1x1 convolution of
    the existing ones.
    """

    def __init__(self, before: int, after: int, *, halve: bool, attend: bool) -> None:
        super().__init__()
        inner = after // RATIO
        self.narrow = SpectralConv2d(before, inner, 1)
        self.conv1, self.conv2 = SpectralConv2d(inner, inner, 3), SpectralConv2d(inner, inner, 3)
        self.widen = SpectralConv2d(inner, after, 1)
        self.append = SpectralConv2d(before, after - before, 1) if after > before else None
        self.resize = nn.AvgPool2d(2) if halve else nn.Identity()
        self.attention = NonLocal(after) if attend else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, before, H, W) -> (B, after, H, W), or half the size."""
        h = self.conv1(F.relu(self.narrow(F.relu(x))))
        h = self.widen(self.resize(F.relu(self.conv2(F.relu(h)))))
        short = self.resize(x)
        if self.append is not None:
            short = torch.cat([short, self.append(short)], dim=1)
        out: Tensor = self.attention(h + short)
        return out


class Discriminator(nn.Module):
    """(B, channels, size, size), (B,) int64 -> (B, 1) scores; attention as in BigGAN."""

    def __init__(self, width: int, channels: int, size: int, *, classes: int, attention: int = 0) -> None:
        super().__init__()
        check(size, attention)
        multiples, halvings = DISCRIMINATOR[size]
        _check_width(width, min(multiples[1:]))
        maps = [width * multiple for multiple in multiples]
        layers: list[nn.Module] = [SpectralConv2d(channels, maps[0], 3)]
        for i in range(len(maps) - 1):
            layers += [
                DiscriminatorBlock(maps[i], maps[i + 1], halve=i < halvings, attend=False),
                DiscriminatorBlock(maps[i + 1], maps[i + 1], halve=False, attend=attention == size >> (i + 1)),
            ]
        self.blocks = nn.Sequential(*layers)
        self.ending = ProjectionHead(maps[-1], classes)
        orthogonal(self)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(B, channels, size, size) images in [-1, 1] and (B,) int64 classes -> (B, 1) scores."""
        out: Tensor = self.ending(self.blocks(x), y)
        return out


def _check_width(width: int, narrowest: int) -> None:
    """Raises SparringError if the narrowest bottleneck would have no channels."""
    if width * narrowest < RATIO:
        raise SparringError(
            f"--width {width} leaves a bottleneck without channels: choose {-(-RATIO // narrowest)} or more"
        )
