"""From the metrics of an evaluation to a diagnosis: which faults they indicate, how certainly, and where to see them.

Pure functions. `rules` is the table of faults; `signs` is what the rules are functions of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sparring.diagnose.rules import FALLBACK_RULES, OTHER_RULES, RANGE_RULES, SAMPLE_RULES, Rule
from sparring.diagnose.signs import Signs

CERTAIN, LIKELY = 0.99, 0.7
"""Lowest certainty that is called certain, and likely."""


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
        """The certainty in words."""
        return "certain" if self.certainty >= CERTAIN else "likely" if self.certainty >= LIKELY else "possible"

    def as_dict(self) -> dict[str, Any]:
        """The fields and `sure`, ready for JSON."""
        return {**asdict(self), "evidence": list(self.evidence), "sure": self.sure}

    def __str__(self) -> str:
        certainty = f" ({self.sure})" if self.advice else ""
        return f"{self.cause}{certainty}: {self.sentence}" + (f" {self.advice}" if self.advice else "")


def diagnose(evaluation: Mapping[str, Any]) -> list[Diagnosis]:
    """The faults that an evaluation (`Evaluation.as_dict`) indicates, most certain first.

    If no fault is found, the result is a single diagnosis: "no fault found", or "too few images" if these could not
    have shown one. If the pixel range is wrong, no other fault of the samples is reported, because all other metrics
    were computed on clipped images. The list is empty for systems that cannot sample if their latent codes are healthy.
    """
    signs = Signs(evaluation)
    others = _apply(OTHER_RULES, signs)
    if wrong_range := _apply(RANGE_RULES, signs):
        return wrong_range + others
    diagnoses = _apply(SAMPLE_RULES, signs) + others
    if "KID" in signs and not diagnoses:
        diagnoses = _apply(FALLBACK_RULES, signs)[:1]
    return sorted(diagnoses, key=lambda diagnosis: -diagnosis.certainty)


def _apply(rules: Iterable[Rule], signs: Signs) -> list[Diagnosis]:
    """The diagnoses of the rules whose required sign holds."""
    return [_diagnosis(rule, signs) for rule in rules if rule.required(signs)]


def _diagnosis(rule: Rule, signs: Signs) -> Diagnosis:
    confirmed = rule.confirming(signs)
    certainty = 0.5 + 0.5 * sum(confirmed) / len(confirmed) if confirmed else 1.0
    evidence = tuple(name for name in rule.evidence(signs) if name in signs or name == "range")
    return Diagnosis(rule.cause, certainty, rule.sentence(signs), rule.advice(signs), evidence, rule.picture)
