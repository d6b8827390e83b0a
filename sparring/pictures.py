"""Images as a picture to look at: grids as PNG."""

from __future__ import annotations

import inspect
import io
import math
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

from sparring.data.pixels import to_float, to_uint8
from sparring.errors import SparringError

if TYPE_CHECKING:
    from sparring.data.dataset import Dataset
    from sparring.system import System

GAP = 2


def grid(images: Tensor, columns: int | None = None) -> Image.Image:
    """(N, C, H, W) images in [-1, 1], C = 1 or 3, as one picture: rows of `columns` (a square by default)."""
    if images.ndim != 4 or not len(images) or images.shape[1] not in (1, 3):
        raise SparringError(f"a grid needs (N, C, H, W) images with C = 1 or 3, these are {tuple(images.shape)}")
    pixels = to_uint8(images.cpu())
    n, channels, height, width = pixels.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    canvas = torch.full((channels, rows * (height + GAP) + GAP, columns * (width + GAP) + GAP), 255, dtype=torch.uint8)
    for i, image in enumerate(pixels):
        top, left = (k * (side + GAP) + GAP for k, side in zip(divmod(i, columns), (height, width), strict=True))
        canvas[:, top : top + height, left : left + width] = image
    array = canvas.permute(1, 2, 0).numpy()
    return Image.fromarray(array[:, :, 0] if channels == 1 else array)


def reconstructions(system: System, part: Dataset, count: int, columns: int) -> Image.Image:
    """Up to `count` images of `part`, evenly spaced, in rows; below each row, what the system makes of their codes.

    Where the images are sorted by class, every class is seen. Only whole rows are shown.
    """
    columns = min(columns, len(part))
    count = min(count, len(part)) // columns * columns
    chosen = part.rows(torch.arange(count) * len(part) // count)
    images = to_float(chosen.images)
    told = {"labels": chosen.labels} if "labels" in inspect.signature(system.reconstruct).parameters else {}
    pairs = zip(images.split(columns), system.reconstruct(images, **told).split(columns), strict=True)
    return grid(torch.cat([row for pair in pairs for row in pair]), columns)


def png(picture: Image.Image) -> bytes:
    """The picture as PNG bytes, the same for the same pixels."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=False)
    return buffer.getvalue()
