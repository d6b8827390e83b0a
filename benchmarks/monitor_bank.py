"""The trainings that the health monitor is measured with: small healthy ones, and the same with a planted fault.

Families of systems with settings of the literature or near them; faults by name, with the causes that are right. They
are played and evaluated by monitor.py.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

import sparring
from sparring.data.dataset import Dataset, Spec
from sparring.losses import GAMES, bernoulli_nll
from sparring.networks import dcgan, mlp
from sparring.networks.infogan import WithClass
from sparring.networks.labels import LabelAsChannels
from sparring.networks.noise import GaussianNoise
from sparring.networks.vae import decoder, encoder, image
from sparring.priors import gaussian
from sparring.recipes.recipe import Recipe
from sparring.recipes.schedules import cosine
from sparring.referee import Referee
from sparring.seeds import make_generator
from sparring.system import Move
from sparring.systems.aae import AAE
from sparring.systems.acgan import ACGAN
from sparring.systems.cgan import ConditionalGAN
from sparring.systems.gan import GAN
from sparring.systems.r1 import R1GAN
from sparring.systems.r3gan import R3GAN
from sparring.systems.vae import VAE
from sparring.systems.wgan_gp import WGANGP

SIDE = 16
"""Images are MNIST and Fashion-MNIST at 16x16: a round takes a few milliseconds."""

TRAIN, N_SAMPLES = 6000, 1000
LATENT = 32
ADAM = partial(torch.optim.Adam, betas=(0.5, 0.999))

# Healthy trainings: families of systems, small, with settings of the literature or near them.


def leaky() -> nn.Module:
    return nn.LeakyReLU(0.2)


def pair(data: Spec, discriminator: str = "mlp") -> tuple[nn.Module, nn.Module]:
    """A convolutional generator, and a discriminator of linear or of convolutional layers."""
    G = dcgan.generator(LATENT, 8, data.channels, data.size)
    if discriminator == "conv":
        return G, dcgan.discriminator(8, data.channels, data.size)
    return G, mlp.discriminator(data.shape, [128, 64], activation=leaky)


def both(optimizer: Any, discriminator: str = "discriminator") -> dict[str, Any]:
    return {discriminator: optimizer, "generator": optimizer}


def made(system: Any, optimizers: dict[str, Any], rounds: int = 400, batch: int = 64) -> Recipe:
    return Recipe(system=system, optimizers=optimizers, batch=batch, rounds=rounds, ema_decay=0.99, precision="fp32")


def gan(data: Spec, game: str = "non-saturating", discriminator: str = "mlp", lr: float = 1e-3, **rules: Any) -> Recipe:
    return made(
        GAN(*pair(data, discriminator), latent_dim=LATENT, game=GAMES[game], **rules), both(partial(ADAM, lr=lr))
    )


def perceptrons(data: Spec) -> Recipe:
    G = mlp.generator(LATENT, [128, 256], data.shape, activation=nn.ReLU)
    D = mlp.discriminator(data.shape, [256, 128], activation=leaky)
    system = R1GAN(G, D, latent_dim=LATENT, game=GAMES["non-saturating"], gamma=1.0)
    return made(system, both(partial(ADAM, lr=5e-4)))


def wgan_gp(data: Spec) -> Recipe:
    return made(WGANGP(*pair(data), latent_dim=LATENT, critic_steps=2), both(partial(ADAM, lr=1e-3), "critic"))


def r1gan(data: Spec) -> Recipe:
    system = R1GAN(*pair(data), latent_dim=LATENT, game=GAMES["non-saturating"], gamma=0.5)
    return made(system, both(partial(ADAM, lr=1e-3)))


def r3gan(data: Spec) -> Recipe:
    system = R3GAN(*pair(data), latent_dim=LATENT, gamma=cosine(0.5, 0.1, 400))
    return made(system, both(partial(torch.optim.Adam, lr=1e-3, betas=(0.0, 0.99))))


def conditional(data: Spec) -> nn.Module:
    """A class-conditional generator."""
    kinds = len(data.classes)
    return WithClass(dcgan.generator(LATENT + kinds, 8, data.channels, data.size), kinds)


def cgan(data: Spec) -> Recipe:
    kinds = len(data.classes)
    D = mlp.discriminator((data.channels + 4, data.size, data.size), [128, 64], activation=leaky)
    discriminator = LabelAsChannels(nn.Identity(), D, kinds, 4)
    system = ConditionalGAN(
        conditional(data), discriminator, latent_dim=LATENT, classes=kinds, game=GAMES["non-saturating"]
    )
    return made(system, both(partial(ADAM, lr=1e-3)))


def acgan(data: Spec) -> Recipe:
    kinds = len(data.classes)
    T = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE * data.channels, 128), leaky(), nn.Linear(128, 64), leaky())
    heads = nn.Linear(64, 1), nn.Linear(64, kinds)
    system = ACGAN(conditional(data), T, *heads, latent_dim=LATENT, classes=kinds, game=GAMES["non-saturating"])
    return made(system, both(partial(ADAM, lr=1e-3)))


def vae(data: Spec) -> Recipe:
    networks = encoder(data.shape, 128, 10), decoder(10, 128, data.shape)
    system = VAE(*networks, latent_dim=10, nll=bernoulli_nll, to_image=image())
    return made(system, {"autoencoder": partial(torch.optim.Adam, lr=5e-3)}, rounds=800)


def adversarial_autoencoder(data: Spec) -> Recipe:
    inwards = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 128), nn.ReLU(), nn.Linear(128, 8))
    discriminator = nn.Sequential(nn.Linear(8, 128), nn.ReLU(), nn.Linear(128, 1))
    system = AAE(
        inwards,
        mlp.generator(8, [128, 256], data.shape, activation=nn.ReLU),
        discriminator,
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
    "dcgan": partial(gan, discriminator="conv", resample_noise=False),
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
    return replace(part, held_out=full.held_out.rows(torch.arange(N_SAMPLES)))


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
        slower = dict(recipe.optimizers)
        for player in players or slower:
            old: Any = slower[player]
            slower[player] = partial(old.func, *old.args, **{**old.keywords, "lr": old.keywords["lr"] * factor})
        recipe.optimizers = slower

    return plant


def settings(player: str, **given: Any) -> Plant:
    def plant(recipe: Recipe, data: Dataset) -> None:
        old: Any = recipe.optimizers[player]
        recipe.optimizers = {**recipe.optimizers, player: partial(old, **given)}

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


class WithoutLabel(nn.Module):
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


def relabeled(change: Callable[[Tensor], Tensor]) -> Plant:
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
                return change(x, system.round_index), y

            return original(spoiled)

        recipe.system.round = round

    return plant


def wrong_sign(move: Any) -> None:
    if move.player == "generator":
        move.loss = -move.loss


def swapped_labels(recipe: Recipe, data: Dataset) -> None:
    game: Any = recipe.system.game
    discriminator_loss = game.discriminator_loss
    recipe.system.game = replace(
        game, discriminator_loss=lambda real, fake, labels: discriminator_loss(fake, real, labels)
    )


def wrong_weights(recipe: Recipe, data: Dataset) -> None:
    """The generator's optimizer was given the discriminator's weights."""
    right: Any = recipe.optimizers["generator"]
    recipe.optimizers = {**recipe.optimizers, "generator": lambda weights: right(list(recipe.system.D.parameters()))}


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


def linear_discriminator(network: nn.Module) -> nn.Module:
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
    referee._ema._kept = lambda after, until: 1.0  # type: ignore[method-assign]


def hasty(recipe: Recipe, data: Dataset) -> None:
    """Momentum .9, as outside of games, and thirty times the rate."""
    rates(30)(recipe, data)
    for player in recipe.optimizers:
        settings(player, betas=(0.9, 0.999))(recipe, data)


def reborn(recipe: Recipe, data: Dataset) -> None:
    """The discriminator forgets everything every 20 rounds."""
    system: Any = recipe.system
    born, original = copy.deepcopy(system.D.state_dict()), system.round

    def round(feed: Any) -> Any:
        if system.round_index % 20 == 0:
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
    for optimizer in referee.optimizers.values():
        optimizer.zero_grad = lambda set_to_none=True: None  # type: ignore[method-assign]


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
    """Nearly half of the targets of the discriminator are wrong."""
    game: Any = recipe.system.game
    recipe.system.game = replace(game, targets=replace(game.targets, flip_prob=0.49))


FAULTS: dict[str, Fault] = {
    # Limits were fitted beside these.
    "discriminator-lr-x30": Fault(
        rates(30, "discriminator"), ("gan", "dcgan"), ("large-steps", "strong-discriminator", "mode-collapse"), True
    ),
    "generator-lr-x30": Fault(rates(30, "generator"), ("gan", "r1"), ("large-steps", "mode-collapse"), True),
    "generator-frozen": Fault(rates(0, "generator"), ("gan", "dcgan"), ("no-update",), True),
    "wrong-sign": Fault(each_move(wrong_sign), ("gan", "r1"), ("losses-inconsistent", "divergence"), True),
    "64-images": Fault(few(64), ("gan", "dcgan"), ("discriminator-overfit",), True),
    "pixels-from-0": Fault(
        inside("G", lambda G: Then(G, lambda x: (x + 1) / 2)), ("gan", "dcgan"), ("value-range",), True
    ),
    "constant-codes": Fault(
        inside("G", lambda G: Then(G, None, lambda z: 0 * z)), ("gan", "dcgan"), ("mode-collapse",), True
    ),
    "shuffled-labels": Fault(
        relabeled(lambda y: y[torch.randperm(len(y), generator=make_generator("shuffled"))]),
        ("cgan", "acgan"),
        ("labels-ignored",),
        True,
    ),
    "average-never": Fault(lambda recipe, data: None, ("gan", "r3gan"), ("ema-lag",), True, never_average),
    "checkers": Fault(
        inside("G", lambda G: Then(G, lambda x: (x + 0.25 * board(SIDE)).clamp(-1, 1))),
        ("gan", "r1"),
        ("checkerboard",),
        True,
    ),
    "divergence-x100": Fault(attribute("beta", 100.0), ("vae",), ("posterior-collapse",), True),
    "discriminator-in-noise": Fault(
        inside("D", lambda D: nn.Sequential(GaussianNoise(5.0), D)), ("gan", "r1"), ("weak-scores",), True
    ),
    "discriminator-x10-minimax": Fault(
        rates(10, "discriminator"), ("minimax",), ("strong-discriminator", "large-steps"), True
    ),
    "discriminator-lr-/300": Fault(
        rates(1 / 300, "discriminator"), ("gan", "dcgan"), ("weak-discriminator", "weak-scores", "no-update"), True
    ),
    "discriminator-frozen": Fault(rates(0, "discriminator"), ("gan", "hinge"), ("no-update",), True),
    "swapped-labels": Fault(swapped_labels, ("gan", "lsgan"), ("losses-inconsistent",), True),
    "lr-x1000": Fault(rates(1000), ("gan", "dcgan"), ("divergence", "large-steps"), True),
    "norms-in-evaluation": Fault(
        inside("G", frozen_norms), ("gan", "dcgan"), ("no-progress", "strong-discriminator", "mode-collapse"), True
    ),
    "wrong-weights": Fault(wrong_weights, ("gan", "r1"), ("no-update",), True),
    "stale-fakes": Fault(stale, ("gan", "dcgan"), ("losses-inconsistent", "divergence", "mode-collapse"), True),
    "one-label": Fault(relabeled(torch.zeros_like), ("cgan", "acgan"), ("labels-ignored",), True),
    "label-missing": Fault(inside("G", WithoutLabel), ("cgan", "acgan"), ("labels-ignored",), True),
    "dead-units": Fault(
        inside("G", dead), ("gan", "dcgan"), ("mode-collapse", "no-update", "strong-discriminator"), True
    ),
    "momentum-.99": Fault(
        settings("generator", betas=(0.99, 0.999)), ("gan", "dcgan"), ("cycling", "large-steps", "mode-collapse"), True
    ),
    "no-penalty": Fault(attribute("gp_weight", 0.0), ("wgan-gp",), ("gradient-penalty", "divergence"), True),
    "penalty-x1000": Fault(attribute("gamma", 500.0), ("r1",), ("weak-scores", "no-progress"), True),
    "not-a-number": Fault(other_feed(not_a_number), ("gan", "r1"), ("divergence",), True),
    "coarse-images": Fault(
        inside("G", lambda G: Then(G, coarse)), ("gan", "r1"), ("abnormal-samples", "strong-discriminator"), True
    ),
    "code-discriminator-frozen": Fault(rates(0, "discriminator"), ("aae",), ("no-update",), True),
    "rates-0-from-10": Fault(
        lambda recipe, data: setattr(
            recipe, "schedules", dict.fromkeys(recipe.optimizers, lambda r: {"lr": 0.0} if r > 10 else {})
        ),
        ("gan", "dcgan"),
        ("no-update",),
        True,
    ),
    "sigmoids": Fault(
        inside("G", sigmoids), ("gan", "r1"), ("mode-collapse", "no-progress", "strong-discriminator"), True
    ),
    "saturated-output": Fault(inside("G", saturated), ("gan", "dcgan"), ("value-range", "strong-discriminator"), True),
    "data-from-0": Fault(other_feed(lambda x, played: (x + 1) / 2), ("gan", "r1"), ("value-range",), True),
    "linear-discriminator": Fault(
        inside("D", linear_discriminator), ("gan", "r1"), ("weak-scores", "no-progress"), True
    ),
    "one-number-codes": Fault(
        inside("G", lambda G: Then(G, None, one_number)), ("gan", "dcgan"), ("mode-collapse",), True
    ),
    "100-images": Fault(few(100), ("hinge", "r3gan"), ("discriminator-overfit",), True),
    "discriminator-x10-gan": Fault(
        rates(10, "discriminator"), ("hinge", "lsgan"), ("strong-discriminator", "large-steps"), True
    ),
    "generator-decays": Fault(
        settings("generator", weight_decay=3.0),
        ("gan", "dcgan"),
        ("mode-collapse", "strong-discriminator", "no-progress"),
        True,
    ),
    "negatives": Fault(other_feed(lambda x, played: -x), ("gan", "r1"), ("value-range", "no-progress"), True),
    "rates-x30-momentum-.9": Fault(
        hasty, ("dcgan", "hinge"), ("large-steps", "mode-collapse", "strong-discriminator", "divergence"), True
    ),
    "discriminator-reborn": Fault(reborn, ("gan", "lsgan"), ("weak-scores", "no-progress", "large-steps"), True),
    "same-batch": Fault(other_feed(first_ones), ("gan", "hinge"), ("discriminator-overfit", "mode-collapse"), True),
    "two-codes": Fault(inside("G", lambda G: Then(G, None, two)), ("gan", "dcgan"), ("mode-collapse",), True),
    "discriminator-dropout-.97": Fault(
        inside("D", lambda D: nn.Sequential(nn.Dropout(0.97), D)), ("gan", "r1"), ("weak-scores", "no-progress"), True
    ),
    "generator-sgd": Fault(
        lambda recipe, data: setattr(
            recipe, "optimizers", {**recipe.optimizers, "generator": partial(torch.optim.SGD, lr=1e-4)}
        ),
        ("gan", "lsgan"),
        ("no-update", "strong-discriminator", "no-progress"),
        True,
    ),
    "codes-x100": Fault(
        inside("G", lambda G: Then(G, None, lambda z: 100 * z)), ("mlp", "gan"), ("mode-collapse", "no-progress"), True
    ),
    "no-negatives": Fault(
        inside("G", lambda G: Then(G, nn.functional.relu)), ("dcgan", "lsgan"), ("value-range",), True
    ),
    # The monitor had never seen these when it was measured on them: they were written after 01b5557 had frozen it.
    "gradients-pile-up": Fault(
        lambda recipe, data: None,
        ("gan", "r1"),
        ("divergence", "large-steps", "mode-collapse", "strong-discriminator"),
        False,
        never_cleared,
    ),
    "born-large": Fault(
        inside("G", large),
        ("dcgan", "gan"),
        ("strong-discriminator", "no-progress", "mode-collapse", "abnormal-samples"),
        False,
    ),
    "discriminator-decays": Fault(
        settings("discriminator", weight_decay=10.0), ("gan", "lsgan"), ("weak-scores", "no-progress"), False
    ),
    "real-in-noise": Fault(
        other_feed(lambda x, played: x + 0.7 * torch.randn_like(x)),
        ("gan", "r1"),
        ("abnormal-samples", "checkerboard"),
        False,
    ),
    "linear-generator": Fault(
        inside("G", linear),
        ("gan", "dcgan"),
        ("abnormal-samples", "mode-collapse", "strong-discriminator", "no-progress"),
        False,
    ),
    "local-discriminator": Fault(
        inside("D", lambda D: Then(D, None, coarse)),
        ("gan", "r1"),
        ("weak-scores", "abnormal-samples", "checkerboard", "no-progress"),
        False,
    ),
    "half-an-image": Fault(
        inside("G", lambda G: Then(G, upper_half)),
        ("dcgan", "hinge"),
        ("strong-discriminator", "abnormal-samples", "value-range", "mode-collapse", "no-progress"),
        False,
    ),
    "other-codes": Fault(
        tenth_codes, ("gan", "dcgan"), ("abnormal-samples", "mode-collapse", "no-progress", "value-range"), False
    ),
    "half-flipped": Fault(flipped, ("gan", "dcgan"), ("weak-scores", "no-progress"), False),
    "critic-lr-x100": Fault(
        rates(100, "critic"),
        ("wgan-gp",),
        ("large-steps", "divergence", "gradient-penalty", "strong-discriminator"),
        False,
    ),
    "divergence-x0": Fault(attribute("beta", 0.0), ("vae",), ("no-progress", "value-range", "mode-collapse"), False),
}


# The bank.


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
