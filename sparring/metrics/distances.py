"""Distances between real and fake features: FD, KID, precision, recall, density and coverage. All in float64."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sparring.errors import SparringError, require_int
from sparring.seeds import make_generator
from sparring.typed import typed

BLOCK = 128  # rows of a distance or kernel matrix held at once

LARGEST = 1e15
"""Maximum magnitude of features: beyond, sixth powers in KID and squares in float32 would overflow."""

ROUNDING = 1e-6
"""A feature whose deviation is below this share of its magnitude is constant within float32 precision."""

FAR = 10.0
"""Standardized features are clipped at this many standard deviations, so that no single one dominates."""


@typed
def frechet_distance(*, real: Tensor, fake: Tensor) -> float:
    """Frechet distance of Gaussians fitted to the two sets: real (N, F), fake (M, F) -> [0, inf).

    |m_r - m_f|^2 + tr(S_r + S_f - 2 (S_r^1/2 S_f S_r^1/2)^1/2)     (Dowson & Landau 1982; Heusel et al. 2017, eq. 6)

    Two symmetric eigendecompositions, so the result is always real. Biased upward by about c/M: compare equal sizes
    only. It is FID only with Inception features. Raises SparringError for features that
    are not finite or larger than 1e15, of different F, or fewer than 2.
    """
    real, fake = checked(real, fake, at_least=2)
    mean = fake.mean(0) - real.mean(0)
    covariance_real, covariance_fake = _covariance(real), _covariance(fake)
    root = _symmetric_root(covariance_real)
    cross = torch.linalg.eigvalsh(root @ covariance_fake @ root).clamp(min=0).sqrt().sum()
    distance = mean @ mean + covariance_real.trace() + covariance_fake.trace() - 2 * cross
    return float(max(0.0, distance.item()))


@typed
def frechet_infinity(*, real: Tensor, fake: Tensor, seed: int = 0) -> float:
    """The Frechet distance extrapolated to infinite sample size. real (N, F), fake (N, F).

    FD is about a + b/m for m samples of each (Chong and Forsyth 2020, "Effectively unbiased FID"). A line is fitted to
    FD at 12 sizes from N/3 to N and evaluated at 1/m = 0. Less bias, more variance; may be negative for equal
    distributions. Raises SparringError for fewer than 8 F samples, where FD is not linear in 1/m.
    """
    real, fake = checked(real, fake, at_least=8 * real.shape[-1])
    n = min(len(real), len(fake))
    stream = make_generator("extrapolate", seed)
    sizes = [round(n / (1 + 2 * i / 11)) for i in range(12)]
    distances = []
    for size in sizes:
        rows = [torch.randperm(len(part), generator=stream)[:size] for part in (real, fake)]
        distances.append(frechet_distance(real=real[rows[0]], fake=fake[rows[1]]))
    line = torch.tensor([[1.0, 1 / size] for size in sizes], dtype=torch.float64)
    values = torch.tensor(distances, dtype=torch.float64)
    return float(torch.linalg.lstsq(line, values[:, None]).solution[0])


@typed
def kernel_distance(*, real: Tensor, fake: Tensor) -> float:
    """Kernel distance (KID): the unbiased squared MMD of real (N, F) and fake (M, F); around 0 for equal distributions.

    mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{i, j} k(x_i, y_j),   k(x, y) = (x.y / F + 1)^3

    (Gretton et al. 2012, eq. 3; Binkowski et al. 2018.) The full U-statistic, no random subsets; on features
    standardized by the real ones and clipped at 10 deviations, because the cubic kernel would otherwise be
    dominated by the largest features, or by the one that varies least among the reals. May be slightly negative.
    Raises SparringError for features that are not finite or larger than 1e15, of different F, or fewer than 2.
    """
    real, fake = checked(real, fake, at_least=2)
    mean, scale = real.mean(0), scale_of(real)
    x, y = (((part - mean) / scale).clamp(-FAR, FAR) for part in (real, fake))
    within = _kernel_mean(x) + _kernel_mean(y)
    between = _kernel_sum(x, y) / (len(x) * len(y))
    return within - 2 * between


class PRDC(NamedTuple):
    """Precision, recall, density and coverage; see `prdc`."""

    precision: float
    recall: float
    density: float
    coverage: float


@typed
def prdc(*, real: Tensor, fake: Tensor, k: int = 5) -> PRDC:
    """Precision, recall, density and coverage of fake (N, F) and equally many real (N, F).

    The radius of a point's ball is the distance to its k-th nearest other point of the same set. Balls are closed, as
    in Kynkaanniemi et al. 2019. The code of Naeem et al. (prdc) uses open balls. The two differ only in ties: with
    equal distances, as among copies or on a lattice, open balls are empty and a perfect copy would score 0.

    precision  share of fakes inside any real ball                 (Kynkaanniemi et al. 2019, eq. 1, 2)
    recall     share of reals inside any fake ball                 (the same)
    density    mean number of real balls around a fake, over k     (Naeem et al. 2020, eq. 3); 1 if distributions agree
    coverage   share of reals whose ball contains a fake           (Naeem et al. 2020, eq. 4)

    For equal distributions, the expected coverage is 1 - prod_{i=1..k} (N - i) / (2 N - i). Density above 1 means fakes
    too close to the centers of the data (blur, shrinkage), not better ones. If more than k points coincide, their
    radius is 0, and equal images still count as inside. Raises SparringError for features that are not finite, of
    different F, of different N, or N <= k.
    """
    require_int("k", k)
    real, fake = checked(real, fake, at_least=k + 1)
    if len(real) != len(fake):
        raise SparringError(f"prdc needs as many fakes as reals; got {len(real)} real, {len(fake)} fake")
    radius_real, radius_fake = _knn_radius(real, k), _knn_radius(fake, k)
    precise, balls = 0, 0
    covered = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    recalled = covered.clone()
    for rows, radius in zip(fake.split(BLOCK), radius_fake.split(BLOCK), strict=True):
        distance = pairwise(rows, real)
        in_real_ball = distance <= radius_real
        precise += int(in_real_ball.any(1).sum())
        balls += int(in_real_ball.sum())
        covered |= in_real_ball.any(0)
        recalled |= (distance <= radius[:, None]).any(0)
    n = len(real)
    return PRDC(precise / n, int(recalled.sum()) / n, balls / (k * n), int(covered.sum()) / n)


def scale_of(real: Tensor) -> Tensor:
    """(F,) divisors that standardize features: their standard deviations among real (N, F).

    For features that are constant up to rounding, the root mean square, or 1 if that is 0. Raises SparringError if
    there are no samples or no features.
    """
    if not real.numel():
        raise SparringError(f"real features must be (N, F), N > 0, F > 0; got {tuple(real.shape)}")
    deviation, rms = real.std(0, correction=0), real.square().mean(0).sqrt()
    return torch.where(deviation > ROUNDING * rms, deviation, torch.where(rms > 0, rms, 1.0))


def checked(real: Tensor, fake: Tensor, at_least: int) -> tuple[Tensor, Tensor]:
    """Validate both sets and convert them to float64. Raises SparringError."""
    for name, features in (("real", real), ("fake", fake)):
        if features.ndim != 2 or not features.shape[1]:
            raise SparringError(f"{name} features must be (N, F), F > 0; got {tuple(features.shape)}")
        if len(features) < at_least:
            raise SparringError(f"at least {at_least} {name} samples are needed; got {len(features)}")
        if not features.isfinite().all():
            bad = int((~features.isfinite()).any(1).sum())
            raise SparringError(f"{bad} of {len(features)} {name} features are NaN or infinite")
        if len(features) and (largest := float(features.abs().max())) > LARGEST:
            raise SparringError(
                f"{name} features reach {largest:.1g}, more than {LARGEST:.0g}: rescale all features, "
                "or check the images with such features"
            )
    if real.shape[1] != fake.shape[1]:
        raise SparringError(f"real features have {real.shape[1]} dimensions, fake features {fake.shape[1]}")
    return real.double(), fake.double()


def _covariance(features: Tensor) -> Tensor:
    centered = features - features.mean(0)
    return centered.T @ centered / (len(features) - 1)


def _symmetric_root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    out: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return out


def _kernel_sum(x: Tensor, y: Tensor) -> float:
    return float(sum((rows @ y.T / x.shape[1] + 1).pow_(3).sum().item() for rows in x.split(BLOCK)))


def _kernel_mean(x: Tensor) -> float:
    """Mean of k(x_i, x_j) over i != j."""
    diagonal = (x.square().sum(1) / x.shape[1] + 1).pow(3).sum().item()
    return (_kernel_sum(x, x) - diagonal) / (len(x) * (len(x) - 1))


def _knn_radius(points: Tensor, k: int) -> Tensor:
    """(N,) distance of every point to its k-th nearest other point."""
    blocks = [pairwise(rows, points).topk(k + 1, largest=False).values[:, k] for rows in points.split(BLOCK)]
    return torch.cat(blocks)


def pairwise(x: Tensor, y: Tensor) -> Tensor:
    """(N, M) float32 distances of (N, F) to (M, F), both float64; exactly 0 between equal points.

    Computed as |x|^2 + |y|^2 - 2 x.y, whose rounding errors (1e-16 of the squares) vanish when the distance is rounded
    to float32, so that ties stay ties. Distances of equal points would be rounding errors only, and are set to 0.
    """
    squares = x.square().sum(1)[:, None] + y.square().sum(1)
    distances = torch.addmm(squares, x, y.T, alpha=-2)
    return distances.masked_fill_(distances < 1e-13 * squares, 0).sqrt_().float()
