"""The MNIST networks of Chen et al. 2016 (InfoGAN), appendix C.1, for 28x28 images; also used by AC-GAN here.

LeakyReLU has the paper's slope of .1; the authors' code has .01. Initial weights are those of their code.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparring.networks.init import dcgan_tensorflow

FEATURES = 1024
"""Length of the trunk's output, and of the generator's first layer."""


def generator(inputs: int, channels: int = 1) -> nn.Module:
    """(B, inputs) -> (B, channels, 28, 28) in [-1, 1]: two linear and two 4x4 transposed convolutional layers."""
    return dcgan_tensorflow(
        nn.Sequential(
            nn.Linear(inputs, FEATURES),
            nn.BatchNorm1d(FEATURES),
            nn.ReLU(),
            nn.Linear(FEATURES, 7 * 7 * 128),
            nn.BatchNorm1d(7 * 7 * 128),
            nn.ReLU(),
            nn.Unflatten(1, (128, 7, 7)),
            nn.ConvTranspose2d(128, 64, 4, 2, 1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.ConvTranspose2d(64, channels, 4, 2, 1),
            nn.Tanh(),
        )
    )


def trunk(channels: int = 1) -> nn.Module:
    """(B, channels, 28, 28) -> (B, 1024): two 4x4 convolutions with stride 2 and a linear layer, LeakyReLU .1."""
    return dcgan_tensorflow(
        nn.Sequential(
            nn.Conv2d(channels, 64, 4, 2, 1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(64, 128, 4, 2, 1),
            nn.BatchNorm2d(128),
            nn.LeakyReLU(0.1),
            nn.Flatten(),
            nn.Linear(7 * 7 * 128, FEATURES),
            nn.BatchNorm1d(FEATURES),
            nn.LeakyReLU(0.1),
        )
    )


def q_head(outputs: int) -> nn.Module:
    """(B, 1024) -> (B, outputs): one hidden layer of 128 with batch norm."""
    return dcgan_tensorflow(
        nn.Sequential(
            nn.Linear(FEATURES, 128),
            nn.BatchNorm1d(128),
            nn.LeakyReLU(0.1),
            nn.Linear(128, outputs),
        )
    )


def head(outputs: int = 1) -> nn.Sequential:
    """(B, 1024) -> (B, outputs): a linear layer, of scores or of classes."""
    return dcgan_tensorflow(nn.Sequential(nn.Linear(FEATURES, outputs)))


class WithClass(nn.Module):
    """(B, latent), (B,) int64 -> network((B, latent + classes)): appends the one-hot class to the input."""

    def __init__(self, network: nn.Module, classes: int) -> None:
        super().__init__()
        self.network, self.classes = network, classes

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """(B, latent) codes and (B,) int64 classes -> the network's output."""
        out: Tensor = self.network(torch.cat([z, nn.functional.one_hot(y, self.classes).to(z)], 1))
        return out
