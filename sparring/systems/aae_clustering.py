"""Makhzani et al. 2016, section 6: unsupervised clustering with a partly categorical code."""

from __future__ import annotations

from collections.abc import Generator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from sparring.losses import Game, half_squared_error
from sparring.priors import Prior, categorical, in_every_class
from sparring.seeds import make_generator
from sparring.system import Move, NextBatch, grid_columns_for
from sparring.systems.autoencoder import Autoencoder


class ClusteringAAE(Autoencoder):
    """A code consists of a cluster and a style; each part has its own discriminator.

    encoder   (B, C, H, W) -> (B, clusters + latent): logits, then the style
    decoder   (B, clusters + latent) -> (B, C, H, W) in [-1, 1]: probabilities, then the style
    Dz        (B, latent) -> (B, 1): a style from the prior, or from the encoder?
    Dy        (B, clusters) -> (B, 1): a one-hot vector, or the encoder's probabilities?
    clusters  number of clusters; all equally likely
    prior     of the style
    """

    players = {"autoencoder": ("encoder", "decoder"), "discriminators": ("Dz", "Dy"), "encoder": ("encoder",)}

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        Dz: nn.Module,
        Dy: nn.Module,
        *,
        clusters: int,
        prior: Prior,
        game: Game,
    ) -> None:
        super().__init__(encoder, decoder, latent_dim=prior.latent_dim)
        self.Dz, self.Dy = Dz, Dy
        self.prior, self.game = prior, game
        self.clusters, self.grid_columns = clusters, grid_columns_for(clusters)
        self.category_prior = categorical(clusters)

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        """Section 6: reconstruction phase, then regularization phase of both parts of the code."""
        x, _ = feed("train")
        y, z = self.parts(x)
        yield Move("autoencoder", half_squared_error(self.decoder(torch.cat([y, z], 1)), x).mean())

        y, z = self.parts(x)
        prior_y, prior_z = self.draw_rows(self.category_prior.draw, len(x)), self.draw_rows(self.prior.draw, len(x))
        loss_y = self.game.discriminator(*self.Dy(torch.cat([prior_y, y.detach()])).chunk(2))
        loss_z = self.game.discriminator(*self.Dz(torch.cat([prior_z, z.detach()])).chunk(2))
        yield Move("discriminators", loss_y + loss_z, category=loss_y, style=loss_z)

        adv_y, adv_z = self.game.generator(self.Dy(y)), self.game.generator(self.Dz(z))
        yield Move("encoder", adv_y + adv_z, category=adv_y, style=adv_z)

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, clusters) probabilities and (B, latent) styles of (B, C, H, W) images."""
        logits, z = self.encoder(x).split([self.clusters, self.latent_dim], 1)
        return logits.softmax(1), z

    def sample(self, n: int, *, seed: int = 0) -> Tensor:
        """(n, C, H, W) images in [-1, 1], each cluster in turn; a function of the weights and (n, seed) only."""
        return self.decode(self.sample_latents(n, seed=seed))

    def sample_latents(self, n: int, *, seed: int = 0) -> Tensor:
        """(n, clusters + latent) one-hot clusters, each in turn, and styles."""
        onehot = one_hot(torch.arange(n) % self.clusters, self.clusters)
        return torch.cat([onehot, self.prior.draw(make_generator("sample", seed), n)], 1)

    def encode(self, images: Tensor) -> Tensor:
        """(n, clusters + latent) probabilities and styles of (n, C, H, W) images in [-1, 1]."""
        logits, z = self.run_batched(self.encoder, images).split([self.clusters, self.latent_dim], 1)
        return torch.cat([logits.softmax(1), z], 1)

    def cluster(self, images: Tensor) -> Tensor:
        """(n, clusters) log-probabilities of (n, C, H, W) images in [-1, 1]."""
        return self.run_batched(self.encoder, images)[:, : self.clusters].log_softmax(1)

    def traversals(self) -> Mapping[str, Tensor]:
        """Rows of one style in every cluster."""
        return {"one style per row, one cluster per column": in_every_class(self.prior, self.clusters)}

    def equilibrium(self) -> dict[str, float]:
        """The losses when codes and priors are indistinguishable, summed over two games."""
        discriminator, encoder = self.game.equilibrium()
        return {"discriminators": 2 * discriminator, "encoder": 2 * encoder}
