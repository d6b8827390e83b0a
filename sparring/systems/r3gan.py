"""Huang et al. 2024, "The GAN is dead; long live the GAN!" (R3GAN): relativistic scores, penalties on both images."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator

import torch
from torch import Tensor, nn

from sparring.losses import gradient_penalty, relativistic
from sparring.system import Move, NextBatch
from sparring.systems.noise_model import NoiseModel


class R3GAN(NoiseModel):
    """Relativistic pairing loss, with zero-centered gradient penalties on real and generated images.

    Each move draws its own real images, as in the authors' code.

    G      (B, latent) -> (B, C, H, W), about [-1, 1]
    D      (B, C, H, W) -> (B, 1) or (B,) scores (logits) of independent images: no batch norm
    gamma  weight of the penalties, as a function of the round, from 1
    latent_dim, noise  as in NoiseModel
    """

    players = {"discriminator": ("D",), "generator": ("G",)}

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        *,
        latent_dim: int,
        noise: str = "normal",
        gamma: Callable[[int], float],
    ) -> None:
        super().__init__(G, latent_dim=latent_dim, noise=noise)
        self.D, self.gamma = D, gamma

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        """Eq. 2 with R1 and R2: one discriminator and one generator move."""
        x, _ = feed("train")
        with torch.no_grad():
            fake = self.G(self.noise(len(x)))
        real_score, fake_score = self.D(torch.cat([x, fake])).chunk(2)
        penalties = gradient_penalty(self.D, x) + gradient_penalty(self.D, fake)  # R1 + R2
        loss = relativistic(real_score, fake_score) + self.current_gamma() / 2 * penalties
        yield Move("discriminator", loss, real=real_score.mean(), fake=fake_score.mean(), gradient_penalties=penalties)

        x, _ = feed("train")
        real_score, fake_score = self.D(torch.cat([x, self.G(self.noise(len(x)))])).chunk(2)
        yield Move("generator", relativistic(fake_score, real_score))

    def current_gamma(self) -> float:
        """The penalties' weight in this round."""
        return self.gamma(self.round_index + 1)

    def decode(self, codes: Tensor) -> Tensor:
        """(n, C, H, W) images in [-1, 1] of (n, latent) noise, clamped because G has no tanh."""
        return super().decode(codes).clamp(-1, 1)

    def score(self, images: Tensor) -> Tensor:
        """(n,) scores of (n, C, H, W) images in [-1, 1], higher = more real."""
        return self.run_batched(self.D, images).flatten()

    def equilibrium(self) -> dict[str, float]:
        """Both are log 2: paired scores are equal and the penalties are 0."""
        return dict.fromkeys(self.players, math.log(2))
