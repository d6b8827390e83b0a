"""A search for good arguments of a recipe: optuna proposes, trainings answer, one journal file is shared by workers."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sparring.durable import lives, read_file
from sparring.errors import DivergedError, SparringError, unknown_name_error
from sparring.recipes import RECIPES
from sparring.recipes.recipe import arguments, info, load_recipe, resolve_arguments
from sparring.seeds import derive_seed

if TYPE_CHECKING:
    import optuna

PRUNE_AT = (0.25, 0.5)
"""Shares of the rounds after which a trial that is worse than the median of the others is given up."""


@dataclass(frozen=True)
class Range:
    """What an argument may be: numbers from `low` to `high`, or one of `choices`."""

    low: float | int | None = None
    high: float | int | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()

    def suggest(self, trial: optuna.Trial, name: str) -> Any:
        if self.choices:
            return trial.suggest_categorical(name, self.choices)
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(name, self.low, self.high, log=self.log)
        assert self.low is not None
        assert self.high is not None
        return trial.suggest_float(name, self.low, self.high, log=self.log)


def read_space(text: str, recipe: str) -> dict[str, Range]:
    """ "discriminator_lr=1e-5..1e-3:log, latent=32|64|128" -> ranges by argument; or the same lines from a file.

    Raises SparringError for what is no range, no argument of the recipe, or beyond what the argument allows.
    """
    with suppress(OSError, ValueError):  # a text that is longer than the name of a file may be
        text = read_file(Path(text)).decode(errors="surrogateescape")
    function = load_recipe(recipe, RECIPES)
    known = {a.name: a for a in arguments(function)}
    space = {}
    for part in filter(None, (p.strip() for p in text.replace("\n", ",").split(","))):
        given, sign, values = (p.strip() for p in part.partition("="))
        name = given.removeprefix("--").replace("-", "_")
        if not sign or not values:
            raise SparringError(f"--space has '{part}': it must be argument=low..high, argument=low..high:log or a|b|c")
        if name not in known:
            raise unknown_name_error("argument", name, known)

        def checked(value: str, name: str = name) -> Any:
            return resolve_arguments(function, {name: value.strip()})[name]

        if "|" in values:
            space[name] = Range(choices=tuple(checked(value) for value in values.split("|")))
            continue
        bounds, _, scale = values.partition(":")
        low, dots, high = bounds.partition("..")
        if not dots or scale not in ("", "log"):
            raise SparringError(f"--space has '{part}': it must be argument=low..high, argument=low..high:log or a|b|c")
        ends = checked(low), checked(high)
        if not all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends):
            raise SparringError(f"--space has '{part}': {name} is no number; list its values as a|b|c")
        if not ends[0] < ends[1] or (scale == "log" and ends[0] <= 0):
            raise SparringError(f"--space has '{part}': the first end must be below the second, and above 0 for :log")
        space[name] = Range(*ends, log=scale == "log")
    if not space:
        raise SparringError("--space is empty: give argument=low..high, argument=low..high:log or argument=a|b|c")
    return space


@dataclass(frozen=True)
class Sweep:
    """What all workers of a journal agree on.

    data       as in `train`; options: of `train` that are not the recipe's; fixed: the recipe's own, by name
    objective  "FD" or "KID", of n samples against held-out images; never against the test set
    """

    recipe: str
    data: Any
    rounds: int
    space: Mapping[str, Range]
    fixed: Mapping[str, Any]
    options: Mapping[str, Any]
    seed: int = 0
    objective: Literal["FD", "KID"] = "FD"
    n: int = 2000

    def config(self) -> dict[str, Any]:
        """As JSON values."""
        return json.loads(json.dumps(asdict(self), default=str))


@dataclass(frozen=True)
class Trial:
    """One training of a sweep; value None: it diverged, was given up, or is still played."""

    number: int
    state: str
    value: float | None
    arguments: Mapping[str, Any]
    run: str | None


def run_worker(
    sweep: Sweep,
    journal: Path,
    trials: int,
    *,
    prune: bool = True,
    quiet: bool = False,
    say: Callable[[str], None] = print,
) -> list[Trial]:
    """Play trials until the journal has that many, and return them all, best first.

    Start it as often as there are processors, on as many machines as see the file: they share the journal. Raises
    SparringError without optuna, for data of which too few images are held out to measure against, and for a journal
    that is about something else.
    """
    _optuna()
    _require_measurable(sweep)
    study = _study(sweep, journal)
    out = journal.with_name(f"{journal.name}.runs")
    while _tried(study) < trials:
        study.sampler = _optuna().samplers.TPESampler(seed=_seed(study, sweep), constant_liar=True)
        trial = study.ask()
        trial.set_user_attr("worker", [socket.gethostname(), os.getpid()])
        chosen = {name: one.suggest(trial, name) for name, one in sweep.space.items()}
        say(f"trial {trial.number + 1} of {trials}: {in_words(chosen)}")
        state, value = "FAIL", None
        try:
            state, value = _play(sweep, trial, chosen, out, prune, quiet)
        finally:
            study.tell(trial, value, state=_optuna().trial.TrialState[state])
        best = min((t.value for t in read_trials(journal) if t.value is not None), default=None)
        came = "given up" if value is None else f"{sweep.objective} {value:.4g}"
        say(f"trial {trial.number + 1}: {came}" + ("" if best is None else f"; best so far {best:.4g}"))
    return read_trials(journal)


def _require_measurable(sweep: Sweep) -> None:
    """Before the first training: there are images to measure against."""
    from sparring.evaluation.splits import FEWEST
    from sparring.run import reload_data

    options = {"size": None, "channels": None, "classes": None, "held_out": 0.1, **sweep.options}
    source = {**options, "source": sweep.data, "root": options.get("data_root")}
    data = reload_data(source, info(load_recipe(sweep.recipe, RECIPES)).size)
    there = len(data.held_out) if data.held_out else 0
    if there < FEWEST:
        raise SparringError(
            f"{there} of {len(data) + there:,} images are held out, and a sweep measures against {FEWEST} or more: "
            "give --held-out 50"
        )


def _tried(study: optuna.Study) -> int:
    """Trials that have ended or are being played; those of workers of this machine that were killed are given up."""
    states = _optuna().trial.TrialState
    for trial in study.get_trials(deepcopy=False, states=[states.RUNNING]):
        host, process = trial.user_attrs.get("worker", (None, None))
        if host == socket.gethostname() and not lives(process):
            with suppress(ValueError):  # another worker was faster
                study.tell(trial.number, state=states.FAIL)
    return len(study.get_trials(deepcopy=False, states=[states.COMPLETE, states.PRUNED, states.RUNNING]))


def in_words(chosen: Mapping[str, Any]) -> str:
    """Arguments as flags: --latent-dim 64 --discriminator-lr 0.0001234"""
    flags = {f"--{name.replace('_', '-')}": value for name, value in chosen.items()}
    return " ".join(
        f"{flag} {value:.4g}" if isinstance(value, float) else f"{flag} {value}" for flag, value in flags.items()
    )


def _play(
    sweep: Sweep, trial: optuna.Trial, chosen: Mapping[str, Any], out: Path, prune: bool, quiet: bool
) -> tuple[str, float | None]:
    """Train, look after a quarter and a half, and measure at the end: the trial's state and value."""
    from sparring.training import resume, train

    ends = [*({max(1, round(share * sweep.rounds)) for share in PRUNE_AT} if prune else ()), sweep.rounds]
    run = None
    try:
        for rounds in sorted(set(ends)):
            if run is None:
                every = {"sample_every": max(1, sweep.rounds // 10), "eval_every": sweep.rounds}
                wanted = {**every, **sweep.options, **sweep.fixed, **chosen}
                run = train(sweep.recipe, sweep.data, rounds=rounds, out=out, seed=sweep.seed, quiet=quiet, **wanted)
                trial.set_user_attr("run", str(run.path))
            else:
                run = resume(run, rounds=rounds, quiet=quiet)
            value = _measured(sweep, run)
            trial.report(value, rounds)
            if rounds < sweep.rounds and trial.should_prune():
                return "PRUNED", None
    except DivergedError:
        return "PRUNED", None
    return "COMPLETE", value


def _measured(sweep: Sweep, run: Any) -> float:
    from sparring.evaluation import evaluate

    result = evaluate(run.system(), run.data(), n=sweep.n, split="held_out", repeats=1)
    return result[sweep.objective].value


def read_trials(journal: Path) -> list[Trial]:
    """All trials of a journal, best first."""
    study = _load(journal)
    trials = []
    for t in study.get_trials(deepcopy=False):
        value = t.value if t.state.name == "COMPLETE" else None  # optuna keeps the last look at one that was given up
        trials.append(Trial(t.number, t.state.name.lower(), value, dict(t.params), t.user_attrs.get("run")))
    return sorted(trials, key=lambda t: (t.value is None, t.value, t.number))


def _study(sweep: Sweep, journal: Path) -> optuna.Study:
    """The journal's study, made by the first worker. Raises SparringError when it is about something else."""
    pruner = _optuna().pruners.MedianPruner(n_startup_trials=4)
    journal.parent.mkdir(parents=True, exist_ok=True)
    study = _optuna().create_study(
        study_name="sweep", storage=_storage(journal), direction="minimize", load_if_exists=True, pruner=pruner
    )
    kept = study.user_attrs.get("sweep")
    if kept is None:
        study.set_user_attr("sweep", sweep.config())
    elif kept != (wanted := sweep.config()):
        key = next(k for k in wanted if kept.get(k) != wanted[k])
        raise SparringError(
            f"{journal} is a journal of another sweep: its {key} is {kept.get(key)}, here it is {wanted[key]}; "
            "give another --journal"
        )
    return study


def _load(journal: Path) -> optuna.Study:
    return _optuna().load_study(study_name="sweep", storage=_storage(journal))


def _storage(journal: Path) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    lock = JournalFileOpenLock(str(journal))
    _require_whole(journal, lock)
    return JournalStorage(JournalFileBackend(str(journal), lock_obj=lock))


def _require_whole(journal: Path, lock: Any) -> None:
    """Raises SparringError unless every line of the journal is JSON, which also its last must end."""
    if not journal.is_file():
        return
    lock.acquire()
    try:
        lines = journal.read_bytes().splitlines(keepends=True)
    finally:
        lock.release()
    for number, line in enumerate(lines, 1):
        try:
            whole = isinstance(json.loads(line), dict) and line.endswith(b"\n")
        except ValueError:
            whole = False
        if not whole:
            raise SparringError(
                f"{journal} is damaged in line {number} of {len(lines)}: take the line out, or give another --journal"
            )


def _seed(study: optuna.Study, sweep: Sweep) -> int:
    """Depends on how many trials count: a sweep that is started again, even after a kill, goes on as it would have."""
    return derive_seed("sweep", sweep.seed, _tried(study)) % 2**32


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise SparringError("a sweep takes optuna: pip install 'sparring[sweep]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def on_slurm(
    jobs: int, options: Mapping[str, Any], folder: Path, task: Callable[[], Any], cluster: str = "slurm"
) -> list[Any]:
    """Submit `jobs` workers through submitit, and return its jobs.

    options  of the scheduler, by submitit's names: timeout_min, slurm_partition, gpus_per_node, cpus_per_task ...
    cluster  "slurm"; "local": processes of this machine, to try it out

    Raises SparringError without submitit, without Slurm, and for unknown options.
    """
    try:
        import submitit
    except ImportError:
        raise SparringError("Slurm takes submitit: pip install 'sparring[sweep]'") from None
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        executor.update_parameters(**options)
        with executor.batch():
            submitted = [executor.submit(task) for _ in range(jobs)]
    except Exception as error:  # submitit raises whatever its scheduler said
        raise SparringError(f"Slurm did not take the jobs: {error}") from None
    return submitted


def require_one_process() -> None:
    """Raises SparringError under torchrun: workers of a sweep are separate trainings."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise SparringError("a sweep cannot run under torchrun: start the same line several times instead")
