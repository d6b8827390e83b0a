"""Gulrajani et al. 2017, "Improved Training of Wasserstein GANs", algorithm 1: WGAN with a gradient penalty."""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor, nn

from sparring.losses import GAMES, gradient_penalty, interpolate, to_float32
from sparring.system import Move, NextBatch
from sparring.systems.gan import GAN


class WGANGP(GAN):
    """WGAN whose critic has gradient norm 1 between real and generated images, by a penalty.

    G, D, latent_dim, noise  as in GAN; D must score images independently: layer norm or none, no batch norm
    critic_steps         critic moves per round, each with fresh data (5)
    generator_batch      batch size of the generator's move relative to the critic's (the authors' CIFAR-10 code: 2)
    gp_weight            lambda of eq. 3 (10; .1 for the paper's toys)
    unit_range           gradients with respect to pixels in [0, 1] (the authors' MNIST code); False: [-1, 1]
    dequantize           adds uniform noise to real images, which have 256 levels (the authors' CIFAR-10 code)
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
        unit_range: bool = False,
        dequantize: bool = False,
    ) -> None:
        super().__init__(G, D, latent_dim=latent_dim, noise=noise, game=GAMES["wasserstein"], joint_batch=True)
        self.critic_steps, self.generator_batch, self.gp_weight = critic_steps, generator_batch, gp_weight
        self.unit_range, self.dequantize = unit_range, dequantize

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        for _ in range(self.critic_steps):
            x, _ = feed("train")
            if self.dequantize:
                x = self.dequantized(x)
            with torch.no_grad():
                fake = self.G(self.noise(len(x)))
            real_score, fake_score = (score.mean() for score in self.scores(x, fake))
            distance = real_score - fake_score
            penalty = self.penalty(interpolate(x, fake.to(x.dtype), self.uniform(len(x))))
            loss = -distance + self.gp_weight * penalty
            yield Move("critic", loss, distance=distance, gradient_penalty=penalty, real=real_score, fake=fake_score)

        fake = self.G(self.noise(self.generator_batch * len(x)))
        yield Move("generator", -to_float32(self.D(fake)).mean())

    def penalty(self, x: Tensor) -> Tensor:
        """E (|grad D| - 1)^2 of eq. 3 at (B, C, H, W) images in [-1, 1]."""
        scale = 2.0 if self.unit_range else 1.0
        return scale**2 * gradient_penalty(self.D, x, target=1 / scale)

    def dequantized(self, x: Tensor) -> Tensor:
        """Images whose level l of 0 to 255 is uniform between l / 128 - 1 and (l + 1) / 128 - 1, not l / 127.5 - 1."""
        noise = self.draw_rows(lambda g, rows: torch.rand(rows, *x.shape[1:], generator=g), len(x))
        return ((x + 1) * 127.5 + noise) / 128 - 1

    def equilibrium(self) -> dict[str, float]:
        """Empty: the distance goes to 0, but the penalty and the mean score do not."""
        return {}
