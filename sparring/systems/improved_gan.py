"""Salimans et al. 2016, "Improved Techniques for Training GANs", sections 3.1 and 5: semi-supervised classification."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.losses import to_float32
from sparring.system import Move, NextBatch, System, next_labeled


class ImprovedGAN(System):
    """The discriminator is a classifier whose total evidence means "real". The generator matches its mean features.

    G        (B, latent) -> (B, C, H, W) in [-1, 1]
    D        (B, C, H, W) -> (B, classes) logits; D.features(images) -> (B, F), matched by the generator
    The feed has two streams: "labeled" and "unlabeled".
    """

    players = {"discriminator": ("D",), "generator": ("G",)}
    ema_networks = ("G", "D")
    takes = {"sample": {"truncation"}, "sample_latents": {"truncation"}}
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
        labeled_logits, real_logits, fake_logits = logits.split([len(x), len(u), len(fake)])
        class_loss = F.cross_entropy(labeled_logits, y)  # section 5, L_supervised
        real, fake_logit = real_logit(real_logits), real_logit(fake_logits)  # D(x) = Z / (Z + 1): sigmoid of log Z
        unsupervised_loss = (F.softplus(-real).mean() + F.softplus(fake_logit).mean()) / 2  # section 5, L_unsupervised
        correct = (labeled_logits.argmax(1) == y).float().mean()
        yield Move(
            "discriminator",
            class_loss + unsupervised_loss,
            class_loss=class_loss,
            real=real.mean(),
            fake=fake_logit.mean(),
            accuracy=correct,
        )

        u, _ = feed("unlabeled")
        with torch.no_grad():
            real_features = to_float32(self.D.features(u)).mean(0)
        fake_features = to_float32(self.D.features(self.G(self.noise(len(u))))).mean(0)
        yield Move("generator", (fake_features - real_features).square().mean())  # section 3.1

    def sample(self, n: int, *, seed: int = 0, truncation: float | None = None) -> Tensor:
        """(n, C, H, W) images in [-1, 1] on the CPU; they depend on the weights and the arguments only.

        truncation  numbers of a code beyond +- this are resampled: less variety, better quality
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
        return real_logit(self.run_batched(self.D, images))

    def classify(self, images: Tensor) -> Tensor:
        """(n, classes) log-probabilities of (n, C, H, W) images in [-1, 1]."""
        return self.run_batched(self.D, images).log_softmax(1)

    def equilibrium(self) -> dict[str, float]:
        """The generator's loss when the mean features of generated and real images agree."""
        return {"generator": 0.0}


def real_logit(logits: Tensor) -> Tensor:
    """Section 5: log Z(x) of (B, classes) logits: the logit of "real", (B,)."""
    return logits.logsumexp(1)
