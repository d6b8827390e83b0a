"""Labels as an embedding that is learned: extra channels of the images for D, extra numbers of the code for G."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALL = 4
"""Side of the maps that are made of an embedding, before they are resized to the image."""


class LabelAsChannels(nn.Module):
    """A discriminator of labeled images (ganhacks 16): (B, C, H, W), (B,) int64 -> what `judge` makes of them.

    look   (B, C, H, W) -> the same: what befalls images before they get their labels (augmentation, noise)
    judge  (B, C + maps, H, W) -> scores

    The label's embedding of `maps` numbers goes through a linear layer into `maps` channels of 4x4, resized bilinearly.
    """

    def __init__(self, look: nn.Module, judge: nn.Module, classes: int, maps: int) -> None:
        super().__init__()
        self.look, self.judge = look, judge
        self.embedding = nn.Embedding(classes, maps)
        self.spread = nn.Sequential(nn.Linear(maps, maps * SMALL * SMALL), nn.Unflatten(1, (maps, SMALL, SMALL)))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        maps = F.interpolate(self.spread(self.embedding(y)), size=x.shape[2:], mode="bilinear")
        return self.judge(torch.cat([self.look(x), maps.to(x.dtype)], 1))


class LabelEmbeddingInput(nn.Module):
    """A generator of labeled images: (B, latent), (B,) int64 -> network(code with the label's embedding appended).

    network  (B, latent + length) -> images
    """

    def __init__(self, network: nn.Module, classes: int, length: int) -> None:
        super().__init__()
        self.network = network
        self.embedding = nn.Embedding(classes, length)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return self.network(torch.cat([z, self.embedding(y)], 1))
