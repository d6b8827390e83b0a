"""The networks of Larsen et al. 2016, table 1, as in the authors' code (andersbll/autoencoding_beyond_pixels).

Batch norm follows every layer except the first and last of the discriminator and the last ones of encoder and decoder.
Initial weights are those of the code (`init.deeppy`), which is for 64 pixels and a `width` of 32. Here images have 16,
28, 32, 64 or 128 pixels; at 28, the first of the decoder's three layers that double the image keeps its 7x7 pixels.
"""

from __future__ import annotations

from torch import nn

from sparring.errors import require_size
from sparring.networks import init

SIZES = (16, 28, 32, 64, 128)


def encoder(latent_dim: int, width: int, channels: int, size: int = 64) -> nn.Sequential:
    """(B, channels, size, size) -> (B, 2 latent): three 5x5 convolutions with stride 2, a linear layer."""
    side = _eighth(size)
    return init.deeppy(
        nn.Sequential(
            *_halve(channels, 2 * width),
            *_halve(2 * width, 4 * width),
            *_halve(4 * width, 8 * width),
            nn.Flatten(),
            nn.Linear(8 * width * side**2, 32 * width, bias=False),
            nn.BatchNorm1d(32 * width),
            nn.ReLU(),
            nn.Linear(32 * width, 2 * latent_dim),
        )
    )


def decoder(latent_dim: int, width: int, channels: int, size: int = 64) -> nn.Sequential:
    """(B, latent) -> (B, channels, size, size) in [-1, 1]: a linear layer, three 5x5 convolutions that double it."""
    side = 7 if size == 28 else _eighth(size)
    return init.deeppy(
        nn.Sequential(
            nn.Linear(latent_dim, 8 * width * side**2, bias=False),
            nn.BatchNorm1d(8 * width * side**2),
            nn.ReLU(),
            nn.Unflatten(1, (8 * width, side, side)),
            *_double(8 * width, 8 * width, stride=1 if size == 28 else 2),
            *_double(8 * width, 4 * width),
            *_double(4 * width, width),
            nn.Conv2d(width, channels, 5, padding=2),
            nn.Tanh(),
        )
    )


def trunk(width: int, channels: int) -> nn.Sequential:
    """(B, channels, S, S) -> (B, 8 width, S / 8, S / 8) features: the discriminator up to its fourth convolution."""
    return init.deeppy(
        nn.Sequential(
            nn.Conv2d(channels, width, 5, padding=2),
            nn.ReLU(),
            *_halve(width, 4 * width),
            *_halve(4 * width, 8 * width),
            _half(8 * width, 8 * width),
        )
    )


def head(width: int, size: int = 64) -> nn.Sequential:
    """(B, 8 width, size / 8, size / 8) features -> (B, 1) logits: the other layers of the discriminator."""
    return init.deeppy(
        nn.Sequential(
            nn.BatchNorm2d(8 * width),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(8 * width * _eighth(size) ** 2, 16 * width, bias=False),
            nn.BatchNorm1d(16 * width),
            nn.ReLU(),
            nn.Linear(16 * width, 1),
        )
    )


def _eighth(size: int) -> int:
    """The side of the image after three halvings, each rounded up."""
    require_size("vae-gan", size, SIZES)
    return -(-size // 8)


def _half(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 5, stride=2, padding=2, bias=False)


def _halve(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return _half(inputs, outputs), nn.BatchNorm2d(outputs), nn.ReLU()


def _double(inputs: int, outputs: int, *, stride: int = 2) -> tuple[nn.Module, ...]:
    double = nn.ConvTranspose2d(inputs, outputs, 5, stride, padding=2, output_padding=stride - 1, bias=False)
    return double, nn.BatchNorm2d(outputs), nn.ReLU()
