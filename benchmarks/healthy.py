"""Healthy and short trainings of every recipe: what the health monitor and the diagnoses must not complain about.

python benchmarks/healthy.py play  --out runs/healthy     plays what has not been played yet, one JSON line each
python benchmarks/healthy.py summarize --out runs/healthy     false alarms and diagnoses, from the lines alone
python benchmarks/healthy.py advice --out runs/healthy    what advised commands make of settings that are wrong
python benchmarks/healthy.py time  --out runs/healthy     milliseconds a round of each recipe takes

Each recipe has settings small enough for one CPU thread and a length at which they are known to work. A training is
played to 40 % of that length; the looks up to 5 and 15 % are those of trainings that were planned to end there, as
neither looks nor weights depend on the planned end (no recipe of the list has a schedule that does). A line holds the
looks ("rows"), the alarms at each of the three ends, and a whole `sparring.evaluate` at one of them (each recipe is
evaluated at each end, on other data with each seed), so that other rules and diagnoses can be measured later without
playing again; grids are PNGs beside them. Looks come as often as for networks and batches of a usual size.

Limits and rules may be changed after a look at seed 0; seeds 1 and 2 are the test.

Data: 5,000 digits, 6,000 images of Fashion-MNIST, and 300 drawn faces in a folder of two classes, as somebody's own
pictures would be. SPARRING_DATA names a folder with FashionMNIST and faces.zip.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import shlex
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from os import environ
from pathlib import Path
from typing import Any

import torch
from monitor import alarms_of, rate

import sparring
from sparring.cli.training import train_command
from sparring.data.dataset import Dataset
from sparring.diagnose import diagnose
from sparring.diagnose.signs import MetricTable
from sparring.image_grid import grid
from sparring.machine import commit
from sparring.monitor.advice import command
from sparring.monitor.observer import N_IMAGES, SMALL_NETWORK, Observer
from sparring.recipes import RECIPES
from sparring.recipes.recipe import Recipe, arguments, build_recipe, load_recipe, resolve_arguments
from sparring.referee import Referee
from sparring.seeds import derive_seed

SHARES = (5, 15, 40)
"""Ends of a training, in per cent of a length that works."""

DATA = ("digits", "fashion-mnist", "faces")
SEEDS = (0, 1, 2)
N_SAMPLES = 400
"""Samples of one evaluation, where so many images are held out."""


@dataclass(frozen=True)
class Case:
    """A recipe's settings, the side of its images, and rounds that work with these settings; late: it costs much."""

    rounds: int
    arguments: Mapping[str, Any] = field(default_factory=dict)
    size: int = 28
    late: bool = False


LIVE = {"ema_decay": 0.99}
NARROW = {"width": 100, "first_drop": 10_000, "second_drop": 20_000, **LIVE}
SMALLER = {"batch": 64, **LIVE}
SMALLEST = {"batch": 16, **LIVE}
CASES: dict[str, Case] = {
    "dcgan": Case(1200, {"width": 8, **SMALLER}, 16),
    "vae": Case(2000, {"width": 100}, 16),
    "cs231n-mlp": Case(1000, SMALLER, 16),
    "aae": Case(1500, NARROW, 16),
    "raschka-mlp": Case(2000, {"discriminator_lr": 1e-3, "generator_lr": 1e-3, **LIVE}, 16),
    "wgan": Case(1000, {"width": 4, "lr": 5e-4, "critic_steps": 2, "warm_start": 5, **LIVE}, 16),
    "r1gan": Case(600, {"width": 4, "lr": 1e-3, **LIVE}),
    "csc321-mlp": Case(2000, {"discriminator_lr": 4e-4, "generator_lr": 2e-3, **SMALLER}, 16),
    "cs231n-lsgan": Case(1000, SMALLER, 16),
    "ganhacks": Case(800, {"width": 4, **SMALLER}),
    "alae": Case(1500, {"width": 64, "batch": 64, "ema_half_life": 5000}, 16),
    "wgan-gp": Case(600, {"width": 4, "lr": 1e-3, "critic_steps": 2, **LIVE}),
    "r3gan": Case(
        750,
        {
            **{"width": 4, "groups": 1, "blocks": 1, "batch": 32, "anneal_rounds": 100_000},
            **{"lr": 1e-3, "final_lr": 1e-3, "gamma": 0.1, "final_gamma": 0.1, **LIVE},
        },
        16,
        late=True,
    ),
    "aae-supervised": Case(1200, NARROW, 16),
    "autoencoder": Case(1500, {"width": 100}, 16),
    "style-alae": Case(600, {"width": 8, "max_channels": 16, "mapping_layers": 2, "rounds_per_level": 100}, 16),
    "aae-labeled-prior": Case(1200, {**NARROW, "n_labeled": 0}, 16),
    "mlp-classifier": Case(1000, {"width": 200, "n_labeled": 100}, 16),
    "biggan-small": Case(400, {"width": 3, "standing_batches": 2, "discriminator_steps": 1, **SMALLEST}, late=True),
    "aae-semi-supervised": Case(1200, {**NARROW, "n_labeled": 100}, 16),
    "wgan-gp-resnet": Case(400, {"width": 4, "lr": 1e-3, "critic_steps": 1, **SMALLEST}, 32),
    "aae-clustering": Case(1200, {**NARROW, "balance_clusters": True}, 16),
    "biggan-cifar": Case(
        400, {"width": 4, "standing_batches": 2, "discriminator_steps": 1, "ema_start": 0, **SMALLEST}, 32, late=True
    ),
    "aae-reduction": Case(1200, {**NARROW, "balance_clusters": True}, 16),
    "smu-frogs": Case(750, SMALLEST, 16, late=True),
    "aae-labeled-reduction": Case(1200, {**NARROW, "n_labeled": 100}, 16),
    "chollet-frogs": Case(500, {"width": 8, **LIVE}, 32, late=True),
    "mnist-net": Case(500),
    "smu-frogs-lsgan": Case(750, SMALLEST, 16, late=True),
    "chollet-vae": Case(500, {"lr_warmup_rounds": 50}),
    "improved-gan": Case(500, {"n_labeled": 100, **SMALLEST}, 16),
    "smu-vae": Case(1000, {"lr": 1e-3, "batch": 16}, late=True),
    "cs231n-dcgan": Case(500, SMALLEST, late=True),
    "smu-frogs-wgan-gp": Case(500, {"lr": 5e-4, "critic_steps": 1, **SMALLEST}, 16, late=True),
    "cgan": Case(400, SMALLEST, late=True),
    "acgan": Case(400, SMALLEST, late=True),
    "infogan": Case(400, SMALLEST, late=True),
}
"""Recipe -> settings. Left out: goodfellow-mlp (its published settings do not work within 14,000 rounds here), pacgan
(made for stacked digits), biggan and biggan-deep (biggan-cifar and biggan-small are the same systems), molecular-aae
and cyclegan (other data).
"""


WRONG: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
    # Discriminators that learn too slowly, or are held too tightly.
    ("cs231n-mlp", "digits", {"discriminator_lr": 1e-7}),
    ("ganhacks", "digits", {"discriminator_lr": 1e-6}),
    ("cs231n-lsgan", "fashion-mnist", {"discriminator_lr": 1e-6}),
    ("r1gan", "digits", {"gamma": 3000.0}),
    ("alae", "digits", {"gamma": 30000.0}),
    ("raschka-mlp", "fashion-mnist", {"discriminator_lr": 1e-6}),
    # That learn too fast, or generators that learn too slowly.
    ("raschka-mlp", "digits", {"discriminator_lr": 0.1}),
    ("csc321-mlp", "digits", {"discriminator_lr": 0.05}),
    ("cs231n-lsgan", "digits", {"generator_lr": 1e-6}),
    ("csc321-mlp", "fashion-mnist", {"generator_lr": 1e-6}),
    ("cs231n-mlp", "fashion-mnist", {"generator_lr": 1e-6}),
    # Generators that learn too fast.
    ("dcgan", "digits", {"generator_lr": 0.05}),
    ("csc321-mlp", "digits", {"generator_lr": 0.1}),
    ("cs231n-mlp", "digits", {"generator_lr": 0.1}),
    ("raschka-mlp", "digits", {"generator_lr": 0.3}),
    # Everything too fast.
    ("r1gan", "digits", {"lr": 0.3}),
    ("wgan-gp", "digits", {"lr": 0.3}),
    ("vae", "digits", {"lr": 1.0}),
    # Critics that are not held.
    ("wgan-gp", "digits", {"gp_weight": 0.0}),
    ("wgan-gp", "fashion-mnist", {"gp_weight": 0.001}),
    ("smu-frogs-wgan-gp", "digits", {"gp_weight": 0.0}),
    # Codes that cost too much, averages that are too long.
    ("vae", "digits", {"beta": 100.0}),
    ("vae", "fashion-mnist", {"beta": 100.0}),
    ("dcgan", "digits", {"ema_decay": 0.9999}),
    ("cs231n-mlp", "faces", {"ema_decay": 0.9999}),
    ("raschka-mlp", "faces", {"ema_decay": 0.9999}),
    ("alae", "digits", {"ema_half_life": 100_000_000}),
)
"""Recipes, data, and what is wrong with their settings, beside those of CASES."""


@dataclass(frozen=True)
class Training:
    """One training; its settings are those of CASES and `changed`."""

    recipe: str
    data: str
    seed: int
    changed: tuple[tuple[str, Any], ...] = ()

    @property
    def evaluated(self) -> int:
        """The share of its length at which it is evaluated; what is changed is evaluated at the last."""
        return SHARES[-1] if self.changed else SHARES[(DATA.index(self.data) + self.seed) % len(SHARES)]

    @property
    def name(self) -> str:
        return "/".join([self.recipe, self.data, str(self.seed), *(f"{name}={value}" for name, value in self.changed)])


def bank() -> list[Training]:
    """Seed 0 first, then 1 and 2: with each, what costs little on all data and what costs much on one; then the rest.

    So a part of the bank has every recipe, and a bank that is cut off is balanced.
    """
    places = [(seed, turn, late) for seed in SEEDS for late in (False, True) for turn in range(len(DATA))]
    return [
        Training(recipe, DATA[(i + turn + seed) % len(DATA)], seed)
        for seed, turn, late in sorted(places, key=lambda place: (place[1] > 0 and place[2], *place[:2]))
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
    function = load_recipe(training.recipe, RECIPES)
    settled = resolve_arguments(function, {**CASES[training.recipe].arguments, **dict(training.changed)})
    torch.manual_seed(derive_seed(training.seed, "weights"))
    recipe = build_recipe(function, data.spec, settled)
    if recipe.prepare is not None:
        recipe.prepare(data)
    referee = Referee(
        recipe.system,
        recipe.streams(data, training.seed) if recipe.streams else {"train": data},
        batch=recipe.batch,
        optimizers=recipe.optimizers,
        schedules=recipe.schedules,
        ema_decay=recipe.ema_decay,
        ema_start=recipe.ema_start,
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
    evaluated = case.rounds * training.evaluated // 100
    observer = Observer(system, referee.ema_system, data, batch=N_IMAGES, seed=training.seed)
    observer.weights = (
        SMALL_NETWORK  # looks as often as at usual networks and batches: more looks, more chances for an alarm
    )
    line: dict[str, Any] = {
        "recipe": training.recipe,
        "data": training.data,
        "seed": training.seed,
        "length": case.rounds,
        "own": recipe.rounds,
        "arguments": settled,
        "batch": recipe.batch,
        "size": case.size,
        "equilibrium": system.equilibrium() if system.supports("equilibrium") else {},
        "commit": commit(),
        "rows": [],
        "failed": None,
        "measured": None,
    }
    started = time.thread_time()
    while referee.round < case.rounds * max(SHARES) // 100:
        watched = observer.due(referee.round + 1)
        if watched:
            observer.before_round()
        try:
            moves = referee.play()
        except sparring.SparringError as error:
            line["failed"] = {"round": referee.round, "reason": str(error)}
            break
        if watched:
            observer.ema = referee.ema_system  # brought up to date
            line["rows"].append(observer.observe(referee.round, referee.reduce_logs(moves), referee.rates()))
        if referee.round == evaluated:
            line["measured"] = measured(training, referee, data, out)
    line["seconds"] = round(time.thread_time() - started, 1)
    line["alarms"] = {share: alarms(line, share) for share in SHARES}
    return line


def measured(training: Training, referee: Referee, data: Dataset, out: Path) -> dict[str, Any]:
    """An evaluation of the averaged weights, and where the grid of samples is."""
    shown = referee.ema_system
    with torch.random.fork_rng():
        found = sparring.evaluate(shown, data, n=N_SAMPLES, repeats=2).as_dict()
    file = None
    if shown.supports("sample"):
        (out / "grids").mkdir(exist_ok=True)
        file = f"grids/{training.name.replace('/', '-')}-{referee.round}.png"
        grid(shown.sample(8 * shown.grid_columns, seed=0), columns=shown.grid_columns).save(out / file)
    return {"round": referee.round, "evaluation": found, "grid": file}


def alarms(line: Mapping[str, Any], share: int, length: int | None = None) -> list[tuple[str, int, int]]:
    """What the monitor as it is now says of the training if it was planned to end at this share of its length; for a
    recipe that is made for so many rounds (default: that length, which is less than any recipe's own).
    """
    rounds = round(line["length"] * share / 100)
    rows = [row for row in line["rows"] if row["round"] <= rounds]
    failed = line["failed"] if line["failed"] and line["failed"]["round"] <= rounds else None
    return alarms_of({**line, "rows": rows, "rounds": rounds, "failed": failed, "length": length or line["length"]})


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


REAL = 2.0
"""Standard deviations of sets of real images within which a number is that of real images."""

AGAINST: dict[str, Callable[[MetricTable], bool]] = {
    "mode collapse": lambda n: n.z("duplicates") < REAL or n.value("duplicates", 0.0) < 0.05 or many(n),
    "missing modes": lambda n: max(-n.z("coverage"), n.z("missing"), n.z("classes-TV")) < REAL,
    "imbalance": lambda n: max(n.z("cells-JS"), n.z("classes-TV")) < REAL,
    "memorization": lambda n: min(n.z("copied-features"), n.z("copied-pixels")) < REAL or n.z("authentic") > 0,
    "little variety": lambda n: max(-n.z("recall"), -n.z("coverage")) < REAL or n.over_floor("density") < 1,
    "blur": lambda n: max(n.over_floor("blur ratio"), n.over_floor("HF ratio")) > 0.9,
    "noise": lambda n: min(n.over_floor("blur ratio"), n.over_floor("HF ratio")) < 1,
    "checkerboard": lambda n: (
        not any(min(n.over_floor(f"{name} ratio"), n.over_floor(f"{name} peak")) > 1 for name in ("Nyquist", "quarter"))
    ),
    "unreal samples": lambda n: max(-n.z("precision"), n.z("HF ratio")) < REAL,
    "unlike real images": lambda n: max(n.z("FD"), n.z("KID"), n.z("C2ST")) < REAL,
    "labels ignored": lambda n: n.value("class agreement", 1.0) > 0.5,
    "posterior collapse": lambda n: n.value("active units", 99.0) >= 2,
    "too few images": lambda n: bool(n.lit("red")) or not n.lit("gray"),
    "no fault found": lambda n: bool(n.lit("red")),
}
"""Diagnosis -> whether the numbers of the same evaluation contradict it, without the limits of diagnose/rules.py."""


def many(numbers: MetricTable) -> bool:
    """Whether as many different images are made as real images have, by the birthday paradox."""
    return numbers.value("effective support", 0.0) >= numbers.floor("effective support", float("inf"))


def contradictions(evaluation: Mapping[str, Any]) -> list[str]:
    """The diagnoses of an evaluation that its own numbers, its system or another diagnosis contradict."""
    found, numbers, system = diagnose(evaluation), MetricTable(evaluation), evaluation.get("system") or {}
    named = {one.cause for one in found}
    wrong = [one.cause for one in found if one.cause in AGAINST and AGAINST[one.cause](numbers)]
    wrong += [f"{one} beside others" for one in ("no fault found", "too few images") if one in named and len(named) > 1]
    wrong += ["blur and noise"] if {"blur", "noise"} <= named else []
    for one in found:
        advised = one.advice.lower()
        if system.get("kernels") is False and (one.cause == "checkerboard" or "kernel" in advised):
            wrong.append(f"{one.cause}: kernels")
        if system.get("adversary") is False and ("discriminator" in advised or "generator" in advised):
            wrong.append(f"{one.cause}: adversaries")
    return wrong


def summarize(out: Path) -> None:
    """Trainings with an alarm, of those planned to end at each share of a length that works: for recipes made for that
    length, and for recipes as they are, made for more rounds; and diagnoses that their own numbers contradict.
    """
    lines = lines_of(out)
    parts = {"seed 0": [0], "seeds 1 and 2": [1, 2]}
    for title, own in (("made for the length that works", False), ("as it is", True)):
        print(f"\n| {title} | " + " | ".join(f"{share} %" for share in SHARES) + " | all |\n|---" + "|---" * 4 + "|")
        groups = {part: [line for line in lines if line["seed"] in seeds] for part, seeds in parts.items()}
        groups |= {f"{part}, {name}": [x for x in groups[part] if x["data"] == name] for part in parts for name in DATA}
        for label, mine in groups.items():
            said = {share: [alarms(line, share, line["own"] if own else None) for line in mine] for share in SHARES}
            cells = [*said.values(), [one for some in said.values() for one in some]]
            print(f"| {label} | " + " | ".join(rate(sum(map(bool, some)), len(some)) for some in cells) + " |")
    for line in lines:
        for share in SHARES:
            for title, length in (("length", None), ("own", line["own"])):
                if found := alarms(line, share, length):
                    print(f"{line['recipe']}/{line['data']}/{line['seed']} {share} % ({title}): {found}")

    evaluations = [line for line in lines if line["measured"]]
    named: Counter[tuple[str, int]] = Counter()
    against: Counter[str] = Counter()
    for line in evaluations:
        share = round(100 * line["measured"]["round"] / line["length"])
        named.update((one.cause, share) for one in diagnose(line["measured"]["evaluation"]))
        if wrong := contradictions(line["measured"]["evaluation"]):
            against.update(one.partition(":")[0] for one in wrong)
            print(f"{line['recipe']}/{line['data']}/{line['seed']} {share} %: contradicted: {wrong}")
    shares = sorted({share for _, share in named})
    print("\n| diagnosis | " + " | ".join(f"{share} %" for share in shares) + " | contradicted |")
    print("|---" * (len(shares) + 2) + "|")
    for cause in sorted({cause for cause, _ in named}):
        print(f"| {cause} | " + " | ".join(str(named[cause, share]) for share in shares) + f" | {against[cause]} |")
    print(f"\n{rate(sum(against.values()), sum(named.values()))} contradicted, in {len(evaluations)} evaluations")
    print(f"{sum(line['seconds'] for line in lines) / 60:.0f} minutes, commits {Counter(x['commit'] for x in lines)}")


def advice(out: Path) -> None:
    """Plays what is wrong, and then each command that an alarm of it advises; FD before and after."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / "advice.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    for recipe, data, wrong in WRONG:
        if not any((line["recipe"], line["data"], line["wrong"]) == (recipe, data, wrong) for line in lines):
            line = advised(Training(recipe, data, 0, tuple(wrong.items())), out)
            lines.append({"recipe": recipe, "data": data, "wrong": wrong, **line})
            with open(file, "a") as stream:
                stream.write(json.dumps(lines[-1]) + "\n")
    print("| settings | data | alarms | advised | FD before | FD after |\n|---|---|---|---|---|---|")
    helped: dict[str, list[bool]] = {}
    for line in lines:
        settings = " ".join(map(flag, line["wrong"].items()))
        row = [f"`{line['recipe']} {settings}`", line["data"]]
        if not line["tried"]:
            print("| " + " | ".join([*row, ", ".join(line["causes"]) or "none", "", shown(line["before"]), ""]) + " |")
        for one in line["tried"]:
            told_to = " ".join(map(flag, one["changed"].items()))
            cells = [", ".join(one["causes"]), f"`{told_to}`", shown(line["before"]), shown(one["after"])]
            print("| " + " | ".join(row + cells) + " |")
            for cause in one["causes"]:
                helped.setdefault(cause, []).append(worth(one["after"]) < worth(line["before"]))
    print("\n| cause | commands that change a setting | of these helped |\n|---|---|---|")
    for cause, some in sorted(helped.items()):
        print(f"| {cause} | {len(some)} | {sum(some)} |")


def advised(ill: Training, out: Path) -> dict[str, Any]:
    """FD of a training, its alarms, and for each change of settings that these advise: which did, and FD with it."""
    before = play(ill, out)
    causes = [cause for cause, _, _ in before["alarms"][SHARES[-1]]]
    source = {"source": ill.data, "size": None, "channels": None, "classes": None}
    config = {
        "recipe": ill.recipe,
        "arguments": before["arguments"],
        "data": {"source": source},
        "rounds": 1,
        "seed": 0,
    }
    tried: list[dict[str, Any]] = []
    for cause in causes:
        words = shlex.split(command(cause, config))
        given = read_flags(ill.recipe, words) if words[1] == "train" else before["arguments"]
        better = {name: value for name, value in given.items() if value != before["arguments"][name]}
        known = [one for one in tried if one["changed"] == better]
        if known:
            known[0]["causes"].append(cause)
        elif better:
            after = play(replace(ill, changed=(*ill.changed, *better.items())), out)
            tried.append({"causes": [cause], "changed": better, "after": distance(after)})
    return {"causes": causes, "before": distance(before), "tried": tried, "commit": commit()}


def flag(setting: tuple[str, Any]) -> str:
    return f"--{setting[0].replace('_', '-')} {setting[1]:g}"


def read_flags(recipe: str, words: Sequence[str]) -> dict[str, Any]:
    """The arguments that a `sparring train` command gives to the recipe."""
    function = load_recipe(recipe, RECIPES)
    given = train_command(recipe).parse(words[3:])
    names = {argument.name for argument in arguments(function)}
    return resolve_arguments(function, {name: value for name, value in given.items() if name in names})


def distance(line: Mapping[str, Any]) -> float | None:
    """FD of a line's evaluation; None where the training stopped, or has made no numbers."""
    if line["measured"] is None:
        return None
    found = MetricTable(line["measured"]["evaluation"]).records.get("FD")
    return found["value"] if found else None


def worth(found: float | None) -> float:
    return float("inf") if found is None else found


def shown(found: float | None) -> str:
    return "stopped" if found is None else f"{found:.0f}"


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
        print(f"{name}: {1000 * each:.0f} ms, {0.4 * case.rounds * each:.0f} s to 40 %", flush=True)


STEPS = {"play": play_all, "summarize": summarize, "advice": advice, "time": times}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("--out", type=Path, default=Path("runs/healthy"))
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    STEPS[chosen.step](chosen.out)
