"""What can be done with the codes of a system that paints codes, and what is in its features.

Every tool asks a system for `prior_codes` and `decode` only, so it is one tool for GANs, autoencoders and ALAE.
"""

from sparring.latent.arithmetic import NEIGHBOURHOOD, SPREAD, analogy, neighbourhood
from sparring.latent.directions import (
    Direction,
    by_class,
    first_layers,
    principal,
    semantic,
    steps_along,
)
from sparring.latent.interpolation import INTERPOLATIONS, interpolate, lerp, lerp_gaussian, path, slerp, usual, walk
from sparring.latent.inversion import WAYS, Inversion, invert, steps_of
from sparring.latent.judging import judge_of
from sparring.latent.neighbours import nearest
from sparring.latent.painting import Painter, painter
from sparring.latent.truncation import truncations

__all__ = [
    "INTERPOLATIONS",
    "NEIGHBOURHOOD",
    "SPREAD",
    "WAYS",
    "Direction",
    "Inversion",
    "Painter",
    "analogy",
    "by_class",
    "first_layers",
    "interpolate",
    "invert",
    "judge_of",
    "lerp",
    "lerp_gaussian",
    "nearest",
    "neighbourhood",
    "painter",
    "path",
    "principal",
    "semantic",
    "slerp",
    "steps_along",
    "steps_of",
    "truncations",
    "usual",
    "walk",
]
