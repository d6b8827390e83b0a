"""Whatever is removed, emptied, cut or exchanged in a run: each verb does the right thing or says in one line why not,
and every file that it did not have to write is as it was."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from sparring import plots
from sparring.cli import find_verb, main
from sparring.data import loading
from sparring.durable import unsealed
from sparring.errors import SparringError
from sparring.evaluation import Evaluation
from sparring.reporting import report
from sparring.training import resume, train

HARMS = ("removed", "emptied", "cut", "exchanged")
FILES = (
    *("recipe.json", "round.py", "log.jsonl", "metrics.jsonl", "health.jsonl", "timing.jsonl", "run.lock"),
    *("eval.json", "evaluation/far.png", "evaluation/manifest.json", "report.html", "samples/000002.png"),
    *("weights/model.safetensors", "weights/config.json", "best/model.safetensors", "best/config.json"),
    *(f"checkpoints/round-{n:08d}/{name}" for n in (0, 2, 4) for name in ("manifest.json", "state.json")),
    *(f"checkpoints/round-{n:08d}/system.safetensors" for n in (2, 4)),
)
FOLDERS = ("samples", "weights", "best", "checkpoints", "evaluation", *(f"checkpoints/round-{n:08d}" for n in (2, 4)))

LOGS = ("log.jsonl", "metrics.jsonl", "health.jsonl", "timing.jsonl")
WRITES = {
    "resume": ("run.lock", *LOGS, "samples/", "weights/", "best/", "checkpoints/"),
    "evaluate": ("eval.json", "evaluation/"),
    "report": ("report.html",),
    "sample": (),
}
"""Verb -> what it may write."""


EVALUATION = Evaluation(data="few", fingerprint="f", n=20, repeats=1)
MEASURED = json.loads(json.dumps({**EVALUATION.as_dict(), "checkpoint": "last"}))


def files_of(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Too few images for an FD, which takes time."""
    file = tmp_path_factory.mktemp("data") / "few.npy"
    np.save(file, np.random.default_rng(0).integers(0, 256, (100, 8, 8), dtype=np.uint8))
    return file


@dataclass(repr=False)  # a warning of hypothesis, else: some megabytes
class House:
    folder: Path
    runs: list[dict[str, bytes]]
    samples: list[bytes]


@pytest.fixture(scope="module")
def house(tmp_path_factory, data):
    """Two whole runs that differ in their seed, and what they sample."""
    folder = tmp_path_factory.mktemp("house")
    options = {"size": 8, "rounds": 4, "batch": 8, "latent_dim": 4, "save_every": 2, "log_every": 1, "monitor": False}
    runs, samples = [], []
    for seed in (0, 1):
        run = train("csc321-mlp", data, seed=seed, out=folder / str(seed), quiet=True, **options)
        run.write_best(run.system(), 2)
        run.write_evaluation({"metrics": [], "seed": seed}, {"far": (run.path / "samples" / "000004.png").read_bytes()})
        run.write_report("<html></html>")
        main(["sample", str(run.path), "-n", "2", "--out", str(folder / f"{seed}.png")])
        runs.append(files_of(run.path))
        samples.append((folder / f"{seed}.png").read_bytes())
    return House(folder, runs, samples)


@pytest.fixture
def quickly(monkeypatch):
    """No curves are drawn, and what is evaluated is only kept."""
    seen = []

    def evaluate(system, data, **options):
        seen.append(system)
        return EVALUATION

    monkeypatch.setattr("sparring.run_evaluation.evaluate", evaluate)
    monkeypatch.setattr(plots, "_svg", lambda figure, alt: Markup(""))
    return seen


def harmed(house, harms):
    """A copy of the first run with these files harmed."""
    path = house.folder / "harmed"
    shutil.rmtree(path, ignore_errors=True)
    for name, content in house.runs[0].items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    for name, harm in harms.items():
        if harm == "removed" or name in FOLDERS:
            shutil.rmtree(path / name) if (path / name).is_dir() else (path / name).unlink(missing_ok=True)
        elif (path / name).is_file():
            whole = house.runs[0][name]
            new = {"emptied": b"", "cut": whole[: len(whole) // 2], "exchanged": house.runs[1].get(name, b"")}[harm]
            (path / name).write_bytes(new)
    return path


def tried(path, verb, *flags):
    """Exit code of a verb; -1 when what it says is more than one line."""
    try:
        if verb == "resume":
            resume(path, quiet=True)
        else:
            find_verb(verb)(path, **dict(flags))
    except SparringError as error:
        return error.exit_code if len(str(error).splitlines()) == 1 else -1
    return 0


def quick(examples):
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )


some_harm = st.dictionaries(st.sampled_from((*FILES, *FOLDERS)), st.sampled_from(HARMS), max_size=5)


@quick(25)
@given(harms=some_harm, verb=st.sampled_from(["resume", "resume", "sample", "evaluate", "report"]))
@example(harms={"checkpoints": "removed"}, verb="resume")
@example(harms={"log.jsonl": "removed", "weights/model.safetensors": "cut"}, verb="resume")
@example(harms={"checkpoints/round-00000004/state.json": "exchanged", "log.jsonl": "cut"}, verb="resume")
@example(harms={"samples": "removed", "metrics.jsonl": "emptied", "eval.json": "cut"}, verb="report")
@example(harms={"weights/config.json": "exchanged", "weights/model.safetensors": "exchanged"}, verb="sample")
def test_whatever_is_damaged(house, quickly, harms, verb):
    path = harmed(house, harms)
    before = files_of(path)
    which = int(before.get("recipe.json") == house.runs[1]["recipe.json"])
    whole = house.runs[which]
    picture = house.folder / "harmed.png"
    code = tried(path, verb, *((("n", 2), ("out", picture)) if verb == "sample" else ()))
    after = files_of(path)

    allowed = WRITES[verb] if code == 0 or (verb == "resume" and "run.lock" not in before) else ()
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert all(name.startswith(allowed or "-") for name in changed), changed
    assert code in (0, 2)
    if not harms:
        assert code == 0
    if code:
        return
    if verb == "resume":
        assert after["weights/model.safetensors"] == whole["weights/model.safetensors"]
        name = "checkpoints/round-00000004/system.safetensors"
        assert after[name] == whole[name]
        if not {"log.jsonl", "metrics.jsonl", "health.jsonl"} & set(harms):
            assert after["log.jsonl"] == whole["log.jsonl"]
    if verb == "sample":
        assert picture.read_bytes() == house.samples[which]
    if verb == "evaluate":
        assert unsealed(after["eval.json"]) == MEASURED
        assert len(quickly) > 0
    if verb == "report":
        assert b"</html>" in after["report.html"]


def test_the_lock_is_as_it_was(house):
    path = harmed(house, {"weights": "removed"})
    before = files_of(path)
    with pytest.raises(SparringError, match="already has"):
        resume(path, rounds=2, quiet=True)
    assert files_of(path) == before


def test_an_evaluation_that_cannot_be_kept_is_printed(house, quickly, capsys):
    """Looked at first, and said; what was measured is printed all the same."""
    path = harmed(house, {"eval.json": "removed"})
    (path / "eval.json").mkdir()
    with pytest.raises(SystemExit) as end:
        main(["evaluate", str(path), "--json"])
    assert end.value.code == 4
    said = capsys.readouterr()
    assert json.loads(said.out) == MEASURED
    assert "cannot write" in said.err.splitlines()[0]
    assert "results are printed and not stored" in said.err.splitlines()[0]


def test_a_run_from_elsewhere_is_not_believed_where_its_data_are(house, quickly, capsys, monkeypatch, tmp_path, data):
    """Nothing is looked for, listed, decoded or fetched that its recipe.json names, unless the user says so."""
    path = harmed(house, {})
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    loaded = []
    real = loading.load
    monkeypatch.setattr(loading, "load", lambda source, **options: loaded.append(source) or real(source, **options))
    for verb in ("evaluate", "resume", "neighbors"):
        flags = ["--out", str(tmp_path / "near.png")] if verb == "neighbors" else []
        with pytest.raises(SystemExit):
            main([verb, str(path), *flags])
        assert "was not created by you on this machine" in capsys.readouterr().err
    assert "was not created by you" in Path(report(path)).read_text()
    assert loaded == []
    resume(path, rounds=5, data=data, quiet=True)
    main(["evaluate", str(path), "--data", str(data)])
    assert {str(source) for source in loaded} == {str(data)}
    with pytest.raises(SystemExit):
        main(["evaluate", str(path)])  # going on with a run does not make it one's own
