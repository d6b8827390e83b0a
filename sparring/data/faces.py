"""Drawn faces in two styles, with attributes: the data sets "faces" and "pixel-faces".

Open Peeps by Pablo Stanley and Pixel Art by DiceBear, both CC0 1.0, drawn with DiceBear. scripts/pack_faces.py makes
the file drawn/faces.npz, whose arrays have one row per face:

    faces        (N, 64, 64, 3) uint8
    pixel-faces  (N, 16, 16, 3) uint8: the same persons, as far as the two styles share attributes
    attributes   (N, 10) uint8: the class of each of ATTRIBUTES
    numbers      (N,) uint16: the order of the data sets
"""

from __future__ import annotations

import lzma
import zipfile
from importlib import resources

import numpy as np
import torch
from torch import Tensor

from sparring.data.dataset import Dataset
from sparring.errors import SparringError, abbreviated, unknown_name_error

FACES = ("faces", "pixel-faces")
SIDE = 64
"""Native size of both data sets."""

CREDIT = {
    "faces": "Open Peeps by Pablo Stanley, CC0 1.0, drawn with DiceBear",
    "pixel-faces": "Pixel Art by DiceBear, CC0 1.0",
}
ATTRIBUTES = {
    **{name: (f"no {name}", name) for name in ("glasses", "sunglasses", "beard", "moustache")},
    **{name: (f"not {name}", name) for name in ("smiling", "angry")},
    "long-hair": ("no long hair", "long hair"),
    "hat": ("no hat", "hat"),
    "skin": ("skin 0", "skin 1", "skin 2", "skin 3", "skin 4"),
    "background": ("white", "cream", "pink", "violet", "blue", "green"),
}
"""Attribute -> classes, in the order of the array. Glasses include sunglasses, beard includes moustache."""

ONLY_FACES = ("sunglasses", "moustache", "angry")
"""Attributes that Pixel Art does not show."""

DEFAULT = "glasses"
"""The labels of the data sets, unless `labels_from` names another attribute."""


def require_attribute(name: str, labels_from: object) -> str | None:
    """The attribute that gives the labels of the data set `name`; None for "none". Raises SparringError for others."""
    if labels_from is None or labels_from == "none":
        return DEFAULT if labels_from is None else None
    possible = [attribute for attribute in ATTRIBUTES if name == "faces" or attribute not in ONLY_FACES]
    if labels_from not in possible:
        text = labels_from if isinstance(labels_from, str) else abbreviated(labels_from)
        raise unknown_name_error(f"attribute of {name}", text, [*possible, "none"])
    return str(labels_from)


def drawn_faces(name: str, size: int | None, labels_from: str | None) -> Dataset:
    """7,978 faces of 64 x 64 pixels, in color; row i of both data sets is the same person.

    name         "faces" or "pixel-faces"
    size         side in pixels. Pixel art is enlarged exactly to a multiple of 16, up to 256; for other sizes, and for
                 faces, the images have 64 x 64 pixels
    labels_from  an attribute, as in `require_attribute`

    Raises SparringError for an unknown attribute, and if the file cannot be read.
    """
    attribute = require_attribute(name, labels_from)
    pixels = _array(name).permute(0, 3, 1, 2)
    if name == "pixel-faces":
        squares = pixels.shape[-1]
        side = size if size and size % squares == 0 and size <= 4 * SIDE else SIDE
        pixels = pixels.repeat_interleave(side // squares, 2).repeat_interleave(side // squares, 3)
    images = torch.empty_like(pixels, memory_format=torch.contiguous_format)
    images.index_copy_(0, _ranks(), pixels)
    notes = (f"{name}: {CREDIT[name]}",)
    if attribute is None:
        return Dataset(name, images, notes=notes)
    labels = attributes_of(name)[:, list(ATTRIBUTES).index(attribute)].contiguous()
    return Dataset(name, images, labels, ATTRIBUTES[attribute], notes=notes)


def attributes_of(name: str) -> Tensor:
    """(7978, 10) classes of ATTRIBUTES, int64, in the order of the data sets; -100 where the style does not show them.

    -100 is the class that `F.cross_entropy` ignores.
    """
    classes = _array("attributes").long()[_array("numbers").argsort()]
    hidden = [attribute in ONLY_FACES and name == "pixel-faces" for attribute in ATTRIBUTES]
    return classes.masked_fill(torch.tensor(hidden), -100)


def _ranks() -> Tensor:
    """(7978,) the row of each face in the data sets."""
    return _array("numbers").argsort().argsort()


def _array(name: str) -> Tensor:
    """One array of the file. Raises SparringError if it cannot be read."""
    try:
        with (
            (resources.files("sparring.data") / "drawn/faces.npz").open("rb") as file,
            np.load(file, allow_pickle=False) as arrays,
        ):
            return torch.from_numpy(arrays[name].astype(np.int64) if name == "numbers" else arrays[name])
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, lzma.LZMAError) as error:
        raise SparringError(f"the drawn faces cannot be read ({error}): reinstall sparring") from error
