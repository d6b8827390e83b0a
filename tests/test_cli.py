"""The command line as a user meets it."""

import json
import math
import os
import subprocess
import sys
import time
import zipfile
from functools import partial

import numpy as np
import pytest
import torch
from helpers import TRAIN, fails
from pairs import command, pair
from PIL import Image
from torch import nn

import sparring
from sparring import priors
from sparring.cli import VERBS, main
from sparring.data.dataset import Dataset, Spec
from sparring.data.pixels import to_float, to_uint8
from sparring.durable import Disk
from sparring.losses import game
from sparring.recipes import RECIPES
from sparring.recipes.recipe import Recipe, RecipeInfo
from sparring.run import Run
from sparring.seeds import derive_seed
from sparring.systems.aae_supervised import SupervisedAAE
from sparring.systems.autoencoder import Autoencoder
from sparring.systems.classifier import Classifier


@pytest.fixture(scope="module")
def run(toy_file, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    main([*TRAIN, "--data", str(toy_file), "--out", str(out)])
    (path,) = out.iterdir()
    return path


def test_help_comes_without_torch():
    code = "import sys, sparring.cli as c; c.main(sys.argv[1:]); assert 'torch' not in sys.modules"
    for argv in (["--help"], ["recipes"], ["recipes", "--json"]):
        subprocess.run([sys.executable, "-c", code, *argv], check=True, capture_output=True)
    before = os.times()
    subprocess.run([sys.executable, "-m", "sparring", "--help"], check=True, capture_output=True)
    after = os.times()
    assert after.children_user - before.children_user < 2  # about 0.2 s


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


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(capsys, verb):
    named = {"train": ["cs231n-mlp"], "sweep": ["cs231n-mlp"], "toy": ["xy"]}
    argv = [verb, *named.get(verb, []), "--help"]
    with pytest.raises(SystemExit) as end:
        main(argv)
    assert end.value.code in (0, None)
    assert "usage: sparring" in capsys.readouterr().out


def test_training_help_shows_the_recipes_own_defaults(capsys):
    with pytest.raises(SystemExit):
        main(["train", "raschka-mlp", "--help"])
    lines = capsys.readouterr().out.splitlines()
    text = " ".join(" ".join(lines).split())
    assert text.startswith("usage: sparring train raschka-mlp --data TEXT [options]")
    assert "--generator-lr FLOAT G's learning rate (default: 0.0002)" in text
    assert "--data TEXT" in text
    assert "(required)" in text
    assert "--[no-]monitor report collapse" in text
    headings = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["options of the run:", "options of raschka-mlp:"]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_help_fits_the_terminal(capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    with pytest.raises(SystemExit):
        main(["train", "biggan", "--help"])
    text = capsys.readouterr().out
    assert "\033" not in text
    long = [line for line in text.splitlines() if len(line) > max(width, 50)]
    assert all(len(line.split()) <= 2 or line.startswith(("usage:", "example:")) for line in long)
    assert max(map(len, text.splitlines())) > min(width, 120) - 20


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["trian"], "unknown verb 'trian'; did you mean 'train'"),
        (["train", "cs231n-mpl", "--data", "digits"], "did you mean 'cs231n-mlp'"),
        (["train", "cs231n-mlp", "--data", "digits", "--latnet", "3"], "did you mean '--latent-dim'"),
        (["train", "--data", "digits"], "the recipe comes first"),
        (["train", "cs231n-mlp", "--data", "digits", "--latent-dim", "-3"], "latent_dim (--latent-dim) is '-3'"),
        (["train", "cs231n-mlp", "--data", "digits", "--rounds", "many"], "valid integer"),
        (["train", "cs231n-mlp", "--data", "digits", "--game", "hing"], "'hinge'"),
        (["train", "cs231n-mlp", "--data", "nowhere"], "nowhere"),
        (["train", "cs231n-dcgan", "--data", "digits", "--size", "32"], "--size 28"),
        (["train", "dcgan", "--data", "digits", "--size", "60"], "give --size 64"),
        (["resume", "nowhere"], "nowhere is not a run"),
        (["sample", "nowhere", "--out", "x.jpg"], ".png"),
        (["sample", "nowhere", "-n", "4097"], "at most 4,096 images, -n is 4,097: give a folder"),
        (["recipes", "dcgn"], "did you mean 'dcgan'"),
        (
            ["train", "cs231n-mlp"],
            "the following arguments are required: --data (help: sparring train cs231n-mlp --help)",
        ),
        (["train", "cs231n-mlp", "--data"], "argument --data: expected one argument"),
        (["resume"], "the following arguments are required: RUN"),
        (["sample", "nowhere", "again"], "unrecognized arguments: again"),
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
    main([*TRAIN, "--data", str(toy_file), "--out", str(tmp_path), "--no-joint-batch", "--half-d-loss"])
    (path,) = tmp_path.iterdir()
    arguments = json.loads((path / "recipe.json").read_text())["arguments"]
    assert (arguments["joint_batch"], arguments["half_d_loss"], arguments["resample_noise"]) == (False, True, True)


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


def test_check_data_shows_what_training_will_see(tmp_path, capsys, monkeypatch):
    for name in ("mnist/a/1.png", "mnist/a/2.png", "mnist/b/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (9, 9), 80).save(tmp_path / name)
    (tmp_path / "labels.csv").write_text("a/1.png,x\na/2.png,y\nb/1.png,x\n")
    monkeypatch.chdir(tmp_path)
    main(["check-data", "./mnist", "--preview", "seen.png", "--held-out", "1", "--labels-from", "labels.csv"])
    out = capsys.readouterr().out
    assert "2 images to train on, 1 held out" in out
    assert "3 images, 2 classes" in out
    with Image.open("seen.png") as preview:
        assert preview.size == (24, 24)
    assert "PATH is empty" in fails(capsys, "check-data", "")[1]
    assert "data is empty" in fails(capsys, *TRAIN, "--data", "")[1]
    assert "held_out" in fails(capsys, *TRAIN, "--data", "./mnist", "--held-out", "1.5")[1]


def test_a_set_that_was_loaded_in_python_is_found_again(tmp_path, capsys):
    for index in range(30):
        Image.new("L", (8, 8), index).save(tmp_path / f"{index}.png")
    data = sparring.load(tmp_path, held_out=6, cache=tmp_path / ".cache")
    arguments = {"rounds": 2, "latent_dim": 8, "batch": 8, "monitor": False, "quiet": True}
    made = sparring.train("csc321-mlp", data, out=tmp_path / ".runs", **arguments)
    main(["resume", str(made.path), "--rounds", "3"])
    main(["report", str(made.path)])
    again = sparring.open(made.path).data()
    assert (again.fingerprint, len(again), len(again.held_out)) == (data.fingerprint, 24, 6)
    flags = ["--held-out", "6", "--rounds", "2", "--latent-dim", "8", "--batch", "8", "--size", "8"]
    main(["train", "csc321-mlp", "--data", str(tmp_path), *flags, "--out", str(tmp_path / ".runs")])
    (other,) = [path for path in (tmp_path / ".runs").iterdir() if path != made.path]
    assert sparring.open(other).config["data"]["fingerprint"] == data.fingerprint


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
    assert "continue with: sparring resume" in err.splitlines()[-1]


@pytest.mark.slow
def test_two_processes_train_resume_and_write_once(toy_file, tmp_path, capfd):
    """torchrun on two CPU processes: one run directory, the same weights as one process, a new end is heard by both."""
    out = tmp_path / "two"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "sparring"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    options = ["--data", str(toy_file), "--precision", "fp32"]
    argv = [*launch, *TRAIN, *options, "--out", str(out)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("report") == 2  # the word and the file, once
    capfd.readouterr()
    ends = pair(lambda rank: command("resume", out / "0001-csc321-mlp-toy", "--rounds", "9"))
    assert ends == [(0, ""), (0, "")]
    assert capfd.readouterr().out.count("report") == 2
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
    options = {"latent_dim": 6, "width": 4, "embed_dim": 4, "standing_batches": 1, "batch": 8}
    return sparring.train("biggan-small", data, rounds=1, out=out, quiet=True, **options)


def test_classes_are_asked_for_by_name_or_number(told, tmp_path, capsys):
    by_name, by_number = tmp_path / "a.png", tmp_path / "b.png"
    main(["sample", str(told.path), "--labels", "square,cross", "--out", str(by_name)])
    main(["sample", str(told.path), "--labels", "1, 2", "--out", str(by_number)])
    assert by_name.read_bytes() == by_number.read_bytes()
    with Image.open(by_name) as grid:
        assert grid.width == 2 * 30 + 2  # a column for each
    main(["sample", str(told.path), "-n", "6", "--truncation", "0.5", "--out", str(by_name)])
    assert by_name.read_bytes() != by_number.read_bytes()


def test_samples_as_files_one_by_one(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sparring.sampling.BATCH", 4)
    for name in ("a", "b"):
        main(["sample", str(run), "-n", "11", "--seed", "3", "--out", str(tmp_path / name)])
    assert capsys.readouterr().out.splitlines()[0] == f"11 images: {tmp_path / 'a'}"
    files = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert sorted(files) == [f"{i:02}.png" for i in range(11)]
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()}
    assert len(set(files.values())) == 11  # no piece is another's copy
    first = to_uint8(Run.open(run).system().sample(4, seed=3))
    with Image.open(tmp_path / "a" / "02.png") as image:
        assert image.mode == "L"
        assert np.array_equal(np.array(image), first[2, 0].numpy())


def test_samples_as_files_lie_in_folders_of_their_classes_and_can_be_learned_from(told, tmp_path, monkeypatch):
    monkeypatch.setattr("sparring.sampling.BATCH", 4)
    main(["sample", str(told.path), "-n", "9", "--labels", "cross,circle", "--out", str(tmp_path / "new")])
    data = sparring.load(tmp_path / "new", size=28)
    assert data.classes == ("circle", "cross")
    assert sorted(path.name for path in (tmp_path / "new" / "cross").iterdir()) == [f"{i}.png" for i in range(0, 9, 2)]
    second = to_uint8(told.system().sample(4, seed=derive_seed("images", 0, 4), labels=[2, 0, 2, 0]))
    with Image.open(tmp_path / "new" / "circle" / "5.png") as image:
        assert np.array_equal(np.array(image), second[1, 0].numpy())


def test_names_of_classes_that_are_no_names_of_folders(tmp_path):
    pixels = torch.randint(0, 256, (40, 1, 28, 28), dtype=torch.uint8)
    for at, (names, folders) in enumerate(
        {("T-shirt/top", "a b"): ["T-shirt-top", "a-b"], ("..", "x"): ["0", "1"], ("a b", "a/b"): ["0", "1"]}.items()
    ):
        data = Dataset("shapes", pixels, torch.arange(40) % 2, names)
        options = {"latent_dim": 6, "width": 4, "embed_dim": 4, "standing_batches": 1, "batch": 8}
        run = sparring.train("biggan-small", data, rounds=1, out=tmp_path / "runs", quiet=True, **options)
        main(["sample", str(run.path), "-n", "4", "--out", str(tmp_path / "out" / str(at))])
        assert sorted(path.name for path in (tmp_path / "out" / str(at)).iterdir()) == folders


def test_a_folder_that_was_interrupted_is_filled(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sparring.sampling.BATCH", 4)
    line = ["sample", str(run), "-n", "11", "--seed", "3", "--out"]
    main([*line, str(tmp_path / "whole")])
    rename, made = Disk.rename, []

    def dies(disk, old, new):
        if new.suffix == ".png":
            made.append(new)
            if len(made) == 7:
                raise KeyboardInterrupt
        rename(disk, old, new)

    monkeypatch.setattr(Disk, "rename", dies)
    with pytest.raises(SystemExit):
        main([*line, str(tmp_path / "half")])
    left = sorted(path.name for path in (tmp_path / "half").glob("*.png"))
    assert left == [f"{i:02}.png" for i in range(6)]
    for other in (["-n", "12"], ["--seed", "4"]):
        code, said = fails(capsys, *line, tmp_path / "half", *other)
        assert code == 2
        assert "contains an unfinished set of other images" in said
    main([*line, str(tmp_path / "half")])
    assert len(made) == 7 + 7  # the first piece was there
    files = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("whole", "half")]
    assert files[0] == files[1]


def test_files_are_not_mixed_with_others(run, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("")
    (tmp_path / "file").write_text("")
    for name in ("full", "file"):
        code, line = fails(capsys, "sample", run, "--out", tmp_path / name)
        assert code == 2
        assert "give a new folder" in line
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--labels", "triangle"], "unknown class 'triangle' (possible: circle, square, cross)"),
        (["--labels", "7"], "label 7 is out of range: BigGAN has classes 0 to 2"),
        (["--truncation", "0"], "truncation (--truncation) is '0': input should be greater than 0"),
        (["--truncation", "-1"], "truncation (--truncation) is '-1': input should be greater than 0"),
    ],
)
def test_classes_and_truncations_that_cannot_be(told, flags, words, tmp_path, capsys):
    code, line = fails(capsys, "sample", told.path, *flags, "--out", tmp_path / "a.png")
    assert code == 2
    assert words in line


@pytest.mark.parametrize(("flag", "value"), [("labels", "cat"), ("labels", "3")])
def test_what_a_system_does_not_know_cannot_be_asked_of_it(capsys, run, flag, value):
    code, line = fails(capsys, "sample", run, f"--{flag}", value)
    assert code == 2
    assert f"drop --{flag}" in line


# Systems that keep images, and systems that name them.


def keeper(data: Spec, *, latent_dim: int = 16):
    """An autoencoder of two linear maps."""
    flat = math.prod(data.shape)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(flat, latent_dim))
    decoder = nn.Sequential(nn.Linear(latent_dim, flat), nn.Tanh(), nn.Unflatten(1, data.shape))
    return _recipe(Autoencoder(encoder, decoder, latent_dim=latent_dim))


def namer(data: Spec):
    """A linear classifier."""
    return _recipe(Classifier(nn.Sequential(nn.Flatten(), nn.Linear(math.prod(data.shape), len(data.classes)))))


def stylist(data: Spec):
    """An autoencoder whose decoder is told the class."""
    flat, classes = math.prod(data.shape), len(data.classes)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(flat, 2))
    decoder = nn.Sequential(nn.Linear(2 + classes, flat), nn.Tanh(), nn.Unflatten(1, data.shape))
    prior, rules = priors.gaussian(2), game("non-saturating")
    return _recipe(SupervisedAAE(encoder, decoder, nn.Linear(2, 1), prior=prior, classes=classes, game=rules))


def _recipe(system):
    optimizers = {player: partial(torch.optim.Adam, lr=0.01) for player in system.players}
    return Recipe(system=system, optimizers=optimizers, batch=50, rounds=60)


for recipe in (keeper, namer, stylist):
    recipe.info = RecipeInfo("none", size=28)


def picture(y):
    """A bright square in one of three places: classes that a linear map can tell apart."""
    pixels = np.full((28, 28), 30, dtype=np.uint8)
    pixels[4:24, 8 * y + 2 : 8 * y + 8] = 220
    return pixels


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """A folder with three classes of images, and a run of each recipe that was trained on it."""
    folder = tmp_path_factory.mktemp("shapes")
    noise = np.random.default_rng(0)
    for y, name in enumerate(("left", "middle", "right")):
        (folder / name).mkdir()
        for i in range(40):
            spoiled = picture(y) + noise.integers(-25, 26, (28, 28))
            Image.fromarray(spoiled.astype(np.uint8)).save(folder / name / f"{i}.png")
    out = tmp_path_factory.mktemp("runs")
    runs = {}
    for make in (keeper, namer, stylist):
        runs[make.__name__] = sparring.train(make, folder, out=out, rounds=60, quiet=True).path
    return folder, runs


def trusted(make):
    return ["--recipe", f"{make.__module__}:{make.__qualname__}"]


def test_an_autoencoder_is_evaluated_without_samples(shapes, capsys):
    _, runs = shapes
    main(["evaluate", str(runs["keeper"]), "--split", "train", *trusted(keeper)])
    text = capsys.readouterr().out
    assert text.startswith("reconstruction error ")
    assert "the mean training image" in text
    assert "blur ratio of reconstructions" in text
    assert "FD-" not in text
    kept = json.loads((runs["keeper"] / "eval.json").read_text())
    assert {one["section"] for one in kept["metrics"]} == {"reconstruction", "blur"}
    assert kept["metrics"][0]["value"] < kept["metrics"][0]["floor"]
    for flag in (["--parzen"], ["--truncation", "1"]):
        code, line = fails(capsys, "evaluate", runs["keeper"], *flag, *trusted(keeper))
        assert code == 2
        assert "Autoencoder" in line


def test_a_classifier_is_evaluated_without_samples(shapes, capsys):
    _, runs = shapes
    main(["evaluate", str(runs["namer"]), *trusted(namer)])
    assert capsys.readouterr().out.startswith("classification error 0.00 %")


def test_codes_of_another_prior_are_not_truncated(shapes, capsys):
    _, runs = shapes
    code, line = fails(capsys, "sample", runs["stylist"], "--truncation", "1", *trusted(stylist))
    assert code == 2
    assert "SupervisedAAE does not support truncation: drop --truncation" in line


def test_parzen_is_printed_when_asked_for(run, capsys):
    main(["evaluate", str(run), "--n", "40", "--parzen"])
    text = capsys.readouterr().out
    assert "Parzen log-likelihood" in text
    assert "540 real training images in place of 540 samples" in text
    assert "Not a measure of quality" in text
    kept = json.loads((run / "eval.json").read_text())["metrics"]
    assert "Parzen log-likelihood" in [one["name"] for one in kept if one["section"] == "parzen"]
    main(["evaluate", str(run), "--n", "40"])
    assert "Parzen" not in capsys.readouterr().out


def test_reconstruct_puts_what_is_kept_below_the_images(shapes, tmp_path, capsys):
    folder, runs = shapes
    for y in range(3):
        Image.fromarray(picture(y)).save(tmp_path / f"{y}.png")
    out = tmp_path / "out" / "pairs.png"
    out.parent.mkdir()
    main(["reconstruct", str(runs["keeper"]), str(tmp_path), "--out", str(out), *trusted(keeper)])
    text = capsys.readouterr().out.splitlines()
    assert text[1] == str(out)
    assert "per pixel (0 to 1), n = 3" in text[0]
    made = np.asarray(Image.open(out))
    assert made.shape == (2 * 30 + 2, 3 * 30 + 2)
    errors = []
    for y in range(3):
        above, below = (made[30 * row + 2 : 30 * row + 30, 30 * y + 2 : 30 * y + 30] for row in (0, 1))
        assert (above == picture(y)).all()
        errors.append((((below - above.astype(float)) / 255) ** 2).mean())
    assert float(text[0].split()[2]) == pytest.approx(sum(errors) / 3, rel=1e-3)
    assert 0 < sum(errors) / 3 < 0.05

    main(["reconstruct", str(runs["keeper"]), str(folder), "-n", "10", "--out", str(out), *trusted(keeper)])
    captured = capsys.readouterr()
    assert "only 10 of 120 images, evenly spaced" in captured.err
    made = np.asarray(Image.open(out))
    assert made.shape == (4 * 30 + 2, 8 * 30 + 2)
    assert (made[62:, 62:] == 255).all()  # two images in the second pair of rows, and nothing beside them
    assert (made[62:, 32:62] != 255).any()


def test_one_file_and_a_zip_are_images_too(shapes, tmp_path, capsys):
    folder, runs = shapes
    single, packed, out = tmp_path / "one.png", tmp_path / "all.zip", tmp_path / "x.png"
    Image.fromarray(np.kron(picture(1), np.ones((2, 2), dtype=np.uint8))).convert("RGB").save(single)
    with zipfile.ZipFile(packed, "w") as archive:
        for y in range(3):
            archive.write(folder / "right" / f"{y}.png", f"{y}.png")
    main(["reconstruct", str(runs["keeper"]), str(single), "--out", str(out), *trusted(keeper)])
    assert "n = 1" in capsys.readouterr().out
    main(["classify", str(runs["namer"]), str(packed), "--json", *trusted(namer)])
    rows = json.loads(capsys.readouterr().out)
    assert [(row["file"], row["class"]) for row in rows] == [(f"{y}.png", "right") for y in range(3)]
    assert all(0.5 < row["probability"] <= 1 for row in rows)


def test_classify_names_every_image(shapes, capsys):
    folder, runs = shapes
    main(["classify", str(runs["namer"]), str(folder), "-n", "120", *trusted(namer)])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["file", "class", "probability"]
    assert [line[0] for line in lines[1:4]] == ["left/0.png", "left/1.png", "left/2.png"]
    assert all(line[0].startswith(line[1] + "/") for line in lines[1:])
    assert len(lines) == 121
    main(["classify", str(runs["namer"]), str(folder), "-n", "120", "--json", *trusted(namer)])
    rows = json.loads(capsys.readouterr().out)
    assert [f"{row['probability']:.3f}" for row in rows] == [line[2] for line in lines[1:]]
    data = sparring.load(folder, size=28, channels=1, held_out=0)
    system = sparring.open(runs["namer"]).system(recipe=trusted(namer)[1])
    sure = system.classify(to_float(data.images)).exp().max(1).values
    assert [row["probability"] for row in rows] == pytest.approx(sure.tolist(), rel=1e-5)


def test_a_system_that_must_know_classes_takes_them_from_folders_or_flags(shapes, tmp_path, capsys):
    folder, runs = shapes
    argv = ["reconstruct", str(runs["stylist"]), str(folder), "-n", "3", *trusted(stylist)]
    main([*argv, "--out", str(tmp_path / "a.png")])
    main([*argv, "--out", str(tmp_path / "b.png"), "--labels", "left,middle,2"])
    main([*argv, "--out", str(tmp_path / "c.png"), "--labels", "left"])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "c.png").read_bytes()
    (tmp_path / "few" / "right").mkdir(parents=True)
    (tmp_path / "few" / "right" / "0.png").write_bytes((folder / "right" / "0.png").read_bytes())
    argv = ["reconstruct", str(runs["stylist"]), str(tmp_path / "few"), *trusted(stylist)]
    main([*argv, "--out", str(tmp_path / "a.png")])
    main([*argv, "--out", str(tmp_path / "b.png"), "--labels", "right"])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    capsys.readouterr()
    only = folder / "right"
    code, line = fails(capsys, "reconstruct", runs["stylist"], only, "--out", tmp_path / "d.png", *trusted(stylist))
    assert code == 2
    assert "SupervisedAAE needs the class of each image: give --labels, or folders named left, middle, right" in line


@pytest.mark.parametrize(
    ("verb", "make", "words"),
    [
        ("reconstruct", namer, "Classifier cannot reconstruct images"),
        ("classify", keeper, "Autoencoder cannot classify images"),
    ],
)
def test_what_a_system_cannot_do_is_said(shapes, capsys, verb, make, words):
    folder, runs = shapes
    code, line = fails(capsys, verb, runs[make.__name__], folder, *trusted(make))
    assert (code, line) == (2, f"sparring: {words}")


def test_images_that_cannot_be_used_are_named(shapes, tmp_path, capsys):
    folder, runs = shapes
    run = ["reconstruct", runs["keeper"]]
    flags = ["--out", tmp_path / "x.png", *trusted(keeper)]
    joint_batch, empty = tmp_path / "joint_batch", tmp_path / "empty"
    joint_batch.mkdir()
    empty.mkdir()
    (joint_batch / "good.png").write_bytes((folder / "left" / "0.png").read_bytes())
    (joint_batch / "broken.png").write_bytes(b"no image")
    (tmp_path / "text.txt").write_text("no image either")
    for images, words in (
        (joint_batch, "cannot read 1 of 2 images in "),
        (joint_batch, "broken.png (not an image in a known format"),
        (tmp_path / "text.txt", "text.txt (not an image in a known format"),
        (empty, "no images in "),
        (tmp_path / "nowhere", "there is no folder or file "),
    ):
        code, line = fails(capsys, *run, images, *flags)
        assert code == 2
        assert words in line
    for given, words in (
        (["--out", "x.jpg"], "must end in .png"),
        (["-n", "0"], "n (--n) is '0': input should be greater than or equal to 1"),
        (["--labels", "left"], "Autoencoder reconstructs images without labels: drop --labels"),
        (["--out", tmp_path / "no" / "x.png"], "cannot write"),
    ):
        code, line = fails(capsys, *run, folder / "left", *trusted(keeper), *given)
        assert code == 2
        assert words in line
    assert not (tmp_path / "x.png").exists()
    code, line = fails(capsys, "classify", runs["namer"])
    assert "the following arguments are required: IMAGES" in line
