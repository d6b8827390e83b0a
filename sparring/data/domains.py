"""Merge unpaired sets of images into one data set; the label of an image is its domain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch

from sparring.data.dataset import Dataset
from sparring.errors import SparringError


def merge_domains(domains: Mapping[str, Dataset]) -> Dataset:
    """Concatenate the images of all domains. The classes are the domains; original labels are dropped.

    Held-out images stay held out: in two sets of equal length, the same indices are held out. The result has a test set
    if every domain has one. Raises SparringError unless all images have the same shape.
    """
    require_one_shape({name: part.spec.shape for name, part in domains.items()})
    for name, part in domains.items():
        if part.modality != "images":
            raise SparringError(f"domain {name} ('{part.name}') contains {part.modality}, not images")
    merged = _concatenated([*domains.values()], domains)
    assert merged is not None
    return replace(
        merged,
        held_out=_concatenated([part.held_out for part in domains.values()], domains),
        test=_concatenated([part.test for part in domains.values()], domains),
        notes=tuple(f"{name}: {note}" for name, part in domains.items() for note in part.notes),
    )


def require_one_shape(shapes: Mapping[str, tuple[int, int, int]]) -> None:
    """Raise SparringError unless all domains have the same (C, H, W)."""
    if len(set(shapes.values())) > 1:
        sizes = ", ".join(f"{name} {height} x {width}" for name, (_, height, width) in shapes.items())
        if len({shape[1:] for shape in shapes.values()}) > 1:
            raise SparringError(f"the images of the domains differ in size ({sizes}): set --size")
        kinds = ", ".join(f"{name} {'gray' if shape[0] == 1 else 'color'}" for name, shape in shapes.items())
        raise SparringError(f"the images of the domains differ in channels ({kinds}): set --channels to 1 or 3")


def _concatenated(parts: Sequence[Dataset | None], names: Iterable[str]) -> Dataset | None:
    """One data set of all parts; None unless every domain has one."""
    present = [part for part in parts if part is not None]
    if len(present) < len(parts):
        return None
    labels = torch.cat([torch.full((len(part),), y) for y, part in enumerate(present)])
    name = "-".join(dict.fromkeys(part.name for part in present))
    return Dataset(name, torch.cat([part.images for part in present]), labels, tuple(names))
