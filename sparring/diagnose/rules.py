"""The faults that an evaluation can indicate: a table of rules.

Each rule has one required sign, an effect that is large and statistically significant, and further signs that confirm
it; its sentence contains only these numbers. The thresholds apply to images of any size and kind, because values are
compared with the floor, that is, with the same metric on real images. The advice depends on the system: a network
without convolutions has no kernels, and an autoencoder has no discriminator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sparring.diagnose.signs import PATTERNS, SIGMAS, Signs
from sparring.metrics.codes import posterior_collapsed

MISSING_SHARE = 0.04
"""Modes are missing if at least this share of the real images lies in regions that are not generated."""

CORE = ("FD", "KID", "coverage", "C2ST")
"""If there are too few images for one of these, no fault can be excluded."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A fault and its signs.

    cause       its name: "mode collapse"
    required    the sign without which it is not reported
    confirming  further signs; the share that holds is the certainty. () if the required sign is certain
    sentence    what is wrong, with the numbers
    advice      what to try; "" if it is no fault
    evidence    names of the metrics that indicate it; those that were not measured are dropped
    picture     name of the image that shows it; "" if there is none
    """

    cause: str
    required: Callable[[Signs], bool]
    sentence: Callable[[Signs], str]
    advice: Callable[[Signs], str]
    evidence: Callable[[Signs], Sequence[str]]
    confirming: Callable[[Signs], Sequence[bool]] = lambda _: ()
    picture: str = ""


# Text.


def _join(names: Iterable[str]) -> str:
    """At most four names, and how many more there are."""
    names = list(names)
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if abs(share) < 0.1 else f"{100 * share:.0f} %"


def _estimate(number: float) -> str:
    """Two significant digits."""
    return f"{float(f'{number:.2g}'):,.0f}"


# Wrong range.


def _clipped(s: Signs) -> bool:
    return bool(s.range) and s.range["outside"] > 0.02


def _unscaled(s: Signs) -> bool:
    """Whether no pixel is dark, and rescaled from [0, 1] to [-1, 1] the pixels would be closer to real images."""
    if not s.range or _clipped(s):
        return False
    low, high = s.range["low"], s.range["high"]
    unscaled, scaled = (
        abs(factor * s.range["mean"] - shift - s.range["real_mean"])
        + abs(factor * s.range["deviation"] - s.range["real_deviation"])
        for factor, shift in ((1, 0), (2, 1))
    )
    from_zero_to_one = low >= -0.02 and high <= 1.02 and high - low > 0.5
    return from_zero_to_one and s.range["real_low"] < -0.5 and scaled < unscaled


def _span(s: Signs) -> str:
    return (
        f"The pixels of the samples are from {s.range['low']:.3g} to {s.range['high']:.3g}, but images are from -1 to 1"
    )


def _clipped_advice(s: Signs) -> str:
    low, high = s.range["low"], s.range["high"]
    formula = f": x / {255 if high > 100 else high:.3g} * 2 - 1" if low >= -0.02 and high > 2 else ""
    return (
        f"End the generator with tanh, or rescale its output to [-1, 1]{formula}; real images and samples must have "
        "the same range."
    )


RANGE_RULES = (
    Rule(
        cause="wrong range",
        required=_clipped,
        sentence=lambda s: (
            f"{_span(s)}: {_percent(s.range['outside'])} of them were clipped, and all other metrics were computed on "
            "clipped images."
        ),
        advice=_clipped_advice,
        evidence=lambda _: ("range",),
        picture="far",
    ),
    Rule(
        cause="wrong range",
        required=_unscaled,
        sentence=lambda s: (
            f"{_span(s)}: they seem to be images in [0, 1], and all other metrics interpret them as images in [-1, 1]."
        ),
        advice=lambda _: "Rescale them to [-1, 1]: 2 * x - 1, or end the generator with tanh instead of a sigmoid.",
        evidence=lambda _: ("range",),
        picture="far",
    ),
)
"""Pixels that are not in [-1, 1]: all other metrics were computed on clipped images."""


# Samples.


def _collapse_sentence(s: Signs) -> str:
    support = s.value("effective support", 0.0)
    sentence = (
        f"{_percent(s.duplicates)} of the samples have a near-duplicate among the samples (real images: "
        f"{_percent(s.floor('duplicates', 0.0))})"
    )
    if support:
        sentence += f"; the estimated number of different images is {_estimate(support)}"
    if s.missing > 0.03:
        sentence += f"; {_percent(s.missing)} of the real images lie in regions with hardly any samples"
    return f"{sentence}."


def _collapse_advice(s: Signs) -> str:
    if s.system.adversary is False:
        return "More weight on reconstruction (a smaller beta), a larger latent dimension, or an earlier checkpoint."
    return (
        "A gradient penalty (r1gan, wgan-gp) or a discriminator of packed images (pacgan), a lower learning rate for "
        "the generator, an earlier checkpoint; more rounds if it is still improving."
    )


def _missing_sentence(s: Signs) -> str:
    if s.missing >= MISSING_SHARE:
        sentence = f"{_percent(s.missing)} of the real images lie in regions with hardly any samples"
    else:
        sentence = f"{_percent(s.gone_share)} of the real images are of classes generated less than half as often"
    names = _missing_classes(s)
    return f"{sentence}: {names}." if names else f"{sentence}."


def _missing_classes(s: Signs) -> str:
    """The classes, or else the most common class of the cells, that are hardly ever generated."""
    if s.gone:
        return _join(
            f"“{row['name']}” ({_percent(row['share'])} instead of {_percent(row['real_share'])})" for row in s.gone
        )
    cells = [cell for cell in s.cells if cell["missing"] and cell["name"]]
    return _join(dict.fromkeys(f"kinds of “{cell['name']}”" for cell in cells))


def _missing_advice(s: Signs) -> str:
    if s.system.adversary is False:
        return "More rounds if it is still improving; a larger latent dimension."
    return _collapse_advice(s)


def _imbalance_sentence(s: Signs) -> str:
    sentence = "Some kinds of images are generated too often and others too rarely"
    names = _unbalanced_classes(s)
    if names:
        return f"{sentence}: {names}."
    if s.uneven:
        return f"{sentence} ({_percent(s.value('classes-TV', 0.0))} are of the wrong class)."
    return f"{sentence} ({_percent(s.value('cells-NDB', 0.0))} of the regions)."


def _unbalanced_classes(s: Signs) -> str:
    """The classes that are generated too often, then those generated too rarely."""
    too_often = [row for row in s.classes if row["low"] > 1.3 * row["real_share"]]
    too_rarely = [row for row in s.classes if row["high"] < 0.7 * row["real_share"]]
    return _join(
        f"“{row['name']}” {_percent(row['share'])} instead of {_percent(row['real_share'])}"
        for row in [*too_often, *too_rarely]
    )


def _concentrated(s: Signs) -> bool:
    fewer = s.z("coverage") < -3 or s.z("recall") < -SIGMAS
    return s.over_floor("density") > 1.2 and s.z("density") > SIGMAS and fewer and not s.blurred


def _checkerboard_advice(s: Signs) -> str:
    uneven = ", ".join(f"{size} at stride {stride}" for size, stride in s.system.transposed if size % stride)
    if uneven:
        return (
            f"Kernel sizes that are a multiple of the stride (here: {uneven}), or resizing followed by a convolution."
        )
    if s.system.transposed:
        return "Resizing followed by a convolution instead of transposed convolutions; more rounds."
    if s.system.kernels:
        return "More rounds, EMA weights: this network has no transposed convolutions."
    return "Kernel sizes that are a multiple of the stride, or resizing followed by a convolution."


def _checkerboard(name: str, period: int) -> Rule:
    """The rule for one of the patterns."""

    def numbers(s: Signs) -> tuple[float, float, float]:
        """Power over that in real images, over that of the surrounding frequencies, and the latter of real images."""
        real_peak = max(1.0, s.floor(f"{name} peak", 1.0))
        return s.value(f"{name} ratio", 1.0), s.value(f"{name} peak", 0.0), real_peak

    return Rule(
        cause="checkerboard",
        required=lambda s: s.checkerboard(name),
        confirming=lambda s: (numbers(s)[0] > 2 * s.high, numbers(s)[1] > 3 * numbers(s)[2]),
        sentence=lambda s: (
            f"The samples contain a pattern that repeats every {period} pixels: its power is {numbers(s)[0]:.3g} times "
            f"that in real images (all high frequencies: {s.high:.2f} times) and {numbers(s)[1]:.3g} times that of "
            "the surrounding frequencies."
        ),
        advice=_checkerboard_advice,
        evidence=lambda _: (f"{name} ratio", f"{name} peak", "HF ratio"),
        picture="spectrum",
    )


def _unreal(s: Signs) -> float:
    """How much lower precision is than that of real images, as a share of it."""
    return 1 - s.over_floor("precision")


def _unreal_advice(s: Signs) -> str:
    return "More rounds." if s.system.truncation else "More rounds; truncation improves fidelity and reduces diversity."


SAMPLE_RULES = (
    Rule(
        cause="memorization",
        required=lambda s: s.copies > 0.03 and s.copies_z > 3,
        confirming=lambda s: (s.z("authentic") < -3, s.copies_z > SIGMAS),
        sentence=lambda s: (
            f"About {_percent(s.copies)} of the samples are copies of training images: their nearest real image is a "
            "training image more often than expected by chance."
        ),
        advice=lambda s: (
            f"More data, augmentation, a smaller {'discriminator' if s.system.adversary else 'network'}, or an earlier "
            "checkpoint."
        ),
        evidence=lambda _: ("copied-features", "copied-pixels", "authentic"),
        picture="closest",
    ),
    Rule(
        cause="mode collapse",
        required=lambda s: s.collapsed,
        confirming=lambda s: (
            s.over_floor("coverage") < 0.7,
            s.z("cells-JS") > SIGMAS,
            s.z("1-NN fake") > SIGMAS,
            s.duplicates > 0.3,
        ),
        sentence=_collapse_sentence,
        advice=_collapse_advice,
        evidence=lambda s: (
            *("duplicates", "duplicates-pixels", "effective support", "coverage", "cells-JS", "1-NN fake"),
            *(["missing"] if s.missing else []),
        ),
        picture="duplicates",
    ),
    Rule(
        cause="missing modes",
        required=lambda s: not s.collapsed and max(s.missing, s.gone_share) >= MISSING_SHARE,
        confirming=lambda s: (
            s.z("cells-JS") > SIGMAS,
            s.z("coverage") < -SIGMAS,
            s.gone_share > 0 or "classes-TV" not in s,
            s.value("1-NN fake", 0.5) < 0.9,
        ),
        sentence=_missing_sentence,
        advice=_missing_advice,
        evidence=lambda s: (
            *(["missing"] if s.missing >= MISSING_SHARE else []),
            *("cells-JS", "coverage", "classes-TV"),
        ),
        picture="cells",
    ),
    Rule(
        cause="imbalance",
        required=lambda s: (
            s.uneven or (s.undistorted and s.value("cells-NDB", 0.0) >= 0.3 and s.z("cells-JS") > SIGMAS)
        ),
        confirming=lambda s: (
            s.uneven or "classes-TV" not in s,
            not s.collapsed and max(s.missing, s.gone_share) < MISSING_SHARE,
            s.value("cells-NDB", 0.0) >= 0.1,
        ),
        sentence=_imbalance_sentence,
        advice=lambda s: (
            "More rounds or a larger batch."
            if s.system.classes
            else "More rounds or a larger batch; class-conditional recipes (cgan, acgan) balance the classes."
        ),
        evidence=lambda s: (*(["classes-TV"] if s.uneven else []), "cells-NDB", "cells-JS"),
        picture="overfull",
    ),
    Rule(
        cause="little variety",
        required=_concentrated,
        confirming=lambda s: (s.z("recall") < -SIGMAS, s.z("coverage") < -SIGMAS),
        sentence=lambda s: (
            "The samples are concentrated near the centers of the data: density is "
            f"{s.over_floor('density'):.2f} times that of real images, and they cover fewer of these."
        ),
        advice=lambda s: (
            "A larger truncation threshold."
            if s.system.truncation
            else "Latent codes with a larger variance; a larger network."
        ),
        evidence=lambda _: ("density", "coverage", "recall"),
        picture="near",
    ),
    Rule(
        cause="blur",
        required=lambda s: s.blurred,
        confirming=lambda s: (s.high < 0.4, s.edges < 0.5),
        sentence=lambda s: (
            f"The samples are blurred: their edges have {_percent(s.edges)} of the strength of those of real images, "
            f"their high frequencies {_percent(s.high)}."
        ),
        advice=lambda s: (
            "More rounds; an adversarial loss on images (alae) avoids the blur of the squared error."
            if s.system.code and not s.system.adversary
            else "More rounds."
        ),
        evidence=lambda _: ("blur ratio", "HF ratio"),
        picture="spectrum",
    ),
    *(_checkerboard(name, period) for name, period in PATTERNS.items()),
    Rule(
        cause="noise",
        required=lambda s: s.noisy,
        confirming=lambda s: (s.edges > 1.3, s.z("KID") > SIGMAS, s.over_floor("precision") > 0.97),
        sentence=lambda s: (
            f"The samples are noisy: their high frequencies have {s.high:.2f} times the power of those of real images."
        ),
        advice=lambda s: (
            f"{'A' if s.system.averaged else 'EMA weights, a'} lower learning rate toward the end, more rounds."
        ),
        evidence=lambda _: ("HF ratio", "blur ratio", "precision"),
        picture="spectrum",
    ),
    Rule(
        cause="unreal samples",
        required=lambda s: s.rough and not s.noisy,
        confirming=lambda s: (
            s.high > 1.4,
            s.z("KID") > SIGMAS,
            s.z("1-NN fake") > 3 or s.z("precision") < -SIGMAS,
        ),
        sentence=lambda s: (
            f"Some samples are noise: high frequencies have {s.high:.2f} times the power of those of real images, but "
            f"the edges of the median sample have {_percent(s.edges)} of the strength of those of real images."
        ),
        advice=_unreal_advice,
        evidence=lambda _: ("HF ratio", "blur ratio", "1-NN fake"),
        picture="far",
    ),
    Rule(
        cause="unreal samples",
        required=lambda s: (not s.rough or s.noisy) and _unreal(s) > 0.02 and s.z("precision") < -SIGMAS,
        confirming=lambda s: (_unreal(s) > 0.05, s.z("KID") > SIGMAS),
        sentence=lambda s: (
            f"Precision is {_percent(_unreal(s))} lower than that of real images: some samples do not look real."
        ),
        advice=_unreal_advice,
        evidence=lambda _: ("precision",),
        picture="far",
    ),
)


# Labels and latent codes.


def _chance(s: Signs) -> float:
    return 1 / max(2, len(s.classes) or 10)


def _ignored(s: Signs) -> bool:
    """Applies only if the classifier recognizes real images."""
    real = s.floor("class agreement", 1.0)
    if s.agreement is None or real <= 0.5:
        return False
    return bool(s.agreement["interval"][1] < _chance(s) + 0.25 * (real - _chance(s)))


OTHER_RULES = (
    Rule(
        cause="labels ignored",
        required=_ignored,
        sentence=lambda s: (
            f"{_percent(s.value('class agreement', 0.0))} of the samples are classified as the requested class "
            f"(chance: {_percent(_chance(s))}; real images: {_percent(s.floor('class agreement', 1.0))})."
        ),
        advice=lambda _: (
            "Check that both networks receive the label and that the classification loss has a positive weight."
        ),
        evidence=lambda _: ("class agreement",),
    ),
    Rule(
        cause="posterior collapse",
        required=lambda s: "active units" in s and posterior_collapsed(int(s.value("active units", 0)), s.units),
        sentence=lambda s: (
            f"Only {s.value('active units', 0):.0f} of {s.units} latent units are active: the decoder ignores the "
            "latent code."
        ),
        advice=lambda _: (
            "Lower the weight of the KL divergence (beta), or increase it gradually from 0 in the first rounds."
        ),
        evidence=lambda _: ("active units",),
    ),
)


# No known fault.


def _no_fault_sentence(s: Signs) -> str:
    amber, gray = s.lit("amber"), s.lit("gray")
    sentence = "No metric differs significantly from that of real images"
    sentence += f", but there are differences that may be chance: {_join(amber)}." if amber else "."
    return sentence + (f" There are too few images for {_join(gray)}." if gray else "")


def _n(s: Signs) -> str:
    n = int(s.records["KID"]["n"])
    return "1 image is" if n == 1 else f"{n} images are"


FALLBACK_RULES = (
    Rule(
        cause="too few images",
        required=lambda s: bool(set(s.lit("gray")) & set(CORE)) and not s.lit("red"),
        sentence=lambda s: f"{_n(s)} too few for {_join(s.lit('gray'))} to detect even a gross fault.",
        advice=lambda s: f"Evaluate with {max(record['needed'] for record in s.records.values())} images or more.",
        evidence=lambda s: s.lit("gray"),
    ),
    Rule(
        cause="unlike real images",
        required=lambda s: bool(s.lit("red")),
        confirming=lambda s: (s.z("C2ST") > SIGMAS, s.z("FD") > SIGMAS),
        sentence=lambda s: (
            f"The samples differ significantly from real images in {_join(s.lit('red'))}, but no known fault explains "
            "it."
        ),
        advice=lambda _: "More rounds; look at the samples that are farthest from all real images.",
        evidence=lambda s: s.lit("red"),
        picture="far",
    ),
    Rule(
        cause="no fault found",
        required=lambda _: True,
        confirming=lambda s: (not s.lit("amber"),),
        sentence=_no_fault_sentence,
        advice=lambda _: "",
        evidence=lambda _: ("KID", "coverage", "duplicates", "copied-features"),
    ),
)
"""The first of these applies if no other rule does."""
