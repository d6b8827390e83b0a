"""Gulrajani et al. 2017, "Improved Training of Wasserstein GANs", algorithm 1: WGAN with a gradient penalty."""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor, nn

from sparring.losses import gradient_penalty, interpolate
from sparring.system import Move, NextBatch
from sparring.systems.noise_model import NoiseModel


class WGANGP(NoiseModel):
    """WGAN whose critic has gradient norm 1 between real and generated images, by a penalty.

    D                    (B, C, H, W) -> (B, 1) or (B,) scores of independent images: layer norm or none, no batch norm
    G, latent_dim, noise  as in NoiseModel
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
        super().__init__(G, latent_dim=latent_dim, noise=noise)
        self.D = D
        self.critic_steps, self.generator_batch, self.gp_weight = critic_steps, generator_batch, gp_weight
        self.dequantize = dequantize
        self.pixel_scale = 2.0 if unit_range else 1.0

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        """Algorithm 1: `critic_steps` critic moves with the gradient penalty, then one generator move."""
        for _ in range(self.critic_steps):  # line 2
            x, _ = feed("train")
            if self.dequantize:
                x = self.dequantized(x)
            with torch.no_grad():
                fake = self.G(self.noise(len(x)))  # line 5
            x_hat = interpolate(x, fake, self.uniform(len(x)))  # line 6
            real_score, fake_score = (score.mean() for score in self.D(torch.cat([x, fake])).chunk(2))
            distance = real_score - fake_score
            penalty = gradient_penalty(self.D, x_hat, target=1.0, scale=self.pixel_scale)
            loss = self.gp_weight * penalty - distance  # line 7: eq. 3
            yield Move("critic", loss, distance=distance, gradient_penalty=penalty, real=real_score, fake=fake_score)

        yield Move("generator", -self.D(self.G(self.noise(self.generator_batch * len(x)))).mean())  # line 12

    def dequantized(self, x: Tensor) -> Tensor:
        """Images whose level l of 0 to 255 is uniform between l / 128 - 1 and (l + 1) / 128 - 1, not l / 127.5 - 1."""
        noise = self.draw_rows(lambda g, rows: torch.rand(rows, *x.shape[1:], generator=g), len(x))
        return ((x + 1) * 127.5 + noise) / 128 - 1

    def score(self, images: Tensor) -> Tensor:
        """(n,) scores of (n, C, H, W) images in [-1, 1], higher = more real."""
        return self.run_batched(self.D, images).flatten()

    def equilibrium(self) -> dict[str, float]:
        """Empty: the distance goes to 0, but the penalty and the mean score do not."""
        return {}
