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
from sparring.latent.units import (
    Layer,
    Patches,
    ablation,
    default_layer,
    exciting_patches,
    layers,
    optimized_images,
    receptive_field,
    without_unit,
)

__all__ = [
    "INITS",
    "INTERPOLATIONS",
    "NEIGHBORHOOD",
    "SPREAD",
    "Direction",
    "Inversion",
    "LatentDecoder",
    "Layer",
    "Patches",
    "ablation",
    "analogy",
    "classifier_for",
    "closed_path",
    "default_interpolation",
    "default_layer",
    "exciting_patches",
    "ganspace",
    "interfacegan",
    "interpolate",
    "invert",
    "jitter_grid",
    "latent_decoder",
    "latent_weights",
    "layers",
    "lerp",
    "lerp_gaussian",
    "nearest",
    "open_path",
    "optimized_images",
    "receptive_field",
    "sefa",
    "slerp",
    "total_steps",
    "traverse",
    "without_unit",
]
