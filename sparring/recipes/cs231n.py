"""The three GANs of the CS231n notebook, with its networks, noise, optimizer and initial weights; its classifier."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sparring.errors import require_size
from sparring.recipes.arguments import (
    Adam,
    Batch,
    EmaDecay,
    GANOptions,
    Latent,
    MLPOptions,
    NImages,
    Noise,
    Rate,
    first,
)
from sparring.recipes.recipe import Recipe, recipe, require_classes, variant

if TYPE_CHECKING:
    from sparring.data.dataset import Spec

Xavier = Annotated[
    bool,
    Field(description="Xavier-uniform initial weights, as in the notebook's text; its code keeps PyTorch's default"),
]


@recipe(paper="CS231n, GAN notebook; game: Goodfellow et al. 2014, arXiv 1406.2661", size=28)
def cs231n_mlp(
    data: "Spec",
    *,
    latent_dim: Latent = 96,
    noise: Noise = "uniform",
    batch: Batch = 128,
    xavier: Xavier = False,
    n_images: NImages = 50_000,
    layers: MLPOptions = MLPOptions(activation="relu+leaky-relu"),
    adam: Adam = Adam(1e-3, 1e-3),
    ema_decay: EmaDecay = 0.999,
    options: GANOptions = GANOptions(),
) -> Recipe:
    """The first GAN of the notebook: fully connected networks, non-saturating game.

    | the notebook | here | why |
    |---|---|---|
    | MNIST's first 50,000 images, the next 5,000 held out | 50,000 and 6,000 at random | --held-out 50000:55000 |
    | images in fixed order | shuffled in every epoch | standard practice |
    | PyTorch's initial weights, though its text says Xavier's | PyTorch's | as in its code; --xavier |
    | samples of the live weights | of the EMA weights | less noise in the samples; --ema-decay 0 |

    Measured (docs/results/mnist.md; seed 0, one CPU thread, --xavier --n-images 0): FD-lenet-mnist@10000 238 on MNIST
    after 4,000 rounds in 2 minutes, where real images score 3.1.
    """
    from sparring.networks.init import xavier_uniform

    G, D = layers.networks(latent_dim, data.shape, generator=[1024, 1024], discriminator=[256, 256], slope=0.01)
    system = options.make_gan(G, D, latent_dim=latent_dim, noise=noise)
    system.caveats += layers.caveats
    if xavier:
        xavier_uniform(system)
    return Recipe(
        system=system,
        optimizers=adam.optimizers(),
        batch=batch,
        rounds=3900,
        ema_decay=ema_decay,
        streams=first(n_images),
    )


@variant(
    cs231n_mlp,
    paper="CS231n, GAN notebook; game: Mao et al. 2017, arXiv 1611.04076",
    size=28,
    options=GANOptions(game="least-squares"),
)
def cs231n_lsgan() -> None:
    """The second GAN of the notebook: cs231n-mlp with the least-squares game.

    Differences from the notebook are those of cs231n-mlp.

    Measured (docs/results/mnist.md; seed 0, one CPU thread, --xavier --n-images 0): FD-lenet-mnist@10000 219 on MNIST
    after 3,900 rounds in 2 minutes, where real images score 3.1.
    """


@recipe(paper="CS231n, GAN notebook; after Radford et al. 2016 and Chen et al. 2016 (InfoGAN)", size=28)
def cs231n_dcgan(
    data: "Spec",
    *,
    latent_dim: Latent = 96,
    noise: Noise = "uniform",
    batch: Batch = 128,
    n_images: NImages = 50_000,
    adam: Adam = Adam(1e-3, 1e-3),
    ema_decay: EmaDecay = 0.999,
    options: GANOptions = GANOptions(),
) -> Recipe:
    """The third GAN of the notebook: convolutional, max pooling in D, batch norm after ReLU in G; 28x28 only.

    Xavier-uniform initial weights in fully connected and transposed layers, as in its code; other differences from the
    notebook are those of cs231n-mlp.

    Measured (docs/results/mnist.md; seed 0, one CPU thread, --n-images 0): FD-lenet-mnist@10000 45 on MNIST after 1,950
    rounds in 5 minutes, where real images score 3.1.
    """
    from sparring.networks import cs231n

    require_size("cs231n-dcgan", data.size, [28], others="dcgan, r3gan")
    return Recipe(
        system=options.make_gan(
            cs231n.generator(latent_dim, data.channels),
            cs231n.discriminator(data.channels),
            latent_dim=latent_dim,
            noise=noise,
        ),
        optimizers=adam.optimizers(),
        batch=batch,
        rounds=1950,
        ema_decay=ema_decay,
        streams=first(n_images),
    )


@recipe(paper="CS231n, GAN notebook, build_dc_classifier; after TensorFlow's MNIST tutorial", size=28, classes=10)
def cs231n_classifier(
    data: "Spec",
    *,
    batch: Batch = 128,
    lr: Rate = 1e-3,
    n_images: NImages = 50_000,
    ema_decay: EmaDecay = 0.999,
) -> Recipe:
    """The discriminator of cs231n-dcgan as a classifier of digits: it has one output per class; 28x28 only.

    The notebook says that a network like it classifies more than 99 % of MNIST, and trains it as a discriminator only.

    | the notebook | here | why |
    |---|---|---|
    | one output | one per class | a classifier |
    | Adam with beta 1 = .5 | .9 | there is no second player |
    | MNIST's first 50,000 images, the next 5,000 held out | 50,000 and 6,000 at random | --held-out 50000:55000 |
    """
    import torch

    from sparring.networks import cs231n
    from sparring.systems.classifier import Classifier

    require_size("cs231n-classifier", data.size, [28], others="mlp-classifier")
    classes = require_classes(data, "cs231n-classifier")
    return Recipe(
        system=Classifier(cs231n.discriminator(data.channels, classes)),
        optimizers={"classifier": partial(torch.optim.Adam, lr=lr)},
        batch=batch,
        rounds=1950,
        ema_decay=ema_decay,
        streams=first(n_images),
    )
