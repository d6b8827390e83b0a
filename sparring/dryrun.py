"""A round in shapes alone, before anything is made: does this batch work, and does it fit into memory?"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sparring.data.dataset import Dataset
from sparring.errors import SparringError
from sparring.machine import free_memory
from sparring.recipes.meta import on_meta
from sparring.recipes.recipe import Recipe
from sparring.seeds import isolated, make_generator
from sparring.system import ShardedRng

RARELY = 20_000
"""Bytes of feature maps for each byte of a batch that no network here reaches: with room for so many, no dry run."""

UNSURE = 1.5
"""A round may take so many times the memory that was counted: what kernels take for themselves is not counted."""

ADVICE = "lower --batch, cut it into pieces with --grad-accum, or take smaller images with --size"

OUT_OF_MEMORY = ("t allocate memory", "bad_alloc", "can't start new thread")
"""What other errors say when memory is lacking."""


class Storages(TorchDispatchMode):
    """Counts the bytes of tensors made inside that are alive, now and at the most; every number looked at is 0."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._alive: dict[int, weakref.ref] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            return 0.0 if args[0].is_floating_point() else 0
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, Tensor):
                storage = x.untyped_storage()
                key, size = storage._cdata, storage.nbytes()
                if key not in self._alive:
                    self.now += size
                    self.most = max(self.most, self.now)
                    self._alive[key] = weakref.ref(storage, partial(self._freed, key, size))
        return out

    def _freed(self, key: int, size: int, _: object) -> None:
        self.now -= size
        del self._alive[key]


def require_playable(make: Callable[[], Recipe], data: Dataset, *, grad_accum: int, processes: int) -> list[str]:
    """Raises SparringError for a batch that batch norm cannot work on in pieces of one image, with the smallest that
    works, and for a round that takes more memory than is free; returns what should be known before the start.

    make        the recipe with its arguments, for this data
    grad_accum  pieces that the batch is cut into; all of `processes` have so many

    Only weights, gradients, what optimizers and averages keep, and feature maps are counted, so a round takes at least
    that much. Of rounds that cannot be played in shapes alone nothing is known.
    """
    parts = grad_accum * processes
    free = free_memory()
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    made = on_meta(make)
    if made is None:  # networks that need numbers when they are made
        return []
    if made.batch % parts or made.batch > len(data):
        return []  # which has a line of its own
    piece = made.batch // parts
    weights = _bytes(made.system.state_dict().values())
    maps = 4 * piece * grad_accum * data.images[0].numel()
    if piece == 1 and not _normalizes(make, data, 1):
        works = next((n for n in (2, 3, 4, 8) if _normalizes(make, data, n)), 2)
        cut = f" in {parts} parts (processes x accumulate)" if parts > 1 else ""
        raise SparringError(
            f"batch {made.batch}{cut} leaves batch norm one image at a time, which has no variance: the smallest "
            f"--batch that works is {works * parts}"
        )
    if free is None or 8 * weights + RARELY * maps < free / here:
        return []
    try:
        needed = _memory(make, data, piece, grad_accum)
    except SparringError:
        raise
    except Exception:  # the round looks at numbers
        needed = 4 * weights
    said = (
        f"a round takes at least {needed / 2**30:,.1f} GiB of memory at --batch {made.batch}"
        f"{f' --grad-accum {grad_accum}' if grad_accum > 1 else ''}, and {free / here / 2**30:,.1f} GiB are free"
    )
    if needed > free / here:
        raise SparringError(f"{said}: {ADVICE}")
    return [f"{said}; if it is stopped for lack of memory, {ADVICE}"] if UNSURE * needed > free / here else []


@contextmanager
def enough_memory() -> Iterator[None]:
    """Turns an error for lack of memory, of the CPU's or a GPU's, into one line that says what can be lowered."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        lines = str(error).strip().splitlines()
        text = lines[0] if lines else "MemoryError"
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and not any(sign in str(error) for sign in OUT_OF_MEMORY):
            raise
        raise SparringError(f"out of memory ({text[-150:]}): {ADVICE}") from None


def _normalizes(make: Callable[[], Recipe], data: Dataset, images: int) -> bool:
    """Whether a round with so many images is played without a complaint of batch norm."""
    try:
        _memory(make, data, images, 1)
    except ValueError as error:
        return "more than 1 value per channel" not in str(error)
    except Exception:  # something else, which is seen when it is played
        return True
    return True


def _memory(make: Callable[[], Recipe], data: Dataset, images: int, grad_accum: int) -> int:
    """Bytes that a round with so many images in every piece takes at the most, or a checkpoint after it."""
    if grad_accum > 2:  # every further piece takes as much as the second
        one, two = (_memory(make, data, images, pieces) for pieces in (1, 2))
        return one + (grad_accum - 1) * (two - one)
    with isolated(0), FakeTensorMode(allow_non_fake_inputs=True), Storages() as storages:
        made = make()
        system = made.system.train()
        system.draws = ShardedRng(make_generator("dry run"))
        copies = [system.round(partial(_batch, data, images)) for _ in range(grad_accum)]
        while moves := [move for move in (next(one, None) for one in copies) if move is not None]:
            weights = _weights(system, system.players[moves[0].player])
            for move in moves:
                (move.loss / grad_accum).backward(inputs=weights)
                move.loss = move.loss.detach()
            for weight in weights:
                weight.grad = None
    slots = {player: _slots(made.optimizers[player]) for player in system.players}
    beside = sum(slots[player] * _bytes(_weights(system, networks)) for player, networks in system.players.items())
    beside += _bytes(_weights(system, system.ema_networks)) if made.ema_decay else 0
    return max(storages.most + beside, 2 * (_bytes([*system.parameters(), *system.buffers()]) + beside))


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(x.nbytes for x in tensors)


def _weights(system: nn.Module, networks: tuple[str, ...]) -> list[nn.Parameter]:
    every = (w for name in networks for w in getattr(system, name).parameters() if w.requires_grad)
    return list(dict.fromkeys(every))


def _slots(make: Callable[[list[nn.Parameter]], torch.optim.Optimizer]) -> int:
    """Tensors of a weight's size that an optimizer keeps for every weight."""
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.ones(2)
    optimizer = make([weight])
    optimizer.step()
    return sum(isinstance(slot, Tensor) and slot.ndim > 0 for slot in optimizer.state[weight].values())


def _batch(data: Dataset, images: int, stream: str = "train") -> tuple[Tensor, Tensor | None]:
    """What a feed gives, in shape."""
    x = torch.zeros(images, *data.images.shape[1:])
    if data.values is not None:
        return x, torch.zeros(images, *data.values.shape[1:])
    return x, None if data.labels is None else torch.zeros(images, dtype=torch.int64)
