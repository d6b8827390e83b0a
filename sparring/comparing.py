"""Several evaluated runs side by side: what the methods differ in, seed by seed, and how sure that is."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from itertools import product
from math import ceil, floor, sqrt
from pathlib import Path
from shlex import quote
from statistics import mean, variance
from typing import Any

import jinja2
from rich.markup import escape
from rich.table import Table

from sparring.errors import SparringError
from sparring.evaluation.comparison import compare as differences
from sparring.evaluation.measurement import format_number
from sparring.evaluation.schema import require_evaluation
from sparring.metrics import mean_interval, wilson_interval
from sparring.metrics.intervals import t_quantile
from sparring.run import Run
from sparring.typed import typed

BETTER = {
    "classification error": "lower",
    "clustering error": "lower",
    "reconstruction error": "lower",
    "class agreement": "higher",
    "log-likelihood": "higher",
}
"""Which way is better, for numbers that are not held against real images; the others have no better way."""

MIN_SEEDS = 5
"""Seeds a side below which an interval is mostly width."""


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed only.

    name  recipe and, where groups differ in them, its arguments: "wgan-gp --penalty 1"
    runs  seed -> run directory; seeds of runs that were trained twice count once, the last given
    """

    name: str
    runs: Mapping[int, str]


@dataclass(frozen=True)
class Contrast:
    """One number of one group against the same number of the first.

    metric       name of the number
    first, other their means over seeds
    difference   other - first, mean over the pairs of the same seed; without common seeds, of all
    interval     95 % t interval of the difference; None for one pair
    pairs        seeds that both groups have; 0: not paired
    better       "lower", "higher", "nearer to F" (what real images score), or "" where neither is better
    wins         pairs in which the other group is better, a tie half; None without a better way
    probability  of improvement: wins / pairs, or over all pairs of runs; None without a better way
    probability_interval  95 % Wilson interval; None when it is not paired
    """

    metric: str
    group: str
    first: float
    other: float
    difference: float
    interval: tuple[float, float] | None
    pairs: int
    better: str
    wins: float | None
    probability: float | None
    probability_interval: tuple[float, float] | None

    @property
    def words(self) -> str:
        """What may be concluded."""
        if self.interval is None:
            return ""  # one seed a side: `Comparison.notes` says so, once
        low, high = self.interval
        if low <= 0 <= high:
            return "not told apart"
        if self.probability is None:
            return "different"
        return "better" if self.probability > 0.5 else "worse"


@dataclass(frozen=True)
class Comparison:
    """Groups in the order given, their contrasts with the first, and sentences about what is missing."""

    groups: tuple[Group, ...]
    contrasts: tuple[Contrast, ...]
    notes: tuple[str, ...]
    card: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Plain lists, dictionaries, strings and numbers: ready for JSON."""
        return {
            "card": dict(self.card),
            "groups": [
                {"name": g.name, "runs": {str(seed): path for seed, path in g.runs.items()}} for g in self.groups
            ],
            "contrasts": [{**_plain(asdict(c)), "words": c.words} for c in self.contrasts],
            "notes": list(self.notes),
        }

    def tables(self) -> list[Table]:
        """For the terminal: one for each group but the first."""
        return [self._table(group) for group in self.groups[1:]]

    def _table(self, group: Group) -> Table:
        both = [f"{escape(one.name)} ({_seeds(len(one.runs))})" for one in (group, self.groups[0])]
        title = f"{both[0]} against {both[1]}"
        table = Table(title=title, title_justify="left", box=None, header_style="bold", padding=(0, 1, 0, 0))
        table.add_column("", no_wrap=True)
        for heading in ("first", "other", "difference, 95 %", "P better"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("in words")
        for c in (c for c in self.contrasts if c.group == group.name):
            between = " to ".join(map(format_number, c.interval)) if c.interval else format_number(c.difference)
            better = "" if c.probability is None else f"{c.probability:.2f}"
            table.add_row(c.metric, format_number(c.first), format_number(c.other), between, better, c.words)
        return table


@typed
def compare(runs: Sequence[Run | Path | str]) -> Comparison:
    """Hold evaluated runs against each other: groups of seeds, paired seed by seed, against the first group.

    Runs of one recipe with the same arguments, rounds and batch are one group. Raises SparringError when a run was not
    evaluated, when there is only one group, and when numbers are not comparable: the reason is said.
    """
    if len(runs) < 2:
        raise SparringError(f"a comparison is of two runs or more; got {len(runs)}")
    opened = [run if isinstance(run, Run) else Run.open(run) for run in runs]
    evaluations = _evaluations(opened)
    for run, evaluation in zip(opened[1:], evaluations[1:], strict=True):
        _require_alike(opened[0], evaluations[0], run, evaluation)
    groups, numbers = _grouped(opened, evaluations)
    if len(groups) < 2:
        raise SparringError(
            f"all {len(opened)} runs are of one method ({groups[0].name}): give runs of at least two, "
            "by another recipe or other arguments"
        )
    contrasts = tuple(
        _contrast(name, cards, groups[0], group, numbers)
        for group in groups[1:]
        for name, cards in _shared(evaluations)
    )
    first = evaluations[0]
    card = {
        "data": first["data"],
        "n": first["n"],
        "split": first["metrics"][0]["split"],
        "sampling": first["sampling"],
    }
    return Comparison(tuple(groups), contrasts, tuple(_notes(groups, evaluations)), card)


def _evaluations(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """What each run's last evaluation kept. Raises SparringError that names all runs without one, and how to get it."""
    found = [(str(run.path), run.evaluation()) for run in runs]
    missing = [path for path, evaluation in found if evaluation is None]
    if missing:
        first = "it was not evaluated" if len(missing) == 1 else f"{len(missing)} of them were not evaluated"
        todo = " && ".join(f"sparring evaluate {quote(path)}" for path in missing)
        raise SparringError(f"runs cannot be compared: {first}; first: {todo}")
    for path, evaluation in found:
        try:
            require_evaluation(evaluation or {})
        except SparringError as error:
            raise SparringError(f"{path}: {error}") from None
    return [evaluation for _, evaluation in found if evaluation is not None]


def _require_alike(first: Run, a: Mapping[str, Any], other: Run, b: Mapping[str, Any]) -> None:
    """Raises SparringError that says in what the cards of the two runs differ."""
    try:
        differences(a, b)
    except SparringError as error:
        raise SparringError(f"{first.path} and {other.path}: {error}; evaluate both in the same way") from None
    if a["sampling"] != b["sampling"]:
        said = (", ".join(f"{k} {v}" for k, v in e["sampling"].items()) or "nothing special" for e in (a, b))
        raise SparringError(
            f"{first.path} and {other.path} cannot be compared: they were sampled with {' and '.join(said)}; "
            "evaluate both in the same way"
        )


def _grouped(runs: Sequence[Run], evaluations: Sequence[Mapping]) -> tuple[list[Group], dict[str, dict[str, float]]]:
    """Groups in the order given; run directory -> number by name."""
    methods: list[dict[str, Any]] = []
    members: list[dict[int, Run]] = []
    for run in runs:
        config = run.config
        method = {
            "recipe": config["recipe"],
            **config["arguments"],
            "rounds": config["rounds"],
            "batch": config["batch"],
        }
        if method not in methods:
            methods.append(method)
            members.append({})
        members[methods.index(method)][config["seed"]] = run
    groups = [
        Group(name, {seed: str(run.path) for seed, run in sorted(mine.items())})
        for name, mine in zip(_names(methods), members, strict=True)
    ]
    numbers = {
        str(run.path): {card["name"]: float(card["value"]) for card in evaluation["metrics"]}
        for run, evaluation in zip(runs, evaluations, strict=True)
    }
    return groups, numbers


def _names(methods: Sequence[Mapping[str, Any]]) -> list[str]:
    """Recipe, and what sets it apart from others of the same recipe."""
    names = []
    for method in methods:
        rivals = [m for m in methods if m["recipe"] == method["recipe"]]
        apart = [key for key, value in method.items() if any(rival.get(key) != value for rival in rivals)]
        flags = " ".join(f"--{key.replace('_', '-')} {method[key]}" for key in apart)
        names.append(f"{method['recipe']} {flags}".strip())
    return names


def _shared(evaluations: Sequence[Mapping]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Numbers that every run has, in the order of the first: name, and the first run's card."""
    named = [{card["name"]: card for card in e["metrics"]} for e in evaluations]
    for name, card in named[0].items():
        if all(name in other for other in named):
            yield name, card


def _contrast(
    name: str, card: Mapping[str, Any], first: Group, other: Group, numbers: Mapping[str, Mapping[str, float]]
) -> Contrast:
    a, b = ({seed: numbers[path][name] for seed, path in group.runs.items()} for group in (first, other))
    better, worth = _worth(card)
    seeds = [seed for seed in a if seed in b]
    if seeds:
        changes = [b[seed] - a[seed] for seed in seeds]
        duels = [(a[seed], b[seed]) for seed in seeds]
        difference, interval = mean(changes), mean_interval(changes)
    else:
        duels = list(product(a.values(), b.values()))
        difference, interval = mean(b.values()) - mean(a.values()), welch(list(a.values()), list(b.values()))
    wins = sum((worth(y) > worth(x)) + (worth(y) == worth(x)) / 2 for x, y in duels) if worth else None
    probability = None if wins is None else wins / len(duels)
    between = None
    if wins is not None and seeds:
        between = wilson_interval(floor(wins), len(duels))[0], wilson_interval(ceil(wins), len(duels))[1]
    means = mean(a.values()), mean(b.values())
    return Contrast(name, other.name, *means, difference, interval, len(seeds), better, wins, probability, between)


def _worth(card: Mapping[str, Any]) -> tuple[str, Any]:
    """In words which way is better, and a function that grows that way; ("", None) where neither is."""
    if card["section"] == "samples" and card["floor"] is not None:
        real = float(card["floor"])
        return f"nearer to {real:.3g}", lambda value: -abs(value - real)
    way = BETTER.get(card["name"], "")
    return way, {"lower": lambda value: -value, "higher": lambda value: value}.get(way)


def welch(a: Sequence[float], b: Sequence[float]) -> tuple[float, float] | None:
    """95 % interval of mean(b) - mean(a) of independent runs, variances unknown and unequal (Welch 1947)."""
    if len(a) < 2 or len(b) < 2:
        return None
    of_a, of_b = variance(a) / len(a), variance(b) / len(b)
    if not of_a + of_b:
        return mean(b) - mean(a), mean(b) - mean(a)
    freedom = (of_a + of_b) ** 2 / (of_a**2 / (len(a) - 1) + of_b**2 / (len(b) - 1))
    half = t_quantile(max(1, int(freedom))) * sqrt(of_a + of_b)
    return mean(b) - mean(a) - half, mean(b) - mean(a) + half


def _notes(groups: Sequence[Group], evaluations: Sequence[Mapping]) -> Iterator[str]:
    first = groups[0]
    shared = {group.name: [seed for seed in first.runs if seed in group.runs] for group in groups[1:]}
    single = [group.name for group in groups[1:] if 1 in (len(first.runs), len(group.runs), len(shared[group.name]))]
    if single:
        yield (
            f"{', '.join(single)} against {first.name}: one seed a side says which of two trainings came out better "
            f"and proves nothing about the method; train each with {MIN_SEEDS} seeds or more (--seed 0, 1, 2, ...)"
        )
    for group in groups[1:]:
        common = shared[group.name]
        if group.name in single:
            pass
        elif not common:
            yield f"{group.name} and {first.name} have no seed in common: compared without pairs, which sees less"
        elif len(common) < MIN_SEEDS:
            yield f"{group.name} against {first.name}: {len(common)} seeds; {MIN_SEEDS} or more narrow the interval"
        alone = sorted({*first.runs, *group.runs} - set(common)) if common else []
        if alone:
            left = ", ".join(map(str, alone))
            yield f"{group.name} against {first.name}: seeds without a partner are left out of pairs: {left}"
    numbers = len(list(_shared(evaluations)))
    if numbers >= 10:
        yield f"{numbers} numbers are compared: of equal methods, one interval in 20 misses 0 by chance"
    if len({e["metrics"][0]["averaged"] for e in evaluations}) > 1:
        yield "some runs were measured with averaged weights and some without: that is part of the difference"


# The page.


def page(found: Comparison) -> str:
    """One self-contained page: numbers, and the last grids side by side, a row for each seed."""
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        (files("sparring") / "compare.html.j2").read_text(encoding="utf-8")
    )
    seeds = sorted({seed for group in found.groups for seed in group.runs})
    grids = [[_grid(group.runs.get(seed)) for group in found.groups] for seed in seeds]
    return template.render(
        found=found,
        rows=list(zip(seeds, grids, strict=True)),
        chance=format_probability,
        short=format_number,
        seeds=_seeds,
        reach={c.metric: _reach(found, c.metric) for c in found.contrasts},
    )


def _grid(path: str | None) -> dict[str, Any] | None:
    """The newest picture of a run: its round, and its PNG in base64."""
    grid = Run.open(path).newest_grid() if path else None
    return grid and {"round": grid[0], "png": base64.b64encode(grid[1]).decode()}


def _reach(found: Comparison, metric: str) -> float:
    """Half the width of the picture of a metric's differences."""
    ends = [abs(end) for c in found.contrasts if c.metric == metric for end in (c.difference, *(c.interval or ()))]
    return max(ends) or 1.0


def format_probability(c: Contrast) -> str:
    """The probability of improvement with its interval, in words."""
    if c.probability is None:
        return ""
    if c.probability_interval is None:
        return f"{c.probability:.2f}"
    low, high = c.probability_interval
    return f"{c.probability:.2f} ({low:.2f} to {high:.2f})"


def _seeds(count: int) -> str:
    return f"{count} seed{'s' if count != 1 else ''}"


def _plain(card: dict[str, Any]) -> dict[str, Any]:
    """JSON has no tuples."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in card.items()}
