"""Kingma and Welling 2014, "Auto-Encoding Variational Bayes"."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping

import torch
from torch import Tensor, nn

from sparring import priors
from sparring.losses import divergence_from_normal, in_full
from sparring.seeds import generator
from sparring.system import Feed, Move
from sparring.systems.autoencoder import Autoencoder


class VAE(Autoencoder):
    """The code of an image is a Gaussian, held near N(0, 1); encoder and decoder maximise a bound of log p(x).

    encoder   (B, C, H, W) -> (B, 2 latent): means, then logarithms of variances
    decoder   (B, latent) -> what `surprise` takes; `image` makes of it (B, C, H, W) in [-1, 1]
    surprise  (decoded, x) -> (B,) -log p(x|z) in nats
    beta      weight of the divergence (Higgins et al. 2017); 1: the bound
    variance_as_deviation  a slip of lectures: codes are drawn as mean + variance * noise, while the loss has the
              divergence of a variance; `divergence` and `log_likelihood` are of codes as they are drawn
    """

    curved = True

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        latent: int,
        surprise: Callable[[Tensor, Tensor], Tensor],
        image: nn.Module,
        beta: float = 1.0,
        variance_as_deviation: bool = False,
    ) -> None:
        super().__init__(encoder, decoder, latent=latent)
        self.surprise, self.image, self.beta = surprise, image, beta
        self.variance_as_deviation = variance_as_deviation

    def log_deviation(self, log_variance: Tensor) -> Tensor:
        """The logarithm of the standard deviation that codes are drawn with: log sqrt(variance), but for the slip."""
        return log_variance if self.variance_as_deviation else log_variance / 2

    def round(self, feed: Feed) -> Generator[Move, None, None]:
        x, _ = feed("train")
        mean, log_variance = in_full(self.encoder(x)).chunk(2, 1)
        z = mean + self.log_deviation(log_variance).exp() * self.noise(len(x))  # section 2.4, the reparameterisation
        surprise = self.surprise(self.decoder(z), x).mean()
        divergence = divergence_from_normal(mean, log_variance).sum(1).mean()
        yield Move("autoencoder", surprise + self.beta * divergence, surprise=surprise, divergence=divergence)  # eq. 10

    def sample(self, n: int, *, seed: int = 0, truncation: float | None = None) -> Tensor:
        """(n, C, H, W) mean images in [-1, 1] of codes from N(0, 1); they depend on weights and arguments only.

        truncation  every number of a code beyond +- this is drawn again: fewer kinds of better images
        """
        return self.decode(self.prior_codes(n, seed=seed, truncation=truncation))

    def prior_codes(self, n: int, *, seed: int = 0, truncation: float | None = None) -> Tensor:
        """(n, latent) codes from N(0, 1)."""
        return self.codes(n, seed, truncation)

    def encode(self, images: Tensor, *, seed: int | None = None) -> Tensor:
        """(n, latent) means of the codes of (n, C, H, W) images in [-1, 1]; with a seed, codes drawn around them."""
        mean, log_variance = self.in_batches(self.encoder, images).chunk(2, 1)
        if seed is None:
            return mean
        return mean + self.log_deviation(log_variance).exp() * torch.randn(
            mean.shape, generator=generator("codes", seed)
        )

    def decode(self, codes: Tensor) -> Tensor:
        """(n, C, H, W) mean images in [-1, 1] of (n, latent) codes."""
        return self.pictures(nn.Sequential(self.decoder, self.image), codes)

    def divergence(self, images: Tensor) -> Tensor:
        """(n, latent) KL divergence of each unit's code from N(0, 1), in nats; near 0: the unit says nothing."""
        mean, log_variance = self.in_batches(self.encoder, images).chunk(2, 1)
        return divergence_from_normal(mean, 2 * self.log_deviation(log_variance))

    def log_likelihood(self, images: Tensor, *, draws: int = 100, seed: int = 0) -> Tensor:
        """(n,) log p(x) in nats, estimated from below by importance weighting (Burda et al. 2016, eq. 8).

        draws  codes for each image: with 1 the bound itself, more come nearer
        """
        g = generator("likelihood", seed)
        every = []
        for x in images.split(max(1, 2000 // draws)):
            mean, log_variance = self.in_batches(self.encoder, x).chunk(2, 1)
            noise = torch.randn(draws, *mean.shape, generator=g)
            log_deviation = self.log_deviation(log_variance)
            z = mean + log_deviation.exp() * noise
            decoded = self.in_batches(self.decoder, z.flatten(0, 1))
            of_image = -self.surprise(decoded, x.repeat(draws, 1, 1, 1)).view(draws, len(x))
            weights = of_image + _log_normal(z) - (_log_normal(noise) - log_deviation.sum(1))
            every.append(weights.logsumexp(0) - math.log(draws))
        return torch.cat(every)

    def walks(self) -> Mapping[str, Tensor]:
        """Title -> (rows, columns, latent) codes worth looking at."""
        return priors.gaussian(self.latent).walks()


def _log_normal(z: Tensor) -> Tensor:
    """(..., d) -> (...) log density of N(0, 1)."""
    return -(z.square() + math.log(2 * math.pi)).sum(-1) / 2
