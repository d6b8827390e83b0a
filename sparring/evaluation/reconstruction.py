"""Codes of real images, and what is painted from them."""

from __future__ import annotations

import inspect
from statistics import mean, quantiles
from typing import Any

import torch
from torch import Tensor

from sparring.data.dataset import Dataset
from sparring.data.pixels import to_float
from sparring.evaluation.measurement import Finding, Unit
from sparring.evaluation.splits import CHUNK, can, finite, in_chunks, pixels_of
from sparring.metrics import (
    COLLAPSED,
    active_units,
    energy_distance,
    mean_interval,
    posterior_collapsed,
    squared_errors,
)
from sparring.seeds import derive_seed, make_generator

CODES = 2000
"""At most so many codes are compared with the prior: the cost is quadratic."""

NULLS = 20
"""Pairs of sets from the prior, to know how far apart equal distributions are."""

DRAWS, WEIGHTED = 100, 1000
"""Draws of the importance-weighted log-likelihood for each image, and at most so many images."""


def reconstruct_all(system: Any, part: Dataset) -> Tensor:
    """(N, C, S, S) uint8: what the system keeps of the images; it is told their labels if it asks for labels."""
    told = part.labels is not None and "labels" in inspect.signature(system.reconstruct).parameters
    pieces = []
    for rows in torch.arange(len(part)).split(CHUNK):
        given = part.rows(rows)
        made = system.reconstruct(to_float(given.images), **({"labels": given.labels} if told else {}))
        pieces.append(pixels_of(made, len(rows), part, "reconstructions", "autoencoder"))
    return torch.cat(pieces)


def reconstruction_error(part: Dataset, pictures: Tensor, others: Dataset, split: str) -> Finding:
    """Mean squared error per pixel, pixels from 0 to 1; beside it, that of the mean of `others` for every picture."""
    errors = squared_errors(real=part.images, fake=pictures)
    average = (others.images.sum(0) / len(others)).round().to(torch.uint8)
    without = squared_errors(real=part.images, fake=average.expand_as(part.images))
    return Finding(
        "reconstruction error",
        float(errors.mean()),
        "per pixel",
        len(part),
        mean_interval(errors.tolist()),
        float(without.mean()),
        mean_interval(without.tolist()),
        "the mean training image",
        split,
    )


def evaluate_latents(
    system: Any, part: Dataset, split: str, seed: int, repeats: int
) -> tuple[tuple[Finding, ...], tuple[Unit, ...]]:
    """Where the codes of the images lie, and which of their units say something."""
    found: list[Finding] = []
    units: tuple[Unit, ...] = ()
    if can(system, "encode") and can(system, "sample_latents"):
        found.append(distance_to_prior(system, part.images[:CODES], split, seed, repeats))
    if can(system, "kl"):
        each, means = (in_chunks(ability, part.images) for ability in (system.kl, system.encode))
        total = finite(each.sum(1), "KL divergences")
        between = mean_interval(total.tolist())
        found.append(Finding("KL divergence", float(total.mean()), "nats", len(part), between, None, None, "", split))
        units = tuple(Unit(*row) for row in torch.stack([each.mean(0), means.var(0)], 1).tolist())
        active = int(active_units(means).sum())
        collapsed = posterior_collapsed(active, len(units))
        words = f"posterior collapse: fewer than {COLLAPSED:.0%} of the units tell images apart" if collapsed else ""
        card = (active, f"of {len(units)}", len(part), None, None, None, "", split, words)
        found.append(Finding("active units", *card))
    return tuple(found), units


def distance_to_prior(system: Any, images: Tensor, split: str, seed: int, repeats: int) -> Finding:
    """Energy distance of the codes of (N, C, S, S) uint8 images to as many of the prior; beside it, two sets of these.

    An `encode` that takes a seed gives codes with their noise, as the decoder met them.
    """
    noisy = "seed" in inspect.signature(system.encode).parameters
    options = {"seed": derive_seed("evaluate", seed, "codes")} if noisy else {}
    codes = system.encode(to_float(images), **options)
    drawn = [_prior(system, len(codes), derive_seed("evaluate", seed, "prior", i)) for i in range(repeats)]
    values = [energy_distance(real=prior, fake=codes) for prior in drawn]
    pairs = [
        [_prior(system, len(codes), derive_seed("evaluate", "two priors", i, j)) for j in range(2)]
        for i in range(NULLS)
    ]
    null = [energy_distance(real=one, fake=other) for one, other in pairs]
    highest = quantiles(null, n=20, method="inclusive")[-1]
    value, typical = mean(values), mean(null)
    words = "not told apart from the prior" if value <= highest else f"{value / typical:.1f} x as far as two sets of it"
    if can(system, "kl") and not noisy:
        words += " (mean codes: their noise is left out)"
    return Finding(
        "energy distance to the prior",
        value,
        "",
        len(codes),
        mean_interval(values),
        typical,
        (0.0, highest),
        "two sets of prior codes",
        split,
        words,
    )


def _prior(system: Any, n: int, seed: int) -> Tensor:
    """(n, code) codes of the prior. They may come in each class in turn: a tenth of many has classes as they fall."""
    every = system.sample_latents(10 * n, seed=seed)
    return every[torch.randperm(len(every), generator=make_generator("evaluate", "prior", seed))[:n]]


def likelihood(system: Any, part: Dataset, split: str, seed: int) -> tuple[Finding, ...]:
    if not can(system, "log_likelihood"):
        return ()
    images = to_float(part.images[:WEIGHTED])
    estimate, bound = (
        finite(
            system.log_likelihood(images, draws=draws, seed=derive_seed("evaluate", seed, "draws")), "log-likelihoods"
        )
        for draws in (DRAWS, 1)
    )
    found = Finding(
        "log-likelihood",
        float(estimate.mean()),
        "nats",
        len(images),
        mean_interval(estimate.tolist()),
        float(bound.mean()),
        mean_interval(bound.tolist()),
        "the bound (1 draw)",
        split,
        f"from below, {DRAWS} draws an image",
    )
    return (found,)
