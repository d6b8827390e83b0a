"""benchmarks/gpu.py on the CPU: the parts work, a difference is seen, a part that fails costs no other."""

import importlib.util
import math
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu.py"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def gpu():
    specification = importlib.util.spec_from_file_location("gpu", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_recipes_are_compared_number_by_number(gpu, monkeypatch):
    rows = [*gpu.recipes(CPU, ["csc321-mlp", "molecular-aae", "no-such-recipe"])]
    assert rows[0][:2] == ["csc321-mlp", "equal"]
    assert rows[1][:2] == ["molecular-aae", "equal"]
    assert rows[2][:2] == ["no-such-recipe", "FAILED"]
    numbers, devices = gpu.logged("csc321-mlp", CPU)[0], []

    def other(name, device):
        devices.append(device)
        return [{key: value * (1 + 0.01 * (len(devices) > 1)) for key, value in r.items()} for r in numbers], False

    monkeypatch.setattr(gpu, "logged", other)
    (row,) = gpu.recipes(torch.device("meta"), ["csc321-mlp"])
    assert row[1] == "DIFFERS"
    assert devices == [CPU, torch.device("meta")]


def test_a_difference_is_relative_and_never_hidden(gpu):
    assert gpu.difference({"a": 1.0, "b": 0.0}, {"a": 1.0, "b": 1e-5}) == (pytest.approx(1e-3), "b")
    assert gpu.difference({"a": 100.0}, {"a": 101.0}) == (pytest.approx(0.01), "a")
    assert gpu.difference({"a": 1.0}, {"b": 1.0})[0] == math.inf
    assert gpu.difference({"a": 1.0, "b": 1.0}, {"a": math.nan, "b": 2.0}) == (math.inf, "a")


def test_every_recipe_has_data_and_small_networks(gpu):
    from sparring.recipes import RECIPES
    from sparring.recipes.recipe import build_recipe, load_recipe, resolve_arguments

    for name in RECIPES:
        function, spec = load_recipe(name, RECIPES), gpu.noise(name, 20).spec
        with torch.device("meta"):
            recipe = build_recipe(function, spec, resolve_arguments(function, gpu.narrow(name)))
        assert recipe.batch <= 64, name
        assert sum(p.numel() for p in recipe.system.parameters()) < 3e7, name


def test_the_guard_sampling_and_evaluation(gpu):
    assert [row[:2] for row in gpu.behavior(CPU, ())] == [
        ["guard", "stops"],
        ["sample", "equal"],
        ["evaluate", "equal"],
    ]


def test_a_child_that_fails_or_has_no_time_costs_only_its_own_rows(gpu, monkeypatch, tmp_path):
    script = tmp_path / "child.py"
    script.write_text(
        "import json, sys, time\n"
        "for name in sys.argv[sys.argv.index('part') + 1 :]:\n"
        "    if name == 'dies': sys.exit('device-side assert')\n"
        "    if name == 'hangs': time.sleep(60)\n"
        "    print(json.dumps([name, 'equal', '']), flush=True)\n"
    )
    monkeypatch.setattr(gpu, "__file__", str(script))
    options = Namespace(device="cpu", threads=1)
    rows = [*gpu.rows_of("part", ["a", "dies", "b"], options, 60)]
    assert rows == [["a", "equal", ""], ["dies", "FAILED", "device-side assert"], ["b", "equal", ""]]
    rows = [*gpu.rows_of("part", ["a", "hangs", "b"], options, 3)]
    assert rows == [["a", "equal", ""], ["hangs", "no time left"], ["b", "no time left"]]


def test_the_script_prints_a_page_without_an_installation(tmp_path):
    argv = [sys.executable, str(SCRIPT), "--device", "cpu", "--minutes", "4", "--out", str(tmp_path / "gpu.md")]
    flags = ["--parts", "recipes", "--recipes", "csc321-mlp", "--threads", "1"]
    done = subprocess.run([*argv, *flags], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "gpu.md").read_text()
    assert page == done.stdout
    assert "| csc321-mlp | equal | round 1: 0.0e+00 " in page
    assert " s in all." in page
