"""The evidence lower bound (ELBO) does not ask for useful codes: a linear VAE with known answers.

Kingma and Welling 2014's bound is minus (distortion + rate): Alemi et al. 2018, "Fixing a Broken ELBO", section 2. Data
is N(0, 1), codes are N(0, 1), and the decoder is N(w z, sigma^2) with a fixed sigma (probabilistic PCA in one
dimension; Lucas et al. 2019 for its posterior collapse).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from sparring.data.dataset import Dataset
from sparring.plots import BLUE, GRAY, ORANGE
from sparring.referee import Referee
from sparring.seeds import derive_seed, isolated, make_generator
from sparring.systems.vae import VAE
from sparring.toys.frames import panels

POINTS, BATCH, RATE = 4096, 256, 0.05
SIGMAS = (0.25, 0.4, 0.6, 0.8, 1.0, 1.5)
LOG_LIKELIHOOD = -0.5 * math.log(2 * math.pi * math.e)
"""E log p(x) of the best model, the data's own density N(0, 1): minus its entropy, in nats."""


@dataclass(frozen=True)
class Bound:
    """A VAE's bound and its two terms, means per point in nats; bound = -(distortion + rate).

    distortion  E -log p(x|z)
    rate        E KL(q(z|x) || p(z)); at the optimum, what the codes tell of the data
    """

    distortion: float
    rate: float

    @property
    def bound(self) -> float:
        """The ELBO, at most log p(x)."""
        return -(self.distortion + self.rate)


def optimum(sigma: float) -> Bound:
    """The best bound with a decoder of this standard deviation.

    For sigma <= 1, w^2 = 1 - sigma^2 and the rate is -log sigma; above, w = 0 and the rate is 0 (posterior collapse).
    """
    rate = max(0.0, -math.log(sigma))
    error = min(1.0, sigma**2)  # E (x - w z)^2 = var(x | z) in the first case, var(x) in the second
    return Bound(0.5 * math.log(2 * math.pi * sigma**2) + error / (2 * sigma**2), rate)


class GaussianEncoder(nn.Module):
    """(B, 1, 1, 1) points -> (B, 2): the mean a x and the log variance of a code."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.log_variance = nn.Parameter(torch.tensor(0.1)), nn.Parameter(torch.tensor(0.0))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, 1, 1) -> (B, 2)."""
        mean = self.a * x.flatten(1)
        return torch.cat([mean, self.log_variance.expand_as(mean)], 1)


def vae(sigma: float) -> VAE:
    """The VAE with linear networks; `nll` is that of N(w z, sigma^2)."""

    def nll(decoded: Tensor, x: Tensor) -> Tensor:
        error = (decoded - x).flatten(1).square().sum(1)
        return error / (2 * sigma**2) + 0.5 * math.log(2 * math.pi * sigma**2)

    weight = nn.Linear(1, 1, bias=False)
    nn.init.constant_(weight.weight, 0.1)
    decoder = nn.Sequential(weight, nn.Unflatten(1, (1, 1, 1)))
    return VAE(GaussianEncoder(), decoder, latent_dim=1, nll=nll, to_image=nn.Identity())


def train(sigma: float, *, seed: int = 0, rounds: int = 300) -> Bound:
    """The bound that the VAE reaches, averaged over the last tenth of the rounds.

    The rate of learning decays to 0 in the second half. Raises SparringError if the training diverges.
    """
    with isolated(derive_seed(seed, "elbo")):
        system = vae(sigma)
    points = torch.randn(POINTS, 1, 1, 1, generator=make_generator(seed, "elbo"))
    points = (points - points.mean()) / points.std(correction=0)
    referee = Referee(
        system,
        {"train": Dataset("normal", points)},
        batch=BATCH,
        optimizers={"autoencoder": partial(torch.optim.Adam, lr=RATE)},
        schedules={"autoencoder": lambda number: {"lr": RATE * min(1.0, 2 * (1 - (number - 1) / rounds))}},
        ema_decay=0,
        precision="fp32",
        seed=seed,
    )
    results = [referee.play()[0].numbers for _ in range(rounds)][-max(1, rounds // 10) :]
    distortion, rate = (sum(float(numbers[name]) for numbers in results) / len(results) for name in ("nll", "kl"))
    return Bound(distortion, rate)


def play(sigmas: Sequence[float] = SIGMAS, *, seed: int = 0, rounds: int = 300) -> Iterator[tuple[float, Bound]]:
    """(sigma, the bound reached) for each standard deviation of the decoder."""
    for sigma in sigmas:
        yield sigma, train(sigma, seed=seed, rounds=rounds)


def figure(trained: Sequence[tuple[float, Bound]]) -> Figure:
    """Bound and rate against sigma: lines by the formulas, dots as trained."""
    picture, (bounds, rates) = panels("The bound is equal for useful and for useless codes", 2)
    sigmas = torch.linspace(0.05, 2, 100).tolist()
    bounds.axhline(
        LOG_LIKELIHOOD, color=GRAY, linestyle="--", linewidth=1, label="log-likelihood of the data's density"
    )
    bounds.plot(sigmas, [optimum(sigma).bound for sigma in sigmas], color=BLUE, label="best bound (formula)")
    rates.plot(sigmas, [optimum(sigma).rate for sigma in sigmas], color=ORANGE, label="its rate (formula)")
    if trained:
        shown = [sigma for sigma, _ in trained]
        bounds.plot(shown, [bound.bound for _, bound in trained], "o", color=BLUE, label="VAE, as trained")
        rates.plot(shown, [bound.rate for _, bound in trained], "o", color=ORANGE, label="VAE, as trained")
    bounds.set(ylim=(-2.5, -0.8), xlabel="sigma of the decoder", ylabel="nats", title="ELBO")
    rates.set(xlabel="sigma of the decoder", ylabel="nats", title="rate: what the codes tell of x")
    for axes in (bounds, rates):
        axes.axvspan(1, 2, color="#eeeeee", zorder=0)
        axes.legend(fontsize=9, frameon=False, loc="upper right")
    rates.text(1.04, 0.35, "posterior collapse:\ncodes tell nothing", fontsize=9)
    return picture
