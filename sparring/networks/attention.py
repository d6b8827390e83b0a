"""The non-local block of Zhang et al. 2019, "Self-Attention Generative Adversarial Networks", as in their code."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.errors import SparringError
from sparring.networks.spectral import SpectralConv2d

REDUCTION = 8


class NonLocal(nn.Module):
    """(B, C, H, W) -> the same shape: x + gamma o(softmax(theta(x)^T phi(x)) g(x)); gamma starts at 0.

    1x1 convolutions without biases: queries theta and keys phi have C/8 channels, values g C/2. Keys and values are
    max-pooled to half the height and width. The products are not scaled.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels < REDUCTION:
            raise SparringError(
                f"attention needs at least {REDUCTION} channels, got {channels}: "
                "choose a larger --width or --attention 0"
            )
        self.theta = SpectralConv2d(channels, channels // REDUCTION, 1, bias=False)
        self.phi = SpectralConv2d(channels, channels // REDUCTION, 1, bias=False)
        self.g = SpectralConv2d(channels, channels // 2, 1, bias=False)
        self.o = SpectralConv2d(channels // 2, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape; H and W are at least 2."""
        queries = self.theta(x).flatten(2)
        keys = F.max_pool2d(self.phi(x), 2).flatten(2)
        values = F.max_pool2d(self.g(x), 2).flatten(2)
        weights = torch.softmax(queries.transpose(1, 2) @ keys, dim=2)  # (B, HW, HW/4)
        attended = (values @ weights.transpose(1, 2)).unflatten(2, x.shape[2:])
        out: Tensor = x + self.gamma * self.o(attended)
        return out
