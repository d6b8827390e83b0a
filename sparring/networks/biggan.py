"""The networks of Brock et al. 2019, "Large Scale GAN Training for High Fidelity Natural Image Synthesis" (BigGAN).

Appendix B and the authors' published code. Every channel count is a multiple of `width`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.errors import SparringError, require_size
from sparring.networks.attention import NonLocal
from sparring.networks.init import orthogonal
from sparring.networks.spectral import SpectralConv2d, SpectralEmbedding, SpectralLinear

GENERATOR: dict[int, tuple[int, ...]] = {
    28: (4, 4, 4),
    32: (4, 4, 4, 4),
    64: (16, 16, 8, 4, 2),
    128: (16, 16, 8, 4, 2, 1),
    256: (16, 16, 8, 8, 4, 2, 1),
}
"""Image size -> channel multipliers before the first block and after each; every block doubles the size."""

DISCRIMINATOR: dict[int, tuple[tuple[int, ...], int]] = {
    28: ((4, 4, 4, 4), 2),
    32: ((4, 4, 4, 4), 2),
    64: ((1, 2, 4, 8, 16), 4),
    128: ((1, 2, 4, 8, 16, 16), 5),
    256: ((1, 2, 4, 8, 8, 16, 16), 6),
}
"""Image size -> channel multipliers, and the number of blocks that halve the size (BigGAN: the first ones)."""

Norm = Callable[[int], nn.Module]
"""Number of channels -> conditional batch norm."""


def check(size: int, attention: int) -> None:
    """Raises SparringError for unsupported image sizes, and for attention at a size that no generator block outputs."""
    require_size("BigGAN", size, [*GENERATOR])
    sizes = [size >> halvings for halvings in reversed(range(len(GENERATOR[size]) - 1))]
    if attention not in (0, *sizes):
        raise SparringError(f"there are no {attention}x{attention} feature maps: choose --attention from {(0, *sizes)}")


class Table(nn.Embedding):
    """(B, classes) one-hot vectors -> (B, channels) rows of the table; mixtures of classes give mixtures of rows."""

    def forward(self, c: Tensor) -> Tensor:
        """(B, classes) weights of the rows -> (B, channels)."""
        return c @ self.weight


class ConditionalBatchNorm(nn.Module):
    """(B, C, H, W), (B, condition) -> (B, C, H, W): batch norm with gain 1 + W c and bias V c.

    linear  condition, channels -> W or V: a linear map without bias, or a Table
    """

    def __init__(self, channels: int, *, condition: int, linear: Callable[[int, int], nn.Module]) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain = linear(condition, channels)
        self.bias = linear(condition, channels)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(B, C, H, W) and (B, condition) -> (B, C, H, W)."""
        gain, bias = 1 + self.gain(condition), self.bias(condition)
        return torch.addcmul(bias[:, :, None, None], self.norm(x), gain[:, :, None, None])


class GeneratorBlock(nn.Module):
    """(B, before, H, W), (B, condition) -> (B, after, 2H, 2W): BN ReLU up conv3 BN ReLU conv3, plus up conv1.

    The shortcut's 1x1 convolution runs before upsampling: the same result at a quarter of the cost.
    """

    def __init__(self, before: int, after: int, norm: Norm, *, attend: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = norm(before), norm(after)
        self.conv1, self.conv2 = SpectralConv2d(before, after, 3), SpectralConv2d(after, after, 3)
        self.shortcut = SpectralConv2d(before, after, 1)
        self.attention = NonLocal(after) if attend else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(B, before, H, W) and (B, condition) -> (B, after, 2H, 2W)."""
        h = F.interpolate(F.relu(self.norm1(x, condition)), scale_factor=2)
        h = self.conv2(F.relu(self.norm2(self.conv1(h), condition)))
        out: Tensor = self.attention(h + F.interpolate(self.shortcut(x), scale_factor=2))
        return out


class Generator(nn.Module):
    """(B, latent), (B,) int64 -> (B, channels, size, size) in [-1, 1].

    embed_dim  length of the shared class embedding. The code is split into equal chunks: the first is the input of
               the first layer, each of the others is concatenated with the embedding for one block's batch norms.
               None: per-class gains and biases in every batch norm, and the whole code is the first layer's input.
    attention  size of the feature maps that get a non-local block; 0: none
    """

    def __init__(
        self,
        latent_dim: int,
        width: int,
        channels: int,
        size: int,
        *,
        classes: int,
        embed_dim: int | None = 128,
        attention: int = 0,
    ) -> None:
        super().__init__()
        check(size, attention)
        maps = [width * multiple for multiple in GENERATOR[size]]
        blocks = len(maps) - 1
        self.classes = classes
        self.embedding = nn.Embedding(classes, embed_dim) if embed_dim else None  # no spectral norm: it degrades G
        self.chunk = _chunk(latent_dim, blocks + 1) if embed_dim else latent_dim
        norm: Norm
        if embed_dim:
            linear = partial(SpectralLinear, bias=False)
            norm = partial(ConditionalBatchNorm, condition=embed_dim + self.chunk, linear=linear)
        else:
            norm = partial(ConditionalBatchNorm, condition=classes, linear=Table)

        start = size >> blocks
        self.linear = SpectralLinear(self.chunk, maps[0] * start**2)
        self.unflatten = nn.Unflatten(1, (maps[0], start, start))
        self.blocks = nn.ModuleList(
            GeneratorBlock(maps[i], maps[i + 1], norm, attend=attention == start << (i + 1)) for i in range(blocks)
        )
        self.ending = ToImage(maps[-1], channels)
        orthogonal(self)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """(B, latent) codes and (B,) int64 classes -> (B, channels, size, size) in [-1, 1]."""
        return self.from_embedding(z, self.embed(y))

    def embed(self, y: Tensor) -> Tensor:
        """(B,) int64 -> (B, embed_dim) class embeddings, or (B, classes) one-hot vectors without embedding."""
        if self.embedding is None:
            return F.one_hot(y, self.classes).to(self.linear.weight)
        out: Tensor = self.embedding(y)
        return out

    def from_embedding(self, z: Tensor, e: Tensor) -> Tensor:
        """(B, latent), (B, embed_dim) or (B, classes) -> images; allows interpolation between classes."""
        first, *others = z.split(self.chunk, dim=1)
        conditions = [torch.cat([e, other], dim=1) for other in others] or [e] * len(self.blocks)
        h = self.unflatten(self.linear(first))
        for block, condition in zip(self.blocks, conditions, strict=True):
            h = block(h, condition)
        out: Tensor = self.ending(h)
        return out


def _chunk(latent_dim: int, chunks: int) -> int:
    """The length of a chunk when a code is split into `chunks` equal parts."""
    if latent_dim % chunks:
        fewer, more = latent_dim // chunks * chunks, (latent_dim // chunks + 1) * chunks
        raise SparringError(
            f"--latent-dim {latent_dim} is not a multiple of {chunks} (one chunk for the first layer, one per block): "
            f"choose --latent-dim {f'{fewer} or {more}' if fewer else more}"
        )
    return latent_dim // chunks


class ToImage(nn.Sequential):
    """(B, width, H, W) -> (B, channels, H, W) in [-1, 1]: BN ReLU conv3 tanh."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__(nn.BatchNorm2d(width), nn.ReLU(), SpectralConv2d(width, channels, 3), nn.Tanh())


class DiscriminatorBlock(nn.Module):
    """(B, before, H, W) -> (B, after, H, W), half the size if `halve`: ReLU conv3 ReLU conv3 pool, plus pool conv1.

    first  the input is an image: no ReLU before the first convolution

    The shortcut's 1x1 convolution runs after mean pooling: the same result at a quarter of the cost.
    """

    def __init__(self, before: int, after: int, *, first: bool, halve: bool, attend: bool) -> None:
        super().__init__()
        self.first = first
        self.conv1, self.conv2 = SpectralConv2d(before, after, 3), SpectralConv2d(after, after, 3)
        self.resize = nn.AvgPool2d(2) if halve else nn.Identity()
        self.shortcut = SpectralConv2d(before, after, 1) if halve or before != after else nn.Identity()
        self.attention = NonLocal(after) if attend else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, before, H, W) -> (B, after, H, W), or half the size."""
        h = self.conv1(x if self.first else F.relu(x))
        h = self.resize(self.conv2(F.relu(h)))
        out: Tensor = self.attention(h + self.shortcut(self.resize(x)))
        return out


class ProjectionHead(nn.Module):
    """Miyato and Koyama 2018, figure 1d: (B, C, H, W), (B,) int64 -> (B, 1) scores w.h + b + <e_y, h>.

    h is the sum of the rectified features over the image.
    """

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.linear = SpectralLinear(features, 1)
        self.embedding = SpectralEmbedding(classes, features)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(B, C, H, W) features and (B,) int64 classes -> (B, 1) scores."""
        h = F.relu(x).sum((2, 3))
        out: Tensor = self.linear(h) + (self.embedding(y) * h).sum(1, keepdim=True)
        return out


class Discriminator(nn.Module):
    """(B, channels, size, size), (B,) int64 -> (B, 1) scores.

    attention  size of the feature maps that get a non-local block; 0 or the image size: none. (For 32x32 images the
               authors' table says 16 for all four blocks, although maps are 8x8 from the second on: with attention
               16 they have four non-local blocks, we have one.)
    """

    def __init__(self, width: int, channels: int, size: int, *, classes: int, attention: int = 0) -> None:
        super().__init__()
        check(size, attention)
        multiples, halvings = DISCRIMINATOR[size]
        maps = [channels, *(width * multiple for multiple in multiples)]
        self.blocks = nn.Sequential(
            *(
                DiscriminatorBlock(
                    maps[i],
                    maps[i + 1],
                    first=i == 0,
                    halve=i < halvings,
                    attend=attention == size >> (i + 1),
                )
                for i in range(len(multiples))
            )
        )
        self.ending = ProjectionHead(maps[-1], classes)
        orthogonal(self)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(B, channels, size, size) images in [-1, 1] and (B,) int64 classes -> (B, 1) scores."""
        out: Tensor = self.ending(self.blocks(x), y)
        return out
