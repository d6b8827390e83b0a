"""The verbs `evaluate` and `report`."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from sparring.cli.common import DataPlace, RecipeName, RunOrImages, RunPath, Truncation
from sparring.errors import SparringError, StorageError
from sparring.options import Device, whole_number

if TYPE_CHECKING:
    from sparring.data.dataset import Dataset, Spec
    from sparring.evaluation import Evaluation


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """Options to evaluate images instead of a run."""

    against: Annotated[
        str | None,
        Field(
            description="evaluate a folder, zip or array of images instead of a run, against this data: a name or path"
        ),
    ] = None
    held_out: Annotated[
        Annotated[int | float, BeforeValidator(whole_number), Field(gt=0)] | None,
        Field(description="with --against: images to compare with, a fraction of the data or a number (default: 0.1)"),
    ] = None
    data_root: Annotated[
        Path | None, Field(description="with --against: folder with a local copy of a built-in data set")
    ] = None


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options to evaluate a run."""

    checkpoint: Annotated[
        Literal["last", "best"],
        Field(description="best: the round with the smallest KID on one half of the held-out images; uses held_out_b"),
    ] = "last"
    truncation: Truncation = None
    pairs_a: Annotated[
        Path | None, Field(description="for translations: images of the first domain that have known partners")
    ] = None
    pairs_b: Annotated[Path | None, Field(description="the partners of --pairs-a, under the same file names")] = None
    data: DataPlace = None
    recipe: RecipeName = None


NO_IMAGES, LAST = ImageOptions(), RunOptions()


def evaluate(
    run: RunOrImages,
    *,
    level: Annotated[
        Literal["quick", "full"],
        Field(description="quick: 2,000 images per measurement; full: 10,000 (at most the number held out)"),
    ] = "quick",
    n: Annotated[int | None, Field(ge=6, description="images per measurement (default: by --level)")] = None,
    split: Annotated[
        Literal["held_out", "held_out_b", "test", "train"],
        Field(description="real images to compare with; held_out_b: the held-out half not used for selection"),
    ] = "held_out",
    extractor: Annotated[
        str | None,
        Field(description="feature extractor: lenet-mnist-2, random-conv64, pixels-pca64 ... (default: by the data)"),
    ] = None,
    weights: Annotated[
        Path | None, Field(description="weights file for inception, dinov2 or clip, which are never downloaded")
    ] = None,
    seed: Annotated[int, Field(ge=0, description="seed of the samples")] = 0,
    parzen: Annotated[
        bool,
        Field(description="also the Parzen log-likelihood of Goodfellow et al. 2014, which does not measure quality"),
    ] = False,
    of_run: RunOptions = LAST,
    of_images: ImageOptions = NO_IMAGES,
    device: Device = "auto",
    json: Annotated[bool, Field(description="print eval.json instead of tables")] = False,
) -> None:
    """Evaluate a run, or a set of images: each metric beside its floor, the score of real images."""
    options = {"level": level, "n": n, "split": split, "seed": seed, "parzen": parzen}
    if of_images.against is None:
        _evaluate_run(run, of_run, of_images, {**options, "extractor": extractor, "weights": weights}, device, json)
    else:
        _evaluate_images(run, of_run, of_images, options, extractor, weights, device, json)


def _evaluate_images(
    images: Path,
    of_run: RunOptions,
    of_images: ImageOptions,
    options: dict[str, Any],
    extractor: str | None,
    weights: Path | None,
    device: str,
    json: bool,
) -> None:
    from sparring.data.loading import load
    from sparring.device import resolve_device
    from sparring.evaluation import choose_extractor, evaluate
    from sparring.metrics.extractors import extracting_on

    assert of_images.against is not None
    for field in fields(RunOptions):
        if getattr(of_run, field.name) != field.default:
            flag = field.name.replace("_", "-")
            raise SparringError(f"--{flag} applies to runs only: drop it, or drop --against")
    held_out = 0.1 if of_images.held_out is None else of_images.held_out
    with extracting_on(resolve_device(device)):
        real = load(of_images.against, held_out=held_out, root=of_images.data_root)
        for note in real.notes:
            print(f"sparring: {note}", file=sys.stderr)
        result = evaluate(images, real, extractor=choose_extractor(real, extractor, weights), **options)
    _show(result, result.as_dict() if json else None)


def _evaluate_run(
    run: Path, of_run: RunOptions, of_images: ImageOptions, options: dict[str, Any], device: str, json: bool
) -> None:
    from sparring.run import Run
    from sparring.run_evaluation import as_record, evaluate_run, store_evaluation

    if of_images.held_out is not None:
        raise SparringError(
            "--held-out requires --against: the held-out images of a run were chosen when it was trained"
        )
    if of_images.data_root is not None:
        raise SparringError("--data-root requires --against; for a run give --data, the place of its data")
    try:
        opened = Run.open(run)
    except SparringError as error:
        if run.exists() and not (run / "recipe.json").exists():
            raise SparringError(f"{error}; to evaluate images: sparring evaluate {run} --against DATA") from None
        raise
    write_error: StorageError | None = None
    try:
        opened.require_writable()
    except StorageError as error:
        write_error = error
        print(f"sparring: {error}: results are printed and not stored", file=sys.stderr)
    result = evaluate_run(
        opened,
        data=of_run.data,
        recipe=of_run.recipe,
        device=device,
        checkpoint=of_run.checkpoint,
        truncation=of_run.truncation,
        pairs=_pairs(of_run.pairs_a, of_run.pairs_b, opened.spec),
        **options,
    )
    try:
        store_evaluation(opened, result, of_run.checkpoint)
    except StorageError as error:
        write_error = error
    _show(result, as_record(result, of_run.checkpoint) if json else None)
    if write_error is not None:
        raise write_error


def _show(result: "Evaluation", record: Mapping[str, Any] | None) -> None:
    """Print tables, notes and diagnoses; or `record` as JSON if it is given."""
    from rich.console import Console

    if record is not None:
        print(dumps(record, indent=1))
        return
    if result.panel:
        Console().print(result.table())
    if result.classes:
        Console().print(result.class_table())
    for measurement in result.others:
        print(measurement)
    for note in result.notes:
        print(f"\n{note}")
    for diagnosis in result.diagnoses:
        print(f"\n{diagnosis}")


def _pairs(a: Path | None, b: Path | None, spec: "Spec") -> "tuple[Dataset, Dataset] | None":
    """The images of the two domains, row by row partners; reports images without a partner on stderr."""
    from sparring.data.loading import load_pairs

    if a is None and b is None:
        return None
    if a is None or b is None:
        raise SparringError("give both --pairs-a and --pairs-b")
    first, second = load_pairs(a, b, size=spec.size, channels=spec.channels)
    for note in first.notes:
        print(f"sparring: {note}", file=sys.stderr)
    return first, second


def report(run: RunPath, *, data: DataPlace = None, recipe: RecipeName = None, device: Device = "auto") -> None:
    """Write report.html, one self-contained page, into the run."""
    from sparring.reporting import report

    print(report(run, data=data, recipe=recipe, device=device))
