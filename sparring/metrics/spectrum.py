"""What the spectrum of images tells: checkerboards sit at the highest frequencies."""

from __future__ import annotations

import torch
from torch import Tensor

from sparring.errors import SparringError


def nyquist_energy(images: Tensor) -> float:
    """Mean power at the three Nyquist frequencies of (N, C, H, W) images, H and W even, any range.

    The power |FFT|^2 / (H W)^2 at (0, 1/2), (1/2, 0) and (1/2, 1/2) cycles per pixel, summed over the three, averaged
    over images and channels: 0 for a constant image, a^2 for a checkerboard of +-a. Odena et al. 2016, "Deconvolution
    and checkerboard artifacts", on what to look for. Raises SparringError for other shapes.
    """
    if images.ndim != 4 or images.shape[2] % 2 or images.shape[3] % 2:
        raise SparringError(f"images must be (N, C, H, W) with even H and W; got {tuple(images.shape)}")
    height, width = images.shape[2:]
    power = torch.fft.fft2(images.double()).abs().square() / (height * width) ** 2
    peaks = power[..., 0, width // 2] + power[..., height // 2, 0] + power[..., height // 2, width // 2]
    return float(peaks.mean())
