"""Build a recipe's networks on torch's meta device, to know their size before memory is allocated."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sparring.errors import SparringError
from sparring.recipes.recipe import Recipe
from sparring.seeds import isolated

OVERFLOW_MESSAGES = ("overflow", "too large", "too big", "too many", "exceed", "out of range")
"""Fragments of PyTorch's error messages about sizes that overflow."""

Shapes = dict[str, tuple[torch.Size, torch.dtype]]
"""Name of a weight or buffer -> shape and dtype."""


def on_meta(make: Callable[[], Recipe]) -> Recipe | None:
    """Call `make` on the meta device; None if its networks cannot be built without data.

    Raises SparringError if `make` does, and for networks larger than any machine.
    """
    try:
        with isolated(0), torch.device("meta"), _SkipNormal():  # type: ignore[no-untyped-call]
            recipe = make()
        if size_of(shapes_of(recipe)) < 1 << 62:
            return recipe
        error: Exception = OverflowError("more than 2^62 bytes")
    except SparringError:
        raise
    except Exception as raised:  # networks that need values when they are built; sizes beyond 63 bits
        if not any(fragment in str(raised).lower() for fragment in OVERFLOW_MESSAGES):
            return None
        error = raised
    reason = str(error).splitlines()[0][:100]
    raise SparringError(
        f"with these arguments the networks are too large for any machine ({reason}): choose smaller ones"
    )


class _SkipNormal(TorchDispatchMode):
    """Skips `normal_` on meta tensors, for which PyTorch would import its compiler."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.normal_.default and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))


def shapes_of(recipe: Recipe) -> Shapes:
    """Shape and dtype of every weight and buffer of the system."""
    return {name: (value.shape, value.dtype) for name, value in recipe.system.state_dict().items()}


def size_of(shapes: Shapes) -> int:
    """Total size in bytes."""
    return sum(math.prod(shape) * dtype.itemsize for shape, dtype in shapes.values())
