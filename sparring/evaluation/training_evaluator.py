"""Distances to held-out images during training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sparring.data.dataset import Dataset
from sparring.errors import SparringError
from sparring.evaluation.measurement import distance_name
from sparring.evaluation.metrics import METRICS
from sparring.evaluation.splits import choose_extractor, held_out_halves, pixels_of, reference_split
from sparring.metrics.extractors import Extractor, extracting_on
from sparring.seeds import CPU


class TrainingEvaluator:
    """The metrics of `METRICS` with `plot`, which are distances of features, to each half of the held-out images.

    The first half selects the best checkpoint (by KID, which is unbiased); the second half measures it.

    n       images per measurement: the requested number, limited by the data
    device  of the extractor
    """

    def __init__(
        self, data: Dataset, extractor: Extractor | None = None, n: int = 1000, device: torch.device = CPU
    ) -> None:
        """Compute the features of the held-out images. Raises SparringError if there are none."""
        self.device = device
        with extracting_on(device):
            self.extractor = extractor or choose_extractor(data)
        self._data = data
        if not data.held_out:
            raise SparringError(f"data '{data.name}' has no held-out images to compare with")
        first, second = (data.held_out.rows(rows) for rows in held_out_halves(data.held_out))
        self.n = min(n, len(first), len(second), len(data))
        self._metrics = [metric for metric in METRICS.values() if metric.plot]
        self._halves = [self._features(half.images[: self.n]) for half in (first, second)]
        _, others = reference_split(data, "held_out", self.n, self.n)
        self._floor = self._measure(others.images)

    def lines(self, images: Tensor) -> list[dict[str, Any]]:
        """The metrics of images (n, C, S, S), uint8 or floats in [-1, 1], as lines for a log.

        Each line has `metric`, `name` (FD-lenet-mnist@1000), `value` (against the half that selects), `held_out_b`
        (against the other half) and `floor` (n training images in place of the samples). The result is deterministic.
        Raises SparringError if the number of images is not n (FD depends on it), and for a wrong shape or values that
        are not finite.
        """
        values = self._measure(pixels_of(images, self.n, self._data))
        return [
            {
                "metric": metric.name,
                "name": distance_name(metric.name, self.extractor.name, self.n),
                "value": fake[0],
                "held_out_b": fake[1],
                "floor": real[0],
                "n": self.n,
                "extractor": self.extractor.name,
            }
            for metric, fake, real in zip(self._metrics, values, self._floor, strict=True)
        ]

    def _measure(self, images: Tensor) -> list[list[float]]:
        """Each metric, against both halves."""
        fake = self._features(images)
        return [[metric.function(real=half, fake=fake) for half in self._halves] for metric in self._metrics]

    def _features(self, images: Tensor) -> Tensor:
        with extracting_on(self.device):
            return self.extractor.features(images)[0]
