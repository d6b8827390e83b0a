"""The command line as a user meets it."""

import json
import os
import subprocess
import sys
import time

import pytest
import torch
from PIL import Image

import sparring
from sparring.cli import VERBS, main
from sparring.data.dataset import Dataset
from sparring.recipes import RECIPES

TRAIN = ["train", "csc321-mlp", "--size", "8", "--rounds", "4", "--latent", "8", "--batch", "16"]


@pytest.fixture(scope="module")
def run(toy_file, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    main([*TRAIN, "--data", str(toy_file), "--out", str(out)])
    (path,) = out.iterdir()
    return path


def fails(capsys, *argv):
    """Exit code and the one line on stderr."""
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in argv])
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return end.value.code, lines[0]


def test_help_comes_without_torch():
    code = "import sys, sparring.cli as c; c.main(sys.argv[1:]); assert 'torch' not in sys.modules"
    for argv in (["--help"], ["recipes"], ["recipes", "--json"]):
        subprocess.run([sys.executable, "-c", code, *argv], check=True, capture_output=True)
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "sparring", "--help"], check=True, capture_output=True)
    assert time.perf_counter() - started < 5  # about 0.2 s on a quiet machine


def test_overview_names_every_verb(capsys):
    main(["--help"])
    text = capsys.readouterr().out
    for verb in VERBS:
        assert f"  {verb}" in text
    main(["recipes"])
    text = capsys.readouterr().out
    assert all(name in text for name in RECIPES)
    main(["--version"])
    assert sparring.__version__ in capsys.readouterr().out


@pytest.mark.parametrize("verb", [v for v in VERBS if v != "recipes"])
def test_every_verb_has_help(capsys, verb):
    argv = [verb, "cs231n-mlp", "--help"] if verb == "train" else [verb, "--help"]
    with pytest.raises(SystemExit) as end:
        main(argv)
    assert end.value.code in (0, None)
    assert "usage: sparring" in capsys.readouterr().out


def test_training_help_shows_the_recipes_own_defaults(capsys):
    with pytest.raises(SystemExit):
        main(["train", "raschka-mlp", "--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--generator-lr FLOAT G's learning rate (default: 0.0002)" in text
    assert "--data TEXT" in text
    assert "(required)" in text


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["trian"], "unknown verb 'trian'; did you mean 'train'"),
        (["train", "cs231n-mpl", "--data", "digits"], "did you mean 'cs231n-mlp'"),
        (["train", "cs231n-mlp", "--data", "digits", "--latnet", "3"], "did you mean '--latent'"),
        (["train", "--data", "digits"], "the recipe comes first"),
        (["train", "cs231n-mlp", "--data", "digits", "--latent", "-3"], "latent (--latent) is '-3'"),
        (["train", "cs231n-mlp", "--data", "digits", "--rounds", "many"], "valid integer"),
        (["train", "cs231n-mlp", "--data", "digits", "--game", "hing"], "'hinge'"),
        (["train", "cs231n-mlp", "--data", "nowhere"], "nowhere"),
        (["train", "cs231n-dcgan", "--data", "digits", "--size", "32"], "--size 28"),
        (["train", "dcgan", "--data", "digits", "--size", "60"], "--size from"),
        (["resume", "nowhere"], "nowhere is not a run"),
        (["sample", "nowhere", "--out", "x.jpg"], ".png"),
        (["recipes", "dcgn"], "did you mean 'dcgan'"),
        (["train", "cs231n-mlp"], "Missing from sparring train cs231n-mlp: --data TEXT"),
        (["train", "cs231n-mlp", "--data"], "Missing value for argument '--data'"),
        (["resume"], "Missing from sparring resume: RUN"),
        (["sample", "nowhere", "again"], "Unrecognized options: again"),
        (["recipes", "--jsn"], "did you mean '--json'"),
        (["check-data", "nowhere"], "nowhere"),
    ],
)
def test_what_is_wrong_is_one_line_with_the_nearest_right_name(capsys, tmp_path, monkeypatch, argv, words):
    monkeypatch.chdir(tmp_path)
    code, line = fails(capsys, *argv)
    assert code == 2
    assert line.startswith("sparring: ")
    assert words in line
    assert not list(tmp_path.iterdir())


def test_training_leaves_a_run_and_a_report(run):
    assert (run / "report.html").stat().st_size > 10_000
    assert json.loads((run / "recipe.json").read_text())["rounds"] == 4


def test_booleans_have_two_flags(toy_file, tmp_path):
    main([*TRAIN, "--data", str(toy_file), "--out", str(tmp_path), "--no-mixed", "--halved"])
    (path,) = tmp_path.iterdir()
    arguments = json.loads((path / "recipe.json").read_text())["arguments"]
    assert (arguments["mixed"], arguments["halved"], arguments["fresh_noise"]) == (False, True, True)


def test_sample_is_a_picture_that_depends_on_the_seed(run, tmp_path, capsys):
    for seed in (1, 1, 2):
        main(["sample", str(run), "-n", "6", "--seed", str(seed), "--out", str(tmp_path / f"{seed}.png")])
    assert capsys.readouterr().out.splitlines()[0] == str(tmp_path / "1.png")
    with Image.open(tmp_path / "1.png") as one, Image.open(tmp_path / "2.png") as two:
        assert one.size == (3 * 10 + 2, 2 * 10 + 2)
        assert one.tobytes() != two.tobytes()


def test_resume_and_report(run, capsys):
    main(["resume", str(run), "--rounds", "6"])
    out = capsys.readouterr().out
    assert f"run     {run}" in out
    assert "report" in out
    assert json.loads((run / "recipe.json").read_text())["rounds"] == 6
    main(["report", str(run)])
    assert capsys.readouterr().out.strip() == str(run / "report.html")


def test_evaluate_prints_each_number_beside_its_floor_and_keeps_it(run, capsys):
    main(["evaluate", str(run), "--n", "60"])
    text = capsys.readouterr().out
    assert "FD-random-conv64@60" in text
    assert "real images" in text
    kept = json.loads((run / "eval.json").read_text())["metrics"]
    assert {"precision", "recall", "density", "coverage"} <= {m["name"] for m in kept}
    assert {"name", "value", "n", "interval", "floor", "extractor"} <= kept[0].keys()
    assert kept[0]["averaged"] is True


def test_check_data(tmp_path, capsys):
    for i in range(3):
        Image.new("L", (9, 9), 80 * i).save(tmp_path / f"{i}.png")
    main(["check-data", str(tmp_path)])
    assert "3" in capsys.readouterr().out
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(SystemExit) as end:
        main(["check-data", str(tmp_path)])
    assert end.value.code == 2
    captured = capsys.readouterr()
    assert "bad.png" in captured.out
    assert "more than 1 %" in captured.err


def test_a_process_that_is_killed_by_ctrl_c_saves(toy_file, tmp_path):
    """The whole program, from outside: SIGINT, exit code 130, one line that says how to go on."""
    import signal

    argv = [
        *TRAIN[:2],
        "--size",
        "8",
        "--rounds",
        "100000",
        "--batch",
        "16",
        "--data",
        str(toy_file),
        "--out",
        str(tmp_path),
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "sparring", *argv],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    for _ in range(600):
        if any(p.stat().st_size for p in tmp_path.glob("*/log.jsonl")):
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "go on with: sparring resume" in err.splitlines()[-1]


def test_two_processes_train_resume_and_write_once(toy_file, tmp_path):
    """torchrun on two CPU processes: one run directory, the same weights as one process, a new end is heard by both."""
    out = tmp_path / "two"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "sparring"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    options = ["--data", str(toy_file), "--precision", "fp32"]
    for argv in ([*TRAIN, *options, "--out", str(out)], ["resume", str(out / "0001-csc321-mlp-toy"), "--rounds", "9"]):
        done = subprocess.run([*launch, *argv], capture_output=True, text=True, timeout=120, env=environment)
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.count("report") == 2  # the word and the file, once
    assert len(list(out.iterdir())) == 1
    main([*TRAIN, *options, "--out", str(tmp_path / "one"), "--rounds", "9"])
    two, one = (sparring.open(next(p.iterdir())).newest_checkpoint() for p in (out, tmp_path / "one"))
    assert two.numbers["round"] == 9
    for name, value in one.tensors["system"].items():
        assert float((value - two.tensors["system"][name]).abs().max()) < 1e-4, name


def test_the_face_is_small_and_explicit():
    assert sorted(sparring.__all__) == sorted(
        ["Dataset", "Run", "SparringError", "check", "evaluate", "load", "open", "report", "resume", "train"]
    )
    for name in sparring.__all__:
        assert callable(getattr(sparring, name)), name
        assert getattr(sparring, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'utils'"):
        _ = sparring.utils


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A tiny run of a system that knows three classes."""
    pixels = torch.randint(0, 256, (200, 1, 28, 28), dtype=torch.uint8)
    data = Dataset("shapes", pixels, torch.arange(200) % 3, ("circle", "square", "cross")).hold_out(0.3)
    out = tmp_path_factory.mktemp("told")
    options = {"latent": 6, "width": 4, "shared": 4, "standing": 1, "batch": 8}
    return sparring.train("biggan-small", data, rounds=1, out=out, quiet=True, **options)


def test_classes_are_asked_for_by_name_or_number(told, tmp_path, capsys):
    by_name, by_number = tmp_path / "a.png", tmp_path / "b.png"
    main(["sample", str(told.path), "--labels", "square,cross", "--out", str(by_name)])
    main(["sample", str(told.path), "--labels", "1, 2", "--out", str(by_number)])
    assert by_name.read_bytes() == by_number.read_bytes()
    assert Image.open(by_name).width == 2 * 30 + 2  # a column for each
    main(["sample", str(told.path), "-n", "6", "--truncation", "0.5", "--out", str(by_name)])
    assert by_name.read_bytes() != by_number.read_bytes()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--labels", "triangle"], "unknown class 'triangle' (possible: circle, square, cross)"),
        (["--labels", "7"], "label 7 is no class: BigGAN knows 0 to 2"),
        (["--truncation", "0"], "truncation (--truncation) is '0': input should be greater than 0"),
        (["--truncation", "-1"], "truncation (--truncation) is '-1': input should be greater than 0"),
    ],
)
def test_classes_and_truncations_that_cannot_be(told, flags, words, tmp_path, capsys):
    code, line = fails(capsys, "sample", told.path, *flags, "--out", tmp_path / "a.png")
    assert code == 2
    assert words in line


@pytest.mark.parametrize(("flag", "value"), [("labels", "cat"), ("labels", "3"), ("truncation", "1")])
def test_what_a_system_does_not_know_cannot_be_asked_of_it(capsys, run, flag, value):
    code, line = fails(capsys, "sample", run, f"--{flag}", value)
    assert code == 2
    assert f"--{flag}: samples of GAN have no {flag}" in line
