"""Huang et al. 2024, "The GAN is dead; long live the GAN!" (R3GAN): relativistic scores, penalties on both images."""

from __future__ import annotations

import math
from collections.abc import Generator

import torch
from torch import Tensor, nn

from sparring.losses import GAMES, gradient_penalty, relativistic
from sparring.system import Move, NextBatch
from sparring.systems.gan import GAN


class R3GAN(GAN):
    """Relativistic pairing loss, with zero-centered gradient penalties on real and generated images.

    Each move draws its own real images, as in the authors' code.

    G, D, latent_dim, noise  as in GAN; D must score images independently (no batch norm)
    gamma, final_gamma   weight of the penalties at the start and after `anneal_rounds` rounds, cosine-annealed
    """

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        *,
        latent_dim: int,
        noise: str = "normal",
        gamma: float,
        final_gamma: float,
        anneal_rounds: int,
    ) -> None:
        super().__init__(G, D, latent_dim=latent_dim, noise=noise, game=GAMES["non-saturating"], joint_batch=True)
        self.gamma, self.final_gamma, self.anneal_rounds = gamma, final_gamma, anneal_rounds

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        x, _ = feed("train")
        with torch.no_grad():
            fake = self.G(self.noise(len(x))).to(x.dtype)
        real_score, fake_score = self.scores(x, fake)
        penalties = gradient_penalty(self.D, x) + gradient_penalty(self.D, fake)  # R1 + R2
        loss = relativistic(real_score, fake_score) + self.current_gamma() / 2 * penalties
        yield Move("discriminator", loss, real=real_score.mean(), fake=fake_score.mean(), gradient_penalties=penalties)

        x, _ = feed("train")
        real_score, fake_score = self.scores(x, self.G(self.noise(len(x))))
        yield Move("generator", relativistic(fake_score, real_score))

    def current_gamma(self) -> float:
        """The penalties' weight in this round."""
        return cosine(self.gamma, self.final_gamma, self.round_index / self.anneal_rounds)

    def equilibrium(self) -> dict[str, float]:
        """log 2 for both: paired scores are equal and the penalties are 0."""
        return dict.fromkeys(self.players, math.log(2))

    def decode(self, codes: Tensor) -> Tensor:
        """(n, C, H, W) images in [-1, 1] of (n, latent) noise, clamped because G has no tanh."""
        return super().decode(codes).clamp(-1, 1)


def cosine(start: float, end: float, share: float) -> float:
    """Cosine annealing from `start` (share 0) to `end` (share 1 and beyond)."""
    return end + (start - end) * (1 + math.cos(math.pi * min(share, 1.0))) / 2
