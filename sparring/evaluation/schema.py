"""Schema of eval.json, checked whenever it is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, Field

from sparring.errors import MOST, SparringError
from sparring.evaluation.result import FORMAT

Number = Annotated[float, Field(gt=-1e300, lt=1e300)]
Whole = Annotated[int, Field(ge=-MOST, le=MOST)]
Name = Annotated[str, Field(min_length=1)]
Interval = Annotated[list[Number], Field(min_length=2, max_length=2)]


class Record(BaseModel, strict=True):
    """A measurement in any section: `Measurement.as_dict`."""

    metric: Name
    name: Name
    direction: str
    section: str
    value: Number
    unit: str
    n: Whole
    split: str
    interval: Interval | None
    floor: Number | None
    floor_interval: Interval | None
    floor_name: str
    extractor: str | None
    digest: str | None
    spread: Number | None
    z: Number | None
    p: Number | None
    light: Literal["green", "amber", "red", "gray", ""]
    against: Whole | None
    needed: Whole
    better: Literal["lower", "higher", "floor", ""]
    words: str
    averaged: bool | None
    fingerprint: str


class SampleRecord(Record, strict=True):
    """A metric of the panel."""

    floor: Number
    extractor: str
    digest: str


class ClassShare(BaseModel, strict=True):
    """The fields of `metrics.classes.ClassShare`."""

    name: str
    share: Number
    low: Number
    high: Number
    real_share: Number


class Cell(BaseModel, strict=True):
    """The fields of `measurement.Cell`."""

    number: Whole
    name: str
    real: Number
    fake: Number
    z: Number
    missing: bool


class Diagnosis(BaseModel, strict=True):
    """The fields of `diagnose.Diagnosis`."""

    cause: Name
    sure: str
    sentence: str
    advice: str
    evidence: list[str]
    picture: str


class Unit(BaseModel, strict=True):
    """The fields of `measurement.Unit`."""

    kl: Number
    variance: Number


class StoredEvaluation(BaseModel, strict=True):
    """`Evaluation.as_dict()` and the evaluated checkpoint; other keys are allowed."""

    format: int
    data: str
    fingerprint: str
    n: Whole
    repeats: Whole
    sampling: dict[str, Number | Whole | str | bool | list[Whole] | None]
    range: dict[str, Number]
    system: dict[str, Any]
    notes: list[str]
    metrics: list[Record]
    classes: list[ClassShare]
    cells: list[Cell]
    units: list[Unit]
    findings: list[Diagnosis]
    checkpoint: str = "last"


def require_evaluation(stored: Mapping[str, Any]) -> None:
    """Raises SparringError unless the dictionary has the format of `Evaluation.as_dict` in this version."""
    if stored.get("format") != FORMAT:
        raise SparringError("eval.json was made by another version of sparring: run sparring evaluate again")
    try:
        StoredEvaluation.model_validate(stored)
        for record in stored["metrics"]:
            if record["section"] == "samples":
                SampleRecord.model_validate(record)
            if record["light"] and record["z"] is None:
                raise SparringError("eval.json is damaged: a light without z; run sparring evaluate again")
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise SparringError(
            f"eval.json is damaged: {where}: {first['msg'].lower()}; run sparring evaluate again"
        ) from None
