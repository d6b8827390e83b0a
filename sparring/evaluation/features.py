"""The statistics of a set of images that the metrics of samples are functions of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sparring.metrics.blur import laplacian_variance
from sparring.metrics.extractors import Extractor
from sparring.metrics.spectrum import power_spectrum

COARSE_SIDE = 12
"""Side of the reduced images whose pixels are compared."""


class Features(NamedTuple):
    """A set of images and its statistics.

    images    (N, C, S, S) uint8
    features  (N, F)
    labels    (N,) classes predicted by the extractor; None if it is not a classifier
    edges     (N,) variance of the Laplacian
    spectrum  (S, S) mean power spectrum
    coarse    (N, P) pixels, averaged to at most 12 x 12
    """

    images: Tensor
    features: Tensor
    labels: Tensor | None
    edges: Tensor
    spectrum: Tensor
    coarse: Tensor


def describe(images: Tensor, extractor: Extractor) -> Features:
    """The statistics of images (N, C, S, S) uint8."""
    features, logits = extractor.features(images)
    labels = None if logits is None else logits.argmax(1)
    side = min(COARSE_SIDE, images.shape[-1])
    coarse = torch.cat([F.adaptive_avg_pool2d(part.float(), side).flatten(1) for part in images.split(1000)])
    return Features(images, features, labels, laplacian_variance(images), power_spectrum(images), coarse)


def subset(whole: Features, rows: Tensor) -> Features:
    """The statistics of a subset, without running the extractor again."""
    labels = None if whole.labels is None else whole.labels[rows]
    images = whole.images[rows]
    spectrum = power_spectrum(images)
    return Features(images, whole.features[rows], labels, whole.edges[rows], spectrum, whole.coarse[rows])


def pool(sets: Sequence[Features]) -> Features:
    """The statistics of all images of sets of equal size."""
    labels = [one.labels for one in sets if one.labels is not None]
    return Features(
        images=torch.cat([one.images for one in sets]),
        features=torch.cat([one.features for one in sets]),
        labels=torch.cat(labels) if labels else None,
        edges=torch.cat([one.edges for one in sets]),
        spectrum=torch.stack([one.spectrum for one in sets]).mean(0),
        coarse=torch.cat([one.coarse for one in sets]),
    )
