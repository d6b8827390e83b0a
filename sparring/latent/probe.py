"""How much of the classes is in features: a linear SVM on few labels (Radford et al. 2016, section 5.2, and code)."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean, stdev

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.data.dataset import Dataset
from sparring.data.pixels import to_float
from sparring.errors import SparringError, require_int
from sparring.latent.features import ConvActivations, Features, pooled, score
from sparring.latent.neighbors import nearest
from sparring.seeds import derive_seed, make_generator
from sparring.system import System
from sparring.typed import typed

PENALTIES = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2)
"""C of the SVM: the paper's grid, in its code."""

VALIDATION = 10_000
"""Training images kept to choose C with, at most a fifth of them."""

RATES, EPOCHS, MINIBATCH = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2), 30, 50
"""Of the supervised network: Adam's rates to choose from, epochs, images per step."""

LOOK_EVERY, LOOKS = 3, 1000
"""Epochs between looks at so many validation images."""


@dataclass(frozen=True)
class ProbeResult:
    """How well one kind of features does.

    numbers      length of a feature vector
    right        share of test images that are classified right, for every draw of labels
    chosen       C of the SVM, or the rate of the network; edge: it is the first or last that was tried
    validation   share of validation images that are right with it
    neighbor    the same as `right` for the nearest labeled image, () where it is not asked
    """

    name: str
    numbers: int
    right: tuple[float, ...]
    chosen: float
    edge: bool
    validation: float
    neighbor: tuple[float, ...] = ()

    @property
    def mean(self) -> float:
        return mean(self.right)

    @property
    def spread(self) -> float:
        """Standard deviation over draws of labels; 0 for a single draw."""
        return stdev(self.right) if len(self.right) > 1 else 0.0


@dataclass(frozen=True)
class ProbeSplit:
    """Which images have labels, for choosing and for the test; the same for all kinds of features.

    validation  images to choose C with
    choosing    draws of labeled images for that
    asked       other draws, for the test
    exam        the test images
    """

    validation: Dataset
    choosing: tuple[Dataset, ...]
    asked: tuple[Dataset, ...]
    exam: Dataset


@typed
def protocol(data: Dataset, *, labels: int | None, draws: int, seed: int = 0) -> ProbeSplit:
    """`draws` times `labels` images of the training set, as many of each class, to choose with, and as many to test.

    labels  None: all, in one draw. The test images are the data's own, else those held out.

    Raises SparringError for data without labels or test images, and for fewer labels than classes or more than
    there are.
    """
    require_int("draws", draws)
    exam = data.test or data.held_out
    if data.labels is None or exam is None or exam.labels is None:
        missing = "labels" if data.labels is None else "test or held-out images"
        raise SparringError(f"'{data.name}' has no {missing}: features are probed with labeled images")
    if labels is not None and labels < len(data.classes):
        raise SparringError(f"{labels} labels are fewer than the {len(data.classes)} classes of '{data.name}'")
    order = torch.randperm(len(data), generator=make_generator("probe", "validation"))
    kept = min(VALIDATION, len(data) // 5)
    pool = data.rows(order[kept:].sort().values)

    def draw(purpose: str) -> tuple[Dataset, ...]:
        if labels is None:
            return (pool,)
        return tuple(pool.labeled_subset(labels, derive_seed("probe", seed, purpose, i)) for i in range(draws))

    return ProbeSplit(data.rows(order[:kept].sort().values), draw("choosing"), draw("asked"), exam)


@typed
def probe(
    name: str,
    features: Features,
    plan: ProbeSplit,
    *,
    neighbors: bool = True,
    told: Callable[[], object] = lambda: None,
) -> ProbeResult:
    """A linear SVM (squared hinge, one class against the rest) on features; C is the best on validation images.

    told  is called `fits(plan)` times
    """
    fit = svm()
    seen, known = features(plan.validation.images), _labels(plan.validation)
    scores: dict[float, list[float]] = {penalty: [] for penalty in PENALTIES}
    for part in plan.choosing:
        x = features(part.images)
        span = _span(x)
        for penalty in PENALTIES:
            scores[penalty].append(_share(fit(x @ span, _labels(part), penalty)(seen @ span), known))
            told()
    best = max(PENALTIES, key=lambda penalty: mean(scores[penalty]))

    exam, answers = features(plan.exam.images), _labels(plan.exam)
    right, near = [], []
    for part in plan.asked:
        x = features(part.images)
        span = _span(x)
        right.append(_share(fit(x @ span, _labels(part), best)(exam @ span), answers))
        if neighbors:
            near.append(_share(_labels(part)[nearest(exam, x).rows[:, 0]], answers))
        told()
    edge = best in (PENALTIES[0], PENALTIES[-1])
    return ProbeResult(name, exam.shape[1], tuple(right), best, edge, mean(scores[best]), tuple(near))


def n_fits(plan: ProbeSplit) -> int:
    """How many times `probe` tells of progress."""
    return len(plan.choosing) * len(PENALTIES) + len(plan.asked)


def _span(x: Tensor) -> Tensor:
    """(f, min(n, f)) an orthonormal basis of the rows of x (n, f).

    The SVM's weights lie there and inner products stay what they are, so it is the same SVM in fewer numbers.
    """
    return torch.linalg.qr(x.double().T).Q.float() if len(x) < x.shape[1] else torch.eye(x.shape[1])


def svm() -> Callable[[Tensor, Tensor, float], Callable[[Tensor], Tensor]]:
    """fit(features, labels, C) -> classify(features). Raises SparringError without scikit-learn."""
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.svm import LinearSVC
    except ImportError:
        raise SparringError("the linear SVM is scikit-learn's: pip install 'sparring[probe]'") from None

    def fit(x: Tensor, y: Tensor, penalty: float) -> Callable[[Tensor], Tensor]:
        machine = LinearSVC(C=penalty, max_iter=5000, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            machine.fit(x.numpy(), y.numpy())
        return lambda others: torch.from_numpy(machine.predict(others.numpy()))

    return fit


def _labels(part: Dataset) -> Tensor:
    assert part.labels is not None
    return part.labels


def _share(said: Tensor, labels: Tensor) -> float:
    return float((said == labels).double().mean())


# The same network, told the labels.


class Supervised(nn.Module):
    """(B, C, H, W) -> (B, classes): the last convolutional maps of a discriminator, max-pooled to 4x4, and one layer.

    network  the discriminator, or the trunk of one; takes images, and a class where it is told one (always 0)
    """

    def __init__(self, network: nn.Module, classes: int, example: Tensor) -> None:
        super().__init__()
        self.network = network
        self.told = len(inspect.signature(network.forward).parameters) > 1
        with torch.no_grad():
            self.head = nn.Linear(self.maps(example).shape[1], classes)

    def maps(self, x: Tensor) -> Tensor:
        with ConvActivations() as maps:
            self.network(x, torch.zeros(len(x), dtype=torch.long)) if self.told else self.network(x)
        return pooled(maps.each[-1])

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.maps(x))


def supervised(
    fresh: Callable[[int], System], plan: ProbeSplit, *, told: Callable[[], object] = lambda: None
) -> ProbeResult:
    """The discriminator's convolutional layers with new weights, learning the labels and nothing else.

    For a system with a convolutional discriminator.

    fresh  a seed -> the system with new weights
    told   is called once for every network, `networks(plan)` times

    Adam; its rate is the best of RATES on the first draw, the epoch the best on validation images in every draw: a
    small search where the paper tried 64 settings.
    """
    looks = plan.validation.rows(torch.arange(min(LOOKS, len(plan.validation))))
    learn = _Learner(fresh, looks, plan.exam, told)
    tried = {rate: learn(plan.choosing[0], rate, 0)[0] for rate in RATES}
    best = max(RATES, key=lambda rate: tried[rate])
    right = tuple(learn(part, best, i + 1)[1] for i, part in enumerate(plan.asked))
    return ProbeResult("supervised network", learn.numbers, right, best, best in (RATES[0], RATES[-1]), tried[best])


def n_networks(plan: ProbeSplit) -> int:
    """How many networks `supervised` trains."""
    return len(RATES) + len(plan.asked)


class _Learner:
    """learn(part, rate, seed) -> share right of the validation images at the best epoch, and of the test images."""

    def __init__(
        self, fresh: Callable[[int], System], looks: Dataset, exam: Dataset, told: Callable[[], object]
    ) -> None:
        self.fresh, self.looks, self.exam, self.told = fresh, looks, exam, told
        self.numbers = 0

    def __call__(self, part: Dataset, rate: float, seed: int) -> tuple[float, float]:
        x, y = to_float(part.images), _labels(part)
        network = Supervised(_network(self.fresh(seed), part.images[:2]), len(part.classes), x[:2])
        self.numbers = network.head.in_features
        optimizer = torch.optim.Adam(network.parameters(), lr=rate, betas=(0.9, 0.999))
        best, weights = -1.0, network.state_dict()
        for epoch in range(1, EPOCHS + 1):
            order = torch.randperm(len(x), generator=make_generator("supervised", seed, epoch))
            for rows in order[: len(order) // MINIBATCH * MINIBATCH or len(order)].split(MINIBATCH):
                loss = F.cross_entropy(network.train()(x[rows]), y[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            if epoch % LOOK_EVERY == 0:
                seen = self.right(network, self.looks)
                if seen > best:
                    best, weights = seen, copy.deepcopy(network.state_dict())
        network.load_state_dict(weights)
        self.told()
        return best, self.right(network, self.exam)

    def right(self, network: nn.Module, part: Dataset) -> float:
        network.eval()
        with torch.no_grad():
            said = [network(to_float(rows)).argmax(1) for rows in part.images.split(500)]
        return _share(torch.cat(said), _labels(part))


def _network(system: System, images: Tensor) -> nn.Module:
    """The network of the system in which `score` meets convolutional layers, ready to learn."""
    ran: list[str] = []
    handles = [
        layer.register_forward_hook(lambda *_, name=name: ran.append(name))
        for name, network in system.named_children()
        for layer in network.modules()
        if isinstance(weight := getattr(layer, "weight", None), Tensor) and weight.ndim == 4
    ]
    score(system, images)
    for handle in handles:
        handle.remove()
    return getattr(system, ran[0]).requires_grad_(True)
