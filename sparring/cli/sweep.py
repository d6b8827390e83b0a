"""The verb that searches for good arguments."""

import inspect
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from json import dumps
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from sparring.cli.parser import read
from sparring.cli.training import training_options
from sparring.errors import SparringError, is_number
from sparring.recipes import RECIPES
from sparring.recipes.recipe import arguments, info, load_recipe, resolve_arguments

TOLD = (
    *("data", "seed", "precision", "grad_accum", "size", "channels", "classes", "labels_from", "held_out"),
    *("data_root", "save_every"),
)
"""Options of `sparring train` that a sweep passes on."""


def sweep_options(
    *,
    space: Annotated[
        str, Field(description="what is searched: 'generator_lr=1e-5..1e-3:log, latent=32|64|128', or a file of such")
    ],
    rounds: Annotated[int, Field(ge=4, description="rounds of each training")],
    trials: Annotated[int, Field(ge=1, description="trainings in all, by all workers")] = 20,
    journal: Annotated[
        Path, Field(description="the file that workers share; trainings are kept in JOURNAL.runs beside it")
    ] = Path("sweep.journal"),
    objective: Annotated[Literal["FD", "KID"], Field(description="what is made small, against held-out images")] = "FD",
    n: Annotated[int, Field(ge=20, description="images per measurement, at most what is held out")] = 2000,
    prune: Annotated[
        bool, Field(description="give up trials worse than the median of the others after 1/4 and 1/2 of the rounds")
    ] = True,
    slurm: Annotated[int, Field(ge=0, description="hand so many workers to Slurm; 0: work here")] = 0,
    slurm_options: Annotated[
        str, Field(description="of the scheduler, by submitit's names: timeout_min=600,slurm_partition=gpu")
    ] = "",
    json: Annotated[bool, Field(description="print the trials as JSON")] = False,
) -> None:
    """Options that every sweep has."""


def sweep(argv: Sequence[str]) -> None:
    """search for good arguments:  sparring sweep r1gan --data mnist --space lr=1e-5..1e-3:log --rounds 2000"""
    name = argv[0] if argv else "--help"
    if name in ("-h", "--help"):
        print(
            "usage: sparring sweep RECIPE --data NAME|PATH --rounds N --space SPACE [options]\n\n"
            "  sparring sweep r1gan --data mnist --space lr=1e-5..1e-3:log,width=16|32 --rounds 2000\n\n"
            "sparring sweep RECIPE --help shows the options. Start the same line as often as there are processors, on\n"
            "all machines that see the journal: they share the trials, and a line that was stopped goes on."
        )
        return
    if name.startswith("-"):
        raise SparringError(f"the recipe comes first: sparring sweep RECIPE {name} ... (recipes: {', '.join(RECIPES)})")
    function = load_recipe(name, RECIPES)
    if info(function).domains:
        raise SparringError(f"{name} translates images: no samples, so no FD to make small")
    mine = arguments(sweep_options)
    ours = [a for a in arguments(training_options) if a.name in TOLD]
    theirs = arguments(function)
    about = f"Searches for arguments of {name}: {inspect.getdoc(function)}"
    given = read(f"sparring sweep {name}", about, [*mine, *ours, *theirs], argv[1:])
    asked = resolve_arguments(sweep_options, {a.name: given[a.name] for a in mine if a.name in given})
    told = resolve_arguments(training_options, {a.name: given[a.name] for a in ours if a.name in given})
    settled = resolve_arguments(function, {a.name: given[a.name] for a in theirs if a.name in given})
    fixed = {a.name: settled[a.name] for a in theirs if a.name in given}
    _search(name, asked, {key: told[key] for key in TOLD}, fixed)


def _search(name: str, asked: dict[str, Any], told: dict[str, Any], fixed: dict[str, Any]) -> None:
    from sparring.data.loading import labels_place
    from sparring.sweeping import Sweep, on_slurm, read_space, require_one_process, run_worker

    require_one_process()
    space = read_space(asked["space"], name)
    if twice := sorted(set(space) & set(fixed)):
        raise SparringError(f"{twice[0]} is searched and given: leave one of the two out")
    data, seed = told.pop("data"), told.pop("seed")
    data = str(Path(data).resolve()) if Path(data).exists() else data
    if told["labels_from"] is not None:
        told["labels_from"] = labels_place(told["labels_from"])
    told["data_root"] = str(Path(told["data_root"]).resolve()) if told["data_root"] else None
    sweep = Sweep(name, data, asked["rounds"], space, fixed, told, seed, asked["objective"], asked["n"])
    journal = asked["journal"].resolve()
    task = partial(run_worker, sweep, journal, asked["trials"], prune=asked["prune"])
    if asked["slurm"]:
        jobs = on_slurm(asked["slurm"], _scheduler(asked["slurm_options"]), Path(f"{journal}.slurm"), task)
        print(f"submitted: {', '.join(str(job.job_id) for job in jobs)}\njournal    {journal}")
        return
    found = task(quiet=asked["json"], say=(lambda words: None) if asked["json"] else print)
    if asked["json"]:
        print(dumps([asdict(trial) for trial in found], indent=1))
    else:
        _show(name, asked, found)


def _scheduler(text: str) -> dict[str, Any]:
    """timeout_min=600,slurm_partition=gpu as a dictionary; numbers as numbers."""
    options: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        key, sign, value = (p.strip() for p in part.partition("="))
        if not sign:
            raise SparringError(f"--slurm-options has '{part}': it must be name=value,name=value")
        options[key] = int(value) if is_number(value) else value
    return options


def _show(name: str, asked: dict[str, Any], found: Sequence[Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from sparring.sweeping import in_words

    table = Table("", asked["objective"], "arguments", "run", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for trial in found[:10]:
        value = trial.state if trial.value is None else f"{trial.value:.4g}"
        table.add_row(str(trial.number + 1), value, in_words(trial.arguments), trial.run or "")
    Console().print(table)
    best = found[0]
    if best.value is not None:
        print(
            f"\n{len(found)} trainings of one seed each; the best of so many looks better than it is. Train it again\n"
            f"with other seeds before you believe it: sparring train {name} {in_words(best.arguments)} --seed 1"
        )
