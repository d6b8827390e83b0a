"""What somebody sees while a run is being trained: a live table on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import os
import time
from collections import deque
from statistics import median
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from sparring.monitor import Alarm


class Display:
    """Shows progress from `first` to `rounds`. Use as a context manager; `quiet` shows nothing."""

    def __init__(self, title: str, first: int, rounds: int, batch: int, *, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet)
        self.title, self.first, self.rounds, self.batch = title, first, rounds, batch
        self.round = first
        self.players: list[dict[str, float | str]] = []
        self.measured: dict[str, str] = {}
        self.alarms: list[str] = []
        self._ticks = deque([(time.monotonic(), first)], maxlen=200)
        self._pace = Pace()
        self._live = Live(get_renderable=self._picture, console=self.console, refresh_per_second=4, transient=False)
        self._next_line = 0.0

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            self._live.start()
        else:
            self.say(f"{self.title}: rounds {self.first} to {self.rounds}")
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self.console.is_terminal:
            self._live.stop()

    def say(self, sentence: str) -> None:
        """A sentence that stays above the live picture."""
        self.console.print(sentence, highlight=False, markup=False, soft_wrap=True)

    def alarm(self, alarm: Alarm) -> None:
        """What the health monitor has to say: in full once, and its title for as long as the picture is shown."""
        self.alarms.append(f"{alarm.title} (since round {alarm.began:,})")
        self.console.print(f"! {alarm}", style="yellow", highlight=False, markup=False, soft_wrap=True)

    def tick(self, round_number: int) -> None:
        """A round is over."""
        self.round = round_number
        now = time.monotonic()
        then, played = self._ticks[-1]
        if now - then > 0.1:
            self._ticks.append((now, round_number))
            if slower := self._pace.slower((now - then) / (round_number - played)):
                self.say(
                    f"rounds take {slower:.1f} times as long as at first, and the machine is busy. If it stays busy, "
                    "stop with Ctrl-C and continue with sparring resume --threads 1: the result will be as good, but "
                    "not the same bit for bit"
                )

    def tell(self, players: list[dict[str, float | str]]) -> None:
        """The numbers of the last logged round, one dict per move; of several moves of a player the last is shown."""
        self.players = players = list({p["player"]: p for p in players}.values())
        if not self.console.is_terminal and time.monotonic() > self._next_line:
            self._next_line = time.monotonic() + 15
            losses = "  ".join(f"{p['player']} {p['loss']:.3f}" for p in players)
            measured = "  ".join(f"{name} {value}" for name, value in self.measured.items())
            self.say(f"round {self.round}/{self.rounds}  {losses}  {measured}  {self._speed()}")

    def _speed(self) -> str:
        seconds = self._ticks[-1][0] - self._ticks[0][0]
        rate = (self._ticks[-1][1] - self._ticks[0][1]) / seconds if seconds > 0 else 0.0
        if not rate:
            return ""
        left = int((self.rounds - self.round) / rate)
        return f"{rate:.1f} rounds/s, {rate * self.batch:,.0f} images/s, {left // 60}:{left % 60:02d} left"

    def _picture(self) -> Group:
        bar = ProgressBar(total=self.rounds, completed=self.round, width=40)
        head = Table.grid(padding=(0, 2))
        head.add_row(Text(self.title, style="bold"), bar, f"{self.round:,}/{self.rounds:,}", self._speed())
        columns = list(dict.fromkeys(name for p in self.players for name in p if name != "player"))
        table = Table(box=None, padding=(0, 2), header_style="dim")
        table.add_column("")
        for name in columns:
            table.add_column(HEADINGS.get(name, name), justify="right")
        for p in self.players:
            cells = [f"{p[name]:.4g}" if name in p else "" for name in columns]
            table.add_row(str(p["player"]), *cells)
        measured = "   ".join(f"{name} {value}" for name, value in self.measured.items())
        alarms = [Text(f"! {alarm}", style="yellow") for alarm in self.alarms]
        return Group(head, table, Text(measured, style="cyan"), *alarms)


class Pace:
    """Notices, once, that rounds have become much slower while others wanted the processors, too."""

    READINGS, SLOWER = 50, 3.0

    def __init__(self) -> None:
        self._recent: list[float] = []
        self._usual: float | None = None
        self._said = False

    def slower(self, seconds: float) -> float | None:
        """From the seconds of a round: how many times as long the last 50 readings took as the first 50, or None.

        By medians: grids, measurements and checkpoints between rounds do not count.
        """
        self._recent.append(seconds)
        if len(self._recent) < self.READINGS:
            return None
        now, self._recent = median(self._recent), []
        self._usual = self._usual or now
        if self._said or now < self.SLOWER * self._usual or os.getloadavg()[0] < 1.5 * (os.cpu_count() or 1):
            return None
        self._said = True
        return now / self._usual


HEADINGS = {"gradient": "gradient norm", "real": "mean score, real", "fake": "mean score, fake"}
