"""Nearest neighbors, such as the training images nearest to samples, to detect memorization."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sparring.errors import SparringError, require_int
from sparring.typed import require_finite, typed

ROWS_PER_BLOCK = 4096  # rows of `others` compared at once, to bound memory


class Nearest(NamedTuple):
    """Row indices and distances of the k nearest neighbors, each (n, k), nearest first."""

    rows: Tensor
    distance: Tensor


@typed
def nearest(queries: Tensor, others: Tensor, k: int = 1) -> Nearest:
    """The k nearest `others` (m, ...) of each of `queries` (n, ...), by Euclidean distance.

    Pixels are compared as uint8 images, features as floats. Raises SparringError for fewer than k others, for unequal
    shapes, and for non-finite numbers.
    """
    require_int("k", k)
    if queries.shape[1:] != others.shape[1:] or queries.ndim < 2:
        raise SparringError(f"{tuple(queries.shape)} and {tuple(others.shape)} cannot be compared: shapes differ")
    require_finite(queries=queries, others=others)
    if k > len(others):
        raise SparringError(f"k is {k}: there are only {len(others)} images to search")
    flat = queries.flatten(1).float()
    distance, rows = torch.empty(len(flat), 0), torch.empty(len(flat), 0, dtype=torch.long)
    for start in range(0, len(others), ROWS_PER_BLOCK):
        block = torch.cdist(flat, others[start : start + ROWS_PER_BLOCK].flatten(1).float())
        distance = torch.cat([distance, block], 1)
        rows = torch.cat([rows, (start + torch.arange(block.shape[1])).expand(len(flat), -1)], 1)
        distance, order = distance.topk(min(k, distance.shape[1]), largest=False)
        rows = rows.gather(1, order)
    return Nearest(rows, distance)
