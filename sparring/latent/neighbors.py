"""The nearest training images of samples: does a generator make, or remember?"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sparring.errors import SparringError, require_int
from sparring.typed import require_finite, typed

BLOCK = 4096  # training rows whose distances are held at once


class Nearest(NamedTuple):
    """Of every row the k nearest others: their row numbers and distances, each (n, k), nearest first."""

    rows: Tensor
    distance: Tensor


@typed
def nearest(these: Tensor, others: Tensor, k: int = 1) -> Nearest:
    """The k nearest `others` (m, ...) of each of `these` (n, ...), by the Euclidean distance of all their numbers.

    Pixels are compared as uint8 images, features as floats. Raises SparringError when there are fewer than k others,
    for those of another shape, and for numbers that are not finite.
    """
    require_int("k", k)
    if these.shape[1:] != others.shape[1:] or these.ndim < 2:
        raise SparringError(f"{tuple(these.shape)} and {tuple(others.shape)} have no distances: unequal shapes")
    require_finite(these=these, others=others)
    if k > len(others):
        raise SparringError(f"{k} nearest images asked for, and there are {len(others)}")
    flat = these.flatten(1).float()
    distance, rows = torch.empty(len(flat), 0), torch.empty(len(flat), 0, dtype=torch.long)
    for start in range(0, len(others), BLOCK):
        further = torch.cdist(flat, others[start : start + BLOCK].flatten(1).float())
        distance = torch.cat([distance, further], 1)
        rows = torch.cat([rows, (start + torch.arange(further.shape[1])).expand(len(flat), -1)], 1)
        distance, order = distance.topk(min(k, distance.shape[1]), largest=False)
        rows = rows.gather(1, order)
    return Nearest(rows, distance)
