"""Isola et al. 2017 (pix2pix), section 3.2 and appendix 6.1: the U-Net generator and the patch discriminator.

Normalization is by instance, with a gain and a bias: batch normalization of one image, as in the paper's experiments
with batch 1, "termed instance normalization" (section 3.3). Images therefore do not depend on the rest of their batch.
In the U-Net only the last convolution has a bias (the authors' PyTorch code; their Lua code keeps all at 0). Initial
weights: N(0, .02^2), gains N(1, .02^2), biases 0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparring.networks import init
from sparring.networks.noise import Dropout

MAX_DEPTH = 8
"""Layers of the encoder for 256x256 images, whose bottleneck is 1x1."""

DROPOUT_LAYERS = 3
"""The first so many layers of the decoder have dropout."""

MIN_SIZE = {1: 8, 2: 12, 3: 24}
"""Layers of the discriminator -> minimal image size."""


class UNet(nn.Module):
    """Encoder and decoder of `depth` layers each; layer i of the encoder is concatenated to layer depth - i.

    Encoder C64-C128-C256-C512-C512-... and decoder CD512-CD1024-CD1024-C1024-... for a width of 64, all 4x4 with
    stride 2. 54,413,955 parameters for 3 channels and depth 8 (256x256 images). The innermost layer is not normalized:
    a 1x1 map would become 0 (appendix 6.2).

    dropout  rate in the first three layers of the decoder, also in evaluation mode: the noise z of section 3.1
    skips    without them it is the paper's encoder-decoder (section 3.2.1, figure 5)
    """

    def __init__(self, channels: int, width: int, depth: int, *, dropout: float = 0.5, skips: bool = True) -> None:
        super().__init__()
        self.skips = skips
        maps = [width * min(2**i, 8) for i in range(depth)]
        self.down = nn.ModuleList([nn.Conv2d(channels, maps[0], 4, stride=2, padding=1, bias=False)])
        for i in range(1, depth):
            norm = [nn.InstanceNorm2d(maps[i], affine=True)] if i < depth - 1 else []
            conv = nn.Conv2d(maps[i - 1], maps[i], 4, stride=2, padding=1, bias=False)
            self.down.append(nn.Sequential(nn.LeakyReLU(0.2), conv, *norm))
        self.up = nn.ModuleList()
        for i in reversed(range(1, depth)):
            inputs = 2 * maps[i] if skips and i < depth - 1 else maps[i]
            up = nn.ConvTranspose2d(inputs, maps[i - 1], 4, stride=2, padding=1, bias=False)
            noise = [Dropout(dropout, active_in_eval=True)] if dropout and i >= depth - DROPOUT_LAYERS else []
            self.up.append(nn.Sequential(nn.ReLU(), up, nn.InstanceNorm2d(maps[i - 1], affine=True), *noise))
        last = nn.ConvTranspose2d(2 * maps[0] if skips else maps[0], channels, 4, stride=2, padding=1)
        self.up.append(nn.Sequential(nn.ReLU(), last, nn.Tanh()))
        _initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> the same shape in [-1, 1]; H and W are multiples of 2^depth."""
        encoded: list[Tensor] = []
        for layer in self.down:
            x = layer(x)
            encoded.append(x)
        skips = [None, *encoded[-2::-1]]
        for layer, skip in zip(self.up, skips, strict=True):
            x = layer(torch.cat([x, skip], 1) if self.skips and skip is not None else x)
        return x


def discriminator(channels: int, width: int = 64, d_layers: int = 3) -> nn.Module:
    """(B, channels, H, W) -> (B, 1, h, w) scores of patches: 70x70 pixels with 3 layers, 34x34 with 2, 16x16 with 1.

    C64 (without norm), C128, C256, C512 for 3 layers, then the output layer; 2,768,705 parameters for the 6 channels of
    an RGB image on top of its input.
    """
    stack: list[nn.Module] = [nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    maps = width
    for layer in range(d_layers):
        stride = 2 if layer < d_layers - 1 else 1
        stack += [nn.Conv2d(maps, 2 * maps, 4, stride=stride, padding=1, bias=False)]
        stack += [nn.InstanceNorm2d(2 * maps, affine=True), nn.LeakyReLU(0.2)]
        maps *= 2
    return _initialize(nn.Sequential(*stack, nn.Conv2d(maps, 1, 4, padding=1)))


def _initialize(network: nn.Module) -> nn.Module:
    init.normal(network, 0.02, zero_bias=True)
    for layer in network.modules():
        if isinstance(layer, nn.InstanceNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)
    return network
