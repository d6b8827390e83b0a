"""Shrivastava et al. 2017, section 2.3 (and ganhacks 8): experience replay for the discriminator."""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor, nn

from sparring.errors import SparringError
from sparring.losses import Game
from sparring.system import Move, NextBatch
from sparring.systems.gan import GAN


class Replay(GAN):
    """Every second fake in the discriminator's batch comes from earlier rounds, to prevent forgetting.

    G, D, latent_dim, game, noise, discriminator_steps, resample_noise, joint_batch  as in GAN
    batch   images per optimizer step, over all processes and microbatches
    shape   (C, H, W) of an image
    memory  number of rounds whose fakes are kept, those of the last discriminator move

    Row r of the pool holds every second fake of the last round whose index is r modulo `memory`, so a fake stays for
    `memory` rounds. The second, fourth, ... fake of a batch is replaced by the one in the same slot of a random row,
    unless that row is still empty. (The paper overwrites random entries of the pool, not the oldest.)

    Microbatches see the same images as the whole batch. Each process keeps its own pool: after a resume with several
    processes, all but the first start with an empty pool.
    """

    pool: Tensor
    filled: Tensor

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
        discriminator_steps: int = 1,
        resample_noise: bool = True,
        joint_batch: bool = False,
    ) -> None:
        super().__init__(
            G,
            D,
            latent_dim=latent_dim,
            game=game,
            noise=noise,
            discriminator_steps=discriminator_steps,
            resample_noise=resample_noise,
            joint_batch=joint_batch,
        )
        if batch < 2:
            raise SparringError(
                f"batch {batch} is too small for replay, which replaces every second fake: choose --batch 2 or more"
            )
        self.memory, self.slots = memory, batch // 2
        self.register_buffer("pool", torch.zeros(memory * self.slots, *shape))
        self.register_buffer("filled", torch.zeros(memory * self.slots, dtype=torch.bool))

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        """As `GAN.round`, with replayed fakes in the discriminator's batches."""
        for _ in range(self.discriminator_steps):
            x, _ = feed("train")
            with torch.set_grad_enabled(not self.resample_noise):
                fake = self.G(self.noise(len(x)))
            odd, slot = self.odd_slots(len(x))
            replayed = self.mix_in_replays(fake.detach(), odd, slot)
            real_score, fake_score = self.scores(x, replayed)
            loss = self.game.discriminator(real_score, fake_score, uniform=self.uniform)
            yield Move("discriminator", loss, real=real_score.mean(), fake=fake_score.mean())

        now = self.round_index % self.memory * self.slots + slot
        self.pool[now], self.filled[now] = fake.detach()[odd], True
        if self.resample_noise:
            fake = self.G(self.noise(len(x)))
        yield Move("generator", self.game.generator(self.D(fake)))

    def odd_slots(self, n: int) -> tuple[Tensor, Tensor]:
        """Mask (n,) of this shard's fakes with odd index in the whole batch, and their slots in a row of the pool."""
        shard = self.draws.share if self.draws else 0
        index = shard * n + torch.arange(n, device=self.device)
        odd = index % 2 == 1
        return odd, index[odd] // 2

    def mix_in_replays(self, fake: Tensor, odd: Tensor, slot: Tensor) -> Tensor:
        """(n, C, H, W): the fakes, with stored ones at the positions marked by `odd`."""
        row = (self.uniform(len(fake))[odd] * self.memory).long()
        index = row * self.slots + slot
        mixed = fake.clone()
        mixed[odd] = torch.where(self.filled[index, None, None, None], self.pool[index], mixed[odd])
        return mixed
