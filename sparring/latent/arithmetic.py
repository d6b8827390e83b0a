"""Latent-space arithmetic (Radford et al. 2016, section 6.3.2): smiling woman - neutral woman + neutral man."""

from __future__ import annotations

import torch
from torch import Tensor

from sparring.errors import SparringError
from sparring.seeds import make_generator
from sparring.typed import typed

NEIGHBORHOOD = 9
"""Codes of a 3x3 grid: the result and eight neighbors."""

SPREAD = 0.25
"""The neighbors differ from the result by U(-.25, .25) in every number."""


@typed
def analogy(start: Tensor, minus: Tensor, plus: Tensor) -> Tensor:
    """(d,): mean of `start` - mean of `minus` + mean of `plus`, each (k, d) codes of one concept.

    A concept is the mean of several codes, three in the paper, where single codes gave unstable results. For three
    times three independent codes from N(0, I_d) the expected norm of the result is again sqrt(d). Raises SparringError
    for a concept without codes, and for codes of different lengths.
    """
    for codes in (start, minus, plus):
        if codes.ndim != 2 or not len(codes) or codes.shape[1] != start.shape[1]:
            shapes = ", ".join(str(tuple(codes.shape)) for codes in (start, minus, plus))
            raise SparringError(f"concepts must be (k, d) codes with k > 0 and equal d; got shapes {shapes}")
    return start.mean(0) - minus.mean(0) + plus.mean(0)


@typed
def jitter_grid(code: Tensor, *, spread: float = SPREAD, seed: int = 0) -> Tensor:
    """(9, d) codes, row by row, of a 3x3 grid: `code` (d,) in the center, around it code + U(-spread, spread)."""
    if code.ndim != 1:
        raise SparringError(f"code must be a single code (d,); got shape {tuple(code.shape)}")
    noise = 2 * torch.rand(NEIGHBORHOOD, len(code), generator=make_generator("neighborhood", seed)) - 1
    noise[NEIGHBORHOOD // 2] = 0
    return code + spread * noise.to(code)
