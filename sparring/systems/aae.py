"""Makhzani et al. 2016, "Adversarial Autoencoders", section 2: an autoencoder whose codes follow a prior."""

from __future__ import annotations

from collections.abc import Generator, Mapping

import torch
from torch import Tensor, nn

from sparring.losses import Game, half_squared_error
from sparring.priors import Prior
from sparring.seeds import make_generator
from sparring.system import Move, NextBatch
from sparring.systems.autoencoder import Autoencoder


class AAE(Autoencoder):
    """The encoder has two objectives: reconstruction with the decoder, and a game against a discriminator of codes.

    encoder  (B, C, H, W) -> (B, latent)
    decoder  (B, latent) -> (B, C, H, W) in [-1, 1]
    D        (B, latent) -> (B, 1) scores (logits): from the prior, or from the encoder?
    prior    the target distribution of the codes
    game     the pair of losses (sparring.losses.GAMES)
    """

    players = {"autoencoder": ("encoder", "decoder"), "discriminator": ("D",), "encoder": ("encoder",)}

    def __init__(self, encoder: nn.Module, decoder: nn.Module, D: nn.Module, *, prior: Prior, game: Game) -> None:
        super().__init__(encoder, decoder, latent_dim=prior.latent_dim)
        self.D = D
        self.prior, self.game = prior, game

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        """Section 2: reconstruction phase, then regularization phase."""
        x, _ = feed("train")
        yield Move("autoencoder", half_squared_error(self.decoder(self.encoder(x)), x).mean())  # reconstruction phase

        code = self.encoder(x)  # one pass for both steps: the first does not change the encoder
        prior_samples = self.draw_rows(self.prior.draw, len(x))
        prior_score, code_score = self.D(torch.cat([prior_samples, code.detach()])).chunk(2)
        loss = self.game.discriminator(prior_score, code_score)  # regularization phase, first step
        yield Move("discriminator", loss, prior=prior_score.mean(), code=code_score.mean())

        yield Move("encoder", self.game.generator(self.D(code)))  # regularization phase, second step

    def sample(self, n: int, *, seed: int = 0) -> Tensor:
        """(n, C, H, W) images in [-1, 1] of codes from the prior; a function of the weights and (n, seed) only."""
        return self.decode(self.sample_latents(n, seed=seed))

    def sample_latents(self, n: int, *, seed: int = 0) -> Tensor:
        """(n, latent) codes from the prior."""
        return self.prior.draw(make_generator("sample", seed), n)

    def traversals(self) -> Mapping[str, Tensor]:
        """Title -> (rows, columns, latent) codes to display."""
        return self.prior.traversals()

    def equilibrium(self) -> dict[str, float]:
        """The losses when codes and prior are indistinguishable."""
        discriminator, encoder = self.game.equilibrium()
        return {"discriminator": discriminator, "encoder": encoder}
