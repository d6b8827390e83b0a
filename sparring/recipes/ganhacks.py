"""GAN tricks, one flag each: the 17 of ganhacks and 5 of Chollet (docs/tricks.md)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from sparring.errors import SparringError
from sparring.recipes.arguments import Batch, EmaDecay, GANOptions, Latent, Noise, Width
from sparring.recipes.recipe import Recipe, recipe, require_classes

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from sparring.data.dataset import Dataset, Spec
    from sparring.referee import MakeOptimizer
    from sparring.systems.noise_model import NoiseModel

Norm = Literal["batch", "instance", "layer", "virtual", "none"]
Activation = Literal["relu", "leaky-relu"]
OptimizerName = Literal["adam", "sgd", "rmsprop"]
Probability = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True)
class Optimizers:
    """Optimizer and learning rate of each player."""

    discriminator_optimizer: Annotated[OptimizerName, Field(description="D's optimizer (ganhacks 9: sgd)")] = "adam"
    discriminator_lr: Annotated[float, Field(gt=0, le=1, description="D's learning rate (for sgd rather .01)")] = 2e-4
    generator_optimizer: Annotated[OptimizerName, Field(description="G's optimizer (ganhacks 9: adam)")] = "adam"
    generator_lr: Annotated[float, Field(gt=0, le=1, description="G's learning rate")] = 1e-3
    beta1: Annotated[float, Field(ge=0, lt=1, description="beta 1 of Adam; sgd and rmsprop have no momentum")] = 0.5

    def optimizers(self) -> "dict[str, MakeOptimizer]":
        """Player -> function that makes its optimizer."""
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
    """Architecture of the generator."""

    upsampling: Annotated[
        Literal["transposed", "pixel-shuffle", "bilinear", "nearest"],
        Field(description="upsampling layer in G (ganhacks 5, Chollet 5)"),
    ] = "transposed"
    generator_norm: Annotated[Norm, Field(description="norm after each of G's layers but the last (ganhacks 4)")] = (
        "batch"
    )
    generator_activation: Annotated[Activation, Field(description="activation in G (ganhacks 5: leaky-relu)")] = (
        "leaky-relu"
    )
    output: Annotated[
        Literal["tanh", "sigmoid"], Field(description="output of G; sigmoid is rescaled to [-1, 1] (ganhacks 1: tanh)")
    ] = "tanh"
    layer_noise: Annotated[
        float, Field(ge=0, le=10, description="standard deviation of the noise in G's layers (ganhacks 13)")
    ] = 0.0
    generator_dropout: Annotated[Probability, Field(description="dropout probability in G (ganhacks 17: .5)")] = 0.0
    dropout_at_sampling: Annotated[bool, Field(description="keep that dropout active in sampling (ganhacks 17)")] = True

    def network(self, latent_dim: int, width: int, data: "Spec", vbn_size: int) -> "nn.Module":
        """(B, latent_dim) -> (B, C, H, W)."""
        from sparring.networks.ganhacks import generator

        return generator(
            latent_dim,
            width,
            data.channels,
            data.size,
            upsampling=self.upsampling,
            norm=self.generator_norm,
            activation=self.generator_activation,
            output=self.output,
            noise=self.layer_noise,
            dropout=self.generator_dropout,
            active_in_eval=self.dropout_at_sampling,
            vbn_size=vbn_size,
        )


@dataclass(frozen=True)
class DiscriminatorParts:
    """Architecture of the discriminator, and the preprocessing of its input."""

    downsampling: Annotated[
        Literal["strided", "average-pool", "bilinear", "max-pool"],
        Field(description="downsampling layer in D (ganhacks 5: strided or average-pool)"),
    ] = "strided"
    discriminator_norm: Annotated[Norm, Field(description="norm after each of D's layers but the first and last")] = (
        "batch"
    )
    discriminator_activation: Annotated[Activation, Field(description="activation in D (ganhacks 5, Chollet 4)")] = (
        "leaky-relu"
    )
    discriminator_dropout: Annotated[
        Probability, Field(description="dropout probability before D's last layer (Chollet 3: .4)")
    ] = 0.0
    unit_range: Annotated[bool, Field(description="pixels in [0, 1] in D's input (ganhacks 1: [-1, 1])")] = False
    instance_noise: Annotated[
        float, Field(ge=0, le=10, description="initial standard deviation of the noise on D's input (ganhacks 13)")
    ] = 0.0
    instance_noise_rounds: Annotated[int, Field(ge=1, description="rounds over which that noise decays to 0")] = 5_000
    minibatch: Annotated[
        Literal["none", "discrimination", "std"],
        Field(description="minibatch statistics in D (ganhacks 15)"),
    ] = "none"
    mbstd_group: Annotated[int, Field(ge=2, description="group size of --minibatch std")] = 4
    packing: Annotated[int, Field(ge=1, le=16, description="images that D scores together (PacGAN); 1: one")] = 1
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
        Field(description="augmentation of D's input: a policy of DiffAugment, or ADA (adaptive)"),
    ] = "none"

    def preprocess(self) -> "nn.Sequential":
        """(B, C, H, W) -> (B, C, H, W): augmentation and instance noise on D's input."""
        from torch import nn

        from sparring.networks.diffaug import DiffAugment
        from sparring.networks.noise import InstanceNoise

        steps: list[nn.Module] = [] if self.augment in ("none", "adaptive") else [DiffAugment(self.augment)]
        steps += [InstanceNoise(self.instance_noise, self.instance_noise_rounds)] if self.instance_noise else []
        return nn.Sequential(*steps)

    def network(self, width: int, data: "Spec", label_channels: int, vbn_size: int) -> "nn.Module":
        """(B, C + label channels, H, W) -> (B / packing, 1)."""
        from sparring.networks.ganhacks import discriminator
        from sparring.networks.minibatch import PacDiscriminator

        network = discriminator(
            width,
            (data.channels + label_channels) * self.packing,
            data.size,
            downsampling=self.downsampling,
            norm=self.discriminator_norm,
            activation=self.discriminator_activation,
            unit_range=self.unit_range,
            dropout=self.discriminator_dropout,
            minibatch=self.minibatch,
            mbstd_group=self.mbstd_group,
            vbn_size=vbn_size,
        )
        return network if self.packing == 1 else PacDiscriminator(network, self.packing)


@dataclass(frozen=True)
class OldPlayers:
    """Earlier copies of the players as opponents."""

    old_players: Annotated[
        int, Field(ge=0, le=50, description="earlier copies of G and D kept as opponents (ganhacks 8); 0: none")
    ] = 0
    old_players_every: Annotated[int, Field(ge=2, description="rounds from one such copy to the next")] = 200
    old_players_rounds: Annotated[
        int, Field(ge=1, description="the last rounds before each copy are played against the old players")
    ] = 20


@recipe(paper="Chintala et al. 2016, How to Train a GAN (ganhacks); Chollet 2017, section 8.5.2", size=28)
def ganhacks(
    data: "Spec",
    *,
    latent_dim: Latent = 100,
    noise: Noise = "normal",
    width: Width = 64,
    batch: Batch = 64,
    generator: GeneratorParts = GeneratorParts(),
    discriminator: DiscriminatorParts = DiscriminatorParts(),
    optimizers: Optimizers = Optimizers(),
    replay: Annotated[
        int, Field(ge=0, description="size of the replay memory of fakes, in rounds (ganhacks 8); 0: none")
    ] = 0,
    old: OldPlayers = OldPlayers(),
    label_channels: Annotated[
        int, Field(ge=0, description="class-conditional, with so many label channels (ganhacks 16); 0: unconditional")
    ] = 0,
    vbn_size: Annotated[int, Field(ge=2, description="size of virtual batch norm's reference batch")] = 64,
    ema_decay: EmaDecay = 0.999,
    options: GANOptions = GANOptions(label_smoothing=0.1, resample_noise=False),
) -> Recipe:
    """A DCGAN with GAN tricks, one flag each; 28, 32 or 64 pixels.

    The defaults are what both lists recommend. To see the effect of a trick, change one flag and compare two runs;
    docs/tricks.md lists the claims. Replay, old players, labels and adaptive augmentation cannot be combined. With
    labels the generator's step always draws new noise.

    Measured (docs/results/mnist.md; seed 0, 19 minutes on one CPU thread of a busy machine):
    FD-lenet-mnist@10000 131 on MNIST after 6,000 rounds, where real images score 3.1.
    """
    require_compatible(generator, discriminator, options, replay=replay, old=old, label_channels=label_channels)
    system = make_system(
        generator.network(latent_dim + label_channels, width, data, vbn_size),
        discriminator.network(width, data, label_channels, vbn_size),
        discriminator,
        options,
        data=data,
        latent_dim=latent_dim,
        noise=noise,
        batch=batch,
        replay=replay,
        old=old,
        label_channels=label_channels,
    )
    return Recipe(
        system=system,
        optimizers=optimizers.optimizers(),
        batch=batch,
        rounds=20_000,
        ema_decay=ema_decay,
        prepare=partial(set_reference_batches, system, packing=discriminator.packing),
    )


def require_compatible(
    generator: GeneratorParts,
    discriminator: DiscriminatorParts,
    options: GANOptions,
    *,
    replay: int,
    old: OldPlayers,
    label_channels: int,
) -> None:
    """Raises SparringError for tricks that cannot be combined."""
    exclusive = {
        "--replay": replay,
        "--old-players": old.old_players,
        "--label-channels": label_channels,
        "--augment adaptive": discriminator.augment == "adaptive",
    }
    if sum(map(bool, exclusive.values())) > 1:
        raise SparringError(f"{' and '.join(flag for flag in exclusive if exclusive[flag])} cannot be combined")
    if label_channels and "virtual" in (generator.generator_norm, discriminator.discriminator_norm):
        raise SparringError("virtual batch norm cannot be combined with --label-channels: choose another norm")
    if label_channels and options.joint_batch:
        raise SparringError("--joint-batch cannot be combined with --label-channels")


def make_system(
    G: "nn.Module",
    D: "nn.Module",
    discriminator: DiscriminatorParts,
    options: GANOptions,
    *,
    data: "Spec",
    latent_dim: int,
    noise: str,
    batch: int,
    replay: int,
    old: OldPlayers,
    label_channels: int,
) -> "NoiseModel":
    """The GAN of these networks: conditional, with a replay memory, old players or adaptive augmentation, or plain."""
    from torch import nn

    from sparring.networks.diffaug import AdaptiveAugment
    from sparring.networks.labels import LabelAsChannels, LabelEmbeddingInput
    from sparring.systems import old_players
    from sparring.systems.ada import ADA
    from sparring.systems.cgan import ConditionalGAN
    from sparring.systems.replay import Replay

    preprocess = discriminator.preprocess()
    if label_channels:
        classes = require_classes(data, "ganhacks --label-channels")
        return ConditionalGAN(
            LabelEmbeddingInput(G, classes, label_channels),
            LabelAsChannels(preprocess, D, classes, label_channels),
            classes=classes,
            latent_dim=latent_dim,
            game=options.make_game(),
            noise=noise,
            discriminator_steps=options.discriminator_steps,
        )
    D = nn.Sequential(preprocess, D)
    kwargs = options.gan_kwargs(latent_dim=latent_dim, noise=noise)
    if replay:
        return Replay(G, D, batch=batch, shape=data.shape, memory=replay, **kwargs)
    if old.old_players:
        every, rounds = old.old_players_every, old.old_players_rounds
        return old_players.OldPlayers(G, D, copies=old.old_players, every=every, rounds=rounds, **kwargs)
    if discriminator.augment == "adaptive":
        return ADA(G, D, AdaptiveAugment(), **kwargs)
    return options.make_gan(G, D, latent_dim=latent_dim, noise=noise)


def set_reference_batches(system: "NoiseModel", dataset: "Dataset", *, packing: int) -> None:
    """Set virtual batch norm's reference batches: latent codes for G, real images (`packing` per pack) for D."""
    import torch

    from sparring.data.pixels import to_float
    from sparring.networks.norms import WithReferenceBatch
    from sparring.noise import draw_noise
    from sparring.seeds import make_generator

    g = make_generator("reference")
    for norm in (m for m in system.G.modules() if isinstance(m, WithReferenceBatch)):
        norm.reference.copy_(draw_noise(system.noise_distribution, g, tuple(norm.reference.shape)))
    for norm in (m for m in system.get_submodule("D").modules() if isinstance(m, WithReferenceBatch)):
        chosen = torch.randint(len(dataset), (len(norm.reference) * packing,), generator=g)
        norm.reference.copy_(to_float(dataset.images_at(chosen)).view_as(norm.reference))
