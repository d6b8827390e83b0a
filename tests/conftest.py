import os

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def sparring_data():
    """The folder of full data sets; tests that need it say loudly that they were skipped without it."""
    root = os.environ.get("SPARRING_DATA")
    if not root:
        pytest.skip("SPARRING_DATA is not set: this test needs the full data sets (MNIST in torchvision's layout)")
    return root
