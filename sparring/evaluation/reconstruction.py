"""Latent codes of real images, and their reconstructions."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, quantiles
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sparring.data.dataset import Dataset
from sparring.data.pixels import to_float
from sparring.evaluation.measurement import Measurement, Unit
from sparring.evaluation.splits import CHUNK, accepts, can, finite, in_chunks, pixels_of
from sparring.metrics.blur import blur_ratio, laplacian_variance
from sparring.metrics.codes import COLLAPSED, active_units, energy_distance, posterior_collapsed, squared_errors
from sparring.metrics.intervals import mean_interval
from sparring.seeds import derive_seed, make_generator

if TYPE_CHECKING:
    from sparring.evaluation.context import Context

MAX_CODES = 2000
"""At most this many codes are compared with the prior, because the cost is quadratic."""

PRIOR_PAIRS = 20
"""Number of pairs of sets from the prior, for the distance between equal distributions."""

DRAWS, LIKELIHOOD_IMAGES = 100, 1000
"""Draws per image for the importance-weighted log-likelihood, and maximum number of images."""


# Reconstructions.


def reconstruct_all(system: Any, part: Dataset) -> Tensor:
    """Reconstructions (N, C, S, S) uint8; with labels, if `system.reconstruct` takes them."""
    with_labels = part.labels is not None and accepts(system, "reconstruct", "labels")
    batches = []
    for rows in torch.arange(len(part)).split(CHUNK):
        batch = part.rows(rows)
        images = system.reconstruct(to_float(batch.images), **({"labels": batch.labels} if with_labels else {}))
        batches.append(pixels_of(images, len(rows), part, "reconstructions", "autoencoder"))
    return torch.cat(batches)


def reconstruction_error(context: Context) -> Sequence[Measurement]:
    """Mean squared error per pixel, pixels from 0 to 1; the baseline is the mean training image for every image."""
    part, others = context.reference, context.others
    errors = squared_errors(real=part.images, fake=context.reconstructed)
    total = torch.stack([block.sum(0) for block in others.blocks(CHUNK)]).sum(0)
    mean_image = (total / len(others)).round().to(torch.uint8)
    baseline = squared_errors(real=part.images, fake=mean_image.expand_as(part.images))
    return [
        Measurement(
            metric="reconstruction error",
            value=float(errors.mean()),
            n=len(part),
            split=context.split,
            unit="per pixel",
            interval=mean_interval(errors.tolist()),
            floor=float(baseline.mean()),
            floor_interval=mean_interval(baseline.tolist()),
            floor_name="the mean training image",
        )
    ]


def blur_of_reconstructions(context: Context) -> Sequence[Measurement]:
    """Edge strength of reconstructions, divided by that of the original images; () if these have no edges.

    The baseline is that of training images.
    """
    sharp = laplacian_variance(context.reference.images)
    if not float(sharp.mean()) > 0:
        return ()
    others = laplacian_variance(context.others.images_at(slice(len(sharp))))
    floor, floor_interval = blur_ratio(real=sharp, fake=others)
    ratio, interval = blur_ratio(real=sharp, fake=laplacian_variance(context.reconstructed), paired=True)
    words = "no significant difference from real images"
    if interval[1] < floor_interval[0] or floor_interval[1] < interval[0]:
        words = "blurred: edges are lost" if ratio < floor else "more edges than real images, possibly noise"
    return [
        Measurement(
            metric="blur ratio of reconstructions",
            value=ratio,
            n=len(sharp),
            split=context.split,
            interval=interval,
            floor=floor,
            floor_interval=floor_interval,
            floor_name="real training images",
            words=words,
        )
    ]


# Latent codes.


def code_error(context: Context) -> Sequence[Measurement]:
    """Mean squared error per unit of E(G(w)) for codes w of samples; the baseline is their mean for every sample.

    The reciprocity of Pidhorskyi et al. 2020, section 3: `reconstruction error` is that of G(E(x)) for images x. () for
    a system that cannot decode samples, or whose encoder returns other codes than the decoder takes.
    """
    system = context.system
    if not can(system, "sample_latents") or not can(system, "decode"):
        return ()
    codes = _prior(
        system, len(context.reference.images_at(slice(MAX_CODES))), derive_seed("evaluate", context.seed, "w")
    )
    encoded = torch.cat([system.encode(system.decode(part)) for part in codes.split(CHUNK)])
    if encoded.shape != codes.shape:
        return ()
    errors, spread = ((codes - other).square().mean(1) for other in (encoded, codes.mean(0)))
    return [
        Measurement(
            metric="latent reconstruction error",
            value=float(finite(errors, "codes").mean()),
            n=len(codes),
            split=context.split,
            unit="per unit",
            interval=mean_interval(errors.tolist()),
            floor=float(spread.mean()),
            floor_interval=mean_interval(spread.tolist()),
            floor_name="the mean code",
        )
    ]


def distance_to_prior(context: Context) -> Sequence[Measurement]:
    """Energy distance of the codes of images to the prior; the baseline is two sets of the prior.

    If `encode` takes a seed, the codes contain the noise that the decoder was trained with. () without a prior.
    """
    system, seed = context.system, context.seed
    if not can(system, "sample_latents"):
        return ()
    noisy = accepts(system, "encode", "seed")
    options = {"seed": derive_seed("evaluate", seed, "codes")} if noisy else {}
    codes = system.encode(to_float(context.reference.images_at(slice(MAX_CODES))), **options)
    priors = [_prior(system, len(codes), derive_seed("evaluate", seed, "prior", i)) for i in range(context.repeats)]
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
    return [
        Measurement(
            metric="energy distance to the prior",
            value=value,
            n=len(codes),
            split=context.split,
            interval=mean_interval(values),
            floor=typical,
            floor_interval=(0.0, highest),
            floor_name="two sets of prior codes",
            words=words,
        )
    ]


def _prior(system: Any, n: int, seed: int) -> Tensor:
    """(n, latent_dim) codes of the prior.

    A random tenth of a larger set, because `sample_latents` may cycle through the classes.
    """
    codes = system.sample_latents(10 * n, seed=seed)
    out: Tensor = codes[torch.randperm(len(codes), generator=make_generator("evaluate", "prior", seed))[:n]]
    return out


def kl_and_means(system: Any, part: Dataset) -> tuple[Tensor, Tensor]:
    """KL divergences (N, latent_dim) from the prior and mean codes (N, latent_dim) of images."""
    return in_chunks(system.kl, part), in_chunks(system.encode, part)


def units_of(kl: Tensor, means: Tensor) -> tuple[Unit, ...]:
    """The units of the latent code, from the results of `kl_and_means`."""
    return tuple(Unit(*row) for row in torch.stack([kl.mean(0), means.var(0)], 1).tolist())


def latent_units(context: Context) -> Sequence[Measurement]:
    """KL divergence of the codes from the prior, and the number of active units."""
    kl, means = context.latents
    total, units = finite(kl.sum(1), "KL divergences"), means.shape[1]
    active = int(active_units(means).sum())
    collapsed = posterior_collapsed(active, units)
    return [
        Measurement(
            metric="KL divergence",
            value=float(total.mean()),
            n=len(total),
            split=context.split,
            unit="nats",
            interval=mean_interval(total.tolist()),
        ),
        Measurement(
            metric="active units",
            value=active,
            n=len(total),
            split=context.split,
            unit=f"of {units}",
            words=f"posterior collapse: fewer than {COLLAPSED:.0%} of the units are active" if collapsed else "",
        ),
    ]


def log_likelihood(context: Context) -> Sequence[Measurement]:
    """Importance-weighted log-likelihood; the baseline is the bound with one draw."""
    images = to_float(context.reference.images[:LIKELIHOOD_IMAGES])
    seed = derive_seed("evaluate", context.seed, "draws")
    estimate, bound = (
        finite(context.system.log_likelihood(images, draws=draws, seed=seed), "log-likelihoods") for draws in (DRAWS, 1)
    )
    return [
        Measurement(
            metric="log-likelihood",
            value=float(estimate.mean()),
            n=len(images),
            split=context.split,
            unit="nats",
            interval=mean_interval(estimate.tolist()),
            floor=float(bound.mean()),
            floor_interval=mean_interval(bound.tolist()),
            floor_name="the bound (1 draw)",
            words=f"lower bound, {DRAWS} draws per image",
        )
    ]
