"""The training loop: play, log, monitor, sample, evaluate, save."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from time import monotonic, strftime
from typing import Any

import accelerate
import torch

from sparring.data.dataset import MIN_HELD_OUT, Dataset
from sparring.distributed import collective, on_main_process
from sparring.errors import DivergedError, InterruptedRun
from sparring.evaluation import TrainingEvaluator
from sparring.evaluation.classes import classification_error, clustering_error
from sparring.image_grid import png, preview
from sparring.machine import computing_with
from sparring.monitor import Alarm, Monitor
from sparring.options import FIRST_EARLY_ROUND
from sparring.progress import Display
from sparring.recipes.recipe import Measured
from sparring.referee import Referee, StepResult
from sparring.run import Run
from sparring.seeds import derive_seed
from sparring.signals import stop_signals
from sparring.system import System

Moves = list[dict[str, float | str]]
"""The logged numbers of a round: one dictionary per move, as `Referee.reduce_logs` returns them."""


class Training:
    """A run in training, from the referee's round to the run's last.

    run, referee, data  the run, the state of its training, and its data
    length      the recipe's default number of rounds, for the monitor
    threads     PyTorch threads on the CPU
    quiet       print nothing
    notes       sentences to print at the start
    own_length, measured  as in `Display`
    """

    def __init__(
        self,
        run: Run,
        referee: Referee,
        data: Dataset,
        *,
        length: int,
        threads: int,
        quiet: bool = False,
        notes: Iterable[str] = (),
        own_length: bool = False,
        measured: Measured | None = None,
    ) -> None:
        self.run, self.referee, self.data = run, referee, data
        self.config, self.length, self.threads = run.config, length, threads
        self.processes, self.main = referee.processes, referee.processes.is_main_process
        self.last, self.every = self.config["rounds"], self.config["every"]
        self.early = {what: FIRST_EARLY_ROUND[what] for what in self.config["early"]}
        self.no_fd = why_no_fd(referee.ema_system, data)
        self.notes = [*data.notes, *notes, *filter(None, [self.no_fd]), *_caveats(referee, self.last)]
        self.display = Display(
            run.path.name,
            referee.round,
            self.last,
            self.config["batch"],
            quiet=quiet or not self.main,
            own_length=own_length,
            measured=measured,
        )
        self.evaluator: TrainingEvaluator | None = None
        self.monitor: Monitor | None = None
        self.caught: Callable[[], int] = lambda: 0
        self.started = monotonic()

    def play(self) -> Run:
        """Play all remaining rounds, and return the run.

        Raises DivergedError if training diverges, and InterruptedRun after a stop signal, when everything is saved.
        """
        with computing_with(self.threads), self.display, stop_signals(self._acknowledge) as self.caught:
            self._start()
            self._play_rounds()
        with collective():
            self.processes.wait_for_everyone()
        return self.run

    def _play_rounds(self) -> None:
        while self.referee.round < self.last:
            # Play.
            results = self._play_round()
            r, end = self.referee.round, self.referee.round == self.last

            # Log.
            logged, observed = r % self.every["log"] == 0 or end, self._observed(r)
            moves = self.referee.reduce_logs(results) if logged or observed else []
            if logged:
                self.log(moves)

            # Monitor.
            if observed:
                on_main_process(self.processes, partial(self.observe, moves))

            # Sample.
            stop = self._stop_signal()
            if self._due("sample", r) or end or stop:
                on_main_process(self.processes, self.sample)

            # Evaluate.
            if self._due("eval", r) or end:
                on_main_process(self.processes, self.evaluate)
                stop = stop or self._stop_signal()

            # Save.
            if r % self.every["save"] == 0 or end or stop:
                on_main_process(self.processes, self.save)
            if stop and not end:
                raise self._interrupted(stop)

    def _start(self) -> None:
        """Print the notes; sample, evaluate and save a new run at round 0; start the monitor."""
        for note in self.notes:
            self.display.print(note)
        on_main_process(self.processes, self._save_round_0)
        if stop := self._stop_signal():
            raise self._interrupted(stop)
        if self.config["monitor"]:
            history = self.run.read("health") if self.main else ()
            live, ema = self.referee.system, self.referee.ema_system
            self.monitor = Monitor(live, ema, self.data, self.config, self.length, history, str(self.run.path))
        self.started = monotonic()

    def _save_round_0(self) -> None:
        if not self.run.checkpoints():
            self.sample()
            self.evaluate()
            self.save()

    # The steps of the loop.

    def _play_round(self) -> list[StepResult]:
        """Play one round. If it diverges, write diagnostics."""
        if self.monitor and self.main and self._observed(self.referee.round + 1):
            self.monitor.before_round()
        try:
            results = self.referee.play()
        except DivergedError as error:
            if self.main:
                self._record_failure(str(error))
            raise DivergedError(
                f"{error}. Lower the learning rates by a factor of 2 to 5. Diagnostics are in "
                f"{self.run.path / 'failure'}, the last good weights in {self.run.path / 'weights'}"
            ) from None
        self.display.tick(self.referee.round)
        return results

    def log(self, moves: Moves) -> None:
        """Log the round's numbers and the time."""
        r = self.referee.round
        if self.main:
            seconds = round(monotonic() - self.started, 3)
            self.run.append("log", {"round": r, "moves": moves})
            self.run.append("timing", {"round": r, "seconds": seconds, "at": strftime("%FT%T")})
        self.display.update(moves)

    def observe(self, moves: Moves) -> None:
        """Let the monitor observe the round; record and print its alarms."""
        assert self.monitor is not None
        _ = self.referee.ema_system  # updates the EMA weights, which the monitor observes
        self._record_alarms(self.monitor.observe(self.referee.round, moves, self.referee.rates()))

    def sample(self) -> None:
        """Write and show a grid of samples, or of reconstructions or translations."""
        with self.display.doing("drawing a sample grid"):
            picture = preview(self.referee.ema_system, self.data, seed=derive_seed(self.config["seed"], "show"))
            if picture is not None:
                encoded = png(picture)
                self.run.write_sample(self.referee.round, encoded)
                self.display.grid(encoded)

    def evaluate(self) -> None:
        """Measure FD and KID of samples, and the error on held-out images; keep the weights of the best round."""
        if not self.no_fd:
            with self.display.doing("measuring FD"):
                self._measure_fd()
        if self.data.held_out and self.data.labels is not None:
            self._measure_held_out_error(self.data.held_out)

    def save(self) -> None:
        """Write a checkpoint and the EMA weights."""
        with self.display.doing("saving"):
            self.run.save(self.referee.state_tensors(), self.referee.state_numbers(), self.referee.ema_system)

    # Helpers.

    def _due(self, what: str, round_number: int) -> bool:
        return due(round_number, self.every[what], self.early.get(what))

    def _observed(self, round_number: int) -> bool:
        return self.monitor is not None and self.monitor.due(round_number)

    def _measure_fd(self) -> None:
        ema, r = self.referee.ema_system, self.referee.round
        self.evaluator = self.evaluator or TrainingEvaluator(self.data, device=self.referee.device)
        fakes = ema.sample(self.evaluator.n, seed=derive_seed(self.config["seed"], "measure", r))
        for line in self.evaluator.lines(fakes):
            self.display.measured[line["name"]] = f"{line['value']:.3g}"
            self.run.append("metrics", {"round": r, **line})
        best = self.run.best()
        if best is not None and best["round"] == r:
            self.run.write_best(ema, r)

    def _measure_held_out_error(self, held_out: Dataset) -> None:
        ema = self.referee.ema_system
        if not ema.supports("classify") and not ema.supports("cluster"):
            return
        with self.display.doing("measuring the held-out error"):
            if ema.supports("classify"):
                error = classification_error(ema, held_out, "held_out")
            else:
                error = clustering_error(ema, self.data, "held_out")
            self.display.measured["held-out error"] = f"{100 * error.value:.2f} %"
            line = {"metric": error.metric, "name": error.name, "value": error.value, "n": error.n}
            self.run.append("metrics", {"round": self.referee.round, **line})

    def _record_alarms(self, lines: Sequence[Mapping[str, Any]]) -> None:
        for line in lines:
            self.run.append("health", line)
            if "alarm" in line:
                self.display.alarm(Alarm(**line["alarm"]))

    def _record_failure(self, reason: str) -> None:
        rows, numbers = self.referee.feeds[0].last_rows(), self.referee.state_numbers()
        self.run.write_failure({"reason": reason, "seed": self.config["seed"], "rows": rows, **numbers})
        self._record_alarms(self.monitor.failed(self.referee.round) if self.monitor else [])

    # Signals.

    def _acknowledge(self, number: int) -> None:
        saved = self.run.checkpoints()
        lost = f" and loses the rounds since {saved[-1]:,}" if saved else ""
        name = signal.Signals(number).name
        self.display.print(f"{name}: finishing the round and saving; a second signal stops at once{lost}")

    def _stop_signal(self) -> int:
        """The number of a stop signal, or 0; the same in all processes."""
        if self.processes.num_processes == 1:
            return self.caught()
        own = torch.tensor([self.caught()], device=self.referee.device)
        with collective():
            return int(accelerate.utils.gather(own).max())

    def _interrupted(self, number: int) -> InterruptedRun:
        r, path, name = self.referee.round, self.run.path, signal.Signals(number).name
        return InterruptedRun(f"{name} at round {r}: saved; continue with: sparring resume {path}", number, path)


def due(round_number: int, every: int, early: int | None = None) -> bool:
    """Whether a periodic action is due after this round.

    It is due in multiples of `every`, and before the first of them in those of the rounds 1, 2, 5, 10, 20, 50, 100 ...
    that are at least `early` (None: not before).

    Depends on the round number only, so that a resumed run does the same as an uninterrupted one.
    """
    if round_number >= every or early is None:
        return round_number % every == 0
    digits = str(round_number).rstrip("0")
    return round_number >= early and digits in ("1", "2", "5")


def why_no_fd(system: System, data: Dataset) -> str:
    """Why FD is not measured, and how to change that; "" if it is."""
    if not system.supports("sample"):
        return f"FD is off: {type(system).__name__} does not generate samples"
    held_out = len(data.held_out) if data.held_out else 0
    need, total = MIN_HELD_OUT, len(data) + held_out
    if held_out >= need:
        return ""
    reason = f"FD is off: it needs at least {need} held-out images ({held_out} of {total:,} are held out)"
    if total < 2 * need:
        return f"{reason}; add images"
    return f"{reason}; train with --held-out {need} or more (in Python: held_out={need})"


def _caveats(referee: Referee, last: int) -> Iterator[str]:
    """Warnings about effects that the user may not expect."""
    yield from referee.system.caveats
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
