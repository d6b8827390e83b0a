"""The health monitor, measured: the trainings of monitor_bank.py are played, and which faults the monitor finds.

python benchmarks/monitor.py all --out runs/monitor       plays what has not been played yet, and summarizes

play (about 20 minutes on one thread) and summarize do one half of it each; fit gives limits for causes.py from the
trainings of the tuning half; late plays the faults longer, as recipes that are made for many rounds, in which samples
are not observed before round 1,000; cost measures what observing costs. SPARRING_DATA names the folder with MNIST and
Fashion-MNIST.

Every training is played once and kept as one line: its looks, what an oracle says of its last samples, and how long
looks and rounds took. Which trainings are broken is the oracle's word, not the fault's: it knows nothing of the looks,
and holds 1,000 samples against real images with the distances of `sparring evaluate`.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch
from monitor_bank import FAMILIES, FAULTS, N_SAMPLES, Training, bank, data_of
from torch import Tensor

import sparring
from sparring.data.dataset import Dataset
from sparring.data.pixels import to_uint8
from sparring.errors import SparringError
from sparring.evaluation import choose_extractor
from sparring.metrics import frechet_distance, prdc, wilson_interval
from sparring.monitor import rules
from sparring.monitor.observer import SMALL_NETWORK, Observer
from sparring.monitor.rules import CONSECUTIVE, RULES, History, Rule, findings
from sparring.recipes import RECIPES
from sparring.recipes.recipe import build_recipe, load_recipe, resolve_arguments
from sparring.referee import Referee
from sparring.seeds import derive_seed


def play(training: Training, rounds: int | None = None) -> dict[str, Any]:
    """Looks, the oracle's numbers, and seconds of processor time; as many rounds as its family needs, unless given."""
    data = data_of(training.data)
    torch.manual_seed(derive_seed("monitor", training.seed))
    recipe = FAMILIES[training.family](data.spec)
    recipe.rounds = rounds or recipe.rounds
    fault = FAULTS.get(training.fault)
    learned = (fault and fault.plant(recipe, data)) or data
    referee = Referee(
        recipe.system,
        {"train": learned},
        batch=recipe.batch,
        optimizers=recipe.optimizers,
        schedules=recipe.schedules,
        ema_decay=recipe.ema_decay,
        precision="fp32",
        seed=training.seed,
    )
    if fault:
        fault.after(referee)
    observer = Observer(recipe.system, referee.ema_system, learned, batch=recipe.batch, seed=training.seed)
    observer.weights = SMALL_NETWORK  # looks as often as at networks of a usual size
    rows: list[dict[str, Any]] = []
    failed = None
    looking = 0.0
    started = time.thread_time()
    while referee.round < recipe.rounds:
        watched = observer.due(referee.round + 1)
        if watched:
            at = time.thread_time()
            observer.before_round()
            looking += time.thread_time() - at
        try:
            results = referee.play()
        except SparringError as error:
            failed = {"round": referee.round, "reason": str(error)}
            break
        if watched:
            at = time.thread_time()
            observer.ema = referee.ema_system  # brought up to date
            rows.append(observer.observe(referee.round, referee.reduce_logs(results), referee.rates()))
            looking += time.thread_time() - at
    seconds = time.thread_time() - started - looking
    return {
        **asdict(training),
        "rows": rows,
        "failed": failed,
        "equilibrium": recipe.system.equilibrium() if recipe.system.supports("equilibrium") else {},
        "oracle": oracle(referee.ema_system, data),
        "seconds": round(seconds, 3),
        "looking": round(looking, 3),
        "rounds": recipe.rounds,
    }


def oracle(system: Any, data: Dataset) -> dict[str, float | None]:
    """What 1,000 samples are worth, in features; None where they are not numbers."""
    extractor = choose_extractor(data)
    samples = system.sample(N_SAMPLES, seed=1)
    if not bool(samples.isfinite().all()):
        return {"FD": None, "precision": None, "coverage": None, "agreement": None}
    fake, logits = extractor.features(to_uint8(samples))
    near = prdc(real=reference(data.name), fake=fake)
    asked = torch.arange(N_SAMPLES) % max(system.classes, 1)
    assert logits is not None
    agreement = float((logits.argmax(1) == asked).float().mean()) if system.classes else 1.0
    distance = frechet_distance(real=reference(data.name), fake=fake)
    return {"FD": distance, "precision": near.precision, "coverage": near.coverage, "agreement": agreement}


@cache
def reference(name: str) -> Tensor:
    """(1000, F) features of images that no training sees."""
    held_out = data_of(name).held_out
    assert held_out is not None
    return choose_extractor(data_of(name)).features(held_out.images)[0]


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


def alarms_of(training: Mapping[str, Any], table: Sequence[Rule] = RULES) -> list[tuple[str, int, int]]:
    """What the monitor says of a training, in order: cause, round it began, round in which it was noticed."""
    said: dict[str, tuple[str, int, int]] = {}
    rows = training["rows"]
    for count in range(1, len(rows) + 1):
        for one in findings(*seen(training, count), table).suspicions:
            said.setdefault(one.cause, (one.cause, one.began, rows[count - 1]["round"]))
    if training["failed"]:
        at = training["failed"]["round"]
        said.setdefault("divergence", ("divergence", at, at))
    return list(said.values())


def seen(training: Mapping[str, Any], count: int) -> tuple[Any, ...]:
    """The first looks of a training, and what else the rules want to know of it; it is as long as its family needs."""
    length = training.get("length", training["rounds"])
    return training["rows"][:count], training["equilibrium"], training["rounds"], length


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
    "divergence": 10.0,
    "schedule-ended": 1.0,
    "no-update": 1e8,
    "losses-inconsistent": 0.5,
    "weak-discriminator": 0.5,
    "large-steps": 0.02,
    "posterior-collapse": 2.0,
    "gradient-penalty": 2.0,
    "ema-lag": 0.3,
    "mode-collapse": 5.0,
    "value-range": 0.6,
    "weak-scores": 0.7,
    "strong-discriminator": 0.7,
    "checkerboard": 20.0,
    "discriminator-overfit": 0.25,
    "labels-ignored": 0.7,
    "abnormal-samples": 4.0,
    "no-progress": 0.4,
}
"""Below these there is no alarm, however tame the healthy trainings were: they are few."""


def worst(training: Mapping[str, Any], rule: Rule) -> float:
    """The largest value that the rule held for a streak."""
    values = [rule.value(History(*seen(training, count))) for count in range(1, len(training["rows"]) + 1)]
    known = [-math.inf if value is None else value for value in values]
    return max((min(known[i : i + CONSECUTIVE]) for i in range(len(known) - CONSECUTIVE + 1)), default=-math.inf)


def ends(healthy: Sequence[Mapping[str, Any]]) -> tuple[tuple[float, ...], tuple[tuple[float, ...], ...]]:
    """USUAL and SCALES of causes.py: how the ratios of these trainings are spread at their last looks."""
    last = [History(*seen(t, len(t["rows"]))) for t in healthy]
    ratios = torch.tensor([[h.now(name) for name in rules.COMPARED] for h in last], dtype=torch.float64)
    logs = ratios.clamp(min=0.01).log()
    scales = torch.linalg.inv(torch.linalg.cholesky(logs.T.cov()))
    rounded = [[round(number, 3) for number in row] for row in [logs.mean(0).tolist(), *scales.tolist()]]
    return tuple(rounded[0]), tuple(map(tuple, rounded[1:]))


def fit(out: Path) -> None:
    """Limits for causes.py, from the healthy trainings of the tuning half; and how its faults fare with them."""
    trainings = [t for t in read(out) if is_tuning(t)]
    normal = usual(read(out))
    healthy = [t for t in trainings if not t["fault"] and not is_broken(t, normal)]
    rules.USUAL, rules.SCALES = ends([t for t in healthy if "separation" in t["rows"][-1]])
    print(f"USUAL = {rules.USUAL}\nSCALES = {rules.SCALES}")
    fitted = []
    for rule in RULES:
        reached = {Training(t["family"], t["data"], t["seed"]).name: worst(t, rule) for t in healthy}
        top = max(reached, key=lambda name: reached[name])
        fitted.append(replace(rule, limit=max(FLOORS[rule.cause], float(f"{MARGIN * reached[top]:.2g}"))))
        print(f'    Rule("{rule.cause}", ..., limit={fitted[-1].limit:g}),  # {reached[top]:.3g} in {top}')
    for t in trainings:
        if t["fault"]:
            said = ", ".join(f"{cause} {began}-{noticed}" for cause, began, noticed in alarms_of(t, fitted))
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


def verdicts(trainings: Sequence[Mapping[str, Any]], table: Sequence[Rule]) -> list[Verdict]:
    """Of the test half, as far as it was played; what is broken is known beside healthy trainings of its kind."""
    normal = usual(trainings)
    return [
        Verdict(
            f"{t['fault'] or 'healthy'}/{t['family']}/{t['data']}/{t['seed']}",
            t["fault"],
            is_broken(t, normal),
            tuple(alarms_of(t, table)),
            t["rounds"],
        )
        for t in trainings
        if not is_tuning(t) and (t["family"], t["data"]) in normal
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


def summarize(out: Path) -> None:
    """The test half, as docs/results/monitor.md has it."""
    trainings = read(out)
    found = verdicts(trainings, RULES)
    print("| | of trainings (95 % Wilson interval) |\n|---|---|")
    for what, value in summary(found).items():
        print(f"| {what} | {value} |")
    print("\n| planted | broken | found | right cause in two | alarms raised first |\n|---|---|---|---|---|")
    for name in [*dict.fromkeys(v.fault for v in found if v.fault), ""]:
        mine = [v for v in found if v.fault == name and (v.broken or not name)]
        first = Counter(v.said[0][0] for v in mine if v.said)
        firsts = ", ".join(f"{cause} {count}" for cause, count in first.items())
        right = sum(v.right for v in mine) if name else ""
        if mine:
            print(f"| {name or 'nothing'} | {len(mine)} | {sum(bool(v.said) for v in mine)} | {right} | {firsts} |")
    print("\n| without the rule | found | false alarms | right in two |\n|---|---|---|---|")
    for left_out in ("(none)", *(rule.cause for rule in RULES)):
        some = summary(verdicts(trainings, [rule for rule in RULES if rule.cause != left_out]))
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
            print(f"{v.name}: {'broken' if v.broken else 'healthy'}, reported {v.said or 'nothing'}")


MANY = 1_000_000
"""Rounds that recipes are made for in `late`, more than any of them is played."""


def late(out: Path) -> None:
    """The faults of one seed, played to round 1,200: when they are found if samples are observed late."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / "late.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    played = {(line["fault"], line["family"]) for line in lines}
    for training in bank():
        if training.seed == 31 and training.fault and (training.fault, training.family) not in played:
            lines.append(play(training, 1200))
            with open(file, "a") as stream:
                stream.write(json.dumps(lines[-1]) + "\n")
    said = [alarms_of({**line, "length": MANY}) for line in lines]
    print("| fault | first alarm | reported in round |\n|---|---|---|")
    for line, some in zip(lines, said, strict=True):
        cause, _, noticed = some[0] if some else ("nothing", 0, "")
        print(f"| {line['fault']}/{line['family']} | {cause} | {noticed} |")
    print(f"\nfound: {rate(sum(map(bool, said)), len(said))}")
    found = [(line, some) for line, some in zip(lines, said, strict=True) if some]
    named = sum(bool({cause for cause, *_ in some[:2]} & set(FAULTS[line["fault"]].causes)) for line, some in found)
    print(f"right cause among the first two: {rate(named, len(found))}")
    print(f"by round 1,100: {rate(sum(bool(some) and some[0][2] <= 1100 for some in said), len(said))}")


COSTED = ("cs231n-mlp", "cs231n-dcgan", "r1gan", "wgan-gp", "acgan", "biggan-small", "vae", "aae", "ganhacks")


def cost(out: Path) -> None:
    """What looking costs beside training, for recipes as they are, on the 5,000 digits of the demo."""
    digits = sparring.load("digits")
    print("| recipe | weights | round, ms | look, ms | rounds between | share of time |\n|---|---|---|---|---|---|")
    for name in COSTED:
        function = load_recipe(name, RECIPES)
        recipe = build_recipe(function, digits.spec, resolve_arguments(function, {}))
        referee = Referee(recipe.system, {"train": digits}, batch=recipe.batch, optimizers=recipe.optimizers)
        observer = Observer(recipe.system, referee.ema_system, digits, batch=recipe.batch, seed=0)
        moves = referee.reduce_logs(referee.play())
        rounds = [seconds(referee.play) for _ in range(12)]
        every = observer.spacing(1)
        looks = [
            seconds(observer.before_round) + seconds(partial(observer.observe, every * n, moves)) for n in range(1, 9)
        ]
        round_, look = median(rounds[2:]), mean(looks)
        share = look / every / round_
        figures = f"{observer.weights:,} | {1000 * round_:.1f} | {1000 * look:.1f} | {every} | {100 * share:.1f} %"
        print(f"| {name} | {figures} |", flush=True)


def seconds(work: Callable[[], Any]) -> float:
    started = time.thread_time()
    work()
    return time.thread_time() - started


def everything(out: Path) -> None:
    """All that docs/results/monitor.md has."""
    play_all(out)
    summarize(out)


STEPS = {"all": everything, "play": play_all, "fit": fit, "summarize": summarize, "late": late, "cost": cost}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("--out", type=Path, default=Path("runs/monitor"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    STEPS[arguments.step](arguments.out)
