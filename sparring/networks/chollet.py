"""The networks of Chollet 2017, Deep Learning with Python, section 8.5: frogs from CIFAR-10, without batch norm.

His tricks that are visible here: tanh at G's end, LeakyReLU instead of ReLU, dropout in D, and wherever an image is
halved or doubled a kernel that the stride divides (no checkerboards).
"""

from __future__ import annotations

from torch import Tensor, nn

from sparring.networks.mlp import FromUnitRange, ToUnitRange
from sparring.networks.noise import Dropout

SLOPE = 0.3
"""Keras's own slope of LeakyReLU."""


class ClampInEval(nn.Module):
    """Any range -> [-1, 1] in evaluation mode; in training mode nothing, as D must see what G made."""

    def forward(self, x: Tensor) -> Tensor:
        return x if self.training else x.clamp(-1, 1)


def generator(latent_dim: int, width: int = 128, channels: int = 3, *, unit: bool = False) -> nn.Sequential:
    """(B, latent) -> (B, channels, 32, 32) in [-1, 1]; `width` maps at 16x16, then twice as many.

    `unit`: the output of tanh is taken for pixels in [0, 1], so images in our range reach from -3 to 1; those that are
    shown (evaluation mode) are cut to [-1, 1].
    """
    wide = 2 * width
    return keras_init(
        nn.Sequential(
            nn.Linear(latent_dim, width * 16 * 16),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Unflatten(1, (width, 16, 16)),
            nn.Conv2d(width, wide, 5, padding=2),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.ConvTranspose2d(wide, wide, 4, stride=2, padding=1),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Conv2d(wide, wide, 5, padding=2),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Conv2d(wide, wide, 5, padding=2),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Conv2d(wide, channels, 7, padding=3),
            nn.Tanh(),
            *([FromUnitRange(), ClampInEval()] if unit else []),
        )
    )


def discriminator(width: int = 128, channels: int = 3, *, unit: bool = False) -> nn.Sequential:
    """(B, channels, 32, 32) -> (B, 1) logits: 32 -> 30 -> 14 -> 6 -> 2, no padding; `unit`: pixels to [0, 1] first."""
    return keras_init(
        nn.Sequential(
            *([ToUnitRange()] if unit else []),
            nn.Conv2d(channels, width, 3),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Conv2d(width, width, 4, stride=2),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Conv2d(width, width, 4, stride=2),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Conv2d(width, width, 4, stride=2),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Flatten(),
            Dropout(0.4),
            nn.Linear(width * 2 * 2, 1),
        )
    )


def keras_init(network: nn.Sequential) -> nn.Sequential:
    """Keras's own initial values: Glorot and Bengio 2010, eq. 16, in every layer; biases 0."""
    for weight in network.parameters():
        if weight.ndim == 1:
            nn.init.zeros_(weight)
        else:
            nn.init.xavier_uniform_(weight)
    return network
