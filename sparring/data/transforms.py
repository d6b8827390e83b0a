"""Data augmentation of real images. The feed draws the random numbers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sparring.device import to_device


@dataclass(frozen=True)
class ResizeAndCrop:
    """Upscale, crop to the original size at a random position, and flip with probability 1/2.

    scale     side after resizing over the original side (Zhu et al. 2017: 286 / 256); 1: no crop. Bicubic as in the
              authors' code, which uses Pillow (a = -1/2; torch uses -3/4 unless antialiased), but not rounded to uint8
    hflip     whether to flip horizontally
    """

    scale: float
    hflip: bool

    def __call__(self, x: Tensor, draws: Tensor) -> Tensor:
        """(B, C, S, S) in [-1, 1] -> the same shape.

        draws  (B, 3) from U(0, 1) on the CPU: top, left, and flip if below 1/2
        """
        side = x.shape[2]
        larger = round(self.scale * side)
        if larger > side:
            x = F.interpolate(x, (larger, larger), mode="bicubic", antialias=True).clamp_(-1, 1)
        corners = (draws[:, :2] * (larger - side + 1)).long().tolist()
        x = torch.stack([image[:, i : i + side, j : j + side] for image, (i, j) in zip(x, corners, strict=True)])
        if self.hflip:
            x = torch.where(to_device(draws[:, 2, None, None, None] < 0.5, x.device), x.flip(3), x)
        return x
