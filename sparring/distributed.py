"""Several processes that train together: found, checked against each other, and waited for knowingly."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import accelerate
import torch
import torch.distributed as dist
from torch import Tensor

from sparring.errors import ProcessLostError, SparringError

T = TypeVar("T")

GRACE_SECONDS = 5
"""Seconds that processes have to find each other, beyond PyTorch's own two waits, for the store and for the group."""


def timeout_seconds() -> int:
    """Seconds after which a process that does not answer is given up: SPARRING_TIMEOUT (60)."""
    given = os.environ.get("SPARRING_TIMEOUT", "60")
    if not (given.isascii() and given.isdigit() and 0 < int(given) < 10**6):
        raise SparringError(f"SPARRING_TIMEOUT is '{given}': it is a number of seconds, 1 or more")
    return int(given)


def process_group() -> accelerate.PartialState:
    """This process among those that train together (torchrun), and its device: gloo on CPUs, NCCL on GPUs.

    accelerate forms no group of CPU processes unless it is told that they are CPU processes. Raises SparringError when
    they do not find each other: a port in use, some that never came, variables of the environment that say nonsense.
    """
    wanted = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    timeout = timedelta(seconds=timeout_seconds())
    cpu = wanted or not torch.accelerator.is_available()
    if "WORLD_SIZE" not in os.environ:
        return accelerate.PartialState(cpu=cpu, timeout=timeout)

    def lonely(reason: str) -> SparringError:
        where = f"{os.environ.get('MASTER_ADDR', '?')}:{os.environ.get('MASTER_PORT', '?')}"
        return SparringError(
            f"the {os.environ['WORLD_SIZE']} processes of this training did not find each other at {where} within "
            f"{timeout_seconds()} seconds ({reason}); torchrun starts them all, --standalone picks a port; or give "
            "another MASTER_PORT"
        )

    def give_up() -> None:  # PyTorch waits without end where another program holds the port
        print(f"sparring: {lonely('nothing there answers as it should')}", file=sys.stderr, flush=True)
        os._exit(SparringError.exit_code)

    late = threading.Timer(2 * timeout_seconds() + GRACE_SECONDS, give_up)
    late.daemon = True
    late.start()
    try:
        return accelerate.PartialState(cpu=cpu, timeout=timeout)
    except (RuntimeError, ValueError) as error:
        accelerate.PartialState._reset_state()  # half made
        raise lonely(_first_line(error)) from None
    finally:
        late.cancel()


@contextmanager
def collective() -> Iterator[None]:
    """Around what all processes do at once. Raises PeerLost when one of them is gone, or silent for too long.

    How long is SPARRING_TIMEOUT, in seconds (60).
    """
    try:
        yield
    except RuntimeError as error:
        if not dist.is_initialized():
            raise
        raise ProcessLostError(
            f"another process of this training died or did not answer for SPARRING_TIMEOUT seconds "
            f"({_first_line(error)}); go on from the last checkpoint with sparring resume"
        ) from error


def on_each_process(state: accelerate.PartialState, work: Callable[[], T]) -> T:
    """`work()` of every process; nobody goes on before all have done theirs, however long that takes.

    In the meantime a thread of each keeps in touch with the others, so that a process that waits knows whether the
    others are alive. Raises PeerLost when one of them is gone, or silent for SPARRING_TIMEOUT seconds; when the work of
    one of them raises, the same is raised in all.
    """
    if state.num_processes == 1:
        return work()
    with collective():
        group = _group()
    done, failures, lost = threading.Event(), list[BaseException](), list[RuntimeError]()
    some_failed = False

    def keep_in_touch() -> None:
        nonlocal some_failed
        try:
            while True:
                done.wait(timeout_seconds() / 4)
                word = torch.tensor([not done.is_set(), bool(failures)], dtype=torch.uint8)
                dist.all_reduce(word, dist.ReduceOp.MAX, group=group)
                working, some_failed = word.tolist()
                if not working:
                    return
        except RuntimeError as error:
            lost.append(error)

    thread = threading.Thread(target=keep_in_touch, name="in touch with the other processes", daemon=True)
    thread.start()
    try:
        result = work()
    except BaseException as error:  # also a Ctrl-C: the others are waiting
        failures.append(error)
    done.set()
    thread.join()
    with collective():
        if lost and not failures:
            raise lost[0]
        reports = _gathered(_report(failures)) if some_failed and not lost else []
    if failures:
        raise failures[0]
    for rank, report in enumerate(reports):
        if report:
            other = SparringError(f"process {rank}: {report['message']}")
            other.exit_code = report["code"]
            raise other
    return result


def _report(failures: list[BaseException]) -> dict[str, Any]:
    """What the other processes get to know of an error."""
    if not failures:
        return {}
    (error,) = failures
    if isinstance(error, SparringError):
        return {"message": str(error), "code": error.exit_code}
    return {"message": f"{type(error).__name__}: {error}", "code": 1}


def on_main_process(state: accelerate.PartialState, *works: Callable[[], object]) -> None:
    """Run `works` in order on the main process only; the other processes wait, as in `on_each_process`."""
    on_each_process(state, lambda: [work() for work in works] if state.is_main_process else None)


def require_same_config(state: accelerate.PartialState, config: Callable[[], Mapping[str, Any]]) -> None:
    """Raises SparringError in every process when `facts()`, JSON values, differ in one of them, and says which."""
    if state.num_processes == 1:
        return
    mine = config()
    with collective():
        everybody = _gathered(mine)
    expected = _flat(everybody[0])
    for rank, other in enumerate(map(_flat, everybody)):
        for name in [*expected, *other]:
            if (here := other.get(name)) != (there := expected.get(name)):
                raise SparringError(
                    f"process {rank} plays another game than process 0: its {name} is {here!r}, not {there!r}; start "
                    "all processes with the same command, code and data"
                )


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """Of nested facts, too, each by itself: {"data": {"count": 5}} -> {"data count": 5}."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        flat |= {f"{name} {inner}": v for inner, v in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def _gathered(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What every process gives, in their order, as JSON."""
    text = torch.frombuffer(bytearray(json.dumps(config, sort_keys=True).encode()), dtype=torch.uint8)
    sizes: list[Tensor] = [torch.zeros(1, dtype=torch.int64) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, torch.tensor([len(text)]), group=_group())
    longest = int(max(sizes))
    texts = [torch.zeros(longest, dtype=torch.uint8) for _ in sizes]
    dist.all_gather(texts, torch.nn.functional.pad(text, (0, longest - len(text))), group=_group())
    return [json.loads(bytes(one[: int(size)].tolist())) for one, size in zip(texts, sizes, strict=True)]


_groups: dict[int, Any] = {}


def _group() -> Any:
    """A group of all processes for tensors of the CPU, apart from the one that averages gradients."""
    key = id(dist.group.WORLD)
    if key not in _groups:
        _groups[key] = dist.new_group(backend="gloo", timeout=timedelta(seconds=timeout_seconds()))
    return _groups[key]


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
