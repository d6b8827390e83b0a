"""What a public function is given, looked at before anything is computed: types by its annotations, then shapes."""

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
    """A decorator: arguments must be what their annotations say, and what torch says of their shapes is one line.

    A Tensor must be dense and of real numbers; an int is any whole number of at most 63 bits and a float any number but
    NaN, of numpy too, and neither is a bool. What a function says of its arguments by itself is left as it is.
    """
    signature = functools.cache(functools.partial(inspect.signature, function, eval_str=True))

    @functools.wraps(function)
    def looked_at(*args: P.args, **kwargs: P.kwargs) -> R:
        given = signature().bind(*args, **kwargs).arguments
        for name, value in given.items():
            parameter = signature().parameters[name]
            several = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            for one in (value.values() if isinstance(value, dict) else value) if several else [value]:
                _require(name, one, parameter.annotation)
        try:
            return function(*args, **kwargs)
        except (RuntimeError, IndexError) as error:
            shapes = ", ".join(f"{name} {_seen(one)}" for name, one in given.items() if isinstance(one, Tensor))
            if not shapes:
                raise
            said = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise SparringError(f"{function.__name__} cannot take {shapes}: {said}") from error

    return looked_at


def require_finite(**given: Tensor) -> None:
    """Raises SparringError that names the first tensor with numbers that are NaN or infinite, and how many."""
    for name, numbers in given.items():
        if broken := int((~numbers.isfinite()).sum()):
            raise SparringError(f"{broken} of {numbers.numel()} numbers of {name} are NaN or infinite")


def require_images(least: int = 1, dtype: torch.dtype | None = None, **given: Tensor) -> None:
    """Raises SparringError unless all are at least so many images (N, C, H, W), of pixels, and of this dtype if any."""
    for name, images in given.items():
        right = images.ndim == 4 and len(images) >= least and images[:1].numel()
        if not right or dtype not in (None, images.dtype):
            kind = "" if dtype is None else f" {_name(dtype)}"
            raise SparringError(f"{name} must be (N, C, H, W){kind}, N >= {least}; got {_seen(images)}")


def _require(name: str, value: Any, kind: Any) -> None:
    if not _is(value, kind):
        raise SparringError(f"{name} is {_said(value)}: it must be {_words(kind)}")
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
        return any(_is(value, one) for one in inside)
    if origin is Literal:
        return isinstance(value, str) and value in inside
    if kind is float:
        return isinstance(value, Real) and not isinstance(value, bool) and value == value
    if kind is int:
        return isinstance(value, Integral) and not isinstance(value, bool)
    if kind is Tensor:
        return isinstance(value, Tensor) and value.layout == torch.strided and not (value.is_meta or value.is_complex())
    if origin is Sequence:
        return isinstance(value, Sequence) and not isinstance(value, str) and all(_is(one, inside[0]) for one in value)
    if origin is tuple and inside and inside[-1] is not Ellipsis:
        return isinstance(value, tuple) and len(value) == len(inside) and all(map(_is, value, inside))
    if origin is tuple:
        return isinstance(value, tuple) and all(_is(one, inside[0]) for one in value)
    return isinstance(value, origin or kind)


def _words(kind: Any) -> str:
    """A type, for a reader."""
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(map(_words, get_args(kind)))
    known = {Tensor: "a dense torch tensor of real numbers", int: "a whole number", float: "a number", str: "a text"}
    if kind is types.NoneType:
        return "None"
    if isinstance(kind, type) and kind not in known:
        return f"a {kind.__name__}"
    return known.get(kind) or str(kind).replace("typing.", "").replace("collections.abc.", "").replace("torch.", "")


def _said(value: Any) -> str:
    return f"a tensor {_seen(value)}" if isinstance(value, Tensor) else abbreviated(value)


def _seen(x: Tensor) -> str:
    return f"{tuple(x.shape)} {_name(x.dtype)}"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
