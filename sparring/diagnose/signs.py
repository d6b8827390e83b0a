"""The numbers of an evaluation, and what follows from several of them: what the rules are functions of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

SIGMAS = 5.0
"""A metric is significantly off if it is more standard deviations (over sets of real images) from its floor."""

COLLAPSE_SHARE, COLLAPSE_SHARE_BLURRED = 0.1, 0.8
"""Smallest share of near-duplicates that is mode collapse; blurred samples are similar anyway."""

MIN_PRECISION = 0.7
"""Share of the floor's precision below which samples are far from the data, so that covered regions look empty."""

PATTERNS = {"Nyquist": 2, "quarter": 4}
"""Regular pattern -> its period in pixels."""


class MetricTable:
    """The metrics of an evaluation, except those of translations; a missing one counts as equal to its floor."""

    def __init__(self, evaluation: Mapping[str, Any]) -> None:
        """Read the records of `Evaluation.as_dict()["metrics"]`."""
        self.records = {record["metric"]: record for record in evaluation["metrics"] if not record["direction"]}

    def __contains__(self, name: str) -> bool:
        return name in self.records

    def value(self, name: str, default: float) -> float:
        """The value of a metric; `default` if it was not measured."""
        return float(self.records[name]["value"]) if name in self.records else default

    def floor(self, name: str, default: float) -> float:
        """The floor of a metric; `default` if it has none."""
        floor = self.records[name]["floor"] if name in self.records else None
        return default if floor is None else float(floor)

    def over_floor(self, name: str) -> float:
        """The value divided by its floor; 1 if there is no floor."""
        floor = self.floor(name, 0.0)
        return self.value(name, 1.0) / floor if floor else 1.0

    def z(self, name: str) -> float:
        """Distance to the floor in standard deviations; 0 if unknown."""
        record = self.records.get(name)
        return (record["z"] or 0.0) if record else 0.0

    def lit(self, *lights: str) -> list[str]:
        """Names of the metrics with one of these lights."""
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
        """The traits in `Evaluation.as_dict()`."""
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


class Signs(MetricTable):
    """The metrics, the system, and signs that several rules share.

    classes  shares of the classes: `metrics.classes.ClassShare` as dictionaries
    cells    regions generated too rarely or too often: `evaluation.measurement.Cell` as dictionaries
    range    of the pixels: `evaluation.splits.PixelRange` as a dictionary; {} if nothing was sampled
    units    number of units of the latent code
    """

    def __init__(self, evaluation: Mapping[str, Any]) -> None:
        """Read an evaluation (`Evaluation.as_dict`)."""
        super().__init__(evaluation)
        self.system = SystemTraits.of(evaluation)
        self.classes: list[dict[str, Any]] = list(evaluation.get("classes", ()))
        self.cells: list[dict[str, Any]] = list(evaluation.get("cells", ()))
        self.range: Mapping[str, float] = evaluation.get("range") or {}
        self.units = len(evaluation.get("units", ())) or 1

    @property
    def edges(self) -> float:
        """Edge strength of the median sample over that of the median real image."""
        return self.value("blur ratio", 1.0)

    @property
    def high(self) -> float:
        """High frequencies of samples over those of real images."""
        return self.value("HF ratio", 1.0)

    def _similar(self, low: float, high: float) -> bool:
        """Whether samples are near the data and edges and high frequencies are within these limits.

        If all samples are blurred, noisy or unreal, their features are shifted: covered regions look empty, and the
        predictions of a classifier are meaningless.
        """
        near_data = self.over_floor("precision") > MIN_PRECISION
        return near_data and min(self.edges, self.high) > low and max(self.edges, self.high) < high

    @cached_property
    def undistorted(self) -> bool:
        """Whether regions of the feature space can be counted."""
        return self._similar(0.8, 1.25)

    @cached_property
    def uneven(self) -> bool:
        """Whether the classes have wrong shares."""
        return self._similar(0.5, 2) and self.value("classes-TV", 0.0) >= 0.1 and self.z("classes-TV") > SIGMAS

    @cached_property
    def gone(self) -> list[dict[str, Any]]:
        """Classes that are generated less than half as often as they occur."""
        return [row for row in self.classes if row["high"] < 0.5 * row["real_share"]]

    @cached_property
    def gone_share(self) -> float:
        """Share of the real images in these classes; 0 unless the classes can be counted."""
        return float(sum(row["real_share"] for row in self.gone)) if self.uneven else 0.0

    @cached_property
    def missing(self) -> float:
        """Share of the real images in regions with hardly any samples; 0 if not significant."""
        return self.value("missing", 0.0) if self.z("missing") > SIGMAS and self.undistorted else 0.0

    @cached_property
    def copies(self) -> float:
        """Share of copies of training images, in features and in pixels."""
        return min(self.value("copied-features", 0.0), self.value("copied-pixels", 0.0))

    @cached_property
    def copies_z(self) -> float:
        """Its significance."""
        return min(self.z("copied-features"), self.z("copied-pixels"))

    @cached_property
    def duplicates(self) -> float:
        """Share of near-duplicates among the samples; 0 if not significant."""
        return self.value("duplicates", 0.0) if self.z("duplicates") > SIGMAS else 0.0

    @cached_property
    def collapsed(self) -> bool:
        """Whether near-duplicates are mode collapse. Noise images have similar features, but not similar pixels."""
        in_both = min(self.duplicates, self.value("duplicates-pixels", self.duplicates))
        return in_both >= (COLLAPSE_SHARE if self.edges > 0.5 else COLLAPSE_SHARE_BLURRED)

    @cached_property
    def blurred(self) -> bool:
        """Whether the samples are blurred."""
        return self.edges < 0.7 and self.high < 0.6 and self.z("blur ratio") < -SIGMAS

    def checkerboard(self, name: str) -> bool:
        """Whether a pattern of `PATTERNS` has a power that exceeds that of the surrounding frequencies.

        A high ratio to real images is not enough: real images made of blocks (pixel art) have no power at these
        frequencies. Only convolutions and upsampling produce such patterns; other networks produce independent noise.
        """
        ratio, peak = self.value(f"{name} ratio", 1.0), self.value(f"{name} peak", 0.0)
        real_peak = max(1.0, self.floor(f"{name} peak", 1.0))
        strong = ratio > 1.5 and ratio > 1.4 * self.high and peak > 1.5 * real_peak
        return self.system.kernels is not False and strong and self.z(f"{name} ratio") > SIGMAS

    @cached_property
    def rough(self) -> bool:
        """Whether the samples have too many high frequencies, without a regular pattern."""
        return self.high > 1.15 and self.z("HF ratio") > SIGMAS and not any(map(self.checkerboard, PATTERNS))

    @cached_property
    def noisy(self) -> bool:
        """Whether all samples are noisy."""
        return self.rough and self.edges > 1.1

    @cached_property
    def agreement(self) -> Mapping[str, Any] | None:
        """The record of the class agreement."""
        return self.records.get("class agreement")
