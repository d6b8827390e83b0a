"""Miyato et al. 2018, "Spectral Normalization for GANs": layers whose weight is divided by its largest singular value.

Weights and biases are named, initialized and saved as in the plain layers; `spectral.u` is the only addition.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SpectralNorm(nn.Module):
    """W -> W / sigma(W), sigma estimated by one step of power iteration per forward pass (algorithm 1).

    W is treated as a matrix, its first dimension by all others. `u` (rows,) is the current estimate of the left
    singular vector. Training mode stores the updated `u`, evaluation mode discards it. Only the direction of `u`
    matters, so an average of several (EMA) need not be a unit vector.
    """

    batchwise: ClassVar[str] = "spectral norm"

    u: Tensor

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.register_buffer("u", torch.randn(rows))

    def forward(self, weight: Tensor) -> Tensor:
        """(rows, ...) weights -> the same shape, divided by sigma."""
        with torch.autocast(weight.device.type, enabled=False):
            matrix = weight.movedim(1, -1).flatten(1)  # a view of channels-last memory; sigma ignores the order
            v = F.normalize(torch.mv(matrix.detach().T, self.u), dim=0)
            product = torch.mv(matrix, v)
            u = F.normalize(product.detach(), dim=0)
            if self.training:
                torch.mul(u, 1, out=self.u)  # torch.func.grad forbids self.u.copy_(u)
            return weight / torch.dot(u, product)


class SpectralConv2d(nn.Conv2d):
    """(B, inputs, H, W) -> (B, outputs, H, W): stride 1, padded to keep the size."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, bias: bool = True) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2, bias=bias)
        self.spectral = SpectralNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H, W)."""
        return F.conv2d(x, self.spectral(self.weight), self.bias, padding=self.padding)


class SpectralLinear(nn.Linear):
    """(B, inputs) -> (B, outputs)."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__(inputs, outputs, bias)
        self.spectral = SpectralNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) -> (B, outputs)."""
        return F.linear(x, self.spectral(self.weight), self.bias)


class SpectralEmbedding(nn.Embedding):
    """(B,) int64 -> (B, length): the whole table is normalized, not each row."""

    def __init__(self, classes: int, length: int) -> None:
        super().__init__(classes, length)
        self.spectral = SpectralNorm(classes)

    def forward(self, y: Tensor) -> Tensor:
        """(B,) int64 -> (B, length)."""
        return F.embedding(y, self.spectral(self.weight))
