"""Evaluate a run, and store the results in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from sparring.data.dataset import Dataset
from sparring.evaluation import Evaluation, choose_extractor, evaluate
from sparring.image_grid import png
from sparring.metrics.extractors import extracting_on
from sparring.run import Run
from sparring.sampling import sampling_options


def evaluate_run(
    run: Run,
    *,
    data: Dataset | str | None = None,
    recipe: str | None = None,
    device: str | torch.device = "auto",
    checkpoint: str = "last",
    split: str = "held_out",
    extractor: str | None = None,
    weights: Path | None = None,
    truncation: float | None = None,
    **options: Any,
) -> Evaluation:
    """`sparring.evaluate` of a run's system on its data.

    data                        as in `Run.data`
    recipe, checkpoint, device  as in `Run.system`. Evaluations of the best checkpoint use the half of the held-out
                                images that did not select it
    extractor, weights          as in `choose_extractor`
    truncation                  of the samples
    options                     other arguments of `sparring.evaluate`: level, n, seed, parzen, pairs ...
    """
    system = run.system(recipe=recipe, checkpoint=checkpoint, device=device)
    dataset = run.data(data)
    with extracting_on(system.device):
        chosen = choose_extractor(dataset, extractor, weights)
    return evaluate(
        system,
        dataset,
        split="held_out_b" if checkpoint == "best" and split == "held_out" else split,
        extractor=chosen,
        averaged=bool(system.ema_networks) and run.config["arguments"].get("ema_decay") != 0,
        sampling=sampling_options(system, truncation=truncation),
        **options,
    )


def store_evaluation(run: Run, evaluation: Evaluation, checkpoint: str) -> None:
    """Write eval.json and its images into the run. Raises StorageError if that fails."""
    pictures = {name: png(picture) for name, picture in evaluation.pictures.items()}
    run.write_evaluation(as_record(evaluation, checkpoint), pictures)


def as_record(evaluation: Evaluation, checkpoint: str) -> dict[str, Any]:
    """The content of eval.json."""
    return {**evaluation.as_dict(), "checkpoint": checkpoint}
