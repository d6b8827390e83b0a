"""Does a loss tell how far a training is? The critic's distance and a GAN's loss against FD, over one run each.

    python benchmarks/progress.py OUT.svg "WGAN-GP=runs/0001-wgan-gp-digits" "GAN=runs/0002-cs231n-dcgan-digits"

For every FD that a run measured on held-out images: the mean, since the measurement before, of the critic's distance,
or of log 2 minus half the discriminator's loss, its estimate of the JSD (Arjovsky et al. 2017, figures 3 and 4). Prints
Spearman's rank correlation with FD.
"""

import json
import math
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import torch


def series(run: Path) -> tuple[str, list[tuple[int, float, float]]]:
    """(name of the number, [(round, number, FD), ...])."""
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    name = "distance of the critic" if "distance" in log[0]["moves"][0] else "JSD by D's loss"
    points, last = [], 0
    for measured in (line for line in metrics if line["metric"] == "FD" and line["round"]):
        moves = [line["moves"][0] for line in log if last < line["round"] <= measured["round"]]
        numbers = [m["distance"] if "distance" in m else math.log(2) - m["loss"] / 2 for m in moves]
        points.append((measured["round"], sum(numbers) / len(numbers), measured["value"]))
        last = measured["round"]
    return name, points


def spearman(a: list[float], b: list[float]) -> float:
    """The correlation of the ranks of two lists without ties."""
    ranks = torch.tensor([a, b], dtype=torch.float64).argsort(1).argsort(1)
    return float(torch.corrcoef(ranks.double())[0, 1])


if __name__ == "__main__":
    out, *given = sys.argv[1:]
    figure, panels = plt.subplots(1, len(given), figsize=(4.5 * len(given), 3.6), layout="constrained", squeeze=False)
    for axes, one in zip(panels[0], given, strict=True):
        label, _, run = one.partition("=")
        name, points = series(Path(run))
        rounds, numbers, fds = (list(column) for column in zip(*points, strict=True))
        correlation = spearman(numbers, fds)
        print(f"{label}: {len(points)} measurements, rank correlation of {name} with FD {correlation:.2f}")
        shown = axes.scatter(numbers, fds, c=rounds, cmap="viridis")
        axes.set(xlabel=name, ylabel="FD of held-out images", title=f"{label}: rank correlation {correlation:.2f}")
        figure.colorbar(shown, label="round")
    figure.savefig(Path(out), metadata={"Date": None})
