"""Latent-space tools, and probing of learned features.

The tools need only `sample_latents` and `decode`, so they work for GANs, autoencoders and ALAE alike.
"""

from sparring.latent.arithmetic import NEIGHBORHOOD, SPREAD, analogy, jitter_grid
from sparring.latent.classifier import classifier_for
from sparring.latent.decoder import LatentDecoder, latent_decoder
from sparring.latent.directions import (
    Direction,
    ganspace,
    interfacegan,
    latent_weights,
    sefa,
    traverse,
)
from sparring.latent.interpolation import (
    INTERPOLATIONS,
    closed_path,
    default_interpolation,
    interpolate,
    lerp,
    lerp_gaussian,
    open_path,
    slerp,
)
from sparring.latent.inversion import INITS, Inversion, invert, total_steps
from sparring.latent.neighbors import nearest

__all__ = [
    "INITS",
    "INTERPOLATIONS",
    "NEIGHBORHOOD",
    "SPREAD",
    "Direction",
    "Inversion",
    "LatentDecoder",
    "analogy",
    "classifier_for",
    "closed_path",
    "default_interpolation",
    "ganspace",
    "interfacegan",
    "interpolate",
    "invert",
    "jitter_grid",
    "latent_decoder",
    "latent_weights",
    "lerp",
    "lerp_gaussian",
    "nearest",
    "open_path",
    "sefa",
    "slerp",
    "total_steps",
    "traverse",
]
