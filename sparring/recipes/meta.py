"""A recipe's networks in shapes alone, on torch's meta device: their size is known before any of them is made."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sparring.errors import SparringError
from sparring.recipes.recipe import Recipe
from sparring.seeds import isolated

UNCOUNTABLE = ("overflow", "too large", "too big", "too many", "exceed", "out of range")
"""What errors say of sizes that no machine can count."""

Shapes = dict[str, tuple[torch.Size, torch.dtype]]
"""Name of a weight or buffer -> its shape and type."""


def on_meta(make: Callable[[], Recipe]) -> Recipe | None:
    """What `make` gives, with networks that have shapes and no numbers; None where they cannot be made without.

    Raises SparringError where `make` does, and for networks larger than any machine.
    """
    try:
        with isolated(0), torch.device("meta"), _Undrawn():
            made = make()
        if size_of(shapes_of(made)) < 1 << 62:
            return made
        error: Exception = OverflowError("more than 2^62 bytes")
    except SparringError:
        raise
    except Exception as raised:  # networks that need numbers when they are made; sizes beyond 63 bits
        if not any(sign in str(raised).lower() for sign in UNCOUNTABLE):
            return None
        error = raised
    reason = str(error).splitlines()[0][:100]
    raise SparringError(f"with these arguments the networks are too large for any machine ({reason}): lower them")


class _Undrawn(TorchDispatchMode):
    """Passes over N(0, 1) drawn into tensors without numbers, for which PyTorch would import its compiler."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.normal_.default and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))


def shapes_of(made: Recipe) -> Shapes:
    """Of every weight and buffer of its system."""
    return {name: (value.shape, value.dtype) for name, value in made.system.state_dict().items()}


def size_of(shapes: Shapes) -> int:
    """Bytes of all of them together."""
    return sum(math.prod(shape) * kind.itemsize for shape, kind in shapes.values())
