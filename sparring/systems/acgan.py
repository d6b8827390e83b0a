"""Odena et al. 2017, "Conditional Image Synthesis with Auxiliary Classifier GANs" (AC-GAN)."""

from __future__ import annotations

from collections.abc import Generator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.losses import Game
from sparring.system import Move, NextBatch, next_labeled
from sparring.systems.noise_model import ConditionalNoiseModel


class ACGAN(ConditionalNoiseModel):
    """The discriminator has an auxiliary classifier; both players minimize its cross-entropy.

    T        (B, C, H, W) -> (B, F): the shared trunk of discriminator and classifier
    D        (B, F) -> (B, 1) scores (logits)
    C        (B, F) -> (B, classes) logits
    game     the pair of losses (sparring.losses.GAMES)
    G, latent_dim, classes, noise  as in ConditionalNoiseModel
    d_class_weight  weight of L_C, the summed cross-entropies of real and generated images, in D's loss (1)
    g_class_weight  weight of the cross-entropy of generated images in G's loss (1; Gulrajani et al. 2017: .1)
    """

    players = {"discriminator": ("T", "D", "C"), "generator": ("G",)}

    def __init__(
        self,
        G: nn.Module,
        T: nn.Module,
        D: nn.Module,
        C: nn.Module,
        *,
        latent_dim: int,
        classes: int,
        game: Game,
        noise: str = "normal",
        d_class_weight: float = 1.0,
        g_class_weight: float = 1.0,
    ) -> None:
        super().__init__(G, latent_dim=latent_dim, classes=classes, noise=noise)
        self.T, self.D, self.C = T, D, C
        self.game = game
        self.d_class_weight, self.g_class_weight = d_class_weight, g_class_weight

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        """Section 3: the discriminator maximizes L_S + L_C, the generator L_C - L_S."""
        x, y = next_labeled(feed)
        fake_labels = self.random_labels(len(x))
        with torch.no_grad():
            fake = self.G(self.noise(len(x)), fake_labels)
        real_features, fake_features = self.T(x), self.T(fake)
        real_score, fake_score = self.D(real_features), self.D(fake_features)
        source = self.game.discriminator(real_score, fake_score)  # eq. 2, L_S
        class_loss_real = F.cross_entropy(self.C(real_features), y)  # eq. 3, L_C: sum of both
        class_loss_fake = F.cross_entropy(self.C(fake_features), fake_labels)
        loss = source + self.d_class_weight * (class_loss_real + class_loss_fake)
        yield Move(
            "discriminator",
            loss,
            real=real_score.mean(),
            fake=fake_score.mean(),
            class_loss_real=class_loss_real,
            class_loss_fake=class_loss_fake,
        )

        fake_labels = self.random_labels(len(x))
        fake_features = self.T(self.G(self.noise(len(x)), fake_labels))
        class_loss_fake = F.cross_entropy(self.C(fake_features), fake_labels)
        loss = self.game.generator(self.D(fake_features)) + self.g_class_weight * class_loss_fake
        yield Move("generator", loss, class_loss_fake=class_loss_fake)

    def score(self, images: Tensor) -> Tensor:
        """(n,) scores of (n, C, H, W) images in [-1, 1], higher = more real, also with inverted targets."""
        return self.game.direction_of_real * self.run_batched(nn.Sequential(self.T, self.D), images).flatten()

    def classify(self, images: Tensor) -> Tensor:
        """(n, classes) log-probabilities of (n, C, H, W) images in [-1, 1]."""
        return self.run_batched(nn.Sequential(self.T, self.C), images).log_softmax(1)

    def equilibrium(self) -> dict[str, float]:
        """Empty: how well the classes can be separated depends on the data."""
        return {}
