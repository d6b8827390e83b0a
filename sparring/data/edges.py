"""Edges of images: line drawings to paint pictures from."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

SIGMA, LOW, HIGH = 0.8, 0.04, 0.1
"""Smoothing in pixels, and the two thresholds: change of a color per pixel, of a range of 1."""


def edges(images: Tensor, *, sigma: float = SIGMA, low: float = LOW, high: float = HIGH) -> Tensor:
    """Canny 1986, "A Computational Approach to Edge Detection": (N, C, H, W) uint8 -> the same shape, black on white.

    Gaussian smoothing, gradients by Sobel's operator (of the color that changes most, as in Dalal and Triggs 2005),
    non-maximum suppression along the gradient, and hysteresis: a pixel above `low` is an edge if it is connected to one
    above `high`. All channels of the result are equal. Isola et al. 2017 use a trained detector (HED) with
    postprocessing; this needs no weights.
    """
    found = [_edges(rows, sigma, low, high) for rows in images.split(1024)]
    return (255 * (~torch.cat(found)).to(torch.uint8)).expand_as(images).contiguous()


def _edges(images: Tensor, sigma: float, low: float, high: float) -> Tensor:
    """(N, 1, H, W) bool."""
    n, channels, height, width = images.shape
    smooth = _smooth(images.float().view(n * channels, 1, height, width) / 255, sigma)
    dy, dx = (change.view(n, channels, height, width) for change in _gradient(smooth))
    strength, color = torch.hypot(dy, dx).max(1, keepdim=True)
    ridge = _is_ridge(strength, dy.gather(1, color), dx.gather(1, color))
    weak, edge = ridge & (strength >= low), ridge & (strength >= high)
    while True:  # hysteresis: grow along weak pixels
        grown = weak & (F.max_pool2d(edge.float(), 3, 1, 1) > 0)
        if torch.equal(grown, edge):
            return edge
        edge = grown


def _smooth(x: Tensor, sigma: float) -> Tensor:
    """(N, 1, H, W) -> the same shape, convolved with a Gaussian of radius 3 sigma; the border is repeated."""
    radius = math.ceil(3 * sigma)
    kernel = torch.exp(-(torch.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    x = F.pad(x, (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(x, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))


def _gradient(x: Tensor) -> tuple[Tensor, Tensor]:
    """Downward and rightward change per pixel, by Sobel's operator; (N, 1, H, W) each."""
    across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
    x = F.pad(x, (1, 1, 1, 1), mode="replicate")
    return F.conv2d(x, across.T[None, None]), F.conv2d(x, across[None, None])


def _is_ridge(strength: Tensor, dy: Tensor, dx: Tensor) -> Tensor:
    """Whether a pixel is at least as strong as both neighbors along its gradient, in the nearest of 4 directions.

    Of two equal neighbors the first is suppressed, so that lines are one pixel wide.
    """
    height, width = strength.shape[2:]
    around = F.pad(strength, (1, 1, 1, 1))
    direction = (torch.atan2(dy, dx) / (math.pi / 4)).round().remainder(4)
    ridge = torch.zeros_like(strength, dtype=torch.bool)
    for k, (down, right) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        after = around[:, :, 1 + down : 1 + down + height, 1 + right : 1 + right + width]
        before = around[:, :, 1 - down : 1 - down + height, 1 - right : 1 - right + width]
        ridge |= (direction == k) & (strength > after) & (strength >= before)
    return ridge
