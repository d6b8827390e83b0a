"""The verbs that train."""

import inspect
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from sparring.cli.common import Channels, DataPlace, HeldOut, LabelsFrom, RecipeName, Rounds, RunPath, Threads
from sparring.cli.parser import read
from sparring.cli.recipes import recipes
from sparring.errors import InterruptedRun, SparringError
from sparring.recipes import RECIPES
from sparring.recipes.recipe import arguments, info, load_recipe, resolve_arguments

if TYPE_CHECKING:
    from sparring.run import Run


def training_options(
    *,
    data: Annotated[
        str,
        Field(description="digits, mnist, fashion-mnist, cifar10, celeba, nci, a folder or zip of images, or SMILES"),
    ],
    rounds: Rounds = None,
    out: Annotated[Path, Field(description="where run directories are made")] = Path("runs"),
    seed: Annotated[int, Field(ge=0, description="all randomness comes from it")] = 0,
    precision: Annotated[
        Literal["auto", "fp32", "bf16"],
        Field(description="auto: bf16 where the hardware multiplies it natively and the recipe allows it"),
    ] = "auto",
    grad_accum: Annotated[
        int, Field(ge=1, description="pieces each batch is cut into, to save memory; batch norm and dropout see pieces")
    ] = 1,
    size: Annotated[
        int | None, Field(ge=1, description="side in pixels (default: what the recipe was made for)")
    ] = None,
    channels: Channels = None,
    classes: Annotated[str | None, Field(description="keep only these classes: 6 or cat,dog")] = None,
    labels_from: LabelsFrom = None,
    held_out: HeldOut = 0.1,
    data_root: Annotated[Path | None, Field(description="folder with a local copy of a named data set")] = None,
    log_every: Annotated[int, Field(ge=1, description="rounds between log lines")] = 10,
    sample_every: Annotated[
        int | None,
        Field(ge=1, description="rounds between sample grids (default: rounds/40, and 1, 2, 5, 10, 20 ... before)"),
    ] = None,
    eval_every: Annotated[
        int | None, Field(ge=1, description="rounds between FDs (default: rounds/10, and 20, 50, 100 ... before)")
    ] = None,
    save_every: Annotated[int, Field(ge=1, description="rounds between checkpoints")] = 500,
    monitor: Annotated[bool, Field(description="look out for collapse, divergence and other ills")] = True,
    threads: Threads = None,
) -> None:
    """Options of `sparring train` that every recipe has."""


def domain_options(
    *,
    data: Annotated[str | None, Field(description="a folder or zip with two class folders, the domains")] = None,
    data_a: Annotated[str | None, Field(description="or domain a: a name, folder or zip, as for other recipes")] = None,
    data_b: Annotated[str | None, Field(description="and domain b")] = None,
) -> None:
    """Where a recipe for two domains without pairs finds them."""


def train(argv: Sequence[str]) -> None:
    """train a recipe on data:  sparring train cs231n-dcgan --data digits --rounds 2000"""
    name = argv[0] if argv else "--help"
    if name in ("-h", "--help"):
        print("usage: sparring train RECIPE --data NAME|PATH [options]   (sparring train RECIPE --help shows them)\n")
        return recipes([])
    if name.startswith("-"):
        raise SparringError(f"the recipe comes first: sparring train RECIPE {name} ... (recipes: {', '.join(RECIPES)})")
    function = load_recipe(name, RECIPES)
    about = f"{inspect.getdoc(function)}\n\nPaper: {info(function).paper}"
    ours, theirs = arguments(training_options), arguments(function)
    domains = arguments(domain_options) if info(function).domains else []
    ours = [*domains, *(a for a in ours if not domains or a.name != "data")]
    given = read(f"sparring train {name}", about, [*ours, *theirs], argv[1:])
    found: Any = _domains(*(given.pop(a.name, None) for a in domains)) if domains else given["data"]
    options = resolve_arguments(
        training_options, {"data": "", **{a.name: given[a.name] for a in ours if a.name in given}}
    )
    chosen = resolve_arguments(function, {a.name: given[a.name] for a in theirs if a.name in given})

    from sparring.training import train

    del options["data"]
    finish(partial(train, name, found, **options, **chosen), recipe=None if name in RECIPES else name)


def _domains(data: str | None, a: str | None, b: str | None) -> str | dict[str, str]:
    """One source with both domains, or a source of each."""
    if data is not None and a is None and b is None:
        return data
    if data is None and a is not None and b is not None:
        return {"a": a, "b": b}
    said = ", ".join(f for f, v in {"--data": data, "--data-a": a, "--data-b": b}.items() if v is not None)
    raise SparringError(
        f"domains are given by --data-a and --data-b together, or by --data alone (given: {said or 'none'})"
    )


def resume(
    run: RunPath,
    *,
    rounds: Annotated[int | None, Field(ge=1, description="a new end (default: the run's own)")] = None,
    data: DataPlace = None,
    recipe: RecipeName = None,
    threads: Threads = None,
) -> None:
    """go on where a run was stopped:  sparring resume runs/0001-cs231n-dcgan-digits"""
    from sparring.training import resume

    finish(partial(resume, run, rounds=rounds, data=data, recipe=recipe, threads=threads), recipe, data)


def finish(training: Callable[[], "Run"], recipe: str | None = None, data: str | None = None) -> None:
    """Train until the end or a signal; either way there is a report."""
    from sparring.run import Run

    try:
        run = training()
    except InterruptedRun as stopped:
        if stopped.run is not None:
            with suppress(SparringError, OSError):  # what counts is saved, and the terminal may be gone
                show(Run.open(stopped.run), recipe, data)
        raise
    show(run, recipe, data)


def show(run: "Run", recipe: str | None = None, data: str | None = None) -> None:
    """Write the report and say where it is; once, when several processes have trained together."""
    from sparring.distributed import process_group
    from sparring.reporting import report

    if process_group().is_main_process:
        print(f"run     {run.path}\nreport  {report(run, data=data, recipe=recipe)}")
