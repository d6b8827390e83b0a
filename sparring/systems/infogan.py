"""Chen et al. 2016, "InfoGAN: Interpretable Representation Learning by Information Maximizing GANs"."""

from __future__ import annotations

import math
from collections.abc import Generator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.errors import SparringError
from sparring.losses import Game
from sparring.noise import uniform
from sparring.seeds import make_generator
from sparring.system import Move, NextBatch, grid_columns_for
from sparring.systems.noise_model import NoiseModel


class InfoGAN(NoiseModel):
    """Part of the generator's input is a latent code; a head Q of the discriminator predicts it from the image.

    T           (B, C, H, W) -> (B, F): the shared trunk of D and Q
    D           (B, F) -> (B, 1) scores (logits)
    Q           (B, F) -> (B, n_categories + n_continuous): logits, then means of the continuous codes (std fixed at 1)
    G           (B, latent + n_categories + n_continuous) -> (B, C, H, W) in [-1, 1]
    n_categories  length of the one-hot code
    n_continuous  number of continuous codes from U(-1, 1)
    info_weight   lambda of eq. 6
    game          the pair of losses (sparring.losses.GAMES)
    latent_dim, noise  as in NoiseModel, of the incompressible noise z
    """

    players = {"discriminator": ("T", "D", "Q"), "generator": ("G",)}
    takes = {"sample": {"codes", "truncation"}, "sample_latents": {"truncation"}}

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
        super().__init__(G, latent_dim=latent_dim, noise=noise)
        self.T, self.D, self.Q = T, D, Q
        self.game = game
        self.n_categories, self.n_continuous = n_categories, n_continuous
        self.grid_columns = grid_columns_for(n_categories)
        self.info_weight = info_weight

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        """Eq. 6: the game, minus lambda L_I for both players."""
        x, _ = feed("train")
        code = self.random_code(len(x))
        with torch.no_grad():
            fake = self.G(torch.cat([self.noise(len(x)), code], 1))
        fake_features = self.T(fake)
        real_score, fake_score = self.D(self.T(x)), self.D(fake_features)
        information = self.information(fake_features, code)
        loss = self.game.discriminator(real_score, fake_score) - self.info_weight * information  # eq. 6
        yield Move("discriminator", loss, real=real_score.mean(), fake=fake_score.mean())

        code = self.random_code(len(x))
        fake_features = self.T(self.G(torch.cat([self.noise(len(x)), code], 1)))
        information = self.information(fake_features, code)
        loss = self.game.generator(self.D(fake_features)) - self.info_weight * information  # eq. 6
        yield Move("generator", loss, information=information)

    def random_code(self, n: int) -> Tensor:
        """(n, n_categories + n_continuous) random codes: a one-hot category, then values from U(-1, 1)."""
        category = (self.uniform(n) * self.n_categories).long().clamp_(max=self.n_categories - 1)
        values = [2 * self.uniform(n) - 1 for _ in range(self.n_continuous)]
        return torch.cat([F.one_hot(category, self.n_categories).to(self.uniform(1)), *(v[:, None] for v in values)], 1)

    def information(self, features: Tensor, code: Tensor) -> Tensor:
        """Eq. 5: L_I(G, Q), a lower bound of the mutual information of code and image, in nats.

        At most log(n_categories) + n_continuous log(2 / sqrt(2 pi)): values are modeled as N(mean, 1) (authors' code).
        """
        logits, mean = self.Q(features).split([self.n_categories, self.n_continuous], 1)
        onehot, values = code.split([self.n_categories, self.n_continuous], 1)
        category: Tensor = (onehot * logits.log_softmax(1)).sum(1).mean() + math.log(self.n_categories)
        density: Tensor = -((values - mean).square() / 2 + math.log(2 * math.pi) / 2).sum(1).mean()
        return category + density + self.n_continuous * math.log(2)

    def sample(self, n: int, *, seed: int = 0, codes: Tensor | None = None, truncation: float | None = None) -> Tensor:
        """(n, C, H, W) images in [-1, 1] on the CPU; they depend on the weights and the arguments only.

        codes       (n, n_categories + n_continuous): a one-hot category (or a mixture), then values in [-1, 1];
                    default: each category in turn, random values
        truncation  numbers of the noise beyond +- this are resampled: less variety, better quality

        Raises SparringError for codes of another shape.
        """
        if codes is None:
            return self.decode(self.sample_latents(n, seed=seed, truncation=truncation))
        if codes.shape != (n, self.n_categories + self.n_continuous):
            raise SparringError(
                f"codes have shape {tuple(codes.shape)}: expected ({n}, {self.n_categories + self.n_continuous}), "
                f"a one-hot category of {self.n_categories} and {self.n_continuous} values in [-1, 1]"
            )
        noise = self.codes(n, seed, truncation)
        return self.decode(torch.cat([noise, codes.to(noise)], 1))

    def sample_latents(self, n: int, *, seed: int = 0, truncation: float | None = None) -> Tensor:
        """(n, latent + n_categories + n_continuous): noise, each category in turn, random values."""
        noise = self.codes(n, seed, truncation)
        category = torch.arange(n) % self.n_categories
        values = uniform(make_generator("message", seed), (n, self.n_continuous))
        return torch.cat([noise, F.one_hot(category, self.n_categories).to(noise), values.to(noise)], 1)

    def infer_codes(self, images: Tensor) -> Tensor:
        """(n, 1 + n_continuous): Q's most probable category and means of the continuous codes, for (n, C, H, W)."""
        predicted = self.run_batched(nn.Sequential(self.T, self.Q), images)
        logits, means = predicted.split([self.n_categories, self.n_continuous], 1)
        return torch.cat([logits.argmax(1, keepdim=True).to(means), means], 1)

    def score(self, images: Tensor) -> Tensor:
        """(n,) scores of (n, C, H, W) images in [-1, 1], higher = more real, also with inverted targets."""
        return self.game.direction_of_real * self.run_batched(nn.Sequential(self.T, self.D), images).flatten()

    def equilibrium(self) -> dict[str, float]:
        """Empty: the attainable mutual information depends on the data."""
        return {}
