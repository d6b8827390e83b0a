"""Metrics on k-means bins of feature space: regions that are generated too often, too rarely or never.

Number of statistically different bins (NDB): Richardson and Weiss 2018, "On GANs and GMMs".
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sparring.errors import SparringError, require_int
from sparring.metrics.distances import FAR, LARGEST, scale_of
from sparring.seeds import make_generator
from sparring.typed import typed

BLOCK = 2000  # rows of a distance matrix held at once
ITERATIONS = 30
MISSING_RATIO = 0.25
"""A cell is missing if its share among fakes is below this fraction of its share among reals."""


@dataclass(frozen=True)
class Cells:
    """K-means centers (K, F) of features that were centered by `mean`, divided by `scale` and clipped to +-`far`."""

    centers: Tensor
    mean: Tensor
    scale: Tensor
    far: float

    def of(self, features: Tensor) -> Tensor:
        """(N,) index of the cell of each of (N, F) features. Raises SparringError unless they are finite."""
        if features.shape[1:] != self.mean.shape or not bool(features.isfinite().all()):
            raise SparringError(f"features must be (N, {len(self.mean)}), finite numbers; got {tuple(features.shape)}")
        x = ((features.float() - self.mean) / self.scale).clamp(-self.far, self.far)
        return _nearest(x, self.centers)

    def counts(self, features: Tensor) -> Tensor:
        """(K,) number of (N, F) features in each cell."""
        return torch.bincount(self.of(features), minlength=len(self.centers))


@typed
def fit_cells(features: Tensor, k: int = 100, *, standardize: bool = True, seed: int = 0) -> Cells:
    """K-means of (N, F) features: k-means++ (Arthur and Vassilvitskii 2007), then up to 30 Lloyd iterations.

    Raises SparringError for fewer than 2 features or features that are not finite or larger than 1e15, and for k < 1.
    """
    require_int("k", k)
    if features.ndim != 2 or len(features) < 2 or not bool((features.abs() <= LARGEST).all()):
        raise SparringError(
            f"cells need (N, F) finite features up to {LARGEST:.0g}, N > 1; got {tuple(features.shape)}"
        )
    x = features.float()
    mean = x.mean(0) if standardize else torch.zeros(x.shape[1])
    scale = scale_of(x) if standardize else torch.ones(x.shape[1])
    far = FAR if standardize else torch.inf
    x = ((x - mean) / scale).clamp(-far, far)
    stream = make_generator("cells", seed)
    rows = [int(torch.randint(len(x), (), generator=stream))]
    lengths = x.square().sum(1)
    nearest = _squares(x, lengths, rows[-1])
    while len(rows) < min(k, len(x)) and bool(nearest.max() > 0):
        rows.append(int(torch.multinomial(nearest, 1, generator=stream)))
        nearest = torch.minimum(nearest, _squares(x, lengths, rows[-1]))
    centers = x[rows]
    for _ in range(ITERATIONS):
        assignment = _nearest(x, centers)
        sums = torch.zeros_like(centers).index_add_(0, assignment, x)
        sizes = torch.bincount(assignment, minlength=len(centers))[:, None]
        moved = torch.where(sizes > 0, sums / sizes.clamp(min=1), centers)
        if torch.equal(moved, centers):
            break
        centers = moved
    return Cells(centers, mean, scale, far)


@typed
def bin_z(*, real: Tensor, fake: Tensor) -> Tensor:
    """(K,) z-score of each cell: share among fakes minus share among reals, in standard errors; counts (K,), (K,).

    Uses the pooled share (Richardson and Weiss 2018, section 3.1); 0 for cells that are empty in both.
    """
    real, fake = _checked(real, fake)
    n, m = real.sum(), fake.sum()
    pooled = (real + fake) / (n + m)
    error = (pooled * (1 - pooled) * (1 / n + 1 / m)).sqrt()
    return torch.where(error > 0, (fake / m - real / n) / torch.where(error > 0, error, 1.0), 0.0)


@typed
def ndb(*, real: Tensor, fake: Tensor, beyond: float = 3.0) -> float:
    """NDB / K: the share of cells whose two shares differ by more than `beyond` standard errors; 0 to 1.

    Richardson and Weiss test at .05 (beyond=1.96), which flags 5 % of the cells of equal distributions;
    beyond=3 flags 0.3 %.
    """
    return float((bin_z(real=real, fake=fake).abs() > beyond).double().mean())


@typed
def jensen_shannon(*, real: Tensor, fake: Tensor) -> float:
    """Jensen-Shannon divergence of two histograms of counts, in nats: 0 for equal ones, log 2 for disjoint ones.

    For two samples of one distribution it is about (K - 1) / 8 (1 / N + 1 / M).
    """
    real, fake = _checked(real, fake)
    p, q = real / real.sum(), fake / fake.sum()
    mixture = (p + q) / 2
    return float((torch.special.xlogy(p, p / mixture).nansum() + torch.special.xlogy(q, q / mixture).nansum()) / 2)


@typed
def total_variation(*, real: Tensor, fake: Tensor) -> float:
    """Half the sum of absolute differences of the shares of two histograms of counts: 0 to 1.

    For classes, the share of fakes in the wrong class.
    """
    real, fake = _checked(real, fake)
    return float((real / real.sum() - fake / fake.sum()).abs().sum()) / 2


@typed
def missing_share(*, real: Tensor, fake: Tensor) -> float:
    """The share of real images in missing cells, those whose share among fakes is less than a quarter of the real one.

    A cell counts only if its share is below one half even at the favorable ends of both Poisson intervals, so that rare
    cells are not reported by chance.
    """
    missing = missing_cells(real=real, fake=fake)
    return float(real[missing].sum() / real.sum())


@typed
def missing_cells(*, real: Tensor, fake: Tensor) -> Tensor:
    """(K,) bool: the cells that `missing_share` counts."""
    real, fake = _checked(real, fake)
    real_low, fake_high = (
        (real.sqrt() - 0.98).clamp(min=0).square() / real.sum(),
        (fake.sqrt() + 0.98).square() / fake.sum(),
    )
    return (fake / fake.sum() < MISSING_RATIO * real / real.sum()) & (fake_high < real_low / 2)


@typed
def chi_square_p(*, real: Tensor, fake: Tensor) -> float:
    """p-value of the chi-square test that two histograms of counts have one distribution; ignores empty cells."""
    real, fake = _checked(real, fake)
    occupied = real + fake > 0
    a, b = real[occupied], fake[occupied]
    if len(a) < 2:
        return 1.0
    n, m = a.sum(), b.sum()
    statistic = ((a * (m / n).sqrt() - b * (n / m).sqrt()).square() / (a + b)).sum()
    return float(torch.special.gammaincc(torch.tensor((len(a) - 1) / 2, dtype=torch.float64), statistic / 2))


def _checked(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    counts = all(bool(((n >= 0) & (n < torch.inf)).all()) and float(n.sum()) > 0 for n in (real, fake))
    if real.shape != fake.shape or real.ndim != 1 or not counts:
        raise SparringError(
            f"histograms must be counts of the same cells, not all 0; got {tuple(real.shape)}, {tuple(fake.shape)}"
        )
    return real.double(), fake.double()


def _squares(x: Tensor, lengths: Tensor, row: int) -> Tensor:
    """(N,) squared distances of x (N, F) to one of its rows; lengths: (N,) squared norms of x."""
    return torch.addmv(lengths + lengths[row], x, x[row], alpha=-2).clamp_(min=0)


def _nearest(x: Tensor, centers: Tensor) -> Tensor:
    """(N,) index of the nearest center (K, F) of each of x (N, F); the squared norm of x is omitted."""
    lengths = centers.square().sum(1)
    return torch.cat([torch.addmm(lengths, rows, centers.T, alpha=-2).argmin(1) for rows in x.split(BLOCK)])
