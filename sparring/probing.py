"""Linear probing of a run: what its learned features are worth, beside random ones and pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from sparring.data.dataset import Dataset
from sparring.errors import SparringError
from sparring.latent.features import Features, available_features, pixels
from sparring.latent.probe import ProbeResult, ProbeSplit, n_fits, n_networks, probe, supervised, svm
from sparring.recipes.recipe import build_recipe
from sparring.run import Run, resolved_recipe
from sparring.seeds import derive_seed, isolated
from sparring.system import System


class RunProbe:
    """Linear probes of the features of a run on labeled images. Raises SparringError if there are none to probe.

    split             the labeled images
    with_supervised   also train the discriminator's network from new weights on the same labels
    seed              of the random weights
    recipe, device    as in `Run.system`
    """

    def __init__(
        self,
        run: Run,
        split: ProbeSplit,
        *,
        with_supervised: bool = False,
        seed: int = 0,
        recipe: str | None = None,
        device: str | torch.device = "auto",
    ) -> None:
        svm()  # refuses a machine without scikit-learn before anything is computed
        self.run, self.split, self.with_supervised, self.recipe = run, split, with_supervised, recipe
        system = run.system(recipe=recipe, device=device)
        self.device = system.device
        unlabeled = split.validation.images  # of all classes: folders are ordered by class
        random = available_features(self._untrained(seed), unlabeled)
        self.features: dict[str, Features] = {}
        for name, learned in available_features(system, unlabeled).items():
            self.features |= {name: learned, f"{name}, random": random[name]}
        self.features["pixels"] = pixels
        if with_supervised and "discriminator" not in self.features:
            raise SparringError(f"{type(system).__name__} has no convolutional discriminator: drop --supervised")

    @property
    def steps(self) -> int:
        """How often `results` calls its progress callback."""
        return len(self.features) * n_fits(self.split) + self.with_supervised * n_networks(self.split)

    def results(self, on_progress: Callable[[str], object] = lambda name: None) -> list[ProbeResult]:
        """The accuracy of each kind of features; `on_progress` is called with its name."""
        results = [
            probe(name, extract, self.split, on_progress=lambda name=name: on_progress(name))  # type: ignore[misc]
            for name, extract in self.features.items()
        ]
        if self.with_supervised:
            results.append(
                supervised(self._untrained, self.split, on_progress=lambda: on_progress("supervised network"))
            )
        return results

    def _untrained(self, seed: int) -> System:
        """The run's system with new random weights."""
        function, resolved = resolved_recipe(self.run.config, self.recipe)
        with isolated(derive_seed("probe", "random weights", seed)):
            untrained = build_recipe(function, self.run.spec, resolved)
        return untrained.system.to(self.device).eval()


def as_dict(results: list[ProbeResult], split: ProbeSplit, data: Dataset) -> dict[str, Any]:
    """The results and the protocol as JSON values."""
    config = {"data": data.name, "labels": len(split.asked[0]), "draws": len(split.asked), "n": len(split.exam)}
    keys = ("name", "numbers", "mean", "spread", "right", "neighbor", "chosen", "edge", "validation")
    return {**config, "features": [{key: getattr(row, key) for key in keys} for row in results]}
