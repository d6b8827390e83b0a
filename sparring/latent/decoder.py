"""What every tool asks of a system: codes as they are in samples, and the images of codes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sparring.errors import SparringError
from sparring.system import System
from sparring.typed import typed


@dataclass(frozen=True)
class LatentDecoder:
    """A system that paints codes, told which classes to paint where it must be told.

    labels  one class for every image, a sequence that is repeated, or None: each class in turn, as in samples
    """

    system: System
    labels: int | Sequence[int] | Tensor | None = None

    @property
    def told(self) -> bool:
        """Whether the class is told beside the code, so that a code is a style without a class."""
        return "labels" in inspect.signature(self.system.decode).parameters

    def codes(self, n: int, *, seed: int = 0, truncation: float | None = None) -> Tensor:
        """(n, d) codes of n samples on the CPU: `decode` of them gives what `sample` gives for the same n and seed."""
        given = _understood(self.system.sample_latents, {"labels": self.labels, "truncation": truncation})
        if truncation is not None and "truncation" not in given:
            raise SparringError(f"--truncation: codes of {type(self.system).__name__} have no truncation")
        return self.system.sample_latents(n, seed=seed, **given).cpu()

    def paint(self, codes: Tensor, *, truncation: float | None = None) -> Tensor:
        """(n, C, H, W) images in [-1, 1] of codes (n, d), which were drawn with this truncation.

        Gradients reach codes that ask for them.
        """
        asked = {"labels": self.labels, "truncation": truncation}
        return self.system.decode(codes, **_understood(self.system.decode, asked))

    def rows(self, codes: Tensor) -> Tensor:
        """(rows * columns, C, H, W) images of codes (rows, columns, d), row by row; a row is of one class.

        Without labels, rows are of each class in turn.
        """
        rows, columns = codes.shape[:2]
        if not self.told:
            return self.paint(codes.flatten(0, 1))
        labels = self.system.expand_labels(rows, self.labels).repeat_interleave(columns)
        return self.system.decode(codes.flatten(0, 1), labels=labels)


def _understood(ability: Callable, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked for and this ability of the system knows."""
    known = inspect.signature(ability).parameters
    return {name: value for name, value in asked.items() if value is not None and name in known}


@typed
def latent_decoder(system: System, labels: int | Sequence[int] | Tensor | None = None) -> LatentDecoder:
    """The system as the latent tools use it. Raises SparringError where it cannot paint codes, or takes no labels."""
    kind = type(system).__name__
    if not system.supports("sample_latents") or not system.supports("decode"):
        missing = "samples have no codes" if system.supports("sample") else "it cannot sample"
        raise SparringError(f"{kind} has no latent tools: {missing}")
    if labels is not None:
        takes = [inspect.signature(one).parameters for one in (system.decode, system.sample_latents)]
        if not any("labels" in one for one in takes):
            raise SparringError(f"--labels: codes of {kind} are painted without labels")
        system.expand_labels(1, labels)
    return LatentDecoder(system, labels)
