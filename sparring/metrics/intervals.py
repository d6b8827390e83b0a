"""95 % confidence intervals of a proportion and of the mean of a few independent repeats."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist, mean, stdev

from sparring.errors import require_int
from sparring.typed import typed

Z = NormalDist().inv_cdf(0.975)
# Student's t, 97.5 % quantile, for 1 to 10 degrees of freedom.
T = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)


@typed
def wilson_interval(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a proportion after `hits` of `n` trials, within [0, 1] (Wilson 1927)."""
    share = require_int("hits", hits, least=0, most=require_int("n", n)) / n
    center = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * (share * (1 - share) / n + Z**2 / (4 * n**2)) ** 0.5
    return max(0.0, center - half), min(1.0, center + half)


@typed
def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % t interval of the mean of independent repeats; None for a single value."""
    if len(values) < 2:
        return None
    half = t_quantile(len(values) - 1) * stdev(values) / len(values) ** 0.5
    return mean(values) - half, mean(values) + half


def t_quantile(freedom: int) -> float:
    """97.5 % quantile of Student's t: tabulated, or the normal expansion (Abramowitz & Stegun 26.7.5)."""
    if freedom <= len(T):
        return T[freedom - 1]
    return Z + (Z**3 + Z) / (4 * freedom) + (5 * Z**5 + 16 * Z**3 + 3 * Z) / (96 * freedom**2)
