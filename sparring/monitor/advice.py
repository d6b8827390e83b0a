"""What is said of each cause, and the one command that is suggested: always one that the command line takes."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparring.errors import SparringError
from sparring.monitor.causes import Suspicion
from sparring.recipes import RECIPES
from sparring.recipes.recipe import arguments, find, settle


@dataclass(frozen=True)
class Change:
    """A recipe's argument of this name, set; or multiplied, at least up or down to the recipe's default."""

    name: str
    times: float | None = None
    to: Any = None


@dataclass(frozen=True)
class Cause:
    """How a cause is called, what was seen (with the numbers of the last look), what helps, and what to try.

    changes  sets of arguments, the first of which the recipe has in full is tried; () and none found: `otherwise`
    otherwise  a command with {recipe}, {data} and {run} in it
    """

    title: str
    seen: str
    helps: str
    changes: tuple[tuple[Change, ...], ...] = ()
    otherwise: str = "sparring report {run}"


def slower(factor: float) -> tuple[tuple[Change, ...], ...]:
    """All learning rates of the recipe, by a factor."""
    return (
        (Change("discriminator_lr", factor), Change("generator_lr", factor)),
        (Change("reconstruction_lr", factor), Change("adversarial_lr", factor)),
        (Change("lr", factor),),
    )


CAUSES: dict[str, Cause] = {
    "running-away": Cause(
        "The networks are running away",
        "A loss, a score or the weights grow without end, or a number is not finite any more ({growth}).",
        "Lower the learning rates, and hold the discriminator by a gradient penalty or by spectral norm.",
        slower(0.2),
    ),
    "schedule-ended": Cause(
        "The schedule has ended",
        "The learning rate of the {ended} is 0: further rounds change nothing.",
        "Stop here, or plan the schedule of the next training for more rounds.",
    ),
    "frozen": Cause(
        "A player does not learn",
        "The weights of the {player} have not moved at all.",
        "Its learning rate is 0, or its optimiser holds other weights: look at the recipe's optimisers and schedules.",
        otherwise="sparring recipes {recipe}",
    ),
    "same-side": Cause(
        "Both players win",
        "The losses of both lie far below equilibrium ({losses}); opponents cannot both win.",
        "A label or a sign is the wrong way round: one of them helps the other.",
        otherwise="sparring recipes {recipe}",
    ),
    "weak-discriminator": Cause(
        "The discriminator is too weak",
        "It scores a sample above a real image in {fooled} of 100 pairs, though they are far apart ({distance}; "
        "{losses}). A falling loss of the generator is no success here: it wins without making better samples.",
        "Raise the discriminator's learning rate, give it more steps, or make it larger.",
        (
            (Change("discriminator_lr", 4.0),),
            (Change("critic_steps", 2.0),),
            (Change("lr", 2.0),),
        ),
    ),
    "big-steps": Cause(
        "The steps are too big",
        "In one round the {player} changes by {step} of the size of its weights.",
        "Lower its learning rate.",
        slower(0.2),
    ),
    "deaf-code": Cause(
        "The code says nothing (posterior collapse)",
        "The codes of all images are nearly the same: {nats} nats in all.",
        "Lower the weight of the divergence, or let it grow from 0.",
        ((Change("beta", 0.1),),),
    ),
    "slope": Cause(
        "The critic is not held",
        "The critic's slope is far from 1: on average {slope} squared away.",
        "The penalty is too weak, or the critic has too few steps.",
        ((Change("penalty", 10.0),), (Change("critic_steps", 2.0),)),
    ),
    "average-lags": Cause(
        "The averaged weights lag behind",
        "Samples of the averaged weights are far from images ({shown}), those of the live ones are not ({distance}).",
        "The average remembers too long for a training of this length.",
        ((Change("average", to=0.99),), (Change("half_life", 0.1),)),
    ),
    "collapse": Cause(
        "The samples look alike (mode collapse)",
        "Two samples are {diversity} as far apart as two images, a sample and the one nearest to it "
        "{neighbours}, and that does not grow.",
        "Lower the generator's rate, let the discriminator see whole batches, or hold it by a gradient penalty.",
        ((Change("minibatch", to="std"),), (Change("generator_lr", 0.25),), (Change("lr", 0.5),)),
    ),
    "range": Cause(
        "Samples and images have other ranges",
        "The {end} pixels of samples stay {gap} of the range away from those of the images.",
        "Generator and data must mean the same by black and white: both in [-1, 1], as tanh gives.",
        otherwise="sparring check-data {data}",
    ),
    "idle-judge": Cause(
        "The discriminator has given up",
        "It tells {separation} of samples from images, by scores of size {scores}, though they are far apart "
        "({distance}). Balanced losses do not mean success here.",
        "It is too small, too slow, or held too tightly.",
        (
            (Change("gamma", 0.1),),
            (Change("discriminator_lr", 4.0),),
            (Change("critic_steps", 2.0),),
            (Change("adversarial_lr", 4.0),),
            (Change("lr", 2.0),),
        ),
    ),
    "overpowered": Cause(
        "The discriminator is too strong",
        "It tells every sample from every image ({separation} of 1), and samples no longer get closer ({distance}).",
        "Lower its learning rate, give it fewer steps, or hold it by a gradient penalty.",
        ((Change("discriminator_lr", 0.25),), (Change("gamma", 10.0),), (Change("lr", 0.5),)),
    ),
    "checkerboard": Cause(
        "Checkerboards",
        "Samples have {checker} times as much of the finest stripes and checkers as images.",
        "Upsample by resizing and convolution, or by kernels whose size is a multiple of the stride.",
        ((Change("up", to="bilinear"),),),
        "sparring train ganhacks --data {data} --size 32 --up bilinear",
    ),
    "memorising": Cause(
        "The discriminator learns the images by heart",
        "It scores an image that it was trained on above one that it was not in {memory} of 100 pairs.",
        "There are too few images for it: augment them, make it smaller, or stop earlier.",
        ((Change("augment", to="color+translation+cutout"),), (Change("dropout", to=0.5),)),
        "sparring train ganhacks --data {data} --size 32 --augment color+translation+cutout",
    ),
    "labels-ignored": Cause(
        "The labels do nothing",
        "What is asked for and what is made have little to do with each other (agreement {labels} of 1).",
        "The labels of the data are wrong, or one of the networks does not hear them.",
        ((Change("wanted", 2.0),),),
        "sparring check-data {data}",
    ),
    "unlike": Cause(
        "The samples are unlike images",
        "They have {edges} times the edges of images and {checker} times their finest stripes, two of them are "
        "{diversity} as far apart as two images, a sample and the one nearest to it {neighbours}: no healthy training "
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


def told(one: Suspicion, before: Sequence[str]) -> str:
    """What was seen and what helps; and what else was told before, which may be the root of it."""
    about = CAUSES[one.cause]
    said = f"{about.seen.format_map(one.seen)} {about.helps}"
    if before:
        said += f" It may come of what was told before ({'; '.join(title.lower() for title in before)})."
    return said


def command(cause: str, facts: Mapping[str, Any], run: str = "RUN") -> str:
    """One thing to try: the same training with other arguments, or a look at something."""
    about, given, source = CAUSES[cause], facts["arguments"], facts["data"]["source"]
    for changes in about.changes:
        if not all(change.name in given for change in changes):
            continue
        try:
            tried = {change.name: _changed(facts["recipe"], change, given[change.name]) for change in changes}
        except SparringError:  # beyond what the argument allows, or a recipe of the user's that is not importable
            continue
        if all(tried[name] != given[name] for name in tried):
            return _again(facts, {**given, **tried})
    data = "DATA" if source is None else " ".join(map(_word, _sources(source)))
    return about.otherwise.format(recipe=_word(facts["recipe"]), data=data, run=_word(run))


def _changed(recipe: str, change: Change, value: Any) -> Any:
    """The argument's new value, as its type wants it. Raises SparringError where the recipe does not take it."""
    function = find(recipe, RECIPES)
    wanted = change.to
    if change.times is not None:
        default = next(a.default for a in arguments(function) if a.name == change.name)
        wanted = value * change.times
        wanted = max(1, round(wanted)) if isinstance(value, int) else float(f"{wanted:.3g}")
        if (default - wanted) * (wanted - value) > 0:
            wanted = default
    return settle(function, {change.name: wanted})[change.name]


def _sources(source: Mapping[str, Any]) -> list[str]:
    found = source["source"]
    return list(found.values()) if isinstance(found, Mapping) else [found]


def _again(facts: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """`sparring train` as before, with these arguments of the recipe."""
    source = facts["data"]["source"]
    words = ["sparring", "train", facts["recipe"]]
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
    words += ["--rounds", str(facts["rounds"]), "--seed", str(facts["seed"])]
    for argument in arguments(find(facts["recipe"], RECIPES)):
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
