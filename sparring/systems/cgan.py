"""Mirza and Osindero 2014, "Conditional Generative Adversarial Nets": class-conditional G and D."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import torch
from torch import Tensor, nn

from sparring.losses import Game, to_float32
from sparring.system import Move, NextBatch, grid_columns_for, next_labeled
from sparring.systems.gan import GAN

LabelsLike = int | Sequence[int] | Tensor | None
"""Requested classes: one for all images, a sequence that is repeated, or None for each in turn."""


class ConditionalGAN(GAN):
    """Eq. 2: the discriminator scores pairs of image and class, the generator maps noise and class to images.

    G        (B, latent), (B,) int64 -> (B, C, H, W) in [-1, 1]
    D        (B, C, H, W), (B,) int64 -> (B, 1) or (B,) scores (logits)
    classes  number of classes
    game, noise  as in GAN
    """

    takes = {"sample": {"labels", "truncation"}, "decode": {"labels"}, "score": {"labels"}}

    def __init__(
        self, G: nn.Module, D: nn.Module, *, latent_dim: int, classes: int, game: Game, noise: str = "normal"
    ) -> None:
        super().__init__(G, D, latent_dim=latent_dim, game=game, noise=noise)
        self.classes = classes
        self.grid_columns = grid_columns_for(classes)

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        x, y = next_labeled(feed)
        with torch.no_grad():
            fake = self.G(self.noise(len(x)), y)
        real_score, fake_score = to_float32(self.D(x, y)), to_float32(self.D(fake, y))
        loss = self.game.discriminator(real_score, fake_score, uniform=self.uniform)
        yield Move("discriminator", loss, real=real_score.mean(), fake=fake_score.mean())

        yield Move("generator", self.game.generator(self.D(self.G(self.noise(len(x)), y), y)))

    def sample(self, n: int, *, seed: int = 0, labels: LabelsLike = None, truncation: float | None = None) -> Tensor:
        """(n, C, H, W) images in [-1, 1] on the CPU; they depend on the weights and the arguments only.

        truncation  numbers of a code beyond +- this are resampled: less variety, better quality
        """
        return self.decode(self.sample_latents(n, seed=seed, truncation=truncation), labels=labels)

    def decode(self, codes: Tensor, *, labels: LabelsLike = None) -> Tensor:
        """(n, C, H, W) images in [-1, 1] of (n, latent) noise and the given classes."""
        return self.generate_images(self.G, codes, self.expand_labels(len(codes), labels))

    def score(self, images: Tensor, *, labels: LabelsLike = None) -> Tensor:
        """(n,) scores of (n, C, H, W) images in [-1, 1] with the given classes; higher = more real."""
        return (
            self.game.direction_of_real
            * self.run_batched(self.D, images, self.expand_labels(len(images), labels)).flatten()
        )
