"""The verb that leads images from one domain to the other."""

import sys
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sparring.cli.common import ImagesPath, RecipeName, RunPath
from sparring.errors import SparringError, shown, unknown_name_error

if TYPE_CHECKING:
    from PIL.Image import Image

    from sparring.data.listing import Listing
    from sparring.system import System

LONGEST = 16
"""Times the short side: longer images are refused."""


def translate(
    run: RunPath,
    images: ImagesPath,
    *,
    to: Annotated[str, Field(description="the domain to translate to: b, or the name of its folder")],
    out: Annotated[Path, Field(description="a folder for the translations; they keep names and sizes")],
    recipe: RecipeName = None,
) -> None:
    """images of one domain as images of the other:  sparring translate RUN horses/ --to b --out zebras/"""
    from rich.console import Console
    from rich.progress import track

    from sparring.data.loading import listing_of
    from sparring.data.pixels import BadImage, normalize_orientation, open_image
    from sparring.durable import Disk, write_file
    from sparring.run import Run

    opened = Run.open(run)
    system = opened.system(recipe=recipe)
    if not system.supports("translate"):
        raise SparringError(f"{type(system).__name__} cannot translate images")
    spec = opened.config["spec"]
    if to not in spec["classes"]:
        raise unknown_name_error("domain", to, spec["classes"])
    listing = listing_of(images)
    _check_names(listing, images, out)
    _look(listing, spec["size"])

    disk, console = Disk(), Console(stderr=True)
    with listing.opener() as open_name:
        for name in track(
            listing.names, "translating", console=console, transient=True, disable=not console.is_terminal
        ):
            try:
                with open_image(open_name(name)) as image:
                    picture = normalize_orientation(image, channels=spec["channels"])
            except BadImage as bad:
                raise SparringError(f"cannot read {shown(name)} ({bad}); those before it are translated") from None
            made = translated(system, picture, spec["size"], spec["classes"].index(to))
            disk.mkdir((out / name).parent)
            write_file(disk, out / name, _encoded(made, name))
    print(f"{len(listing.names):,} images translated to {to}: {out}")


def translated(system: "System", picture: "Image", size: int, to: int) -> "Image":
    """A translation in the picture's own size: its short side becomes `size`, as in training, and back again.

    The long side is filled up with its mirror image to a multiple of 4, which is cut off afterwards.
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
    made = to_uint8(system.translate(x, to))[0, :, :height, :width]
    return to_pil(made).resize(picture.size, Image.Resampling.LANCZOS)


def _check_names(listing: "Listing", images: Path, out: Path) -> None:
    """Before anything is written: no path leads out of the folder, and no original is written over."""

    for name in listing.names:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise SparringError(f"'{shown(str(images))}' holds a file that lies outside of it: {shown(name)}")
    if out.exists() and not out.is_dir():
        raise SparringError(f"--out is {out}, a file: give a folder")
    if listing.source.is_dir() and out.resolve() == listing.source.resolve():
        raise SparringError(f"--out is {out}, the folder of the images: they would be overwritten")


def _look(listing: "Listing", size: int) -> None:
    """Read all headers, so that a bad image is named before the first is translated; say which sizes are others."""
    from sparring.data.decode_cache import format_bad_files, in_parallel
    from sparring.data.pixels import BadImage, read_header

    for note in listing.notes:
        print(f"sparring: {note}", file=sys.stderr)
    bad: dict[str, str] = {}
    others, example = 0, ""
    with listing.opener() as open_name:
        for name, header in in_parallel(lambda name: read_header(open_name(name)), listing.names, "reading sizes"):
            if isinstance(header, BadImage):
                bad[name] = str(header)
                continue
            width, height = header.width, header.height
            if max(width, height) > LONGEST * min(width, height):
                bad[name] = f"{width} x {height} pixels: too long, one side is more than {LONGEST} times the other"
            elif min(width, height) != size:
                others += 1
                example = example or f"{shown(name)} ({width} x {height})"
    if bad:
        raise SparringError(f"cannot translate {len(bad)} of {len(listing.names)} images: {format_bad_files(bad)}")
    if others:
        print(
            f"sparring: {others:,} of {len(listing.names):,} images are not of the size {size} that the run learned "
            f"from, as {example}: their short side is made {size}, and back again",
            file=sys.stderr,
        )


def _encoded(picture: "Image", name: str) -> bytes:
    """The picture in the format that its name says."""
    from PIL import Image

    kind = Image.registered_extensions()[PurePosixPath(name).suffix.lower()]
    buffer = BytesIO()
    picture.save(buffer, kind, quality=95, **({"lossless": True} if kind == "WEBP" else {}))
    return buffer.getvalue()
