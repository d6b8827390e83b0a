"""Where and in which precision tensors are computed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from sparring.errors import SparringError, abbreviated


def resolve_device(name: str | torch.device = "auto") -> torch.device:
    """The device with this name: "auto" (a GPU if PyTorch finds one, else the CPU), "cpu", "cuda", "cuda:1" or "mps".

    Without a number, and in "auto", each of several processes (torchrun) has the GPU of its LOCAL_RANK. With
    ACCELERATE_USE_CPU, which `accelerate launch --cpu` sets, "auto" is the CPU. Raises SparringError for other names,
    and for a device that does not exist here.
    """
    gpu = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if isinstance(name, str) and name == "auto":
        use_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
        name = torch.device("cpu") if gpu is None or use_cpu else gpu
    try:
        device = torch.device(name) if isinstance(name, str | torch.device) else None
    except RuntimeError:
        device = None
    if device is None:
        raise SparringError(f"device is {abbreviated(name)}: it must be auto, cpu, cuda, cuda:1 ... or mps")
    if device.type == "cpu":
        return torch.device("cpu")
    if gpu is None or device.type != gpu.type:
        found = "no GPU" if gpu is None else f"{gpu.type}, {torch.accelerator.device_count()} in number"
        raise SparringError(f"device {device} does not exist here: PyTorch {torch.__version__} finds {found}")
    rank, count = os.environ.get("LOCAL_RANK", "0"), torch.accelerator.device_count()
    index = device.index if device.index is not None else int(rank) % count if rank.isdecimal() else 0
    if index >= count:
        raise SparringError(f"device {device} does not exist here: there are {count}, {gpu.type}:0 to {count - 1}")
    return torch.device(device.type, index)


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device; copies to a GPU go through pinned memory and do not block."""
    return x.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else x.to(device)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all work so far; a CPU always has."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """The dtype of autocast: "fp32", "bf16", or "auto" = bf16 if the hardware supports it natively.

    Raises SparringError for other names. fp16 is not supported: it needs loss scaling per player.
    """
    if name not in ("auto", "fp32", "bf16"):
        raise SparringError(f"precision is '{name}': it must be auto, fp32 or bf16")
    if name == "auto":
        cpu = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
        native = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else cpu
        return torch.bfloat16 if native else torch.float32
    return torch.bfloat16 if name == "bf16" else torch.float32


def set_tf32(allowed: bool) -> None:
    """Allow or forbid TF32 in float32 matrix products and convolutions on a GPU: faster, less precise."""
    precision = "tf32" if allowed else "ieee"
    torch.backends.cuda.matmul.fp32_precision = precision
    torch.backends.cudnn.conv.fp32_precision = precision  # type: ignore[attr-defined]


@contextmanager
def without_tf32() -> Iterator[None]:
    """Inside, float32 matrix products and convolutions on a GPU are computed without TF32, as on a CPU."""
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    set_tf32(False)
    try:
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision
