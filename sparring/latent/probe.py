"""Linear probing of features: a linear SVM on few labels (Radford et al. 2016, section 5.2, and code)."""

from __future__ import annotations

import copy
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
"""Validation images for the choice of C, at most a fifth of the training images."""

RATES, EPOCHS, MINIBATCH = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2), 30, 50
"""Of the supervised network: Adam's learning rates to choose from, epochs, batch size."""

VALIDATE_EVERY, N_VALIDATE = 3, 1000
"""Epochs between validations of the supervised network, and images per validation."""


@dataclass(frozen=True)
class ProbeResult:
    """The result for one kind of features.

    numbers     length of a feature vector
    right       test accuracy, for every draw of labels
    chosen      C of the SVM, or the learning rate of the network; edge: it is at the border of the grid
    validation  validation accuracy of the choice
    neighbor    test accuracy of the nearest labeled image, () if not computed
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
        """Mean test accuracy over draws of labels, in [0, 1]."""
        return mean(self.right)

    @property
    def spread(self) -> float:
        """Standard deviation over draws of labels; 0 for a single draw."""
        return stdev(self.right) if len(self.right) > 1 else 0.0


@dataclass(frozen=True)
class ProbeSplit:
    """The labeled images for tuning and testing; the same for all kinds of features.

    validation  images to choose C with
    choosing    draws of labeled images for tuning
    asked       other draws, for testing
    exam        the test images
    """

    validation: Dataset
    choosing: tuple[Dataset, ...]
    asked: tuple[Dataset, ...]
    exam: Dataset


@typed
def protocol(data: Dataset, *, labels: int | None, draws: int, seed: int = 0) -> ProbeSplit:
    """`draws` class-balanced draws of `labels` training images for tuning, and as many for testing.

    labels  None: all, in one draw. Test images are the data's test set, else the held-out images.

    Raises SparringError for data without labels or test images, and for fewer labels than classes or more than
    there are.
    """
    require_int("draws", draws)
    exam = data.test or data.held_out
    if data.labels is None or exam is None or exam.labels is None:
        missing = "labels" if data.labels is None else "test or held-out images"
        raise SparringError(f"'{data.name}' has no {missing}: probing requires labeled images")
    if labels is not None and labels < len(data.classes):
        raise SparringError(f"{labels} labels are fewer than the {len(data.classes)} classes of '{data.name}'")
    order = torch.randperm(len(data), generator=make_generator("probe", "validation"))
    n_validation = min(VALIDATION, len(data) // 5)
    pool = data.rows(order[n_validation:].sort().values)

    def draw(purpose: str) -> tuple[Dataset, ...]:
        if labels is None:
            return (pool,)
        return tuple(pool.labeled_subset(labels, derive_seed("probe", seed, purpose, i)) for i in range(draws))

    return ProbeSplit(data.rows(order[:n_validation].sort().values), draw("choosing"), draw("asked"), exam)


@typed
def probe(
    name: str,
    features: Features,
    plan: ProbeSplit,
    *,
    neighbors: bool = True,
    on_progress: Callable[[], object] = lambda: None,
) -> ProbeResult:
    """Trains a linear SVM (squared hinge, one class against the rest); C is chosen on validation images.

    on_progress  progress callback, called `n_fits(plan)` times
    """
    fit = svm()
    validation, labels = features(plan.validation.images), _labels(plan.validation)
    scores: dict[float, list[float]] = {penalty: [] for penalty in PENALTIES}
    for part in plan.choosing:
        x = features(part.images)
        span = _span(x)
        for penalty in PENALTIES:
            scores[penalty].append(_accuracy(fit(x @ span, _labels(part), penalty)(validation @ span), labels))
            on_progress()
    best = max(PENALTIES, key=lambda penalty: mean(scores[penalty]))

    test, test_labels = features(plan.exam.images), _labels(plan.exam)
    right, near = [], []
    for part in plan.asked:
        x = features(part.images)
        span = _span(x)
        right.append(_accuracy(fit(x @ span, _labels(part), best)(test @ span), test_labels))
        if neighbors:
            near.append(_accuracy(_labels(part)[nearest(test, x).rows[:, 0]], test_labels))
        on_progress()
    edge = best in (PENALTIES[0], PENALTIES[-1])
    return ProbeResult(name, test.shape[1], tuple(right), best, edge, mean(scores[best]), tuple(near))


def n_fits(plan: ProbeSplit) -> int:
    """How often `probe` calls its progress callback."""
    return len(plan.choosing) * len(PENALTIES) + len(plan.asked)


def _span(x: Tensor) -> Tensor:
    """(f, min(n, f)) an orthonormal basis of the rows of x (n, f).

    The SVM's weights lie in this span and inner products are preserved, so it is the same SVM in fewer dimensions.
    """
    return torch.linalg.qr(x.double().T).Q.float() if len(x) < x.shape[1] else torch.eye(x.shape[1])


def svm() -> Callable[[Tensor, Tensor, float], Callable[[Tensor], Tensor]]:
    """fit(features, labels, C) -> classify(features). Raises SparringError without scikit-learn."""
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.svm import LinearSVC
    except ImportError:
        raise SparringError("probing requires scikit-learn: pip install 'sparring[probe]'") from None

    def fit(x: Tensor, y: Tensor, penalty: float) -> Callable[[Tensor], Tensor]:
        model = LinearSVC(C=penalty, max_iter=5000, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(x.numpy(), y.numpy())
        return lambda others: torch.from_numpy(model.predict(others.numpy()))

    return fit


def _labels(part: Dataset) -> Tensor:
    assert part.labels is not None
    return part.labels


def _accuracy(predicted: Tensor, labels: Tensor) -> float:
    return float((predicted == labels).double().mean())


# The same network, trained with labels.


class Supervised(nn.Module):
    """(B, C, H, W) -> (B, classes): the last convolutional maps of a discriminator, max-pooled to 4x4, and one layer.

    network      the discriminator or its trunk
    conditional  whether the network takes a class with each image (always 0)
    """

    def __init__(self, network: nn.Module, classes: int, example: Tensor, *, conditional: bool = False) -> None:
        super().__init__()
        self.network, self.conditional = network, conditional
        with torch.no_grad():
            self.head = nn.Linear(self.maps(example).shape[1], classes).to(example.device)

    def maps(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, F): the last convolutional maps, max-pooled to at most 4x4 and flattened."""
        with ConvActivations() as maps:
            self.network(
                x, torch.zeros(len(x), dtype=torch.long, device=x.device)
            ) if self.conditional else self.network(x)
        return pooled(maps.each[-1])

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, classes) logits."""
        out: Tensor = self.head(self.maps(x))
        return out


def supervised(
    fresh: Callable[[int], System], plan: ProbeSplit, *, on_progress: Callable[[], object] = lambda: None
) -> ProbeResult:
    """Trains the discriminator's convolutional layers from new weights, with labels only.

    For a system with a convolutional discriminator.

    fresh  a seed -> the system with new weights
    on_progress  progress callback, called once per network, `n_networks(plan)` times

    Adam; its learning rate is the best of RATES on the first draw, the epoch the best on validation images in every
    draw: a small search compared with the paper's 64 settings.
    """
    validation = plan.validation.rows(torch.arange(min(N_VALIDATE, len(plan.validation))))
    learn = _Learner(fresh, validation, plan.exam, on_progress)
    accuracy = {rate: learn(plan.choosing[0], rate, 0)[0] for rate in RATES}
    best = max(RATES, key=lambda rate: accuracy[rate])
    right = tuple(learn(part, best, i + 1)[1] for i, part in enumerate(plan.asked))
    return ProbeResult("supervised network", learn.numbers, right, best, best in (RATES[0], RATES[-1]), accuracy[best])


def n_networks(plan: ProbeSplit) -> int:
    """How many networks `supervised` trains."""
    return len(RATES) + len(plan.asked)


class _Learner:
    """learn(part, rate, seed) -> validation accuracy of the best epoch, and test accuracy."""

    def __init__(
        self, fresh: Callable[[int], System], validation: Dataset, exam: Dataset, on_progress: Callable[[], object]
    ) -> None:
        self.fresh, self.validation, self.exam, self.on_progress = fresh, validation, exam, on_progress
        self.numbers = 0

    def __call__(self, part: Dataset, rate: float, seed: int) -> tuple[float, float]:
        system = self.fresh(seed)
        device = system.device
        x, y = to_float(part.images).to(device), _labels(part).to(device)
        conditional = system.accepts("score", "labels")
        network = Supervised(_network(system, part.images[:2]), len(part.classes), x[:2], conditional=conditional)
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
            if epoch % VALIDATE_EVERY == 0:
                current = self.right(network, self.validation)
                if current > best:
                    best, weights = current, copy.deepcopy(network.state_dict())
        network.load_state_dict(weights)
        self.on_progress()
        return best, self.right(network, self.exam)

    def right(self, network: nn.Module, part: Dataset) -> float:
        network.eval()
        with torch.no_grad():
            device = next(network.parameters()).device
            predicted = [network(to_float(rows).to(device)).argmax(1).cpu() for rows in part.images.split(500)]
        return _accuracy(torch.cat(predicted), _labels(part))


def _network(system: System, images: Tensor) -> nn.Module:
    """The network whose convolutional layers `score` uses, with trainable weights."""
    used: list[str] = []
    handles = [
        layer.register_forward_hook(lambda *_, name=name: used.append(name))
        for name, network in system.named_children()
        for layer in network.modules()
        if isinstance(weight := getattr(layer, "weight", None), Tensor) and weight.ndim == 4
    ]
    score(system, images)
    for handle in handles:
        handle.remove()
    return system.get_submodule(used[0]).requires_grad_(True)
