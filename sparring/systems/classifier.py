"""A supervised classifier: the simplest system, with one player and one move."""

from __future__ import annotations

from collections.abc import Generator

import torch.nn.functional as F
from torch import Tensor, nn

from sparring.system import Move, NextBatch, System, next_labeled


class Classifier(System):
    """A network trained with the cross-entropy of its class predictions.

    C  (B, C, H, W) -> (B, classes) logits
    """

    players = {"classifier": ("C",)}
    ema_networks = ("C",)

    def __init__(self, C: nn.Module) -> None:
        super().__init__()
        self.C = C

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        """One move: the cross-entropy of a labeled batch."""
        x, y = next_labeled(feed)
        logits = self.C(x)
        correct = (logits.argmax(1) == y).float().mean()
        yield Move("classifier", F.cross_entropy(logits, y), accuracy=correct)

    def classify(self, images: Tensor) -> Tensor:
        """(n, classes) log-probabilities of (n, C, H, W) images in [-1, 1]."""
        return self.run_batched(self.C, images).log_softmax(1)
