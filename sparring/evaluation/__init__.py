"""System + data -> numbers, each with its identity card: n, interval, real-against-real floor, extractor, split."""

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
from sparring.evaluation.panel import POOL
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
    facts_of,
    in_chunks,
    reference_split,
    shown_to_classifiers,
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
"""Abilities that have something to measure; a system needs one of them."""

LEVELS = {"quick": 2000, "full": 10_000}
"""Images per repeat."""


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
    """Measure what a system can do, against images it was not trained on; or images that somebody else has made.

    `system` is a system of ours, anything with the abilities that are to be measured, or samples: (N, C, S, S) uint8 or
    floats in [-1, 1], a data set, or the path of a folder, zip or array. Of samples as many sets are measured as there
    are, at most `repeats`, disjoint, and no more images than there are. Where they have classes, by folders or labels,
    it is measured how often a sample is of its class.

    A system that can sample is sampled `repeats` times, n images each (level "quick": 2,000, "full": 10,000), and the
    panel's numbers compare them with the same n reference images of `split`: the interval is over the repeats
    (bootstrapping images would bias the distances). The floor puts up to 10 disjoint sets of n training images in the
    place of the samples; their spread says how far a number may be from the floor by chance. n shrinks to what the
    reference and the training images can give; with split="train" the two halves of the training images play the two
    parts, and "other_half" is the half of the held-out images that did not choose the best checkpoint. Copies of
    training images are looked for where images are held out. The extractor is the one that knows the data best, unless
    given: a shipped classifier, if it recognizes labeled real images, else random features; classes of samples are
    counted only by one that does. `averaged` is only noted on the cards. `sampling` goes to `system.sample`
    (truncation=.5) and is kept.

    Reconstructions, codes and likelihoods are of the same reference images; errors of classes and clusters, of all
    labeled images of the split. `parzen` adds the log-likelihood that Goodfellow et al. 2014 published. Translations
    are of both domains of the split; `pairs` holds images of the two, row by row the same thing: their known errors.

    Reference and floor depend on data, split and n, not on the seed. Raises SparringError for a system that can do
    nothing of this, an unknown or missing split, too few images, and images of a wrong shape or that are not finite.
    """
    data.require_images()
    system = as_system(system, data)
    if not any(can(system, ability) for ability in MEASURED):
        raise SparringError(f"{type(system).__name__} can do nothing that is measured: {', '.join(MEASURED)}")
    sampling = dict(sampling or {})
    if isinstance(system, Images) and sampling:
        raise SparringError(f"{next(iter(sampling))} is for systems that make samples; these images are there already")
    if not can(system, "sample") and (sampling or parzen):
        asked = next(iter(sampling), "parzen")
        raise SparringError(f"{asked} is about samples, and {type(system).__name__} cannot sample")
    if pairs is not None and not can(system, "translate"):
        raise SparringError(f"pairs are about translations, and {type(system).__name__} cannot translate")
    require_int("repeats", repeats, most=1000)
    require_int("seed", seed, least=0)
    if n is not None and n < FEWEST:
        raise SparringError(f"n is {n}: it is the number of images per measurement, at least {FEWEST}")
    if level not in LEVELS:
        raise unknown_name_error("level", level, LEVELS)
    if extractor is not None and extractor.name == SELF and split == "held_out":
        split = HELD_OUT_B  # it has learnt from the first
    reference, others = reference_split(data, split, n or LEVELS[level], POOL[level])
    part = split_of(data, split)
    samples = can(system, "sample")
    if isinstance(system, Images):
        if len(system) < FEWEST:
            raise SparringError(f"{len(system)} images are too few to be measured: at least {FEWEST} are needed")
        reference = reference.rows(slice(0, min(len(reference), len(system))))
        repeats = min(repeats, len(system) // len(reference))
    if samples and len(reference) < FEWEST:
        there = f"{len(part):,} {split.replace('_', '-')} and {len(data):,} training images"
        raise SparringError(
            f"data '{data.name}' has {there}: too few to measure samples against, which takes {FEWEST} of each; "
            "hold out a larger share (held_out=0.2), or measure against the training images (split='train')"
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
        classes, note = _classes_known(extractor, data)
        notes += [note] if note else []
        sample = partial(system.sample, len(reference), **sampling)
        unseen = None if split == "train" else data.held_out
        if unseen is not None and split == HELD_OUT_B:
            unseen = part
        made = evaluate_samples(sample, reference, others, unseen, extractor, classes, split, averaged, seed, repeats)
        measures, histogram, cells, pictures = made.measures, made.histogram, made.cells, made.pictures
        pixels = made.range._asdict()
        notes += _too_few(measures, data, split, len(system) if isinstance(system, Images) else None)
        if isinstance(system, Images):
            notes += [system.note] if system.note else []
            if histogram and system.labels is not None:
                asked = system.labels[: repeats * len(reference)].split(len(reference))
                note = "asked for: the class of its folder"
                rates.append(class_agreement(made.labels, asked, part, extractor, split, note))
            elif system.labels is not None and not note:
                notes.append(f"class agreement is not measured: no classifier here knows the classes of '{data.name}'")
        elif histogram and getattr(system, "classes", None) and "labels" not in sampling:
            in_turn = [torch.arange(len(labels)) % len(data.classes) for labels in made.labels]
            rates.append(class_agreement(made.labels, in_turn, part, extractor, split))
    if can(system, "classify") and part.labels is not None:
        rates.append(classification_error(system, part, split))
    if can(system, "cluster") and part.labels is not None:
        rates.append(clustering_error(system, data, split))

    reconstruction: tuple[Finding, ...] = ()
    rebuilt: Tensor | None = None
    if can(system, "reconstruct"):
        rebuilt = reconstruct_all(system, reference)
        reconstruction = (reconstruction_error(reference, rebuilt, others, split),)
    codes, units = evaluate_latents(system, reference, split, seed, repeats)
    domains: tuple[Finding, ...] = ()
    if can(system, "translate"):
        judge = extractor or choose_extractor(data)
        domains = evaluate_translation(system, data, part, judge, split, n or LEVELS[level])
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
        blur=() if rebuilt is None else blur(reference.images, others.images[: len(reference)], rebuilt, split),
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
    """At most one sentence: whose lights are gray for want of images, how many are needed, and how to have them.

    samples  how many there are, where they are given
    """
    gray = [one for one in measures if one.light == "gray"]
    if not gray:
        return []
    n, enough = measures[0].n, max(needed(one.name) for one in gray)
    total = len(data) + (len(data.held_out) if data.held_out else 0)
    part, share = split_of(data, split), -(-100 * enough // total) / 100
    if samples is not None and samples < enough:
        how = f"measure {enough:,} samples or more"
    elif len(part) >= enough:
        how = f"measure with n = {enough:,} or more"
    elif split in ("held_out", HELD_OUT_B) and share <= 0.5:
        how = f"hold out {share:.0%} of the {total:,} images (held_out={share:.2g}), or take more images"
    else:
        how = f"take more images, {enough:,} or more to measure against"
    return [
        f"{n:,} {split.replace('_', '-')} images are too few for {len(gray)} of {len(measures)} numbers, whose lights "
        f"are gray: with {enough:,} they would show gross faults; {how}"
    ]


def _classes_known(extractor: Extractor, data: Dataset) -> tuple[tuple[str, ...], str]:
    """The data's classes, if the extractor shows on real images that it knows them, else (); and a sentence on why.

    The sentence is also about shipped classifiers that were not chosen though they have these classes.
    """
    shown = shown_to_classifiers(data)
    for one in (extractor, *map(shipped, () if extractor.classes else SHIPPED)):
        accuracy = accuracy_on(one, shown.images, shown.labels, shown.classes)
        if knows(one, accuracy):
            return (data.classes if data.classes == extractor.classes else ()), ""
        if accuracy is not None:
            return (), (
                f"{one.name} is right on {100 * accuracy:.0f} % of the real images, instead of "
                f"{100 * (one.accuracy or 1):.0f} % of those it was tested on: nothing is said of classes of samples"
            )
    return (), ""
