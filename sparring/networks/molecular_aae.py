"""The networks of Kadurin et al. 2017 (the authors' aae_v3.py): encoder, decoder and discriminator.

Two differences from their code. Our batch norms have no scale, which is redundant before a ReLU and a linear layer. And
all layers use PyTorch's default initialization. Their code initializes biases with N(0, 1); weights of trunk and heads
as Glorot and Bengio 2010, which was no better in the first hundreds of rounds; and weights of decoder and discriminator
with a standard deviation of 2 / (inputs outputs), so small that the decoder outputs the mean fingerprint for a thousand
rounds.
"""

from __future__ import annotations

from torch import nn

KEYS = 166


def trunk() -> nn.Sequential:
    """(B, 166 + 1) keys in [0, 1] and log10 concentration -> (B, 64)."""
    return nn.Sequential(*_layer(KEYS + 1, 128), *_layer(128, 64))


def head(units: int) -> nn.Linear:
    """(B, 64) of the trunk -> (B, units): the fingerprint neurons of the code, or the growth."""
    return nn.Linear(64, units)


def decoder(latent_dim: int) -> nn.Sequential:
    """(B, latent + 1) fingerprint neurons and growth -> (B, 166 + 1) logits of keys and log10 concentration."""
    return nn.Sequential(
        nn.Linear(latent_dim + 1, 64),
        nn.Tanh(),
        nn.Linear(64, 128),
        nn.Tanh(),
        nn.Linear(128, KEYS + 1),
    )


def discriminator(latent_dim: int) -> nn.Sequential:
    """(B, latent) -> (B, 1) logits, over 2 latent - 2 units."""
    return nn.Sequential(nn.Linear(latent_dim, 2 * latent_dim - 2), nn.ReLU(), nn.Linear(2 * latent_dim - 2, 1))


def _layer(inputs: int, units: int) -> list[nn.Module]:
    norm = nn.BatchNorm1d(units, eps=1e-3)
    norm.register_parameter("weight", None)
    return [nn.Linear(inputs, units, bias=False), norm, nn.ReLU()]
