"""How many images each number of the panel needs before it sees a gross fault: `Metric.least` in evaluation/metrics.py.

    python benchmarks/power.py --data mnist --data fashion-mnist --data faces.zip --out power.jsonl
    python benchmarks/power.py --out power.jsonl --table

A trial takes 10 n images at random: n are held out, 9 n stand for the training images, as `sparring.load` does; other
images of the same data get a fault and stand for the samples, two sets of n. A number sees the fault if its light would
not be green (3 standard deviations of real sets). Each number is held against the fault that it is there to see:

    no detail     averaged over blocks of 4 x 4 pixels and drawn large again
    half          only images on one side of the median of the first principal component of the features
    half the classes   (of labeled data that the extractor knows)
    few           a tenth as many images, each ten times
    copies        half of the samples are training images
    board, coarse board   +-20 gray levels, pixel by pixel, or two by two
    shrunk        of labeled data: of six times as many images, those nearest to the middle of their class

What is needed is the smallest size from which on 95 % of the trials see it, for the data that needs most. "none" counts
false alarms. One line per data, size and trial is added to --out, and what is there is not tried again.
"""

from __future__ import annotations

import argparse
import json
from itertools import product
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from sparring.data import load
from sparring.data.dataset import Dataset
from sparring.data.pixels import to_float, to_uint8
from sparring.evaluation import choose_extractor
from sparring.evaluation.features import Features, describe, subset
from sparring.evaluation.measurement import SIGMA_AMBER
from sparring.evaluation.memorization import memorization
from sparring.evaluation.panel import Panel, floor_rows, panel_measurements
from sparring.metrics import Extractor, pixels_pca64
from sparring.seeds import make_generator

SIZES = (30, 60, 100, 150, 250, 400)
TRIALS = 10
SETS = 2
BLOCK = 4
ENOUGH = 0.95

SEES = {
    **dict.fromkeys(("FD", "KID", "precision", "C2ST", "1-NN real", "blur ratio", "HF ratio"), "no detail"),
    **dict.fromkeys(("coverage", "cells-JS", "cells-NDB", "missing"), "half"),
    "classes-TV": "half the classes",
    **dict.fromkeys(("recall", "duplicates", "duplicates-pixels", "1-NN fake"), "few"),
    **dict.fromkeys(("copied-features", "copied-pixels", "authentic"), "copies"),
    **dict.fromkeys(("Nyquist ratio", "Nyquist peak"), "board"),
    **dict.fromkeys(("quarter ratio", "quarter peak"), "coarse board"),
    "density": "shrunk",
}


def blobs(images: Tensor) -> Tensor:
    side = images.shape[-1]
    small = F.adaptive_avg_pool2d(to_float(images), side // BLOCK)
    return to_uint8(F.interpolate(small, side, mode="bilinear", align_corners=False))


def board(images: Tensor, step: int) -> Tensor:
    place = torch.arange(images.shape[-1]) // step
    pattern = (place[:, None] + place).remainder(2) * 2 - 1
    return to_uint8(to_float(images) + 20 / 127.5 * pattern)


def drawn(whole: Features, train: Tensor, fresh: Tensor, n: int, labels: Tensor | None) -> dict[str, list[Tensor]]:
    """Fault -> rows of the images in each set of n samples with it."""
    features = whole.features[fresh]
    centered = features - features.mean(0)
    first = centered @ torch.svd_lowrank(centered, q=8)[2][:, 0]
    plain = [fresh[i * n : (i + 1) * n] for i in range(SETS)]
    found = {
        "none": plain,
        "half": list(fresh[first > first.median()][: SETS * n].split(n)),
        "few": [rows[torch.arange(n) % max(1, n // 10)] for rows in plain],
        "copies": [torch.cat([train[i * n : i * n + n // 2], rows[n // 2 :]]) for i, rows in enumerate(plain)],
    }
    if labels is not None:
        near = []
        for label in labels.unique():
            members = fresh[labels[fresh] == label]
            far = (whole.coarse[members] - whole.coarse[members].mean(0)).square().sum(1)
            near.append(members[far.argsort()[: -(-SETS * n // len(labels.unique()))]])
        shuffled = torch.cat(near)[torch.randperm(sum(map(len, near)), generator=make_generator("shrunk"))]
        found["shrunk"] = list(shuffled[: SETS * n].split(n))
        kept = fresh[labels[fresh] < (int(labels.max()) + 1) // 2]
        found["half the classes"] = list(kept[: SETS * n].split(n))
    return found


@torch.no_grad()
def trial(
    data: Dataset, extractor: Extractor, whole: Features, pixels: Tensor, n: int, number: int
) -> dict[str, dict[str, float]]:
    """Fault -> number -> z."""
    order = torch.randperm(len(data), generator=make_generator("power", n, number))
    unseen, train, fresh = order[:n], order[n : 10 * n], order[10 * n :][: 6 * n * SETS]
    known = data.labels if extractor.classes else None
    real, others = subset(whole, unseen), subset(whole, train)
    floors = [subset(others, rows) for rows in floor_rows(len(train), n)]
    panel = Panel.fit(real, floors, extractor, data.classes if known is not None else ())
    nulls = [panel.measure(one) for one in floors]
    sets = drawn(whole, train, fresh, n, known)
    made = {name: [subset(whole, rows) for rows in drawn_rows] for name, drawn_rows in sets.items()}
    plain = [whole.images_at(rows) for rows in sets["none"]]
    for name, change in (
        ("no detail", blobs),
        ("board", lambda x: board(x, 1)),
        ("coarse board", lambda x: board(x, 2)),
    ):
        made[name] = [describe(change(images), extractor) for images in plain]
    found = {}
    for name, views in made.items():
        measurements = panel_measurements(panel, views, nulls, len(train), "held_out")
        if name in ("none", "copies"):
            flat = pixels[torch.cat(sets[name])], pixels[train], pixels[unseen]
            measurements += memorization(views, others, real, extractor, flat, "held_out").measurements
        found[name] = {one.metric: one.z for one in measurements if one.z is not None}
    return found


def table(lines: list[dict]) -> None:
    kinds = sorted({line["data"] for line in lines})
    for name, fault in SEES.items():
        needs, figures = [], []
        for kind in kinds:
            rates = {}
            for n in SIZES:
                seen = [abs(line["z"][fault][name]) >= SIGMA_AMBER for line in lines
                        if line["data"] == kind and line["n"] == n and name in line["z"].get(fault, {})]  # fmt: skip
                if seen:
                    rates[n] = sum(seen) / len(seen)
            enough = [n for n in rates if all(rates[m] >= ENOUGH for m in rates if m >= n)]
            if rates:
                needs.append(min(enough, default=None))
                figures.append(f"{kind} {needs[-1]} ({' '.join(f'{rate:.2f}' for rate in rates.values())})")
        wrong = [abs(line["z"]["none"][name]) >= SIGMA_AMBER for line in lines if name in line["z"]["none"]]
        false = sum(wrong) / max(1, len(wrong))
        most = None if None in needs else max(needs, default=None)
        print(f'    "{name}": {most},  # {fault}; false alarms {false:.3f}; {"; ".join(figures)}')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", default=[], help="a name, a folder or a zip; may be repeated")
    parser.add_argument("--out", type=Path, default=Path("power.jsonl"))
    parser.add_argument("--largest", type=int, default=SIZES[-1])
    parser.add_argument("--table", action="store_true", help="print what is needed")
    options = parser.parse_args()
    lines = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.is_file() else []
    done = {(line["data"], line["n"], line["trial"]) for line in lines}
    for name in options.data:
        data = load(name, held_out=0)
        data = data.rows(torch.randperm(len(data), generator=make_generator("power"))[:7_000])
        extractor = choose_extractor(data)
        whole = describe(data.images, extractor)
        pixels = pixels_pca64(data.images).features(data.images)[0]
        sizes = [n for n in SIZES if n <= options.largest and (10 + 3 * SETS) * n <= len(data)]
        for number, n in product(range(TRIALS), sizes):
            if (data.name, n, number) not in done:
                line = {"data": data.name, "n": n, "trial": number}
                lines.append({**line, "z": trial(data, extractor, whole, pixels, n, number)})
                with options.out.open("a") as file:
                    file.write(json.dumps(lines[-1]) + "\n")
    if options.table:
        table(lines)


if __name__ == "__main__":
    main()
