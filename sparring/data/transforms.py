"""Random changes to the images of a stream, so that few of them teach more. The feed draws the random numbers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sparring.machine import to_device


@dataclass(frozen=True)
class ResizeAndCrop:
    """Images a little larger, cut to their old size at a random place, every second one mirrored.

    scale     side after resizing, over the side (Zhu et al. 2017: 286 / 256); 1: nothing is cut off. Bicubic as in the
              authors' code, which is Pillow's (a = -1/2; torch's is -3/4 unless antialiased), but not rounded to levels
    hflip     whether left and right may be exchanged
    """

    scale: float
    hflip: bool

    def __call__(self, x: Tensor, draws: Tensor) -> Tensor:
        """(B, C, S, S) in [-1, 1] -> the same shape; draws: (B, 3) from U(0, 1) on the CPU: top, left,
        flipped below 1/2.
        """
        side = x.shape[2]
        larger = round(self.scale * side)
        if larger > side:
            x = F.interpolate(x, (larger, larger), mode="bicubic", antialias=True).clamp_(-1, 1)
        places = (draws[:, :2] * (larger - side + 1)).long().tolist()
        x = torch.stack([one[:, i : i + side, j : j + side] for one, (i, j) in zip(x, places, strict=True)])
        if self.hflip:
            x = torch.where(to_device(draws[:, 2, None, None, None] < 0.5, x.device), x.flip(3), x)
        return x
