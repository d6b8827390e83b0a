"""Goodfellow et al. 2014, figure 1: a one-dimensional GAN, whose optimal discriminator is p_d / (p_d + p_g).

The paper does not state the data and networks of its figure. Here the data is N(1, .5^2), codes are U(-1, 1), and both
networks have two hidden layers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from sparring.data.dataset import Dataset
from sparring.losses import GAMES
from sparring.plots import BLUE, COLORS, GRAY
from sparring.referee import Referee
from sparring.seeds import derive_seed, isolated, make_generator
from sparring.systems.r1 import R1GAN
from sparring.toys.frames import frame_indices, panels

MEAN, STD = 1.0, 0.5
POINTS, BATCH = 100_000, 256
LEFT, RIGHT, CELLS = -1.0, 3.0, 80
"""The plotted interval, and the number of cells it is divided into."""

GREEN = COLORS[2]
EDGES = torch.linspace(LEFT, RIGHT, CELLS + 1, dtype=torch.float64)
CENTERS = (EDGES[1:] + EDGES[:-1]) / 2


@dataclass(frozen=True)
class State:
    """The game after a number of rounds; densities and probabilities at CENTERS, (CELLS,) each.

    p_data, p_fake  densities p_d and p_g
    d_prob          D(x) as a probability
    optimal         p_d / (p_d + p_g): the optimal D for this generator (proposition 1)
    codes, points   (n,) sorted codes and the generator's outputs
    """

    round: int
    p_data: Tensor
    p_fake: Tensor
    d_prob: Tensor
    optimal: Tensor
    codes: Tensor
    points: Tensor

    @property
    def distance_to_optimal(self) -> float:
        """E |D(x) - optimal(x)| over an equal mixture of p_d and p_g."""
        weight = (self.p_data + self.p_fake) / 2
        return float((weight * (self.d_prob - self.optimal).abs()).sum() / weight.sum())

    @property
    def distance_to_half(self) -> float:
        """E |D(x) - 1/2| over an equal mixture of p_d and p_g."""
        weight = (self.p_data + self.p_fake) / 2
        return float((weight * (self.d_prob - 0.5).abs()).sum() / weight.sum())

    @property
    def distance(self) -> float:
        """Total variation between p_d and p_g, in [0, 1]."""
        return float((self.p_data - self.p_fake).abs().sum() / 2 * (RIGHT - LEFT) / CELLS)


def system() -> R1GAN:
    """The non-saturating game, with a small R1 penalty against oscillation."""
    G = nn.Sequential(nn.Linear(1, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1))
    first = nn.Linear(1, 64)
    D = nn.Sequential(first, nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
    nn.init.normal_(first.weight)  # kinks all over the interval, so that D can be steep anywhere
    nn.init.uniform_(first.bias, -3, 3)
    return R1GAN(G, D, latent_dim=1, noise="uniform", game=GAMES["non-saturating"], gamma=0.005)


def play(seed: int = 0, *, rounds: int = 2000, head_start: int = 300, every: int = 40) -> Iterator[State]:
    """The state before the first round, after every so many, after the head start and after the last.

    In the head start only the discriminator learns: its rate is 1e-2, falling in the second half, and the generator's
    is 0, later 3 % of it, so that D stays near its best (figure 1b).
    """
    with isolated(derive_seed(seed, "line")):
        gan = system()
    points = MEAN + STD * torch.randn(POINTS, 1, generator=make_generator(seed, "line"))

    def quick(number: int) -> dict[str, Any]:
        return {"lr": 1e-2 * min(1.0, 2 * (1 - (number - 1) / rounds))}

    def slow(number: int) -> dict[str, Any]:
        return {"lr": 0.03 * quick(number)["lr"] if number > head_start else 0.0}

    referee = Referee(
        gan,
        {"train": Dataset("line", points)},
        batch=BATCH,
        optimizers=dict.fromkeys(gan.players, partial(torch.optim.Adam, betas=(0.5, 0.99))),
        schedules={"discriminator": quick, "generator": slow},
        ema_decay=0,
        precision="fp32",
        seed=seed,
    )
    yield state_at(gan, 0)
    for number in range(1, rounds + 1):
        referee.play()
        if number % every == 0 or number in (head_start, rounds):
            yield state_at(gan, number)


@torch.no_grad()
def state_at(gan: R1GAN, number: int) -> State:
    """The densities: p_d from its formula, p_g from the generator's outputs for 100,000 evenly spaced codes."""
    codes = torch.linspace(-1, 1, POINTS + 1)[:-1] + 1 / POINTS
    points = gan.run_batched(gan.G, codes[:, None], size=POINTS).flatten()
    width = (RIGHT - LEFT) / CELLS
    p_g = torch.histc(points.clamp(LEFT, RIGHT).double(), CELLS, LEFT, RIGHT) / POINTS / width
    p_d = torch.special.ndtr((EDGES - MEAN) / STD).diff() / width
    d_prob = gan.score(CENTERS.float()[:, None]).sigmoid().double()
    shown = slice(POINTS // 50, None, POINTS // 25)
    return State(number, p_d, p_g, d_prob, p_d / (p_d + p_g).clamp(min=1e-300), codes[shown], points[shown])


def figures(states: Sequence[State]) -> Iterator[Figure]:
    """As in the paper: p_d dotted, p_g solid, D dashed, the mapping of codes below. In gray, the optimal D."""
    xs = CENTERS.tolist()
    for at in frame_indices(len(states)):
        state = states[at]
        figure, (axes,) = panels(f"p_d, p_g and D on the line: round {state.round:,}", size=5.2)
        axes.plot(xs, state.p_data.tolist(), color="black", linestyle=":", linewidth=2, label="data p_d")
        axes.plot(xs, state.p_fake.tolist(), color=GREEN, linewidth=1.8, label="generator p_g")
        optimal = state.optimal.where(state.p_data + state.p_fake > 0.01, math.nan)  # undefined elsewhere
        axes.plot(xs, optimal.tolist(), color=GRAY, linewidth=1.2, label="p_d / (p_d + p_g)")
        axes.plot(xs, state.d_prob.tolist(), color=BLUE, linestyle="--", linewidth=1.8, label="D")
        middle = (LEFT + RIGHT) / 2
        for code, point in zip(state.codes.tolist(), state.points.tolist(), strict=True):
            start = (middle + code * (RIGHT - LEFT) / 2.2, -0.55)
            axes.annotate("", (point, -0.12), start, arrowprops={"arrowstyle": "->", "color": GRAY, "linewidth": 0.8})
        for height, name in ((-0.12, "x"), (-0.55, "z")):
            axes.axhline(height, color="black", linewidth=0.8)
            axes.text(RIGHT, height, name, fontsize=10, va="center")
        axes.set(xlim=(LEFT, RIGHT), ylim=(-0.6, 1.35))
        axes.set_yticks([0, 0.5, 1])
        axes.legend(fontsize=9, frameon=False, loc="upper center", ncols=4, columnspacing=1.2)
        yield figure
