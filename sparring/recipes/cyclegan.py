"""CycleGAN (Zhu et al. 2017): translations between two domains of images, learned without pairs."""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from sparring.errors import SparringError
from sparring.recipes.arguments import Batch, EmaDecay, Rate, Width
from sparring.recipes.recipe import Recipe, recipe

if TYPE_CHECKING:
    from sparring.data.dataset import Dataset, Spec
    from sparring.referee import Schedule


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
        bool, Field(description="a translator paints on top of its image, so that it starts with it; not the paper's")
    ] = False,
    match_scale: Annotated[
        bool,
        Field(
            description="resize first, to what fills the frame as in the other domain; with --lambda-identity 0 only"
        ),
    ] = False,
    d_layers: Annotated[
        int,
        Field(
            ge=1,
            le=3,
            description="of each discriminator: one score sees 70 pixels across with 3, 34 with 2, 16 with 1",
        ),
    ] = 3,
    lambda_cycle: Annotated[
        float, Field(ge=0, allow_inf_nan=False, description="weight of the way there and back")
    ] = 10.0,
    lambda_identity: Annotated[
        float,
        Field(ge=0, allow_inf_nan=False, description="times `lambda_cycle`: weight of leaving an image of the target"),
    ] = 0.5,
    pool_size: Annotated[int, Field(ge=0, description="translations in each discriminator's image pool")] = 50,
    resize_factor: Annotated[
        float, Field(ge=1, le=2, description="images are resized to so many times their side, then cut at random")
    ] = 286 / 256,
    hflip: Annotated[bool, Field(description="every second image is mirrored")] = True,
    batch: Batch = 1,
    lr: Rate = 2e-4,
    lr_constant_rounds: Annotated[int, Field(ge=0, description="rounds at the full rate")] = 133_400,
    lr_decay_rounds: Annotated[
        int, Field(ge=0, description="rounds after these, in which it falls to 0 in a line")
    ] = 133_400,
    ema_decay: EmaDecay = 0.999,
) -> Recipe:
    """Two translators that lead back to where one started, and judges of 70x70 patches; data of exactly two domains.

    The defaults are those of the paper: 200 epochs of horse2zebra's 1,334 zebras, half of them with a falling rate.
    The paper has the identity loss for paintings to photographs only (`--lambda-identity 0` for all else), and shows
    the live weights (`--ema-decay 0`). The authors' code draws an image of b at random for each of a; here both domains
    have epochs.

    Measured (docs/results/cyclegan.md; seed 0, 5,000 rounds at a width of 16 with --residual-output and --match-scale,
    13 minutes; before images were enlarged as Pillow does, and with a longer warm-up of the average): on pairs of emoji
    in two styles L1 is 9 % and 16 % below copying's; SSIM is .386 and .388 where copying has .343.
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
            f"--match-scale needs --lambda-identity 0 (here {lambda_identity:g}): it resizes every image"
        )
    networks.require_side(data.size, d_layers)
    blocks = blocks or (9 if data.size >= 256 else 6)
    augment = ResizeAndCrop(resize_factor, hflip)

    there, back = networks.ScaleMatch(), networks.ScaleMatch()

    def start(dataset: "Dataset") -> None:
        a, b = (dataset.of_class(y).images for y in range(2))
        there.fit(a, b)
        back.fit(b, a)

    def streams(dataset: "Dataset", seed: int) -> "dict[str, Dataset]":
        return {name: replace(dataset.of_class(y), augment=augment, labels=None) for y, name in enumerate("ab")}

    adam = partial(torch.optim.Adam, lr=lr, betas=(0.5, 0.999))
    falls = falling_to_zero(lr, lr_constant_rounds, lr_decay_rounds)
    return Recipe(
        system=CycleGAN(
            networks.generator(
                data.channels,
                width,
                blocks,
                residual_output=residual_output,
                match_scale=there if match_scale else None,
            ),
            networks.generator(
                data.channels, width, blocks, residual_output=residual_output, match_scale=back if match_scale else None
            ),
            networks.discriminator(data.channels, width, d_layers),
            networks.discriminator(data.channels, width, d_layers),
            lambda_cycle=lambda_cycle,
            lambda_identity=lambda_identity,
            pool_size=pool_size,
            shape=data.shape,
        ),
        optimizers={"translators": adam, "discriminators": adam},
        schedules={"translators": falls, "discriminators": falls},
        batch=batch,
        rounds=max(1, lr_constant_rounds + lr_decay_rounds),
        ema_decay=ema_decay,
        prepare=start if match_scale else None,
        streams=streams,
    )


def falling_to_zero(lr: float, lr_constant_rounds: int, lr_decay_rounds: int) -> "Schedule":
    """lr for `lr_constant_rounds` rounds, then linear decay over `lr_decay_rounds`, reaching 0 one round later.

    The authors' code does so by epochs: 1 - max(0, epoch + 1 - 100) / 101.
    """

    def settings(round_number: int) -> dict[str, Any]:
        return {"lr": lr * max(0.0, 1 - max(0, round_number - lr_constant_rounds) / (lr_decay_rounds + 1))}

    return settings
