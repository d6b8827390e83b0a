"""Layers that double or halve an image, by name: all of them map `narrow` feature maps to `wide` ones."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from sparring.networks.r3gan import Resample

Layer = Callable[[int, int], nn.Module]
"""(maps in, maps out) -> (B, in, H, W) -> (B, out, 2 H, 2 W) in UP, (B, out, H / 2, W / 2) in DOWN."""


class Crop(nn.Module):
    """(B, C, H, W) -> (B, C, size, size): the upper left corner.

    After a transposed convolution that is not padded on the lower right, this is Keras's and TensorFlow's "same".
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, : self.size, : self.size]


def transposed(narrow: int, wide: int) -> nn.Module:
    """Radford et al. 2016: a transposed convolution, 4x4 with stride 2: the stride divides the kernel."""
    return nn.ConvTranspose2d(narrow, wide, 4, stride=2, padding=1)


def pixel_shuffle(narrow: int, wide: int) -> nn.Module:
    """Shi et al. 2016: a convolution makes four maps for each, which are interleaved."""
    return nn.Sequential(nn.Conv2d(narrow, 4 * wide, 3, padding=1), nn.PixelShuffle(2))


def bilinear_up(narrow: int, wide: int) -> nn.Module:
    """Odena et al. 2016: resize, then convolve."""
    return nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(narrow, wide, 3, padding=1))


def nearest_up(narrow: int, wide: int) -> nn.Module:
    """Odena et al. 2016: repeat every pixel, then convolve."""
    return nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(narrow, wide, 3, padding=1))


def strided(narrow: int, wide: int) -> nn.Module:
    """Radford et al. 2016: a convolution, 4x4 with stride 2."""
    return nn.Conv2d(narrow, wide, 4, stride=2, padding=1)


def average_pool(narrow: int, wide: int) -> nn.Module:
    """A convolution, then the mean of each 2x2 square."""
    return nn.Sequential(nn.Conv2d(narrow, wide, 3, padding=1), nn.AvgPool2d(2))


def max_pool(narrow: int, wide: int) -> nn.Module:
    """A convolution, then the maximum of each 2x2 square: three of four pixels get no gradient (ganhacks 5: avoid)."""
    return nn.Sequential(nn.Conv2d(narrow, wide, 3, padding=1), nn.MaxPool2d(2))


def bilinear_down(narrow: int, wide: int) -> nn.Module:
    """A convolution, then every other pixel of what [1, 3, 3, 1] has smoothed: bilinear, without aliasing."""
    return nn.Sequential(nn.Conv2d(narrow, wide, 3, padding=1), Resample(wide, up=False))


UP: dict[str, Layer] = {
    "transposed": transposed,
    "pixel-shuffle": pixel_shuffle,
    "bilinear": bilinear_up,
    "nearest": nearest_up,
}

DOWN: dict[str, Layer] = {
    "strided": strided,
    "average-pool": average_pool,
    "bilinear": bilinear_down,
    "max-pool": max_pool,
}
