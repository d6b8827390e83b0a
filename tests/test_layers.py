"""Arrows between the rooms of the house point down, never up, never in circles."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

import sparring
from sparring.recipes import RECIPES

HOUSE = Path(sparring.__file__).parent

FLOORS = [
    {"errors", "numbers"},
    {"machine", "device", "seeds", "signals", "templates", "typed"},
    {
        *("losses", "noise", "cpu_kernels", "priors", "networks", "data", "metrics", "diagnose"),
        *("durable", "image_grid", "plots", "progress", "distributed", "options"),
    },
    {"system"},
    {"referee", "evaluation", "latent", "sampling", "translating", "systems"},
    {"recipes"},
    {"run", "monitor", "dryrun"},
    {"training", "training_loop", "probing", "run_evaluation", "reporting", "bench", "toys", "comparing"},
    {"sweeping"},
    {"cli", "__init__"},
    {"__main__"},
]
SAME_FLOOR = {("image_grid", "data"), ("diagnose", "metrics"), ("training", "training_loop")}
"""Rooms that may look at a neighbor on their floor."""


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def floor(name: str) -> int:
    return next(i for i, rooms in enumerate(FLOORS) if name in rooms)


def imports_at_run_time(file: Path):
    """Modules of the house that a file imports, except those for type checkers only."""
    tree = ast.parse(file.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.module == "sparring":
            yield from (f"sparring.{a.name}" for a in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sparring."):
            yield node.module
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.startswith("sparring"))


def test_every_file_has_a_floor():
    for file in HOUSE.rglob("*.py"):
        assert floor(file.relative_to(HOUSE).parts[0].removesuffix(".py")) >= 0


def test_arrows_point_down():
    upward = []
    for file in HOUSE.rglob("*.py"):
        mine = file.relative_to(HOUSE).parts[0].removesuffix(".py")
        if mine == "__init__":
            continue  # the lazy public names
        for module in imports_at_run_time(file):
            theirs = room(module)
            if theirs == mine or (mine, theirs) in SAME_FLOOR:
                continue
            if floor(theirs) >= floor(mine):
                upward.append(f"{file.relative_to(HOUSE)} imports {module}")
    assert not upward


def test_systems_do_not_know_networks_and_losses_know_torch_only():
    for file in (HOUSE / "systems").glob("*.py"):
        assert not [m for m in imports_at_run_time(file) if room(m) == "networks"]
    for file in [*(HOUSE / "networks").glob("*.py"), HOUSE / "losses.py"]:
        others = {room(m) for m in imports_at_run_time(file)} - {"networks", "errors"}
        assert not others, file


SHARED_LAYERS = {
    *("attention", "diffaug", "equalized", "init", "labels", "minibatch", "mlp", "noise", "norms", "resample"),
    *("scheduled", "spectral", "strided"),
}
"""Files of networks/ that belong to no single method."""


def test_a_method_has_one_stem_in_systems_networks_and_recipes():
    systems, networks = (
        {file.stem for file in (HOUSE / package).glob("*.py")} - {"__init__"} for package in ("systems", "networks")
    )
    recipes = {path.partition(":")[0].removeprefix("sparring.recipes.") for path in RECIPES.values()}
    assert networks - SHARED_LAYERS <= recipes
    assert systems - recipes == {"noise_model", "ada", "replay", "old_players"}  # a base class, and flags of ganhacks
    assert recipes - systems - networks == {"csc321", "raschka"}  # courses whose networks are plain `mlp`


def test_every_extra_that_is_named_exists():
    project = HOUSE.parent / "pyproject.toml"
    if not project.is_file():
        pytest.skip("sparring is installed without its sources")
    extras = tomllib.loads(project.read_text())["project"]["optional-dependencies"]
    places = [*HOUSE.rglob("*.py"), HOUSE.parent / "README.md", *(HOUSE.parent / "docs").rglob("*.md")]
    named = {name for file in places for found in EXTRA.findall(file.read_text()) for name in found.split(",")}
    assert {"demo", "celeba", "extractors"} <= named <= {*extras}


EXTRA = re.compile(r"sparring\[([\w,]+)\]")


def test_no_pickle_and_no_code_from_data():
    banned = {"pickle", "dill", "cloudpickle", "marshal", "shelve"}
    for file in HOUSE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            assert not banned & {n.split(".")[0] for n in names}, file
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("eval", "exec", "torch.load", "torch.save", "torch.hub.load"), file
                if called == "np.load":
                    assert any(k.arg == "allow_pickle" and k.value.value is False for k in node.keywords), file
