"""Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data" (ADA), section 3."""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol

import torch
from torch import Tensor, nn

from sparring.errors import SparringError
from sparring.losses import Game
from sparring.system import Move, NextBatch
from sparring.systems.gan import GAN


class Augment(Protocol):
    """A module that augments images (B, C, H, W) with probability p and adapts p to D's scores."""

    p: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C, H, W) augmented images."""

    def observe(self, real_scores: Tensor, images: int) -> None:
        """Accumulates D's scores of this many real images; above 0 means that D classifies them as real."""

    def adapt(self) -> None:
        """Adjusts p to the scores observed since the last call."""


class ADA(GAN):
    """The discriminator sees only augmented images, real and generated; the probability rises as it overfits.

    G, D, latent_dim, game, noise, discriminator_steps, resample_noise, joint_batch  as in GAN; the game's scores must
              have a neutral value (not Wasserstein)
    augment   observes D's scores of real images in every discriminator move
    interval  rounds between adaptations of p (4)

    Microbatches are observed together; each process adapts its own p.
    """

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        augment: Augment,
        *,
        latent_dim: int,
        game: Game,
        interval: int = 4,
        noise: str = "normal",
        discriminator_steps: int = 1,
        resample_noise: bool = True,
        joint_batch: bool = False,
    ) -> None:
        super().__init__(
            G,
            D,
            latent_dim=latent_dim,
            game=game,
            noise=noise,
            discriminator_steps=discriminator_steps,
            resample_noise=resample_noise,
            joint_batch=joint_batch,
        )
        if game.name == "wasserstein":
            raise SparringError(
                "ADA cannot use the wasserstein game: its scores have no neutral value; choose another --game"
            )
        self.augment, self.interval = augment, interval

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        """Section 3: as `GAN.round`, on augmented images; p is adapted every `interval` rounds."""
        if self.round_index % self.interval == 0:
            self.augment.adapt()

        for _ in range(self.discriminator_steps):
            x, _ = feed("train")
            with torch.set_grad_enabled(not self.resample_noise):
                fake = self.G(self.noise(len(x)))
            real_score, fake_score = self.scores(self.augment(x), self.augment(fake.detach()))
            loss = self.game.discriminator(real_score, fake_score, uniform=self.uniform)
            yield Move(
                "discriminator", loss, real=real_score.mean(), fake=fake_score.mean(), augment_p=self.augment.p.clone()
            )
            self.augment.observe(self.signed_margin(real_score), len(x))

        if self.resample_noise:
            fake = self.G(self.noise(len(x)))
        yield Move("generator", self.game.generator(self.D(self.augment(fake))))

    def signed_margin(self, score: Tensor) -> Tensor:
        """The score's distance from the neutral score, positive on the side of real images."""
        return self.game.direction_of_real * (score.detach() - self.game.neutral_score(self.game.targets))
