"""A search for arguments: what may be searched, one journal for several workers, and no look at the test set."""

import os
import socket
import sys
from dataclasses import replace
from functools import partial
from multiprocessing import get_context

import numpy as np
import pytest

import sparring.sweeping as sweeping
from sparring.cli import main
from sparring.errors import DivergedError, SparringError
from sparring.run import Run
from sparring.sweeping import Range, Sweep, on_slurm, read_space, read_trials, run_worker

pytest.importorskip("optuna")
from optuna.trial import TrialState

RECIPE = "csc321-mlp"
SMALL = {"size": 8}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """600 gray 8x8 images, a tenth of them held out."""
    file = tmp_path_factory.mktemp("data") / "toy.npy"
    np.save(file, np.random.default_rng(0).integers(0, 256, (600, 8, 8), dtype=np.uint8))
    return str(file)


def sweep(data, text="discriminator_lr=1e-5..1e-3:log", **changes):
    settings = {
        "rounds": 8,
        "fixed": {"latent_dim": 4, "batch": 16, "ema_decay": 0.0},
        "options": SMALL,
        "n": 50,
        **changes,
    }
    return Sweep(RECIPE, data, space=read_space(text, RECIPE), **settings)


quietly = partial(run_worker, prune=False, quiet=True, say=lambda words: None)


@pytest.mark.parametrize(
    ("text", "space"),
    [
        ("discriminator_lr=1e-5..1e-3:log", {"discriminator_lr": Range(1e-5, 1e-3, log=True)}),
        ("--generator-lr = 1e-4 .. 1e-3", {"generator_lr": Range(1e-4, 1e-3)}),
        (
            "latent_dim=4..64:log,\nbatch=16|32",
            {"latent_dim": Range(4, 64, log=True), "batch": Range(choices=(16, 32))},
        ),
        ("joint_batch=true|false", {"joint_batch": Range(choices=(True, False))}),
    ],
)
def test_spaces_are_read(text, space):
    assert read_space(text, RECIPE) == space


def test_a_space_may_be_a_file(tmp_path):
    (tmp_path / "space.txt").write_text("latent_dim=4..64\nlabel_smoothing=0..0.2\n")
    assert read_space(str(tmp_path / "space.txt"), RECIPE) == {
        "latent_dim": Range(4, 64),
        "label_smoothing": Range(0.0, 0.2),
    }


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("learning_rate=1..2", "unknown argument 'learning_rate'"),
        ("latent_dim", "it must be argument=low..high"),
        ("latent_dim=4", "it must be argument=low..high"),
        ("latent_dim=4..64:sqrt", "it must be argument=low..high"),
        ("latent_dim=64..4", "low must be below high"),
        ("label_smoothing=0..0.4:log", "above 0 for :log"),
        ("label_smoothing=0..0.9", "label_smoothing .* less than or equal to 0.5"),
        ("joint_batch=0..1", "is not a number"),
        (" , ", "--space is empty"),
    ],
)
def test_spaces_that_make_no_sense_are_refused(text, reason):
    with pytest.raises(SparringError, match=reason):
        read_space(text, RECIPE)


def test_a_sweep_that_is_stopped_goes_on_as_it_would_have(data, tmp_path):
    whole = quietly(sweep(data), tmp_path / "whole", 3)
    quietly(sweep(data), tmp_path / "halves", 1)
    halves = quietly(sweep(data), tmp_path / "halves", 3)
    assert [(t.number, t.value, t.arguments) for t in whole] == [(t.number, t.value, t.arguments) for t in halves]
    assert len(whole) == 3
    assert [t.value for t in whole] == sorted(t.value for t in whole)
    assert len({t.value for t in whole}) == 3
    assert Run.open(whole[0].run).config["arguments"]["discriminator_lr"] == whole[0].arguments["discriminator_lr"]


def test_two_workers_share_one_journal(data, tmp_path):
    journal = tmp_path / "embed_dim"
    fork = get_context("fork")  # a forked process need not import torch again
    workers = [fork.Process(target=quietly, args=(sweep(data), journal, 4)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    trials = read_trials(journal)
    assert 4 <= len(trials) <= 5  # the last may be asked for by both at once
    assert {t.state for t in trials} == {"complete"}
    assert len({t.run for t in trials}) == len(trials)


def test_workers_on_other_devices_share_a_journal():
    one = Sweep(RECIPE, "digits", 8, {}, {}, {}, device="cpu")
    assert one.config() == replace(one, device="cuda:1").config()
    assert one.config() != replace(one, seed=1).config()


def test_a_journal_of_another_sweep_is_refused(data, tmp_path):
    quietly(sweep(data), tmp_path / "journal", 1)
    with pytest.raises(SparringError, match="another sweep: its rounds is 8, not 16"):
        quietly(sweep(data, rounds=16), tmp_path / "journal", 2)


def test_a_killed_trial_does_not_count(data, tmp_path):
    """The sweep plays what the killed worker would have played, and ends with as many trainings as were asked for."""
    journal = tmp_path / "journal"
    whole = quietly(sweep(data), tmp_path / "whole", 2)
    quietly(sweep(data), journal, 1)
    dead = get_context("fork").Process(target=int)
    dead.start()
    dead.join()
    study = sweeping._load(journal)
    for worker in (dead.pid, os.getpid()):
        trial = study.ask()
        trial.set_user_attr("worker", [socket.gethostname(), worker])
    assert sweeping._tried(study) == 2  # one has ended, and one is played by this process
    study.tell(2, state=TrialState.FAIL)
    trials = quietly(sweep(data), journal, 2)
    assert [t.arguments for t in trials if t.state == "complete"] == [t.arguments for t in whole]


@pytest.mark.parametrize(
    "harm", [lambda text: text[:-9], lambda text: text[:40] + b"\xff" + text[41:], lambda _: b"[]\n"]
)
def test_a_damaged_journal_is_one_line(data, tmp_path, harm):
    journal = tmp_path / "journal"
    sweeping._study(sweep(data), journal)
    journal.write_bytes(harm(journal.read_bytes()))
    with pytest.raises(SparringError, match=r"journal is damaged in line \d+ of \d+"):
        quietly(sweep(data), journal, 1)
    with pytest.raises(SparringError, match="is damaged in line"):
        read_trials(journal)


def test_trainings_that_diverge_are_given_up_and_the_sweep_goes_on(data, tmp_path, monkeypatch):
    import sparring.training

    real, calls = sparring.training.train, []

    def train(*args, **options):
        calls.append(options)
        if len(calls) == 1:
            raise DivergedError("round 2: the generator's loss is nan")
        return real(*args, **options)

    monkeypatch.setattr(sparring.training, "train", train)
    trials = quietly(sweep(data), tmp_path / "journal", 2)
    assert [(t.state, t.value is None) for t in trials] == [("complete", False), ("pruned", True)]


def test_bad_trials_are_given_up_after_a_quarter(data, tmp_path, monkeypatch):
    values = iter([10.0, 9.0, 8.0] * 4 + [99.0])  # four trials in three looks each, then one that begins badly
    monkeypatch.setattr(sweeping, "_measured", lambda sweep, run: next(values))
    trials = run_worker(sweep(data), tmp_path / "journal", 5, quiet=True, say=lambda words: None)
    given_up = next(t for t in trials if t.number == 4)
    assert (given_up.state, given_up.value) == ("pruned", None)
    assert Run.open(given_up.run).checkpoints()[-1] == 2
    assert Run.open(trials[0].run).checkpoints()[-1] == 8


def test_the_test_set_is_never_looked_at(data, tmp_path, monkeypatch):
    import sparring.evaluation

    real, splits = sparring.evaluation.evaluate, []

    def evaluate(*args, split, **options):
        splits.append(split)
        return real(*args, split=split, **options)

    monkeypatch.setattr(sparring.evaluation, "evaluate", evaluate)
    quietly(sweep(data), tmp_path / "journal", 1)
    assert splits == ["held_out"]


def test_without_optuna_it_says_what_to_install(data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SparringError, match=r"pip install 'sparring\[sweep\]'"):
        quietly(sweep(data), tmp_path / "journal", 1)


def test_the_command_line(data, tmp_path, capsys):
    line = ["sweep", RECIPE, "--data", data, "--size", "8", "--batch", "16", "--rounds", "4", "--n", "50"]
    line += ["--journal", str(tmp_path / "journal"), "--trials", "1", "--no-prune"]
    main([*line, "--space", "latent_dim=4..8", "--held-out", "100"])
    assert "100" in str(Run.open(read_trials(tmp_path / "journal")[0].run).config["data"]["source"]["held_out"])
    said = capsys.readouterr().out
    assert "trial 1 of 1: --latent-dim" in said
    assert "sparring train csc321-mlp --latent-dim" in said
    with pytest.raises(SystemExit):
        main([*line, "--space", "latent_dim=4..8", "--latent-dim", "4"])
    assert "latent_dim is in --space and also given as a flag" in capsys.readouterr().err
    for flags, words in (
        (["--held-out", "5"], "a sweep needs at least 6 held-out images (5 of 600 are held out)"),
        (["--labels-from", "nowhere.csv"], "there is no folder or file 'nowhere.csv'"),
        (["--space", "latent_dim=4..8," + " " * 300 + "joint_batch=maybe"], "joint_batch"),
    ):
        with pytest.raises(SystemExit):
            main([*line, "--space", "latent_dim=4..8", "--journal", str(tmp_path / "second"), *flags])
        assert words in capsys.readouterr().err
    assert not (tmp_path / "second.runs").exists()


def test_slurm_jobs_are_handed_over(tmp_path):
    """On submitit's own scheduler for one machine: the same code, other cluster."""
    pytest.importorskip("submitit")
    jobs = on_slurm(2, {"timeout_min": 1}, tmp_path / "slurm", partial(max, 3, 4), cluster="local")
    assert [job.result() for job in jobs] == [4, 4]


def test_slurm_that_is_not_there_is_one_clear_line(tmp_path):
    pytest.importorskip("submitit")
    with pytest.raises(SparringError, match="Slurm did not accept the jobs"):
        on_slurm(1, {}, tmp_path / "slurm", print)
