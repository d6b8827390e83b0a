"""Where bytes become pixels: the only place where uint8 meets [-1, 1], and the only place that opens image files.

Pillow's own conversions are silently wrong for 16-bit and float files (clipped), for transparency (dropped) and for
EXIF orientation (ignored); here each of them is converted right or the file is refused with a reason.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from sparring.errors import SparringError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
MAX_PIXELS = 64_000_000
MAX_BYTES = 256_000_000
MAX_SIZE = 4096

ORIENTATION = 0x0112  # the EXIF tag, and what undoes each of its values
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class BadImage(SparringError):
    """This file cannot be used as an image; the message is the reason, without the file's name."""


# Between uint8 and [-1, 1].


def to_float(images: Tensor, *, memory_format: torch.memory_format = torch.preserve_format) -> Tensor:
    """uint8 -> float32 in [-1, 1], any shape: x / 127.5 - 1."""
    return images.to(torch.float32, memory_format=memory_format).div_(127.5).sub_(1)  # uint8 / float is 8 times slower


def to_uint8(images: Tensor) -> Tensor:
    """Float in [-1, 1] -> uint8, any shape: clamped and rounded, the exact inverse of `to_float`."""
    return images.detach().float().add(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


def fit(images: Tensor, *, size: int, channels: int) -> Tensor:
    """(N, C, H, W) uint8 -> (N, channels, size, size) uint8: centre crop, antialiased bilinear; luma or repeated grey.

    What already fits is returned as it is.
    """
    height, width = images.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    images = images[:, :, top : top + side, left : left + side]
    if images.shape[1:] == (channels, size, size):
        return images.contiguous()
    fitted = torch.empty(len(images), channels, size, size, dtype=torch.uint8)
    for start in range(0, len(images), 1024):
        chunk = images[start : start + 1024].float()
        if channels == 1 and chunk.shape[1] == 3:
            chunk = torch.einsum("nchw,c->nhw", chunk, torch.tensor([0.299, 0.587, 0.114])).unsqueeze(1)
        if side != size:
            chunk = torch.nn.functional.interpolate(chunk, (size, size), mode="bilinear", antialias=True)
        fitted[start : start + 1024] = chunk.round().clamp(0, 255).to(torch.uint8)  # grey is repeated by assignment
    return fitted


def require_shape(size: int | None, channels: int | None) -> None:
    """Raise `SparringError` unless these are a side and a number of channels that images can have here."""
    if channels not in (None, 1, 3):
        raise SparringError(f"channels is {channels}; images here have 1 (grey) or 3 (red, green, blue)")
    if size is not None and not 1 <= size <= MAX_SIZE:
        raise SparringError(f"size is {size}; the side of the images must be between 1 and {MAX_SIZE} pixels")


# Image files.


@dataclass(frozen=True)
class Header:
    """What a file says about its image before any pixel is decoded."""

    format: str
    mode: str
    width: int
    height: int
    conversions: tuple[str, ...]


def read_image(source: str | Path | BinaryIO, *, size: int, channels: int, background: int = 255) -> np.ndarray:
    """(channels, size, size) uint8 of an image file: the short side is scaled to `size`, the centre kept.

    More than 8 bits are scaled by the range that the file declares (floats outside [0, 1]: by the file's own minimum
    and maximum), transparency is laid on the grey value `background`, EXIF orientation is applied, animations give
    their first frame. Raises `BadImage` with the reason for everything else: it never hangs and never guesses.
    """
    require_shape(size, channels)
    with open_image(source) as image:
        return decode(image, size=size, channels=channels, background=background)


def probe(source: str | Path | BinaryIO) -> Header:
    """The header of an image file, without decoding pixels. Raises `BadImage`."""
    with open_image(source) as image:
        return inspect(image)


@contextmanager
def open_image(source: str | Path | BinaryIO) -> Iterator[Image.Image]:
    """An image of which only the header was read. Whatever goes wrong inside the `with` becomes `BadImage`."""
    try:
        file = nullcontext(source) if hasattr(source, "read") else _regular_file(Path(source))
        with file as opened, Image.open(opened, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                pixels = f"{image.width} x {image.height} pixels"
                raise BadImage(f"{pixels} are more than the limit of {MAX_PIXELS // 1_000_000} million")
            yield image
    except BadImage:
        raise
    except Exception as error:  # Pillow's decoders raise nearly everything on hostile bytes
        raise BadImage(_reason(error)) from error


def inspect(image: Image.Image) -> Header:
    """The header of an opened image; call it before `decode`."""
    deep = any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))
    kinds = {
        "16-bit scaled to 8 bits": image.mode.startswith("I;16") or deep,
        "32-bit or float scaled to 8 bits": image.mode in ("I", "F") and not deep,
        "1-bit turned into black and white": image.mode == "1",
        "palette turned into colours": image.mode in ("P", "PA"),
        "CMYK turned into RGB": image.mode == "CMYK",
        "transparency laid on the background": _is_transparent(image),
        "turned upright as EXIF says": _orientation(image) in UPRIGHT,
        "only the first frame of an animation used": getattr(image, "is_animated", False),
    }
    conversions = tuple(kind for kind, applies in kinds.items() if applies)
    return Header(image.format or "?", image.mode, image.width, image.height, conversions)


def decode(image: Image.Image, *, size: int, channels: int, background: int = 255) -> np.ndarray:
    """The pixels of an opened image as (channels, size, size) uint8, as `read_image` says."""
    image.draft(None, (4 * size, 4 * size))  # large JPEGs decode at 1/2, 1/4 or 1/8
    image = upright(image, channels=channels, background=background)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.resize((size, size), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side))
    pixels = np.asarray(image)
    return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def upright(image: Image.Image, *, channels: int, background: int = 255) -> Image.Image:
    """An opened image as 8-bit grey or RGB, in its own size, as `read_image` says."""
    image.load()
    orientation = _orientation(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _eight_bits(image, background)
    elif _is_transparent(image):
        colours = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (background,) * 3 + (255,)), colours)
    image = image.convert("L" if channels == 1 else "RGB")
    if orientation in UPRIGHT:
        image = image.transpose(UPRIGHT[orientation])
    return image


def _eight_bits(image: Image.Image, background: int) -> Image.Image:
    """A grey image of more than 8 bits, scaled by the range that its file declares."""
    values = np.asarray(image).astype(np.float32)
    if not np.isfinite(values).all():
        raise BadImage("pixels that are not finite numbers")
    tags = getattr(image, "tag_v2", {})  # of a TIFF
    if image.mode.startswith("I;16"):
        low, high = 0.0, 2.0 ** tags.get(258, (16,))[0] - 1  # BitsPerSample: 12 or 16
    elif image.mode == "I" and not tags:
        low, high = 0.0, 65535.0  # Pillow's mode for 16 bits in PGM, and in PNG before Pillow 11
    elif image.mode == "F" and values.min() >= 0 and values.max() <= 1:
        low, high = 0.0, 1.0
    else:
        low, high = float(values.min()), float(values.max())
    scaled = (values - low) * (255 / max(high - low, 1e-30))
    if tags.get(262) == 0:  # PhotometricInterpretation: white is zero
        scaled = 255 - scaled
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        scaled[values == transparent] = background
    return Image.fromarray(scaled.round().clip(0, 255).astype(np.uint8))


def _is_transparent(image: Image.Image) -> bool:
    return image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info


def _orientation(image: Image.Image) -> int:
    """EXIF's 1 to 8; 1 is upright. Pillow turns a TIFF when it loads it, and then takes the tag away."""
    if image.format == "TIFF":
        return getattr(image, "tag_v2", {}).get(ORIENTATION, 1)
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif", b""))
        return exif.get(ORIENTATION, 1)
    except (SyntaxError, ValueError, TypeError, KeyError, OSError, struct.error):  # broken EXIF, sound pixels
        return 1


def _regular_file(path: Path) -> BinaryIO:
    """Open without waiting, so that a FIFO does not hang, and only what has an end, so that /dev/zero is not read."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise BadImage("not a regular file")
        if status.st_size == 0:
            raise BadImage("empty file")
        if status.st_size > MAX_BYTES:
            raise BadImage(f"more than {MAX_BYTES // 1_000_000} MB")
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"not an image in a known format ({', '.join(FORMATS)})"
    words = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return words.splitlines()[0][:120]
