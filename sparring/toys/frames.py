"""Animations: matplotlib draws the frames, Pillow encodes them as one animated WebP."""

from __future__ import annotations

import io
from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

FRAME_MS, LAST_FRAME_MS = 120, 2500
"""Duration of a frame, and of the last one, in milliseconds."""

MAX_FRAMES = 60
"""Maximal number of frames of an animation."""


def frame_indices(count: int) -> list[int]:
    """At most MAX_FRAMES of the indices 0 ... count - 1, evenly spaced, including the first and the last."""
    frames = min(count, MAX_FRAMES)
    return [i * (count - 1) // max(1, frames - 1) for i in range(frames)]


def panels(title: str, count: int = 1, *, size: float = 4.2) -> tuple[Figure, list[Axes]]:
    """A figure with `count` axes side by side."""
    figure = Figure(figsize=(size * count, size + 0.4), dpi=100, layout="constrained")
    figure.suptitle(title, fontsize=12, x=0.02, ha="left")
    panels = list(figure.subplots(1, count, squeeze=False)[0])
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=9)
    return figure, panels


def webp(figures: Iterable[Figure]) -> bytes:
    """An endlessly looping animation of the figures."""
    images = [_render(figure) for figure in figures]
    lengths = [FRAME_MS] * (len(images) - 1) + [LAST_FRAME_MS]
    buffer = io.BytesIO()
    images[0].save(buffer, "WEBP", save_all=True, append_images=images[1:], duration=lengths, loop=0, quality=80)
    return buffer.getvalue()


def _render(figure: Figure) -> Image.Image:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
