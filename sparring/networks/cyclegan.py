"""Zhu et al. 2017 (CycleGAN), appendix 7.2: Johnson's generator with residual blocks, Isola's patch discriminator.

Initial weights are those of the authors' code: N(0, .02^2), biases 0.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.networks import init

MIN_SIZE = {1: 8, 2: 12, 3: 24}
"""Layers of the discriminator -> minimal image size."""

FIT_IMAGES = 1000
"""Number of images of a domain, evenly spaced, that ScaleMatch is fitted to."""


class Residual(nn.Module):
    """Rk: two 3x3 convolutions with reflection padding and instance norm, plus the input; (B, channels, H, W)."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(maps, maps, 3),
            nn.InstanceNorm2d(maps),
            nn.ReLU(inplace=True),
            nn.ReflectionPad2d(1),
            nn.Conv2d(maps, maps, 3),
            nn.InstanceNorm2d(maps),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, maps, H, W) -> the same shape; H and W are at least 2."""
        out: Tensor = x + self.branch(x)
        return out


class ResidualOutput(nn.Module):
    """(B, C, H, W) in [-1, 1] -> tanh(body(x) + artanh(.95 x)): close to the identity where the body is 0."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] -> the same shape in [-1, 1]."""
        return torch.tanh(self.body(x) + torch.atanh(0.95 * x.float()))


class ScaleMatch(nn.Module):
    """(B, C, H, W) -> the same shape: zoomed about its center by `factor`, with border padding."""

    factor: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factor", torch.ones(()))

    def fit(self, images: Tensor, others: Tensor) -> None:
        """Sets the factor so that foregrounds of `images` match those of `others` in area; both (n, C, S, S) uint8.

        The factor is unchanged if one of them is all background.
        """
        fraction, target = foreground_fraction(images), foreground_fraction(others)
        if fraction and target:
            self.factor.fill_(math.sqrt(target / fraction))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape, in float32."""
        theta = torch.eye(2, 3, device=x.device) / self.factor
        grid = F.affine_grid(theta.expand(len(x), 2, 3), list(x.shape), align_corners=False)
        return F.grid_sample(x.to(grid.dtype), grid, padding_mode="border", align_corners=False)


def foreground_fraction(images: Tensor) -> float:
    """The share of foreground pixels in (n, C, S, S) uint8 images.

    Background is whatever differs by at most a tenth of the range from the median of all border pixels.
    """
    images = images[:: -(-len(images) // FIT_IMAGES)]
    edges = torch.cat([images[:, :, 0], images[:, :, -1], images[:, :, :, 0], images[:, :, :, -1]], 2)
    background = edges.transpose(0, 1).flatten(1).median(1).values.float()[:, None, None]
    fractions = [((rows.float() - background).abs() > 25.5).any(1).float().mean((1, 2)) for rows in images.split(50)]
    return float(torch.cat(fractions).mean())


def generator(
    channels: int,
    width: int = 64,
    blocks: int = 9,
    *,
    residual_output: bool = False,
    match_scale: ScaleMatch | None = None,
) -> nn.Module:
    """(B, channels, H, W) -> the same shape in [-1, 1]; H and W are multiples of 4, at least 8.

    c7s1-64, d128, d256, R256 x blocks, u128, u64, c7s1-3 for a width of 64. Instance norm has no parameters.
    11,378,179 parameters with 9 blocks (256x256 images), 7,837,699 with 6 (128x128). `residual_output` and
    `match_scale`, which is applied first, are not in the paper.
    """
    layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(channels, width, 7), *_normed(width)]
    for maps in (width, 2 * width):
        layers += [nn.Conv2d(maps, 2 * maps, 3, stride=2, padding=1), *_normed(2 * maps)]
    layers += [Residual(4 * width) for _ in range(blocks)]
    for maps in (4 * width, 2 * width):
        up = nn.ConvTranspose2d(maps, maps // 2, 3, stride=2, padding=1, output_padding=1)
        layers += [up, *_normed(maps // 2)]
    layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, channels, 7)]
    body = init.normal(nn.Sequential(*layers), 0.02, zero_bias=True)
    network = ResidualOutput(body) if residual_output else body.append(nn.Tanh())
    return nn.Sequential(match_scale, network) if match_scale else network


def discriminator(channels: int, width: int = 64, d_layers: int = 3) -> nn.Module:
    """(B, channels, H, W) -> (B, 1, h, w) scores of patches: 70x70 pixels with 3 layers, 34x34 with 2, 16x16 with 1.

    C64 (without norm), C128, C256, C512 for 3 layers, then the output layer; 2,764,737 parameters.
    """
    stack: list[nn.Module] = [nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=True)]
    maps = width
    for layer in range(d_layers):
        stride = 2 if layer < d_layers - 1 else 1
        stack += [nn.Conv2d(maps, 2 * maps, 4, stride=stride, padding=1), nn.InstanceNorm2d(2 * maps)]
        stack += [nn.LeakyReLU(0.2, inplace=True)]
        maps *= 2
    network = nn.Sequential(*stack, nn.Conv2d(maps, 1, 4, padding=1))
    return init.normal(network, 0.02, zero_bias=True)


def _normed(maps: int) -> list[nn.Module]:
    return [nn.InstanceNorm2d(maps), nn.ReLU(inplace=True)]
