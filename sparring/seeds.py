"""Stateless randomness: every stream of random numbers is derived from what it is for, never from what came before.

So a resumed run needs a round number and no generator snapshots, and the number of processes does not matter.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

CPU = torch.device("cpu")


def derive(*purpose: int | str) -> int:
    """A 63-bit seed that depends on every part of `purpose`, in order, and on nothing else."""
    digest = hashlib.blake2b(repr(purpose).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(*purpose: int | str) -> torch.Generator:
    """A CPU generator at the start of the stream named by `purpose`."""
    return torch.Generator().manual_seed(derive(*purpose))


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
def isolated(seed: int, device: torch.device = CPU) -> Iterator[None]:
    """Inside, what is drawn from PyTorch's default generators depends on `seed` only; afterwards nothing has changed.

    For dropout and whatever else takes no generator of its own. Those of the CPU and of `device` start from `seed` and
    are put back where they were; so is the mode of autograd, which is on inside; the defaults are standard. As the
    generators are shared by all threads, one thread at a time is inside and the others wait; the same thread may enter
    again.
    """
    other = None if device.type == "cpu" else torch.get_device_module(device)
    with _Global.generators, standard_defaults(), torch.inference_mode(False), torch.enable_grad():
        before = torch.default_generator.get_state()
        before_there = other.get_rng_state(device) if other else None
        try:
            torch.default_generator.manual_seed(seed)  # a tenth of torch.manual_seed's time
            if other:
                other.manual_seed(seed)
            yield
        finally:
            torch.default_generator.set_state(before)
            if other:
                other.set_rng_state(before_there, device)
