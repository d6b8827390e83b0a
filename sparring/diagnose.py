"""From the metrics of an evaluation to a diagnosis: which faults they indicate, how certainly, and where to see them.

Pure functions. Each rule has one required sign, an effect that is large and statistically significant, and further
signs that confirm it; its sentence contains only these numbers. The thresholds apply to images of any size and kind,
because values are compared with the floor, that is, with the same metric on real images. The advice depends on the
system: a network without convolutions has no kernels, and an autoencoder has no discriminator.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sparring.metrics.codes import posterior_collapsed

CERTAIN, LIKELY = 0.99, 0.7
"""Lowest certainty that is called certain, and likely."""

SIGMAS = 5.0
"""A metric is significantly off if it is more standard deviations (over sets of real images) from its floor."""

COLLAPSE_SHARE, COLLAPSE_SHARE_BLURRED = 0.1, 0.8
"""Smallest share of near-duplicates that is mode collapse; blurred samples are similar anyway."""

MISSING_SHARE = 0.04
"""Modes are missing if at least this share of the real images lies in regions that are not generated."""

CORE = ("FD", "KID", "coverage", "C2ST")
"""If there are too few images for one of these, no fault can be excluded."""

MIN_PRECISION = 0.7
"""Share of the floor's precision below which samples are far from the data, so that covered regions look empty."""


@dataclass(frozen=True)
class Diagnosis:
    """One fault, or the statement that none was found.

    cause      its name: "mode collapse"
    certainty  from 0.5 (only the required sign holds) to 1 (all signs hold)
    sentence   what is wrong, with the numbers
    advice     what to try; "" if no fault was found
    evidence   names of the metrics that indicate it
    picture    name of the image that shows it: "duplicates"; "" if there is none
    """

    cause: str
    certainty: float
    sentence: str
    advice: str
    evidence: tuple[str, ...]
    picture: str = ""

    @property
    def sure(self) -> str:
        return "certain" if self.certainty >= CERTAIN else "likely" if self.certainty >= LIKELY else "possible"

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "evidence": list(self.evidence), "sure": self.sure}

    def __str__(self) -> str:
        certainty = f" ({self.sure})" if self.advice else ""
        return f"{self.cause}{certainty}: {self.sentence}" + (f" {self.advice}" if self.advice else "")


class MetricTable:
    """The metrics of an evaluation, except those of translations; a missing one counts as equal to its floor."""

    def __init__(self, evaluation: Mapping[str, Any]) -> None:
        self.records = {record["metric"]: record for record in evaluation["metrics"] if not record["direction"]}

    def __contains__(self, name: str) -> bool:
        return name in self.records

    def value(self, name: str, default: float) -> float:
        return self.records[name]["value"] if name in self.records else default

    def floor(self, name: str, default: float) -> float:
        floor = self.records[name]["floor"] if name in self.records else None
        return default if floor is None else floor

    def over_floor(self, name: str) -> float:
        """The value divided by its floor; 1 if there is no floor."""
        floor = self.floor(name, 0.0)
        return self.records[name]["value"] / floor if floor else 1.0

    def z(self, name: str) -> float:
        record = self.records.get(name)
        return (record["z"] or 0.0) if record else 0.0

    def lit(self, *lights: str) -> list[str]:
        """Short names of the metrics with one of these lights."""
        return [name for name, record in self.records.items() if record["light"] in lights]


@dataclass(frozen=True)
class SystemTraits:
    """Properties of the system that generated the samples; None if unknown, so that the advice is general.

    adversary   whether it has a discriminator of images
    code        whether it is an autoencoder
    classes     whether it is class-conditional
    kernels     whether its generator or decoder has convolutions
    transposed  (kernel size, stride) of its transposed convolutions
    averaged    whether EMA weights were measured
    truncation  whether latent codes were truncated
    """

    adversary: bool | None
    code: bool | None
    classes: bool | None
    kernels: bool | None
    transposed: tuple[tuple[int, int], ...]
    averaged: bool
    truncation: bool

    @classmethod
    def of(cls, evaluation: Mapping[str, Any]) -> SystemTraits:
        traits = evaluation.get("system") or {}
        return cls(
            adversary=traits.get("adversary"),
            code=traits.get("code"),
            classes=bool(traits["classes"]) if "classes" in traits else None,
            kernels=traits.get("kernels"),
            transposed=tuple((int(size), int(stride)) for size, stride in traits.get("transposed", ())),
            averaged=any(record.get("averaged") for record in evaluation["metrics"]),
            truncation="truncation" in (evaluation.get("sampling") or {}),
        )


def diagnose(evaluation: Mapping[str, Any]) -> list[Diagnosis]:
    """The faults that an evaluation (`Evaluation.as_dict`) indicates, most certain first.

    If no fault is found, the result is a single diagnosis: "no fault found", or "too few images" if these could not
    have shown one. If the pixel range is wrong, no other fault of the samples is reported, because all other metrics
    were computed on clipped images. The list is empty for systems that cannot sample if their latent codes are healthy.
    """
    numbers, system = MetricTable(evaluation), SystemTraits.of(evaluation)
    not_of_samples = [*_label_rules(numbers, evaluation), *_latent_rules(numbers, evaluation)]
    wrong_range = [*_range_rules(evaluation)]
    if wrong_range:
        return wrong_range + not_of_samples
    diagnoses = [*_sample_rules(numbers, system, evaluation), *not_of_samples]
    if "KID" in numbers and not diagnoses:
        diagnoses = [_no_rule_applies(numbers, evaluation)]
    return sorted(diagnoses, key=lambda diagnosis: -diagnosis.certainty)


def _range_rules(evaluation: Mapping[str, Any]) -> Iterator[Diagnosis]:
    """Pixels that are not in [-1, 1]: all other metrics were computed on clipped images."""
    pixels = evaluation.get("range")
    if not pixels:
        return
    low, high, outside = pixels["low"], pixels["high"], pixels["outside"]
    span = f"from {low:.3g} to {high:.3g}, but images are from -1 to 1"
    if outside > 0.02:
        advice = "End the generator with tanh, or rescale its output to [-1, 1]"
        if low >= -0.02 and high > 2:
            advice += f": x / {255 if high > 100 else high:.3g} * 2 - 1"
        yield Diagnosis(
            "wrong range",
            1.0,
            f"The pixels of the samples are {span}: {_percent(outside)} of them were clipped, and all other metrics "
            "were computed on clipped images.",
            f"{advice}; real images and samples must have the same range.",
            ("range",),
            "far",
        )
        return
    # Images in [0, 1]: no pixel is dark, and rescaled to [-1, 1] the pixels would be closer to those of real images.
    unscaled, scaled = (
        abs(factor * pixels["mean"] - shift - pixels["real_mean"])
        + abs(factor * pixels["deviation"] - pixels["real_deviation"])
        for factor, shift in ((1, 0), (2, 1))
    )
    if low >= -0.02 and high <= 1.02 and high - low > 0.5 and pixels["real_low"] < -0.5 and scaled < unscaled:
        yield Diagnosis(
            "wrong range",
            1.0,
            f"The pixels of the samples are {span}: they seem to be images in [0, 1], and all other metrics interpret "
            "them as images in [-1, 1].",
            "Rescale them to [-1, 1]: 2 * x - 1, or end the generator with tanh instead of a sigmoid.",
            ("range",),
            "far",
        )


def _sample_rules(numbers: MetricTable, system: SystemTraits, evaluation: Mapping[str, Any]) -> Iterator[Diagnosis]:
    z, value = numbers.z, numbers.value

    copies = min(value("copied-features", 0.0), value("copied-pixels", 0.0))
    if copies > 0.03 and min(z("copied-features"), z("copied-pixels")) > 3:
        yield _diagnosis(
            numbers,
            "memorization",
            (z("authentic") < -3, min(z("copied-features"), z("copied-pixels")) > SIGMAS),
            f"About {_percent(copies)} of the samples are copies of training images: their nearest real image is a "
            "training image more often than expected by chance.",
            "More data, augmentation, a smaller "
            + ("discriminator" if system.adversary else "network")
            + ", or an earlier checkpoint.",
            ("copied-features", "copied-pixels", "authentic"),
            "closest",
        )

    edges, high = value("blur ratio", 1.0), value("HF ratio", 1.0)
    # If all samples are blurred, noisy or unreal, their features are shifted: covered regions look empty, and the
    # predictions of a classifier are meaningless.
    near_data = numbers.over_floor("precision") > MIN_PRECISION
    recognizable = near_data and min(edges, high) > 0.5 and max(edges, high) < 2
    undistorted = near_data and min(edges, high) > 0.8 and max(edges, high) < 1.25
    uneven = recognizable and value("classes-TV", 0.0) >= 0.1 and z("classes-TV") > SIGMAS
    gone = [row for row in evaluation.get("classes", ()) if row["high"] < 0.5 * row["real_share"]] if uneven else []
    gone_share = sum(row["real_share"] for row in gone)
    missing = value("missing", 0.0) if z("missing") > SIGMAS and undistorted else 0.0
    duplicates = value("duplicates", 0.0) if z("duplicates") > SIGMAS else 0.0

    # Noise images have similar features, but not similar pixels.
    in_both = min(duplicates, value("duplicates-pixels", duplicates))
    collapsed = in_both >= (COLLAPSE_SHARE if edges > 0.5 else COLLAPSE_SHARE_BLURRED)

    if collapsed:
        support = value("effective support", 0.0)
        yield _diagnosis(
            numbers,
            "mode collapse",
            (numbers.over_floor("coverage") < 0.7, z("cells-JS") > SIGMAS, z("1-NN fake") > SIGMAS, duplicates > 0.3),
            f"{_percent(duplicates)} of the samples have a near-duplicate among the samples (real images: "
            f"{_percent(numbers.floor('duplicates', 0.0))})"
            + (f"; the estimated number of different images is {_count(support)}" if support else "")
            + (
                f"; {_percent(missing)} of the real images lie in regions with hardly any samples."
                if missing > 0.03
                else "."
            ),
            _collapse_advice(system),
            (
                *("duplicates", "duplicates-pixels", "effective support", "coverage", "cells-JS", "1-NN fake"),
                *(["missing"] if missing else []),
            ),
            "duplicates",
        )
    elif missing >= MISSING_SHARE or gone_share >= MISSING_SHARE:
        names = _missing_classes(evaluation)
        yield _diagnosis(
            numbers,
            "missing modes",
            (
                z("cells-JS") > SIGMAS,
                z("coverage") < -SIGMAS,
                bool(gone) or "classes-TV" not in numbers,
                value("1-NN fake", 0.5) < 0.9,
            ),
            (
                f"{_percent(missing)} of the real images lie in regions with hardly any samples"
                if missing >= MISSING_SHARE
                else f"{_percent(gone_share)} of the real images are of classes generated less than half as often"
            )
            + (f": {names}." if names else "."),
            _missing_advice(system),
            (*(["missing"] if missing >= MISSING_SHARE else []), "cells-JS", "coverage", "classes-TV"),
            "cells",
        )
    if uneven or (undistorted and value("cells-NDB", 0.0) >= 0.3 and z("cells-JS") > SIGMAS):
        names = _unbalanced_classes(evaluation)
        yield _diagnosis(
            numbers,
            "imbalance",
            (
                uneven or "classes-TV" not in numbers,
                not collapsed and max(missing, gone_share) < MISSING_SHARE,
                value("cells-NDB", 0.0) >= 0.1,
            ),
            "Some kinds of images are generated too often and others too rarely"
            + (
                f": {names}."
                if names
                else f" ({_percent(value('classes-TV', 0.0))} are of the wrong class)."
                if uneven
                else f" ({_percent(value('cells-NDB', 0.0))} of the regions)."
            ),
            "More rounds or a larger batch"
            + ("." if system.classes else "; class-conditional recipes (cgan, acgan) balance the classes."),
            ("classes-TV", "cells-NDB", "cells-JS") if uneven else ("cells-NDB", "cells-JS"),
            "overfull",
        )

    fewer = z("coverage") < -3 or z("recall") < -SIGMAS
    blurred = edges < 0.7 and high < 0.6 and z("blur ratio") < -SIGMAS
    if numbers.over_floor("density") > 1.2 and z("density") > SIGMAS and fewer and not blurred:
        yield _diagnosis(
            numbers,
            "little variety",
            (z("recall") < -SIGMAS, z("coverage") < -SIGMAS),
            "The samples are concentrated near the centers of the data: density is "
            f"{numbers.over_floor('density'):.2f} times that of real images, and they cover fewer of these.",
            "A larger truncation threshold."
            if system.truncation
            else "Latent codes with a larger variance; a larger network.",
            ("density", "coverage", "recall"),
            "near",
        )

    if blurred:
        yield _diagnosis(
            numbers,
            "blur",
            (high < 0.4, edges < 0.5),
            f"The samples are blurred: their edges have {_percent(edges)} of the strength of those of real images, "
            f"their high frequencies {_percent(high)}.",
            "More rounds; an adversarial loss on images (alae) avoids the blur of the squared error."
            if system.code and not system.adversary
            else "More rounds.",
            ("blur ratio", "HF ratio"),
            "spectrum",
        )
    checkerboards = list(_checkerboard_rules(numbers, system))
    yield from checkerboards
    if high > 1.15 and z("HF ratio") > SIGMAS and not checkerboards:
        if edges > 1.1:
            yield _diagnosis(
                numbers,
                "noise",
                (edges > 1.3, z("KID") > SIGMAS, numbers.over_floor("precision") > 0.97),
                f"The samples are noisy: their high frequencies have {high:.2f} times the power of those of real "
                "images.",
                ("A" if system.averaged else "EMA weights, a") + " lower learning rate toward the end, more rounds.",
                ("HF ratio", "blur ratio", "precision"),
                "spectrum",
            )
        else:
            yield _diagnosis(
                numbers,
                "unreal samples",
                (high > 1.4, z("KID") > SIGMAS, z("1-NN fake") > 3 or z("precision") < -SIGMAS),
                f"Some samples are noise: high frequencies have {high:.2f} times the power of those of real images, "
                f"but the edges of the median sample have {_percent(edges)} of the strength of those of real images.",
                _unreal_advice(system),
                ("HF ratio", "blur ratio", "1-NN fake"),
                "far",
            )
            return
    unreal = 1 - numbers.over_floor("precision")
    if unreal > 0.02 and z("precision") < -SIGMAS:
        yield _diagnosis(
            numbers,
            "unreal samples",
            (unreal > 0.05, z("KID") > SIGMAS),
            f"Precision is {_percent(unreal)} lower than that of real images: some samples do not look real.",
            _unreal_advice(system),
            ("precision",),
            "far",
        )


def _checkerboard_rules(numbers: MetricTable, system: SystemTraits) -> Iterator[Diagnosis]:
    """A pattern with a period of 2 or 4 pixels: power at its frequency that exceeds that of the surrounding ones.

    A high ratio to real images is not enough: real images made of blocks (pixel art) have no power at these
    frequencies. Only convolutions and upsampling produce such patterns; other networks produce independent noise.
    """
    if system.kernels is False:
        return
    high = numbers.value("HF ratio", 1.0)
    for name, period in (("Nyquist", 2), ("quarter", 4)):
        ratio, peak = numbers.value(f"{name} ratio", 1.0), numbers.value(f"{name} peak", 0.0)
        real_peak = max(1.0, numbers.floor(f"{name} peak", 1.0))
        if ratio > 1.5 and ratio > 1.4 * high and numbers.z(f"{name} ratio") > SIGMAS and peak > 1.5 * real_peak:
            uneven = ", ".join(f"{size} at stride {stride}" for size, stride in system.transposed if size % stride)
            if system.transposed and not uneven:
                advice = "Resizing followed by a convolution instead of transposed convolutions; more rounds."
            elif uneven:
                advice = (
                    f"Kernel sizes that are a multiple of the stride (here: {uneven}), or resizing followed by a "
                    "convolution."
                )
            elif system.kernels:
                advice = "More rounds, EMA weights: this network has no transposed convolutions."
            else:
                advice = "Kernel sizes that are a multiple of the stride, or resizing followed by a convolution."
            yield _diagnosis(
                numbers,
                "checkerboard",
                (ratio > 2 * high, peak > 3 * real_peak),
                f"The samples contain a pattern that repeats every {period} pixels: its power is {ratio:.3g} times "
                f"that in real images (all high frequencies: {high:.2f} times) and {peak:.3g} times that of "
                "the surrounding frequencies.",
                advice,
                (f"{name} ratio", f"{name} peak", "HF ratio"),
                "spectrum",
            )


def _label_rules(numbers: MetricTable, evaluation: Mapping[str, Any]) -> Iterator[Diagnosis]:
    """Applies only if the classifier recognizes real images."""
    agreement = numbers.records.get("class agreement")
    if agreement is None:
        return
    chance = 1 / max(2, len(evaluation.get("classes", ())) or 10)
    real = agreement.get("floor")
    real = 1.0 if real is None else real
    if real > 0.5 and agreement["interval"][1] < chance + 0.25 * (real - chance):
        yield Diagnosis(
            "labels ignored",
            1.0,
            f"{_percent(agreement['value'])} of the samples are classified as the requested class (chance: "
            f"{_percent(chance)}; real images: {_percent(real)}).",
            "Check that both networks receive the label and that the classification loss has a positive weight.",
            ("class agreement",),
        )


def _latent_rules(numbers: MetricTable, evaluation: Mapping[str, Any]) -> Iterator[Diagnosis]:
    active = numbers.records.get("active units")
    if active is None:
        return
    units = len(evaluation.get("units", ())) or 1
    if posterior_collapsed(int(active["value"]), units):
        yield Diagnosis(
            "posterior collapse",
            1.0,
            f"Only {active['value']:.0f} of {units} latent units are active: the decoder ignores the latent code.",
            "Lower the weight of the KL divergence (beta), or increase it gradually from 0 in the first rounds.",
            ("active units",),
        )


def _no_rule_applies(numbers: MetricTable, evaluation: Mapping[str, Any]) -> Diagnosis:
    """The diagnosis if no rule applies: too few images to find a fault, an unexplained difference, or no fault."""
    gray, red, amber = numbers.lit("gray"), numbers.lit("red"), numbers.lit("amber")
    if set(gray) & set(CORE) and not red:
        needed = max(record["needed"] for record in numbers.records.values())
        return Diagnosis(
            "too few images",
            1.0,
            f"{numbers.records['KID']['n']} images are too few for {_join(gray)} to detect even a gross fault.",
            f"Evaluate with {needed} images or more.",
            tuple(gray),
        )
    if red:
        return _diagnosis(
            numbers,
            "unlike real images",
            (numbers.z("C2ST") > SIGMAS, numbers.z("FD") > SIGMAS),
            f"The samples differ significantly from real images in {_join(red)}, but no known fault explains it.",
            "More rounds; look at the samples that are farthest from all real images.",
            tuple(red),
            "far",
        )
    return Diagnosis(
        "no fault found",
        0.5 if amber else 1.0,
        "No metric differs significantly from that of real images"
        + (f", but there are differences that may be chance: {_join(amber)}." if amber else ".")
        + (f" There are too few images for {_join(gray)}." if gray else ""),
        "",
        tuple(name for name in ("KID", "coverage", "duplicates", "copied-features") if name in numbers),
    )


def _missing_advice(system: SystemTraits) -> str:
    if system.adversary is False:
        return "More rounds if it is still improving; a larger latent dimension."
    return _collapse_advice(system)


def _collapse_advice(system: SystemTraits) -> str:
    if system.adversary is False:
        return "More weight on reconstruction (a smaller beta), a larger latent dimension, or an earlier checkpoint."
    return (
        "A gradient penalty (r1gan, wgan-gp) or a discriminator of packed images (pacgan), a lower learning rate for "
        "the generator, an earlier checkpoint; more rounds if it is still improving."
    )


def _unreal_advice(system: SystemTraits) -> str:
    return "More rounds." if system.truncation else "More rounds; truncation improves fidelity and reduces diversity."


def _diagnosis(
    numbers: MetricTable,
    cause: str,
    confirmed: Sequence[bool],
    sentence: str,
    advice: str,
    evidence: tuple[str, ...],
    picture: str,
) -> Diagnosis:
    """A diagnosis whose certainty is the share of confirmed signs; evidence without a metric is dropped."""
    certainty = 0.5 + 0.5 * sum(confirmed) / len(confirmed)
    return Diagnosis(cause, certainty, sentence, advice, tuple(name for name in evidence if name in numbers), picture)


def _missing_classes(evaluation: Mapping[str, Any]) -> str:
    """The classes, or else the most common class of the cells, that are hardly ever generated."""
    gone = [row for row in evaluation.get("classes", ()) if row["high"] < 0.5 * row["real_share"]]
    if gone:
        return _join(
            f"“{row['name']}” ({_percent(row['share'])} instead of {_percent(row['real_share'])})" for row in gone
        )
    cells = [cell for cell in evaluation.get("cells", ()) if cell["missing"] and cell["name"]]
    return _join(dict.fromkeys(f"kinds of “{cell['name']}”" for cell in cells))


def _unbalanced_classes(evaluation: Mapping[str, Any]) -> str:
    """The classes that are generated too often, then those generated too rarely."""
    classes = evaluation.get("classes", ())
    too_often = [row for row in classes if row["low"] > 1.3 * row["real_share"]]
    too_rarely = [row for row in classes if row["high"] < 0.7 * row["real_share"]]
    return _join(
        f"“{row['name']}” {_percent(row['share'])} instead of {_percent(row['real_share'])}"
        for row in [*too_often, *too_rarely]
    )


def _join(names: Iterable[str]) -> str:
    """At most four names, and how many more there are."""
    names = list(names)
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if abs(share) < 0.1 else f"{100 * share:.0f} %"


def _count(number: float) -> str:
    """Two significant digits, because it is an estimate."""
    return f"{float(f'{number:.2g}'):,.0f}"
