"""StyleALAE (Pidhorskyi et al. 2020, section 4): StyleGAN's generator, and an encoder that mirrors it.

Both networks grow progressively (Karras et al. 2018): level 0 has 4x4 images, each further level doubles the side. In
training mode they work at the current size, to which `E.fade` reduces real images. In evaluation mode G's output and
E's input have the full size.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.errors import require_size
from sparring.networks.equalized import Conv2d, Linear
from sparring.networks.noise import StochasticLayer
from sparring.networks.scheduled import Scheduled

SIZES = (8, 16, 32, 64, 128, 256, 512, 1024)


def levels_of(size: int) -> int:
    """Number of levels from 4x4 to size x size, inclusive."""
    require_size("StyleALAE", size, SIZES)
    return SIZES.index(size) + 2


def level_and_blend(played: int, levels: int, rounds_per_level: int) -> tuple[int, float]:
    """The level after `played` rounds, and its blending weight, which rises to 1 in the first half of the level.

    With 0 rounds per level the networks have full size from the start.
    """
    if not rounds_per_level:
        return levels - 1, 1.0
    level = min(played // rounds_per_level, levels - 1)
    share = (played - level * rounds_per_level) / (rounds_per_level / 2)
    return level, (1 - math.cos(math.pi * share)) / 2 if level and share < 1 else 1.0


class ProgressiveSchedule(Scheduled):
    """The current level of a progressively grown network, saved with its weights."""

    def __init__(self, levels: int, rounds_per_level: int) -> None:
        super().__init__()
        self.levels, self.rounds_per_level = levels, rounds_per_level

    def get_extra_state(self) -> Tensor:
        """The round, as a tensor like all weights."""
        return torch.tensor(self.round_index)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the round."""
        self.round_index = int(state)

    def now(self) -> tuple[int, float]:
        """The current level and its blending weight in [0, 1]."""
        return level_and_blend(self.round_index, self.levels, self.rounds_per_level)


def maps(level: int, levels: int, width: int, max_channels: int) -> int:
    """Channels at a level: `width` at the last, doubling toward the first, at most `max_channels`."""
    return min(max_channels, width << (levels - 1 - level))


def statistics(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """(B, C, H, W) -> (B, C, 1, 1) means and standard deviations of every channel, in float32 or float64."""
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
        """(B, channels, H, W) -> the same shape; zero padding at the border."""
        return F.conv2d(x, self.kernel.to(x.dtype), padding=1, groups=x.shape[1])


class StyleLayer(StochasticLayer):
    """Noise, bias, LeakyReLU .2, then AdaIN (Huang and Belongie 2017): a style sets each channel's deviation and mean.

    Noise is drawn per image; in the first layer of the authors' code a batch shares it.
    """

    batchwise: ClassVar[str] = "noise in layers"

    def __init__(self, latent_dim: int, channels: int) -> None:
        super().__init__()
        self.noise, self.bias = (nn.Parameter(torch.zeros(channels, 1, 1)) for _ in range(2))
        self.style = Linear(latent_dim, 2 * channels, gain=1.0)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """(B, channels, H, W) maps and (B, latent) styles -> (B, channels, H, W)."""
        x = F.leaky_relu(x + self.noise * self.normal(x[:, :1]) + self.bias, 0.2)
        mean, deviation = statistics(x, 1e-8)
        scale, shift = self.style(w)[:, :, None, None].chunk(2, 1)
        out: Tensor = (x - mean) / deviation * (1 + scale) + shift
        return out


class SynthesisBlock(nn.Module):
    """A level of G: (B, inputs, H, W) and two styles -> (B, outputs, 2 H, 2 W). The first level does not upsample."""

    def __init__(self, latent_dim: int, inputs: int, outputs: int, *, doubles: bool) -> None:
        super().__init__()
        up = [Conv2d(inputs, outputs, 3, resize="up", bias=False), Blur(outputs)] if doubles else []
        self.widen = nn.Sequential(*up)
        self.first = StyleLayer(latent_dim, outputs)
        self.conv = Conv2d(outputs, outputs, 3, bias=False)
        self.second = StyleLayer(latent_dim, outputs)

    def forward(self, x: Tensor, style1: Tensor, style2: Tensor) -> Tensor:
        """(B, inputs, H, W) maps and two (B, latent) styles -> (B, outputs, 2 H, 2 W)."""
        out: Tensor = self.second(self.conv(self.first(self.widen(x), style1)), style2)
        return out


class Generator(nn.Module):
    """G: (B, latent) codes w, or (B, layers, latent) styles, one per layer -> (B, channels, S, S), unbounded.

    width, max_channels  channels at the last level, and maximum
    rounds_per_level  rounds per level; 0: full size from the start
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
        """Current number of layers that take a style."""
        return 2 * (self.growth.now()[0] + 1)

    @property
    def growing(self) -> bool:
        """Whether the last level does not count in full yet."""
        return self.growth.now() != (self.growth.levels - 1, 1.0)

    def forward(self, w: Tensor) -> Tensor:
        """(B, latent) or (B, layers, latent) -> (B, channels, s, s): the current size in training mode, else S."""
        level, blend = self.growth.now()
        styles = w.unbind(1) if w.ndim == 3 else [w] * self.layers
        x = before = self.start.expand(len(w), -1, -1, -1)
        for block, style1, style2 in zip(self.blocks, styles[::2], styles[1::2], strict=False):
            before, x = x, block(x, style1, style2)
        image = self.to_image[level](x)
        if blend < 1:
            image = torch.lerp(F.interpolate(self.to_image[level - 1](before), scale_factor=2), image, blend)
        return image if self.training else F.interpolate(image, self.size)


class EncoderBlock(nn.Module):
    """A level of E: (B, inputs, H, W) -> (B, outputs, H / 2, W / 2), and the statistics that instance norm removes.

    These are (B, 2 inputs + 2 outputs): means and deviations after both convolutions. Our deviations have an epsilon of
    1e-8 under the root, which the authors omit: it prevents NaN gradients of constant maps.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = Conv2d(inputs, inputs, 3)
        self.widen = nn.Sequential(Blur(inputs), Conv2d(inputs, outputs, 3, resize="down"))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, inputs, H, W) -> (B, outputs, H / 2, W / 2) and (B, 2 inputs + 2 outputs) statistics."""
        stats = []
        for layer in (self.conv, self.widen):
            x = F.leaky_relu(layer(x), 0.2)
            mean, deviation = statistics(x, 1e-8)
            x = (x - mean) / (deviation.square() + 1e-5).sqrt()
            stats += [mean, deviation]
        return x, torch.cat(stats, 1).flatten(1)


class StatsEncoder(nn.Module):
    """(B, channels, S, S) -> (B, N): the statistics of all current layers, from the smallest images up.

    Images pass a 1x1 convolution and LeakyReLU .2 twice (.04), as in the authors' code.
    """

    def __init__(self, width: int, max_channels: int, channels: int, size: int, *, rounds_per_level: int) -> None:
        super().__init__()
        levels = levels_of(size)
        self.growth = ProgressiveSchedule(levels, rounds_per_level)
        wide = [maps(level, levels, width, max_channels) for level in range(-1, levels)]
        self.blocks = nn.ModuleList(EncoderBlock(wide[level + 1], wide[level]) for level in range(levels))
        self.from_image = nn.ModuleList(Conv2d(channels, n, 1) for n in wide[1:])

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, s, s) -> (B, N): images of the current size in training mode, of the full size else."""
        if not self.training:
            x = self.fade(x)
        level, blend = self.growth.now()
        h, stats = self.blocks[level](F.leaky_relu(self.from_image[level](x), 0.04))
        if blend < 1:
            skipped = F.leaky_relu(self.from_image[level - 1](F.avg_pool2d(x, 2)), 0.04)
            h = blend * h + (1 - blend) * skipped
        all_stats = [stats]
        for block in reversed(self.blocks[:level]):
            h, stats = block(h)
            all_stats.insert(0, stats)
        return torch.cat(all_stats, 1)

    def fade(self, x: Tensor) -> Tensor:
        """(B, C, S, S) images of the full size -> the current size; details of a new level are blended in."""
        level, blend = self.growth.now()
        x = F.avg_pool2d(x, x.shape[2] // (4 << level))
        return x if blend == 1 else torch.lerp(F.interpolate(F.avg_pool2d(x, 2), scale_factor=2), x, blend)


class Encoder(nn.Module):
    """E: (B, channels, S, S) -> (B, latent) codes w: the sum of linear maps of every layer's statistics.

    Those of a new level are blended in, including biases.

    features  (B, channels, S, S) -> (B, N) statistics; N grows with the level
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
        """(B, C, S, S) real images of the full size -> E's current input in training mode."""
        return self.features.fade(x)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, s, s) -> (B, latent): images of the current size in training mode, of the full size else."""
        level, blend = self.features.growth.now()
        stats = self.features(x).split(self.sizes[: 2 * (level + 1)], 1)
        codes = [linear(part) for linear, part in zip(self.styles, stats, strict=False)]
        return torch.stack([*codes[:-2], *(blend * code for code in codes[-2:])]).sum(0)
