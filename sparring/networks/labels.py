"""Learned label embeddings: as extra image channels for D, as extra inputs for G."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EMBED_SIDE = 4
"""Side of the maps computed from an embedding, before resizing to the image."""


class LabelAsChannels(nn.Module):
    """A discriminator of labeled images (ganhacks 16): (B, C, H, W), (B,) int64 -> scores.

    preprocess     (B, C, H, W) -> the same shape, before labels are appended (augmentation, noise)
    discriminator  (B, C + maps, H, W) -> scores

    The label embedding of length `maps` is mapped linearly to `maps` channels of 4x4, which are resized bilinearly.
    """

    def __init__(self, preprocess: nn.Module, discriminator: nn.Module, classes: int, maps: int) -> None:
        super().__init__()
        self.preprocess, self.discriminator = preprocess, discriminator
        self.embedding = nn.Embedding(classes, maps)
        self.spread = nn.Sequential(
            nn.Linear(maps, maps * EMBED_SIDE * EMBED_SIDE), nn.Unflatten(1, (maps, EMBED_SIDE, EMBED_SIDE))
        )

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(B, C, H, W) images and (B,) int64 labels -> the discriminator's scores."""
        maps = F.interpolate(self.spread(self.embedding(y)), size=x.shape[2:], mode="bilinear")
        out: Tensor = self.discriminator(torch.cat([self.preprocess(x), maps.to(x.dtype)], 1))
        return out


class LabelEmbeddingInput(nn.Module):
    """A generator of labeled images: (B, latent), (B,) int64 -> network(code with the label's embedding appended).

    network  (B, latent + length) -> images
    """

    def __init__(self, network: nn.Module, classes: int, length: int) -> None:
        super().__init__()
        self.network = network
        self.embedding = nn.Embedding(classes, length)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """(B, latent) codes and (B,) int64 labels -> the network's images."""
        out: Tensor = self.network(torch.cat([z, self.embedding(y)], 1))
        return out
