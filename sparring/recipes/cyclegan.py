"""CycleGAN (Zhu et al. 2017): unpaired image-to-image translation."""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sparring.errors import SparringError, require_size
from sparring.recipes.arguments import Batch, EmaDecay, Rate, Width
from sparring.recipes.recipe import Recipe, recipe
from sparring.recipes.schedules import linear_decay, schedule

if TYPE_CHECKING:
    from sparring.data.dataset import Dataset, Spec


@recipe(
    paper="Zhu et al. 2017, Unpaired Image-to-Image Translation, arXiv 1703.10593", size=256, classes=2, domains=True
)
def cyclegan(
    data: "Spec",
    *,
    width: Width = 64,
    blocks: Annotated[
        int | None, Field(ge=1, le=100, description="residual blocks (default: 6 below 256 pixels, else 9)")
    ] = None,
    residual_output: Annotated[
        bool, Field(description="translators predict a residual of their input; not in the paper")
    ] = False,
    match_scale: Annotated[
        bool,
        Field(description="match the foreground size of the other domain by resizing; needs --lambda-identity 0"),
    ] = False,
    d_layers: Annotated[
        int, Field(ge=1, le=3, description="layers of each discriminator; receptive field: 3: 70 pixels, 2: 34, 1: 16")
    ] = 3,
    lambda_cycle: Annotated[
        float, Field(ge=0, allow_inf_nan=False, description="weight of the cycle-consistency loss")
    ] = 10.0,
    lambda_identity: Annotated[
        float,
        Field(ge=0, allow_inf_nan=False, description="weight of the identity loss, relative to --lambda-cycle"),
    ] = 0.5,
    pool_size: Annotated[
        int, Field(ge=0, description="translated images in the replay pool of each discriminator")
    ] = 50,
    resize_factor: Annotated[
        float, Field(ge=1, le=2, description="resize training images by this factor, then crop at random")
    ] = 286 / 256,
    hflip: Annotated[bool, Field(description="flip training images horizontally with probability 1/2")] = True,
    batch: Batch = 1,
    lr: Rate = 2e-4,
    lr_constant_rounds: Annotated[int, Field(ge=0, description="rounds with constant learning rate")] = 133_400,
    lr_decay_rounds: Annotated[int, Field(ge=0, description="rounds of linear decay to 0 after those")] = 133_400,
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

    from sparring.data.transforms import ResizeAndCrop
    from sparring.networks import cyclegan as networks
    from sparring.systems.cyclegan import CycleGAN

    if len(data.classes) != 2:
        raise SparringError(
            "cyclegan translates between two domains: give --data-a X --data-b Y, or --data with a folder of exactly "
            f"two class folders (it has {len(data.classes) or 'none'})"
        )
    if match_scale and lambda_identity:
        raise SparringError(
            f"--match-scale requires --lambda-identity 0 (given: {lambda_identity:g}), because it resizes every image"
        )
    require_size("cyclegan", data.size, multiple_of=4, least=networks.MIN_SIZE[d_layers])
    blocks = blocks or (9 if data.size >= 256 else 6)
    augment = ResizeAndCrop(resize_factor, hflip)

    a_to_b, b_to_a = networks.ScaleMatch(), networks.ScaleMatch()

    def initialize(dataset: "Dataset") -> None:
        a, b = (dataset.of_class(y).images for y in range(2))
        a_to_b.fit(a, b)
        b_to_a.fit(b, a)

    def streams(dataset: "Dataset", seed: int) -> "dict[str, Dataset]":
        return {name: replace(dataset.of_class(y), augment=augment, labels=None) for y, name in enumerate("ab")}

    adam = partial(torch.optim.Adam, lr=lr, betas=(0.5, 0.999))
    decay = linear_decay(lr, first=lr_constant_rounds, last=lr_constant_rounds + lr_decay_rounds + 1)
    system = CycleGAN(
        networks.generator(
            data.channels,
            width,
            blocks,
            residual_output=residual_output,
            match_scale=a_to_b if match_scale else None,
        ),
        networks.generator(
            data.channels,
            width,
            blocks,
            residual_output=residual_output,
            match_scale=b_to_a if match_scale else None,
        ),
        networks.discriminator(data.channels, width, d_layers),
        networks.discriminator(data.channels, width, d_layers),
        lambda_cycle=lambda_cycle,
        lambda_identity=lambda_identity,
        pool_size=pool_size,
        shape=data.shape,
    )
    return Recipe(
        system=system,
        optimizers=dict.fromkeys(system.players, adam),
        schedules=dict.fromkeys(system.players, schedule(lr=decay)),
        batch=batch,
        rounds=max(1, lr_constant_rounds + lr_decay_rounds),
        ema_decay=ema_decay,
        prepare=initialize if match_scale else None,
        streams=streams,
    )
