"""Duplicates among samples (mode collapse) and copies of training images (memorization)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sparring.errors import SparringError, require_int
from sparring.metrics.distances import checked, pairwise
from sparring.typed import typed

BLOCK = 500  # rows of a distance matrix held at once


# Duplicates among samples.


@typed
def nearest_other(points: Tensor) -> Tensor:
    """(N,) distance of each of (N, F) points to the nearest other one; float64."""
    points, _ = checked(points, points, at_least=2)
    return torch.cat([pairwise(rows, points).topk(2, largest=False).values[:, 1] for rows in points.split(BLOCK)])


@typed
def duplicate_threshold(*sets: Tensor, share: float = 0.001) -> float:
    """The distance below which images count as duplicates: the `share` quantile of `nearest_other` in (N, F) `sets`."""
    if not 0 <= share <= 1:
        raise SparringError(f"share is {share:g}: it must be from 0 to 1")
    return float(torch.cat([nearest_other(points) for points in sets]).quantile(share))


class Duplicates(NamedTuple):
    """share: of fakes with another fake within the distance; pairs: number of such pairs."""

    share: float
    pairs: int


@typed
def duplicates(*, fake: Tensor, within: float) -> Duplicates:
    """Count near-duplicates among (M, F) fakes: pairs with a distance of at most `within`."""
    fake, _ = checked(fake, fake, at_least=2)
    close = torch.cat([(pairwise(rows, fake) <= within).sum(1) for rows in fake.split(BLOCK)]) - 1
    return Duplicates(float((close > 0).double().mean()), int(close.sum()) // 2)


@typed
def effective_support(pairs: int, n: int, sets: int = 1) -> tuple[float, tuple[float, float]]:
    """Estimated number of distinct images, from `pairs` duplicate pairs in `sets` sets of n: n (n - 1) / 2 per pair.

    By the birthday paradox (Arora and Zhang 2018, "Do GANs learn the distribution?"); the 95 % interval is that of a
    Poisson count. Without duplicates, the value is that of one pair, a lower bound.
    """
    require_int("pairs", pairs, least=0)
    possible = require_int("sets", sets) * require_int("n", n, least=2) * (n - 1) / 2
    at_least_one = max(pairs, 1)
    low = max(0.025, (max(0.0, at_least_one**0.5 - 0.98)) ** 2)
    high = ((pairs + 1) ** 0.5 + 0.98) ** 2
    return possible / at_least_one, (possible / high, possible / low)


# Copies of the training images.


class NearestTrainTest(NamedTuple):
    """How often the nearest real image is a training image; see `nearest_train_test`."""

    share: float
    expected: float
    deviation: float

    @property
    def copied(self) -> float:
        """The estimated share of copies among fakes: 0 on average without copying, 1 for copies only."""
        return (self.share - self.expected) / (1 - self.expected)

    @property
    def z(self) -> float:
        """Deviations by which the share exceeds its expected value; 0 if the deviation is 0."""
        return (self.share - self.expected) / self.deviation if self.deviation > 0 else 0.0

    @property
    def p(self) -> float:
        """One-sided p-value of the hypothesis "no copies"."""
        return float(torch.special.erfc(torch.tensor(self.z / 2**0.5, dtype=torch.float64)) / 2)


@typed
def nearest_train_test(*, train: Tensor, held_out: Tensor, fake: Tensor) -> NearestTrainTest:
    """Test whether the nearest real image of a fake is a training image more often than by chance.

    train (T, F), held_out (H, F), fake (M, F). Training and held-out images are random parts of one set, so without
    memorization the nearest real image is a training image with probability T / (T + H), whatever other faults the
    generator has. The deviation is that of random relabeling, in closed form, so many fakes near one image do not count
    as evidence:

    Var(share) = T H / (T + H)^2 (T + H) / (T + H - 1) (sum_i m_i^2 - M^2 / (T + H)) / M^2,   m_i: fakes nearest to i
    """
    checked(train, held_out, at_least=1)
    real = torch.cat([train, held_out])
    _, at = nearest(of=fake, among=real)
    total, expected = len(real), len(train) / len(real)
    hits = torch.bincount(at, minlength=total).double()
    spread = float(hits.square().sum()) - len(fake) ** 2 / total
    variance = expected * (1 - expected) * total / (total - 1) * spread / len(fake) ** 2
    return NearestTrainTest(float((at < len(train)).double().mean()), expected, max(variance, 0.0) ** 0.5)


class Authenticity(NamedTuple):
    """The result of `authenticity` for M fakes.

    share     share of authentic fakes, in [0, 1]
    distance  (M,) distances to the nearest training image
    at        (M,) its index
    own       (M,) its distance to the nearest other training image
    """

    share: float
    distance: Tensor
    at: Tensor
    own: Tensor


@typed
def authenticity(*, train: Tensor, fake: Tensor) -> Authenticity:
    """AuthPct: the share of fakes whose nearest training image is closer to another training image than to the fake.

    Alaa et al. 2022, "How faithful is your synthetic data?", section 3.3. 0 for copies; the value of real images
    depends on the data. Unreliable for blurred fakes and fakes too close to the centers of the data.
    """
    distance, at = nearest(of=fake, among=train)
    rows, inverse = at.unique(return_inverse=True)
    own = nearest(of=train[rows], among=train, itself=rows)[0][inverse]
    return Authenticity(float((distance > own).double().mean()), distance, at, own)


@typed
def nearest(*, of: Tensor, among: Tensor, itself: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(N,) float32 distance and (N,) index of the nearest row of `among` (M, F) for each row of `of` (N, F).

    itself: (N,) indices of the points themselves in `among`, which are excluded.
    """
    checked(of, among, at_least=1)
    center = among.float().mean(0)
    x, y = of.float() - center, among.float() - center  # reduces rounding errors
    lengths, indices = y.square().sum(1), []
    for start in range(0, len(x), BLOCK):
        rows = x[start : start + BLOCK]
        squares = torch.addmm(lengths, rows, y.T, alpha=-2)
        if itself is not None:
            squares.scatter_(1, itself[start : start + BLOCK, None], torch.inf)
        indices.append(squares.argmin(1))
    at = torch.cat(indices)
    if len(among) < 2 and itself is not None:
        raise SparringError("a single image has no neighbor")
    return (x - y[at]).square().sum(1).sqrt(), at  # not from the products, so equal points have distance 0
