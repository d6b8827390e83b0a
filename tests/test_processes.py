"""Several processes: one that dies or hangs does not take the others, or the work, with it."""

import os
import shutil
import signal
import socket
import sys
import time
from contextlib import suppress
from functools import partial

import numpy as np
import pytest
from pairs import command, forked, pair

import sparring
from sparring.cli import main
from sparring.distributed import on_each_process, on_main_process, process_group
from sparring.errors import StorageError

PATIENCE = 4


@pytest.fixture
def training(toy_file, tmp_path):
    """Two processes in the middle of a long training, and the folder of their run."""
    argv = ["train", "csc321-mlp", "--data", toy_file, "--size", "8", "--out", tmp_path / "out"]
    argv += ["--rounds", "1000000", "--save-every", "10", "--sample-every", "1000", "--eval-every", "1000000"]
    argv += ["--latent-dim", "8", "--batch", "16", "--precision", "fp32"]

    def work(rank):
        os.dup2(os.open(tmp_path / f"{rank}.txt", os.O_WRONLY | os.O_CREAT), 2)
        sys.stderr = sys.__stderr__
        command(*argv)

    pids = [pid for pid, _ in forked(work, patience=PATIENCE)]
    run = tmp_path / "out" / "0001-csc321-mlp-toy"
    until = time.monotonic() + 90
    while not list((run / "checkpoints").glob("round-*[1-9]*")) and time.monotonic() < until:
        assert os.waitpid(pids[0], os.WNOHANG) == (0, 0), (tmp_path / "0.txt").read_text()
        time.sleep(0.05)
    yield pids, run, tmp_path / "0.txt"
    for pid in pids:
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


@pytest.mark.parametrize(("how", "within"), [(signal.SIGKILL, 30), (signal.SIGSTOP, PATIENCE + 30)])
def test_the_others_notice_say_so_and_can_be_resumed(training, how, within):
    (first, second), run, said = training
    os.kill(second, how)
    began = time.monotonic()
    _, end = os.waitpid(first, 0)
    assert time.monotonic() - began < within
    assert os.waitstatus_to_exitcode(end) == 5
    line = said.read_text().strip().splitlines()[-1]
    assert line.startswith("sparring: another process of this training died or did not respond")
    assert "sparring resume" in line

    reached = sparring.open(run).newest_checkpoint().numbers["round"]
    assert reached >= 10
    os.kill(second, signal.SIGKILL)  # also what was only stopped
    main(["resume", str(run), "--rounds", str(reached + 1)])  # alone now
    assert sparring.open(run).newest_checkpoint().numbers["round"] == reached + 1


def test_a_timeout_that_is_no_number_is_one_line(monkeypatch, toy_file, tmp_path, capsys):
    monkeypatch.setenv("SPARRING_TIMEOUT", "soon")
    with pytest.raises(SystemExit):
        main(["train", "csc321-mlp", "--data", str(toy_file), "--out", str(tmp_path)])
    assert "SPARRING_TIMEOUT is 'soon'" in capsys.readouterr().err.strip().splitlines()[-1]


# Waiting knowingly, and the same game in all of them.


def test_a_process_that_works_for_longer_than_the_timeout_is_waited_for():
    def work(rank):
        state = process_group()
        on_main_process(state, partial(time.sleep, 4))
        on_each_process(state, partial(time.sleep, 2.5 if rank else 0))
        return on_each_process(state, lambda: rank)

    assert pair(work, patience=2) == [(0, ""), (0, "1")]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_who_dies_or_hangs_while_others_wait_is_noticed(how):
    def work(rank):
        def vanish():
            os.kill(os.getpid(), how)

        on_main_process(process_group(), vanish)

    (first, _), (second, said) = pair(work, patience=1)
    assert (first, second) == (-9, 5)
    assert said.startswith("another process of this training died or did not respond")


def test_an_error_of_one_process_is_that_of_all():
    def work(rank):
        def fail():
            raise StorageError("cannot write x: No space left on device")

        on_each_process(process_group(), fail if rank == 0 else (lambda: time.sleep(0.3)))

    (first, mine), (second, theirs) = pair(work)
    assert (first, second) == (4, 4)
    assert (mine, theirs) == (
        "cannot write x: No space left on device",
        "process 0: cannot write x: No space left on device",
    )


OTHERS = {
    "seed": ({"seed": 1}, "its seed is 1, not 0"),
    "rate": ({"generator_lr": 0.5}, "its arguments generator_lr is 0.5, not 0.001"),
    "shape": ({"latent_dim": 5}, "its arguments latent_dim is 5, not 4"),
    "data": ({"data": 1}, "its data fingerprint is"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_processes_that_were_started_differently_do_not_play(what, tmp_path):
    other, said = OTHERS[what]

    def work(rank):
        options = {"rounds": 2, "latent_dim": 4, "batch": 8, "seed": 0, "data": 0} | (other if rank else {})
        pixels = np.full((20, 8, 8), options.pop("data"), dtype=np.uint8)
        sparring.train("cs231n-mlp", sparring.load(pixels), out=tmp_path / "runs", quiet=True, **options)

    ends = pair(work)
    assert [code for code, _ in ends] == [2, 2], ends
    assert all(text.startswith(f"process 1 differs from process 0: {said}") for _, text in ends), ends
    assert not (tmp_path / "runs").exists()


def test_processes_that_resume_from_different_checkpoints_do_not_play(toy_file, tmp_path):
    run = sparring.train(
        "cs231n-mlp", toy_file, size=8, out=tmp_path, rounds=4, save_every=2, latent_dim=4, batch=8, quiet=True
    )
    other = shutil.copytree(run.path, tmp_path / "other")
    shutil.rmtree(other / "checkpoints" / "round-00000004")
    ends = pair(lambda rank: sparring.resume(other if rank else run.path, rounds=6, quiet=True))
    assert [code for code, _ in ends] == [2, 2], ends
    assert "its round is 2, not 4" in ends[0][1]


def test_a_port_in_use_is_one_line(monkeypatch):
    monkeypatch.setattr("sparring.distributed.GRACE_SECONDS", 0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ends = pair(lambda rank: process_group(), port=taken.getsockname()[1], patience=1)
    assert [code for code, _ in ends] == [2, 2], ends
    assert "did not connect at 127.0.0.1:" in ends[0][1]
    assert "\n" not in ends[0][1]
