"""Two-sample tests: can a simple classifier tell fakes from reals?"""

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
    """accuracy: on data it has not seen; p: of getting so many right by guessing (normal approximation)."""

    accuracy: float
    p: float


@typed
def classifier_test(*, real: Tensor, fake: Tensor, seed: int = 0) -> TwoSampleTest:
    """Classifier two-sample test (Lopez-Paz and Oquab 2017): learnt on one half of reals and fakes, tried on the other.

    real (N, F), fake (N, F); the classifier is a logistic regression on the features, standardized by the reals of its
    half, and on their squares. Accuracy 1/2 when nothing tells them apart, 1 when everything does. Under equal
    distributions the accuracy is normal with mean 1/2 and variance 1 / 4N. Raises SparringError for unequal numbers.
    """
    real, fake = checked(real, fake, at_least=4)
    if len(real) != len(fake):
        raise SparringError(f"the classifier test needs as many fakes as reals; got {len(real)}, {len(fake)}")
    half = len(real) // 2
    order = torch.randperm(len(real), generator=make_generator("two samples", seed))
    learn, tried = order[:half], order[half:]
    mean, scale = real[learn].mean(0), scale_of(real[learn])

    def inputs(rows: Tensor) -> Tensor:
        x = torch.cat([(real[rows] - mean) / scale, (fake[rows] - mean) / scale]).clamp(-FAR, FAR)
        return torch.cat([x, (x.square() - 1) / 2**0.5], 1)

    def targets(rows: Tensor) -> Tensor:
        return torch.tensor([0.0, 1.0], dtype=torch.float64).repeat_interleave(len(rows))

    x, y = inputs(learn), targets(learn)
    weight = _logistic(x, y)
    said = inputs(tried) @ weight[:-1] + weight[-1] > 0
    accuracy = float((said == targets(tried).bool()).double().mean())
    z = (accuracy - 0.5) * 2 * (2 * len(tried)) ** 0.5
    return TwoSampleTest(accuracy, float(torch.special.erfc(torch.tensor(z / 2**0.5, dtype=torch.float64)) / 2))


def _logistic(x: Tensor, y: Tensor) -> Tensor:
    """Weights and bias (F + 1,) of a ridge logistic regression, by Newton's method."""
    x = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)
    weight = torch.zeros(x.shape[1], dtype=x.dtype)
    ridge = RIDGE * torch.eye(x.shape[1], dtype=x.dtype)

    def loss(w: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(x @ w, y) + RIDGE / 2 * w @ w

    for _ in range(12):
        said = (x @ weight).sigmoid()
        gradient = x.T @ (said - y) / len(x) + RIDGE * weight
        curvature = (x * (said * (1 - said))[:, None]).T @ x / len(x) + ridge
        step = torch.linalg.solve(curvature, gradient)
        length, before = 1.0, loss(weight)
        while loss(weight - length * step) > before and length > 1e-3:
            length /= 2
        weight = weight - length * step
        if float(step.abs().max()) < 1e-6:
            break
    return weight


class OneNNAccuracy(NamedTuple):
    """How often the nearest other point is of the same kind, for reals and for fakes; 1/2 for equal distributions."""

    real: float
    fake: float


@typed
def one_nn_accuracy(*, real: Tensor, fake: Tensor) -> OneNNAccuracy:
    """1-NN accuracy, leave one out (Xu et al. 2018), for reals (N, F) and fakes (N, F) apart; ties count half.

    Both high: the fakes lie elsewhere, or on top of each other. Fakes below 1/2: they sit on real images, as copies.
    """
    real, fake = checked(real, fake, at_least=2)
    if len(real) != len(fake):
        raise SparringError(f"1-NN accuracy needs as many fakes as reals; got {len(real)} real, {len(fake)} fake")
    return OneNNAccuracy(_one_nn(real, fake), _one_nn(fake, real))


def _one_nn(these: Tensor, those: Tensor) -> float:
    alike = 0.0
    for rows in these.split(BLOCK):
        own = torch.cdist(rows, these).topk(2, largest=False).values[:, 1]
        other = torch.cdist(rows, those).min(1).values
        alike += float((own < other).double().sum() + (own == other).double().sum() / 2)
    return alike / len(these)
