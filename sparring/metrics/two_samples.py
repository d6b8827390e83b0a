"""Two-sample tests: how well a simple classifier separates fakes from reals."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sparring.errors import SparringError
from sparring.metrics.distances import FAR, checked, scale_of
from sparring.seeds import make_generator
from sparring.typed import typed

BLOCK = 500  # rows of a distance matrix held at once
RIDGE = 1e-2


class TwoSampleTest(NamedTuple):
    """accuracy: on test data; p: probability of that accuracy by guessing (normal approximation)."""

    accuracy: float
    p: float


@typed
def classifier_test(*, real: Tensor, fake: Tensor, seed: int = 0) -> TwoSampleTest:
    """Classifier two-sample test (Lopez-Paz and Oquab 2017): trained on one half, tested on the other.

    real (N, F), fake (N, F); the classifier is a logistic regression on the features, standardized by the reals of its
    half, and on their squares. The accuracy is 1/2 for indistinguishable sets, 1 for separable ones. Under equal
    distributions it is normal with mean 1/2 and variance 1 / 4N. Raises SparringError for unequal numbers.
    """
    real, fake = checked(real, fake, at_least=4)
    if len(real) != len(fake):
        raise SparringError(f"the classifier test needs as many fakes as reals; got {len(real)}, {len(fake)}")
    half = len(real) // 2
    order = torch.randperm(len(real), generator=make_generator("two samples", seed))
    train_rows, test_rows = order[:half], order[half:]
    mean, scale = real[train_rows].mean(0), scale_of(real[train_rows])

    def inputs(rows: Tensor) -> Tensor:
        x = torch.cat([(real[rows] - mean) / scale, (fake[rows] - mean) / scale]).clamp(-FAR, FAR)
        return torch.cat([x, (x.square() - 1) / 2**0.5], 1)

    def targets(rows: Tensor) -> Tensor:
        return torch.tensor([0.0, 1.0], dtype=torch.float64).repeat_interleave(len(rows))

    x, y = inputs(train_rows), targets(train_rows)
    weight = _logistic(x, y)
    predicted = inputs(test_rows) @ weight[:-1] + weight[-1] > 0
    accuracy = float((predicted == targets(test_rows).bool()).double().mean())
    z = (accuracy - 0.5) * 2 * (2 * len(test_rows)) ** 0.5
    return TwoSampleTest(accuracy, float(torch.special.erfc(torch.tensor(z / 2**0.5, dtype=torch.float64)) / 2))


def _logistic(x: Tensor, y: Tensor) -> Tensor:
    """Weights and bias (F + 1,) of a ridge logistic regression, by Newton's method."""
    x = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)
    weight = torch.zeros(x.shape[1], dtype=x.dtype)
    ridge = RIDGE * torch.eye(x.shape[1], dtype=x.dtype)

    def loss(w: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(x @ w, y) + RIDGE / 2 * w @ w

    for _ in range(12):
        predicted = (x @ weight).sigmoid()
        gradient = x.T @ (predicted - y) / len(x) + RIDGE * weight
        curvature = (x * (predicted * (1 - predicted))[:, None]).T @ x / len(x) + ridge
        step = torch.linalg.solve(curvature, gradient)
        length, before = 1.0, loss(weight)
        while loss(weight - length * step) > before and length > 1e-3:
            length /= 2
        weight = weight - length * step
        if float(step.abs().max()) < 1e-6:
            break
    return weight


class OneNNAccuracy(NamedTuple):
    """Leave-one-out 1-NN accuracy of reals and of fakes; 1/2 for equal distributions."""

    real: float
    fake: float


@typed
def one_nn_accuracy(*, real: Tensor, fake: Tensor) -> OneNNAccuracy:
    """Leave-one-out 1-NN accuracy (Xu et al. 2018) of reals (N, F) and fakes (N, F), separately; ties count half.

    Both high: fakes are far from the reals, or close to each other. Fakes below 1/2: close to real images, as copies
    are.
    """
    real, fake = checked(real, fake, at_least=2)
    if len(real) != len(fake):
        raise SparringError(f"1-NN accuracy needs as many fakes as reals; got {len(real)} real, {len(fake)} fake")
    return OneNNAccuracy(_one_nn(real, fake), _one_nn(fake, real))


def _one_nn(points: Tensor, others: Tensor) -> float:
    """Accuracy on `points`, whose class is compared with that of `others`."""
    correct = 0.0
    for rows in points.split(BLOCK):
        to_same = torch.cdist(rows, points).topk(2, largest=False).values[:, 1]
        to_other = torch.cdist(rows, others).min(1).values
        correct += float((to_same < to_other).double().sum() + (to_same == to_other).double().sum() / 2)
    return correct / len(points)
