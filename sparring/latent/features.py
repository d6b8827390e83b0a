"""Learned features (Radford et al. 2016, section 5.1): activations of a discriminator's convolutional layers."""

from __future__ import annotations

import copy
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
"""Each feature map is max-pooled to 4x4."""

BATCH = 250

Features = Callable[[Tensor], Tensor]
"""features(images (n, C, S, S) uint8) -> (n, f) float32."""


class ConvActivations:
    """The output of every convolutional layer in a forward pass, after its normalization and activation.

    That is the last output of the same shape before the next convolutional layer. A context manager; `each` lists
    tensors (B, C, H, W) in the order of the layers. Maps of one pixel, such as a score, are excluded.
    """

    def __init__(self) -> None:
        self.each: list[Tensor] = []

    def __enter__(self) -> ConvActivations:
        self._handle = register_module_forward_hook(self._record)
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.remove()
        self.each = [maps for maps in self.each if maps.shape[2:] != (1, 1)]

    def _record(self, layer: nn.Module, _: object, out: object) -> None:
        if not isinstance(out, Tensor) or out.ndim != 4:
            return
        if isinstance(weight := getattr(layer, "weight", None), Tensor) and weight.ndim == 4:
            self.each.append(out)
        elif self.each and out.shape == self.each[-1].shape and not any(layer.children()):
            self.each[-1] = out


def pooled(maps: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C * 16): the maximum of each cell of a 4x4 grid (smaller maps are kept)."""
    return F.adaptive_max_pool2d(maps, tuple(min(GRID, side) for side in maps.shape[2:])).flatten(1)


@typed
def available_features(system: System, images: Tensor) -> dict[str, Features]:
    """The features of a system, by name: latent codes, the encoder's hidden layer, the discriminator's layers.

    images  (n, C, S, S) uint8 for the batch norm statistics of the discriminator. Raises SparringError for a
            system without any of these features
    """
    require_images(2, torch.uint8, images=images)
    available: dict[str, Features] = {}
    if system.supports("encode"):
        available["codes"] = partial(_in_batches, system.encode)
    if callable(hidden := getattr(system, "features", None)):
        available["hidden layer"] = partial(_in_batches, hidden)
    if system.supports("score") and convolutional(system, images[:2]):
        available["discriminator"] = partial(discriminator_features, recalibrate_batchnorm(system, images))
    if not available:
        raise SparringError(
            f"{type(system).__name__} has no features to probe: neither an encoder nor a convolutional discriminator"
        )
    return available


def pixels(images: Tensor) -> Tensor:
    """(n, C * S * S): the pixels in [-1, 1] of (n, C, S, S) uint8 images."""
    return to_float(images).flatten(1)


def discriminator_features(system: System, images: Tensor) -> Tensor:
    """(n, f): all convolutional layers used by `score`, max-pooled to 4x4 and concatenated.

    A class-conditional discriminator gets class 0 for every image, so that no label leaks into the features.
    """
    pieces = []
    for rows in images.split(BATCH):
        with ConvActivations() as maps:
            score(system, rows)
        pieces.append(torch.cat([pooled(layer).float().cpu() for layer in maps.each], 1))
    return torch.cat(pieces)


def convolutional(system: System, images: Tensor) -> bool:
    """Whether `score` uses convolutional layers."""
    with ConvActivations() as maps:
        score(system, images)
    return bool(maps.each)


def score(system: System, images: Tensor) -> Tensor:
    """(n,) scores of (n, C, S, S) uint8 images, with class 0 for class-conditional discriminators."""
    kwargs = {"labels": 0} if system.accepts("score", "labels") else {}
    return system.score(to_float(images), **kwargs)


def recalibrate_batchnorm(system: System, images: Tensor) -> System:
    """A copy whose discriminator has batch norm statistics of (n, C, S, S) uint8 images (paper: the training set)."""
    calibrated = copy.deepcopy(system)
    handles = []
    for norm in calibrated.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d) and norm.track_running_stats:
            norm.reset_running_stats()
            norm.momentum = None  # a cumulative mean
            handles.append(norm.register_forward_pre_hook(_train_mode))
    for rows in images.split(BATCH):
        score(calibrated, rows)
    for handle in handles:
        handle.remove()
    return calibrated


def _train_mode(norm: nn.Module, _: object) -> None:
    norm.train()  # `score` puts the whole network into evaluation mode at every call


def _in_batches(features: Features, images: Tensor) -> Tensor:
    return torch.cat([features(to_float(rows)).float().cpu() for rows in images.split(1000)])
