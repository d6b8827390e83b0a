"""Two sets of images without pairs, as one labeled data set: every image says which domain it is from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch

from sparring.data.dataset import Dataset
from sparring.errors import SparringError


def merge_domains(domains: Mapping[str, Dataset]) -> Dataset:
    """The images of all domains, one domain after the other; the classes are the domains. Their own labels are lost.

    What is held out of each stays held out, so that pictures at the same places of two equally long lists are held out
    together. There is a test set if every domain has one. Raises SparringError unless all images are of one shape.
    """
    require_one_shape({name: part.spec.shape for name, part in domains.items()})
    for name, part in domains.items():
        if part.values is not None:
            raise SparringError(f"domain {name} ('{part.name}') is fingerprints of molecules, no images")
    together = _one_after_the_other([*domains.values()], domains)
    assert together is not None
    return replace(
        together,
        held_out=_one_after_the_other([part.held_out for part in domains.values()], domains),
        test=_one_after_the_other([part.test for part in domains.values()], domains),
        notes=tuple(f"{name}: {note}" for name, part in domains.items() for note in part.notes),
    )


def require_one_shape(shapes: Mapping[str, tuple[int, int, int]]) -> None:
    """Raises SparringError unless the (C, H, W) of all domains are the same."""
    if len(set(shapes.values())) > 1:
        sizes = ", ".join(f"{name} {height} x {width}" for name, (_, height, width) in shapes.items())
        if len({shape[1:] for shape in shapes.values()}) > 1:
            raise SparringError(f"the images of the domains differ in size ({sizes}): give --size, to make them one")
        kinds = ", ".join(f"{name} {'gray' if shape[0] == 1 else 'color'}" for name, shape in shapes.items())
        raise SparringError(f"the images of the domains differ in channels ({kinds}): give --channels 1 or 3")


def _one_after_the_other(parts: Sequence[Dataset | None], names: Iterable[str]) -> Dataset | None:
    """None unless every domain has one."""
    there = [part for part in parts if part is not None]
    if len(there) < len(parts):
        return None
    labels = torch.cat([torch.full((len(part),), y) for y, part in enumerate(there)])
    name = "-".join(dict.fromkeys(part.name for part in there))
    return Dataset(name, torch.cat([part.images for part in there]), labels, tuple(names))
