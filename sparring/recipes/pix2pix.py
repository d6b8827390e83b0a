"""pix2pix (Isola et al. 2017): paired image-to-image translation."""

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from sparring.errors import SparringError, require_size
from sparring.recipes.arguments import Batch, EmaDecay, Rate, Width
from sparring.recipes.cyclegan import Augmentation
from sparring.recipes.recipe import Recipe, recipe

if TYPE_CHECKING:
    from torch import nn

    from sparring.data.dataset import Dataset, Spec

Direction = Annotated[
    Literal["AtoB", "BtoA"], Field(description="AtoB: from domain a (of halves the left one) to b; BtoA: the reverse")
]
L1Weight = Annotated[float, Field(ge=0, allow_inf_nan=False, description="weight of the L1 loss")]
AdversarialWeight = Annotated[
    float, Field(ge=0, allow_inf_nan=False, description="weight of the generator's adversarial loss; 0: L1 alone")
]


@dataclass(frozen=True)
class NetworkOptions:
    """Architecture of generator and discriminator."""

    width: Width = 64
    depth: Annotated[
        int | None,
        Field(
            ge=2,
            le=8,
            description="layers of the U-Net's encoder, each of which halves the image (default: down to 1x1)",
        ),
    ] = None
    dropout: Annotated[
        float, Field(ge=0, lt=1, description="dropout in the first 3 decoder layers, also in translating: the noise")
    ] = 0.5
    skips: Annotated[
        bool, Field(description="skip connections from encoder to decoder; no: the encoder-decoder of figure 5")
    ] = True
    d_layers: Annotated[
        int | None,
        Field(
            ge=1,
            le=3,
            description="layers of the discriminator; receptive field: 3: 70 pixels, 2: 34, 1: 16 (default: 3 from 128 "
            "pixels on, 2 from 64 on, else 1)",
        ),
    ] = None

    def depth_for(self, size: int) -> int:
        """The given depth, or how often a side can be halved, at most 8 times."""
        halvings = (size & -size).bit_length() - 1
        return self.depth or min(8, halvings)

    def d_layers_for(self, size: int) -> int:
        """The given layers, or those whose patches are to images of this size about as 70 pixels to 256."""
        return self.d_layers or (3 if size >= 128 else 2 if size >= 64 else 1)

    def generator(self, data: "Spec") -> "nn.Module":
        """(B, C, H, W) -> the same shape."""
        from sparring.networks.pix2pix import UNet

        return UNet(data.channels, self.width, self.depth_for(data.size), dropout=self.dropout, skips=self.skips)

    def discriminator(self, data: "Spec") -> "nn.Module":
        """(B, 2C, H, W) -> (B, 1, h, w) scores of patches."""
        from sparring.networks.pix2pix import discriminator

        return discriminator(2 * data.channels, self.width, self.d_layers_for(data.size))


@recipe(
    paper="Isola et al. 2017, Image-to-Image Translation with Conditional Adversarial Networks, arXiv 1611.07004",
    size=256,
    classes=2,
    domains=True,
    paired=True,
)
def pix2pix(
    data: "Spec",
    *,
    architecture: NetworkOptions = NetworkOptions(),
    direction: Direction = "AtoB",
    lambda_l1: L1Weight = 100.0,
    lambda_adversarial: AdversarialWeight = 1.0,
    augmentation: Augmentation = Augmentation(),
    batch: Batch = 1,
    lr: Rate = 2e-4,
    ema_decay: EmaDecay = 0.999,
) -> Recipe:
    """A U-Net with L1 loss and a discriminator of pairs; data of two domains whose images belong together.

    The defaults are those of the paper, for 200 epochs of its 400 facades. Pairs: equal file names (`--data-a X
    --data-b Y`), halves of one image (`--data FOLDER --pairs halves`), or images and their edges (`--data PHOTOS
    --pairs edges`). Both images of a pair are cropped and flipped alike.

    Differences: normalization is by instance, which equals the paper's batch normalization at its batch of 1, and stays
    so at other batches. Below 256 pixels the U-Net has fewer layers and the discriminator smaller patches. Both domains
    have the same channels. Samples use averaged weights; the paper uses the live ones (`--ema-decay 0`).

    Measured (docs/results/pix2pix.md; seed 0, 3,000 rounds of 8 pairs at 32 pixels and a width of 16, 3.5 minutes): on
    held-out pairs of emoji in two styles L1 is 16 % lower than for copying the input.
    """
    import torch

    from sparring.systems.pix2pix import Pix2Pix

    require_two_domains(data, architecture)
    system = Pix2Pix(
        architecture.generator(data),
        architecture.discriminator(data),
        lambda_l1=lambda_l1,
        lambda_adversarial=lambda_adversarial,
        to=1 if direction == "AtoB" else 0,
        channels=data.channels,
        side_multiple=2 ** architecture.depth_for(data.size),
    )
    return Recipe(
        system=system,
        optimizers=dict.fromkeys(system.players, partial(torch.optim.Adam, lr=lr, betas=(0.5, 0.999))),
        batch=batch,
        rounds=80_000,
        ema_decay=ema_decay,
        streams=partial(pair_stream, augmentation=augmentation),
    )


def require_two_domains(data: "Spec", architecture: NetworkOptions) -> None:
    """Raises SparringError unless the data have two domains and a size that the networks support."""
    from sparring.networks.pix2pix import MIN_SIZE

    if len(data.classes) != 2:
        raise SparringError(
            "pix2pix translates between two domains of pairs: give --data-a X --data-b Y with equal file names, or "
            f"--data X --pairs halves or edges (the data have {len(data.classes) or 'no'} classes)"
        )
    multiple = 2 ** max(2, architecture.depth or 2)
    require_size("pix2pix", data.size, multiple_of=multiple, least=MIN_SIZE[architecture.d_layers_for(data.size)])


def pair_stream(dataset: "Dataset", seed: int, *, augmentation: Augmentation) -> "dict[str, Dataset]":
    """The stream "pairs": both images of a pair as one of 2C channels, so that they are augmented alike."""
    from sparring.data.transforms import ResizeAndCrop

    augment = ResizeAndCrop(augmentation.resize_factor, augmentation.hflip)
    return {"pairs": replace(dataset.pairs(), augment=augment)}
