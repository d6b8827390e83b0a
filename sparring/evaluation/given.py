"""Images in the place of a system: somebody else's samples are measured as a run's are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparring.data.dataset import Dataset
from sparring.data.sources import load
from sparring.errors import SparringError
from sparring.seeds import generator


class Images:
    """Samples that are there already, (N, C, S, S), uint8 or floats in [-1, 1].

    `sample` hands them out in a random order that depends on nothing, each once: sets of them are disjoint. Raises
    SparringError when they run out.
    """

    def __init__(self, images: Tensor) -> None:
        self.images = images[torch.randperm(len(images), generator=generator("evaluate", "given"))]
        self.next = 0

    def __len__(self) -> int:
        return len(self.images)

    def sample(self, n: int, *, seed: int = 0) -> Tensor:
        rows = self.images[self.next : self.next + n]
        if len(rows) < n:
            raise SparringError(f"there are only {len(self)} images: {self.next + n} would be needed")
        self.next += n
        return rows


def as_system(given: Any, data: Dataset) -> Any:
    """Images, a data set or the path of a folder, zip or array as something that can be sampled; systems as they are.

    Files and uint8 arrays are brought to the size and channels of the data; arrays of floats must have its shape.
    """
    if isinstance(given, Dataset):
        return Images(given.images)
    floats = isinstance(given, Tensor) and given.is_floating_point()
    if isinstance(given, np.ndarray) and given.dtype.kind == "f":
        given, floats = torch.from_numpy(given), True
    if floats:
        if given.ndim != 4 or tuple(given.shape[1:]) != data.spec.shape:
            raise SparringError(
                f"images must be (N, {', '.join(map(str, data.spec.shape))}) for data '{data.name}'; "
                f"got {tuple(given.shape)}"
            )
        return Images(given)
    if isinstance(given, Tensor | np.ndarray | str | Path):
        return Images(load(given, size=data.spec.size, channels=data.spec.channels, held_out=0).images)
    return given
