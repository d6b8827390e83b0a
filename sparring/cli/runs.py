"""The verbs that look at a run: new images, numbers, the report."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from sparring.cli.common import RecipeName, RunPath, Truncation, class_labels, require_png, sampling, write
from sparring.errors import SparringError


def sample(
    run: RunPath,
    *,
    n: Annotated[int | None, Field(ge=1, le=4096, description="how many images (default: 8 rows)")] = None,
    seed: Annotated[int, Field(ge=0, description="the same seed gives the same images")] = 0,
    labels: Annotated[
        str | None, Field(description="classes to make, by name or number: 3 or 0,1,2 (default: each in turn)")
    ] = None,
    truncation: Truncation = None,
    out: Annotated[Path, Field(description="the picture, a PNG")] = Path("samples.png"),
    recipe: RecipeName = None,
) -> None:
    """a picture of new images:  sparring sample RUN -n 64 --seed 7 --out grid.png"""
    from sparring.pictures import grid, png
    from sparring.run import Run

    require_png(out)
    opened = Run.open(run)
    system = opened.system(recipe=recipe)
    if not system.can("sample"):
        raise SparringError(f"{type(system).__name__} cannot sample")
    asked = sampling(system, {"labels": labels, "truncation": truncation})
    columns = system.columns
    if labels is not None:
        asked["labels"] = kinds = class_labels(labels, opened.facts["spec"]["classes"])
        columns = len(kinds) if len(kinds) > 1 else columns
    images = system.sample(n or 8 * columns, seed=seed, **asked)
    write(out, png(grid(images, columns=columns if n is None or labels is not None else None)))
    print(out)


def evaluate(
    run: RunPath,
    *,
    n: Annotated[int, Field(ge=20, description="images per measurement, at most what is held out")] = 10_000,
    split: Annotated[
        Literal["held_out", "test", "train"], Field(description="real images to compare with")
    ] = "held_out",
    seed: Annotated[int, Field(ge=0, description="of the samples")] = 0,
    truncation: Truncation = None,
    parzen: Annotated[
        bool, Field(description="the log-likelihood of Goodfellow et al. 2014 too: history, no claim of quality")
    ] = False,
    recipe: RecipeName = None,
) -> None:
    """measure a run, each number beside its real-vs-real floor:  sparring evaluate RUN --n 2000"""
    from rich.console import Console

    from sparring.evaluation import evaluate
    from sparring.run import Run

    opened = Run.open(run)
    system = opened.system(recipe=recipe)
    result = evaluate(
        system,
        opened.data(),
        n=n,
        split=split,
        seed=seed,
        averaged=bool(system.averaged),
        sampling=sampling(system, {"truncation": truncation}),
        parzen=parzen,
    )
    opened.write_evaluation(result.as_dict())
    if result.measures:
        Console().print(result.table())
    if result.classes:
        Console().print(result.class_table())
    for number in (*result.rates, *(finding for section in result.findings.values() for finding in section)):
        print(number)


def report(run: RunPath, *, recipe: RecipeName = None) -> None:
    """write report.html, one self-contained page:  sparring report RUN"""
    from sparring.reporting import report

    print(report(run, recipe=recipe))
