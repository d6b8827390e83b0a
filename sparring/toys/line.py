"""Goodfellow et al. 2014, figure 1: a generator on the line, and a discriminator that is to be p_d / (p_d + p_g).

The paper does not say which data and networks its figure shows. Here the data is N(1, .5^2), codes are U(-1, 1), and
both networks have two hidden layers.
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
"""The part of the line that is looked at, and into how many cells it is cut."""

GREEN = COLORS[2]
EDGES = torch.linspace(LEFT, RIGHT, CELLS + 1, dtype=torch.float64)
PLACES = (EDGES[1:] + EDGES[:-1]) / 2


@dataclass(frozen=True)
class State:
    """What is seen after so many rounds; densities and shares at PLACES, (CELLS,) each.

    data, made  densities p_d and p_g
    judged      D(x) as a probability
    best        p_d / (p_d + p_g): what D should be for this generator (proposition 1)
    codes, points  (n,) some codes in order and where the generator puts them
    """

    round: int
    data: Tensor
    made: Tensor
    judged: Tensor
    best: Tensor
    codes: Tensor
    points: Tensor

    @property
    def gap(self) -> float:
        """E |D(x) - best(x)| over x from p_d and p_g in equal parts."""
        weight = (self.data + self.made) / 2
        return float((weight * (self.judged - self.best).abs()).sum() / weight.sum())

    @property
    def undecided(self) -> float:
        """E |D(x) - 1/2| over the same: 0 where D cannot tell."""
        weight = (self.data + self.made) / 2
        return float((weight * (self.judged - 0.5).abs()).sum() / weight.sum())

    @property
    def distance(self) -> float:
        """Total variation between p_d and p_g, in [0, 1]."""
        return float((self.data - self.made).abs().sum() / 2 * (RIGHT - LEFT) / CELLS)


def system() -> R1GAN:
    """The non-saturating game; a little R1 keeps the players from circling."""
    G = nn.Sequential(nn.Linear(1, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1))
    first = nn.Linear(1, 64)
    D = nn.Sequential(first, nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
    nn.init.normal_(first.weight)  # kinks all over the line, so that D can be as steep as it must
    nn.init.uniform_(first.bias, -3, 3)
    return R1GAN(G, D, latent_dim=1, noise="uniform", game=GAMES["non-saturating"], gamma=0.005)


def play(seed: int = 0, *, rounds: int = 2000, head_start: int = 300, every: int = 40) -> Iterator[State]:
    """The state before the first round, after every so many, after the head start and after the last.

    In the head start only the discriminator learns: its rate is 1e-2, falling in the second half, and the generator's
    is 0, later 3 % of it, so that D stays near its best (figure 1b).
    """
    with isolated(derive_seed(seed, "line")):
        made = system()
    points = MEAN + STD * torch.randn(POINTS, 1, generator=make_generator(seed, "line"))

    def quick(number: int) -> dict[str, Any]:
        return {"lr": 1e-2 * min(1.0, 2 * (1 - (number - 1) / rounds))}

    def slow(number: int) -> dict[str, Any]:
        return {"lr": 0.03 * quick(number)["lr"] if number > head_start else 0.0}

    referee = Referee(
        made,
        {"train": Dataset("line", points)},
        batch=BATCH,
        optimizers=dict.fromkeys(made.players, partial(torch.optim.Adam, betas=(0.5, 0.99))),
        schedules={"discriminator": quick, "generator": slow},
        ema_decay=0,
        precision="fp32",
        seed=seed,
    )
    yield look(made, 0)
    for number in range(1, rounds + 1):
        referee.play()
        if number % every == 0 or number in (head_start, rounds):
            yield look(made, number)


@torch.no_grad()
def look(made: R1GAN, number: int) -> State:
    """The densities: p_d by its formula, p_g by sending 100,000 evenly spaced codes through the generator."""
    codes = torch.linspace(-1, 1, POINTS + 1)[:-1] + 1 / POINTS
    points = made.run_batched(made.G, codes[:, None], size=POINTS).flatten()
    width = (RIGHT - LEFT) / CELLS
    p_g = torch.histc(points.clamp(LEFT, RIGHT).double(), CELLS, LEFT, RIGHT) / POINTS / width
    p_d = torch.special.ndtr((EDGES - MEAN) / STD).diff() / width
    judged = made.score(PLACES.float()[:, None]).sigmoid().double()
    some = slice(POINTS // 50, None, POINTS // 25)
    return State(number, p_d, p_g, judged, p_d / (p_d + p_g).clamp(min=1e-300), codes[some], points[some])


def figures(states: Sequence[State]) -> Iterator[Figure]:
    """As in the paper: p_d dotted, p_g solid, D dashed; below, where codes are sent. In gray, the best D."""
    places = PLACES.tolist()
    for at in frame_indices(len(states)):
        state = states[at]
        figure, (axes,) = panels(f"p_d, p_g and D on the line: round {state.round:,}", size=5.2)
        axes.plot(places, state.data.tolist(), color="black", linestyle=":", linewidth=2, label="data p_d")
        axes.plot(places, state.made.tolist(), color=GREEN, linewidth=1.8, label="generator p_g")
        best = state.best.where(state.data + state.made > 0.01, math.nan)  # elsewhere nothing is ever seen
        axes.plot(places, best.tolist(), color=GRAY, linewidth=1.2, label="p_d / (p_d + p_g)")
        axes.plot(places, state.judged.tolist(), color=BLUE, linestyle="--", linewidth=1.8, label="D")
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
