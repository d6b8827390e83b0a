"""Recipes: variants, schedules in closed form, and the one check of sizes."""

import inspect
import math
from dataclasses import replace
from typing import Annotated

import pytest
import torch
from helpers import one_line
from pydantic import Field

from sparring.data.dataset import Spec
from sparring.errors import require_size
from sparring.recipes import RECIPES
from sparring.recipes.arguments import GANOptions
from sparring.recipes.recipe import (
    arguments,
    build_recipe,
    info,
    load_recipe,
    recipe,
    resolve_arguments,
    variant,
)
from sparring.recipes.schedules import (
    constant,
    cosine,
    exponential_decay,
    inverse_time,
    linear_decay,
    schedule,
    step_decay,
    warmup,
)

# Variants.

Length = Annotated[int, Field(gt=0, description="length of the code")]


@recipe(paper="none", size=28, classes=2)
def base(data: Spec, *, latent_dim: Length = 3, lr: float = 0.1, options: GANOptions = GANOptions()):
    """The base."""
    return load_recipe("csc321-mlp", RECIPES)(data, latent_dim=latent_dim, options=options)


@variant(base, paper="another", size=8, latent_dim=5, options=GANOptions(game="hinge"))
def smaller() -> None:
    """A variant."""


def test_a_variant_has_the_arguments_of_its_base_with_other_defaults():
    changed = {"latent_dim": 5, "game": "hinge"}
    ours = [(a.name, str(a.type), a.default, a.help, a.group) for a in arguments(smaller)]
    theirs = [(a.name, str(a.type), changed.get(a.name, a.default), a.help, a.group) for a in arguments(base)]
    assert ours == theirs
    assert (smaller.__name__, smaller.__module__, smaller.__doc__) == ("smaller", __name__, "A variant.")
    assert info(smaller) == replace(info(base), paper="another", size=8, classes=0)
    assert inspect.isfunction(smaller)
    assert load_recipe(f"{__name__}:smaller", RECIPES) is smaller


def test_a_variant_builds_its_base():
    def built(function, **given):
        torch.manual_seed(0)
        return build_recipe(function, Spec(1, 8, 8), resolve_arguments(function, given)).system

    ours, theirs = built(smaller), built(base, latent_dim=5, game="hinge")
    assert ours.game.name == "hinge"
    weights = theirs.state_dict()
    assert all(torch.equal(weight, weights[name]) for name, weight in ours.state_dict().items())
    assert built(smaller, latent_dim=7).latent_dim == 7
    assert smaller(Spec(1, 8, 8)).system.latent_dim == 5  # without the command line
    one_line(lambda: resolve_arguments(smaller, {"latent_dim": 0}), "latent_dim (--latent-dim) is 0")


def test_a_variant_of_an_argument_that_the_base_does_not_have_is_refused():
    with pytest.raises(TypeError, match="base has no argument game"):
        variant(base, paper="none", game="hinge")


# Schedules.


def test_schedules_in_closed_form():
    rounds = (1, 2, 5, 10, 11, 100)
    expected = {
        constant(2.0): [2.0] * 6,
        warmup(2.0, 10): [0.2, 0.4, 1.0, 2.0, 2.0, 2.0],
        warmup(2.0, 10, start=1.0): [1.1, 1.2, 1.5, 2.0, 2.0, 2.0],
        warmup(2.0, 0): [2.0] * 6,
        linear_decay(2.0, first=2, last=10): [2.0, 2.0, 1.25, 0.0, 0.0, 0.0],
        step_decay(2.0, (5, 11)): [2.0, 2.0, 0.2, 0.2, 0.02, 0.02],
        inverse_time(2.0, 0.5): [2.0, 4 / 3, 2 / 3, 2 / 5.5, 2 / 6, 2 / 50.5],
        exponential_decay(2.0, 2.0, floor=0.1): [1.0, 0.5, 0.2, 0.2, 0.2, 0.2],
        cosine(4.0, 2.0, 8): [4.0, 3 + math.cos(math.pi / 8), 3.0, 2.0, 2.0, 2.0],
    }
    for curve, values in expected.items():
        assert [curve(n) for n in rounds] == pytest.approx(values)


def test_a_schedule_gives_all_settings_of_a_round():
    settings = schedule(lr=warmup(1.0, 4), betas=lambda n: (0.0, n / 10))
    assert settings(2) == {"lr": 0.5, "betas": (0.0, 0.2)}


# Sizes.


@pytest.mark.parametrize(
    ("size", "options", "words"),
    [
        (32, {"sizes": [28]}, "x supports images whose size is 28 pixels, not 32: give --size 28"),
        (60, {"sizes": [16, 32, 64]}, "whose size is 16, 32 or 64 pixels, not 60: give --size 64"),
        (8, {"multiple_of": 16}, "whose size is a multiple of 16 and at least 16 pixels, not 8: give --size 16"),
        (22, {"multiple_of": 4, "least": 23}, "a multiple of 4 and at least 24 pixels, not 22: give --size 24"),
        (27, {"multiple_of": 4}, "not 27: give --size 28"),
        (12, {"least": 16}, "whose size is at least 16 pixels, not 12: give --size 16"),
        (32, {"sizes": [28], "others": "dcgan"}, "give --size 28, or choose a recipe for other sizes (dcgan)"),
    ],
)
def test_other_sizes_are_refused_with_the_nearest_that_is_supported(size, options, words):
    message = one_line(lambda: require_size("x", size, **options), words)
    require_size("x", int(message.split("--size ")[1].split(",")[0]), **options)
