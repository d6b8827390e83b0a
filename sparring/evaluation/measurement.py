"""A number with the metadata that decides whether two of them can be compared."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

SIGMA_AMBER, SIGMA_RED = 3, 5
"""A number is amber, and red, from so many standard deviations (over sets of real images) from its floor."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One number and its metadata.

    metric          its row in `METRICS`: "FD", "classification error"
    value           the number; for samples the mean over the repeats
    n               number of images; for samples also that of the reference images, per repeat
    split           of the real images: held_out, held_out_b, test, train or pairs
    direction       of a translation: "a to b"; "" otherwise
    unit            "share" (of 1, printed in percent), "per pixel", "nats", "of 20"; "" for a ratio or a distance
    interval        95 % interval: over images or, for samples, over sets of samples (not over training runs); or None
    floor           the same number for a known baseline: real images, a constant, another method; None if there is none
    floor_interval  its 95 % interval, or None
    floor_name      the baseline: "real images", "the mean training image"; "" if there is none
    extractor       name of the feature extractor or classifier; "pixels" for a metric of samples without one, or None
    digest          SHA-256 of its weights; "" for pixels; None if there is none
    by_extractor    whether extractor and n are part of the name: FD-lenet-mnist@2000
    spread          standard deviation over sets of real images; None for fewer than two
    p               p-value of the difference from real images; None if its distribution is unknown
    against         number of real images it was compared with; None if unknown
    words           verdict or remark in plain language; "" if there is none

    section         of the evaluation: "samples", "classes" ...; from the row of the metric, as the next two
    better          "lower", "higher", "floor" (nearer to the floor) or "" (neither)
    needed          number of real images below which the light is gray; 0 for a metric without a light
    """

    metric: str
    value: float
    n: int
    split: str
    direction: str = ""
    unit: str = ""
    interval: tuple[float, float] | None = None
    floor: float | None = None
    floor_interval: tuple[float, float] | None = None
    floor_name: str = ""
    extractor: str | None = None
    digest: str | None = None
    by_extractor: bool = False
    spread: float | None = None
    p: float | None = None
    against: int | None = None
    words: str = ""
    section: str = ""
    better: str = ""
    needed: int = 0

    @property
    def key(self) -> str:
        """Metric and direction, unique within an evaluation."""
        return f"{self.metric} {self.direction}".strip()

    @property
    def name(self) -> str:
        """The key and, for distances of features, extractor and n."""
        name = distance_name(self.metric, self.extractor, self.n) if self.by_extractor else self.metric
        return f"{name} {self.direction}".strip()

    @property
    def z(self) -> float | None:
        """Distance to the floor in standard deviations over sets of real images; None if these are unknown."""
        if self.spread is None or self.floor is None:
            return None
        return (self.value - self.floor) / max(self.spread, 1 / self.n)

    @property
    def light(self) -> str:
        """green: as real images; amber: slightly off; red: off; gray: too few images to tell; "" if unknown."""
        if self.z is None:
            return ""
        if self.against is not None and self.against < self.needed:
            return "gray"
        return "green" if abs(self.z) < SIGMA_AMBER else "amber" if abs(self.z) < SIGMA_RED else "red"

    def as_dict(self) -> dict[str, Any]:
        """All fields except `by_extractor`, and `name`, `z` and `light`, ready for JSON."""
        fields = asdict(self)
        del fields["by_extractor"]
        return as_json({"name": self.name, **fields, "z": self.z, "light": self.light})

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit not in ("", "share") else ""
        line = f"{self.name} {self._text(self.value, self.interval)}{unit}, n = {self.n:,}"
        if self.floor is not None:
            line += f"; {self.floor_name} {self._text(self.floor, self.floor_interval)}"
        return f"{line}: {self.words}" if self.words else line

    def _text(self, value: float, interval: tuple[float, float] | None) -> str:
        share = self.unit == "share"
        text = f"{100 * value:.2f} %" if share else f"{value:.4g}"
        ends = [f"{100 * end:.2f}" if share else f"{end:.4g}" for end in interval or ()]
        return f"{text} ({' to '.join(ends)})" if ends else text


def distance_name(metric: str, extractor: str | None, n: int) -> str:
    """The name of a distance of features, which can be compared only for equal extractor and n."""
    return f"{metric}-{extractor}@{n}"


class Cell(NamedTuple):
    """A region of the feature space that is generated too rarely or too often.

    number   index of the region
    name     its most common class; "" if classes are unknown
    real     its share of the real images
    fake     its share of the samples
    z        difference in standard errors
    missing  whether it is hardly ever generated
    """

    number: int
    name: str
    real: float
    fake: float
    z: float
    missing: bool


class Unit(NamedTuple):
    """One unit of the latent code, over the images of the split.

    kl        mean KL divergence from the prior, in nats
    variance  of its mean over images: how much it depends on the image
    """

    kl: float
    variance: float


def format_number(number: float) -> str:
    """Three significant digits, or an integer from 1,000 on, so that tables fit into 80 columns."""
    if abs(number) >= 1e5:
        return f"{number / 1e6:.3g}M"
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.3g}"


def as_json(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields with tuples as lists, because JSON has no tuples."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in fields.items()}
