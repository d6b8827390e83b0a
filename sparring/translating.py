"""Translate image files from one domain to the other; translations keep names, formats and sizes."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path, PurePosixPath

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from sparring.data.decode import format_bad_files, in_parallel
from sparring.data.file_index import FileIndex
from sparring.data.pixels import BadImage, normalize_orientation, open_image, read_header, to_float, to_uint8
from sparring.durable import Disk, write_file
from sparring.errors import SparringError, printable
from sparring.image_grid import to_pil
from sparring.system import System

MAX_ASPECT_RATIO = 16
"""Images with a larger ratio of long to short side are refused."""


def translate_image(system: System, picture: Image.Image, size: int, to: int) -> Image.Image:
    """Translate a picture to domain `to`, 0 or 1, and return it in its original size.

    The short side is resized to `size`, as in training; the sides are reflection-padded to multiples of the system's
    `side_multiple`.
    """
    multiple = system.side_multiple
    scale = size / min(picture.size)
    width, height = (max(size, round(side * scale)) for side in picture.size)
    small = picture.resize((width, height), Image.Resampling.LANCZOS)
    x = to_float(torch.from_numpy(np.array(small)).reshape(height, width, -1).permute(2, 0, 1)[None])
    x = F.pad(x, (0, -width % multiple, 0, -height % multiple), mode="reflect")
    y = to_uint8(system.translate(x, to))[0, :, :height, :width]
    return to_pil(y).resize(picture.size, Image.Resampling.LANCZOS)


def translate_files(
    system: System,
    index: FileIndex,
    out: Path,
    *,
    size: int,
    channels: int,
    to: int,
    on_progress: Callable[[], object] = lambda: None,
) -> None:
    """Translate images to domain `to`, 0 or 1, and write them to the folder `out` under the same names.

    size, channels  of the images in training
    on_progress     called after each image

    Raises SparringError for an image that cannot be read; the images before it are translated. Call `check_files`
    first.
    """
    disk = Disk()
    with index.opener() as open_file:
        for number, name in enumerate(index.names()):
            try:
                with open_image(open_file(number)) as image:
                    picture = normalize_orientation(image, channels=channels)
            except BadImage as bad:
                raise SparringError(
                    f"cannot read {printable(name)} ({bad}); the images before it are translated"
                ) from None
            translation = translate_image(system, picture, size, to)
            disk.mkdir((out / name).parent)
            write_file(disk, out / name, _encoded(translation, name))
            on_progress()


def check_files(index: FileIndex, out: Path, size: int) -> list[str]:
    """Read the headers of all images, and return notes for the user: how many are resized.

    Raises SparringError that names the images that cannot be translated, for names that lead out of `out`, and if the
    translations would overwrite the images.
    """
    _require_place(index, out)
    bad: dict[int, str] = {}
    n_resized, example = 0, ""
    with index.opener() as open_file:
        headers = in_parallel(lambda number: read_header(open_file(number)), range(len(index)), "reading sizes")
        for number, header in headers:
            if isinstance(header, BadImage):
                bad[number] = str(header)
                continue
            width, height = header.width, header.height
            if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
                bad[number] = f"{width} x {height} pixels: one side is more than {MAX_ASPECT_RATIO} times the other"
            elif min(width, height) != size:
                n_resized += 1
                example = example or f"{printable(index.name(number))} ({width} x {height})"
    if bad:
        files = format_bad_files(index.by_name(bad))
        raise SparringError(f"cannot translate {len(bad)} of {len(index)} images: {files}")
    if not n_resized:
        return []
    return [
        f"{n_resized:,} of {len(index):,} images, e.g. {example}, do not have the training size {size}: their short "
        f"side is resized to {size}, and the translation back"
    ]


def _require_place(index: FileIndex, out: Path) -> None:
    for name in index.names():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            source = printable(str(index.source))
            raise SparringError(f"'{source}' contains a file with a path outside of it: {printable(name)}")
    if out.exists() and not out.is_dir():
        raise SparringError(f"--out {out} is a file: give a folder")
    if index.source.is_dir() and out.resolve() == index.source.resolve():
        raise SparringError(f"--out {out} is the folder of the images, which would be overwritten: give another folder")


def _encoded(picture: Image.Image, name: str) -> bytes:
    """The picture encoded in the format of the name's extension."""
    kind = Image.registered_extensions()[PurePosixPath(name).suffix.lower()]
    buffer = BytesIO()
    picture.save(buffer, kind, quality=95, **({"lossless": True} if kind == "WEBP" else {}))
    return buffer.getvalue()
