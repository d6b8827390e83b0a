"""Salimans et al. 2016, "Improved Techniques for Training GANs", sections 3.1 and 5: a classifier from few labels."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.losses import to_float32
from sparring.system import Move, NextBatch, System, next_labeled


class ImprovedGAN(System):
    """The discriminator classifies; what it believes in no class is generated. The generator matches its features.

    G        (B, latent) -> (B, C, H, W) in [-1, 1]
    D        (B, C, H, W) -> (B, classes) logits; D.features(images) -> (B, F), what the generator matches
    The feed has two streams: "labeled" and "unlabeled".
    """

    players = {"discriminator": ("D",), "generator": ("G",)}
    ema_networks = ("G", "D")
    batchwise = "feature matching"  # compares means over the batch
    D: Any

    def __init__(self, G: nn.Module, D: nn.Module, *, latent_dim: int, noise: str = "uniform") -> None:
        super().__init__()
        self.G, self.D = G, D
        self.latent_dim, self.noise_distribution = latent_dim, noise
        self.spherical_latent = not noise.endswith("uniform")

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        (x, y), (u, _) = next_labeled(feed, "labeled"), feed("unlabeled")
        with torch.no_grad():
            fake = self.G(self.noise(len(u))).to(x.dtype)
        logits = to_float32(self.D(torch.cat([x, u, fake])))
        told, unlabeled, generated = logits.split([len(x), len(u), len(fake)])
        known = F.cross_entropy(told, y)  # section 5, L_supervised
        real, made = odds(unlabeled), odds(generated)  # D(x) = Z / (Z + 1): sigmoid of log Z
        believed = (F.softplus(-real).mean() + F.softplus(made).mean()) / 2  # section 5, L_unsupervised
        correct = (told.argmax(1) == y).float().mean()
        yield Move(
            "discriminator", known + believed, class_loss=known, real=real.mean(), fake=made.mean(), accuracy=correct
        )

        u, _ = feed("unlabeled")
        with torch.no_grad():
            wanted = to_float32(self.D.features(u)).mean(0)
        offered = to_float32(self.D.features(self.G(self.noise(len(u))))).mean(0)
        yield Move("generator", (offered - wanted).square().mean())  # section 3.1

    def sample(self, n: int, *, seed: int = 0, truncation: float | None = None) -> Tensor:
        """(n, C, H, W) images in [-1, 1] on the CPU; they depend on the weights and the arguments only.

        truncation  every number of a code beyond +- this is drawn again: fewer kinds of better images
        """
        return self.decode(self.sample_latents(n, seed=seed, truncation=truncation))

    def sample_latents(self, n: int, *, seed: int = 0, truncation: float | None = None) -> Tensor:
        """(n, latent) noise."""
        return self.codes(n, seed, truncation)

    def decode(self, codes: Tensor) -> Tensor:
        """(n, C, H, W) images in [-1, 1] of (n, latent) noise."""
        return self.generate_images(self.G, codes)

    def score(self, images: Tensor) -> Tensor:
        """(n,) logits of "real" of (n, C, H, W) images in [-1, 1]."""
        return odds(self.run_batched(self.D, images))

    def classify(self, images: Tensor) -> Tensor:
        """(n, classes) log-probabilities of (n, C, H, W) images in [-1, 1]."""
        return self.run_batched(self.D, images).log_softmax(1)

    def equilibrium(self) -> dict[str, float]:
        """The generator's loss when its features agree with those of real images."""
        return {"generator": 0.0}


def odds(logits: Tensor) -> Tensor:
    """Section 5: log Z(x) of (B, classes) logits, the logarithm of the odds that an image is real."""
    return logits.logsumexp(1)
