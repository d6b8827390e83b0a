"""docs/courses.md: each item of the five documents has its row, and each command is played in short form."""

import math
import re
import shlex
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import recipe_data, small, small_mnist, toy_data
from PIL import Image

import sparring
from sparring.cli import VERBS, find_verb, main
from sparring.cli.parser import Command
from sparring.cli.toy import TOYS
from sparring.cli.training import train_command
from sparring.recipes import RECIPES
from sparring.recipes.recipe import arguments, build_recipe, load_recipe, resolve_arguments
from sparring.referee import Referee
from sparring.seeds import Drawing, make_generator

PAGE = (Path(__file__).parents[1] / "docs" / "courses.md").read_text()
COUNTS = {"000": 41, "001": 39, "002": 35, "003": 44, "004": 47, "all": 4}
"""Document -> number of its items."""

DEFAULT = "csc321-mlp"
"""The recipe of a RUN where a row does not train one."""

COLOR = ("cifar10", "celeba", "lsun", "faces", "pixel-faces", "imagenet/", "my-pictures/")
"""Data whose images have three channels."""

SHORT_TOYS = {
    **{name: ["--rounds", "3"] for name in ("dirac", "line", "ring", "grid", "elbo")},
    **{"saturation": ["--steps", "0"], "distance": ["--steps", "2"]},
}
"""Toy -> flags that make it short."""

ELSEWHERE = {"compare", "probe", "screen", "units", "--pairs-a"}
"""Slow even in short form, and played in the tests of their own modules: only parsed here."""

SHORT = {"evaluate": ["--n", "6"], "check-data": ["--data-root", "."]}
"""Verb -> flags that make it short."""


def commands_in(text):
    return [shlex.split(command) for command in re.findall(r"`sparring ([^`]+)`", text)]


def played():
    """(recipe of RUN, words of the command without "sparring") of all commands, in the order of the page."""
    for block in PAGE.split("\n\n"):
        lines = block.splitlines() if block.startswith("|") else [" ".join(block.split())]
        yield from played_in(lines)


def played_in(lines):
    for line in lines:
        recipe = DEFAULT
        for words in commands_in(line):
            if words[0] == "train":
                recipe = words[1]
            yield recipe, words


ALL = list(played())
TRAININGS = sorted({" ".join(words[1:]) for _, words in ALL if words[0] == "train"})
TOY_COMMANDS = sorted({" ".join(words[1:]) for _, words in ALL if words[0] == "toy"})
SHOWN = sorted({word for _, words in ALL if words[0] == "recipes" for word in words[1:]} - {"NAME"})


def kinds():
    """One command for each verb and set of flags; the others differ in values only."""
    found = {}
    for recipe, words in ALL:
        if words[0] not in ("train", "toy", "recipes"):
            key = (words[0], *sorted(word for word in words if word.startswith("-")))
            if key not in found or recipe == DEFAULT:
                found[key] = recipe, words
    return list(found.values())


# The rows.


def test_every_item_of_the_documents_has_one_row_in_order():
    numbers = re.findall(r"^\| ((?:\d{3}|all)-\d+) \|", PAGE, re.MULTILINE)
    assert numbers == [f"{document}-{n + 1}" for document, count in COUNTS.items() for n in range(count)]


def test_every_row_says_what_came_out_or_why_nothing_can():
    rows = [line.strip("|").split("|") for line in PAGE.splitlines() if re.match(r"\| (?:\d{3}|all)-\d", line)]
    assert [row[0] for row in rows if len(row) != 4 or not row[3].strip()] == []


def test_every_question_is_answered():
    answered = set(
        re.findall(r"(?:\d{3}|all)-\d+", " ".join(re.findall(r"^\*\*[^*]+\*\*\s+\((.*?)\)", PAGE, re.S | re.M)))
    )
    asked = {
        re.match(r"\| (\S+)", line)[1]
        for line in PAGE.splitlines()
        if re.match(r"\| (?:\d{3}|all)-\d", line) and "[Answer]" in line
    }
    assert asked - answered == set()
    assert len(asked) > 20


# The trainings.


def short_arguments(recipe, given):
    """The same arguments with small widths and batches; the latent code and a 0 ("all" or "none") are kept."""
    extra = {name: value for name, value in small(recipe)[0].items() if given.get(name) != 0}
    return {**given, **extra, **{name: given[name] for name in given if name == "latent_dim"}}


@cache
def play_round(recipe, given, channels):
    """The moves of a first round with these arguments, which are pairs of a name and a value."""
    function = load_recipe(recipe, RECIPES)
    data = recipe_data(recipe, 60, channels)
    with Drawing(make_generator(0, "weights")):
        made = build_recipe(function, data.spec, resolve_arguments(function, dict(given)))
        if made.prepare is not None:
            made.prepare(data)
    referee = Referee(
        made.system,
        made.streams(data, 0) if made.streams else {"train": data},
        batch=made.batch,
        optimizers=made.optimizers,
        schedules=made.schedules,
        precision="fp32",
    )
    return referee.reduce_logs(referee.play())


@pytest.mark.parametrize("command", TRAININGS)
def test_trainings(command):
    recipe, *words = shlex.split(command)
    values, function = train_command(recipe).parse(words), load_recipe(recipe, RECIPES)
    defaults = {a.name: a.default for a in arguments(function)}
    given = short_arguments(recipe, {name: values[name] for name in defaults if name in values})
    given = {name: value for name, value in given.items() if value != defaults[name]}
    channels = values.get("channels") or (3 if values.get("data") in COLOR else 1)
    moves = play_round(recipe, tuple(sorted(given.items())), channels)
    assert moves
    assert all(math.isfinite(move["loss"]) for move in moves)


# The toys, the recipes that are shown, and what is done with a run.


@pytest.mark.parametrize("command", TOY_COMMANDS)
def test_toys(command, capsys):
    name, *words = shlex.split(command)
    assert Command.of(f"sparring toy {name}", TOYS[name]).parse(words) is not None
    words = [
        word for word in words if word != "--out" and not word.endswith((".webp", ".png"))
    ]  # pictures: test_toys.py
    main(["toy", name, *words, *SHORT_TOYS.get(name, [])])
    assert capsys.readouterr().out


@pytest.mark.parametrize("name", SHOWN)
def test_recipes_that_are_shown(name, capsys):
    main(["recipes", name])
    assert name in capsys.readouterr().out


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files that the commands name."""
    root = tmp_path_factory.mktemp("courses")
    for name in ("my-pictures", "a", "b"):
        (root / name).mkdir()
        for n, image in enumerate(toy_data(8, 4, 1).images):
            Image.fromarray(image[0].numpy()).save(root / name / f"{n}.png")
    with zipfile.ZipFile(root / "celeba.zip", "w") as archive:
        for file in (root / "a").iterdir():
            archive.write(file, file.name)
    small_mnist(root)
    return root


@pytest.fixture(scope="module")
def run_of(folder):
    """Recipe -> a run of two rounds with it."""

    @cache
    def run(recipe):
        data, place = recipe_data(recipe, 60), folder / f"{recipe}.npz"
        pixels = torch.cat([data.images, data.held_out.images]).permute(0, 2, 3, 1).numpy()
        np.savez(place, images=pixels, labels=np.arange(len(pixels)) % (2 if recipe == "cyclegan" else 10))
        given = short_arguments(recipe, {})
        return str(sparring.train(recipe, place, rounds=2, out=folder / "runs", monitor=False, **given).path)

    return run


@pytest.mark.parametrize(("recipe", "words"), kinds(), ids=lambda value: value if isinstance(value, str) else value[0])
def test_verbs(recipe, words, run_of, folder, monkeypatch, capsys):
    verb, *rest = words
    assert Command.of(f"sparring {verb}", find_verb(verb)).parse(rest)
    if ELSEWHERE & set(words):
        return
    monkeypatch.chdir(folder)
    main([verb, *(run_of(recipe) if word == "RUN" else word for word in rest), *SHORT.get(verb, [])])
    assert capsys.readouterr().out


def test_all_verbs_of_the_page_exist():
    assert {words[0] for _, words in ALL} <= set(VERBS)


def test_python(folder, toy_file, monkeypatch, capsys):
    """The Python of the page runs, from top to bottom, with shorter trainings, and shows what the page says."""
    monkeypatch.chdir(folder)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    text = re.sub(r"rounds=\d+", "rounds=2", "\n".join(blocks)).replace('"digits"', repr(str(toy_file)))
    names = {}
    exec(text, names)
    assert names["drawn"].shape == (64, 1, 28, 28)
    assert (folder / "drawn.png").is_file()
    assert names["answer"].tolist() == pytest.approx([0.5, 0.5])
    assert names["varied"].std(0).mean() > 0
    assert names["equal"].std(0).max() == 0
    assert len(capsys.readouterr().out.splitlines()) >= 3
