"""Goodfellow et al. 2014, "Generative Adversarial Nets", algorithm 1, with k = 1."""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor, nn

from sparring.losses import Game, to_float32
from sparring.system import Move, NextBatch, System


class GAN(System):
    """A discriminator learns to separate real from generated images, a generator to fool it.

    G            (B, latent) -> (B, C, H, W) in [-1, 1]
    D            (B, C, H, W) -> (B, 1) or (B,) scores (logits)
    game         the pair of losses (sparring.losses.GAMES)
    noise        a key of NOISE_DISTRIBUTIONS: "normal", "uniform" ...
    resample_noise  the generator's move draws new codes (algorithm 1); False: it reuses the fakes of D's move, which
                 saves a forward pass of G
    joint_batch  D sees real and generated images in one batch (CSC321), so they share batch-norm statistics;
                 False: two batches (ganhacks 4)
    """

    players = {"discriminator": ("D",), "generator": ("G",)}
    ema_networks = ("G",)
    takes = {"sample": {"truncation"}, "sample_latents": {"truncation"}}

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        *,
        latent_dim: int,
        game: Game,
        noise: str = "normal",
        resample_noise: bool = True,
        joint_batch: bool = False,
    ) -> None:
        super().__init__()
        self.G, self.D = G, D
        self.game = game
        self.latent_dim, self.noise_distribution = latent_dim, noise
        self.spherical_latent = not noise.endswith("uniform")
        self.resample_noise, self.joint_batch = resample_noise, joint_batch

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        x, _ = feed("train")
        with torch.set_grad_enabled(not self.resample_noise):
            fake = self.G(self.noise(len(x)))
        real_score, fake_score = self.scores(x, fake.detach())
        loss = self.game.discriminator(real_score, fake_score, uniform=self.uniform)  # algorithm 1, first step
        yield Move("discriminator", loss, real=real_score.mean(), fake=fake_score.mean())

        if self.resample_noise:
            fake = self.G(self.noise(len(x)))
        yield Move("generator", self.game.generator(self.D(fake)))  # algorithm 1, second step

    def scores(self, x: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """D's scores of real and of generated images, in one joint batch or in two."""
        if self.joint_batch:
            real_score, fake_score = to_float32(self.D(torch.cat([x, fake]))).chunk(2)
            return real_score, fake_score
        return to_float32(self.D(x)), to_float32(self.D(fake))

    def sample(self, n: int, *, seed: int = 0, truncation: float | None = None) -> Tensor:
        """(n, C, H, W) images in [-1, 1] on the CPU; they depend on the weights and the arguments only.

        truncation  numbers of a code beyond +- this are resampled: less variety, better quality
        """
        return self.decode(self.sample_latents(n, seed=seed, truncation=truncation))

    def sample_latents(self, n: int, *, seed: int = 0, truncation: float | None = None) -> Tensor:
        """(n, latent) noise."""
        return self.codes(n, seed, truncation)

    def decode(self, codes: Tensor) -> Tensor:
        """(n, C, H, W) images in [-1, 1] of (n, latent) noise."""
        return self.generate_images(self.G, codes)

    def score(self, images: Tensor) -> Tensor:
        """(n,) scores of (n, C, H, W) images in [-1, 1], higher = more real, also with inverted targets."""
        return self.game.direction_of_real * self.run_batched(self.D, images).flatten()

    def equilibrium(self) -> dict[str, float]:
        """Both players' losses when generated and real images are indistinguishable."""
        return dict(zip(self.players, self.game.equilibrium(), strict=True))
