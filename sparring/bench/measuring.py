"""Timings of the workloads, interleaved so that load on the machine affects all loops alike; medians and spread."""

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

from sparring.bench.workloads import LOOPS, start
from sparring.device import resolve_precision
from sparring.machine import commit, processor

MIN_SECONDS = 0.5
"""Minimum duration of one timing (at least one round)."""


def peaks() -> dict[str, float]:
    """Peak throughput of this machine with all its threads, in TFLOP/s, by operation and precision.

    bf16 only if the hardware supports it natively; emulated bf16 is about a hundred times slower.
    """
    results = {}
    native = resolve_precision("auto", torch.device("cpu")) == torch.bfloat16
    for precision, dtype in (("fp32", torch.float32), *([("bf16", torch.bfloat16)] if native else [])):
        a, b = (torch.randn(2048, 2048).to(dtype) for _ in range(2))
        results[f"matrix_{precision}"] = 2 * 2048**3 / _fastest(partial(torch.matmul, a, b)) / 1e12
        x = torch.randn(16, 256, 32, 32).to(dtype).to(memory_format=torch.channels_last)
        layer = torch.nn.Conv2d(256, 256, 3, padding=1).to(dtype).to(memory_format=torch.channels_last)
        flops = 2 * 9 * 256 * 256 * 16 * 32 * 32
        with torch.no_grad():
            results[f"convolution_{precision}"] = flops / _fastest(partial(layer, x)) / 1e12
    return results


def _fastest(function: Callable[[], object], times: int = 10) -> float:
    """Seconds of the fastest of `times` calls."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


@dataclass
class Timing:
    """One loop of one workload: seconds per round of each repeat, images per round, peak memory in bytes."""

    seconds: list[float]
    batch: int
    memory: int

    @property
    def rounds(self) -> float:
        """Median rounds per second."""
        return 1 / statistics.median(self.seconds)

    @property
    def images(self) -> float:
        """Median images per second: rounds times the batch of one optimizer step."""
        return self.batch * self.rounds

    @property
    def spread(self) -> list[float]:
        """Slowest and fastest repeat, in images per second."""
        return [self.batch / max(self.seconds), self.batch / min(self.seconds)]


def time_loops(name: str, repeats: int, on_progress: Callable[[], None]) -> dict[str, Timing]:
    """Time all loops of a workload in turn, each in its own process. Calls `on_progress` after each repeat."""
    with _workers(name) as workers:
        seconds: dict[str, list[float]] = {loop: [] for loop in LOOPS}
        for _ in range(repeats):
            for loop, worker in workers.items():
                worker.send("play")
                seconds[loop].append(worker.recv())
            on_progress()
        totals = {}
        for loop, worker in workers.items():
            worker.send("end")
            totals[loop] = worker.recv()
    return {loop: Timing(seconds[loop], *totals[loop]) for loop in LOOPS}


@contextmanager
def _workers(name: str) -> Iterator[dict[str, Connection]]:
    """A connection to one warmed-up process per loop."""
    context = multiprocessing.get_context("spawn")
    processes, connections = [], {}
    for loop in LOOPS:
        parent, child = context.Pipe()
        processes.append(context.Process(target=_serve, args=(name, loop, child), daemon=True))
        processes[-1].start()
        child.close()
        parent.recv()
        connections[loop] = parent
    try:
        yield connections
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _serve(name: str, loop: str, connection: Connection) -> None:
    """In a worker process: on each request play some rounds and send the seconds per round."""
    rounds, batch = start(name, loop)
    next(rounds)
    started = time.perf_counter()
    next(rounds)
    n_rounds = max(1, round(MIN_SECONDS / (time.perf_counter() - started)))
    connection.send("ready")
    while connection.recv() == "play":
        started = time.perf_counter()
        for _ in range(n_rounds):
            next(rounds)
        connection.send((time.perf_counter() - started) / n_rounds)
    connection.send((batch, peak_memory()))


def peak_memory() -> int:
    """Peak memory of this process in bytes.

    On Linux from /proc, because `getrusage` there includes the memory of the parent at the fork.
    """
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def count_flops(name: str) -> int:
    """Floating-point operations of one round: matrix products and convolutions, forward and backward."""
    rounds, _ = start(name, "bare")
    next(rounds)
    with FlopCounter() as counter:  # type: ignore[no-untyped-call]
        next(rounds)
    return int(counter.total)


class FlopCounter(TorchDispatchMode):
    """Counts the floating-point operations of matrix products and convolutions inside its context.

    PyTorch's own counter (whose formulas it uses) misses gradients that are computed within a loss.
    """

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func.overloadpacket):
            self.total += formula(*args, **(kwargs or {}), out_val=out)
        return out


def bench(names: Sequence[str], repeats: int, on_progress: Callable[[str], None]) -> dict[str, Any]:
    """All results of these workloads as JSON values.

    Calls `on_progress` with the name of the current step: once each for peaks and start-up, `repeats` + 1 times per
    workload.
    """
    on_progress("peaks")
    peak = peaks()
    workloads = {}
    for name in names:
        on_progress(name)
        flops = count_flops(name)
        timings = time_loops(name, repeats, partial(on_progress, name))
        workloads[name] = _as_dict(timings, flops, peak)
    on_progress("start-up")
    return {"machine": machine(), "peaks": peak, "startup": startup(), "workloads": workloads}


def _as_dict(timings: Mapping[str, Timing], flops: int, peak: Mapping[str, float]) -> dict[str, Any]:
    rates = {loop: timing.images for loop, timing in timings.items()}
    return {
        **rates,
        "ratio": rates["sparring"] / rates["textbook"],
        "overhead": rates["bare"] / rates["sparring"] - 1,
        "peak_share": flops * timings["sparring"].rounds / 1e12 / max(peak.values()),
        "rounds_per_second": {loop: timing.rounds for loop, timing in timings.items()},
        "spread": {loop: timing.spread for loop, timing in timings.items()},
        "memory": {loop: timing.memory for loop, timing in timings.items()},
        "flops": flops,
        "batch": timings["sparring"].batch,
    }


def startup() -> dict[str, float]:
    """Seconds to start the command with and without torch, each in a new process."""
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
    """The machine and software that the results depend on."""
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
