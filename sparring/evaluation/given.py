"""Existing images in place of a system, so that they are evaluated like the samples of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparring.data.chosen import folders_of
from sparring.data.dataset import Dataset
from sparring.data.loading import load
from sparring.errors import SparringError, printable
from sparring.seeds import make_generator


class Images:
    """Existing samples (N, C, S, S), uint8 or floats in [-1, 1].

    `sample` returns them in a fixed random order, each once, so that sets are disjoint. It raises SparringError when
    they run out.

    labels  (N,) their classes, in the order of `sample`; None if they have none
    note    the reason if their classes are not those of the data; "" otherwise
    """

    def __init__(self, images: Tensor, labels: Tensor | None = None, note: str = "") -> None:
        order = torch.randperm(len(images), generator=make_generator("evaluate", "given"))
        self.images, self.labels, self.note = images[order], None if labels is None else labels[order], note
        self.next = 0

    def __len__(self) -> int:
        return len(self.images)

    def sample(self, n: int, *, seed: int = 0) -> Tensor:
        """(n, C, S, S): the next n images; `seed` is ignored. Raises SparringError if fewer are left."""
        rows = self.images[self.next : self.next + n]
        if len(rows) < n:
            raise SparringError(f"{self.next + n} images are needed, but there are only {len(self)}")
        self.next += n
        return rows


def as_system(source: Any, data: Dataset) -> Any:
    """An object with a method `sample`, from images, a dataset or the path of a folder, zip or array.

    Systems are returned unchanged. Files and uint8 arrays are converted to the size and channels of the data; arrays of
    floats must have its shape. Raises SparringError for a wrong shape.
    """
    if isinstance(source, Dataset):
        return Images(source.images, *_classes_of(source, data))
    floats = isinstance(source, Tensor) and source.is_floating_point()
    if isinstance(source, np.ndarray) and source.dtype.kind == "f":
        source, floats = torch.from_numpy(source), True
    if floats:
        if source.ndim != 4 or tuple(source.shape[1:]) != data.spec.shape:
            raise SparringError(
                f"images must be (N, {', '.join(map(str, data.spec.shape))}) for data '{data.name}'; "
                f"got {tuple(source.shape)}"
            )
        return Images(source)
    if isinstance(source, Tensor | np.ndarray | str | Path):
        loaded = load(source, size=data.spec.size, channels=data.spec.channels, held_out=0)
        return Images(loaded.images, *_classes_of(loaded, data))
    return source


def _classes_of(samples: Dataset, data: Dataset) -> tuple[Tensor | None, str]:
    """The labels of samples as class indices of the data, matched by the names of folders; or None and the reason."""
    if samples.labels is None or data.labels is None:
        return None, ""
    index = {name: y for names in (folders_of(data.classes), data.classes) for y, name in enumerate(names)}
    if unknown := [printable(name) for name in samples.classes if name not in index]:
        folders = ", ".join(unknown[:3]) + (f" and {len(unknown) - 3} more" if len(unknown) > 3 else "")
        return None, (
            f"class agreement is not measured: the samples' folders {folders} are not classes of "
            f"'{printable(data.name)}' "
            f"({', '.join(map(printable, data.classes[:10]))}{', ...' if len(data.classes) > 10 else ''})"
        )
    return torch.tensor([index[name] for name in samples.classes])[samples.labels], ""
