"""System + data -> numbers, each with its identity card: n, interval, real-against-real floor, extractor, split."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from statistics import mean
from typing import Any

from torch import Tensor

from sparring.data.dataset import Dataset
from sparring.errors import SparringError
from sparring.evaluation.cards import Evaluation, Finding, Measure, Rate, Unit
from sparring.evaluation.classes import classification_error, clustering_error
from sparring.evaluation.codes import codes_of, likelihood, reconstructed, reconstruction_error
from sparring.evaluation.images import can, in_chunks, reference_of
from sparring.evaluation.samples import Yardstick, blur, class_agreement, compared, parzen_window
from sparring.metrics import ClassShare, Extractor, edges, for_dataset, mean_interval

__all__ = [
    "Evaluation",
    "Finding",
    "Measure",
    "Rate",
    "Unit",
    "Yardstick",
    "class_agreement",
    "classification_error",
    "clustering_error",
    "evaluate",
    "in_chunks",
    "reconstructed",
]

MEASURED = ("sample", "classify", "cluster", "reconstruct", "encode")
"""Abilities that have something to measure; a system needs one of them."""


def evaluate(
    system: Any,
    data: Dataset,
    *,
    n: int = 10_000,
    split: str = "held_out",
    seed: int = 0,
    extractor: Extractor | None = None,
    repeats: int = 5,
    averaged: bool | None = None,
    sampling: Mapping[str, Any] | None = None,
    parzen: bool = False,
) -> Evaluation:
    """Measure what a system can do, against images it was not trained on.

    A system that can sample is sampled `repeats` times, n images each, and every metric compares them with the same n
    reference images of `split`: the interval is over the repeats (bootstrapping images would bias the distances). The
    floor puts up to `repeats` disjoint subsets of the training images in the place of the samples. n shrinks to what
    the reference and the training images can give; with split="train" the two halves of the training images play the
    two parts. The extractor is the one that knows the data best, unless given; `averaged` is only noted on the cards.
    `sampling` goes to `system.sample` (truncation=.5) and is kept with the numbers.

    Reconstructions, codes and likelihoods are of the same reference images; errors of classes and clusters, of all
    labelled images of the split. `parzen` adds the log-likelihood that Goodfellow et al. 2014 published.

    Reference and floor depend on data, split and n, not on the seed. Raises SparringError for a system that can do
    nothing of this, an unknown or missing split, too few images, and images of a wrong shape or that are not finite.
    """
    if not any(can(system, ability) for ability in MEASURED):
        raise SparringError(f"{type(system).__name__} can do nothing that is measured: {', '.join(MEASURED)}")
    sampling = dict(sampling or {})
    if not can(system, "sample") and (sampling or parzen):
        asked = next(iter(sampling), "parzen")
        raise SparringError(f"{asked} is about samples, and {type(system).__name__} cannot sample")
    if repeats < 1:
        raise SparringError(f"repeats must be at least 1; got {repeats}")
    reference, others = reference_of(data, split, n, repeats)
    part: Dataset = data if split == "train" else getattr(data, split)
    measures: list[Measure] = []
    histogram: list[ClassShare] = []
    rates: list[Rate] = []
    edges_of: dict[str, Tensor] = {}

    if can(system, "sample"):
        extractor = extractor or for_dataset(data.name)
        sample = partial(system.sample, len(reference), **sampling)
        made = compared(sample, reference, others, extractor, seed, repeats)
        histogram, edges_of["samples"] = made.histogram, made.edges
        for name in made.values[0]:
            repeated, floor = [row[name] for row in made.values], [row[name] for row in made.floors]
            numbers = (mean(repeated), len(reference), mean_interval(repeated), mean(floor), mean_interval(floor))
            measures.append(Measure(name, *numbers, extractor.name, extractor.digest, split, averaged, seed))
        if histogram and getattr(system, "classes", None) and "labels" not in sampling:
            rates.append(class_agreement(made.features, part, extractor, split))
    if can(system, "classify") and part.labels is not None:
        rates.append(classification_error(system, part, split))
    if can(system, "cluster") and part.labels is not None:
        rates.append(clustering_error(system, data, split))

    reconstruction: tuple[Finding, ...] = ()
    if can(system, "reconstruct"):
        pictures = reconstructed(system, reference)
        reconstruction = (reconstruction_error(reference, pictures, others, split),)
        edges_of["reconstructions"] = edges(pictures)
    codes, units = codes_of(system, reference, split, seed, repeats)
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
        blur=blur(edges(reference.images), edges(others.images[: len(reference)]), edges_of, split),
        codes=codes,
        likelihood=likelihood(system, reference, split, seed),
        parzen=(parzen_window(partial(system.sample, **sampling), data, seed),) if parzen else (),
        units=units,
    )
