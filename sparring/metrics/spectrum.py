"""What the spectrum of images tells: blur loses high frequencies, checkerboards sit at the highest ones."""

from __future__ import annotations

import torch
from torch import Tensor

from sparring.errors import SparringError
from sparring.metrics.blur import grey

HIGH = 0.35
"""Cycles per pixel beyond which a frequency is high."""


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


def power_spectrum(images: Tensor) -> Tensor:
    """(H, W) mean power |FFT|^2 of (N, C, H, W) images, C = 1 or 3 (luma), each less its own mean; adds up to 1.

    Flat images have none: all 0. Frequencies in the order of torch.fft.fftfreq.
    """
    total = torch.zeros(tuple(images.shape[2:]), dtype=torch.float64)
    for chunk in images.split(500):
        x = grey(chunk.float())
        total += torch.fft.fft2(x - x.mean((1, 2), keepdim=True)).abs().square().sum(0)
    return total / total.sum() if float(total.sum()) > 0 else total


def high_frequencies(spectrum: Tensor) -> float:
    """The share of a power spectrum (H, W) beyond 0.35 cycles per pixel: blur lowers it, noise raises it."""
    rows, columns = (torch.fft.fftfreq(side, dtype=torch.float64) for side in spectrum.shape)
    return float(spectrum[torch.hypot(rows[:, None], columns) > HIGH].sum())


def peak(spectrum: Tensor, period: int) -> float:
    """The share of a power spectrum (H, W) at the corners of 1/period: 2 for Nyquist's, 4 for two-stage upsampling.

    At the frequencies (f, 0), (0, f) and (f, f) with f = 1/period, and where these are mirrored. Raises SparringError
    unless H and W are multiples of the period.
    """
    height, width = spectrum.shape
    if height % period or width % period:
        raise SparringError(f"images of {height} x {width} have no frequency 1/{period}")
    rows, columns = {0, height // period, height - height // period}, {0, width // period, width - width // period}
    return float(sum(spectrum[i, j] for i in rows for j in columns if i or j))
