"""Dry run of one round with fake tensors before training: checks that the batch size works and fits into memory."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sparring.data.dataset import Dataset
from sparring.errors import SparringError
from sparring.machine import free_memory
from sparring.recipes.meta import on_meta
from sparring.recipes.recipe import Recipe
from sparring.seeds import ShardedRng, isolated, make_generator

MAX_ACTIVATION_RATIO = 20_000
"""Bytes of activations per byte of a batch that no network here reaches: if that much is free, skip the dry run."""

MEMORY_UNCERTAINTY = 1.5
"""A round may take up to this many times the counted memory, since kernel workspaces are not counted."""

ADVICE = "lower --batch, split it with --grad-accum, or use smaller images with --size"

OUT_OF_MEMORY = ("t allocate memory", "bad_alloc", "can't start new thread")
"""Fragments of other error messages that indicate lack of memory."""


class Storages(TorchDispatchMode):
    """Count the bytes of live tensors created inside: currently (`now`) and at peak. `.item()` always returns 0."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._alive: dict[int, weakref.ref[torch.UntypedStorage]] = {}

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
                    self.peak = max(self.peak, self.now)
                    self._alive[key] = weakref.ref(storage, partial(self._freed, key, size))
        return out

    def _freed(self, key: int, size: int, _: object) -> None:
        self.now -= size
        del self._alive[key]


def require_playable(make: Callable[[], Recipe], data: Dataset, *, grad_accum: int, processes: int) -> list[str]:
    """Checks that batch norm gets two or more images at a time, and that a round fits into the free memory.

    Returns warnings to print before training. Raises SparringError, with the smallest batch that works, if batch norm
    would get single images, and if a round takes more memory than is free.

    make        builds the recipe with its arguments, for this data
    grad_accum  microbatches per process
    processes   number of processes

    Counts weights, gradients, optimizer and EMA state, and activations: a lower bound of the memory of a round. Rounds
    that do not run on fake tensors are not checked.
    """
    parts = grad_accum * processes
    free = free_memory()
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    recipe = on_meta(make)
    if recipe is None:  # the networks need real numbers when they are built
        return []
    if recipe.batch % parts or recipe.batch > len(data):
        return []  # reported elsewhere
    microbatch = recipe.batch // parts
    weights = _bytes(recipe.system.state_dict().values())
    input_bytes = 4 * microbatch * grad_accum * data.pixels[0].numel()
    if microbatch == 1 and not _normalizes(make, data, 1):
        smallest = next((n for n in (2, 3, 4, 8) if _normalizes(make, data, n)), 2)
        split = f" in {parts} parts (processes x grad_accum)" if parts > 1 else ""
        raise SparringError(
            f"batch {recipe.batch}{split} leaves batch norm one image at a time, which has no variance: the smallest "
            f"--batch that works is {smallest * parts}"
        )
    if free is None or 8 * weights + MAX_ACTIVATION_RATIO * input_bytes < free / here:
        return []
    try:
        needed = _memory(make, data, microbatch, grad_accum)
    except SparringError:
        raise
    except Exception:  # the round depends on values
        needed = 4 * weights
    message = (
        f"a round takes at least {needed / 2**30:,.1f} GiB of memory at --batch {recipe.batch}"
        f"{f' --grad-accum {grad_accum}' if grad_accum > 1 else ''}, and {free / here / 2**30:,.1f} GiB are free"
    )
    if needed > free / here:
        raise SparringError(f"{message}: {ADVICE}")
    return [f"{message}; if it runs out of memory, {ADVICE}"] if MEMORY_UNCERTAINTY * needed > free / here else []


@contextmanager
def enough_memory() -> Iterator[None]:
    """Convert an out-of-memory error, of CPU or GPU, into a SparringError that says what can be lowered."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        lines = str(error).strip().splitlines()
        text = lines[0] if lines else "MemoryError"
        out_of_memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not out_of_memory and not any(fragment in str(error) for fragment in OUT_OF_MEMORY):
            raise
        raise SparringError(f"out of memory ({text[-150:]}): {ADVICE}") from None


def _normalizes(make: Callable[[], Recipe], data: Dataset, images: int) -> bool:
    """Whether batch norm accepts a round with this many images."""
    try:
        _memory(make, data, images, 1)
    except ValueError as error:
        return "more than 1 value per channel" not in str(error)
    except Exception:  # another problem, which training itself will report
        return True
    return True


def _memory(make: Callable[[], Recipe], data: Dataset, images: int, grad_accum: int) -> int:
    """Peak bytes of a round with this many images per microbatch, or of a checkpoint after it."""
    if grad_accum > 2:  # every further microbatch takes as much as the second
        first, both = (_memory(make, data, images, n) for n in (1, 2))
        return first + (grad_accum - 1) * (both - first)
    with isolated(0), FakeTensorMode(allow_non_fake_inputs=True), Storages() as storages:
        recipe = make()
        system = recipe.system.train()
        system.draws = ShardedRng(make_generator("dry run"))
        with unset_fake_temporarily():
            streams = recipe.streams(data, 0) if recipe.streams else {}
        rounds = [system.round(partial(_batch, streams, data, images)) for _ in range(grad_accum)]
        while moves := [move for move in (next(r, None) for r in rounds) if move is not None]:
            weights = _weights(system, system.players[moves[0].player])
            for move in moves:
                (move.loss / grad_accum).backward(inputs=weights)
                move.loss = move.loss.detach()
            for weight in weights:
                weight.grad = None
    slots = {player: _slots(recipe.optimizers[player]) for player in system.players}
    state = sum(slots[player] * _bytes(_weights(system, networks)) for player, networks in system.players.items())
    state += _bytes(_weights(system, system.ema_networks)) if recipe.ema_decay else 0
    return int(max(storages.peak + state, 2 * (_bytes([*system.parameters(), *system.buffers()]) + state)))


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(x.nbytes for x in tensors)


def _weights(system: nn.Module, networks: tuple[str, ...]) -> list[nn.Parameter]:
    weights = (w for name in networks for w in getattr(system, name).parameters() if w.requires_grad)
    return list(dict.fromkeys(weights))


def _slots(make: Callable[[list[nn.Parameter]], torch.optim.Optimizer]) -> int:
    """Number of weight-sized tensors that an optimizer keeps per weight."""
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.ones(2)
    optimizer = make([weight])
    optimizer.step()
    return sum(isinstance(slot, Tensor) and slot.ndim > 0 for slot in optimizer.state[weight].values())


def _batch(
    streams: Mapping[str, Dataset], data: Dataset, images: int, stream: str = "train"
) -> tuple[Tensor, Tensor | None]:
    """A batch of zeros with the shapes that a feed yields; `data` for a recipe without streams."""
    data = streams.get(stream, data)
    x = torch.zeros(images, *data.pixels.shape[1:])
    if data.values is not None:
        return x, torch.zeros(images, *data.values.shape[1:])
    return x, None if data.labels is None else torch.zeros(images, dtype=torch.int64)
