"""Images as parts of the page: PNG and WebP in base64."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from pathlib import Path

from markupsafe import Markup
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from sparring.data.pixels import BadImage, open_image
from sparring.durable import read_file
from sparring.errors import plural
from sparring.image_grid import MAX_COLUMNS, PADDING, grid, png, to_pil

MAX_FRAMES, MAX_PIXELS = 60, 1 << 25
"""Limits of the frames of the animation, and of their total pixels."""


def embedded(data: bytes, kind: str, alt: str) -> Markup:
    """An image file of this kind ("png", "webp"), with its alternative text."""
    encoded = base64.b64encode(data).decode()
    return Markup('<img class="pixels" alt="{}" src="data:image/{};base64,{}">').format(alt, kind, encoded)


def timelapse(samples: Mapping[int, Path], side: int) -> tuple[Markup, str]:
    """An animation of the sample grids over the rounds ("" for fewer than two), and a note on what it omits."""
    numbers = [*samples]
    if len(numbers) > MAX_FRAMES:
        numbers = [numbers[i * (len(numbers) - 1) // (MAX_FRAMES - 1)] for i in range(MAX_FRAMES)]
    frames, cut = [], False
    for number in numbers:
        try:
            with open_image(samples[number]) as image:
                frame = _drawable(image, side, MAX_PIXELS // len(numbers))
                cut |= frame.size != image.size
        except BadImage:
            continue
        frames.append(_labeled(frame, f"round {number:,}"))
    frames = [frame for frame in frames if frame.size == frames[-1].size]  # WebP has one size
    shown = f"{len(frames):,} of {plural(len(samples), 'grid')} {'is' if len(frames) == 1 else 'are'} shown."
    note = shown if len(frames) < len(samples) else ""
    note += f" Grids are scaled down, and cropped to {MAX_COLUMNS} columns and rows." if cut else ""
    if len(frames) < 2:
        return Markup(), note
    buffer = io.BytesIO()
    lengths = [300] * (len(frames) - 1) + [2500]
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:], duration=lengths, loop=0, quality=80)
    return embedded(buffer.getvalue(), "webp", "Animation of the sample grids over the rounds"), note


def _drawable(image: Image.Image, side: int, pixels: int) -> Image.Image:
    """A grid of images of this side, cropped to MAX_COLUMNS, and scaled down to at most `pixels` pixels."""
    limit = MAX_COLUMNS * (side + PADDING) + PADDING
    image = image.crop((0, 0, min(image.width, limit), min(image.height, limit))).convert("RGB")
    factor = math.ceil(math.sqrt(image.width * image.height / pixels))
    return image.reduce(factor) if factor > 1 else image


def _labeled(frame: Image.Image, label: str) -> Image.Image:
    font = ImageFont.load_default(size=13)
    canvas = Image.new("RGB", (frame.width, frame.height + 20), "white")
    canvas.paste(frame, (0, 0))
    ImageDraw.Draw(canvas).text((frame.width / 2, frame.height + 9), label, fill="black", font=font, anchor="mm")
    return canvas


def picture(image: Image.Image, alt: str) -> Markup:
    """An image as a PNG, with its alternative text."""
    return embedded(png(image), "png", alt)


def from_file(file: Path, caption: str) -> Markup:
    """An image file, with the text of its caption as alternative text; "" if it is damaged."""
    try:
        with open_image(file) as image:
            image.load()
        return embedded(read_file(file), "png", Markup(caption).striptags())
    except (BadImage, OSError):
        return Markup()


def single(pixels: Tensor, alt: str) -> Markup:
    """One image (C, H, W) uint8, without padding."""
    return picture(to_pil(pixels), alt)


def code_grid(images: Tensor, codes: Tensor) -> Image.Image:
    """The decoded images of codes (rows, columns, d) as a grid, cropped to MAX_COLUMNS."""
    cells = images.unflatten(0, codes.shape[:2])[:MAX_COLUMNS, :MAX_COLUMNS]
    return grid(cells.flatten(0, 1), cells.shape[1])
