"""Larsen et al. 2016, "Autoencoding beyond pixels using a learned similarity metric" (VAE/GAN), algorithm 1."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import torch
from torch import Tensor, nn

from sparring.losses import Game, kl_to_standard_normal, unit_gaussian_nll
from sparring.system import Move, NextBatch
from sparring.systems.vae import VAE


class VAEGAN(VAE):
    """A VAE whose decoder is the generator of a GAN; reconstructions are compared in a layer of the discriminator.

    encoder  (B, C, H, W) -> (B, 2 latent): means, then logarithms of variances
    decoder  (B, latent) -> (B, C, H, W) in [-1, 1]; the generator, too
    T        (B, C, H, W) -> (B, ...) features: the discriminator up to layer l, Dis_l
    D        features -> (B, 1) scores (logits): the discriminator's other layers
    gamma    weight of the reconstruction in the decoder's loss (eq. 9)
    beta     weight of the KL divergence in the encoder's loss; 1: the paper's
    joint_batch  the discriminator sees images, reconstructions and samples in one batch, so they share batch norm
             statistics; False: in three, which makes it harder to tell them apart
    game     the pair of losses (sparring.losses.GAMES); the paper's is "minimax"

    The three networks use the gradients of one set of weights, as in algorithm 1: no move uses a network that an
    earlier move of the round has changed. Its last line descends L_GAN, which eq. 5 defines as the quantity that the
    discriminator maximizes; here it descends -L_GAN, as the authors' code does.
    """

    players = {"encoder": ("encoder",), "generator": ("decoder",), "discriminator": ("T", "D")}
    log_likelihood: Any = None  # p(x|z) is a density of features, not of images

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        T: nn.Module,
        D: nn.Module,
        *,
        latent_dim: int,
        gamma: float,
        game: Game,
        beta: float = 1.0,
        joint_batch: bool = True,
    ) -> None:
        super().__init__(
            encoder, decoder, latent_dim=latent_dim, nll=unit_gaussian_nll, to_image=nn.Identity(), beta=beta
        )
        self.T, self.D = T, D
        self.gamma, self.game, self.joint_batch = gamma, game, joint_batch

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        """Algorithm 1."""
        x, _ = feed("train")
        mean, log_variance = self.encoder(x).chunk(2, 1)
        z = mean + (log_variance / 2).exp() * self.noise(len(x))  # Z <- Enc(X)
        z_prior = self.noise(len(x))  # Z_p
        kl = kl_to_standard_normal(mean, log_variance).sum(1).mean()  # L_prior
        with torch.no_grad():
            fake = self.decoder(z_prior)
        nll, _, _ = self.compare(x, self.decoder(z), fake)
        yield Move("encoder", self.beta * kl + nll, kl=kl, nll_features=nll)  # L_prior + L_llike

        reconstructed, fake = self.decoder(z.detach()), self.decoder(z_prior)  # X~ <- Dec(Z), X_p <- Dec(Z_p)
        nll, _, fake_score = self.compare(x, reconstructed, fake)
        adversarial = self.game.generator(fake_score)
        yield Move("generator", self.gamma * nll + adversarial, adversarial=adversarial)  # eq. 9

        _, real_score, fake_score = self.compare(x, reconstructed.detach(), fake.detach())
        loss = self.game.discriminator(real_score, fake_score)  # eq. 10
        yield Move("discriminator", loss, real=real_score.mean(), fake=fake_score.mean())

    def compare(self, x: Tensor, reconstructed: Tensor, fake: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """L_llike of eq. 7, a scalar; scores (B, 1) of images and (2 B, 1) of reconstructions and samples.

        A loss is the mean over reconstructions and samples, where eq. 10 has the sum: real and generated images weigh
        the same, as in the authors' code.
        """
        batches = [torch.cat([x, reconstructed, fake])] if self.joint_batch else [x, reconstructed, fake]
        features = [self.T(images) for images in batches]
        of_images, of_reconstructions, _ = torch.cat(features).chunk(3)
        scores = torch.cat([self.D(part) for part in features])
        return self.nll(of_reconstructions, of_images).mean(), scores[: len(x)], scores[len(x) :]

    def score(self, images: Tensor) -> Tensor:
        """(n,) scores of (n, C, H, W) images in [-1, 1], higher = more real."""
        return self.run_batched(nn.Sequential(self.T, self.D), images).flatten()

    def equilibrium(self) -> dict[str, float]:
        """The discriminator's loss when generated and real images are indistinguishable."""
        return {"discriminator": self.game.equilibrium()[0]}
