"""The health monitor: looks at a training now and then and says what is wrong with it, once for each cause.

looks.py   what is seen from outside, one row of numbers a look; nothing that training reads is touched
causes.py  rows -> causes, by rules whose limits healthy trainings stay within; pure
advice.py  causes -> sentences and one command to try
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
    """One cause, told once, until it has passed and comes back.

    cause      a key of CAUSES
    title      in a few words; sentence: what was seen, and what to do
    began      round of the first look at which it was seen; noticed: of the look that made it certain enough to tell
    certainty  "sure", "likely", or "unsure": other causes fit as well
    command    one thing to try
    passed     round of the look at which it was no longer seen; None: it still is
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
        sure = "" if self.certainty == "sure" else f" ({self.certainty})"
        return f"{self.title}{sure}, since round {self.began}. {self.sentence} Try: {self.command}"


class Monitor:
    """Watches one training.

    live, shown  the system that plays, and the same with averaged networks
    config       of the run, as in recipe.json: recipe, arguments, data, seed, rounds, equilibrium
    length       rounds that the recipe is made for
    run          its directory, for commands that look at it
    known        lines that an interrupted run has left in health.jsonl: what was told is not told again
    alarms       given so far, by cause and round in which they began
    """

    def __init__(
        self,
        live: System,
        shown: System,
        data: Dataset,
        config: Mapping[str, Any],
        length: int,
        known: Iterable[Mapping[str, Any]] = (),
        run: str = "RUN",
    ) -> None:
        self.config, self.length, self.run = config, length, run
        self._looker = Observer(live, shown, data, batch=config["batch"], seed=config["seed"])
        known = list(known)
        self.rows: list[Row] = [dict(line) for line in known if "alarm" not in line]
        told = [Alarm(**line["alarm"]) for line in known if "alarm" in line]
        self.alarms = {(alarm.cause, alarm.began): alarm for alarm in told}

    def due(self, round_number: int) -> bool:
        """Whether this round ends with a look; the same on every process."""
        return self._looker.due(round_number)

    def before(self) -> None:
        """Just before the round that is looked at."""
        self._looker.before()

    def look(
        self, round_number: int, moves: Sequence[Mapping[str, float | str]], rates: Mapping[str, float] | None = None
    ) -> list[dict[str, Any]]:
        """After that round; `moves` as `Referee.agree` gives them, `rates` the players' learning rates.

        Lines for health.jsonl: the look, alarms that have passed, and new ones.
        """
        self.rows.append(self._looker.look(round_number, moves, rates))
        found = findings(self.rows, self.config["equilibrium"], self.config["rounds"], self.length)
        passed = [replace(alarm, passed=round_number) for alarm in self._open() if alarm.cause in found.denied]
        return [self.rows[-1], *map(self._tell, passed), *self._new(found.suspicions, round_number)]

    def failed(self, round_number: int) -> list[dict[str, Any]]:
        """Training cannot go on; lines for health.jsonl."""
        seen = {"growth": f"a loss or a gradient, in round {round_number}"}
        return self._new([Suspect("divergence", round_number, math.inf, seen)], round_number)

    def _open(self) -> list[Alarm]:
        """Alarms that have not passed."""
        return [alarm for alarm in self.alarms.values() if alarm.passed is None]

    def _tell(self, alarm: Alarm) -> dict[str, Any]:
        """Keep the alarm, or its new state, as a line for health.jsonl."""
        self.alarms[alarm.cause, alarm.began] = alarm
        return {"alarm": asdict(alarm)}

    def _new(self, found: Sequence[Suspect], round_number: int) -> list[dict[str, Any]]:
        """New causes as alarms, the likeliest first."""
        lines = []
        for one in found:
            open_ = self._open()
            if one.cause in {alarm.cause for alarm in open_}:
                continue
            alarm = Alarm(
                one.cause,
                CAUSES[one.cause].title,
                one.began,
                round_number,
                "unsure" if open_ else "sure" if one.value >= 2 else "likely",
                explain(one, [alarm.title for alarm in open_]),
                command(one.cause, self.config, self.run),
            )
            lines.append(self._tell(alarm))
        return lines
