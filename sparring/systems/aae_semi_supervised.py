"""Makhzani et al. 2016, section 5: semi-supervised classification by the categorical part of the code."""

from __future__ import annotations

from collections.abc import Generator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.functional import one_hot

from sparring.losses import Game, half_squared_error
from sparring.priors import Prior, categorical, in_every_class
from sparring.seeds import make_generator
from sparring.system import LabelsLike, Move, NextBatch, grid_columns_for, next_labeled
from sparring.systems.autoencoder import Autoencoder


class SemiSupervisedAAE(Autoencoder):
    """A code consists of a class and a style. All images are reconstructed; a few have labels.

    encoder  (B, C, H, W) -> (B, classes + latent): logits, then the style
    decoder  (B, classes + latent) -> (B, C, H, W) in [-1, 1]: probabilities, then the style
    Dz       (B, latent) -> (B, 1): a style from the prior, or from the encoder?
    Dy       (B, classes) -> (B, 1): a one-hot vector, or the encoder's probabilities?
    prior    of the style
    The feed has two streams: "labeled" and "unlabeled".
    """

    players = {
        "autoencoder": ("encoder", "decoder"),
        "discriminators": ("Dz", "Dy"),
        "encoder": ("encoder",),
        "classifier": ("encoder",),
    }
    takes = {"sample": {"labels"}, "sample_latents": {"labels"}}

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        Dz: nn.Module,
        Dy: nn.Module,
        *,
        classes: int,
        prior: Prior,
        game: Game,
    ) -> None:
        super().__init__(encoder, decoder, latent_dim=prior.latent_dim)
        self.Dz, self.Dy = Dz, Dy
        self.prior, self.game = prior, game
        self.classes, self.grid_columns = classes, grid_columns_for(classes)
        self.category_prior = categorical(classes)

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        """Section 5: reconstruction, regularization and semi-supervised classification phase."""
        # Reconstruction phase.
        x, _ = feed("unlabeled")
        y, z = self.parts(x)
        yield Move("autoencoder", half_squared_error(self.decoder(torch.cat([y, z], 1)), x).mean())

        # Regularization phase.
        y, z = self.parts(x)
        prior_y, prior_z = self.draw_rows(self.category_prior.draw, len(x)), self.draw_rows(self.prior.draw, len(x))
        loss_y = self.game.discriminator(*self.Dy(torch.cat([prior_y, y.detach()])).chunk(2))
        loss_z = self.game.discriminator(*self.Dz(torch.cat([prior_z, z.detach()])).chunk(2))
        yield Move("discriminators", loss_y + loss_z, category=loss_y, style=loss_z)

        adv_y, adv_z = self.game.generator(self.Dy(y)), self.game.generator(self.Dz(z))
        yield Move("encoder", adv_y + adv_z, category=adv_y, style=adv_z)

        # Semi-supervised classification phase.
        x, labels = next_labeled(feed, "labeled")
        logits = self.encoder(x)[:, : self.classes]
        correct = (logits.argmax(1) == labels).float().mean()
        yield Move("classifier", F.cross_entropy(logits, labels), accuracy=correct)

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, classes) probabilities and (B, latent) styles of (B, C, H, W) images."""
        logits, z = self.encoder(x).split([self.classes, self.latent_dim], 1)
        return logits.softmax(1), z

    def sample(self, n: int, *, seed: int = 0, labels: LabelsLike = None) -> Tensor:
        """(n, C, H, W) images in [-1, 1] of the requested classes (default: each in turn), in random styles."""
        return self.decode(self.sample_latents(n, seed=seed, labels=labels))

    def sample_latents(self, n: int, *, seed: int = 0, labels: LabelsLike = None) -> Tensor:
        """(n, classes + latent) one-hot classes (default: each in turn) and styles."""
        onehot = one_hot(self.expand_labels(n, labels).cpu(), self.classes)
        return torch.cat([onehot, self.prior.draw(make_generator("sample", seed), n)], 1)

    def encode(self, images: Tensor) -> Tensor:
        """(n, classes + latent) probabilities and styles of (n, C, H, W) images in [-1, 1]."""
        logits, z = self.run_batched(self.encoder, images).split([self.classes, self.latent_dim], 1)
        return torch.cat([logits.softmax(1), z], 1)

    def classify(self, images: Tensor) -> Tensor:
        """(n, classes) log-probabilities of (n, C, H, W) images in [-1, 1]."""
        return self.run_batched(self.encoder, images)[:, : self.classes].log_softmax(1)

    def traversals(self) -> Mapping[str, Tensor]:
        """Rows of one style in every class."""
        return {"one style per row, one class per column": in_every_class(self.prior, self.classes)}

    def equilibrium(self) -> dict[str, float]:
        """The losses when codes and priors are indistinguishable, summed over two games."""
        discriminator, encoder = self.game.equilibrium()
        return {"discriminators": 2 * discriminator, "encoder": 2 * encoder}
