"""Makhzani et al. 2016, section 2.3: labels say which component of the prior an image's code should be in."""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from sparring.errors import SparringError
from sparring.losses import Game, half_squared_error, to_float32
from sparring.priors import Prior
from sparring.seeds import make_generator
from sparring.system import Move, NextBatch, grid_columns_for, next_labeled
from sparring.systems.aae import AAE


class LabeledPriorAAE(AAE):
    """The discriminator is told the class beside the code; a label of one more than the classes: not known.

    D        (B, latent + components + 1) -> (B, 1) scores (logits) of a code and a one-hot label
    prior    with one component for each class
    classes  of the data; the label `classes` means that the image is unlabeled, its code may be anywhere
    encoder, decoder, game  as in AAE
    """

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, D: nn.Module, *, prior: Prior, classes: int, game: Game
    ) -> None:
        super().__init__(encoder, decoder, D, prior=prior, game=game)
        if prior.components != classes:
            raise SparringError(
                f"the prior has {prior.components} components and the data {classes} classes: each class needs its own"
            )
        self.classes, self.grid_columns = classes, grid_columns_for(classes)

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        x, y = next_labeled(feed)
        told = one_hot(y, self.classes + 1).to(x)
        yield Move("autoencoder", half_squared_error(self.decoder(self.encoder(x)), x).mean())

        code = self.encoder(x)
        drawn = self.drawn_for(y)
        codes = torch.cat([torch.cat([drawn, code.detach()]), told.repeat(2, 1)], 1)
        from_prior, from_image = to_float32(self.D(codes)).chunk(2)
        loss = self.game.discriminator(from_prior, from_image)
        yield Move("discriminator", loss, prior=from_prior.mean(), code=from_image.mean())

        yield Move("encoder", self.game.generator(self.D(torch.cat([code, told], 1))))

    def drawn_for(self, y: Tensor) -> Tensor:
        """(n, latent) codes of the prior: of the component of each label, of any where the label is not known."""
        each = self.draw_rows(self.prior.each, len(y))
        kinds = torch.where(y == self.classes, self.random_labels(len(y)), y)
        return each[torch.arange(len(y)), kinds]

    def sample(self, n: int, *, seed: int = 0, labels: int | list[int] | Tensor | None = None) -> Tensor:
        """(n, C, H, W) images in [-1, 1] of codes from the components asked for (default: each in turn)."""
        return self.decode(self.sample_latents(n, seed=seed, labels=labels))

    def sample_latents(self, n: int, *, seed: int = 0, labels: int | list[int] | Tensor | None = None) -> Tensor:
        """(n, latent) codes from the components asked for (default: each in turn)."""
        every = self.prior.each(make_generator("sample", seed), n)
        return every[torch.arange(n), self.expand_labels(n, labels).cpu()]
