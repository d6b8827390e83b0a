"""Compare evaluated runs: differences between methods, paired by seed, with confidence intervals."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from math import ceil, floor, sqrt
from pathlib import Path
from shlex import quote
from statistics import mean, variance
from typing import Any

from rich.markup import escape
from rich.table import Table

from sparring.errors import SparringError, plural
from sparring.evaluation.comparison import compare as differences
from sparring.evaluation.measurement import as_json, format_number
from sparring.evaluation.schema import require_evaluation
from sparring.metrics.intervals import mean_interval, t_quantile, wilson_interval
from sparring.run import Run
from sparring.templates import render
from sparring.typed import typed

MIN_SEEDS = 5
"""With fewer seeds per group, intervals are too wide to be useful."""


@dataclass(frozen=True)
class Group:
    """Runs that differ only in their seed.

    name  recipe and the arguments in which groups differ: "wgan-gp --gp-weight 1"
    runs  seed -> run directory; if a seed was trained twice, the last run given
    """

    name: str
    runs: Mapping[int, str]


@dataclass(frozen=True)
class Contrast:
    """One metric of one group compared with the same metric of the first group.

    metric       name of the metric
    group        name of the other group
    first, other means over seeds
    difference   other - first: mean over pairs with the same seed; without common seeds, difference of the means
    interval     95 % t interval of the difference; None for one pair
    pairs        number of common seeds; 0: not paired
    better       "lower", "higher", "nearer to F" (F: the score of real images), or "" if neither is better
    wins         pairs in which the other group is better, ties count 1/2; None if neither direction is better
    probability  of improvement: wins / pairs, or over all pairs of runs; None if neither direction is better
    probability_interval  95 % Wilson interval; None if not paired
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
        """The conclusion, in words."""
        if self.interval is None:
            return ""  # one seed per group: see `Comparison.notes`
        low, high = self.interval
        if low <= 0 <= high:
            return "no significant difference"
        if self.probability is None:
            return "different"
        return "better" if self.probability > 0.5 else "worse"


@dataclass(frozen=True)
class Comparison:
    """Groups in the order given, their contrasts with the first group, and notes about limitations."""

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
            "contrasts": [{**as_json(asdict(c)), "words": c.words} for c in self.contrasts],
            "notes": list(self.notes),
        }

    def tables(self) -> list[Table]:
        """Tables for the terminal: one for each group except the first."""
        return [self._table(group) for group in self.groups[1:]]

    def _table(self, group: Group) -> Table:
        other, first = (f"{escape(g.name)} ({plural(len(g.runs), 'seed')})" for g in (group, self.groups[0]))
        title = f"{other} vs. {first}"
        table = Table(title=title, title_justify="left", box=None, header_style="bold", padding=(0, 1, 0, 0))
        table.add_column("", no_wrap=True)
        for heading in ("first", "other", "difference, 95 %", "P better"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("conclusion")
        for c in (c for c in self.contrasts if c.group == group.name):
            difference = " to ".join(map(format_number, c.interval)) if c.interval else format_number(c.difference)
            better = "" if c.probability is None else f"{c.probability:.2f}"
            table.add_row(c.metric, format_number(c.first), format_number(c.other), difference, better, c.words)
        return table


@typed
def compare(runs: Sequence[Run | Path | str]) -> Comparison:
    """Compare groups of evaluated runs with the first group, paired by seed.

    Runs of one recipe with the same arguments, rounds and batch form a group. Raises SparringError if a run was not
    evaluated, if there is only one group, and if the evaluations are not comparable.
    """
    if len(runs) < 2:
        raise SparringError(f"a comparison needs two runs or more; got {len(runs)}")
    opened = [run if isinstance(run, Run) else Run.open(run) for run in runs]
    evaluations = _evaluations(opened)
    for run, evaluation in zip(opened[1:], evaluations[1:], strict=True):
        _require_alike(opened[0], evaluations[0], run, evaluation)
    groups, numbers = _grouped(opened, evaluations)
    if len(groups) < 2:
        raise SparringError(
            f"all {len(opened)} runs belong to one method ({groups[0].name}): give runs of at least two methods, "
            "with different recipes or arguments"
        )
    contrasts = tuple(
        _contrast(name, record, groups[0], group, numbers)
        for group in groups[1:]
        for name, record in _shared(evaluations)
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
    """The last evaluation of each run. Raises SparringError that names all runs without one and the command to run."""
    evaluations = [(str(run.path), run.evaluation()) for run in runs]
    missing = [path for path, evaluation in evaluations if evaluation is None]
    if missing:
        reason = "one was not evaluated" if len(missing) == 1 else f"{len(missing)} of them were not evaluated"
        commands = " && ".join(f"sparring evaluate {quote(path)}" for path in missing)
        raise SparringError(f"runs cannot be compared: {reason}; first: {commands}")
    for path, evaluation in evaluations:
        try:
            require_evaluation(evaluation or {})
        except SparringError as error:
            raise SparringError(f"{path}: {error}") from None
    return [evaluation for _, evaluation in evaluations if evaluation is not None]


def _require_alike(first: Run, a: Mapping[str, Any], other: Run, b: Mapping[str, Any]) -> None:
    """Raises SparringError if the two evaluations differ in their settings, with the difference."""
    try:
        differences(a, b)
    except SparringError as error:
        raise SparringError(f"{first.path} and {other.path}: {error}; evaluate both in the same way") from None
    if a["sampling"] != b["sampling"]:
        options = (", ".join(f"{k} {v}" for k, v in e["sampling"].items()) or "default options" for e in (a, b))
        raise SparringError(
            f"{first.path} and {other.path} cannot be compared: they were sampled with {' and '.join(options)}; "
            "evaluate both in the same way"
        )


def _grouped(
    runs: Sequence[Run], evaluations: Sequence[Mapping[str, Any]]
) -> tuple[list[Group], dict[str, dict[str, float]]]:
    """Groups in the order given, and run directory -> metric name -> value."""
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
        Group(name, {seed: str(run.path) for seed, run in sorted(by_seed.items())})
        for name, by_seed in zip(_names(methods), members, strict=True)
    ]
    numbers = {
        str(run.path): {record["name"]: float(record["value"]) for record in evaluation["metrics"]}
        for run, evaluation in zip(runs, evaluations, strict=True)
    }
    return groups, numbers


def _names(methods: Sequence[Mapping[str, Any]]) -> list[str]:
    """Recipe, and the arguments in which it differs from other groups of the same recipe."""
    names = []
    for method in methods:
        variants = [m for m in methods if m["recipe"] == method["recipe"]]
        different = [key for key, value in method.items() if any(m.get(key) != value for m in variants)]
        flags = " ".join(f"--{key.replace('_', '-')} {method[key]}" for key in different)
        names.append(f"{method['recipe']} {flags}".strip())
    return names


def _shared(evaluations: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Metrics that every run has, in the order of the first run: name, and the first run's record."""
    records = [{record["name"]: record for record in e["metrics"]} for e in evaluations]
    for name, record in records[0].items():
        if all(name in other for other in records):
            yield name, record


def _contrast(
    name: str, record: Mapping[str, Any], first: Group, other: Group, numbers: Mapping[str, Mapping[str, float]]
) -> Contrast:
    a, b = ({seed: numbers[path][name] for seed, path in group.runs.items()} for group in (first, other))
    better, quality = _quality(record)
    seeds = [seed for seed in a if seed in b]
    if seeds:
        changes = [b[seed] - a[seed] for seed in seeds]
        pairs = [(a[seed], b[seed]) for seed in seeds]
        difference, interval = mean(changes), mean_interval(changes)
    else:
        pairs = list(product(a.values(), b.values()))
        difference, interval = mean(b.values()) - mean(a.values()), welch(list(a.values()), list(b.values()))
    wins = sum((quality(y) > quality(x)) + (quality(y) == quality(x)) / 2 for x, y in pairs) if quality else None
    probability = None if wins is None else wins / len(pairs)
    probability_interval = None
    if wins is not None and seeds:
        probability_interval = wilson_interval(floor(wins), len(pairs))[0], wilson_interval(ceil(wins), len(pairs))[1]
    means = mean(a.values()), mean(b.values())
    return Contrast(
        name, other.name, *means, difference, interval, len(seeds), better, wins, probability, probability_interval
    )


def _quality(record: Mapping[str, Any]) -> tuple[str, Callable[[float], float] | None]:
    """The better direction in words, and a function that is higher for better values; ("", None) if there is none."""
    better = record["better"]
    if better == "floor" and record["floor"] is not None:
        real = float(record["floor"])
        return f"nearer to {real:.3g}", lambda value: -abs(value - real)
    qualities = {"lower": lambda value: -value, "higher": lambda value: value}
    return (better, qualities[better]) if better in qualities else ("", None)


def welch(a: Sequence[float], b: Sequence[float]) -> tuple[float, float] | None:
    """95 % interval of mean(b) - mean(a) of independent runs, variances unknown and unequal (Welch 1947)."""
    if len(a) < 2 or len(b) < 2:
        return None
    var_a, var_b = variance(a) / len(a), variance(b) / len(b)
    if not var_a + var_b:
        return mean(b) - mean(a), mean(b) - mean(a)
    degrees = (var_a + var_b) ** 2 / (var_a**2 / (len(a) - 1) + var_b**2 / (len(b) - 1))
    half = t_quantile(max(1, int(degrees))) * sqrt(var_a + var_b)
    return mean(b) - mean(a) - half, mean(b) - mean(a) + half


def _notes(groups: Sequence[Group], evaluations: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    first = groups[0]
    shared = {group.name: [seed for seed in first.runs if seed in group.runs] for group in groups[1:]}
    single = [group.name for group in groups[1:] if 1 in (len(first.runs), len(group.runs), len(shared[group.name]))]
    if single:
        yield (
            f"{', '.join(single)} vs. {first.name}: one seed per group compares two trainings, not two methods; train "
            f"each with {MIN_SEEDS} seeds or more (--seed 0, 1, 2, ...)"
        )
    for group in groups[1:]:
        common = shared[group.name]
        if group.name in single:
            pass
        elif not common:
            yield f"{group.name} and {first.name} have no common seeds: the unpaired comparison is less sensitive"
        elif len(common) < MIN_SEEDS:
            yield f"{group.name} vs. {first.name}: {len(common)} seeds; {MIN_SEEDS} or more narrow the interval"
        unpaired = sorted({*first.runs, *group.runs} - set(common)) if common else []
        if unpaired:
            seeds = ", ".join(map(str, unpaired))
            yield f"{group.name} vs. {first.name}: unpaired seeds are left out of the pairs: {seeds}"
    n_metrics = len(list(_shared(evaluations)))
    if n_metrics >= 10:
        yield f"{n_metrics} metrics are compared: for equal methods, one interval in 20 excludes 0 by chance"
    if len({e["metrics"][0]["averaged"] for e in evaluations}) > 1:
        yield "some runs were evaluated with EMA weights and some without: that is part of the difference"


# The page.


def page(comparison: Comparison) -> str:
    """One self-contained HTML page: metrics, and the last sample grids side by side, one row per seed."""
    seeds = sorted({seed for group in comparison.groups for seed in group.runs})
    grids = [[_grid(group.runs.get(seed)) for group in comparison.groups] for seed in seeds]
    return render(
        "compare.html.j2",
        title=" vs. ".join(group.name for group in comparison.groups),
        comparison=comparison,
        rows=list(zip(seeds, grids, strict=True)),
        format_probability=format_probability,
        number=format_number,
        count=plural,
        reach={c.metric: _reach(comparison, c.metric) for c in comparison.contrasts},
    )


def _grid(path: str | None) -> dict[str, Any] | None:
    """The newest sample grid of a run: its round, and the PNG in base64."""
    grid = Run.open(path).newest_grid() if path else None
    return grid and {"round": grid[0], "png": base64.b64encode(grid[1]).decode()}


def _reach(comparison: Comparison, metric: str) -> float:
    """Half the width of the axis on which a metric's differences are drawn."""
    contrasts = [c for c in comparison.contrasts if c.metric == metric]
    ends = [abs(end) for c in contrasts for end in (c.difference, *(c.interval or ()))]
    return max(ends) or 1.0


def format_probability(c: Contrast) -> str:
    """The probability of improvement with its interval, as text."""
    if c.probability is None:
        return ""
    if c.probability_interval is None:
        return f"{c.probability:.2f}"
    low, high = c.probability_interval
    return f"{c.probability:.2f} ({low:.2f} to {high:.2f})"
