"""Stride-2 convolutions computed as one matrix product on small images, faster on CPUs; and a generator's first layer.

Between 4x4 and 8x8 pixels a wide layer is dominated by its weights, and PyTorch's CPU kernels take three to eight times
as long as the matrix product (docs/results/speed.md). The results are the same; the choice depends on shapes only.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

MAX_PIXELS = 16
"""Use the matrix product for up to this many pixels of the smaller image ..."""

MIN_CHANNEL_PAIRS = 64 * 128
"""... and at least this many pairs of channels."""


class Conv2d(nn.Conv2d):
    """(B, in, H, W) -> (B, out, h, w), h = (H + 2 padding - kernel) // 2 + 1: `nn.Conv2d` with stride 2."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 4, padding: int = 1, bias: bool = False) -> None:
        super().__init__(inputs, outputs, kernel, 2, padding, bias=bias)
        self.kernel, self.margin = kernel, padding

    def forward(self, x: Tensor) -> Tensor:
        batch, _, *sides = x.shape
        height, width = ((side + 2 * self.margin - self.kernel) // 2 + 1 for side in sides)
        if not _use_product(self, x, height * width):
            return super().forward(x)
        patches = Im2Col.apply(_cast(x), self.kernel, self.margin)
        y = MatMul.apply(patches, _cast(self.weight).permute(0, 2, 3, 1).reshape(self.out_channels, -1).t())
        if self.bias is not None:
            y = y + _cast(self.bias)
        return y.view(batch, height, width, self.out_channels).permute(0, 3, 1, 2)


class ConvTranspose2d(nn.ConvTranspose2d):
    """(B, in, h, w) -> (B, out, 2h, 2w): `nn.ConvTranspose2d` with kernel 4, stride 2, padding 1 and no bias."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 4, 2, 1, bias=False)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        batch, _, height, width = x.shape
        if not _use_product(self, x, height * width):
            return super().forward(x, output_size)
        pixels = _cast(x).permute(0, 2, 3, 1).reshape(-1, self.in_channels)
        patches = MatMul.apply(pixels, _cast(self.weight).permute(0, 2, 3, 1).reshape(self.in_channels, -1))
        return Col2Im.apply(patches, (batch, self.out_channels, 2 * height, 2 * width), 4, 1)


class PointToPatch(nn.ConvTranspose2d):
    """(B, in, 1, 1) -> (B, out, kernel, kernel): `nn.ConvTranspose2d` of a 1x1 input, without bias."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__(inputs, outputs, kernel, bias=False)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        if x.device.type != "cpu":
            return super().forward(x, output_size)
        patches = MatMul.apply(_cast(x).flatten(1), _cast(self.weight).permute(0, 2, 3, 1).flatten(1))
        return patches.view(len(x), *self.kernel_size, self.out_channels).permute(0, 3, 1, 2)


def _use_product(layer: nn.Conv2d | nn.ConvTranspose2d, x: Tensor, pixels: int) -> bool:
    return (
        x.device.type == "cpu" and pixels <= MAX_PIXELS and layer.in_channels * layer.out_channels >= MIN_CHANNEL_PAIRS
    )


def _cast(x: Tensor) -> Tensor:
    """Casts as autocast would, so that patches take half the memory."""
    return x.to(torch.get_autocast_dtype("cpu")) if torch.is_autocast_enabled("cpu") else x


class MatMul(Function):
    """(M, K) @ (K, N). A transposed factor is copied before it is multiplied: twice as fast in bf16."""

    @staticmethod
    def forward(a: Tensor, b: Tensor) -> Tensor:
        return a @ b

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        a, b = ctx.saved_tensors
        if a.shape[1] < gradient.shape[1]:
            return gradient @ b.t(), a.t().contiguous() @ gradient
        return gradient @ b.t(), (gradient.t().contiguous() @ a).t()


class Im2Col(Function):
    """(B, C, H, W) -> (B * h * w, kernel * kernel * C): the input patches of the kernel. Its transpose is `Col2Im`."""

    @staticmethod
    def forward(x: Tensor, kernel: int, padding: int) -> Tensor:
        batch, channels, *sides = x.shape
        height, width = ((side + 2 * padding - kernel) // 2 + 1 for side in sides)
        x = F.pad(x.permute(0, 2, 3, 1), (0, 0, *[padding] * 4))
        image, row, column, _ = x.stride()
        patches = (batch, height, width, kernel, kernel * channels)
        return x.as_strided(patches, (image, 2 * row, 2 * column, row, 1)).reshape(-1, kernel * kernel * channels)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int, int], output: Tensor) -> None:
        x, ctx.kernel, ctx.padding = inputs
        ctx.shape = x.shape

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return Col2Im.apply(gradient, ctx.shape, ctx.kernel, ctx.padding), None, None


class Col2Im(Function):
    """(B * h * w, kernel * kernel * C) -> (B, C, H, W): sums overlapping patches. Its transpose is `Im2Col`."""

    @staticmethod
    def forward(patches: Tensor, shape: tuple[int, int, int, int], kernel: int, padding: int) -> Tensor:
        batch, channels, *sides = shape
        height, width = ((side + 2 * padding - kernel) // 2 + 1 for side in sides)
        patches = patches.reshape(batch, height, width, kernel, kernel, channels)
        rows, columns = ((side + 2 * padding + 1) // 2 for side in sides)
        sums = patches.new_zeros(batch, rows, 2, columns, 2, channels)  # row 2 i + a of the image lies at [i, a]
        for i in range(0, kernel, 2):
            for j in range(0, kernel, 2):
                block = patches[:, :, :, i : i + 2, j : j + 2].transpose(2, 3)
                down, across = block.shape[2], block.shape[4]
                sums[:, i // 2 : i // 2 + height, :down, j // 2 : j // 2 + width, :across] += block
        image = sums.view(batch, 2 * rows, 2 * columns, channels).permute(0, 3, 1, 2)
        inner = image[:, :, padding : padding + sides[0], padding : padding + sides[1]]
        return inner.contiguous(memory_format=torch.channels_last)  # norms are ten times slower on a view

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Any, int, int], output: Tensor) -> None:
        _, _, ctx.kernel, ctx.padding = inputs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return Im2Col.apply(gradient, ctx.kernel, ctx.padding), None, None, None
