"""Checks of the arguments of public functions, before anything is computed: types by annotation, then shapes."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin

import torch
from torch import Tensor

from sparring.errors import SparringError, abbreviated, require_int

P = ParamSpec("P")
R = TypeVar("R")


def typed(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator: check arguments against their annotations, and convert torch's shape errors to one-line errors.

    A Tensor must be dense and real; an int is any whole number of at most 64 bits and a float any number except NaN,
    including numpy's, and neither may be a bool. SparringErrors of the function itself pass unchanged.
    """
    signature = functools.cache(functools.partial(inspect.signature, function, eval_str=True))

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = signature().bind(*args, **kwargs).arguments
        for name, value in bound.items():
            parameter = signature().parameters[name]
            variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            for item in (value.values() if isinstance(value, dict) else value) if variadic else [value]:
                _require(name, item, parameter.annotation)
        try:
            return function(*args, **kwargs)
        except (RuntimeError, IndexError) as error:
            shapes = ", ".join(f"{name} {_shape(value)}" for name, value in bound.items() if isinstance(value, Tensor))
            if not shapes:
                raise
            message = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise SparringError(f"{function.__name__} cannot take {shapes}: {message}") from error

    return checked


def require_finite(**tensors: Tensor) -> None:
    """Raises SparringError with the name of the first tensor that has NaN or infinite values, and their number."""
    for name, numbers in tensors.items():
        if broken := int((~numbers.isfinite()).sum()):
            raise SparringError(f"{broken} of {numbers.numel()} numbers of {name} are NaN or infinite")


def require_images(least: int = 1, dtype: torch.dtype | None = None, **tensors: Tensor) -> None:
    """Raises SparringError unless all tensors are (N, C, H, W) with N >= least, not empty, and of this dtype if any."""
    for name, images in tensors.items():
        valid = images.ndim == 4 and len(images) >= least and images[:1].numel()
        if not valid or dtype not in (None, images.dtype):
            kind = "" if dtype is None else f" {_name(dtype)}"
            raise SparringError(f"{name} must be (N, C, H, W){kind}, N >= {least}; got {_shape(images)}")


def _require(name: str, value: Any, kind: Any) -> None:
    if not _is(value, kind):
        raise SparringError(f"{name} is {_describe(value)}: it must be {_type_name(kind)}")
    if isinstance(value, Integral) and not isinstance(value, bool):
        require_int(name, value, least=-(2**63))


def _is(value: Any, kind: Any) -> bool:
    origin, inside = get_origin(kind), get_args(kind)
    if kind in (Any, inspect.Parameter.empty) or isinstance(kind, TypeVar):
        return True
    if kind is None:
        return value is None
    if origin is Annotated:
        return _is(value, inside[0])
    if origin in (Union, types.UnionType):
        return any(_is(value, member) for member in inside)
    if origin is Literal:
        return isinstance(value, str) and value in inside
    if kind is float:
        return isinstance(value, Real) and not isinstance(value, bool) and value == value
    if kind is int:
        return isinstance(value, Integral) and not isinstance(value, bool)
    if kind is Tensor:
        return isinstance(value, Tensor) and value.layout == torch.strided and not (value.is_meta or value.is_complex())
    if origin is Sequence:
        return isinstance(value, Sequence) and not isinstance(value, str) and all(_is(v, inside[0]) for v in value)
    if origin is tuple and inside and inside[-1] is not Ellipsis:
        return isinstance(value, tuple) and len(value) == len(inside) and all(map(_is, value, inside))
    if origin is tuple:
        return isinstance(value, tuple) and all(_is(v, inside[0]) for v in value)
    return isinstance(value, origin or kind)


def _type_name(kind: Any) -> str:
    """A type, as plain English."""
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(map(_type_name, get_args(kind)))
    names = {Tensor: "a dense torch tensor of real numbers", int: "a whole number", float: "a number", str: "a string"}
    if kind is types.NoneType:
        return "None"
    if isinstance(kind, type) and kind not in names:
        return f"a {kind.__name__}"
    return names.get(kind) or str(kind).replace("typing.", "").replace("collections.abc.", "").replace("torch.", "")


def _describe(value: Any) -> str:
    return f"a tensor {_shape(value)}" if isinstance(value, Tensor) else abbreviated(value)


def _shape(x: Tensor) -> str:
    return f"{tuple(x.shape)} {_name(x.dtype)}"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
