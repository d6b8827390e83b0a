"""Zhu et al. 2017, "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks"."""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor, nn

from sparring.errors import SparringError
from sparring.losses import squared_error
from sparring.system import Move, NextBatch, System

DOMAINS = 2


class CycleGAN(System):
    """Two translators between the domains a and b, and a discriminator per domain; images are unpaired.

    G, F      (B, C, H, W) -> the same shape in [-1, 1]: from a to b, and from b to a
    DA, DB    (B, C, H, W) -> (B, 1, h, w) scores of patches: real image of the domain, or translation?
    lambda_cycle  weight of the cycle-consistency loss (10)
    lambda_identity  weight of the identity loss, in units of `lambda_cycle` (.5 for paintings to photographs; 0: none)
    pool_size  past translations kept per discriminator (50; 0: discriminators see only new ones)
    shape     (C, H, W) of an image
    The feed has two streams: "a" and "b". The networks process each image independently (instance norm), so batches for
    the same network are concatenated.

    Microbatches share the pools and see the same images as the whole batch. Each process has its own pools: after a
    resume with several processes, all continue with those of the first.
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
        """Section 3.3: the full objective, first for both translators, then for both discriminators."""
        a, _ = feed("a")
        b, _ = feed("b")
        if self.lambda_identity:
            fake_b, same_b = self.G(torch.cat([a, b])).chunk(2)
            fake_a, same_a = self.F(torch.cat([b, a])).chunk(2)
        else:
            fake_b, fake_a = self.G(a), self.F(b)
        adversarial = generator_loss(self.DB(fake_b)) + generator_loss(self.DA(fake_a))  # eq. 1, squared (section 4)
        cycle = l1(self.F(fake_b), a) + l1(self.G(fake_a), b)  # eq. 2
        loss, terms = adversarial + self.lambda_cycle * cycle, {"adversarial": adversarial, "cycle": cycle}
        if self.lambda_identity:
            identity = l1(same_b, b) + l1(same_a, a)  # section 5.2, L_identity
            loss, terms = loss + self.lambda_cycle * self.lambda_identity * identity, terms | {"identity": identity}
        yield Move("translators", loss, **terms)

        replayed_a = self.pool_a.query(fake_a.detach(), self.uniform_cpu(len(a)), self.uniform_cpu(len(a)))
        replayed_b = self.pool_b.query(fake_b.detach(), self.uniform_cpu(len(b)), self.uniform_cpu(len(b)))
        loss_a = discriminator_loss(*self.DA(torch.cat([a, replayed_a])).chunk(2))
        loss_b = discriminator_loss(*self.DB(torch.cat([b, replayed_b])).chunk(2))
        yield Move("discriminators", loss_a + loss_b, a=loss_a, b=loss_b)

    def uniform_cpu(self, n: int) -> Tensor:
        """(n,) numbers from U(0, 1), from the round's random stream, on the CPU, where the pools read them."""
        return self.rng.rows(lambda g, rows: torch.rand(rows, generator=g), n)

    def translate(self, images: Tensor, to: int) -> Tensor:
        """(n, C, H, W) images in [-1, 1] of domain `to` (0: a, 1: b) from images of the other, on the CPU.

        Raises SparringError for an unknown domain and for images of an unsupported shape.
        """
        if to not in range(DOMAINS):
            raise SparringError(f"domain {to} is out of range: CycleGAN translates to 0 (a) or 1 (b)")
        channels = self.pool_a.images.shape[1]
        if images.ndim != 4 or images.shape[1] != channels or any(side < 8 or side % 4 for side in images.shape[2:]):
            raise SparringError(
                f"images have shape {tuple(images.shape)}: CycleGAN translates (n, {channels}, height, width), "
                "both sides multiples of 4 and at least 8"
            )
        return self.generate_images(self.G if to else self.F, images, size=50)

    def equilibrium(self) -> dict[str, float]:
        """The discriminators' loss when translations and real images are indistinguishable."""
        return {"discriminators": 0.5}


class Pool(nn.Module):
    """Shrivastava et al. 2017, section 2.3, as in the authors' code: a buffer of past translations.

    images  (pool_size, C, H, W)
    used    number of images in the buffer
    """

    images: Tensor

    def __init__(self, pool_size: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(pool_size, *shape))
        self.used = 0

    def get_extra_state(self) -> Tensor:
        """`used`, as a tensor like all state."""
        return torch.tensor(self.used)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore `used`."""
        self.used = int(state)

    def query(self, fakes: Tensor, chance: Tensor, slot: Tensor) -> Tensor:
        """(B, C, H, W): each fake, or with probability 1/2 a stored one, which the fake replaces in the pool.

        While the pool fills up, fakes are stored and returned. chance, slot: (B,) from U(0, 1), on the CPU.
        """
        pool_size = len(self.images)
        if not pool_size:
            return fakes
        replayed = []
        for fake, u, v in zip(fakes, chance.tolist(), slot.tolist(), strict=True):
            if self.used < pool_size:
                self.images[self.used] = fake
                self.used += 1
            elif u < 0.5:
                k = int(v * pool_size)
                fake, self.images[k] = self.images[k].clone(), fake
            replayed.append(fake)
        return torch.stack(replayed)


def generator_loss(scores: Tensor) -> Tensor:
    """Section 4: E (D(G(a)) - 1)^2, over images and patches; not halved."""
    return 2 * squared_error(scores, 1.0)


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Section 4: 1/2 E (D(b) - 1)^2 + 1/2 E D(G(a))^2, over images and patches; the factors 1/2 slow D down."""
    return squared_error(real, 1.0) + squared_error(fake, 0.0)


def l1(x: Tensor, y: Tensor) -> Tensor:
    """Eq. 2: mean of |x - y| over images and pixels in [-1, 1]."""
    return (x - y).abs().mean()
