"""The Parzen-window log-likelihood of Goodfellow et al. 2014: of historical interest, not a measure of quality.

Theis et al. 2016, "A note on the evaluation of generative models", section 5.2: k-means centers score higher than
samples of the true distribution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sparring.errors import SparringError
from sparring.typed import typed

SIGMAS = tuple(torch.logspace(-1, 0, 10, dtype=torch.float64).tolist())
BLOCK = 250  # rows of a distance matrix held at once


class Parzen(NamedTuple):
    """Mean log-likelihood in nats, its standard error over the test images, and the selected width."""

    value: float
    error: float
    sigma: float


@typed
def parzen_log_likelihood(*, real: Tensor, fake: Tensor, chosen_on: Tensor) -> Parzen:
    """Log-likelihood of real images (N, ...) under a Gaussian of width sigma around each fake (M, ...), pixels 0 to 1.

    log p(x) = log mean_i exp(-|x - y_i|^2 / 2 sigma^2) - d log(sigma sqrt(2 pi)),   d pixels

    chosen_on  (K, ...) other real images: of ten widths from 0.1 to 1, the one that maximizes their likelihood is used

    Published values use 10,000 MNIST samples, the first 1,000 validation digits and the 10,000 test digits.
    Computed in float64. Raises SparringError for pixels outside 0 to 1 and for different shapes.
    """
    for name, images in (("real", real), ("fake", fake), ("chosen_on", chosen_on)):
        if images.ndim < 2 or images.shape[1:] != real.shape[1:] or not images.numel():
            raise SparringError(f"{name} images are {tuple(images.shape)}; the real ones are {tuple(real.shape)}")
        if not bool(((images >= 0) & (images <= 1)).all()):
            raise SparringError(f"{name} images have pixels outside 0 to 1")
    x, y, tuning = (images.flatten(1) for images in (real, fake, chosen_on))
    likelihoods = _log_likelihoods(tuning, y, SIGMAS).mean(1)
    sigma = SIGMAS[int(likelihoods.argmax())]
    (values,) = _log_likelihoods(x, y, [sigma])
    return Parzen(float(values.mean()), float(values.std(correction=0)) / len(values) ** 0.5, sigma)


def _log_likelihoods(x: Tensor, centers: Tensor, sigmas: Sequence[float]) -> Tensor:
    """(sigmas, N) log p of points (N, d), with Gaussians around centers (M, d)."""
    centers = centers.double()
    lengths, blocks = centers.square().sum(1), []
    for rows in x.split(BLOCK):
        rows = rows.double()
        squares = torch.addmm(lengths + rows.square().sum(1, keepdim=True), rows, centers.T, alpha=-2).clamp_(min=0)
        blocks.append(torch.stack([(squares / (-2 * s**2)).logsumexp(1) for s in sigmas]))
    norms = [math.log(len(centers)) + x.shape[1] * math.log(s * math.sqrt(2 * math.pi)) for s in sigmas]
    return torch.cat(blocks, 1) - torch.tensor(norms, dtype=torch.float64)[:, None]
