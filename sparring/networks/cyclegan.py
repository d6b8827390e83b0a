"""Zhu et al. 2017 (CycleGAN), appendix 7.2: Johnson's generator with residual blocks, Isola's patch discriminator."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.errors import SparringError

MIN_SIZE = {1: 8, 2: 12, 3: 24}
"""Layers of the discriminator -> the smallest image, a multiple of 4, that they leave something of."""

FIT_IMAGES = 1000
"""Images of a domain, evenly spaced, that a zoom is fitted to."""


class Residual(nn.Module):
    """Rk: two 3x3 convolutions with reflection padding and instance norm, and what came in; (B, maps, H, W)."""

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
        return x + self.branch(x)


class ResidualOutput(nn.Module):
    """(B, C, H, W) in [-1, 1] -> tanh(body(x) + artanh(.95 x)): where the body gives 0, nearly the image itself."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.body(x) + torch.atanh(0.95 * x.float()))


class ScaleMatch(nn.Module):
    """(B, C, H, W) -> the same shape: enlarged about its center by `factor`; where an image ends its edge goes on."""

    factor: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factor", torch.ones(()))

    def fit(self, images: Tensor, others: Tensor) -> None:
        """So that what is on `images` fills as much as what is on `others`; both (n, C, S, S) uint8.

        Where one of them is nothing but background the factor stays.
        """
        here, there = foreground_fraction(images), foreground_fraction(others)
        if here and there:
            self.factor.fill_(math.sqrt(there / here))

    def forward(self, x: Tensor) -> Tensor:
        theta = torch.eye(2, 3, device=x.device) / self.factor
        grid = F.affine_grid(theta.expand(len(x), 2, 3), list(x.shape), align_corners=False)
        return F.grid_sample(x.to(grid.dtype), grid, padding_mode="border", align_corners=False)


def foreground_fraction(images: Tensor) -> float:
    """The share of (n, C, S, S) uint8 images that is not background.

    That is the median of all edges, and what differs from it by at most a tenth of the range.
    """
    images = images[:: -(-len(images) // FIT_IMAGES)]
    edges = torch.cat([images[:, :, 0], images[:, :, -1], images[:, :, :, 0], images[:, :, :, -1]], 2)
    background = edges.transpose(0, 1).flatten(1).median(1).values.float()[:, None, None]
    shares = [((rows.float() - background).abs() > 25.5).any(1).float().mean((1, 2)) for rows in images.split(50)]
    return float(torch.cat(shares).mean())


def generator(
    channels: int,
    width: int = 64,
    blocks: int = 9,
    *,
    residual_output: bool = False,
    match_scale: ScaleMatch | None = None,
) -> nn.Module:
    """(B, channels, H, W) -> the same shape in [-1, 1]; H and W multiples of 4, 8 or more, need not be equal.

    c7s1-64, d128, d256, R256 x blocks, u128, u64, c7s1-3 for a width of 64. Instance norm has no weights of its own.
    11,378,179 parameters with 9 blocks (256x256 images), 7,837,699 with 6 (128x128). `residual_output` and
    `match_scale`, which comes first, are not the paper's.
    """
    d_layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(channels, width, 7), *_normed(width)]
    for maps in (width, 2 * width):
        d_layers += [nn.Conv2d(maps, 2 * maps, 3, stride=2, padding=1), *_normed(2 * maps)]
    d_layers += [Residual(4 * width) for _ in range(blocks)]
    for maps in (4 * width, 2 * width):
        up = nn.ConvTranspose2d(maps, maps // 2, 3, stride=2, padding=1, output_padding=1)
        d_layers += [up, *_normed(maps // 2)]
    d_layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, channels, 7)]
    body = _init(nn.Sequential(*d_layers))
    painter = ResidualOutput(body) if residual_output else body.append(nn.Tanh())
    return nn.Sequential(match_scale, painter) if match_scale else painter


def discriminator(channels: int, width: int = 64, d_layers: int = 3) -> nn.Module:
    """(B, channels, H, W) -> (B, 1, h, w) scores of patches: 70x70 pixels with 3 layers, 34x34 with 2, 16x16 with 1.

    C64 (without norm), C128, C256, C512 for 3 layers, and one that gives the score; 2,764,737 parameters.
    """
    stack: list[nn.Module] = [nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=True)]
    maps = width
    for layer in range(d_layers):
        stride = 2 if layer < d_layers - 1 else 1
        stack += [nn.Conv2d(maps, 2 * maps, 4, stride=stride, padding=1), nn.InstanceNorm2d(2 * maps)]
        stack += [nn.LeakyReLU(0.2, inplace=True)]
        maps *= 2
    return _init(nn.Sequential(*stack, nn.Conv2d(maps, 1, 4, padding=1)))


def require_side(side: int, d_layers: int) -> None:
    """Raises SparringError unless both networks can take images of this side."""
    if side % 4 or side < MIN_SIZE[d_layers]:
        raise SparringError(
            f"CycleGAN's networks cannot take {side}x{side} images: --size must be a multiple of 4 and, for "
            f"discriminators of {d_layers} layers, at least {MIN_SIZE[d_layers]}"
        )


def _normed(maps: int) -> list[nn.Module]:
    return [nn.InstanceNorm2d(maps), nn.ReLU(inplace=True)]


def _init(network: nn.Sequential) -> nn.Sequential:
    """The authors' code: N(0, .02) weights, biases 0."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    return network
