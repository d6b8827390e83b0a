"""Translations between two domains: cycle error, change of the image, distance to the target domain."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from sparring.data.dataset import Dataset
from sparring.data.pixels import to_float, to_uint8
from sparring.errors import SparringError
from sparring.evaluation.measurement import Measurement
from sparring.evaluation.splits import finite, shuffled
from sparring.metrics.distances import frechet_distance
from sparring.metrics.extractors import Extractor
from sparring.metrics.intervals import mean_interval
from sparring.metrics.ssim import WINDOW, structural_similarity
from sparring.seeds import make_generator

if TYPE_CHECKING:
    from sparring.evaluation.context import Context

MAX_TRANSLATED = 2000
"""At most this many images of a domain are translated."""

CLOSE = 1.1
"""Untranslated images with a Fréchet distance below this many floors are not distinguished from the other domain."""

LAZY_DISTANCE, LAZY_GAIN = 0.25, 0.25
"""A translation is a lazy copy if its distance to its image is below the first share of the distance to the nearest
image of the other domain, and if it closes less than the second share of the Fréchet distance."""

NOISE = 0.02
"""Standard deviation of the noise that destroys faint patterns; pixels from 0 to 1, so about 5 of 255."""

RISE = 2
"""Information is hidden if the noise raises the cycle error by more than half and by more than this many times the mean
absolute noise."""


class Direction(NamedTuple):
    """One direction of the translation, and its images.

    a, b      names of the source and of the target domain
    x         (N, C, S, S) source images in [-1, 1]
    forth     their translations
    back      translates images of b to a; None for a system that does not
    source    source images of the split
    target    images of b of the split
    training  training images of b
    split     name of the split
    """

    a: str
    b: str
    x: Tensor
    forth: Tensor
    back: Callable[[Tensor], Tensor] | None
    source: Dataset
    target: Dataset
    training: Dataset
    split: str


def translation_errors(context: Context) -> Sequence[Measurement]:
    """Identity distance and Fréchet distance in each direction that the system translates.

    If it translates in both, also cycle error and hidden information. Raises SparringError if a domain has fewer than
    two images in the split.
    """
    return [one for label in _sources(context.system) for one in _errors(_direction(context, label), context.extractor)]


def _sources(system: Any) -> list[int]:
    """The domains that the system translates from."""
    return sorted(1 - to for to in getattr(system, "translates_to", (0, 1)))


def _direction(context: Context, label: int) -> Direction:
    """The translation of the domain with this label to the other one."""
    part, n = context.part, min(context.n, MAX_TRANSLATED)
    domains = [part.of_class(label), part.of_class(1 - label), context.data.of_class(1 - label)]
    if any(len(domain) < 2 for domain in domains):
        names = ", ".join(f"{len(part.of_class(y))} of {name}" for y, name in enumerate(part.classes))
        raise SparringError(f"translations need 2 or more {context.split} images of each domain; there are {names}")
    source, target, training = (domain.rows(shuffled(domain, "domain")[:n]) for domain in domains)
    x = to_float(source.images)
    return Direction(
        a=part.classes[label],
        b=part.classes[1 - label],
        x=x,
        forth=_translate(context.system, x, to=1 - label),
        back=partial(_translate, context.system, to=label) if len(_sources(context.system)) > 1 else None,
        source=source,
        target=target,
        training=training,
        split=context.split,
    )


def _errors(pair: Direction, extractor: Extractor) -> Iterator[Measurement]:
    cycle = None if pair.back is None else l1(pair.back(pair.forth), pair.x)
    if cycle is not None:
        yield _mean(
            "cycle error",
            f"{pair.a} to {pair.b} to {pair.a}",
            cycle,
            baseline=l1(pair.x.roll(1, 0), pair.x),
            floor_name=f"another image of {pair.a}",
            split=pair.split,
        )
    distance, gain = _distance(pair, extractor)
    change = l1(pair.forth, pair.x)
    nearest = _nearest(pair.source.images, pair.training.images)
    lazy = float(change.mean()) < LAZY_DISTANCE * float(nearest.mean()) and gain < LAZY_GAIN
    yield _mean(
        "identity distance",
        f"{pair.a} to {pair.b}",
        change,
        baseline=nearest,
        floor_name=f"the nearest training image of {pair.b}",
        split=pair.split,
        words="lazy copy: the translation is almost the image itself" if lazy else "",
    )
    yield distance
    if pair.back is not None and cycle is not None:
        yield _steganography(pair, pair.back, cycle)


def _distance(pair: Direction, extractor: Extractor) -> tuple[Measurement, float]:
    """Fréchet distance to the target domain, and the share of the distance of untranslated images that is closed."""
    n = min(len(pair.source), len(pair.target), len(pair.training))
    sets = (to_uint8(pair.forth), pair.source.images, pair.training.images)
    features = [extractor.features(images[:n])[0] for images in sets]
    real = extractor.features(pair.target.images[:n])[0]
    value, copied, floor = (frechet_distance(real=real, fake=fake) for fake in features)
    gain = (copied - value) / (copied - floor) if copied > floor else 0.0
    words = f"untranslated images of {pair.a} {copied:.4g}: "
    if copied < CLOSE * floor:
        words += f"too few images ({n}) to distinguish {pair.a} and {pair.b} with these features"
    else:
        words += f"{gain:.0%} of the way to {pair.b}" if gain > 0 else f"translations are not closer to {pair.b}"
    measurement = Measurement(
        metric="translation FD",
        direction=f"{pair.a} to {pair.b}",
        value=value,
        n=n,
        split=pair.split,
        floor=floor,
        floor_name=f"real training images of {pair.b}",
        extractor=extractor.name,
        digest=extractor.digest,
        by_extractor=True,
        words=words,
    )
    return measurement, gain


def _steganography(pair: Direction, back: Callable[[Tensor], Tensor], cycle: Tensor) -> Measurement:
    """Does the backward translation use faint patterns (Chu et al. 2017)? Noise destroys them (Bashkirova et al. 2019).

    If it does not, the noise changes the reconstruction about as much as the translation. cycle: (N,) cycle errors.
    """
    noise = 2 * NOISE * torch.randn(pair.forth.shape, generator=make_generator("evaluate", "hidden information"))
    disturbed = (pair.forth + noise).clamp(-1, 1)
    noisy = l1(back(disturbed), pair.x)
    rise, applied = float((noisy - cycle).mean()), float(l1(disturbed, pair.forth).mean())
    words = "no hidden information"
    if rise > RISE * applied and rise > float(cycle.mean()) / 2:
        words = "hidden information: the backward translation relies on invisible patterns, which the noise destroys"
    return _mean(
        "cycle error with noise",
        f"{pair.a} to {pair.b} to {pair.a}",
        noisy,
        baseline=cycle,
        floor_name="without noise",
        split=pair.split,
        words=words,
    )


def paired_errors(context: Context) -> Sequence[Measurement]:
    """L1 and SSIM of translations and their targets, in each direction; the baseline is the untranslated image.

    Of the given pairs, or, if the data are pairs, of those of the split; () without pairs.
    """
    pairs, split = context.pairs, "pairs"
    if pairs is None:
        if not context.part.paired:
            return ()
        split = context.split
        domains = (context.part.of_class(label) for label in range(2))
        n = min(len(context.part) // 2, context.n, MAX_TRANSLATED)
        first, second = (domain.rows(torch.arange(n) * len(domain) // n) for domain in domains)
        pairs = first, second
    measurements = []
    for label in _sources(context.system):
        x, y = pairs[label].images, pairs[1 - label].images
        translated = to_uint8(_translate(context.system, to_float(x), to=1 - label))
        direction = f"{context.data.classes[label]} to {context.data.classes[1 - label]}"
        errors = [l1(to_float(z), to_float(y)) for z in (translated, x)]
        measurements.append(_paired("paired L1", direction, *errors, smaller=True, split=split))
        if min(x.shape[2:]) >= WINDOW:
            similarities = [structural_similarity(real=y, fake=z) for z in (translated, x)]
            measurements.append(_paired("paired SSIM", direction, *similarities, smaller=False, split=split))
    return measurements


def _paired(
    metric: str, direction: str, translated: Tensor, copied: Tensor, *, smaller: bool, split: str
) -> Measurement:
    """The numbers (N,) of translations and, as the baseline, of copies; whether smaller numbers are better."""
    interval = mean_interval((copied - translated if smaller else translated - copied).tolist())
    words = "no significant difference from copying"
    if interval and interval[0] > 0:
        words = "better than copying"
    if interval and interval[1] < 0:
        words = "worse than copying"
    return _mean(
        metric,
        direction,
        translated,
        baseline=copied,
        floor_name="the untranslated image",
        split=split,
        unit="per pixel" if smaller else "",
        words=words,
    )


def _mean(
    metric: str, direction: str, numbers: Tensor, *, baseline: Tensor, unit: str = "per pixel", **fields: Any
) -> Measurement:
    """The mean of numbers (N,) and, as the floor, that of the baseline (M,), with intervals over images."""
    return Measurement(
        metric=metric,
        direction=direction,
        value=float(numbers.mean()),
        n=len(numbers),
        unit=unit,
        interval=mean_interval(numbers.tolist()),
        floor=float(baseline.mean()),
        floor_interval=mean_interval(baseline.tolist()),
        **fields,
    )


def l1(x: Tensor, y: Tensor) -> Tensor:
    """(N,) mean absolute difference of (N, C, H, W) images in [-1, 1], pixels from 0 to 1."""
    return finite((x - y).abs().flatten(1).mean(1) / 2, "translations")


def _translate(system: Any, images: Tensor, *, to: int) -> Tensor:
    """Translations of (N, C, H, W) images. Raises SparringError if their shape differs."""
    translated: Tensor = system.translate(images, to)
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
