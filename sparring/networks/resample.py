"""Up- and downsampling layers by name, from `inputs` to `outputs` channels."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from sparring.networks.r3gan import Resample

Layer = Callable[[int, int], nn.Module]
"""(inputs, outputs) -> layer (B, inputs, H, W) -> (B, outputs, 2 H, 2 W) in UP, (B, outputs, H / 2, W / 2) in DOWN."""


class Crop(nn.Module):
    """(B, C, H, W) -> (B, C, size, size): the upper left corner.

    After an unpadded transposed convolution this gives the "same" padding of Keras and TensorFlow.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, size, size)."""
        return x[:, :, : self.size, : self.size]


def transposed(inputs: int, outputs: int) -> nn.Module:
    """Radford et al. 2016: a transposed convolution, 4x4 with stride 2: the stride divides the kernel."""
    return nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)


def pixel_shuffle(inputs: int, outputs: int) -> nn.Module:
    """Shi et al. 2016: a convolution to 4 times the channels, then pixel shuffle."""
    return nn.Sequential(nn.Conv2d(inputs, 4 * outputs, 3, padding=1), nn.PixelShuffle(2))


def bilinear_up(inputs: int, outputs: int) -> nn.Module:
    """Odena et al. 2016: resize, then convolve."""
    return nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(inputs, outputs, 3, padding=1))


def nearest_up(inputs: int, outputs: int) -> nn.Module:
    """Odena et al. 2016: repeat every pixel, then convolve."""
    return nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(inputs, outputs, 3, padding=1))


def strided(inputs: int, outputs: int) -> nn.Module:
    """Radford et al. 2016: a convolution, 4x4 with stride 2."""
    return nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)


def average_pool(inputs: int, outputs: int) -> nn.Module:
    """A convolution, then the mean of each 2x2 square."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.AvgPool2d(2))


def max_pool(inputs: int, outputs: int) -> nn.Module:
    """A convolution, then the maximum of each 2x2 square: three of four pixels get no gradient (ganhacks 5: avoid)."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.MaxPool2d(2))


def bilinear_down(inputs: int, outputs: int) -> nn.Module:
    """A convolution, then smoothing with [1, 3, 3, 1] and subsampling: bilinear, without aliasing."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), Resample(outputs, up=False))


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
