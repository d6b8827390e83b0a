"""Measures the workloads: interleaved, so that noise of the machine meets every way alike; medians with spread."""

from __future__ import annotations

import multiprocessing
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from sparring.bench.workloads import WAYS, start
from sparring.machine import commit, processor
from sparring.system import resolve_precision

AT_LEAST = 0.5
"""Seconds that one reading takes, or one round if that is longer."""


def peaks() -> dict[str, float]:
    """The most that this machine computes with all its threads, in TFLOP/s: by kind of sum and precision.

    bf16 only where the hardware multiplies it natively; elsewhere it is emulated, and a hundred times slower.
    """
    found = {}
    native = resolve_precision("auto", torch.device("cpu")) == torch.bfloat16
    for precision, dtype in (("fp32", torch.float32), *([("bf16", torch.bfloat16)] if native else [])):
        a, b = (torch.randn(2048, 2048).to(dtype) for _ in range(2))
        found[f"matrix_{precision}"] = 2 * 2048**3 / _fastest(partial(torch.matmul, a, b)) / 1e12
        x = torch.randn(16, 256, 32, 32).to(dtype).to(memory_format=torch.channels_last)
        layer = torch.nn.Conv2d(256, 256, 3, padding=1).to(dtype).to(memory_format=torch.channels_last)
        work = 2 * 9 * 256 * 256 * 16 * 32 * 32
        with torch.no_grad():
            found[f"convolution_{precision}"] = work / _fastest(partial(layer, x)) / 1e12
    return found


def _fastest(function: Callable[[], object], times: int = 10) -> float:
    """Seconds of the fastest of several calls."""
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


@dataclass
class Reading:
    """One way of one workload: seconds per round of every reading, images per round, the most memory in bytes."""

    seconds: list[float]
    batch: int
    memory: int

    @property
    def rounds(self) -> float:
        """Median of rounds per second."""
        return 1 / statistics.median(self.seconds)

    @property
    def images(self) -> float:
        """Median of images per second: rounds times the batch of one optimizer step."""
        return self.batch * self.rounds

    @property
    def spread(self) -> list[float]:
        """The slowest and the fastest reading, in images per second."""
        return [self.batch / max(self.seconds), self.batch / min(self.seconds)]


def measured(name: str, readings: int, told: Callable[[], None]) -> dict[str, Reading]:
    """Every way of a workload, each in a process of its own, one reading of each in turn. `told` after each turn."""
    with _players(name) as players:
        seconds: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(readings):
            for way, player in players.items():
                player.send("play")
                seconds[way].append(player.recv())
            told()
        ends = {}
        for way, player in players.items():
            player.send("end")
            ends[way] = player.recv()
    return {way: Reading(seconds[way], *ends[way]) for way in WAYS}


@contextmanager
def _players(name: str) -> Iterator[dict[str, Connection]]:
    """A process for each way, warmed up, and the line to it."""
    context = multiprocessing.get_context("spawn")
    processes, lines = [], {}
    for way in WAYS:
        here, there = context.Pipe()
        processes.append(context.Process(target=_play, args=(name, way, there), daemon=True))
        processes[-1].start()
        there.close()
        here.recv()
        lines[way] = here
    try:
        yield lines
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _play(name: str, way: str, line: Connection) -> None:
    """In its own process: play a few rounds whenever asked, and say how long one took."""
    rounds, batch = start(name, way)
    next(rounds)
    began = time.perf_counter()
    next(rounds)
    several = max(1, round(AT_LEAST / (time.perf_counter() - began)))
    line.send("ready")
    while line.recv() == "play":
        began = time.perf_counter()
        for _ in range(several):
            next(rounds)
        line.send((time.perf_counter() - began) / several)
    line.send((batch, most_memory()))


def most_memory() -> int:
    """The most memory that this process has held at once, in bytes.

    On Linux from /proc: there `getrusage` counts what the parent had at the moment of the fork.
    """
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def work(name: str) -> int:
    """Floating-point operations of one round of ours: matrix products and convolutions, forwards and backwards."""
    rounds, _ = start(name, "bare")
    next(rounds)
    with Operations() as counted:
        next(rounds)
    return counted.total


class Operations(TorchDispatchMode):
    """Adds up the floating-point operations of matrix products and convolutions that are made within it.

    PyTorch's own counter (whose formulas these are) cannot look into gradients that are taken within a loss.
    """

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func.overloadpacket):
            self.total += formula(*args, **(kwargs or {}), out_val=out)
        return out


def bench(names: Sequence[str], readings: int, told: Callable[[str], None]) -> dict[str, Any]:
    """Everything about these workloads, as JSON values. `told` hears what is being done, `readings` + 1 times each."""
    told("peaks")
    peak = peaks()
    found = {}
    for name in names:
        told(name)
        flops = work(name)
        ways = measured(name, readings, partial(told, name))
        found[name] = _as_numbers(ways, flops, peak)
    told("start-up")
    return {"machine": machine(), "peaks": peak, "startup": startup(), "workloads": found}


def _as_numbers(ways: Mapping[str, Reading], flops: int, peak: Mapping[str, float]) -> dict[str, Any]:
    rates = {way: reading.images for way, reading in ways.items()}
    return {
        **rates,
        "ratio": rates["sparring"] / rates["textbook"],
        "overhead": rates["bare"] / rates["sparring"] - 1,
        "peak_share": flops * ways["sparring"].rounds / 1e12 / max(peak.values()),
        "rounds_per_second": {way: reading.rounds for way, reading in ways.items()},
        "spread": {way: reading.spread for way, reading in ways.items()},
        "memory": {way: reading.memory for way, reading in ways.items()},
        "flops": flops,
        "batch": ways["sparring"].batch,
    }


def startup() -> dict[str, float]:
    """Seconds until the command answers, with torch and without, in processes of their own."""
    commands = {
        "import torch": ["-c", "import torch"],
        "sparring --help": ["-m", "sparring", "--help"],
        "sparring recipes cs231n-mlp": ["-m", "sparring", "recipes", "cs231n-mlp"],
    }
    return {
        name: _fastest(partial(subprocess.run, [sys.executable, *arguments], check=True, capture_output=True), times=3)
        for name, arguments in commands.items()
    }


def machine() -> dict[str, Any]:
    """What the numbers depend on."""
    return {
        "processor": processor(),
        "commit": commit(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "amx": torch.cpu._is_amx_tile_supported(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }
