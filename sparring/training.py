"""Train a recipe on data in a run directory (play, log, monitor, sample, evaluate, save), and resume a stopped run."""

from __future__ import annotations

import hashlib
import inspect
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, fields
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from textwrap import dedent
from typing import Any, Literal

import accelerate
import numpy as np
import torch

from sparring.data.dataset import Dataset
from sparring.data.loading import reload_data, require_one_size
from sparring.device import resolve_device
from sparring.distributed import collective, on_each_process, on_main_process, process_group, require_same_config
from sparring.dryrun import enough_memory, require_playable
from sparring.errors import SparringError, abbreviated, require_int
from sparring.machine import commit, processor, version
from sparring.options import MAX_THREADS, TrainOptions
from sparring.recipes import RECIPES
from sparring.recipes.recipe import Recipe, RecipeFunction, build_recipe, info, load_recipe, resolve_arguments
from sparring.recipes.recipe import arguments as arguments_of
from sparring.referee import Referee
from sparring.run import Checkpoint, Run, command_line, resolved_recipe
from sparring.seeds import Drawing, isolated, make_generator, standard_defaults
from sparring.training_loop import Training

Source = Dataset | str | Path | np.ndarray | torch.Tensor | Mapping[str, str | Path]
"""Data for `train`: a Dataset, or what `sparring.load` takes."""


@standard_defaults()
@enough_memory()
def train(
    recipe: str | RecipeFunction,
    data: Source,
    *,
    rounds: int | None = None,
    out: Path | str = "runs",
    seed: int = 0,
    device: str = "auto",
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    grad_accum: int = 1,
    size: int | None = None,
    channels: Literal[1, 3] | None = None,
    classes: str | None = None,
    labels_from: Path | str | None = None,
    held_out: float | str = 0.1,
    pairs: Literal["names", "halves", "edges"] | None = None,
    data_root: Path | str | None = None,
    log_every: int = 10,
    sample_every: int | None = None,
    eval_every: int | None = None,
    save_every: int = 500,
    monitor: bool = True,
    threads: int | None = None,
    quiet: bool = False,
    **arguments: Any,
) -> Run:
    """Train a recipe on data in a new run directory under `out`, and return the run.

    recipe     a name of `sparring recipes`, "package.module:function", or such a function
    data       a name ("mnist"), a folder or zip of images, an array or tensor (as for `sparring.load`), a Dataset, or
               two domains: {"a": X, "b": Y}
    arguments  of the recipe, by name

    The options are described in `sparring.options.TrainOptions`; `quiet` prints nothing. Raises SparringError before
    the first round for invalid arguments or data; DivergedError if training diverges; InterruptedRun on SIGINT,
    SIGTERM or SIGHUP, after writing a sample grid and a checkpoint. A second signal ends the process at once.
    """
    options = TrainOptions(
        rounds=rounds,
        out=Path(out) if isinstance(out, str) else out,
        seed=seed,
        device=device,
        precision=precision,
        grad_accum=grad_accum,
        size=size,
        channels=channels,
        classes=classes,
        labels_from=labels_from,
        held_out=held_out,
        pairs=pairs,
        data_root=data_root,
        log_every=log_every,
        sample_every=sample_every,
        eval_every=eval_every,
        save_every=save_every,
        monitor=monitor,
        threads=threads,
    )
    return _train(recipe, data, options, arguments, quiet)


@standard_defaults()
@enough_memory()
def resume(
    run: Run | Path | str,
    *,
    rounds: int | None = None,
    data: Dataset | str | Path | Mapping[str, str | Path] | None = None,
    recipe: str | None = None,
    device: str | None = None,
    threads: int | None = None,
    quiet: bool = False,
) -> Run:
    """Resume a stopped run, bit for bit as if it had not been stopped; `rounds` sets a new end.

    data     required if the run was trained on a Dataset created in memory, if its data have moved, or if it was
             created by another user or on another machine: a Dataset, or a name or path for `sparring.load`
    recipe   required if the recipe is not built in ("package.module:function")
    device   as in `train` (default: as before if there is such a device, else "auto")
    threads  PyTorch threads on the CPU (default: the run's)

    With another device or number of threads the result is equally valid, but not bit-identical. Raises SparringError,
    and changes nothing, if the run cannot be resumed, if the data have changed, or if another process is training it.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    if rounds is not None:
        require_int("rounds", rounds)
    where = _device_of(run) if device is None else resolve_device(device)
    process_group(where)
    with _locked(run):
        run.reload()  # another process may have trained it since it was opened
        saved, last = _saved_state(run, rounds)
        threads = require_int(
            "threads", run.config["machine"]["threads"] if threads is None else threads, 1, MAX_THREADS
        )
        function, resolved = resolved_recipe(run.config, run.trusted if recipe is None else recipe)
        if saved:
            run.require_fit(saved, function, resolved)
        data = on_each_process(process_group(), partial(run.data, data))
        precision = {"bfloat16": "bf16", "float32": "fp32"}[run.config["precision"]]
        seed, grad_accum = run.config["seed"], run.config["grad_accum"]
        built, referee, notes = _prepare(
            function, resolved, data, seed=seed, device=where, precision=precision, grad_accum=grad_accum
        )
        if saved:
            referee.load_state(saved.tensors, saved.numbers)
        notes += _resume_notes(run, referee, saved, last, threads)
        require_same_config(referee.processes, partial(_shared_config, {**run.config, "rounds": last}, referee))
        _rewind(run, referee, saved, last)
        return Training(run, referee, data, length=built.rounds, threads=threads, quiet=quiet, notes=notes).play()


# A new run.


def _train(
    recipe: str | RecipeFunction, data: Source, options: TrainOptions, arguments: Mapping[str, Any], quiet: bool
) -> Run:
    """`train`, with its options in one object."""
    name, function, resolved = _resolved(recipe, arguments)
    threads = torch.get_num_threads() if options.threads is None else options.threads
    device = resolve_device(options.device)
    process_group(device)
    data = _load(data, options, function)
    built, referee, notes = _prepare(
        function,
        resolved,
        data,
        seed=options.seed,
        device=device,
        precision=options.precision,
        grad_accum=options.grad_accum,
    )
    config = _new_config(name, function, resolved, data, built, referee, options, threads)
    require_same_config(referee.processes, partial(_shared_config, config, referee))
    run = _create_run(options.out, f"{name}-{data.name}", config, _source(type(built.system).round), referee)
    if name not in RECIPES:
        run.trusted = function
        if function.__module__ == "__main__" or "<locals>" in name:
            notes.append(f"recipe {name} is defined in a script or notebook; to resume the run, move it to a module")
    with _locked(run):
        return Training(
            run,
            referee,
            data,
            length=built.rounds,
            threads=threads,
            quiet=quiet,
            notes=notes,
            own_length=options.rounds is None,
            measured=info(function).measured,
        ).play()


def _resolved(recipe: str | RecipeFunction, arguments: Mapping[str, Any]) -> tuple[str, RecipeFunction, dict[str, Any]]:
    """The recipe's name, its function, and all its arguments."""
    function = load_recipe(recipe, RECIPES) if isinstance(recipe, str) else recipe
    if not inspect.isfunction(function):
        raise SparringError(f"recipe is {abbreviated(recipe)}: give a name of `sparring recipes`, or a function")
    info(function)
    options = ["quiet", *(option.name for option in fields(TrainOptions))]
    possible = [*(argument.name for argument in arguments_of(function)), *options]
    for key in arguments.keys() - set(possible):
        near = get_close_matches(key, possible, 1, 0.6)
        if near and near[0] in options:
            raise SparringError(f"unknown argument '{key}'; did you mean '{near[0]}'?")
    name = recipe if isinstance(recipe, str) else f"{function.__module__}:{function.__qualname__}"
    return name, function, resolve_arguments(function, arguments)


def _load(data: Source, options: TrainOptions, function: RecipeFunction) -> Dataset:
    """The data, loaded on each process. Raises SparringError for options that do not apply to a Dataset."""
    if not isinstance(data, Dataset):
        pairs = options.pairs or ("names" if info(function).paired else None)
        if options.size is None and pairs is None and isinstance(data, Mapping):
            require_one_size(data, options.data_root)
        own_size = None if isinstance(data, np.ndarray | torch.Tensor) else info(function).size
        source = {"source": data, **options.loading, "pairs": pairs}
        data = on_each_process(process_group(), partial(reload_data, source, own_size))
    elif options.held_out != TrainOptions.held_out or any(
        value is not None for name, value in options.loading.items() if name != "held_out"
    ):
        raise SparringError(
            "size, channels, classes, labels_from, held_out, pairs and data_root do not apply to a Dataset: pass them "
            "to sparring.load"
        )
    data.require_images()
    return data


def _new_config(
    name: str,
    function: RecipeFunction,
    resolved: dict[str, Any],
    data: Dataset,
    built: Recipe,
    referee: Referee,
    options: TrainOptions,
    threads: int,
) -> dict[str, Any]:
    """The content of recipe.json."""
    rounds = options.rounds or built.rounds
    return {
        "recipe": name,
        "arguments": resolved,
        "paper": info(function).paper,
        "data": {"name": data.name, "source": data.source, "count": len(data), "fingerprint": data.fingerprint},
        "spec": {**asdict(data.spec), "classes": list(data.spec.classes)},
        "seed": options.seed,
        "rounds": rounds,
        "batch": built.batch,
        "grad_accum": options.grad_accum,
        "precision": str(referee.precision).removeprefix("torch."),
        "every": options.every(rounds),
        "early": options.early,
        "monitor": options.monitor,
        "equilibrium": built.system.equilibrium() if built.system.supports("equilibrium") else {},
        "schedule_ends": referee.schedule_ends(rounds),
        "command": command_line(),
        **_environment(referee, threads),
    }


def _create_run(out: Path, name: str, config: dict[str, Any], source: str, referee: Referee) -> Run:
    """The main process creates the directory; the others open it."""
    paths: list[str | None] = [None]

    def create() -> None:
        paths[0] = str(Run.create(out, name, config, source).path)

    on_main_process(referee.processes, create)
    with collective():
        accelerate.utils.broadcast_object_list(paths)
    return Run.open(str(paths[0]))


def _source(function: Callable[..., object]) -> str:
    """The source of a function; not available for one that was typed into an interpreter."""
    try:
        return dedent(inspect.getsource(function))
    except OSError:
        return "# The source of this round is not available.\n"


# A resumed run.


def _device_of(run: Run) -> torch.device:
    """The device on which the run was trained, if there is such a device here; else "auto"."""
    kind = run.config["machine"]["device"].partition(":")[0]
    try:
        return resolve_device(kind)
    except SparringError:
        return resolve_device()


def _saved_state(run: Run, rounds: int | None) -> tuple[Checkpoint | None, int]:
    """The newest checkpoint, None if the run has not begun; and the last round."""
    if not run.checkpoints():
        run.require_unplayed()
    saved = run.newest_checkpoint() if run.checkpoints() else None
    last = run.config["rounds"] if rounds is None else rounds
    if saved and last < saved.numbers["round"]:
        raise SparringError(
            f"{run.path} already has {saved.numbers['round']} rounds: --rounds must be at least that, got {last}"
        )
    return saved, last


def _resume_notes(run: Run, referee: Referee, saved: Checkpoint | None, last: int, threads: int) -> Iterator[str]:
    """What the user should know about this continuation."""
    yield from saved.warnings if saved else []
    if saved and last == saved.numbers["round"]:
        yield f"all {last} rounds are done; to continue, set a new end with --rounds N"
    if threads > (processors := os.cpu_count() or 1):
        yield f"{threads} threads share {processors} processors: --threads {processors} is faster"
    then, now = run.config["machine"], _environment(referee, threads)["machine"]
    for what in ("torch", "threads", "processes", "processor", "device"):
        if now[what] != then[what]:
            change = f"{what}: {then[what]} then, {now[what]} now"
            yield f"{change}; the result is equally valid, but not bit-identical"


def _rewind(run: Run, referee: Referee, saved: Checkpoint | None, last: int) -> None:
    """Bring the run's files to the state of the checkpoint, and record the new last round."""
    main = referee.processes.is_main_process
    if main:
        run.truncate_logs(saved.numbers["logs"] if saved else {})
        if saved:
            run.write_weights(referee.ema_system, referee.round)
    if last != run.config["rounds"]:
        run.config["rounds"], run.config["schedule_ends"] = last, referee.schedule_ends(last)
        if main:
            run.write_config()


# Both.


def _prepare(
    function: RecipeFunction,
    resolved: dict[str, Any],
    data: Dataset,
    *,
    seed: int,
    device: torch.device,
    precision: str,
    grad_accum: int,
) -> tuple[Recipe, Referee, list[str]]:
    """The recipe at round 0, its referee, and sentences to print; checks first that a round fits into memory."""
    processes = process_group()
    make = partial(build_recipe, function, data.spec, resolved)
    notes = require_playable(make, data, grad_accum=grad_accum, processes=processes.num_processes)
    recipe = on_each_process(processes, partial(_build, make, data, seed))
    referee = Referee(
        recipe.system,
        recipe.streams(data, seed) if recipe.streams else {"train": data},
        batch=recipe.batch,
        optimizers=recipe.optimizers,
        schedules=recipe.schedules,
        grad_accum=grad_accum,
        ema_decay=recipe.ema_decay,
        ema_start=recipe.ema_start,
        precision=recipe.precision if precision == "auto" else precision,
        device=device,
        seed=seed,
    )
    return recipe, referee, notes


def _build(make: Callable[[], Recipe], data: Dataset, seed: int) -> Recipe:
    """The recipe at round 0: the same weights for the same seed."""
    generator = make_generator(seed, "weights")
    with isolated(generator.initial_seed()), Drawing(generator):
        recipe = make()
        if recipe.prepare is not None:
            recipe.prepare(data)
    return recipe


def _shared_config(config: Mapping[str, Any], referee: Referee) -> dict[str, Any]:
    """What must be equal in all processes of a training: arguments, data, and the state of the training."""
    names = ("recipe", "arguments", "spec", "seed", "rounds", "batch", "grad_accum", "precision", "every", "monitor")
    state = hashlib.blake2b(digest_size=8)
    for file, tensors in sorted(referee.state_tensors().items(), key=lambda item: item[0]):
        for name, value in sorted(tensors.items(), key=lambda item: item[0]):
            state.update(f"{file} {name} {value.dtype}".encode())
            state.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return {
        **{name: config[name] for name in names},
        "run": config.get("id"),
        "data": {name: config["data"][name] for name in ("name", "count", "fingerprint")},
        "versions": {"sparring": version(), "torch": torch.__version__},
        "round": referee.round,
        "weights": state.hexdigest(),
    }


@contextmanager
def _locked(run: Run) -> Iterator[None]:
    """The main process locks the run; the others wait for it, and raise the same error if it fails."""
    errors: list[SparringError | None] = [None]
    with ExitStack() as stack:
        if process_group().is_main_process:
            try:
                stack.enter_context(run.lock())
            except SparringError as error:
                errors = [error]
        with collective():
            accelerate.utils.broadcast_object_list(errors)
        if errors[0] is not None:
            raise errors[0]
        yield


def _environment(referee: Referee, threads: int) -> dict[str, Any]:
    """The machine and the version of this code, for the record."""
    machine = {
        "processor": processor(),
        "device": str(referee.device),
        "threads": threads,
        "processes": referee.processes.num_processes,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.platform(terse=True),
    }
    return {"sparring": version(), "commit": commit(), "machine": machine}
