"""Makhzani et al. 2016, section 4: a class-conditional decoder, so that the code captures style."""

from __future__ import annotations

from collections.abc import Generator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from sparring.losses import Game, half_squared_error
from sparring.priors import Prior
from sparring.seeds import make_generator
from sparring.system import LabelsLike, Move, NextBatch, grid_columns_for, next_labeled
from sparring.systems.aae import AAE


class SupervisedAAE(AAE):
    """The decoder gets the class, so the code only needs to represent the style.

    decoder  (B, classes + latent) -> (B, C, H, W) in [-1, 1]: a one-hot class, then the style
    encoder, D, prior, game  as in AAE
    """

    takes = {"sample": {"labels"}, "decode": {"labels"}, "reconstruct": {"labels"}}

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, D: nn.Module, *, prior: Prior, classes: int, game: Game
    ) -> None:
        super().__init__(encoder, decoder, D, prior=prior, game=game)
        self.classes, self.grid_columns = classes, grid_columns_for(classes)

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        """Section 4: as `AAE.round`, with the class next to the code that is decoded."""
        x, y = next_labeled(feed)
        onehot = one_hot(y, self.classes).to(x)
        decoded = self.decoder(torch.cat([onehot, self.encoder(x)], 1))
        yield Move("autoencoder", half_squared_error(decoded, x).mean())

        code = self.encoder(x)
        prior_samples = self.draw_rows(self.prior.draw, len(x))
        prior_score, code_score = self.D(torch.cat([prior_samples, code.detach()])).chunk(2)
        loss = self.game.discriminator(prior_score, code_score)
        yield Move("discriminator", loss, prior=prior_score.mean(), code=code_score.mean())

        yield Move("encoder", self.game.generator(self.D(code)))

    def sample(self, n: int, *, seed: int = 0, labels: LabelsLike = None) -> Tensor:
        """(n, C, H, W) images in [-1, 1] of the requested classes (default: each in turn), in random styles."""
        return self.decode(self.sample_latents(n, seed=seed), labels=labels)

    def decode(self, codes: Tensor, *, labels: LabelsLike = None) -> Tensor:
        """(n, C, H, W) images in [-1, 1] of (n, latent) styles in the given classes (default: each in turn)."""
        onehot = one_hot(self.expand_labels(len(codes), labels).to(codes.device), self.classes)
        return self.generate_images(self.decoder, torch.cat([onehot, codes], 1))

    def reconstruct(self, images: Tensor, *, labels: LabelsLike = None) -> Tensor:
        """Reconstructions of (n, C, H, W) images in [-1, 1] from class and style."""
        return self.decode(self.encode(images), labels=labels)

    def traversals(self) -> Mapping[str, Tensor]:
        """Rows of one style, which `decode` renders in each class in turn."""
        styles = self.prior.draw(make_generator("styles"), 8)
        return {"one style per row, one class per column": styles[:, None].expand(-1, self.classes, -1)}
