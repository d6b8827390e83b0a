"""Truncation: codes closer to the mean give images of better quality and less variety.

In z, numbers beyond a threshold are resampled (Brock et al. 2019, section 3.1). In w, codes are shrunk toward the mean,
w' = mean + psi (w - mean) (Karras et al. 2019, appendix B; ALAE). The system's `sample_latents` implements either.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sparring.errors import SparringError
from sparring.latent.decoder import LatentDecoder
from sparring.typed import typed


@typed
def truncations(decoder: LatentDecoder, levels: Sequence[float], n: int, *, seed: int = 0) -> Tensor:
    """(len(levels) * n, C, H, W) images, n for each level; a column shows one code at all levels.

    Raises SparringError if the system does not support truncation, and for invalid levels.
    """
    if not levels:
        raise SparringError("levels is empty: give truncation levels, such as [.5, 1, 2]")
    codes = [decoder.codes(n, seed=seed, truncation=level) for level in levels]
    return torch.cat([decoder.decode(rows, truncation=level) for rows, level in zip(codes, levels, strict=True)])
