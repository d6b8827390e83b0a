"""Arjovsky et al. 2017, "Wasserstein GAN", algorithm 1: a critic kept Lipschitz by clipping its weights."""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor, nn

from sparring.system import Move, NextBatch
from sparring.systems.noise_model import NoiseModel


class WGAN(NoiseModel):
    """The critic estimates the Wasserstein distance of the two distributions, the generator minimizes it.

    D                    (B, C, H, W) -> (B, 1) or (B,) scores: the critic f; scores have no fixed scale
    G, latent_dim, noise  as in NoiseModel
    critic_steps         critic moves per round (5)
    warm_start           critic moves in the first 25 rounds and in every 500th (the authors' code: 100)
    clip                 c: every weight of the critic stays in [-c, c] (.01)
    clip_first           the authors' code: weights are clipped before each critic move, not after it, so that they
                         exceed c by 4 % in the generator's move; False: algorithm 1
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
        warm_start: int = 100,
        clip: float = 0.01,
        clip_first: bool = False,
    ) -> None:
        super().__init__(G, latent_dim=latent_dim, noise=noise)
        self.D = D
        self.critic_steps, self.warm_start, self.clip, self.clip_first = critic_steps, warm_start, clip, clip_first

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        """Algorithm 1: `critic_steps` critic moves, each followed by clipping, then one generator move."""
        warm = self.round_index < 25 or self.round_index % 500 == 0
        for _ in range(self.warm_start if warm else self.critic_steps):  # line 2
            if self.clip_first:
                self.clip_weights()
            x, _ = feed("train")  # line 3
            with torch.no_grad():
                fake = self.G(self.noise(len(x)))  # line 4
            real_score, fake_score = self.D(x).mean(), self.D(fake).mean()
            distance = real_score - fake_score  # line 5: eq. 3, for the current critic
            yield Move("critic", -distance, distance=distance, real=real_score, fake=fake_score)  # line 6
            if not self.clip_first:
                self.clip_weights()  # line 7

        yield Move("generator", -self.D(self.G(self.noise(len(x)))).mean())  # lines 9 to 11

    @torch.no_grad()
    def clip_weights(self) -> None:
        """Algorithm 1, line 7."""
        for weight in self.D.parameters():
            weight.clamp_(-self.clip, self.clip)

    def score(self, images: Tensor) -> Tensor:
        """(n,) scores of (n, C, H, W) images in [-1, 1], higher = more real."""
        return self.run_batched(self.D, images).flatten()

    def equilibrium(self) -> dict[str, float]:
        """The critic's loss at distance 0; the generator's is arbitrary, because scores have no zero."""
        return {"critic": 0.0}
