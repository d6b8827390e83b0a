"""Decode image files, and convert between uint8 and [-1, 1].

Pillow's default conversions are silently wrong for 16-bit and float files (clipped), transparency (dropped) and EXIF
orientation (ignored). Here they are converted correctly, or the file is rejected with a reason.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from io import BytesIO
from numbers import Integral
from pathlib import Path
from threading import Condition
from typing import Any, BinaryIO, Literal

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from sparring.errors import SparringError, abbreviated

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
MAX_PIXELS = 64_000_000
MAX_BYTES = 256_000_000
MAX_SIZE = 4096
MAX_SCANS = 100  # of a JPEG; a progressive one has about 10, and each is a pass over all pixels

Scale = Mapping[str, tuple[float, float]]
"""Range of gray values with more than 8 bits: "16-bit", "32-bit" or "float" -> (lowest, highest)."""

Half = Literal["left", "right"]
"""Of an image that holds a pair side by side: the image of domain a is on the left."""

BITS = (8, 10, 12, 14, 16)  # effective bit depths of 16-bit files

ORIENTATION = 0x0112  # EXIF tag; below, the transpose that undoes each value
TRANSPOSE_OF_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class BadImage(SparringError):
    """A file cannot be used as an image. The message is the reason, without the file name."""


class Budget:
    """A resource shared by threads: `hold` blocks until enough is left. Larger requests are cut to `total`."""

    def __init__(self, total: int) -> None:
        self.total, self.used = total, 0
        self._changed = Condition()

    @contextmanager
    def hold(self, amount: int) -> Iterator[None]:
        """Takes `amount` of the resource, or all of it, for the duration of a `with` block."""
        amount = min(amount, self.total)
        with self._changed:
            self._changed.wait_for(lambda: self.used + amount <= self.total)
            self.used += amount
        try:
            yield
        finally:
            with self._changed:
                self.used -= amount
                self._changed.notify_all()


PIXELS = Budget(MAX_PIXELS)
"""Pixels decoded at the same time in all threads; each needs up to 20 bytes."""


# uint8 and [-1, 1].


def to_float(images: Tensor, *, memory_format: torch.memory_format = torch.preserve_format) -> Tensor:
    """uint8 -> float32 in [-1, 1], any shape: x / 127.5 - 1."""
    # In place: uint8 / float is 8 times slower.
    return images.to(torch.float32, memory_format=memory_format).div_(127.5).sub_(1)


def to_uint8(images: Tensor) -> Tensor:
    """Float in [-1, 1] -> uint8, any shape: clamped and rounded; the exact inverse of `to_float`."""
    return images.detach().float().add(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


def resize(images: Tensor, *, size: int, channels: int) -> Tensor:
    """(N, C, H, W) uint8 -> (N, channels, size, size) uint8: center crop, antialiased bilinear; luma or repeated gray.

    Images of that shape are returned unchanged.
    """
    height, width = images.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    images = images[:, :, top : top + side, left : left + side]
    if images.shape[1:] == (channels, size, size):
        return images.contiguous()
    resized = torch.empty(len(images), channels, size, size, dtype=torch.uint8)
    for start in range(0, len(images), 1024):
        chunk = images[start : start + 1024].float()
        if channels == 1 and chunk.shape[1] == 3:
            chunk = torch.einsum("nchw,c->nhw", chunk, torch.tensor([0.299, 0.587, 0.114])).unsqueeze(1)
        if side != size:
            chunk = torch.nn.functional.interpolate(chunk, (size, size), mode="bilinear", antialias=True)
        resized[start : start + 1024] = chunk.round().clamp(0, 255).to(torch.uint8)  # assignment broadcasts gray
    return resized


def require_shape(size: int | None, channels: int | None) -> None:
    """Raise `SparringError` unless size and channels are valid or None."""
    for name, value in (("size", size), ("channels", channels)):
        if value is not None and (not isinstance(value, Integral) or isinstance(value, bool)):
            raise SparringError(f"{name} is {abbreviated(value)}, a {type(value).__name__}; give an integer")
    if channels not in (None, 1, 3):
        raise SparringError(f"channels is {channels}; must be 1 (gray) or 3 (RGB)")
    if size is not None and not 1 <= size <= MAX_SIZE:
        raise SparringError(f"size is {size}; must be between 1 and {MAX_SIZE} pixels")


# Image files.


@dataclass(frozen=True)
class Header:
    """Metadata of an image file, available without decoding pixels."""

    format: str
    mode: str
    width: int
    height: int
    conversions: tuple[str, ...]
    values: str | None = None
    """Type of gray values with more than 8 bits, a key of `Scale`."""


def read_image(
    source: str | Path | BinaryIO, *, size: int, channels: int, background: int = 255, scale: Scale | None = None
) -> np.ndarray:
    """Decode an image file to (channels, size, size) uint8: the short side is resized to `size`, then center crop.

    Values of more than 8 bits are rescaled by `scale`, the range of the whole data set; without it by the range that
    the file declares (32 bits, and floats outside [0, 1]: by its own minimum and maximum). Transparent pixels are
    blended with the gray level `background`, EXIF orientation is applied, animations are reduced to the first frame,
    text chunks and color profiles are ignored. Raises `BadImage` with the reason for everything else.
    """
    require_shape(size, channels)
    with open_image(source) as image:
        return decode_image(image, size=size, channels=channels, background=background, scale=scale)


def read_header(source: str | Path | BinaryIO) -> Header:
    """Read the header of an image file, without decoding pixels. Raises `BadImage`."""
    with open_image(source) as image:
        return inspect(image)


@contextmanager
def open_image(source: str | Path | BinaryIO) -> Iterator[Image.Image]:
    """Open an image and read its header only. Any exception inside the `with` block becomes `BadImage`."""
    try:
        file: Any = nullcontext(source) if hasattr(source, "read") else _regular_file(Path(source))
        with file as opened:
            try:
                opened_image = Image.open(_without_texts(opened), formats=FORMATS)
            except UnidentifiedImageError as error:
                raise BadImage(_unsupported_reason(opened)) from error
            with opened_image as image:
                if image.width * image.height > MAX_PIXELS:
                    pixels = f"{image.width} x {image.height} pixels"
                    raise BadImage(f"{pixels} are more than the limit of {MAX_PIXELS // 1_000_000} million")
                yield image
    except BadImage:
        raise
    except Exception as error:  # Pillow's decoders may raise any exception on hostile bytes
        raise BadImage(_reason(error)) from error


def inspect(image: Image.Image) -> Header:
    """The header of an opened image; call it before `decode_image`."""
    is_16_bit = any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))
    kinds = {
        "16-bit scaled to 8 bits": image.mode.startswith("I;16") or is_16_bit,
        "32-bit or float scaled to 8 bits": image.mode in ("I", "F") and not is_16_bit,
        "1-bit converted to black and white": image.mode == "1",
        "palette converted to colors": image.mode in ("P", "PA"),
        "CMYK converted to RGB": image.mode == "CMYK",
        "transparency blended with the background": _is_transparent(image),
        "rotated by EXIF orientation": _orientation(image) in TRANSPOSE_OF_ORIENTATION,
        "only the first frame of an animation used": getattr(image, "is_animated", False),
    }
    conversions = tuple(kind for kind, applies in kinds.items() if applies)
    return Header(image.format or "?", image.mode, image.width, image.height, conversions, _values(image))


def decode_image(
    image: Image.Image,
    *,
    size: int,
    channels: int,
    background: int = 255,
    scale: Scale | None = None,
    half: Half | None = None,
) -> np.ndarray:
    """Decode an opened image, or one half of it, to (channels, size, size) uint8; see `read_image`.

    Raises `BadImage` for a half of an image with an odd width.
    """
    if half and _upright_width(image) % 2:
        raise BadImage(f"{image.width} x {image.height} pixels: an odd width has no halves")
    image.draft(None, (8 * size if half else 4 * size, 4 * size))  # large JPEGs decode at 1/2, 1/4 or 1/8
    with PIXELS.hold(image.width * image.height):
        image = normalize_orientation(image, channels=channels, background=background, scale=scale)
        if half:
            middle = image.width // 2
            image = image.crop(
                (0, 0, middle, image.height) if half == "left" else (middle, 0, 2 * middle, image.height)
            )
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.resize((size, size), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side))
    pixels = np.asarray(image)
    return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def has_color(image: Image.Image) -> bool:
    """Whether an opened image has a color mode and at least one colored pixel."""
    if image.mode in ("1", "L", "LA", "La", "I", "F") or image.mode.startswith("I;16"):
        return False
    image.draft(None, (256, 256))
    with PIXELS.hold(image.width * image.height):
        red, green, blue = np.moveaxis(np.asarray(normalize_orientation(image, channels=3)), 2, 0)
        return bool((red != green).any() or (green != blue).any())


def value_range(image: Image.Image) -> tuple[str, float, float] | None:
    """(type, lowest, highest) gray value of an opened image with more than 8 bits per pixel; None for other images."""
    kind = _values(image)
    if kind is None:
        return None
    with PIXELS.hold(image.width * image.height):
        image.load()
        values = np.asarray(image)
        if not np.isfinite(values).all():
            raise BadImage("pixels that are not finite")
        return kind, float(values.min()), float(values.max())


def scale_of(ranges: Iterable[tuple[str, float, float]]) -> Scale:
    """The common scale of a set of images, from the (type, lowest, highest) of each.

    16 bits: from 0 to the maximum of the smallest sufficient bit depth (12 bits are often stored in 16). Floats: [0, 1]
    if that contains all values. Otherwise from the lowest to the highest value of the set.
    """
    extremes: dict[str, tuple[float, float]] = {}
    for kind, low, high in ranges:
        lowest, highest = extremes.get(kind, (low, high))
        extremes[kind] = min(low, lowest), max(high, highest)
    for kind, (low, high) in extremes.items():
        if kind == "16-bit":
            extremes[kind] = 0.0, next(2.0**bits - 1 for bits in BITS if high < 2**bits)
        elif kind == "float" and low >= 0 and high <= 1:
            extremes[kind] = 0.0, 1.0
    return extremes


def normalize_orientation(
    image: Image.Image, *, channels: int, background: int = 255, scale: Scale | None = None
) -> Image.Image:
    """Convert an opened image to 8-bit gray or RGB at its own size; see `read_image`."""
    _reject_many_scans(image)
    image.load()
    orientation = _orientation(image)
    if _values(image):
        image = _eight_bits(image, background, scale)
    elif _is_transparent(image):
        colors = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (background,) * 3 + (255,)), colors)
    image = image.convert("L" if channels == 1 else "RGB")
    if orientation in TRANSPOSE_OF_ORIENTATION:
        image = image.transpose(TRANSPOSE_OF_ORIENTATION[orientation])
    return image


def _values(image: Image.Image) -> str | None:
    """Type of gray values with more than 8 bits, or None."""
    tags = getattr(image, "tag_v2", None)  # of a TIFF
    if image.mode.startswith("I;16") or (image.mode == "I" and not tags):  # "I" is Pillow's mode for 16-bit PGM, too
        return "16-bit"
    return {"I": "32-bit", "F": "float"}.get(image.mode)


def _eight_bits(image: Image.Image, background: int, scale: Scale | None) -> Image.Image:
    """Rescale a gray image of more than 8 bits by `scale`, or by its own range."""
    values = np.asarray(image).astype(np.float32)
    if not np.isfinite(values).all():
        raise BadImage("pixels that are not finite")
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})  # of a TIFF
    kind = _values(image)
    assert kind is not None
    bits = tags.get(258, (16,))[0]  # BitsPerSample: 12 or 16
    if kind == "16-bit" and (bits < 16 or scale is None):
        low, high = 0.0, 2.0**bits - 1
    else:
        low, high = (scale or scale_of([(kind, float(values.min()), float(values.max()))]))[kind]
    scaled = (values - low) * (255 / max(high - low, 1e-30))
    if tags.get(262) == 0:  # PhotometricInterpretation: white is zero
        scaled = 255 - scaled
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        scaled[values == transparent] = background
    return Image.fromarray(scaled.round().clip(0, 255).astype(np.uint8))


def _is_transparent(image: Image.Image) -> bool:
    return image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info


def _upright_width(image: Image.Image) -> int:
    """The width after the EXIF orientation is applied."""
    return image.height if _orientation(image) in (5, 6, 7, 8) else image.width


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 is upright. Pillow rotates a TIFF on loading and removes the tag."""
    if image.format == "TIFF":
        return int(getattr(image, "tag_v2", {}).get(ORIENTATION, 1))
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif", b""))
        return int(exif.get(ORIENTATION, 1))
    except (SyntaxError, ValueError, TypeError, KeyError, OSError, struct.error):  # broken EXIF, valid pixels
        return 1


def _regular_file(path: Path) -> BinaryIO:
    """Open a regular file without blocking; FIFOs and devices are rejected."""
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


def _without_texts(file: BinaryIO) -> BinaryIO:
    """Remove text chunks and color profile of a PNG, because Pillow unpacks them and rejects large ones.

    Other files are returned unchanged.
    """
    start = file.tell()
    if file.read(8) != b"\x89PNG\r\n\x1a\n":
        file.seek(start)
        return file
    spans, at, chunk_type = [(start, start + 8)], start + 8, b""
    while chunk_type != b"IEND" and len(head := file.read(8)) == 8:
        chunk_type, stop = head[4:], at + 12 + int.from_bytes(head[:4], "big")
        if chunk_type in (b"iCCP", b"tEXt", b"zTXt", b"iTXt"):
            spans.append((stop, stop))
        else:
            spans[-1] = spans[-1][0], stop
        at = file.seek(stop)
    file.seek(start)
    if len(spans) == 1:
        return file
    rest = BytesIO()
    for begin, end in spans:
        file.seek(begin)
        rest.write(file.read(end - begin))
    rest.seek(0)
    return rest


def _reject_many_scans(image: Image.Image) -> None:
    file = getattr(image, "fp", None)
    if image.format not in ("JPEG", "MPO") or file is None:
        return
    at, scans, before = file.tell(), 0, b""
    file.seek(0)
    while chunk := file.read(1 << 20):
        scans += (before + chunk).count(b"\xff\xda")
        before = chunk[-1:]
    file.seek(at)
    if scans > MAX_SCANS:
        raise BadImage(f"a JPEG of {scans:,} scans, more than {MAX_SCANS}")


def _unsupported_reason(file: BinaryIO) -> str:
    """Why a file is not a supported image."""
    file.seek(0)
    start = file.read(12)
    if start[4:8] == b"ftyp":
        for name, brands in (
            ("HEIC", (b"heic", b"heix", b"heim", b"hevc", b"mif1", b"msf1")),
            ("AVIF", (b"avif", b"avis")),
        ):
            if start[8:] in brands:
                return f"it is {name}, which is not supported: convert it to JPEG or PNG"
    return f"not an image in a known format ({', '.join(FORMATS)})"


def _reason(error: Exception) -> str:
    words = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return words.splitlines()[0][:120]
