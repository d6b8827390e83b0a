"""Translations between two domains: how much comes back, whether anything happened, whether it arrived."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sparring.data.dataset import Dataset
from sparring.data.pixels import to_float, to_uint8
from sparring.errors import SparringError
from sparring.evaluation.measurement import Finding
from sparring.evaluation.splits import finite, shuffled
from sparring.metrics import Extractor, frechet_distance, mean_interval
from sparring.metrics.ssim import WINDOW, structural_similarity
from sparring.seeds import make_generator

MOST = 2000
"""At most so many images of a domain are translated."""

LAZY_DISTANCE, LAZY_GAIN = 0.25, 0.25
"""A lazy copy lies nearer to its image than this share of the way to the nearest image of the other domain, and goes
less than this share of the way in Fréchet distance."""

NOISE = 0.02
"""Deviation of the noise that a faint pattern does not survive; pixels from 0 to 1, so about 5 of 255."""

RISE = 2
"""Information is hidden when the cycle error rises by more than so many times the mean absolute noise, and by half."""

Translate = Callable[[Tensor], Tensor]


def evaluate_translation(
    system: Any, data: Dataset, part: Dataset, extractor: Extractor, split: str, n: int
) -> tuple[Finding, ...]:
    """Of `part`, in both directions: cycle error, identity distance, Fréchet distance, hidden information.

    Raises SparringError when a domain has fewer than two images in the split.
    """
    found: list[Finding] = []
    for label in range(2):
        source, target, known = part.of_class(label), part.of_class(1 - label), data.of_class(1 - label)
        for domain in (source, target, known):
            if len(domain) < 2:
                names = ", ".join(f"{len(part.of_class(y))} of {name}" for y, name in enumerate(part.classes))
                raise SparringError(f"translations are measured on 2 or more {split} images of each domain: {names}")
        source, target, known = (
            domain.rows(shuffled(domain, "domain")[: min(n, MOST)]) for domain in (source, target, known)
        )
        there, back = (partial(_checked, system, to=to) for to in (1 - label, label))
        found += _direction(there, back, source, target, known, extractor, split, part.classes[label], label)
    return tuple(found)


def _direction(
    there: Translate,
    back: Translate,
    source: Dataset,
    target: Dataset,
    known: Dataset,
    extractor: Extractor,
    split: str,
    a: str,
    label: int,
) -> list[Finding]:
    b = source.classes[1 - label]
    x = to_float(source.images)
    made = there(x)
    clean = l1(back(made), x)
    others = l1(x.roll(1, 0), x)
    cycle = Finding(
        f"cycle error {a} to {b} to {a}",
        *_mean(clean), *_beside(others), f"another image of {a}", split,
    )  # fmt: skip

    # Did anything happen?
    moved = l1(made, x)
    nearest = _nearest(source.images, known.images)
    n = min(len(source), len(target), len(known))
    features = [extractor.features(images[:n])[0] for images in (to_uint8(made), source.images, known.images)]
    real = extractor.features(target.images[:n])[0]
    arrived, copied, floor = (frechet_distance(real=real, fake=fake) for fake in features)
    gain = (copied - arrived) / (copied - floor) if copied > floor else 0.0
    lazy = float(moved.mean()) < LAZY_DISTANCE * float(nearest.mean()) and gain < LAZY_GAIN
    words = "a lazy copy: the translation is nearly the image itself" if lazy else ""
    identity = Finding(
        f"identity distance {a} to {b}",
        *_mean(moved), *_beside(nearest), f"the nearest training image of {b}", split, words,
    )  # fmt: skip

    # Did it arrive?
    words = f"untranslated images of {a} {copied:.4g}: "
    if copied <= floor:
        words += f"{n} images are too few to tell {a} and {b} apart by these features"
    else:
        words += f"{gain:.0%} of the way to {b}" if gain > 0 else f"translations are no nearer to {b}"
    distance = Finding(
        f"FD-{extractor.name}@{n} {a} to {b}",
        arrived, "", n, None, floor, None, f"real training images of {b}", split, words,
    )  # fmt: skip
    return [cycle, identity, distance, _steganography(back, made, x, clean, split, f"{a} to {b} to {a}")]


def _steganography(back: Translate, made: Tensor, x: Tensor, clean: Tensor, split: str, way: str) -> Finding:
    """Does the way back read faint patterns? Chu et al. 2017; as in Bashkirova et al. 2019, noise destroys them.

    A way back that paints what it sees changes its picture about as much as the noise changed the translation.
    """
    noise = 2 * NOISE * torch.randn(made.shape, generator=make_generator("evaluate", "hidden information"))
    disturbed = (made + noise).clamp(-1, 1)
    noisy = l1(back(disturbed), x)
    rise, seen = float((noisy - clean).mean()), float(l1(disturbed, made).mean())
    words = "what comes back is in the picture"
    if rise > RISE * seen and rise > float(clean.mean()) / 2:
        words = "hidden information: the way back reads patterns too faint to see, which the noise destroys"
    return Finding(f"cycle error {way} with noise", *_mean(noisy), *_beside(clean), "without noise", split, words)


def paired_errors(system: Any, pairs: tuple[Dataset, Dataset], names: tuple[str, ...]) -> tuple[Finding, ...]:
    """L1 and SSIM to the known other picture, in both directions, beside those of the image itself: of copying."""
    found = []
    for label in range(2):
        x, y = pairs[label].images, pairs[1 - label].images
        made = to_uint8(_checked(system, to_float(x), to=1 - label))
        way = f"{names[label]} to {names[1 - label]}"
        errors = [l1(to_float(z), to_float(y)) for z in (made, x)]
        found.append(_paired(f"paired L1 {way}", "per pixel", errors, smaller=True))
        if min(x.shape[2:]) >= WINDOW:
            alike = [structural_similarity(real=y, fake=z) for z in (made, x)]
            found.append(_paired(f"paired SSIM {way}", "", alike, smaller=False))
    return tuple(found)


def _paired(name: str, unit: str, numbers: list[Tensor], *, smaller: bool) -> Finding:
    """Of translations, beside those of copies; `smaller`: whether small numbers are good."""
    made, copied = numbers
    between = mean_interval((copied - made if smaller else made - copied).tolist())
    words = "no clear difference to copying"
    if between and between[0] > 0:
        words = "better than copying"
    if between and between[1] < 0:
        words = "worse than copying"
    card = (float(made.mean()), unit, len(made), mean_interval(made.tolist()))
    return Finding(name, *card, *_beside(copied), "the image itself, copied", "pairs", words)


def l1(x: Tensor, y: Tensor) -> Tensor:
    """(N,) mean absolute difference of (N, C, H, W) images in [-1, 1], pixels from 0 to 1."""
    return finite((x - y).abs().flatten(1).mean(1) / 2, "translations")


def _checked(system: Any, images: Tensor, *, to: int) -> Tensor:
    made = system.translate(images, to)
    if made.shape != images.shape:
        raise SparringError(f"translations must be {tuple(images.shape)} as their images; got {tuple(made.shape)}")
    return made


def _nearest(images: Tensor, others: Tensor) -> Tensor:
    """(N,) mean absolute difference, pixels from 0 to 1, to the nearest of the others; (N, C, H, W) uint8."""
    flat = others.flatten(1).float()
    closest = [torch.cdist(rows.flatten(1).float(), flat, p=1).min(1).values for rows in images.split(250)]
    return torch.cat(closest).double() / (255 * images[0].numel())


def _mean(numbers: Tensor) -> tuple[float, str, int, tuple[float, float] | None]:
    return float(numbers.mean()), "per pixel", len(numbers), mean_interval(numbers.tolist())


def _beside(numbers: Tensor) -> tuple[float, tuple[float, float] | None]:
    return float(numbers.mean()), mean_interval(numbers.tolist())
