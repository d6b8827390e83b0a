"""A check of a GPU: does everything compute there what it computes on the CPU, how fast, and what does it wait for?

    python benchmarks/gpu.py --minutes 6 [--device cuda] [--packages DIR] [--out gpu.md]

Prints a Markdown page, and writes it to --out after every line. The machine needs PyTorch and nothing installed: run
the script in a checkout; --packages names a folder with the packages that the machine lacks (`pip install --target`).
`--device cpu` compares the CPU with itself: a trial of the script. Every part runs in a process of its own with a time
limit, so that a part that fails, hangs or leaves the device unusable costs no other part.

1. Recipes: three rounds in float32 without TF32, on the CPU and on the device. The numbers logged in round 1 must agree
   within TOLERANCE, relative to the larger of the number and .01. Later rounds have no verdict: a step of Adam
   turns the sign of a gradient near 0 into a difference of two learning rates. Layers that draw random numbers on the
   device (dropout, noise) draw others there: for these recipes the numbers must be finite.
2. Resume: 10 rounds, stopped and resumed to 20, against 20 rounds: weights equal to the bit.
3. Guard, evaluation, sampling.
4. Peaks of matrix product, convolution and copies; images/s of the loops of `sparring bench`.
5. Profile: launches, copies and waits of a round.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from sparring.data.dataset import Dataset
    from sparring.referee import Referee

TOLERANCE = 1e-3
"""Largest relative difference of a number logged in round 1."""

SAMPLE_TOLERANCE = 1e-3
"""Largest difference of a pixel in [-1, 1]."""

FD_TOLERANCE = 1e-2
"""Largest relative difference of FD."""

NARROW = {
    **{"batch": 16, "width": 8, "latent_dim": 12, "blocks": 1, "groups": 2, "attention": 0, "critic_steps": 2},
    **{"warm_start": 2, "n_labeled": 20, "standing_batches": 1, "ema_start": 1, "d_layers": 1, "pool_size": 10},
    **{"max_channels": 16, "mapping_layers": 2, "rounds_per_level": 2},
}
"""Arguments, of the recipes that have them, for small networks."""

SIZES = {
    "biggan": 32,
    "biggan-deep": 32,
    "cyclegan": 32,
    "dcgan": 32,
    "pix2pix": 32,
    "r3gan": 16,
    "style-alae": 16,
    "wgan": 32,
}
"""Image sides of recipes whose default is large."""

RESUMED = (
    *(("cs231n-dcgan", "fp32"), ("cs231n-dcgan", "bf16"), ("wgan-gp", "fp32"), ("biggan-small", "fp32")),
    *(("raschka-mlp", "fp32"), ("vae", "fp32")),
)
"""Recipes and precisions of part 2: batch norm, bf16, second derivatives, EMA from a later round, dropout, a VAE."""

WORKERS = 4
"""Processes that compare recipes at a time."""


# Parts: functions that yield rows of a Markdown table. Each runs in a child process, which prints them as JSON.


def recipes(device: torch.device, names: Sequence[str]) -> Iterator[list[str]]:
    """Recipe, verdict, largest difference in rounds 1 and 3 and the number that has it."""
    import torch

    for name in names:
        try:
            cpu, _ = logged(name, torch.device("cpu"))
            other, is_random = logged(name, device)
        except Exception as error:
            yield [name, "FAILED", summary(error)]
            if device.type == "cuda":
                torch.cuda.synchronize()  # raises if the device is unusable now: a new process does the rest
            continue
        first, third = (difference(a, b) for a, b in ((cpu[0], other[0]), (cpu[2], other[2])))
        if is_random:
            verdict = "finite" if math.isfinite(first[0] + third[0]) else "NOT FINITE"
        else:
            verdict = "equal" if first[0] <= TOLERANCE else "DIFFERS"
        note = "; random layers" if is_random else ""
        yield [name, verdict, f"round 1: {first[0]:.1e} ({first[1]}); round 3: {third[0]:.1e} ({third[1]}){note}"]


def resume(device: torch.device, names: Sequence[str]) -> Iterator[list[str]]:
    """Recipe and precision, verdict, largest difference of a weight."""
    import numpy as np

    import sparring

    with tempfile.TemporaryDirectory() as folder:
        pixels = np.random.default_rng(0).integers(0, 256, (300, 28, 28), dtype=np.uint8)
        np.savez(f"{folder}/toy.npz", images=pixels, labels=np.arange(300) % 10)
        for name in names:
            recipe, precision = name.split()

            def train(rounds: int, recipe: str = recipe, precision: str = precision) -> sparring.Run:
                options = {k: v for k, v in narrow(recipe).items() if k not in ("width", "latent_dim")}
                quiet: dict[str, Any] = {"monitor": False, "quiet": True, "eval_every": 10**6, "sample_every": 10**6}
                where: dict[str, Any] = {"out": f"{folder}/runs", "device": str(device), "precision": precision}
                return sparring.train(recipe, f"{folder}/toy.npz", rounds=rounds, **where, **quiet, **options)

            try:
                whole = train(20)
                stopped = sparring.resume(train(10), rounds=20, quiet=True)
                one, two = (run.newest_checkpoint().tensors for run in (whole, stopped))
                worst = max(
                    float((one[file][weight].double() - two[file][weight].double()).abs().max())
                    for file in one
                    for weight in one[file]
                    if one[file][weight].numel()
                )
                yield [name, "equal to the bit" if worst == 0 else "DIFFERS", f"largest difference {worst:.1e}"]
            except Exception as error:
                yield [name, "FAILED", summary(error)]


def behavior(device: torch.device, names: Sequence[str]) -> Iterator[list[str]]:
    """What, verdict, and how: the guard against divergence, sampling and evaluation."""
    import torch

    import sparring
    from sparring.errors import DivergedError
    from sparring.evaluation import evaluate

    referee = make_referee("dcgan", device)
    referee.play()
    with torch.no_grad():
        next(referee.system.D.parameters()).fill_(math.nan)
    before = [p.clone() for p in referee.system.G.parameters()]
    try:
        referee.play()
        yield ["guard", "FAILED", "a round with weights that are not numbers was played"]
    except DivergedError as error:
        same = all(torch.equal(p, q) for p, q in zip(before, referee.system.G.parameters(), strict=True))
        yield ["guard", "stops" if same else "FAILED", str(error) if same else "the generator was updated"]

    data = noise("dcgan", 1200).hold_out(0.4)
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {"monitor": False, "quiet": True, "precision": "fp32", "device": str(device)}
        run = sparring.train("dcgan", data, rounds=10, out=folder, **narrow("dcgan"), **options)
        systems = {place: run.system(device=place) for place in ("cpu", str(device))}
        images = {place: system.sample(64, seed=1) for place, system in systems.items()}
        worst = float((images["cpu"] - images[str(device)]).abs().max())
        verdict = "equal" if worst <= SAMPLE_TOLERANCE else "DIFFERS"
        yield ["sample", verdict, f"64 images, largest difference of a pixel {worst:.1e}"]
        started = time.perf_counter()
        distances = {place: evaluate(system, data, n=100, repeats=2)["FD"].value for place, system in systems.items()}
        relative = abs(distances["cpu"] - distances[str(device)]) / distances["cpu"]
        verdict = "equal" if relative <= FD_TOLERANCE else "DIFFERS"
        numbers = ", ".join(f"{place} {value:.6g}" for place, value in distances.items())
        yield ["evaluate", verdict, f"FD {numbers}; both in {time.perf_counter() - started:.1f} s"]


def peaks(device: torch.device, names: Sequence[str]) -> Iterator[list[str]]:
    """What, number, unit."""
    from sparring.bench.measuring import copy_rates
    from sparring.bench.measuring import peaks as measured

    for name, tflops in measured(device).items():
        yield [name.replace("_", " "), f"{tflops:.1f}", "TFLOP/s"]
    for name, rate in copy_rates(device).items():
        yield [f"copy {name.replace('_', ' ')}", f"{rate:.1f}", "GB/s"]


def throughput(device: torch.device, names: Sequence[str]) -> Iterator[list[str]]:
    """Workload, milliseconds per round of our loop, images/s of the three loops."""
    from sparring.bench.workloads import LOOPS, start
    from sparring.device import synchronize

    for name in names:
        images: dict[str, str] = {}
        milliseconds = ""
        for loop in LOOPS:
            try:
                rounds, batch = start(name, loop, device)
                for _ in range(3):
                    next(rounds)
                synchronize(device)
                started, count = time.perf_counter(), 0
                while (seconds := time.perf_counter() - started) < 2.0 or not count:
                    next(rounds)
                    count += 1
                    synchronize(device)
                images[loop] = f"{batch * count / seconds:,.0f}"
                milliseconds = f"{1000 * seconds / count:.2f}"
            except Exception as error:
                images[loop] = f"FAILED: {summary(error)}"
        yield [name, milliseconds, *(images[loop] for loop in LOOPS)]


COUNTED = {
    "launches": ("cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernel"),
    "copies": ("cudaMemcpyAsync",),
    "waits": ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize"),
    "numbers read": ("aten::_local_scalar_dense",),
}
"""Column -> names of the profiler's events; `tolist` of a tensor is a copy and a wait."""


def profile(device: torch.device, names: Sequence[str]) -> Iterator[list[str]]:
    """Workload, per round: COUNTED, milliseconds of kernels, milliseconds in all."""
    import torch
    from torch.profiler import ProfilerActivity

    from sparring.bench.workloads import start
    from sparring.device import synchronize

    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    for name in names:
        rounds, _ = start(name, "sparring", device)
        for _ in range(20):
            next(rounds)
        synchronize(device)
        played = 10  # one of them logs
        started = time.perf_counter()
        for _ in range(played):
            next(rounds)
        synchronize(device)
        seconds = (time.perf_counter() - started) / played
        with torch.profiler.profile(activities=activities) as profiler:
            for _ in range(played):
                next(rounds)
            synchronize(device)
        events = {event.key: event for event in profiler.key_averages()}
        counts = [sum(events[k].count for k in keys if k in events) / played for keys in COUNTED.values()]
        kernels = sum(getattr(event, "self_device_time_total", 0.0) for event in events.values()) / 1000 / played
        yield [name, *(f"{count:.1f}" for count in counts), f"{kernels:.2f}", f"{1000 * seconds:.2f}"]


PARTS: dict[str, Callable[[Any, Sequence[str]], Iterator[list[str]]]] = {
    "recipes": recipes,
    "resume": resume,
    "behavior": behavior,
    "peaks": peaks,
    "throughput": throughput,
    "profile": profile,
}


# What the parts share.


def narrow(name: str) -> dict[str, Any]:
    """The arguments of NARROW that the recipe has."""
    from sparring.recipes import RECIPES
    from sparring.recipes.recipe import arguments, load_recipe

    return {a.name: NARROW[a.name] for a in arguments(load_recipe(name, RECIPES)) if a.name in NARROW}


def noise(name: str, count: int = 200) -> Dataset:
    """Random images that the recipe accepts, with labels."""
    from dataclasses import replace

    import torch

    from sparring.data.dataset import Dataset
    from sparring.recipes import RECIPES
    from sparring.recipes.recipe import info, load_recipe

    about, g = info(load_recipe(name, RECIPES)), torch.Generator().manual_seed(0)
    size = SIZES.get(name, about.size)
    shape = (count, 3 if about.domains else 1, size, size)
    if about.modality == "molecules":
        shape = (count, *about.spec().shape)
    labels = torch.arange(count) % max(2, min(about.classes, 10))
    images = torch.randint(0, 256, shape, generator=g, dtype=torch.uint8)
    if about.modality == "molecules":
        return replace(Dataset("noise", images), values=torch.randn(count, 2, generator=g), modality="molecules")
    return Dataset("noise", images, labels, tuple(map(str, range(int(labels.max()) + 1))), paired=about.paired)


def make_referee(name: str, device: torch.device) -> Referee:
    """The referee of a training of this recipe on noise, before the first round."""
    from sparring.recipes import RECIPES
    from sparring.recipes.recipe import load_recipe, resolve_arguments
    from sparring.training import _prepare

    function = load_recipe(name, RECIPES)
    resolved = resolve_arguments(function, narrow(name))
    _, referee, _ = _prepare(function, resolved, noise(name), seed=0, device=device, precision="fp32", grad_accum=1)
    return referee


def logged(name: str, device: torch.device) -> tuple[list[dict[str, float]], bool]:
    """The numbers logged in each of three rounds, and whether layers draw random numbers on the device."""
    from sparring.seeds import _stochastic

    referee = make_referee(name, device)
    rounds = []
    for _ in range(3):
        moves = referee.reduce_logs(referee.play())
        rounds.append(
            {
                f"{i} {move['player']} {key}": float(value)
                for i, move in enumerate(moves)
                for key, value in move.items()
                if key != "player"
            }
        )
    return rounds, bool(_stochastic(referee.system))


def difference(a: dict[str, float], b: dict[str, float]) -> tuple[float, str]:
    """The largest relative difference, and the name of the number that has it; inf for different names."""
    if a.keys() != b.keys():
        return math.inf, "other numbers"
    worst = {key: abs(a[key] - b[key]) / max(abs(a[key]), 0.01) for key in a}
    name = max(worst, key=lambda key: math.inf if math.isnan(worst[key]) else worst[key])
    return (math.inf if math.isnan(worst[name]) else worst[name]), name


def summary(error: Exception) -> str:
    """The kind and the first line of an error."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


# Children: one part, some names.


def child(part: str, device: str, names: Sequence[str]) -> None:
    """Run a part and print its rows."""
    from sparring.device import resolve_device

    for row in PARTS[part](resolve_device(device), names):
        print(json.dumps(row), flush=True)


def rows_of(part: str, names: Sequence[str], options: argparse.Namespace, seconds: float) -> Iterator[list[str]]:
    """The rows of a part, from children. After a child that failed, another one does the rest.

    seconds  time for all of them
    """
    until = time.monotonic() + seconds
    remaining = [*names]
    while remaining or not names:
        errors: list[str] = []
        for row in _rows_of_child(part, remaining, options, until, errors):
            if row[0] in remaining:
                remaining.remove(row[0])
            yield row
        if time.monotonic() >= until:
            yield from ([name, "no time left"] for name in remaining or ([] if names else [part]))
            return
        if errors:
            yield [remaining.pop(0) if remaining else part, "FAILED", errors[-1].strip()[:200]]
        elif remaining:
            yield from ([name, "FAILED", "no result"] for name in remaining)
            return
        if not names:
            return


def _rows_of_child(
    part: str, names: Sequence[str], options: argparse.Namespace, until: float, errors: list[str]
) -> Iterator[list[str]]:
    """The rows that one child prints before `until`; what it says when it fails is added to `errors`."""
    argv = [sys.executable, __file__, "--device", options.device, "--child", part, *names]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": str(options.threads)}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=said, text=True, env=environment) as process,
    ):
        timer = threading.Timer(max(0.0, until - time.monotonic()), process.kill)
        timer.start()
        assert process.stdout is not None
        for line in process.stdout:
            yield json.loads(line)
        code = process.wait()
        timer.cancel()
        if code:
            said.seek(0)
            errors += said.readlines()[-1:] or [f"exit code {code}"]


# The page.


class Page:
    """Lines of Markdown, printed and written as they come; the time that is left."""

    def __init__(self, minutes: float, out: Path | None) -> None:
        self.end, self.out, self.lines = time.monotonic() + 60 * minutes, out, list[str]()

    @property
    def left(self) -> float:
        """Seconds."""
        return max(0.0, self.end - time.monotonic())

    def add(self, line: str = "") -> None:
        """Print a line, and write the page."""
        self.lines.append(line)
        print(line, flush=True)
        if self.out is not None:
            self.out.write_text("\n".join(self.lines) + "\n")

    def table(self, title: str, columns: Sequence[str], rows: Iterator[list[str]]) -> None:
        """A section with a table."""
        self.add(f"\n## {title}\n")
        self.add(f"| {' | '.join(columns)} |")
        self.add(f"|{'---|' * len(columns)}")
        for row in rows:
            cells = [cell.replace("|", "/") for cell in row]
            self.add(f"| {' | '.join(cells + [''] * (len(columns) - len(cells)))} |")


def side_by_side(names: Sequence[str], options: argparse.Namespace, seconds: float) -> Iterator[list[str]]:
    """The rows of `recipes`, from WORKERS children at a time, in the order of the names."""
    with ThreadPoolExecutor(WORKERS) as pool:
        shares = [names[k::WORKERS] for k in range(WORKERS)]
        found = pool.map(lambda share: [*rows_of("recipes", share, options, seconds)] if share else [], shares)
        yield from sorted((row for rows in found for row in rows), key=lambda row: [*names].index(row[0]))


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--packages", type=Path, help="folder with packages that this machine lacks")
    parser.add_argument("--out", type=Path, help="also write the page to this file")
    parser.add_argument("--recipes", help="only these, separated by commas")
    parser.add_argument("--workloads", help="only these, separated by commas")
    parser.add_argument("--parts", default=",".join(PARTS), help="only these, separated by commas")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of each process")
    parser.add_argument("--child", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("names", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    if options.packages:
        sys.path.insert(1, str(options.packages.resolve()))
    if options.child:
        child(options.child, options.device, options.names)
    else:
        write_page(options)


def write_page(options: argparse.Namespace) -> None:
    """All parts, in the order of what would be missed most."""
    from sparring.recipes import RECIPES

    page, started = Page(options.minutes, options.out), time.monotonic()
    names = options.recipes.split(",") if options.recipes else [*RECIPES]
    resumed = [f"{recipe} {precision}" for recipe, precision in RESUMED if recipe in names]
    workloads = options.workloads.split(",") if options.workloads else all_workloads()
    page.add("# GPU\n")
    page.add(header(options))
    sections: dict[str, tuple[str, Sequence[str], Sequence[str], float]] = {
        "recipes": (
            f"Three rounds of every recipe on the CPU and on {options.device} (tolerance {TOLERANCE:g})",
            ("recipe", "verdict", "largest relative difference"),
            names,
            0.45,
        ),
        "resume": (
            "Stopped after 10 of 20 rounds and resumed, against 20 rounds",
            ("recipe", "verdict", "weights"),
            resumed,
            0.35,
        ),
        "behavior": ("Guard, sampling, evaluation", ("what", "verdict", "how"), (), 0.33),
        "peaks": ("Peaks", ("what", "rate", "unit"), (), 0.33),
        "throughput": (
            "Images/s of the loops of `sparring bench`",
            ("workload", "ms per round", "textbook", "bare", "sparring"),
            workloads,
            0.7,
        ),
        "profile": (
            "A round under the profiler",
            ("workload", *COUNTED, "ms of kernels", "ms in all"),
            [name for name in workloads if name in PROFILED],
            1.0,
        ),
    }
    for part in options.parts.split(","):
        title, columns, rows, share = sections[part]
        seconds = share * page.left
        several = side_by_side(rows, options, seconds) if part == "recipes" else rows_of(part, rows, options, seconds)
        page.table(title, columns, several)
    page.add(f"\n{time.monotonic() - started:.0f} s in all.")


PROFILED = ("cs231n-mlp", "cs231n-dcgan", "dcgan-64")


def all_workloads() -> list[str]:
    """The workloads of `sparring bench`."""
    from sparring.bench.workloads import WORKLOADS

    return [*WORKLOADS]


def header(options: argparse.Namespace) -> str:
    """Date, machine and versions."""
    from sparring.bench.measuring import machine
    from sparring.device import resolve_device

    config = machine(resolve_device(options.device))
    return (
        f"{time.strftime('%Y-%m-%d')}; {config['device']}; {config['processor']}, {config['cores']} cores; torch "
        f"{config['torch']}, Python {config['python']}; commit {config['commit']}."
    )


if __name__ == "__main__":
    main()
