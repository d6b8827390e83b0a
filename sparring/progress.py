"""Progress of a training: a live table in a terminal, one live block in a notebook, and occasional lines elsewhere."""

from __future__ import annotations

import base64
import html
import io
import math
import os
import textwrap
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from statistics import median
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from sparring.errors import printable

if TYPE_CHECKING:
    from sparring.monitor import Alarm
    from sparring.recipes.recipe import Measured

LINE_EVERY = 15.0
"""Seconds between lines without a terminal."""

FIRST_LINE = 5.0
"""Seconds before the first line of `Progress` without a terminal."""

ESTIMATE_AFTER = 3.0
"""Seconds of training after which the total duration is estimated, from at least two rounds."""

LONG_TRAINING = 900.0
"""Seconds: if the recipe's default number of rounds takes longer, the duration and a shorter training are printed."""

REFRESH = 0.5
"""Seconds between updates in a notebook."""


def duration(seconds: float) -> str:
    """A duration in its two largest units: "45 s", "3 min 20 s", "5 h 12 min", "13 d 4 h"."""
    left = max(0, round(seconds))
    for large, small, size, unit in (("d", "h", 86400, 3600), ("h", "min", 3600, 60), ("min", "s", 60, 1)):
        if left >= size:
            rest = left % size // unit
            return f"{left // size:,} {large}" + (f" {rest} {small}" if rest else "")
    return f"{left} s"


def wrapped(text: str, width: int) -> str:
    """Text wrapped between words only: words longer than the width (paths, for instance) are not broken."""
    lines = (
        textwrap.wrap(line, max(width, 20), break_long_words=False, break_on_hyphens=False) or [""]
        for line in text.split("\n")
    )
    return "\n".join("\n".join(pieces) for pieces in lines)


class Display:
    """Show progress from round `first` to `rounds`. Use as a context manager; `quiet` prints nothing.

    own_length  `rounds` is the recipe's default: if that takes long, print an estimate after the first rounds
    measured    a shorter training of the recipe with a documented result, to be suggested then
    """

    def __init__(
        self,
        title: str,
        first: int,
        rounds: int,
        batch: int,
        *,
        quiet: bool = False,
        own_length: bool = False,
        measured: Measured | None = None,
    ) -> None:
        self.console = Console(stderr=True, quiet=quiet)
        self.title, self.first, self.rounds, self.batch = title, first, rounds, batch
        self.own_length, self.shorter = own_length, measured
        self.round = first
        self.players: list[dict[str, float | str]] = []
        self.measured: dict[str, str] = {}
        self.alarms: dict[str, int] = {}
        self._pace = Pace()
        self._activity = ""
        self._ticks: deque[tuple[float, int]] = deque(maxlen=200)
        self._since = time.monotonic()  # end of the last round
        self._paused = 0.0  # seconds spent outside rounds
        self._spinner = Spinner("line")
        self._live = Live(get_renderable=self._picture, console=self.console, refresh_per_second=4, transient=False)
        self._next_line = 0.0
        self._notebook = _Notebook() if self.console.is_jupyter and not quiet else None

    def __enter__(self) -> Display:
        if self._notebook:
            self._notebook.draw(self._picture())
        elif self.console.is_terminal:
            self._live.start()
        else:
            self.print(f"{self.title}: rounds {self.first} to {self.rounds}")
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._notebook:
            self._notebook.draw(self._picture())
        elif self.console.is_terminal:
            with suppress(OSError):  # the terminal may be gone
                self._live.stop()

    def print(self, sentence: str) -> None:
        """Print a sentence that stays above the live table."""
        self._print(sentence)

    def alarm(self, alarm: Alarm) -> None:
        """Print an alarm of the health monitor and keep its title in the table; or print that it has passed."""
        if alarm.passed is None:
            self.alarms[alarm.title] = alarm.began
            self._print(f"! {alarm}", style="yellow")
        else:
            self.alarms.pop(alarm.title, None)
            self.print(f"{alarm.title}: passed at round {alarm.passed:,}.")

    def grid(self, picture: bytes) -> None:
        """Display a new sample grid (PNG) in a notebook."""
        if self._notebook:
            self._notebook.grid = picture
            self._notebook.draw(self._picture())

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Show `what` as the current activity; its time does not count as time of rounds."""
        self._activity, started = what, time.monotonic()
        try:
            yield
        finally:
            self._activity = ""
            self._since = time.monotonic()
            self._paused += self._since - started

    def tick(self, round_number: int) -> None:
        """Record the end of a round."""
        self.round, self._since = round_number, time.monotonic()
        now = self._since - self._paused
        last, last_round = self._ticks[-1] if self._ticks else (-math.inf, 0)  # the first round is the slowest
        if now - last > 0.1:
            self._ticks.append((now, round_number))
            if last_round and (slower := self._pace.slower((now - last) / (round_number - last_round))):
                self.print(
                    f"rounds take {slower:.1f} times as long as at the start, and the machine is busy. If it stays "
                    "busy, stop with Ctrl-C and continue with sparring resume --threads 1: the result is equally "
                    "valid, but not bit-identical"
                )
        if self.own_length and len(self._ticks) > 2 and now - self._ticks[0][0] > ESTIMATE_AFTER:
            self.own_length = False
            self._estimate()
        if self._notebook and self._since > self._next_line:
            self._next_line = self._since + REFRESH
            self._notebook.draw(self._picture())

    def update(self, players: list[dict[str, float | str]]) -> None:
        """Update the numbers of the last logged round: one dict per move, the last one per player is shown."""
        self.players = players = list({p["player"]: p for p in players}.values())
        if self.console.is_terminal or self._notebook:
            return
        if time.monotonic() > self._next_line or self.round == self.rounds:
            self._next_line = time.monotonic() + LINE_EVERY
            losses = "  ".join(f"{p['player']} {p['loss']:.3f}" for p in players)
            measured = "  ".join(f"{name} {value}" for name, value in self.measured.items())
            self.print(f"round {self.round}/{self.rounds}  {losses}  {measured}  {self._speed()}".rstrip())

    def _print(self, text: str, style: str | None = None) -> None:
        text = printable(text, keep="\n\t")
        if self._notebook:
            self._notebook.sentences.append(text)
            self._notebook.draw(self._picture())
            return
        if self.console.is_terminal:
            text = wrapped(text, self.console.width)
        with suppress(OSError):  # the terminal may be closed; training continues
            self.console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)

    def _estimate(self) -> None:
        """Print how long the recipe's default number of rounds will take, and a shorter alternative."""
        rate = self._rate()
        if not rate or self.rounds / rate < LONG_TRAINING:
            return
        text = f"{self.rounds:,} rounds, as in the source, will take about {duration(self.rounds / rate)} here"
        if self.shorter:
            short = self.shorter
            flags = f"{short.options} --rounds {short.rounds}".strip()
            text += (
                f"; {flags} takes about {duration(short.rounds / rate)} and reached, on {short.data}, {short.result}"
            )
        else:
            text += "; use --rounds N for fewer"
        self.print(text)

    def _rate(self) -> float:
        """Recent rounds per second; 0 if there are too few."""
        if len(self._ticks) < 2:
            return 0.0
        (began, first), (ended, last) = self._ticks[0], self._ticks[-1]
        return (last - first) / (ended - began)

    def _speed(self) -> str:
        rate = self._rate()
        if not rate:
            return ""
        speed = f"{rate:.1f} rounds/s" if rate >= 1 else f"{1 / rate:.1f} s/round"
        left = (self.rounds - self.round) / rate
        return f"{speed}, {rate * self.batch:,.0f} images/s, {duration(left)} left"

    def _picture(self) -> Group:
        return Group(
            Text(self.title, style="bold"),
            self._bar(),
            self._numbers(),
            Text("   ".join(f"{name} {value}" for name, value in self.measured.items()), style="cyan"),
            *(Text(f"! {title} (since round {r:,})", style="yellow") for title, r in self.alarms.items()),
        )

    def _bar(self) -> RenderableType:
        """The progress bar, with the current activity and the remaining time."""
        elapsed = time.monotonic() - self._since
        activity = self._activity or (f"round {self.round + 1:,}" if self.round < self.rounds and elapsed > 2 else "")
        if activity and elapsed > 2 and not self._activity:
            activity = f"{activity}, {duration(elapsed)}"
        text = "  ".join(filter(None, [f"{self.round:,}/{self.rounds:,}", self._speed(), activity]))
        width = self.console.width - len(text) - 5
        if width < 8:
            return Text(text)
        row = Table.grid(padding=(0, 1))
        row.add_row(self._spinner, ProgressBar(self.rounds, self.round, width=min(width, 40)), text)
        return row

    def _numbers(self) -> RenderableType:
        """A table row per player; if the terminal is too narrow, a wrapped line per player."""
        columns = list(dict.fromkeys(name for p in self.players for name in p if name != "player"))
        table = Table(box=None, padding=(0, 2), header_style="dim")
        table.add_column("")
        for name in columns:
            table.add_column(HEADINGS.get(name, name), justify="right")
        for p in self.players:
            cells = [f"{p[name]:.4g}" if name in p else "" for name in columns]
            table.add_row(str(p["player"]), *cells)
        unlimited = self.console.options.update(width=10_000)
        if Measurement.get(self.console, unlimited, table).maximum <= self.console.width:
            return table
        lines = (
            "  ".join(
                f"{HEADINGS.get(name, name)} {p[name]:.4g}".replace("\n", " ") if name != "player" else str(p[name])
                for name in p
            )
            for p in self.players
        )
        return Text("\n".join(lines))


class Pace:
    """Detects, once, that rounds have become much slower while the machine is busy."""

    READINGS, SLOWER = 50, 3.0

    def __init__(self) -> None:
        self._recent: list[float] = []
        self._initial: float | None = None
        self._reported = False

    def slower(self, seconds: float) -> float | None:
        """Add the seconds of one round. Returns the slowdown of the last 50 readings over the first 50, or None.

        Medians, so that grids, evaluations and checkpoints between rounds do not count.
        """
        self._recent.append(seconds)
        if len(self._recent) < self.READINGS:
            return None
        now, self._recent = median(self._recent), []
        self._initial = self._initial or now
        if self._reported or now < self.SLOWER * self._initial or os.getloadavg()[0] < 1.5 * (os.cpu_count() or 1):
            return None
        self._reported = True
        return now / self._initial


class Progress:
    """Progress of a long operation: a bar in a terminal, occasional lines elsewhere. Use as a context manager.

    what   description of the operation
    total  sum of the counts passed to `advance`
    """

    def __init__(self, what: str, total: int) -> None:
        self.what, self.total, self.done = what, total, 0
        self.console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Bars(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)
        self._task = self._bar.add_task(what, total=total)
        self._next_line = time.monotonic() + FIRST_LINE

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def advance(self, count: int = 1, what: str | None = None) -> None:
        """Add `count` completed steps; `what` replaces the description."""
        self.what, self.done = what or self.what, self.done + count
        self._bar.update(self._task, completed=self.done, description=self.what)
        if not self.console.is_terminal and time.monotonic() > self._next_line:
            self._next_line = time.monotonic() + LINE_EVERY
            text = printable(f"{self.what}: {self.done:,} of {self.total:,}")
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)


class _Notebook:
    """One output block of a notebook, updated in place: sentences, the newest grid, the live table."""

    def __init__(self) -> None:
        self.sentences: list[str] = []
        self.grid = b""
        self._handle: Any = None

    def draw(self, picture: RenderableType) -> None:
        from IPython.display import HTML, display  # always installed in a notebook

        console = Console(file=io.StringIO(), record=True, width=100, force_jupyter=False)
        console.print(picture)
        lines = [f"<div>{html.escape(sentence)}</div>" for sentence in self.sentences]
        lines += [console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")]
        if self.grid:
            lines += [f'<img alt="samples" src="data:image/png;base64,{base64.b64encode(self.grid).decode()}">']
        block = HTML("".join(lines))
        if self._handle is None:
            self._handle = display(block, display_id=True)
        else:
            self._handle.update(block)


HEADINGS = {"gradient": "gradient\nnorm", "real": "mean score,\nreal", "fake": "mean score,\nfake"}
