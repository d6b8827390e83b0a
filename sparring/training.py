"""From a recipe and data to a run: play, log, show, measure, save; and to go on where a run was stopped."""

from __future__ import annotations

import hashlib
import inspect
import os
import platform
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
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
from sparring.data.loading import require_one_size
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
from sparring.run import Run, command_line, reload_data, resolved_recipe
from sparring.seeds import Drawing, derive_seed, isolated, make_generator, standard_defaults
from sparring.signals import stop_signals
from sparring.system import System

GRID_ROWS = 8
"""Rows of a sample grid."""

FIRST_DENSE_ROUND = {"show": 1, "measure": 20}
"""From which of the rounds 1, 2, 5, 10, 20, 50, 100 ... on grids are shown and FDs measured, unless told otherwise."""


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
    rounds      default: what the recipe's source used
    precision   "auto" (bf16 where the hardware multiplies it natively, unless the recipe needs fp32), "fp32" or "bf16"
    grad_accum  cut each batch into this many pieces, to save memory; the result is the same up to rounding, but where
                batch norm, dropout or the like see the pieces: that is said before the first round
    size, channels, classes, labels_from, held_out, data_root  as in `sparring.load`; not for a Dataset, which is loaded
                already
    log_every, sample_every, eval_every, save_every   rounds between log lines, sample grids (default: rounds / 40, and
                before that rounds 1, 2, 5, 10, 20, 50 ...), FD measurements (default: rounds / 10, and before that
                20, 50, 100 ...) and checkpoints
    monitor     look out for collapse, divergence and other ills (docs/monitor.md); the training is the same without
    threads     of PyTorch on the CPU (default: as many as it would use). Results depend on the number in their last
                bits, so it is kept, and `resume` uses the same
    arguments   the recipe's own, by name

    Raises SparringError before the first round for anything wrong with the arguments or the data, Diverged when
    training cannot go on, Interrupted (after showing a grid and saving) on SIGINT, SIGTERM or SIGHUP; a
    second of these ends the process at once.
    """
    function = load_recipe(recipe, RECIPES) if isinstance(recipe, str) else recipe
    if not inspect.isfunction(function):
        raise SparringError(f"recipe is {abbreviated(recipe)}: give a name of `sparring recipes`, or a function")
    info(function)
    theirs, ours = {a.name for a in arguments_of(function)}, inspect.signature(train).parameters
    for given in arguments.keys() - theirs:
        near = get_close_matches(given, [*theirs, *ours], 1, 0.6)
        if near and near[0] in ours:
            raise SparringError(f"unknown argument '{given}'; did you mean '{near[0]}'?")
    name = recipe if isinstance(recipe, str) else f"{recipe.__module__}:{recipe.__qualname__}"
    settled = resolve_arguments(function, arguments)
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
        raise SparringError(f"held_out is {abbreviated(held_out)}: it is a share of the images, or how many")
    out = require_path("out", out)

    threads = _checked_threads(threads) if threads is not None else torch.get_num_threads()

    try:
        str(Path(out).absolute()).encode()
    except UnicodeEncodeError:
        raise SparringError(f"out is '{shown(str(out))}', which is not UTF-8: give another folder") from None

    # Data.
    peers = process_group()
    wishes = {"size": size, "channels": channels, "classes": classes, "labels_from": labels_from, "root": data_root}
    if not isinstance(data, Dataset):
        if size is None and isinstance(data, Mapping):
            require_one_size(data, data_root)
        source = {"source": data, **wishes, "held_out": held_out}
        own_size = None if isinstance(data, np.ndarray | torch.Tensor) else info(function).size
        data = on_each_process(peers, partial(reload_data, source, own_size))
    elif held_out != 0.1 or any(wish is not None for wish in wishes.values()):
        raise SparringError(
            "size, channels, classes, labels_from, held_out and data_root are for loading: give them to sparring.load"
        )
    data.require_images()

    # Networks, optimizers.
    make = partial(build_recipe, function, data.spec, settled)
    notes = require_playable(make, data, grad_accum=grad_accum, processes=peers.num_processes)
    made = on_each_process(peers, partial(_build, function, settled, data, seed))
    own_length = rounds is None
    rounds = rounds or made.rounds
    every = {
        "log": log_every,
        "show": sample_every or max(1, rounds // 40),
        "measure": eval_every or max(1, rounds // 10),
        "save": save_every,
    }
    referee = _referee(made, data, seed=seed, precision=precision, grad_accum=grad_accum)

    # The run directory.
    config = {
        "recipe": name,
        "arguments": settled,
        "paper": info(function).paper,
        "data": {"name": data.name, "source": data.source, "count": len(data), "fingerprint": data.fingerprint},
        "spec": {"channels": data.spec.channels, "size": data.spec.size, "classes": list(data.spec.classes)},
        "seed": seed,
        "rounds": rounds,
        "batch": made.batch,
        "grad_accum": grad_accum,
        "precision": str(referee.precision).removeprefix("torch."),
        "every": every,
        "early": [what for what, given in (("show", sample_every), ("measure", eval_every)) if given is None],
        "monitor": monitor,
        "equilibrium": made.system.equilibrium() if made.system.supports("equilibrium") else {},
        "schedule_ends": referee.schedule_ends(rounds),
        "command": command_line(),
        **_environment(referee, threads),
    }
    require_same_config(peers, partial(_game, config, referee))
    run = _create_run(out, f"{name}-{data.name}", config, _source(type(made.system).round), referee)
    measured = info(function).measured
    if name not in RECIPES:
        run.trusted = function
        if function.__module__ == "__main__" or "<locals>" in name:
            notes.append(f"recipe {name} is in a script or a notebook: only from a module can it be imported to resume")
    with _locked(run):
        return _train_loop(
            run,
            referee,
            data,
            threads=threads,
            quiet=quiet,
            notes=notes,
            length=made.rounds,
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
    """Go on where a run was stopped, bit for bit as if it had not been; `rounds` sets a new end.

    data     needed when the run was trained on a Dataset made in memory, when its data are in another place now, and
             when it was made by somebody else or on another machine: a Dataset, or a name or path for `sparring.load`
    recipe   needed again when the recipe is not one of ours ("package.module:function")
    threads  of PyTorch on the CPU (default: as many as the run was started with). With another number the result is
             as good, but not the same bit for bit

    Raises SparringError when nothing can be resumed, when the data have changed since, or when another process holds
    the run; nothing was changed then.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    if rounds is not None:
        require_int("rounds", rounds)
    with _locked(run):
        run.reload()  # another process may have played on until now
        config = run.config
        if not run.checkpoints():
            run.require_unplayed()
        saved = run.newest_checkpoint() if run.checkpoints() else None
        last = config["rounds"] if rounds is None else rounds
        if saved and last < saved.numbers["round"]:
            raise SparringError(
                f"{run.path} has already played {saved.numbers['round']} rounds; --rounds {last} is less"
            )

        threads = _checked_threads(config["machine"]["threads"] if threads is None else threads)
        function, settled = resolved_recipe(config, run.trusted if recipe is None else recipe)
        if saved:
            run.require_fit(saved, function, settled)
        peers = process_group()
        data = on_each_process(peers, partial(run.data, data))
        make = partial(build_recipe, function, data.spec, settled)
        notes = require_playable(make, data, grad_accum=config["grad_accum"], processes=peers.num_processes)
        made = on_each_process(peers, partial(_build, function, settled, data, config["seed"]))
        precision = {"bfloat16": "bf16", "float32": "fp32"}[config["precision"]]
        referee = _referee(made, data, seed=config["seed"], precision=precision, grad_accum=config["grad_accum"])
        if saved:
            referee.load_state(saved.tensors, saved.numbers)
            notes += saved.warnings
        if saved and last == saved.numbers["round"]:
            notes.append(f"all {last} rounds are played; to go on, give a new end: --rounds N")
        if threads > (processors := os.cpu_count() or 1):
            notes.append(f"{threads} threads share {processors} processors: --threads {processors} is faster")
        notes += _moved(config["machine"], _environment(referee, threads)["machine"])
        require_same_config(peers, partial(_game, {**config, "rounds": last}, referee))
        if referee.processes.is_main_process:
            run.truncate_logs(saved.numbers["logs"] if saved else {})
            if saved:
                run.write_weights(referee.ema_system, referee.round)
        if last != config["rounds"]:
            config["rounds"], config["schedule_ends"] = last, referee.schedule_ends(last)
            if referee.processes.is_main_process:
                run.write_config()
        return _train_loop(run, referee, data, threads=threads, quiet=quiet, notes=notes, length=made.rounds)


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
    """The story of a training, from the referee's round to the run's last."""
    config, every, last = run.config, run.config["every"], run.config["rounds"]
    early = {what: FIRST_DENSE_ROUND[what] for what in config["early"]}
    peers, main = referee.processes, referee.processes.is_main_process
    shown = referee.ema_system
    show_seed = derive_seed(config["seed"], "show")
    measurable = shown.supports("sample") and data.held_out is not None and len(data.held_out) >= MIN_HELD_OUT
    yardstick: TrainingEvaluator | None = None
    exam: Callable[[], Rate] | None = None
    if main and data.held_out and data.labels is not None:
        if shown.supports("classify"):
            exam = partial(classification_error, shown, data.held_out, "held_out")
        elif shown.supports("cluster"):
            exam = partial(clustering_error, shown, data, "held_out")
    if not measurable:
        notes = [*notes, _unmeasured(shown, data)]
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
        shown = referee.ema_system
        with display.doing("making a grid"):
            if shown.supports("sample"):
                picture = grid(shown.sample(GRID_ROWS * shown.grid_columns, seed=show_seed), columns=shown.grid_columns)
            elif shown.supports("reconstruct"):
                picture = reconstructions(
                    shown, data.held_out or data, GRID_ROWS // 2 * shown.grid_columns, shown.grid_columns
                )
            elif shown.supports("translate"):
                picture = translations(shown, data, shown.grid_columns)
            else:
                return
            encoded = png(picture)
            run.write_sample(referee.round, encoded)
            display.grid(encoded)

    def measure() -> None:
        nonlocal yardstick
        shown = referee.ema_system
        if measurable:
            yardstick = yardstick or TrainingEvaluator(data)
            with display.doing("measuring FD"):
                fakes = shown.sample(yardstick.n, seed=derive_seed(config["seed"], "measure", referee.round))
                for line in yardstick.lines(fakes):
                    display.measured[line["name"]] = f"{line['value']:.3g}"
                    run.append("metrics", {"round": referee.round, **line})
                best = run.best()
                if best is not None and best["round"] == referee.round:
                    run.write_best(shown, referee.round)
        if exam is not None:
            with display.doing("measuring the held-out error"):
                error = exam()
                display.measured["held-out error"] = f"{100 * error.value:.2f} %"
                line = {"round": referee.round, "name": error.name, "value": error.value, "n": error.n}
                run.append("metrics", line)

    def tell(found: list[dict[str, Any]]) -> None:
        for line in found:
            run.append("health", line)
            if "alarm" in line:
                display.alarm(Alarm(**line["alarm"]))

    def look(monitor: Monitor, moves: list[dict[str, float | str]]) -> None:
        _ = referee.ema_system  # brings the averaged weights, which the monitor knows, up to date
        tell(monitor.look(referee.round, moves, referee.rates()))

    def save() -> None:
        with display.doing("saving"):
            run.save(referee.state_tensors(), referee.state_numbers(), referee.ema_system)

    def stopped(number: int) -> InterruptedRun:
        name = signal.Signals(number).name
        how = f"saved; go on with: sparring resume {run.path}"
        return InterruptedRun(f"{name} at round {referee.round}: {how}", number, run.path)

    def start() -> None:
        if not run.checkpoints():  # not even round 0 is saved
            show()
            measure()
            save()

    with computing_with(threads), display, _signals(run, referee, display) as signalled:
        for note in [*data.notes, *notes]:
            display.say(note)
        on_main_process(peers, start)
        if stop := signalled():
            raise stopped(stop)
        monitor = None
        if config["monitor"]:
            known = run.read("health") if main else ()
            monitor = Monitor(referee.system, shown, data, config, length, known, str(run.path))
        started = monotonic()

        while referee.round < last:
            # Play.
            watched = monitor is not None and monitor.due(referee.round + 1)
            if monitor and watched and main:
                monitor.before()
            try:
                told = referee.play()
            except DivergedError as error:
                if main:
                    rows = referee.feeds[0].last_rows()
                    run.write_failure(
                        {"reason": str(error), "seed": config["seed"], "rows": rows, **referee.state_numbers()}
                    )
                    tell(monitor.failed(referee.round) if monitor else [])
                raise DivergedError(
                    f"{error}. Lower the learning rates by 2 to 5 times; what was known is in {run.path / 'failure'}, "
                    f"the last good weights in {run.path / 'weights'}"
                ) from None
            r, end = referee.round, referee.round == last
            display.tick(r)

            # Log.
            logged = r % every["log"] == 0 or end
            moves = referee.reduce_logs(told) if logged or watched else []
            if logged:
                if main:
                    run.append("log", {"round": r, "moves": moves})
                    run.append(
                        "timing", {"round": r, "seconds": round(monotonic() - started, 3), "at": strftime("%FT%T")}
                    )
                display.tell(moves)

            # Look.
            if monitor and watched:
                on_main_process(peers, partial(look, monitor, moves))

            # Show.
            stop = signalled()
            if due(r, every["show"], early.get("show")) or end or stop:
                on_main_process(peers, show)

            # Measure.
            if due(r, every["measure"], early.get("measure")) or end:
                on_main_process(peers, measure)
                stop = stop or signalled()

            # Save.
            if r % every["save"] == 0 or end or stop:
                on_main_process(peers, save)
            if stop and not end:
                raise stopped(stop)
    with collective():
        referee.processes.wait_for_everyone()
    return run


# Pieces of the story that would interrupt it.


def _unmeasured(shown: System, data: Dataset) -> str:
    """Why no FD is measured, and what would change that."""
    if not shown.supports("sample"):
        return f"FD is not measured: {type(shown).__name__} makes no samples"
    there = len(data.held_out) if data.held_out else 0
    need, total = MIN_HELD_OUT, len(data) + there
    why = f"FD is not measured: it takes {need} held-out images, and {there} of {total:,} are held out"
    if total < 2 * need:
        return f"{why}; add images"
    return f"{why}; train with --held-out {need} or more (in Python held_out={need})"


def due(round_number: int, every: int, early: int | None = None) -> bool:
    """Whether something done every so many rounds is done after this one: in multiples of `every`, and before the first
    of them, from round `early` on, in the rounds 1, 2, 5, 10, 20, 50, 100 ... (None: not before).

    It depends on nothing but the round's number: a run that was stopped and resumed is the same run.
    """
    if round_number >= every or early is None:
        return round_number % every == 0
    digits = str(round_number).rstrip("0")
    return round_number >= early and digits in ("1", "2", "5")


def _build(function: RecipeFunction, settled: dict[str, Any], data: Dataset, seed: int) -> Recipe:
    """The recipe at round 0: the same weights for the same seed."""
    own = make_generator(seed, "weights")
    with isolated(own.initial_seed()), Drawing(own):
        made = build_recipe(function, data.spec, settled)
        if made.prepare is not None:
            made.prepare(data)
    return made


def _referee(made: Recipe, data: Dataset, *, seed: int, precision: str, grad_accum: int) -> Referee:
    return Referee(
        made.system,
        made.streams(data, seed) if made.streams else {"train": data},
        batch=made.batch,
        optimizers=made.optimizers,
        schedules=made.schedules,
        grad_accum=grad_accum,
        ema_decay=made.ema_decay,
        ema_start=made.ema_start,
        precision=made.precision if precision == "auto" else precision,
        seed=seed,
    )


def _caveats(referee: Referee, last: int) -> Iterator[str]:
    """What makes this training another than one may think, as sentences."""
    pieces, processes = referee.grad_accum, referee.processes.num_processes
    batchwise = referee.batchwise()
    if pieces * processes > 1 and batchwise:
        yield (
            f"{', '.join(batchwise)}: computed for each of the {pieces * processes} parts of a batch by itself "
            f"(pieces: {pieces}, processes: {processes}), so the result is not that of the whole batch at once"
        )
    ends = referee.schedule_ends(last)
    for end in sorted(set(ends.values())):
        players = " and ".join(player for player in ends if ends[player] == end)
        yield (
            f"the learning rate of {players} is 0 after round {end:,}, where the schedule ends: the last "
            f"{last - max(end, referee.round):,} rounds teach nothing; --rounds {end} plays none of them"
        )


def _game(config: Mapping[str, Any], referee: Referee) -> dict[str, Any]:
    """What all processes of a training must have in common: every argument, the data, and where the game stands."""
    same = ("recipe", "arguments", "spec", "seed", "rounds", "batch", "grad_accum", "precision", "every", "monitor")
    state = hashlib.blake2b(digest_size=8)
    for file, named in sorted(referee.state_tensors().items(), key=lambda one: one[0]):
        for name, value in sorted(named.items(), key=lambda one: one[0]):
            state.update(f"{file} {name} {value.dtype}".encode())
            state.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return {
        **{name: config[name] for name in same},
        "run": config.get("id"),
        "data": {name: config["data"][name] for name in ("name", "count", "fingerprint")},
        "versions": {"sparring": sparring.__version__, "torch": torch.__version__},
        "round": referee.round,
        "weights": state.hexdigest(),
    }


def _source(function: Callable) -> str:
    """The text of a function; of one that was typed into an interpreter there is none."""
    try:
        return dedent(inspect.getsource(function))
    except OSError:
        return "# The source of this round was not kept in a file.\n"


def _create_run(out: Path, name: str, config: dict[str, Any], source: str, referee: Referee) -> Run:
    """The main process makes the directory; the others open it."""
    made: list[str | None] = [None]

    def create() -> None:
        made[0] = str(Run.create(out, name, config, source).path)

    on_main_process(referee.processes, create)
    with collective():
        accelerate.utils.broadcast_object_list(made)
    return Run.open(str(made[0]))


@contextmanager
def _locked(run: Run) -> Iterator[None]:
    """The main process holds the run; the others wait until it does, and are refused with it."""
    refusal: list[SparringError | None] = [None]
    with ExitStack() as held:
        if process_group().is_main_process:
            try:
                held.enter_context(run.lock())
            except SparringError as error:
                refusal = [error]
        with collective():
            accelerate.utils.broadcast_object_list(refusal)
        if refusal[0] is not None:
            raise refusal[0]
        yield


@contextmanager
def _signals(run: Run, referee: Referee, display: Display) -> Iterator[Callable[[], int]]:
    """Yields a function that returns the number of the signal that asks to stop, or 0; several processes agree."""

    def acknowledge(number: int) -> None:
        saved = run.checkpoints()
        lost = f" and loses what was played since round {saved[-1]:,}" if saved else ""
        name = signal.Signals(number).name
        display.say(f"{name}: finishing the round and saving before it stops; a second one stops at once{lost}")

    with stop_signals(acknowledge) as caught:

        def signalled() -> int:
            if referee.processes.num_processes == 1:
                return caught()
            mine = torch.tensor([caught()], device=referee.device)
            with collective():
                return int(accelerate.utils.gather(mine).max())

        yield signalled


MOST_THREADS = 1024


def _checked_threads(threads: int) -> int:
    return require_int("threads", threads, most=MOST_THREADS)


def _moved(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What is not as it was when the run was made."""
    for what in ("torch", "threads", "processes", "processor"):
        if now[what] != then[what]:
            change = f"{what}: {then[what]} then, {now[what]} now"
            yield f"{change}; the result will be as good, but not the same bit for bit"


def _environment(referee: Referee, threads: int) -> dict[str, Any]:
    """What this machine and this code are."""
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
