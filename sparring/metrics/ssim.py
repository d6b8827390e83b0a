"""Structural similarity of pairs of images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sparring.errors import SparringError
from sparring.typed import require_images, typed

WINDOW, SIGMA = 11, 1.5
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


@typed
def structural_similarity(*, real: Tensor, fake: Tensor) -> Tensor:
    """(N,) SSIM of (N, C, H, W) uint8 images, pair by pair; 1 for equal images (Wang et al. 2004, eq. 13).

    Local means, variances and covariances under a Gaussian window of 11x11 pixels (sigma 1.5), without padding;
    then the mean over positions and channels. Raises SparringError for images smaller than the window and for
    different shapes.
    """
    require_images(1, torch.uint8, real=real, fake=fake)
    if real.shape != fake.shape:
        raise SparringError(f"SSIM needs pairs of images of one shape; got {tuple(real.shape)} and {tuple(fake.shape)}")
    if min(real.shape[2:]) < WINDOW:
        raise SparringError(f"SSIM needs images of at least {WINDOW} x {WINDOW} pixels; got {tuple(real.shape)}")
    channels = real.shape[1]
    profile = torch.exp(-((torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2) ** 2) / (2 * SIGMA**2))
    profile = profile / profile.sum()
    window = (profile[:, None] * profile).expand(channels, 1, WINDOW, WINDOW)

    def blur(x: Tensor) -> Tensor:
        return F.conv2d(x, window, groups=channels)

    values = []
    for x, y in zip(real.split(250), fake.split(250), strict=True):
        x, y = x.double(), y.double()
        mean_x, mean_y = blur(x), blur(y)
        var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
        covariance = blur(x * y) - mean_x * mean_y
        luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
        structure = (2 * covariance + C2) / (var_x + var_y + C2)
        values.append((luminance * structure).mean((1, 2, 3)))
    return torch.cat(values)
