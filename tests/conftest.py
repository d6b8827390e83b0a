import os
import sys
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of child processes, too: several tests run at a time

import numpy as np
import pytest
import torch

from sparring.numbers import NUMBERS
from sparring.system import Move

torch.set_num_threads(1)
os.fsync = lambda handle: None  # kill -9 takes nothing of what was written; power loss is simulated in test_faults.py
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # dozens of child processes import the same modules
sys.dont_write_bytecode = False
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="sparring-")  # leaves the user's own key alone


@pytest.fixture(autouse=True)
def seeded():
    """What a test draws from PyTorch's global generator does not depend on the tests before it."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def known_numbers(monkeypatch):
    """Systems log only numbers that sparring.numbers explains; a test with others removes this fixture's switch."""
    monkeypatch.setattr(Move, "known_numbers", NUMBERS)


@pytest.fixture(scope="session")
def sparring_data():
    """The folder of full data sets; without it, tests that need it are skipped with a reason."""
    root = os.environ.get("SPARRING_DATA")
    if not root:
        pytest.skip("SPARRING_DATA is not set: this test needs the full data sets (in torchvision's layout)")
    return root


@pytest.fixture(scope="session")
def toy_file(tmp_path_factory):
    """A file of 600 gray 8x8 images: data that a resumed run can reload."""
    folder = tmp_path_factory.mktemp("data")
    pixels = np.random.default_rng(0).integers(0, 256, (600, 8, 8), dtype=np.uint8)
    np.save(folder / "toy.npy", pixels)
    return folder / "toy.npy"
