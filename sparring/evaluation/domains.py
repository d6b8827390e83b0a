"""Translations between two domains: cycle error, change of the image, distance to the target domain."""

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

MAX_TRANSLATED = 2000
"""At most this many images of a domain are translated."""

LAZY_DISTANCE, LAZY_GAIN = 0.25, 0.25
"""A translation is a lazy copy if its distance to its image is below the first share of the distance to the nearest
image of the other domain, and if it closes less than the second share of the Fréchet distance."""

NOISE = 0.02
"""Standard deviation of the noise that destroys faint patterns; pixels from 0 to 1, so about 5 of 255."""

RISE = 2
"""Information is hidden if the noise raises the cycle error by more than half and by more than this many times the mean
absolute noise."""

Translate = Callable[[Tensor], Tensor]


def evaluate_translation(
    system: Any, data: Dataset, part: Dataset, extractor: Extractor, split: str, n: int
) -> tuple[Finding, ...]:
    """Cycle error, identity distance, Fréchet distance and hidden information of `part`, in both directions.

    Raises SparringError if a domain has fewer than two images in the split.
    """
    findings: list[Finding] = []
    for label in range(2):
        source, target, train = part.of_class(label), part.of_class(1 - label), data.of_class(1 - label)
        for domain in (source, target, train):
            if len(domain) < 2:
                names = ", ".join(f"{len(part.of_class(y))} of {name}" for y, name in enumerate(part.classes))
                raise SparringError(f"translations need 2 or more {split} images of each domain; there are {names}")
        source, target, train = (
            domain.rows(shuffled(domain, "domain")[: min(n, MAX_TRANSLATED)]) for domain in (source, target, train)
        )
        forth, back = (partial(_translate, system, to=to) for to in (1 - label, label))
        findings += _direction(forth, back, source, target, train, extractor, split, part.classes[label], label)
    return tuple(findings)


def _direction(
    forth: Translate,
    back: Translate,
    source: Dataset,
    target: Dataset,
    train: Dataset,
    extractor: Extractor,
    split: str,
    a: str,
    label: int,
) -> list[Finding]:
    b = source.classes[1 - label]
    x = to_float(source.images)
    translated = forth(x)
    clean = l1(back(translated), x)
    others = l1(x.roll(1, 0), x)
    cycle = Finding(
        f"cycle error {a} to {b} to {a}",
        *_mean(clean), *_baseline(others), f"another image of {a}", split,
    )  # fmt: skip

    # Does the translation change the image?
    change = l1(translated, x)
    nearest = _nearest(source.images, train.images)
    n = min(len(source), len(target), len(train))
    features = [extractor.features(images[:n])[0] for images in (to_uint8(translated), source.images, train.images)]
    real = extractor.features(target.images[:n])[0]
    value, copied, floor = (frechet_distance(real=real, fake=fake) for fake in features)
    gain = (copied - value) / (copied - floor) if copied > floor else 0.0
    lazy = float(change.mean()) < LAZY_DISTANCE * float(nearest.mean()) and gain < LAZY_GAIN
    words = "lazy copy: the translation is almost the image itself" if lazy else ""
    identity = Finding(
        f"identity distance {a} to {b}",
        *_mean(change), *_baseline(nearest), f"the nearest training image of {b}", split, words,
    )  # fmt: skip

    # Does it reach the target domain?
    words = f"untranslated images of {a} {copied:.4g}: "
    if copied <= floor:
        words += f"{n} images are too few to distinguish {a} and {b} with these features"
    else:
        words += f"{gain:.0%} of the way to {b}" if gain > 0 else f"translations are not closer to {b}"
    distance = Finding(
        f"FD-{extractor.name}@{n} {a} to {b}",
        value, "", n, None, floor, None, f"real training images of {b}", split, words,
    )  # fmt: skip
    return [cycle, identity, distance, _steganography(back, translated, x, clean, split, f"{a} to {b} to {a}")]


def _steganography(
    back: Translate, translated: Tensor, x: Tensor, clean: Tensor, split: str, direction: str
) -> Finding:
    """Does the backward translation use faint patterns (Chu et al. 2017)? Noise destroys them (Bashkirova et al. 2019).

    If it does not, the noise changes the reconstruction about as much as the translation.
    """
    noise = 2 * NOISE * torch.randn(translated.shape, generator=make_generator("evaluate", "hidden information"))
    disturbed = (translated + noise).clamp(-1, 1)
    noisy = l1(back(disturbed), x)
    rise, applied = float((noisy - clean).mean()), float(l1(disturbed, translated).mean())
    words = "no hidden information"
    if rise > RISE * applied and rise > float(clean.mean()) / 2:
        words = "hidden information: the backward translation relies on invisible patterns, which the noise destroys"
    return Finding(
        f"cycle error {direction} with noise", *_mean(noisy), *_baseline(clean), "without noise", split, words
    )


def paired_errors(system: Any, pairs: tuple[Dataset, Dataset], names: tuple[str, ...]) -> tuple[Finding, ...]:
    """L1 and SSIM of translations and their targets, in both directions; the baseline is the untranslated image."""
    findings = []
    for label in range(2):
        x, y = pairs[label].images, pairs[1 - label].images
        translated = to_uint8(_translate(system, to_float(x), to=1 - label))
        direction = f"{names[label]} to {names[1 - label]}"
        errors = [l1(to_float(z), to_float(y)) for z in (translated, x)]
        findings.append(_paired(f"paired L1 {direction}", "per pixel", errors, smaller=True))
        if min(x.shape[2:]) >= WINDOW:
            similarities = [structural_similarity(real=y, fake=z) for z in (translated, x)]
            findings.append(_paired(f"paired SSIM {direction}", "", similarities, smaller=False))
    return tuple(findings)


def _paired(name: str, unit: str, numbers: list[Tensor], *, smaller: bool) -> Finding:
    """The numbers of translations and, as the baseline, of copies.

    numbers  (N,) of translations, (N,) of copies
    smaller  whether smaller numbers are better
    """
    translated, copied = numbers
    interval = mean_interval((copied - translated if smaller else translated - copied).tolist())
    words = "no significant difference from copying"
    if interval and interval[0] > 0:
        words = "better than copying"
    if interval and interval[1] < 0:
        words = "worse than copying"
    card = (float(translated.mean()), unit, len(translated), mean_interval(translated.tolist()))
    return Finding(name, *card, *_baseline(copied), "the untranslated image", "pairs", words)


def l1(x: Tensor, y: Tensor) -> Tensor:
    """(N,) mean absolute difference of (N, C, H, W) images in [-1, 1], pixels from 0 to 1."""
    return finite((x - y).abs().flatten(1).mean(1) / 2, "translations")


def _translate(system: Any, images: Tensor, *, to: int) -> Tensor:
    """Translations of (N, C, H, W) images. Raises SparringError if their shape differs."""
    translated = system.translate(images, to)
    if translated.shape != images.shape:
        raise SparringError(
            f"translations must have the shape of their images, {tuple(images.shape)}; got {tuple(translated.shape)}"
        )
    return translated


def _nearest(images: Tensor, others: Tensor) -> Tensor:
    """(N,) mean absolute difference to the nearest of `others`, pixels from 0 to 1; images are (N, C, H, W) uint8."""
    flat = others.flatten(1).float()
    closest = [torch.cdist(rows.flatten(1).float(), flat, p=1).min(1).values for rows in images.split(250)]
    return torch.cat(closest).double() / (255 * images[0].numel())


def _mean(numbers: Tensor) -> tuple[float, str, int, tuple[float, float] | None]:
    return float(numbers.mean()), "per pixel", len(numbers), mean_interval(numbers.tolist())


def _baseline(numbers: Tensor) -> tuple[float, tuple[float, float] | None]:
    return float(numbers.mean()), mean_interval(numbers.tolist())
