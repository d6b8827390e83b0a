"""Weak scaling on one machine: one process, and two with twice the batch, each with one thread of its own.

    python benchmarks/processes.py

`torchrun` starts `sparring train` as docs/scaling.md tells; gloo sums the gradients. The seconds of a round are those
between the first save and the last, from RUN/timing.jsonl.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROUNDS, FIRST = 120, 20
CASES = {"cs231n-mlp": [], "cs231n-dcgan": [], "dcgan": ["--size", "64", "--width", "32"]}
BATCH = 64


def seconds(recipe: str, arguments: list[str], processes: int) -> float:
    """Of one round of BATCH images in each process."""
    with tempfile.TemporaryDirectory() as runs:
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), "-m", "sparring"]
        command += ["train", recipe, "--data", "digits", *arguments, "--batch", str(BATCH * processes), "--out", runs]
        command += ["--rounds", str(ROUNDS), "--save-every", str(FIRST), "--no-monitor"]
        command += ["--sample-every", "1000000", "--eval-every", "1000000"]
        subprocess.run(command, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        lines = next(Path(runs).glob("*/timing.jsonl")).read_text().splitlines()
    saves = {line["round"]: line["seconds"] for line in map(json.loads, lines)}
    return (saves[ROUNDS] - saves[FIRST]) / (ROUNDS - FIRST)


if __name__ == "__main__":
    print(
        f"| recipe, {BATCH} images in each process | 1 process, ms | 2 processes, ms | efficiency |\n|---|---|---|---|"
    )
    for recipe, arguments in CASES.items():
        one, two = (1e3 * seconds(recipe, arguments, processes) for processes in (1, 2))
        print(f"| `{' '.join([recipe, *arguments])}` | {one:.1f} | {two:.1f} | {100 * one / two:.0f} % |", flush=True)
