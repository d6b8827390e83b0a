"""What is said of each cause, and the one command that is suggested: always one that the command line takes."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparring.errors import SparringError
from sparring.monitor.rules import Suspect
from sparring.recipes import RECIPES
from sparring.recipes.recipe import arguments, load_recipe


@dataclass(frozen=True)
class Cause:
    """How a cause is called, what was seen (with the numbers of the last look), and what to do about it.

    high, low  arguments that are too high, or too low, where a recipe's settings were changed: the command takes those
               that were given above, or below, the recipe's own value back to it
    to         else the first of these arguments that the recipe has is set to this value
    otherwise  else a command with {recipe}, {data} and {run} in it

    No argument is changed beyond the recipe's own unless that was seen to help (docs/results/monitor.md).
    """

    title: str
    seen: str
    helps: str
    high: tuple[str, ...] = ()
    low: tuple[str, ...] = ()
    to: tuple[tuple[str, Any], ...] = ()
    otherwise: str = "sparring report {run}"


RATES = ("discriminator_lr", "generator_lr", "reconstruction_lr", "adversarial_lr", "lr")

CAUSES: dict[str, Cause] = {
    "divergence": Cause(
        "The networks are running away",
        "A loss, a score or the weights grow without end, or a number is not finite any more ({growth}).",
        "Usually learning rates are too high, or nothing holds the discriminator.",
        high=RATES,
        low=("gp_weight", "gamma"),
    ),
    "schedule-ended": Cause(
        "The schedule has ended",
        "The learning rate of the {ended} is 0: further rounds change nothing.",
        "Stop here, or plan the schedule of the next training for more rounds.",
    ),
    "no-update": Cause(
        "A player does not learn",
        "The weights of the {player} have not moved at all.",
        "Its learning rate is 0, or its optimizer holds other weights: look at the recipe's optimizers and schedules.",
        otherwise="sparring recipes {recipe}",
    ),
    "losses-inconsistent": Cause(
        "Both players win",
        "The losses of both lie far below equilibrium ({losses}); opponents cannot both win.",
        "A label or a sign is the wrong way round: one of them helps the other.",
        otherwise="sparring recipes {recipe}",
    ),
    "weak-discriminator": Cause(
        "The discriminator is too weak",
        "It scores a sample above a real image in {fooled} of 100 pairs, though they are far apart ({distance}; "
        "{losses}). A falling loss of the generator is no success here: it wins without making better samples.",
        "The discriminator needs a higher learning rate, more steps, or to be larger.",
        high=("gamma", "gp_weight"),
        low=("discriminator_lr", "critic_steps", "lr"),
    ),
    "large-steps": Cause(
        "The steps are too big",
        "In one round the {player} changes by {step} of the size of its weights.",
        "Usually its learning rate is too high.",
        high=RATES,
    ),
    "posterior-collapse": Cause(
        "The code says nothing (posterior collapse)",
        "The codes of all images are nearly the same: {nats} nats in all.",
        "The weight of the divergence is too high for what the decoder gains from the code.",
        high=("beta",),
    ),
    "gradient-penalty": Cause(
        "The critic is not held",
        "The critic's slope is far from 1: on average {slope} squared away.",
        "The penalty is too weak, or the critic has too few steps.",
        low=("gp_weight", "critic_steps"),
    ),
    "ema-lag": Cause(
        "The averaged weights lag behind",
        "Samples of the averaged weights are far from images ({shown}), those of the live ones are not ({distance}).",
        "The average remembers too long for a training of this length; with more rounds it catches up.",
        high=("ema_half_life",),
        to=(("ema_decay", 0.99),),
    ),
    "mode-collapse": Cause(
        "The samples look alike (mode collapse)",
        "Two samples are {diversity} as far apart as two images, a sample and the one nearest to it "
        "{neighbors}, and that does not grow.",
        "Look at the grids: this can pass by itself; if it does not, further rounds will not help.",
        high=("generator_lr", "lr"),
        low=("discriminator_lr", "gamma", "gp_weight"),
    ),
    "value-range": Cause(
        "Samples and images have other ranges",
        "The {end} pixels of samples stay {gap} of the range away from those of the images.",
        "Generator and data must mean the same by black and white: both in [-1, 1], as tanh gives.",
        otherwise="sparring check-data {data}",
    ),
    "weak-scores": Cause(
        "The discriminator has given up",
        "It tells {separation} of samples from images, by scores of size {scores}, though they are far apart "
        "({distance}). Balanced losses do not mean success here.",
        "It is too small, too slow, or held too tightly.",
        high=("gamma", "gp_weight"),
        low=("discriminator_lr", "adversarial_lr", "critic_steps", "lr"),
    ),
    "strong-discriminator": Cause(
        "The discriminator is too strong",
        "It tells every sample from every image ({separation} of 1), and samples no longer get closer ({distance}).",
        "It learns too fast for the generator, or nothing holds it.",
        high=("discriminator_lr", "critic_steps", "lr"),
        low=("generator_lr", "gamma", "gp_weight"),
    ),
    "checkerboard": Cause(
        "Checkerboards",
        "Samples have {checker} times as much of the finest stripes and checkers as images.",
        "Transposed convolutions start with them, and they may stay; resizing before a convolution makes none.",
    ),
    "discriminator-overfit": Cause(
        "The discriminator learns the images by heart",
        "It scores an image that it was trained on above one that it was not in {memory} of 100 pairs.",
        "There are too few images for it, or the training is too long for so few.",
        otherwise="sparring check-data {data}",
    ),
    "labels-ignored": Cause(
        "The labels do nothing",
        "What is asked for and what is made have little to do with each other (agreement {labels} of 1).",
        "The labels of the data are wrong, or one of the networks ignores them.",
        low=("g_class_weight", "d_class_weight"),
        otherwise="sparring check-data {data}",
    ),
    "abnormal-samples": Cause(
        "The samples are unlike images",
        "They have {edges} times the edges of images and {checker} times their finest stripes, two of them are "
        "{diversity} as far apart as two images, a sample and the one nearest to it {neighbors}: no healthy training "
        "ends like this.",
        "Look at the pictures for what is blurred, rough or repeated: the generator cannot make it better, or the "
        "discriminator cannot see it.",
    ),
    "no-progress": Cause(
        "No progress",
        "Samples are as far from images as at half of the rounds so far ({distance}).",
        "Look at the pictures and the curves; more rounds alone will not help.",
    ),
}
"""Cause -> what is said. The order is that of `causes.RULES`."""


def explain(one: Suspect, before: Sequence[str]) -> str:
    """What was seen and what helps; and what else was told before, which may be the root of it."""
    about = CAUSES[one.cause]
    said = f"{about.seen.format_map(one.seen)} {about.helps}"
    if before:
        said += f" It may come of what was told before ({'; '.join(title.lower() for title in before)})."
    return said


def command(cause: str, config: Mapping[str, Any], run: str = "RUN") -> str:
    """One thing to try: the same training with other arguments, or a look at something."""
    about, given, source = CAUSES[cause], config["arguments"], config["data"]["source"]
    try:
        own = {argument.name: argument.default for argument in arguments(load_recipe(config["recipe"], RECIPES))}
    except SparringError:  # a recipe of the user's that is not importable
        own = {}
    known = [name for name in given if name in own]
    tried = {name: own[name] for name in known if name in about.high and given[name] > own[name]}
    tried |= {name: own[name] for name in known if name in about.low and given[name] < own[name]}
    if not tried:
        tried = dict([(name, value) for name, value in about.to if name in known and given[name] != value][:1])
    if tried:
        return _again(config, {**given, **tried})
    data = "DATA" if source is None else " ".join(map(_word, _sources(source)))
    return about.otherwise.format(recipe=_word(config["recipe"]), data=data, run=_word(run))


def _sources(source: Mapping[str, Any]) -> list[str]:
    found = source["source"]
    return list(found.values()) if isinstance(found, Mapping) else [found]


def _again(config: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """`sparring train` as before, with these arguments of the recipe."""
    source = config["data"]["source"]
    words = ["sparring", "train", config["recipe"]]
    if source is None:
        words += ["--data", "DATA"]
    elif isinstance(source["source"], Mapping):
        words += [word for name, one in source["source"].items() for word in (f"--data-{name}", _word(one))]
    else:
        words += ["--data", *map(_word, _sources(source))]
    words += [
        word
        for name in ("size", "channels", "classes")
        if source and source.get(name) is not None
        for word in (f"--{name}", str(source[name]))
    ]
    words += ["--rounds", str(config["rounds"]), "--seed", str(config["seed"])]
    for argument in arguments(load_recipe(config["recipe"], RECIPES)):
        flag, value = "--" + argument.name.replace("_", "-"), wanted[argument.name]
        if value == argument.default:
            continue
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        else:
            words += [flag, _word(value)]
    return " ".join(words)


def _word(value: Any) -> str:
    """A value as the shell takes it."""
    return shlex.quote(f"{value:g}" if isinstance(value, float) else str(value))
