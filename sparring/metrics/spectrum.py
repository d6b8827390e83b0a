"""Metrics of the power spectrum: blur removes high frequencies, checkerboard artifacts add peaks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from sparring.errors import SparringError, require_int
from sparring.metrics.blur import gray
from sparring.typed import require_finite, require_images, typed

HIGH_FREQUENCY = 0.35
"""Lower limit of high frequencies, in cycles per pixel."""

ROUNDING = 1e-5
"""Share of a spectrum that comes from rounding to 256 levels, equal at all frequencies; less is not significant."""


@typed
def power_spectrum(images: Tensor) -> Tensor:
    """(H, W) mean power |FFT|^2 of (N, C, H, W) images, C = 1 or 3 (luma), each minus its own mean; sums to 1.

    All 0 for constant images. Frequencies are in the order of torch.fft.fftfreq. Raises SparringError for other shapes.
    """
    require_images(images=images)
    require_finite(images=images)
    if images.shape[1] not in (1, 3):
        raise SparringError(f"images must be (N, C, H, W) with C = 1 or 3; got {tuple(images.shape)}")
    total = torch.zeros(tuple(images.shape[2:]), dtype=torch.float64)
    for chunk in images.split(500):
        x = gray(chunk.float())
        total += torch.fft.fft2(x - x.mean((1, 2), keepdim=True)).abs().square().sum(0)
    return total / total.sum() if float(total.sum()) > 0 else total


@typed
def high_frequency_share(spectrum: Tensor) -> float:
    """The share of a power spectrum (H, W) beyond 0.35 cycles per pixel: blur lowers it, noise raises it."""
    _require_spectrum(spectrum)
    rows, columns = (torch.fft.fftfreq(side, dtype=torch.float64) for side in spectrum.shape)
    return float(spectrum[torch.hypot(rows[:, None], columns) > HIGH_FREQUENCY].sum())


@typed
def checkerboard_power(spectrum: Tensor, period: int) -> float:
    """The share of a power spectrum (H, W) at multiples of 1/period: 2 for Nyquist, 4 for two-stage upsampling.

    The frequencies are (f, 0), (0, f) and (f, f) with f = 1/period, and their mirror images. Raises SparringError
    unless H and W are multiples of the period.
    """
    return float(sum(spectrum[i, j] for i, j in _corners(spectrum, period)))


@typed
def prominence(spectrum: Tensor, period: int) -> float:
    """Power at the frequencies of `checkerboard_power` over the power around them: high for periodic patterns.

    The surrounding frequencies are two steps away along each axis with a nonzero frequency, so that the natural power
    along the axes is not a peak. About 1 for noise and smooth spectra; 0 if there is no power.
    Raises SparringError as `checkerboard_power` does.
    """
    corners, at, around = _corners(spectrum, period), 0.0, 0.0
    height, width = spectrum.shape
    for i, j in corners:
        neighbors = [((i + step) % height, j) for step in (-2, 2) if i] + [
            (i, (j + step) % width) for step in (-2, 2) if j
        ]
        neighbors = [index for index in neighbors if index != (0, 0)]
        at += float(spectrum[i, j])
        around += sum(float(spectrum[index]) for index in neighbors) / max(1, len(neighbors))
    return at / around if around > 0 else 0.0


@typed
def high_frequency_ratio(*, real: Tensor, fake: Tensor) -> float | None:
    """`high_frequency_share` of the spectrum (H, W) of fakes over that of reals; None if the reals are constant."""
    return _ratio(high_frequency_share, real, fake)


@typed
def checkerboard_ratio(*, real: Tensor, fake: Tensor, period: int) -> float | None:
    """`checkerboard_power` of the spectrum (H, W) of fakes over that of reals.

    None if the reals are constant, or if H or W is not a multiple of the period.
    """
    if not _has(real, period):
        return None
    return _ratio(partial(checkerboard_power, period=period), real, fake)


@typed
def checkerboard_peak(*, real: Tensor, fake: Tensor, period: int) -> float | None:
    """`prominence` of the period in the spectrum (H, W) of fakes; None as for `checkerboard_ratio`."""
    if not _has(real, period) or not bool(real.any()):
        return None
    return prominence(fake, period)


def _has(spectrum: Tensor, period: int) -> bool:
    """Whether both sides are multiples of the period."""
    require_int("period", period, least=2)
    return not any(side % period for side in spectrum.shape)


def _ratio(share: Callable[[Tensor], float], real: Tensor, fake: Tensor) -> float | None:
    """A share of the power of fakes over that of reals, both increased by the share of rounding."""
    if not bool(real.any()):
        return None
    offset = share(torch.full_like(real, ROUNDING / real.numel()))
    return (share(fake) + offset) / (share(real) + offset)


def _require_spectrum(spectrum: Tensor) -> None:
    if spectrum.ndim != 2 or not spectrum.numel():
        raise SparringError(f"a power spectrum is (H, W); got {tuple(spectrum.shape)}")
    require_finite(spectrum=spectrum)


def _corners(spectrum: Tensor, period: int) -> list[tuple[int, int]]:
    _require_spectrum(spectrum)
    require_int("period", period, least=2)
    height, width = spectrum.shape
    if height % period or width % period:
        raise SparringError(f"images of {height} x {width} have no frequency 1/{period}")
    rows, columns = {0, height // period, height - height // period}, {0, width // period, width - width // period}
    return [(i, j) for i in sorted(rows) for j in sorted(columns) if i or j]
