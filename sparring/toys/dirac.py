"""Mescheder et al. 2018, "Which Training Methods for GANs do actually Converge?": the Dirac-GAN (definition 2.1).

All data is at 0, the generator makes one point theta, and the discriminator D(x) = psi x + level has one weight. The
equilibrium is (0, 0). What the players do near it is in the eigenvalues of one round; the systems of this library play.
"""

from __future__ import annotations

import cmath
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from sparring.data.dataset import Dataset
from sparring.errors import SparringError, unknown_name_error
from sparring.losses import GAMES
from sparring.plots import BLUE, GRAY, ORANGE
from sparring.referee import Referee
from sparring.systems.gan import GAN
from sparring.systems.r1 import R1GAN
from sparring.systems.r3gan import R3GAN
from sparring.systems.wgan import WGAN
from sparring.systems.wgan_gp import WGANGP
from sparring.toys.frames import frame_indices, panels

RELATIVISTIC = "relativistic"

PULL = {
    "minimax": 0.5,
    "non-saturating": 0.5,
    "least-squares": 0.5,
    "hinge": 1.0,
    "wasserstein": 1.0,
    RELATIVISTIC: 0.5,
}
"""|f'(0)| of the paper: how strongly a player at the equilibrium is moved by the other's distance from it."""

CURVATURE = {"minimax": 0.5, "non-saturating": 0.5, "least-squares": 2.0, "hinge": 0.0, "wasserstein": 0.0}
"""Second derivative of the discriminator's loss by its scores at the equilibrium, both scores together."""

PENALTIES: dict[str, str] = {
    "none": "nothing",
    "r1": "weight/2 |grad D|^2 at the data",
    "r2": "weight/2 |grad D|^2 at the generated point",
    "both": "R1 + R2",
    "between": "weight/2 |grad D|^2 between data and generated point",
    "noise": "instance noise of this standard deviation on both points",
    "wgan-gp": "weight (|grad D| - 1)^2 (game wasserstein only)",
    "clip": "|psi| is cut to the weight (game wasserstein only)",
}
"""Penalty -> what the argument `weight` means."""

PLACES = {"r1": "real", "r2": "fake", "both": "both", "between": "interpolated"}
BLUR = 64

Point = tuple[float, float]


class Dirac(nn.Module):
    """(B, latent) -> (B, 1): theta, whatever the codes say; blurred if `around` (B, 1) is not 0."""

    around: Tensor

    def __init__(self, theta: float, around: Tensor) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(theta, dtype=torch.float64))
        self.register_buffer("around", around)

    def forward(self, z: Tensor) -> Tensor:
        return self.theta + self.around


class Slope(nn.Module):
    """(B, 1) -> (B, 1): psi x + level, where the level is the score at which the game is in balance."""

    def __init__(self, psi: float, level: float) -> None:
        super().__init__()
        self.psi = nn.Parameter(torch.tensor(psi, dtype=torch.float64))
        self.level = level

    def forward(self, x: Tensor) -> Tensor:
        return self.psi * x + self.level


def system(game: str, penalty: str, weight: float, start: Point = (1.0, 1.0)) -> tuple[GAN, Dataset]:
    """The library's own system that plays this, at (theta, psi), and its data.

    Raises SparringError for unknown names and for pairs of game and penalty that no system plays.
    """
    _check(game, penalty)
    blur = torch.special.ndtri((torch.arange(BLUR, dtype=torch.float64) + 0.5) / BLUR)  # quantiles of N(0, 1)
    around = (weight / blur.std(correction=0) * blur)[:, None] if penalty == "noise" else torch.zeros(1, 1).double()
    level = 0.0 if game == RELATIVISTIC else GAMES[game].neutral_score(GAMES[game].labels)
    G, D = Dirac(start[0], around), Slope(start[1], level)
    made: GAN
    if game == RELATIVISTIC:
        gamma = weight if penalty == "both" else 0.0
        made = R3GAN(G, D, latent_dim=1, gamma=gamma, final_gamma=gamma, anneal_rounds=1)
    elif penalty == "wgan-gp":
        made = WGANGP(G, D, latent_dim=1, critic_steps=1, gp_weight=weight)
    elif penalty == "clip":
        made = WGAN(G, D, latent_dim=1, critic_steps=1, warm_start=1, clip=weight)
    elif penalty in PLACES:
        made = R1GAN(G, D, latent_dim=1, game=GAMES[game], gamma=weight, penalize=PLACES[penalty])
    else:
        made = GAN(G, D, latent_dim=1, game=GAMES[game])
    return made, Dataset("dirac", around)


def play(
    game: str = "non-saturating",
    penalty: str = "none",
    *,
    weight: float = 1.0,
    step: float = 0.1,
    rounds: int = 200,
    start: Point = (1.0, 1.0),
) -> list[Point]:
    """rounds + 1 points (theta, psi) of gradient descent: the discriminator moves, then the generator."""
    return [start, *_play(game, penalty, weight, step, rounds, start)]


def _play(game: str, penalty: str, weight: float, step: float, rounds: int, start: Point) -> Iterator[Point]:
    made, data = system(game, penalty, weight, start)
    descent = partial(torch.optim.SGD, lr=step)
    referee = Referee(
        made,
        {"train": data},
        batch=len(data),
        optimizers=dict.fromkeys(made.players, descent),
        ema_decay=0,
        precision="fp32",
    )
    for _ in range(rounds):
        referee.play()
        theta, psi = (weight.item() for weight in made.parameters())
        yield theta, psi


def eigenvalues(
    game: str, penalty: str, *, weight: float = 1.0, step: float | None = None
) -> tuple[complex, complex] | None:
    """Of one round of this step size at the equilibrium; of the gradient flow (the paper's) without a step.

    None where the penalty leaves no equilibrium: WGAN-GP pulls |psi| to 1, and there theta moves (section 2.4).
    """
    _check(game, penalty)
    if penalty == "wgan-gp":
        return None
    a, c = PULL[game], damping(game, penalty, weight)
    if step is None:  # of [[0, a], [-a, -c]]
        trace, determinant = -c, a * a + 0j
    else:  # psi' = (1 - step c) psi - step a theta; theta' = theta + step a psi'
        trace, determinant = 2 - (step * a) ** 2 - step * c, 1 - step * c + 0j
    root = cmath.sqrt(trace**2 / 4 - determinant)
    return trace / 2 + root, trace / 2 - root


def damping(game: str, penalty: str, weight: float) -> float:
    """How fast psi falls by itself at the equilibrium: lemma 4.1 for R1, lemma 3.2 for instance noise."""
    if penalty == "noise":
        return CURVATURE[game] * weight**2
    return {"r1": weight, "r2": weight, "between": weight, "both": 2 * weight}.get(penalty, 0.0)


def measured(game: str, penalty: str, *, weight: float = 1.0, step: float = 0.1) -> tuple[complex, complex]:
    """The eigenvalues of the round as it is played: from both directions, a millionth away from (0, 0)."""
    small, settings = 1e-6, {"weight": weight, "step": step}
    starts = ((small, 0.0), (0.0, small))
    columns = [play(game, penalty, **settings, rounds=1, start=start)[1] for start in starts]
    one, other = torch.linalg.eigvals(torch.tensor(columns, dtype=torch.float64).T / small).tolist()
    return one, other


def verdict(game: str, penalty: str, *, weight: float = 1.0, step: float = 0.1) -> str:
    """What the eigenvalues mean, in words."""
    values = eigenvalues(game, penalty, weight=weight, step=step)
    if values is None:
        return "not to (0, 0), which is no equilibrium: |psi| is pulled to 1, and there theta moves"
    largest = max(map(abs, values))
    if abs(largest - 1) < 1e-9:
        return "around the equilibrium; to first order it comes no nearer"
    return "to the equilibrium" if largest < 1 else "away from the equilibrium"


def _check(game: str, penalty: str) -> None:
    if game not in PULL:
        raise unknown_name_error("game", game, PULL)
    if penalty not in PENALTIES:
        raise unknown_name_error("penalty", penalty, PENALTIES)
    if penalty in ("wgan-gp", "clip") and game != "wasserstein":
        raise SparringError(f"the penalty {penalty} belongs to the game wasserstein, not to {game}")
    if game == RELATIVISTIC and penalty not in ("none", "both"):
        raise SparringError(f"the relativistic game (R3GAN) has the penalties none and both, not {penalty}")


def figures(
    game: str, penalty: str, orbit: Sequence[Point], *, weight: float = 1.0, step: float = 0.1
) -> Iterator[Figure]:
    """Left the orbit so far, right the eigenvalues of a round in the complex plane: inside the circle it converges."""
    values = eigenvalues(game, penalty, weight=weight, step=step)
    reach = 1.1 * max(1e-3, *(abs(value) for point in orbit for value in point))
    turn = torch.linspace(0, 2 * torch.pi, 200)
    for at in frame_indices(len(orbit)):
        figure, (plane, circle) = panels(f"Dirac-GAN, {game}, penalty {penalty}: round {at}", 2)
        thetas, psis = zip(*orbit[: at + 1], strict=True)
        plane.plot(thetas, psis, color=BLUE, linewidth=1)
        plane.plot(thetas[-1:], psis[-1:], color=ORANGE, marker="o", markersize=7)
        plane.plot(0, 0, color="black", marker="+", markersize=10)
        plane.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        plane.set(xlabel="theta: where the generated point is", ylabel="psi: slope of the discriminator")
        circle.plot(turn.cos().tolist(), turn.sin().tolist(), color=GRAY, linestyle="--", linewidth=1)
        for value in values or ():
            circle.plot(value.real, value.imag, color=ORANGE, marker="o", markersize=7)
        around = 1.1 * max(1.0, *(abs(value) for value in values or (1,)))
        circle.set(xlim=(-around, around), ylim=(-around, around), aspect="equal", xlabel="real", ylabel="imaginary")
        circle.locator_params(nbins=5)
        circle.set_title("eigenvalues of a round" if values else "(0, 0) is no equilibrium", fontsize=10, loc="left")
        yield figure
