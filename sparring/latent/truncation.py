"""Truncation: codes nearer to the middle give fewer kinds of better images.

In z, numbers beyond a threshold are drawn again (Brock et al. 2019, section 3.1). In w, codes are drawn to their mean,
w' = mean + psi (w - mean) (Karras et al. 2019, appendix B; ALAE). Which it is, the system's `sample_latents` knows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sparring.errors import SparringError
from sparring.latent.decoder import LatentDecoder
from sparring.typed import typed


@typed
def truncations(paint: LatentDecoder, levels: Sequence[float], n: int, *, seed: int = 0) -> Tensor:
    """(len(levels) * n, C, H, W) images, n for each level; a column is about one image, less and less truncated.

    Raises SparringError where the system's codes have no truncation, or the level is not one.
    """
    if not levels:
        raise SparringError("truncation has no levels: give some, such as [.5, 1, 2]")
    codes = [paint.codes(n, seed=seed, truncation=level) for level in levels]
    return torch.cat([paint.paint(some, truncation=level) for some, level in zip(codes, levels, strict=True)])
