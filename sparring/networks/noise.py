"""Noise inside networks: on the discriminator's images, in its layers or the generator's, and lasting dropout."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class InstanceNoise(nn.Module):
    """Adds N(0, s^2) to what the discriminator sees while training; s falls linearly from `std` to 0 in `over` rounds.

    Sønderby et al. 2017; Arjovsky and Bottou 2017: with noise on both, the distributions of real and of generated
    images overlap. Nothing is added in evaluation mode.
    """

    batchwise: ClassVar[str] = "noise in layers"

    def __init__(self, std: float, over: int) -> None:
        super().__init__()
        self.std, self.over = std, over
        self.played = 0  # the system keeps it up to date

    def present_std(self) -> float:
        """s in this round."""
        return self.std * max(0.0, 1 - self.played / self.over)

    def forward(self, x: Tensor) -> Tensor:
        std = self.present_std() if self.training else 0.0
        return x + std * torch.randn_like(x) if std else x


class TrainingNoise(nn.Module):
    """Adds N(0, std^2) while training; nothing in evaluation mode."""

    batchwise: ClassVar[str] = "noise in layers"

    def __init__(self, std: float) -> None:
        super().__init__()
        self.std = std

    def forward(self, x: Tensor) -> Tensor:
        return x + self.std * torch.randn_like(x) if self.training else x


class GaussianNoise(nn.Module):
    """Adds N(0, std^2) between the generator's layers (ganhacks 13), when it learns and when it is sampled.

    What the generator has learned to make is made with this noise: it is a part of the code.
    """

    batchwise: ClassVar[str] = "noise in layers"

    def __init__(self, std: float) -> None:
        super().__init__()
        self.std = std

    def forward(self, x: Tensor) -> Tensor:
        return x + self.std * torch.randn_like(x)


class LastingDropout(nn.Module):
    """Dropout when the generator learns and when it is sampled (Isola et al. 2017, section 3.1; ganhacks 17)."""

    batchwise: ClassVar[str] = "dropout"

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.rate, training=True)
