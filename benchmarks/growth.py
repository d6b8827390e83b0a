"""How the time of a round grows with the batch, the side of the images and the width of the networks: numbers, a plot.

    python benchmarks/growth.py docs/growth.svg

Every point is the median of several rounds of `dcgan` in one process; what is not varied is batch 32, 32x32 pixels and
width 32.
"""

import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

import matplotlib
import torch

from sparring.bench.workloads import WORKLOADS, sparring_loop

matplotlib.use("svg")
import matplotlib.pyplot as plt

USUAL = {"batch": 32, "size": 32, "width": 32}
VARIED = {"batch": (8, 16, 32, 64, 128, 256), "size": (16, 32, 64, 128), "width": (8, 16, 32, 64, 128)}
READINGS = 5


def seconds(batch: int, size: int, width: int) -> float:
    """Median time of a round."""
    workload = replace(WORKLOADS["dcgan-64"], size=size, arguments={"batch": batch, "width": width})
    made, streams = workload.prepare(workload.data())
    rounds = sparring_loop(made, streams)
    next(rounds)
    found = []
    for _ in range(READINGS):
        began = time.perf_counter()
        next(rounds)
        found.append(time.perf_counter() - began)
    return statistics.median(found)


if __name__ == "__main__":
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}\n")
    figure, axes = plt.subplots(1, len(VARIED), figsize=(11, 3.4), layout="constrained", sharey=True)
    for axis, (what, values) in zip(axes, VARIED.items(), strict=True):
        times = [1e3 * seconds(**(USUAL | {what: value})) for value in values]
        print(f"| {what} | " + " | ".join(map(str, values)) + " |\n|---|" + "---|" * len(values))
        print("| ms per round | " + " | ".join(f"{t:.0f}" for t in times) + " |\n")
        axis.loglog(values, times, "o-", color="#3366aa")
        axis.set_xticks(values, [str(value) for value in values])
        axis.minorticks_off()
        axis.set_xlabel({"batch": "batch", "size": "side of the images, pixels", "width": "width"}[what])
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("ms per round")
    figure.savefig(Path(sys.argv[1]), metadata={"Date": None})
