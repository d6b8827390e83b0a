"""The machine: processor, commit, threads, signatures of this user, memory."""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import hmac
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from sparring.errors import SparringError


def processor() -> str:
    """The name of the processor, as reported by the operating system."""
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def version() -> str:
    """The version of this package, from its metadata; "unknown" if it is imported without being installed."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    try:
        return version_of("sparring")
    except PackageNotFoundError:
        return "unknown"


def commit() -> str | None:
    """The git commit of the checkout this code runs from, with "+" if it has local edits; None if installed."""
    here = Path(__file__).parent
    if not (here.parent / ".git").exists():
        return None
    git = ["git", "-C", str(here.parent)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    edited = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=False)
    return (head.stdout.strip() + ("+" if edited.stdout.strip() else "")) or None


@contextmanager
def computing_with(threads: int) -> Iterator[None]:
    """Set PyTorch's number of threads inside, and restore it afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def signature(text: str) -> str:
    """HMAC-SHA256 of the text with a secret key of this user on this machine.

    The key is created on first use: `sparring/key` in XDG_STATE_HOME, by default ~/.local/state. If it cannot be stored
    there, signatures are valid for this process only.
    """
    return hmac.new(_key(), text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def _key() -> bytes:
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    try:
        folder = Path(state).expanduser() / "sparring"
        folder.mkdir(parents=True, exist_ok=True)
        with open(os.open(folder / "key", os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # two processes may create the key at once
            key = file.read()
            if len(key) < 32:
                key = os.urandom(32)
                file.seek(0)
                file.write(key)
            return key
    except (OSError, RuntimeError):  # no home, no rights, no space, no locks
        return _key_of_this_process()


@cache
def _key_of_this_process() -> bytes:
    return os.urandom(32)


SMALL_BYTES = 1 << 24
"""What needs no more memory than this is not compared with `free_memory`, which takes milliseconds to read."""


def free_memory() -> int | None:
    """Bytes this process can still allocate, by available memory, cgroup limits and ulimit -v; None: unknown."""
    limits = []
    with suppress(OSError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        limits += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    for limit, used, statistics in _control_groups():
        with suppress(OSError, ValueError):  # "max": no limit
            allowed, taken = int(limit.read_text()), int(used.read_text())
            cache = dict(line.split() for line in statistics.read_text().splitlines())
            reclaimable = int(cache.get("total_inactive_file", cache.get("inactive_file", 0)))
            limits.append(allowed - taken + reclaimable)
    address_space, _ = resource.getrlimit(resource.RLIMIT_AS)
    if address_space != resource.RLIM_INFINITY:
        with suppress(OSError):
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
            limits.append(address_space - pages * resource.getpagesize())
    return max(0, min(limits)) if limits else None


def _control_groups() -> Iterator[tuple[Path, Path, Path]]:
    """Files with memory limit, usage and statistics, for every cgroup (v1 or v2) of this process."""
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, name = line.split(":", 2)
            v2 = not controllers
            if not v2 and "memory" not in controllers.split(","):
                continue
            root = Path("/sys/fs/cgroup" if v2 else "/sys/fs/cgroup/memory")
            names = ("memory.max", "memory.current") if v2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
            group = root / name.lstrip("/")
            for folder in [group, *group.parents]:
                if folder.is_relative_to(root):
                    yield folder / names[0], folder / names[1], folder / "memory.stat"


def require_memory(needed: int, what: str, advice: str) -> None:
    """Raises SparringError if fewer than `needed` bytes are free, before they are allocated."""
    free = free_memory() if needed > SMALL_BYTES else None
    if free is not None and needed > free:
        raise SparringError(
            f"{what} would take {needed / 2**30:,.1f} GiB of memory, and {free / 2**30:,.1f} GiB are free: {advice}"
        )


def disable_malloc_trim() -> None:
    """Make glibc keep freed memory for the next round instead of returning it to the system.

    Every round frees and allocates the same tens of megabytes; without the page faults, rounds of small networks take
    a quarter less time (docs/results/bookkeeping.md). Does nothing without glibc.
    """
    trim_threshold, mmap_threshold, one_gigabyte = -1, -3, 1 << 30
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(trim_threshold, one_gigabyte)
        libc.mallopt(mmap_threshold, one_gigabyte)
