"""Makhzani et al. 2016, section 7: dimensionality reduction: the code is a cluster head plus a style."""

from __future__ import annotations

from collections.abc import Generator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.functional import one_hot

from sparring.losses import Game, half_squared_error
from sparring.priors import Prior
from sparring.seeds import make_generator
from sparring.system import LabelsLike, Move, NextBatch, next_labeled
from sparring.systems.aae_clustering import ClusteringAAE


class ReductionAAE(ClusteringAAE):
    """Clustering in which the decoder gets only the low-dimensional sum of cluster head and style.

    encoder   (B, C, H, W) -> (B, clusters + latent): logits, then the style
    heads     (B, clusters) -> (B, latent): W_C, a linear map without bias; its columns are the heads
    decoder   (B, latent) -> (B, C, H, W) in [-1, 1]
    min_distance  eta: heads closer to each other than this are pushed apart
    Dz, Dy, clusters, prior, game  as in ClusteringAAE
    """

    players = {"autoencoder": ("encoder", "heads", "decoder"), "discriminators": ("Dz", "Dy"), "encoder": ("encoder",)}
    ema_networks = ("encoder", "heads", "decoder")

    def __init__(
        self,
        encoder: nn.Module,
        heads: nn.Linear,
        decoder: nn.Module,
        Dz: nn.Module,
        Dy: nn.Module,
        *,
        clusters: int,
        prior: Prior,
        game: Game,
        min_distance: float,
    ) -> None:
        super().__init__(encoder, decoder, Dz, Dy, clusters=clusters, prior=prior, game=game)
        self.heads = heads
        self.min_distance = min_distance

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        """Section 7, without labels: `moves` on the next batch."""
        x, _ = feed("train")
        yield from self.moves(x)

    def moves(self, x: Tensor) -> Generator[Move, None, None]:
        """Reconstruction and regularization phase on (B, C, H, W) images."""
        y, z = self.parts(x)
        reconstruction = half_squared_error(self.decoder(self.heads(y) + z), x).mean()
        repulsion = self.repulsion()
        yield Move("autoencoder", reconstruction + repulsion, reconstruction=reconstruction, repulsion=repulsion)

        y, z = self.parts(x)
        prior_y, prior_z = self.draw_rows(self.category_prior.draw, len(x)), self.draw_rows(self.prior.draw, len(x))
        loss_y = self.game.discriminator(*self.Dy(torch.cat([prior_y, y.detach()])).chunk(2))
        loss_z = self.game.discriminator(*self.Dz(torch.cat([prior_z, z.detach()])).chunk(2))
        yield Move("discriminators", loss_y + loss_z, category=loss_y, style=loss_z)

        adv_y, adv_z = self.game.generator(self.Dy(y)), self.game.generator(self.Dz(z))
        yield Move("encoder", adv_y + adv_z, category=adv_y, style=adv_z)

    def repulsion(self) -> Tensor:
        """Sum over pairs of heads of the shortfall from the distance eta; 0 when all are far enough apart."""
        return F.relu(self.min_distance - F.pdist(self.heads.weight.T)).sum()

    def combine(self, categories: Tensor, styles: Tensor) -> Tensor:
        """(n, latent) sums of cluster heads and styles, of (n, clusters) probabilities and (n, latent) styles."""
        return self.run_batched(self.heads, categories.float()) + styles

    def sample_latents(self, n: int, *, seed: int = 0) -> Tensor:
        """(n, latent) codes around the heads, each cluster in turn."""
        categories = one_hot(torch.arange(n) % self.clusters, self.clusters)
        return self.combine(categories, self.prior.draw(make_generator("sample", seed), n))

    def encode(self, images: Tensor) -> Tensor:
        """(n, latent) codes of (n, C, H, W) images in [-1, 1]: heads of the clusters plus styles."""
        logits, z = self.run_batched(self.encoder, images).split([self.clusters, self.latent_dim], 1)
        return self.combine(logits.softmax(1), z)

    def traversals(self) -> Mapping[str, Tensor]:
        """Codes within 2 standard deviations of each head, along the first axis."""
        steps = torch.zeros(15, self.latent_dim)
        steps[:, 0] = torch.linspace(-2, 2, 15)
        heads = self.combine(torch.eye(self.clusters), torch.zeros(self.clusters, self.latent_dim))
        return {"through the head of each cluster": heads[:, None] + steps}


class LabeledReductionAAE(ReductionAAE):
    """ReductionAAE with few labels: clusters are classes. The feed has streams "labeled" and "unlabeled"."""

    players = {**ReductionAAE.players, "classifier": ("encoder",)}
    takes = {"sample": {"labels"}, "sample_latents": {"labels"}}

    def __init__(
        self,
        encoder: nn.Module,
        heads: nn.Linear,
        decoder: nn.Module,
        Dz: nn.Module,
        Dy: nn.Module,
        *,
        classes: int,
        prior: Prior,
        game: Game,
        min_distance: float,
    ) -> None:
        super().__init__(
            encoder, heads, decoder, Dz, Dy, clusters=classes, prior=prior, game=game, min_distance=min_distance
        )
        self.classes = classes

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        """Section 7, with few labels: `moves` on unlabeled images, then a classification move on labeled ones."""
        x, _ = feed("unlabeled")
        yield from self.moves(x)

        x, labels = next_labeled(feed, "labeled")
        logits = self.encoder(x)[:, : self.classes]
        correct = (logits.argmax(1) == labels).float().mean()
        yield Move("classifier", F.cross_entropy(logits, labels), accuracy=correct)

    def sample(self, n: int, *, seed: int = 0, labels: LabelsLike = None) -> Tensor:
        """(n, C, H, W) images in [-1, 1] of the requested classes (default: each in turn)."""
        return self.decode(self.sample_latents(n, seed=seed, labels=labels))

    def sample_latents(self, n: int, *, seed: int = 0, labels: LabelsLike = None) -> Tensor:
        """(n, latent) codes around the heads of the requested classes (default: each in turn)."""
        categories = one_hot(self.expand_labels(n, labels).cpu(), self.classes)
        return self.combine(categories, self.prior.draw(make_generator("sample", seed), n))

    def classify(self, images: Tensor) -> Tensor:
        """(n, classes) log-probabilities of (n, C, H, W) images in [-1, 1]."""
        return self.run_batched(self.encoder, images)[:, : self.classes].log_softmax(1)
