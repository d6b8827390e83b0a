"""Small systems and data for tests."""

from functools import partial

import torch
from torch import nn

from sparring.data.dataset import Dataset
from sparring.losses import game
from sparring.networks import mlp
from sparring.referee import Referee
from sparring.seeds import make_generator
from sparring.systems.gan import GAN

SHAPE = (1, 4, 4)


def images(count: int = 64, shape: tuple[int, int, int] = SHAPE) -> Dataset:
    pixels = torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=make_generator("toy"))
    return Dataset("toy", pixels)


def gan(kind: type[GAN] = GAN, *, dropout: float = 0.0, **options) -> GAN:
    torch.manual_seed(11)
    G = mlp.generator(5, [16], SHAPE, activation=nn.ReLU)
    D = mlp.discriminator(SHAPE, [16], activation=partial(nn.LeakyReLU, 0.2), dropout=dropout)
    return kind(G, D, latent_dim=5, game=game("non-saturating"), **options)


def adam(lr: float = 1e-3):
    return partial(torch.optim.Adam, lr=lr, betas=(0.5, 0.999))


def referee(system=None, data=None, *, batch: int = 16, precision: str = "fp32", **options) -> Referee:
    system = gan() if system is None else system
    optimizers = options.pop("optimizers", None) or {player: adam() for player in system.players}
    return Referee(
        system,
        {"train": images() if data is None else data},
        batch=batch,
        optimizers=optimizers,
        precision=precision,
        **options,
    )


def state(referee: Referee) -> dict[str, torch.Tensor]:
    return {
        f"{file}/{name}": v.clone() for file, tensors in referee.state_tensors().items() for name, v in tensors.items()
    }
