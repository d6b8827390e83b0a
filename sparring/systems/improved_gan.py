"""Salimans et al. 2016, "Improved Techniques for Training GANs", sections 3.1 and 5: semi-supervised classification."""

from __future__ import annotations

from collections.abc import Generator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.system import Move, NextBatch, next_labeled
from sparring.systems.noise_model import NoiseModel


class ImprovedGAN(NoiseModel):
    """The discriminator is a classifier whose total evidence means "real". The generator matches its mean features.

    T        (B, C, H, W) -> (B, F): the discriminator up to its features f, which the generator matches
    D        (B, F) -> (B, classes) logits
    G, latent_dim, noise  as in NoiseModel
    The feed has two streams: "labeled" and "unlabeled".
    """

    players = {"discriminator": ("T", "D"), "generator": ("G",)}
    ema_networks = ("G", "T", "D")
    batchwise = "feature matching"  # compares means over the batch

    def __init__(self, G: nn.Module, T: nn.Module, D: nn.Module, *, latent_dim: int, noise: str = "uniform") -> None:
        super().__init__(G, latent_dim=latent_dim, noise=noise)
        self.T, self.D = T, D

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        """Section 5 for the discriminator, section 3.1 (feature matching) for the generator."""
        (x, y), (u, _) = next_labeled(feed, "labeled"), feed("unlabeled")
        with torch.no_grad():
            fake = self.G(self.noise(len(u)))
        logits = self.D(self.T(torch.cat([x, u, fake])))
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
            real_features = self.T(u).mean(0)
        fake_features = self.T(self.G(self.noise(len(u)))).mean(0)
        yield Move("generator", (fake_features - real_features).square().mean())  # section 3.1

    def score(self, images: Tensor) -> Tensor:
        """(n,) logits of "real" of (n, C, H, W) images in [-1, 1]."""
        return real_logit(self.run_batched(nn.Sequential(self.T, self.D), images))

    def classify(self, images: Tensor) -> Tensor:
        """(n, classes) log-probabilities of (n, C, H, W) images in [-1, 1]."""
        return self.run_batched(nn.Sequential(self.T, self.D), images).log_softmax(1)

    def equilibrium(self) -> dict[str, float]:
        """The generator's loss when the mean features of generated and real images agree."""
        return {"generator": 0.0}


def real_logit(logits: Tensor) -> Tensor:
    """Section 5: log Z(x) of (B, classes) logits: the logit of "real", (B,)."""
    return logits.logsumexp(1)
