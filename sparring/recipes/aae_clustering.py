"""Unsupervised clustering with an adversarial autoencoder (Makhzani et al. 2016, section 6)."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sparring.recipes.aae import (
    CONVOLUTIONAL_ENCODER,
    PAPER,
    AAEOptimizer,
    BalanceClusters,
    Clusters,
    Code,
    EncoderOptions,
)
from sparring.recipes.arguments import Batch, EmaDecay, Units
from sparring.recipes.recipe import Measured, Recipe, recipe

if TYPE_CHECKING:
    from sparring.data.dataset import Spec


@recipe(
    paper=f"{PAPER}, section 6",
    size=28,
    measured=Measured(
        data="mnist",
        rounds=6_000,
        minutes=10,
        result="15.4 % of test images in another digit's cluster (88.7 % if all were in one)",
        options=f"--width 1000 --balance-clusters {CONVOLUTIONAL_ENCODER} --first-drop 4500 --second-drop 5700",
    ),
)
def aae_clustering(
    data: "Spec",
    *,
    clusters: Clusters = 16,
    latent_dim: Code = 5,
    width: Units = 3000,
    batch: Batch = 100,
    dropout: Annotated[float, Field(ge=0, lt=1, description="fraction of input pixels set to 0 in training")] = 0.2,
    encoder_options: EncoderOptions = EncoderOptions(noise=0.0),
    balance_clusters: BalanceClusters = False,
    optimization: AAEOptimizer = AAEOptimizer(second_drop=900_001),
    ema_decay: EmaDecay = 0.999,
) -> Recipe:
    """Unsupervised clustering by a categorical part of the code; two wide layers, batch norm in the encoder.

    A cluster is assigned to the most frequent digit in it; the paper has 9.55 % (16 clusters) and 4.10 % (30) of the
    test digits in clusters of another digit. Its learning rates drop once, after 50 epochs; --second-drop adds another.

    Measured (docs/results/autoencoders.md; seed 0, --width 1000): 79 % after 10,000 rounds (10 minutes of one CPU
    thread), with empty clusters. With --balance-clusters --encoder convolutional --affine-strength 1
    --reconstruction-lr 0.02 none is empty: 15.4 % after 6,000 rounds and 10 minutes.
    """
    from sparring import priors
    from sparring.losses import game
    from sparring.networks import aae as networks
    from sparring.systems.aae_clustering import ClusteringAAE

    return optimization.recipe(
        ClusteringAAE(
            networks.balanced(
                encoder_options.network(data, width, clusters + latent_dim, dropout=dropout, norm=True),
                clusters,
                balance_clusters,
            ),
            networks.decoder(clusters + latent_dim, width, data.shape),
            networks.discriminator(latent_dim, width),
            networks.discriminator(clusters, width),
            clusters=clusters,
            prior=priors.gaussian(latent_dim),
            game=game("non-saturating"),
        ),
        batch=batch,
        rounds=900_000,
        ema_decay=ema_decay,
    )
