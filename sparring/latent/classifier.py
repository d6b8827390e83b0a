"""The classifier used when a concept or a direction is given by class name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from sparring.data.dataset import Dataset
from sparring.data.pixels import to_uint8
from sparring.errors import SparringError, abbreviated
from sparring.metrics import extractor_for
from sparring.system import System
from sparring.typed import typed

Classify = Callable[[Tensor], Tensor]
"""classify(images (n, C, H, W) in [-1, 1]) -> (n, classes) log-probabilities."""


@typed
def classifier_for(
    system: System, classes: Sequence[str], data: Callable[[], Dataset]
) -> tuple[Classify, tuple[str, ...]]:
    """The system's own classifier or else a bundled one for the real images, and its classes.

    classes  class names of the system, in order
    data     loads the real images; called only if the system does not classify

    Raises SparringError if there is neither.
    """
    if system.supports("classify"):
        return system.classify, tuple(classes)
    real = data()
    if not isinstance(real, Dataset):
        raise SparringError(f"data() returned {abbreviated(real)}: it must return a Dataset")
    extractor = extractor_for(real.images, real.labels, real.classes)
    if not extractor.classes:
        raise SparringError(
            f"no classifier available: {type(system).__name__} does not classify, and no bundled classifier fits "
            f"the images of '{real.name}'"
        )

    def classify(images: Tensor) -> Tensor:
        logits = extractor.features(to_uint8(images))[1]
        assert logits is not None
        return logits.log_softmax(1)

    return classify, extractor.classes
