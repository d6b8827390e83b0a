"""Pairs of images: match two sets by file name, and hold pairs together while they are held out and shuffled.

While they are loaded, pairs are stacked: one image of 2C channels, those of domain a first. A paired `Dataset` has
the images of both domains one after the other, a0 b0 a1 b1 ..., with the domain as label.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Literal

import torch

from sparring.data.dataset import Dataset
from sparring.errors import SparringError, printable

PairsFrom = Literal["names", "halves", "edges"]
"""Where pairs come from: two sets with equal file names, images of two halves side by side, or images and their edges.
"""


def stack(a: Dataset, b: Dataset) -> Dataset:
    """(N, 2C, S, S): row i is image i of a on image i of b. Both have N images of one shape; labels are dropped."""
    name, notes = (tuple(dict.fromkeys(both)) for both in ((a.name, b.name), (*a.notes, *b.notes)))
    return Dataset("-".join(name), torch.cat([a.images, b.images], 1), notes=notes)


def unstack(stacked: Dataset, domains: tuple[str, str]) -> Dataset:
    """The images of both domains one after the other, labeled with their domain, in all three parts; not copied."""
    count, channels, height, width = stacked.pixels.shape
    pixels = stacked.pixels.view(2 * count, channels // 2, height, width)

    def part(rows: Dataset) -> Dataset:
        index = torch.arange(count) if rows.index is None else rows.index
        return replace(
            rows,
            pixels=pixels,
            index=torch.stack([2 * index, 2 * index + 1], 1).flatten(),
            labels=torch.arange(2).repeat(len(index)),
            classes=domains,
            held_out=None if rows.held_out is None else part(rows.held_out),
            test=None if rows.test is None else unstack(rows.test, domains),
            paired=True,
        )

    return part(stacked)


def match_names(a: Sequence[str], b: Sequence[str], places: Sequence[str]) -> list[int]:
    """For each image of a, the number of its partner in b: the image of the same name.

    a, b    paths in their sources; compared without their suffix, from the folder that all images of the set share
    places  how messages refer to the sets

    Raises SparringError if an image has no partner, or if two images of a set have the same name.
    """
    numbers = [_numbers(names, place) for names, place in zip((a, b), places, strict=True)]
    alone = [
        (place, name)
        for mine, others, place in zip(numbers, reversed(numbers), places, strict=True)
        for name in mine
        if name not in others
    ]
    if alone:
        place, name = alone[0]
        raise SparringError(
            f"{len(alone):,} of {len(a) + len(b):,} images {'has' if len(alone) == 1 else 'have'} no partner of the "
            f"same name, e.g. {printable(name)} in {place}: remove them, or give both the same name"
        )
    return [numbers[1][name] for name in numbers[0]]


def _numbers(names: Sequence[str], place: str) -> dict[str, int]:
    """{name without the common folder and without suffix: number of the image}."""
    folders = {os.path.dirname(name) for name in names}
    common = os.path.commonpath(folders) if "" not in folders else ""
    found: dict[str, int] = {}
    for number, name in enumerate(names):
        key = str(PurePosixPath(name).relative_to(common).with_suffix(""))
        if key in found:
            raise SparringError(f"two images in {place} are named {printable(key)}: pairs need one image of each name")
        found[key] = number
    return found
