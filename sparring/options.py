"""The options of a training that do not depend on the recipe: one table for Python and the command line.

`sparring.train` takes them as keyword arguments. The command line reads the same table, without importing torch:

    arguments(TrainOptions)                   # name, type with range, default and description of each option
    resolve_arguments(TrainOptions, values)   # the same, from text; invalid text raises a SparringError in one line

Both functions are in `sparring.recipes.recipe`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from sparring.errors import MOST, ROWS, SparringError, abbreviated, is_number, printable, require_int, require_path

MAX_THREADS = 1024

FIRST_EARLY_ROUND = {"sample": 1, "eval": 20}
"""By default, sample grids and FD evaluations start at this one of the rounds 1, 2, 5, 10, 20, 50, 100 ..."""


def whole_number(value: Any) -> Any:
    """Text from the command line as an int if it is a whole number, else unchanged."""
    return int(value) if isinstance(value, str) and is_number(value) else value


Rounds = Annotated[int | None, Field(ge=1, description="total number of rounds (default: the recipe's)")]
Threads = Annotated[
    int | None,
    Field(ge=1, le=MAX_THREADS, description="CPU threads of PyTorch; stored with the run (default: one per processor)"),
]
Device = Annotated[
    str, Field(description="where to compute: auto (a GPU if there is one, else the CPU), cpu, cuda, cuda:1 ... or mps")
]
Channels = Annotated[
    Literal[1, 3] | None,
    BeforeValidator(whole_number),
    Field(description="1: gray, 3: color (default: as in the data)"),
]
LabelsFrom = Annotated[
    str | Path | None,
    Field(
        description="labels: a .csv, .tsv or .json with a label per file, 'folders', 'none', or an attribute of faces: "
        "hat (default: automatic)"
    ),
]
HeldOut = Annotated[
    Annotated[int | float, Field(ge=0)] | Annotated[str, Field(pattern=ROWS)],
    BeforeValidator(whole_number),
    Field(
        description="images that training never sees, for evaluation: a fraction (0.2), a number (500), or rows in the "
        "order of the source (50000:55000)"
    ),
]
Pairs = Annotated[
    Literal["names", "halves", "edges"] | None,
    Field(
        description="pairs of images: names (equal file names in both domains), halves (each image of --data holds a "
        "on the left and b on the right) or edges (b is --data, a its edges)"
    ),
]


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Options of `sparring.train` and `sparring train`. Raises SparringError for invalid values.

    rounds      default: that of the recipe's source
    device      "auto" (a GPU if there is one, else the CPU), "cpu", "cuda", "cuda:1" or "mps"
    precision   "auto" (bf16 if the hardware supports it natively, unless the recipe needs fp32), "fp32" or "bf16"
    grad_accum  split each batch into this many microbatches, to save memory; the result is the same up to rounding,
                except where batch norm, dropout or the like depend on the split, which is reported at the start
    size, channels, classes, labels_from, held_out, pairs, data_root  as in `sparring.load`, which checks them; for a
                recipe that needs pairs, `pairs` is "names" by default
    log_every, sample_every, eval_every, save_every   rounds between log lines, sample grids (default: rounds / 40, and
                before that rounds 1, 2, 5, 10, 20, 50 ...), FD evaluations (default: rounds / 10, and before that
                20, 50, 100 ...) and checkpoints
    monitor     report mode collapse, divergence and other problems (docs/monitor.md); does not change the training
    threads     PyTorch threads on the CPU (default: PyTorch's). The last bits of results depend on it, so the number is
                recorded, and `resume` uses it again
    """

    rounds: Rounds = None
    out: Annotated[Path, Field(description="folder for run directories")] = Path("runs")
    seed: Annotated[int, Field(ge=0, description="seed of all random numbers")] = 0
    device: Device = "auto"
    precision: Annotated[
        Literal["auto", "fp32", "bf16"],
        Field(description="auto: bf16 if the hardware supports it natively and the recipe allows it"),
    ] = "auto"
    grad_accum: Annotated[
        int, Field(ge=1, description="microbatches per batch, to save memory; batch norm and dropout see microbatches")
    ] = 1
    size: Annotated[int | None, Field(ge=1, description="image side in pixels (default: the recipe's)")] = None
    channels: Channels = None
    classes: Annotated[str | None, Field(description="keep only these classes: 6 or cat,dog")] = None
    labels_from: LabelsFrom = None
    held_out: HeldOut = 0.1
    pairs: Pairs = None
    data_root: Annotated[Path | str | None, Field(description="folder with a local copy of a built-in data set")] = None
    log_every: Annotated[int, Field(ge=1, description="rounds between log lines")] = 10
    sample_every: Annotated[
        int | None,
        Field(ge=1, description="rounds between sample grids (default: rounds/40, and 1, 2, 5, 10, 20 ... before)"),
    ] = None
    eval_every: Annotated[
        int | None,
        Field(ge=1, description="rounds between FD evaluations (default: rounds/10, and 20, 50, 100 ... before)"),
    ] = None
    save_every: Annotated[int, Field(ge=1, description="rounds between checkpoints")] = 500
    monitor: Annotated[bool, Field(description="report collapse, divergence and other problems during training")] = True
    threads: Threads = None

    def __post_init__(self) -> None:
        for name in ("grad_accum", "log_every", "save_every"):
            self._require_int(name)
        for name in ("rounds", "size", "sample_every", "eval_every", "threads"):
            if getattr(self, name) is not None:
                self._require_int(name, most=MAX_THREADS if name == "threads" else MOST)
        self._require_int("seed", least=0)
        if not isinstance(self.precision, str) or self.precision not in ("auto", "fp32", "bf16"):
            raise SparringError(f"precision is {abbreviated(self.precision)}: it must be auto, fp32 or bf16")
        text = isinstance(self.held_out, str)
        if not (re.fullmatch(ROWS, str(self.held_out)) if text else isinstance(self.held_out, int | float)):
            raise SparringError(
                f"held_out is {abbreviated(self.held_out)}: it must be a fraction or a number of images, or rows "
                "(50000:55000)"
            )
        if self.data_root is not None:
            require_path("data_root", self.data_root)
        object.__setattr__(self, "out", require_path("out", self.out))
        try:
            str(self.out.absolute()).encode()
        except UnicodeEncodeError:
            raise SparringError(
                f"out is '{printable(str(self.out))}', which is not valid UTF-8: give another folder"
            ) from None

    def _require_int(self, name: str, least: int = 1, most: int = MOST) -> None:
        object.__setattr__(self, name, require_int(name, getattr(self, name), least, most))

    @property
    def loading(self) -> dict[str, Any]:
        """The arguments of `sparring.load` among the options, by its names."""
        return {
            "size": self.size,
            "channels": self.channels,
            "classes": self.classes,
            "labels_from": self.labels_from,
            "root": self.data_root,
            "held_out": self.held_out,
            "pairs": self.pairs,
        }

    def every(self, rounds: int) -> dict[str, int]:
        """Rounds between two logs, sample grids, evaluations and checkpoints, in a training of that many rounds."""
        return {
            "log": self.log_every,
            "sample": self.sample_every or max(1, rounds // 40),
            "eval": self.eval_every or max(1, rounds // 10),
            "save": self.save_every,
        }

    @property
    def early(self) -> list[str]:
        """What also happens in early rounds, because its interval is the default: keys of FIRST_EARLY_ROUND."""
        intervals: Mapping[str, int | None] = {"sample": self.sample_every, "eval": self.eval_every}
        return [what for what, interval in intervals.items() if interval is None]
