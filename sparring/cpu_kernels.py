"""Stride-2 convolutions computed as one matrix product on small images: the same results, faster on CPUs.

Between 4x4 and 8x8 pixels a wide layer is dominated by its weights, and PyTorch's CPU kernels take three to eight times
as long as the matrix product (docs/results/speed.md). The choice depends on shapes only.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

MAX_PIXELS = 16
"""Use the matrix product for up to this many pixels of the smaller image ..."""

MIN_WEIGHTS = 64 * 128 * 4 * 4
"""... and at least this many weights."""


def use_matmul_convolutions(network: nn.Module) -> None:
    """Make the network's convolutions use matrix products where these are faster, in place.

    Applies to `nn.Conv2d` with stride 2, to `nn.ConvTranspose2d` with stride 2 or a 1x1 input, and not to subclasses.
    Weights, their names and the results stay the same, up to rounding. On other devices than the CPU nothing changes.
    """
    for layer in network.modules():
        if type(layer) is nn.Conv2d and _is_plain(layer) and layer.stride == (2, 2):
            layer.__class__ = MatMulConv2d
        elif type(layer) is nn.ConvTranspose2d and _is_plain(layer):
            layer.__class__ = MatMulConvTranspose2d


def _is_plain(layer: nn.Conv2d | nn.ConvTranspose2d) -> bool:
    """Whether kernel and padding are square, and there are no groups, gaps or other paddings than zeros."""
    square = all(isinstance(sides, tuple) and len({*sides}) == 1 for sides in (layer.kernel_size, layer.padding))
    return square and layer.groups == 1 and layer.dilation == (1, 1) and layer.padding_mode == "zeros"


class MatMulConv2d(nn.Conv2d):
    """(B, in, H, W) -> (B, out, h, w), h = (H + 2 padding - kernel) // 2 + 1: `nn.Conv2d` with stride 2."""

    def forward(self, x: Tensor) -> Tensor:
        """As `nn.Conv2d`."""
        kernel, padding = self.kernel_size[0], int(self.padding[0])
        height, width = ((side + 2 * padding - kernel) // 2 + 1 for side in x.shape[-2:])
        if x.ndim != 4 or not _is_small(self, x, height * width):
            return super().forward(x)
        patches = Im2Col.apply(_cast(x), kernel, padding)
        y = MatMul.apply(patches, _cast(self.weight).permute(0, 2, 3, 1).reshape(self.out_channels, -1).t())
        if self.bias is not None:
            y = y + _cast(self.bias)
        out: Tensor = y.view(len(x), height, width, self.out_channels).permute(0, 3, 1, 2)
        return out


class MatMulConvTranspose2d(nn.ConvTranspose2d):
    """(B, in, h, w) -> (B, out, H, W): `nn.ConvTranspose2d` with stride 2, or of a 1x1 input without padding."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """As `nn.ConvTranspose2d`."""
        if x.ndim != 4 or output_size is not None or self.output_padding not in ((0, 0), (1, 1)):
            return super().forward(x, output_size)
        kernel, padding, extra = self.kernel_size[0], int(self.padding[0]), self.output_padding[0]
        batch, _, *sides = x.shape
        if x.device.type == "cpu" and sides == [1, 1] and not padding and not extra:
            return self._with_bias(self._patches(x).view(batch, kernel, kernel, -1).permute(0, 3, 1, 2))
        if self.stride != (2, 2) or not _is_small(self, x, sides[0] * sides[1]):
            return super().forward(x)
        height, width = (2 * (side - 1) - 2 * padding + kernel + extra for side in sides)
        shape = (batch, self.out_channels, height, width)
        return self._with_bias(Col2Im.apply(self._patches(x), shape, kernel, padding))

    def _patches(self, x: Tensor) -> Tensor:
        """(B * h * w, kernel * kernel * out): what every pixel adds to the output."""
        pixels = _cast(x).permute(0, 2, 3, 1).reshape(-1, self.in_channels)
        out: Tensor = MatMul.apply(pixels, _cast(self.weight).permute(0, 2, 3, 1).reshape(self.in_channels, -1))
        return out

    def _with_bias(self, y: Tensor) -> Tensor:
        return y if self.bias is None else y + _cast(self.bias)[:, None, None]


def _is_small(layer: nn.Conv2d | nn.ConvTranspose2d, x: Tensor, pixels: int) -> bool:
    """Whether the matrix product is faster for this many pixels of the smaller image."""
    return x.device.type == "cpu" and pixels <= MAX_PIXELS and layer.weight.numel() >= MIN_WEIGHTS


def _cast(x: Tensor) -> Tensor:
    """Casts as autocast would, so that patches take half the memory."""
    return x.to(torch.get_autocast_dtype("cpu")) if torch.is_autocast_enabled("cpu") else x


class MatMul(Function):
    """(M, K) @ (K, N). A transposed factor is copied before it is multiplied: twice as fast in bf16."""

    @staticmethod
    def forward(a: Tensor, b: Tensor) -> Tensor:
        """(M, K) and (K, N) -> (M, N)."""
        return a @ b

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        """Saves both factors."""
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """(M, N) gradient of the product -> (M, K) and (K, N) gradients of the factors."""
        a, b = ctx.saved_tensors
        if a.shape[1] < gradient.shape[1]:
            return gradient @ b.t(), a.t().contiguous() @ gradient
        return gradient @ b.t(), (gradient.t().contiguous() @ a).t()


class Im2Col(Function):
    """(B, C, H, W) -> (B * h * w, kernel * kernel * C): the input patches of the kernel. Its transpose is `Col2Im`."""

    @staticmethod
    def forward(x: Tensor, kernel: int, padding: int) -> Tensor:
        """(B, C, H, W) -> (B * h * w, kernel * kernel * C), with zero padding and stride 2."""
        batch, channels, *sides = x.shape
        height, width = ((side + 2 * padding - kernel) // 2 + 1 for side in sides)
        x = F.pad(x.permute(0, 2, 3, 1), (0, 0, *[padding] * 4)).contiguous()
        image, row, column, _ = x.stride()
        patches = (batch, height, width, kernel, kernel * channels)
        return x.as_strided(patches, (image, 2 * row, 2 * column, row, 1)).reshape(-1, kernel * kernel * channels)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int, int], output: Tensor) -> None:
        """Stores the shape of the images, kernel and padding."""
        x, ctx.kernel, ctx.padding = inputs
        ctx.shape = x.shape

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """(B * h * w, kernel * kernel * C) gradient of the patches -> (B, C, H, W) gradient of the images."""
        return Col2Im.apply(gradient, ctx.shape, ctx.kernel, ctx.padding), None, None


class Col2Im(Function):
    """(B * h * w, kernel * kernel * C) -> (B, C, H, W): sums overlapping patches. Its transpose is `Im2Col`."""

    @staticmethod
    def forward(patches: Tensor, shape: tuple[int, int, int, int], kernel: int, padding: int) -> Tensor:
        """(B * h * w, kernel * kernel * C) -> `shape`, in channels-last memory."""
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
        """Stores kernel and padding."""
        _, _, ctx.kernel, ctx.padding = inputs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        """(B, C, H, W) gradient of the sums -> (B * h * w, kernel * kernel * C) gradient of the patches."""
        return Im2Col.apply(gradient, ctx.kernel, ctx.padding), None, None, None
