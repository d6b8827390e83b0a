"""Nearest neighbors, such as the training images nearest to samples, to detect memorization."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sparring.data.dataset import Dataset
from sparring.errors import SparringError, plural, require_int
from sparring.typed import require_finite, typed

ROWS_PER_BLOCK = 4096  # rows of `others` compared at once, to bound memory


class Nearest(NamedTuple):
    """Row indices and distances of the k nearest neighbors, each (n, k), nearest first."""

    rows: Tensor
    distance: Tensor


@typed
def nearest(queries: Tensor, others: Tensor | Dataset, k: int = 1) -> Nearest:
    """The k nearest `others` (m, ...) of each of `queries` (n, ...), by Euclidean distance.

    The images of a data set are read block by block. Pixels are compared as uint8 images, features as floats. Raises
    SparringError for fewer than k others, for unequal shapes, and for non-finite numbers.
    """
    require_int("k", k)
    shape = others.shape if isinstance(others, Tensor) else (len(others), *others.pixels.shape[1:])
    if queries.shape[1:] != shape[1:] or queries.ndim < 2:
        raise SparringError(f"{tuple(queries.shape)} and {tuple(shape)} cannot be compared: shapes differ")
    require_finite(queries=queries, **({"others": others} if isinstance(others, Tensor) else {}))
    if k > len(others):
        raise SparringError(f"k is {k}, but only {plural(len(others), 'image')} can be searched")
    flat = queries.flatten(1).float()
    distance, rows = torch.empty(len(flat), 0), torch.empty(len(flat), 0, dtype=torch.long)
    start = 0
    for block in others.split(ROWS_PER_BLOCK) if isinstance(others, Tensor) else others.blocks(ROWS_PER_BLOCK):
        distance = torch.cat([distance, torch.cdist(flat, block.flatten(1).float())], 1)
        rows = torch.cat([rows, (start + torch.arange(len(block))).expand(len(flat), -1)], 1)
        start += len(block)
        distance, order = distance.topk(min(k, distance.shape[1]), largest=False)
        rows = rows.gather(1, order)
    return Nearest(rows, distance)
