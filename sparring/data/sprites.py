"""Sprites with known factors of variation, drawn here in the manner of dSprites (Matthey et al. 2017)."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sparring.data.dataset import Dataset, Factors

SHAPES = ("square", "ellipse", "heart")
RADII = (3.0, 3.6, 4.2, 4.8, 5.4, 6.0)
"""Half the side of the square, the long half axis of the ellipse, half the width of the heart: in pixels."""

SIDE, POSITIONS, FINE = 28, 32, 4
"""Pixels per side; positions per axis, half a pixel apart; points per pixel and axis, whose mean is the gray level."""


def sprites(roots: list[Path], cache: Path) -> Dataset:
    """18,432 white shapes on black, 28 x 28 pixels: every combination of 3 shapes, 6 scales, 32 x and 32 y positions.

    The classes are the shapes; `factors` has shape, scale, x and y of each image. dSprites also has 40 rotations, which
    are omitted here: a square turned by 90 degrees is the same image, so no code can tell these rotations apart.
    Deterministic.
    """
    kinds = itertools.product(range(len(SHAPES)), range(len(RADII)))
    images = torch.cat([_everywhere(_drawn(SHAPES[shape], RADII[scale])) for shape, scale in kinds])
    sizes = (len(SHAPES), len(RADII), POSITIONS, POSITIONS)
    factors = torch.cartesian_prod(*map(torch.arange, sizes))
    names, ordered = ("shape", "scale", "x", "y"), (False, True, True, True)
    return Dataset("sprites", images, factors[:, 0], SHAPES, factors=Factors(names, factors, ordered))


def _drawn(shape: str, radius: float) -> Tensor:
    """(S, S) bool: a shape in the middle of a canvas with FINE points per pixel, S = FINE * SIDE."""
    points = (np.arange(FINE * SIDE) + 0.5) / FINE - SIDE / 2
    x, y = points[None, :] / radius, points[:, None] / radius
    if shape == "square":
        inside = np.maximum(np.abs(x), np.abs(y)) <= 1
    elif shape == "ellipse":
        inside = x * x + 4 * y * y <= 1
    else:
        u, v = 1.2 * x, 0.15 - 1.2 * y  # the curve is 2.3 wide, from -1 to 1.24
        ring = u * u + v * v - 1
        inside = ring * ring * ring - u * u * v * v * v <= 0
    return torch.from_numpy(inside)


def _everywhere(canvas: Tensor) -> Tensor:
    """(32 * 32, 1, 28, 28) uint8: the shape at every position, x outside, y inside, moved by whole points."""
    step = FINE // 2
    margin = step * POSITIONS // 2
    counts = F.avg_pool2d(F.pad(canvas.double(), [margin] * 4)[None], FINE, stride=1, divisor_override=1)[0].long()
    levels = ((255 * counts + FINE**2 // 2) // FINE**2).to(torch.uint8)
    starts = [step * (POSITIONS - position) for position in range(POSITIONS)]  # a window further left moves it right
    windows = [levels[y : y + FINE * SIDE : FINE, x : x + FINE * SIDE : FINE] for x in starts for y in starts]
    return torch.stack(windows)[:, None]
