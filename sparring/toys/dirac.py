"""Mescheder et al. 2018, "Which Training Methods for GANs do actually Converge?": the Dirac-GAN (definition 2.1).

All data is at 0, the generator outputs one point theta, and the discriminator D(x) = psi x + level has one weight. The
equilibrium is (0, 0). The eigenvalues of one round describe the dynamics near it. Training uses the library's systems.
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
from sparring.recipes.schedules import constant
from sparring.referee import Referee
from sparring.systems.gan import GAN
from sparring.systems.noise_model import NoiseModel
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
"""|f'(0)| of the paper: coupling strength of the two players at the equilibrium."""

CURVATURE = {"minimax": 0.5, "non-saturating": 0.5, "least-squares": 2.0, "hinge": 0.0, "wasserstein": 0.0}
"""Second derivative of the discriminator's loss with respect to both scores, at the equilibrium."""

PENALTIES: dict[str, str] = {
    "none": "nothing",
    "r1": "weight/2 |grad D|^2 at the data",
    "r2": "weight/2 |grad D|^2 at the generated point",
    "both": "R1 + R2",
    "between": "weight/2 |grad D|^2 between data and generated point",
    "noise": "instance noise of this standard deviation on both points",
    "wgan-gp": "weight (|grad D| - 1)^2 (game wasserstein only)",
    "clip": "|psi| is clipped to the weight (game wasserstein only)",
}
"""Penalty -> what the argument `weight` means."""

PENALIZE = {"r1": "real", "r2": "fake", "both": "both", "between": "interpolated"}
N_QUANTILES = 64

Point = tuple[float, float]


class DiracGenerator(nn.Module):
    """(B, latent) -> (B, 1): theta, independent of the codes, plus the offsets `around` (B, 1)."""

    around: Tensor

    def __init__(self, theta: float, around: Tensor) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(theta, dtype=torch.float64))
        self.register_buffer("around", around)

    def forward(self, z: Tensor) -> Tensor:
        """(B, latent) -> (n, 1) points, one per offset; the codes are ignored."""
        return self.theta + self.around


class LinearDiscriminator(nn.Module):
    """(B, 1) -> (B, 1): psi x + level, where the level is the neutral score of the game."""

    def __init__(self, psi: float, level: float) -> None:
        super().__init__()
        self.psi = nn.Parameter(torch.tensor(psi, dtype=torch.float64))
        self.level = level

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1) points -> (B, 1) scores."""
        return self.psi * x + self.level


def system(game: str, penalty: str, weight: float, start: Point = (1.0, 1.0)) -> tuple[NoiseModel, Dataset]:
    """The library's system for this game and penalty, at start = (theta, psi), and its data.

    Raises SparringError for unknown names and unsupported pairs of game and penalty.
    """
    _check(game, penalty)
    quantiles = torch.special.ndtri(
        (torch.arange(N_QUANTILES, dtype=torch.float64) + 0.5) / N_QUANTILES
    )  # quantiles of N(0, 1)
    around = (
        (weight / quantiles.std(correction=0) * quantiles)[:, None]
        if penalty == "noise"
        else torch.zeros(1, 1).double()
    )
    level = 0.0 if game == RELATIVISTIC else GAMES[game].neutral_score(GAMES[game].targets)
    G, D = DiracGenerator(start[0], around), LinearDiscriminator(start[1], level)
    gan: NoiseModel
    if game == RELATIVISTIC:
        gamma = weight if penalty == "both" else 0.0
        gan = R3GAN(G, D, latent_dim=1, gamma=constant(gamma))
    elif penalty == "wgan-gp":
        gan = WGANGP(G, D, latent_dim=1, critic_steps=1, gp_weight=weight)
    elif penalty == "clip":
        gan = WGAN(G, D, latent_dim=1, critic_steps=1, warm_start=1, clip=weight)
    elif penalty in PENALIZE:
        gan = R1GAN(G, D, latent_dim=1, game=GAMES[game], gamma=weight, penalize=PENALIZE[penalty])
    else:
        gan = GAN(G, D, latent_dim=1, game=GAMES[game])
    return gan, Dataset("dirac", around)


def play(
    game: str = "non-saturating",
    penalty: str = "none",
    *,
    weight: float = 1.0,
    step: float = 0.1,
    rounds: int = 200,
    start: Point = (1.0, 1.0),
) -> list[Point]:
    """The path of rounds + 1 points (theta, psi) of alternating gradient descent, discriminator first."""
    return [start, *_play(game, penalty, weight, step, rounds, start)]


def _play(game: str, penalty: str, weight: float, step: float, rounds: int, start: Point) -> Iterator[Point]:
    gan, data = system(game, penalty, weight, start)
    descent = partial(torch.optim.SGD, lr=step)
    referee = Referee(
        gan,
        {"train": data},
        batch=len(data),
        optimizers=dict.fromkeys(gan.players, descent),
        ema_decay=0,
        precision="fp32",
    )
    for _ in range(rounds):
        referee.play()
        theta, psi = (weight.item() for weight in gan.parameters())
        yield theta, psi


def eigenvalues(
    game: str, penalty: str, *, weight: float = 1.0, step: float | None = None
) -> tuple[complex, complex] | None:
    """Eigenvalues at the equilibrium of one round with this step size; without a step, of the gradient flow (paper).

    None if the penalty has no equilibrium: WGAN-GP pulls |psi| to 1, where theta keeps moving (section 2.4).
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
    """Damping of psi at the equilibrium: lemma 4.1 for R1, lemma 3.2 for instance noise."""
    if penalty == "noise":
        return CURVATURE[game] * weight**2
    return {"r1": weight, "r2": weight, "between": weight, "both": 2 * weight}.get(penalty, 0.0)


def measured(game: str, penalty: str, *, weight: float = 1.0, step: float = 0.1) -> tuple[complex, complex]:
    """The eigenvalues measured by training one round from two points at distance 1e-6 from (0, 0)."""
    small, settings = 1e-6, {"weight": weight, "step": step}
    starts = ((small, 0.0), (0.0, small))
    columns = [play(game, penalty, **settings, rounds=1, start=start)[1] for start in starts]
    first, second = torch.linalg.eigvals(torch.tensor(columns, dtype=torch.float64).T / small).tolist()
    return first, second


def verdict(game: str, penalty: str, *, weight: float = 1.0, step: float = 0.1) -> str:
    """The eigenvalues in words."""
    values = eigenvalues(game, penalty, weight=weight, step=step)
    if values is None:
        return "does not converge: (0, 0) is not an equilibrium; |psi| is pulled to 1, where theta keeps moving"
    largest = max(map(abs, values))
    if abs(largest - 1) < 1e-9:
        return "circles the equilibrium, without converging to first order"
    return "converges to the equilibrium" if largest < 1 else "diverges from the equilibrium"


def _check(game: str, penalty: str) -> None:
    if game not in PULL:
        raise unknown_name_error("game", game, PULL)
    if penalty not in PENALTIES:
        raise unknown_name_error("penalty", penalty, PENALTIES)
    if penalty in ("wgan-gp", "clip") and game != "wasserstein":
        raise SparringError(f"penalty {penalty} requires the game wasserstein, not {game}")
    if game == RELATIVISTIC and penalty not in ("none", "both"):
        raise SparringError(
            f"penalty {penalty} is not available for the relativistic game (R3GAN): choose none or both"
        )


def figures(
    game: str, penalty: str, orbit: Sequence[Point], *, weight: float = 1.0, step: float = 0.1
) -> Iterator[Figure]:
    """Left: the orbit so far. Right: the eigenvalues of a round; inside the unit circle the game converges."""
    values = eigenvalues(game, penalty, weight=weight, step=step)
    limit = 1.1 * max(1e-3, *(abs(value) for point in orbit for value in point))
    angle = torch.linspace(0, 2 * torch.pi, 200)
    for at in frame_indices(len(orbit)):
        figure, (plane, circle) = panels(f"Dirac-GAN, {game}, penalty {penalty}: round {at}", 2)
        thetas, psis = zip(*orbit[: at + 1], strict=True)
        plane.plot(thetas, psis, color=BLUE, linewidth=1)
        plane.plot(thetas[-1:], psis[-1:], color=ORANGE, marker="o", markersize=7)
        plane.plot(0, 0, color="black", marker="+", markersize=10)
        plane.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
        plane.set(xlabel="theta: the generated point", ylabel="psi: slope of the discriminator")
        circle.plot(angle.cos().tolist(), angle.sin().tolist(), color=GRAY, linestyle="--", linewidth=1)
        for value in values or ():
            circle.plot(value.real, value.imag, color=ORANGE, marker="o", markersize=7)
        extent = 1.1 * max(1.0, *(abs(value) for value in values or (1,)))
        circle.set(xlim=(-extent, extent), ylim=(-extent, extent), aspect="equal", xlabel="real", ylabel="imaginary")
        circle.locator_params(nbins=5)
        circle.set_title(
            "eigenvalues of a round" if values else "(0, 0) is not an equilibrium", fontsize=10, loc="left"
        )
        yield figure
