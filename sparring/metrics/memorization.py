"""Copies: of each other (collapse) and of the training images (memorization)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sparring.errors import SparringError, require_int
from sparring.metrics.distances import checked, pairwise
from sparring.typed import typed

BLOCK = 500  # rows of a distance matrix held at once


# Copies of each other.


@typed
def nearest_other(points: Tensor) -> Tensor:
    """(N,) distance of each of (N, F) points to the nearest other one; float64."""
    points, _ = checked(points, points, at_least=2)
    return torch.cat([pairwise(rows, points).topk(2, largest=False).values[:, 1] for rows in points.split(BLOCK)])


@typed
def duplicate_threshold(*sets: Tensor, share: float = 0.001) -> float:
    """The distance under which two images are duplicates: that share of the real ones in (N, F) `sets` are closer."""
    if not 0 <= share <= 1:
        raise SparringError(f"share is {share:g}: it must be from 0 to 1")
    return float(torch.cat([nearest_other(points) for points in sets]).quantile(share))


class Duplicates(NamedTuple):
    """share: of fakes with another fake within the distance; pairs: how many pairs are."""

    share: float
    pairs: int


@typed
def duplicates(*, fake: Tensor, within: float) -> Duplicates:
    """How many of (M, F) fakes have a twin among the other fakes; a twin is nearer than `within`, or equal."""
    fake, _ = checked(fake, fake, at_least=2)
    close = torch.cat([(pairwise(rows, fake) <= within).sum(1) for rows in fake.split(BLOCK)]) - 1
    return Duplicates(float((close > 0).double().mean()), int(close.sum()) // 2)


@typed
def effective_support(pairs: int, n: int, sets: int = 1) -> tuple[float, tuple[float, float]]:
    """How many different images there are, from the twins in `sets` sets of n: n (n - 1) / 2 pairs for each twin.

    The birthday paradox (Arora and Zhang 2018, "Do GANs learn the distribution?"); the 95 % interval is that of a
    Poisson count. With no twin at all, the value is the lower bound that one would give.
    """
    require_int("pairs", pairs, least=0)
    possible = require_int("sets", sets) * require_int("n", n, least=2) * (n - 1) / 2
    fewest, most = max(pairs, 1), pairs
    low = max(0.025, (max(0.0, fewest**0.5 - 0.98)) ** 2)
    high = ((most + 1) ** 0.5 + 0.98) ** 2
    return possible / fewest, (possible / high, possible / low)


# Copies of the training images.


class NearestTrainTest(NamedTuple):
    """How often the nearest real image is a training image; see `nearest_train_test`."""

    share: float
    expected: float
    deviation: float

    @property
    def copied(self) -> float:
        """The share of fakes that must be copies to explain it: 0 on average without copying, 1 for copies only."""
        return (self.share - self.expected) / (1 - self.expected)

    @property
    def z(self) -> float:
        return (self.share - self.expected) / self.deviation if self.deviation > 0 else 0.0

    @property
    def p(self) -> float:
        """One-sided p-value of "no copies"."""
        return float(torch.special.erfc(torch.tensor(self.z / 2**0.5, dtype=torch.float64)) / 2)


@typed
def nearest_train_test(*, train: Tensor, held_out: Tensor, fake: Tensor) -> NearestTrainTest:
    """Is the nearest real image of a fake a training image more often than chance? train (T, F), held_out (H, F).

    Training and held-out images were drawn from one pile: a generator that has not memorized cannot tell which is
    which, whatever else is wrong with it, and meets training images T / (T + H) of the time. The deviation is that of
    relabeling the pile at random, in closed form, so fakes that all sit at one image are not taken for evidence:

    Var(share) = T H / (T + H)^2 (T + H) / (T + H - 1) (sum_i m_i^2 - M^2 / (T + H)) / M^2,   m_i: fakes nearest to i
    """
    checked(train, held_out, at_least=1)
    pool = torch.cat([train, held_out])
    _, at = nearest(of=fake, among=pool)
    total, expected = len(pool), len(train) / len(pool)
    met = torch.bincount(at, minlength=total).double()
    spread = float(met.square().sum()) - len(fake) ** 2 / total
    variance = expected * (1 - expected) * total / (total - 1) * spread / len(fake) ** 2
    return NearestTrainTest(float((at < len(train)).double().mean()), expected, max(variance, 0.0) ** 0.5)


class Authenticity(NamedTuple):
    """share: of fakes that are authentic; distance (M,) to the nearest training image, which is number `at` (M,);
    own (M,): that training image's distance to the training image nearest to it."""

    share: float
    distance: Tensor
    at: Tensor
    own: Tensor


@typed
def authenticity(*, train: Tensor, fake: Tensor) -> Authenticity:
    """AuthPct: the share of fakes whose nearest training image has a nearer neighbor in the training set than them.

    Alaa et al. 2022, "How faithful is your synthetic data?", section 3.3. 0 for copies; what real images get depends
    on the data. Confused by blur and by fakes too close to the centers of the data.
    """
    distance, at = nearest(of=fake, among=train)
    asked, back = at.unique(return_inverse=True)
    own = nearest(of=train[asked], among=train, itself=asked)[0][back]
    return Authenticity(float((distance > own).double().mean()), distance, at, own)


@typed
def nearest(*, of: Tensor, among: Tensor, itself: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(N,) distance and (N,) row of the nearest of `among` (M, F) for each of `of` (N, F); float32.

    itself: (N,) rows of `among` that are the points themselves, and do not count.
    """
    checked(of, among, at_least=1)
    middle = among.float().mean(0)
    x, y = of.float() - middle, among.float() - middle  # near 0, rounding errors are small
    lengths, found = y.square().sum(1), []
    for start in range(0, len(x), BLOCK):
        rows = x[start : start + BLOCK]
        squares = torch.addmm(lengths, rows, y.T, alpha=-2)
        if itself is not None:
            squares.scatter_(1, itself[start : start + BLOCK, None], torch.inf)
        found.append(squares.argmin(1))
    at = torch.cat(found)
    if len(among) < 2 and itself is not None:
        raise SparringError("a single image has no neighbor")
    return (x - y[at]).square().sum(1).sqrt(), at  # not from the products: equal points are 0 apart
