"""The verbs `train` and `resume`."""

import inspect
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sparring.cli.common import DataPlace, RecipeName, RunPath
from sparring.cli.parser import Command
from sparring.cli.recipes import recipes
from sparring.errors import InterruptedRun, SparringError
from sparring.options import Threads, TrainOptions
from sparring.recipes import RECIPES
from sparring.recipes.recipe import arguments, info, load_recipe

if TYPE_CHECKING:
    from sparring.run import Run


@dataclass(frozen=True, kw_only=True)
class OneSource:
    """Data options of most recipes."""

    data: Annotated[
        str,
        Field(description="digits, pixel-faces, mnist, cifar10, celeba ..., a folder or zip of images, or SMILES"),
    ]


@dataclass(frozen=True, kw_only=True)
class TwoDomains:
    """Data options of a recipe for two domains: one source with both, or one per domain."""

    data: Annotated[
        str | None, Field(description="a folder or zip with two class folders, the domains; or as --pairs says")
    ] = None
    data_a: Annotated[str | None, Field(description="or domain a: a name, folder or zip, as for other recipes")] = None
    data_b: Annotated[str | None, Field(description="and domain b")] = None


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

    recipe_to_open = None if recipe in RECIPES else recipe
    finish(partial(train, recipe, data, **values), recipe_to_open, device=values.get("device"))


def train_command(recipe: str) -> Command:
    """The command line of `sparring train RECIPE`."""
    function = load_recipe(recipe, RECIPES)
    two = info(function).domains
    others = [option for option in arguments(TrainOptions) if two or option.name != "pairs"]
    run_options = [*arguments(TwoDomains if two else OneSource), *others]
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
    device: Annotated[
        str | None,
        Field(description="where to compute: auto, cpu, cuda, cuda:1 ... or mps (default: as before, if it exists)"),
    ] = None,
    threads: Threads = None,
) -> None:
    """Resume an interrupted run, bit for bit as if it had not been interrupted."""
    from sparring.training import resume

    training = partial(resume, run, rounds=rounds, data=data, recipe=recipe, device=device, threads=threads)
    finish(training, recipe, data, device)


def finish(
    training: Callable[[], "Run"], recipe: str | None = None, data: str | None = None, device: str | None = None
) -> None:
    """Run a training and write its report, also after an interruption."""
    from sparring.run import Run

    try:
        run = training()
    except InterruptedRun as stopped:
        if stopped.run is not None:
            with suppress(SparringError, OSError):  # the checkpoint is saved; the terminal may be closed
                show(Run.open(stopped.run), recipe, data, device)
        raise
    show(run, recipe, data, device)


def show(run: "Run", recipe: str | None, data: str | None, device: str | None) -> None:
    """Write the report and print its path, in the main process only."""
    from sparring.distributed import process_group
    from sparring.reporting import report

    if process_group().is_main_process:
        print(f"run     {run.path}\nreport  {report(run, data=data, recipe=recipe, device=device or 'auto')}")
