"""Directions in the space of codes along which images change in one way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from sparring.errors import SparringError, require_int
from sparring.latent.decoder import LatentDecoder
from sparring.seeds import make_generator
from sparring.typed import require_finite, typed

AT_ONCE = 200
"""Unit codes painted together: less than one batch of a system."""

FEWEST = 10
"""Codes of a class, and of the others, that are needed to tell them apart."""


@dataclass(frozen=True)
class Direction:
    """A way through the codes.

    name   what it is
    unit   (d,) of length 1
    sigma  standard deviation of codes of samples along it
    words  how much it is worth, for a reader
    """

    name: str
    unit: Tensor
    sigma: float
    words: str


@typed
def ganspace(codes: Tensor, features: Tensor, count: int) -> list[Direction]:
    """Haerkoenen et al. 2020, "GANSpace", section 2: principal components of features, as directions of codes.

    codes     (n, d) of samples
    features  (n, f) of the same samples: the codes themselves where their distribution is learned (w of ALAE), else
              what the codes become, such as pixels

    With coordinates x = V (y - mean) along the first components, the directions U solve min |U x - (z - mean)|^2:
    sums of codes weighted by coordinates. With features = codes, U = V.

    Raises SparringError when all features are equal, and unless there are features of each of two codes or more.
    """
    _require_codes(codes, count)
    if features.ndim != 2 or not features.numel() or len(features) != len(codes):
        raise SparringError(f"features must be ({len(codes)}, f), one of each code; got {tuple(features.shape)}")
    require_finite(features=features)
    z = (codes - codes.mean(0)).double()
    y = (features - features.mean(0)).double()
    u, strength, _ = torch.linalg.svd(y, full_matrices=False)
    count = min(count, codes.shape[1], int((strength > 1e-9 * strength[0]).sum()))
    if not strength[0] > 0:
        raise SparringError(
            f"the {len(codes):,} samples are all the same: there is no direction along which they change"
        )
    share = strength.square() / strength.square().sum()
    return [
        _direction(f"component {k + 1}", _signed(u[:, k] @ z), codes, f"{share[k]:.1%} of the variance")
        for k in range(count)
    ]


@typed
def sefa(weight: Tensor, codes: Tensor, count: int) -> list[Direction]:
    """Shen and Zhou 2021, "Closed-Form Factorization of Latent Semantics in GANs" (SeFa), eq. 4.

    weight  (outputs, d) A of the layers that take the code, as `latent_weights` gives it
    codes   (n, d) of samples, for the deviations

    The eigenvectors of A^T A with the largest eigenvalues: unit steps that move what the layers give the most. Raises
    SparringError for weights of codes of another length.
    """
    _require_codes(codes, count)
    if weight.ndim != 2 or weight.shape[1] != codes.shape[1]:
        raise SparringError(f"weights must be (outputs, {codes.shape[1]}), as codes are; got {tuple(weight.shape)}")
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
    """One direction towards each class: the normal of the plane that tells its codes from all others best.

    codes   (n, d) of samples; labels: (n,) what a classifier takes their images for

    Logistic regression, one class against the rest, on half of the codes; the words say how many of the other half it
    gets right, weighing both sides the same (50 %: it knows nothing). (Shen et al. 2020, "InterFaceGAN", with an SVM.)
    Classes with fewer than 10 codes in either half are left out. Raises SparringError when none is left.
    """
    _require_codes(codes, 1)
    if labels.shape != codes.shape[:1]:
        raise SparringError(f"labels must be ({len(codes)},), one of each code; got {tuple(labels.shape)}")
    scale = codes.std(0).clamp(min=1e-6)
    x = ((codes - codes.mean(0)) / scale).double()
    order = torch.randperm(len(x), generator=make_generator("directions"))
    learnt, asked = order[: len(x) // 2], order[len(x) // 2 :]
    found = []
    for y, name in enumerate(classes):
        is_it = (labels == y).double()
        few = min(float(torch.minimum(is_it[half].sum(), (1 - is_it[half]).sum())) for half in (learnt, asked))
        if few < FEWEST:
            continue
        normal, offset = _separate(x[learnt], is_it[learnt])
        right = ((x[asked] @ normal + offset > 0).double() == is_it[asked]).double()
        balanced = (right[is_it[asked] == 1].mean() + right[is_it[asked] == 0].mean()) / 2
        found.append(_direction(name, normal / scale, codes, f"right on {balanced:.1%} of unseen codes"))
    if not found:
        raise SparringError(
            f"of {len(codes):,} samples no class has {2 * FEWEST} and leaves as many: the samples are of one kind, or "
            "more of them are needed (--n)"
        )
    return found


def _require_codes(codes: Tensor, count: int) -> None:
    require_int("count", count)
    if codes.ndim != 2 or len(codes) < 2 or not codes.shape[1]:
        raise SparringError(f"codes must be (n, d), n > 1; got {tuple(codes.shape)}")
    require_finite(codes=codes)


def _separate(x: Tensor, is_it: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (d,) and offset of a logistic regression with a small penalty; both sides weigh the same."""
    weight = torch.zeros(x.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=100, line_search_fn="strong_wolfe")
    share = is_it / is_it.sum() + (1 - is_it) / (1 - is_it).sum()

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.binary_cross_entropy_with_logits(x @ weight[1:] + weight[0], is_it, weight=share, reduction="sum")
        value = value + 1e-2 * weight[1:].square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return weight.detach()[1:], weight.detach()[0]


def _signed(vector: Tensor) -> Tensor:
    """A component has no sign of its own: its largest number is made positive."""
    return vector * vector[vector.abs().argmax()].sign()


def _direction(name: str, vector: Tensor, codes: Tensor, words: str) -> Direction:
    unit = (vector / vector.norm()).to(codes)
    return Direction(name, unit, float((codes @ unit).std()), words)


@typed
def traverse(code: Tensor, directions: Sequence[Direction], *, reach: float = 3.0, columns: int = 7) -> Tensor:
    """(directions, columns, d): code (d,) moved along each direction from -reach to reach deviations."""
    if not directions:
        raise SparringError("there is no direction to move a code along")
    far = torch.linspace(-reach, reach, require_int("columns", columns, most=10_000))
    return torch.stack([code + (far * one.sigma)[:, None] * one.unit for one in directions])


@typed
def latent_weights(paint: LatentDecoder, d: int) -> Tensor:
    """(outputs, d) A: the weights of all layers that take numbers of the code as they are, one below the other.

    Found by asking: when unit codes e_i are painted, the input of such a layer differs from that of the code 0 by ones
    and zeros only, and the output by the columns of A. So it does not matter how the network is built: one first
    layer, an affine map for every style, or one for every chunk of a code. The class is the first one. Raises
    SparringError when there is no such layer.
    """
    if d != (known := paint.codes(1).shape[1]):
        raise SparringError(f"d is {d}: codes of {type(paint.system).__name__} have {known} numbers")
    one_class = LatentDecoder(paint.system, 0 if paint.told else paint.labels)
    one_class.paint(torch.zeros(1, d))  # whatever is made at the first picture (standing statistics) is made now
    columns: dict[nn.Module, list[Tensor]] = {}

    def ask(layer: nn.Module, given: tuple, out: object) -> None:
        weight = getattr(layer, "weight", None)
        if not isinstance(weight, Tensor) or weight.ndim < 2 or not isinstance(out, Tensor):
            return
        change = given[0][1:] - given[0][:1]
        if bool(((change == 0) | (change == 1)).all()):
            columns.setdefault(layer, []).append((out[1:] - out[:1]).detach().flatten(1).float().cpu().T)

    handle = register_module_forward_hook(ask)
    try:
        for units in torch.eye(d).split(AT_ONCE):
            one_class.paint(torch.cat([torch.zeros(1, d), units]))
    finally:
        handle.remove()
    whole = [torch.cat(pieces, 1) for pieces in columns.values()]
    found = [weight for weight in whole if weight.shape[1] == d and bool(weight.any())]
    if not found:
        raise SparringError(f"{type(paint.system).__name__} has no layer that takes the code as it is")
    return torch.cat(found)
