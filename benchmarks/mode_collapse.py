"""Mode collapse on the ring of eight Gaussians: how many modes each method finds, seed by seed.

    python benchmarks/mode_collapse.py runs/ring.jsonl [--seeds 10] [--rounds 500] [--picture ring.svg]

Plays `sparring toy ring` with half the width and batch size and twice the learning rate, a quarter of the arithmetic,
and appends one line per game to the file; games that the file has are not played again. Prints a Markdown table: mean
and standard deviation over seeds. The picture shows the modes that each game found.
"""

import argparse
import json
import math
import time
from pathlib import Path
from statistics import mean, stdev

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import torch

from sparring.plots import BLUE
from sparring.toys import mixtures

METHODS = ("gan", "wgan", "wgan-gp", "pacgan", "r3gan")
SETTINGS = {"WIDTH": 64, "BATCH": 128, "RATE": 2e-3}


def play(method: str, seed: int, rounds: int) -> dict[str, object]:
    started = time.process_time()
    *_, last = mixtures.play(mixtures.ring(), method, seed=seed, rounds=rounds)
    numbers = {"method": method, "seed": seed, "rounds": rounds, "seconds": round(time.process_time() - started, 1)}
    return {**numbers, **last.modes._asdict()}


def row(method: str, games: list[dict[str, float]]) -> str:
    def of(name: str, scale: float = 1) -> str:
        values = [scale * game[name] for game in games]
        finite = len(values) > 1 and all(map(math.isfinite, values))  # reverse KL is infinite where no mode is found
        return f"{mean(values):.3g} ± {stdev(values):.2g}" if finite else f"{mean(values):.3g}"

    found = sum(game["found"] == 8 for game in games)
    least = min(int(game["found"]) for game in games)
    numbers = (of("found"), least, f"{found} of {len(games)}", of("high_quality", 100), of("reverse_kl"))
    return f"| {method} | " + " | ".join(map(str, numbers)) + f" | {mean(game['seconds'] for game in games):.0f} |"


def draw(games: list[dict[str, float]], out: Path) -> None:
    figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
    methods = [method for method in METHODS if any(game["method"] == method for game in games)]
    for place, method in enumerate(methods):
        counts = sorted(int(game["found"]) for game in games if game["method"] == method)
        for count in set(counts):
            n = counts.count(count)
            offsets = [place + 0.085 * (i - (n - 1) / 2) for i in range(n)]
            axes.plot(offsets, [count] * n, "o", color=BLUE, markersize=5)
    axes.axhline(8, color="gray", linestyle="--", linewidth=1)
    axes.set_xticks(range(len(methods)), methods)
    axes.set(ylim=(0, 8.6), ylabel="modes found, of 8", title="The ring of eight Gaussians: one dot per seed")
    figure.savefig(out, metadata={"Date": None})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="a line of JSON per game, e.g. runs/ring.jsonl")
    parser.add_argument("--seeds", type=int, default=10, help="seeds 0, 1, ... (default: 10)")
    parser.add_argument("--rounds", type=int, default=500, help="rounds of each game (default: 500)")
    parser.add_argument("--picture", type=Path, help="also draw the modes found into this SVG, e.g. ring.svg")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name, number in SETTINGS.items():
        setattr(mixtures, name, number)

    def games() -> list[dict[str, float]]:
        lines = options.file.read_text().splitlines() if options.file.exists() else []
        return [game for game in map(json.loads, lines) if game["rounds"] == options.rounds]

    for seed in range(options.seeds):
        for method in METHODS:
            if not any((game["method"], game["seed"]) == (method, seed) for game in games()):
                with options.file.open("a") as file:
                    file.write(json.dumps(play(method, seed, options.rounds)) + "\n")
    print("| method | modes of 8 | worst seed | all 8 found | high quality % | reverse KL | CPU seconds |")
    print("|---|---|---|---|---|---|---|")
    for method in METHODS:
        print(row(method, [game for game in games() if game["method"] == method]))
    if options.picture:
        draw(games(), options.picture)
