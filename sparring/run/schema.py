"""Types and ranges of recipe.json and config.json, checked whenever they are read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, Field

from sparring.data.dataset import Modality, Spec
from sparring.data.pairs import PairsFrom
from sparring.data.pixels import MAX_SIZE
from sparring.durable import CorruptCheckpointError, read_json, unsealed
from sparring.errors import MOST, SparringError

FORMAT = 5

Count = Annotated[int, Field(ge=1, le=MOST)]


class Source(BaseModel, strict=True):
    """The source of the data: the arguments of `sparring.load`."""

    source: str | dict[str, str]
    size: Count | None
    channels: Literal[1, 3] | None
    classes: str | list[str] | None
    root: str | None
    pairs: PairsFrom | None = None


class Data(BaseModel, strict=True):
    """The data: name, source, number of training images, and SHA-256 of all content."""

    name: str
    source: Source | None
    count: Count
    fingerprint: str


class DataSpec(BaseModel, strict=True):
    """Shape, classes and kind of the data: the fields of `Spec`."""

    channels: Count
    height: Annotated[int, Field(ge=1, le=MAX_SIZE)]
    width: Annotated[int, Field(ge=1, le=MAX_SIZE)]
    classes: list[str]
    modality: Modality


class Every(BaseModel, strict=True):
    """Rounds between log lines, sample grids, evaluations and checkpoints."""

    log: Count
    sample: Count
    eval: Count
    save: Count


class Machine(BaseModel, strict=True):
    """What the last bits of results depend on."""

    processor: str
    threads: Count
    processes: Count
    torch: str


class WeightsConfig(BaseModel, strict=True):
    """weights/config.json: everything needed to rebuild the networks."""

    format: int
    training: str
    recipe: str
    arguments: dict[str, Any]
    spec: DataSpec
    precision: Literal["float32", "bfloat16"]


class RunConfig(BaseModel, strict=True):
    """recipe.json: the fields that are read again."""

    format: int
    id: str
    signature: str
    recipe: str
    arguments: dict[str, Any]
    paper: str
    data: Data
    spec: DataSpec
    seed: Annotated[int, Field(ge=0, le=MOST)]
    rounds: Count
    batch: Count
    grad_accum: Count
    precision: Literal["float32", "bfloat16"]
    every: Every
    early: list[Literal["sample", "eval"]]
    monitor: bool
    equilibrium: dict[str, pydantic.FiniteFloat]
    schedule_ends: dict[str, int]
    command: str
    sparring: str
    commit: str | None
    machine: Machine


class Log(BaseModel, strict=True):
    """A log at the time of a checkpoint: its length, and the SHA-256 of its content."""

    bytes: Annotated[int, Field(ge=0, le=MOST)]
    sha256: str


class Logs(BaseModel, strict=True, extra="forbid"):
    """The logs at the time of a checkpoint."""

    log: Log
    metrics: Log
    health: Log


class State(BaseModel, strict=True, extra="forbid"):
    """state.json of a checkpoint."""

    round: Annotated[int, Field(ge=0, le=MOST)]
    positions: dict[str, Annotated[int, Field(ge=0, le=MOST)]]
    recent: dict[str, list[pydantic.FiniteFloat]]
    logs: Logs


def read_sealed(file: Path, kind: type[BaseModel]) -> dict[str, Any]:
    """A file written with `durable.sealed`. Raises SparringError if it is damaged or has another format."""
    try:
        data = read_json(file)
        version = _format_of(data)
        if version not in (None, FORMAT):
            raise SparringError(f"{file} has format {version}; this version of sparring reads format {FORMAT}")
        config = unsealed(data)
        kind.model_validate(config)
    except OSError as error:
        raise SparringError(f"cannot read {file}: {error.strerror}") from None
    except CorruptCheckpointError as error:
        raise SparringError(f"{file} {error}") from None
    except pydantic.ValidationError as error:
        raise SparringError(f"{file}: {first_of(error)}") from None
    return config


def first_of(error: pydantic.ValidationError) -> str:
    """The first of the errors: its location and message."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}"


def _format_of(data: bytes) -> int | None:
    try:
        version = json.loads(data)["format"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return None
    return version if type(version) is int else None


def spec_of(config: Mapping[str, Any]) -> Spec:
    """The data's `Spec`, from recipe.json or config.json."""
    spec = config["spec"]
    return Spec(spec["channels"], spec["height"], spec["width"], tuple(spec["classes"]), spec["modality"])
