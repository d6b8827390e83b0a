"""Odena et al. 2017, "Conditional Image Synthesis with Auxiliary Classifier GANs" (AC-GAN)."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.losses import Game, in_full
from sparring.system import Feed, Move, columns_for, labelled
from sparring.systems.cgan import Classes
from sparring.systems.gan import GAN


class ACGAN(GAN):
    """The discriminator also names the class, of real and of generated images; both players want it to be right.

    T        (B, C, H, W) -> (B, F): the trunk that judge and classifier share
    D        (B, F) -> (B, 1) scores (logits)
    C        (B, F) -> (B, classes) logits
    G        (B, latent), (B,) int64 -> (B, C, H, W) in [-1, 1]
    told     weight of L_C in the discriminator's loss: the sum of two cross-entropies, of real and generated images (1)
    wanted   weight of the generated images' in the generator's (1; Gulrajani et al. 2017: .1)
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
        latent: int,
        classes: int,
        game: Game,
        noise: str = "normal",
        told: float = 1.0,
        wanted: float = 1.0,
    ) -> None:
        super().__init__(G, D, latent=latent, game=game, noise=noise)
        self.T, self.C = T, C
        self.classes = classes
        self.columns = columns_for(classes)
        self.told, self.wanted = told, wanted

    def round(self, feed: Feed) -> Generator[Move, None, None]:
        x, y = labelled(feed)
        asked = self.any_labels(len(x))
        with torch.no_grad():
            fake = self.G(self.noise(len(x)), asked)
        real, made = self.T(x), self.T(fake)
        real_score, fake_score = in_full(self.D(real)), in_full(self.D(made))
        source = self.game.discriminator(real_score, fake_score)  # eq. 2, L_S
        known = F.cross_entropy(in_full(self.C(real)), y)  # eq. 3, L_C = known + seen
        seen = F.cross_entropy(in_full(self.C(made)), asked)
        loss = source + self.told * (known + seen)
        yield Move("discriminator", loss, real=real_score.mean(), fake=fake_score.mean(), known=known, seen=seen)

        asked = self.any_labels(len(x))
        made = self.T(self.G(self.noise(len(x)), asked))
        seen = F.cross_entropy(in_full(self.C(made)), asked)
        yield Move("generator", self.game.generator(self.D(made)) + self.wanted * seen, seen=seen)

    def sample(self, n: int, *, seed: int = 0, labels: Classes = None, truncation: float | None = None) -> Tensor:
        """(n, C, H, W) images in [-1, 1] on the CPU; they depend on the weights and the arguments only.

        truncation  every number of a code beyond +- this is drawn again: fewer kinds of better images
        """
        return self.decode(self.prior_codes(n, seed=seed, truncation=truncation), labels=labels)

    def decode(self, codes: Tensor, *, labels: Classes = None) -> Tensor:
        """(n, C, H, W) images in [-1, 1] of (n, latent) noise and of these classes."""
        return self.pictures(self.G, codes, self.labels_for(len(codes), labels))

    def score(self, images: Tensor) -> Tensor:
        """(n,) scores of (n, C, H, W) images in [-1, 1], higher = more real also where labels are swapped."""
        return self.game.towards_real * self.in_batches(nn.Sequential(self.T, self.D), images).flatten()

    def classify(self, images: Tensor) -> Tensor:
        """(n, classes) log-probabilities of (n, C, H, W) images in [-1, 1]."""
        return self.in_batches(nn.Sequential(self.T, self.C), images).log_softmax(1)

    def equilibrium(self) -> dict[str, float]:
        """None: how well the classes can be told apart depends on the data."""
        return {}
