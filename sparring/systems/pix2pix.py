"""Isola et al. 2017, "Image-to-Image Translation with Conditional Adversarial Networks" (pix2pix)."""

from __future__ import annotations

import math
from collections.abc import Generator

import torch
from torch import Tensor, nn

from sparring.errors import SparringError
from sparring.losses import cross_entropy
from sparring.system import Move, NextBatch, System


class Pix2Pix(System):
    """A generator from one domain to the other, and a discriminator of pairs; images are paired.

    G         (B, C, H, W) input -> the same shape in [-1, 1]. Its dropout, also active in evaluation mode, is the noise
              z of the paper (section 3.1); `translate` draws it from a fixed seed
    D         (B, 2C, H, W) input and, on top of it, target or output -> (B, 1, h, w) scores of patches
    lambda_l1  weight of the L1 loss (100)
    lambda_adversarial  weight of the adversarial loss of the generator (1; 0: L1 alone, as in the paper's table 1)
    to        the domain to translate to: 1 (b), or 0 (a)
    channels  C of an image
    side_multiple  the sides of an image are multiples of it
    The feed has one stream, "pairs": (B, 2C, H, W), each image of domain a with its image of domain b on top.
    """

    players = {"discriminator": ("D",), "generator": ("G",)}
    ema_networks = ("G",)

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        *,
        lambda_l1: float,
        lambda_adversarial: float = 1.0,
        to: int = 1,
        channels: int,
        side_multiple: int,
    ) -> None:
        super().__init__()
        self.G, self.D = G, D
        self.lambda_l1, self.lambda_adversarial = lambda_l1, lambda_adversarial
        self.translates_to = (to,)
        self.channels, self.side_multiple = channels, side_multiple

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        """Section 3.3: one step of D, one step of G, on the same output."""
        (to,) = self.translates_to
        pairs, _ = feed("pairs")
        a, b = pairs.chunk(2, 1)
        x, y = (a, b) if to == 1 else (b, a)
        fake = self.G(x)
        real_pair, fake_pair = torch.cat([x, y], 1), torch.cat([x, fake], 1)
        real, generated = self.D(torch.cat([real_pair, fake_pair.detach()])).chunk(2)
        loss = (cross_entropy(real, 1.0) + cross_entropy(generated, 0.0)) / 2  # eq. 1, halved (section 3.3)
        yield Move("discriminator", loss, real=real.mean(), fake=generated.mean())

        adversarial = cross_entropy(self.D(fake_pair), 1.0)  # section 3.3: maximize log D(x, G(x, z))
        l1 = (fake - y).abs().mean()  # eq. 3
        yield Move(
            "generator", self.lambda_adversarial * adversarial + self.lambda_l1 * l1, adversarial=adversarial, l1=l1
        )

    def translate(self, images: Tensor, to: int) -> Tensor:
        """(n, C, H, W) images in [-1, 1] of the domain `to` (0: a, 1: b) from images of the other, on the CPU.

        Equal inputs give equal outputs: the dropout is drawn from a fixed seed. Raises SparringError for the other
        direction, and for images of an unsupported shape.
        """
        if to not in self.translates_to:
            raise SparringError(f"this pix2pix translates to domain {self.translates_to[0]} only, not to {to}")
        multiple = self.side_multiple
        if images.ndim != 4 or images.shape[1] != self.channels or any(s < 1 or s % multiple for s in images.shape[2:]):
            raise SparringError(
                f"images have shape {tuple(images.shape)}: this pix2pix translates (n, {self.channels}, height, "
                f"width), both sides multiples of {multiple}"
            )
        return self.generate_images(self.G, images, size=50)

    def equilibrium(self) -> dict[str, float]:
        """The discriminator's loss when outputs and targets are indistinguishable."""
        return {"discriminator": math.log(2)}
