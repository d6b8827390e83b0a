"""Metrics of disentanglement: each unit of a code should follow one factor of variation, and each factor one unit.

MIG (Chen et al. 2018, "Isolating Sources of Disentanglement in VAEs"), DCI (Eastwood and Williams 2018, "A Framework
for the Quantitative Evaluation of Disentangled Representations") and modularity (Ridgeway and Mozer 2018, "Learning
Deep Disentangled Embeddings With the F-Statistic Loss").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sparring.errors import SparringError
from sparring.seeds import make_generator
from sparring.typed import require_finite, typed

BINS = 20
"""Equally wide bins of a unit between its extremes, for mutual information (Locatello et al. 2019)."""

TREES, DEPTH, LEAF = 10, 8, 4
"""Trees of a forest, their depth, and the minimum number of images in a leaf."""


@typed
def mutual_information(codes: Tensor, factors: Tensor) -> Tensor:
    """(d, K) mutual information of each unit of codes (N, d), in BINS bins, and each factor (N, K), in nats.

    From the empirical frequencies, so it is biased upward: by about (bins - 1) (values - 1) / 2N for independent ones.
    Raises SparringError unless there is one row of finite codes and one of factors >= 0 for each image.
    """
    _require(codes, factors)
    low, high = codes.amin(0), codes.amax(0)
    width = torch.where(high > low, high - low, torch.ones_like(high))
    bins = ((codes - low) / width * BINS).long().clamp(max=BINS - 1)
    table = []
    for factor in factors.T:
        values = int(factor.max()) + 1
        joint = torch.stack([torch.bincount(unit * values + factor, minlength=BINS * values) for unit in bins.T])
        p = joint.view(len(joint), BINS, values).double() / len(codes)
        table.append(_entropy(p.sum(1)) + _entropy(p.sum(2)) - _entropy(p.flatten(1)))
    return torch.stack(table, 1)


def _entropy(p: Tensor) -> Tensor:
    """(n,) entropy in nats of probabilities (n, values)."""
    return -torch.xlogy(p, p).sum(1)


@typed
def mutual_information_gap(codes: Tensor, factors: Tensor) -> float:
    """MIG, eq. 6 of Chen et al. 2018: 1 if each factor is known from one unit and no other unit knows about it.

    codes    (N, d) of images
    factors  (N, K) int64 values of the factors of variation, from 0

    The mean over the factors of (I of the best unit - I of the second best) / entropy of the factor. The paper
    integrates over the encoder's noise; here units are mean codes in bins, as in Locatello et al. 2019, so that it is
    the same for all encoders. Raises SparringError as `mutual_information`, and for a factor with a single value.
    """
    information = mutual_information(codes, factors)
    entropy = torch.stack([_entropy(F.one_hot(v).double().mean(0)[None])[0] for v in factors.T])
    if not bool((entropy > 0).all()):
        raise SparringError("a factor has a single value: MIG divides by its entropy")
    padded = torch.cat([information, torch.zeros(1, len(entropy), dtype=information.dtype)])  # a code with one unit
    best, second = padded.topk(2, dim=0).values
    return float(((best - second) / entropy).mean())


@typed
def modularity(codes: Tensor, factors: Tensor) -> float:
    """Modularity of Ridgeway and Mozer 2018, section 3: 1 if no unit knows about more than one factor.

    codes, factors  as in `mutual_information_gap`; K > 1

    With m the mutual information of a unit and each factor: the mean over the units of 1 - sum of the squares of all m
    but the largest, divided by (K - 1) times its square. A unit that knows about no factor counts as 0. Raises
    SparringError as `mutual_information`, and for a single factor.
    """
    if factors.shape[1] < 2:
        raise SparringError("modularity needs at least two factors")
    squares = mutual_information(codes, factors).square()
    largest = squares.amax(1)
    others = (squares.sum(1) - largest) / (largest.clamp(min=1e-300) * (factors.shape[1] - 1))
    return float(torch.where(largest > 1e-20, 1 - others, torch.zeros_like(others)).mean())


class DCI(NamedTuple):
    """Disentanglement, completeness and informativeness, each from 0 to 1 (informativeness may be below 0)."""

    disentanglement: float
    completeness: float
    informativeness: float


@typed
def dci(codes: Tensor, factors: Tensor, *, ordered: Sequence[bool], seed: int = 0) -> DCI:
    """Eastwood and Williams 2018, section 2: how the units share in the prediction of the factors.

    codes, factors  as in `mutual_information_gap`; the first half of the images is fitted
    ordered         (K) for each factor whether it is a number; if not, its values are classes
    seed            of the random forests, which predict each factor from the code

    disentanglement  mean over the units, weighted by importance, of 1 - entropy of a unit's importances for the factors
    completeness     mean over the factors of 1 - entropy of a factor's importances of the units
    informativeness  share of the variance of the factors that the forests predict in the other half; the paper has its
                     square root, as an error, which depends on the unit of measurement

    Entropies are relative to those of equal importances. As in the paper, an importance is the share of a unit in the
    reduction of variance. Completeness weights all factors equally. Raises SparringError as `mutual_information`.
    """
    _require(codes, factors)
    half = len(codes) // 2
    if half < 2 * LEAF or len(ordered) != factors.shape[1]:
        raise SparringError(
            f"dci needs {4 * LEAF} images or more and `ordered` for each factor; got {len(codes)} and {len(ordered)}"
        )
    ranks = _quantiles(codes, half)
    importance, explained = [], []
    for factor, number in zip(factors.T, ordered, strict=True):
        y = factor.float()[:, None] if number else F.one_hot(factor).float()
        forest = Forest(ranks[:half], y[:half], seed=seed)
        errors = (forest.predict(ranks[half:]) - y[half:]).square().sum()
        explained.append(1 - float(errors / (y[half:] - y[:half].mean(0)).square().sum().clamp(min=1e-12)))
        importance.append(forest.importance)
    R = torch.stack(importance, 1)  # (d, K)
    total = R.sum().clamp(min=1e-12)
    units = 1 - _relative_entropy(R)
    return DCI(
        disentanglement=float((R.sum(1) / total * units).sum()),
        completeness=float((1 - _relative_entropy(R.T))[R.sum(0) > 0].sum() / R.shape[1]),
        informativeness=sum(explained) / len(explained),
    )


def _relative_entropy(weights: Tensor) -> Tensor:
    """(n,) entropy of each row (n, k), divided by log k; 1 for a row of zeros."""
    p = weights.double() / weights.double().sum(1, keepdim=True).clamp(min=1e-12)
    entropy = _entropy(p) / max(torch.tensor(float(weights.shape[1])).log().item(), 1e-12)
    return torch.where(weights.sum(1) > 0, entropy, torch.ones_like(entropy))


def _require(codes: Tensor, factors: Tensor) -> None:
    shapes = f"{tuple(codes.shape)} and {tuple(factors.shape)}"
    if codes.ndim != 2 or factors.ndim != 2 or len(codes) != len(factors) or not codes.numel() or not factors.numel():
        raise SparringError(f"codes must be (N, d) and factors (N, K), N > 0; got {shapes}")
    if factors.dtype != torch.int64 or int(factors.min()) < 0:
        raise SparringError("factors must be int64 values from 0")
    require_finite(codes=codes)


# Random forests.


def _quantiles(codes: Tensor, fitted: int) -> Tensor:
    """(N, d) int64: in which of up to 32 quantiles of its first `fitted` numbers each number lies."""
    units = codes.double().T.contiguous()
    edges = units[:, :fitted].quantile(torch.arange(1, 32, dtype=torch.float64) / 32, dim=1).T.contiguous()
    return torch.searchsorted(edges, units, right=True).T


class Forest:
    """Regression trees of binned features (Breiman 2001), each fitted to a bootstrap sample.

    x      (N, d) int64 bins, from 0
    y      (N, k) targets; for classes one-hot, so that the reduction of variance is that of the Gini impurity
    trees  number; 1: a single tree of all rows, without bootstrap
    depth  of the trees

    importance  (d,) total reduction of variance by the splits of each feature, as a share
    """

    def __init__(
        self, x: Tensor, y: Tensor, *, trees: int = TREES, depth: int = DEPTH, leaf: int = LEAF, seed: int = 0
    ) -> None:
        self.trees = []
        importance = torch.zeros(x.shape[1], dtype=torch.float64)
        for i in range(trees):
            g = make_generator("forest", seed, i)
            rows = torch.randint(len(x), (len(x),), generator=g) if trees > 1 else torch.arange(len(x))
            tree = Tree(x[rows], y[rows].double(), depth, leaf)
            importance += tree.reduction
            self.trees.append(tree)
        self.importance = importance / importance.sum().clamp(min=1e-300)

    def predict(self, x: Tensor) -> Tensor:
        """(N, k) targets, the mean of the trees."""
        return torch.stack([tree.predict(x) for tree in self.trees]).mean(0)


class Tree:
    """A regression tree, grown level by level; nodes of a level are numbered 0 ... 2^level - 1."""

    def __init__(self, x: Tensor, y: Tensor, depth: int, leaf: int) -> None:
        self.splits: list[tuple[Tensor, Tensor]] = []  # for each level: feature and highest bin on the left, per node
        self.reduction = torch.zeros(x.shape[1], dtype=torch.float64)
        node = torch.zeros(len(x), dtype=torch.int64)
        for level in range(depth):
            feature, bin, gain = _best_splits(x, y, node, 2**level, leaf)
            self.splits.append((feature, bin))
            self.reduction.index_add_(0, feature, gain)
            node = 2 * node + (x.gather(1, feature[node][:, None])[:, 0] > bin[node]).long()
        count = torch.bincount(node, minlength=2**depth).double()
        total = torch.zeros(2**depth, y.shape[1], dtype=torch.float64).index_add_(0, node, y)
        self.values = total / count.clamp(min=1)[:, None]

    def predict(self, x: Tensor) -> Tensor:
        """(N, k) means of the leaves."""
        node = torch.zeros(len(x), dtype=torch.int64)
        for feature, bin in self.splits:
            node = 2 * node + (x.gather(1, feature[node][:, None])[:, 0] > bin[node]).long()
        return self.values[node]


def _best_splits(x: Tensor, y: Tensor, node: Tensor, nodes: int, leaf: int) -> tuple[Tensor, Tensor, Tensor]:
    """For each node: feature, highest bin on the left, reduction of the error; without a split, all rows are left."""
    d, bins, k = x.shape[1], int(x.max()) + 1, y.shape[1]
    place = ((node[:, None] * d + torch.arange(d)) * bins + x).flatten()
    counts = torch.bincount(place, minlength=nodes * d * bins).double().view(nodes, d, bins).cumsum(2)
    sums = torch.zeros(nodes * d * bins, k, dtype=torch.float64)
    sums.index_add_(0, place, y[:, None].expand(-1, d, -1).reshape(-1, k))
    left = sums.view(nodes, d, bins, k).cumsum(2)
    n, whole = counts[:, :1, -1:], left[:, :1, -1:]
    gain = left.square().sum(3) / counts.clamp(min=1) + (whole - left).square().sum(3) / (n - counts).clamp(min=1)
    gain = gain - whole.square().sum(3) / n.clamp(min=1)
    gain[(counts < leaf) | (n - counts < leaf)] = 0
    best = gain.flatten(1).max(1)
    value = best.values.where(best.values > 1e-9, torch.zeros_like(best.values))
    bin = torch.where(value > 0, best.indices % bins, torch.full_like(best.indices, bins))
    return best.indices // bins, bin, value
