"""How many images a number of the panel needs before its green light says anything.

A light is green where a number is not told apart from that of real images, and with few images nothing is. So each
number has a smallest number of images, measured by benchmarks/power.py: real images stand on one side, samples with a
gross fault that this number is there to see on the other (no detail left, half of the data missing, a tenth as many
images again and again, half of the samples copied, a checkerboard), and the light must not be green in 95 % of the
trials, on each of three data sets. Below it the light is grey. The faults are gross: a green light above it excludes
these, and no finer ones.
"""

from __future__ import annotations

NEEDED = {
    **dict.fromkeys(("FD", "KID", "C2ST", "recall", "duplicates", "duplicates-pixels", "1-NN fake"), 30),
    **dict.fromkeys(("blur ratio", "HF ratio", "Nyquist ratio", "Nyquist peak", "quarter ratio", "quarter peak"), 30),
    "1-NN real": 60,
    **dict.fromkeys(("coverage", "density", "cells-JS", "missing", "classes-TV", "authentic"), 100),
    "cells-NDB": 150,
    "copied-pixels": 250,
    "copied-features": 400,
    "precision": 400,  # and then it sees samples without any detail in 80 % of the trials
    "FD-infinity": 512,  # there is none with fewer
}
"""Number of the panel -> real images to compare with (and as many samples) from which on its light is shown.

Of 10 trials each with MNIST and Fashion-MNIST, 6 with drawn faces; at 30, 60, 100, 150, 250 and 400 images.
"""


def needed(name: str) -> int:
    """Real images from which on the light of that number says something; 0 for numbers that have no light."""
    short = name.split("@")[0]
    known = [one for one in NEEDED if short == one or short.startswith(f"{one}-")]
    return NEEDED[max(known, key=len)] if known else 0
