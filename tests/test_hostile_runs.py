"""Runs that somebody has made to do harm, every checksum right: each verb refuses them in one line, before it
allocates, waits or writes."""

import base64
import json
import os
import shutil
from pathlib import Path

import pytest
import safetensors.torch
from helpers import one_line
from markupsafe import Markup

from sparring import plots
from sparring.cli import main
from sparring.cli.common import write
from sparring.durable import MANIFEST, Disk, sealed, sweep, unsealed, write_folder
from sparring.evaluation import Evaluation
from sparring.evaluation.schema import require_evaluation
from sparring.reporting import report
from sparring.run import Run, logs
from sparring.run.logs import parsed
from sparring.run.weights import sum_of
from sparring.training import resume, train


@pytest.fixture(scope="module")
def made(tmp_path_factory, toy_file):
    options = {"size": 8, "rounds": 2, "batch": 8, "latent_dim": 4, "save_every": 2, "log_every": 1, "monitor": False}
    return train("csc321-mlp", toy_file, out=tmp_path_factory.mktemp("made"), quiet=True, held_out=0.01, **options).path


@pytest.fixture
def run(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / made.name))


def checkpoint_with(run, **files):
    """The newest checkpoint with these files in place of its own, and a right manifest."""
    folder = max((run / "checkpoints").iterdir())
    manifest = json.loads((folder / MANIFEST).read_text())
    whole = {file.name: file.read_bytes() for file in folder.iterdir() if file.name != MANIFEST}
    whole |= {name.replace("_", "."): data for name, data in files.items()}
    write_folder(Disk(), folder, whole, {**manifest, "training": Run.open(run).training})
    for other in set((run / "checkpoints").iterdir()) - {folder}:
        shutil.rmtree(other)


def forged(run, **arguments):
    """The run with other arguments, as if it had been trained with them; the weights stay."""
    recorded = unsealed((run / "recipe.json").read_bytes())
    recorded["arguments"] |= arguments
    (run / "recipe.json").write_bytes(sealed(recorded))
    training = Run.open(run).training
    config = unsealed((run / "weights" / "config.json").read_bytes())
    (run / "weights" / "config.json").write_bytes(
        sealed({**config, "training": training, "arguments": recorded["arguments"]})
    )
    file = run / "weights" / "model.safetensors"
    tensors, known = safetensors.torch.load(file.read_bytes()), {"round": 2, "training": training}
    about = json.dumps({**known, "sha256": sum_of(tensors, known)})
    file.write_bytes(safetensors.torch.save(tensors, {"sparring": about}))
    checkpoint_with(run)


@pytest.mark.parametrize("width", [10**8, 10**12])
def test_networks_that_are_too_large_are_refused_before_they_are_made(toy_file, width, tmp_path):
    options = {"size": 8, "rounds": 2, "batch": 8, "latent_dim": 2, "width": 4, "monitor": False}
    run = train("autoencoder", toy_file, out=tmp_path, quiet=True, held_out=0.01, **options).path
    forged(run, width=width)
    words = ["does not fit the networks of autoencoder"] if width == 10**8 else ["too large for any machine"]
    for work in (
        lambda: Run.open(run).system(),
        lambda: report(run),
        lambda: resume(run, data=toy_file, rounds=3, quiet=True),
    ):
        one_line(work, *words)
    for argv in (["sample", str(run), "--out", str(tmp_path / "a.png")], ["evaluate", str(run)]):
        with pytest.raises(SystemExit) as end:
            main(argv)
        assert end.value.code == 2


STATE = {"positions": {"train": 2}, "recent": {"discriminator": [1.0], "generator": [1.0]}}


@pytest.mark.parametrize(
    "change",
    [
        {"positions": {"nobody": 1}},
        {"positions": {"train": -1}},
        {"positions": {"train": 10**30}},
        {"recent": {}},
        {"recent": {"discriminator": ["x"], "generator": []}},
        {"recent": None},
        {"logs": {}},
        {"logs": {"../../etc/passwd": {"bytes": 1, "sha256": ""}}},
        {"round": True},
        {"more": 1},
    ],
)
def test_checkpoints_with_wrong_numbers_are_refused(run, change):
    state = json.loads((run / "checkpoints" / "round-00000002" / "state.json").read_text())
    checkpoint_with(run, state_json=json.dumps({**state, **change}).encode())
    one_line(lambda: resume(run, rounds=3, quiet=True), "checkpoint")


def test_checkpoints_without_a_file_are_refused(run):
    folder = run / "checkpoints" / "round-00000002"
    (folder / "ema.safetensors").unlink()
    checkpoint_with(run)
    one_line(lambda: resume(run, rounds=3, quiet=True), "does not fit this")


@pytest.mark.parametrize(
    "name",
    [
        *("recipe.json", "weights/config.json", "weights/model.safetensors", "eval.json"),
        *(f"checkpoints/round-00000002/{name}" for name in (MANIFEST, "system.safetensors")),
    ],
)
def test_files_as_large_as_no_memory_are_not_read(run, name, monkeypatch):
    monkeypatch.setattr(plots, "_svg", lambda figure, alt: Markup(""))  # which takes time
    with open(run / name, "ab") as file:
        file.truncate(1 << 42)  # without a block on the disk
    if name == "eval.json":
        assert "it has 4,398,046,511,104 bytes" in report(run).read_text()
    elif name.startswith("checkpoints"):
        shutil.rmtree(run / "checkpoints" / "round-00000000")
        one_line(lambda: resume(run, rounds=3, quiet=True), "4,398,046,511,104")
    else:
        one_line(lambda: Run.open(run).system(), "4,398,046,511,104")


WRONG = [10**400, -1, 0, 1.5, "1", None, [], {}, True, float("nan"), float("inf"), "x" * 10**6]


@pytest.mark.parametrize("name", ["rounds", "seed", "batch", "grad_accum", "equilibrium", "early", "machine"])
def test_numbers_of_a_run_have_limits(run, name):
    whole = unsealed((run / "recipe.json").read_bytes())
    for value in WRONG:
        if value in whole.values() or (name, value) in (("seed", 0), ("equilibrium", {}), ("early", [])):
            continue
        (run / "recipe.json").write_bytes(sealed({**whole, name: value}))
        one_line(lambda: Run.open(run), f"recipe.json: {name}")


@pytest.mark.parametrize("depth", [200, 330, 500, 900, 990, 10**4])
def test_deeply_nested_files_are_one_line(run, depth):
    whole = unsealed((run / "recipe.json").read_bytes())
    text = json.dumps({**whole, "arguments": {"latent_dim": 0}, "sha256": ""})
    (run / "recipe.json").write_text(text.replace('"latent": 0', f'"latent": {"[" * depth}{"]" * depth}'))
    one_line(lambda: Run.open(run), "recipe.json")


DISTANCE = (
    '{"round": 1, "metric": "FD", "name": "FD-x", "value": VALUE, "n": 1, "floor": 1, "held_out_b": OTHER, '
    '"extractor": "x"}'
)
LINES = {
    "log": [
        *('{"round": 1e400}', '{"round": 3}', "[" * 10**4, '{"round": true}', "{", "\0" * 99),
        '{"round": 3, "moves": [{"player": "a"}]}',
        f'{{"round": 3, "moves": [{{"player": "a", "loss": {"9" * 400}, "gradient": 1}}]}}',
    ],
    "metrics": [
        DISTANCE.replace("VALUE", "1").replace("OTHER", "9" * 400),
        DISTANCE.replace("VALUE", "NaN").replace("OTHER", "1"),
        DISTANCE.replace("VALUE", "1").replace("OTHER", "1").replace('"floor": 1, ', ""),
        DISTANCE.replace("VALUE", "1").replace("OTHER", "1").replace('"FD"', "5"),
        '{"round": 1, "metric": "FD", "name": 5, "value": 1, "n": 1}',
    ],
    "health": [
        '{"alarm": []}',
        '{"alarm": {"passed": null}}',
        '{"round": 1, "diversity": "x"}',
        '{"round": 1, "x": []}',
    ],
    "timing": ['{"round": 1, "seconds": 1e400}', '{"round": 1, "seconds": -1}', '{"round": 1}'],
}
ALARM = {"cause": "c", "title": "t", "began": 1, "noticed": 2, "certainty": "sure", "sentence": "s", "command": "c"}
LINES["health"] += [
    json.dumps({"alarm": {**ALARM, "passed": None, name: value}})
    for name in ALARM
    for value in ([], {}, None, 1.5, 10**400)
]


def test_lines_that_are_none_are_left_out(run):
    opened = Run.open(run)
    whole = {log: opened.read(log) for log in LINES}
    for log, texts in LINES.items():
        assert [text for text in texts if parsed(log, text.encode()) is not None] == []
        with open(run / f"{log}.jsonl", "a") as file:
            file.writelines(f"{text}\n" for text in texts)
    assert {log: opened.read(log) for log in LINES} == whole
    assert opened.played()[0] == 2
    assert opened.health() == []
    assert parsed("health", json.dumps({"alarm": {**ALARM, "passed": None}}).encode()) is not None


def test_lines_without_an_end_take_no_memory(run, monkeypatch):
    monkeypatch.setattr(logs, "MAX_LINE_BYTES", 1000)
    before = Run.open(run).read("log")
    with open(run / "log.jsonl", "a") as file:
        file.write("1" * 3000 + "\n" + json.dumps(before[-1]) + "\n" + "2" * 5000)
    assert Run.open(run).read("log") == [*before, before[-1]]


def test_pictures_that_are_links_out_of_the_run_are_not_shown(run, tmp_path):
    (tmp_path / "secret").write_bytes((run / "samples" / "000002.png").read_bytes() + b"secret")
    (run / "samples" / "000003.png").symlink_to(tmp_path / "secret")
    (run / "samples" / "000004.png").write_bytes(b"no picture")
    (run / "samples" / "000005.png").symlink_to("000005.png")
    opened = Run.open(run)
    assert 3 not in opened.samples()
    assert opened.newest_grid() == (2, (run / "samples" / "000002.png").read_bytes())
    assert base64.b64encode((run / "samples" / "000002.png").read_bytes()).decode() in opened._repr_html_()


def test_there_are_two_checkpoints_to_choose_from(run):
    one_line(lambda: Run.open(run).system(checkpoint="bset"), "unknown checkpoint 'bset'", "did you mean 'best'")


EVALUATION = json.loads(json.dumps(Evaluation(data="few", fingerprint="f", n=20, repeats=1).as_dict()))


@pytest.mark.parametrize("name", sorted(EVALUATION))
def test_evaluations_that_are_none_are_one_line(name):
    require_evaluation(EVALUATION)
    one_line(lambda: require_evaluation({k: v for k, v in EVALUATION.items() if k != name}), "eval.json")
    for value in (None, -(10**400), [1], [{}], [[]], [{"section": "samples", "name": ""}], {"a": {}}, 1.5):
        if not (name == "system" and isinstance(value, dict)):
            one_line(lambda value=value: require_evaluation({**EVALUATION, name: value}), "eval.json")


# What is left over.


class Crash(BaseException):
    """A process that ends there."""


class Crashing(Disk):
    """Ends before its operation number `at`."""

    def __init__(self, at):
        self.left = at

    def _do(self, path, size, operation):
        if not self.left:
            raise Crash
        self.left -= 1
        super()._do(path, size, operation)

    def remove(self, path):
        self._do(path, 0, lambda: Disk.remove(self, path))


def test_pictures_of_an_evaluation_stay_until_the_new_ones_are_whole(run):
    kept = Run.open(run)
    old, new = ({name: bytes([number]) * 50 for name in "ab"} for number in (1, 2))
    kept.write_evaluation({"metrics": []}, old)
    crashes = 0
    while True:
        try:
            Run.open(run, Crashing(crashes)).write_evaluation({"metrics": []}, new)
            break
        except Crash:
            crashes += 1
        sweep(Disk(), run)
        assert list(run.glob(".tmp-*")) == []
        assert {name: file.read_bytes() for name, file in kept.evaluation_pictures().items()} in (old, new)
        kept.write_evaluation({"metrics": []}, old)
    assert crashes > 10
    assert {name: file.read_bytes() for name, file in kept.evaluation_pictures().items()} == new


GONE = 2**22 + 1  # more than the largest number of a process


@pytest.mark.parametrize("verb", ["report", "evaluation", "resume"])
def test_what_killed_processes_have_left_is_swept(run, verb):
    folders = ("samples", "weights", "checkpoints", "evaluation") if verb == "resume" else ()
    (run / "evaluation").mkdir()
    strays = [run / f".tmp-report.html-{GONE}", run / f".tmp-evaluation-{GONE}", run / f".tmp-old-samples-{GONE}"]
    strays += [run / folder / f".tmp-x-{GONE}" for folder in folders]
    for stray in strays:
        stray.mkdir()
        (stray / "half").write_bytes(b"half")
    living = run / f".tmp-eval.json-{os.getppid()}"
    living.write_bytes(b"half")
    opened = Run.open(run)
    if verb == "report":
        opened.write_report("")
    elif verb == "evaluation":
        opened.write_evaluation({}, {})
    else:
        resume(run, quiet=True)
    assert [stray for stray in strays if stray.exists()] == []
    assert living.exists()


def test_a_picture_is_written_as_a_whole(tmp_path, monkeypatch):
    out = tmp_path / "a.png"
    write(out, b"first")
    (tmp_path / f".tmp-a.png-{GONE}").write_bytes(b"half")
    (tmp_path / f".tmp-ab.png-{GONE}").write_bytes(b"of another")

    def crash(self, path, data):
        path.write_bytes(data[:2])
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(Disk, "write", crash)
        with pytest.raises(Crash):
            write(out, b"second")
    assert out.read_bytes() == b"first"
    write(out, b"second")
    assert out.read_bytes() == b"second"
    assert not (tmp_path / f".tmp-a.png-{GONE}").exists()
    assert (tmp_path / f".tmp-ab.png-{GONE}").exists()
