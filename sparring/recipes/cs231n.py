"""The CS231n GAN notebook: three games on MNIST. Its own networks, noise, optimiser and initial weights."""

from functools import partial
from typing import TYPE_CHECKING

from sparring.errors import SparringError
from sparring.recipes.arguments import Adam, Average, Batch, Latent, Noise, Rules
from sparring.recipes.recipe import Recipe, published

if TYPE_CHECKING:
    from sparring.data.dataset import Spec


@published(paper="CS231n, GAN notebook; game: Goodfellow et al. 2014, arXiv 1406.2661", size=28)
def cs231n_mlp(
    data: "Spec",
    *,
    latent: Latent = 96,
    noise: Noise = "uniform",
    batch: Batch = 128,
    adam: Adam = Adam(1e-3, 1e-3),
    average: Average = 0.999,
    rules: Rules = Rules(),
) -> Recipe:
    """The first GAN of the notebook: fully connected networks, non-saturating game.

    The notebook reads the images in order and shows the live weights; here the order is random and the shown
    weights are a moving average (average=0 shows the live ones).

    Measured (docs/results/mnist.md; seed 0, one CPU thread): FD-lenet-mnist@10000 238 on MNIST after 4,000 rounds in
    2 minutes, where real images score 3.1.
    """
    from torch import nn

    from sparring.networks import mlp
    from sparring.networks.initial import xavier_uniform

    leaky = partial(nn.LeakyReLU, 0.01)
    G = mlp.generator(latent, [1024, 1024], data.shape, activation=nn.ReLU)
    D = mlp.discriminator(data.shape, [256, 256], activation=leaky)
    return Recipe(
        system=rules.gan(xavier_uniform(G), xavier_uniform(D), latent=latent, noise=noise),
        optimisers=adam.for_gan(),
        batch=batch,
        rounds=3900,
        average=average,
    )


@published(paper="CS231n, GAN notebook; game: Mao et al. 2017, arXiv 1611.04076", size=28)
def cs231n_lsgan(
    data: "Spec",
    *,
    latent: Latent = 96,
    noise: Noise = "uniform",
    batch: Batch = 128,
    adam: Adam = Adam(1e-3, 1e-3),
    average: Average = 0.999,
    rules: Rules = Rules(game="least-squares"),
) -> Recipe:
    """The second GAN of the notebook: the networks of cs231n-mlp, playing the least-squares game.

    Measured (docs/results/mnist.md; seed 0, one CPU thread): FD-lenet-mnist@10000 219 on MNIST after 3,900 rounds in
    2 minutes, where real images score 3.1.
    """
    return cs231n_mlp(
        data,
        latent=latent,
        noise=noise,
        batch=batch,
        adam=adam,
        average=average,
        rules=rules,
    )


@published(paper="CS231n, GAN notebook; after Radford et al. 2016 and Chen et al. 2016 (InfoGAN)", size=28)
def cs231n_dcgan(
    data: "Spec",
    *,
    latent: Latent = 96,
    noise: Noise = "uniform",
    batch: Batch = 128,
    adam: Adam = Adam(1e-3, 1e-3),
    average: Average = 0.999,
    rules: Rules = Rules(),
) -> Recipe:
    """The third GAN of the notebook: convolutions, max pooling in D, batch norm after ReLU in G; 28x28 only.

    Measured (docs/results/mnist.md; seed 0, one CPU thread): FD-lenet-mnist@10000 45 on MNIST after 1,950 rounds in
    5 minutes, where real images score 3.1.
    """
    from sparring.networks import cs231n

    if data.size != 28:
        raise SparringError(f"cs231n-dcgan makes 28x28 images, the data is {data.size}x{data.size}: give --size 28")
    return Recipe(
        system=rules.gan(
            cs231n.generator(latent, data.channels), cs231n.discriminator(data.channels), latent=latent, noise=noise
        ),
        optimisers=adam.for_gan(),
        batch=batch,
        rounds=1950,
        average=average,
    )
