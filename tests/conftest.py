import os
import tempfile

import numpy as np
import pytest
import torch

torch.set_num_threads(1)
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="sparring-")  # the user's own key stays as it is


@pytest.fixture(scope="session")
def sparring_data():
    """The folder of full data sets; tests that need it say loudly that they were skipped without it."""
    root = os.environ.get("SPARRING_DATA")
    if not root:
        pytest.skip("SPARRING_DATA is not set: this test needs the full data sets (MNIST in torchvision's layout)")
    return root


@pytest.fixture(scope="session")
def toy_file(tmp_path_factory):
    """A file of 600 gray 8x8 images: data that a resumed run can load again."""
    folder = tmp_path_factory.mktemp("data")
    pixels = np.random.default_rng(0).integers(0, 256, (600, 8, 8), dtype=np.uint8)
    np.save(folder / "toy.npy", pixels)
    return folder / "toy.npy"
