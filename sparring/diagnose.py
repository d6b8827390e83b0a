"""From the numbers of an evaluation to sentences: which fault they speak of, how surely, and where to see it. Pure.

Each rule has one sign that must hold, an effect that is large enough to matter and beyond chance, and others that
confirm it. The thresholds are for images of any size and kind: what is normal is the floor, that is, what the same
number says of real images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

CERTAIN, LIKELY = 0.99, 0.7
SURE = 5.0
"""Standard deviations of real sets beyond which a number is surely off."""


@dataclass(frozen=True)
class Diagnosis:
    """One fault, or that none was found.

    cause      its name: "mode collapse"
    certainty  0.5, if only the sign that must hold does, to 1, if every other one confirms it
    sentence   what is wrong, with the numbers
    advice     what to try
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


class Numbers:
    """The cards of an evaluation by their short names; a number that is not there is like a real image's."""

    def __init__(self, evaluation: Mapping[str, Any]) -> None:
        self.cards = {card["name"].split("@")[0]: card for card in evaluation["metrics"]}
        for short in ("FD-infinity", "FD", "KID"):  # the extractor's name stands behind
            for name in list(self.cards):
                if name.startswith(f"{short}-") and not name.startswith("FD-infinity-" if short == "FD" else "?"):
                    self.cards.setdefault(short, self.cards[name])

    def __contains__(self, name: str) -> bool:
        return name in self.cards

    def value(self, name: str, otherwise: float) -> float:
        return self.cards[name]["value"] if name in self.cards else otherwise

    def over_floor(self, name: str) -> float:
        """The value over that of real images; 1 where there is none."""
        card = self.cards.get(name)
        return card["value"] / card["floor"] if card and card["floor"] else 1.0

    def z(self, name: str) -> float:
        card = self.cards.get(name)
        return (card.get("z") or 0.0) if card else 0.0


def diagnose(evaluation: Mapping[str, Any]) -> list[Diagnosis]:
    """What an evaluation (`Evaluation.as_dict`) speaks of, most certain first; a single "no fault found" if nothing.

    Nothing at all for systems that do not sample and whose codes are healthy.
    """
    numbers = Numbers(evaluation)
    found = [*_of_samples(numbers, evaluation), *_of_codes(numbers, evaluation)]
    if "KID" in numbers and not found:
        found = [_unlike(numbers) if numbers.z("KID") > SURE else _healthy(numbers)]
    return sorted(found, key=lambda one: -one.certainty)


def _of_samples(numbers: Numbers, evaluation: Mapping[str, Any]) -> Iterator[Diagnosis]:
    z, value = numbers.z, numbers.value

    copies = min(value("copied-features", 0.0), value("copied-pixels", 0.0))
    if copies > 0.03 and min(z("copied-features"), z("copied-pixels")) > 3:
        yield _named(
            "memorisation",
            (z("authentic") < -3, min(z("copied-features"), z("copied-pixels")) > SURE),
            f"About {_percent(value('copied-features', 0.0))} of the samples must be copies of training images: their "
            f"nearest real image is a training image more often than chance allows.",
            "More data, augmentation, a smaller discriminator, or an earlier checkpoint.",
            ("copied-features", "copied-pixels", "authentic"),
            "closest",
        )

    edges, high = value("blur ratio", 1.0), value("HF ratio", 1.0)
    uneven = value("classes-TV", 0.0) >= 0.1 and z("classes-TV") > SURE
    moved = not uneven and not (min(edges, high) > 0.8 and max(edges, high) < 1.25)
    # Where all samples are blurred or noisy, their features are elsewhere, and regions look empty that are not.
    missing = 0.0 if moved or z("missing") < SURE else value("missing", 0.0)
    twins = value("duplicates", 0.0) if z("duplicates") > SURE else 0.0
    lost = missing >= 0.04 or twins >= 0.1
    if twins >= 0.1 or missing >= 0.5:
        support = value("effective support", 0.0)
        yield _named(
            "mode collapse",
            (numbers.over_floor("coverage") < 0.7, z("cells-JS") > SURE, z("1-NN fake") > SURE, z("missing") > SURE),
            (
                f"{_percent(value('duplicates', 0.0))} of the samples have a twin among the samples (real images: "
                f"{_percent(numbers.cards['duplicates']['floor'])}), as if it made {_count(support)} different images"
                + (
                    f", and {_percent(missing)} of the real images lie where it makes next to nothing."
                    if missing > 0.03
                    else "."
                )
            ),
            "R1 or a gradient penalty, minibatch discrimination, a lower rate of the generator, an earlier checkpoint.",
            ("duplicates", "effective support", "missing", "coverage", "cells-JS", "1-NN fake"),
            "twins" if twins >= 0.1 else "cells",
        )
    elif lost:
        names = _names(evaluation, missing=True)
        yield _named(
            "missing modes",
            (z("cells-JS") > SURE, z("coverage") < -SURE, z("classes-TV") > SURE or "classes-TV" not in numbers),
            f"{_percent(missing)} of the real images lie in regions of which it makes next to nothing"
            + (f": {names}." if names else "."),
            "R1 or a gradient penalty, minibatch discrimination, a larger batch; more rounds, if it still learns.",
            ("missing", "cells-JS", "coverage", "classes-TV"),
            "cells",
        )
    if uneven or (not moved and value("cells-NDB", 0.0) >= 0.3 and z("cells-JS") > SURE):
        names = _names(evaluation, missing=False)
        yield _named(
            "imbalance",
            (uneven or "classes-TV" not in numbers, not lost, value("cells-NDB", 0.0) >= 0.1),
            "Some kinds of images are made too often and others too rarely"
            + (f": {names}." if names else f" ({_percent(value('cells-NDB', 0.0))} of the regions)."),
            "More rounds or a larger batch; class labels, if there are any, make the shares even.",
            ("classes-TV", "cells-NDB", "cells-JS"),
            "overfull",
        )

    fewer = z("coverage") < -3 or z("recall") < -SURE
    if numbers.over_floor("density") > 1.2 and z("density") > SURE and fewer:
        yield _named(
            "little variety",
            (z("recall") < -SURE, z("coverage") < -SURE),
            f"The samples crowd around the centres of the data: density is {numbers.over_floor('density'):.2f} times "
            "that of real images, and they reach fewer of these.",
            "A larger truncation threshold, if samples were truncated; noise that spreads more; a larger generator.",
            ("density", "coverage", "recall"),
            "near",
        )

    if edges < 0.7 and high < 0.6 and z("blur ratio") < -SURE:
        yield _named(
            "blur",
            (high < 0.4, edges < 0.5),
            f"The samples are blurred: their edges have {_percent(edges)} of the strength of real ones, their high "
            f"frequencies {_percent(high)}.",
            "More rounds; for autoencoders an adversarial or perceptual loss instead of the squared error.",
            ("blur ratio", "HF ratio"),
            "spectrum",
        )
    for name, period in (("Nyquist ratio", 2), ("quarter ratio", 4)):
        peak = value(name, 1.0)
        if peak > 1.5 and peak > 1.4 * high and z(name) > SURE:
            yield _named(
                "checkerboard",
                (peak > 2 * high, peak > 3),
                f"The samples carry a pattern that repeats every {period} pixels: its power is {peak:.3g} times that "
                f"in real images, where all high frequencies together have {high:.2f} times.",
                "Kernels whose size is a multiple of the stride, or resizing followed by a convolution.",
                (name, "HF ratio"),
                "spectrum",
            )
    peaks = max(value("Nyquist ratio", 1.0), 1.0)
    if high > 1.15 and edges > 1.1 and z("HF ratio") > SURE and peaks < 2 * high:
        yield _named(
            "noise",
            (edges > 1.3, z("KID") > SURE, numbers.over_floor("precision") > 0.97),
            f"The samples are noisy or ragged: their high frequencies have {high:.2f} times the power of real ones.",
            "Averaged (EMA) weights, a lower learning rate towards the end, more rounds.",
            ("HF ratio", "blur ratio", "precision"),
            "spectrum",
        )
    if high > 1.15 and edges <= 1.1 and z("HF ratio") > SURE and peaks < 2 * high:
        yield _named(
            "unreal samples",
            (high > 1.4, z("KID") > SURE, z("1-NN fake") > 3 or z("precision") < -SURE),
            f"Some samples are noise: the high frequencies of all have {high:.2f} times the power of real ones, while "
            "the typical sample has edges like a typical real image.",
            "More rounds; truncation removes the worst at the price of variety.",
            ("HF ratio", "blur ratio", "1-NN fake"),
            "far",
        )
    unreal = 1 - numbers.over_floor("precision")
    if unreal > 0.02 and z("precision") < -SURE:
        yield _named(
            "unreal samples",
            (unreal > 0.05, z("KID") > SURE),
            f"{_percent(unreal)} of the samples lie farther from every real image than real images do.",
            "More rounds; truncation removes the worst at the price of variety.",
            ("precision", "density"),
            "far",
        )


def _of_codes(numbers: Numbers, evaluation: Mapping[str, Any]) -> Iterator[Diagnosis]:
    agreement = numbers.cards.get("class agreement")
    if agreement:
        classes = max(2, len(evaluation.get("classes", ())) or 10)
        if agreement["value"] < 2 / classes and agreement["interval"][1] < 0.5:
            yield Diagnosis(
                "labels ignored",
                1.0,
                f"Samples show the class that was asked for {_percent(agreement['value'])} of the time: guessing would "
                f"be right {_percent(1 / classes)}.",
                "Is the label given to both networks? Is the loss of the classes weighted?",
                ("class agreement",),
            )
    active = numbers.cards.get("active units")
    if active:
        units = len(evaluation.get("units", ())) or 1
        if active["value"] < 0.1 * units:
            yield Diagnosis(
                "posterior collapse",
                1.0,
                f"{active['value']:.0f} of {units} units of the code tell images apart: the decoder paints without "
                "looking at the code.",
                "Lower the weight of the divergence (beta), or let it grow from 0 over the first rounds.",
                ("active units",),
            )


def _unlike(numbers: Numbers) -> Diagnosis:
    return _named(
        "unlike real images",
        (numbers.z("C2ST") > SURE, numbers.z("FD") > SURE),
        f"The samples differ from real images (KID {numbers.value('KID', 0.0):.3g}), and no fault that is known here "
        "explains how.",
        "More rounds; look at the samples that are farthest from any real image.",
        ("KID", "FD", "C2ST"),
        "far",
    )


def _healthy(numbers: Numbers) -> Diagnosis:
    return Diagnosis(
        "no fault found",
        0.5 if numbers.z("KID") > 3 else 1.0,
        "Nothing in this panel tells the samples from as many real images"
        + (", beyond a distance that may be chance." if numbers.z("KID") > 3 else "."),
        "",
        ("KID", "coverage", "duplicates", "copied-features"),
    )


def _named(
    cause: str, confirmed: Sequence[bool], sentence: str, advice: str, evidence: tuple[str, ...], picture: str
) -> Diagnosis:
    certainty = 0.5 + 0.5 * sum(confirmed) / len(confirmed)
    return Diagnosis(cause, certainty, sentence, advice, evidence, picture)


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
