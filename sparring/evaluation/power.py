"""How many images a number of the panel needs before its green light says anything.

A light is green where a number is not told apart from that of real images, and with few images nothing is. So each
number has a smallest number of images, measured by benchmarks/power.py: real images stand on one side, samples with a
gross fault that this number is there to see on the other (no detail left, half of the data missing, a tenth as many
images again and again, half of the samples copied, a checkerboard), and the light must not be green in all but at
most one of the trials, on the data set that needs most of three. Below it the light is gray. The faults are gross and
the trials few (docs/evaluation.md): a green light above it makes these unlikely, and says nothing about finer ones.
"""

from __future__ import annotations

NEEDED = {
    **dict.fromkeys(("recall", "duplicates"), 30),
    "duplicates-pixels": 30,  # taken over from duplicates
    **dict.fromkeys(("blur ratio", "HF ratio", "Nyquist ratio", "Nyquist peak", "quarter ratio", "quarter peak"), 30),
    **dict.fromkeys(("KID", "1-NN fake"), 60),
    **dict.fromkeys(("FD", "C2ST", "density", "cells-JS", "missing", "classes-TV", "authentic"), 100),
    **dict.fromkeys(("1-NN real", "coverage", "cells-NDB"), 150),
    "precision": 250,  # it sees images shrunk to 4 x 4 pixels then in 80 to 100 % of the trials, and a blur hardly ever
    **dict.fromkeys(("copied-features", "copied-pixels"), 400),
    "FD-infinity": 512,  # there is none with fewer
}
"""Number of the panel -> real images to compare with (and as many samples) from which on its light is shown.

Of 10 trials each with MNIST and Fashion-MNIST, 4 to 6 with drawn faces; at 30, 60, 100, 150, 250 and 400 images.
"""


def needed(name: str) -> int:
    """Real images from which on the light of that number says something; 0 for numbers that have no light."""
    short = name.split("@")[0]
    known = [one for one in NEEDED if short == one or short.startswith(f"{one}-")]
    return NEEDED[max(known, key=len)] if known else 0
