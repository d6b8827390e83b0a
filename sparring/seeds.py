"""Stateless randomness: every stream of random numbers is derived from its purpose, not from earlier draws.

A resumed run therefore needs a round number instead of generator snapshots, and the number of processes does not
matter.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

CPU = torch.device("cpu")


def derive_seed(*purpose: int | str) -> int:
    """A 63-bit seed that depends on every part of `purpose`, in order, and on nothing else."""
    digest = hashlib.blake2b(repr(purpose).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def make_generator(*purpose: int | str) -> torch.Generator:
    """A CPU generator at the start of the stream with this purpose."""
    return torch.Generator().manual_seed(derive_seed(*purpose))


@dataclass
class ShardedRng:
    """The random numbers of one shard of a round.

    Every shard (a process, or a microbatch) iterates over the same global sequence of draws and keeps its own rows, so
    that one process with 2N images, two with N, and two microbatches of N see the same numbers.

    share   index of this shard
    shares  number of shards
    """

    generator: torch.Generator
    share: int = 0
    shares: int = 1

    def rows(self, draw: Callable[[torch.Generator, int], Tensor], n: int) -> Tensor:
        """(n, ...) this shard's rows of the next global draw, `draw(generator, n * shares)`."""
        rows = draw(self.generator, n * self.shares)
        return rows[self.share * n : (self.share + 1) * n]


class _Global:
    """Locks and saved values of PyTorch's process-wide state: the default generators and the default dtype."""

    generators = threading.RLock()
    counting = threading.Lock()
    users = 0
    dtype: torch.dtype | None = None


@contextmanager
def standard_defaults() -> Iterator[None]:
    """Inside, the default dtype is float32, the default device is the CPU and autocast is off.

    Context manager or decorator. The default dtype belongs to the whole process: it is restored when the last thread
    leaves.
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
            for kind in ("cpu", "cuda", "mps"):
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
    """Inside, draws from PyTorch's default generators depend only on `seed`; afterwards their state is restored.

    Layers of `network` with an attribute `generator` get a generator of their own. The default generators, of CPU and
    `device`, serve layers that take none, such as PyTorch's own dropout: they are seeded with `seed` and restored
    afterwards. Gradients are enabled inside, and `standard_defaults` apply. Since all threads share the default
    generators, only one thread at a time is inside (reentrant); others wait. A thread that draws from them without
    entering disturbs only layers that take no generator.
    """
    other = None if device.type == "cpu" else _DeviceGenerator(device)
    drawing = [(layer, layer.generator) for layer in _stochastic(network)]
    with _Global.generators, standard_defaults(), torch.inference_mode(False), torch.enable_grad():
        cpu_state = torch.default_generator.get_state()
        device_state = other.state() if other else None
        try:
            torch.default_generator.manual_seed(seed)  # ten times faster than torch.manual_seed
            if other:
                other.seed(seed)
            own = torch.Generator(device).manual_seed(seed) if drawing else None
            for layer, _ in drawing:
                layer.generator = own
            yield
        finally:
            for layer, earlier in drawing:
                layer.generator = earlier
            torch.default_generator.set_state(cpu_state)
            if other and device_state is not None:
                other.restore(device_state)


class _DeviceGenerator:
    """The default generator of a GPU, also of one that is not PyTorch's current device."""

    def __init__(self, device: torch.device) -> None:
        self.module = torch.get_device_module(device)
        self.place = () if device.type == "mps" else (device,)  # torch.mps has a single device
        self.current = getattr(self.module, "device", lambda device: nullcontext())(device)

    def state(self) -> torch.Tensor:
        state: Tensor = self.module.get_rng_state(*self.place)
        return state

    def restore(self, state: torch.Tensor) -> None:
        self.module.set_rng_state(state, *self.place)

    def seed(self, seed: int) -> None:
        with self.current:
            self.module.manual_seed(seed)


def _stochastic(network: nn.Module | None) -> list[Any]:
    """The layers that draw from an attribute `generator`."""
    layers = network.modules() if network is not None else ()
    return [layer for layer in layers if isinstance(layer.__dict__.get("generator", ""), torch.Generator | None)]


class Drawing(TorchDispatchMode):
    """Inside, operations of this thread that are given no generator draw from `generator`, on the CPU.

    Adds some microseconds to every operation: meant for initial weights, not for rounds.
    """

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.generator = generator

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        devices = [kwargs.get("device"), *(x.device for x in args if isinstance(x, Tensor))]
        if all(device is None or torch.device(device) == CPU for device in devices) and not kwargs.get("generator"):
            func, takes_generator = _with_generator(func)
            if takes_generator:
                kwargs["generator"] = self.generator
        return func(*args, **kwargs)


@cache
def _with_generator(func: Any) -> tuple[Any, bool]:
    """The operation, or its overload that takes a generator, and whether there is one."""
    if any(argument.name == "generator" for argument in func._schema.arguments):
        return func, True
    other = {"default": "generator", "low": "low_generator"}.get(func._overloadname, "")
    if other in func.overloadpacket.overloads():
        return getattr(func.overloadpacket, other), True
    return func, False
