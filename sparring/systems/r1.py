"""Mescheder et al. 2018, "Which Training Methods for GANs do actually Converge?": zero-centered gradient penalties."""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor, nn

from sparring.errors import unknown_name_error
from sparring.losses import Game, gradient_penalty, interpolate
from sparring.system import Move, NextBatch
from sparring.systems.gan import GAN

PENALIZE = ("real", "fake", "both", "interpolated")
"""R1 (eq. 9), R2 (eq. 10), their sum, or at interpolates of real and generated images (Thanh-Tung et al. 2019)."""


class R1GAN(GAN):
    """A GAN with the gradient penalty gamma/2 E |grad D|^2 on the discriminator.

    G, D, latent_dim, game, noise  as in GAN; D must score images independently (no batch norm)
    gamma  weight of the penalty (10)
    penalize  images at which the gradient is taken, one of PENALIZE
    penalty_interval  lazy regularization (Karras et al. 2020): only every so many rounds, scaled by the same factor
    """

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        *,
        latent_dim: int,
        game: Game,
        noise: str = "normal",
        gamma: float = 10.0,
        penalize: str = "real",
        penalty_interval: int = 1,
    ) -> None:
        super().__init__(G, D, latent_dim=latent_dim, game=game, noise=noise)
        if penalize not in PENALIZE:
            raise unknown_name_error("penalize", penalize, PENALIZE)
        self.gamma, self.penalize, self.penalty_interval = gamma, penalize, penalty_interval

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        """The game, with the penalty of eq. 9 or 10 in the discriminator's loss."""
        x, _ = feed("train")
        with torch.no_grad():
            fake = self.G(self.noise(len(x)))
        real_score, fake_score = self.D(torch.cat([x, fake])).chunk(2)
        loss = self.game.discriminator(real_score, fake_score, uniform=self.uniform)
        penalty = x.new_zeros(())
        if self.round_index % self.penalty_interval == 0:
            penalty = self.penalty(x, fake)
            loss = loss + self.penalty_interval * self.gamma / 2 * penalty
        yield Move("discriminator", loss, real=real_score.mean(), fake=fake_score.mean(), gradient_penalty=penalty)

        yield Move("generator", self.game.generator(self.D(self.G(self.noise(len(x))))))

    def penalty(self, x: Tensor, fake: Tensor) -> Tensor:
        """E |grad D|^2 at the images selected by `penalize`."""
        if self.penalize == "interpolated":
            return gradient_penalty(self.D, interpolate(x, fake, self.uniform(len(x))))
        images = {"real": [x], "fake": [fake], "both": [x, fake]}[self.penalize]
        return torch.stack([gradient_penalty(self.D, batch) for batch in images]).sum()
