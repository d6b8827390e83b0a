"""Who says which class an image is of, when a concept or a direction is asked for by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from sparring.data.dataset import Dataset
from sparring.data.pixels import to_uint8
from sparring.errors import SparringError, abbreviated
from sparring.metrics import extractor_for
from sparring.system import System
from sparring.typed import typed

Judge = Callable[[Tensor], Tensor]
"""judge(images (n, C, H, W) in [-1, 1]) -> (n, classes) log-probabilities."""


@typed
def classifier_for(
    system: System, classes: Sequence[str], data: Callable[[], Dataset]
) -> tuple[Judge, tuple[str, ...]]:
    """The system's own classifier, else a shipped one that recognizes the real images; and its classes.

    classes  that the system learned, in their order
    data     loads the real images; called only where the system does not classify

    Raises SparringError when neither is there.
    """
    if system.supports("classify"):
        return system.classify, tuple(classes)
    real = data()
    if not isinstance(real, Dataset):
        raise SparringError(f"data gives {abbreviated(real)}: it must give a Dataset")
    shipped = extractor_for(real.images, real.labels, real.classes)
    if not shipped.classes:
        raise SparringError(
            f"nobody here knows classes: {type(system).__name__} does not classify, and no classifier that is shipped "
            f"recognizes the images of '{real.name}'"
        )

    def judge(images: Tensor) -> Tensor:
        logits = shipped.features(to_uint8(images))[1]
        assert logits is not None
        return logits.log_softmax(1)

    return judge, shipped.classes
