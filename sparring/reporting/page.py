"""What the sections of the report are functions of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from markupsafe import Markup

from sparring.data.dataset import Dataset
from sparring.errors import SparringError
from sparring.evaluation.schema import require_evaluation
from sparring.run import Run
from sparring.seeds import make_generator
from sparring.system import System


class Section(NamedTuple):
    """A part of the page below its own heading."""

    title: str
    content: Markup


@dataclass(frozen=True)
class Page:
    """The files of a run, its system and its images.

    data     None if they are not available
    missing  the reason; "" otherwise
    """

    run: Run
    system: System
    data: Dataset | None
    missing: str

    @classmethod
    def of(
        cls,
        run: Run,
        data: Dataset | str | Path | Mapping[str, str | Path] | None,
        recipe: str | None,
        device: str = "auto",
    ) -> Page:
        """Open the system and the data. Raises SparringError for weights or given data that do not fit the run."""
        missing, images = "", None
        try:
            images = run.data(data)
        except SparringError as error:
            if data is not None:
                raise
            missing = str(error)
        return cls(run, run.system(recipe=recipe, device=device), images, missing)

    def images_for(self, capability: str) -> Dataset | None:
        """The images, if there are any and the system has the capability."""
        return self.data if self.data is not None and self.system.supports(capability) else None

    def sample_rows(self, count: int) -> Dataset:
        """`count` random held-out images, or training images if none are held out; always the same, random order."""
        assert self.data is not None
        part = self.data.held_out or self.data
        return part.rows(torch.randperm(len(part), generator=make_generator("report", "some"))[:count])

    @property
    def part(self) -> str:
        """What the shown images are, in words."""
        return "real" if self.data is None else "held-out" if self.data.held_out else "training"

    @cached_property
    def _thinned(self) -> tuple[list[dict[str, Any]], int]:
        return self.run.thinned("log")

    @property
    def log(self) -> list[dict[str, Any]]:
        """Lines of the log, thinned if there are many."""
        return self._thinned[0]

    @property
    def log_step(self) -> int:
        """The log was thinned to one line in so many."""
        return self._thinned[1]

    @cached_property
    def _metrics(self) -> list[dict[str, Any]]:
        return self.run.read("metrics")

    def distances(self, metric: str) -> list[dict[str, Any]]:
        """The measurements of a distance to real images during training, oldest first."""
        return [line for line in self._metrics if line["metric"] == metric and "floor" in line]

    @cached_property
    def errors(self) -> list[dict[str, Any]]:
        """The classification or clustering errors during training, oldest first."""
        return [line for line in self._metrics if "floor" not in line]

    @cached_property
    def _evaluation(self) -> tuple[dict[str, Any] | None, str]:
        try:
            evaluation = self.run.evaluation()
            if evaluation is not None:
                require_evaluation(evaluation)
        except SparringError as error:
            return None, str(error)
        return evaluation, ""

    @property
    def evaluation(self) -> dict[str, Any] | None:
        """The evaluation of the run; None if there is none or it cannot be read."""
        return self._evaluation[0]

    @property
    def evaluation_error(self) -> str:
        """The reason if an evaluation exists but cannot be read; "" otherwise."""
        return self._evaluation[1]
