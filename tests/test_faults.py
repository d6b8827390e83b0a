"""What a run survives: kill -9 anywhere, power loss, damaged checkpoints, full disks, two owners, signals."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from sparring import load
from sparring.cli import main
from sparring.durable import MANIFEST, CorruptCheckpointError, Disk, read_folder, sealed, write_file, write_folder
from sparring.errors import InterruptedRun, SparringError, StorageError
from sparring.reporting import report
from sparring.run import Run, open_system
from sparring.training import resume, train

HERE = Path(__file__).parent
OPTIONS = {
    "rounds": 24,
    "save_every": 8,
    "sample_every": 8,
    "eval_every": 24,
    "log_every": 1,
    "latent_dim": 8,
    "batch": 16,
}
SHORT = {"rounds": 6, "save_every": 2, "sample_every": 6, "eval_every": 6}
"""Grids and measurements at the start and at the end; as many saves as are needed for one to be deleted."""


@pytest.fixture(scope="session")
def data(toy_file):
    return toy_file


class Server:
    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "victim.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert json.loads(self.process.stdout.readline())["ready"]

    def order(self, verb, **order):
        self.process.stdin.write(json.dumps({"verb": verb, **order}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@pytest.fixture(scope="session")
def server(data):
    started = Server()
    yield started
    started.process.communicate()


def orders(data, out, **options):
    return {"recipe": "csc321-mlp", "data": str(data), "out": str(out), "options": OPTIONS | {"size": 8} | options}


def only_run(out):
    (path,) = Path(out).iterdir()
    return path


def everything(path):
    """SHA-256 of all that must be equal: weights, newest checkpoint, logs, pictures."""
    newest = sorted((path / "checkpoints").glob("round-*"))[-1]
    files = [*newest.glob("*"), *(path / "samples").glob("*.png")]
    files += [path / "log.jsonl", path / "metrics.jsonl", path / "weights" / "model.safetensors"]
    return {str(f.relative_to(path)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files if f.name != MANIFEST}


def until_done(server, out, data, **options):
    """Resume as a user would; a run that died before recipe.json was there is started again."""
    paths = [p for p in Path(out).glob("*") if (p / "recipe.json").is_file()]
    if not paths:
        shutil.rmtree(out, ignore_errors=True)
        end = server.order("train", **orders(data, out, **options))
    else:
        end = server.order("resume", run=str(paths[0]))
    assert end["code"] == 0, end["error"]
    return only_run(out)


@pytest.fixture(scope="session")
def unharmed(server, data, tmp_path_factory):
    """A run that nobody disturbed, and how many seconds it took."""
    out = tmp_path_factory.mktemp("unharmed") / "runs"
    started = time.monotonic()
    end = server.order("train", **orders(data, out))
    assert end["code"] == 0, end["error"]
    return everything(only_run(out)), time.monotonic() - started


@pytest.fixture(scope="session")
def short(server, data, tmp_path_factory):
    """A short run that nobody disturbed, and copies of its folder: what kill -9 leaves at each disk operation."""
    out = tmp_path_factory.mktemp("short")
    for name in ("runs", "copies"):
        (out / name).mkdir()
    end = server.order("train", **orders(data, out / "runs", **SHORT), copies=str(out / "copies"))
    assert end["code"] == 0, end["error"]
    return everything(only_run(out / "runs")), sorted((out / "copies").iterdir())


@pytest.mark.slow
def test_killed_at_random_moments(server, data, unharmed, tmp_path):
    """G1: kill -9 at a random moment, three times in a row, then resume: the same bits."""
    expected, seconds = unharmed
    dice = random.Random(7)
    deaths = 0
    for number in range(5):
        out = tmp_path / str(number)
        end = server.order("train", **orders(data, out), signal_after=seconds * dice.uniform(0.05, 0.9))
        deaths += end["signal"] == 9
        for _ in range(2):
            paths = [p for p in out.glob("*") if (p / "recipe.json").is_file()]
            if paths:
                end = server.order("resume", run=str(paths[0]), signal_after=seconds * dice.uniform(0.05, 0.7))
                deaths += end["signal"] == 9
        assert everything(until_done(server, out, data)) == expected
    assert deaths >= 5, "the kills came too late to prove anything"


@pytest.mark.slow
@pytest.mark.parametrize("part", range(2))
def test_killed_at_every_disk_operation(server, data, short, part):
    """G2, G3: killed before any operation that changes the disk; then resume: the same bits."""
    expected, copies = short
    assert len(copies) > 60
    for out in copies[part::2]:
        runs = [p for p in out.glob("*") if (p / "recipe.json").is_file()]
        if not runs:
            assert everything(until_done(server, out, data, **SHORT)) == expected, out
            continue
        saved = Run.open(runs[0]).checkpoints()
        played = [json.loads(line)["round"] for line in (runs[0] / "log.jsonl").read_text().splitlines()]
        if played:
            assert saved, out
            assert max(played) - max(saved) <= SHORT["save_every"], out
        assert everything(resume(runs[0], quiet=True).path) == expected, out


# Power loss, on the writer alone.


def test_a_sync_reaches_the_file(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    write_file(Disk(), tmp_path / "file", b"content")
    assert synced == [(tmp_path / "file").stat().st_ino, tmp_path.stat().st_ino]


class Recorder(Disk):
    """Does nothing but remember."""

    def __init__(self):
        self.operations = []

    def mkdir(self, path):
        self.operations.append(("mkdir", path))
        super().mkdir(path)

    def write(self, path, data):
        self.operations.append(("write", path, data))
        super().write(path, data)

    def sync(self, path):
        self.operations.append(("sync", path))
        super().sync(path)

    def rename(self, old, new):
        self.operations.append(("rename", old, new))
        super().rename(old, new)

    def remove(self, path):
        self.operations.append(("remove", path))
        super().remove(path)


def rename(content, synced, old, new):
    """Renames a file, or a folder with its files, in `content` and `synced`."""
    for path in [p for p in content if old in [p, *p.parents]]:
        target = new / path.relative_to(old)
        content[target] = content.pop(path)
        if path in synced:
            synced.remove(path)
            synced.add(target)


def replayed(operations, dice):
    """The files after the operations, and which of them are synced; renames only survive a sync of their folder (or
    survive anyway, by chance)."""
    content: dict[Path, bytes] = {}
    synced: set[Path] = set()
    pending: list[tuple[Path, Path]] = []

    for operation in operations:
        match operation:
            case ("write", path, data):
                content[path] = data
                synced.discard(path)
            case ("sync", path):
                if path in content:
                    synced.add(path)
                for old, new in [r for r in pending if r[1].parent == path]:
                    rename(content, synced, old, new)
                    pending.remove((old, new))
            case ("rename", old, new):
                pending.append((old, new))
            case ("remove", path):
                for p in [p for p in content if path in p.parents]:
                    del content[p]
    for old, new in pending:
        if dice.random() < 0.5:
            rename(content, synced, old, new)
    return content, synced


def after_power_loss(operations, root, empty, dice):
    """The disk as it may be found: what was not synced is lost, empty or half there."""
    content, synced = replayed(operations, dice)
    shutil.rmtree(empty, ignore_errors=True)
    for path, data in content.items():
        if path not in synced:
            data = dice.choice([b"", data[: len(data) // 2], data])
            if dice.random() < 0.3:
                continue
        target = empty / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def contents(version):
    return {"a.safetensors": bytes([version]) * 3000, "b.safetensors": bytes([version + 100]) * 500}


def surviving(folder):
    found = []
    for version in (1, 2):
        try:
            files, _ = read_folder(folder / f"round-{version}")
            assert files == contents(version)
            found.append(version)
        except CorruptCheckpointError:
            pass
    return found


def naive(disk, folder, files, config):
    """How most libraries write: straight to the final place, no sync."""
    sums = {n: {"bytes": len(d), "sha256": hashlib.sha256(d).hexdigest()} for n, d in files.items()}
    disk.mkdir(folder)
    for name, data in files.items():
        disk.write(folder / name, data)
    disk.write(folder / MANIFEST, json.dumps({"files": sums}).encode())


def losses(write, tmp_path):
    """Power losses, at every operation of a second save and 6 ways each, that left no save to use; and their number."""
    disk, root = Recorder(), tmp_path / "disk"
    write(disk, root / "round-1", contents(1), {})
    first_done = len(disk.operations)
    write(disk, root / "round-2", contents(2), {})
    lost = total = 0
    for k in range(first_done, len(disk.operations) + 1):
        for seed in range(6):
            after_power_loss(disk.operations[:k], root, tmp_path / "found", random.Random(seed))
            found = surviving(tmp_path / "found")
            lost += not found
            total += 1
            if write is write_folder and k == len(disk.operations):
                assert 2 in found
    return lost, total


def test_power_loss_never_takes_the_last_checkpoint(tmp_path):
    lost, total = losses(write_folder, tmp_path)
    assert total > 40
    assert lost == 0


def test_the_power_loss_test_bites(tmp_path):
    """The same test on a writer without sync and rename finds losses, so it can fail."""
    lost, _ = losses(naive, tmp_path)
    assert lost > 0


# Damage.


@pytest.fixture(scope="session")
def finished(server, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("finished")
    end = server.order("train", **orders(data, out / "runs"))
    assert end["code"] == 0, end["error"]
    return only_run(out / "runs")


@pytest.fixture
def copy(finished, tmp_path):
    shutil.copytree(finished, tmp_path / finished.name)
    return tmp_path / finished.name


def test_every_flipped_bit_is_noticed(copy):
    """G5: 500 single-bit flips anywhere in the newest checkpoint: no wrong weight or number is ever loaded."""
    dice = random.Random(3)
    folder = copy / "checkpoints" / "round-00000024"
    whole, _ = read_folder(folder)
    passed = 0
    for _ in range(500):
        file = dice.choice(sorted(p for p in folder.iterdir() if p.stat().st_size))
        data = bytearray(file.read_bytes())
        at, bit = dice.randrange(len(data)), dice.randrange(8)
        data[at] ^= 1 << bit
        file.write_bytes(data)
        try:
            files, _ = read_folder(folder)
            passed += 1
            assert file.name == MANIFEST, "only what the manifest says of the machine may change unnoticed"
            assert files == whole
        except CorruptCheckpointError:
            pass
        data[at] ^= 1 << bit
        file.write_bytes(data)
    assert passed < 50


@pytest.mark.parametrize(
    "file", ["system.safetensors", "ema.safetensors", "optimizer-generator.safetensors", "state.json", MANIFEST]
)
@pytest.mark.parametrize("keep", [0, 5, 0.5, -1])
def test_truncated_files_mean_the_older_checkpoint(copy, file, keep):
    damaged = copy / "checkpoints" / "round-00000024" / file
    data = damaged.read_bytes()
    damaged.write_bytes(data[: int(len(data) * keep) if isinstance(keep, float) else keep])
    found = Run.open(copy).newest_checkpoint()
    assert found.numbers["round"] == 16
    assert "round-00000024 is damaged" in found.warnings[0]
    assert file in found.warnings[0]


def swap(copy, finished):
    newest, older = copy / "checkpoints" / "round-00000024", copy / "checkpoints" / "round-00000016"
    shutil.copy(older / "system.safetensors", newest / "system.safetensors")


def missing(copy, finished):
    (copy / "checkpoints" / "round-00000024" / "ema.safetensors").unlink()


def extra(copy, finished):
    (copy / "checkpoints" / "round-00000024" / "more.safetensors").write_bytes(b"")


def foreign(copy, finished):
    newest = copy / "checkpoints" / "round-00000024" / MANIFEST
    newest.write_text(newest.read_text().replace(Run.open(copy).config["id"], "0" * 16))


def traversal(copy, finished):
    newest = copy / "checkpoints" / "round-00000024" / MANIFEST
    newest.write_text(newest.read_text().replace("state.json", "../state.json"))


@pytest.mark.parametrize("harm", [swap, missing, extra, foreign, traversal])
def test_other_damage_means_the_older_checkpoint(copy, finished, harm):
    harm(copy, finished)
    found = Run.open(copy).newest_checkpoint()
    assert found.numbers["round"] == 16
    assert len(found.warnings) == 1


def test_damage_costs_rounds_but_no_bits(copy, finished, server):
    swap(copy, finished)
    end = server.order("resume", run=str(copy))
    assert end["code"] == 0, end["error"]
    assert everything(copy) == everything(finished)


def test_nothing_left_is_said(copy):
    for folder in (copy / "checkpoints").iterdir():
        (folder / "state.json").write_text("{}")
    with pytest.raises(SparringError, match=r"no usable checkpoint.*state\.json"):
        resume(copy, quiet=True)


def test_leftovers_of_a_killed_save_are_ignored_and_cleaned(copy):
    stray = copy / "checkpoints" / ".tmp-round-00000032-99"
    stray.mkdir()
    (stray / "system.safetensors").write_bytes(b"half")
    resume(copy, rounds=25, quiet=True)
    assert not stray.exists()
    assert Run.open(copy).newest_checkpoint().numbers["round"] == 25


# Going on.


def test_longer_runs_go_on_where_the_shorter_ended(server, data, tmp_path, unharmed):
    end = server.order("train", **orders(data, tmp_path / "a", rounds=16, eval_every=12))
    assert end["code"] == 0, end["error"]
    run = resume(only_run(tmp_path / "a"), rounds=24, quiet=True)
    assert run.config["rounds"] == 24
    weights = hashlib.sha256((run.path / "weights" / "model.safetensors").read_bytes()).hexdigest()
    assert weights == unharmed[0]["weights/model.safetensors"]


def test_a_finished_run_is_said_to_be_finished(copy, capsys):
    before = everything(copy)
    resume(copy)
    assert "all 24 rounds are done" in capsys.readouterr().err
    assert everything(copy) == before


def cut(text):
    return text[: len(text) // 2]


def changed(text):
    return text[: 2 * len(text) // 3] + b"!" + text[2 * len(text) // 3 + 1 :]


@pytest.mark.parametrize(("harm", "before"), [(cut, 8), (changed, 16)])
def test_a_checkpoint_that_the_logs_do_not_reach_means_an_older_one(copy, finished, harm, before, capsys):
    """What is played again writes the lost part of the log again, bit for bit."""
    text = (copy / "log.jsonl").read_bytes()
    (copy / "log.jsonl").write_bytes(harm(text))
    found = Run.open(copy).newest_checkpoint()
    assert found.numbers["round"] == before
    resume(copy)
    assert everything(copy) == everything(finished)
    how = {cut: "was truncated", changed: "was changed"}[harm]
    assert f"log.jsonl {how} since round 24 was saved" in capsys.readouterr().err


def test_logs_that_reach_no_checkpoint_do_not_stop_a_training(copy, capsys):
    (copy / "log.jsonl").unlink()
    resume(copy, rounds=25)
    assert [line["round"] for line in Run.open(copy).lines("log")] == [25]
    said = " ".join(capsys.readouterr().err.split())
    assert "log.jsonl was truncated since round 8 was saved" in said
    assert "resuming from round 24 with the logs as they are" in said
    assert Run.open(copy).newest_checkpoint().numbers["round"] == 25


def test_a_checkpoint_is_read_when_the_run_is_held(copy, data, monkeypatch):
    """A first process saves, ends and lets go just before the second locks the run: nothing of its work is lost."""
    lock = Run.lock

    def late(run):
        monkeypatch.setattr(Run, "lock", lock)
        resume(copy, rounds=32, quiet=True)
        return lock(run)

    monkeypatch.setattr(Run, "lock", late)
    run = resume(copy, quiet=True)
    assert run.config["rounds"] == 32
    assert [line["round"] for line in run.lines("log")] == [*range(1, 33)]
    assert run.newest_checkpoint().warnings == []


def snapshot(folder):
    """Every file and its bytes."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_refused_resume_changes_nothing(copy, tmp_path):
    (copy / "weights" / ".tmp-model.safetensors-1").write_bytes(b"half")
    before = snapshot(copy)
    with Run.open(copy).lock(), pytest.raises(SparringError, match="is being trained by process"):
        resume(copy, rounds=30, quiet=True)
    other = np.zeros((600, 8, 8), dtype=np.uint8)
    for options in ({"rounds": 10}, {"rounds": 0}, {"recipe": "a:b"}, {"data": load(other)}, {"data": "nowhere"}):
        with pytest.raises(SparringError):
            resume(copy, **{"rounds": 30, **options}, quiet=True)
    assert snapshot(copy) == before


def test_weights_without_checkpoints_are_never_overwritten(copy):
    shutil.rmtree(copy / "checkpoints")
    before = snapshot(copy)
    with pytest.raises(
        SparringError, match=r"weights/ of round 24.*log\.jsonl up to round 24.*sparring train csc321-mlp"
    ):
        resume(copy, rounds=30, quiet=True)
    assert snapshot(copy) == before
    for name in ("weights", "best", "samples"):
        shutil.rmtree(copy / name)
    with pytest.raises(SparringError, match=r"has log\.jsonl up to round 24.*no checkpoint"):
        resume(copy, rounds=30, quiet=True)


def test_weights_of_a_later_round_stay(copy):
    shutil.rmtree(copy / "checkpoints" / "round-00000024")
    whole = (copy / "weights" / "model.safetensors").read_bytes()
    resume(copy, rounds=20, quiet=True)
    assert Run.open(copy).newest_checkpoint().numbers["round"] == 20
    assert (copy / "weights" / "model.safetensors").read_bytes() == whole


def test_damaged_weights_are_written_anew(copy, finished):
    file = copy / "weights" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(SparringError, match="sparring resume RUN restores it"):
        Run.open(copy).system()
    resume(copy, quiet=True)
    assert everything(copy) == everything(finished)


@pytest.mark.parametrize("folder", ["weights", "best"])
def test_every_flipped_bit_in_weights_is_noticed(copy, folder):
    dice = random.Random(5)
    run, which = Run.open(copy), {"weights": "last", "best": "best"}[folder]
    for file in (copy / folder / "model.safetensors", copy / folder / "config.json"):
        whole = file.read_bytes()
        for _ in range(40):
            data, at = bytearray(whole), dice.randrange(len(whole))
            data[at] ^= 1 << dice.randrange(8)
            file.write_bytes(data)
            with pytest.raises(SparringError, match=file.name):
                run.system(checkpoint=which)
        file.write_bytes(whole)
    run.system(checkpoint=which)


def resealed(copy, **changes):
    """The weights with these tensors in place of theirs, and with a right SHA-256."""
    run = Run.open(copy)
    system = run.system()
    state = {**system.state_dict(), **changes}
    system.state_dict = lambda: state
    run._write_weights("weights", system, 24)
    return run


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.tensor(float("nan")), "contains weights that are not finite: G."),
        (torch.tensor(float("-inf")), "contains weights that are not finite: G."),
        (torch.tensor(1), "does not fit the networks"),
        (torch.tensor(1.0, dtype=torch.float64), "does not fit the networks"),
    ],
)
def test_weights_that_are_no_numbers_are_refused(copy, value, words):
    name, was = next(iter(Run.open(copy).system().state_dict().items()))
    run = resealed(copy, **{name: value.expand_as(was)})
    with pytest.raises(SparringError, match=words):
        run.system()


def test_weights_of_another_run_are_refused(copy, data, tmp_path):
    options = {**OPTIONS, "size": 8, "rounds": 1}
    other = train("csc321-mlp", data, out=tmp_path / "other", seed=1, quiet=True, **options)
    shutil.copy(other.path / "weights" / "model.safetensors", copy / "weights" / "model.safetensors")
    with pytest.raises(SparringError, match="belongs to another run"):
        Run.open(copy).system()
    shutil.copy(other.path / "weights" / "config.json", copy / "weights" / "config.json")
    with pytest.raises(SparringError, match="belongs to another run"):
        Run.open(copy).system()
    assert open_system(copy / "weights").sample(1).shape == (1, 1, 8, 8)


IN_PLACE = ("run.lock", "log.jsonl", "metrics.jsonl", "health.jsonl", "timing.jsonl")


@pytest.mark.parametrize(
    "name", [*IN_PLACE, "samples", "weights", "best", "checkpoints", "evaluation", "failure", "eval.json"]
)
def test_a_run_with_links_that_leave_it_is_refused_for_writing(copy, tmp_path, name):
    outside = tmp_path / "outside"
    if "." in name:
        outside.write_bytes((copy / name).read_bytes() if (copy / name).exists() else b"precious")
        (copy / name).unlink(missing_ok=True)
    else:
        shutil.copytree(copy / name, outside) if (copy / name).exists() else outside.mkdir()
        shutil.rmtree(copy / name, ignore_errors=True)
    (copy / name).symlink_to(outside)
    before, there = snapshot(copy), snapshot(tmp_path)
    for write in (partial(resume, copy, rounds=30, quiet=True), partial(report, copy)):
        with pytest.raises(SparringError, match=f"{name} is a link that leads out of the run"):
            write()
    with pytest.raises(SystemExit):
        main(["evaluate", str(copy), "--n", "20"])
    assert (snapshot(copy), snapshot(tmp_path)) == (before, there)


def test_links_within_a_run_are_no_harm_and_hard_links_and_pipes_are(copy, tmp_path):
    (copy / "samples" / "last.png").symlink_to("000024.png")
    (copy / "here").symlink_to(".")
    resume(copy, quiet=True)
    for name in IN_PLACE:
        (copy / name).touch()
        os.link(copy / name, tmp_path / name)
        with pytest.raises(SparringError, match=f"{name} has a second hard link"):
            resume(copy, quiet=True)
        (tmp_path / name).unlink()
    os.mkfifo(copy / "eval.json")
    with pytest.raises(SparringError, match=r"eval\.json is neither a file nor a folder"):
        resume(copy, quiet=True)


def test_a_recipe_changed_by_hand_is_one_line(copy):
    """Whatever is changed in recipe.json: by itself, and with its SHA-256 made right again."""
    file = copy / "recipe.json"
    whole = json.loads(file.read_text())
    file.write_text(json.dumps({**whole, "rounds": 31}))  # which would be right, had it been asked for by a flag
    with pytest.raises(SparringError, match="was changed after it was written"):
        resume(copy, quiet=True)
    wrong = {"seed": -1, "batch": "many", "rounds": 0, "precision": "fp8", "arguments": [], "spec": {}, "data": None}
    wrong |= {"recipe": "os:system", "machine": {}, "every": {"log": 0}, "id": "other", "format": 99}
    arguments = {"latent_dim": 10**9, "nothing": 1, "generator_lr": -1.0, "game": "chess", "batch": 17}
    changes = [{name: value} for name, value in wrong.items()]
    changes += [{"arguments": {**whole["arguments"], name: value}} for name, value in arguments.items()]
    for change in changes:
        config = {**whole, **change}
        for text in (json.dumps(config).encode(), sealed({k: v for k, v in config.items() if k != "sha256"})):
            file.write_bytes(text)
            with pytest.raises(SparringError) as caught:
                resume(copy, **({"rounds": 30} if "rounds" not in change else {}), quiet=True)
            assert "\n" not in str(caught.value)
    for name in set(whole) - {"sha256"}:
        file.write_bytes(sealed({k: v for k, v in whole.items() if k not in (name, "sha256")}))
        with pytest.raises(SparringError):
            Run.open(copy)


def test_a_run_that_cannot_be_locked_is_refused(copy):
    (copy / "run.lock").unlink()
    (copy / "run.lock").mkdir()
    with pytest.raises(StorageError, match=r"cannot write .*run\.lock: Is a directory"):
        resume(copy, rounds=30, quiet=True)


def test_fewer_rounds_than_played_are_refused(copy):
    with pytest.raises(SparringError, match="already has 24 rounds"):
        resume(copy, rounds=10, quiet=True)


def test_changed_data_are_refused_and_moved_data_are_found(copy, data, tmp_path):
    other = np.load(data)
    other[3] = 255 - other[3]
    np.save(tmp_path / "other.npy", other)
    with pytest.raises(SparringError, match=r"not the data .* or they have changed: 540 images of 'toy' then"):
        resume(copy, rounds=30, data=tmp_path / "other.npy", quiet=True)
    shutil.copy(data, tmp_path / "moved.npy")
    main(["resume", str(copy), "--rounds", "25", "--data", str(tmp_path / "moved.npy")])
    assert Run.open(copy).newest_checkpoint().numbers["round"] == 25


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_save_and_say_how_to_go_on(server, data, unharmed, tmp_path, number, code):
    end = server.order(
        "train", **orders(data, tmp_path / "runs", rounds=4000), signal_when_logged=True, signal=int(number)
    )
    assert end["code"] == code, end
    path = only_run(tmp_path / "runs")
    assert f"sparring resume {path}" in end["error"]
    played = json.loads((path / "log.jsonl").read_text().splitlines()[-1])["round"]
    assert Run.open(path).newest_checkpoint().numbers["round"] == played
    assert 0 < played < 4000


def test_interrupted_is_not_divergence():
    assert InterruptedRun("", signal.SIGTERM).exit_code == 143


def test_a_second_owner_is_refused_by_name(copy):
    with Run.open(copy).lock(), pytest.raises(SparringError, match=f"is being trained by process {os.getpid()} on "):
        resume(copy, rounds=30, quiet=True)
    resume(copy, rounds=25, quiet=True)


# The disk refuses.


class Full(Disk):
    """No space left for file writes from operation `at` on."""

    def __init__(self, at):
        self.at, self.count = at, 0

    def write(self, path, data):
        self.count += 1
        if self.count > self.at:
            self._do(path, len(data), lambda: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        super().write(path, data)


@pytest.mark.parametrize("at", range(0, 12, 3))
def test_a_full_disk_is_one_line_and_the_old_checkpoint_stays(copy, finished, at):
    full = Run.open(copy, Full(at))
    with pytest.raises(
        StorageError, match=r"cannot write .*No space left on device \(needs [\d,]+ bytes, [\d,]+ are free\)"
    ):
        resume(full, rounds=60, quiet=True)
    kept = Run.open(copy).newest_checkpoint()
    assert kept.numbers["round"] >= 24
    resume(copy, rounds=60, quiet=True)


def test_a_place_that_cannot_be_written_is_refused_before_the_first_round(data, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"cannot write .*file"):
        train("csc321-mlp", data, size=8, out=tmp_path / "file" / "runs", quiet=True, rounds=1)
