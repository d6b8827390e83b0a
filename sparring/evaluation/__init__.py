"""System + data -> metrics, each with n, interval, floor (real-vs-real baseline), extractor and split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sparring.data.dataset import Dataset
from sparring.errors import SparringError, require_int, unknown_name_error
from sparring.evaluation.comparison import Difference, compare
from sparring.evaluation.context import Context, sample_seed
from sparring.evaluation.given import Images, as_system
from sparring.evaluation.measurement import Measurement
from sparring.evaluation.metrics import METRICS, OF_SAMPLES
from sparring.evaluation.panel import complete, panel_measurements
from sparring.evaluation.pictures import pictures
from sparring.evaluation.reconstruction import units_of
from sparring.evaluation.result import Evaluation
from sparring.evaluation.splits import (
    FEWEST,
    HELD_OUT_B,
    can,
    choose_extractor,
    facts_of,
    reference_split,
    split_of,
)
from sparring.evaluation.training_evaluator import TrainingEvaluator
from sparring.metrics.data_driven import SELF
from sparring.metrics.extractors import Extractor, extracting_on
from sparring.seeds import standard_defaults
from sparring.typed import typed

__all__ = [
    "METRICS",
    "Difference",
    "Evaluation",
    "Measurement",
    "TrainingEvaluator",
    "choose_extractor",
    "compare",
    "evaluate",
]

MEASURED = ("sample", "classify", "cluster", "reconstruct", "encode", "translate")
"""Capabilities that can be measured; a system needs at least one of them."""

LEVELS = {"quick": 2000, "full": 10_000}
"""Level -> images per repeat."""

COPY_POOL = {"quick": 30_000, "full": 100_000}
"""Level -> maximum number of training images that are searched for copies."""


@typed
@standard_defaults()
def evaluate(
    system: Any,
    data: Dataset,
    *,
    level: str = "quick",
    n: int | None = None,
    split: str = "held_out",
    seed: int = 0,
    extractor: Extractor | None = None,
    repeats: int = 5,
    averaged: bool | None = None,
    sampling: Mapping[str, Any] | None = None,
    parzen: bool = False,
    pairs: tuple[Dataset, Dataset] | None = None,
) -> Evaluation:
    """Evaluate a system, or existing samples, against images that were not used for training.

    system     a `System`, any object with capabilities to measure (and `takes` for their options), or samples:
               (N, C, S, S) uint8 or floats in [-1, 1], a dataset, or the path of a folder, zip or array. Samples are
               divided into at most `repeats` disjoint sets; if they have classes, by folder or label, class agreement
               is measured
    level      "quick": 2,000 images per repeat, "full": 10,000
    n          images per repeat, instead of the level; limited by the number of reference and training images
    split      of the reference images. "held_out_b": the half of the held-out images that did not select the best
               checkpoint; "train": two halves of the training images are compared
    seed       of the samples
    extractor  of the features; by default a shipped classifier if it recognizes labeled real images, else random
               features. Classes of samples are counted only by a classifier that recognizes real images
    repeats    number of sets of samples
    averaged   whether the weights are EMA weights; only recorded
    sampling   arguments of `system.sample` (truncation=0.5)
    parzen     add the Parzen-window log-likelihood of Goodfellow et al. 2014
    pairs      row-aligned images of two domains, for the errors of translations

    `METRICS` lists all metrics. Intervals are over the repeats (a bootstrap over images would bias the distances). The
    floor is the same metric with up to 10 sets of n training images in place of the samples; their spread says how far
    a metric may be from its floor by chance. Reference and floor depend on data, split and n, but not on the seed.
    Raises SparringError for a system without any capability to measure, an unknown or missing split, too few images,
    and images with a wrong shape or values that are not finite.
    """
    data.require_images()
    require_int("repeats", repeats, most=1000)
    require_int("seed", seed, least=0)
    context = _context(
        as_system(system, data),
        data,
        level=level,
        n=n,
        split=split,
        seed=seed,
        extractor=extractor,
        repeats=repeats,
        sampling=dict(sampling or {}),
        parzen=parzen,
        pairs=pairs,
    )
    with extracting_on(getattr(context.system, "device", None)):
        return _evaluation(context, averaged)


def _context(
    system: Any,
    data: Dataset,
    *,
    level: str,
    n: int | None,
    split: str,
    seed: int,
    extractor: Extractor | None,
    repeats: int,
    sampling: Mapping[str, Any],
    parzen: bool,
    pairs: tuple[Dataset, Dataset] | None,
) -> Context:
    """Check the arguments of `evaluate` and choose the images. Raises SparringError."""
    _require_measurable(system, sampling, parzen=parzen, pairs=pairs)
    if n is not None and n < FEWEST:
        raise SparringError(f"n (images per measurement) must be at least {FEWEST}; got {n}")
    if level not in LEVELS:
        raise unknown_name_error("level", level, LEVELS)
    if extractor is not None and extractor.name == SELF and split == "held_out":
        split = HELD_OUT_B  # it was trained on the first half
    n = n or LEVELS[level]
    reference, others = reference_split(data, split, n, COPY_POOL[level])
    if isinstance(system, Images):
        reference, repeats = _fitting(reference, repeats, len(system))
    if can(system, "sample"):
        _require_enough(reference, data, split)
    return Context(
        system=system,
        data=data,
        split=split,
        reference=reference,
        others=others,
        n=n,
        repeats=repeats,
        seed=seed,
        chosen=extractor,
        sampling=sampling,
        parzen=parzen,
        pairs=pairs,
    )


def _evaluation(context: Context, averaged: bool | None) -> Evaluation:
    system = context.system
    measurements = measure(context)
    sampled, images = can(system, "sample"), isinstance(system, Images)
    panel, sets = (context.samples.panel, context.samples.sets) if sampled else (None, [])
    cells = panel.odd_cells(sets) if panel else []
    return Evaluation(
        data=context.data.name,
        fingerprint=context.data.fingerprint,
        n=len(context.reference),
        repeats=context.repeats,
        measurements=measurements,
        classes=tuple(panel.histogram(sets)) if panel else (),
        sampling=context.sampling,
        units=units_of(*context.latents) if can(system, "kl") else (),
        cells=tuple(cells),
        averaged=averaged,
        seeds=tuple(sample_seed(context.seed, i) for i in range(context.repeats)) if sampled and not images else (),
        range=context.samples.range._asdict() if sampled else {},
        system={} if images else facts_of(system),
        notes=tuple(_notes(context, measurements)) if sampled else (),
        pictures=pictures(context, cells) if sampled else {},
    )


def measure(context: Context) -> tuple[Measurement, ...]:
    """All metrics that the system has the capabilities for, in the order of `METRICS`."""
    measurements: list[Measurement] = []
    if can(context.system, "sample"):
        samples = context.samples
        floors = [samples.panel.measure(floor) for floor in samples.floors]
        total = len(samples.training.images)
        measurements += panel_measurements(samples.panel, samples.sets, floors, total, context.split)
    functions = dict.fromkeys(
        metric.function
        for metric in METRICS.values()
        if metric.needs not in OF_SAMPLES and any(can(context.system, one) for one in metric.needs.split(" or "))
    )
    for function in functions:
        measurements += map(complete, function(context))
    return tuple(measurements)


# Requirements.


def _require_measurable(
    system: Any, sampling: Mapping[str, Any], *, parzen: bool, pairs: tuple[Dataset, Dataset] | None
) -> None:
    """Raises SparringError if the system lacks the capabilities for these options, or has none to measure."""
    kind = type(system).__name__
    if not any(can(system, capability) for capability in MEASURED):
        raise SparringError(f"{kind} cannot be evaluated: it has none of {', '.join(MEASURED)}")
    if isinstance(system, Images) and sampling:
        raise SparringError(f"{next(iter(sampling))} requires a system that can sample; these are existing images")
    if not can(system, "sample") and (sampling or parzen):
        option = next(iter(sampling), "parzen")
        raise SparringError(f"{option} requires a system that can sample; {kind} cannot")
    if pairs is not None and not can(system, "translate"):
        raise SparringError(f"pairs require a system that can translate; {kind} cannot")


def _fitting(reference: Dataset, repeats: int, available: int) -> tuple[Dataset, int]:
    """The reference and the number of repeats for so many existing images. Raises SparringError for too few images."""
    if available < FEWEST:
        images = "1 image is" if available == 1 else f"{available} images are"
        raise SparringError(f"{images} too few: an evaluation needs at least {FEWEST}")
    reference = reference.rows(slice(0, min(len(reference), available)))
    return reference, min(repeats, available // len(reference))


def _require_enough(reference: Dataset, data: Dataset, split: str) -> None:
    """Raises SparringError if there are too few images to evaluate samples."""
    if len(reference) < FEWEST:
        counts = f"{len(split_of(data, split)):,} {split.replace('_', '-')} and {len(data):,} training images"
        raise SparringError(
            f"data '{data.name}' has {counts}: too few to evaluate samples, which needs {FEWEST} of each; "
            "hold out a larger share (held_out=0.2), or compare with the training images (split='train')"
        )


# Notes.


def _notes(context: Context, measurements: Sequence[Measurement]) -> list[str]:
    """Sentences on what could not be measured in the samples, and why."""
    system, note = context.system, context.recognized.note
    notes = [note] if note else []
    notes += _too_few([one for one in measurements if one.section == "samples"], context)
    if isinstance(system, Images):
        notes += [system.note] if system.note else []
        if system.labels is not None and not context.recognized.classes and not note:
            notes.append(f"class agreement is not measured: no classifier has the classes of '{context.data.name}'")
    return notes


def _too_few(panel: Sequence[Measurement], context: Context) -> list[str]:
    """At most one sentence: which metrics have too few images, how many they need, and how to get them."""
    gray = [one for one in panel if one.light == "gray"]
    if not gray:
        return []
    data, split, n = context.data, context.split, len(context.reference)
    enough = max(one.needed for one in gray)
    total = len(data) + (len(data.held_out) if data.held_out else 0)
    share = -(-100 * enough // total) / 100
    if isinstance(context.system, Images) and len(context.system) < enough:
        how = f"evaluate {enough:,} samples or more"
    elif len(context.part) >= enough:
        how = f"evaluate with n = {enough:,} or more"
    elif split in ("held_out", HELD_OUT_B) and share <= 0.5:
        how = f"hold out {share:.0%} of the {total:,} images (held_out={share:.2g}), or add images"
    else:
        how = f"add images: {enough:,} reference images or more"
    return [
        f"{n:,} {split.replace('_', '-')} images are too few for {len(gray)} of {len(panel)} metrics (gray "
        f"lights): at least {enough:,} are needed to detect even gross faults; {how}"
    ]
