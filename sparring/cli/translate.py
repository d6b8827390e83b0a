"""The verb `translate`: images from one domain to the other."""

import sys
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sparring.cli.common import ImagesPath, RecipeName, RunPath
from sparring.errors import SparringError, printable, unknown_name_error
from sparring.options import Device

if TYPE_CHECKING:
    from PIL.Image import Image

    from sparring.data.file_index import FileIndex
    from sparring.system import System

MAX_ASPECT_RATIO = 16
"""Images with a larger ratio of long to short side are refused."""


def translate(
    run: RunPath,
    images: ImagesPath,
    *,
    to: Annotated[str, Field(description="target domain: b, or the name of its folder")],
    out: Annotated[Path, Field(description="folder for the translations, which keep their names and sizes")],
    recipe: RecipeName = None,
    device: Device = "auto",
) -> None:
    """Translate images from one domain to the other; translations keep the names and sizes of the images."""
    from rich.console import Console
    from rich.progress import track

    from sparring.data.loading import index_of
    from sparring.data.pixels import BadImage, normalize_orientation, open_image
    from sparring.durable import Disk, write_file
    from sparring.run import Run

    opened = Run.open(run)
    system = opened.system(recipe=recipe, device=device)
    if not system.supports("translate"):
        raise SparringError(f"{type(system).__name__} cannot translate images")
    spec = opened.spec
    if to not in spec.classes:
        raise unknown_name_error("domain", to, spec.classes)
    index = index_of(images)
    _check_names(index, images, out)
    _check_headers(index, spec.size)

    disk, console = Disk(), Console(stderr=True)
    with index.opener() as open_file:
        numbers = range(len(index))
        for number in track(numbers, "translating", console=console, transient=True, disable=not console.is_terminal):
            name = index.name(number)
            try:
                with open_image(open_file(number)) as image:
                    picture = normalize_orientation(image, channels=spec.channels)
            except BadImage as bad:
                raise SparringError(
                    f"cannot read {printable(name)} ({bad}); the images before it are translated"
                ) from None
            translation = translated(system, picture, spec.size, spec.classes.index(to))
            disk.mkdir((out / name).parent)
            write_file(disk, out / name, _encoded(translation, name))
    print(f"{len(index):,} images translated to {to}: {out}")


def translated(system: "System", picture: "Image", size: int, to: int) -> "Image":
    """Translate a picture and return it in its original size.

    The short side is resized to `size`, as in training; the sides are reflection-padded to a multiple of 4.
    """
    import numpy as np
    import torch
    import torch.nn.functional as F
    from PIL import Image

    from sparring.data.pixels import to_float, to_uint8
    from sparring.image_grid import to_pil

    scale = size / min(picture.size)
    width, height = (max(size, round(side * scale)) for side in picture.size)
    small = picture.resize((width, height), Image.Resampling.LANCZOS)
    x = to_float(torch.from_numpy(np.array(small)).reshape(height, width, -1).permute(2, 0, 1)[None])
    x = F.pad(x, (0, -width % 4, 0, -height % 4), mode="reflect")
    y = to_uint8(system.translate(x, to))[0, :, :height, :width]
    return to_pil(y).resize(picture.size, Image.Resampling.LANCZOS)


def _check_names(index: "FileIndex", images: Path, out: Path) -> None:
    """Raises SparringError for names that lead out of `out`, and if originals would be overwritten."""
    for name in index.names():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise SparringError(
                f"'{printable(str(images))}' contains a file with a path outside of it: {printable(name)}"
            )
    if out.exists() and not out.is_dir():
        raise SparringError(f"--out {out} is a file: give a folder")
    if index.source.is_dir() and out.resolve() == index.source.resolve():
        raise SparringError(f"--out {out} is the folder of the images, which would be overwritten: give another folder")


def _check_headers(index: "FileIndex", size: int) -> None:
    """Read all headers. Raises SparringError for bad images; reports on stderr how many images are resized."""
    from sparring.data.decode import format_bad_files, in_parallel
    from sparring.data.pixels import BadImage, read_header

    for note in index.notes:
        print(f"sparring: {note}", file=sys.stderr)
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
    if n_resized:
        print(
            f"sparring: {n_resized:,} of {len(index):,} images, e.g. {example}, do not have the training size "
            f"{size}: their short side is resized to {size}, and the translation back",
            file=sys.stderr,
        )


def _encoded(picture: "Image", name: str) -> bytes:
    """The picture encoded in the format of the name's extension."""
    from PIL import Image

    kind = Image.registered_extensions()[PurePosixPath(name).suffix.lower()]
    buffer = BytesIO()
    picture.save(buffer, kind, quality=95, **({"lossless": True} if kind == "WEBP" else {}))
    return buffer.getvalue()
