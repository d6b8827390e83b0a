"""Conditional GAN, AC-GAN and InfoGAN, all with InfoGAN's networks."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sparring.recipes.arguments import Adam, Batch, EmaDecay, GameName, Latent, Noise
from sparring.recipes.recipe import Recipe, recipe, require_classes, require_size

if TYPE_CHECKING:
    from sparring.data.dataset import Spec

Game = Annotated[GameName, Field(description="the pair of losses")]

LABEL_CHANNELS = 4
"""Channels of the label embedding in the input of cgan's discriminator."""


@recipe(paper="Mirza and Osindero 2014, Conditional Generative Adversarial Nets, arXiv 1411.1784", size=28, classes=10)
def cgan(
    data: "Spec",
    *,
    latent_dim: Latent = 62,
    noise: Noise = "normal",
    batch: Batch = 128,
    game: Game = "non-saturating",
    adam: Adam = Adam(2e-4, 1e-3),
    ema_decay: EmaDecay = 0.999,
) -> Recipe:
    """Class-conditional G and D: G gets the class as one-hot input, D as channels of an embedding.

    The paper's networks are fully connected and trained by SGD with decaying learning rate and increasing momentum. The
    networks and learning rates here are InfoGAN's, with the embedding as channels (ganhacks 16).

    Measured (docs/results/classes.md; seed 0, one CPU thread, with PyTorch's initial weights): after 2,000 rounds in 9
    minutes on MNIST 99.7 % of the samples are of the requested class, FD-lenet-mnist@10000 11.6 where real images score
    3.1.
    """
    from torch import nn

    from sparring.losses import game as game_of
    from sparring.networks import infogan
    from sparring.networks.labels import LabelAsChannels
    from sparring.systems.cgan import ConditionalGAN

    require_size(data, "cgan", 28, "biggan-small, biggan-cifar")
    classes = require_classes(data, "cgan")
    discriminator = nn.Sequential(infogan.trunk(data.channels + LABEL_CHANNELS), infogan.head())
    return Recipe(
        system=ConditionalGAN(
            infogan.WithClass(infogan.generator(latent_dim + classes, data.channels), classes),
            LabelAsChannels(nn.Identity(), discriminator, classes, LABEL_CHANNELS),
            latent_dim=latent_dim,
            classes=classes,
            game=game_of(game),
            noise=noise,
        ),
        optimizers=adam.optimizers(),
        batch=batch,
        rounds=20_000,
        ema_decay=ema_decay,
    )


@recipe(paper="Odena et al. 2017, Auxiliary Classifier GANs, arXiv 1610.09585", size=28, classes=10)
def acgan(
    data: "Spec",
    *,
    latent_dim: Latent = 62,
    noise: Noise = "normal",
    batch: Batch = 128,
    game: Game = "non-saturating",
    d_class_weight: Annotated[
        float, Field(ge=0, description="weight of the class losses on real and generated images in D's loss")
    ] = 1.0,
    g_class_weight: Annotated[
        float, Field(ge=0, description="weight of the class loss in G's loss (Gulrajani et al. 2017: .1)")
    ] = 1.0,
    adam: Adam = Adam(2e-4, 1e-3),
    ema_decay: EmaDecay = 0.999,
) -> Recipe:
    """Auxiliary classifier in D: a second head predicts the class, for real and generated images.

    The paper's networks are for ImageNet and CIFAR-10; networks and learning rates here are InfoGAN's for MNIST,
    without dropout.

    Measured (docs/results/classes.md; seed 0, one CPU thread, with PyTorch's initial weights and --d-class-weight 0.5):
    after 2,000 rounds in 7 minutes on MNIST 99.9 % of the samples are of the requested class, FD-lenet-mnist@10000 9.9
    where real images score 3.1.
    """

    from sparring.losses import game as game_of
    from sparring.networks import infogan
    from sparring.systems.acgan import ACGAN

    require_size(data, "acgan", 28, "biggan-small, biggan-cifar")
    classes = require_classes(data, "acgan")
    return Recipe(
        system=ACGAN(
            infogan.WithClass(infogan.generator(latent_dim + classes, data.channels), classes),
            infogan.trunk(data.channels),
            infogan.head(),
            infogan.head(classes),
            latent_dim=latent_dim,
            classes=classes,
            game=game_of(game),
            noise=noise,
            d_class_weight=d_class_weight,
            g_class_weight=g_class_weight,
        ),
        optimizers=adam.optimizers(),
        batch=batch,
        rounds=20_000,
        ema_decay=ema_decay,
    )


@recipe(paper="Chen et al. 2016, InfoGAN, arXiv 1606.03657, appendix C.1", size=28)
def infogan(
    data: "Spec",
    *,
    latent_dim: Latent = 62,
    noise: Noise = "uniform",
    n_categories: Annotated[int, Field(ge=2, description="number of values of the categorical code")] = 10,
    n_continuous: Annotated[int, Field(ge=0, description="number of continuous codes, each from U(-1, 1)")] = 2,
    info_weight: Annotated[float, Field(ge=0, description="weight of the mutual information (lambda)")] = 1.0,
    batch: Batch = 128,
    game: Game = "non-saturating",
    adam: Adam = Adam(2e-4, 1e-3),
    ema_decay: EmaDecay = 0.999,
) -> Recipe:
    """Categorical and continuous codes learned without labels: a head of D predicts them from the image.

    `system.sample(n, codes=...)` shows the learned codes: one category per row, a continuous code increasing along it.
    As in the authors' code the mutual information is added to both players' losses, continuous codes have a fixed
    variance, and the initial weights are theirs. LeakyReLU has the paper's slope of .1 (their code: .01); their pixels
    come from a sigmoid, ours from tanh.

    Measured (docs/results/classes.md; seed 0, one CPU thread, with PyTorch's initial weights): FD-lenet-mnist@10000 9.1
    on MNIST after 4,000 rounds in 28 minutes, where real images score 3.1; 80 % of the categories agree with the digit.
    """

    from sparring.losses import game as game_of
    from sparring.networks import infogan
    from sparring.systems.infogan import InfoGAN

    require_size(data, "infogan", 28, "dcgan, r3gan; with classes, biggan-small")
    return Recipe(
        system=InfoGAN(
            infogan.generator(latent_dim + n_categories + n_continuous, data.channels),
            infogan.trunk(data.channels),
            infogan.head(),
            infogan.q_head(n_categories + n_continuous),
            latent_dim=latent_dim,
            n_categories=n_categories,
            n_continuous=n_continuous,
            game=game_of(game),
            noise=noise,
            info_weight=info_weight,
        ),
        optimizers=adam.optimizers(),
        batch=batch,
        rounds=5_000,
        ema_decay=ema_decay,
    )
