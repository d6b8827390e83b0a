"""Pidhorskyi et al. 2020, "Adversarial Latent Autoencoders" (ALAE), algorithm 1."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from sparring.errors import SparringError
from sparring.losses import gradient_penalty
from sparring.system import Move, NextBatch, System


class ALAE(System):
    """A GAN with an intermediate code w: the generator is G(F(z)), the discriminator D(E(x)), and E inverts G.

    F      (B, latent) noise -> (B, latent) codes w: their distribution is learned
    G      (B, latent) -> (B, C, H, W), about [-1, 1]
    E      (B, C, H, W) -> (B, latent), independent per image (no batch norm); optionally E.features, a network
           (B, C, H, W) -> (B, N), its last hidden layer
    D      (B, latent) -> (B, 1) scores (logits)
    gamma  weight of the gradient penalty on real images, pixels in [-1, 1] (in [0, 1], gradients are twice as large)
    train_mapping  step III also updates F, through G, as in the authors' code; algorithm 1 updates E and G
    """

    players = {"discriminator": ("E", "D"), "generator": ("F", "G"), "autoencoder": ("E", "G")}
    ema_networks = ("F", "G", "E", "D")
    takes = {"sample": {"truncation"}, "sample_latents": {"truncation"}}

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
        train_mapping: bool = False,
    ) -> None:
        super().__init__()
        self.F, self.G, self.E, self.D = F, G, E, D
        self.latent_dim, self.noise_distribution = latent_dim, noise
        self.gamma, self.train_mapping = gamma, train_mapping
        if train_mapping:
            self.players = {**self.players, "autoencoder": ("E", "G", "F")}

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        """Algorithm 1: steps I, II and III."""
        # Step I: discriminator.
        x, _ = feed("train")
        with torch.no_grad():
            fake = self.G(self.F(self.noise(len(x))))
        real_score, fake_score = self.score_logits(x), self.score_logits(fake)
        penalty = gradient_penalty(self.score_logits, x)
        loss = softplus(fake_score).mean() + softplus(-real_score).mean() + self.gamma / 2 * penalty
        yield Move("discriminator", loss, real=real_score.mean(), fake=fake_score.mean(), gradient_penalty=penalty)

        # Step II: generator.
        fake = self.G(self.F(self.noise(len(x))))
        yield Move("generator", softplus(-self.score_logits(fake)).mean())

        # Step III: E inverts G.
        with torch.set_grad_enabled(self.train_mapping):
            w = self.F(self.noise(len(x)))
        yield Move("autoencoder", (w.detach() - self.E(self.G(w))).square().mean())

    def score_logits(self, x: Tensor) -> Tensor:
        """(B, 1) scores of (B, C, H, W) images."""
        scores: Tensor = self.D(self.E(x))
        return scores

    def sample(self, n: int, *, seed: int = 0, truncation: float | None = None) -> Tensor:
        """(n, C, H, W) images in [-1, 1] on the CPU; they depend on the weights and the arguments only.

        truncation  as in `sample_latents`
        """
        return self.decode(self.sample_latents(n, seed=seed, truncation=truncation))

    def sample_latents(self, n: int, *, seed: int = 0, truncation: float | None = None) -> Tensor:
        """(n, latent) codes w of noise.

        truncation  factor in [0, 1] by which codes are shrunk toward their mean: less variety, better quality

        Raises SparringError for a truncation outside [0, 1].
        """
        w = self.run_batched(self.F, self.codes(n, seed))
        if truncation is None:
            return w
        if not 0 <= truncation <= 1:
            raise SparringError(f"truncation is {truncation}: it must be from 0 (the mean image) to 1 (no truncation)")
        return torch.lerp(self.sample_latents(2000).mean(0), w, truncation)

    def encode(self, images: Tensor) -> Tensor:
        """(n, latent) codes w of (n, C, H, W) images in [-1, 1]."""
        return self.run_batched(self.E, images)

    def features(self, images: Tensor) -> Tensor:
        """(n, N) last hidden layer of E of (n, C, H, W) images in [-1, 1]."""
        return self.run_batched(self.E.get_submodule("features"), images)

    def decode(self, codes: Tensor) -> Tensor:
        """(n, C, H, W) images of (n, latent) codes w, clamped to [-1, 1] because G is unbounded."""
        return self.generate_images(self.G, codes).clamp(-1, 1)

    def reconstruct(self, images: Tensor) -> Tensor:
        """Reconstructions of (n, C, H, W) images in [-1, 1]."""
        return self.decode(self.encode(images))

    def score(self, images: Tensor) -> Tensor:
        """(n,) scores of (n, C, H, W) images in [-1, 1]."""
        return self.run_batched(nn.Sequential(self.E, self.D), images).flatten()

    def traversals(self) -> Mapping[str, Tensor]:
        """Rows of linear interpolations between two codes w."""
        start, end = self.sample_latents(16)[:, None].chunk(2)
        t = torch.linspace(0, 1, 15)[:, None]
        return {"linear interpolation between two codes w": torch.lerp(start, end, t)}

    def equilibrium(self) -> dict[str, float]:
        """The losses when generated and real images are indistinguishable, the penalty is 0 and E inverts G."""
        return {"discriminator": 2 * math.log(2), "generator": math.log(2), "autoencoder": 0.0}
