"""Mescheder et al. 2018, "Which Training Methods for GANs do actually Converge?": zero-centred gradient penalties."""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor, nn

from sparring.errors import unknown
from sparring.losses import Game, between, gradient_penalty
from sparring.system import Feed, Move
from sparring.systems.gan import GAN

PLACES = ("real", "fake", "both", "between")
"""R1 (eq. 9), R2 (eq. 10), their sum, or on the segments between real and generated images (Thanh-Tung et al. 2019)."""


class PenalisedGAN(GAN):
    """A GAN whose discriminator pays for its slope: gamma/2 E |grad D|^2 in every round, on average.

    G, D, latent, game, noise  as in GAN; D must score each image by itself (no batch norm)
    gamma  weight of the penalty (10)
    place  where the slope is taken, one of PLACES
    every  lazy form (Karras et al. 2020): only in every so many rounds, and that many times as strong
    """

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        *,
        latent: int,
        game: Game,
        noise: str = "normal",
        gamma: float = 10.0,
        place: str = "real",
        every: int = 1,
    ) -> None:
        super().__init__(G, D, latent=latent, game=game, noise=noise, mixed=True)
        if place not in PLACES:
            raise unknown("place", place, PLACES)
        self.gamma, self.place, self.every = gamma, place, every

    def round(self, feed: Feed) -> Generator[Move, None, None]:
        x, _ = feed("train")
        with torch.no_grad():
            fake = self.G(self.noise(len(x))).to(x.dtype)
        real_score, fake_score = self.scores(x, fake)
        loss = self.game.discriminator(real_score, fake_score, uniform=self.uniform)
        slope = x.new_zeros(())
        if self.played % self.every == 0:
            slope = self.slope(x, fake)
            loss = loss + self.every * self.gamma / 2 * slope
        yield Move("discriminator", loss, real=real_score.mean(), fake=fake_score.mean(), slope=slope)

        yield Move("generator", self.game.generator(self.D(self.G(self.noise(len(x))))))

    def slope(self, x: Tensor, fake: Tensor) -> Tensor:
        """E |grad D|^2 where `place` says."""
        if self.place == "between":
            return gradient_penalty(self.D, between(x, fake, self.uniform(len(x))))
        images = {"real": [x], "fake": [fake], "both": [x, fake]}[self.place]
        return torch.stack([gradient_penalty(self.D, one) for one in images]).sum()
