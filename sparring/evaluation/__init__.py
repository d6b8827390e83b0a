"""System + data -> metrics, each with n, interval, floor (real-vs-real baseline), extractor and split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from sparring.data.dataset import Dataset
from sparring.errors import SparringError, require_int, unknown_name_error
from sparring.evaluation.classes import classification_error, clustering_error
from sparring.evaluation.comparison import Difference, compare
from sparring.evaluation.domains import evaluate_translation, paired_errors
from sparring.evaluation.given import Images, as_system
from sparring.evaluation.measurement import Cell, Evaluation, Finding, Measure, Rate, Unit
from sparring.evaluation.panel import COPY_POOL
from sparring.evaluation.power import needed
from sparring.evaluation.reconstruction import evaluate_latents, likelihood, reconstruct_all, reconstruction_error
from sparring.evaluation.sample_quality import (
    TrainingEvaluator,
    blur,
    class_agreement,
    evaluate_samples,
    parzen_window,
    sample_seed,
)
from sparring.evaluation.splits import (
    FEWEST,
    HELD_OUT_B,
    can,
    choose_extractor,
    classifier_check_images,
    facts_of,
    in_chunks,
    reference_split,
    split_of,
)
from sparring.evaluation.stacked import stacked_modes
from sparring.metrics import SELF, SHIPPED, ClassShare, Extractor, accuracy_on, knows
from sparring.metrics import extractor as shipped
from sparring.seeds import standard_defaults
from sparring.typed import typed

__all__ = [
    "Difference",
    "Evaluation",
    "Finding",
    "Measure",
    "Rate",
    "TrainingEvaluator",
    "Unit",
    "choose_extractor",
    "class_agreement",
    "classification_error",
    "clustering_error",
    "compare",
    "evaluate",
    "in_chunks",
    "reconstruct_all",
]

MEASURED = ("sample", "classify", "cluster", "reconstruct", "encode", "translate")
"""Capabilities that can be measured; a system needs at least one of them."""

LEVELS = {"quick": 2000, "full": 10_000}
"""Level -> images per repeat."""


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

    Intervals are over the repeats (a bootstrap over images would bias the distances). The floor is the same metric with
    up to 10 sets of n training images in place of the samples; their spread says how far a metric may be from its floor
    by chance. Copies of training images are searched for if images are held out.

    Reconstructions, latent codes and likelihoods are computed on the reference images; errors of classes and clusters
    on all labeled images of the split; translations on both domains of the split.

    Reference and floor depend on data, split and n, but not on the seed. Raises SparringError for a system without any
    capability to measure, an unknown or missing split, too few images, and images with a wrong shape or values that are
    not finite.
    """
    data.require_images()
    system = as_system(system, data)
    if not any(can(system, capability) for capability in MEASURED):
        raise SparringError(f"{type(system).__name__} cannot be evaluated: it has none of {', '.join(MEASURED)}")
    sampling = dict(sampling or {})
    if isinstance(system, Images) and sampling:
        raise SparringError(f"{next(iter(sampling))} requires a system that can sample; these are existing images")
    if not can(system, "sample") and (sampling or parzen):
        option = next(iter(sampling), "parzen")
        raise SparringError(f"{option} requires a system that can sample; {type(system).__name__} cannot")
    if pairs is not None and not can(system, "translate"):
        raise SparringError(f"pairs require a system that can translate; {type(system).__name__} cannot")
    require_int("repeats", repeats, most=1000)
    require_int("seed", seed, least=0)
    if n is not None and n < FEWEST:
        raise SparringError(f"n (images per measurement) must be at least {FEWEST}; got {n}")
    if level not in LEVELS:
        raise unknown_name_error("level", level, LEVELS)
    if extractor is not None and extractor.name == SELF and split == "held_out":
        split = HELD_OUT_B  # it was trained on the first half
    reference, others = reference_split(data, split, n or LEVELS[level], COPY_POOL[level])
    part = split_of(data, split)
    samples = can(system, "sample")
    if isinstance(system, Images):
        if len(system) < FEWEST:
            raise SparringError(f"{len(system)} images are too few: an evaluation needs at least {FEWEST}")
        reference = reference.rows(slice(0, min(len(reference), len(system))))
        repeats = min(repeats, len(system) // len(reference))
    if samples and len(reference) < FEWEST:
        counts = f"{len(part):,} {split.replace('_', '-')} and {len(data):,} training images"
        raise SparringError(
            f"data '{data.name}' has {counts}: too few to evaluate samples, which needs {FEWEST} of each; "
            "hold out a larger share (held_out=0.2), or compare with the training images (split='train')"
        )
    notes: list[str] = []
    pixels: dict[str, float] = {}
    measures: list[Measure] = []
    histogram: list[ClassShare] = []
    cells: list[Cell] = []
    rates: list[Rate] = []
    pictures: dict[str, Image] = {}

    if samples:
        extractor = extractor or choose_extractor(data)
        classes, note = _recognized_classes(extractor, data)
        notes += [note] if note else []
        sample = partial(system.sample, len(reference), **sampling)
        held_out = None if split == "train" else data.held_out
        if held_out is not None and split == HELD_OUT_B:
            held_out = part
        result = evaluate_samples(
            sample, reference, others, held_out, extractor, classes, split, averaged, seed, repeats
        )
        measures, histogram, cells, pictures = result.measures, result.histogram, result.cells, result.pictures
        pixels = result.range._asdict()
        notes += _too_few(measures, data, split, len(system) if isinstance(system, Images) else None)
        if isinstance(system, Images):
            notes += [system.note] if system.note else []
            if histogram and system.labels is not None:
                requested = system.labels[: repeats * len(reference)].split(len(reference))
                note = "requested class: its folder or label"
                rates.append(class_agreement(result.labels, requested, part, extractor, split, note))
            elif system.labels is not None and not note:
                notes.append(f"class agreement is not measured: no classifier has the classes of '{data.name}'")
        elif histogram and getattr(system, "classes", None) and "labels" not in sampling:
            cyclic = [torch.arange(len(labels)) % len(data.classes) for labels in result.labels]
            rates.append(class_agreement(result.labels, cyclic, part, extractor, split))
    if can(system, "classify") and part.labels is not None:
        rates.append(classification_error(system, part, split))
    if can(system, "cluster") and part.labels is not None:
        rates.append(clustering_error(system, data, split))

    reconstruction: tuple[Finding, ...] = ()
    reconstructed: Tensor | None = None
    if can(system, "reconstruct"):
        reconstructed = reconstruct_all(system, reference)
        reconstruction = (reconstruction_error(reference, reconstructed, others, split),)
    codes, units = evaluate_latents(system, reference, split, seed, repeats)
    domains: tuple[Finding, ...] = ()
    if can(system, "translate"):
        extractor = extractor or choose_extractor(data)
        domains = evaluate_translation(system, data, part, extractor, split, n or LEVELS[level])
        domains += paired_errors(system, pairs, data.classes) if pairs else ()
    return Evaluation(
        data=data.name,
        fingerprint=data.fingerprint,
        n=len(reference),
        repeats=repeats,
        measures=tuple(measures),
        classes=tuple(histogram),
        rates=tuple(rates),
        sampling=sampling,
        reconstruction=reconstruction,
        blur=()
        if reconstructed is None
        else blur(reference.images, others.images[: len(reference)], reconstructed, split),
        codes=codes,
        likelihood=likelihood(system, reference, split, seed),
        parzen=(parzen_window(partial(system.sample, **sampling), data, seed),) if parzen else (),
        domains=domains,
        modes=stacked_modes(partial(system.sample, **sampling), data, split, seed)
        if samples and not isinstance(system, Images)
        else (),
        units=units,
        cells=tuple(cells),
        averaged=averaged,
        seeds=tuple(sample_seed(seed, i) for i in range(repeats))
        if measures and not isinstance(system, Images)
        else (),
        range=pixels,
        system={} if isinstance(system, Images) else facts_of(system),
        notes=tuple(notes),
        pictures=pictures,
    )


def _too_few(measures: Sequence[Measure], data: Dataset, split: str, samples: int | None) -> list[str]:
    """At most one sentence: which metrics have too few images, how many they need, and how to get them.

    samples  number of existing samples; None for a system
    """
    gray = [measure for measure in measures if measure.light == "gray"]
    if not gray:
        return []
    n, enough = measures[0].n, max(needed(measure.name) for measure in gray)
    total = len(data) + (len(data.held_out) if data.held_out else 0)
    part, share = split_of(data, split), -(-100 * enough // total) / 100
    if samples is not None and samples < enough:
        how = f"evaluate {enough:,} samples or more"
    elif len(part) >= enough:
        how = f"evaluate with n = {enough:,} or more"
    elif split in ("held_out", HELD_OUT_B) and share <= 0.5:
        how = f"hold out {share:.0%} of the {total:,} images (held_out={share:.2g}), or add images"
    else:
        how = f"add images: {enough:,} reference images or more"
    return [
        f"{n:,} {split.replace('_', '-')} images are too few for {len(gray)} of {len(measures)} metrics (gray "
        f"lights): at least {enough:,} are needed to detect even gross faults; {how}"
    ]


def _recognized_classes(extractor: Extractor, data: Dataset) -> tuple[tuple[str, ...], str]:
    """The classes of the data if the extractor recognizes real images, else (); and a note with the reason.

    The note also covers shipped classifiers that have these classes but do not recognize the images.
    """
    real = classifier_check_images(data)
    for classifier in (extractor, *map(shipped, () if extractor.classes else SHIPPED)):
        accuracy = accuracy_on(classifier, real.images, real.labels, real.classes)
        if knows(classifier, accuracy):
            return (data.classes if data.classes == extractor.classes else ()), ""
        if accuracy is not None:
            return (), (
                f"{classifier.name} classifies {100 * accuracy:.0f} % of the real images correctly, instead of "
                f"{100 * (classifier.accuracy or 1):.0f} % on its test set: classes of samples are not counted"
            )
    return (), ""
