"""What a recipe is, and how its arguments are listed, checked and given. No torch here: `--help` must be instant."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import math
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

import pydantic
from pydantic.fields import FieldInfo

from sparring.errors import MOST, SparringError, abbreviated, unknown_name_error

if TYPE_CHECKING:
    from sparring.data.dataset import Dataset, Spec
    from sparring.referee import MakeOptimizer, Schedule
    from sparring.system import System


@dataclass
class Recipe:
    """Everything the referee needs, for data of one kind.

    system      networks and round, freshly initialized
    optimizers  player -> how to make its optimizer
    schedules   player -> the optimizer's settings per round
    batch       images per optimizer step, over all processes
    rounds      how long the source trained
    ema_decay   decay per round of the EMA of the shown weights, from round `ema_start` on
    prepare     called once with the data before the first round (initial values that depend on data)
    precision   what `--precision auto` means here: "auto" (bf16 where the hardware has it) or "fp32"
    streams     the data and the run's seed -> what `feed` gives, by name (default: all of it as "train")
    """

    system: System
    optimizers: Mapping[str, MakeOptimizer]
    batch: int
    rounds: int
    ema_decay: float = 0.999
    ema_start: int = 0
    precision: str = "auto"
    schedules: Mapping[str, Schedule] = field(default_factory=dict)
    prepare: Callable[[Dataset], None] | None = None
    streams: Callable[[Dataset, int], Mapping[str, Dataset]] | None = None


RecipeFunction = Callable[..., Recipe]
"""`def name(data: Spec, *, argument: Type = default, ...) -> Recipe`, with a docstring and `@recipe`."""


@dataclass(frozen=True)
class Measured:
    """A training shorter than the paper's whose result is written down in docs/results.

    data     name of the data set
    rounds   how long it was
    minutes  how long that took on the machine of docs/results
    result   what came out, with the number that real images reach: "FD-lenet-mnist@5000 9.9 (real 5.0)"
    options  the flags that it was given beside --rounds and --data: "--labels 100"; "" for the defaults
    """

    data: str
    rounds: int
    minutes: float
    result: str
    options: str = ""


@dataclass(frozen=True)
class RecipeInfo:
    """Where a recipe comes from, and the images it was made for: side in pixels, number of classes (0: no labels).

    domains:  whether the classes are two sets of images without pairs, which may come from two places.
    measured: a shorter training than the paper's, and what it gives; None where none was measured.
    """

    paper: str
    size: int
    classes: int = 0
    domains: bool = False
    measured: Measured | None = None


def require_size(data: Spec, name: str, size: int, others: str) -> None:
    """For a recipe of one size: raises SparringError for other images, and names recipes that take them."""
    if data.size != size:
        raise SparringError(
            f"{name} is for {size}x{size} images, the data is {data.size}x{data.size}: give --size {size}, or choose a "
            f"recipe for other sizes ({others})"
        )


def require_classes(data: Spec, name: str) -> int:
    """How many classes the data has, for a recipe that cannot do without. Raises SparringError for unlabeled data."""
    if not data.classes:
        raise SparringError(
            f"{name} learns from labels and the data has none: give labeled data (one folder per class), "
            "or choose a recipe without labels"
        )
    return len(data.classes)


def recipe(
    *, paper: str, size: int, classes: int = 0, domains: bool = False, measured: Measured | None = None
) -> Callable[[RecipeFunction], RecipeFunction]:
    """Marks a function as a recipe: its paper, the side in pixels that pictures without a size of their own get, and,
    for a recipe that learns from labels, the number of classes of the paper's data; or whether these are two domains;
    and a shorter training whose result is known.
    """

    def mark(function: RecipeFunction) -> RecipeFunction:
        function.card = RecipeInfo(paper, size, classes, domains, measured)  # type: ignore[attr-defined]
        return function

    return mark


def info(function: RecipeFunction) -> RecipeInfo:
    """The card that `@recipe` pinned on it. Raises SparringError for a function without one, which is no recipe."""
    if not isinstance(getattr(function, "card", None), RecipeInfo):
        name = f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', abbreviated(function))}"
        raise SparringError(f"'{name}' is no recipe: put @recipe(paper=..., size=...) on the function")
    return function.card  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Argument:
    """One argument of a recipe, as the command line and recipe.json see it; `group` is the parameter it belongs to."""

    name: str
    type: Any
    default: Any
    help: str
    group: str | None = None


def arguments(function: Callable) -> list[Argument]:
    """A function's keyword-only arguments from its signature; a parameter that is a dataclass stands for its fields."""
    found: list[Argument] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        if isinstance(parameter.annotation, str):  # from __future__ import annotations
            try:
                alone = SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
                written = get_type_hints(alone, getattr(function, "__globals__", {}), include_extras=True)[
                    parameter.name
                ]
            except NameError as error:
                raise SparringError(
                    f"{parameter.name}: its type '{parameter.annotation}' is not known: {error}"
                ) from None
            parameter = parameter.replace(annotation=written)
        if parameter.annotation is inspect.Parameter.empty:
            parameter = parameter.replace(annotation=Any if parameter.default is None else type(parameter.default))
        if dataclasses.is_dataclass(parameter.annotation):
            hints = get_type_hints(parameter.annotation, include_extras=True)
            for f in dataclasses.fields(parameter.annotation):
                value = getattr(parameter.default, f.name)
                found.append(Argument(f.name, hints[f.name], value, description_of(hints[f.name]), parameter.name))
        else:
            kind = parameter.annotation
            found.append(Argument(parameter.name, kind, parameter.default, description_of(kind)))
    return found


def description_of(annotation: Any) -> str:
    """The description in an Annotated type's Field, or ""."""
    notes = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    return next((note.description for note in notes if isinstance(note, FieldInfo) and note.description), "")


def resolve_arguments(function: Callable, given: Mapping[str, Any]) -> dict[str, Any]:
    """Every argument of the function with its value: defaults, overlaid by what was given, types and ranges checked.

    Raises SparringError that names the argument, what was given and what is possible.
    """
    known = {a.name: a for a in arguments(function)}
    for name in given:
        if name not in known:
            raise unknown_name_error("argument", name, known)
    settled = {}
    for name, argument in known.items():
        value = given.get(name, argument.default)
        if value is inspect.Parameter.empty:
            raise SparringError(f"{name} (--{name.replace('_', '-')}) is missing: {argument.help}")
        try:
            settled[name] = _adapter(argument.type).validate_python(value)
            reason = _beyond_numbers(settled[name])
        except pydantic.ValidationError as error:
            reason = error.errors()[0]["msg"]
        if reason:
            flag = "--" + name.replace("_", "-")
            raise SparringError(f"{name} ({flag}) is {abbreviated(value)}: {reason[0].lower()}{reason[1:]}")
    return settled


@functools.cache
def _adapter(kind: Any) -> pydantic.TypeAdapter:
    return pydantic.TypeAdapter(kind)


def _beyond_numbers(value: Any) -> str:
    """Why a value of the right type is none: more than 63 bits, not finite, or text that no file can be named by."""
    if isinstance(value, int) and not -MOST <= value <= MOST:
        return f"input should be a number of at most {len(str(MOST))} digits"
    if isinstance(value, float) and not math.isfinite(value):
        return "input should be a finite number"
    if isinstance(value, str | Path) and "\0" in str(value):
        return "input should be text without zero bytes"
    return ""


def build_recipe(function: RecipeFunction, data: Spec, settled: Mapping[str, Any]) -> Recipe:
    """Call the recipe with flat arguments as `resolve_arguments` gives them."""
    grouped: dict[str, Any] = {}
    groups: dict[str, dict[str, Any]] = {}
    for argument in arguments(function):
        (grouped if argument.group is None else groups.setdefault(argument.group, {}))[argument.name] = settled[
            argument.name
        ]
    for parameter, fields in groups.items():
        grouped[parameter] = inspect.signature(function).parameters[parameter].annotation(**fields)
    made = function(data, **grouped)
    if not isinstance(made, Recipe):
        raise SparringError(f"{function.__qualname__} gives {abbreviated(made)}: a recipe gives a Recipe")
    return made


def load_recipe(name: str, table: Mapping[str, str], *, trusted: bool = True) -> RecipeFunction:
    """The recipe of that name in the table, or an importable function "package.module:function".

    Only names in the table are imported unless `trusted`: a run directory from somebody else must not choose
    what is imported here.
    """
    path = table.get(name)
    if path is None:
        if ":" not in name:
            raise unknown_name_error("recipe", name, table)
        if not trusted:
            raise SparringError(f"this run was made by '{name}', not one of ours: give --recipe {name} if you trust it")
        path = name
    module, _, attribute = path.partition(":")
    if "" not in sys.path and os.getcwd() not in sys.path and not sys.flags.safe_path:
        sys.path.insert(0, os.getcwd())  # as `python -m sparring` has it
    try:
        function = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # whatever somebody's module raises
        raise SparringError(
            f"recipe '{name}' cannot be imported: {type(error).__name__}: {error}{_where(error)}"
        ) from None
    info(function)
    return function


def _where(error: Exception) -> str:
    """The place in the user's own module that an error came from, if it came from one."""
    frames = traceback.extract_tb(error.__traceback__)
    if len(frames) < 2 or "importlib" in frames[-1].filename or frames[-1].filename == __file__:
        return ""
    return f" ({frames[-1].filename}, line {frames[-1].lineno})"
