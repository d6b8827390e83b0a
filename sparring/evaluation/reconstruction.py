"""Latent codes of real images, and their reconstructions."""

from __future__ import annotations

from statistics import mean, quantiles
from typing import Any

import torch
from torch import Tensor

from sparring.data.dataset import Dataset
from sparring.data.pixels import to_float
from sparring.evaluation.measurement import Finding, Unit
from sparring.evaluation.splits import CHUNK, accepts, can, finite, in_chunks, pixels_of
from sparring.metrics import (
    COLLAPSED,
    active_units,
    energy_distance,
    mean_interval,
    posterior_collapsed,
    squared_errors,
)
from sparring.seeds import derive_seed, make_generator

MAX_CODES = 2000
"""At most this many codes are compared with the prior, because the cost is quadratic."""

PRIOR_PAIRS = 20
"""Number of pairs of sets from the prior, for the distance between equal distributions."""

DRAWS, LIKELIHOOD_IMAGES = 100, 1000
"""Draws per image for the importance-weighted log-likelihood, and maximum number of images."""


def reconstruct_all(system: Any, part: Dataset) -> Tensor:
    """Reconstructions (N, C, S, S) uint8; with labels, if `system.reconstruct` takes them."""
    with_labels = part.labels is not None and accepts(system, "reconstruct", "labels")
    batches = []
    for rows in torch.arange(len(part)).split(CHUNK):
        batch = part.rows(rows)
        images = system.reconstruct(to_float(batch.images), **({"labels": batch.labels} if with_labels else {}))
        batches.append(pixels_of(images, len(rows), part, "reconstructions", "autoencoder"))
    return torch.cat(batches)


def reconstruction_error(part: Dataset, reconstructed: Tensor, others: Dataset, split: str) -> Finding:
    """Mean squared error per pixel, pixels from 0 to 1; the baseline is the mean of `others` for every image."""
    errors = squared_errors(real=part.images, fake=reconstructed)
    mean_image = (others.images.sum(0) / len(others)).round().to(torch.uint8)
    baseline = squared_errors(real=part.images, fake=mean_image.expand_as(part.images))
    return Finding(
        "reconstruction error",
        float(errors.mean()),
        "per pixel",
        len(part),
        mean_interval(errors.tolist()),
        float(baseline.mean()),
        mean_interval(baseline.tolist()),
        "the mean training image",
        split,
    )


def evaluate_latents(
    system: Any, part: Dataset, split: str, seed: int, repeats: int
) -> tuple[tuple[Finding, ...], tuple[Unit, ...]]:
    """Distance of the latent codes to the prior, KL divergence and active units."""
    findings: list[Finding] = []
    units: tuple[Unit, ...] = ()
    if can(system, "encode") and can(system, "sample_latents"):
        findings.append(distance_to_prior(system, part.images[:MAX_CODES], split, seed, repeats))
    if can(system, "kl"):
        kl, means = (in_chunks(method, part.images) for method in (system.kl, system.encode))
        total = finite(kl.sum(1), "KL divergences")
        interval = mean_interval(total.tolist())
        findings.append(
            Finding("KL divergence", float(total.mean()), "nats", len(part), interval, None, None, "", split)
        )
        units = tuple(Unit(*row) for row in torch.stack([kl.mean(0), means.var(0)], 1).tolist())
        active = int(active_units(means).sum())
        collapsed = posterior_collapsed(active, len(units))
        words = f"posterior collapse: fewer than {COLLAPSED:.0%} of the units are active" if collapsed else ""
        card = (active, f"of {len(units)}", len(part), None, None, None, "", split, words)
        findings.append(Finding("active units", *card))
    return tuple(findings), units


def distance_to_prior(system: Any, images: Tensor, split: str, seed: int, repeats: int) -> Finding:
    """Energy distance of the codes of (N, C, S, S) uint8 images to the prior; the baseline is two sets of the prior.

    If `encode` takes a seed, the codes contain the noise that the decoder was trained with.
    """
    noisy = accepts(system, "encode", "seed")
    options = {"seed": derive_seed("evaluate", seed, "codes")} if noisy else {}
    codes = system.encode(to_float(images), **options)
    priors = [_prior(system, len(codes), derive_seed("evaluate", seed, "prior", i)) for i in range(repeats)]
    values = [energy_distance(real=prior, fake=codes) for prior in priors]
    pairs = [
        [_prior(system, len(codes), derive_seed("evaluate", "two priors", i, j)) for j in range(2)]
        for i in range(PRIOR_PAIRS)
    ]
    null = [energy_distance(real=one, fake=other) for one, other in pairs]
    highest = quantiles(null, n=20, method="inclusive")[-1]
    value, typical = mean(values), mean(null)
    words = "no significant difference from the prior"
    if value > highest:
        words = f"{value / typical:.1f} times the distance between two sets of prior codes"
    if can(system, "kl") and not noisy:
        words += " (mean codes, without noise)"
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
    """(n, latent_dim) codes of the prior: a random tenth of a larger set, because `sample_latents` may cycle through
    the classes.
    """
    codes = system.sample_latents(10 * n, seed=seed)
    return codes[torch.randperm(len(codes), generator=make_generator("evaluate", "prior", seed))[:n]]


def likelihood(system: Any, part: Dataset, split: str, seed: int) -> tuple[Finding, ...]:
    """Importance-weighted log-likelihood; the baseline is the bound with one draw. () without the capability."""
    if not can(system, "log_likelihood"):
        return ()
    images = to_float(part.images[:LIKELIHOOD_IMAGES])
    estimate, bound = (
        finite(
            system.log_likelihood(images, draws=draws, seed=derive_seed("evaluate", seed, "draws")), "log-likelihoods"
        )
        for draws in (DRAWS, 1)
    )
    finding = Finding(
        "log-likelihood",
        float(estimate.mean()),
        "nats",
        len(images),
        mean_interval(estimate.tolist()),
        float(bound.mean()),
        mean_interval(bound.tolist()),
        "the bound (1 draw)",
        split,
        f"lower bound, {DRAWS} draws per image",
    )
    return (finding,)
