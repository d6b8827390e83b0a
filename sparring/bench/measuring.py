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
from sparring.device import resolve_precision, synchronize
from sparring.machine import commit, processor
from sparring.seeds import CPU

MIN_SECONDS = 0.5
"""Minimum duration of one timing (at least one round)."""


def peaks(device: torch.device = CPU) -> dict[str, float]:
    """Peak throughput of the device in TFLOP/s, by operation and precision; on a CPU with all threads.

    bf16 only if the hardware supports it natively; emulated bf16 is about a hundred times slower.
    """
    results = {}
    native = resolve_precision("auto", device) == torch.bfloat16
    side, batch = (2048, 16) if device.type == "cpu" else (8192, 256)
    for precision, dtype in (("fp32", torch.float32), *([("bf16", torch.bfloat16)] if native else [])):
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        results[f"matrix_{precision}"] = 2 * side**3 / _fastest(partial(torch.matmul, a, b), device) / 1e12
        x = torch.randn(batch, 256, 32, 32, device=device).to(dtype).to(memory_format=torch.channels_last)
        layer = torch.nn.Conv2d(256, 256, 3, padding=1).to(device, dtype).to(memory_format=torch.channels_last)
        flops = 2 * 9 * 256 * 256 * batch * 32 * 32
        with torch.no_grad():
            results[f"convolution_{precision}"] = flops / _fastest(partial(layer, x), device) / 1e12
    return results


def copy_rates(device: torch.device) -> dict[str, float]:
    """GB/s within the device's memory (read and written), from the host's pinned memory to it, and back."""
    n_bytes = 1 << (26 if device.type == "cpu" else 28)
    on_device, host = torch.ones(n_bytes, dtype=torch.uint8, device=device), torch.ones(n_bytes, dtype=torch.uint8)
    host = host.pin_memory() if device.type == "cuda" else host
    target = torch.empty_like(on_device)
    seconds = {
        "device": _fastest(partial(target.copy_, on_device), device) / 2,
        "to_device": _fastest(partial(target.copy_, host, non_blocking=True), device),
        "to_host": _fastest(partial(host.copy_, on_device, non_blocking=True), device),
    }
    return {name: n_bytes / time / 1e9 for name, time in seconds.items()}


def _fastest(function: Callable[[], object], device: torch.device = CPU, times: int = 10) -> float:
    """Seconds of the fastest of `times` calls, until the device has done the work."""
    seconds = []
    for _ in range(times):
        synchronize(device)
        started = time.perf_counter()
        function()
        synchronize(device)
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


def time_loops(
    name: str, repeats: int, on_progress: Callable[[], None], device: torch.device = CPU
) -> dict[str, Timing]:
    """Time all loops of a workload in turn, each in its own process. Calls `on_progress` after each repeat."""
    with _workers(name, device) as workers:
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
def _workers(name: str, device: torch.device) -> Iterator[dict[str, Connection]]:
    """A connection to one warmed-up process per loop."""
    context = multiprocessing.get_context("spawn")
    processes, connections = [], {}
    for loop in LOOPS:
        parent, child = context.Pipe()
        processes.append(context.Process(target=_serve, args=(name, loop, device, child), daemon=True))
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


def _serve(name: str, loop: str, device: torch.device, connection: Connection) -> None:
    """In a worker process: on each request play some rounds and send the seconds per round."""
    rounds, batch = start(name, loop, device)
    next(rounds)
    synchronize(device)
    started = time.perf_counter()
    next(rounds)
    synchronize(device)
    n_rounds = max(1, round(MIN_SECONDS / (time.perf_counter() - started)))
    connection.send("ready")
    while connection.recv() == "play":
        started = time.perf_counter()
        for _ in range(n_rounds):
            next(rounds)
        synchronize(device)
        connection.send((time.perf_counter() - started) / n_rounds)
    connection.send((batch, peak_memory(device)))


def peak_memory(device: torch.device = CPU) -> int:
    """Peak memory of this process in bytes; on a GPU, of its tensors there.

    On Linux from /proc, because `getrusage` there includes the memory of the parent at the fork.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
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


def bench(
    names: Sequence[str], repeats: int, on_progress: Callable[[str], None], device: torch.device = CPU
) -> dict[str, Any]:
    """All results of these workloads on the device as JSON values.

    Calls `on_progress` with the name of the current step: once each for peaks and start-up, `repeats` + 1 times per
    workload.
    """
    on_progress("peaks")
    peak = peaks(device)
    workloads = {}
    for name in names:
        on_progress(name)
        flops = count_flops(name)
        timings = time_loops(name, repeats, partial(on_progress, name), device)
        workloads[name] = _as_dict(timings, flops, peak)
    on_progress("start-up")
    return {"machine": machine(device), "peaks": peak, "startup": startup(), "workloads": workloads}


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


def machine(device: torch.device = CPU) -> dict[str, Any]:
    """The machine and software that the results depend on."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "processor": processor(),
        "commit": commit(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "amx": torch.cpu._is_amx_tile_supported(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }
