"""Makhzani et al. 2016, section 2.3: labels select the component of the prior that an image's code should follow."""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from sparring.errors import SparringError
from sparring.losses import Game, half_squared_error
from sparring.priors import Prior
from sparring.seeds import make_generator
from sparring.system import LabelsLike, Move, NextBatch, grid_columns_for, next_labeled
from sparring.systems.aae import AAE


class LabeledPriorAAE(AAE):
    """The discriminator sees the one-hot class next to the code; an extra label marks unlabeled images.

    D        (B, latent + components + 1) -> (B, 1) scores (logits) of a code with a one-hot label
    prior    a mixture with one component per class
    classes  number of classes of the data; the label `classes` means unlabeled: the code may follow any component
    encoder, decoder, game  as in AAE
    """

    takes = {"sample": {"labels"}, "sample_latents": {"labels"}}

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, D: nn.Module, *, prior: Prior, classes: int, game: Game
    ) -> None:
        super().__init__(encoder, decoder, D, prior=prior, game=game)
        if prior.components != classes:
            raise SparringError(
                f"the prior has {prior.components} components and the data {classes} classes: they must match"
            )
        self.classes, self.grid_columns = classes, grid_columns_for(classes)

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        """Section 2.3: as `AAE.round`, with the class next to every code."""
        x, y = next_labeled(feed)
        onehot = one_hot(y, self.classes + 1).to(x)
        yield Move("autoencoder", half_squared_error(self.decoder(self.encoder(x)), x).mean())

        code = self.encoder(x)
        prior_samples = self.prior_samples_for(y)
        codes = torch.cat([torch.cat([prior_samples, code.detach()]), onehot.repeat(2, 1)], 1)
        prior_score, code_score = self.D(codes).chunk(2)
        loss = self.game.discriminator(prior_score, code_score)
        yield Move("discriminator", loss, prior=prior_score.mean(), code=code_score.mean())

        yield Move("encoder", self.game.generator(self.D(torch.cat([code, onehot], 1))))

    def prior_samples_for(self, y: Tensor) -> Tensor:
        """(n, latent) prior samples from the component of each label; from a random component for unlabeled images."""
        samples = self.draw_rows(self.prior.each, len(y))
        components = torch.where(y == self.classes, self.random_labels(len(y)), y)
        return samples[torch.arange(len(y)), components]

    def sample(self, n: int, *, seed: int = 0, labels: LabelsLike = None) -> Tensor:
        """(n, C, H, W) images in [-1, 1] of codes from the requested components (default: each in turn)."""
        return self.decode(self.sample_latents(n, seed=seed, labels=labels))

    def sample_latents(self, n: int, *, seed: int = 0, labels: LabelsLike = None) -> Tensor:
        """(n, latent) codes from the requested components (default: each in turn)."""
        samples = self.prior.each(make_generator("sample", seed), n)
        return samples[torch.arange(n), self.expand_labels(n, labels).cpu()]
