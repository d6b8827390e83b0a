"""Which real images are looked at, and what a system made of them, in pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sparring.data.dataset import Dataset
from sparring.data.pixels import to_float, to_uint8
from sparring.errors import SparringError, unknown
from sparring.seeds import generator

SPLITS = ("held_out", "test", "train")

CHUNK = 1000
"""Images that go through a system at once."""


def reference_of(data: Dataset, split: str, n: int, subsets: int) -> tuple[Dataset, Dataset]:
    """Up to n images to measure against, and for the floor up to `subsets` times as many other real ones; shuffled."""
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    order = shuffled(data, "floor")
    if split == "train":
        n = min(n, len(data) // 2)
        return data.rows(order[:n]), data.rows(order[n : n + n * subsets])
    part: Dataset | None = getattr(data, split)
    if not part:
        there = [name for name in SPLITS if name == "train" or getattr(data, name)]
        raise SparringError(f"data '{data.name}' has no {split} images; choose split from: {', '.join(there)}")
    n = min(n, len(part), len(data))
    return part.rows(shuffled(part, "reference")[:n]), data.rows(order[: n * subsets])


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
    return torch.randperm(len(data), generator=generator("evaluate", purpose))


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
