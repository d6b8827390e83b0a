"""Mirza and Osindero 2014, "Conditional Generative Adversarial Nets": class-conditional G and D."""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor, nn

from sparring.losses import Game
from sparring.system import LabelsLike, Move, NextBatch, next_labeled
from sparring.systems.noise_model import ConditionalNoiseModel


class ConditionalGAN(ConditionalNoiseModel):
    """Eq. 2: the discriminator scores pairs of image and class, the generator maps noise and class to images.

    D     (B, C, H, W), (B,) int64 -> (B, 1) or (B,) scores (logits)
    game  the pair of losses (sparring.losses.GAMES)
    discriminator_steps  k of Goodfellow et al. 2014, algorithm 1: discriminator moves per round, each on new images (1)
    G, latent_dim, classes, noise  as in ConditionalNoiseModel
    """

    players = {"discriminator": ("D",), "generator": ("G",)}
    takes = {"score": {"labels"}}

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        *,
        latent_dim: int,
        classes: int,
        game: Game,
        noise: str = "normal",
        discriminator_steps: int = 1,
    ) -> None:
        super().__init__(G, latent_dim=latent_dim, classes=classes, noise=noise)
        self.D, self.game, self.discriminator_steps = D, game, discriminator_steps
        self.caveats = game.caveats()

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        """Eq. 2: `discriminator_steps` discriminator moves, then a generator move on the classes of the last."""
        for _ in range(self.discriminator_steps):
            x, y = next_labeled(feed)
            with torch.no_grad():
                fake = self.G(self.noise(len(x)), y)
            real_score, fake_score = self.D(x, y), self.D(fake, y)
            loss = self.game.discriminator(real_score, fake_score, uniform=self.uniform)
            yield Move("discriminator", loss, real=real_score.mean(), fake=fake_score.mean())

        yield Move("generator", self.game.generator(self.D(self.G(self.noise(len(x)), y), y)))

    def score(self, images: Tensor, *, labels: LabelsLike = None) -> Tensor:
        """(n,) scores of (n, C, H, W) images in [-1, 1] with these classes (default: each in turn)."""
        scores = self.run_batched(self.D, images, self.expand_labels(len(images), labels))
        return self.game.direction_of_real * scores.flatten()

    def equilibrium(self) -> dict[str, float]:
        """Both players' losses when generated and real images are indistinguishable."""
        return dict(zip(self.players, self.game.equilibrium(), strict=True))
