"""The convolutional networks of the CS231n GAN notebook, for 28x28 images with one channel or more."""

from __future__ import annotations

from torch import nn

from sparring.networks.init import xavier_uniform


def generator(latent_dim: int, channels: int = 1) -> nn.Module:
    """(B, latent) -> (B, channels, 28, 28) in [-1, 1]. Batch norm comes after ReLU here, as in the notebook."""
    network = nn.Sequential(
        nn.Linear(latent_dim, 1024),
        nn.ReLU(),
        nn.BatchNorm1d(1024),
        nn.Linear(1024, 128 * 7 * 7),
        nn.ReLU(),
        nn.BatchNorm1d(128 * 7 * 7),
        nn.Unflatten(1, (128, 7, 7)),
        nn.ConvTranspose2d(128, 64, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.BatchNorm2d(64),
        nn.ConvTranspose2d(64, channels, 4, stride=2, padding=1),
        nn.Tanh(),
    )
    return xavier_uniform(network)


def discriminator(channels: int = 1, outputs: int = 1) -> nn.Module:
    """(B, channels, 28, 28) -> (B, outputs) logits: two 5x5 convolutions with max pooling, no batch norm.

    The notebook calls it a classifier: with 10 outputs it classifies digits.
    """
    network = nn.Sequential(
        nn.Conv2d(channels, 32, 5),
        nn.LeakyReLU(0.01),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5),
        nn.LeakyReLU(0.01),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * 4 * 64, 4 * 4 * 64),
        nn.LeakyReLU(0.01),
        nn.Linear(4 * 4 * 64, outputs),
    )
    return xavier_uniform(network)
