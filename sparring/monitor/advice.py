"""The description of each cause and one suggested command, which is always valid on the command line."""

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
    """A cause of problems, its symptom and its remedy.

    title     a short name
    symptom   a sentence with fields for the numbers of the last observation (`rules.evidence`)
    remedy    what usually causes it, and how to fix it
    high      arguments that may be too high: the command resets those above the recipe's default to the default
    low       arguments that may be too low: the command resets those below the recipe's default to the default
    fallback  if nothing was reset: a command with the fields {recipe}, {data} and {run}

    The command never moves an argument beyond the recipe's default. A cause has arguments to reset only if trainings
    with that cause were played again with its command, and most of them improved (docs/results/monitor.md).
    """

    title: str
    symptom: str
    remedy: str
    high: tuple[str, ...] = ()
    low: tuple[str, ...] = ()
    fallback: str = "sparring report {run}"


RATES = ("discriminator_lr", "generator_lr", "reconstruction_lr", "adversarial_lr", "lr")

CAUSES: dict[str, Cause] = {
    "divergence": Cause(
        "Training is diverging",
        "A loss, the scores or the weights keep growing, or a number is no longer finite ({growth}).",
        "Usually the learning rates are too high, or the discriminator is not regularized.",
        high=RATES,
        low=("gp_weight", "gamma"),
    ),
    "schedule-ended": Cause(
        "The learning-rate schedule has ended",
        "The learning rate of the {ended} is 0: further rounds change nothing.",
        "Stop here, or train again with a schedule for more rounds.",
    ),
    "no-update": Cause(
        "A player does not learn",
        "The weights of the {player} have not changed.",
        "Its learning rate is 0, or its optimizer has other weights: check the recipe's optimizers and schedules.",
        fallback="sparring recipes {recipe}",
    ),
    "losses-inconsistent": Cause(
        "The losses are inconsistent",
        "Both losses are far below equilibrium ({losses}), but in a game one player's gain is the other's loss.",
        "A label or a sign is inverted: one player helps the other.",
        fallback="sparring recipes {recipe}",
    ),
    "weak-discriminator": Cause(
        "The discriminator is too weak",
        "It scores a sample above a real image in {fooled} of 100 pairs, although the distributions are far apart "
        "({distance}; {losses}). A falling generator loss is not a success here: the samples do not improve.",
        "Give the discriminator a higher learning rate, more steps, or more capacity.",
        high=("gamma", "gp_weight"),
        low=("discriminator_lr", "critic_steps", "discriminator_steps", "lr"),
    ),
    "large-steps": Cause(
        "The update steps are too large",
        "In one round the weights of the {player} change by {step} of their norm.",
        "Usually its learning rate is too high.",
    ),
    "posterior-collapse": Cause(
        "Posterior collapse",
        "The latent codes of all images are nearly the same: the KL divergence is only {nats} nats.",
        "The weight of the KL divergence (beta) is too high.",
        high=("beta",),
    ),
    "gradient-penalty": Cause(
        "The gradient penalty is not effective",
        "The gradient norm of the critic is far from 1: the mean squared deviation is {gradient_penalty}.",
        "The penalty weight is too small, or the critic takes too few steps.",
        low=("gp_weight", "critic_steps"),
    ),
    "ema-lag": Cause(
        "The EMA weights lag behind",
        "Samples of the EMA weights are far from the images ({ema_distance}), those of the live weights near "
        "({distance}).",
        "The EMA decays too slowly for a training of this length; with more rounds it catches up.",
    ),
    "mode-collapse": Cause(
        "Mode collapse",
        "The samples are too similar, and this is not improving: relative to images, the mean distance between two "
        "samples is {diversity} and the nearest-neighbor distance {neighbors}.",
        "Look at the grids: this may pass by itself; if it does not, more rounds will not help.",
        high=("generator_lr", "lr"),
        low=("discriminator_lr", "gamma", "gp_weight"),
    ),
    "value-range": Cause(
        "Samples and images have different value ranges",
        "The {end} pixels of the samples differ from those of the images by {gap} of the range.",
        "Generator and data must use the same value range: [-1, 1], as tanh gives.",
        fallback="sparring check-data {data}",
    ),
    "weak-scores": Cause(
        "The discriminator is ineffective",
        "Its separation of samples from images is {separation} (1: perfect) and the mean size of its scores {scores}, "
        "although the distributions are still far apart ({distance}). Balanced losses are not a success here.",
        "It is too small, learns too slowly, or is regularized too strongly.",
        high=("gamma", "gp_weight"),
        low=("discriminator_lr", "adversarial_lr", "critic_steps", "discriminator_steps", "lr"),
    ),
    "strong-discriminator": Cause(
        "The discriminator is too strong",
        "It separates nearly all samples from images ({separation}; 1: all), and the samples are no longer getting "
        "closer ({distance}).",
        "It learns too fast for the generator, or is not regularized.",
    ),
    "checkerboard": Cause(
        "Checkerboard artifacts",
        "The finest stripes and checkerboards have {checker} times as much power in samples as in images.",
        "Transposed convolutions produce them at first and sometimes keep them; resize-convolutions do not.",
    ),
    "discriminator-overfit": Cause(
        "The discriminator overfits the training images",
        "It scores a training image above a held-out image in {memory} of 100 pairs.",
        "There are too few images, or too many rounds for so few images.",
        fallback="sparring check-data {data}",
    ),
    "labels-ignored": Cause(
        "The labels are ignored",
        "Samples hardly match the requested classes (agreement {labels}; 1: perfect).",
        "The labels of the data are wrong, or one of the networks ignores them.",
        low=("g_class_weight", "d_class_weight"),
        fallback="sparring check-data {data}",
    ),
    "abnormal-samples": Cause(
        "The samples are abnormal",
        "No healthy training ends with such values. Relative to images: edge strength {edges}, power of the finest "
        "stripes {checker}, mean distance between two samples {diversity}, nearest-neighbor distance {neighbors}.",
        "Check the grids for blur, noise and repetition: the generator may lack capacity, or the discriminator may not "
        "detect the fault.",
    ),
    "no-progress": Cause(
        "No progress",
        "Samples are as far from the images as they were halfway through the rounds so far ({distance}).",
        "Look at the grids and the curves; more rounds alone will not help.",
    ),
}
"""Cause -> description, in the order of `rules.RULES`."""


def explain(suspect: Suspect, open_alarms: Sequence[str]) -> str:
    """Symptom and remedy of a cause, and the titles of open alarms that may explain it."""
    cause = CAUSES[suspect.cause]
    text = f"{cause.symptom.format_map(suspect.evidence)} {cause.remedy}"
    if open_alarms:
        titles = "; ".join(title[:1].lower() + title[1:] for title in open_alarms)
        text += f" Possibly caused by an earlier alarm ({titles})."
    return text


def command(cause: str, config: Mapping[str, Any], run: str = "RUN") -> str:
    """One command to try: the same training with other arguments, or a command that shows more."""
    about, values, source = CAUSES[cause], config["arguments"], config["data"]["source"]
    try:
        defaults = {argument.name: argument.default for argument in arguments(load_recipe(config["recipe"], RECIPES))}
    except SparringError:  # a user's recipe that cannot be imported
        defaults = {}
    names = [name for name in values if name in defaults]
    changes = {name: defaults[name] for name in names if name in about.high and values[name] > defaults[name]}
    changes |= {name: defaults[name] for name in names if name in about.low and values[name] < defaults[name]}
    if changes:
        return _train_command(config, {**values, **changes})
    data = "DATA" if source is None else " ".join(map(_quote, _sources(source)))
    return about.fallback.format(recipe=_quote(config["recipe"]), data=data, run=_quote(run))


def _sources(source: Mapping[str, Any]) -> list[str]:
    paths = source["source"]
    return list(paths.values()) if isinstance(paths, Mapping) else [paths]


def _train_command(config: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """The `sparring train` command of the run, with these values of the recipe's arguments."""
    source = config["data"]["source"]
    words = ["sparring", "train", config["recipe"]]
    if source is None:
        words += ["--data", "DATA"]
    elif isinstance(source["source"], Mapping):
        words += [word for name, path in source["source"].items() for word in (f"--data-{name}", _quote(path))]
    else:
        words += ["--data", *map(_quote, _sources(source))]
    words += [
        word
        for name in ("size", "channels", "classes")
        if source and source.get(name) is not None
        for word in (f"--{name}", str(source[name]))
    ]
    words += ["--rounds", str(config["rounds"]), "--seed", str(config["seed"])]
    for argument in arguments(load_recipe(config["recipe"], RECIPES)):
        flag, value = "--" + argument.name.replace("_", "-"), values[argument.name]
        if value == argument.default:
            continue
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        else:
            words += [flag, _quote(value)]
    return " ".join(words)


def _quote(value: Any) -> str:
    """A value quoted for the shell."""
    return shlex.quote(f"{value:g}" if isinstance(value, float) else str(value))
