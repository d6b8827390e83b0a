"""The interface of the latent tools to a system: codes of samples, and images of codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sparring.errors import SparringError
from sparring.system import System
from sparring.typed import typed


@dataclass(frozen=True)
class LatentDecoder:
    """Decodes latent codes with a system, with class labels if it is class-conditional.

    labels  one class for every image, a sequence that is repeated, or None: each class in turn, as in samples
    """

    system: System
    labels: int | Sequence[int] | Tensor | None = None

    @property
    def is_conditional(self) -> bool:
        """Whether `decode` takes class labels, so that a code represents only the style."""
        return self.system.accepts("decode", "labels")

    def codes(self, n: int, *, seed: int = 0, truncation: float | None = None) -> Tensor:
        """(n, d) codes of n samples on the CPU: decoding them gives the images of `sample` for the same n and seed."""
        kwargs = self._options("sample_latents", truncation)
        if truncation is not None and "truncation" not in kwargs:
            raise SparringError(f"{type(self.system).__name__} does not support truncation: drop --truncation")
        return self.system.sample_latents(n, seed=seed, **kwargs).cpu()

    def decode(self, codes: Tensor, *, truncation: float | None = None) -> Tensor:
        """(n, C, H, W) images in [-1, 1] of codes (n, d), drawn with this truncation.

        Differentiable with respect to the codes.
        """
        return self.system.decode(codes, **self._options("decode", truncation))

    def _options(self, capability: str, truncation: float | None) -> dict[str, Any]:
        """Labels and truncation, if they are given and the capability takes them."""
        kwargs = {"labels": self.labels, "truncation": truncation}
        return {name: x for name, x in kwargs.items() if x is not None and self.system.accepts(capability, name)}

    def rows(self, codes: Tensor) -> Tensor:
        """(rows * columns, C, H, W) images of codes (rows, columns, d), row by row; one class per row.

        Without labels, rows cycle through the classes.
        """
        rows, columns = codes.shape[:2]
        if not self.is_conditional:
            return self.decode(codes.flatten(0, 1))
        labels = self.system.expand_labels(rows, self.labels).repeat_interleave(columns)
        return self.system.decode(codes.flatten(0, 1), labels=labels)


@typed
def latent_decoder(system: System, labels: int | Sequence[int] | Tensor | None = None) -> LatentDecoder:
    """The decoder of a system. Raises SparringError if it cannot decode codes or does not take labels."""
    kind = type(system).__name__
    if not system.supports("sample_latents") or not system.supports("decode"):
        missing = "its samples have no latent codes" if system.supports("sample") else "it cannot sample"
        raise SparringError(f"{kind} does not support latent-space tools: {missing}")
    if labels is not None:
        if not system.accepts("decode", "labels") and not system.accepts("sample_latents", "labels"):
            raise SparringError(f"{kind} is not class-conditional: drop --labels")
        system.expand_labels(1, labels)
    return LatentDecoder(system, labels)
