"""Images as a picture to look at: grids as PNG."""

from __future__ import annotations

import io
import math

import torch
from PIL import Image
from torch import Tensor

from sparring.data.pixels import to_uint8
from sparring.errors import SparringError

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


def png(picture: Image.Image) -> bytes:
    """The picture as PNG bytes, the same for the same pixels."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=False)
    return buffer.getvalue()
