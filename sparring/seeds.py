"""Stateless randomness: every stream of random numbers is derived from what it is for, never from what came before.

So a resumed run needs a round number and no generator snapshots, and the number of processes does not matter.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

CPU = torch.device("cpu")


def derive_seed(*purpose: int | str) -> int:
    """A 63-bit seed that depends on every part of `purpose`, in order, and on nothing else."""
    digest = hashlib.blake2b(repr(purpose).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def make_generator(*purpose: int | str) -> torch.Generator:
    """A CPU generator at the start of the stream named by `purpose`."""
    return torch.Generator().manual_seed(derive_seed(*purpose))


class _Global:
    """What PyTorch keeps once for all threads, and who is using it: the default generators and the default dtype."""

    generators = threading.RLock()
    counting = threading.Lock()
    users = 0
    dtype: torch.dtype | None = None


@contextmanager
def standard_defaults() -> Iterator[None]:
    """Inside, new tensors are float32 and on the CPU unless they say otherwise, and no autocast is on.

    Whatever the caller has set. Also a decorator. The default dtype belongs to the whole process: it becomes the
    caller's again when the last thread is outside.
    """
    with _Global.counting:
        _Global.users += 1
        if torch.get_default_dtype() != torch.float32:
            _Global.dtype = torch.get_default_dtype()
            torch.set_default_dtype(torch.float32)
    try:
        with ExitStack() as stack:
            if torch.get_default_device() != CPU:
                stack.enter_context(CPU)
            for kind in ("cpu", "cuda"):
                if torch.is_autocast_enabled(kind):
                    stack.enter_context(torch.autocast(kind, enabled=False))
            yield
    finally:
        with _Global.counting:
            _Global.users -= 1
            if not _Global.users and _Global.dtype is not None:
                torch.set_default_dtype(_Global.dtype)
                _Global.dtype = None


@contextmanager
def isolated(seed: int, device: torch.device = CPU, network: nn.Module | None = None) -> Iterator[None]:
    """Inside, what is drawn from PyTorch's default generators depends on `seed` only; afterwards nothing has changed.

    Layers of `network` with an attribute `generator` get one of their own. The default ones, of CPU and `device`,
    are for whatever takes no generator, such as PyTorch's own dropout: they start from `seed` and are put back where
    they were; so is the mode of autograd, which is on inside; the defaults are standard. As all threads share the
    default generators, one thread at a time is inside and the others wait; the same thread may enter again. A thread
    that draws from them without entering disturbs only what takes no generator.
    """
    other = None if device.type == "cpu" else torch.get_device_module(device)
    drawing = [(layer, layer.generator) for layer in _stochastic(network)]
    with _Global.generators, standard_defaults(), torch.inference_mode(False), torch.enable_grad():
        before = torch.default_generator.get_state()
        before_there = other.get_rng_state(device) if other else None
        try:
            torch.default_generator.manual_seed(seed)  # a tenth of torch.manual_seed's time
            if other:
                other.manual_seed(seed)
            own = torch.Generator(device).manual_seed(seed) if drawing else None
            for layer, _ in drawing:
                layer.generator = own
            yield
        finally:
            for layer, earlier in drawing:
                layer.generator = earlier
            torch.default_generator.set_state(before)
            if other:
                other.set_rng_state(before_there, device)


def _stochastic(network: nn.Module | None) -> list[Any]:
    """The layers that draw from an attribute `make_generator`."""
    layers = network.modules() if network is not None else ()
    return [one for one in layers if isinstance(one.__dict__.get("generator", ""), torch.Generator | None)]


class Drawing(TorchDispatchMode):
    """Inside, whatever this thread draws without a generator of its own is drawn from `make_generator`, on the CPU.

    Takes some microseconds for every operation: for initial weights, not for rounds.
    """

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.generator = generator

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        places = [kwargs.get("device"), *(x.device for x in args if isinstance(x, torch.Tensor))]
        if all(place is None or torch.device(place) == CPU for place in places) and not kwargs.get("generator"):
            func, takes = _with_generator(func)
            if takes:
                kwargs["generator"] = self.generator
        return func(*args, **kwargs)


@cache
def _with_generator(func: Any) -> tuple[Any, bool]:
    """The operation, or its form that takes a generator; and whether it does."""
    if any(argument.name == "generator" for argument in func._schema.arguments):
        return func, True
    other = {"default": "generator", "low": "low_generator"}.get(func._overloadname, "")
    if other in func.overloadpacket.overloads():
        return getattr(func.overloadpacket, other), True
    return func, False
