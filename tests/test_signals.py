"""Signals: the first is acknowledged at once, the second ends the process; a closed terminal loses no work."""

import os
import pty
import select
import signal
import time

import pytest
import torch._dynamo  # what the first optimizer imports; here, so that children need not

from sparring.errors import SparringError
from sparring.run import Run
from sparring.signals import stop_signals
from sparring.training import train

SOON = 0.5
"""Seconds of the process's own time from its start to its end: on a busy machine it gets fewer of them in a second."""


def child(work):
    """Process and the reading end of its pipe; `work(say)` runs in it."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
    try:
        work(lambda text: os.write(writing, text.encode() + b"\n"))
        os._exit(0)
    finally:
        os._exit(99)


def heard(reading, within):
    """What is read from a pipe within so many seconds."""
    ready, _, _ = select.select([reading], [], [], within)
    return os.read(reading, 1000).decode().strip() if ready else ""


def ended(pid, within):
    """The exit code of a process that ends within so many seconds, and its own time; it is killed otherwise."""
    until = time.monotonic() + within
    while (end := os.wait4(pid, os.WNOHANG))[0] == 0:
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)
    _, status, used = end
    return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime


def computing(say):
    """In one computation of many seconds in C, in which no handler of Python's runs."""
    matrix = torch.rand(3000, 3000)
    with stop_signals(lambda number: say(f"asked by {number}")) as caught:
        say("ready")
        torch.linalg.svdvals(matrix)
        say(f"caught {caught()}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_second_signal_ends_the_process_in_the_middle_of_a_computation(number):
    pid, reading = child(computing)
    assert heard(reading, 60) == "ready"
    time.sleep(0.1)
    os.kill(pid, number)
    assert heard(reading, 60) == f"asked by {int(number)}"
    os.kill(pid, number)
    code, used = ended(pid, 60)
    assert code == 128 + number
    assert heard(reading, 0) == "", "the computation was over"
    assert used < SOON


def test_afterwards_everything_is_as_it_was():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    asked = []
    with stop_signals(asked.append) as caught:
        assert caught() == 0
        os.kill(os.getpid(), signal.SIGTERM)
        until = time.monotonic() + 60
        while not asked and time.monotonic() < until:
            time.sleep(0.001)
        assert caught() == signal.SIGTERM
    assert asked == [signal.SIGTERM]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_nohup_is_respected():
    def work(say):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with stop_signals(lambda number: say("asked")):
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.05)
            say("still here")

    pid, reading = child(work)
    assert heard(reading, 60) == "still here"
    assert ended(pid, 60)[0] == 0


def test_torchrun_may_pass_on_what_the_terminal_sent_to_all(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")

    def work(say):
        with stop_signals(lambda number: None):
            for _ in range(3):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.02)
            say("still here")

    pid, reading = child(work)
    assert heard(reading, 60) == "still here"
    assert ended(pid, 60)[0] == 0


def test_a_training_whose_terminal_is_closed_saves_and_leaves(toy_file, tmp_path):
    pid, terminal = pty.fork()
    if not pid:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        try:
            train("csc321-mlp", toy_file, size=8, out=tmp_path, rounds=10**6, latent_dim=4, batch=8, save_every=10**6)
        except SparringError as error:
            os._exit(error.exit_code)
        finally:
            os._exit(99)
    until = time.monotonic() + 60
    while not list(tmp_path.glob("*/checkpoints/round-*")) and time.monotonic() < until:
        if select.select([terminal], [], [], 0.05)[0]:
            os.read(terminal, 10_000)
    os.close(terminal)
    assert ended(pid, 60)[0] == 128 + signal.SIGHUP
    (run,) = tmp_path.iterdir()
    saved = Run.open(run).newest_checkpoint().numbers["round"]
    assert saved in Run.open(run).samples()
