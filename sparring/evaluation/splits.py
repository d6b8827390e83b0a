"""Reference images, pixel ranges, and the choice of the extractor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sparring.data.dataset import Dataset
from sparring.data.pixels import to_float, to_uint8
from sparring.errors import SparringError, unknown_name_error
from sparring.metrics.data_driven import FITTED_ON, PIXELS, SELF, pixels_pca64, simclr64
from sparring.metrics.extractors import EXTRACTORS, Extractor, extractor, extractor_for
from sparring.metrics.pretrained import PRETRAINED, load_pretrained
from sparring.seeds import make_generator

HELD_OUT_B = "held_out_b"
"""The half of the held-out images that neither selects the best checkpoint nor trains an extractor."""

SPLITS = ("held_out", HELD_OUT_B, "test", "train")

FEWEST = 6
"""Minimum number of images: the neighbor metrics use the five nearest others of each."""

MARGIN = 0.1
"""Tolerance for pixel values outside [-1, 1]."""

CHUNK = 1000
"""Images per batch."""


def reference_split(data: Dataset, split: str, n: int, most: int) -> tuple[Dataset, Dataset]:
    """Up to n reference images, and up to `most` other real images from the training images; both shuffled.

    Raises SparringError for an unknown or missing split.
    """
    if split not in SPLITS:
        raise unknown_name_error("split", split, SPLITS)
    order = shuffled(data, "floor")
    if split == "train":
        n = min(n, len(data) // 2)
        return data.rows(order[:n]), data.rows(order[n : n + most])
    part: Dataset | None = getattr(data, "held_out" if split == HELD_OUT_B else split)
    if not part:
        held_out = ("held_out", HELD_OUT_B) if data.held_out else ()
        possible = [name for name in SPLITS if name == "train" or name in held_out or (name == "test" and data.test)]
        raise SparringError(f"data '{data.name}' has no {split} images; choose split from: {', '.join(possible)}")
    rows = held_out_halves(part)[1] if split == HELD_OUT_B else shuffled(part, "reference")
    n = min(n, len(rows), len(data))
    return part.rows(rows[:n]), data.rows(order[:most])


def split_of(data: Dataset, split: str) -> Dataset:
    """All images of an existing split."""
    if split == HELD_OUT_B:
        assert data.held_out is not None
        return data.held_out.rows(held_out_halves(data.held_out)[1])
    return data if split == "train" else getattr(data, split)


def held_out_halves(held_out: Dataset) -> tuple[Tensor, Tensor]:
    """Row indices of the half that selects the best checkpoint, and of the other half."""
    order = shuffled(held_out, "reference")
    return order[: len(order) // 2], order[len(order) // 2 :]


def facts_of(system: Any) -> dict[str, Any]:
    """Properties of a system that the advice of a diagnosis depends on.

    kind        name of its class
    adversary   whether it has a discriminator of images
    code        whether it encodes images (an autoencoder)
    classes     number of classes it can be conditioned on
    kernels     whether its generator or decoder has convolutions; None if unknown
    transposed  (kernel size, stride) of its strided transposed convolutions
    """
    network = getattr(system, "G", None) or getattr(system, "decoder", None)
    strided = {
        (layer.kernel_size[0], layer.stride[0])
        for layer in (network.modules() if isinstance(network, nn.Module) else ())
        if isinstance(layer, nn.ConvTranspose2d) and layer.stride[0] > 1
    }
    return {
        "kind": type(system).__name__,
        "adversary": can(system, "score"),
        "code": can(system, "encode"),
        "classes": int(getattr(system, "classes", 0) or 0),
        "kernels": any(weight.ndim == 4 for weight in network.parameters()) if isinstance(network, nn.Module) else None,
        "transposed": [list(pair) for pair in sorted(strided)],
    }


class PixelRange(NamedTuple):
    """Pixel values of samples, before they are clipped to [-1, 1], and of real images.

    low, high, mean, deviation  minimum, maximum, mean and standard deviation of the samples; real_...: of the reference
    outside                     share of the samples' values below -1.1 or above 1.1
    """

    low: float
    high: float
    mean: float
    deviation: float
    outside: float
    real_low: float
    real_high: float
    real_mean: float
    real_deviation: float

    @classmethod
    def of_all(cls, sets: Sequence[PixelRange]) -> PixelRange:
        """Combine sets of equal size: the lowest `low`, the highest `high`, and the means of the other numbers."""
        low, high = min(one.low for one in sets), max(one.high for one in sets)
        return cls(*map(mean, zip(*sets, strict=True)))._replace(low=low, high=high)


def range_of(images: Tensor, real: Tensor) -> PixelRange:
    """Pixel range of samples (N, C, S, S), floats or uint8, and of real images (M, C, S, S) uint8."""
    fakes, reals = (x if x.is_floating_point() else to_float(x) for x in (images, real))
    moments = [(float(x.min()), float(x.max()), float(x.mean()), float(x.std())) for x in (fakes, reals)]
    outside = float((fakes.abs() > 1 + MARGIN).double().mean())
    return PixelRange(*moments[0], outside, *moments[1])


def pixels_of(images: Tensor, n: int, data: Dataset, what: str = "samples", maker: str = "generator") -> Tensor:
    """Generated images as (n, C, S, S) uint8. Raises SparringError for a wrong shape or values that are not finite."""
    if tuple(images.shape) != (n, *data.spec.shape):
        raise SparringError(f"{what} must be {(n, *data.spec.shape)} for data '{data.name}'; got {tuple(images.shape)}")
    if images.dtype == torch.uint8:
        return images
    broken = int((~images.isfinite()).flatten(1).any(1).sum())
    if broken:
        raise SparringError(f"{broken} of {n} {what} contain NaN or infinite values: the {maker} has diverged")
    return to_uint8(images)


def shuffled(data: Dataset, purpose: str) -> Tensor:
    """(N,) row indices in an order that depends only on the purpose."""
    return torch.randperm(len(data), generator=make_generator("evaluate", purpose))


def finite(numbers: Tensor, what: str) -> Tensor:
    """(N,) numbers in float64. Raises SparringError if some are not finite."""
    broken = int((~numbers.isfinite()).sum())
    if broken:
        raise SparringError(f"{broken} of {len(numbers)} {what} are NaN or infinite: the system has diverged")
    return numbers.double()


def in_chunks(method: Callable[[Tensor], Tensor], part: Dataset) -> Tensor:
    """Apply a method of a system to all images, in batches."""
    return torch.cat([method(to_float(images)) for images in part.blocks(CHUNK)])


def can(system: Any, capability: str) -> bool:
    """Whether the system has the method."""
    return callable(getattr(system, capability, None))


def accepts(system: Any, capability: str, option: str) -> bool:
    """Whether the method takes this optional keyword argument, as declared in `System.takes`."""
    return can(system, capability) and option in getattr(system, "takes", {}).get(capability, ())


def classifier_check_images(data: Dataset) -> Dataset:
    """Real images to check the accuracy of classifiers on: held-out images if there are 100, else training images."""
    return data.held_out if data.held_out is not None and len(data.held_out) >= 100 else data


def choose_extractor(data: Dataset, name: str | None = None, weights: Path | None = None) -> Extractor:
    """The extractor of that name; by default the best one for the data (`metrics.extractor_for`).

    pixels-pca64 and self64 are fitted to the data: to training images, and to the half of the held-out images that is
    not used as a reference. inception, dinov2 and clip require `weights`. Raises SparringError for an unknown name, a
    missing file, or too few images to fit to.
    """
    if weights is not None and name not in PRETRAINED:
        raise SparringError(f"a weights file is only for {', '.join(PRETRAINED)}; got extractor {name or 'none'}")
    if name is None:
        images = classifier_check_images(data)
        return extractor_for(images.images, images.labels, images.classes)
    if name == PIXELS:
        return pixels_pca64(data.images_at(shuffled(data, "pixels")[:FITTED_ON]))
    if name == SELF:
        if data.held_out is None:
            raise SparringError(f"{SELF} learns from held-out images, and data '{data.name}' has none")
        return simclr64(data.held_out.images[held_out_halves(data.held_out)[0]])
    if name in PRETRAINED:
        if weights is None:
            raise SparringError(f"{name} is never downloaded: pass its weights file, {PRETRAINED[name][1]}")
        return load_pretrained(name, weights)
    if name not in EXTRACTORS:
        raise unknown_name_error("extractor", name, [*EXTRACTORS, PIXELS, SELF, *PRETRAINED])
    return extractor(name).for_classes(data.classes if data.labels is not None else ())
