"""Convolutions that halve and double, 4x4 with stride 2, as one matrix product where images are small.

Between 4x4 and 8x8 pixels a wide layer is nearly all weights, and on a CPU the library's own kernels for it take three
to eight times as long as the product (docs/results/speed.md). The sums are the same; which way is gone depends on
shapes only.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

SMALL = 16
"""Pixels of the smaller image up to which the product wins ..."""

WIDE = 128 * 256
"""... for at least so many pairs of feature maps."""


class Conv2d(nn.Conv2d):
    """(B, in, 2h, 2w) -> (B, out, h, w): `nn.Conv2d` with kernel 4, stride 2, padding 1 and no bias."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 4, 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        if not _product_wins(self, x, height * width // 4) or height % 2 or width % 2:
            return super().forward(x)
        patches = Gather.apply(_cast(x))
        y = patches @ self.weight.permute(0, 2, 3, 1).reshape(self.out_channels, -1).t()
        return y.view(batch, height // 2, width // 2, self.out_channels).permute(0, 3, 1, 2)


class ConvTranspose2d(nn.ConvTranspose2d):
    """(B, in, h, w) -> (B, out, 2h, 2w): `nn.ConvTranspose2d` with kernel 4, stride 2, padding 1 and no bias."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 4, 2, 1, bias=False)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        batch, _, height, width = x.shape
        if not _product_wins(self, x, height * width):
            return super().forward(x, output_size)
        pixels = _cast(x).permute(0, 2, 3, 1).reshape(-1, self.in_channels)
        patches = pixels @ self.weight.permute(0, 2, 3, 1).reshape(self.in_channels, -1)
        return Scatter.apply(patches, (batch, self.out_channels, 2 * height, 2 * width))


def _product_wins(layer: nn.Conv2d | nn.ConvTranspose2d, x: Tensor, pixels: int) -> bool:
    return x.device.type == "cpu" and pixels <= SMALL and layer.in_channels * layer.out_channels >= WIDE


def _cast(x: Tensor) -> Tensor:
    """As autocast would: the product that follows is in its type, and patches of it are half the memory."""
    return x.to(torch.get_autocast_dtype("cpu")) if torch.is_autocast_enabled("cpu") else x


class Gather(Function):
    """(B, C, 2h, 2w) -> (B * h * w, 16 * C): the patches that the kernel sees. Its transpose is `Scatter`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.shape = x.shape
        batch, channels, height, width = x.shape
        x = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        image, row, column, _ = x.stride()
        patches = x.as_strided((batch, height // 2, width // 2, 4, 4 * channels), (image, 2 * row, 2 * column, row, 1))
        return patches.reshape(-1, 16 * channels)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return Scatter.apply(gradient, ctx.shape)


class Scatter(Function):
    """(B * h * w, 16 * C) -> (B, C, 2h, 2w): patches laid over each other and summed. Its transpose is `Gather`."""

    @staticmethod
    def forward(ctx: Any, patches: Tensor, shape: tuple[int, int, int, int]) -> Tensor:
        batch, channels, height, width = shape
        patches = patches.reshape(batch, height // 2, width // 2, 4, 4, channels)
        sums = patches.new_zeros(batch, height + 2, width + 2, channels)
        for i in range(4):
            for j in range(4):
                sums[:, i : i + height : 2, j : j + width : 2] += patches[:, :, :, i, j]
        return sums[:, 1:-1, 1:-1].permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return Gather.apply(gradient), None
