"""Concepts for latent-space arithmetic: latent codes of chosen samples, or of samples of a class."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from sparring.data.dataset import Dataset
from sparring.errors import SparringError, is_number, unknown_name_error
from sparring.latent.classifier import classifier_for
from sparring.latent.decoder import LatentDecoder

MIN_CLASS_PROBABILITY = 0.9
"""A sample is of a class if a classifier gives it at least this probability."""

SAMPLES_PER_CONCEPT = 3
"""Samples that represent a class (Radford et al. 2016: three per concept)."""

CANDIDATES = 1000
"""Samples among which those of a class are searched."""


def concept_codes(
    decoder: LatentDecoder,
    text: str,
    samples: Tensor,
    *,
    seed: int,
    classes: Sequence[str],
    data: Callable[[], Dataset],
) -> tuple[Tensor, list[int] | None]:
    """(k, d) codes of a concept, and their classes if the system is class-conditional.

    text     sample numbers, "3,17,25", or "class:NAME" for three samples of a class
    samples  (n, d) codes of the samples, `decoder.codes(n, seed=seed)`
    classes  class names of the system, in order
    data     loads the real images; called only for a class, if the system does not classify

    Raises SparringError for other texts, and numbers that are out of range.
    """
    if text.startswith("class:"):
        return class_codes(decoder, text.removeprefix("class:").strip(), seed=seed, classes=classes, data=data), None
    rows = []
    for number in map(str.strip, text.split(",")):
        if not is_number(number):
            raise SparringError(f"'{number}' is not a concept; give sample numbers (3,17,25) or class:NAME")
        if int(number) >= len(samples):
            raise SparringError(f"sample {number} is out of range 0-{len(samples) - 1} (raise -n)")
        rows.append(int(number))
    labels = decoder.system.expand_labels(len(samples), decoder.labels) if decoder.is_conditional else None
    return samples[rows], None if labels is None else labels[rows].tolist()


def class_codes(
    decoder: LatentDecoder, name: str, *, seed: int, classes: Sequence[str], data: Callable[[], Dataset]
) -> Tensor:
    """(3, d) codes of the first samples that a classifier assigns to the class.

    Raises SparringError for an unknown class, if too few samples are of the class, and for a system whose codes have no
    class; other arguments as in `concept_codes`.
    """
    if decoder.is_conditional:
        raise SparringError(
            f"class:{name}: {type(decoder.system).__name__} takes the class beside the code, so codes have no class: "
            "give sample numbers"
        )
    classifier, known = classifier_for(decoder.system, classes, data)
    if name not in known:
        raise unknown_name_error("concept", f"class:{name}", [f"class:{other}" for other in known])
    codes = decoder.codes(CANDIDATES, seed=seed)
    confident = classifier(decoder.decode(codes))[:, known.index(name)].exp() >= MIN_CLASS_PROBABILITY
    if int(confident.sum()) < SAMPLES_PER_CONCEPT:
        raise SparringError(
            f"class:{name}: only {int(confident.sum())} of {CANDIDATES:,} samples are classified as {name} with "
            f"probability {MIN_CLASS_PROBABILITY} or more; give sample numbers"
        )
    return codes[confident][:SAMPLES_PER_CONCEPT]
