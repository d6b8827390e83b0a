"""BigGAN (Brock et al. 2019) at 28 to 256 pixels, and a small variant for two CPU cores."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sparring.recipes.arguments import Batch, DiscriminatorSteps, EmaDecay, Latent, Rate
from sparring.recipes.recipe import Recipe, recipe, require_classes, variant

if TYPE_CHECKING:
    from torch import nn

    from sparring.data.dataset import Spec

Width = Annotated[int, Field(gt=0, description="base number of channels (ch)")]
EmbedDim = Annotated[
    int, Field(ge=0, description="length of the class embedding shared in G; 0: a separate one in each norm")
]
Attention = Annotated[
    int, Field(ge=0, description="resolution with a self-attention block, if the images are that large; 0: none")
]
OrthoWeight = Annotated[float, Field(ge=0, description="weight of the orthogonal regularization of G (beta)")]
PAPER = "Brock et al. 2019, Large Scale GAN Training, arXiv 1809.11096"


@dataclass(frozen=True)
class BigGANOptions:
    """Training of BigGAN: discriminator steps, Adam (0, .999), sampling weights."""

    discriminator_steps: DiscriminatorSteps = 2
    discriminator_lr: Rate = 2e-4
    generator_lr: Rate = 5e-5
    standing_batches: Annotated[
        int, Field(ge=1, le=10_000, description="batches from which batch-norm statistics are computed before sampling")
    ] = 16
    ema_decay: EmaDecay = 0.9999
    ema_start: Annotated[int, Field(ge=0, description="round at which the EMA of the weights starts")] = 20_000

    def recipe(
        self,
        G: "nn.Module",
        D: "nn.Module",
        *,
        latent_dim: int,
        classes: int,
        ortho_weight: float,
        batch: int,
        epsilon: float = 1e-6,
        rounds: int = 200_000,
    ) -> Recipe:
        """A recipe of these networks; epsilon is Adam's."""
        import torch

        from sparring.systems.biggan import BigGAN

        adam = partial(torch.optim.Adam, betas=(0.0, 0.999), eps=epsilon)
        return Recipe(
            system=BigGAN(
                G,
                D,
                latent_dim=latent_dim,
                classes=classes,
                discriminator_steps=self.discriminator_steps,
                ortho_weight=ortho_weight,
                standing_batches=self.standing_batches,
            ),
            optimizers={
                "discriminator": partial(adam, lr=self.discriminator_lr),
                "generator": partial(adam, lr=self.generator_lr),
            },
            batch=batch,
            rounds=rounds,
            ema_decay=self.ema_decay,
            ema_start=self.ema_start,
        )


def attention_within(data: "Spec", resolution: int) -> int:
    """The attention resolution; 0 (none) if the images are smaller."""
    return resolution if resolution <= data.size else 0


@recipe(paper=PAPER, size=128, classes=1000)
def biggan(
    data: "Spec",
    *,
    latent_dim: Latent = 120,
    width: Width = 96,
    embed_dim: EmbedDim = 128,
    attention: Attention = 64,
    batch: Batch = 2048,
    ortho_weight: OrthoWeight = 1e-4,
    training: BigGANOptions = BigGANOptions(),
) -> Recipe:
    """Class-conditional GAN at 28, 32, 64, 128 or 256 pixels. The paper has --latent-dim 100 at 64, 140 at 256.

    --grad-accum 64 splits the batch of 2048. Spectral norm is updated for each microbatch, so the result is close but
    not equal to that of a whole batch, as in the authors' code. `biggan-small` is a variant for two CPU cores.
    """
    from sparring.networks import biggan as networks

    classes, attention = require_classes(data, "biggan"), attention_within(data, attention)
    return training.recipe(
        networks.Generator(
            latent_dim,
            width,
            data.channels,
            data.size,
            classes=classes,
            embed_dim=embed_dim or None,
            attention=attention,
        ),
        networks.Discriminator(width, data.channels, data.size, classes=classes, attention=attention),
        latent_dim=latent_dim,
        classes=classes,
        ortho_weight=ortho_weight,
        batch=batch,
    )


@variant(
    biggan,
    paper=f"{PAPER}; reduced",
    size=28,
    classes=10,
    latent_dim=60,
    width=8,
    embed_dim=32,
    attention=0,
    batch=64,
    training=BigGANOptions(discriminator_lr=4e-4, generator_lr=2e-4, ema_decay=0.999, ema_start=0),
)
def biggan_small() -> None:
    """BigGAN for two CPU cores: 32 channels in every layer, small batches, higher learning rates; 28 or 32 pixels.

    Measured (docs/results/classes.md; seed 0, one CPU thread; two power iterations per step of D, a longer EMA
    warm-up): after 7,000 rounds in 39 minutes on MNIST 99.4 % of the samples are of the requested class,
    FD-lenet-mnist@5000 9.9 where real images score 5.0.
    """


@recipe(paper="Brock et al. 2019; launch_cifar_ema.sh of the authors' BigGAN-PyTorch", size=32, classes=10)
def biggan_cifar(
    data: "Spec",
    *,
    latent_dim: Latent = 128,
    width: Width = 64,
    batch: Batch = 50,
    training: BigGANOptions = BigGANOptions(discriminator_steps=4, generator_lr=2e-4, ema_start=1000),
) -> Recipe:
    """The authors' CIFAR-10 settings: class-conditional batch norm, no attention, initial weights N(0, .02), 32 pixels.

    4 discriminator steps per round; no orthogonal regularization; Adam's epsilon is 1e-8. Their script samples with the
    statistics of each batch; here standing statistics are computed first.

    Measured (docs/results/mnist.md; seed 0, --width 16 --ema-decay 0.99 --ema-start 200; two power iterations per step
    of D, Adam's epsilon 1e-6): on MNIST at 32x32 FD-lenet-mnist@10000 31 after 700 rounds and 11 minutes on
    one CPU thread, where real images score 2.3; 95 % of the samples are the requested digit.
    """
    from sparring.networks import biggan as networks
    from sparring.networks.init import normal

    classes = require_classes(data, "biggan-cifar")
    return training.recipe(
        normal(networks.Generator(latent_dim, width, data.channels, data.size, classes=classes, embed_dim=None), 0.02),
        normal(networks.Discriminator(width, data.channels, data.size, classes=classes), 0.02),
        latent_dim=latent_dim,
        classes=classes,
        ortho_weight=0.0,
        batch=batch,
        epsilon=1e-8,
        rounds=125_000,
    )
