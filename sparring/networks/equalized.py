"""Layers with an equalized learning rate (Karras et al. 2018, section 4.1): weights scaled at run time.

A layer stores V and uses W = s V, where s = gain m / sqrt(fan in), m is the learning-rate multiplier and V starts as
N(0, 1 / m^2); its bias is m times a parameter that starts at 0. ALAE's authors keep W itself and multiply its step by
s, the bias's by m (LREQ-Adam, which has no momentum). With torch.optim.Adam(betas=(0, .99)) on V that is the same W
after every step: the gradient of V is s times that of W, Adam divides it by its own size, and V's step reaches W times
s. Only epsilon differs: next to a gradient of W, ours weighs 1 / s times as much, and theirs is added before the
correction of the running square.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GAIN = math.sqrt(2)


class Linear(nn.Module):
    """(B, inputs) -> (B, outputs).

    lr_multiplier  of weights and bias (lrmul)
    """

    def __init__(self, inputs: int, outputs: int, *, gain: float = GAIN, lr_multiplier: float = 1.0) -> None:
        super().__init__()
        self.lr_multiplier, self.scale = lr_multiplier, gain * lr_multiplier / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / lr_multiplier)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) -> (B, outputs)."""
        return F.linear(self.scale * x, self.weight, self.lr_multiplier * self.bias)


class Conv2d(nn.Module):
    """(B, narrow, H, W) -> (B, wide, H, W), or twice or half the side; `kernel` is odd.

    resize  "up": nearest-neighbor upsampling, then convolution; "down": convolution, then 2x2 mean pooling. Both are
            computed as one convolution with stride 2 and a kernel one larger (Karras et al. 2019)
    """

    def __init__(
        self,
        narrow: int,
        wide: int,
        kernel: int,
        *,
        resize: Literal["up", "down", "none"] = "none",
        gain: float = GAIN,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.resize, self.scale = resize, gain / (math.sqrt(narrow) * kernel)
        self.weight = nn.Parameter(torch.randn(wide, narrow, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(wide)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, narrow, H, W) -> (B, wide, H, W); (B, wide, 2 H, 2 W) if up, (B, wide, H / 2, W / 2) if down."""
        weight, padding = self.scale * self.weight, self.weight.shape[2] // 2
        if self.resize == "up":
            flipped = _box_upsample_kernel(weight).flip(2, 3).transpose(0, 1)
            return F.conv_transpose2d(x, flipped, self.bias, stride=2, padding=padding)
        if self.resize == "down":
            return F.conv2d(x, _box_upsample_kernel(weight) / 4, self.bias, stride=2, padding=padding)
        return F.conv2d(x, weight, self.bias, padding=padding)


def _box_upsample_kernel(weight: Tensor) -> Tensor:
    """(..., k, k) -> (..., k + 1, k + 1): the kernel convolved with a 2x2 square of ones."""
    padded = F.pad(weight, (1, 1, 1, 1))
    rows = padded[..., 1:, :] + padded[..., :-1, :]
    return rows[..., 1:] + rows[..., :-1]
