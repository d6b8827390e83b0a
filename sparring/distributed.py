"""Distributed training: form the process group, compare the processes' settings, wait and detect lost processes."""

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

from sparring.device import resolve_device
from sparring.errors import ProcessLostError, SparringError

T = TypeVar("T")

GRACE_SECONDS = 5
"""Seconds that forming the group may take beyond PyTorch's own two timeouts, for the store and for the group."""


def timeout_seconds() -> int:
    """Seconds after which a process that does not respond counts as lost: SPARRING_TIMEOUT (60)."""
    value = os.environ.get("SPARRING_TIMEOUT", "60")
    if not (value.isascii() and value.isdigit() and 0 < int(value) < 10**6):
        raise SparringError(f"SPARRING_TIMEOUT is '{value}': it must be a whole number of seconds, 1 or more")
    return int(value)


def process_group(device: torch.device | None = None) -> accelerate.PartialState:
    """The state of this process within the process group (torchrun): gloo on CPUs, NCCL on GPUs.

    device  of the training, for the first call, which forms the group; later calls return the same state

    accelerate forms a group of CPU processes only if `cpu` is passed explicitly. Raises SparringError if the group
    cannot be formed: a port in use, processes that never started, invalid environment variables.
    """
    timeout = timedelta(seconds=timeout_seconds())
    cpu = (device or resolve_device()).type == "cpu"
    if "WORLD_SIZE" not in os.environ:
        return accelerate.PartialState(cpu=cpu, timeout=timeout)

    def no_group_error(reason: str) -> SparringError:
        where = f"{os.environ.get('MASTER_ADDR', '?')}:{os.environ.get('MASTER_PORT', '?')}"
        return SparringError(
            f"the {os.environ['WORLD_SIZE']} processes of this training did not connect at {where} within "
            f"{timeout_seconds()} seconds ({reason}); start them with torchrun (--standalone picks a free port) or set "
            "another MASTER_PORT"
        )

    def give_up() -> None:  # PyTorch waits forever if another program holds the port
        print(f"sparring: {no_group_error('no valid response')}", file=sys.stderr, flush=True)
        os._exit(SparringError.exit_code)

    watchdog = threading.Timer(2 * timeout_seconds() + GRACE_SECONDS, give_up)
    watchdog.daemon = True
    watchdog.start()
    try:
        return accelerate.PartialState(cpu=cpu, timeout=timeout)
    except (RuntimeError, ValueError) as error:
        accelerate.PartialState._reset_state()  # partially initialized
        raise no_group_error(_first_line(error)) from None
    finally:
        watchdog.cancel()


@contextmanager
def collective() -> Iterator[None]:
    """Wrap a collective operation. Raises ProcessLostError if another process died or does not respond in time.

    The timeout is SPARRING_TIMEOUT, in seconds (60).
    """
    try:
        yield
    except RuntimeError as error:
        if not dist.is_initialized():
            raise
        raise ProcessLostError(
            f"another process of this training died or did not respond for SPARRING_TIMEOUT seconds "
            f"({_first_line(error)}); continue from the last checkpoint with sparring resume"
        ) from error


def on_each_process(state: accelerate.PartialState, work: Callable[[], T]) -> T:
    """Call `work()` in every process, return its result, and wait until all are done, however long that takes.

    Meanwhile a thread of each process exchanges heartbeats, so that waiting processes notice when another one dies.
    Raises ProcessLostError if one died or does not respond for SPARRING_TIMEOUT seconds. An exception raised by `work`
    in one process is raised in all.
    """
    if state.num_processes == 1:
        return work()
    with collective():
        group = _group()
    done, failures, lost = threading.Event(), list[BaseException](), list[RuntimeError]()
    any_failed = False

    def heartbeat() -> None:
        nonlocal any_failed
        try:
            while True:
                done.wait(timeout_seconds() / 4)
                flags = torch.tensor([not done.is_set(), bool(failures)], dtype=torch.uint8)
                dist.all_reduce(flags, dist.ReduceOp.MAX, group=group)
                working, any_failed = flags.tolist()
                if not working:
                    return
        except RuntimeError as error:
            lost.append(error)

    thread = threading.Thread(target=heartbeat, name="heartbeat", daemon=True)
    thread.start()
    try:
        result = work()
    except BaseException as error:  # KeyboardInterrupt too: the others are waiting
        failures.append(error)
    done.set()
    thread.join()
    with collective():
        if lost and not failures:
            raise lost[0]
        reports = _gathered(_report(failures)) if any_failed and not lost else []
    if failures:
        raise failures[0]
    for rank, report in enumerate(reports):
        if report:
            other = SparringError(f"process {rank}: {report['message']}")
            other.exit_code = report["code"]
            raise other
    return result


def _report(failures: list[BaseException]) -> dict[str, Any]:
    """The error as JSON values, to be sent to the other processes."""
    if not failures:
        return {}
    (error,) = failures
    if isinstance(error, SparringError):
        return {"message": str(error), "code": error.exit_code}
    return {"message": f"{type(error).__name__}: {error}", "code": 1}


def on_main_process(state: accelerate.PartialState, *works: Callable[[], object]) -> None:
    """Call `works` in order on the main process only; the other processes wait, as in `on_each_process`."""
    on_each_process(state, lambda: [work() for work in works] if state.is_main_process else None)


def require_same_config(state: accelerate.PartialState, config: Callable[[], Mapping[str, Any]]) -> None:
    """Raises SparringError in every process if `config()` (JSON values) differs between processes."""
    if state.num_processes == 1:
        return
    own = config()
    with collective():
        configs = _gathered(own)
    expected = _flat(configs[0])
    for rank, other in enumerate(map(_flat, configs)):
        for name in [*expected, *other]:
            if (here := other.get(name)) != (there := expected.get(name)):
                raise SparringError(
                    f"process {rank} differs from process 0: its {name} is {here!r}, not {there!r}; start all "
                    "processes with the same command, code and data"
                )


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten one level of nesting: {"data": {"count": 5}} -> {"data count": 5}."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        flat |= {f"{name} {inner}": v for inner, v in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def _gathered(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The `config` of every process, by rank, exchanged as JSON."""
    text = torch.frombuffer(bytearray(json.dumps(config, sort_keys=True).encode()), dtype=torch.uint8)
    sizes: list[Tensor] = [torch.zeros(1, dtype=torch.int64) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, torch.tensor([len(text)]), group=_group())
    longest = int(max(sizes))
    texts = [torch.zeros(longest, dtype=torch.uint8) for _ in sizes]
    dist.all_gather(texts, torch.nn.functional.pad(text, (0, longest - len(text))), group=_group())
    return [json.loads(bytes(padded[: int(size)].tolist())) for padded, size in zip(texts, sizes, strict=True)]


_groups: dict[int, Any] = {}


def _group() -> Any:
    """A gloo group of all processes for CPU tensors, separate from the group that averages gradients."""
    key = id(dist.group.WORLD)
    if key not in _groups:
        _groups[key] = dist.new_group(backend="gloo", timeout=timedelta(seconds=timeout_seconds()))
    return _groups[key]


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
