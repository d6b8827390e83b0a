"""CycleGAN (Zhu et al. 2017): unpaired image-to-image translation."""

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sparring.errors import SparringError, require_size
from sparring.recipes.arguments import Batch, EmaDecay, Rate, Width
from sparring.recipes.recipe import Recipe, recipe
from sparring.recipes.schedules import Curve, linear_decay, schedule

if TYPE_CHECKING:
    from torch import nn

    from sparring.data.dataset import Dataset, Spec
    from sparring.networks.cyclegan import ScaleMatch

CycleWeight = Annotated[float, Field(ge=0, allow_inf_nan=False, description="weight of the cycle-consistency loss")]
IdentityWeight = Annotated[
    float, Field(ge=0, allow_inf_nan=False, description="weight of the identity loss, relative to --lambda-cycle")
]
PoolSize = Annotated[int, Field(ge=0, description="translated images in the replay pool of each discriminator")]


@dataclass(frozen=True)
class NetworkOptions:
    """Architecture of translators and discriminators."""

    width: Width = 64
    blocks: Annotated[
        int | None, Field(ge=1, le=100, description="residual blocks (default: 6 below 256 pixels, else 9)")
    ] = None
    residual_output: Annotated[
        bool, Field(description="translators predict a residual of their input; not in the paper")
    ] = False
    match_scale: Annotated[
        bool,
        Field(description="match the foreground size of the other domain by resizing; needs --lambda-identity 0"),
    ] = False
    d_layers: Annotated[
        int, Field(ge=1, le=3, description="layers of each discriminator; receptive field: 3: 70 pixels, 2: 34, 1: 16")
    ] = 3

    def translator(self, data: "Spec", scale: "ScaleMatch") -> "nn.Module":
        """(B, C, H, W) -> the same shape; `scale` comes first with `match_scale`."""
        from sparring.networks.cyclegan import generator

        return generator(
            data.channels,
            self.width,
            self.blocks or (9 if data.size >= 256 else 6),
            residual_output=self.residual_output,
            match_scale=scale if self.match_scale else None,
        )

    def discriminator(self, data: "Spec") -> "nn.Module":
        """(B, C, H, W) -> (B, 1, h, w) scores of patches."""
        from sparring.networks.cyclegan import discriminator

        return discriminator(data.channels, self.width, self.d_layers)


@dataclass(frozen=True)
class Augmentation:
    """Augmentation of the training images."""

    resize_factor: Annotated[
        float, Field(ge=1, le=2, description="resize training images by this factor, then crop at random")
    ] = 286 / 256
    hflip: Annotated[bool, Field(description="flip training images horizontally with probability 1/2")] = True


@dataclass(frozen=True)
class LearningRate:
    """Learning rate of all players: constant, then linear decay; the authors' code decays per epoch."""

    lr: Rate = 2e-4
    lr_constant_rounds: Annotated[int, Field(ge=0, description="rounds with constant learning rate")] = 133_400
    lr_decay_rounds: Annotated[int, Field(ge=0, description="rounds of linear decay to 0 after those")] = 133_400

    @property
    def rounds(self) -> int:
        """Length of the training: constant and decaying rounds, at least 1."""
        return max(1, self.lr_constant_rounds + self.lr_decay_rounds)

    def decay(self) -> Curve:
        """The learning rate in each round; 0 is reached one round after the last."""
        first = self.lr_constant_rounds
        return linear_decay(self.lr, first=first, last=first + self.lr_decay_rounds + 1)


@recipe(
    paper="Zhu et al. 2017, Unpaired Image-to-Image Translation, arXiv 1703.10593", size=256, classes=2, domains=True
)
def cyclegan(
    data: "Spec",
    *,
    architecture: NetworkOptions = NetworkOptions(),
    lambda_cycle: CycleWeight = 10.0,
    lambda_identity: IdentityWeight = 0.5,
    pool_size: PoolSize = 50,
    augmentation: Augmentation = Augmentation(),
    batch: Batch = 1,
    learning_rate: LearningRate = LearningRate(),
    ema_decay: EmaDecay = 0.999,
) -> Recipe:
    """Two translators with cycle consistency and 70x70 patch discriminators; data of exactly two domains.

    The defaults are those of the paper: 200 epochs of horse2zebra's 1,334 zebras, half of them with decaying
    learning rate. The paper uses the identity loss for paintings to photographs only (`--lambda-identity 0` for all
    else), and the live weights (`--ema-decay 0`). The authors' code draws a random image of b for each image of a; here
    both domains have epochs.

    Measured (docs/results/cyclegan.md; seed 0, 5,000 rounds at a width of 16 with --residual-output and --match-scale,
    13 minutes; with an earlier resizing method and a longer EMA warm-up): on pairs of emoji
    in two styles L1 is 9 % and 16 % lower than for copying the input; SSIM is .386 and .388, for copying .343.
    """
    import torch

    from sparring.networks.cyclegan import ScaleMatch
    from sparring.systems.cyclegan import CycleGAN

    require_two_domains(data, architecture, lambda_identity)
    a_to_b, b_to_a = ScaleMatch(), ScaleMatch()

    def initialize(dataset: "Dataset") -> None:
        a, b = (dataset.of_class(y).images for y in range(2))
        a_to_b.fit(a, b)
        b_to_a.fit(b, a)

    system = CycleGAN(
        architecture.translator(data, a_to_b),
        architecture.translator(data, b_to_a),
        architecture.discriminator(data),
        architecture.discriminator(data),
        lambda_cycle=lambda_cycle,
        lambda_identity=lambda_identity,
        pool_size=pool_size,
        shape=data.shape,
    )
    return Recipe(
        system=system,
        optimizers=dict.fromkeys(system.players, partial(torch.optim.Adam, lr=learning_rate.lr, betas=(0.5, 0.999))),
        schedules=dict.fromkeys(system.players, schedule(lr=learning_rate.decay())),
        batch=batch,
        rounds=learning_rate.rounds,
        ema_decay=ema_decay,
        prepare=initialize if architecture.match_scale else None,
        streams=partial(domain_streams, augmentation=augmentation),
    )


def require_two_domains(data: "Spec", architecture: NetworkOptions, lambda_identity: float) -> None:
    """Raises SparringError unless the data are two domains of a size that the networks support."""
    from sparring.networks.cyclegan import MIN_SIZE

    if len(data.classes) != 2:
        raise SparringError(
            "cyclegan translates between two domains: give --data-a X --data-b Y, or --data with a folder of exactly "
            f"two class folders (it has {len(data.classes) or 'none'})"
        )
    if architecture.match_scale and lambda_identity:
        raise SparringError(
            f"--match-scale requires --lambda-identity 0 (given: {lambda_identity:g}), because it resizes every image"
        )
    require_size("cyclegan", data.size, multiple_of=4, least=MIN_SIZE[architecture.d_layers])


def domain_streams(dataset: "Dataset", seed: int, *, augmentation: Augmentation) -> "dict[str, Dataset]":
    """The streams "a" and "b": the augmented images of the two classes."""
    from sparring.data.transforms import ResizeAndCrop

    augment = ResizeAndCrop(augmentation.resize_factor, augmentation.hflip)
    return {name: replace(dataset.of_class(y), augment=augment, labels=None) for y, name in enumerate("ab")}
