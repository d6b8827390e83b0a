"""Requests for samples, checked against what a system accepts; samples as a grid, or as one file per image."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from sparring.data.chosen import folders_of, numbers_of
from sparring.data.dataset import Dataset
from sparring.data.pixels import to_uint8
from sparring.durable import CorruptCheckpointError, Disk, read_file, sealed, sweep, unsealed, write_file
from sparring.errors import SparringError
from sparring.image_grid import grid, png, to_pil
from sparring.seeds import derive_seed
from sparring.system import System

BATCH = 250
"""Images generated at a time when each becomes a file; bounds the memory."""

GRID_ROWS = 8
"""Rows of a grid by default."""

UNFINISHED = ".unfinished.json"
"""File in a folder that is being filled; it records the request."""


@dataclass(frozen=True)
class SampleRequest:
    """Images to generate, from `sample_request`.

    n        number of images
    seed     the same seed gives the same images
    options  further keyword arguments of `System.sample`: "labels", "truncation"
    columns  of a grid of these images; None: as square as possible
    """

    n: int
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    columns: int | None = None

    def images(self, system: System) -> Tensor:
        """(n, C, H, W) images in [-1, 1]."""
        return system.sample(self.n, seed=self.seed, **self.options)

    def grid(self, system: System) -> Image.Image:
        """The images as one picture."""
        return grid(self.images(system), columns=self.columns)


def sample_request(
    system: System,
    classes: Sequence[str],
    *,
    n: int | None = None,
    seed: int = 0,
    labels: str | None = None,
    truncation: float | None = None,
) -> SampleRequest:
    """A request that this system accepts. Raises SparringError that names the option it does not.

    classes  names of the classes that the system was trained with
    n        default: GRID_ROWS rows of a grid with one column per class
    labels   names or indices, separated by commas: cat,dog or 3,5 (default: all classes in turn)
    """
    if not system.supports("sample"):
        raise SparringError(f"{type(system).__name__} cannot sample")
    options = sampling_options(system, labels=labels, truncation=truncation)
    columns = system.grid_columns
    if labels is not None:
        options["labels"] = chosen = numbers_of(labels, classes)
        system.expand_labels(1, chosen)  # refuses what is not a class
        columns = len(chosen) if len(chosen) > 1 else columns
    return SampleRequest(n or GRID_ROWS * columns, seed, options, columns if n is None or labels is not None else None)


def sampling_options(system: System, **options: Any) -> dict[str, Any]:
    """The options that are not None, as keyword arguments of `system.sample`.

    Raises SparringError for an option that this system does not accept.
    """
    kwargs = {name: value for name, value in options.items() if value is not None}
    for name in kwargs:
        if not system.accepts("sample", name):
            reason = "is not class-conditional" if name == "labels" else f"does not support {name}"
            raise SparringError(f"{type(system).__name__} {reason}: drop --{name}")
    return kwargs


def labels_of_images(
    system: System, capability: str, labels: str | None, data: Dataset, classes: Sequence[str]
) -> Tensor | None:
    """(N,) class indices of images for a capability that takes labels; None for one that does not.

    labels   names or indices, separated by commas and repeated in turn; None: those of the images' folders
    classes  names of the classes that the system was trained with

    Raises SparringError if labels are given and not used, or needed and missing.
    """
    kind = type(system).__name__
    if not system.accepts(capability, "labels"):
        if labels is not None:
            raise SparringError(f"{kind} {capability}s images without labels: drop --labels")
        return None
    if labels is not None:
        return system.expand_labels(len(data), numbers_of(labels, classes)).cpu()
    if data.labels is None or not set(data.classes) <= set(classes):
        raise SparringError(
            f"{kind} needs the class of each image: give --labels, or folders named {', '.join(classes)}"
        )
    return torch.tensor([list(classes).index(name) for name in data.classes])[data.labels]


# One file per image.


def require_sample_folder(out: Path) -> None:
    """Raises SparringError unless `out` names a new or empty folder, or one that `write_samples` began to fill."""
    if out.suffix:
        raise SparringError(f"--out {out} must end in .png for a grid; the name of a folder must not have an extension")
    if out.is_file() or (out.is_dir() and not (out / UNFINISHED).exists() and any(out.iterdir())):
        raise SparringError(f"--out {out} is not empty: give a new folder (or, for a grid, a name that ends in .png)")


def write_samples(
    system: System,
    request: SampleRequest,
    out: Path,
    *,
    classes: Sequence[str],
    weights: str,
    on_progress: Callable[[int], object] = lambda images: None,
) -> None:
    """Write the images as PNGs to the folder `out`, in one folder per class if the system is class-conditional.

    Images that an interrupted call with the same request has written are not generated again.

    classes      names of the classes, of which the names of the folders are made
    weights      identifies the weights of the system: a folder is completed only with the same ones
    on_progress  called with the number of images whenever some have been written

    Raises SparringError if the folder holds other files, or an unfinished set of other images.
    """
    require_sample_folder(out)
    n, seed, options = request.n, request.seed, dict(request.options)
    _begin(out, {"weights": weights, "n": n, "seed": seed, **options})
    labels, folders = [0] * n, [""]
    conditional = system.accepts("sample", "labels")
    if conditional:
        labels = system.expand_labels(n, options.pop("labels", None)).tolist()
        folders = folders_of(classes)
    disk = Disk()
    for label in set(labels):
        disk.mkdir(out / folders[label])
        sweep(disk, out / folders[label])
    with ThreadPoolExecutor(2) as pool:
        for first in range(0, n, BATCH):
            rows = range(first, min(n, first + BATCH))
            files = [out / folders[labels[row]] / f"{row:0{len(str(n - 1))}}.png" for row in rows]
            if not all(file.is_file() and file.stat().st_size for file in files):  # empty after a power loss
                own = {**options, "labels": labels[first : rows.stop]} if conditional else options
                images = system.sample(len(rows), seed=derive_seed("images", seed, first) if first else seed, **own)
                encoded = pool.map(lambda pixels: png(to_pil(pixels)), to_uint8(images))
                for file, data in zip(files, encoded, strict=True):
                    temporary = file.with_name(f".tmp-{file.name}-{os.getpid()}")  # no image is ever half written
                    disk.write(temporary, data)
                    disk.rename(temporary, file)
            on_progress(len(rows))
    disk.remove(out / UNFINISHED)


def _begin(out: Path, request: dict[str, Any]) -> None:
    """Record the request in the folder. Raises SparringError if the folder belongs to another unfinished request."""
    disk, note = Disk(), out / UNFINISHED
    if note.exists():
        try:
            begun = unsealed(read_file(note))
        except (CorruptCheckpointError, OSError):
            begun = {}
        other = [f"{name} {begun.get(name, 'unknown')}" for name in request if begun.get(name) != request[name]]
        if other or begun != request:
            raise SparringError(
                f"--out {out} contains an unfinished set of other images ({', '.join(other) or 'other arguments'}): "
                "repeat that command to complete it, or give a new folder"
            )
    disk.mkdir(out)
    write_file(disk, note, sealed(request))
