"""Healthy and short trainings of every recipe: what the health monitor and the diagnoses must not complain about.

python benchmarks/healthy.py play  --out runs/healthy     plays what has not been played yet, one JSON line each
python benchmarks/healthy.py judge --out runs/healthy     false alarms of the monitor, from the lines alone
python benchmarks/healthy.py advice --out runs/healthy   what advised commands make of settings that are wrong
python benchmarks/healthy.py time  --out runs/healthy     milliseconds a round of each recipe takes

Each recipe has settings small enough for one CPU thread and a length at which they are known to work. A training is
played to 40 % of that length; the looks up to 5 and 15 % are those of trainings that were planned to end there, as
neither looks nor weights depend on the planned end (no recipe of the list has a schedule that does). A line holds the
looks ("rows"), the alarms at each of the three ends, and a whole `sparring.evaluate` at the last, so that other rules
and diagnoses can be judged later without playing again; grids are PNGs beside them.

Data: 5,000 digits, 6,000 images of Fashion-MNIST, and 300 drawn faces in a folder of two classes, as somebody's own
pictures would be. SPARRING_DATA names a folder with FashionMNIST and faces.zip. Seed 0 of everything comes first, so
that a part of the bank is balanced.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import shlex
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from os import environ
from pathlib import Path
from typing import Any

import torch
from monitor import rate, told

import sparring
from sparring.cli.reading import read
from sparring.cli.training import training_options
from sparring.data.dataset import Dataset
from sparring.machine import commit
from sparring.monitor import CAUSES
from sparring.monitor.advice import command
from sparring.monitor.looks import SMALL, Looker
from sparring.pictures import grid
from sparring.recipes import RECIPES
from sparring.recipes.recipe import Recipe, arguments, find, prepare_recipe, settle
from sparring.referee import Referee
from sparring.seeds import derive

SHARES = (5, 15, 40)
"""Ends of a training, in per cent of a length that works."""

DATA = ("digits", "fashion-mnist", "faces")
SEEDS = (0, 1, 2)
JUDGED = 400
"""Samples of one evaluation, where so many images are held out."""


@dataclass(frozen=True)
class Case:
    """A recipe's settings, the side of its images, and rounds that work with these settings; late: it costs much."""

    rounds: int
    arguments: Mapping[str, Any] = field(default_factory=dict)
    size: int = 28
    late: bool = False


LIVE = {"average": 0.99}
NARROW = {"width": 100, "first_drop": 10_000, "second_drop": 20_000, **LIVE}
SMALLER = {"batch": 64, **LIVE}
CASES: dict[str, Case] = {
    "dcgan": Case(1200, {"width": 8, **SMALLER}, 16),
    "vae": Case(2000, {"width": 100}, 16),
    "cs231n-mlp": Case(1500, SMALLER, 16),
    "aae": Case(1500, NARROW, 16),
    "raschka-mlp": Case(2000, {"discriminator_lr": 1e-3, "generator_lr": 1e-3, **LIVE}, 16),
    "wgan": Case(1000, {"width": 8, "lr": 5e-4, "critic_steps": 2, "warm_start": 5, **LIVE}, 16),
    "r1gan": Case(600, {"width": 4, "lr": 1e-3, **LIVE}),
    "csc321-mlp": Case(2000, {"discriminator_lr": 4e-4, "generator_lr": 2e-3, **SMALLER}, 16),
    "cs231n-lsgan": Case(1500, SMALLER, 16),
    "ganhacks": Case(800, {"width": 4, **SMALLER}),
    "alae": Case(1500, {"width": 128, "half_life": 5000}, 16),
    "wgan-gp": Case(600, {"width": 4, "lr": 1e-3, "critic_steps": 2, **LIVE}),
    "r3gan": Case(
        750,
        {
            **{"width": 8, "groups": 1, "blocks": 1, "batch": 64, "ramp": 100_000},
            **{"lr": 1e-3, "final_lr": 1e-3, "gamma": 0.1, "final_gamma": 0.1, **LIVE},
        },
        16,
        late=True,
    ),
    "aae-supervised": Case(1200, NARROW, 16),
    "autoencoder": Case(1500, {"width": 100}, 16),
    "style-alae": Case(600, {"width": 8, "widest": 16, "mapping_layers": 2, "rounds_per_level": 100}, 16),
    "aae-labelled-prior": Case(1200, {**NARROW, "labelled": 0}, 16),
    "mlp-classifier": Case(1000, {"width": 200, "labelled": 100}, 16),
    "biggan-small": Case(400, {"width": 3, "standing": 2, "critic_steps": 1, **LIVE}, late=True),
    "aae-semi-supervised": Case(1200, {**NARROW, "labelled": 100}, 16, late=True),
    "wgan-gp-resnet": Case(400, {"width": 4, "lr": 1e-3, "critic_steps": 1, **LIVE}, 32, late=True),
    "aae-clustering": Case(1200, {**NARROW, "even": True}, 16, late=True),
    "biggan-cifar": Case(
        400, {"width": 4, "standing": 2, "critic_steps": 1, "average_from": 0, **SMALLER}, 32, late=True
    ),
    "aae-reduction": Case(1200, {**NARROW, "even": True}, 16, late=True),
    "smu-frogs": Case(750, SMALLER, 16, late=True),
    "aae-labelled-reduction": Case(1200, {**NARROW, "labelled": 100}, 16, late=True),
    "chollet-frogs": Case(500, {"width": 8, **SMALLER}, 32, late=True),
    "mnist-net": Case(500, late=True),
    "smu-frogs-lsgan": Case(750, SMALLER, 16, late=True),
    "chollet-vae": Case(500, {"warm_up": 50}, late=True),
    "improved-gan": Case(500, {"labelled": 100, **LIVE}, late=True),
    "smu-vae": Case(1000, {"lr": 1e-3}, late=True),
    "cs231n-dcgan": Case(500, SMALLER, late=True),
    "smu-frogs-wgan-gp": Case(500, {"lr": 5e-4, "critic_steps": 2, **SMALLER}, 16, late=True),
    "cgan": Case(400, SMALLER, late=True),
    "acgan": Case(400, SMALLER, late=True),
    "infogan": Case(400, SMALLER, late=True),
}
"""Recipe -> settings. Left out: goodfellow-mlp (its published settings do not work within 14,000 rounds here), pacgan
(made for stacked digits), biggan and biggan-deep (biggan-cifar and biggan-small are the same systems), molecules and
cyclegan (other data).
"""


WRONG: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("cs231n-mlp", {"discriminator_lr": 1e-7}),
    ("vae", {"beta": 100.0}),
    ("dcgan", {"average": 0.9999}),
    ("raschka-mlp", {"discriminator_lr": 0.1}),
    ("dcgan", {"generator_lr": 0.05}),
    ("wgan-gp", {"penalty": 0.0}),
    ("r1gan", {"gamma": 3000.0}),
    ("csc321-mlp", {"discriminator_lr": 0.05}),
    ("cs231n-lsgan", {"generator_lr": 1e-6}),
    ("ganhacks", {"discriminator_lr": 1e-6}),
)
"""Recipes and what is wrong with their settings, beside those of CASES."""


@dataclass(frozen=True)
class Training:
    """One training; its settings are those of CASES and `changed`."""

    recipe: str
    data: str
    seed: int
    changed: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        return "/".join([self.recipe, self.data, str(self.seed), *(f"{name}={value}" for name, value in self.changed)])


def bank() -> list[Training]:
    """Seed 0 of all first; within a seed what costs little; and each recipe once before it comes on other data."""
    return [
        Training(recipe, DATA[(i + turn) % len(DATA)], seed)
        for seed in SEEDS
        for late in (False, True)
        for turn in range(len(DATA))
        for i, (recipe, case) in enumerate(CASES.items())
        if case.late == late
    ]


@cache
def data_of(name: str, size: int, out: Path) -> Dataset:
    """6,000 images at most to learn from, 500 held out."""
    if name == "faces":
        return sparring.load(own_pictures(out / "faces"), size=size)
    full = sparring.load(name, size=size)
    assert full.held_out is not None
    return replace(full.rows(torch.arange(min(len(full), 6000))), held_out=full.held_out.rows(torch.arange(500)))


def own_pictures(folder: Path) -> Path:
    """300 of the drawn faces, in a folder of two classes: with glasses of any kind, and without."""
    if not folder.exists():
        aside = folder.with_suffix(".part")
        with zipfile.ZipFile(Path(environ["SPARRING_DATA"]) / "faces.zip") as archive:
            rows = list(csv.DictReader(io.TextIOWrapper(archive.open("attributes.csv"), "utf-8")))
            for row in rows[:300]:
                worn = "with" if "1" in (row["glasses"], row["sunglasses"]) else "without"
                (aside / worn).mkdir(parents=True, exist_ok=True)
                (aside / worn / row["file"]).write_bytes(archive.read(row["file"]))
        aside.rename(folder)
    return folder


def start(training: Training, data: Dataset) -> tuple[Recipe, Referee, dict[str, Any]]:
    """The recipe at round 0, as `sparring.train` makes it."""
    function = find(training.recipe, RECIPES)
    settled = settle(function, {**CASES[training.recipe].arguments, **dict(training.changed)})
    torch.manual_seed(derive(training.seed, "weights"))
    recipe = prepare_recipe(function, data.spec, settled)
    if recipe.prepare is not None:
        recipe.prepare(data)
    referee = Referee(
        recipe.system,
        recipe.streams(data, training.seed) if recipe.streams else {"train": data},
        batch=recipe.batch,
        optimisers=recipe.optimisers,
        schedules=recipe.schedules,
        average=recipe.average,
        average_from=recipe.average_from,
        precision="fp32",
        seed=training.seed,
    )
    return recipe, referee, settled


def play(training: Training, out: Path) -> dict[str, Any]:
    """One line of the bank."""
    case = CASES[training.recipe]
    data = data_of(training.data, case.size, out)
    recipe, referee, settled = start(training, data)
    system = recipe.system
    looker = Looker(system, referee.averaged, data, batch=recipe.batch, seed=training.seed)
    looker.weights = SMALL  # looks as often as at networks of a usual size: more looks, more chances for an alarm
    line: dict[str, Any] = {
        "recipe": training.recipe,
        "data": training.data,
        "seed": training.seed,
        "length": case.rounds,
        "arguments": settled,
        "batch": recipe.batch,
        "size": case.size,
        "equilibrium": system.equilibrium() if system.can("equilibrium") else {},
        "commit": commit(),
        "rows": [],
        "failed": None,
    }
    started = time.thread_time()
    while referee.round < case.rounds * max(SHARES) // 100:
        watched = looker.due(referee.round + 1)
        if watched:
            looker.before()
        try:
            moves = referee.play()
        except sparring.SparringError as error:
            line["failed"] = {"round": referee.round, "reason": str(error)}
            break
        if watched:
            looker.shown = referee.averaged  # brought up to date
            line["rows"].append(looker.look(referee.round, referee.agree(moves), referee.rates()))
    line["measured"] = None if line["failed"] else measured(training, referee, data, out)
    line["seconds"] = round(time.thread_time() - started, 1)
    line["alarms"] = {share: alarms(line, share) for share in SHARES}
    return line


def measured(training: Training, referee: Referee, data: Dataset, out: Path) -> dict[str, Any]:
    """An evaluation of the averaged weights, and where the grid of samples is."""
    shown = referee.averaged
    with torch.random.fork_rng():
        found = sparring.evaluate(shown, data, n=JUDGED, repeats=2).as_dict()
    file = None
    if shown.can("sample"):
        (out / "grids").mkdir(exist_ok=True)
        file = f"grids/{training.name.replace('/', '-')}-{referee.round}.png"
        grid(shown.sample(8 * shown.columns, seed=0), columns=shown.columns).save(out / file)
    return {"round": referee.round, "evaluation": found, "grid": file}


def alarms(line: Mapping[str, Any], share: int, length: int | None = None) -> list[tuple[str, int, int]]:
    """What the monitor as it is now says of the training if it was planned to end at this share of its length; for a
    recipe that is made for so many rounds (default: that length, which is less than any recipe's own).
    """
    rounds = round(line["length"] * share / 100)
    rows = [row for row in line["rows"] if row["round"] <= rounds]
    failed = line["failed"] if line["failed"] and line["failed"]["round"] <= rounds else None
    return told({**line, "rows": rows, "rounds": rounds, "failed": failed, "length": length or line["length"]})


def lines_of(out: Path) -> list[dict[str, Any]]:
    file = out / "healthy.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def play_all(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    played = {Training(line["recipe"], line["data"], line["seed"]).name for line in lines_of(out)}
    left = [training for training in bank() if training.name not in played]
    for i, training in enumerate(left):
        at = time.monotonic()
        try:
            found = play(training, out)
        except Exception as error:  # a recipe that cannot be played must not end the bank; it is tried again next time
            print(f"{i + 1}/{len(left)} {training.name}: {type(error).__name__}: {error}", flush=True)
            continue
        with open(out / "healthy.jsonl", "a") as file:
            file.write(json.dumps(found) + "\n")
        said = {share: [one[0] for one in some] for share, some in found["alarms"].items()}
        print(f"{i + 1}/{len(left)} {training.name}: {time.monotonic() - at:.1f} s, {said}", flush=True)


OWN = 10**6
"""A length at which nothing is said of samples before the 1,000th round, as for most recipes by themselves."""


def judge(out: Path) -> None:
    """Trainings with an alarm, of those planned to end at each share: as if each recipe were made for the length that
    works here, and as it is, made for far more rounds.
    """
    lines = lines_of(out)
    for length in (None, OWN):
        print("\n| data | " + " | ".join(f"{share} %" for share in SHARES) + " | all |\n|---" + "|---" * 4 + "|")
        for name in (*DATA, "all"):
            mine = [line for line in lines if name in (line["data"], "all")]
            said = {share: [alarms(line, share, length) for line in mine] for share in SHARES}
            groups = [*said.values(), [one for some in said.values() for one in some]]
            print(f"| {name} | " + " | ".join(rate(sum(map(bool, some)), len(some)) for some in groups) + " |")
    for line in lines:
        for share in SHARES:
            if found := alarms(line, share):
                print(f"{line['recipe']}/{line['data']}/{line['seed']} {share} %: {found}")


def advice(out: Path) -> None:
    """Plays what is wrong, and then what the command of the first alarm says; FD before and after."""
    print("| settings | first alarm | advised | FD before | FD after |\n|---|---|---|---|---|")
    for recipe, wrong in WRONG:
        ill = Training(recipe, DATA[0], 0, tuple(wrong.items()))
        before = play(ill, out)
        said = before["alarms"][SHARES[-1]]
        shown = " ".join(f"--{name.replace('_', '-')} {value:g}" for name, value in wrong.items())
        row = [f"`{recipe} {shown}`", CAUSES[said[0][0]].title if said else "none"]
        if said:
            source = {"source": "digits", "size": None, "channels": None, "classes": None}
            facts = {
                "recipe": recipe,
                "arguments": before["arguments"],
                "data": {"source": source},
                "rounds": 1,
                "seed": 0,
            }
            words = shlex.split(command(said[0][0], facts))
            given = read_flags(recipe, words) if words[1] == "train" else before["arguments"]
            better = {name: value for name, value in given.items() if value != before["arguments"][name]}
            after = play(replace(ill, changed=(*ill.changed, *better.items())), out) if better else None
            told_to = " ".join(f"--{name.replace('_', '-')} {value:g}" for name, value in better.items())
            row += [f"`{told_to}`" if better else "look at the report", distance(before), distance(after)]
        else:
            row += ["", distance(before), ""]
        print("| " + " | ".join(row) + " |", flush=True)


def read_flags(recipe: str, words: Sequence[str]) -> dict[str, Any]:
    """The arguments that a `sparring train` command gives to the recipe."""
    function = find(recipe, RECIPES)
    given = read("train", "", [*arguments(training_options), *arguments(function)], words[3:])
    names = {argument.name for argument in arguments(function)}
    return settle(function, {name: value for name, value in given.items() if name in names})


def distance(line: Mapping[str, Any] | None) -> str:
    """The evaluation's FD, as it is printed."""
    if line is None:
        return ""
    if line["measured"] is None:
        return f"stopped in round {line['failed']['round']}"
    found = [one for one in line["measured"]["evaluation"]["metrics"] if one["name"].startswith("FD-")]
    return f"{found[0]['value']:.0f}" if found else ""


def times(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name, case in CASES.items():
        data = data_of("digits", case.size, out)
        _, referee, _ = start(Training(name, "digits", 0), data)
        referee.play()
        at = time.thread_time()
        for _ in range(4):
            referee.play()
        each = (time.thread_time() - at) / 4
        at = time.thread_time()
        sparring.evaluate(referee.averaged, data, n=JUDGED, repeats=2)
        print(
            f"{name}: {1000 * each:.0f} ms, {0.4 * case.rounds * each:.0f} s to 40 %, "
            f"an evaluation {time.thread_time() - at:.1f} s",
            flush=True,
        )


STEPS = {"play": play_all, "judge": judge, "advice": advice, "time": times}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("--out", type=Path, default=Path("runs/healthy"))
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    STEPS[chosen.step](chosen.out)
