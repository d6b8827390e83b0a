"""Train a recipe on data in a run directory (train, log, sample, evaluate, save), and resume a stopped run."""

from __future__ import annotations

import hashlib
import inspect
import os
import platform
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from textwrap import dedent
from time import monotonic, strftime
from typing import Any

import accelerate
import numpy as np
import torch

import sparring
from sparring.data.dataset import MIN_HELD_OUT, Dataset
from sparring.data.loading import reload_data, require_one_size
from sparring.distributed import collective, on_each_process, on_main_process, process_group, require_same_config
from sparring.dryrun import enough_memory, require_playable
from sparring.errors import DivergedError, InterruptedRun, SparringError, abbreviated, require_int, require_path, shown
from sparring.evaluation import Rate, TrainingEvaluator, classification_error, clustering_error
from sparring.image_grid import grid, png, reconstructions, translations
from sparring.machine import commit, computing_with, processor
from sparring.monitor import Alarm, Monitor
from sparring.progress import Display
from sparring.recipes import RECIPES
from sparring.recipes.recipe import Measured, Recipe, RecipeFunction, build_recipe, info, load_recipe, resolve_arguments
from sparring.recipes.recipe import arguments as arguments_of
from sparring.referee import Referee
from sparring.run import Run, command_line, resolved_recipe
from sparring.seeds import Drawing, derive_seed, isolated, make_generator, standard_defaults
from sparring.signals import stop_signals
from sparring.system import System

GRID_ROWS = 8
"""Rows of a sample grid."""

FIRST_DENSE_ROUND = {"show": 1, "measure": 20}
"""By default, sample grids and FD measurements start at this one of the rounds 1, 2, 5, 10, 20, 50, 100 ..."""


@standard_defaults()
@enough_memory()
def train(
    recipe: str | RecipeFunction,
    data: Dataset | str | Path | np.ndarray | torch.Tensor | Mapping[str, str | Path],
    *,
    rounds: int | None = None,
    out: Path | str = "runs",
    seed: int = 0,
    precision: str = "auto",
    grad_accum: int = 1,
    size: int | None = None,
    channels: int | None = None,
    classes: str | None = None,
    labels_from: Path | str | None = None,
    held_out: float = 0.1,
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

    recipe      a name of `sparring recipes`, "package.module:function", or such a function
    data        a name ("mnist"), a folder or zip of images, an array or tensor (as for `sparring.load`), a Dataset, or
                two domains: {"a": X, "b": Y}
    rounds      default: that of the recipe's source
    precision   "auto" (bf16 if the hardware supports it natively, unless the recipe needs fp32), "fp32" or "bf16"
    grad_accum  split each batch into this many microbatches, to save memory; the result is the same up to rounding,
                except where batch norm, dropout or the like depend on the split, which is reported at the start
    size, channels, classes, labels_from, held_out, data_root  as in `sparring.load`; not for a Dataset
    log_every, sample_every, eval_every, save_every   rounds between log lines, sample grids (default: rounds / 40, and
                before that rounds 1, 2, 5, 10, 20, 50 ...), FD measurements (default: rounds / 10, and before that
                20, 50, 100 ...) and checkpoints
    monitor     report mode collapse, divergence and other problems (docs/monitor.md); does not change the training
    threads     PyTorch threads on the CPU (default: PyTorch's). The last bits of results depend on it, so the number is
                recorded, and `resume` uses it again
    arguments   of the recipe, by name

    Raises SparringError before the first round for invalid arguments or data; DivergedError if training diverges;
    InterruptedRun on SIGINT, SIGTERM or SIGHUP, after writing a sample grid and a checkpoint. A second signal ends the
    process at once.
    """
    function = load_recipe(recipe, RECIPES) if isinstance(recipe, str) else recipe
    if not inspect.isfunction(function):
        raise SparringError(f"recipe is {abbreviated(recipe)}: give a name of `sparring recipes`, or a function")
    info(function)
    recipe_arguments, own_arguments = {a.name for a in arguments_of(function)}, inspect.signature(train).parameters
    for key in arguments.keys() - recipe_arguments:
        near = get_close_matches(key, [*recipe_arguments, *own_arguments], 1, 0.6)
        if near and near[0] in own_arguments:
            raise SparringError(f"unknown argument '{key}'; did you mean '{near[0]}'?")
    name = recipe if isinstance(recipe, str) else f"{recipe.__module__}:{recipe.__qualname__}"
    resolved = resolve_arguments(function, arguments)
    for what, value in (("rounds", rounds), ("sample_every", sample_every), ("eval_every", eval_every)):
        if value is not None:
            require_int(what, value)
    for what, value in (("grad_accum", grad_accum), ("log_every", log_every), ("save_every", save_every)):
        require_int(what, value)
    require_int("seed", seed, least=0)
    if not isinstance(precision, str):
        raise SparringError(f"precision is {abbreviated(precision)}: it must be auto, fp32 or bf16")
    if data_root is not None:
        require_path("data_root", data_root)
    if size is not None:
        require_int("size", size)
    if not isinstance(held_out, int | float):
        raise SparringError(f"held_out is {abbreviated(held_out)}: it must be a fraction or a number of images")
    out = require_path("out", out)

    threads = _checked_threads(threads) if threads is not None else torch.get_num_threads()

    try:
        str(Path(out).absolute()).encode()
    except UnicodeEncodeError:
        raise SparringError(f"out is '{shown(str(out))}', which is not valid UTF-8: give another folder") from None

    # Data.
    processes = process_group()
    options = {"size": size, "channels": channels, "classes": classes, "labels_from": labels_from, "root": data_root}
    if not isinstance(data, Dataset):
        if size is None and isinstance(data, Mapping):
            require_one_size(data, data_root)
        source = {"source": data, **options, "held_out": held_out}
        own_size = None if isinstance(data, np.ndarray | torch.Tensor) else info(function).size
        data = on_each_process(processes, partial(reload_data, source, own_size))
    elif held_out != 0.1 or any(option is not None for option in options.values()):
        raise SparringError(
            "size, channels, classes, labels_from, held_out and data_root do not apply to a Dataset: pass them to "
            "sparring.load"
        )
    data.require_images()

    # Networks, optimizers.
    make = partial(build_recipe, function, data.spec, resolved)
    notes = require_playable(make, data, grad_accum=grad_accum, processes=processes.num_processes)
    built = on_each_process(processes, partial(_build, function, resolved, data, seed))
    own_length = rounds is None
    rounds = rounds or built.rounds
    every = {
        "log": log_every,
        "show": sample_every or max(1, rounds // 40),
        "measure": eval_every or max(1, rounds // 10),
        "save": save_every,
    }
    referee = _referee(built, data, seed=seed, precision=precision, grad_accum=grad_accum)

    # Run directory.
    config = {
        "recipe": name,
        "arguments": resolved,
        "paper": info(function).paper,
        "data": {"name": data.name, "source": data.source, "count": len(data), "fingerprint": data.fingerprint},
        "spec": {**asdict(data.spec), "classes": list(data.spec.classes)},
        "seed": seed,
        "rounds": rounds,
        "batch": built.batch,
        "grad_accum": grad_accum,
        "precision": str(referee.precision).removeprefix("torch."),
        "every": every,
        "early": [what for what, interval in (("show", sample_every), ("measure", eval_every)) if interval is None],
        "monitor": monitor,
        "equilibrium": built.system.equilibrium() if built.system.supports("equilibrium") else {},
        "schedule_ends": referee.schedule_ends(rounds),
        "command": command_line(),
        **_environment(referee, threads),
    }
    require_same_config(processes, partial(_shared_config, config, referee))
    run = _create_run(out, f"{name}-{data.name}", config, _source(type(built.system).round), referee)
    measured = info(function).measured
    if name not in RECIPES:
        run.trusted = function
        if function.__module__ == "__main__" or "<locals>" in name:
            notes.append(f"recipe {name} is defined in a script or notebook; to resume the run, move it to a module")
    with _locked(run):
        return _train_loop(
            run,
            referee,
            data,
            threads=threads,
            quiet=quiet,
            notes=notes,
            length=built.rounds,
            own_length=own_length,
            measured=measured,
        )


@standard_defaults()
@enough_memory()
def resume(
    run: Run | Path | str,
    *,
    rounds: int | None = None,
    data: Dataset | str | Path | Mapping[str, str | Path] | None = None,
    recipe: str | None = None,
    threads: int | None = None,
    quiet: bool = False,
) -> Run:
    """Resume a stopped run, bit for bit as if it had not been stopped; `rounds` sets a new end.

    data     required if the run was trained on a Dataset created in memory, if its data have moved, or if it was
             created by another user or on another machine: a Dataset, or a name or path for `sparring.load`
    recipe   required if the recipe is not built in ("package.module:function")
    threads  PyTorch threads on the CPU (default: the run's). With another number the result is equally valid, but not
             bit-identical

    Raises SparringError, and changes nothing, if the run cannot be resumed, if the data have changed, or if another
    process is training it.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    if rounds is not None:
        require_int("rounds", rounds)
    with _locked(run):
        run.reload()  # another process may have trained it since it was opened
        config = run.config
        if not run.checkpoints():
            run.require_unplayed()
        saved = run.newest_checkpoint() if run.checkpoints() else None
        last = config["rounds"] if rounds is None else rounds
        if saved and last < saved.numbers["round"]:
            raise SparringError(
                f"{run.path} already has {saved.numbers['round']} rounds: --rounds must be at least that, got {last}"
            )

        threads = _checked_threads(config["machine"]["threads"] if threads is None else threads)
        function, resolved = resolved_recipe(config, run.trusted if recipe is None else recipe)
        if saved:
            run.require_fit(saved, function, resolved)
        processes = process_group()
        data = on_each_process(processes, partial(run.data, data))
        make = partial(build_recipe, function, data.spec, resolved)
        notes = require_playable(make, data, grad_accum=config["grad_accum"], processes=processes.num_processes)
        built = on_each_process(processes, partial(_build, function, resolved, data, config["seed"]))
        precision = {"bfloat16": "bf16", "float32": "fp32"}[config["precision"]]
        referee = _referee(built, data, seed=config["seed"], precision=precision, grad_accum=config["grad_accum"])
        if saved:
            referee.load_state(saved.tensors, saved.numbers)
            notes += saved.warnings
        if saved and last == saved.numbers["round"]:
            notes.append(f"all {last} rounds are done; to continue, set a new end with --rounds N")
        if threads > (processors := os.cpu_count() or 1):
            notes.append(f"{threads} threads share {processors} processors: --threads {processors} is faster")
        notes += _environment_changes(config["machine"], _environment(referee, threads)["machine"])
        require_same_config(processes, partial(_shared_config, {**config, "rounds": last}, referee))
        if referee.processes.is_main_process:
            run.truncate_logs(saved.numbers["logs"] if saved else {})
            if saved:
                run.write_weights(referee.ema_system, referee.round)
        if last != config["rounds"]:
            config["rounds"], config["schedule_ends"] = last, referee.schedule_ends(last)
            if referee.processes.is_main_process:
                run.write_config()
        return _train_loop(run, referee, data, threads=threads, quiet=quiet, notes=notes, length=built.rounds)


def _train_loop(
    run: Run,
    referee: Referee,
    data: Dataset,
    *,
    threads: int,
    quiet: bool,
    notes: list[str],
    length: int,
    own_length: bool = False,
    measured: Measured | None = None,
) -> Run:
    """The training loop, from the referee's round to the run's last.

    length  the recipe's default number of rounds, for the monitor; other arguments as in `Display`
    """
    config, every, last = run.config, run.config["every"], run.config["rounds"]
    early = {what: FIRST_DENSE_ROUND[what] for what in config["early"]}
    processes, main = referee.processes, referee.processes.is_main_process
    ema = referee.ema_system
    sample_seed = derive_seed(config["seed"], "show")
    measurable = ema.supports("sample") and data.held_out is not None and len(data.held_out) >= MIN_HELD_OUT
    evaluator: TrainingEvaluator | None = None
    held_out_error: Callable[[], Rate] | None = None
    if main and data.held_out and data.labels is not None:
        if ema.supports("classify"):
            held_out_error = partial(classification_error, ema, data.held_out, "held_out")
        elif ema.supports("cluster"):
            held_out_error = partial(clustering_error, ema, data, "held_out")
    if not measurable:
        notes = [*notes, _why_no_fd(ema, data)]
    notes = [*notes, *_caveats(referee, last)]
    display = Display(
        run.path.name,
        referee.round,
        last,
        config["batch"],
        quiet=quiet or not main,
        own_length=own_length,
        measured=measured,
    )

    def show() -> None:
        ema = referee.ema_system
        with display.doing("drawing a sample grid"):
            if ema.supports("sample"):
                picture = grid(ema.sample(GRID_ROWS * ema.grid_columns, seed=sample_seed), columns=ema.grid_columns)
            elif ema.supports("reconstruct"):
                picture = reconstructions(
                    ema, data.held_out or data, GRID_ROWS // 2 * ema.grid_columns, ema.grid_columns
                )
            elif ema.supports("translate"):
                picture = translations(ema, data, ema.grid_columns)
            else:
                return
            encoded = png(picture)
            run.write_sample(referee.round, encoded)
            display.grid(encoded)

    def measure() -> None:
        nonlocal evaluator
        ema = referee.ema_system
        if measurable:
            evaluator = evaluator or TrainingEvaluator(data)
            with display.doing("measuring FD"):
                fakes = ema.sample(evaluator.n, seed=derive_seed(config["seed"], "measure", referee.round))
                for line in evaluator.lines(fakes):
                    display.measured[line["name"]] = f"{line['value']:.3g}"
                    run.append("metrics", {"round": referee.round, **line})
                best = run.best()
                if best is not None and best["round"] == referee.round:
                    run.write_best(ema, referee.round)
        if held_out_error is not None:
            with display.doing("measuring the held-out error"):
                error = held_out_error()
                display.measured["held-out error"] = f"{100 * error.value:.2f} %"
                line = {"round": referee.round, "name": error.name, "value": error.value, "n": error.n}
                run.append("metrics", line)

    def record_alarms(lines: list[dict[str, Any]]) -> None:
        for line in lines:
            run.append("health", line)
            if "alarm" in line:
                display.alarm(Alarm(**line["alarm"]))

    def observe(monitor: Monitor, moves: list[dict[str, float | str]]) -> None:
        _ = referee.ema_system  # updates the EMA weights, which the monitor observes
        record_alarms(monitor.look(referee.round, moves, referee.rates()))

    def save() -> None:
        with display.doing("saving"):
            run.save(referee.state_tensors(), referee.state_numbers(), referee.ema_system)

    def stopped(number: int) -> InterruptedRun:
        name = signal.Signals(number).name
        message = f"{name} at round {referee.round}: saved; continue with: sparring resume {run.path}"
        return InterruptedRun(message, number, run.path)

    def start() -> None:
        if not run.checkpoints():  # a new run: round 0 is not saved yet
            show()
            measure()
            save()

    with computing_with(threads), display, _signals(run, referee, display) as signalled:
        for note in [*data.notes, *notes]:
            display.say(note)
        on_main_process(processes, start)
        if stop := signalled():
            raise stopped(stop)
        monitor = None
        if config["monitor"]:
            history = run.read("health") if main else ()
            monitor = Monitor(referee.system, ema, data, config, length, history, str(run.path))
        started = monotonic()

        while referee.round < last:
            # Play.
            monitor_due = monitor is not None and monitor.due(referee.round + 1)
            if monitor and monitor_due and main:
                monitor.before()
            try:
                results = referee.play()
            except DivergedError as error:
                if main:
                    rows = referee.feeds[0].last_rows()
                    run.write_failure(
                        {"reason": str(error), "seed": config["seed"], "rows": rows, **referee.state_numbers()}
                    )
                    record_alarms(monitor.failed(referee.round) if monitor else [])
                raise DivergedError(
                    f"{error}. Lower the learning rates by a factor of 2 to 5. Diagnostics are in "
                    f"{run.path / 'failure'}, the last good weights in {run.path / 'weights'}"
                ) from None
            r, end = referee.round, referee.round == last
            display.tick(r)

            # Log.
            logged = r % every["log"] == 0 or end
            moves = referee.reduce_logs(results) if logged or monitor_due else []
            if logged:
                if main:
                    run.append("log", {"round": r, "moves": moves})
                    run.append(
                        "timing", {"round": r, "seconds": round(monotonic() - started, 3), "at": strftime("%FT%T")}
                    )
                display.tell(moves)

            # Monitor.
            if monitor and monitor_due:
                on_main_process(processes, partial(observe, monitor, moves))

            # Sample.
            stop = signalled()
            if due(r, every["show"], early.get("show")) or end or stop:
                on_main_process(processes, show)

            # Evaluate.
            if due(r, every["measure"], early.get("measure")) or end:
                on_main_process(processes, measure)
                stop = stop or signalled()

            # Save.
            if r % every["save"] == 0 or end or stop:
                on_main_process(processes, save)
            if stop and not end:
                raise stopped(stop)
    with collective():
        referee.processes.wait_for_everyone()
    return run


# Helpers.


def _why_no_fd(system: System, data: Dataset) -> str:
    """Why FD is not measured, and how to change that."""
    if not system.supports("sample"):
        return f"FD is off: {type(system).__name__} does not generate samples"
    held_out = len(data.held_out) if data.held_out else 0
    need, total = MIN_HELD_OUT, len(data) + held_out
    reason = f"FD is off: it needs at least {need} held-out images ({held_out} of {total:,} are held out)"
    if total < 2 * need:
        return f"{reason}; add images"
    return f"{reason}; train with --held-out {need} or more (in Python: held_out={need})"


def due(round_number: int, every: int, early: int | None = None) -> bool:
    """Whether a periodic action is due after this round: in multiples of `every`, and before the first of them in those
    of the rounds 1, 2, 5, 10, 20, 50, 100 ... that are at least `early` (None: not before).

    Depends on the round number only, so that a resumed run does the same as an uninterrupted one.
    """
    if round_number >= every or early is None:
        return round_number % every == 0
    digits = str(round_number).rstrip("0")
    return round_number >= early and digits in ("1", "2", "5")


def _build(function: RecipeFunction, resolved: dict[str, Any], data: Dataset, seed: int) -> Recipe:
    """The recipe at round 0: the same weights for the same seed."""
    generator = make_generator(seed, "weights")
    with isolated(generator.initial_seed()), Drawing(generator):
        recipe = build_recipe(function, data.spec, resolved)
        if recipe.prepare is not None:
            recipe.prepare(data)
    return recipe


def _referee(recipe: Recipe, data: Dataset, *, seed: int, precision: str, grad_accum: int) -> Referee:
    return Referee(
        recipe.system,
        recipe.streams(data, seed) if recipe.streams else {"train": data},
        batch=recipe.batch,
        optimizers=recipe.optimizers,
        schedules=recipe.schedules,
        grad_accum=grad_accum,
        ema_decay=recipe.ema_decay,
        ema_start=recipe.ema_start,
        precision=recipe.precision if precision == "auto" else precision,
        seed=seed,
    )


def _caveats(referee: Referee, last: int) -> Iterator[str]:
    """Warnings about effects that the user may not expect."""
    microbatches, processes = referee.grad_accum, referee.processes.num_processes
    batchwise = referee.batchwise()
    if microbatches * processes > 1 and batchwise:
        yield (
            f"{', '.join(batchwise)}: computed separately for each of the {microbatches * processes} parts of a batch "
            f"(microbatches: {microbatches}, processes: {processes}), so the result differs from that of whole batches"
        )
    ends = referee.schedule_ends(last)
    for end in sorted(set(ends.values())):
        players = " and ".join(player for player in ends if ends[player] == end)
        yield (
            f"the learning rate of {players} is 0 after round {end:,}, where the schedule ends: the last "
            f"{last - max(end, referee.round):,} rounds have no effect; --rounds {end} omits them"
        )


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
        "versions": {"sparring": sparring.__version__, "torch": torch.__version__},
        "round": referee.round,
        "weights": state.hexdigest(),
    }


def _source(function: Callable) -> str:
    """The source of a function; not available for one that was typed into an interpreter."""
    try:
        return dedent(inspect.getsource(function))
    except OSError:
        return "# The source of this round is not available.\n"


def _create_run(out: Path, name: str, config: dict[str, Any], source: str, referee: Referee) -> Run:
    """The main process creates the directory; the others open it."""
    paths: list[str | None] = [None]

    def create() -> None:
        paths[0] = str(Run.create(out, name, config, source).path)

    on_main_process(referee.processes, create)
    with collective():
        accelerate.utils.broadcast_object_list(paths)
    return Run.open(str(paths[0]))


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


@contextmanager
def _signals(run: Run, referee: Referee, display: Display) -> Iterator[Callable[[], int]]:
    """Yields a function that returns the number of a stop signal, or 0; the same in all processes."""

    def acknowledge(number: int) -> None:
        saved = run.checkpoints()
        lost = f" and loses the rounds since {saved[-1]:,}" if saved else ""
        name = signal.Signals(number).name
        display.say(f"{name}: finishing the round and saving; a second signal stops at once{lost}")

    with stop_signals(acknowledge) as caught:

        def signalled() -> int:
            if referee.processes.num_processes == 1:
                return caught()
            own = torch.tensor([caught()], device=referee.device)
            with collective():
                return int(accelerate.utils.gather(own).max())

        yield signalled


MAX_THREADS = 1024


def _checked_threads(threads: int) -> int:
    return require_int("threads", threads, most=MAX_THREADS)


def _environment_changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Differences to the environment in which the run was created."""
    for what in ("torch", "threads", "processes", "processor"):
        if now[what] != then[what]:
            change = f"{what}: {then[what]} then, {now[what]} now"
            yield f"{change}; the result is equally valid, but not bit-identical"


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
    return {"sparring": sparring.__version__, "commit": commit(), "machine": machine}
