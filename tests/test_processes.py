"""Several processes: one that dies or hangs does not take the others, or the work, with it."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

import sparring
from sparring.cli import main

PATIENCE = 4


@pytest.fixture
def pair(toy_file, tmp_path):
    """Two processes in the middle of a long training, and the folder of their run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    argv = [sys.executable, "-m", "sparring", "train", "csc321-mlp", "--data", str(toy_file), "--size", "8"]
    argv += ["--rounds", "1000000", "--save-every", "10", "--show-every", "1000", "--measure-every", "1000000"]
    argv += ["--latent", "8", "--batch", "16", "--precision", "fp32", "--out", str(tmp_path / "out")]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    shared |= {"OMP_NUM_THREADS": "1", "SPARRING_TIMEOUT": str(PATIENCE), "ACCELERATE_USE_CPU": "true"}
    processes = [
        subprocess.Popen(
            argv,
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        for rank in range(2)
    ]
    run = tmp_path / "out" / "0001-csc321-mlp-toy"
    until = time.monotonic() + 90
    while not list((run / "checkpoints").glob("round-*[1-9]*")) and time.monotonic() < until:
        assert processes[0].poll() is None, processes[0].stderr.read()
        time.sleep(0.1)
    yield processes, run
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.parametrize(("how", "within"), [(signal.SIGKILL, 5), (signal.SIGSTOP, PATIENCE + 5)])
def test_the_others_notice_say_so_and_can_be_resumed(pair, how, within):
    (first, second), run = pair
    second.send_signal(how)
    began = time.monotonic()
    _, said = first.communicate(timeout=60)
    assert time.monotonic() - began < within
    assert first.returncode == 5
    line = said.strip().splitlines()[-1]
    assert line.startswith("sparring: another process of this training died or did not answer")
    assert "sparring resume" in line

    reached = sparring.open(run).newest_checkpoint().numbers["round"]
    assert reached >= 10
    second.kill()  # also what was only stopped
    main(["resume", str(run), "--rounds", str(reached + 1)])  # alone now
    assert sparring.open(run).newest_checkpoint().numbers["round"] == reached + 1


def test_a_timeout_that_is_no_number_is_one_line(monkeypatch, toy_file, tmp_path, capsys):
    monkeypatch.setenv("SPARRING_TIMEOUT", "soon")
    with pytest.raises(SystemExit):
        main(["train", "csc321-mlp", "--data", str(toy_file), "--out", str(tmp_path)])
    assert "SPARRING_TIMEOUT is 'soon'" in capsys.readouterr().err.strip().splitlines()[-1]
