"""Checkerboards: what upsampling layers make of a constant image, as numbers and as a picture.

    python benchmarks/checkerboards.py [--out docs/checkerboards.png]

Stride 2 with kernels 3, 4 and 5, and nearest or bilinear resizing followed by a 3x3 convolution. "ones": all weights
equal, which is what the geometry alone does: constant exactly where the kernel's size is a multiple of the stride.
"random": weights N(0, .02), 1 channel from 64, as a generator starts; mean over 200 draws. The number is the power at
the Nyquist frequencies inside the image (sparring.monitor.observer.checkerboard), divided by the output's mean square.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import Tensor, nn

from sparring.image_grid import grid
from sparring.monitor.observer import checkerboard

CHANNELS, SIDE, MARGIN = 64, 16, 8


def transposed(kernel: int) -> Callable[[], nn.Module]:
    padding = (kernel - 1) // 2
    return lambda: nn.ConvTranspose2d(
        CHANNELS, 1, kernel, stride=2, padding=padding, output_padding=kernel % 2, bias=False
    )


def resized(mode: str) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(
        nn.Upsample(scale_factor=2, mode=mode), nn.Conv2d(CHANNELS, 1, 3, padding=1, bias=False)
    )


LAYERS = {
    "transposed 3x3, stride 2": transposed(3),
    "transposed 4x4, stride 2": transposed(4),
    "transposed 5x5, stride 2": transposed(5),
    "nearest resize, 3x3": resized("nearest"),
    "bilinear resize, 3x3": resized("bilinear"),
}


@torch.no_grad()
def inside(make: Callable[[], nn.Module], *, ones: bool) -> Tensor:
    """(1, 1, 16, 16): the middle of what the layer makes of a constant image."""
    layer = make()
    for weight in layer.parameters():
        nn.init.ones_(weight) if ones else nn.init.normal_(weight, 0.0, 0.02)
    out = layer(torch.ones(1, CHANNELS, SIDE, SIDE))
    return out[..., MARGIN:-MARGIN, MARGIN:-MARGIN]


def relative_energy(image: Tensor) -> float:
    return checkerboard(image) / float(image.square().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", help="draw the outputs of random layers into this PNG, one row per layer")
    options = parser.parse_args()
    torch.manual_seed(0)
    rows = []
    for name, make in LAYERS.items():
        random = [inside(make, ones=False) for _ in range(200)]
        energy = sum(map(relative_energy, random)) / len(random)
        print(f"{name:<26} ones {relative_energy(inside(make, ones=True)):.4f}   random {energy:.4f}")
        rows += [(image - image.mean()) / image.square().mean().sqrt() for image in random[:8]]  # gray: the mean
    if options.out:
        picture = grid(torch.cat(rows), columns=8)
        picture.resize((picture.width * 4, picture.height * 4), 0).save(options.out)


if __name__ == "__main__":
    main()
