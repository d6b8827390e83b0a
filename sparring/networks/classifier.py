"""Networks of classifiers."""

from __future__ import annotations

import math

from torch import Tensor, nn

from sparring.networks.mlp import ToUnitRange


class Normalize(nn.Module):
    """(x - mean) / std, like torchvision's transform of the same name."""

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.mean, self.std = mean, std

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same shape."""
        return (x - self.mean) / self.std


def mnist_net(classes: int, channels: int = 1, *, normalize: bool = True) -> nn.Sequential:
    """(B, channels, 28, 28) in [-1, 1] -> (B, classes) logits: two 5x5 convolutions with max pooling, 500 units.

    normalize  standardize with the mean and deviation of MNIST's training pixels; False: pixels in [0, 1]
    """
    return nn.Sequential(
        ToUnitRange(),
        Normalize(0.1307, 0.3081) if normalize else nn.Identity(),
        nn.Conv2d(channels, 20, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(50 * 4 * 4, 500),
        nn.ReLU(),
        nn.Linear(500, classes),
    )


def perceptron(shape: tuple[int, int, int], width: int, classes: int) -> nn.Sequential:
    """(B, *shape) in [-1, 1] -> (B, classes) logits: two hidden ReLU layers."""
    return nn.Sequential(
        ToUnitRange(),
        nn.Flatten(),
        nn.Linear(math.prod(shape), width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, classes),
    )
