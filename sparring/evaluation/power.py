"""How many images a number of the panel needs before its green light says anything.

A light is green where a number is not told apart from that of real images, and with few images nothing is. So each
number has a smallest number of images, measured by benchmarks/power.py: real images stand on one side, samples with a
gross fault that this number is there to see (no detail, half of the data missing, a tenth of the images again and
again, a third of the samples copied, a checkerboard) on the other, and the light must not be green in 95 % of the
trials, on each of four data sets. Below it the light is grey.
"""

from __future__ import annotations

NEEDED: dict[str, int] = {}
"""Number of the panel -> real images to compare with (and as many samples) from which on its light is shown."""


def needed(name: str) -> int:
    """Real images from which on the light of that number says something; 0 for numbers that have no light."""
    short = name.split("@")[0]
    known = [one for one in NEEDED if short == one or short.startswith(f"{one}-")]
    return NEEDED[max(known, key=len)] if known else 0
