"""The numbers of each source: optimizers and rates, batches, lengths, noise, weights of losses, averages."""

import pytest
import torch
from torch import nn

from sparring.data.dataset import Spec
from sparring.recipes import RECIPES
from sparring.recipes.recipe import build_recipe, load_recipe, resolve_arguments

TEN = tuple("0123456789")
NARROW = {"width": 4}
GRAY = Spec(1, 28, 28)


def made(name, spec=GRAY, **arguments):
    function = load_recipe(name, RECIPES)
    with torch.device("meta"):
        return build_recipe(function, spec, resolve_arguments(function, arguments))


def optimizers(recipe):
    """Player -> (name, rate, beta 1, beta 2 or the memory of squares or momentum)."""
    told = {}
    for player, make in recipe.optimizers.items():
        optimizer = make([nn.Parameter(torch.zeros(1))])
        d = optimizer.defaults
        memory = d["betas"] if "betas" in d else (d.get("alpha", d.get("momentum", 0)),)
        told[player] = (type(optimizer).__name__, d["lr"], *memory)
    return told


def both(name, *numbers, players=("discriminator", "generator")):
    return dict.fromkeys(players, (name, *numbers))


CRITIC = ("critic", "generator")


@pytest.mark.parametrize(
    ("name", "spec", "arguments", "batch", "rounds", "players", "codes"),
    [
        ("goodfellow-mlp", GRAY, {}, 100, 125_000, both("SGD", 0.1, 0.5), ("unit-uniform", 100)),
        ("cs231n-mlp", GRAY, {}, 128, 3_900, both("Adam", 1e-3, 0.5, 0.999), ("uniform", 96)),
        ("cs231n-lsgan", GRAY, {}, 128, 3_900, both("Adam", 1e-3, 0.5, 0.999), ("uniform", 96)),
        ("cs231n-dcgan", GRAY, {}, 128, 1_950, both("Adam", 1e-3, 0.5, 0.999), ("uniform", 96)),
        ("raschka-mlp", GRAY, {}, 128, 46_900, both("Adam", 2e-4, 0.5, 0.999), ("normal", 100)),
        ("raschka-dcgan", Spec(3, 16, 16), NARROW, 128, 20 * 1272, both("Adam", 2e-4, 0.5, 0.999), ("normal", 100)),
        ("dcgan", Spec(1, 16, 16), NARROW, 128, 39_575, both("Adam", 2e-4, 0.5, 0.999), ("normal", 100)),
        ("wgan", Spec(1, 16, 16), NARROW, 64, 100_000, both("RMSprop", 5e-5, 0.99, players=CRITIC), ("normal", 100)),
        ("wgan-gp", GRAY, NARROW, 50, 200_000, both("Adam", 1e-4, 0.5, 0.9, players=CRITIC), ("normal", 128)),
        (
            *("wgan-gp-resnet", Spec(1, 32, 32), NARROW, 64, 100_000),
            *(both("Adam", 2e-4, 0.0, 0.9, players=CRITIC), ("normal", 128)),
        ),
        ("r1gan", GRAY, NARROW, 64, 100_000, both("RMSprop", 1e-4, 0.99), ("normal", 128)),
        (
            *("r3gan", Spec(1, 16, 16), {"width": 4, "groups": 1}, 512, 488_281),
            *(both("Adam", 2e-4, 0.0, 0.9), ("normal", 64)),
        ),
        (
            *("pacgan", Spec(3, 28, 28), {}, 512, 500_000),
            *({"discriminator": ("Adam", 2e-4, 0.5, 0.99), "generator": ("Adam", 1e-4, 0.5, 0.99)}, ("normal", 256)),
        ),
        (
            *("infogan", GRAY, {}, 128, 5_000),
            *({"discriminator": ("Adam", 2e-4, 0.5, 0.999), "generator": ("Adam", 1e-3, 0.5, 0.999)}, ("uniform", 62)),
        ),
        (
            *("biggan", Spec(3, 128, 128, TEN), {"width": 8}, 2_048, 200_000),
            *({"discriminator": ("Adam", 2e-4, 0.0, 0.999), "generator": ("Adam", 5e-5, 0.0, 0.999)}, ("normal", 120)),
        ),
        ("biggan-cifar", Spec(3, 32, 32, TEN), NARROW, 50, 125_000, both("Adam", 2e-4, 0.0, 0.999), ("normal", 128)),
        (
            *("chollet-frogs", Spec(3, 32, 32), NARROW, 20, 10_000),
            *({"discriminator": ("RMSprop", 8e-4, 0.9), "generator": ("RMSprop", 4e-4, 0.9)}, ("normal", 32)),
        ),
        (
            *("smu-frogs", Spec(3, 32, 32), {}, 250, 10_000),
            *({"discriminator": ("RMSprop", 8e-4, 0.99), "generator": ("RMSprop", 4e-4, 0.99)}, ("normal", 32)),
        ),
        (
            *("smu-frogs-wgan-gp", Spec(3, 32, 32), {}, 250, 6_320),
            *(both("Adam", 1e-4, 0.0, 0.9, players=CRITIC), ("normal", 32)),
        ),
        ("improved-gan", Spec(1, 28, 28, TEN), {}, 100, 180_000, both("Adam", 3e-3, 0.5, 0.999), ("uniform", 100)),
        ("vae", GRAY, {}, 100, 54_000, both("Adagrad", 0.01, 0, players=("autoencoder",)), ("normal", 20)),
        (
            *("chollet-vae", GRAY, {}, 16, 33_750),
            *(both("RMSprop", 1e-3, 0.9, players=("autoencoder",)), ("normal", 2)),
        ),
        (
            "smu-vae",
            Spec(1, 28, 28),
            {},
            32,
            25_300,
            both("Adam", 1e-4, 0.9, 0.999, players=("autoencoder",)),
            ("normal", 2),
        ),
        (
            *("vae-gan", Spec(3, 64, 64), NARROW, 64, 62_500),
            *(both("RMSprop", 3e-4, 0.9, players=("encoder", "generator", "discriminator")), ("normal", 128)),
        ),
        (
            *("alae", GRAY, NARROW, 128, 375_000),
            *(both("Adam", 2e-3, 0.0, 0.99, players=("discriminator", "generator", "autoencoder")), ("normal", 50)),
        ),
        (
            *("cyclegan", Spec(3, 128, 128, ("a", "b")), NARROW, 1, 266_800),
            *(both("Adam", 2e-4, 0.5, 0.999, players=("translators", "discriminators")), ("normal", 0)),
        ),
        (
            *("pix2pix", Spec(3, 64, 64, ("a", "b")), NARROW, 1, 80_000),
            *(both("Adam", 2e-4, 0.5, 0.999), ("normal", 0)),
        ),
        (
            *("aae-semi-supervised", Spec(1, 28, 28, TEN), {}, 100, 3_000_000),
            *(
                both("SGD", 0.1, 0.1, players=("discriminators", "encoder"))
                | {"autoencoder": ("SGD", 0.01, 0.9), "classifier": ("SGD", 0.1, 0.9)},
                ("normal", 10),
            ),
        ),
    ],
)
def test_a_recipe_as_it_comes_has_the_numbers_of_its_source(name, spec, arguments, batch, rounds, players, codes):
    recipe = made(name, spec, **arguments)
    assert (recipe.batch, recipe.rounds) == (batch, rounds)
    assert optimizers(recipe) == players
    assert (recipe.system.noise_distribution, recipe.system.latent_dim) == codes


@pytest.mark.parametrize(
    ("name", "spec", "arguments", "numbers"),
    [
        ("wgan", Spec(1, 16, 16), NARROW, {"critic_steps": 5, "warm_start": 100, "clip": 0.01}),
        ("wgan-gp", GRAY, NARROW, {"critic_steps": 5, "gp_weight": 10}),
        ("wgan-gp-resnet", Spec(1, 32, 32), NARROW, {"critic_steps": 5, "gp_weight": 10, "generator_batch": 2}),
        ("r1gan", GRAY, NARROW, {"gamma": 10, "penalize": "real", "penalty_interval": 1}),
        ("biggan", Spec(3, 128, 128, TEN), {"width": 8}, {"discriminator_steps": 2, "ortho_weight": 1e-4}),
        ("biggan-cifar", Spec(3, 32, 32, TEN), NARROW, {"discriminator_steps": 4, "ortho_weight": 0}),
        ("infogan", GRAY, {}, {"n_categories": 10, "n_continuous": 2, "info_weight": 1}),
        ("acgan", Spec(1, 28, 28, TEN), {}, {"d_class_weight": 1, "g_class_weight": 1}),
        ("cyclegan", Spec(3, 128, 128, ("a", "b")), NARROW, {"lambda_cycle": 10, "lambda_identity": 0.5}),
        ("pix2pix", Spec(3, 64, 64, ("a", "b")), NARROW, {"lambda_l1": 100, "lambda_adversarial": 1}),
        ("vae", GRAY, {}, {"beta": 1}),
        ("vae-gan", Spec(3, 64, 64), NARROW, {"gamma": 2e-6}),
    ],
)
def test_weights_of_losses_and_steps_are_those_of_the_source(name, spec, arguments, numbers):
    system = made(name, spec, **arguments).system
    assert {key: getattr(system, key) for key in numbers} == numbers


def test_averages_that_the_sources_have():
    """Of the others most show the live weights."""
    cifar = made("biggan-cifar", Spec(3, 32, 32, TEN), **NARROW)
    large = made("biggan", Spec(3, 128, 128, TEN), width=8)
    assert [(r.ema_decay, r.ema_start) for r in (cifar, large)] == [(0.9999, 1_000), (0.9999, 20_000)]
    assert made("r1gan", **NARROW).ema_decay == 0.999
    assert made("improved-gan", Spec(1, 28, 28, TEN)).ema_decay == 0.9999  # 1e-4 of the live weights in each round
    assert made("r3gan", Spec(1, 16, 16), width=4, groups=1).ema_decay == pytest.approx(0.5 ** (512 / 5e6), abs=2e-6)
    assert made("alae", **NARROW).ema_decay == pytest.approx(0.5 ** (128 / 10_000))


def test_rates_move_as_in_the_source():
    goodfellow = made("goodfellow-mlp").schedules["generator"]
    assert goodfellow(125_000) == pytest.approx({"lr": 0.1 * 1.000004**-125_000, "momentum": 0.7})
    assert goodfellow(10**8)["lr"] == pytest.approx(1e-6)
    falling = made("wgan-gp-resnet", Spec(1, 32, 32), **NARROW).schedules["critic"]
    assert [falling(n)["lr"] for n in (1, 50_001, 100_001)] == pytest.approx([2e-4, 1e-4, 0])
    recipe = made("r3gan", Spec(1, 16, 16), width=4, groups=1)
    assert [recipe.system.gamma(n) for n in (1, 39_063, 10**6)] == pytest.approx([0.05, 0.005, 0.005])
    r3gan = recipe.schedules["generator"]
    assert [(s["lr"], s["betas"][1]) for s in map(r3gan, (1, 39_063, 10**6))] == [
        (pytest.approx(2e-4), pytest.approx(0.9)),
        (pytest.approx(5e-5), pytest.approx(0.99)),
        (pytest.approx(5e-5), pytest.approx(0.99)),
    ]
