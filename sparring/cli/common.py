"""Shared by several verbs: argument types, loading a run together with images, and writing files."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, Field

from sparring.errors import SparringError, is_number

if TYPE_CHECKING:
    from sparring.data.dataset import Dataset
    from sparring.system import System


def run_folder(path_or_number: str) -> Path:
    """The given folder, or the run with that number: 3 and 0003 are in runs/, other/3 is in other/.

    Raises SparringError if no run, or more than one, has that number.
    """
    path = Path(path_or_number)
    if not is_number(path.name) or path.exists():
        return path
    folder = Path("runs") if path.parent == Path() else path.parent
    runs = sorted(p for p in folder.glob("[0-9]*-*") if (p / "recipe.json").is_file())
    matches = [p for p in runs if int(p.name.partition("-")[0]) == int(path.name)]
    if len(matches) != 1:
        names = ", ".join(p.name for p in (matches or runs)[-5:]) or "none"
        raise SparringError(
            f"{len(matches) or 'no'} runs in {folder} have the number {path_or_number} (existing runs: {names})"
        )
    return matches[0]


RunPath = Annotated[
    Path,
    BeforeValidator(run_folder),
    Field(description="a run directory, e.g. runs/0001-cs231n-dcgan-digits, or its number in runs/: 1"),
]
RunOrImages = Annotated[
    Path,
    BeforeValidator(run_folder),
    Field(description="a run directory or its number; with --against a folder, zip or array of images"),
]
ImagesPath = Annotated[Path, Field(description="an image, or a folder or zip of images")]
RecipeName = Annotated[
    str | None, Field(description="the recipe of the run if it is not built in and you trust it: module:function")
]
DataPlace = Annotated[
    str | None,
    Field(description="where the run's data is now: a name or path; A,B for two domains (default: its original place)"),
]
Labels = Annotated[
    str | None, Field(description="classes to generate: 3 or cat,dog or '\"a, b\",c' (default: all in turn)")
]
LabelsOfImages = Annotated[
    str | None,
    Field(description="classes of the images, for class-conditional systems: 3 or 0,1,2 (default: the folder names)"),
]
Truncation = Annotated[
    float | None,
    Field(
        gt=0, description="redraw noise beyond +- this, or pull w toward its mean (ALAE): less variety, better images"
    ),
]


def load_run_and_images(
    run: Path, images: Path, capability: str, limit: int, recipe: str | None, device: str
) -> "tuple[System, Dataset, list[str], list[str]]":
    """A run's system, images in the run's size and channels, their file names, and the run's class names.

    Reports skipped files on stderr. Raises SparringError if the system lacks the capability.
    """
    from sparring.data.loading import load_images
    from sparring.run import Run

    opened = Run.open(run)
    system = opened.system(recipe=recipe, device=device)
    if not system.supports(capability):
        raise SparringError(f"{type(system).__name__} cannot {capability} images")
    spec = opened.spec
    part, names = load_images(images, size=spec.size, channels=spec.channels, most=limit)
    for note in part.notes:
        print(f"sparring: {note}", file=sys.stderr)
    return system, part, names, list(spec.classes)


def require_png(out: Path) -> None:
    """Raises SparringError unless `out` names a PNG that can be written."""
    if out.suffix.lower() != ".png":
        raise SparringError(f"--out {out} must end in .png")
    require_place(out)


def require_place(out: Path) -> None:
    """Raises SparringError unless a file can be created at this path."""
    if not out.absolute().parent.is_dir():
        raise SparringError(f"cannot write {out}: {out.absolute().parent} is not a folder")
    if out.is_dir():
        raise SparringError(f"cannot write {out}: it is a folder")


def write(out: Path, content: bytes) -> None:
    """Write a file atomically: a killed command leaves the old content or the new one."""
    from sparring.durable import Disk, sweep, write_file

    sweep(Disk(), out.absolute().parent, name=out.name, shared=True)
    write_file(Disk(), out.absolute(), content)
