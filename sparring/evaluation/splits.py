"""Which real images are looked at, and what a system made of them, in pixels."""

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
from sparring.metrics import (
    EXTRACTORS,
    PIXELS,
    PRETRAINED,
    SELF,
    Extractor,
    extractor,
    extractor_for,
    load_pretrained,
    pixels_pca64,
    simclr64,
)
from sparring.seeds import make_generator

HELD_OUT_B = "other_half"
"""The half of the held-out images that does not choose the best checkpoint, and that no extractor has learnt from."""

SPLITS = ("held_out", HELD_OUT_B, "test", "train")

FEWEST = 6
"""Images that the neighbor metrics need at least: five nearest others of each."""

MARGIN = 0.1
"""Values may pass -1 and 1 by so much before they count as outside."""

CHUNK = 1000
"""Images that go through a system at once."""


def reference_split(data: Dataset, split: str, n: int, most: int) -> tuple[Dataset, Dataset]:
    """Up to n images to measure against, and up to `most` other real ones, from the training images; shuffled."""
    if split not in SPLITS:
        raise unknown_name_error("split", split, SPLITS)
    order = shuffled(data, "floor")
    if split == "train":
        n = min(n, len(data) // 2)
        return data.rows(order[:n]), data.rows(order[n : n + most])
    part: Dataset | None = getattr(data, "held_out" if split == HELD_OUT_B else split)
    if not part:
        held_out = ("held_out", HELD_OUT_B) if data.held_out else ()
        there = [name for name in SPLITS if name == "train" or name in held_out or (name == "test" and data.test)]
        raise SparringError(f"data '{data.name}' has no {split} images; choose split from: {', '.join(there)}")
    rows = held_out_halves(part)[1] if split == HELD_OUT_B else shuffled(part, "reference")
    n = min(n, len(rows), len(data))
    return part.rows(rows[:n]), data.rows(order[:most])


def split_of(data: Dataset, split: str) -> Dataset:
    """All images of a split that is there."""
    if split == HELD_OUT_B:
        assert data.held_out is not None
        return data.held_out.rows(held_out_halves(data.held_out)[1])
    return data if split == "train" else getattr(data, split)


def held_out_halves(held_out: Dataset) -> tuple[Tensor, Tensor]:
    """Row numbers of two halves: the one that chooses a checkpoint, and the other one."""
    order = shuffled(held_out, "reference")
    return order[: len(order) // 2], order[len(order) // 2 :]


def facts_of(system: Any) -> dict[str, Any]:
    """What a diagnosis must know of a system, so that its advice can be followed.

    kind        name of its class
    adversary   whether a discriminator judges its images
    code        whether it has codes of images: an autoencoder
    classes     how many classes can be asked for
    kernels     whether the network that makes images has convolutions; None if that is not known
    transposed  kernel size and stride of its transposed convolutions with a stride
    """
    maker = getattr(system, "G", None) or getattr(system, "decoder", None)
    strided = {
        (layer.kernel_size[0], layer.stride[0])
        for layer in (maker.modules() if isinstance(maker, nn.Module) else ())
        if isinstance(layer, nn.ConvTranspose2d) and layer.stride[0] > 1
    }
    return {
        "kind": type(system).__name__,
        "adversary": can(system, "score"),
        "code": can(system, "encode"),
        "classes": int(getattr(system, "classes", 0) or 0),
        "kernels": any(one.ndim == 4 for one in maker.parameters()) if isinstance(maker, nn.Module) else None,
        "transposed": [list(pair) for pair in sorted(strided)],
    }


class PixelRange(NamedTuple):
    """Values of the pixels that a system made, before they are clipped to [-1, 1], and those of real images.

    low, high, mean, deviation  of the samples, and real_... of the reference
    outside  share of the values that are below -1.1 or above 1.1
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
        """Of several sets of as many samples: the lowest, the highest, and the means of the other numbers."""
        low, high = min(one.low for one in sets), max(one.high for one in sets)
        return cls(*map(mean, zip(*sets, strict=True)))._replace(low=low, high=high)


def range_of(images: Tensor, real: Tensor) -> PixelRange:
    """Of samples (N, C, S, S), floats or uint8, beside real images (M, C, S, S) uint8."""
    made, known = (x if x.is_floating_point() else to_float(x) for x in (images, real))
    moments = [(float(x.min()), float(x.max()), float(x.mean()), float(x.std())) for x in (made, known)]
    outside = float((made.abs() > 1 + MARGIN).double().mean())
    return PixelRange(*moments[0], outside, *moments[1])


def pixels_of(images: Tensor, n: int, data: Dataset, what: str = "samples", maker: str = "generator") -> Tensor:
    """Images that a system made as (n, C, S, S) uint8, or an error that says what is wrong with them."""
    if tuple(images.shape) != (n, *data.spec.shape):
        raise SparringError(f"{what} must be {(n, *data.spec.shape)} for data '{data.name}'; got {tuple(images.shape)}")
    if images.dtype == torch.uint8:
        return images
    broken = int((~images.isfinite()).flatten(1).any(1).sum())
    if broken:
        raise SparringError(f"{broken} of {n} {what} hold NaN or infinite values: the {maker} has diverged")
    return to_uint8(images)


def shuffled(data: Dataset, purpose: str) -> Tensor:
    """(N,) row numbers in an order that depends on the purpose only."""
    return torch.randperm(len(data), generator=make_generator("evaluate", purpose))


def finite(numbers: Tensor, what: str) -> Tensor:
    """(N,) numbers of images in float64, or an error."""
    broken = int((~numbers.isfinite()).sum())
    if broken:
        raise SparringError(f"{broken} of {len(numbers)} {what} are NaN or infinite: the system has diverged")
    return numbers.double()


def in_chunks(ability: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """What an ability gives for (N, C, S, S) uint8 images."""
    return torch.cat([ability(to_float(rows)) for rows in images.split(CHUNK)])


def can(system: Any, ability: str) -> bool:
    return callable(getattr(system, ability, None))


def shown_to_classifiers(data: Dataset) -> Dataset:
    """Real images on which a classifier shows that it knows them: held-out ones, or training images for want of 100."""
    return data.held_out if data.held_out is not None and len(data.held_out) >= 100 else data


def choose_extractor(data: Dataset, name: str | None = None, weights: Path | None = None) -> Extractor:
    """The extractor of that name; without one, that which knows most about the data (`metrics.extractor_for`).

    pixels-pca64 and self64 are made from the data: from training images, and from the half of the held-out images that
    nothing is measured against. inception, dinov2 and clip take a file of weights. Raises SparringError for an unknown
    name, a missing file, or data that nothing can be learnt from.
    """
    if weights is not None and name not in PRETRAINED:
        raise SparringError(f"a weights file is for {', '.join(PRETRAINED)}; got extractor {name or 'none'}")
    if name is None:
        shown = shown_to_classifiers(data)
        return extractor_for(shown.images, shown.labels, shown.classes)
    if name == PIXELS:
        return pixels_pca64(data.images[shuffled(data, "pixels")])
    if name == SELF:
        if data.held_out is None:
            raise SparringError(f"{SELF} learns from held-out images, and data '{data.name}' has none")
        return simclr64(data.held_out.images[held_out_halves(data.held_out)[0]])
    if name in PRETRAINED:
        if weights is None:
            raise SparringError(f"{name} is never fetched: give its weights file, {PRETRAINED[name][1]}")
        return load_pretrained(name, weights)
    if name not in EXTRACTORS:
        raise unknown_name_error("extractor", name, [*EXTRACTORS, PIXELS, SELF, *PRETRAINED])
    return extractor(name)
