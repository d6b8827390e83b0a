"""Encoders and decoders of three VAEs. Encoders end in means and log-variances, decoders in logits of pixels."""

from __future__ import annotations

import math

from torch import nn

from sparring.networks.aae import started
from sparring.networks.chollet import keras_init
from sparring.networks.mlp import FromUnitRange, ToUnitRange
from sparring.networks.resample import Crop


def image() -> nn.Sequential:
    """Bernoulli logits -> mean images in [-1, 1]."""
    return nn.Sequential(nn.Sigmoid(), FromUnitRange())


def kingma_encoder(shape: tuple[int, int, int], width: int, latent_dim: int) -> nn.Sequential:
    """Kingma and Welling 2014, appendix C: (B, *shape) -> (B, 2 latent), one tanh layer.

    Initial weights N(0, .01^2): we read the paper's N(0, .01) as a standard deviation.
    """
    pixels = math.prod(shape)
    return started(
        nn.Sequential(
            ToUnitRange(), nn.Flatten(), nn.Linear(pixels, width), nn.Tanh(), nn.Linear(width, 2 * latent_dim)
        )
    )


def kingma_decoder(latent_dim: int, width: int, shape: tuple[int, int, int]) -> nn.Sequential:
    """Kingma and Welling 2014, appendix C.1: (B, latent) -> (B, *shape) logits, one tanh layer."""
    pixels = math.prod(shape)
    return started(
        nn.Sequential(nn.Linear(latent_dim, width), nn.Tanh(), nn.Linear(width, pixels), nn.Unflatten(1, shape))
    )


def keras_encoder(network: nn.Sequential) -> nn.Sequential:
    """Keras's initialization; the last layer is two separate layers there, for means and log-variances."""
    keras_init(network)
    heads = network[-1]
    assert isinstance(heads, nn.Linear)
    for weight in heads.weight.detach().chunk(2):
        nn.init.xavier_uniform_(weight)
    return network


def chollet_encoder(latent_dim: int, channels: int = 1) -> nn.Sequential:
    """Chollet 2017, listing 8.23: (B, channels, 28, 28) -> (B, 2 latent)."""
    return keras_encoder(
        nn.Sequential(
            ToUnitRange(),
            nn.Conv2d(channels, 32, 3, padding=1),
            nn.ReLU(),
            nn.ZeroPad2d((0, 1, 0, 1)),  # Keras's "same" for an even side: pads right and below
            nn.Conv2d(32, 64, 3, stride=2),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64 * 14 * 14, 32),
            nn.ReLU(),
            nn.Linear(32, 2 * latent_dim),
        )
    )


def chollet_decoder(latent_dim: int, channels: int = 1) -> nn.Sequential:
    """Chollet 2017, listing 8.25: (B, latent) -> (B, channels, 28, 28) logits."""
    return keras_init(
        nn.Sequential(
            nn.Linear(latent_dim, 64 * 14 * 14),
            nn.ReLU(),
            nn.Unflatten(1, (64, 14, 14)),
            nn.ConvTranspose2d(64, 32, 3, stride=2),
            Crop(28),
            nn.ReLU(),
            nn.Conv2d(32, channels, 3, padding=1),
        )
    )


def smu_encoder(latent_dim: int, channels: int = 1) -> nn.Sequential:
    """SMU's notebook 07a: (B, channels, 28, 28) -> (B, 2 latent); the layer of 32 units is linear."""
    return keras_encoder(
        nn.Sequential(
            ToUnitRange(),
            nn.Conv2d(channels, 32, 3, padding=1),
            nn.ReLU(),
            nn.ZeroPad2d((0, 1, 0, 1)),
            nn.Conv2d(32, 64, 3, stride=2),
            nn.ReLU(),
            nn.ZeroPad2d((0, 1, 0, 1)),
            nn.Conv2d(64, 64, 3, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64 * 7 * 7, 32),
            nn.Linear(32, 2 * latent_dim),
        )
    )


def smu_decoder(latent_dim: int, channels: int = 1) -> nn.Sequential:
    """SMU's notebook 07a: (B, latent) -> (B, channels, 28, 28) logits; 4x4 kernels with stride 2."""
    return keras_init(
        nn.Sequential(
            nn.Linear(latent_dim, 64 * 7 * 7),
            nn.ReLU(),
            nn.Unflatten(1, (64, 7, 7)),
            nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 32, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, channels, 3, padding=1),
        )
    )
