"""The health monitor, measured: trainings that are healthy, trainings with a planted fault, and who noticed.

python benchmarks/monitor.py all --out runs/monitor       plays what has not been played yet, and judges

play (about 20 minutes on one thread) and judge do one half of it each; fit gives limits for causes.py from the
trainings of the tuning half; cost tells what looking costs. SPARRING_DATA names the folder with MNIST and
Fashion-MNIST.

Every training is played once and kept as one line: its looks, what an oracle says of its last samples, and how long
looks and rounds took. Which trainings are broken is the oracle's word, not the fault's: it knows nothing of the looks,
and holds 1,000 samples against real images with the distances of `sparring evaluate`.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch
from torch import Tensor, nn

import sparring
from sparring.data.dataset import Dataset, Spec
from sparring.data.pixels import to_uint8
from sparring.errors import SparringError
from sparring.losses import GAMES, bernoulli_surprise
from sparring.metrics import for_dataset, frechet_distance, neighbours, wilson_interval
from sparring.monitor import causes
from sparring.monitor.causes import LIMITS, RULES, STREAK, History, suspicions
from sparring.monitor.looks import SMALL, Looker
from sparring.networks import dcgan, mlp
from sparring.networks.infogan import WithClass
from sparring.networks.labels import LabelChannels
from sparring.networks.noise import GaussianNoise
from sparring.networks.vae import image, kingma_decoder, kingma_encoder
from sparring.priors import gaussian
from sparring.recipes import RECIPES
from sparring.recipes.recipe import Recipe, find, prepare_recipe, settle
from sparring.referee import Referee
from sparring.seeds import derive, generator
from sparring.system import Move
from sparring.systems.aae import AAE
from sparring.systems.acgan import ACGAN
from sparring.systems.cgan import ConditionalGAN
from sparring.systems.gan import GAN
from sparring.systems.r1 import PenalisedGAN
from sparring.systems.r3gan import R3GAN
from sparring.systems.vae import VAE
from sparring.systems.wgan_gp import WGANGP

SIDE = 16
"""Images are MNIST and Fashion-MNIST at 16x16: a round takes a few milliseconds."""

TRAIN, JUDGED = 6000, 1000
LATENT = 32
ADAM = partial(torch.optim.Adam, betas=(0.5, 0.999))

# Healthy trainings: families of systems, small, with settings of the literature or near them.


def leaky() -> nn.Module:
    return nn.LeakyReLU(0.2)


def pair(data: Spec, judge: str = "mlp") -> tuple[nn.Module, nn.Module]:
    """A convolutional generator, and a discriminator of linear or of convolutional layers."""
    G = dcgan.generator(LATENT, 8, data.channels, data.size)
    if judge == "conv":
        return G, dcgan.discriminator(8, data.channels, data.size)
    return G, mlp.discriminator(data.shape, [128, 64], activation=leaky)


def both(optimiser: Any, judge: str = "discriminator") -> dict[str, Any]:
    return {judge: optimiser, "generator": optimiser}


def made(system: Any, optimisers: dict[str, Any], rounds: int = 400, batch: int = 64) -> Recipe:
    return Recipe(system=system, optimisers=optimisers, batch=batch, rounds=rounds, average=0.99, precision="fp32")


def gan(data: Spec, game: str = "non-saturating", judge: str = "mlp", lr: float = 1e-3, **rules: Any) -> Recipe:
    return made(GAN(*pair(data, judge), latent=LATENT, game=GAMES[game], **rules), both(partial(ADAM, lr=lr)))


def perceptrons(data: Spec) -> Recipe:
    G = mlp.generator(LATENT, [128, 256], data.shape, activation=nn.ReLU)
    D = mlp.discriminator(data.shape, [256, 128], activation=leaky)
    system = PenalisedGAN(G, D, latent=LATENT, game=GAMES["non-saturating"], gamma=1.0)
    return made(system, both(partial(ADAM, lr=5e-4)))


def wgan_gp(data: Spec) -> Recipe:
    return made(WGANGP(*pair(data), latent=LATENT, critic_steps=2), both(partial(ADAM, lr=1e-3), "critic"))


def r1gan(data: Spec) -> Recipe:
    system = PenalisedGAN(*pair(data), latent=LATENT, game=GAMES["non-saturating"], gamma=0.5)
    return made(system, both(partial(ADAM, lr=1e-3)))


def r3gan(data: Spec) -> Recipe:
    system = R3GAN(*pair(data), latent=LATENT, gamma=0.5, final_gamma=0.1, ramp=400)
    return made(system, both(partial(torch.optim.Adam, lr=1e-3, betas=(0.0, 0.99))))


def conditional(data: Spec) -> nn.Module:
    """A generator that is told the class."""
    kinds = len(data.classes)
    return WithClass(dcgan.generator(LATENT + kinds, 8, data.channels, data.size), kinds)


def cgan(data: Spec) -> Recipe:
    kinds = len(data.classes)
    D = mlp.discriminator((data.channels + 4, data.size, data.size), [128, 64], activation=leaky)
    judge = LabelChannels(nn.Identity(), D, kinds, 4)
    system = ConditionalGAN(conditional(data), judge, latent=LATENT, classes=kinds, game=GAMES["non-saturating"])
    return made(system, both(partial(ADAM, lr=1e-3)))


def acgan(data: Spec) -> Recipe:
    kinds = len(data.classes)
    T = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE * data.channels, 128), leaky(), nn.Linear(128, 64), leaky())
    heads = nn.Linear(64, 1), nn.Linear(64, kinds)
    system = ACGAN(conditional(data), T, *heads, latent=LATENT, classes=kinds, game=GAMES["non-saturating"])
    return made(system, both(partial(ADAM, lr=1e-3)))


def vae(data: Spec) -> Recipe:
    networks = kingma_encoder(data.shape, 128, 10), kingma_decoder(10, 128, data.shape)
    system = VAE(*networks, latent=10, surprise=bernoulli_surprise, image=image())
    return made(system, {"autoencoder": partial(torch.optim.Adam, lr=5e-3)}, rounds=800)


def adversarial_autoencoder(data: Spec) -> Recipe:
    inwards = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 128), nn.ReLU(), nn.Linear(128, 8))
    judge = nn.Sequential(nn.Linear(8, 128), nn.ReLU(), nn.Linear(128, 1))
    system = AAE(
        inwards,
        mlp.generator(8, [128, 256], data.shape, activation=nn.ReLU),
        judge,
        prior=gaussian(8),
        game=GAMES["non-saturating"],
    )
    adam = partial(ADAM, lr=1e-3)
    return made(system, {"autoencoder": adam, "discriminator": partial(ADAM, lr=5e-4), "encoder": adam})


FAMILIES: dict[str, Callable[[Spec], Recipe]] = {
    "mlp": perceptrons,
    "gan": gan,
    "minimax": partial(gan, game="minimax"),
    "lsgan": partial(gan, game="least-squares", lr=5e-4),
    "hinge": partial(gan, game="hinge", lr=5e-4),
    "dcgan": partial(gan, judge="conv", fresh_noise=False),
    "wgan-gp": wgan_gp,
    "r1": r1gan,
    "r3gan": r3gan,
    "cgan": cgan,
    "acgan": acgan,
    "vae": vae,
    "aae": adversarial_autoencoder,
}
DATA = ("mnist", "fashion-mnist")


@cache
def data_of(name: str) -> Dataset:
    """6,000 images to learn from, 1,000 held out for the oracle."""
    full = sparring.load(name, size=SIDE)
    assert full.held_out is not None
    part = full.rows(torch.arange(TRAIN))
    return replace(part, held_out=full.held_out.rows(torch.arange(JUDGED)))


# Planted faults.

Plant = Callable[[Recipe, Dataset], Dataset | None]
"""Spoils a recipe, or gives other data to learn from."""


@dataclass(frozen=True)
class Fault:
    """What is planted, into which families, which causes are right, and whether limits were fitted on it."""

    plant: Plant
    families: tuple[str, ...]
    causes: tuple[str, ...]
    tuning: bool
    after: Callable[[Referee], None] = lambda referee: None


def rates(factor: float, *players: str) -> Plant:
    def plant(recipe: Recipe, data: Dataset) -> None:
        slower = dict(recipe.optimisers)
        for player in players or slower:
            old: Any = slower[player]
            slower[player] = partial(old.func, *old.args, **{**old.keywords, "lr": old.keywords["lr"] * factor})
        recipe.optimisers = slower

    return plant


def settings(player: str, **given: Any) -> Plant:
    def plant(recipe: Recipe, data: Dataset) -> None:
        old: Any = recipe.optimisers[player]
        recipe.optimisers = {**recipe.optimisers, player: partial(old, **given)}

    return plant


def attribute(name: str, value: Any) -> Plant:
    return lambda recipe, data: setattr(recipe.system, name, value)


def inside(network: str, wrap: Callable[[nn.Module], nn.Module]) -> Plant:
    """Replaces a network by a spoiled one."""

    def plant(recipe: Recipe, data: Dataset) -> None:
        setattr(recipe.system, network, wrap(getattr(recipe.system, network)))

    return plant


class Then(nn.Module):
    """network, and then a function of its output; or first a function of its input."""

    def __init__(self, network: nn.Module, after: Any = None, before: Any = None) -> None:
        super().__init__()
        self.network, self.after, self.before = network, after or (lambda x: x), before or (lambda x: x)

    def forward(self, first: Tensor, *rest: Tensor) -> Tensor:
        return self.after(self.network(self.before(first), *rest))


class NotTold(nn.Module):
    """The generator hears class 0 whatever it was asked for."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return self.network(z, torch.zeros_like(y))


def one_number(z: Tensor) -> Tensor:
    """Codes that differ in their first number only."""
    return torch.cat([z[:, :1], torch.zeros_like(z[:, 1:])], 1)


def few(count: int) -> Plant:
    """`count` images in place of all."""
    return lambda recipe, data: replace(data.rows(torch.arange(count)).repeated(TRAIN), held_out=data.held_out)


def relabelled(change: Callable[[Tensor], Tensor]) -> Plant:
    def plant(recipe: Recipe, data: Dataset) -> Dataset:
        assert data.labels is not None
        return replace(data, labels=change(data.labels))

    return plant


def each_move(change: Callable[[Any], None]) -> Plant:
    """Spoils the moves of every round."""

    def plant(recipe: Recipe, data: Dataset) -> None:
        original = recipe.system.round

        def round(feed: Any) -> Any:
            for move in original(feed):
                change(move)
                yield move

        recipe.system.round = round

    return plant


def other_feed(change: Callable[[Tensor, int], Tensor]) -> Plant:
    """Spoils the images on their way into the round: change(images, rounds played)."""

    def plant(recipe: Recipe, data: Dataset) -> None:
        system, original = recipe.system, recipe.system.round

        def round(feed: Any) -> Any:
            def spoiled(stream: str = "train") -> tuple[Tensor, Any]:
                x, y = feed(stream)
                return change(x, system.played), y

            return original(spoiled)

        recipe.system.round = round

    return plant


def wrong_sign(move: Any) -> None:
    if move.player == "generator":
        move.loss = -move.loss


def swapped_labels(recipe: Recipe, data: Dataset) -> None:
    game: Any = recipe.system.game
    told = game.discriminator_loss
    recipe.system.game = replace(game, discriminator_loss=lambda real, fake, labels: told(fake, real, labels))


def wrong_weights(recipe: Recipe, data: Dataset) -> None:
    """The generator's optimiser was given the discriminator's weights."""
    right: Any = recipe.optimisers["generator"]
    recipe.optimisers = {**recipe.optimisers, "generator": lambda weights: right(list(recipe.system.D.parameters()))}


def stale(recipe: Recipe, data: Dataset) -> None:
    """The discriminator learns from images of the generator as it was in round 0."""
    system: Any = recipe.system
    old = copy.deepcopy(system.G).train()

    def round(feed: Any) -> Any:
        x, _ = feed("train")
        with torch.no_grad():
            fake = old(system.noise(len(x)))
        real_score, fake_score = system.scores(x, fake)
        loss = system.game.discriminator(real_score, fake_score)
        yield Move("discriminator", loss, real=real_score.mean(), fake=fake_score.mean())
        yield Move("generator", system.game.generator(system.D(system.G(system.noise(len(x))))))

    system.round = round


def frozen_norms(network: nn.Module) -> nn.Module:
    """Batch norm stays in evaluation mode, with the statistics it was born with."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()
            layer.train = lambda mode=True, layer=layer: layer  # type: ignore[method-assign]
    return network


def dead(network: nn.Module) -> nn.Module:
    """Every ReLU of the generator is off: the norms before them push far below 0."""
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.bias.fill_(-10.0)
    return network


def coarse(images: Tensor) -> Tensor:
    """Nothing finer than 4 pixels."""
    return nn.functional.interpolate(nn.functional.avg_pool2d(images, 4), scale_factor=4, mode="bilinear")


def board(side: int) -> Tensor:
    at = torch.arange(side)
    return 1.0 - 2.0 * ((at[:, None] + at) % 2)


def linear_judge(network: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 1))


def sigmoids(network: nn.Module) -> nn.Module:
    """A generator of many saturating layers: hardly a gradient reaches the first."""
    hidden = [layer for _ in range(6) for layer in (nn.Linear(64, 64), nn.Sigmoid())]
    return nn.Sequential(
        nn.Linear(LATENT, 64),
        nn.Sigmoid(),
        *hidden,
        nn.Linear(64, SIDE * SIDE),
        nn.Tanh(),
        nn.Unflatten(1, (1, SIDE, SIDE)),
    )


def saturated(network: nn.Module) -> nn.Module:
    """The last weights are a hundred times too large: the output is -1 or 1."""
    with torch.no_grad():
        last = [layer for layer in network.modules() if isinstance(layer, nn.ConvTranspose2d)][-1]
        last.weight.mul_(300.0)
    return network


def not_a_number(x: Tensor, played: int) -> Tensor:
    """From round 100 on, one image in twenty is broken."""
    return torch.where((torch.arange(len(x)) % 20 == 0)[:, None, None, None] & (played >= 100), float("nan"), x)


def never_average(referee: Referee) -> None:
    referee._averages.clear()


def hasty(recipe: Recipe, data: Dataset) -> None:
    """Momentum .9, as outside of games, and thirty times the rate."""
    rates(30)(recipe, data)
    for player in recipe.optimisers:
        settings(player, betas=(0.9, 0.999))(recipe, data)


def reborn(recipe: Recipe, data: Dataset) -> None:
    """The discriminator forgets everything every 20 rounds."""
    system: Any = recipe.system
    born, original = copy.deepcopy(system.D.state_dict()), system.round

    def round(feed: Any) -> Any:
        if system.played % 20 == 0:
            system.D.load_state_dict(born)
        return original(feed)

    system.round = round


def first_ones(x: Tensor, played: int) -> Tensor:
    """Every batch is the first one."""
    if played == 0:
        KEPT["batch"] = x.clone()
    return KEPT["batch"][: len(x)]


KEPT: dict[str, Tensor] = {}
"""What `first_ones` remembers of the training that is played."""


def two(z: Tensor) -> Tensor:
    """One of two codes."""
    return z[:, :1].sign().expand_as(z)


def never_cleared(referee: Referee) -> None:
    """Nobody calls zero_grad: gradients pile up from round to round."""
    for optimiser in referee.optimisers.values():
        optimiser.zero_grad = lambda set_to_none=True: None  # type: ignore[method-assign]


def large(network: nn.Module) -> nn.Module:
    """Weights are born with a deviation of 1."""
    with torch.no_grad():
        for weight in network.parameters():
            if weight.ndim > 1:
                weight.normal_()
    return network


def linear(network: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(LATENT, SIDE * SIDE), nn.Tanh(), nn.Unflatten(1, (1, SIDE, SIDE)))


def upper_half(images: Tensor) -> Tensor:
    """The lower half is black."""
    return torch.cat([images[..., : SIDE // 2, :], -torch.ones_like(images[..., SIDE // 2 :, :])], -2)


def tenth_codes(recipe: Recipe, data: Dataset) -> None:
    """Learns with codes a tenth as long as those that it is asked for."""
    system: Any = recipe.system
    drawn = system.noise
    system.noise = lambda n: drawn(n) / 10


def flipped(recipe: Recipe, data: Dataset) -> None:
    """Nearly half of what the discriminator is told is wrong."""
    game: Any = recipe.system.game
    recipe.system.game = replace(game, labels=replace(game.labels, flips=0.49))


FAULTS: dict[str, Fault] = {
    # Limits were fitted beside these.
    "judge-lr-x30": Fault(rates(30, "discriminator"), ("gan", "dcgan"), ("big-steps", "overpowered", "collapse"), True),
    "generator-lr-x30": Fault(rates(30, "generator"), ("gan", "r1"), ("big-steps", "collapse"), True),
    "generator-frozen": Fault(rates(0, "generator"), ("gan", "dcgan"), ("frozen",), True),
    "wrong-sign": Fault(each_move(wrong_sign), ("gan", "r1"), ("same-side", "running-away"), True),
    "64-images": Fault(few(64), ("gan", "dcgan"), ("memorising",), True),
    "pixels-from-0": Fault(inside("G", lambda G: Then(G, lambda x: (x + 1) / 2)), ("gan", "dcgan"), ("range",), True),
    "constant-codes": Fault(
        inside("G", lambda G: Then(G, None, lambda z: 0 * z)), ("gan", "dcgan"), ("collapse",), True
    ),
    "shuffled-labels": Fault(
        relabelled(lambda y: y[torch.randperm(len(y), generator=generator("shuffled"))]),
        ("cgan", "acgan"),
        ("labels-ignored",),
        True,
    ),
    "average-never": Fault(lambda recipe, data: None, ("gan", "r3gan"), ("average-lags",), True, never_average),
    "checkers": Fault(
        inside("G", lambda G: Then(G, lambda x: (x + 0.25 * board(SIDE)).clamp(-1, 1))),
        ("gan", "r1"),
        ("checkerboard",),
        True,
    ),
    "divergence-x100": Fault(attribute("beta", 100.0), ("vae",), ("deaf-code",), True),
    "judge-in-noise": Fault(
        inside("D", lambda D: nn.Sequential(GaussianNoise(5.0), D)), ("gan", "r1"), ("idle-judge",), True
    ),
    "judge-x10-minimax": Fault(rates(10, "discriminator"), ("minimax",), ("overpowered", "big-steps"), True),
    "judge-lr-/300": Fault(rates(1 / 300, "discriminator"), ("gan", "dcgan"), ("idle-judge", "frozen"), True),
    "judge-frozen": Fault(rates(0, "discriminator"), ("gan", "hinge"), ("frozen",), True),
    "swapped-labels": Fault(swapped_labels, ("gan", "lsgan"), ("same-side",), True),
    "lr-x1000": Fault(rates(1000), ("gan", "dcgan"), ("running-away", "big-steps"), True),
    "norms-in-evaluation": Fault(
        inside("G", frozen_norms), ("gan", "dcgan"), ("no-progress", "overpowered", "collapse"), True
    ),
    "wrong-weights": Fault(wrong_weights, ("gan", "r1"), ("frozen",), True),
    "stale-fakes": Fault(stale, ("gan", "dcgan"), ("same-side", "running-away", "collapse"), True),
    "one-label": Fault(relabelled(torch.zeros_like), ("cgan", "acgan"), ("labels-ignored",), True),
    "label-not-told": Fault(inside("G", NotTold), ("cgan", "acgan"), ("labels-ignored",), True),
    "dead-units": Fault(inside("G", dead), ("gan", "dcgan"), ("collapse", "frozen", "overpowered"), True),
    "momentum-.99": Fault(
        settings("generator", betas=(0.99, 0.999)), ("gan", "dcgan"), ("cycling", "big-steps", "collapse"), True
    ),
    "no-penalty": Fault(attribute("penalty", 0.0), ("wgan-gp",), ("slope", "running-away"), True),
    "penalty-x1000": Fault(attribute("gamma", 500.0), ("r1",), ("idle-judge", "no-progress"), True),
    "not-a-number": Fault(other_feed(not_a_number), ("gan", "r1"), ("running-away",), True),
    "coarse-images": Fault(inside("G", lambda G: Then(G, coarse)), ("gan", "r1"), ("unlike", "overpowered"), True),
    "code-judge-frozen": Fault(rates(0, "discriminator"), ("aae",), ("frozen",), True),
    "rates-0-from-10": Fault(
        lambda recipe, data: setattr(
            recipe, "schedules", dict.fromkeys(recipe.optimisers, lambda r: {"lr": 0.0} if r > 10 else {})
        ),
        ("gan", "dcgan"),
        ("frozen",),
        True,
    ),
    "sigmoids": Fault(inside("G", sigmoids), ("gan", "r1"), ("collapse", "no-progress", "overpowered"), True),
    "saturated-output": Fault(inside("G", saturated), ("gan", "dcgan"), ("range", "overpowered"), True),
    "data-from-0": Fault(other_feed(lambda x, played: (x + 1) / 2), ("gan", "r1"), ("range",), True),
    "linear-judge": Fault(inside("D", linear_judge), ("gan", "r1"), ("idle-judge", "no-progress"), True),
    "one-number-codes": Fault(inside("G", lambda G: Then(G, None, one_number)), ("gan", "dcgan"), ("collapse",), True),
    "100-images": Fault(few(100), ("hinge", "r3gan"), ("memorising",), True),
    "judge-x10-gan": Fault(rates(10, "discriminator"), ("hinge", "lsgan"), ("overpowered", "big-steps"), True),
    "generator-decays": Fault(
        settings("generator", weight_decay=3.0), ("gan", "dcgan"), ("collapse", "overpowered", "no-progress"), True
    ),
    "negatives": Fault(other_feed(lambda x, played: -x), ("gan", "r1"), ("range", "no-progress"), True),
    "rates-x30-momentum-.9": Fault(
        hasty, ("dcgan", "hinge"), ("big-steps", "collapse", "overpowered", "running-away"), True
    ),
    "judge-reborn": Fault(reborn, ("gan", "lsgan"), ("idle-judge", "no-progress", "big-steps"), True),
    "same-batch": Fault(other_feed(first_ones), ("gan", "hinge"), ("memorising", "collapse"), True),
    "two-codes": Fault(inside("G", lambda G: Then(G, None, two)), ("gan", "dcgan"), ("collapse",), True),
    "judge-dropout-.97": Fault(
        inside("D", lambda D: nn.Sequential(nn.Dropout(0.97), D)), ("gan", "r1"), ("idle-judge", "no-progress"), True
    ),
    "generator-sgd": Fault(
        lambda recipe, data: setattr(
            recipe, "optimisers", {**recipe.optimisers, "generator": partial(torch.optim.SGD, lr=1e-4)}
        ),
        ("gan", "lsgan"),
        ("frozen", "overpowered", "no-progress"),
        True,
    ),
    "codes-x100": Fault(
        inside("G", lambda G: Then(G, None, lambda z: 100 * z)), ("mlp", "gan"), ("collapse", "no-progress"), True
    ),
    "no-negatives": Fault(inside("G", lambda G: Then(G, nn.functional.relu)), ("dcgan", "lsgan"), ("range",), True),
    # The monitor had never seen these when it was judged on them: they were written after 01b5557 had frozen it.
    "gradients-pile-up": Fault(
        lambda recipe, data: None,
        ("gan", "r1"),
        ("running-away", "big-steps", "collapse", "overpowered"),
        False,
        never_cleared,
    ),
    "born-large": Fault(
        inside("G", large), ("dcgan", "gan"), ("overpowered", "no-progress", "collapse", "unlike"), False
    ),
    "judge-decays": Fault(
        settings("discriminator", weight_decay=10.0), ("gan", "lsgan"), ("idle-judge", "no-progress"), False
    ),
    "real-in-noise": Fault(
        other_feed(lambda x, played: x + 0.7 * torch.randn_like(x)), ("gan", "r1"), ("unlike", "checkerboard"), False
    ),
    "linear-generator": Fault(
        inside("G", linear), ("gan", "dcgan"), ("unlike", "collapse", "overpowered", "no-progress"), False
    ),
    "short-sighted-judge": Fault(
        inside("D", lambda D: Then(D, None, coarse)),
        ("gan", "r1"),
        ("idle-judge", "unlike", "checkerboard", "no-progress"),
        False,
    ),
    "half-an-image": Fault(
        inside("G", lambda G: Then(G, upper_half)),
        ("dcgan", "hinge"),
        ("overpowered", "unlike", "range", "collapse", "no-progress"),
        False,
    ),
    "other-codes": Fault(tenth_codes, ("gan", "dcgan"), ("unlike", "collapse", "no-progress", "range"), False),
    "half-flipped": Fault(flipped, ("gan", "dcgan"), ("idle-judge", "no-progress"), False),
    "critic-lr-x100": Fault(
        rates(100, "critic"), ("wgan-gp",), ("big-steps", "running-away", "slope", "overpowered"), False
    ),
    "divergence-x0": Fault(attribute("beta", 0.0), ("vae",), ("no-progress", "range", "collapse"), False),
}


# One training.


@dataclass(frozen=True)
class Training:
    """One training of the bank. Its fault is "" when it should be healthy."""

    family: str
    data: str
    seed: int
    fault: str = ""

    @property
    def name(self) -> str:
        return f"{self.fault or 'healthy'}/{self.family}/{self.data}/{self.seed}"


def bank() -> list[Training]:
    """What limits are fitted on: seeds 10 to 22, the faults above the line; then seeds 30 to 32, all faults."""
    trainings = []
    for tuning, seeds in ((True, (10, 11, 12)), (True, (20, 21, 22)), (False, (30, 31, 32))):
        for name, fault in FAULTS.items():
            if fault.tuning or not tuning:
                places = [(fault.families[i % len(fault.families)], DATA[i % 2], seeds[i]) for i in range(2)]
                trainings += [Training(*place, name) for place in places]
        for family in FAMILIES:
            trainings += [Training(family, DATA[0], seed) for seed in seeds]
            trainings += [Training(family, DATA[1], seed) for seed in seeds[:2]]
    return trainings


def play(training: Training) -> dict[str, Any]:
    """Looks, the oracle's numbers, and seconds of processor time."""
    data = data_of(training.data)
    torch.manual_seed(derive("monitor", training.seed))
    recipe = FAMILIES[training.family](data.spec)
    fault = FAULTS.get(training.fault)
    learned = (fault and fault.plant(recipe, data)) or data
    referee = Referee(
        recipe.system,
        {"train": learned},
        batch=recipe.batch,
        optimisers=recipe.optimisers,
        schedules=recipe.schedules,
        average=recipe.average,
        precision="fp32",
        seed=training.seed,
    )
    if fault:
        fault.after(referee)
    looker = Looker(recipe.system, referee.averaged, learned, batch=recipe.batch, seed=training.seed)
    looker.weights = SMALL  # looks as often as at networks of a usual size
    rows: list[dict[str, Any]] = []
    failed = None
    looking = 0.0
    started = time.thread_time()
    while referee.round < recipe.rounds:
        watched = looker.due(referee.round + 1)
        if watched:
            at = time.thread_time()
            looker.before()
            looking += time.thread_time() - at
        try:
            told = referee.play()
        except SparringError as error:
            failed = {"round": referee.round, "reason": str(error)}
            break
        if watched:
            at = time.thread_time()
            rows.append(looker.look(referee.round, referee.agree(told)))
            looking += time.thread_time() - at
    seconds = time.thread_time() - started - looking
    return {
        **asdict(training),
        "rows": rows,
        "failed": failed,
        "equilibrium": recipe.system.equilibrium() if recipe.system.can("equilibrium") else {},
        "oracle": oracle(referee.averaged, data),
        "seconds": round(seconds, 3),
        "looking": round(looking, 3),
        "rounds": recipe.rounds,
    }


def oracle(system: Any, data: Dataset) -> dict[str, float | None]:
    """What 1,000 samples are worth, in features; None where they are not numbers."""
    judge = for_dataset(data.name)
    samples = system.sample(JUDGED, seed=1)
    if not bool(samples.isfinite().all()):
        return {"FD": None, "precision": None, "coverage": None, "agreement": None}
    fake, logits = judge.features(to_uint8(samples))
    near = neighbours(real=reference(data.name), fake=fake)
    asked = torch.arange(JUDGED) % max(system.classes, 1)
    assert logits is not None
    agreement = float((logits.argmax(1) == asked).float().mean()) if system.classes else 1.0
    distance = frechet_distance(real=reference(data.name), fake=fake)
    return {"FD": distance, "precision": near.precision, "coverage": near.coverage, "agreement": agreement}


@cache
def reference(name: str) -> Tensor:
    """(1000, F) features of images that no training sees."""
    held_out = data_of(name).held_out
    assert held_out is not None
    return for_dataset(name).features(held_out.images)[0]


# The three steps.


def read(out: Path) -> list[dict[str, Any]]:
    file = out / "trainings.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    named = {training.name for training in bank()}
    return [
        line for line in lines if Training(*(line[key] for key in ("family", "data", "seed", "fault"))).name in named
    ]


def play_all(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    played = {Training(t["family"], t["data"], t["seed"], t["fault"]).name for t in read(out)}
    left = [training for training in bank() if training.name not in played]
    for i, training in enumerate(left):
        found = play(training)
        with open(out / "trainings.jsonl", "a") as file:
            file.write(json.dumps(found) + "\n")
        print(
            f"{i + 1}/{len(left)} {training.name}: {found['seconds'] + found['looking']:.1f} s, {found['oracle']}",
            flush=True,
        )


def told(training: Mapping[str, Any], limits: Mapping[str, float] = LIMITS) -> list[tuple[str, int, int]]:
    """What the monitor says of a training, in order: cause, round it began, round in which it was noticed."""
    said: dict[str, tuple[str, int, int]] = {}
    rows = training["rows"]
    for count in range(1, len(rows) + 1):
        for one in suspicions(rows[:count], training["equilibrium"], training["rounds"], limits):
            said.setdefault(one.cause, (one.cause, one.began, rows[count - 1]["round"]))
    if training["failed"]:
        at = training["failed"]["round"]
        said.setdefault("running-away", ("running-away", at, at))
    return list(said.values())


def is_tuning(training: Mapping[str, Any]) -> bool:
    return training["seed"] < 30


def usual(trainings: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], dict[str, float]]:
    """Family and data -> medians of what the oracle says of its healthy trainings."""
    cells: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for t in trainings:
        if not t["fault"]:
            cells.setdefault((t["family"], t["data"]), []).append(t["oracle"])
    return {
        cell: {name: median(o[name] for o in found if o[name] is not None) for name in found[0]}
        for cell, found in cells.items()
    }


def is_broken(training: Mapping[str, Any], healthy: Mapping[tuple[str, str], Mapping[str, float]]) -> bool:
    """The oracle's word: no numbers, half as far again from images as healthy trainings, or classes are missed."""
    found, normal = training["oracle"], healthy[training["family"], training["data"]]
    if training["failed"] or found["FD"] is None:
        return True
    return found["FD"] > 1.5 * normal["FD"] or found["agreement"] < 0.6 * normal["agreement"]


MARGIN = 1.15
"""A limit lies this much above what the worst healthy training of the tuning half reached."""

FLOORS: dict[str, float] = {
    "running-away": 10.0,
    "frozen": 1e8,
    "same-side": 0.5,
    "big-steps": 0.02,
    "deaf-code": 2.0,
    "slope": 2.0,
    "average-lags": 0.3,
    "collapse": 5.0,
    "range": 0.6,
    "idle-judge": 0.7,
    "overpowered": 0.7,
    "checkerboard": 20.0,
    "memorising": 0.25,
    "labels-ignored": 0.7,
    "unlike": 4.0,
    "no-progress": 0.4,
}
"""Below these nothing is told, however tame the healthy trainings were: they are few."""


def worst(training: Mapping[str, Any], cause: str) -> float:
    """The largest value that the rule held for a streak."""
    rows, rule = training["rows"], RULES[cause]
    values = [
        rule(History(rows[:count], training["equilibrium"], training["rounds"])) for count in range(1, len(rows) + 1)
    ]
    known = [-math.inf if value is None else value for value in values]
    return max((min(known[i : i + STREAK]) for i in range(len(known) - STREAK + 1)), default=-math.inf)


def ends(healthy: Sequence[Mapping[str, Any]]) -> tuple[tuple[float, ...], tuple[tuple[float, ...], ...]]:
    """USUAL and SCALES of causes.py: how the ratios of these trainings are spread at their last looks."""
    last = [History(t["rows"], t["equilibrium"], t["rounds"]) for t in healthy]
    ratios = torch.tensor([[h.now(name) for name in causes.COMPARED] for h in last], dtype=torch.float64)
    logs = ratios.clamp(min=0.01).log()
    scales = torch.linalg.inv(torch.linalg.cholesky(logs.T.cov()))
    rounded = [[round(number, 3) for number in row] for row in [logs.mean(0).tolist(), *scales.tolist()]]
    return tuple(rounded[0]), tuple(map(tuple, rounded[1:]))


def fit(out: Path) -> None:
    """Limits for causes.py, from the healthy trainings of the tuning half; and how its faults fare with them."""
    trainings = [t for t in read(out) if is_tuning(t)]
    normal = usual(read(out))
    healthy = [t for t in trainings if not t["fault"] and not is_broken(t, normal)]
    causes.USUAL, causes.SCALES = ends([t for t in healthy if "separation" in t["rows"][-1]])
    print(f"USUAL = {causes.USUAL}\nSCALES = {causes.SCALES}")
    limits = {}
    for cause, floor in FLOORS.items():
        reached = {Training(t["family"], t["data"], t["seed"]).name: worst(t, cause) for t in healthy}
        top = max(reached, key=lambda name: reached[name])
        limits[cause] = max(floor, float(f"{MARGIN * reached[top]:.2g}"))
        print(f'    "{cause}": {limits[cause]:g},  # {reached[top]:.3g} in {top}')
    for t in trainings:
        if t["fault"]:
            said = ", ".join(f"{cause} {began}-{noticed}" for cause, began, noticed in told(t, limits))
            word = "broken  " if is_broken(t, normal) else "harmless"
            print(f"{word} {t['fault']}/{t['family']}/{t['data']}: {said or 'NOTHING'}")


def rate(hits: int, of: int) -> str:
    """7 of 8, 88 % (53 to 98 %)"""
    if not of:
        return "none of none"
    low, high = wilson_interval(hits, of)
    return f"{hits} of {of}, {100 * hits / of:.0f} % ({100 * low:.0f} to {100 * high:.0f} %)"


@dataclass(frozen=True)
class Verdict:
    """One training of the test half: what the oracle says, and what the monitor said, in order."""

    name: str
    fault: str
    broken: bool
    said: tuple[tuple[str, int, int], ...]
    rounds: int

    @property
    def right(self) -> bool:
        """Whether a right cause is among the first two."""
        return bool({cause for cause, _, _ in self.said[:2]} & set(FAULTS[self.fault].causes))


def verdicts(trainings: Sequence[Mapping[str, Any]], limits: Mapping[str, float]) -> list[Verdict]:
    normal = usual(trainings)
    return [
        Verdict(
            f"{t['fault'] or 'healthy'}/{t['family']}/{t['data']}/{t['seed']}",
            t["fault"],
            is_broken(t, normal),
            tuple(told(t, limits)),
            t["rounds"],
        )
        for t in trainings
        if not is_tuning(t)
    ]


def summary(found: Sequence[Verdict]) -> dict[str, str]:
    """The figures of the promise."""
    broken = [v for v in found if v.fault and v.broken]
    noticed = [v for v in broken if v.said]
    seen = [v for v in broken if FAULTS[v.fault].tuning]
    unseen = [v for v in broken if not FAULTS[v.fault].tuning]
    healthy = [v for v in found if not v.fault and not v.broken]
    delays = sorted(v.said[0][2] / v.rounds for v in noticed)
    return {
        "broken trainings found (goal: 90 %)": rate(len(noticed), len(broken)),
        "of faults that limits were fitted beside": rate(sum(bool(v.said) for v in seen), len(seen)),
        "of faults never seen before": rate(sum(bool(v.said) for v in unseen), len(unseen)),
        "healthy trainings with a false alarm (goal: 2 of 60)": rate(sum(bool(v.said) for v in healthy), len(healthy)),
        "right cause among the first two, of those found (goal: 80 %)": rate(
            sum(v.right for v in noticed), len(noticed)
        ),
        "right cause first": rate(sum(v.said[0][0] in FAULTS[v.fault].causes for v in noticed), len(noticed)),
        "median round in which the first alarm was given": f"{median(v.said[0][2] for v in noticed):.0f}, "
        f"{100 * median(delays):.0f} % of these short trainings",
    }


def judge(out: Path) -> None:
    """The test half, as docs/results/monitor.md has it."""
    trainings = read(out)
    found = verdicts(trainings, LIMITS)
    print("| | of trainings (95 % Wilson interval) |\n|---|---|")
    for what, value in summary(found).items():
        print(f"| {what} | {value} |")
    faults = [v for v in found if v.fault]
    told_first = [cause for cause in RULES if any(v.said and v.said[0][0] == cause for v in found)]
    print(
        "\n| planted | "
        + " | ".join(told_first)
        + " | nothing | right in two |\n|---" * 1
        + "|---" * (len(told_first) + 2)
        + "|"
    )
    for name in [*dict.fromkeys(v.fault for v in faults), ""]:
        mine = [v for v in found if v.fault == name]
        groups = [("healthy", mine)] if not name else [(name, [v for v in mine if v.broken])]
        groups += [(f"{name} (harmless)", [v for v in mine if not v.broken])] if name else []
        for label, some in groups:
            if some:
                firsts = [v.said[0][0] if v.said else "nothing" for v in some]
                cells = [str(firsts.count(cause) or "") for cause in (*told_first, "nothing")]
                right = "" if not name else f"{sum(v.right for v in some)}/{len(some)}"
                seen = "" if not name or not FAULTS[name].tuning else " *"
                print(f"| {label}{seen} | " + " | ".join(cells) + f" | {right} |")
    print("\n| without the rule | found | false alarms | right in two |\n|---|---|---|---|")
    for left_out in ("(none)", *RULES):
        some = summary(verdicts(trainings, {c: limit for c, limit in LIMITS.items() if c != left_out}))
        values = list(some.values())
        print(f"| {left_out} | {values[0]} | {values[3]} | {values[4]} |")
    print("\n| family | round, ms | look, ms | share of time, a look every 25 rounds |\n|---|---|---|---|")
    for family in FAMILIES:
        mine = [t for t in trainings if t["family"] == family and not t["fault"]]
        round_, look = (
            median(t[key] / n for t in mine)
            for key, n in (("seconds", mine[0]["rounds"]), ("looking", len(mine[0]["rows"])))
        )
        print(f"| {family} | {1000 * round_:.1f} | {1000 * look:.1f} | {100 * look / 25 / round_:.1f} % |")
    for v in found:
        if (not v.fault and (v.said or v.broken)) or (v.fault and v.broken and not (v.said and v.right)):
            print(f"{v.name}: {'broken' if v.broken else 'healthy'}, told {v.said or 'nothing'}")


COSTED = ("cs231n-mlp", "cs231n-dcgan", "r1gan", "wgan-gp", "acgan", "biggan-small", "vae", "aae", "ganhacks")


def cost(out: Path) -> None:
    """What looking costs beside training, for recipes as they are, on the 5,000 digits of the demo."""
    digits = sparring.load("digits")
    print("| recipe | weights | round, ms | look, ms | rounds between | share of time |\n|---|---|---|---|---|---|")
    for name in COSTED:
        function = find(name, RECIPES)
        recipe = prepare_recipe(function, digits.spec, settle(function, {}))
        referee = Referee(recipe.system, {"train": digits}, batch=recipe.batch, optimisers=recipe.optimisers)
        looker = Looker(recipe.system, referee.averaged, digits, batch=recipe.batch, seed=0)
        moves = referee.agree(referee.play())
        rounds = [seconds(referee.play) for _ in range(12)]
        every = looker.spacing(1)
        looks = [seconds(looker.before) + seconds(partial(looker.look, every * n, moves)) for n in range(1, 9)]
        round_, look = median(rounds[2:]), mean(looks)
        share = look / every / round_
        figures = f"{looker.weights:,} | {1000 * round_:.1f} | {1000 * look:.1f} | {every} | {100 * share:.1f} %"
        print(f"| {name} | {figures} |", flush=True)


def seconds(work: Callable[[], Any]) -> float:
    started = time.thread_time()
    work()
    return time.thread_time() - started


def everything(out: Path) -> None:
    """All that docs/results/monitor.md has."""
    play_all(out)
    judge(out)


STEPS = {"all": everything, "play": play_all, "fit": fit, "judge": judge, "cost": cost}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("--out", type=Path, default=Path("runs/monitor"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    STEPS[arguments.step](arguments.out)
