"""Differentiable augmentation inside networks, in training mode: before a discriminator or an encoder."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.errors import unknown_name_error
from sparring.networks.noise import StochasticLayer

MAX_SHIFT = 0.125
"""Maximal translation as a share of the image side, in both papers."""


def uniform_per_image(x: Tensor, g: torch.Generator | None = None) -> Tensor:
    """(B, 1, 1, 1) numbers from U(0, 1), one per image; `g` defaults to PyTorch's global generator."""
    return torch.rand(len(x), 1, 1, 1, device=x.device, generator=g)


def brightness(x: Tensor, by: Tensor) -> Tensor:
    """Adds a constant to all pixels of an image."""
    return x + by


def saturation(x: Tensor, times: Tensor) -> Tensor:
    """Scales the difference of each pixel from its gray value; gray images are unchanged."""
    gray = x.mean(1, keepdim=True)
    return gray + (x - gray) * times


def contrast(x: Tensor, times: Tensor) -> Tensor:
    """Scales the difference of each image from its mean."""
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (x - mean) * times


def gather_pixels(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The pixels of each image at rows (B, H) and columns (B, W)."""
    image = torch.arange(len(x), device=x.device)[:, None, None]
    return x[image, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def source_index(x: Tensor, shift: Tensor, dim: int) -> Tensor:
    """(B, side): source indices of images translated by `shift` (B,); they may lie outside the image."""
    return torch.arange(x.shape[dim], device=x.device) - shift[:, None]


def translate(x: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Translates each image by whole pixels (B,), (B,), with zero padding."""
    rows, columns = source_index(x, down, 2), source_index(x, right, 3)
    height, width = x.shape[2:]
    inside = ((rows >= 0) & (rows < height))[:, None, :, None] & ((columns >= 0) & (columns < width))[:, None, None]
    return gather_pixels(x, rows.clamp(0, height - 1), columns.clamp(0, width - 1)) * inside


def translate_mirrored(x: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Translates each image by whole pixels (B,), (B,), with reflection padding."""

    def mirror(index: Tensor, side: int) -> Tensor:
        return (side - 1) - ((side - 1) - index.abs()).abs()

    return gather_pixels(x, mirror(source_index(x, down, 2), x.shape[2]), mirror(source_index(x, right, 3), x.shape[3]))


def cut_out(x: Tensor, top: Tensor, left: Tensor) -> Tensor:
    """Zeroes a square of half the side, rounded up; (B,), (B,) are its corners, which may lie outside the image."""
    half = (x.shape[2] + 1) // 2
    rows, columns = source_index(x, top, 2), source_index(x, left, 3)
    hole = ((rows >= 0) & (rows < half))[:, None, :, None] & ((columns >= 0) & (columns < half))[:, None, None]
    return x * ~hole


def random_brightness(x: Tensor, g: torch.Generator | None = None) -> Tensor:
    """+ U(-.5, .5)."""
    return brightness(x, uniform_per_image(x, g) - 0.5)


def random_saturation(x: Tensor, g: torch.Generator | None = None) -> Tensor:
    """Times U(0, 2)."""
    return saturation(x, 2 * uniform_per_image(x, g))


def random_contrast(x: Tensor, g: torch.Generator | None = None) -> Tensor:
    """Times U(.5, 1.5)."""
    return contrast(x, 0.5 + uniform_per_image(x, g))


def random_translation(x: Tensor, g: torch.Generator | None = None) -> Tensor:
    """Up to an eighth of the side either way, rounded as in the authors' code: 4 of 28 pixels."""
    limit = int(MAX_SHIFT * x.shape[2] + 0.5)
    down, right = torch.randint(-limit, limit + 1, (2, len(x)), device=x.device, generator=g)
    return translate(x, down, right)


def random_cutout(x: Tensor, g: torch.Generator | None = None) -> Tensor:
    """Cuts out a square centered anywhere in the image, so that part of it may lie outside."""
    side, half = x.shape[2], (x.shape[2] + 1) // 2
    top, left = torch.randint(side + 1 - half % 2, (2, len(x)), device=x.device, generator=g) - half // 2
    return cut_out(x, top, left)


POLICIES: dict[str, tuple[Callable[[Tensor, torch.Generator | None], Tensor], ...]] = {
    "color": (random_brightness, random_saturation, random_contrast),
    "translation": (random_translation,),
    "cutout": (random_cutout,),
}


class DiffAugment(StochasticLayer):
    """Zhao et al. 2020 (DiffAugment): (B, C, H, W) -> the same shape, with random changes per image.

    policy  names of POLICIES joined by "+", applied in this order

    In an nn.Sequential before D it applies to real and generated images in both players' moves, as in the paper. In
    evaluation mode it is the identity.
    """

    batchwise: ClassVar[str] = "augmentation"

    def __init__(self, policy: str) -> None:
        super().__init__()
        names = policy.split("+")
        for name in names:
            if name not in POLICIES:
                raise unknown_name_error("augmentation", name, POLICIES)
        self.changes = [change for name in names for change in POLICIES[name]]

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape, augmented in training mode."""
        if self.training:
            for change in self.changes:
                x = change(x, self.generator)
        return x


class AdaptiveAugment(StochasticLayer):
    """Karras et al. 2020 (ADA): (B, C, S, S) -> the same shape; each change applies to each image with probability p.

    Of the paper's pipeline (appendix B): flips, rotations by 90 degrees, translations by whole pixels up to 1/8 of the
    side, brightness, contrast, saturation. Omitted: scaling, other rotations, luma flip, hue, filters, corruption.

    target  target value of r_t = E[sign D(real)] (eq. 1, right), which controls p: .6
    images  number of real images over which p moves from 0 to 1, or back: 500,000

    p is clamped to [0, 1]. The authors' code does not clamp it to 1, beyond which nothing changes but recovery takes
    longer.
    """

    batchwise: ClassVar[str] = "augmentation"
    p: Tensor
    signs: Tensor
    seen: Tensor

    def __init__(self, target: float = 0.6, images: int = 500_000) -> None:
        super().__init__()
        self.target, self.images = target, images
        self.register_buffer("p", torch.zeros(()))
        self.register_buffer("signs", torch.zeros(()))  # sum of sign D(real) since p last changed
        self.register_buffer("seen", torch.zeros(()))  # number of images in that sum

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, S, S) -> the same shape, augmented in training mode."""
        if not self.training:
            return x
        n, side, g = len(x), x.shape[2], self.generator
        x = torch.where(self.apply_mask(x) & (uniform_per_image(x, g) < 0.5), x.flip(3), x)
        rotations = torch.randint(4, (n,), device=x.device, generator=g) * self.apply_mask(x).flatten()
        x = torch.stack([x.rot90(k, (2, 3)) for k in range(4)])[rotations, torch.arange(n, device=x.device)]
        shifts = ((2 * torch.rand(2, n, device=x.device, generator=g) - 1) * MAX_SHIFT * side).round().long()
        down, right = shifts * self.apply_mask(x).flatten()
        x = translate_mirrored(x, down, right)
        x = torch.where(self.apply_mask(x), brightness(x, 0.2 * normal(x, g)), x)
        x = torch.where(self.apply_mask(x), x * (0.5 * normal(x, g)).exp2(), x)  # contrast, about 0
        return torch.where(self.apply_mask(x), saturation(x, normal(x, g).exp2()), x)

    def apply_mask(self, x: Tensor) -> Tensor:
        """(B, 1, 1, 1) bool, true with probability p."""
        return uniform_per_image(x, self.generator) < self.p

    @torch.no_grad()
    def observe(self, real_scores: Tensor, images: int) -> None:
        """D's scores of this many (augmented) real images; above 0 means that D classifies them as real."""
        self.signs += real_scores.sign().mean() * images
        self.seen += images

    @torch.no_grad()
    def adapt(self) -> None:
        """Raises p if r_t since the last call is above the target, lowers it otherwise."""
        self.p += torch.sign(self.signs - self.target * self.seen) * self.seen / self.images
        self.p.clamp_(0, 1)
        self.signs.zero_()
        self.seen.zero_()


class Distortion(StochasticLayer):
    """(B, C, H, W) -> the same shape; random affine distortions per image in training mode (Simard et al. 2003).

    amount  1: rotation by up to 15 degrees, scaling and shear by up to 15 %, translation by up to 1/14 of the side (2
            of 28 pixels), each uniform; .5: half of it. Border padding.

    In evaluation mode it is the identity.
    """

    batchwise: ClassVar[str] = "distortion"

    def __init__(self, amount: float) -> None:
        super().__init__()
        self.amount = amount

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape, distorted in training mode."""
        if not self.training:
            return x
        draws = torch.rand(5, len(x), device=x.device, dtype=x.dtype, generator=self.generator)
        angle, size, slant, right, down = self.amount * (2 * draws - 1)
        angle, size, slant = angle * math.radians(15), 1 + 0.15 * size, 0.15 * slant
        across = torch.stack([size * angle.cos(), slant - size * angle.sin(), right / 7], 1)
        along = torch.stack([size * angle.sin(), size * angle.cos(), down / 7], 1)
        grid = F.affine_grid(torch.stack([across, along], 1), list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def with_distortion(network: nn.Module, amount: float) -> nn.Module:
    """The network with distorted inputs in training mode (amount 0: unchanged)."""
    return nn.Sequential(Distortion(amount), network) if amount else network


def normal(x: Tensor, g: torch.Generator | None = None) -> Tensor:
    """(B, 1, 1, 1) numbers from N(0, 1), one per image; `g` defaults to PyTorch's global generator."""
    return torch.randn(len(x), 1, 1, 1, device=x.device, generator=g)
