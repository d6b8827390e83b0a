"""Shrivastava et al. 2017, section 2.3 (and ganhacks 8): a discriminator that is shown old fakes too."""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor, nn

from sparring.errors import SparringError
from sparring.losses import Game
from sparring.system import Move, NextBatch
from sparring.systems.gan import GAN


class Replay(GAN):
    """Every second fake that the discriminator sees is an old one, so that it does not forget what it has unmasked.

    G, D, latent_dim, game, noise, resample_noise, joint_batch  as in GAN
    batch   images per optimizer step, over all processes and pieces
    shape   (C, H, W) of an image
    memory  rounds whose fakes are kept

    Row r of the pool holds every second fake of the last round with that number modulo `memory`, so a fake stays for
    `memory` rounds. The second, fourth, ... fake of a batch gives way to the one of the same place in a row drawn anew
    for each; while that row is still empty it stays. (The paper replaces random ones in the pool, not the oldest.)

    Pieces of a batch see what the whole batch sees. Processes keep what is theirs: after a resume with several of
    them, all but the first start with an empty pool.
    """

    pool: Tensor
    kept: Tensor

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        *,
        latent_dim: int,
        game: Game,
        batch: int,
        shape: tuple[int, int, int],
        memory: int,
        noise: str = "normal",
        resample_noise: bool = True,
        joint_batch: bool = False,
    ) -> None:
        super().__init__(
            G, D, latent_dim=latent_dim, game=game, noise=noise, resample_noise=resample_noise, joint_batch=joint_batch
        )
        if batch < 2:
            raise SparringError(f"batch {batch} has no second fake to put an old one in its place: raise --batch")
        self.memory, self.places = memory, batch // 2
        self.register_buffer("pool", torch.zeros(memory * self.places, *shape))
        self.register_buffer("kept", torch.zeros(memory * self.places, dtype=torch.bool))

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        x, _ = feed("train")
        with torch.set_grad_enabled(not self.resample_noise):
            fake = self.G(self.noise(len(x)))
        second, place = self.every_second(len(x))
        shown = self.with_old(fake.detach(), second, place)
        real_score, fake_score = self.scores(x, shown)
        loss = self.game.discriminator(real_score, fake_score, uniform=self.uniform)
        yield Move("discriminator", loss, real=real_score.mean(), fake=fake_score.mean())

        now = self.round_index % self.memory * self.places + place
        self.pool[now], self.kept[now] = fake.detach()[second].to(self.pool), True
        if self.resample_noise:
            fake = self.G(self.noise(len(x)))
        yield Move("generator", self.game.generator(self.D(fake)))

    def every_second(self, n: int) -> tuple[Tensor, Tensor]:
        """Of this share's n fakes the second, fourth, ... of the whole batch, and their places in a row of the pool."""
        share = self.draws.share if self.draws else 0
        whole = share * n + torch.arange(n, device=self.device)
        second = whole % 2 == 1
        return second, whole[second] // 2

    def with_old(self, fake: Tensor, second: Tensor, place: Tensor) -> Tensor:
        """(n, C, H, W): these fakes, old ones in the places marked by `second`."""
        row = (self.uniform(len(fake))[second] * self.memory).long()
        index = row * self.places + place
        shown = fake.to(self.pool, copy=True)
        shown[second] = torch.where(self.kept[index, None, None, None], self.pool[index], shown[second])
        return shown
