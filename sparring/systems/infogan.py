"""Chen et al. 2016, "InfoGAN: Interpretable Representation Learning by Information Maximizing GANs"."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.errors import SparringError
from sparring.losses import Game, to_float32
from sparring.seeds import make_generator
from sparring.system import NOISE_DISTRIBUTIONS, Move, NextBatch, grid_columns_for
from sparring.systems.gan import GAN


class InfoGAN(GAN):
    """Part of the generator's input is a message; a head of the discriminator reads it from the image.

    T           (B, C, H, W) -> (B, F): the trunk that judge and reader share
    D           (B, F) -> (B, 1) scores (logits)
    Q           (B, F) -> (B, categories + values): logits, then the mean of every value (its deviation is fixed at 1)
    G           (B, latent + categories + values) -> (B, C, H, W) in [-1, 1]
    n_categories  the one-hot part of the message
    n_continuous  numbers of the message from U(-1, 1)
    info_weight  lambda of eq. 6
    """

    players = {"discriminator": ("T", "D", "Q"), "generator": ("G",)}
    Q: Any

    def __init__(
        self,
        G: nn.Module,
        T: nn.Module,
        D: nn.Module,
        Q: nn.Module,
        *,
        latent_dim: int,
        n_categories: int,
        n_continuous: int,
        game: Game,
        noise: str = "normal",
        info_weight: float = 1.0,
    ) -> None:
        super().__init__(G, D, latent_dim=latent_dim, game=game, noise=noise)
        self.T, self.Q = T, Q
        self.n_categories, self.n_continuous = n_categories, n_continuous
        self.grid_columns = grid_columns_for(n_categories)
        self.info_weight = info_weight

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        x, _ = feed("train")
        message = self.message(len(x))
        with torch.no_grad():
            fake = self.G(torch.cat([self.noise(len(x)), message], 1))
        made = self.T(fake)
        real_score, fake_score = to_float32(self.D(self.T(x))), to_float32(self.D(made))
        loss = self.game.discriminator(real_score, fake_score) - self.info_weight * self.information(made, message)
        yield Move("discriminator", loss, real=real_score.mean(), fake=fake_score.mean())

        message = self.message(len(x))
        made = self.T(self.G(torch.cat([self.noise(len(x)), message], 1)))
        information = self.information(made, message)
        yield Move(
            "generator", self.game.generator(self.D(made)) - self.info_weight * information, information=information
        )

    def message(self, n: int) -> Tensor:
        """(n, categories + values) messages from the round's own draws: a category at random, values from U(-1, 1)."""
        kinds = (self.uniform(n) * self.n_categories).long().clamp_(max=self.n_categories - 1)
        n_continuous = [2 * self.uniform(n) - 1 for _ in range(self.n_continuous)]
        return torch.cat(
            [F.one_hot(kinds, self.n_categories).to(self.uniform(1)), *(v[:, None] for v in n_continuous)], 1
        )

    def information(self, features: Tensor, message: Tensor) -> Tensor:
        """Eq. 5: L_I(G, Q), a lower bound of the mutual information of message and image, in nats.

        At most log(categories) + values log(2 / sqrt(2 pi)): a value is read as N(mean, 1) (authors' code).
        """
        logits, mean = to_float32(self.Q(features)).split([self.n_categories, self.n_continuous], 1)
        kinds, n_continuous = message.split([self.n_categories, self.n_continuous], 1)
        said = (kinds * logits.log_softmax(1)).sum(1).mean() + math.log(self.n_categories)
        density = -((n_continuous - mean).square() / 2 + math.log(2 * math.pi) / 2).sum(1).mean()
        return said + density + self.n_continuous * math.log(2)

    def sample(self, n: int, *, seed: int = 0, codes: Tensor | None = None, truncation: float | None = None) -> Tensor:
        """(n, C, H, W) images in [-1, 1] on the CPU; they depend on the weights and the arguments only.

        codes       (n, categories + values): a one-hot category (or a mixture), then values, [-1, 1] in training;
                    default: each category in turn, values as in training
        truncation  every number of the noise beyond +- this is drawn again: fewer kinds of better images

        Raises SparringError for codes of another shape.
        """
        if codes is None:
            return self.decode(self.sample_latents(n, seed=seed, truncation=truncation))
        if codes.shape != (n, self.n_categories + self.n_continuous):
            raise SparringError(
                f"codes are {tuple(codes.shape)}: expected ({n}, {self.n_categories + self.n_continuous}), a one-hot "
                f"category of {self.n_categories} and {self.n_continuous} values in [-1, 1]"
            )
        noise = self.codes(n, seed, truncation)
        return self.decode(torch.cat([noise, codes.to(noise)], 1))

    def sample_latents(self, n: int, *, seed: int = 0, truncation: float | None = None) -> Tensor:
        """(n, latent + categories + values) noise, then messages: each category in turn, values as in training."""
        noise = self.codes(n, seed, truncation)
        kinds = torch.arange(n) % self.n_categories
        n_continuous = NOISE_DISTRIBUTIONS["uniform"](make_generator("message", seed), (n, self.n_continuous))
        return torch.cat([noise, F.one_hot(kinds, self.n_categories).to(noise), n_continuous.to(noise)], 1)

    def score(self, images: Tensor) -> Tensor:
        """(n,) scores of (n, C, H, W) images in [-1, 1], higher = more real also where labels are swapped."""
        return self.game.direction_of_real * self.run_batched(nn.Sequential(self.T, self.D), images).flatten()

    def equilibrium(self) -> dict[str, float]:
        """None: how much the image can tell of the message depends on the data."""
        return {}
