"""The game can be won, in seconds: training ends where theory says it must."""

from functools import partial

import pytest
import torch
from helpers import two_tone
from torch import nn
from toys import SHAPE, adam, referee

from sparring.data.dataset import Dataset
from sparring.losses import game
from sparring.networks import mlp
from sparring.system import Move, System
from sparring.systems.r1 import R1GAN


def test_both_kinds_of_images_are_made_in_equal_parts():
    """Non-saturating game with R1 (Mescheder et al. 2018), which converges where the unpenalized game drops a mode."""
    torch.manual_seed(0)
    G = mlp.generator(5, [64, 64], SHAPE, activation=nn.ReLU)
    D = mlp.discriminator(SHAPE, [64, 64], activation=partial(nn.LeakyReLU, 0.2))
    calm = partial(torch.optim.Adam, lr=1e-3, betas=(0.0, 0.99))
    judge = referee(
        R1GAN(G, D, latent_dim=5, game=game("non-saturating")),
        two_tone(),
        batch=64,
        seed=0,
        ema_decay=0.99,
        optimizers={"discriminator": calm, "generator": calm},
    )
    for _ in range(400):
        told = judge.reduce_logs(judge.play())
    tone = judge.ema_system.sample(1000).mean((1, 2, 3))
    dark, light = float((tone < -0.4).float().mean()), float((tone > 0.4).float().mean())
    assert dark == pytest.approx(0.5, abs=0.15)
    assert light == pytest.approx(0.5, abs=0.15)
    assert dark + light > 0.8
    assert told[1]["loss"] == pytest.approx(0.693, abs=0.15)  # log 2: D cannot tell


class Judge(System):
    """Only a discriminator: the inner problem of Goodfellow et al. 2014, proposition 1."""

    players = {"discriminator": ("D",)}

    def __init__(self, D):
        super().__init__()
        self.D = D

    def round(self, feed):
        x, _ = feed("train")
        y = -x  # the "generator's" images: the data in negative
        yield Move("discriminator", game("non-saturating").discriminator(self.D(x), self.D(y)))


def test_the_best_discriminator_is_the_ratio_of_the_densities():
    """Four possible images, drawn from p; fakes from q = p of the negative: D must end at log p / q on each."""
    level = torch.tensor([0, 85, 170, 255], dtype=torch.uint8)
    counts = torch.tensor([400, 100, 200, 300])
    pixels = level.repeat_interleave(counts).view(-1, 1, 1, 1)
    D = nn.Sequential(nn.Flatten(), nn.Linear(1, 64), nn.Tanh(), nn.Linear(64, 1))
    torch.manual_seed(0)
    judge = referee(Judge(D), Dataset("levels", pixels), batch=500, optimizers={"discriminator": adam(1e-2)})
    for _ in range(600):
        judge.play()
    scores = D(level.float().view(4, 1) / 127.5 - 1).flatten()
    p = counts / counts.sum()
    torch.testing.assert_close(scores.detach(), (p / p.flip(0)).log(), atol=0.08, rtol=0)
