"""The bag of tricks: ganhacks' seventeen and Chollet's five, each an argument of one recipe (docs/tricks.md)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from sparring.errors import SparringError
from sparring.recipes.arguments import Batch, EmaDecay, GANOptions, Latent, Noise, Width
from sparring.recipes.recipe import Recipe, recipe, require_classes

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from sparring.data.dataset import Dataset, Spec
    from sparring.referee import MakeOptimizer
    from sparring.systems.gan import GAN

Norm = Literal["batch", "instance", "layer", "virtual", "none"]
Activation = Literal["relu", "leaky-relu"]
OptimizerName = Literal["adam", "sgd", "rmsprop"]
Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True)
class Optimizers:
    """An optimizer and a rate for each player."""

    discriminator_optimizer: Annotated[OptimizerName, Field(description="D's optimizer (ganhacks 9: sgd)")] = "adam"
    discriminator_lr: Annotated[float, Field(gt=0, le=1, description="D's learning rate (more for sgd: .01)")] = 2e-4
    generator_optimizer: Annotated[OptimizerName, Field(description="G's optimizer (ganhacks 9: adam)")] = "adam"
    generator_lr: Annotated[float, Field(gt=0, le=1, description="G's learning rate")] = 1e-3
    beta1: Annotated[float, Field(ge=0, lt=1, description="Adam's momentum; the others have none")] = 0.5

    def for_gan(self) -> "dict[str, MakeOptimizer]":
        """Player -> how to make its optimizer."""
        import torch

        table: dict[str, Callable[..., Optimizer]] = {
            "adam": partial(torch.optim.Adam, betas=(self.beta1, 0.999)),
            "sgd": torch.optim.SGD,
            "rmsprop": torch.optim.RMSprop,
        }
        return {
            "discriminator": partial(table[self.discriminator_optimizer], lr=self.discriminator_lr),
            "generator": partial(table[self.generator_optimizer], lr=self.generator_lr),
        }


@dataclass(frozen=True)
class GeneratorParts:
    """What the generator is made of."""

    upsampling: Annotated[
        Literal["transposed", "pixel-shuffle", "bilinear", "nearest"],
        Field(description="how G doubles its maps (ganhacks 5, Chollet 5)"),
    ] = "transposed"
    generator_norm: Annotated[Norm, Field(description="after each of G's layers but the last (ganhacks 4)")] = "batch"
    generator_activation: Annotated[Activation, Field(description="in G (ganhacks 5: leaky-relu)")] = "leaky-relu"
    output: Annotated[
        Literal["tanh", "sigmoid"], Field(description="G's end; sigmoid is moved to [-1, 1] (ganhacks 1: tanh)")
    ] = "tanh"
    layer_noise: Annotated[
        float, Field(ge=0, le=10, description="standard deviation of the noise in G's layers (ganhacks 13)")
    ] = 0.0
    generator_dropout: Annotated[Share, Field(description="share of G's activations made 0 (ganhacks 17: .5)")] = 0.0
    dropout_at_sampling: Annotated[bool, Field(description="that dropout also in samples (ganhacks 17)")] = True

    def network(self, latent_dim: int, width: int, channels: int, size: int, vbn_size: int) -> "nn.Module":
        """(B, latent) -> (B, channels, size, size)."""
        from sparring.networks.ganhacks import generator

        return generator(
            latent_dim,
            width,
            channels,
            size,
            upsampling=self.upsampling,
            norm=self.generator_norm,
            activation=self.generator_activation,
            output=self.output,
            noise=self.layer_noise,
            dropout=self.generator_dropout,
            lasting=self.dropout_at_sampling,
            vbn_size=vbn_size,
        )


@dataclass(frozen=True)
class DiscriminatorParts:
    """What the discriminator is made of, and what befalls images on the way to it."""

    downsampling: Annotated[
        Literal["strided", "average-pool", "bilinear", "max-pool"],
        Field(description="how D halves its maps (ganhacks 5: strided or average-pool)"),
    ] = "strided"
    discriminator_norm: Annotated[Norm, Field(description="after each of D's layers but the first and last")] = "batch"
    discriminator_activation: Annotated[Activation, Field(description="in D (ganhacks 5, Chollet 4)")] = "leaky-relu"
    discriminator_dropout: Annotated[Share, Field(description="before D's last layer (Chollet 3: .4)")] = 0.0
    unit_range: Annotated[bool, Field(description="D sees pixels in [0, 1] (ganhacks 1: [-1, 1])")] = False
    instance_noise: Annotated[
        float, Field(ge=0, le=10, description="standard deviation of the noise on D's images at first (ganhacks 13)")
    ] = 0.0
    instance_noise_rounds: Annotated[int, Field(ge=1, description="rounds after which that noise has fallen to 0")] = (
        5_000
    )
    minibatch: Annotated[
        Literal["none", "discrimination", "std"],
        Field(description="how D sees that images of a batch are alike (ganhacks 15)"),
    ] = "none"
    mbstd_group: Annotated[int, Field(ge=2, description="images that --minibatch std compares")] = 4
    packing: Annotated[int, Field(ge=1, le=16, description="images that D sees together (PacGAN); 1: one")] = 1
    augment: Annotated[
        Literal[
            "none",
            "color",
            "translation",
            "cutout",
            "color+translation",
            "color+cutout",
            "translation+cutout",
            "color+translation+cutout",
            "adaptive",
        ],
        Field(description="how images are changed for D: DiffAugment's policies, or ADA"),
    ] = "none"

    def look(self) -> "nn.Sequential":
        """(B, C, H, W) -> the same: what befalls images first."""
        from torch import nn

        from sparring.networks.diffaug import DiffAugment
        from sparring.networks.noise import InstanceNoise

        steps: list[nn.Module] = [] if self.augment in ("none", "adaptive") else [DiffAugment(self.augment)]
        steps += [InstanceNoise(self.instance_noise, self.instance_noise_rounds)] if self.instance_noise else []
        return nn.Sequential(*steps)

    def network(self, width: int, channels: int, size: int, vbn_size: int) -> "nn.Module":
        """(B, channels, size, size) -> (B / packing, 1)."""
        from sparring.networks.ganhacks import discriminator
        from sparring.networks.minibatch import PacDiscriminator

        judge = discriminator(
            width,
            channels * self.packing,
            size,
            downsampling=self.downsampling,
            norm=self.discriminator_norm,
            activation=self.discriminator_activation,
            unit=self.unit_range,
            dropout=self.discriminator_dropout,
            minibatch=self.minibatch,
            mbstd_group=self.mbstd_group,
            vbn_size=vbn_size,
        )
        return judge if self.packing == 1 else PacDiscriminator(judge, self.packing)


OPTIMIZERS, GENERATOR, DISCRIMINATOR = Optimizers(), GeneratorParts(), DiscriminatorParts()


@recipe(paper="Chintala et al. 2016, How to Train a GAN (ganhacks); Chollet 2017, section 8.5.2", size=28)
def ganhacks(
    data: "Spec",
    *,
    latent_dim: Latent = 100,
    noise: Noise = "normal",
    width: Width = 64,
    batch: Batch = 64,
    generator: GeneratorParts = GENERATOR,
    discriminator: DiscriminatorParts = DISCRIMINATOR,
    optimizers: Optimizers = OPTIMIZERS,
    replay: Annotated[
        int, Field(ge=0, description="rounds whose fakes come back in later ones (ganhacks 8); 0: none do")
    ] = 0,
    label_channels: Annotated[
        int, Field(ge=0, description="learn with labels, as so many extra channels (ganhacks 16); 0: without")
    ] = 0,
    vbn_size: Annotated[int, Field(ge=2, description="size of virtual batch norm's reference batch")] = 64,
    ema_decay: EmaDecay = 0.999,
    rules: GANOptions = GANOptions(label_smoothing=0.1, resample_noise=False),
) -> Recipe:
    """DCGAN in which every trick of the trade is an argument; 28, 32 or 64 pixels.

    As it comes: what the two lists agree on. To see what a trick does, change one and compare two runs; docs/tricks.md
    says what each claims. Old fakes, labels and adaptive augmentation are three different rounds: one at a time. With
    labels the generator's step always has new noise.

    Measured (docs/results/mnist.md; seed 0, 19 minutes on a busy thread): FD-lenet-mnist@10000 131 on MNIST after 6,000
    rounds, where real images score 3.1.
    """
    from torch import nn

    from sparring.networks.diffaug import AdaptiveAugment
    from sparring.networks.labels import LabelAsChannels, LabelEmbeddingInput
    from sparring.systems.ada import ADA
    from sparring.systems.cgan import ConditionalGAN
    from sparring.systems.replay import Replay

    asked = {
        "--replay": replay,
        "--label-channels": label_channels,
        "--augment adaptive": discriminator.augment == "adaptive",
    }
    if sum(map(bool, asked.values())) > 1:
        raise SparringError(f"{' and '.join(flag for flag in asked if asked[flag])} are different rounds: choose one")
    if label_channels and "virtual" in (generator.generator_norm, discriminator.discriminator_norm):
        raise SparringError("virtual batch norm's reference batch has no labels: choose another norm or no labels")
    if label_channels and rules.joint_batch:
        raise SparringError("labeled images come in separate batches: no --joint-batch with --label-channels")

    G: nn.Module
    D: nn.Module
    G = generator.network(latent_dim + label_channels, width, data.channels, data.size, vbn_size)
    D = discriminator.network(width, data.channels + label_channels, data.size, vbn_size)
    if label_channels:
        classes = require_classes(data, "ganhacks --label-channels")
        G, D = (
            LabelEmbeddingInput(G, classes, label_channels),
            LabelAsChannels(discriminator.look(), D, classes, label_channels),
        )
    else:
        D = nn.Sequential(discriminator.look(), D)

    told: dict[str, Any] = {"latent_dim": latent_dim, "game": rules.pair(), "noise": noise}
    shown: dict[str, Any] = {"resample_noise": rules.resample_noise, "joint_batch": rules.joint_batch}
    system: GAN
    if replay:
        system = Replay(G, D, batch=batch, shape=data.shape, memory=replay, **told, **shown)
    elif discriminator.augment == "adaptive":
        system = ADA(G, D, AdaptiveAugment(), **told, **shown)
    elif label_channels:
        system = ConditionalGAN(G, D, classes=classes, **told)
    else:
        system = rules.gan(G, D, latent_dim=latent_dim, noise=noise)

    def start(dataset: "Dataset") -> None:
        fill_references(system, dataset, packing=discriminator.packing)

    return Recipe(
        system=system,
        optimizers=optimizers.for_gan(),
        batch=batch,
        rounds=20_000,
        ema_decay=ema_decay,
        prepare=start,
    )


def fill_references(system: "GAN", dataset: "Dataset", *, packing: int) -> None:
    """Virtual batch norm's reference batches: codes of the system's kind for G, real images (in packs) for D."""
    import torch

    from sparring.data.pixels import to_float
    from sparring.networks.norms import WithReferenceBatch
    from sparring.seeds import make_generator
    from sparring.system import NOISE_DISTRIBUTIONS

    g = make_generator("reference")
    for virtual in (m for m in system.G.modules() if isinstance(m, WithReferenceBatch)):
        virtual.reference.copy_(NOISE_DISTRIBUTIONS[system.noise_distribution](g, tuple(virtual.reference.shape)))
    for virtual in (m for m in system.D.modules() if isinstance(m, WithReferenceBatch)):
        chosen = torch.randint(len(dataset), (len(virtual.reference) * packing,), generator=g)
        virtual.reference.copy_(to_float(dataset.images[chosen]).view_as(virtual.reference))
