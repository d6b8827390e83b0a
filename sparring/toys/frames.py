"""A game as a moving picture: matplotlib draws the frames, Pillow puts them into one animated WebP."""

from __future__ import annotations

import io
from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

EACH, LAST = 120, 2500
"""Milliseconds for which a frame, and the last one, is shown."""


MOST = 60
"""Frames of an animation, as many as one likes to watch."""


def frame_indices(count: int) -> list[int]:
    """At most MOST of the numbers 0 ... count - 1, evenly spaced, the first and the last among them."""
    frames = min(count, MOST)
    return [i * (count - 1) // max(1, frames - 1) for i in range(frames)]


def panels(title: str, count: int = 1, *, size: float = 4.2) -> tuple[Figure, list[Axes]]:
    """A figure with that many axes beside each other."""
    figure = Figure(figsize=(size * count, size + 0.4), dpi=100, layout="constrained")
    figure.suptitle(title, fontsize=12, x=0.02, ha="left")
    every = list(figure.subplots(1, count, squeeze=False)[0])
    for axes in every:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=9)
    return figure, every


def webp(figures: Iterable[Figure]) -> bytes:
    """The figures one after the other, again and again."""
    pictures = [_picture(figure) for figure in figures]
    lengths = [EACH] * (len(pictures) - 1) + [LAST]
    buffer = io.BytesIO()
    pictures[0].save(buffer, "WEBP", save_all=True, append_images=pictures[1:], duration=lengths, loop=0, quality=80)
    return buffer.getvalue()


def _picture(figure: Figure) -> Image.Image:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
