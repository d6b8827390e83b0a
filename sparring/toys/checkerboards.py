"""Checkerboards (Odena et al. 2016): what an upsampling layer makes of a constant image, by kernel and stride.

A transposed convolution with stride s has s x s output phases, and each is the sum of its own part of the kernel: far
from the border the output for a constant image is a pattern with a period of s pixels. If all weights are equal, it is
constant exactly where the kernel's size is a multiple of the stride, because then every pixel gets equally many
contributions. Resizing and then convolving gives a constant image for any weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from sparring.errors import SparringError
from sparring.seeds import make_generator

CHANNELS = 64
"""Input channels of a layer; it has one output channel."""

STD = 0.02
"""Standard deviation of random weights, as generators start with."""

DRAWS, DRAWN = 200, 6
"""Draws of random weights for the mean energy, and those in the picture."""

TILE = 16
"""Side of a pattern in the picture, in pixels (at least)."""


class Layer(NamedTuple):
    """An upsampling layer and what it makes of a constant image.

    name    what it is
    ones    (s, s) one period of its output with all weights equal
    random  (DRAWS, s, s) the same for random weights
    """

    name: str
    ones: Tensor
    random: Tensor


def play(*, kernel: int | None = None, stride: int = 2, seed: int = 0) -> list[Layer]:
    """Transposed convolutions with this kernel and stride, and resizing followed by a 3x3 convolution.

    kernel  its side; None: from stride + 1 to 2 stride + 1
    seed    of the random weights

    Raises SparringError for a stride below 2, which is no upsampling, and for a kernel below 1.
    """
    if stride < 2 or (kernel is not None and kernel < 1):
        raise SparringError(f"stride is {stride}, kernel {kernel}: give a stride from 2 and a kernel from 1")
    g = make_generator("checkerboards", seed)
    layers = []
    for k in range(stride + 1, 2 * stride + 2) if kernel is None else (kernel,):
        layer = nn.ConvTranspose2d(CHANNELS, 1, k, stride=stride, bias=False)
        layers.append(_measured(f"transposed {k}x{k}, stride {stride}", layer, layer.weight, stride, g))
    for mode in ("nearest", "bilinear"):
        convolution = nn.Conv2d(CHANNELS, 1, 3, bias=False)
        resized = nn.Sequential(nn.Upsample(scale_factor=stride, mode=mode), convolution)
        layers.append(_measured(f"{mode} resize x{stride}, 3x3", resized, convolution.weight, stride, g))
    return layers


@torch.no_grad()
def _measured(name: str, layer: nn.Module, weight: Tensor, stride: int, g: torch.Generator) -> Layer:
    nn.init.ones_(weight)
    ones = period(layer, stride)
    patterns = []
    for _ in range(DRAWS):
        nn.init.normal_(weight, 0.0, STD, generator=g)
        patterns.append(period(layer, stride))
    return Layer(name, ones, torch.stack(patterns))


@torch.no_grad()
def period(layer: nn.Module, stride: int) -> Tensor:
    """(s, s): one period of what the layer makes of a constant image, far from its border."""
    reach = 3 + max(size for module in layer.modules() for size in getattr(module, "kernel_size", (0,))) // stride
    out: Tensor = layer(torch.ones(1, CHANNELS, 2 * reach, 2 * reach))[0, 0]
    start = out.shape[0] // 2 // stride * stride
    return out[start : start + stride, start : start + stride]


def energy(patterns: Tensor) -> Tensor:
    """(...): variance of patterns (..., s, s) over their pixels, as a share of their mean square; 0 for a constant."""
    square = patterns.square().mean((-2, -1))
    return patterns.var((-2, -1), correction=0) / square.clamp(min=1e-30)


def figures(layers: Sequence[Layer]) -> list[Figure]:
    """One figure: a layer per row; its pattern for equal weights, then for random ones. Gray is the mean."""
    figure = Figure(figsize=(8.8, 1.0 * len(layers) + 0.8), dpi=100, layout="constrained")
    figure.suptitle("What an upsampling layer makes of a constant image", fontsize=12, x=0.02, ha="left")
    axes = figure.subplots(len(layers), 1 + DRAWN, squeeze=False)
    for row, layer in zip(axes, layers, strict=True):
        for axis, pattern in zip(row, [layer.ones, *layer.random[:DRAWN]], strict=True):
            times = -(-TILE // len(pattern))
            scale = pattern.square().mean().sqrt().clamp(min=1e-12)
            axis.imshow(((pattern - pattern.mean()) / scale).tile(times, times).numpy(), cmap="gray", vmin=-1, vmax=1)
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(layer.name, rotation=0, ha="right", va="center", fontsize=9)
    axes[0][0].set_title("equal weights", fontsize=9)
    for i, axis in enumerate(axes[0][1:], 1):
        axis.set_title(f"random {i}", fontsize=9)
    return [figure]
