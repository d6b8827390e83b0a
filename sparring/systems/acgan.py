"""Odena et al. 2017, "Conditional Image Synthesis with Auxiliary Classifier GANs" (AC-GAN)."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.losses import Game, to_float32
from sparring.system import Move, NextBatch, grid_columns_for, next_labeled
from sparring.systems.cgan import LabelsLike
from sparring.systems.gan import GAN


class ACGAN(GAN):
    """The discriminator also names the class, of real and of generated images; both players want it to be right.

    T        (B, C, H, W) -> (B, F): the trunk that judge and classifier share
    D        (B, F) -> (B, 1) scores (logits)
    C        (B, F) -> (B, classes) logits
    G        (B, latent), (B,) int64 -> (B, C, H, W) in [-1, 1]
    d_class_weight  weight of L_C in the discriminator's loss: the sum of two cross-entropies, of real and generated
    images (1)
    g_class_weight  weight of the generated images' in the generator's (1; Gulrajani et al. 2017: .1)
    """

    players = {"discriminator": ("T", "D", "C"), "generator": ("G",)}
    C: Any

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
        super().__init__(G, D, latent_dim=latent_dim, game=game, noise=noise)
        self.T, self.C = T, C
        self.classes = classes
        self.grid_columns = grid_columns_for(classes)
        self.d_class_weight, self.g_class_weight = d_class_weight, g_class_weight

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        x, y = next_labeled(feed)
        asked = self.random_labels(len(x))
        with torch.no_grad():
            fake = self.G(self.noise(len(x)), asked)
        real, made = self.T(x), self.T(fake)
        real_score, fake_score = to_float32(self.D(real)), to_float32(self.D(made))
        source = self.game.discriminator(real_score, fake_score)  # eq. 2, L_S
        known = F.cross_entropy(to_float32(self.C(real)), y)  # eq. 3, L_C = known + seen
        seen = F.cross_entropy(to_float32(self.C(made)), asked)
        loss = source + self.d_class_weight * (known + seen)
        yield Move(
            "discriminator",
            loss,
            real=real_score.mean(),
            fake=fake_score.mean(),
            class_loss_real=known,
            class_loss_fake=seen,
        )

        asked = self.random_labels(len(x))
        made = self.T(self.G(self.noise(len(x)), asked))
        seen = F.cross_entropy(to_float32(self.C(made)), asked)
        yield Move("generator", self.game.generator(self.D(made)) + self.g_class_weight * seen, class_loss_fake=seen)

    def sample(self, n: int, *, seed: int = 0, labels: LabelsLike = None, truncation: float | None = None) -> Tensor:
        """(n, C, H, W) images in [-1, 1] on the CPU; they depend on the weights and the arguments only.

        truncation  every number of a code beyond +- this is drawn again: fewer kinds of better images
        """
        return self.decode(self.sample_latents(n, seed=seed, truncation=truncation), labels=labels)

    def decode(self, codes: Tensor, *, labels: LabelsLike = None) -> Tensor:
        """(n, C, H, W) images in [-1, 1] of (n, latent) noise and of these classes."""
        return self.generate_images(self.G, codes, self.expand_labels(len(codes), labels))

    def score(self, images: Tensor) -> Tensor:
        """(n,) scores of (n, C, H, W) images in [-1, 1], higher = more real also where labels are swapped."""
        return self.game.direction_of_real * self.run_batched(nn.Sequential(self.T, self.D), images).flatten()

    def classify(self, images: Tensor) -> Tensor:
        """(n, classes) log-probabilities of (n, C, H, W) images in [-1, 1]."""
        return self.run_batched(nn.Sequential(self.T, self.C), images).log_softmax(1)

    def equilibrium(self) -> dict[str, float]:
        """None: how well the classes can be told apart depends on the data."""
        return {}
