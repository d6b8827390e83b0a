"""Where and in which precision tensors are computed."""

from __future__ import annotations

import torch
from torch import Tensor

from sparring.errors import SparringError


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device; copies to a GPU go through pinned memory and do not block."""
    return x.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else x.to(device)


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
