"""The wheel is complete: installed without its sources, it trains and evaluates."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*command, cwd, **environment):
    keep = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "SPARRING_DATA")}
    process = subprocess.run(
        [*map(str, command)], cwd=cwd, env=keep | environment, capture_output=True, text=True, timeout=300
    )
    assert process.returncode == 0, f"{command}\n{process.stdout}\n{process.stderr}"
    return process.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The command `sparring` of a fresh virtual environment with the wheel, and this environment's dependencies."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (wheel,) = folder.glob("sparring-*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    python = folder / "venv/bin/python"
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    # A line of a .pth file in another .pth file's folder is not read: an editable sparring stays invisible.
    Path(site, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    return folder / "venv/bin/sparring"


@pytest.mark.slow
def test_a_wheel_trains_and_evaluates(installed, tmp_path):
    where = run(installed.parent / "python", "-c", "import sparring; print(sparring.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parents[1])
    run(installed, "train", "csc321-mlp", "--data", "digits", "--rounds", 2, "--batch", 16, cwd=tmp_path)
    (run_folder,) = (tmp_path / "runs").iterdir()
    assert "FD-" in run(installed, "evaluate", run_folder, "-n", 200, cwd=tmp_path)


def test_the_version_is_that_of_the_package_metadata():
    from importlib.metadata import version

    import sparring

    assert sparring.__version__ == version("sparring")
