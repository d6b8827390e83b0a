"""Makhzani et al. 2016, section 4: the decoder is told the class, so the code keeps what is left: the style."""

from __future__ import annotations

from collections.abc import Generator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from sparring.losses import Game, half_squared_error, to_float32
from sparring.priors import Prior
from sparring.seeds import make_generator
from sparring.system import Move, NextBatch, grid_columns_for, next_labeled
from sparring.systems.aae import AAE


class SupervisedAAE(AAE):
    """Content and style come apart.

    decoder  (B, classes + latent) -> (B, C, H, W) in [-1, 1]: a one-hot class, then the style
    encoder, D, prior, game  as in AAE
    """

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, D: nn.Module, *, prior: Prior, classes: int, game: Game
    ) -> None:
        super().__init__(encoder, decoder, D, prior=prior, game=game)
        self.classes, self.grid_columns = classes, grid_columns_for(classes)

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        x, y = next_labeled(feed)
        told = one_hot(y, self.classes).to(x)
        decoded = self.decoder(torch.cat([told, self.encoder(x)], 1))
        yield Move("autoencoder", half_squared_error(decoded, x).mean())

        code = self.encoder(x)
        drawn = self.draw_rows(self.prior.draw, len(x))
        from_prior, from_image = to_float32(self.D(torch.cat([drawn, code.detach()]))).chunk(2)
        loss = self.game.discriminator(from_prior, from_image)
        yield Move("discriminator", loss, prior=from_prior.mean(), code=from_image.mean())

        yield Move("encoder", self.game.generator(self.D(code)))

    def sample(self, n: int, *, seed: int = 0, labels: int | list[int] | Tensor | None = None) -> Tensor:
        """(n, C, H, W) images in [-1, 1] of the classes asked for (default: each in turn), in styles of the prior."""
        return self.decode(self.sample_latents(n, seed=seed), labels=labels)

    def decode(self, codes: Tensor, *, labels: int | list[int] | Tensor | None = None) -> Tensor:
        """(n, C, H, W) images in [-1, 1] of (n, latent) styles in these classes (default: each in turn)."""
        told = one_hot(self.expand_labels(len(codes), labels).to(codes.device), self.classes)
        return self.generate_images(self.decoder, torch.cat([told, codes], 1))

    def reconstruct(self, images: Tensor, *, labels: int | list[int] | Tensor | None = None) -> Tensor:
        """What class and style keep of (n, C, H, W) images in [-1, 1]."""
        return self.decode(self.encode(images), labels=labels)

    def traversals(self) -> Mapping[str, Tensor]:
        """Rows of one style, which `decode` paints in every class in turn."""
        styles = self.prior.draw(make_generator("styles"), 8)
        return {"every row one style, every column a class": styles[:, None].expand(-1, self.classes, -1)}


def in_every_class(prior: Prior, classes: int, rows: int = 8) -> Tensor:
    """(rows, classes, classes + latent) codes: as many styles, each in every class."""
    styles = prior.draw(make_generator("styles"), rows)
    told = torch.eye(classes).expand(rows, -1, -1)
    return torch.cat([told, styles[:, None].expand(-1, classes, -1)], 2)
