"""Distances between distributions: what the minimax game minimizes, and why Arjovsky et al. 2017 replace it.

Two pairs of distributions at distance theta: the parallel lines of Arjovsky et al. 2017, example 1, (0, U) and
(theta, U) with U uniform on [0, 1], which do not overlap; and N(0, 1) and N(theta, 1), which do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from sparring.data.dataset import Dataset
from sparring.losses import GAMES, cross_entropy
from sparring.plots import BLUE, COLORS, GRAY, ORANGE
from sparring.referee import Referee
from sparring.seeds import derive_seed, isolated, make_generator
from sparring.systems.gan import GAN
from sparring.systems.noise_model import NoiseModel
from sparring.systems.wgan_gp import WGANGP
from sparring.toys.frames import panels

THETAS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
"""The distances in the tables."""

N_POINTS, REACH = 2048, 5.0
"""Points of a distribution, and the largest theta that is drawn."""

CELLS = torch.linspace(-10, 20, 601, dtype=torch.float64)
"""Centers of the cells in which densities are compared; N(theta, 1) is inside for theta up to 10."""

GP_WEIGHT, WIDTH, BATCH, RATE = 10.0, 32, 64, 3e-3


@dataclass(frozen=True)
class Pair:
    """The x coordinates of data and of generated points: their heights, if any, are distributed equally.

    p, q        (cells,) probabilities of cells, each with sum 1
    real, fake  (n,) points at quantiles of the two distributions
    """

    p: Tensor
    q: Tensor
    real: Tensor
    fake: Tensor


def lines(theta: float) -> Pair:
    """The two parallel lines: two cells, or the same one if theta is 0."""
    cells = torch.eye(2, dtype=torch.float64)
    points = torch.zeros(N_POINTS, dtype=torch.float64)
    return Pair(cells[0], cells[int(theta != 0)], points, points + theta)


def gaussians(theta: float) -> Pair:
    """N(0, 1) and N(theta, 1)."""
    p, q = (torch.exp(-((CELLS - mean) ** 2) / 2) for mean in (0.0, theta))
    points = torch.special.ndtri((torch.arange(N_POINTS, dtype=torch.float64) + 0.5) / N_POINTS)
    return Pair(p / p.sum(), q / q.sum(), points, points + theta)


PAIRS: dict[str, Callable[[float], Pair]] = {"lines": lines, "gaussians": gaussians}


@dataclass(frozen=True)
class Distances:
    """Distances from p, the data, to q, the generated distribution, in nats; the Wasserstein distance in units of x.

    jsd          Jensen-Shannon divergence, in [0, log 2]
    kl           KL(p || q); infinite where q does not cover p
    wasserstein  W1: the mean distance of sorted points, which is optimal transport in one dimension
    value        C(G): the value of the minimax game for the optimal discriminator p / (p + q), whose score is log p / q
                 (Goodfellow et al. 2014, proposition 1 and eq. 4)
    """

    jsd: float
    kl: float
    wasserstein: float
    value: float

    @property
    def from_jsd(self) -> float:
        """-log 4 + 2 JSD: C(G) by theorem 1 of Goodfellow et al. 2014."""
        return -math.log(4) + 2 * self.jsd


def distances(pair: Pair) -> Distances:
    """The distances of a pair; C(G) is the library's cross-entropy of the optimal discriminator."""
    p, q = pair.p, pair.q
    scores = (p.log() - q.log()).nan_to_num(nan=0.0).clamp(-40, 40)  # sigmoid(-40) is 4e-18
    real, fake = (torch.vmap(partial(cross_entropy, target=target))(scores) for target in (1.0, 0.0))
    return Distances(
        jsd=(_kl(p, (p + q) / 2) + _kl(q, (p + q) / 2)) / 2,
        kl=_kl(p, q),
        wasserstein=float((pair.real.sort().values - pair.fake.sort().values).abs().mean()),
        value=-float((p * real + q * fake).sum()),
    )


def _kl(p: Tensor, q: Tensor) -> float:
    """KL(p || q) in nats."""
    inside = p > 0
    return float((p[inside] * (p[inside] / q[inside]).log()).sum())


class Line(nn.Module):
    """(B, 1) uniform codes in [-1, 1] -> (B, 2) points of the generated line at x = theta."""

    def __init__(self, theta: float) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(float(theta)))

    def forward(self, z: Tensor) -> Tensor:
        """(B, 1) -> (B, 2): theta, and a height in [0, 1]."""
        return torch.cat([self.theta.expand(len(z), 1), (z + 1) / 2], 1)


@dataclass(frozen=True)
class Trained:
    """A discriminator or critic that was trained on two parallel lines while the generator stood still.

    distance  log 2 minus half the discriminator's loss, an estimate of the JSD; or the critic's estimate of W1
    gradient  derivative of the generator's loss with respect to theta, by the last move: the direction is downhill
    scores    D(x), as a probability, or f(x), at the places of `places`
    """

    distance: float
    gradient: float
    scores: list[float]


def slope(theta: float) -> float:
    """1 + theta / (2 lambda): the slope g of the best critic, which minimizes lambda (g - 1)^2 - g theta."""
    return 1 + theta / (2 * GP_WEIGHT)


def places(theta: float) -> list[float]:
    """61 values of x around the two lines."""
    return torch.linspace(-theta / 2, 1.5 * theta, 61).tolist()


def train(name: str, theta: float, *, seed: int = 0, steps: int = 200) -> Trained:
    """Train the discriminator of the minimax game ("gan") or the critic of WGAN-GP ("wgan-gp") at this theta.

    The best critic is linear in x, so that it estimates W1 as theta times its `slope`.
    """
    with isolated(derive_seed(seed, "distance")):
        G, D = Line(theta), nn.Sequential(nn.Linear(2, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU())
        D.append(nn.Linear(WIDTH, 1))
        system: NoiseModel
        if name == "gan":
            system = GAN(G, D, latent_dim=1, noise="uniform", game=GAMES["minimax"])
        else:
            system = WGANGP(G, D, latent_dim=1, noise="uniform", critic_steps=1, gp_weight=GP_WEIGHT)
    heights = torch.rand(N_POINTS, 1, generator=make_generator(seed, "distance"))
    opponent = next(iter(system.players))
    referee = Referee(
        system,
        {"train": Dataset("line", torch.cat([torch.zeros_like(heights), heights], 1))},
        batch=BATCH,
        optimizers=dict.fromkeys(system.players, partial(torch.optim.Adam, lr=RATE, betas=(0.5, 0.9))),
        schedules={
            opponent: lambda number: {"lr": RATE * min(1.0, 2 * (1 - (number - 1) / steps))},
            "generator": lambda number: {"lr": 0.0},
        },
        ema_decay=0,
        precision="fp32",
        seed=seed,
    )
    estimates: list[float] = []
    for _ in range(steps):
        separated, generated = referee.play()
        numbers = separated.numbers
        estimates.append(float(numbers["distance"] if name == "wgan-gp" else math.log(2) - numbers["loss"] / 2))
    x = torch.tensor(places(theta))
    scores = system.score(torch.stack([x, torch.full_like(x, 0.5)], 1))
    shown = (scores if name == "wgan-gp" else scores.sigmoid()).tolist()
    last = estimates[-max(1, steps // 10) :]
    return Trained(sum(last) / len(last), float(generated.gradient), shown)


def play(thetas: Sequence[float], *, seed: int = 0, steps: int = 200) -> Iterator[tuple[float, dict[str, Trained]]]:
    """(theta, {"gan": ..., "wgan-gp": ...}) for each theta."""
    for theta in thetas:
        yield theta, {name: train(name, theta, seed=seed, steps=steps) for name in ("gan", "wgan-gp")}


def figure(trained: Sequence[tuple[float, dict[str, Trained]]]) -> Figure:
    """Distances of the two pairs against theta; D and the critic between the lines at the last theta."""
    picture, axes_of = panels("Distances between data and generated distribution", 3 if trained else 2)
    thetas = torch.linspace(0, REACH, 65).tolist()
    titles = ("parallel lines: no overlap", "N(0, 1) and N(theta, 1)")
    for axes, pair, title in zip(axes_of[:2], PAIRS.values(), titles, strict=True):
        measured = [distances(pair(theta)) for theta in thetas]
        axes.plot(thetas, [m.wasserstein for m in measured], color=BLUE, label="Wasserstein distance", linewidth=1.6)
        axes.plot(thetas, [m.jsd for m in measured], color=ORANGE, label="JSD (at most log 2)", linewidth=1.6)
        kl = [m.kl if math.isfinite(m.kl) else math.nan for m in measured]
        name = "KL: infinite" if pair is lines else "KL"
        axes.plot(thetas, kl, color=COLORS[2], label=name, linewidth=1.6)
        axes.set(title=title, xlabel="theta", ylim=(-0.3, REACH + 0.3))
    if trained:
        between = axes_of[2]
        estimates = [(theta, found["wgan-gp"].distance) for theta, found in trained]
        axes_of[0].plot(*zip(*estimates, strict=True), "o", color=BLUE, label="estimate of the critic", markersize=5)
        theta, found = trained[-1]
        between.plot(places(theta), found["gan"].scores, color=ORANGE, label="D(x) of a GAN", linewidth=1.6)
        scores = found["wgan-gp"].scores
        lowest, highest = min(scores), max(scores)
        scaled = [(score - lowest) / (highest - lowest) for score in scores]
        between.plot(places(theta), scaled, color=BLUE, label="critic, scaled to [0, 1]", linewidth=1.6)
        for x, label in ((0.0, "data"), (theta, "generated")):
            between.axvline(x, color=GRAY, linestyle=":")
            between.text(x, 1.04, label, fontsize=9, ha="center")
        between.set(title=f"theta = {theta:g}: a slope to descend", xlabel="x", ylim=(-0.05, 1.12))
    for axes in axes_of:
        axes.legend(fontsize=9, frameon=False)
    return picture
