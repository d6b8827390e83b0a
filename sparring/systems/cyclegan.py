"""Zhu et al. 2017, "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks"."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import torch
from torch import Tensor, nn

from sparring.errors import SparringError
from sparring.losses import squared_error, to_float32
from sparring.system import Move, NextBatch, System

DOMAINS = 2


class CycleGAN(System):
    """Two translators between the domains a and b, and a judge of each domain; no image has a known partner.

    G, F      (B, C, H, W) -> the same shape in [-1, 1]: from a to b, and from b to a
    DA, DB    (B, C, H, W) -> (B, 1, h, w) scores of patches: an image of a, of b, or a translation?
    lambda_cycle  weight of the cycle loss: lambda (10)
    lambda_identity  weight of the identity loss, in units of `lambda_cycle` (.5 for paintings to photographs; 0: none)
    pool_size  translations that each judge's pool keeps (50; 0: the judges see new ones only)
    shape     (C, H, W) of an image
    The feed has two streams: "a" and "b". The networks treat each image by itself (instance norm), so batches that pass
    the same network pass it together.

    Pieces of a batch share the pools and see what the whole batch sees. Processes keep pools of their own: after a
    resume with several of them, all go on with that of the first.
    """

    players = {"translators": ("G", "F"), "discriminators": ("DA", "DB")}
    ema_networks = ("G", "F")

    def __init__(
        self,
        G: nn.Module,
        F: nn.Module,
        DA: nn.Module,
        DB: nn.Module,
        *,
        lambda_cycle: float,
        lambda_identity: float,
        pool_size: int,
        shape: tuple[int, int, int],
    ) -> None:
        super().__init__()
        self.G, self.F, self.DA, self.DB = G, F, DA, DB
        self.lambda_cycle, self.lambda_identity = lambda_cycle, lambda_identity
        self.pool_a, self.pool_b = Pool(pool_size, shape), Pool(pool_size, shape)

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        a, _ = feed("a")
        b, _ = feed("b")
        if self.lambda_identity:
            fake_b, same_b = self.G(torch.cat([a, b])).chunk(2)
            fake_a, same_a = self.F(torch.cat([b, a])).chunk(2)
        else:
            fake_b, fake_a = self.G(a), self.F(b)
        fools = deceit(self.DB(fake_b)) + deceit(self.DA(fake_a))  # eq. 1, with squares (section 4)
        cycle = distance(self.F(fake_b), a) + distance(self.G(fake_a), b)  # eq. 2
        loss, numbers = fools + self.lambda_cycle * cycle, {"adversarial": fools, "cycle": cycle}
        if self.lambda_identity:
            same = distance(same_b, b) + distance(same_a, a)  # section 5.2, L_identity
            loss, numbers = loss + self.lambda_cycle * self.lambda_identity * same, numbers | {"identity": same}
        yield Move("translators", loss, **numbers)

        shown_a = self.pool_a.exchanged(fake_a.detach(), self.chances(len(a)), self.chances(len(a)))
        shown_b = self.pool_b.exchanged(fake_b.detach(), self.chances(len(b)), self.chances(len(b)))
        loss_a = judgement(*self.DA(torch.cat([a, shown_a])).chunk(2))
        loss_b = judgement(*self.DB(torch.cat([b, shown_b])).chunk(2))
        yield Move("discriminators", loss_a + loss_b, a=loss_a, b=loss_b)

    def chances(self, n: int) -> Tensor:
        """(n,) numbers from U(0, 1), from the round's own draws; on the CPU, where the pools look at them."""
        return self.rng.rows(lambda g, rows: torch.rand(rows, generator=g), n)

    def translate(self, images: Tensor, to: int) -> Tensor:
        """(n, C, H, W) images in [-1, 1] of domain `to` (0: a, 1: b) from as many of the other; on the CPU.

        Raises SparringError for another domain, and for images that the networks cannot take.
        """
        if to not in range(DOMAINS):
            raise SparringError(f"domain {to} is none: CycleGAN translates to 0 (a) or 1 (b)")
        channels = self.pool_a.images.shape[1]
        if images.ndim != 4 or images.shape[1] != channels or any(side < 8 or side % 4 for side in images.shape[2:]):
            raise SparringError(
                f"images are of shape {tuple(images.shape)}: CycleGAN translates (n, {channels}, height, width), "
                "both sides multiples of 4 and at least 8"
            )
        return self.generate_images(self.G if to else self.F, images, size=50)

    def equilibrium(self) -> dict[str, float]:
        """The judges' loss when no translation can be told from a real image; the translators' depends on the data."""
        return {"discriminators": 0.5}


class Pool(nn.Module):
    """Shrivastava et al. 2017, section 2.3, as in the authors' code: past translations, shown again later.

    images  (history, C, H, W)
    used    how many of them there are: on the CPU wherever the images are, so that looking at it waits for nothing
    """

    images: Tensor
    used: Tensor

    def __init__(self, pool_size: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(pool_size, *shape))
        self.register_buffer("used", torch.zeros((), dtype=torch.int64))

    def _apply(self, *args: Any, **kwargs: Any) -> Pool:
        super()._apply(*args, **kwargs)
        self.used = self.used.cpu()
        return self

    def exchanged(self, fakes: Tensor, chance: Tensor, place: Tensor) -> Tensor:
        """(B, C, H, W): each fake, or with probability 1/2 an old one, whose place in the full pool it takes.

        While the pool fills, fakes are kept and shown. chance, place: (B,) from U(0, 1), on the CPU.
        """
        pool_size = len(self.images)
        if not pool_size:
            return fakes
        shown = []
        for fake, u, v in zip(fakes.to(self.images), chance.tolist(), place.tolist(), strict=True):
            if self.used < pool_size:
                self.images[int(self.used)] = fake
                self.used += 1
            elif u < 0.5:
                k = int(v * pool_size)
                fake, self.images[k] = self.images[k].clone(), fake
            shown.append(fake)
        return torch.stack(shown)


def deceit(scores: Tensor) -> Tensor:
    """Section 4: E (D(G(a)) - 1)^2, over images and patches; not halved."""
    return 2 * squared_error(scores, 1.0)


def judgement(real: Tensor, fake: Tensor) -> Tensor:
    """Section 4: 1/2 E (D(b) - 1)^2 + 1/2 E D(G(a))^2, over images and patches; the halves slow the judges down."""
    return squared_error(real, 1.0) + squared_error(fake, 0.0)


def distance(x: Tensor, y: Tensor) -> Tensor:
    """Eq. 2: mean of |x - y| over images and pixels in [-1, 1]."""
    return (to_float32(x) - y).abs().mean()
