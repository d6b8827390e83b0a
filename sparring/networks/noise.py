"""Noise inside networks: on the discriminator's images, in its layers or the generator's, and dropout.

A layer that draws numbers has an attribute `generator`. Who plays a round, or makes samples, sets it, so that nothing
depends on PyTorch's global generator, which all threads share; while it is None the global one is drawn from.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn


class StochasticLayer(nn.Module):
    """A layer that draws numbers from `generator`."""

    def __init__(self) -> None:
        super().__init__()
        self.generator: torch.Generator | None = None

    def normal(self, x: Tensor) -> Tensor:
        """N(0, 1) in the shape of x."""
        return torch.empty_like(x).normal_(generator=self.generator)


class InstanceNoise(StochasticLayer):
    """Adds N(0, s^2) to what the discriminator sees while training; s falls linearly from `std` to 0 in `over` rounds.

    Sønderby et al. 2017; Arjovsky and Bottou 2017: with noise on both, the distributions of real and of generated
    images overlap. Nothing is added in evaluation mode.
    """

    batchwise: ClassVar[str] = "noise in layers"

    def __init__(self, std: float, over: int) -> None:
        super().__init__()
        self.std, self.over = std, over
        self.round_index = 0  # the system keeps it up to date

    def present_std(self) -> float:
        """s in this round."""
        return self.std * max(0.0, 1 - self.round_index / self.over)

    def forward(self, x: Tensor) -> Tensor:
        std = self.present_std() if self.training else 0.0
        return x + std * self.normal(x) if std else x


class TrainingNoise(StochasticLayer):
    """Adds N(0, std^2) while training; nothing in evaluation mode."""

    batchwise: ClassVar[str] = "noise in layers"

    def __init__(self, std: float) -> None:
        super().__init__()
        self.std = std

    def forward(self, x: Tensor) -> Tensor:
        return x + self.std * self.normal(x) if self.training else x


class GaussianNoise(StochasticLayer):
    """Adds N(0, std^2) between the generator's layers (ganhacks 13), when it learns and when it is sampled.

    What the generator has learned to make is made with this noise: it is a part of the code.
    """

    batchwise: ClassVar[str] = "noise in layers"

    def __init__(self, std: float) -> None:
        super().__init__()
        self.std = std

    def forward(self, x: Tensor) -> Tensor:
        return x + self.std * self.normal(x)


class Dropout(StochasticLayer):
    """Srivastava et al. 2014, as `torch.nn.Dropout`: while training, a number becomes 0 with probability `rate`, and
    the others become 1 / (1 - rate) times what they were.

    lasting  in evaluation mode, too: when the generator is sampled (Isola et al. 2017, section 3.1; ganhacks 17)
    """

    batchwise: ClassVar[str] = "dropout"

    def __init__(self, rate: float, *, lasting: bool = False) -> None:
        super().__init__()
        self.rate, self.lasting = rate, lasting

    def forward(self, x: Tensor) -> Tensor:
        if not self.training and not self.lasting:
            return x
        kept = torch.empty_like(x).bernoulli_(1 - self.rate, generator=self.generator)
        return x * kept.div_(1 - self.rate)
