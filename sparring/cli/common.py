"""What several verbs share: kinds of arguments, a run's system with the user's images, and writing a picture."""

import inspect
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from sparring.errors import SparringError, is_number

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.data.dataset import Dataset
    from sparring.system import System

RunPath = Annotated[
    Path, Field(description="a run directory, e.g. runs/0001-cs231n-dcgan-digits, or its number in runs/: 1")
]
RunOrImages = Annotated[
    Path, Field(description="a run directory or its number; with --against a folder, zip or array of images")
]
ImagesPath = Annotated[Path, Field(description="an image, or a folder or zip of images")]
RecipeName = Annotated[str | None, Field(description="a recipe that is not ours and that you trust: module:function")]
DataPlace = Annotated[
    str | None,
    Field(
        description="the run's data, where they are now: a name or path; of two domains A,B (default: where they were)"
    ),
]
Truncation = Annotated[
    float | None,
    Field(gt=0, description="redraw noise beyond +- this, or draw w to its mean (ALAE): fewer, better images"),
]
Threads = Annotated[
    int | None,
    Field(ge=1, le=1024, description="of PyTorch on the CPU; kept in the run (default: one for each processor)"),
]


def whole_number(value: Any) -> Any:
    """Text from the command line as the whole number that it is."""
    return int(value) if isinstance(value, str) and is_number(value) else value


Channels = Annotated[
    Literal[1, 3] | None, BeforeValidator(whole_number), Field(description="1 gray, 3 color (default: as the data is)")
]
HeldOut = Annotated[
    int | float,
    BeforeValidator(whole_number),
    Field(ge=0, description="images that training never sees, for measuring: a share (0.2) or a number of them (500)"),
]
LabelsFrom = Annotated[
    str | None,
    Field(description="classes: a .csv, .tsv or .json with a label per file, 'folders', or 'none' (default: as found)"),
]
Rounds = Annotated[int | None, Field(ge=1, description="rounds to play in all (default: the recipe's own)")]


def run_folder(given: str) -> Path:
    """The folder that is given, or the run of that number: 3 and 0003 are in runs/, other/3 is in other/.

    Raises SparringError for a number that no run has, or several.
    """
    path = Path(given)
    if not is_number(path.name) or path.exists():
        return path
    folder = Path("runs") if path.parent == Path() else path.parent
    there = sorted(p for p in folder.glob("[0-9]*-*") if (p / "recipe.json").is_file())
    found = [p for p in there if int(p.name.partition("-")[0]) == int(path.name)]
    if len(found) != 1:
        names = ", ".join(p.name for p in (found or there)[-5:]) or "none"
        raise SparringError(f"{len(found) or 'no'} runs in {folder} have the number {given} (there: {names})")
    return found[0]


def load_run_and_images(
    run: Path, images: Path, ability: str, most: int, recipe: str | None
) -> "tuple[System, Dataset, list[str], list[str]]":
    """A run's system, the user's images as that system knows images, their names, and the names of the classes.

    Raises SparringError when the system has not the ability. What was passed over is said on stderr.
    """
    from sparring.data.loading import load_images
    from sparring.run import Run

    opened = Run.open(run)
    system = opened.system(recipe=recipe)
    if not system.supports(ability):
        raise SparringError(f"{type(system).__name__} cannot {ability} images")
    spec = opened.config["spec"]
    part, names = load_images(images, size=spec["size"], channels=spec["channels"], most=most)
    for note in part.notes:
        print(f"sparring: {note}", file=sys.stderr)
    return system, part, names, spec["classes"]


def class_labels(text: str, classes: Sequence[str]) -> list[int]:
    """Names or numbers of classes, comma-separated, as numbers."""
    from sparring.data.chosen import numbers_of

    return numbers_of(text, classes)


def image_labels(
    system: "System", ability: str, labels: str | None, part: "Dataset", classes: Sequence[str]
) -> "Tensor | None":
    """The images' classes as numbers, for a system whose ability is told the class of an image; None for the others."""
    import torch

    kind = type(system).__name__
    if "labels" not in inspect.signature(getattr(system, ability)).parameters:
        if labels is not None:
            raise SparringError(f"--labels: {kind} {ability}s images without labels")
        return None
    if labels is not None:
        return system.expand_labels(len(part), class_labels(labels, classes)).cpu()
    if part.labels is None or not set(part.classes) <= set(classes):
        raise SparringError(
            f"{kind} must know the class of an image: give --labels, or folders named {', '.join(classes)}"
        )
    return torch.tensor([list(classes).index(name) for name in part.classes])[part.labels]


def sample_kwargs(system: "System", asked: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked for and this system's `sample` understands; an error for what it does not."""
    given = {name: value for name, value in asked.items() if value is not None}
    possible = inspect.signature(system.sample).parameters if system.supports("sample") else {}
    for name in given:
        if name not in possible:
            raise SparringError(f"--{name}: samples of {type(system).__name__} have no {name}")
    return given


def require_png(out: Path) -> None:
    if out.suffix.lower() != ".png":
        raise SparringError(f"--out is {out}: the picture is a PNG, let its name end in .png")
    require_place(out)


def require_place(out: Path) -> None:
    """Before anything is made: a file can be written there."""
    if not out.absolute().parent.is_dir():
        raise SparringError(f"cannot write {out}: {out.absolute().parent} is no folder")
    if out.is_dir():
        raise SparringError(f"cannot write {out}: it is a folder")


def write(out: Path, picture: bytes) -> None:
    """The picture, as a whole: a killed command leaves the old one or the new one."""
    from sparring.durable import Disk, sweep, write_file

    sweep(Disk(), out.absolute().parent, name=out.name, shared=True)
    write_file(Disk(), out.absolute(), picture)
