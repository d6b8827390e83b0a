"""The verbs that look at a run: numbers, the report."""

import sys
from collections.abc import Mapping
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from sparring.cli.common import DataPlace, RecipeName, RunOrImages, RunPath, Truncation, sample_kwargs, whole_number
from sparring.errors import SparringError, StorageError

if TYPE_CHECKING:
    from sparring.data.dataset import Dataset
    from sparring.evaluation import Evaluation


def evaluate(
    run: RunOrImages,
    *,
    against: Annotated[
        str | None, Field(description="measure images that are not of a run, against this data: a name or a path")
    ] = None,
    held_out: Annotated[
        Annotated[int | float, BeforeValidator(whole_number), Field(gt=0)] | None,
        Field(description="with --against: images to compare with, a share of the data or a number (default: 0.1)"),
    ] = None,
    data_root: Annotated[
        Path | None, Field(description="with --against: folder with a local copy of a named data set")
    ] = None,
    level: Annotated[
        Literal["quick", "full"],
        Field(description="2,000 images per measurement, or 10,000 (at most what is held out)"),
    ] = "quick",
    n: Annotated[int | None, Field(ge=6, description="images per measurement (default: the level's)")] = None,
    split: Annotated[
        Literal["held_out", "other_half", "test", "train"],
        Field(description="real images to compare with; other_half: of the held-out ones, those that chose nothing"),
    ] = "held_out",
    checkpoint: Annotated[
        Literal["last", "best"],
        Field(description="best: the round with the smallest KID on one half of the held-out images; uses other_half"),
    ] = "last",
    extractor: Annotated[
        str | None,
        Field(description="lenet-mnist-2, random-conv64, pixels-pca64, self64 ... (default: chosen by content)"),
    ] = None,
    weights: Annotated[
        Path | None, Field(description="weights file of inception, dinov2 or clip, which are never fetched")
    ] = None,
    seed: Annotated[int, Field(ge=0, description="of the samples")] = 0,
    truncation: Truncation = None,
    parzen: Annotated[
        bool, Field(description="the log-likelihood of Goodfellow et al. 2014 too: history, no claim of quality")
    ] = False,
    pairs_a: Annotated[
        Path | None, Field(description="for translations: images of the first domain whose partners are known ...")
    ] = None,
    pairs_b: Annotated[Path | None, Field(description="... and these partners, under the same file names")] = None,
    data: DataPlace = None,
    recipe: RecipeName = None,
    json: Annotated[bool, Field(description="print eval.json instead of tables")] = False,
) -> None:
    """measure a run or images, each number beside its real-vs-real floor:  sparring evaluate RUN --level full"""
    from sparring.data.loading import load
    from sparring.evaluation import choose_extractor, evaluate
    from sparring.image_grid import png
    from sparring.run import Run

    if against is not None:
        about_runs: dict[str, Any] = {
            "truncation": truncation,
            "recipe": recipe,
            "pairs-a": pairs_a,
            "pairs-b": pairs_b,
            "data": data,
        }
        about_runs["checkpoint"] = None if checkpoint == "last" else checkpoint
        for flag in [flag for flag, asked in about_runs.items() if asked is not None]:
            raise SparringError(f"--{flag} is about runs, and --against measures images")
        real = load(against, held_out=0.1 if held_out is None else held_out, root=data_root)
        for note in real.notes:
            print(f"sparring: {note}", file=sys.stderr)
        chosen = choose_extractor(real, extractor, weights)
        result = evaluate(run, real, level=level, n=n, split=split, seed=seed, extractor=chosen, parzen=parzen)
        _show(result, result.as_dict() if json else None)
        return
    if held_out is not None:
        raise SparringError("--held-out is for --against; of a run the images are held out that training has not seen")
    if data_root is not None:
        raise SparringError("--data-root is for --against; of a run: --data says where its data are now")
    try:
        opened = Run.open(run)
    except SparringError as error:
        if run.exists() and not (run / "recipe.json").exists():
            raise SparringError(f"{error}; to measure images: sparring evaluate {run} --against DATA") from None
        raise
    unkept: StorageError | None = None
    try:
        opened.require_writable()
    except StorageError as error:
        unkept = error
        print(f"sparring: {error}: the numbers will be printed and not kept", file=sys.stderr)
    system, images = opened.system(recipe=recipe, checkpoint=checkpoint), opened.data(data)
    result = evaluate(
        system,
        images,
        level=level,
        n=n,
        split="other_half" if checkpoint == "best" and split == "held_out" else split,
        seed=seed,
        extractor=choose_extractor(images, extractor, weights),
        averaged=bool(system.ema_networks) and opened.config["arguments"].get("ema_decay") != 0,
        sampling=sample_kwargs(system, {"truncation": truncation}),
        parzen=parzen,
        pairs=_pairs(pairs_a, pairs_b, opened.config["spec"]),
    )
    plain = {**result.as_dict(), "checkpoint": checkpoint}
    try:
        opened.write_evaluation(plain, {name: png(picture) for name, picture in result.pictures.items()})
    except StorageError as error:
        unkept = error
    _show(result, plain if json else None)
    if unkept is not None:
        raise unkept


def _show(result: "Evaluation", plain: Mapping[str, Any] | None) -> None:
    """The numbers as tables and sentences; or `plain` as JSON."""
    from rich.console import Console

    if plain is not None:
        print(dumps(plain, indent=1))
        return
    if result.measures:
        Console().print(result.table())
    if result.classes:
        Console().print(result.class_table())
    for number in result.others:
        print(number)
    for note in result.notes:
        print(f"\n{note}")
    for found in result.diagnoses:
        print(f"\n{found}")


def _pairs(a: Path | None, b: Path | None, spec: Mapping[str, Any]) -> "tuple[Dataset, Dataset] | None":
    """The images of the two domains, row by row the same thing; what has no partner is said on stderr."""
    from sparring.data.loading import load_pairs

    if a is None and b is None:
        return None
    if a is None or b is None:
        raise SparringError("pairs are given by --pairs-a and --pairs-b together")
    first, second = load_pairs(a, b, size=spec["size"], channels=spec["channels"])
    for note in first.notes:
        print(f"sparring: {note}", file=sys.stderr)
    return first, second


def report(run: RunPath, *, data: DataPlace = None, recipe: RecipeName = None) -> None:
    """write report.html, one self-contained page:  sparring report RUN"""
    from sparring.reporting import report

    print(report(run, data=data, recipe=recipe))
