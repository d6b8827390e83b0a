"""Ganhacks 8, "stability tricks from RL": earlier copies of the players stand in for them for a few rounds."""

from __future__ import annotations

import copy
from collections.abc import Generator

import torch
from torch import nn

from sparring.errors import SparringError
from sparring.losses import Game
from sparring.system import Move, NextBatch
from sparring.systems.gan import GAN


class OldPlayers(GAN):
    """In the last rounds of each period both players meet an earlier copy of the other, to prevent forgetting.

    G, D, latent_dim, game, noise, discriminator_steps, resample_noise, joint_batch  as in GAN
    copies  number of earlier copies of G and of D that are kept, the latest ones
    every   rounds of a period; at its end G and D are copied
    rounds  the last rounds of a period: D learns from the images of an old G, and G from the scores of an old D

    "Keep checkpoints from the past of G and D and occasionally swap them out for a few iterations" is all that the
    source says. Here the old players do not learn, and the kept copies take turns. There are none in the first period,
    which is that of a GAN. With several processes each keeps the batch norm statistics of its own copies.

    Raises SparringError for a period that has no other rounds.
    """

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        *,
        latent_dim: int,
        game: Game,
        copies: int,
        every: int,
        rounds: int,
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
        if rounds >= every:
            raise SparringError(
                f"old players would play {rounds} of every {every} rounds: choose fewer, such as {max(1, every // 10)}"
            )
        self.every, self.rounds = every, rounds
        self.old_G = nn.ModuleList(copy.deepcopy(G) for _ in range(copies)).requires_grad_(requires_grad=False)
        self.old_D = nn.ModuleList(copy.deepcopy(D) for _ in range(copies)).requires_grad_(requires_grad=False)

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        """As `GAN.round`, with an old player in place of the opponent in the last rounds of a period."""
        G, D = self.opponents()
        for _ in range(self.discriminator_steps):
            x, _ = feed("train")
            with torch.set_grad_enabled(not self.resample_noise):
                fake = G(self.noise(len(x))).to(x)  # the referee makes only players return float32
            real_score, fake_score = self.scores(x, fake.detach())
            loss = self.game.discriminator(real_score, fake_score, uniform=self.uniform)
            yield Move("discriminator", loss, real=real_score.mean(), fake=fake_score.mean())

        if self.resample_noise or G is not self.G:
            fake = self.G(self.noise(len(x)))
        yield Move("generator", self.game.generator(D(fake).to(x)))

        if (self.round_index + 1) % self.every == 0:
            self.keep()

    def opponents(self) -> tuple[nn.Module, nn.Module]:
        """The G whose images D learns from in this round, and the D whose scores G learns from."""
        periods, age = divmod(self.round_index, self.every)
        kept, turn = min(periods, len(self.old_G)), age - (self.every - self.rounds)
        if turn < 0 or not kept:
            return self.G, self.D
        return self.old_G[turn % kept], self.old_D[turn % kept]

    def keep(self) -> None:
        """Copy G and D, in place of the oldest copies."""
        slot = self.round_index // self.every % len(self.old_G)
        self.old_G[slot].load_state_dict(self.G.state_dict())
        self.old_D[slot].load_state_dict(self.D.state_dict())
