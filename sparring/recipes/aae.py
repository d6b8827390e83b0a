"""The adversarial autoencoder of Makhzani et al. 2016, and what the recipes of its variants share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from sparring.errors import SparringError, require_size
from sparring.recipes.arguments import AffineStrength, Batch, EmaDecay, Units
from sparring.recipes.recipe import Measured, Recipe, recipe
from sparring.recipes.schedules import schedule, step_decay

if TYPE_CHECKING:
    from torch import nn

    from sparring.data.dataset import Dataset, Spec
    from sparring.priors import Prior
    from sparring.referee import MakeOptimizer, Schedule
    from sparring.system import System

CONVOLUTIONAL_ENCODER = "--encoder convolutional --affine-strength 1 --reconstruction-lr 0.02"
"""Flags of the shorter, measured trainings of the classifying and clustering recipes."""

PAPER = "Makhzani et al. 2016, Adversarial Autoencoders, arXiv 1511.05644"

PriorName = Annotated[
    Literal["gaussian", "uniform", "gaussians", "swiss-roll"],
    Field(description="prior of the latent codes; gaussians (a ring of 10) and swiss-roll are two-dimensional"),
]
Code = Annotated[
    int, Field(gt=0, le=4096, description="length of the latent code (of its style part, if there are classes)")
]
PriorStd = Annotated[
    float, Field(gt=0, description="standard deviation of the Gaussian prior; bound of the uniform one")
]
PixelNoise = Annotated[
    float, Field(ge=0, le=2, description="standard deviation of the noise on the encoder's input, pixels in [0, 1]")
]
Clusters = Annotated[int, Field(ge=2, description="number of clusters (the paper: 16 and 30)")]
BalanceClusters = Annotated[
    bool, Field(description="batch norm on the cluster logits, so that no cluster becomes empty; not in the paper")
]
MinDistance = Annotated[float, Field(gt=0, description="eta: cluster centroids closer than this repel each other")]


@dataclass(frozen=True)
class AAEOptimizer:
    """The paper's SGD, or Adam; the learning rates are divided by 10 after 50 and 1,000 epochs (of 600 rounds)."""

    optimizer: Annotated[Literal["sgd", "adam"], Field(description="optimizer of all players")] = "sgd"
    reconstruction_lr: Annotated[float, Field(gt=0, le=1, description="learning rate of the reconstruction move")] = (
        0.01
    )
    adversarial_lr: Annotated[float, Field(gt=0, le=1, description="learning rate of all other moves")] = 0.1
    first_drop: Annotated[int, Field(ge=1, description="round at which the rates are divided by 10")] = 30_000
    second_drop: Annotated[int, Field(ge=1, description="round at which they are divided by 10 again")] = 600_000

    def recipe(
        self,
        system: "System",
        *,
        batch: int,
        rounds: int,
        ema_decay: float,
        streams: "Callable[[Dataset, int], Mapping[str, Dataset]] | None" = None,
    ) -> Recipe:
        """A recipe of this system. Momentum is .9 for reconstruction and classification, .1 for adversarial moves."""
        import torch

        optimizers: dict[str, MakeOptimizer] = {}
        schedules: dict[str, Schedule] = {}
        for player in system.players:
            lr = self.reconstruction_lr if player == "autoencoder" else self.adversarial_lr
            adversarial = player not in ("autoencoder", "classifier")
            if self.optimizer == "adam":
                optimizers[player] = partial(torch.optim.Adam, lr=lr, betas=(0.5 if adversarial else 0.9, 0.999))
            else:
                optimizers[player] = partial(torch.optim.SGD, lr=lr, momentum=0.1 if adversarial else 0.9)
            schedules[player] = schedule(lr=step_decay(lr, (self.first_drop, self.second_drop)))
        return Recipe(
            system=system,
            optimizers=optimizers,
            schedules=schedules,
            batch=batch,
            rounds=rounds,
            ema_decay=ema_decay,
            streams=streams,
        )


@dataclass(frozen=True)
class EncoderOptions:
    """The encoder for training with few or no labels: the paper's with input noise, or a convolutional one."""

    encoder: Annotated[
        Literal["perceptron", "convolutional"],
        Field(description="perceptron: the paper's; convolutional: with two convolutions"),
    ] = "perceptron"
    noise: PixelNoise = 0.3
    affine_strength: AffineStrength = 0.0

    def network(
        self, data: "Spec", width: int, outputs: int, *, dropout: float = 0.0, norm: bool = False
    ) -> "nn.Module":
        """(B, C, H, W) -> (B, outputs). Raises SparringError if the images are too small for convolutions."""
        from sparring.networks import aae as networks
        from sparring.networks.diffaug import with_distortion

        if self.encoder == "perceptron":
            network = networks.encoder(data.shape, width, outputs, noise=self.noise, dropout=dropout, norm=norm)
        else:
            require_size("--encoder convolutional", data.size, least=16)
            network = networks.convolutional(data.shape, outputs, noise=self.noise, dropout=dropout)
        return with_distortion(network, self.affine_strength)


def prior_of(name: str, latent_dim: int, prior_std: float) -> "Prior":
    """The prior of that name. Raises SparringError if its dimension is not that of the latent code."""
    from sparring import priors

    if name in ("gaussians", "swiss-roll") and latent_dim != 2:
        raise SparringError(f"the prior {name} has 2 dimensions, the latent code {latent_dim}: give --latent-dim 2")
    if name == "gaussians":
        return priors.gaussian_mixture()
    if name == "swiss-roll":
        return priors.swiss_roll()
    if name == "uniform":
        return priors.uniform(latent_dim, bound=prior_std)
    return priors.gaussian(latent_dim, std=prior_std)


@recipe(
    paper=f"{PAPER}, section 2",
    size=28,
    measured=Measured(
        data="mnist",
        rounds=8_000,
        minutes=9,
        result="FD-lenet-mnist@2000 232 (real 8.8)",
        options="--first-drop 6000 --second-drop 7500",
    ),
)
def aae(
    data: "Spec",
    *,
    prior: PriorName = "gaussian",
    latent_dim: Code = 8,
    prior_std: PriorStd = 5.0,
    width: Units = 1000,
    batch: Batch = 100,
    noise: PixelNoise = 0.0,
    optimization: AAEOptimizer = AAEOptimizer(),
    ema_decay: EmaDecay = 0.999,
) -> Recipe:
    """An autoencoder whose latent codes are matched to a prior by a discriminator of codes.

    The defaults are those of the paper's likelihood experiment; `--latent-dim 2 --prior gaussians` and `--prior
    swiss-roll` give its figure 2. For another prior write your own recipe with
    `sparring.priors.from_sampler(sampler, latent_dim)`.

    Measured (docs/results/autoencoders.md; seed 0, --first-drop 6000 --second-drop 7500): after 8,000 rounds and 9
    minutes on one CPU thread FD-lenet-mnist@2000 232, where real images score 8.8; a reconstruction error of .0150.
    """
    from sparring.losses import game
    from sparring.networks import aae as networks
    from sparring.systems.aae import AAE

    return optimization.recipe(
        AAE(
            networks.encoder(data.shape, width, latent_dim, noise=noise),
            networks.decoder(latent_dim, width, data.shape),
            networks.discriminator(latent_dim, width),
            prior=prior_of(prior, latent_dim, prior_std),
            game=game("non-saturating"),
        ),
        batch=batch,
        rounds=3_000_000,
        ema_decay=ema_decay,
    )
