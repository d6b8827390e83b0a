"""What somebody sees while training: when grids and numbers come, lengths of time, words that stay whole."""

import io
import os
import re
import signal
import sys
import types

import pytest
from rich.console import Console

from sparring.cli import main
from sparring.errors import InterruptedRun, printable
from sparring.progress import Display, Progress, duration, wrapped
from sparring.recipes.recipe import Measured
from sparring.run import Run
from sparring.training import resume, train
from sparring.training_loop import due


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (45, "45 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (5 * 3600 + 12 * 60 + 7, "5 h 12 min"),
        (13 * 86400 + 4 * 3600 + 1799, "13 d 4 h"),
        (4758 * 60 + 42, "3 d 7 h"),
        (1234 * 86400, "1,234 d"),
    ],
)
def test_lengths_of_time(seconds, words):
    assert duration(seconds) == words


def test_early_rounds_are_shown_until_the_regular_ones_begin():
    assert [r for r in range(1, 201) if due(r, 75, 1)] == [1, 2, 5, 10, 20, 50, 75, 150]
    assert [r for r in range(1, 3001) if due(r, 1000, 20)] == [20, 50, 100, 200, 500, 1000, 2000, 3000]
    assert [r for r in range(1, 31) if due(r, 10)] == [10, 20, 30]
    assert sum(due(r, 300_000, 20) for r in range(1, 300_000)) == 13


OPTIONS = {"size": 8, "batch": 16, "latent_dim": 8}


def stopped_at(monkeypatch, at, number):
    """Let this process receive a signal when that round is over."""
    tick = Display.tick

    def deadly(self, round_number):
        tick(self, round_number)
        if round_number == at:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Display, "tick", deadly)


def test_a_stopped_run_has_shown_and_measured_early_and_leaves_a_grid_and_a_report(
    toy_file, tmp_path, monkeypatch, capsys
):
    stopped_at(monkeypatch, 53, signal.SIGTERM)
    argv = ["train", "csc321-mlp", "--data", str(toy_file), "--size", "8", "--batch", "16", "--latent-dim", "8"]
    with pytest.raises(SystemExit) as end:
        main([*argv, "--rounds", "4000", "--out", str(tmp_path)])
    assert end.value.code == 143
    (path,) = tmp_path.iterdir()
    assert list(Run.open(path).samples()) == [0, 1, 2, 5, 10, 20, 50, 53]
    assert [m["round"] for m in Run.open(path).read("metrics") if m["name"].startswith("FD")] == [0, 20, 50]
    assert (path / "report.html").is_file()
    said = capsys.readouterr()
    assert f"report  {path / 'report.html'}" in said.out
    assert said.err.splitlines()[-1].endswith(f"at round 53: saved; continue with: sparring resume {path}")


def test_a_stopped_run_resumed_is_the_run_that_was_not_stopped(toy_file, tmp_path, monkeypatch):
    options = {"rounds": 20, "sample_every": 8, "eval_every": 10, "quiet": True, **OPTIONS}
    straight = train("csc321-mlp", toy_file, out=tmp_path / "a", **options)
    stopped_at(monkeypatch, 13, signal.SIGINT)
    with pytest.raises(InterruptedRun) as stop:
        train("csc321-mlp", toy_file, out=tmp_path / "b", **options)
    resumed = resume(stop.value.run, quiet=True)
    assert list(straight.samples()) == [0, 8, 16, 20]  # as asked for: nothing early
    assert list(resumed.samples()) == [0, 8, 13, 16, 20]
    for log in ("log", "metrics"):
        assert resumed.read(log) == straight.read(log)


def test_a_log_in_a_file_ends_with_the_last_round(toy_file, tmp_path, capsys):
    train("csc321-mlp", toy_file, rounds=23, out=tmp_path, **OPTIONS)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("round ")] == ["10/23", "23/23"]
    assert "FD-random-conv64" in lines[-1]


class Clock:
    """A clock that is set by hand."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr("sparring.progress.time", types.SimpleNamespace(monotonic=lambda: self.now))


def played(clock, display, seconds, rounds):
    for r in range(1, rounds + 1):
        clock.now += seconds if r > 1 else 20 * seconds  # the first one warms up
        display.tick(r)


def test_the_recipes_own_length_is_said_where_it_is_long_and_so_is_a_shorter_one(monkeypatch, capsys):
    clock, measured = Clock(monkeypatch), Measured(data="mnist", rounds=8000, minutes=10, result="FD 41 (real 2.3)")
    played(clock, Display("aae", 0, 3_000_000, 100, own_length=True, measured=measured), 0.1, 60)
    assert capsys.readouterr().err.splitlines() == [
        "3,000,000 rounds, as in the source, will take about 3 d 11 h here; --rounds 8000 takes about "
        "13 min 20 s and reached, on mnist, FD 41 (real 2.3)"
    ]
    played(clock, Display("aae", 0, 3_000_000, 100, own_length=True), 0.1, 60)
    assert capsys.readouterr().err.endswith("take about 3 d 11 h here; use --rounds N for fewer\n")
    for rounds, own in ((3_000_000, False), (1000, True)):  # asked for; or short
        played(clock, Display("aae", 0, rounds, 100, own_length=own, measured=measured), 0.1, 60)
        assert capsys.readouterr().err == ""


def test_time_left_is_that_of_rounds_not_of_measuring(monkeypatch, capsys):
    clock = Clock(monkeypatch)
    display = Display("wgan", 0, 100_000, 64)
    played(clock, display, 10, 5)
    with display.doing("measuring FD"):
        clock.now += 500
        assert "measuring FD" in picture(display)
    assert "1.0 rounds" not in display._speed()
    assert display._speed() == "10.0 s/round, 6 images/s, 11 d 13 h left"
    clock.now += 34
    assert "round 6, 34 s" in picture(display)


def picture(display, width=200):
    display.console = Console(file=io.StringIO(), force_terminal=True, width=width, record=True)
    display.console.print(display._picture())
    return display.console.export_text()


MOVES = [
    {"player": "discriminator", "loss": 1.38629, "gradient": 0.12345, "real": 0.5123, "fake": -0.4987},
    {"player": "autoencoder", "loss": 123.456, "reconstruction": 0.00001234, "information": 2.302},
]
ALARM = (
    "The discriminator is too strong (likely), since round 1,234. It tells every sample from every image. "
    "Try: sparring train cs231n-mlp --data my-pictures/of-some-kind --discriminator-lr 0.0001 --rounds 4000"
)


@pytest.mark.parametrize("width", [30, 50, 80, 100, 160])
def test_no_word_is_broken_in_two(width, capsys):
    display = Display("0001-cs231n-dcgan-digits", 0, 3_000_000, 128)
    display.players, display.round, display.measured = MOVES, 1_234_567, {"FD-lenet-mnist@1000": "1,234"}
    display._ticks.extend([(0.0, 0), (100.0, 1500)])
    display.alarms = {"The discriminator is too strong": 1234}
    words = set(re.split(r"\s+", picture(display, width)))
    headings = {"gradient norm", "mean score, real", "mean score, fake", "loss", "reconstruction", "information"}
    assert {word for heading in headings for word in heading.split()} <= words
    assert {"1.386", "123.5", "0.1235", "-0.4987", "1.234e-05", "2.302", "discriminator", "autoencoder"} <= words
    assert {"1,234,567/3,000,000", "images/s,", "FD-lenet-mnist@1000", "1,234)"} <= words
    display.console = Console(stderr=True, force_terminal=True, width=width, color_system=None)
    display.print(ALARM)
    lines = capsys.readouterr().err.splitlines()
    assert " ".join(lines).split() == ALARM.split()
    assert max(map(len, lines)) <= max(width, max(map(len, ALARM.split())))


def test_lines_are_broken_between_words_only():
    path = "/a/very/long/path-with-hyphens/that/is-longer-than-the-line"
    assert wrapped(f"cannot read {path} today", 30).splitlines() == ["cannot read", path, "today"]
    assert wrapped("one\n\ntwo", 40) == "one\n\ntwo"


def test_names_cannot_send_commands_to_the_terminal(capsys):
    assert printable("café 猫 ±") == "café 猫 ±"
    assert printable("a\x1b[2Jb\x07\udcff\n\tc", keep="\n\t") == "a\\x1b[2Jb\\x07\\udcff\n\tc"
    assert printable("a\nb") == "a\\nb"
    Display("run", 0, 1, 1).print("class \x1b]0;owned\x07")
    assert capsys.readouterr().err == "class \\x1b]0;owned\\x07\n"


def test_a_notebook_has_one_block_with_the_newest_grid(monkeypatch, toy_file, tmp_path, capsys):
    blocks, updates = [], []
    ipython = types.ModuleType("IPython.display")
    ipython.HTML = lambda text: text
    handle = types.SimpleNamespace(update=updates.append)
    ipython.display = lambda block, display_id: blocks.append(block) or handle
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", ipython)
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    run = train("csc321-mlp", toy_file, rounds=12, out=tmp_path, **OPTIONS)
    assert f"{run.path}</b>: 12 of 12 rounds<br><img" in run._repr_html_()
    assert len(blocks) == 1
    assert "12/12" in updates[-1]
    assert "FD-random-conv64" in updates[-1]
    assert updates[-1].count('<img alt="samples" src="data:image/png;base64,') == 1
    assert capsys.readouterr().err == ""


def test_what_takes_long_says_how_far_it_is(monkeypatch, capsys):
    clock = Clock(monkeypatch)
    with Progress("ring, gan", 100) as progress:
        for _ in range(8):
            clock.now += 4
            progress.advance(10)
        progress.advance(0, "drawing")
    assert capsys.readouterr().err.splitlines() == ["ring, gan: 20 of 100", "ring, gan: 60 of 100"]
