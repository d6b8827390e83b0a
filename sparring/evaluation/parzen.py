"""Parzen-window log-likelihood, as in Goodfellow et al. 2014."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sparring.errors import SparringError
from sparring.evaluation.measurement import Measurement
from sparring.evaluation.splits import pixels_of, shuffled
from sparring.metrics.intervals import Z
from sparring.metrics.parzen import SIGMAS, Parzen, parzen_log_likelihood
from sparring.seeds import derive_seed

if TYPE_CHECKING:
    from sparring.evaluation.context import Context

CENTERS, VALIDATION = 10_000, 1000
"""Number of samples, and of images that select the width of the window (Goodfellow et al. 2014)."""

CAVEAT = "Not a measure of quality: k-means centers score higher than the true distribution (Theis et al. 2016)."


def parzen_window(context: Context) -> Sequence[Measurement]:
    """Parzen-window log-likelihood of test images; the baseline is that of training images in place of samples.

    () unless it was requested. The width is chosen on held-out images; without a test set, the remaining held-out
    images are the test images. Raises SparringError if no images are held out.
    """
    data = context.data
    if not context.parzen:
        return ()
    if data.held_out is None or len(data.held_out) < 2:
        raise SparringError(f"the Parzen window needs held-out images, but data '{data.name}' has none")
    held_out = data.held_out.images_at(shuffled(data.held_out, "parzen"))
    validation = held_out[: min(VALIDATION, len(held_out) if data.test else len(held_out) // 2)]
    test = data.test.images if data.test else held_out[len(validation) :]
    centers = data.images_at(shuffled(data, "parzen")[:CENTERS])
    samples = context.sample(len(centers), seed=derive_seed("evaluate", context.seed, "parzen"))
    fake, real = (
        parzen_log_likelihood(real=test / 255, fake=images / 255, chosen_on=validation / 255)
        for images in (pixels_of(samples, len(centers), data), centers)
    )
    place = "the first or last of" if fake.sigma in (SIGMAS[0], SIGMAS[-1]) else "out of"
    return [
        Measurement(
            metric="Parzen log-likelihood",
            value=fake.value,
            n=len(test),
            split="test" if data.test else "held_out",
            unit="nats",
            interval=_interval(fake),
            floor=real.value,
            floor_interval=_interval(real),
            floor_name=f"{len(centers):,} real training images in place of {len(centers):,} samples",
            words=f"{fake.value:.1f} ± {fake.error:.1f} (standard error), "
            f"baseline {real.value:.1f} ± {real.error:.1f}; "
            f"sigma {fake.sigma:.3g}, {place} ten from 0.1 to 1, chosen on {len(validation):,} held-out images. "
            f"{CAVEAT}",
        )
    ]


def _interval(result: Parzen) -> tuple[float, float]:
    return result.value - Z * result.error, result.value + Z * result.error
