"""Two mixtures of Gaussians in the plane, on which generators are known to lose modes, and how well one is learned.

The ring and the grid of Srivastava et al. 2017 (VEEGAN) with the numbers of Lin et al. 2018 (PacGAN): 100,000 points to
learn from, 2,500 samples to measure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor, nn

from sparring.data.dataset import Dataset
from sparring.errors import unknown_name_error
from sparring.losses import GAMES
from sparring.metrics import Modes, mode_coverage
from sparring.networks.minibatch import PacDiscriminator
from sparring.plots import ORANGE
from sparring.referee import Referee
from sparring.seeds import derive_seed, isolated, make_generator
from sparring.systems.gan import GAN
from sparring.systems.r3gan import R3GAN
from sparring.systems.wgan_gp import WGANGP
from sparring.toys.frames import frame_indices, panels

POINTS, SAMPLES = 100_000, 2500
LATENT, WIDTH, WAVES = 2, 128, 32
BATCH, ROUNDS, RATE, AVERAGE, GAMMA = 256, 6000, 1e-3, 0.995, 0.02
EDGE, PIXELS = 1.3, 80


@dataclass(frozen=True)
class Mixture:
    """Equally likely N(center, std^2), centers (M, 2); `reach`: the largest coordinate of a center."""

    name: str
    centers: Tensor
    std: float

    @property
    def reach(self) -> float:
        return float(self.centers.abs().max())

    def draw(self, n: int, seed: int) -> Tensor:
        """(n, 2) points."""
        g = make_generator(self.name, seed)
        chosen = self.centers[torch.randint(len(self.centers), (n,), generator=g)]
        return chosen + self.std * torch.randn(n, 2, generator=g)


def ring() -> Mixture:
    """Eight on a circle of radius 1, std .01."""
    angle = 2 * math.pi * torch.arange(8) / 8
    return Mixture("ring", torch.stack([angle.cos(), angle.sin()], 1), 0.01)


def grid() -> Mixture:
    """Twenty-five on {-4, -2, 0, 2, 4} x {-4, -2, 0, 2, 4}, std .05."""
    side = torch.arange(-4.0, 5, 2)
    return Mixture("grid", torch.cartesian_prod(side, side), 0.05)


MIXTURES: dict[str, Callable[[], Mixture]] = {"ring": ring, "grid": grid}


class Waves(nn.Module):
    """Tancik et al. 2020, Gaussian Fourier features: (B, D) -> (B, D + 2 count), x beside cos and sin of random waves.

    A network sees details that are a hundredth of the whole much sooner in waves than in the coordinates.
    """

    waves: Tensor

    def __init__(self, inputs: int, count: int, std: float) -> None:
        super().__init__()
        self.register_buffer("waves", std * torch.randn(inputs, count))

    def forward(self, x: Tensor) -> Tensor:
        phase = x @ self.waves
        return torch.cat([x, phase.cos(), phase.sin()], 1)


def layers(inputs: int, outputs: int, activation: Callable[[], nn.Module]) -> nn.Sequential:
    """Three hidden layers of WIDTH units; no batch norm, so that each point is judged by itself."""
    every: list[nn.Module] = []
    for wide in (inputs, WIDTH, WIDTH):
        every += [nn.Linear(wide, WIDTH), activation()]
    return nn.Sequential(*every, nn.Linear(WIDTH, outputs))


def discriminator(points: int = 1) -> nn.Sequential:
    """(B, 2 points) -> (B, 1) scores."""
    return nn.Sequential(Waves(2 * points, WAVES, 3.0), layers(2 * (points + WAVES), 1, partial(nn.LeakyReLU, 0.2)))


def gan(G: nn.Module) -> GAN:
    """The non-saturating game, and nothing else."""
    return GAN(G, discriminator(), latent_dim=LATENT, game=GAMES["non-saturating"])


def pacgan(G: nn.Module) -> GAN:
    """The same; the discriminator sees points in pairs (Lin et al. 2018)."""
    return GAN(G, PacDiscriminator(discriminator(2), 2), latent_dim=LATENT, game=GAMES["non-saturating"])


def wgan_gp(G: nn.Module) -> GAN:
    """Wasserstein distance, slope held to 1 with weight .1, as in the toys of Gulrajani et al. 2017."""
    return WGANGP(G, discriminator(), latent_dim=LATENT, gp_weight=0.1)


def r3gan(G: nn.Module) -> GAN:
    """Relativistic pairs, slope held to 0 on both sides (Huang et al. 2024)."""
    return R3GAN(G, discriminator(), latent_dim=LATENT, gamma=GAMMA, final_gamma=GAMMA, anneal_rounds=1)


SYSTEMS: dict[str, Callable[[nn.Module], GAN]] = {
    "gan": gan,
    "pacgan": pacgan,
    "wgan-gp": wgan_gp,
    "r3gan": r3gan,
}


@dataclass(frozen=True)
class State:
    """What is seen after so many rounds.

    points   (SAMPLES, 2) of the averaged generator
    modes    what they make of the mixture
    surface  (PIXELS, PIXELS) the discriminator's scores on the square that the mixture lies in, y upwards
    """

    round: int
    points: Tensor
    modes: Modes
    surface: Tensor


def play(
    mixture: Mixture, system: str = "r3gan", *, seed: int = 0, rounds: int = ROUNDS, every: int | None = None
) -> Iterator[State]:
    """The state before the first round, after every so many, and after the last.

    Players see coordinates divided by the mixture's reach. Both rates are constant in the first half and fall to 0 on a
    line in the second. Raises SparringError for an unknown system.
    """
    if system not in SYSTEMS:
        raise unknown_name_error("system", system, SYSTEMS)
    with isolated(derive_seed(seed, mixture.name)):
        made = SYSTEMS[system](layers(LATENT, 2, nn.ReLU))

    def rate(number: int) -> dict[str, Any]:
        return {"lr": RATE * min(1.0, 2 * (1 - (number - 1) / rounds))}

    referee = Referee(
        made,
        {"train": Dataset(mixture.name, mixture.draw(POINTS, seed) / mixture.reach)},
        batch=BATCH,
        optimizers=dict.fromkeys(made.players, partial(torch.optim.Adam, betas=(0.0, 0.99))),
        schedules=dict.fromkeys(made.players, rate),
        ema_decay=AVERAGE,
        precision="fp32",
        seed=seed,
    )

    def now() -> State:
        averaged = referee.ema_system
        assert isinstance(averaged, GAN)
        return look(averaged, mixture, referee.round, seed)

    yield now()
    for number in range(1, rounds + 1):
        referee.play()
        if number == rounds or (every and number % every == 0):
            yield now()


def look(made: GAN, mixture: Mixture, number: int, seed: int) -> State:
    """Samples, their modes, and the surface."""
    codes = made.codes(SAMPLES, derive_seed(seed, "samples", number))
    points = made.run_batched(made.G, codes) * mixture.reach
    side = torch.linspace(-EDGE, EDGE, PIXELS)
    places = torch.cartesian_prod(side, side)[:, [1, 0]]  # rows are y
    surface = made.score(places).view(PIXELS, PIXELS)
    return State(number, points, mode_coverage(fake=points, centers=mixture.centers, std=mixture.std), surface)


def figures(mixture: Mixture, states: Sequence[State]) -> Iterator[Figure]:
    """Samples over the discriminator's surface: blue where it says real; crosses where the mixture is."""
    for at in frame_indices(len(states)):
        state = states[at]
        found, good = state.modes.found, 100 * state.modes.high_quality
        title = f"{mixture.name}, round {state.round:,}: {found} modes, {good:.0f} % of high quality"
        figure, (axes,) = panels(title, size=5.0)
        edge = EDGE * mixture.reach
        around = float(state.surface.median())
        far = max(1e-6, float((state.surface - around).abs().quantile(0.98)))
        axes.imshow(
            state.surface.tolist(),
            extent=(-edge, edge, -edge, edge),
            origin="lower",
            cmap="RdBu",
            norm=Normalize(around - 1.6 * far, around + 1.6 * far),
        )
        axes.plot(*mixture.centers.T.tolist(), color="black", marker="+", markersize=9, linestyle="")
        xs, ys = state.points[:1000].T.tolist()
        axes.scatter(xs, ys, color=ORANGE, s=4, linewidths=0)
        axes.set(xlim=(-edge, edge), ylim=(-edge, edge))
        yield figure
