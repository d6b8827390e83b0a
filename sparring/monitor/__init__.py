"""The health monitor: observes a training at regular intervals and reports each problem once.

observer.py  one row of numbers per observation; does not change anything that training reads
rules.py     rows -> causes, by rules whose limits healthy trainings do not exceed; pure functions
advice.py    causes -> sentences and one command to try
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sparring.data.dataset import Dataset
from sparring.monitor.advice import CAUSES, command, explain
from sparring.monitor.observer import Observer, Row
from sparring.monitor.rules import Suspect, findings
from sparring.system import System

__all__ = ["CAUSES", "Alarm", "Monitor", "Row"]


@dataclass(frozen=True)
class Alarm:
    """One problem. It is reported once; if it passes and recurs, that is a new alarm.

    cause      a key of CAUSES
    title      a short name of the problem
    began      round of the first observation that shows it
    noticed    round of the observation in which it was reported
    certainty  "sure", "likely", or "unsure" if another alarm may explain it
    sentence   the symptoms, with numbers, and how to fix them
    command    one command to try
    passed     round of the observation in which it had disappeared; None if it persists
    """

    cause: str
    title: str
    began: int
    noticed: int
    certainty: str
    sentence: str
    command: str
    passed: int | None = None

    def __str__(self) -> str:
        certainty = "" if self.certainty == "sure" else f" ({self.certainty})"
        return f"{self.title}{certainty}, since round {self.began}. {self.sentence} Try: {self.command}"


class Monitor:
    """Monitors one training.

    live     the system in training
    ema      the same system with EMA weights
    config   configuration of the run, as in recipe.json: recipe, arguments, data, seed, rounds, equilibrium
    length   number of rounds the recipe is designed for
    history  lines of health.jsonl from before an interruption; alarms in them are not reported again
    run      directory of the run, for suggested commands
    alarms   all alarms so far, by cause and the round in which they began
    """

    def __init__(
        self,
        live: System,
        ema: System,
        data: Dataset,
        config: Mapping[str, Any],
        length: int,
        history: Iterable[Mapping[str, Any]] = (),
        run: str = "RUN",
    ) -> None:
        self.config, self.length, self.run = config, length, run
        self._observer = Observer(live, ema, data, batch=config["batch"], seed=config["seed"])
        history = list(history)
        self.rows: list[Row] = [dict(line) for line in history if "alarm" not in line]
        alarms = [Alarm(**line["alarm"]) for line in history if "alarm" in line]
        self.alarms = {(alarm.cause, alarm.began): alarm for alarm in alarms}

    def due(self, round_number: int) -> bool:
        """Whether this round is observed; the same on every process."""
        return self._observer.due(round_number)

    def before_round(self) -> None:
        """Call just before the round that is observed."""
        self._observer.before_round()

    def observe(
        self, round_number: int, moves: Sequence[Mapping[str, float | str]], rates: Mapping[str, float] | None = None
    ) -> list[dict[str, Any]]:
        """Observe the round that has just ended.

        moves  results of `Referee.reduce_logs`
        rates  learning rates by player

        Returns lines for health.jsonl: the row of numbers, alarms that have passed, and new alarms.
        """
        self.rows.append(self._observer.observe(round_number, moves, rates))
        result = findings(self.rows, self.config["equilibrium"], self.config["rounds"], self.length)
        passed = [replace(alarm, passed=round_number) for alarm in self._open() if alarm.cause in result.denied]
        return [self.rows[-1], *map(self._record, passed), *self._new(result.suspicions, round_number)]

    def failed(self, round_number: int) -> list[dict[str, Any]]:
        """Lines for health.jsonl after training has diverged and stopped."""
        evidence = {"growth": f"a loss or a gradient, in round {round_number}"}
        return self._new([Suspect("divergence", round_number, math.inf, evidence)], round_number)

    def _open(self) -> list[Alarm]:
        """Alarms that have not passed."""
        return [alarm for alarm in self.alarms.values() if alarm.passed is None]

    def _record(self, alarm: Alarm) -> dict[str, Any]:
        """Store the alarm or its new state; return it as a line for health.jsonl."""
        self.alarms[alarm.cause, alarm.began] = alarm
        return {"alarm": asdict(alarm)}

    def _new(self, suspects: Sequence[Suspect], round_number: int) -> list[dict[str, Any]]:
        """Alarms for causes that have none yet, most likely first, as lines for health.jsonl."""
        lines = []
        for suspect in suspects:
            open_alarms = self._open()
            if suspect.cause in {alarm.cause for alarm in open_alarms}:
                continue
            alarm = Alarm(
                suspect.cause,
                CAUSES[suspect.cause].title,
                suspect.began,
                round_number,
                "unsure" if open_alarms else "sure" if suspect.value >= 2 else "likely",
                explain(suspect, [alarm.title for alarm in open_alarms]),
                command(suspect.cause, self.config, self.run),
            )
            lines.append(self._record(alarm))
        return lines
