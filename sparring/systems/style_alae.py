"""StyleALAE (Pidhorskyi et al. 2020, section 4): ALAE with the generator and the training of StyleGAN."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from sparring.losses import gradient_penalty
from sparring.system import Move, NextBatch
from sparring.systems.alae import ALAE


class StyleALAE(ALAE):
    """ALAE with progressively grown networks and style mixing.

    F, D    as in ALAE
    G       (B, latent) codes w, or (B, layers, latent) styles -> images of the current size in training mode,
            else of the full size; G.layers: the current number of layers
    E       such images -> (B, latent); E.fade(images): real images of the full size -> E's current input
    mixing  share of generated images that mix two codes, in steps I and II (Karras et al. 2019, section 3.1)
    gamma   weight of the gradient penalty on real images of the current size
    train_mapping  as in ALAE
    """

    takes = {"sample": {"truncation"}}

    G: Any  # these two have more methods than `forward`
    E: Any

    def __init__(
        self,
        F: nn.Module,
        G: nn.Module,
        E: nn.Module,
        D: nn.Module,
        *,
        latent_dim: int,
        noise: str = "normal",
        gamma: float = 10.0,
        mixing: float = 0.9,
        train_mapping: bool = False,
    ) -> None:
        super().__init__(F, G, E, D, latent_dim=latent_dim, noise=noise, gamma=gamma, train_mapping=train_mapping)
        self.mixing = mixing

    @property
    def growing(self) -> bool:
        """Until the last level counts in full."""
        return bool(self.G.growing)

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        """Algorithm 1 as in `ALAE`, at the current size and with mixed styles."""
        # Step I: discriminator.
        x, _ = feed("train")
        x = self.E.fade(x)
        with torch.no_grad():
            fake = self.G(self.styles(len(x)))
        real_score, fake_score = self.score_logits(x), self.score_logits(fake)
        penalty = gradient_penalty(self.score_logits, x)
        loss = softplus(fake_score).mean() + softplus(-real_score).mean() + self.gamma / 2 * penalty
        yield Move("discriminator", loss, real=real_score.mean(), fake=fake_score.mean(), gradient_penalty=penalty)

        # Step II: generator.
        fake = self.G(self.styles(len(x)))
        yield Move("generator", softplus(-self.score_logits(fake)).mean())

        # Step III: E inverts G.
        with torch.set_grad_enabled(self.train_mapping):
            w = self.F(self.noise(len(x)))
        yield Move("autoencoder", (w.detach() - self.E(self.G(w))).square().mean())

    def styles(self, n: int) -> Tensor:
        """(n, layers, latent) codes w of noise; with probability `mixing` a second code from a random layer on."""
        w, other = self.F(self.noise(n))[:, None], self.F(self.noise(n))[:, None]
        crossover = 1 + (self.uniform(n) * self.G.layers).long()
        mixed = self.uniform(n) < self.mixing
        layer = torch.arange(self.G.layers, device=w.device)
        second = mixed[:, None] & (layer >= crossover[:, None])
        return torch.where(second[:, :, None], other, w)

    def sample(self, n: int, *, seed: int = 0, truncation: float | None = None) -> Tensor:
        """(n, C, H, W) images in [-1, 1] on the CPU; they depend on the weights and the arguments only.

        truncation  as in `sample_latents`, but only in the first 8 layers (the authors' figures: .7)
        """
        w = self.sample_latents(n, seed=seed)
        if truncation is None:
            return self.decode(w)
        truncated = self.sample_latents(n, seed=seed, truncation=truncation)
        first = torch.arange(self.G.layers)[:, None] < 8
        return self.decode(torch.where(first, truncated[:, None], w[:, None]))
