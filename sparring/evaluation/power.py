"""How many images a metric of the panel needs before its green light is meaningful.

A light is green if the metric does not differ significantly from that of real images, which is always so with few
images. Each metric therefore has a minimum number of images, measured by benchmarks/power.py: real images are compared
with samples that have a gross fault the metric should detect (no detail left, half of the data missing, a tenth as many
images repeated, half of the samples copied, a checkerboard), and the light must not be green in all trials but at most
one, on the dataset of three that needs most. Below this number the light is gray. The faults are gross and the trials
few (docs/evaluation.md): a green light makes these faults unlikely, and says nothing about smaller ones.
"""

from __future__ import annotations

NEEDED = {
    **dict.fromkeys(("recall", "duplicates"), 30),
    "duplicates-pixels": 30,  # as for duplicates
    **dict.fromkeys(("blur ratio", "HF ratio", "Nyquist ratio", "Nyquist peak", "quarter ratio", "quarter peak"), 30),
    **dict.fromkeys(("KID", "1-NN fake"), 60),
    **dict.fromkeys(("FD", "C2ST", "density", "cells-JS", "missing", "classes-TV", "authentic"), 100),
    **dict.fromkeys(("1-NN real", "coverage", "cells-NDB"), 150),
    "precision": 250,  # detects images shrunk to 4 x 4 pixels in 80 to 100 % of the trials, but hardly ever a blur
    **dict.fromkeys(("copied-features", "copied-pixels"), 400),
    "FD-infinity": 512,  # not computed with fewer
}
"""Metric of the panel -> minimum number of reference images (and of samples) for its light.

From 10 trials each on MNIST and Fashion-MNIST and 4 to 6 on drawn faces, at 30, 60, 100, 150, 250 and 400 images.
"""


def needed(name: str) -> int:
    """Minimum number of reference images for the light of that metric; 0 for metrics without a light."""
    short = name.split("@")[0]
    matches = [metric for metric in NEEDED if short == metric or short.startswith(f"{metric}-")]
    return NEEDED[max(matches, key=len)] if matches else 0
