"""A measured number against the epochs of several runs, one line for each: a picture for docs/results.

    python benchmarks/curves.py "classification error" 54000 out.svg "100 labels=runs/0001-..." "all=runs/0002-..."

The number is one of RUN/metrics.jsonl, taken on held-out images while the run trained; runs of one name share a color.
54000 is how many images an epoch has. Prints a table, too.
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter


def curve(run: Path, name: str, images: int) -> list[tuple[float, float]]:
    """(epochs, number) at every measurement."""
    batch = json.loads((run / "recipe.json").read_text())["batch"]
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [(line["round"] * batch / images, line["value"]) for line in lines if line["name"] == name]


if __name__ == "__main__":
    number, images, out, *given = sys.argv[1:]
    figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
    colors: dict[str, str] = {}
    for one in given:
        label, _, run = one.partition("=")
        first = label not in colors
        colors.setdefault(label, f"C{len(colors)}")
        found = curve(Path(run), number, int(images))
        axis.plot(*zip(*found, strict=True), ".-", color=colors[label], label=label if first else None)
        print(f"{label}: " + ", ".join(f"{value:.4g} after {epochs:.1f}" for epochs, value in found))
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(FormatStrFormatter("%.3g"))
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel("epochs")
    axis.set_ylabel(f"{number} of held-out images")
    axis.grid(alpha=0.3, which="both")
    axis.legend()
    figure.savefig(Path(out), metadata={"Date": None})
