"""Goodfellow et al. 2014, section 3: why the generator does not descend log(1 - D(G(z))).

Costs and gradients of the generator against D(G(z)), from `sparring.losses`, and the norm of the generator's gradient
on digits while only the discriminator learns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from sparring.data.dataset import Dataset
from sparring.errors import unknown_name_error
from sparring.losses import GAMES, squared_error
from sparring.networks import mlp
from sparring.plots import COLORS
from sparring.referee import Referee
from sparring.seeds import derive_seed, isolated
from sparring.systems.gan import GAN
from sparring.toys.frames import panels

PLAYED = ("minimax", "non-saturating", "least-squares")
"""The games that are played on digits."""

PROBABILITIES = (0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999)
"""The values of D(G(z)) in the table."""

LATENT, WIDTH, BATCH, RATE = 32, 128, 64, 1e-3


def _logit(p: Tensor) -> Tensor:
    """The score whose sigmoid is p: how all games but least-squares turn scores into probabilities."""
    return p.logit()


def _linear(p: Tensor) -> Tensor:
    """The score itself is D(G(z)): least squares has no sigmoid (Mao et al. 2017)."""
    return p


def _logistic_squared_error(score: Tensor) -> Tensor:
    """Squared error after a sigmoid: 1/2 (sigmoid(s) - 1)^2 (CSC321, lecture 12: "logistic + squared error")."""
    return squared_error(score.sigmoid(), 1.0)


@dataclass(frozen=True)
class Cost:
    """A generator's cost of one score.

    loss    (1,) score -> scalar
    score   D(G(z)) -> score
    lowest, highest  limits of the cost for D(G(z)) in (0, 1)
    """

    loss: Callable[[Tensor], Tensor]
    score: Callable[[Tensor], Tensor]
    lowest: float
    highest: float


COSTS: dict[str, Cost] = {
    "minimax": Cost(GAMES["minimax"].generator, _logit, -math.inf, 0.0),
    "non-saturating": Cost(GAMES["non-saturating"].generator, _logit, 0.0, math.inf),
    "least-squares": Cost(GAMES["least-squares"].generator, _linear, 0.0, 0.5),
    "logistic + squared error": Cost(_logistic_squared_error, _logit, 0.0, 0.5),
}
"""Name -> cost. The non-saturating cost is logistic + cross-entropy."""


def curve(name: str, probabilities: Sequence[float]) -> tuple[list[float], list[float]]:
    """The cost at each D(G(z)), and its gradient with respect to the score, a negative number: raise the score.

    Raises SparringError for an unknown name.
    """
    if name not in COSTS:
        raise unknown_name_error("cost", name, COSTS)
    cost, costs, gradients = COSTS[name], [], []
    for p in probabilities:
        score = cost.score(torch.tensor([p], dtype=torch.float64)).requires_grad_()
        loss = cost.loss(score)
        (gradient,) = torch.autograd.grad(loss, score)
        costs.append(float(loss.detach()))
        gradients.append(float(gradient))
    return costs, gradients


def payoffs(game: str, probability: float) -> float:
    """The sum of both players' payoffs (minus their losses) where D(x) = 1/2 and D(G(z)) = `probability`.

    The game is zero-sum if this does not depend on D(G(z)): the rest, E log D(x), is not in the generator's hands. For
    hinge and wasserstein, `probability` is the sigmoid of the score.
    """
    if game not in GAMES:
        raise unknown_name_error("game", game, GAMES)
    to_score = _linear if game == "least-squares" else _logit
    real, fake = (to_score(torch.tensor([p], dtype=torch.float64)) for p in (0.5, probability))
    return -float(GAMES[game].discriminator(real, fake) + GAMES[game].generator(fake))


def zero_sum(game: str) -> bool:
    """Whether the sum of the payoffs is the same for all PROBABILITIES."""
    sums = [payoffs(game, p) for p in PROBABILITIES]
    return max(sums) - min(sums) < 1e-9


@dataclass(frozen=True)
class State:
    """A game after `steps` steps of the discriminator alone.

    score     mean of D(G(z)): a probability, or for least-squares the score itself
    gradient  norm of the gradient of the generator's loss with respect to its weights
    """

    steps: int
    score: float
    gradient: float


def play(game: str, images: Dataset, *, seed: int = 0, steps: int = 200) -> Iterator[State]:
    """The state before each of `steps` discriminator steps, and after the last.

    The generator's learning rate is 0, so it stays as it was drawn. Minimax and non-saturating games have the same
    discriminator loss: with equal seeds their discriminators, codes and batches are equal.
    """
    if game not in PLAYED:
        raise unknown_name_error("game", game, PLAYED)
    with isolated(derive_seed(seed, "saturation")):
        activation = partial(nn.LeakyReLU, 0.2)
        G = mlp.generator(LATENT, [WIDTH, WIDTH], images.spec.shape, activation=nn.ReLU)
        D = mlp.discriminator(images.spec.shape, [WIDTH, WIDTH], activation=activation)
        gan = GAN(G, D, latent_dim=LATENT, game=GAMES[game])
    adam = partial(torch.optim.Adam, lr=RATE, betas=(0.5, 0.999))
    referee = Referee(
        gan,
        {"train": images},
        batch=min(BATCH, len(images)),
        optimizers=dict.fromkeys(gan.players, adam),
        schedules={
            "discriminator": lambda number: {"lr": RATE if number > 1 else 0.0},
            "generator": lambda number: {"lr": 0.0},
        },
        ema_decay=0,
        precision="fp32",
        seed=seed,
    )
    for number in range(steps + 1):  # the discriminator waits in the first round, which measures the start
        _, generator = referee.play()
        scores = gan.run_batched(D, gan.sample(BATCH, seed=seed))
        shown = scores if game == "least-squares" else scores.sigmoid()
        yield State(number, float(shown.mean()), float(generator.gradient))


def figure(games: Mapping[str, Sequence[State]]) -> Figure:
    """Cost and gradient against D(G(z)); on digits, the generator's gradient while only the discriminator learns."""
    picture, axes = panels("The generator's cost, and how its gradient vanishes", 3 if games else 2)
    probabilities = torch.linspace(0.002, 0.998, 250).tolist()
    for color, name, style in zip(COLORS, COSTS, ("-", "-", "--", ":"), strict=False):  # some curves coincide
        for panel, values in zip(axes, curve(name, probabilities), strict=False):
            panel.plot(probabilities, values, color=color, label=name, linestyle=style, linewidth=2)
    axes[0].set(ylim=(-4, 4), title="cost", xlabel="D(G(z))", ylabel="cost of the generator")
    axes[1].set(title="gradient", xlabel="D(G(z))", ylabel="gradient with respect to the score")
    for panel in axes[:2]:
        panel.axvspan(0, 0.1, color="#eeeeee", zorder=0)
    axes[0].text(0.11, -3.7, "gray: D recognizes\nthe generated images", fontsize=9)
    axes[0].legend(fontsize=9, frameon=False)
    if games:
        _draw_games(axes[2], games)
    return picture


def _draw_games(axes: Axes, games: Mapping[str, Sequence[State]]) -> None:
    for color, (name, states) in zip(COLORS, games.items(), strict=False):
        axes.plot([s.steps for s in states], [s.gradient for s in states], color=color, label=name, linewidth=1.6)
    axes.set(yscale="log", title="on digits, only D learns", xlabel="steps of D", ylabel="norm of G's gradient")
    axes.legend(fontsize=9, frameon=False)
