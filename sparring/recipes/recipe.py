"""Recipes: definition, arguments, validation. Does not import torch, so that `--help` is fast."""

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
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

import pydantic
from pydantic.fields import FieldInfo

from sparring.errors import MOST, SparringError, abbreviated, unknown_name_error

if TYPE_CHECKING:
    from sparring.data.dataset import Dataset, Modality, Spec
    from sparring.referee import MakeOptimizer, Schedule
    from sparring.system import System


@dataclass
class Recipe:
    """Everything that a training needs, for one kind of data.

    system      the system, with initial weights
    optimizers  player -> function that makes its optimizer from a list of weights
    schedules   player -> function of the round (from 1) that returns optimizer settings such as {"lr": ...}
    batch       images per optimizer step, over all processes
    rounds      default length of a training: that of the source
    ema_decay   decay per round of the EMA of the weights used for sampling
    ema_start   round at which the EMA starts
    prepare     called once with the data before the first round, for initial values that depend on data
    precision   meaning of `--precision auto`: "auto" (bf16 if the hardware supports it) or "fp32"
    streams     function of the data and the run's seed -> data sets by stream name (default: {"train": data})
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
    """A measured training, shorter than the source's; details are in docs/results.

    data     name of the data set
    rounds   its length
    minutes  its duration on the machine of docs/results
    result   the result, with the score of real images: "FD-lenet-mnist@5000 9.9 (real 5.0)"
    options  flags other than --rounds and --data, e.g. "--n-labeled 100"; "" for the defaults
    """

    data: str
    rounds: int
    minutes: float
    result: str
    options: str = ""


@dataclass(frozen=True)
class RecipeInfo:
    """Metadata of a recipe.

    paper     the source
    size      default image side in pixels; None: that of the data
    classes   number of classes in the source's data; 0: no labels needed
    domains   whether the data are two domains, which may come from two places
    paired    whether images of the two domains belong together
    measured  a shorter training and its result, if there is one
    modality  "images", or "molecules" for fingerprints
    """

    paper: str
    size: int | None = None
    classes: int = 0
    domains: bool = False
    measured: Measured | None = None
    modality: Modality = "images"
    paired: bool = False

    def spec(self, channels: int | None = None) -> Spec:
        """The shape of the source's data, or of data like them with so many channels (default: gray at 28 pixels)."""
        from sparring.data import molecules
        from sparring.data.dataset import Spec

        if self.modality == "molecules":
            return molecules.SPEC
        size = self.size or 28
        classes = tuple(map(str, range(self.classes)))
        return Spec(channels or (1 if size == 28 else 3), size, size, classes)


def require_classes(data: Spec, name: str) -> int:
    """The number of classes, for a recipe that requires labels. Raises SparringError for unlabeled data."""
    if not data.classes:
        raise SparringError(
            f"{name} requires labels and the data has none: give labeled data (one folder per class), "
            "or choose a recipe without labels"
        )
    return len(data.classes)


def require_balanced(n_labeled: int, classes: int) -> None:
    """Raises SparringError if the labeled images cannot be equally many per class."""
    if n_labeled % classes:
        raise SparringError(f"--n-labeled {n_labeled} is not a multiple of the {classes} classes")


def recipe(
    *,
    paper: str,
    size: int | None = None,
    classes: int = 0,
    domains: bool = False,
    measured: Measured | None = None,
    modality: Modality = "images",
    paired: bool = False,
) -> Callable[[RecipeFunction], RecipeFunction]:
    """Decorator that marks a function as a recipe; the arguments are the fields of `RecipeInfo`."""

    def mark(function: RecipeFunction) -> RecipeFunction:
        function.info = RecipeInfo(paper, size, classes, domains, measured, modality, paired)  # type: ignore[attr-defined]
        return function

    return mark


def variant(
    base: RecipeFunction,
    *,
    paper: str,
    size: int | None = None,
    classes: int = 0,
    measured: Measured | None = None,
    **defaults: Any,
) -> Callable[[Callable[[], None]], RecipeFunction]:
    """Decorator for a function without arguments and code, which becomes the recipe `base` with other defaults.

    Name and docstring are those of the decorated function; flags, types and descriptions those of `base`.

    paper, size, classes, measured  fields of its `RecipeInfo`; size: default that of `base`
    defaults  argument of `base` -> new default; an option group is replaced as a whole

    Raises TypeError for an argument that `base` does not have.
    """
    parameters = inspect.signature(base).parameters
    if unknown := defaults.keys() - parameters.keys():
        raise TypeError(f"{base.__qualname__} has no argument {', '.join(sorted(unknown))}")
    signature = inspect.Signature(
        [
            p.replace(annotation=_type_of(p, base), default=defaults.get(p.name, p.default))
            if p.kind is p.KEYWORD_ONLY
            else p
            for p in parameters.values()
        ]
    )

    def mark(declaration: Callable[[], None]) -> RecipeFunction:
        @functools.wraps(declaration)
        def function(data: Spec, **values: Any) -> Recipe:
            return base(data, **{**defaults, **values})

        function.__signature__ = signature  # type: ignore[attr-defined]
        of_base = info(base)
        function.info = replace(  # type: ignore[attr-defined]
            of_base, paper=paper, size=size or of_base.size, classes=classes, measured=measured
        )
        return function

    return mark


def info(function: RecipeFunction) -> RecipeInfo:
    """The metadata from `@recipe`. Raises SparringError for a function that is not decorated."""
    metadata = getattr(function, "info", None)
    if not isinstance(metadata, RecipeInfo):
        name = f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', abbreviated(function))}"
        raise SparringError(f"'{name}' is not a recipe: put @recipe(paper=..., size=...) on the function")
    return metadata


@dataclass(frozen=True)
class Argument:
    """One argument, as on the command line and in recipe.json; `group` is the dataclass parameter it is a field of."""

    name: str
    type: Any
    default: Any
    help: str
    group: str | None = None


def arguments(function: Callable[..., Any]) -> list[Argument]:
    """The keyword-only arguments of a function; a parameter that is a dataclass is replaced by its fields."""
    result: list[Argument] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        kind = _type_of(parameter, function)
        if dataclasses.is_dataclass(kind):
            hints = get_type_hints(kind, include_extras=True)
            for f in dataclasses.fields(kind):
                value = getattr(parameter.default, f.name)
                result.append(Argument(f.name, hints[f.name], value, description_of(hints[f.name]), parameter.name))
        else:
            result.append(Argument(parameter.name, kind, parameter.default, description_of(kind)))
    return result


def _type_of(parameter: inspect.Parameter, function: Callable[..., Any]) -> Any:
    """The annotation of a parameter, evaluated if it is text (from __future__ import annotations)."""
    kind = parameter.annotation
    if kind is inspect.Parameter.empty:
        return Any if parameter.default is None else type(parameter.default)
    if not isinstance(kind, str):
        return kind
    holder = SimpleNamespace(__annotations__={parameter.name: kind})
    names = getattr(function, "__globals__", {})
    try:
        return get_type_hints(holder, names, include_extras=True)[parameter.name]
    except NameError as error:
        raise SparringError(f"{parameter.name}: cannot resolve its type '{kind}': {error}") from None


def description_of(annotation: Any) -> str:
    """The description in an Annotated type's Field, or ""."""
    notes = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    return next((note.description for note in notes if isinstance(note, FieldInfo) and note.description), "")


def resolve_arguments(function: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of the function: `values`, else the defaults, validated and converted to their types.

    Raises SparringError that names the argument, the given value and what is possible.
    """
    possible = {a.name: a for a in arguments(function)}
    for name in values:
        if name not in possible:
            raise unknown_name_error("argument", name, possible)
    resolved = {}
    for name, argument in possible.items():
        resolved[name] = resolve_argument(argument, values.get(name, argument.default))
    return resolved


def resolve_argument(argument: Argument, value: Any) -> Any:
    """`value`, validated and converted to the argument's type. Raises SparringError as `resolve_arguments` does."""
    name = argument.name
    if value is inspect.Parameter.empty:
        raise SparringError(f"{name} (--{name.replace('_', '-')}) is missing: {argument.help}")
    result = None
    try:
        result = _adapter(argument.type).validate_python(value)
        reason = _reason_to_refuse(result)
    except pydantic.ValidationError as error:
        reason = error.errors()[0]["msg"]
    if reason:
        flag = "--" + name.replace("_", "-")
        raise SparringError(f"{name} ({flag}) is {abbreviated(value)}: {reason[0].lower()}{reason[1:]}")
    return result


@functools.cache
def _adapter(kind: Any) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(kind)


def _reason_to_refuse(value: Any) -> str:
    """Why a value of the right type is invalid (more than 63 bits, not finite, zero bytes), or ""."""
    if isinstance(value, int) and not -MOST <= value <= MOST:
        return f"input should be a number of at most {len(str(MOST))} digits"
    if isinstance(value, float) and not math.isfinite(value):
        return "input should be a finite number"
    if isinstance(value, str | Path) and "\0" in str(value):
        return "input should be text without zero bytes"
    return ""


def build_recipe(function: RecipeFunction, data: Spec, resolved: Mapping[str, Any]) -> Recipe:
    """Call the recipe with the result of `resolve_arguments`, grouping fields into dataclasses.

    Raises SparringError for data of another modality.
    """
    modality = info(function).modality
    if data.modality != modality:
        remedy = "give --data nci, or SMILES" if modality == "molecules" else "choose the recipe molecular-aae"
        raise SparringError(
            f"{function.__name__.replace('_', '-')} is for {modality}, the data are {data.modality}: {remedy}"
        )
    values: dict[str, Any] = {}
    fields: dict[str, dict[str, Any]] = {}  # of each option group
    for argument in arguments(function):
        target = values if argument.group is None else fields.setdefault(argument.group, {})
        target[argument.name] = resolved[argument.name]
    parameters = inspect.signature(function).parameters
    for group, options in fields.items():
        values[group] = _type_of(parameters[group], function)(**options)
    result = function(data, **values)
    if not isinstance(result, Recipe):
        raise SparringError(f"{function.__qualname__} returns {abbreviated(result)}: a recipe must return a Recipe")
    return result


def load_recipe(name: str, table: Mapping[str, str], *, trusted: bool = True) -> RecipeFunction:
    """The recipe with this name in the table, or an importable function "package.module:function".

    Unless `trusted`, only names in the table are imported: a run directory from another user must not choose what is
    imported.
    """
    path = table.get(name)
    if path is None:
        if ":" not in name:
            raise unknown_name_error("recipe", name, table)
        if not trusted:
            raise SparringError(
                f"this run was made by '{name}', which is not a built-in recipe: give --recipe {name} if you trust it"
            )
        path = name
    module, _, attribute = path.partition(":")
    if "" not in sys.path and os.getcwd() not in sys.path and not sys.flags.safe_path:
        sys.path.insert(0, os.getcwd())  # as for `python -m sparring`
    try:
        function: RecipeFunction = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # user code can raise anything
        raise SparringError(
            f"recipe '{name}' cannot be imported: {type(error).__name__}: {error}{_where(error)}"
        ) from None
    info(function)
    return function


def _where(error: Exception) -> str:
    """The file and line of an error in the user's module, or ""."""
    frames = traceback.extract_tb(error.__traceback__)
    if len(frames) < 2 or "importlib" in frames[-1].filename or frames[-1].filename == __file__:
        return ""
    return f" ({frames[-1].filename}, line {frames[-1].lineno})"
