"""The networks of Kingma and Welling 2014, appendix C. The encoder ends in means and log-variances of the code.

Initial weights N(0, .01^2): we read the paper's N(0, .01) as a standard deviation.
"""

from __future__ import annotations

import math

from torch import nn

from sparring.networks import init
from sparring.networks.mlp import FromUnitRange, ToUnitRange


def image() -> nn.Sequential:
    """Bernoulli logits -> mean images in [-1, 1]."""
    return nn.Sequential(nn.Sigmoid(), FromUnitRange())


def encoder(shape: tuple[int, int, int], width: int, latent_dim: int) -> nn.Sequential:
    """(B, *shape) in [-1, 1] -> (B, 2 latent), one tanh layer."""
    network = nn.Sequential(
        ToUnitRange(), nn.Flatten(), nn.Linear(math.prod(shape), width), nn.Tanh(), nn.Linear(width, 2 * latent_dim)
    )
    return init.normal(network, 0.01, zero_bias=True)


def decoder(latent_dim: int, width: int, shape: tuple[int, int, int]) -> nn.Sequential:
    """(B, latent) -> (B, *shape) logits, one tanh layer."""
    network = nn.Sequential(
        nn.Linear(latent_dim, width), nn.Tanh(), nn.Linear(width, math.prod(shape)), nn.Unflatten(1, shape)
    )
    return init.normal(network, 0.01, zero_bias=True)
