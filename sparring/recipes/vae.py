"""The variational autoencoder of Kingma and Welling 2014, and what the recipes of its other versions share."""

import math
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from sparring.recipes.arguments import Batch, EmaDecay, LatentLength, Rate, Units
from sparring.recipes.recipe import Recipe, recipe

if TYPE_CHECKING:
    from torch import nn

    from sparring.data.dataset import Spec
    from sparring.referee import MakeOptimizer, Schedule

Beta = Annotated[float, Field(ge=0, description="weight of the KL divergence (Higgins et al. 2017); 1: the ELBO")]
Objective = Annotated[
    Literal["bound", "notebook", "formula", "slide", "slide-weight"],
    Field(
        description="weight of the KL divergence. bound: 1, the ELBO; notebook: .392 for 28x28 pixels and 2 units; "
        "formula: 2 (its factors 1/2 are missing); slide: negative, diverges; slide-weight: the notebook's with the "
        "slide's constant, 1e-4 instead of 5e-4"
    ),
]
VarianceAsDeviation = Annotated[
    bool,
    Field(description="bug of the original: samples codes as mean + variance * noise instead of mean + std * noise"),
]


@recipe(paper="Kingma and Welling 2014, Auto-Encoding Variational Bayes, arXiv 1312.6114", size=28)
def vae(
    data: "Spec",
    *,
    latent_dim: LatentLength = 20,
    width: Units = 500,
    batch: Batch = 100,
    lr: Rate = 0.01,
    beta: Beta = 1.0,
    ema_decay: EmaDecay = 0.999,
) -> Recipe:
    """The VAE of the paper: one hidden layer of tanh units in each network, Bernoulli pixels, Adagrad.

    | the paper | here | why |
    |---|---|---|
    | learning rate .01, .02 or .1, tuned | .01 | --lr |
    | a small weight decay (a prior N(0, 1) on weights) | none | 1/60,000 of a weight per step is negligible |

    Measured (docs/results/autoencoders.md; seed 0): -104.7 nats for a test image of MNIST (importance-weighted; the
    bound is -107.2) after 54,000 rounds and 8 minutes on one CPU thread.
    """
    import torch

    from sparring.networks import vae as networks

    return variational(
        networks.encoder(data.shape, width, latent_dim),
        networks.decoder(latent_dim, width, data.shape),
        latent_dim=latent_dim,
        beta=beta,
        optimizer=partial(torch.optim.Adagrad, lr=lr),
        batch=batch,
        rounds=54_000,
        ema_decay=ema_decay,
    )


def kl_weight(objective: str, data: "Spec", latent_dim: int) -> float:
    """The weight of the KL divergence relative to a sum over pixels; the courses use means over pixels and units."""
    per_pixel = 2 * math.prod(data.shape) / latent_dim
    return {
        "bound": 1.0,
        "notebook": 5e-4 * per_pixel,
        "formula": 2.0,
        "slide": -per_pixel,
        "slide-weight": 1e-4 * per_pixel,
    }[objective]


def variational(
    encoder: "nn.Module",
    decoder: "nn.Module",
    *,
    latent_dim: int,
    beta: float,
    optimizer: "MakeOptimizer",
    batch: int,
    rounds: int,
    ema_decay: float,
    bug_variance_as_std: bool = False,
    schedule: "Schedule | None" = None,
) -> Recipe:
    """A recipe of a VAE with Bernoulli pixels; the encoder ends in means and log-variances, the decoder in logits."""
    from sparring.losses import bernoulli_nll
    from sparring.networks.vae import image
    from sparring.systems.vae import VAE

    return Recipe(
        system=VAE(
            encoder,
            decoder,
            latent_dim=latent_dim,
            nll=bernoulli_nll,
            to_image=image(),
            beta=beta,
            bug_variance_as_std=bug_variance_as_std,
        ),
        optimizers={"autoencoder": optimizer},
        schedules={"autoencoder": schedule} if schedule else {},
        batch=batch,
        rounds=rounds,
        ema_decay=ema_decay,
    )
