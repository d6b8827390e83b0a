"""Fully connected networks. Images are (B, C, H, W) in [-1, 1]."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from sparring.networks.noise import Dropout


class FromUnitRange(nn.Module):
    """[0, 1] -> [-1, 1]: for generators that end in a sigmoid."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape in [0, 1] -> the same shape in [-1, 1]."""
        return 2 * x - 1


class ToUnitRange(nn.Module):
    """[-1, 1] -> [0, 1]: for discriminators of pixels in [0, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape in [-1, 1] -> the same shape in [0, 1]."""
        return (x + 1) / 2


ACTIVATIONS: dict[str, tuple[Callable[[float], nn.Module], Callable[[float], nn.Module]]] = {
    "relu": (lambda slope: nn.ReLU(), lambda slope: nn.ReLU()),
    "leaky-relu": (nn.LeakyReLU, nn.LeakyReLU),
    "relu+leaky-relu": (lambda slope: nn.ReLU(), nn.LeakyReLU),
    "tanh": (lambda slope: nn.Tanh(), lambda slope: nn.Tanh()),
}
"""Name -> the activations of generator and discriminator: functions of the slope of LeakyReLU."""

OUTPUTS: dict[str, list[Callable[[], nn.Module]]] = {
    "tanh": [nn.Tanh],
    "sigmoid": [nn.Sigmoid, FromUnitRange],
    "unscaled-sigmoid": [nn.Sigmoid],
}
"""Layers that end a generator. "unscaled-sigmoid": pixels in [0, 1], images in [-1, 1], a common error."""

NORMS: dict[str, list[Callable[[int], nn.Module]]] = {"none": [], "batch": [nn.BatchNorm1d], "layer": [nn.LayerNorm]}
"""Layers after a linear layer with so many outputs, before its activation."""


def generator(
    latent_dim: int,
    hidden: Sequence[int],
    shape: tuple[int, int, int],
    *,
    activation: Callable[[], nn.Module],
    dropout: float = 0.0,
    output: str = "tanh",
    norm: str = "none",
) -> nn.Sequential:
    """(B, latent) -> (B, *shape): linear layers of widths `hidden`. output, norm: keys of OUTPUTS and NORMS."""
    layers: list[nn.Module] = []
    for inputs, outputs in zip([latent_dim, *hidden], hidden, strict=False):
        layers += [nn.Linear(inputs, outputs), *(make(outputs) for make in NORMS[norm]), activation()]
        if dropout:
            layers.append(Dropout(dropout))
    layers.append(nn.Linear([latent_dim, *hidden][-1], math.prod(shape)))
    return nn.Sequential(*layers, *(make() for make in OUTPUTS[output]), nn.Unflatten(1, shape))


def discriminator(
    shape: tuple[int, int, int],
    hidden: Sequence[int],
    *,
    activation: Callable[[], nn.Module],
    dropout: float = 0.0,
    unit_range: bool = False,
    norm: str = "none",
) -> nn.Sequential:
    """(B, *shape) -> (B, 1) logits: linear layers of widths `hidden`.

    unit_range  rescales pixels to [0, 1]
    norm        a key of NORMS: after each hidden layer but the first (Radford et al. 2016: none next to the image)
    """
    layers: list[nn.Module] = [ToUnitRange()] if unit_range else []
    layers.append(nn.Flatten())
    widths = [math.prod(shape), *hidden]
    for i, (inputs, outputs) in enumerate(zip(widths, hidden, strict=False)):
        layers += [nn.Linear(inputs, outputs), *(make(outputs) for make in NORMS[norm] if i), activation()]
        if dropout:
            layers.append(Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(widths[-1], 1))
