"""The machine: its processor and the commit of this code, on which numbers depend, and the way onto its device."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, device


def processor() -> str:
    """The processor's name, where the system tells it."""
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def commit() -> str | None:
    """The git commit of the checkout that this code runs from, with "+" when it was edited; None when installed."""
    here = Path(__file__).parent
    if not (here.parent / ".git").exists():
        return None
    git = ["git", "-C", str(here.parent)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    edited = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=False)
    return (head.stdout.strip() + ("+" if edited.stdout.strip() else "")) or None


@contextmanager
def computing_with(threads: int) -> Iterator[None]:
    """PyTorch computes with this many threads inside, and with as many as before outside."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def onto(x: Tensor, where: device) -> Tensor:
    """The same on the device; on its way to a GPU it lies in pinned memory, so that nobody waits for the copy."""
    return x.pin_memory().to(where, non_blocking=True) if where.type == "cuda" else x.to(where)
