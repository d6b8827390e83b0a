"""StyleALAE (Pidhorskyi et al. 2020, section 4): StyleGAN's generator, and an encoder that is its mirror image.

The networks grow (Karras et al. 2018). Level 0 makes 4x4 images, each further level doubles the side. While training
both networks work at the present size: G gives such images, E takes them, and `E.fade` makes them of real ones. In
evaluation mode G gives and E takes images of the full size.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.errors import SparringError
from sparring.networks.equalized import Conv2d, Linear
from sparring.networks.noise import StochasticLayer

SIZES = (8, 16, 32, 64, 128, 256, 512, 1024)


def levels_of(size: int) -> int:
    """How many levels lie between 4x4 and size x size, both included."""
    if size not in SIZES:
        raise SparringError(f"StyleALAE's networks cannot make {size}x{size} images: choose --size from {SIZES}")
    return SIZES.index(size) + 2


def level_and_blend(played: int, levels: int, rounds_per_level: int) -> tuple[int, float]:
    """The level after so many rounds, and how much of its layers counts: on half a cosine to 1 at its half-time.

    With 0 rounds per level the networks are full-grown from the start.
    """
    if not rounds_per_level:
        return levels - 1, 1.0
    level = min(played // rounds_per_level, levels - 1)
    share = (played - level * rounds_per_level) / (rounds_per_level / 2)
    return level, (1 - math.cos(math.pi * share)) / 2 if level and share < 1 else 1.0


class ProgressiveSchedule(nn.Module):
    """How far a network has grown; saved with its weights, and copied with their average.

    The number stays on the CPU wherever the weights go: to look at it there is to wait for nothing.
    """

    reached: Tensor

    def __init__(self, levels: int, rounds_per_level: int) -> None:
        super().__init__()
        self.levels, self.rounds_per_level = levels, rounds_per_level
        self.register_buffer("reached", torch.zeros((), dtype=torch.int64))
        self.round_index = 0  # the system keeps it up to date

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "round_index":
            self.reached.fill_(value)

    def _apply(self, *args: Any, **kwargs: Any) -> ProgressiveSchedule:
        super()._apply(*args, **kwargs)
        self.reached = self.reached.cpu()
        return self

    def now(self) -> tuple[int, float]:
        """The present level, and how much of its layers counts, in [0, 1]."""
        return level_and_blend(int(self.reached), self.levels, self.rounds_per_level)


def maps(level: int, levels: int, width: int, max_channels: int) -> int:
    """Feature maps at a level: `width` at the last, twice as many at each before it, `max_channels` at most."""
    return min(max_channels, width << (levels - 1 - level))


def statistics(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """(B, C, H, W) -> (B, C, 1, 1) means and deviations of every map, in float32 or better."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    variance, mean = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
    return mean, (variance + eps).sqrt()


class Blur(nn.Module):
    """(B, C, H, W) -> (B, C, H, W), smoothed by [1, 2, 1] / 4 in both directions."""

    kernel: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        line = torch.tensor([1.0, 2.0, 1.0]) / 4
        kernel = torch.outer(line, line).expand(channels, 1, 3, 3).clone()
        self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel.to(x.dtype), padding=1, groups=x.shape[1])


class StyleLayer(StochasticLayer):
    """Noise, bias, LeakyReLU .2, then AdaIN (Huang and Belongie 2017): a style says each map's deviation and mean.

    Every image has noise of its own; in the first layer of the authors' code a batch shares it.
    """

    batchwise: ClassVar[str] = "noise in layers"

    def __init__(self, latent_dim: int, channels: int) -> None:
        super().__init__()
        self.noise, self.bias = (nn.Parameter(torch.zeros(channels, 1, 1)) for _ in range(2))
        self.style = Linear(latent_dim, 2 * channels, gain=1.0)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        x = F.leaky_relu(x + self.noise * self.normal(x[:, :1]) + self.bias, 0.2)
        mean, deviation = statistics(x, 1e-8)
        scale, shift = self.style(w)[:, :, None, None].chunk(2, 1)
        return (x - mean) / deviation * (1 + scale) + shift


class SynthesisBlock(nn.Module):
    """A level of G: (B, narrow, H, W) and two styles -> (B, wide, 2 H, 2 W). The first level does not double."""

    def __init__(self, latent_dim: int, narrow: int, wide: int, *, doubles: bool) -> None:
        super().__init__()
        up = [Conv2d(narrow, wide, 3, resize="up", bias=False), Blur(wide)] if doubles else []
        self.widen = nn.Sequential(*up)
        self.first = StyleLayer(latent_dim, wide)
        self.conv = Conv2d(wide, wide, 3, bias=False)
        self.second = StyleLayer(latent_dim, wide)

    def forward(self, x: Tensor, one: Tensor, other: Tensor) -> Tensor:
        return self.second(self.conv(self.first(self.widen(x), one)), other)


class Generator(nn.Module):
    """G: (B, latent) codes w, or (B, layers, latent) styles, one a layer -> (B, channels, S, S), not bounded.

    width, max_channels  feature maps next to the image, and at most
    rounds_per_level  rounds before the next level; 0: full-grown from the start
    """

    def __init__(
        self, latent_dim: int, width: int, max_channels: int, channels: int, size: int, *, rounds_per_level: int
    ) -> None:
        super().__init__()
        self.size, levels = size, levels_of(size)
        self.growth = ProgressiveSchedule(levels, rounds_per_level)
        wide = [maps(level, levels, width, max_channels) for level in range(levels)]
        self.start = nn.Parameter(torch.ones(1, wide[0], 4, 4))
        self.blocks = nn.ModuleList(
            SynthesisBlock(latent_dim, wide[max(level - 1, 0)], wide[level], doubles=level > 0)
            for level in range(levels)
        )
        self.to_image = nn.ModuleList(Conv2d(n, channels, 1, gain=0.03) for n in wide)

    @property
    def layers(self) -> int:
        """How many layers take a style at present."""
        return 2 * (self.growth.now()[0] + 1)

    @property
    def growing(self) -> bool:
        """Whether the last level does not count in full yet."""
        return self.growth.now() != (self.growth.levels - 1, 1.0)

    def forward(self, w: Tensor) -> Tensor:
        level, blend = self.growth.now()
        styles = w.unbind(1) if w.ndim == 3 else [w] * self.layers
        x = before = self.start.expand(len(w), -1, -1, -1)
        for block, one, other in zip(self.blocks, styles[::2], styles[1::2], strict=False):
            before, x = x, block(x, one, other)
        image = self.to_image[level](x)
        if blend < 1:
            image = torch.lerp(F.interpolate(self.to_image[level - 1](before), scale_factor=2), image, blend)
        return image if self.training else F.interpolate(image, self.size)


class EncoderBlock(nn.Module):
    """A level of E: (B, narrow, H, W) -> (B, wide, H / 2, W / 2), and the statistics that instance norm takes away.

    Those are (B, 2 narrow + 2 wide): means and deviations after the first and after the second convolution. The
    authors' deviations have no epsilon, ours 1e-8 under the root: else the gradient of a constant map is no number.
    """

    def __init__(self, narrow: int, wide: int) -> None:
        super().__init__()
        self.conv = Conv2d(narrow, narrow, 3)
        self.widen = nn.Sequential(Blur(narrow), Conv2d(narrow, wide, 3, resize="down"))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        taken = []
        for layer in (self.conv, self.widen):
            x = F.leaky_relu(layer(x), 0.2)
            mean, deviation = statistics(x, 1e-8)
            x = (x - mean) / (deviation.square() + 1e-5).sqrt()
            taken += [mean, deviation]
        return x, torch.cat(taken, 1).flatten(1)


class StatsEncoder(nn.Module):
    """(B, channels, S, S) -> (B, N): the statistics of every layer at present, from the smallest images up.

    Images become maps by a 1x1 convolution and LeakyReLU .2 twice, which is .04 once, as in the authors' code.
    """

    def __init__(self, width: int, max_channels: int, channels: int, size: int, *, rounds_per_level: int) -> None:
        super().__init__()
        levels = levels_of(size)
        self.growth = ProgressiveSchedule(levels, rounds_per_level)
        wide = [maps(level, levels, width, max_channels) for level in range(-1, levels)]
        self.blocks = nn.ModuleList(EncoderBlock(wide[level + 1], wide[level]) for level in range(levels))
        self.from_image = nn.ModuleList(Conv2d(channels, n, 1) for n in wide[1:])

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            x = self.fade(x)
        level, blend = self.growth.now()
        h, found = self.blocks[level](F.leaky_relu(self.from_image[level](x), 0.04))
        if blend < 1:
            skipped = F.leaky_relu(self.from_image[level - 1](F.avg_pool2d(x, 2)), 0.04)
            h = blend * h + (1 - blend) * skipped
        every = [found]
        for block in reversed(self.blocks[:level]):
            h, found = block(h)
            every.insert(0, found)
        return torch.cat(every, 1)

    def fade(self, x: Tensor) -> Tensor:
        """(B, C, S, S) images of the full size -> of the present one; a new level's details come in slowly."""
        level, blend = self.growth.now()
        x = F.avg_pool2d(x, x.shape[2] // (4 << level))
        return x if blend == 1 else torch.lerp(F.interpolate(F.avg_pool2d(x, 2), scale_factor=2), x, blend)


class Encoder(nn.Module):
    """E: (B, channels, S, S) -> (B, latent) codes w: the sum of linear maps of every layer's statistics.

    Those of a new level come in slowly, biases included.

    features  (B, channels, S, S) -> (B, N), those statistics; N grows
    width, max_channels, rounds_per_level  as in Generator
    """

    def __init__(
        self, latent_dim: int, width: int, max_channels: int, channels: int, size: int, *, rounds_per_level: int
    ) -> None:
        super().__init__()
        self.features = StatsEncoder(width, max_channels, channels, size, rounds_per_level=rounds_per_level)
        levels = levels_of(size)
        wide = [maps(level, levels, width, max_channels) for level in range(-1, levels)]
        self.sizes = [2 * n for coarse, fine in pairwise(wide) for n in (fine, coarse)]
        self.styles = nn.ModuleList(Linear(n, latent_dim) for n in self.sizes)

    def fade(self, x: Tensor) -> Tensor:
        """(B, C, S, S) real images of the full size -> what E takes at present, while training."""
        return self.features.fade(x)

    def forward(self, x: Tensor) -> Tensor:
        level, blend = self.features.growth.now()
        present = self.features(x).split(self.sizes[: 2 * (level + 1)], 1)
        codes = [linear(part) for linear, part in zip(self.styles, present, strict=False)]
        return torch.stack([*codes[:-2], *(blend * code for code in codes[-2:])]).sum(0)
