"""Hyperparameter search over the arguments of a recipe with optuna; workers share one journal file."""

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
"""Fractions of the rounds after which a trial worse than the median of the others is pruned."""


@dataclass(frozen=True)
class Range:
    """Search space of an argument: numbers from `low` to `high`, or one of `choices`."""

    low: float | int | None = None
    high: float | int | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()

    def suggest(self, trial: optuna.Trial, name: str) -> Any:
        """A value of the argument `name` in this trial: one of `choices`, or from `low` to `high` inclusive."""
        if self.choices:
            return trial.suggest_categorical(name, self.choices)
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(name, self.low, self.high, log=self.log)
        assert self.low is not None
        assert self.high is not None
        return trial.suggest_float(name, self.low, self.high, log=self.log)


def read_space(text: str, recipe: str) -> dict[str, Range]:
    """Ranges by argument, from text such as "discriminator_lr=1e-5..1e-3:log, latent_dim=32|64|128".

    `text` may also be the path of a file with such lines.

    Raises SparringError for invalid ranges, unknown arguments, and values that the argument does not allow.
    """
    with suppress(OSError, ValueError):  # a text may be too long for a file name
        text = read_file(Path(text)).decode(errors="surrogateescape")
    function = load_recipe(recipe, RECIPES)
    names = [a.name for a in arguments(function)]
    space = {}
    for part in filter(None, (p.strip() for p in text.replace("\n", ",").split(","))):
        key, sign, values = (p.strip() for p in part.partition("="))
        name = key.removeprefix("--").replace("-", "_")
        if not sign or not values:
            raise SparringError(f"--space has '{part}': it must be argument=low..high, argument=low..high:log or a|b|c")
        if name not in names:
            raise unknown_name_error("argument", name, names)

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
            raise SparringError(f"--space has '{part}': {name} is not a number; list its values as a|b|c")
        if not ends[0] < ends[1] or (scale == "log" and ends[0] <= 0):
            raise SparringError(f"--space has '{part}': low must be below high, and above 0 for :log")
        space[name] = Range(*ends, log=scale == "log")
    if not space:
        raise SparringError("--space is empty: give argument=low..high, argument=low..high:log or argument=a|b|c")
    return space


@dataclass(frozen=True)
class Sweep:
    """The settings that all workers of a journal share.

    recipe, data, rounds, seed  as in `train`
    space      argument -> range to search
    fixed      other arguments of the recipe, by name
    options    other arguments of `train`, by name
    objective  "FD" or "KID" of `n` samples, measured on held-out images, never on the test set
    device     of this worker's trainings and evaluations; workers may have different ones
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
    device: str = "auto"

    def config(self) -> dict[str, Any]:
        """What must be equal for all workers, as JSON values."""
        config: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        del config["device"]
        return config


@dataclass(frozen=True)
class Trial:
    """One training of a sweep; value None: it diverged, was pruned, or is still running."""

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
    """Run trials until the journal has `trials` of them, and return them all, best first.

    Start one worker per processor, on any number of machines that see the file: they share the journal. Raises
    SparringError without optuna, for data with too few held-out images, and for the journal of another sweep.
    """
    _optuna()
    _require_measurable(sweep)
    study = _study(sweep, journal)
    out = journal.with_name(f"{journal.name}.runs")
    while _tried(study) < trials:
        study.sampler = _optuna().samplers.TPESampler(seed=_seed(study, sweep), constant_liar=True)
        trial = study.ask()
        trial.set_user_attr("worker", [socket.gethostname(), os.getpid()])
        chosen = {name: space.suggest(trial, name) for name, space in sweep.space.items()}
        say(f"trial {trial.number + 1} of {trials}: {in_words(chosen)}")
        state, value = "FAIL", None
        try:
            state, value = _play(sweep, trial, chosen, out, prune, quiet)
        finally:
            study.tell(trial, value, state=_optuna().trial.TrialState[state])
        best = min((t.value for t in read_trials(journal) if t.value is not None), default=None)
        result = "pruned" if value is None else f"{sweep.objective} {value:.4g}"
        say(f"trial {trial.number + 1}: {result}" + ("" if best is None else f"; best so far {best:.4g}"))
    return read_trials(journal)


def _require_measurable(sweep: Sweep) -> None:
    """Raises SparringError, before the first training, if there are too few held-out images to measure with."""
    from sparring.data.loading import reload_data
    from sparring.evaluation.splits import FEWEST

    options = {"size": None, "channels": None, "classes": None, "held_out": 0.1, **sweep.options}
    source = {**options, "source": sweep.data, "root": options.get("data_root")}
    data = reload_data(source, info(load_recipe(sweep.recipe, RECIPES)).size)
    held_out = len(data.held_out) if data.held_out else 0
    if held_out < FEWEST:
        raise SparringError(
            f"a sweep needs at least {FEWEST} held-out images ({held_out} of {len(data) + held_out:,} are held out): "
            "give --held-out 50"
        )


def _tried(study: optuna.Study) -> int:
    """Number of finished and running trials; trials of killed workers of this machine are marked as failed."""
    states = _optuna().trial.TrialState
    for trial in study.get_trials(deepcopy=False, states=[states.RUNNING]):
        host, process = trial.user_attrs.get("worker", (None, None))
        if host == socket.gethostname() and not lives(process):
            with suppress(ValueError):  # another worker was faster
                study.tell(trial.number, state=states.FAIL)
    return len(study.get_trials(deepcopy=False, states=[states.COMPLETE, states.PRUNED, states.RUNNING]))


def in_words(chosen: Mapping[str, Any]) -> str:
    """Arguments as flags, such as "--latent-dim 64 --discriminator-lr 0.0001234"."""
    flags = {f"--{name.replace('_', '-')}": value for name, value in chosen.items()}
    return " ".join(
        f"{flag} {value:.4g}" if isinstance(value, float) else f"{flag} {value}" for flag, value in flags.items()
    )


def _play(
    sweep: Sweep, trial: optuna.Trial, chosen: Mapping[str, Any], out: Path, prune: bool, quiet: bool
) -> tuple[str, float | None]:
    """Train, measure at the fractions PRUNE_AT and at the end; returns the trial's state and value."""
    from sparring.training import resume, train

    ends = [*({max(1, round(share * sweep.rounds)) for share in PRUNE_AT} if prune else ()), sweep.rounds]
    run = None
    try:
        for rounds in sorted(set(ends)):
            if run is None:
                every = {"sample_every": max(1, sweep.rounds // 10), "eval_every": sweep.rounds}
                kwargs = {**every, **sweep.options, **sweep.fixed, **chosen, "device": sweep.device}
                run = train(sweep.recipe, sweep.data, rounds=rounds, out=out, seed=sweep.seed, quiet=quiet, **kwargs)
                trial.set_user_attr("run", str(run.path))
            else:
                run = resume(run, rounds=rounds, device=sweep.device, quiet=quiet)
            value = _measured(sweep, run)
            trial.report(value, rounds)
            if rounds < sweep.rounds and trial.should_prune():
                return "PRUNED", None
    except DivergedError:
        return "PRUNED", None
    return "COMPLETE", value


def _measured(sweep: Sweep, run: Any) -> float:
    from sparring.evaluation import evaluate

    result = evaluate(run.system(device=sweep.device), run.data(), n=sweep.n, split="held_out", repeats=1)
    return result[sweep.objective].value


def read_trials(journal: Path) -> list[Trial]:
    """All trials of a journal, best first."""
    study = _load(journal)
    trials = []
    for t in study.get_trials(deepcopy=False):
        value = t.value if t.state.name == "COMPLETE" else None  # optuna keeps the last value of a pruned trial
        trials.append(Trial(t.number, t.state.name.lower(), value, dict(t.params), t.user_attrs.get("run")))
    return sorted(trials, key=lambda t: (t.value is None, t.value, t.number))


def _study(sweep: Sweep, journal: Path) -> optuna.Study:
    """The journal's study, created by the first worker. Raises SparringError if it belongs to another sweep."""
    pruner = _optuna().pruners.MedianPruner(n_startup_trials=4)
    journal.parent.mkdir(parents=True, exist_ok=True)
    study: optuna.Study = _optuna().create_study(
        study_name="sweep", storage=_storage(journal), direction="minimize", load_if_exists=True, pruner=pruner
    )
    stored = study.user_attrs.get("sweep")
    if stored is None:
        study.set_user_attr("sweep", sweep.config())
    elif stored != (config := sweep.config()):
        key = next(k for k in config if stored.get(k) != config[k])
        raise SparringError(
            f"{journal} is the journal of another sweep: its {key} is {stored.get(key)}, not {config[key]}; give "
            "another --journal"
        )
    return study


def _load(journal: Path) -> optuna.Study:
    study: optuna.Study = _optuna().load_study(study_name="sweep", storage=_storage(journal))
    return study


def _storage(journal: Path) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    lock = JournalFileOpenLock(str(journal))
    _require_whole(journal, lock)
    return JournalStorage(JournalFileBackend(str(journal), lock_obj=lock))


def _require_whole(journal: Path, lock: Any) -> None:
    """Raises SparringError unless every line of the journal is complete JSON."""
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
                f"{journal} is damaged in line {number} of {len(lines)}: remove the line or give another --journal"
            )


def _seed(study: optuna.Study, sweep: Sweep) -> int:
    """The sampler's seed, from the number of trials: a restarted sweep continues as if it had not been stopped."""
    return derive_seed("sweep", sweep.seed, _tried(study)) % 2**32


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise SparringError("a sweep requires optuna: pip install 'sparring[sweep]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def on_slurm(
    jobs: int, options: Mapping[str, Any], folder: Path, task: Callable[[], Any], cluster: str = "slurm"
) -> list[Any]:
    """Submit `jobs` workers through submitit, and return submitit's jobs.

    options  of the scheduler, by submitit's names: timeout_min, slurm_partition, gpus_per_node, cpus_per_task ...
    cluster  "slurm"; or "local": processes of this machine, for testing

    Raises SparringError without submitit, without Slurm, and for unknown options.
    """
    try:
        import submitit
    except ImportError:
        raise SparringError("Slurm requires submitit: pip install 'sparring[sweep]'") from None
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        executor.update_parameters(**options)
        with executor.batch():
            submitted = [executor.submit(task) for _ in range(jobs)]
    except Exception as error:  # submitit raises many types
        raise SparringError(f"Slurm did not accept the jobs: {error}") from None
    return submitted


def require_one_process() -> None:
    """Raises SparringError under torchrun: workers of a sweep are separate trainings."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise SparringError("a sweep cannot run under torchrun: run the command several times instead")
