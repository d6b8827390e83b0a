"""Pack the two sets of drawn faces into sparring/data/drawn/faces.npz, the data sets "faces" and "pixel-faces".

    python scripts/pack_faces.py faces.zip faces-pixel.zip

Each zip has 64x64 PNGs and attributes.csv; the second is in the style Pixel Art, whose pixels are squares of 4 x 4.
Only faces that both have are packed, so that the sets are aligned. Nothing is lost: the arrays are compressed by LZMA,
in an order that puts similar faces next to each other. The same zips give the same bytes.
"""

from __future__ import annotations

import argparse
import csv
import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

import sparring.data
from sparring.data.faces import ATTRIBUTES

BACKGROUNDS = {"ffffff": 0, "f6f1d8": 1, "ffd5dc": 2, "c0aede": 3, "b6e3f4": 4, "d9f2c4": 5}
BLOCK = 4  # pixels of a square of Pixel Art


def attributes_of(row: dict[str, str]) -> list[int]:
    """The class of each attribute, in the order of ATTRIBUTES; the set in pixel art does not tell the kinds apart."""
    value = {name.replace("_", "-"): int(row[name] == "1") for name in row}
    value["glasses"] |= value["sunglasses"]
    value["beard"] |= value["moustache"]
    return [*(value[name] for name in ATTRIBUTES if name in value and name not in ("skin", "background")),
            int(row["skin"]), BACKGROUNDS[row["background"]]]  # fmt: skip


def pixels(archive: zipfile.ZipFile, names: list[str]) -> np.ndarray:
    """(N, 64, 64, 3) uint8."""
    return np.stack([np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB")) for name in names])


def add(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    """Add a member as numpy.savez does, with a fixed date."""
    content = io.BytesIO()
    np.lib.format.write_array(content, np.ascontiguousarray(array), allow_pickle=False)
    archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue(), compress_type=zipfile.ZIP_LZMA)
    print(f"{name}: {array.shape}, {archive.getinfo(f'{name}.npy').compress_size:,} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path, help="zip of the set in the style Open Peeps")
    parser.add_argument("pixel_faces", type=Path, help="zip of the set in the style Pixel Art")
    parser.add_argument("--out", type=Path, default=Path(sparring.data.__file__).parent / "drawn" / "faces.npz")
    arguments = parser.parse_args()

    with zipfile.ZipFile(arguments.faces) as faces, zipfile.ZipFile(arguments.pixel_faces) as pixel_faces:
        both = {*faces.namelist()} & {*pixel_faces.namelist()}
        rows = [row for row in csv.DictReader(io.TextIOWrapper(faces.open("attributes.csv"))) if row["file"] in both]
        rows.sort(key=lambda row: (row["hair"], row["skin"], row["expression"], row["file"]))
        names = [row["file"] for row in rows]
        large, blocks = pixels(faces, names), pixels(pixel_faces, names)
    small = blocks[:, ::BLOCK, ::BLOCK]
    assert (small.repeat(BLOCK, 1).repeat(BLOCK, 2) == blocks).all(), "the pixels of Pixel Art are squares"
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(arguments.out, "w") as packed:
        add(packed, "faces", large)
        add(packed, "pixel-faces", small)
        add(packed, "attributes", np.array([attributes_of(row) for row in rows], np.uint8))
        add(packed, "numbers", np.array([int(Path(name).stem) for name in names], np.uint16))
    print(f"{arguments.out}: {len(names):,} faces, {arguments.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
