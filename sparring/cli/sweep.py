"""The verb `sweep`: hyperparameter search."""

import inspect
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from json import dumps
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from sparring.cli.parser import Command
from sparring.cli.training import OneSource
from sparring.errors import SparringError, is_number
from sparring.options import TrainOptions
from sparring.recipes import RECIPES
from sparring.recipes.recipe import arguments, info, load_recipe

TRAIN_OPTIONS = (
    *("data", "seed", "device", "precision", "grad_accum", "size", "channels", "classes", "labels_from", "held_out"),
    *("data_root", "save_every"),
)
"""Options of `sparring train` that a sweep passes on."""


def sweep_options(
    *,
    space: Annotated[
        str, Field(description="search space: 'generator_lr=1e-5..1e-3:log, latent_dim=32|64|128', or a file with it")
    ],
    rounds: Annotated[int, Field(ge=4, description="rounds of each training")],
    trials: Annotated[int, Field(ge=1, description="total number of trainings, over all workers")] = 20,
    journal: Annotated[
        Path, Field(description="the file that workers share; runs are stored in JOURNAL.runs beside it")
    ] = Path("sweep.journal"),
    objective: Annotated[
        Literal["FD", "KID"], Field(description="the metric to minimize, against held-out images")
    ] = "FD",
    n: Annotated[int, Field(ge=20, description="images per measurement, at most the number held out")] = 2000,
    prune: Annotated[
        bool, Field(description="stop trials that are worse than the median after 1/4 or 1/2 of the rounds")
    ] = True,
    slurm: Annotated[int, Field(ge=0, description="number of workers to submit to Slurm; 0: run in this process")] = 0,
    slurm_options: Annotated[
        str, Field(description="scheduler options with submitit's names: timeout_min=600,slurm_partition=gpu")
    ] = "",
    json: Annotated[bool, Field(description="print the trials as JSON")] = False,
) -> None:
    """The options of `sparring sweep` that do not depend on the recipe."""


def sweep(recipe: str | None, argv: Sequence[str]) -> None:
    """Search for hyperparameters of a recipe; several workers share one journal file."""
    if recipe is None:
        print(
            "usage: sparring sweep RECIPE --data NAME|PATH --rounds N --space SPACE [options]\n\n"
            "  sparring sweep r1gan --data mnist --space lr=1e-5..1e-3:log,width=16|32 --rounds 2000\n\n"
            "sparring sweep RECIPE --help shows the options. Start the same command once per processor, on all\n"
            "machines that share the journal file: the workers share the trials, and a stopped worker can be restarted."
        )
        return
    function = load_recipe(recipe, RECIPES)
    if info(function).domains:
        raise SparringError(f"{recipe} translates images and has no FD to minimize: choose another recipe")
    search = arguments(sweep_options)
    train = [a for a in (*arguments(OneSource), *arguments(TrainOptions)) if a.name in TRAIN_OPTIONS]
    command = Command(
        f"sparring sweep {recipe}",
        f"Hyperparameter search over {recipe}: {inspect.getdoc(function)}",
        flags={
            "options of the search": search,
            "options of each training": train,
            f"options of {recipe}, the same in all trainings": arguments(function),
        },
        example=f"sparring sweep {recipe} --data mnist --space batch=64|128 --rounds 2000",
    )
    values = command.parse(argv)
    options, kwargs = ({a.name: values.pop(a.name, a.default) for a in group} for group in (search, train))
    _search(recipe, options, kwargs, fixed=values)


def _search(name: str, options: dict[str, Any], train: dict[str, Any], *, fixed: dict[str, Any]) -> None:
    from sparring.data.loading import labels_place
    from sparring.sweeping import Sweep, on_slurm, read_space, require_one_process, run_worker

    require_one_process()
    space = read_space(options["space"], name)
    if conflicts := sorted(set(space) & set(fixed)):
        raise SparringError(f"{conflicts[0]} is in --space and also given as a flag: remove one of them")
    data, seed, device = train.pop("data"), train.pop("seed"), train.pop("device")
    data = str(Path(data).resolve()) if Path(data).exists() else data
    if train["labels_from"] is not None:
        train["labels_from"] = labels_place(train["labels_from"], data)
    train["data_root"] = str(Path(train["data_root"]).resolve()) if train["data_root"] else None
    objective, n = options["objective"], options["n"]
    sweep = Sweep(name, data, options["rounds"], space, fixed, train, seed, objective, n, device)
    journal = options["journal"].resolve()
    task = partial(run_worker, sweep, journal, options["trials"], prune=options["prune"])
    if options["slurm"]:
        jobs = on_slurm(options["slurm"], _scheduler(options["slurm_options"]), Path(f"{journal}.slurm"), task)
        print(f"submitted: {', '.join(str(job.job_id) for job in jobs)}\njournal    {journal}")
        return
    results = task(quiet=options["json"], say=(lambda line: None) if options["json"] else print)
    if options["json"]:
        print(dumps([asdict(trial) for trial in results], indent=1))
    else:
        _show(name, options, results)


def _scheduler(text: str) -> dict[str, Any]:
    """Parse timeout_min=600,slurm_partition=gpu into a dictionary; integers become int."""
    options: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        key, sign, value = (p.strip() for p in part.partition("="))
        if not sign:
            raise SparringError(f"--slurm-options has '{part}': it must be name=value,name=value")
        options[key] = int(value) if is_number(value) else value
    return options


def _show(name: str, options: dict[str, Any], results: Sequence[Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from sparring.sweeping import in_words

    table = Table("", options["objective"], "arguments", "run", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for trial in results[:10]:
        value = trial.state if trial.value is None else f"{trial.value:.4g}"
        table.add_row(str(trial.number + 1), value, in_words(trial.arguments), trial.run or "")
    Console().print(table)
    best = results[0]
    if best.value is not None:
        print(
            f"\n{len(results)} trainings with one seed each: the best result is optimistically biased. Confirm it\n"
            f"with other seeds: sparring train {name} {in_words(best.arguments)} --seed 1"
        )
