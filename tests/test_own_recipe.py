"""docs/own.md as it is written: its file, its command lines, its Python."""

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

import sparring
from sparring.cli import main
from sparring.errors import SparringError
from sparring.recipes.recipe import arguments, load_recipe
from sparring.run import Run
from sparring.training import resume, train

PAGE = (Path(__file__).parents[1] / "docs" / "own.md").read_text()
CODE = re.findall(r"```python\n(.*?)```", PAGE, re.S)
COMMANDS = [shlex.split(line)[1:] for line in PAGE.splitlines() if line.startswith("sparring ")]
SHORT = {"digits": "toy.npy", "500": "3", "600": "4", "64": "4"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with the page's file in it; not on the path, as for an installed command."""
    (tmp_path / "my_gan.py").write_text(CODE[0])
    np.save(tmp_path / "toy.npy", np.random.default_rng(0).integers(0, 256, (60, 28, 28), dtype=np.uint8))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("my_")]:
        del sys.modules[name]


def test_the_page_works_as_typed(folder, capsys):
    assert [argv[0] for argv in COMMANDS] == ["train", "sample", "resume", "report"]
    for argv in COMMANDS:
        main([SHORT.get(word, word) for word in argv])
    (path,) = (folder / "runs").iterdir()
    assert (path / "report.html").is_file()
    assert (folder / "samples.png").is_file()
    config = Run.open(path).config
    assert (config["recipe"], config["rounds"], config["arguments"]["width"]) == ("my_gan:tiny", 4, 128)
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main(["sample", "1"])
    assert end.value.code == 2
    assert "give --recipe my_gan:tiny if you trust it" in capsys.readouterr().err
    words = {"rounds=500": "rounds=3, quiet=True", '"digits"': '"toy.npy"'}
    exec(re.sub("|".join(words), lambda found: words[found[0]], CODE[1]), {})
    assert (folder / "runs" / "0002-my-gan-tiny-toy" / "report.html").is_file()


def test_who_trained_a_run_may_go_on_with_it(folder):
    sys.path.insert(0, str(folder))
    from my_gan import tiny

    run = train(tiny, "toy.npy", rounds=1, quiet=True)
    assert resume(run, rounds=2, quiet=True).system().sample(2).shape == (2, 1, 28, 28)
    with pytest.raises(SparringError, match="give --recipe my_gan:tiny"):
        Run.open(run.path).system()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def tiny(data): ...", "'my_own:tiny' is not a recipe: put @recipe"),
        ("tiny = 3", "is not a recipe: put @recipe"),
        ("other = 3", "cannot be imported: AttributeError"),
        ("import nowhere", "cannot be imported: ModuleNotFoundError: No module named 'nowhere'"),
        ("def tiny(:", "cannot be imported: SyntaxError"),
        ("x = 1\nx / 0", r"ZeroDivisionError: division by zero \(.*my_own.py, line 2\)"),
        (
            "from sparring.recipes.recipe import *\n@recipe(paper='', size=8)\ndef tiny(data): ...",
            "returns None: a recipe",
        ),
    ],
)
def test_what_is_no_recipe_is_one_line(folder, text, words):
    (folder / "my_own.py").write_text(text)
    with pytest.raises(SparringError, match=words) as caught:
        train("my_own:tiny", "toy.npy", rounds=1, quiet=True)
    assert "\n" not in str(caught.value)
    assert not (folder / "runs").exists()


def test_a_function_without_the_decorator_is_one_line():
    def tiny(data):
        """No card."""

    with pytest.raises(SparringError, match="tiny' is not a recipe: put @recipe"):
        sparring.train(tiny, np.zeros((60, 28, 28), dtype=np.uint8))


def test_annotations_may_be_text_or_missing(folder):
    text = "from __future__ import annotations\n" + CODE[0].replace("width: int = 64", "width=64")
    (folder / "my_text.py").write_text(text)
    run = train("my_text:tiny", "toy.npy", rounds=1, width=8, quiet=True)
    assert run.config["arguments"]["width"] == 8
    with pytest.raises(SparringError, match=r"latent_dim \(--latent-dim\) is 'many'"):
        train("my_text:tiny", "toy.npy", latent_dim="many", quiet=True)


def test_the_variant_of_the_page(folder):
    (folder / "my_gan.py").write_text(CODE[0] + CODE[2])
    wide = load_recipe("my_gan:wide", {})
    assert {a.name: a.default for a in arguments(wide)} == {"latent_dim": 16, "width": 512, "lr": 5e-4, "batch": 32}
    run = train(wide, "toy.npy", rounds=1, width=8, quiet=True)
    assert (run.config["recipe"], run.config["arguments"]["lr"]) == ("my_gan:wide", 5e-4)
