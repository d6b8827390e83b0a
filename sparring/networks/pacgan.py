"""Lin et al. 2018, "PacGAN", the small networks of its stacked-MNIST experiment (after Metz et al. 2017); 28x28.

Initial weights and padding (TensorFlow's "same") are those of the authors' code.
"""

from __future__ import annotations

from torch import nn

from sparring.networks.init import dcgan_tensorflow
from sparring.networks.resample import Crop

SIDE = 28


def generator(latent_dim: int, channels: int = 3) -> nn.Module:
    """(B, latent) -> (B, channels, 28, 28) in [-1, 1]: 4x4x64, three upsampling 3x3 layers, then a 3x3 convolution.

    287,875 parameters for 256 latent dimensions and three channels.
    """
    return dcgan_tensorflow(
        nn.Sequential(
            nn.Linear(latent_dim, 64 * 4 * 4), nn.Unflatten(1, (64, 4, 4)), nn.BatchNorm2d(64), nn.ReLU(),
            nn.ConvTranspose2d(64, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU(),  # 7x7
            nn.ConvTranspose2d(32, 16, 3, 2), Crop(14), nn.BatchNorm2d(16), nn.ReLU(),
            nn.ConvTranspose2d(16, 8, 3, 2), Crop(28), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, channels, 3, 1, 1), nn.Tanh(),
        ),
        gains=0.0,
    )  # fmt: skip


def discriminator(channels: int, d_channels: int) -> nn.Module:
    """(B, channels, 28, 28) -> (B, 1) logits; three layers of d_channels, 2 and 4 times as many, each halving the side.

    With d_channels = 2 ("D = G/4") it has 585 parameters for one image of three channels, and 54 more per extra image.
    """
    pad = nn.ZeroPad2d((0, 1, 0, 1))
    layers: list[nn.Module] = [
        *(pad, nn.Conv2d(channels, d_channels, 3, 2), nn.BatchNorm2d(d_channels), nn.LeakyReLU(0.3)),
        *(pad, nn.Conv2d(d_channels, 2 * d_channels, 3, 2), nn.BatchNorm2d(2 * d_channels), nn.LeakyReLU(0.3)),
        *(nn.Conv2d(2 * d_channels, 4 * d_channels, 3, 2, 1), nn.BatchNorm2d(4 * d_channels), nn.LeakyReLU(0.3)),
    ]
    return dcgan_tensorflow(nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * d_channels * 4 * 4, 1)), gains=0.0)
