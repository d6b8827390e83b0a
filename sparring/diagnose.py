"""From the numbers of an evaluation to sentences: which fault they speak of, how surely, and where to see it. Pure.

Each rule has one sign that must hold, an effect that is large enough to matter and beyond chance, and others that
confirm it; its sentence says these numbers and no others. The thresholds are for images of any size and kind: what is
normal is the floor, that is, what the same number says of real images. What to try depends on the system: a network
without convolutions has no kernels, an autoencoder no discriminator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sparring.metrics import posterior_collapsed

CERTAIN, LIKELY = 0.99, 0.7
SURE = 5.0
"""Standard deviations of real sets beyond which a number is surely off."""

TWINS, BLURRED_TWINS = 0.1, 0.8
"""Share of samples with a twin from which on it is mode collapse; what is blurred is alike in any case."""

MISSING = 0.04
"""Share of the real images in regions that are not made from which on modes are missing."""

CORE = ("FD", "KID", "coverage", "C2ST")
"""Where one of these has too few images to see a fault, none can be excluded."""

AMONG = 0.7
"""With less of the precision of real images the samples lie elsewhere, so that regions look empty that are not."""


@dataclass(frozen=True)
class Diagnosis:
    """One fault, or that none was found.

    cause      its name: "mode collapse"
    certainty  0.5, if only the sign that must hold does, to 1, if every other one confirms it
    sentence   what is wrong, with the numbers
    advice     what to try; "" where nothing is wrong
    evidence   names of the numbers that say so
    picture    name of the picture that shows it: "twins"; "" if none does
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
        how = f" ({self.sure})" if self.advice else ""
        return f"{self.cause}{how}: {self.sentence}" + (f" {self.advice}" if self.advice else "")


class MetricTable:
    """The cards of an evaluation by their short names; a number that is not there is like a real image's."""

    def __init__(self, evaluation: Mapping[str, Any]) -> None:
        self.cards = {card["name"].split("@")[0]: card for card in evaluation["metrics"]}
        for short in ("FD-infinity", "FD", "KID"):  # the extractor's name stands behind
            for name in list(self.cards):
                if name.startswith(f"{short}-") and not name.startswith("FD-infinity" if short == "FD" else "?"):
                    self.cards.setdefault(short, self.cards[name])

    def __contains__(self, name: str) -> bool:
        return name in self.cards

    def value(self, name: str, otherwise: float) -> float:
        return self.cards[name]["value"] if name in self.cards else otherwise

    def floor(self, name: str, otherwise: float) -> float:
        floor = self.cards[name].get("floor") if name in self.cards else None
        return otherwise if floor is None else floor

    def over_floor(self, name: str) -> float:
        """The value over that of real images; 1 where there is none."""
        floor = self.floor(name, 0.0)
        return self.cards[name]["value"] / floor if floor else 1.0

    def z(self, name: str) -> float:
        card = self.cards.get(name)
        return (card.get("z") or 0.0) if card else 0.0

    def lit(self, *lights: str) -> list[str]:
        """Short names of the numbers of samples with one of these lights."""
        shortest = {id(card): name for name, card in self.cards.items()}
        return [name for name in shortest.values() if self.cards[name].get("light") in lights]


@dataclass(frozen=True)
class Maker:
    """What is known of the system that made the samples; None: not known, so that advice is for any.

    adversary   whether a discriminator judges its images
    code        whether it is an autoencoder
    classes     whether it can be asked for a class
    kernels     whether the network that makes images has convolutions
    transposed  (kernel size, stride) of its transposed convolutions
    averaged    whether averaged weights were measured
    truncation  whether samples were truncated
    """

    adversary: bool | None
    code: bool | None
    classes: bool | None
    kernels: bool | None
    transposed: tuple[tuple[int, int], ...]
    averaged: bool
    truncation: bool

    @classmethod
    def of(cls, evaluation: Mapping[str, Any]) -> Maker:
        known = evaluation.get("system") or {}
        return cls(
            adversary=known.get("adversary"),
            code=known.get("code"),
            classes=bool(known["classes"]) if "classes" in known else None,
            kernels=known.get("kernels"),
            transposed=tuple((int(size), int(stride)) for size, stride in known.get("transposed", ())),
            averaged=any(card.get("averaged") for card in evaluation["metrics"]),
            truncation="truncation" in (evaluation.get("sampling") or {}),
        )


def diagnose(evaluation: Mapping[str, Any]) -> list[Diagnosis]:
    """What an evaluation (`Evaluation.as_dict`) speaks of, most certain first.

    A single one where no fault is found: "no fault found", or "too few images" where these could not have shown one.
    Samples whose pixels have the wrong range are only told that: the other numbers are of what clipping has left.
    Nothing at all for systems that do not sample and whose codes are healthy.
    """
    numbers, maker = MetricTable(evaluation), Maker.of(evaluation)
    of_codes = [*_of_labels(numbers, evaluation), *_of_codes(numbers, evaluation)]
    wrong_range = [*_of_range(evaluation)]
    if wrong_range:
        return wrong_range + of_codes
    found = [*_sample_rules(numbers, maker, evaluation), *of_codes]
    if "KID" in numbers and not found:
        found = [_nothing_named(numbers, maker, evaluation)]
    return sorted(found, key=lambda one: -one.certainty)


def _of_range(evaluation: Mapping[str, Any]) -> Iterator[Diagnosis]:
    """Pixels that are not from -1 to 1: whatever else the numbers say is of clipped images."""
    pixels = evaluation.get("range")
    if not pixels:
        return
    low, high, outside = pixels["low"], pixels["high"], pixels["outside"]
    span = f"from {low:.3g} to {high:.3g}, where images are from -1 to 1"
    if outside > 0.02:
        advice = "End the generator in tanh, or bring what it makes to [-1, 1]"
        if low >= -0.02 and high > 2:
            advice += f": x / {255 if high > 100 else high:.3g} * 2 - 1"
        yield Diagnosis(
            "wrong range",
            1.0,
            f"The pixels of the samples are {span}: {_percent(outside)} of them were clipped, and all other numbers "
            "are of clipped images.",
            f"{advice}; real images and samples must have one range.",
            ("range",),
            "far",
        )
        return
    # In [0, 1]: nothing is dark, and scaled to [-1, 1] the pixels would be more like real ones.
    as_they_are, scaled = (
        abs(factor * pixels["mean"] - shift - pixels["real_mean"])
        + abs(factor * pixels["deviation"] - pixels["real_deviation"])
        for factor, shift in ((1, 0), (2, 1))
    )
    if low >= -0.02 and high <= 1.02 and high - low > 0.5 and pixels["real_low"] < -0.5 and scaled < as_they_are:
        yield Diagnosis(
            "wrong range",
            1.0,
            f"The pixels of the samples are {span}: they seem to be images in [0, 1], and all other numbers are of "
            "what these look like in [-1, 1].",
            "Bring them to [-1, 1]: 2 * x - 1, or end the generator in tanh instead of a sigmoid.",
            ("range",),
            "far",
        )


def _sample_rules(numbers: MetricTable, maker: Maker, evaluation: Mapping[str, Any]) -> Iterator[Diagnosis]:
    z, value = numbers.z, numbers.value

    copies = min(value("copied-features", 0.0), value("copied-pixels", 0.0))
    if copies > 0.03 and min(z("copied-features"), z("copied-pixels")) > 3:
        yield _named(
            numbers,
            "memorization",
            (z("authentic") < -3, min(z("copied-features"), z("copied-pixels")) > SURE),
            f"About {_percent(copies)} of the samples must be copies of training images: their nearest real image is a "
            "training image more often than chance allows.",
            "More data, augmentation, a smaller "
            + ("discriminator" if maker.adversary else "network")
            + ", or an earlier checkpoint.",
            ("copied-features", "copied-pixels", "authentic"),
            "closest",
        )

    edges, high = value("blur ratio", 1.0), value("HF ratio", 1.0)
    # Where all samples are blurred, noisy or unreal, their features are elsewhere: regions look empty that are not, and
    # a classifier says of what it does not recognize that it is this or that.
    among = numbers.over_floor("precision") > AMONG
    recognizable = among and min(edges, high) > 0.5 and max(edges, high) < 2
    there = among and min(edges, high) > 0.8 and max(edges, high) < 1.25
    uneven = recognizable and value("classes-TV", 0.0) >= 0.1 and z("classes-TV") > SURE
    gone = [row for row in evaluation.get("classes", ()) if row["high"] < 0.5 * row["real_share"]] if uneven else []
    of_gone = sum(row["real_share"] for row in gone)
    empty = value("missing", 0.0) if z("missing") > SURE and there else 0.0
    twins = value("duplicates", 0.0) if z("duplicates") > SURE else 0.0

    # Noise is alike in features, too, but not in pixels.
    both = min(twins, value("duplicates-pixels", twins))
    collapsed = both >= (TWINS if edges > 0.5 else BLURRED_TWINS)

    if collapsed:
        support = value("effective support", 0.0)
        yield _named(
            numbers,
            "mode collapse",
            (numbers.over_floor("coverage") < 0.7, z("cells-JS") > SURE, z("1-NN fake") > SURE, twins > 0.3),
            f"{_percent(twins)} of the samples have a twin among the samples (real images: "
            f"{_percent(numbers.floor('duplicates', 0.0))})"
            + (f", as if it made {_count(support)} different images" if support else "")
            + (
                f", and {_percent(empty)} of the real images lie where it makes next to nothing."
                if empty > 0.03
                else "."
            ),
            _against_collapse(maker),
            (
                *("duplicates", "duplicates-pixels", "effective support", "coverage", "cells-JS", "1-NN fake"),
                *(["missing"] if empty else []),
            ),
            "twins",
        )
    elif empty >= MISSING or of_gone >= MISSING:
        names = _names(evaluation, missing=True)
        yield _named(
            numbers,
            "missing modes",
            (
                z("cells-JS") > SURE,
                z("coverage") < -SURE,
                bool(gone) or "classes-TV" not in numbers,
                value("1-NN fake", 0.5) < 0.9,
            ),
            (
                f"{_percent(empty)} of the real images lie in regions of which it makes next to nothing"
                if empty >= MISSING
                else f"{_percent(of_gone)} of the real images are of classes of which it makes less than half"
            )
            + (f": {names}." if names else "."),
            _against_collapse(maker)
            if maker.adversary is not False
            else "More rounds, if it still learns; a larger code.",
            (*(["missing"] if empty >= MISSING else []), "cells-JS", "coverage", "classes-TV"),
            "cells",
        )
    if uneven or (there and value("cells-NDB", 0.0) >= 0.3 and z("cells-JS") > SURE):
        names = _names(evaluation, missing=False)
        yield _named(
            numbers,
            "imbalance",
            (
                uneven or "classes-TV" not in numbers,
                not collapsed and max(empty, of_gone) < MISSING,
                value("cells-NDB", 0.0) >= 0.1,
            ),
            "Some kinds of images are made too often and others too rarely"
            + (
                f": {names}."
                if names
                else f" ({_percent(value('classes-TV', 0.0))} are of the wrong class)."
                if uneven
                else f" ({_percent(value('cells-NDB', 0.0))} of the regions)."
            ),
            "More rounds or a larger batch"
            + ("." if maker.classes else "; recipes that are given class labels (cgan, acgan) make the shares even."),
            ("classes-TV", "cells-NDB", "cells-JS") if uneven else ("cells-NDB", "cells-JS"),
            "overfull",
        )

    fewer = z("coverage") < -3 or z("recall") < -SURE
    blurred = edges < 0.7 and high < 0.6 and z("blur ratio") < -SURE
    if numbers.over_floor("density") > 1.2 and z("density") > SURE and fewer and not blurred:
        yield _named(
            numbers,
            "little variety",
            (z("recall") < -SURE, z("coverage") < -SURE),
            f"The samples crowd around the centers of the data: density is {numbers.over_floor('density'):.2f} times "
            "that of real images, and they reach fewer of these.",
            "A larger truncation threshold." if maker.truncation else "Noise that spreads more; a larger network.",
            ("density", "coverage", "recall"),
            "near",
        )

    if blurred:
        yield _named(
            numbers,
            "blur",
            (high < 0.4, edges < 0.5),
            f"The samples are blurred: their edges have {_percent(edges)} of the strength of real ones, their high "
            f"frequencies {_percent(high)}.",
            "More rounds; an adversarial loss of images sharpens what the squared error blurs (alae)."
            if maker.code and not maker.adversary
            else "More rounds.",
            ("blur ratio", "HF ratio"),
            "spectrum",
        )
    boards = list(_patterns(numbers, maker))
    yield from boards
    if high > 1.15 and z("HF ratio") > SURE and not boards:
        if edges > 1.1:
            yield _named(
                numbers,
                "noise",
                (edges > 1.3, z("KID") > SURE, numbers.over_floor("precision") > 0.97),
                f"The samples are noisy or ragged: their high frequencies have {high:.2f} times the power of real "
                "ones.",
                ("" if maker.averaged else "Averaged (EMA) weights, ")
                + "a lower learning rate towards the end, more rounds.",
                ("HF ratio", "blur ratio", "precision"),
                "spectrum",
            )
        else:
            yield _named(
                numbers,
                "unreal samples",
                (high > 1.4, z("KID") > SURE, z("1-NN fake") > 3 or z("precision") < -SURE),
                f"Some samples are noise: the high frequencies of all have {high:.2f} times the power of real ones, "
                f"while the edges of the typical sample have {_percent(edges)} of the strength of real ones.",
                _against_unreal(maker),
                ("HF ratio", "blur ratio", "1-NN fake"),
                "far",
            )
            return
    unreal = 1 - numbers.over_floor("precision")
    if unreal > 0.02 and z("precision") < -SURE:
        yield _named(
            numbers,
            "unreal samples",
            (unreal > 0.05, z("KID") > SURE),
            f"{_percent(unreal)} fewer samples than real images lie among other real images.",
            _against_unreal(maker),
            ("precision",),
            "far",
        )


def _patterns(numbers: MetricTable, maker: Maker) -> Iterator[Diagnosis]:
    """A pattern that repeats every 2 or 4 pixels: power at its frequency, which stands out from those around it.

    Real images may be made of blocks (pixel art), and then have no power at all where samples have a little: only what
    stands out is a pattern. Only convolutions and upsampling make it; other networks make noise, pixel by pixel.
    """
    if maker.kernels is False:
        return
    high = numbers.value("HF ratio", 1.0)
    for name, period in (("Nyquist", 2), ("quarter", 4)):
        ratio, prominent = numbers.value(f"{name} ratio", 1.0), numbers.value(f"{name} peak", 0.0)
        usual = max(1.0, numbers.floor(f"{name} peak", 1.0))
        if ratio > 1.5 and ratio > 1.4 * high and numbers.z(f"{name} ratio") > SURE and prominent > 1.5 * usual:
            odd = ", ".join(f"{size} at stride {stride}" for size, stride in maker.transposed if size % stride)
            if maker.transposed and not odd:
                advice = "Resizing followed by a convolution in place of transposed convolutions; more rounds."
            elif odd:
                advice = (
                    f"Kernels whose size is a multiple of the stride (here: {odd}), or resizing and then a convolution."
                )
            elif maker.kernels:
                advice = "More rounds, averaged (EMA) weights: this network has no transposed convolution to blame."
            else:
                advice = "Kernels whose size is a multiple of the stride, or resizing followed by a convolution."
            yield _named(
                numbers,
                "checkerboard",
                (ratio > 2 * high, prominent > 3 * usual),
                f"The samples carry a pattern that repeats every {period} pixels: its power is {ratio:.3g} times that "
                f"in real images, where all high frequencies together have {high:.2f} times, and {prominent:.3g} times "
                "that of the frequencies around it.",
                advice,
                (f"{name} ratio", f"{name} peak", "HF ratio"),
                "spectrum",
            )


def _of_labels(numbers: MetricTable, evaluation: Mapping[str, Any]) -> Iterator[Diagnosis]:
    """Only where the classifier recognizes real images."""
    agreement = numbers.cards.get("class agreement")
    if agreement is None:
        return
    guess = 1 / max(2, len(evaluation.get("classes", ())) or 10)
    real = agreement.get("floor")
    real = 1.0 if real is None else real
    if real > 0.5 and agreement["interval"][1] < guess + 0.25 * (real - guess):
        yield Diagnosis(
            "labels ignored",
            1.0,
            f"Samples show the class that was asked for {_percent(agreement['value'])} of the time: guessing would "
            f"be right {_percent(guess)}, and {_percent(real)} of real images are recognized.",
            "Is the label given to both networks? Is the loss of the classes weighted?",
            ("class agreement",),
        )


def _of_codes(numbers: MetricTable, evaluation: Mapping[str, Any]) -> Iterator[Diagnosis]:
    active = numbers.cards.get("active units")
    if active is None:
        return
    units = len(evaluation.get("units", ())) or 1
    if posterior_collapsed(int(active["value"]), units):
        yield Diagnosis(
            "posterior collapse",
            1.0,
            f"{active['value']:.0f} of {units} units of the code tell images apart: the decoder paints without "
            "looking at the code.",
            "Lower the weight of the divergence (beta), or let it grow from 0 over the first rounds.",
            ("active units",),
        )


def _nothing_named(numbers: MetricTable, maker: Maker, evaluation: Mapping[str, Any]) -> Diagnosis:
    """No rule has found a fault: too few images to find one, a distance without a name, or none."""
    gray, red, amber = numbers.lit("gray"), numbers.lit("red"), numbers.lit("amber")
    if set(gray) & set(CORE) and not red:
        needed = max(card.get("needed") or 0 for card in numbers.cards.values())
        return Diagnosis(
            "too few images",
            1.0,
            f"{numbers.cards['KID'].get('against') or numbers.cards['KID']['n']} images are too few to find a fault by "
            f"{_list(gray)}: even a gross one need not show.",
            f"Measure with {needed} images or more.",
            tuple(gray),
        )
    if red:
        return _named(
            numbers,
            "unlike real images",
            (numbers.z("C2ST") > SURE, numbers.z("FD") > SURE),
            f"The samples differ from real images in {_list(red)}, and no fault that is known here explains how.",
            "More rounds; look at the samples that are farthest from any real image.",
            tuple(red),
            "far",
        )
    return Diagnosis(
        "no fault found",
        0.5 if amber else 1.0,
        "Nothing in this panel tells the samples from as many real images"
        + (f", beyond differences that may be chance: {_list(amber)}." if amber else ".")
        + (f" Too few images to tell by {_list(gray)}." if gray else ""),
        "",
        tuple(name for name in ("KID", "coverage", "duplicates", "copied-features") if name in numbers),
    )


def _against_missing(maker: Maker) -> str:
    return "More rounds, if it still learns; a larger code." if maker.adversary is False else _against_collapse(maker)


def _against_collapse(maker: Maker) -> str:
    if maker.adversary is False:
        return "More weight on reconstruction (a smaller beta), a larger code, or an earlier checkpoint."
    return (
        "A gradient penalty (r1gan, wgan-gp) or a discriminator of several images at once (pacgan), a lower learning "
        "rate of the generator, an earlier checkpoint; more rounds, if it still learns."
    )


def _against_unreal(maker: Maker) -> str:
    return "More rounds." if maker.truncation else "More rounds; truncation removes the worst at the price of variety."


def _named(
    numbers: MetricTable,
    cause: str,
    confirmed: Sequence[bool],
    sentence: str,
    advice: str,
    evidence: tuple[str, ...],
    picture: str,
) -> Diagnosis:
    """Of the evidence, the numbers that there are."""
    certainty = 0.5 + 0.5 * sum(confirmed) / len(confirmed)
    return Diagnosis(cause, certainty, sentence, advice, tuple(one for one in evidence if one in numbers), picture)


def _names(evaluation: Mapping[str, Any], *, missing: bool) -> str:
    """Classes, or the commonest class in each cell, that are hardly made (or: too often and too rarely), in words."""
    classes = evaluation.get("classes", ())
    if missing:
        gone = [row for row in classes if row["high"] < 0.5 * row["real_share"]]
        if gone:
            return _list(
                f"“{row['name']}” ({_percent(row['share'])} instead of {_percent(row['real_share'])})" for row in gone
            )
        cells = [cell for cell in evaluation.get("cells", ()) if cell["missing"] and cell["name"]]
        return _list(dict.fromkeys(f"kinds of “{cell['name']}”" for cell in cells))
    often = [row for row in classes if row["low"] > 1.3 * row["real_share"]]
    seldom = [row for row in classes if row["high"] < 0.7 * row["real_share"]]
    return _list(
        [
            *(f"“{row['name']}” {_percent(row['share'])} instead of {_percent(row['real_share'])}" for row in often),
            *(f"“{row['name']}” {_percent(row['share'])} instead of {_percent(row['real_share'])}" for row in seldom),
        ]
    )


def _list(names: Any) -> str:
    words = list(names)
    return ", ".join(words[:4]) + (f" and {len(words) - 4} more" if len(words) > 4 else "")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if abs(share) < 0.1 else f"{100 * share:.0f} %"


def _count(number: float) -> str:
    """Two digits: it is an estimate."""
    return f"{float(f'{number:.2g}'):,.0f}"
