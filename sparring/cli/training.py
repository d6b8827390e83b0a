"""The verbs `train` and `resume`."""

import inspect
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from sparring.cli.common import Channels, DataPlace, HeldOut, LabelsFrom, RecipeName, Rounds, RunPath, Threads
from sparring.cli.parser import Command
from sparring.cli.recipes import recipes
from sparring.errors import InterruptedRun, SparringError
from sparring.recipes import RECIPES
from sparring.recipes.recipe import arguments, info, load_recipe

if TYPE_CHECKING:
    from sparring.run import Run


def training_options(
    *,
    data: Annotated[
        str,
        Field(description="digits, mnist, fashion-mnist, cifar10, celeba, nci, a folder or zip of images, or SMILES"),
    ],
    rounds: Rounds = None,
    out: Annotated[Path, Field(description="folder for run directories")] = Path("runs"),
    seed: Annotated[int, Field(ge=0, description="seed of all random numbers")] = 0,
    precision: Annotated[
        Literal["auto", "fp32", "bf16"],
        Field(description="auto: bf16 if the hardware supports it natively and the recipe allows it"),
    ] = "auto",
    grad_accum: Annotated[
        int, Field(ge=1, description="microbatches per batch, to save memory; batch norm and dropout see microbatches")
    ] = 1,
    size: Annotated[int | None, Field(ge=1, description="image side in pixels (default: the recipe's)")] = None,
    channels: Channels = None,
    classes: Annotated[str | None, Field(description="keep only these classes: 6 or cat,dog")] = None,
    labels_from: LabelsFrom = None,
    held_out: HeldOut = 0.1,
    data_root: Annotated[Path | None, Field(description="folder with a local copy of a built-in data set")] = None,
    log_every: Annotated[int, Field(ge=1, description="rounds between log lines")] = 10,
    sample_every: Annotated[
        int | None,
        Field(ge=1, description="rounds between sample grids (default: rounds/40, and 1, 2, 5, 10, 20 ... before)"),
    ] = None,
    eval_every: Annotated[
        int | None,
        Field(ge=1, description="rounds between FD evaluations (default: rounds/10, and 20, 50, 100 ... before)"),
    ] = None,
    save_every: Annotated[int, Field(ge=1, description="rounds between checkpoints")] = 500,
    monitor: Annotated[
        bool, Field(description="report collapse, divergence and other problems during training")
    ] = True,
    threads: Threads = None,
) -> None:
    """The options of `sparring train` that do not depend on the recipe."""


def domain_options(
    *,
    data: Annotated[str | None, Field(description="a folder or zip with two class folders, the domains")] = None,
    data_a: Annotated[str | None, Field(description="or domain a: a name, folder or zip, as for other recipes")] = None,
    data_b: Annotated[str | None, Field(description="and domain b")] = None,
) -> None:
    """Data options of a recipe for two unpaired domains."""


def train(recipe: str | None, argv: Sequence[str]) -> None:
    """Train a recipe on data in a new run directory, and write its report."""
    if recipe is None:
        print("usage: sparring train RECIPE --data NAME|PATH [options]   (sparring train RECIPE --help shows them)\n")
        return recipes()
    values = train_command(recipe).parse(argv)
    data = values.pop("data", None)
    if info(load_recipe(recipe, RECIPES)).domains:
        data = _domains(data, values.pop("data_a", None), values.pop("data_b", None))

    from sparring.training import train

    finish(partial(train, recipe, data, **values), recipe=None if recipe in RECIPES else recipe)


def train_command(recipe: str) -> Command:
    """The command line of `sparring train RECIPE`."""
    function = load_recipe(recipe, RECIPES)
    run_options = arguments(training_options)
    if info(function).domains:
        run_options = [*arguments(domain_options), *(a for a in run_options if a.name != "data")]
    return Command(
        f"sparring train {recipe}",
        f"{inspect.getdoc(function)}\n\nPaper: {info(function).paper}",
        flags={"options of the run": run_options, f"options of {recipe}": arguments(function)},
        example=f"sparring train {recipe} --data {'horse2zebra/' if info(function).domains else 'my-pictures/'}",
    )


def _domains(data: str | None, a: str | None, b: str | None) -> str | dict[str, str]:
    """One source with both domains, or one source per domain."""
    if data is not None and a is None and b is None:
        return data
    if data is None and a is not None and b is not None:
        return {"a": a, "b": b}
    given = ", ".join(f for f, v in {"--data": data, "--data-a": a, "--data-b": b}.items() if v is not None)
    raise SparringError(f"give both --data-a and --data-b, or --data alone (given: {given or 'none'})")


def resume(
    run: RunPath,
    *,
    rounds: Annotated[int | None, Field(ge=1, description="new total number of rounds (default: unchanged)")] = None,
    data: DataPlace = None,
    recipe: RecipeName = None,
    threads: Threads = None,
) -> None:
    """Resume an interrupted run, bit for bit as if it had not been interrupted."""
    from sparring.training import resume

    finish(partial(resume, run, rounds=rounds, data=data, recipe=recipe, threads=threads), recipe, data)


def finish(training: Callable[[], "Run"], recipe: str | None = None, data: str | None = None) -> None:
    """Run a training and write its report, also after an interruption."""
    from sparring.run import Run

    try:
        run = training()
    except InterruptedRun as stopped:
        if stopped.run is not None:
            with suppress(SparringError, OSError):  # the checkpoint is saved; the terminal may be closed
                show(Run.open(stopped.run), recipe, data)
        raise
    show(run, recipe, data)


def show(run: "Run", recipe: str | None = None, data: str | None = None) -> None:
    """Write the report and print its path, in the main process only."""
    from sparring.distributed import process_group
    from sparring.reporting import report

    if process_group().is_main_process:
        print(f"run     {run.path}\nreport  {report(run, data=data, recipe=recipe)}")
