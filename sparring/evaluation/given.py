"""Images in the place of a system: somebody else's samples are measured as a run's are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparring.data.chosen import folders_of
from sparring.data.dataset import Dataset
from sparring.data.loading import load
from sparring.errors import SparringError, shown
from sparring.seeds import make_generator


class Images:
    """Samples that are there already, (N, C, S, S), uint8 or floats in [-1, 1].

    `sample` hands them out in a random order that depends on nothing, each once: sets of them are disjoint. Raises
    SparringError when they run out.

    labels  (N,) the class that each is said to be, in the order of `sample`; None if they have none
    note    why they have none, where they have classes of their own
    """

    def __init__(self, images: Tensor, labels: Tensor | None = None, note: str = "") -> None:
        order = torch.randperm(len(images), generator=make_generator("evaluate", "given"))
        self.images, self.labels, self.note = images[order], None if labels is None else labels[order], note
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
        return Images(given.images, *_classes_of(given, data))
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
        loaded = load(given, size=data.spec.size, channels=data.spec.channels, held_out=0)
        return Images(loaded.images, *_classes_of(loaded, data))
    return given


def _classes_of(samples: Dataset, data: Dataset) -> tuple[Tensor | None, str]:
    """The labels of samples as numbers of the data's classes, which their folders are named after, or why not."""
    if samples.labels is None or data.labels is None:
        return None, ""
    known = {name: y for names in (folders_of(data.classes), data.classes) for y, name in enumerate(names)}
    if strange := [shown(name) for name in samples.classes if name not in known]:
        said = ", ".join(strange[:3]) + (f" and {len(strange) - 3} more" if len(strange) > 3 else "")
        return None, (
            f"class agreement is not measured: the samples' folders {said} are no classes of '{shown(data.name)}' "
            f"({', '.join(map(shown, data.classes[:10]))}{', ...' if len(data.classes) > 10 else ''})"
        )
    return torch.tensor([known[name] for name in samples.classes])[samples.labels], ""
