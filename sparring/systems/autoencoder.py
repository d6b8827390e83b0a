"""A plain autoencoder trained with the squared error: the baseline of the lectures."""

from __future__ import annotations

from collections.abc import Generator
from typing import ClassVar

from torch import Tensor, nn

from sparring.losses import half_squared_error
from sparring.system import Move, NextBatch, System


class Autoencoder(System):
    """Encoder and decoder, updated together.

    encoder  (B, C, H, W) -> (B, latent)
    decoder  (B, latent) -> (B, C, H, W) in [-1, 1]
    """

    players = {"autoencoder": ("encoder", "decoder")}
    ema_networks: ClassVar[tuple[str, ...]] = ("encoder", "decoder")

    def __init__(self, encoder: nn.Module, decoder: nn.Module, *, latent_dim: int) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.latent_dim = latent_dim

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        """One move: half the squared error of the reconstructions."""
        x, _ = feed("train")
        yield Move("autoencoder", half_squared_error(self.decoder(self.encoder(x)), x).mean())

    def encode(self, images: Tensor) -> Tensor:
        """(n, latent) codes of (n, C, H, W) images in [-1, 1]."""
        return self.run_batched(self.encoder, images)

    def decode(self, codes: Tensor) -> Tensor:
        """(n, C, H, W) images in [-1, 1] of (n, latent) codes."""
        return self.generate_images(self.decoder, codes)

    def reconstruct(self, images: Tensor) -> Tensor:
        """Reconstructions of (n, C, H, W) images in [-1, 1]."""
        return self.decode(self.encode(images))
