"""Words that users bring along, runs that are named by a number, terminals that know few letters."""

import io
import json
import re
import sys
from contextlib import suppress
from inspect import signature

import pytest
import torch
from helpers import TRAIN, fails

from sparring.cli import VERBS, find_verb, main, synonyms
from sparring.cli.parser import flag
from sparring.data.chosen import numbers_of
from sparring.data.dataset import Spec
from sparring.errors import SparringError
from sparring.options import TrainOptions
from sparring.recipes import RECIPES
from sparring.recipes.recipe import arguments, build_recipe, info, load_recipe, resolve_arguments
from sparring.run import Run


@pytest.fixture(scope="module")
def out(toy_file, tmp_path_factory):
    """A folder with a run of four rounds."""
    folder = tmp_path_factory.mktemp("words")
    main([*TRAIN, "--data", str(toy_file), "--out", str(folder / "runs")])
    return folder


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["generate", "RUN"], "did you mean 'sparring sample'?"),
        (["eval", "RUN"], "did you mean 'sparring evaluate'?"),
        (["fit"], "did you mean 'sparring train'?"),
        (["export", "RUN"], "RUN/weights/model.safetensors"),
        (["trian"], "did you mean 'train'?"),
        (["train", "cs231n-mlp", "--epochs", "3"], "did you mean --rounds?"),
        (["train", "cs231n-mlp", "--lr", "1"], "did you mean --discriminator-lr or --generator-lr?"),
        (["train", "cs231n-mlp", "--lr_g", "1"], "did you mean --generator-lr?"),
        (["train", "goodfellow-mlp", "--learning-rate=1"], "did you mean --lr?"),
        (["train", "cs231n-mlp", "--gpu", "0"], "did you mean --device?"),
        (["runs", "--cuda"], "CUDA_VISIBLE_DEVICES"),
        (["train", "cs231n-mlp", "--batch-size", "8"], "did you mean --batch?"),
        (["train", "cs231n-mlp", "--resume", "x"], "sparring resume RUN"),
        (["train", "cs231n-mlp", "--latnet", "8"], "did you mean '--latent-dim'"),
        (["sample", "RUN", "--num", "8"], "did you mean -n?"),
        (["sample", "RUN", "--class", "8"], "did you mean --labels?"),
    ],
)
def test_words_of_other_tools_lead_to_ours(capsys, argv, words):
    code, line = fails(capsys, *argv)
    assert code == 2
    assert words in line


def test_every_synonym_leads_to_something_that_there_is():
    verbs = [word for others in synonyms.VERBS.values() for word in others]
    assert set(synonyms.VERBS) <= set(VERBS)
    assert len(verbs) == len(set(verbs))
    assert not {*verbs, *synonyms.OTHER_VERBS} & {*VERBS, "list", "help", "version"}
    flags = {flag(a) for name in RECIPES for a in arguments(load_recipe(name, RECIPES))}
    flags |= {flag(a) for name in VERBS for a in arguments(find_verb(name))}
    flags |= {flag(a) for a in arguments(TrainOptions)} | {"--data"}
    assert set(synonyms.FLAGS) - {"--no-monitor"} <= flags


def test_help_and_version_in_every_form(capsys):
    said = []
    for argv in (["help"], ["--help"], ["-h"], []):
        main(argv)
        said.append(capsys.readouterr().out)
    assert len(set(said)) == 1
    for argv in (["-V"], ["--version"], ["version"]):
        main(argv)
        assert capsys.readouterr().out.startswith("sparring 0.")
    with pytest.raises(SystemExit) as end:
        main(["help", "sample"])
    assert not end.value.code
    assert "usage: sparring sample" in capsys.readouterr().out


def test_a_run_is_named_by_its_number(out, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(out)
    for name in ("1", "0001", str(out / "runs" / "1")):
        main(["sample", name, "-n", "4", "--out", str(tmp_path / "x.png")])
    code, line = fails(capsys, "sample", "7")
    assert (code, line) == (2, "sparring: no runs in runs have the number 7 (existing runs: 0001-csc321-mlp-toy)")
    code, line = fails(capsys, "compare", "1", "2")
    assert "have the number 2" in line


@pytest.mark.parametrize("verb", [v for v in VERBS if "run" in signature(find_verb(v)).parameters])
def test_every_verb_that_takes_a_run_takes_its_number(verb, out, monkeypatch, capsys):
    monkeypatch.chdir(out)
    parameters = signature(find_verb(verb)).parameters.values()
    paths = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
    flags = {"translate": ["--to", "b", "--out", "x"], "arithmetic": ["--start", "1", "--minus", "2", "--plus", "3"]}
    _, line = fails(capsys, verb, "77", *["there"] * (len(paths) - 1), *flags.get(verb, []))
    assert "no runs in runs have the number 77" in line


def test_the_table_of_runs(out, monkeypatch, capsys):
    monkeypatch.chdir(out)
    for argv in (["runs"], ["list"], ["runs", str(out / "runs")]):
        main(argv)
        (line,) = [line for line in capsys.readouterr().out.splitlines() if "csc321-mlp" in line]
        assert line.split()[:6] == ["1", "csc321-mlp", "toy", "4", "of", "4"]
        assert line.split()[-1] == "done"
    (out / "runs" / "0002-broken").mkdir()
    with Run.open(out / "runs" / "0001-csc321-mlp-toy").lock():
        main(["runs", "--json"])
    first, second = json.loads(capsys.readouterr().out)
    assert (first["number"], first["played"], first["rounds"], first["state"]) == (1, 4, 4, "training")
    assert first["FD"] > 0
    assert (second["number"], second["state"]) == (2, "damaged")
    (out / "runs" / "0002-broken").rmdir()
    assert "no folder 'nowhere'" in fails(capsys, "runs", "nowhere")[1]


def test_a_log_that_is_torn_still_tells_how_far_a_run_is(out, tmp_path):
    run = Run.open(out / "runs" / "0001-csc321-mlp-toy")
    torn = Run(tmp_path, {**run.config, "rounds": 30}, run.disk)
    moves = '"moves": [{"player": "critic", "loss": 1.0, "gradient": 1.0}]'
    (tmp_path / "log.jsonl").write_text(f'{{"round": 10, {moves}}}\n{{"round": 20, {moves}}}\n{{"rou')
    assert torn.played()[0] == 20
    assert torn.state() == "stopped"
    (tmp_path / "failure").mkdir()
    assert torn.state() == "diverged"


# Classes.


@pytest.mark.parametrize(
    ("text", "classes", "numbers"),
    [
        ("cat, dog", ("dog", "cat"), [1, 0]),
        ("0,1", ("dog", "cat"), [0, 1]),
        ("10,1", ("1", "2", "10"), [2, 0]),
        ("a, b", ("a, b", "a", "b"), [0]),
        ('"a, b",b', ("a, b", "a", "b"), [0, 2]),
        ('say "hi"', ('say "hi"',), [0]),
        ("7", ("dog", "cat"), [7]),  # how many there are is for the system to say
    ],
)
def test_a_name_is_a_name_and_a_number_a_place_only_where_no_class_is_a_number(text, classes, numbers):
    assert numbers_of(text, classes) == numbers


@pytest.mark.parametrize(
    ("text", "classes", "words"),
    [
        ("0", ("1", "2", "10"), "a number is a name, not an index (possible: 1, 2, 10)"),
        ("²", ("a", "b"), "unknown class '²'"),
        ("٣", ("a", "b", "c", "d"), "unknown class '٣'"),
        ("9" * 20, ("a", "b"), "unknown class '99"),
        ("", ("a", "b"), "no class is named"),
        ('"a', ("a", "b"), "cannot be read"),
        ("a,,b", ("a", "b"), "unknown class ''"),
    ],
)
def test_what_is_no_class_is_said(text, classes, words):
    with pytest.raises(SparringError) as caught:
        numbers_of(text, classes)
    assert words in str(caught.value)


# Terminals.


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_every_verb_can_print_on_every_terminal(encoding, out, toy_file, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    run = str(out / "runs" / "0001-csc321-mlp-toy")
    streams = []
    for argv in (
        *([verb, "--help"] for verb in VERBS),
        *(
            ["recipes"],
            ["recipes", "goodfellow-mlp"],
            ["train", "vae", "--help"],
            ["toy", "xy"],
            ["toy", "xy", "--help"],
        ),
        *(["check-data", str(toy_file)], ["runs", str(out / "runs")], ["\udcff±猫"]),
        *(["evaluate", run, "--n", "20"], ["interpolate", run], ["neighbors", run, "-n", "2"]),
    ):
        raw = [io.BytesIO(), io.BytesIO()]
        for name, stream in zip(("stdout", "stderr"), raw, strict=True):
            monkeypatch.setattr(sys, name, io.TextIOWrapper(stream, encoding=encoding))
        with suppress(SystemExit):
            main(argv)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        streams.append(b"".join(stream.getvalue() for stream in raw))
        assert streams[-1], argv
    shown = b"".join(streams).decode(encoding)
    assert ("x² + xy" in shown) == (encoding != "ascii")
    assert ("x^2 + xy" in shown) == (encoding == "ascii")
    assert "\\udcff" in shown


# Sizes.


def test_recipes_of_one_size_name_others_that_make_the_size():
    for name in RECIPES:
        refusal = refused_at_64(name)
        if refusal and info(load_recipe(name, RECIPES)).modality == "images":
            (others,) = re.findall(r"choose a recipe for other sizes \((.*)\)", refusal)
            named = [word for word in re.split(r"[,; ]+", others) if word not in ("with", "classes")]
            assert [refused_at_64(other) for other in named] == [""] * len(named) != []


def refused_at_64(name):
    """What a recipe says of color images of 64x64 with two classes; "" if it takes them."""
    function = load_recipe(name, RECIPES)
    try:
        with torch.device("meta"):
            build_recipe(function, Spec(3, 64, 64, ("a", "b")), resolve_arguments(function, {}))
    except SparringError as error:
        return str(error)
    return ""
