"""Learned features (Radford et al. 2016, section 5.1): what the convolutional layers of a discriminator see."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from sparring.data.pixels import to_float
from sparring.errors import SparringError
from sparring.system import System
from sparring.typed import require_images, typed

GRID = 4
"""Each map is max-pooled to 4x4 numbers."""

AT_ONCE = 250

Features = Callable[[Tensor], Tensor]
"""features(images (n, C, S, S) uint8) -> (n, f) float32."""


class ConvActivations:
    """What every convolutional layer gave in one forward pass, after its own normalization and activation.

    That is the last output of its shape before the next convolutional layer. Use as a context manager; `each` are
    tensors (B, C, H, W) in the order of the layers. Maps of one pixel, such as a score, are no features.
    """

    def __init__(self) -> None:
        self.each: list[Tensor] = []

    def __enter__(self) -> ConvActivations:
        self._handle = register_module_forward_hook(self._keep)
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.remove()
        self.each = [maps for maps in self.each if maps.shape[2:] != (1, 1)]

    def _keep(self, layer: nn.Module, _: object, out: object) -> None:
        if not isinstance(out, Tensor) or out.ndim != 4:
            return
        if isinstance(weight := getattr(layer, "weight", None), Tensor) and weight.ndim == 4:
            self.each.append(out)
        elif self.each and out.shape == self.each[-1].shape and not any(layer.children()):
            self.each[-1] = out


def pooled(maps: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C * 16): the maximum of every cell of a 4x4 grid (all of a map that is smaller)."""
    return F.adaptive_max_pool2d(maps, tuple(min(GRID, side) for side in maps.shape[2:])).flatten(1)


@typed
def available_features(system: System, images: Tensor) -> dict[str, Features]:
    """What a system knows of images, by name: its codes, its encoder's hidden layer, its discriminator's layers.

    images  (n, C, S, S) uint8 without labels: the discriminator's batch norms measure them. Raises SparringError for a
            system that has nothing of this
    """
    require_images(2, torch.uint8, images=images)
    found: dict[str, Features] = {}
    if system.supports("encode"):
        found["codes"] = partial(_in_pieces, system.encode)
    if callable(hidden := getattr(system, "features", None)):
        found["hidden layer"] = partial(_in_pieces, hidden)
    if system.supports("score") and convolutional(system, images[:2]):
        found["discriminator"] = partial(discriminator_features, recalibrate_batchnorm(system, images))
    if not found:
        raise SparringError(
            f"this {type(system).__name__} has nothing to probe: neither codes nor a discriminator of images with "
            "convolutional layers"
        )
    return found


def pixels(images: Tensor) -> Tensor:
    """(n, C * S * S): the pixels in [-1, 1] of (n, C, S, S) uint8 images."""
    return to_float(images).flatten(1)


def discriminator_features(system: System, images: Tensor) -> Tensor:
    """(n, f): all convolutional layers that `score` runs through, max-pooled to 4x4, one beside the other.

    A discriminator that is told the class is told 0 for every image, so that no label gets into the features.
    """
    pieces = []
    for rows in images.split(AT_ONCE):
        with ConvActivations() as maps:
            score(system, rows)
        pieces.append(torch.cat([pooled(one).float().cpu() for one in maps.each], 1))
    return torch.cat(pieces)


def convolutional(system: System, images: Tensor) -> bool:
    """Whether `score` runs through convolutional layers."""
    with ConvActivations() as maps:
        score(system, images)
    return bool(maps.each)


def score(system: System, images: Tensor) -> Tensor:
    """(n,) scores of (n, C, S, S) uint8 images, of class 0 where the discriminator is told the class."""
    told = {"labels": 0} if "labels" in inspect.signature(system.score).parameters else {}
    return system.score(to_float(images), **told)


def recalibrate_batchnorm(system: System, images: Tensor) -> System:
    """A copy whose discriminator's batch norms have measured these (n, C, S, S) uint8 images (paper: the train set)."""
    measured = copy.deepcopy(system)
    handles = []
    for norm in measured.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d) and norm.track_running_stats:
            norm.reset_running_stats()
            norm.momentum = None  # a cumulative mean
            handles.append(norm.register_forward_pre_hook(_measuring))
    for rows in images.split(AT_ONCE):
        score(measured, rows)
    for handle in handles:
        handle.remove()
    return measured


def _measuring(norm: nn.Module, _: object) -> None:
    norm.train()  # `score` has put the whole network into evaluation mode, and does so again the next time


def _in_pieces(ability: Features, images: Tensor) -> Tensor:
    return torch.cat([ability(to_float(rows)).float().cpu() for rows in images.split(1000)])
