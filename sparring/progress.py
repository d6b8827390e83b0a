"""What somebody sees while a run is being trained: a live table on a terminal, one live block in a notebook, and a
line now and then elsewhere."""

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

from sparring.errors import shown

if TYPE_CHECKING:
    from sparring.monitor import Alarm
    from sparring.recipes.recipe import Measured

LINE_EVERY = 15.0
"""Seconds between lines where there is no terminal."""

FIRST_LINE = 5.0
"""Seconds of silence before the first of them, where something has no end in sight at its start."""

ESTIMATED_AFTER = 3.0
"""Seconds of play after which the length of the whole training is estimated; at least two rounds, too."""

LONG = 900.0
"""Seconds: of a training of the recipe's own length that takes longer, the length is said, and a shorter one."""

REFRESH = 0.5
"""Seconds between two pictures in a notebook."""


def duration(seconds: float) -> str:
    """A length of time in its two largest units: "45 s", "3 min 20 s", "5 h 12 min", "13 d 4 h"."""
    left = max(0, round(seconds))
    for large, small, size, unit in (("d", "h", 86400, 3600), ("h", "min", 3600, 60), ("min", "s", 60, 1)):
        if left >= size:
            rest = left % size // unit
            return f"{left // size:,} {large}" + (f" {rest} {small}" if rest else "")
    return f"{left} s"


def wrapped(text: str, width: int) -> str:
    """Text with its lines broken between words only: what is longer than the width (a path, say) stays whole."""
    lines = (
        textwrap.wrap(line, max(width, 20), break_long_words=False, break_on_hyphens=False) or [""]
        for line in text.split("\n")
    )
    return "\n".join("\n".join(pieces) for pieces in lines)


class Display:
    """Shows progress from round `first` to `rounds`. Use as a context manager; `quiet` shows nothing.

    own_length  whether `rounds` is the recipe's own number: if it takes long, that is said after the first rounds
    measured    a shorter training of the recipe that was measured, to be named then
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
        self._doing = ""
        self._ticks: deque[tuple[float, int]] = deque(maxlen=200)
        self._since = time.monotonic()  # the last round's end
        self._away = 0.0  # seconds spent on other things than rounds
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
            self.say(f"{self.title}: rounds {self.first} to {self.rounds}")
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._notebook:
            self._notebook.draw(self._picture())
        elif self.console.is_terminal:
            with suppress(OSError):  # the terminal may be gone
                self._live.stop()

    def say(self, sentence: str) -> None:
        """A sentence that stays above the live picture."""
        self._print(sentence)

    def alarm(self, alarm: Alarm) -> None:
        """What the health monitor has to say: in full once, its title until it has passed, and then that it has."""
        if alarm.passed is None:
            self.alarms[alarm.title] = alarm.began
            self._print(f"! {alarm}", style="yellow")
        else:
            self.alarms.pop(alarm.title, None)
            self.say(f"{alarm.title}: passed at round {alarm.passed:,}.")

    def grid(self, picture: bytes) -> None:
        """A new sample grid (PNG): shown in a notebook."""
        if self._notebook:
            self._notebook.grid = picture
            self._notebook.draw(self._picture())

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Something else than a round is done, and named meanwhile; its time does not count as that of rounds."""
        self._doing, started = what, time.monotonic()
        try:
            yield
        finally:
            self._doing = ""
            self._since = time.monotonic()
            self._away += self._since - started

    def tick(self, round_number: int) -> None:
        """A round is over."""
        self.round, self._since = round_number, time.monotonic()
        now = self._since - self._away
        then, played = self._ticks[-1] if self._ticks else (-math.inf, 0)  # the first round is slower than all others
        if now - then > 0.1:
            self._ticks.append((now, round_number))
            if played and (slower := self._pace.slower((now - then) / (round_number - played))):
                self.say(
                    f"rounds take {slower:.1f} times as long as at first, and the machine is busy. If it stays busy, "
                    "stop with Ctrl-C and continue with sparring resume --threads 1: the result will be as good, but "
                    "not the same bit for bit"
                )
        if self.own_length and len(self._ticks) > 2 and now - self._ticks[0][0] > ESTIMATED_AFTER:
            self.own_length = False
            self._estimate()
        if self._notebook and self._since > self._next_line:
            self._next_line = self._since + REFRESH
            self._notebook.draw(self._picture())

    def tell(self, players: list[dict[str, float | str]]) -> None:
        """The numbers of the last logged round, one dict per move; of several moves of a player the last is shown."""
        self.players = players = list({p["player"]: p for p in players}.values())
        if self.console.is_terminal or self._notebook:
            return
        if time.monotonic() > self._next_line or self.round == self.rounds:
            self._next_line = time.monotonic() + LINE_EVERY
            losses = "  ".join(f"{p['player']} {p['loss']:.3f}" for p in players)
            measured = "  ".join(f"{name} {value}" for name, value in self.measured.items())
            self.say(f"round {self.round}/{self.rounds}  {losses}  {measured}  {self._speed()}".rstrip())

    def _print(self, text: str, style: str | None = None) -> None:
        text = shown(text, keep="\n\t")
        if self._notebook:
            self._notebook.sentences.append(text)
            self._notebook.draw(self._picture())
            return
        if self.console.is_terminal:
            text = wrapped(text, self.console.width)
        with suppress(OSError):  # who watched may have left; the training goes on
            self.console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)

    def _estimate(self) -> None:
        """How long the recipe's own number of rounds takes here, judged by the first ones; and what takes less."""
        rate = self._rate()
        if not rate or self.rounds / rate < LONG:
            return
        text = f"{self.rounds:,} rounds, as many as the source trained, take about {duration(self.rounds / rate)} here"
        if self.shorter:
            short = self.shorter
            flags = f"{short.options} --rounds {short.rounds}".strip()
            text += f"; {flags} takes about {duration(short.rounds / rate)} and gave, on {short.data}, {short.result}"
        else:
            text += "; --rounds N plays fewer"
        self.say(text)

    def _rate(self) -> float:
        """Rounds per second, lately; 0 when too few were played."""
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
        """What is being done, how far it is, and how long it will take."""
        waited = time.monotonic() - self._since
        now = self._doing or (f"round {self.round + 1:,}" if self.round < self.rounds and waited > 2 else "")
        since = f"{now}, {duration(waited)}" if now and waited > 2 and not self._doing else now
        words = "  ".join(filter(None, [f"{self.round:,}/{self.rounds:,}", self._speed(), since]))
        room = self.console.width - len(words) - 5
        if room < 8:
            return Text(words)
        row = Table.grid(padding=(0, 1))
        row.add_row(self._spinner, ProgressBar(self.rounds, self.round, width=min(room, 40)), words)
        return row

    def _numbers(self) -> RenderableType:
        """A row per player; where the terminal is too narrow for that, a line per player, broken between words."""
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


class Progress:
    """How far something is that takes a while: a bar on a terminal, a line now and then elsewhere. A context manager.

    `total` is what `advance` adds up to.
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
        """So much more is done; and what is done now."""
        self.what, self.done = what or self.what, self.done + count
        self._bar.update(self._task, completed=self.done, description=self.what)
        if not self.console.is_terminal and time.monotonic() > self._next_line:
            self._next_line = time.monotonic() + LINE_EVERY
            words = shown(f"{self.what}: {self.done:,} of {self.total:,}")
            self.console.print(words, highlight=False, markup=False, soft_wrap=True)


class _Notebook:
    """One output block of a notebook that is drawn again and again: sentences, the newest grid, the live picture."""

    def __init__(self) -> None:
        self.sentences: list[str] = []
        self.grid = b""
        self._shown: Any = None

    def draw(self, picture: RenderableType) -> None:
        from IPython.display import HTML, display  # there, or this would be no notebook

        console = Console(file=io.StringIO(), record=True, width=100, force_jupyter=False)
        console.print(picture)
        lines = [f"<div>{html.escape(sentence)}</div>" for sentence in self.sentences]
        lines += [console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")]
        if self.grid:
            lines += [f'<img alt="samples" src="data:image/png;base64,{base64.b64encode(self.grid).decode()}">']
        block = HTML("".join(lines))
        if self._shown is None:
            self._shown = display(block, display_id=True)
        else:
            self._shown.update(block)


HEADINGS = {"gradient": "gradient\nnorm", "real": "mean score,\nreal", "fake": "mean score,\nfake"}
