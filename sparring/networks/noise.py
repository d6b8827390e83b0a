"""Stochastic layers: instance noise, noise inside networks, and dropout.

Stochastic layers have an attribute `generator`, which the referee and the samplers set, so that nothing depends on
PyTorch's global generator, which all threads share. None means the global generator.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from sparring.networks.scheduled import Scheduled


class StochasticLayer(nn.Module):
    """A layer that draws random numbers from `generator`."""

    def __init__(self) -> None:
        super().__init__()
        self.generator: torch.Generator | None = None

    def normal(self, x: Tensor) -> Tensor:
        """N(0, 1) in the shape of x."""
        return torch.empty_like(x).normal_(generator=self.generator)


class InstanceNoise(StochasticLayer, Scheduled):
    """Adds N(0, s^2) to D's input in training mode; s decays linearly from `std` to 0 over `over` rounds.

    Sønderby et al. 2017; Arjovsky and Bottou 2017: with noise on both, the distributions of real and of generated
    images overlap.
    """

    batchwise: ClassVar[str] = "noise in layers"

    def __init__(self, std: float, over: int) -> None:
        super().__init__()
        self.std, self.over = std, over

    def current_std(self) -> float:
        """The standard deviation s in this round."""
        return self.std * max(0.0, 1 - self.round_index / self.over)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same shape, with noise of the current s in training mode."""
        std = self.current_std() if self.training else 0.0
        return x + std * self.normal(x) if std else x


class TrainingNoise(StochasticLayer):
    """Adds N(0, std^2) in training mode; the identity in evaluation mode."""

    batchwise: ClassVar[str] = "noise in layers"

    def __init__(self, std: float) -> None:
        super().__init__()
        self.std = std

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same shape, with noise in training mode."""
        return x + self.std * self.normal(x) if self.training else x


class GaussianNoise(StochasticLayer):
    """Adds N(0, std^2) between the generator's layers (ganhacks 13), in training and in sampling.

    The noise acts as an additional latent input, so it stays on in evaluation mode.
    """

    batchwise: ClassVar[str] = "noise in layers"

    def __init__(self, std: float) -> None:
        super().__init__()
        self.std = std

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same shape, with noise in both modes."""
        return x + self.std * self.normal(x)


class Dropout(StochasticLayer):
    """Srivastava et al. 2014: like `torch.nn.Dropout`, with random numbers from `generator`.

    In training mode zeroes elements with probability `rate`, and scales the others by 1 / (1 - rate).

    active_in_eval  also active in evaluation mode, for sampling (Isola et al. 2017, section 3.1; ganhacks 17)
    """

    batchwise: ClassVar[str] = "dropout"

    def __init__(self, rate: float, *, active_in_eval: bool = False) -> None:
        super().__init__()
        self.rate, self.active_in_eval = rate, active_in_eval

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same shape."""
        if not self.training and not self.active_in_eval:
            return x
        mask = torch.empty_like(x).bernoulli_(1 - self.rate, generator=self.generator)
        return x * mask.div_(1 - self.rate)
