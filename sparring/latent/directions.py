"""Interpretable directions in latent space: GANSpace, SeFa, InterFaceGAN."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from sparring.data.dataset import Dataset
from sparring.errors import SparringError, require_int
from sparring.latent.classifier import classifier_for
from sparring.latent.decoder import LatentDecoder
from sparring.seeds import make_generator
from sparring.typed import require_finite, typed

BATCH = 200
"""Unit codes decoded together: fewer than one batch of `run_batched`."""

MIN_CODES = 10
"""Minimal number of codes of a class, and of all others, in each half."""


@dataclass(frozen=True)
class Direction:
    """A direction in latent space.

    name   display name
    unit   (d,) unit vector
    sigma  standard deviation of sampled codes along it
    words  its strength or accuracy, for display
    """

    name: str
    unit: Tensor
    sigma: float
    words: str


@typed
def ganspace(codes: Tensor, features: Tensor, count: int) -> list[Direction]:
    """Haerkoenen et al. 2020, "GANSpace", section 2: principal components of features, as directions of codes.

    codes     (n, d) of samples
    features  (n, f) of the same samples: the codes themselves if their distribution is learned (w of ALAE), else
              features of the images, such as pixels

    With coordinates x = V (y - mean) along the first components, the directions U solve min |U x - (z - mean)|^2:
    sums of codes weighted by coordinates. With features = codes, U = V.

    Raises SparringError if all features are equal, and for fewer than two codes.
    """
    _require_codes(codes, count)
    if features.ndim != 2 or not features.numel() or len(features) != len(codes):
        raise SparringError(f"features must be ({len(codes)}, f), one row per code; got shape {tuple(features.shape)}")
    require_finite(features=features)
    z = (codes - codes.mean(0)).double()
    y = (features - features.mean(0)).double()
    u, strength, _ = torch.linalg.svd(y, full_matrices=False)
    count = min(count, codes.shape[1], int((strength > 1e-9 * strength[0]).sum()))
    if not strength[0] > 0:
        raise SparringError(f"all {len(codes):,} samples are identical: no directions can be computed")
    share = strength.square() / strength.square().sum()
    return [
        _direction(f"component {k + 1}", _signed(u[:, k] @ z), codes, f"{share[k]:.1%} of the variance")
        for k in range(count)
    ]


@typed
def sefa(weight: Tensor, codes: Tensor, count: int) -> list[Direction]:
    """Shen and Zhou 2021, "Closed-Form Factorization of Latent Semantics in GANs" (SeFa), eq. 4.

    weight  (outputs, d) A of the layers that take the code, from `latent_weights`
    codes   (n, d) of samples, for the standard deviations

    The eigenvectors of A^T A with the largest eigenvalues: unit steps that change the layers' output the most. Raises
    SparringError for weights of another code length.
    """
    _require_codes(codes, count)
    if weight.ndim != 2 or weight.shape[1] != codes.shape[1]:
        raise SparringError(f"weights must be (outputs, {codes.shape[1]}); got shape {tuple(weight.shape)}")
    require_finite(weight=weight)
    values, vectors = torch.linalg.eigh(weight.double().T @ weight.double())
    share = values.clamp(min=0) / values.clamp(min=0).sum()
    first = range(codes.shape[1] - 1, max(-1, codes.shape[1] - 1 - count), -1)
    return [
        _direction(f"eigenvector {k + 1}", _signed(vectors[:, i]), codes, f"{share[i]:.1%} of the layers' energy")
        for k, i in enumerate(first)
    ]


@typed
def interfacegan(codes: Tensor, labels: Tensor, classes: Sequence[str]) -> list[Direction]:
    """One direction per class: the normal of the hyperplane that separates its codes from all others.

    codes   (n, d) of samples; labels: (n,) predicted classes of their images

    Logistic regression, one class against the rest, on half of the codes; `words` gives the balanced accuracy on the
    other half (50 %: chance). Shen et al. 2020, "InterFaceGAN", use an SVM. Classes with fewer than 10 codes in either
    half are omitted. Raises SparringError if none is left.
    """
    _require_codes(codes, 1)
    if labels.shape != codes.shape[:1]:
        raise SparringError(f"labels must be ({len(codes)},), one per code; got shape {tuple(labels.shape)}")
    scale = codes.std(0).clamp(min=1e-6)
    x = ((codes - codes.mean(0)) / scale).double()
    order = torch.randperm(len(x), generator=make_generator("directions"))
    train, test = order[: len(x) // 2], order[len(x) // 2 :]
    directions = []
    for y, name in enumerate(classes):
        is_class = (labels == y).double()
        few = min(float(torch.minimum(is_class[half].sum(), (1 - is_class[half]).sum())) for half in (train, test))
        if few < MIN_CODES:
            continue
        normal, offset = _separate(x[train], is_class[train])
        correct = ((x[test] @ normal + offset > 0).double() == is_class[test]).double()
        balanced = (correct[is_class[test] == 1].mean() + correct[is_class[test] == 0].mean()) / 2
        directions.append(_direction(name, normal / scale, codes, f"{balanced:.1%} balanced accuracy on test codes"))
    if not directions:
        raise SparringError(
            f"no class has {2 * MIN_CODES} of the {len(codes):,} samples, with as many of other classes: raise --n"
        )
    return directions


def _require_codes(codes: Tensor, count: int) -> None:
    require_int("count", count)
    if codes.ndim != 2 or len(codes) < 2 or not codes.shape[1]:
        raise SparringError(f"codes must be (n, d) with n > 1; got shape {tuple(codes.shape)}")
    require_finite(codes=codes)


def _separate(x: Tensor, is_class: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (d,) and offset of a logistic regression with a small L2 penalty and balanced class weights."""
    weight = torch.zeros(x.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=100, line_search_fn="strong_wolfe")
    balance = is_class / is_class.sum() + (1 - is_class) / (1 - is_class).sum()

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.binary_cross_entropy_with_logits(
            x @ weight[1:] + weight[0], is_class, weight=balance, reduction="sum"
        )
        value = value + 1e-2 * weight[1:].square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return weight.detach()[1:], weight.detach()[0]


def _signed(vector: Tensor) -> Tensor:
    """Fixes the sign of a component: its largest entry in magnitude becomes positive."""
    return vector * vector[vector.abs().argmax()].sign()


def _direction(name: str, vector: Tensor, codes: Tensor, words: str) -> Direction:
    unit = (vector / vector.norm()).to(codes)
    return Direction(name, unit, float((codes @ unit).std()), words)


@typed
def traverse(code: Tensor, directions: Sequence[Direction], *, reach: float = 3.0, columns: int = 7) -> Tensor:
    """(directions, columns, d): code (d,) moved along each direction from -reach to reach standard deviations."""
    if not directions:
        raise SparringError("directions is empty: give at least one")
    offsets = torch.linspace(-reach, reach, require_int("columns", columns, most=10_000))
    return torch.stack([code + (offsets * direction.sigma)[:, None] * direction.unit for direction in directions])


@typed
def latent_weights(decoder: LatentDecoder, d: int) -> Tensor:
    """(outputs, d) A: the stacked weights of all layers that take the code (or parts of it) as input.

    Measured, not looked up: when unit codes e_i are decoded, the input of such a layer differs from that of the code 0
    by ones and zeros only, and its output by the columns of A. So this works for any architecture: one first layer, an
    affine map per style, or one per chunk of the code. Class-conditional systems use class 0. Raises SparringError if
    there is no such layer.
    """
    if d != (length := decoder.codes(1).shape[1]):
        raise SparringError(f"d is {d}: codes of {type(decoder.system).__name__} have length {length}")
    one_class = LatentDecoder(decoder.system, 0 if decoder.is_conditional else decoder.labels)
    one_class.decode(torch.zeros(1, d))  # computes what is cached at the first image (standing statistics)
    columns: dict[nn.Module, list[Tensor]] = {}

    def record(layer: nn.Module, inputs: tuple[Tensor, ...], out: object) -> None:
        weight = getattr(layer, "weight", None)
        if not isinstance(weight, Tensor) or weight.ndim < 2 or not isinstance(out, Tensor):
            return
        change = inputs[0][1:] - inputs[0][:1]
        if bool(((change == 0) | (change == 1)).all()):
            columns.setdefault(layer, []).append((out[1:] - out[:1]).detach().flatten(1).float().cpu().T)

    handle = register_module_forward_hook(record)
    try:
        for units in torch.eye(d).split(BATCH):
            one_class.decode(torch.cat([torch.zeros(1, d), units]))
    finally:
        handle.remove()
    weights = [torch.cat(pieces, 1) for pieces in columns.values()]
    weights = [weight for weight in weights if weight.shape[1] == d and bool(weight.any())]
    if not weights:
        raise SparringError(f"{type(decoder.system).__name__} has no layer that takes the code as input")
    return torch.cat(weights)


def class_directions(
    decoder: LatentDecoder, samples: Tensor, *, classes: Sequence[str], data: Callable[[], Dataset]
) -> list[Direction]:
    """`interfacegan` with the classes that a classifier assigns to the samples, codes (n, d).

    classes  class names of the system, in order
    data     loads the real images; called only if the system does not classify

    Raises SparringError for a system that takes the class beside the code, and if there is no classifier.
    """
    if decoder.is_conditional:
        raise SparringError(
            f"{type(decoder.system).__name__} takes the class beside the code, so no direction leads to a class: "
            "choose --method pca or sefa"
        )
    classifier, known = classifier_for(decoder.system, classes, data)
    return interfacegan(samples, classifier(decoder.decode(samples)).argmax(1), known)
