"""Two 2-D mixtures of Gaussians, a standard benchmark of mode collapse.

The ring and the grid of Srivastava et al. 2017 (VEEGAN) with the numbers of Lin et al. 2018 (PacGAN): 100,000 points to
train on, 2,500 samples to evaluate.
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
from sparring.recipes.schedules import constant
from sparring.referee import Referee
from sparring.seeds import derive_seed, isolated, make_generator
from sparring.systems.gan import GAN
from sparring.systems.noise_model import NoiseModel
from sparring.systems.r3gan import R3GAN
from sparring.systems.wgan import WGAN
from sparring.systems.wgan_gp import WGANGP
from sparring.toys.frames import frame_indices, panels

POINTS, SAMPLES = 100_000, 2500
LATENT, WIDTH, N_FREQUENCIES = 2, 128, 32
BATCH, ROUNDS, RATE, EMA_DECAY, GAMMA = 256, 6000, 1e-3, 0.995, 0.02
EDGE, PIXELS = 1.3, 80


@dataclass(frozen=True)
class Mixture:
    """Equally likely N(center, std^2), centers (M, 2); `extent` is the largest coordinate of a center."""

    name: str
    centers: Tensor
    std: float

    @property
    def extent(self) -> float:
        """The largest absolute coordinate of a center."""
        return float(self.centers.abs().max())

    def draw(self, n: int, seed: int) -> Tensor:
        """(n, 2) points."""
        g = make_generator(self.name, seed)
        centers = self.centers[torch.randint(len(self.centers), (n,), generator=g)]
        return centers + self.std * torch.randn(n, 2, generator=g)


def ring() -> Mixture:
    """Eight Gaussians on a circle of radius 1, std .01."""
    angle = 2 * math.pi * torch.arange(8) / 8
    return Mixture("ring", torch.stack([angle.cos(), angle.sin()], 1), 0.01)


def grid() -> Mixture:
    """25 Gaussians on the grid {-4, -2, 0, 2, 4} x {-4, -2, 0, 2, 4}, std .05."""
    side = torch.arange(-4.0, 5, 2)
    return Mixture("grid", torch.cartesian_prod(side, side), 0.05)


MIXTURES: dict[str, Callable[[], Mixture]] = {"ring": ring, "grid": grid}


class FourierFeatures(nn.Module):
    """Tancik et al. 2020, Gaussian Fourier features: (B, D) -> (B, D + 2 count): x, cos and sin of random projections.

    Networks learn fine details much faster from these features than from the coordinates.
    """

    frequencies: Tensor

    def __init__(self, inputs: int, count: int, std: float) -> None:
        super().__init__()
        self.register_buffer("frequencies", std * torch.randn(inputs, count))

    def forward(self, x: Tensor) -> Tensor:
        """(B, D) -> (B, D + 2 count)."""
        phase = x @ self.frequencies
        return torch.cat([x, phase.cos(), phase.sin()], 1)


class ConstantCodes(nn.Module):
    """(B, D) -> (B, D): zeros in place of every code. A generator of these is a single point (CSC321: why noise?)."""

    def forward(self, z: Tensor) -> Tensor:
        """(B, D) -> (B, D) zeros."""
        return torch.zeros_like(z)


def layers(inputs: int, outputs: int, activation: Callable[[], nn.Module]) -> nn.Sequential:
    """Three hidden layers of WIDTH units; no batch norm, so that points are scored independently."""
    modules: list[nn.Module] = []
    for width in (inputs, WIDTH, WIDTH):
        modules += [nn.Linear(width, WIDTH), activation()]
    return nn.Sequential(*modules, nn.Linear(WIDTH, outputs))


def discriminator(points: int = 1) -> nn.Sequential:
    """(B, 2 points) -> (B, 1) scores."""
    return nn.Sequential(
        FourierFeatures(2 * points, N_FREQUENCIES, 3.0),
        layers(2 * (points + N_FREQUENCIES), 1, partial(nn.LeakyReLU, 0.2)),
    )


def gan(G: nn.Module) -> NoiseModel:
    """The non-saturating game without a penalty."""
    return GAN(G, discriminator(), latent_dim=LATENT, game=GAMES["non-saturating"])


def pacgan(G: nn.Module) -> NoiseModel:
    """The non-saturating game with a discriminator of pairs of points (Lin et al. 2018)."""
    return GAN(G, PacDiscriminator(discriminator(2), 2), latent_dim=LATENT, game=GAMES["non-saturating"])


def wgan(G: nn.Module) -> NoiseModel:
    """WGAN, algorithm 1 (Arjovsky et al. 2017), with weights clipped to +-.1.

    The paper's .01 goes with its learning rate of 5e-5, a twentieth of ours. No warm start: algorithm 1 has none.
    """
    return WGAN(G, discriminator(), latent_dim=LATENT, clip=0.1, warm_start=5)


def wgan_gp(G: nn.Module) -> NoiseModel:
    """WGAN-GP with penalty weight .1, as in the toys of Gulrajani et al. 2017."""
    return WGANGP(G, discriminator(), latent_dim=LATENT, gp_weight=0.1)


def r3gan(G: nn.Module) -> NoiseModel:
    """Relativistic pairing loss with R1 and R2 (Huang et al. 2024)."""
    return R3GAN(G, discriminator(), latent_dim=LATENT, gamma=constant(GAMMA))


SYSTEMS: dict[str, Callable[[nn.Module], NoiseModel]] = {
    "gan": gan,
    "pacgan": pacgan,
    "wgan": wgan,
    "wgan-gp": wgan_gp,
    "r3gan": r3gan,
}


@dataclass(frozen=True)
class State:
    """The game after a number of rounds.

    points   (SAMPLES, 2) samples of the EMA generator
    modes    mode coverage of the samples
    surface  (PIXELS, PIXELS) the discriminator's scores on the square around the mixture, y upwards
    """

    round: int
    points: Tensor
    modes: Modes
    surface: Tensor


def play(
    mixture: Mixture,
    system: str = "r3gan",
    *,
    seed: int = 0,
    rounds: int = ROUNDS,
    every: int | None = None,
    constant_codes: bool = False,
) -> Iterator[State]:
    """The state before the first round, after every so many, and after the last.

    Players see coordinates divided by the mixture's extent. Learning rates are constant in the first half and
    decay linearly to 0 in the second. Raises SparringError for an unknown system.

    constant_codes  all latent codes are 0, so that the generator has no source of randomness
    """
    if system not in SYSTEMS:
        raise unknown_name_error("system", system, SYSTEMS)
    with isolated(derive_seed(seed, mixture.name)):
        G = layers(LATENT, 2, nn.ReLU)
        gan_system = SYSTEMS[system](nn.Sequential(ConstantCodes(), G) if constant_codes else G)

    def rate(number: int) -> dict[str, Any]:
        return {"lr": RATE * min(1.0, 2 * (1 - (number - 1) / rounds))}

    referee = Referee(
        gan_system,
        {"train": Dataset(mixture.name, mixture.draw(POINTS, seed) / mixture.extent)},
        batch=BATCH,
        optimizers=dict.fromkeys(gan_system.players, partial(torch.optim.Adam, betas=(0.0, 0.99))),
        schedules=dict.fromkeys(gan_system.players, rate),
        ema_decay=EMA_DECAY,
        precision="fp32",
        seed=seed,
    )

    def now() -> State:
        ema = referee.ema_system
        assert isinstance(ema, NoiseModel)
        return state_at(ema, mixture, referee.round, seed)

    yield now()
    for number in range(1, rounds + 1):
        referee.play()
        if number == rounds or (every and number % every == 0):
            yield now()


def state_at(gan_system: NoiseModel, mixture: Mixture, number: int, seed: int) -> State:
    """Samples, their mode coverage, and the discriminator's surface."""
    codes = gan_system.codes(SAMPLES, derive_seed(seed, "samples", number))
    points = gan_system.run_batched(gan_system.G, codes) * mixture.extent
    side = torch.linspace(-EDGE, EDGE, PIXELS)
    coordinates = torch.cartesian_prod(side, side)[:, [1, 0]]  # rows are y
    surface = gan_system.score(coordinates).view(PIXELS, PIXELS)
    return State(number, points, mode_coverage(fake=points, centers=mixture.centers, std=mixture.std), surface)


def figures(mixture: Mixture, states: Sequence[State]) -> Iterator[Figure]:
    """Samples over the discriminator's surface: blue = real; crosses mark the centers of the mixture."""
    for at in frame_indices(len(states)):
        state = states[at]
        n_modes, high_quality = state.modes.found, 100 * state.modes.high_quality
        title = f"{mixture.name}, round {state.round:,}: {n_modes} modes, {high_quality:.0f} % of high quality"
        figure, (axes,) = panels(title, size=5.0)
        edge = EDGE * mixture.extent
        median = float(state.surface.median())
        spread = max(1e-6, float((state.surface - median).abs().quantile(0.98)))
        axes.imshow(
            state.surface.tolist(),
            extent=(-edge, edge, -edge, edge),
            origin="lower",
            cmap="RdBu",
            norm=Normalize(median - 1.6 * spread, median + 1.6 * spread),
        )
        axes.plot(*mixture.centers.T.tolist(), color="black", marker="+", markersize=9, linestyle="")
        xs, ys = state.points[:1000].T.tolist()
        axes.scatter(xs, ys, color=ORANGE, s=4, linewidths=0)
        axes.set(xlim=(-edge, edge), ylim=(-edge, edge))
        yield figure
