"""How many threads compute, how they wait for each other, and what is said when the machine becomes busy."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

import sparring
from sparring.errors import SparringError
from sparring.progress import Pace
from sparring.referee import Referee


@pytest.fixture
def data():
    return sparring.load(np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8))


def train(data, out, **options):
    return sparring.train("csc321-mlp", data, rounds=1, out=out, quiet=True, monitor=False, batch=16, **options)


def test_the_number_of_threads_is_kept_and_a_resumed_run_uses_it(data, tmp_path, monkeypatch):
    used = []
    played = Referee.play
    monkeypatch.setattr(
        "sparring.referee.Referee.play", lambda self: used.append(torch.get_num_threads()) or played(self)
    )
    before = torch.get_num_threads()
    run = train(data, tmp_path, threads=2)
    assert json.loads((run.path / "recipe.json").read_text())["machine"]["threads"] == 2
    sparring.resume(run, rounds=2, data=data, quiet=True)
    assert used == [2, 2]
    assert torch.get_num_threads() == before
    sparring.resume(run, rounds=3, data=data, threads=1, quiet=True)
    assert used == [2, 2, 1]


def test_another_number_of_threads_is_said(data, tmp_path, capsys):
    run = train(data, tmp_path, threads=1)
    sparring.resume(run, rounds=2, data=data, threads=2)
    assert "threads: 1 then, 2 now" in capsys.readouterr().err


@pytest.mark.parametrize("threads", [0, -1, 10**9])
def test_threads_that_cannot_be_are_refused_before_a_run_is_made(data, tmp_path, threads):
    with pytest.raises(SparringError, match="from 1 to 1,024"):
        train(data, tmp_path, threads=threads)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("user", "expected"), [({}, "30000 1"), ({"OMP_WAIT_POLICY": "active"}, "None None")])
def test_openmp_threads_spin_for_a_bounded_time_unless_the_user_decided(user, expected):
    settings = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"}
    environment = {name: value for name, value in os.environ.items() if name not in settings} | user
    code = "import sparring, os; print(os.environ.get('GOMP_SPINCOUNT'), os.environ.get('KMP_BLOCKTIME'))"
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == expected


def test_rounds_that_became_slow_on_a_busy_machine_are_said_once(monkeypatch):
    def said(load, later):
        monkeypatch.setattr(os, "getloadavg", lambda: (load, load, load))
        pace = Pace()
        return [found for seconds in [0.1] * 50 + [later] * 150 if (found := pace.slower(seconds))]

    busy = 2.0 * os.cpu_count()
    assert said(busy, later=0.7) == [pytest.approx(7)]
    assert said(busy, later=0.2) == []
    assert said(0.5, later=0.7) == []  # slower for a reason of its own: networks that grow
