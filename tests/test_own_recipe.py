"""docs/own.md as it is written: its file, its command lines, its Python."""

import copy
import io
import re
import shlex
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import recipe_data, small

import sparring
from sparring.cli import main
from sparring.errors import SparringError
from sparring.recipes import RECIPES
from sparring.recipes.recipe import arguments, build_recipe, load_recipe, resolve_arguments
from sparring.referee import Referee
from sparring.run import Run
from sparring.seeds import ShardedRng, make_generator
from sparring.training import resume, train

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "own.md").read_text()
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


# Without the engine.


def code_with(*words):
    """The Python of the page that contains each of these words."""
    return [next(block for block in CODE if word in block) for word in words]


NETWORKS, STEPPING, DEBUGGER, LOOP, BACK, PLAIN, AS_A_SYSTEM = code_with(
    "logistic = Game", "def feed", "pdb.runcall", "samples = system", "sparring.Dataset", "OurModule(nn", "OurSystem"
)


@pytest.fixture
def page():
    """The names that the page has defined before its section without the engine."""
    torch.manual_seed(0)
    names = {}
    exec(NETWORKS, names)
    return names


def test_a_round_is_stepped_through_and_changes_nothing(page, capsys):
    before = [w.clone() for w in page["system"].parameters()]
    exec(STEPPING, page)
    first, second = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"discriminator 1\.\d+ {'real': tensor\(.*\), 'fake': tensor\(.*\)}", first)
    assert second == "generator"
    assert all(torch.equal(a, b) for a, b in zip(before, page["system"].parameters(), strict=True))


def test_a_debugger_enters_the_round_and_prints_its_tensors(page, monkeypatch, capsys):
    exec(STEPPING, page)
    session = PAGE.partition("```\n(Pdb) ")[2].partition("```")[0].splitlines()
    typed = [line.removeprefix("(Pdb) ") for line in ["(Pdb) " + session[0], *session[1:]] if "(Pdb)" in line]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join([*typed, "continue", ""])))
    capsys.readouterr()
    exec(DEBUGGER, page)
    shown = capsys.readouterr().out
    assert "sparring/systems/gan.py" in shown
    assert 'x, _ = feed("train")' in shown
    assert session[-1] in shown


def test_four_lines_train_a_system(page):
    exec(STEPPING, page)
    before = [w.clone() for w in page["system"].parameters()]
    exec(LOOP.replace("range(100)", "range(3)"), page)
    assert not any(torch.equal(a, b) for a, b in zip(before, page["system"].parameters(), strict=True))
    assert page["samples"].shape == (64, 1, 28, 28)
    lines = textwrap.dedent(LOOP.partition("range(100):\n")[2].partition("\n\n")[0]).strip()
    assert len(lines.splitlines()) == 4
    assert f"```python\n{lines}\n```" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", ["csc321-mlp", "wgan-gp", "vae", "vae-gan", "aae", "infogan", "alae"])
def test_the_four_lines_compute_what_the_engine_computes(name, monkeypatch):
    """The same noise and batches give the same weights after two rounds."""
    monkeypatch.setattr("sparring.networks.infogan.FEATURES", 16)
    function, data = load_recipe(name, RECIPES), recipe_data(name, 40)
    weights = []
    for with_engine in (True, False):
        torch.manual_seed(0)
        made = build_recipe(function, data.spec, resolve_arguments(function, small(name)[0]))
        system = made.system.train()
        judge = Referee(system, {"train": data}, batch=8, optimizers=made.optimizers, precision="fp32")
        for number in (1, 2):
            if with_engine:
                judge.play()
                continue
            system.draws = ShardedRng(make_generator(0, "noise", number))
            names = {"system": system, "feed": judge.feeds[0], "optimizers": judge.optimizers}
            exec(textwrap.dedent(LOOP.partition("range(100):\n")[2].partition("\n\n")[0]), names)
        weights.append({key: value.clone() for key, value in system.state_dict().items()})
    for key, value in weights[0].items():
        torch.testing.assert_close(weights[1][key], value, rtol=0, atol=0, msg=key)


def test_own_networks_losses_and_data_in_the_engine(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(STEPPING, page)
    exec(BACK.replace("rounds=10)", "rounds=1, quiet=True, monitor=False)"), page)
    assert page["run"].config["rounds"] == 1
    assert page["system"].equilibrium()["discriminator"] == pytest.approx(2 * np.log(2))


def test_the_module_and_loop_of_an_introduction_to_pytorch(page):
    exec(PLAIN, page)
    model = page["model"].eval()
    assert sum(w.numel() for w in model.parameters()) == 15 + 120 + 63
    predicted = model(page["points"])
    torch.testing.assert_close(predicted.sum(1), torch.ones(300))
    assert float((predicted.argmax(1) == page["classes"]).float().mean()) > 0.9


def test_the_same_module_as_a_system_takes_the_same_steps(page):
    exec(PLAIN.replace("range(20)", "range(0)"), page)
    exec(AS_A_SYSTEM, page)
    batch = page["points"][::30], page["classes"][::30]
    alone, twin = page["model"], copy.deepcopy(page["model"])
    torch.manual_seed(3)
    page["train"](alone, [batch], torch.optim.SGD(alone.parameters(), lr=0.1))
    torch.manual_seed(3)
    names = {"system": page["OurSystem"](twin.train()), "feed": lambda stream: batch}
    names["optimizers"] = {"classifier": torch.optim.SGD(twin.parameters(), lr=0.1)}
    exec(textwrap.dedent(LOOP.partition("range(100):\n")[2].partition("\n\n")[0]), names)
    assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), twin.parameters(), strict=True))
