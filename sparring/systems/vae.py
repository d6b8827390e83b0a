"""Kingma and Welling 2014, "Auto-Encoding Variational Bayes"."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping

import torch
from torch import Tensor, nn

from sparring import priors
from sparring.losses import kl_to_standard_normal
from sparring.seeds import make_generator
from sparring.system import Move, NextBatch
from sparring.systems.autoencoder import Autoencoder


class VAE(Autoencoder):
    """Encoder and decoder maximize a lower bound of log p(x); codes are Gaussian, regularized toward N(0, 1).

    encoder   (B, C, H, W) -> (B, 2 latent): means, then logarithms of variances
    decoder   (B, latent) -> parameters of p(x|z), the input of `nll`
    nll       (decoded, x) -> (B,) -log p(x|z) in nats
    to_image  decoded -> (B, C, H, W) mean images in [-1, 1]
    beta      weight of the KL divergence (Higgins et al. 2017); 1: the bound
    bug_variance_as_std    a bug of some lectures: codes are mean + variance * noise, while the loss uses the correct
              variance; `kl` and `log_likelihood` describe the codes as drawn
    """

    takes = {"sample": {"truncation"}, "sample_latents": {"truncation"}, "encode": {"seed"}}

    spherical_latent = True

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        latent_dim: int,
        nll: Callable[[Tensor, Tensor], Tensor],
        to_image: nn.Module,
        beta: float = 1.0,
        bug_variance_as_std: bool = False,
    ) -> None:
        super().__init__(encoder, decoder, latent_dim=latent_dim)
        self.nll, self.to_image, self.beta = nll, to_image, beta
        self.bug_variance_as_std = bug_variance_as_std

    def log_std(self, log_variance: Tensor) -> Tensor:
        """Logarithm of the standard deviation of the codes: log sqrt(variance), unless the bug is switched on."""
        return log_variance if self.bug_variance_as_std else log_variance / 2

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        """Eq. 10: one step on the negative bound."""
        x, _ = feed("train")
        mean, log_variance = self.encoder(x).chunk(2, 1)
        z = mean + self.log_std(log_variance).exp() * self.noise(len(x))  # section 2.4, the reparameterization
        nll = self.nll(self.decoder(z), x).mean()
        kl = kl_to_standard_normal(mean, log_variance).sum(1).mean()
        yield Move("autoencoder", nll + self.beta * kl, nll=nll, kl=kl)  # eq. 10

    def sample(self, n: int, *, seed: int = 0, truncation: float | None = None) -> Tensor:
        """(n, C, H, W) mean images in [-1, 1] of codes from N(0, 1); a function of weights and arguments only.

        truncation  numbers of a code beyond +- this are resampled: less variety, better quality
        """
        return self.decode(self.sample_latents(n, seed=seed, truncation=truncation))

    def sample_latents(self, n: int, *, seed: int = 0, truncation: float | None = None) -> Tensor:
        """(n, latent) codes from N(0, 1)."""
        return self.codes(n, seed, truncation)

    def encode(self, images: Tensor, *, seed: int | None = None) -> Tensor:
        """(n, latent) means of the codes of (n, C, H, W) images in [-1, 1]; with a seed, samples from the posterior."""
        mean, log_variance = self.run_batched(self.encoder, images).chunk(2, 1)
        if seed is None:
            return mean
        return mean + self.log_std(log_variance).exp() * torch.randn(
            mean.shape, generator=make_generator("codes", seed)
        )

    def decode(self, codes: Tensor) -> Tensor:
        """(n, C, H, W) mean images in [-1, 1] of (n, latent) codes."""
        return self.generate_images(nn.Sequential(self.decoder, self.to_image), codes)

    def kl(self, images: Tensor) -> Tensor:
        """(n, latent) KL divergence of each code unit from N(0, 1), in nats; near 0 the unit is inactive."""
        mean, log_variance = self.run_batched(self.encoder, images).chunk(2, 1)
        return kl_to_standard_normal(mean, 2 * self.log_std(log_variance))

    def log_likelihood(self, images: Tensor, *, draws: int = 100, seed: int = 0) -> Tensor:
        """(n,) log p(x) in nats, estimated from below by importance weighting (Burda et al. 2016, eq. 8).

        draws  codes per image: 1 gives the variational bound, more tighten it
        """
        g = make_generator("likelihood", seed)
        estimates = []
        for x in images.split(max(1, 2000 // draws)):
            mean, log_variance = self.run_batched(self.encoder, x).chunk(2, 1)
            noise = torch.randn(draws, *mean.shape, generator=g)
            log_std = self.log_std(log_variance)
            z = mean + log_std.exp() * noise
            decoded = self.run_batched(self.decoder, z.flatten(0, 1))
            log_p_x = -self.nll(decoded, x.repeat(draws, 1, 1, 1)).view(draws, len(x))
            weights = log_p_x + _log_normal(z) - (_log_normal(noise) - log_std.sum(1))
            estimates.append(weights.logsumexp(0) - math.log(draws))
        return torch.cat(estimates)

    def traversals(self) -> Mapping[str, Tensor]:
        """Title -> (rows, columns, latent) codes to display."""
        return priors.gaussian(self.latent_dim).traversals()


def _log_normal(z: Tensor) -> Tensor:
    """(..., d) -> (...) log density of N(0, 1)."""
    return -(z.square() + math.log(2 * math.pi)).sum(-1) / 2
