"""Inversion, from images to latent codes: by optimization with restarts, by the encoder, or both.

The error of the best code found is the measure IvOM (Srivastava et al. 2017, "VEEGAN"; Metz et al. 2017).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sparring.data.pixels import to_float, to_uint8
from sparring.errors import SparringError, require_int, unknown_name_error
from sparring.latent.decoder import LatentDecoder
from sparring.metrics import squared_errors
from sparring.seeds import derive_seed
from sparring.typed import require_images, typed

INITS = ("both", "optimization", "encoder")
"""Optimize from the encoder's code and from sampled codes; from sampled codes only; the encoder's code unchanged."""


@dataclass(frozen=True)
class Inversion:
    """The result for n images.

    codes    (n, d)
    images   (n, C, S, S) uint8, the decoded codes
    errors   (n,) mean squared error per pixel, pixels taken as 0 to 1
    encoded  (n,) errors of the encoder's codes before optimization, or None without an encoder
    tried    (n, starts) final error of every start
    """

    codes: Tensor
    images: Tensor
    errors: Tensor
    encoded: Tensor | None
    tried: Tensor


@typed
def invert(
    decoder: LatentDecoder,
    images: Tensor,
    *,
    init: str = "both",
    steps: int = 200,
    restarts: int = 4,
    lr: float = 0.1,
    seed: int = 0,
    on_progress: Callable[[int], object] = lambda steps: None,
) -> Inversion:
    """Codes that minimize the squared pixel error to (n, C, S, S) uint8 images.

    init         one of INITS; "both" means "optimization" for a system without an encoder
    steps        of Adam on the squared error, with learning rate warmup in the first 5 % and cosine decay in the last
                 25 % (Karras et al. 2020, the authors' projector)
    restarts     starts from sampled codes, in addition to the encoder's; the best result per image is kept
    on_progress  callback, called with the number of steps just taken (`total_steps` in all)

    The labels of `decoder` must be those of the images. Raises SparringError for an unknown init, and for "encoder" if
    the system has none.
    """
    system = decoder.system
    require_images(1, torch.uint8, images=images)
    require_int("steps", steps)
    require_int("restarts", restarts)
    if not 0 < lr < math.inf:
        raise SparringError(f"lr is {lr:g}: it must be a positive number")
    if init not in INITS:
        raise unknown_name_error("init", init, INITS)
    encodes = init != "optimization" and system.supports("encode")
    if init == "encoder" and not encodes:
        raise SparringError(f"{type(system).__name__} has no encoder: invert by optimization")
    target = to_float(images)
    starts, encoded = [], None
    if encodes:
        starts.append(system.encode(target).cpu())
        encoded = squared_errors(real=images, fake=to_uint8(decoder.decode(starts[0])))
    if init == "encoder":
        assert encoded is not None
        return Inversion(starts[0], to_uint8(decoder.decode(starts[0])), encoded, encoded, encoded[:, None])

    starts += [decoder.codes(len(images), seed=derive_seed("invert", seed, i)) for i in range(restarts)]
    ends = [_descend(decoder, target, start, steps, lr, on_progress) for start in starts]
    decoded = [to_uint8(decoder.decode(end)) for end in ends]
    tried = torch.stack([squared_errors(real=images, fake=rows) for rows in decoded], 1)
    best = tried.argmin(1)
    rows = torch.arange(len(images))
    return Inversion(
        torch.stack(ends, 1)[rows, best], torch.stack(decoded, 1)[rows, best], tried[rows, best], encoded, tried
    )


@typed
def total_steps(decoder: LatentDecoder, *, init: str, steps: int, restarts: int) -> int:
    """Total number of steps that `invert` reports."""
    if init == "encoder":
        return 0
    return steps * (restarts + (init == "both" and decoder.system.supports("encode")))


def _descend(
    decoder: LatentDecoder, target: Tensor, start: Tensor, steps: int, lr: float, on_progress: Callable[[int], object]
) -> Tensor:
    """(n, d) the codes with the least squared error during Adam from `start` (n, d)."""
    code = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([code], betas=(0.9, 0.999))
    best, lowest = start.clone(), torch.full((len(start),), math.inf)
    for step in range(steps + 1):
        error = (decoder.decode(code) - target).square().flatten(1).mean(1)
        better = error.detach() < lowest
        lowest = torch.where(better, error.detach(), lowest)
        best = torch.where(better[:, None], code.detach(), best)
        if step < steps:
            (code.grad,) = torch.autograd.grad(error.sum(), [code])
            optimizer.param_groups[0]["lr"] = lr * _ramp((step + 1) / steps)
            optimizer.step()
            on_progress(1)
    return best


def _ramp(share: float) -> float:
    """Learning rate schedule in [0, 1]: linear warmup in the first 5 %, cosine decay in the last 25 %."""
    return min(1.0, share / 0.05) * (0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - share) / 0.25)))
