"""sparring: adversarial generative models in PyTorch, from training to evaluation.

data = sparring.load("fashion-mnist")
run = sparring.train("cs231n-dcgan", data, rounds=2000)
images = run.system().sample(64)
print(sparring.evaluate(run.system(), data))
sparring.report(run)
"""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparring.data.check import check
    from sparring.data.dataset import Dataset
    from sparring.data.loading import load
    from sparring.evaluation import evaluate
    from sparring.reporting import report
    from sparring.run import Run
    from sparring.training import resume, train

from sparring.errors import SparringError

if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys():
    # OpenMP reads these when torch is imported. Waiting threads spin; with the default spin time they occupy, on a busy
    # machine, the processor that the awaited thread needs (docs/results/speed.md).
    os.environ["GOMP_SPINCOUNT"] = "30000"  # GNU: iterations, a few tenths of a millisecond
    os.environ["KMP_BLOCKTIME"] = "1"  # Intel and LLVM: milliseconds

# In a notebook without ipywidgets, tqdm (imported by accelerate) warns about a progress bar that is not used.
warnings.filterwarnings("ignore", message="IProgress not found")

_HOMES = {
    "Dataset": "sparring.data.dataset",
    "Run": "sparring.run",
    "check": "sparring.data.check",
    "evaluate": "sparring.evaluation",
    "load": "sparring.data.loading",
    "report": "sparring.reporting",
    "resume": "sparring.training",
    "train": "sparring.training",
}

__all__ = ["Dataset", "Run", "SparringError", "check", "evaluate", "load", "open", "report", "resume", "train"]


def open(path: str) -> Run:
    """Open the run at this path. Raises SparringError if there is none."""
    from sparring.run import Run

    return Run.open(path)


def __getattr__(name: str) -> Any:
    """Import on first use, so that `import sparring` and `sparring --help` do not import torch."""
    if name == "__version__":
        from sparring.machine import version

        return version()
    if name not in _HOMES:
        raise AttributeError(f"module 'sparring' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
