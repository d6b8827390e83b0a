"""Two-dimensional embeddings with an adversarial autoencoder (Makhzani et al. 2016, section 7)."""

from typing import TYPE_CHECKING

from sparring.recipes.aae import (
    CONVOLUTIONAL_ENCODER,
    PAPER,
    AAEOptimizer,
    BalanceClusters,
    Clusters,
    Code,
    EncoderOptions,
    MinDistance,
)
from sparring.recipes.arguments import Batch, EmaDecay, Labeled, Units, labeled_or_all
from sparring.recipes.recipe import Measured, Recipe, recipe, require_balanced, require_classes

if TYPE_CHECKING:
    from sparring.data.dataset import Dataset, Spec


@recipe(
    paper=f"{PAPER}, section 7",
    size=28,
    measured=Measured(
        data="mnist",
        rounds=4_000,
        minutes=11,
        result="40.7 % of test images in another digit's cluster (88.7 % if all were in one)",
        options=f"--balance-clusters {CONVOLUTIONAL_ENCODER} --first-drop 3000 --second-drop 3800",
    ),
)
def aae_reduction(
    data: "Spec",
    *,
    clusters: Clusters = 20,
    latent_dim: Code = 2,
    min_distance: MinDistance = 6.0,
    width: Units = 1000,
    batch: Batch = 100,
    encoder_options: EncoderOptions = EncoderOptions(),
    balance_clusters: BalanceClusters = False,
    optimization: AAEOptimizer = AAEOptimizer(),
    ema_decay: EmaDecay = 0.999,
) -> Recipe:
    """Unsupervised 2-D embedding: clusters with centroids in the plane.

    The paper does not give eta; 6 separates clusters of standard deviation 1. It does not give the initial W_C either;
    here PyTorch's default.

    Measured (docs/results/autoencoders.md; seed 0): 61 % of MNIST's test images lie in a cluster of another
    digit after 5,000 rounds (9 epochs, 5 minutes on one CPU thread); 41 % after 4,000 with --balance-clusters --encoder
    convolutional --affine-strength 1 --reconstruction-lr 0.02.
    """
    from torch import nn

    from sparring import priors
    from sparring.losses import game
    from sparring.networks import aae as networks
    from sparring.systems.aae_reduction import ReductionAAE

    return optimization.recipe(
        ReductionAAE(
            networks.balanced(encoder_options.network(data, width, clusters + latent_dim), clusters, balance_clusters),
            nn.Linear(clusters, latent_dim, bias=False),
            networks.decoder(latent_dim, width, data.shape),
            networks.discriminator(latent_dim, width),
            networks.discriminator(clusters, width),
            clusters=clusters,
            prior=priors.gaussian(latent_dim),
            game=game("non-saturating"),
            min_distance=min_distance,
        ),
        batch=batch,
        rounds=900_000,
        ema_decay=ema_decay,
    )


@recipe(
    paper=f"{PAPER}, section 7",
    size=28,
    classes=10,
    measured=Measured(
        data="mnist",
        rounds=4_000,
        minutes=13,
        result="4.96 % of test images wrong with 100 labels",
        options=f"{CONVOLUTIONAL_ENCODER} --first-drop 3000 --second-drop 3800",
    ),
)
def aae_labeled_reduction(
    data: "Spec",
    *,
    n_labeled: Labeled = 100,
    latent_dim: Code = 2,
    min_distance: MinDistance = 6.0,
    width: Units = 1000,
    batch: Batch = 100,
    encoder_options: EncoderOptions = EncoderOptions(),
    optimization: AAEOptimizer = AAEOptimizer(),
    ema_decay: EmaDecay = 0.999,
) -> Recipe:
    """Semi-supervised 2-D embedding: one centroid per class, few labels.

    The paper has a test error of 4.20 % with 100 labels.

    Measured (docs/results/autoencoders.md; seed 0): 18.7 % of MNIST's test images wrong after 5,000 rounds;
    4.96 % after 4,000 with --encoder convolutional --affine-strength 1 --reconstruction-lr 0.02.
    """
    from torch import nn

    from sparring import priors
    from sparring.losses import game
    from sparring.networks import aae as networks
    from sparring.systems.aae_reduction import LabeledReductionAAE

    classes = require_classes(data, "aae-labeled-reduction")
    require_balanced(n_labeled, classes)

    def streams(dataset: "Dataset", seed: int) -> "dict[str, Dataset]":
        return {"unlabeled": dataset, "labeled": labeled_or_all(dataset, n_labeled, batch, seed)}

    return optimization.recipe(
        LabeledReductionAAE(
            encoder_options.network(data, width, classes + latent_dim),
            nn.Linear(classes, latent_dim, bias=False),
            networks.decoder(latent_dim, width, data.shape),
            networks.discriminator(latent_dim, width),
            networks.discriminator(classes, width),
            classes=classes,
            prior=priors.gaussian(latent_dim),
            game=game("non-saturating"),
            min_distance=min_distance,
        ),
        batch=batch,
        rounds=900_000,
        ema_decay=ema_decay,
        streams=streams,
    )
