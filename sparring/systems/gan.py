"""Goodfellow et al. 2014, "Generative Adversarial Nets", algorithm 1."""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor, nn

from sparring.losses import Game
from sparring.system import Move, NextBatch
from sparring.systems.noise_model import NoiseModel


class GAN(NoiseModel):
    """A discriminator learns to separate real from generated images, a generator to fool it.

    D            (B, C, H, W) -> (B, 1) or (B,) scores (logits)
    game         the pair of losses (sparring.losses.GAMES)
    G, latent_dim, noise  as in NoiseModel
    discriminator_steps  k of algorithm 1: discriminator moves per round, each on new images and new codes (1)
    resample_noise  the generator's move draws new codes (algorithm 1); False: it reuses the fakes of D's last move,
                 which saves a forward pass of G
    joint_batch  D sees real and generated images in one batch (CSC321), so they share batch-norm statistics;
                 False: two batches (ganhacks 4)
    """

    players = {"discriminator": ("D",), "generator": ("G",)}

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        *,
        latent_dim: int,
        game: Game,
        noise: str = "normal",
        discriminator_steps: int = 1,
        resample_noise: bool = True,
        joint_batch: bool = False,
    ) -> None:
        super().__init__(G, latent_dim=latent_dim, noise=noise)
        self.D, self.game, self.discriminator_steps = D, game, discriminator_steps
        self.resample_noise, self.joint_batch = resample_noise, joint_batch
        self.caveats = game.caveats()

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        """Algorithm 1: `discriminator_steps` discriminator moves, then one generator move."""
        for _ in range(self.discriminator_steps):  # "for k steps do"
            x, _ = feed("train")
            with torch.set_grad_enabled(not self.resample_noise):
                fake = self.G(self.noise(len(x)))
            real_score, fake_score = self.scores(x, fake.detach())
            loss = self.game.discriminator(real_score, fake_score, uniform=self.uniform)
            yield Move("discriminator", loss, real=real_score.mean(), fake=fake_score.mean())

        if self.resample_noise:
            fake = self.G(self.noise(len(x)))
        yield Move("generator", self.game.generator(self.D(fake)))

    def scores(self, x: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """D's scores of real and of generated images, in one joint batch or in two."""
        if self.joint_batch:
            real_score, fake_score = self.D(torch.cat([x, fake])).chunk(2)
            return real_score, fake_score
        return self.D(x), self.D(fake)

    def score(self, images: Tensor) -> Tensor:
        """(n,) scores of (n, C, H, W) images in [-1, 1], higher = more real, also with inverted targets."""
        return self.game.direction_of_real * self.run_batched(self.D, images).flatten()

    def equilibrium(self) -> dict[str, float]:
        """Both players' losses when generated and real images are indistinguishable."""
        return dict(zip(self.players, self.game.equilibrium(), strict=True))
