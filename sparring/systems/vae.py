"""Kingma and Welling 2014, "Auto-Encoding Variational Bayes"."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping

import torch
from torch import Tensor, nn

from sparring import priors
from sparring.losses import kl_to_standard_normal, to_float32
from sparring.seeds import make_generator
from sparring.system import Move, NextBatch
from sparring.systems.autoencoder import Autoencoder


class VAE(Autoencoder):
    """The code of an image is a Gaussian, held near N(0, 1); encoder and decoder maximize a bound of log p(x).

    encoder   (B, C, H, W) -> (B, 2 latent): means, then logarithms of variances
    decoder   (B, latent) -> what `surprise` takes; `image` makes of it (B, C, H, W) in [-1, 1]
    surprise  (decoded, x) -> (B,) -log p(x|z) in nats
    beta      weight of the divergence (Higgins et al. 2017); 1: the bound
    bug_variance_as_std    a slip of lectures: codes are drawn as mean + variance * noise, while the loss has the
              divergence of a variance; `kl` and `log_likelihood` are of codes as they are drawn
    """

    spherical_latent = True

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        latent_dim: int,
        surprise: Callable[[Tensor, Tensor], Tensor],
        image: nn.Module,
        beta: float = 1.0,
        bug_variance_as_std: bool = False,
    ) -> None:
        super().__init__(encoder, decoder, latent_dim=latent_dim)
        self.surprise, self.image, self.beta = surprise, image, beta
        self.bug_variance_as_std = bug_variance_as_std

    def log_deviation(self, log_variance: Tensor) -> Tensor:
        """The logarithm of the standard deviation that codes are drawn with: log sqrt(variance), but for the slip."""
        return log_variance if self.bug_variance_as_std else log_variance / 2

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        x, _ = feed("train")
        mean, log_variance = to_float32(self.encoder(x)).chunk(2, 1)
        z = mean + self.log_deviation(log_variance).exp() * self.noise(len(x))  # section 2.4, the reparameterisation
        surprise = self.surprise(self.decoder(z), x).mean()
        divergence = kl_to_standard_normal(mean, log_variance).sum(1).mean()
        yield Move("autoencoder", surprise + self.beta * divergence, nll=surprise, kl=divergence)  # eq. 10

    def sample(self, n: int, *, seed: int = 0, truncation: float | None = None) -> Tensor:
        """(n, C, H, W) mean images in [-1, 1] of codes from N(0, 1); they depend on weights and arguments only.

        truncation  every number of a code beyond +- this is drawn again: fewer kinds of better images
        """
        return self.decode(self.sample_latents(n, seed=seed, truncation=truncation))

    def sample_latents(self, n: int, *, seed: int = 0, truncation: float | None = None) -> Tensor:
        """(n, latent) codes from N(0, 1)."""
        return self.codes(n, seed, truncation)

    def encode(self, images: Tensor, *, seed: int | None = None) -> Tensor:
        """(n, latent) means of the codes of (n, C, H, W) images in [-1, 1]; with a seed, codes drawn around them."""
        mean, log_variance = self.run_batched(self.encoder, images).chunk(2, 1)
        if seed is None:
            return mean
        return mean + self.log_deviation(log_variance).exp() * torch.randn(
            mean.shape, generator=make_generator("codes", seed)
        )

    def decode(self, codes: Tensor) -> Tensor:
        """(n, C, H, W) mean images in [-1, 1] of (n, latent) codes."""
        return self.generate_images(nn.Sequential(self.decoder, self.image), codes)

    def kl(self, images: Tensor) -> Tensor:
        """(n, latent) KL divergence of each unit's code from N(0, 1), in nats; near 0: the unit says nothing."""
        mean, log_variance = self.run_batched(self.encoder, images).chunk(2, 1)
        return kl_to_standard_normal(mean, 2 * self.log_deviation(log_variance))

    def log_likelihood(self, images: Tensor, *, draws: int = 100, seed: int = 0) -> Tensor:
        """(n,) log p(x) in nats, estimated from below by importance weighting (Burda et al. 2016, eq. 8).

        draws  codes for each image: with 1 the bound itself, more come nearer
        """
        g = make_generator("likelihood", seed)
        every = []
        for x in images.split(max(1, 2000 // draws)):
            mean, log_variance = self.run_batched(self.encoder, x).chunk(2, 1)
            noise = torch.randn(draws, *mean.shape, generator=g)
            log_deviation = self.log_deviation(log_variance)
            z = mean + log_deviation.exp() * noise
            decoded = self.run_batched(self.decoder, z.flatten(0, 1))
            of_image = -self.surprise(decoded, x.repeat(draws, 1, 1, 1)).view(draws, len(x))
            weights = of_image + _log_normal(z) - (_log_normal(noise) - log_deviation.sum(1))
            every.append(weights.logsumexp(0) - math.log(draws))
        return torch.cat(every)

    def traversals(self) -> Mapping[str, Tensor]:
        """Title -> (rows, columns, latent) codes worth looking at."""
        return priors.gaussian(self.latent_dim).traversals()


def _log_normal(z: Tensor) -> Tensor:
    """(..., d) -> (...) log density of N(0, 1)."""
    return -(z.square() + math.log(2 * math.pi)).sum(-1) / 2
