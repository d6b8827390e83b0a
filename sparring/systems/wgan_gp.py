"""Gulrajani et al. 2017, "Improved Training of Wasserstein GANs", algorithm 1: a penalty on the critic's slope."""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor, nn

from sparring.losses import GAMES, gradient_penalty, interpolate, to_float32
from sparring.system import Move, NextBatch
from sparring.systems.gan import GAN


class WGANGP(GAN):
    """WGAN whose critic is held to slope 1 between real and generated images.

    G, D, latent_dim, noise  as in GAN; D must score each image by itself: layer norm or none, no batch norm
    critic_steps         critic moves per round, each with fresh data (5)
    generator_batch      images of the generator's move for each of a critic's (the authors' CIFAR-10 code: 2)
    gp_weight            lambda of eq. 3 (10; .1 for the paper's toys)
    unit                 the slope is that of pixels in [0, 1], twice as steep (the authors' MNIST code); no: in [-1, 1]
    dequantize           whether real images, of 256 levels, get uniform noise (the authors' CIFAR-10 code)
    """

    players = {"critic": ("D",), "generator": ("G",)}

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        *,
        latent_dim: int,
        noise: str = "normal",
        critic_steps: int = 5,
        generator_batch: int = 1,
        gp_weight: float = 10.0,
        unit: bool = False,
        dequantize: bool = False,
    ) -> None:
        super().__init__(G, D, latent_dim=latent_dim, noise=noise, game=GAMES["wasserstein"], joint_batch=True)
        self.critic_steps, self.generator_batch, self.gp_weight = critic_steps, generator_batch, gp_weight
        self.unit, self.dequantize = unit, dequantize

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        for _ in range(self.critic_steps):
            x, _ = feed("train")
            if self.dequantize:
                x = self.dequantized(x)
            with torch.no_grad():
                fake = self.G(self.noise(len(x)))
            real_score, fake_score = (score.mean() for score in self.scores(x, fake))
            distance = real_score - fake_score
            slope = self.slope(interpolate(x, fake.to(x.dtype), self.uniform(len(x))))
            loss = -distance + self.gp_weight * slope
            yield Move("critic", loss, distance=distance, gradient_penalty=slope, real=real_score, fake=fake_score)

        fake = self.G(self.noise(self.generator_batch * len(x)))
        yield Move("generator", -to_float32(self.D(fake)).mean())

    def slope(self, x: Tensor) -> Tensor:
        """E (|grad D| - 1)^2 of eq. 3 at (B, C, H, W) images in [-1, 1]."""
        steeper = 2.0 if self.unit else 1.0
        return steeper**2 * gradient_penalty(self.D, x, target=1 / steeper)

    def dequantized(self, x: Tensor) -> Tensor:
        """Images whose level l of 0 to 255 is uniform between l / 128 - 1 and (l + 1) / 128 - 1, not l / 127.5 - 1."""
        noise = self.draw_rows(lambda g, rows: torch.rand(rows, *x.shape[1:], generator=g), len(x))
        return ((x + 1) * 127.5 + noise) / 128 - 1

    def equilibrium(self) -> dict[str, float]:
        """None: the distance goes to 0, but the penalty and the level of the scores do not."""
        return {}
