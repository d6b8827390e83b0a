"""The verb `sample`: generate images."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from sparring.cli.common import RecipeName, RunPath, Truncation, class_labels, require_place, sample_kwargs, write
from sparring.errors import SparringError

if TYPE_CHECKING:
    from sparring.system import System

MAX_GRID = 4096
"""Maximum number of images in one grid."""

BATCH = 250
"""Images generated at a time when each becomes a file; bounds the memory."""

UNFINISHED = ".unfinished.json"
"""File in a folder that is being filled; it records the arguments."""


def sample(
    run: RunPath,
    *,
    n: Annotated[int | None, Field(ge=1, le=10_000_000, description="number of images (default: 8 rows)")] = None,
    seed: Annotated[int, Field(ge=0, description="the same seed gives the same images")] = 0,
    labels: Annotated[
        str | None, Field(description="classes to generate: 3 or cat,dog or '\"a, b\",c' (default: all in turn)")
    ] = None,
    truncation: Truncation = None,
    out: Annotated[
        Path,
        Field(
            description="a PNG for a grid; or a new folder for one PNG per image, in one folder per class if there are "
            "classes; after an interruption the same command resumes"
        ),
    ] = Path("samples.png"),
    recipe: RecipeName = None,
) -> None:
    """Generate images, as one grid or as one file per image."""
    from sparring.image_grid import grid, png
    from sparring.run import Run

    to_folder = out.suffix.lower() != ".png"
    if to_folder:
        _check_folder(out)
    elif n is not None and n > MAX_GRID:
        raise SparringError(f"a grid shows at most {MAX_GRID:,} images, -n is {n:,}: give a folder, --out samples/")
    else:
        require_place(out)
    opened = Run.open(run)
    system = opened.system(recipe=recipe)
    if not system.supports("sample"):
        raise SparringError(f"{type(system).__name__} cannot sample")
    kwargs = sample_kwargs(system, {"labels": labels, "truncation": truncation})
    columns, classes = system.grid_columns, opened.config["spec"]["classes"]
    if labels is not None:
        kwargs["labels"] = chosen = class_labels(labels, classes)
        columns = len(chosen) if len(chosen) > 1 else columns
    count = n or 8 * columns
    if to_folder:
        request = {"weights": opened.weights_sum(), "n": count, "seed": seed, **kwargs}
        _write_each(system, count, seed, kwargs, classes, out, request)
        print(f"{count:,} images: {out}")
        return
    images = system.sample(count, seed=seed, **kwargs)
    write(out, png(grid(images, columns=columns if n is None or labels is not None else None)))
    print(out)


def _check_folder(out: Path) -> None:
    """Raises SparringError unless `out` names a new or empty folder, or one to resume."""
    if out.suffix:
        raise SparringError(f"--out {out} must end in .png for a grid; the name of a folder must not have an extension")
    if out.is_file() or (out.is_dir() and not (out / UNFINISHED).exists() and any(out.iterdir())):
        raise SparringError(f"--out {out} is not empty: give a new folder (or, for a grid, a name that ends in .png)")


def _begin(request: dict[str, Any], out: Path) -> None:
    """Record the request in the folder. Raises SparringError if the folder belongs to another unfinished request."""
    from sparring.durable import CorruptCheckpointError, Disk, read_file, sealed, unsealed, write_file

    disk, note = Disk(), out / UNFINISHED
    if note.exists():
        try:
            begun = unsealed(read_file(note))
        except (CorruptCheckpointError, OSError):
            begun = {}
        other = [f"{name} {begun.get(name, 'unknown')}" for name in request if begun.get(name) != request[name]]
        if other or begun != request:
            raise SparringError(
                f"--out {out} contains an unfinished set of other images ({', '.join(other) or 'other arguments'}): "
                "repeat that command to complete it, or give a new folder"
            )
    disk.mkdir(out)
    write_file(disk, note, sealed(request))


def _write_each(
    system: "System", n: int, seed: int, kwargs: dict[str, Any], classes: list[str], out: Path, request: dict[str, Any]
) -> None:
    """Write `n` images as PNGs to `out`, in one folder per class if the system is class-conditional.

    Images that an interrupted command with the same request has written are not generated again.
    """
    from concurrent.futures import ThreadPoolExecutor

    from rich.console import Console
    from rich.progress import Progress

    from sparring.data.chosen import folders_of
    from sparring.data.pixels import to_uint8
    from sparring.durable import Disk, sweep
    from sparring.image_grid import png, to_pil
    from sparring.seeds import derive_seed

    labels, folders = [0] * n, [""]
    conditional = system.accepts("sample", "labels")
    if conditional:
        labels = system.expand_labels(n, kwargs.pop("labels", None)).tolist()
        folders = folders_of(classes)
    _begin(request, out)
    disk, console = Disk(), Console(stderr=True)
    for label in set(labels):
        disk.mkdir(out / folders[label])
        sweep(disk, out / folders[label])
    bar = Progress(console=console, transient=True, disable=not console.is_terminal)
    with bar, ThreadPoolExecutor(2) as pool:
        task = bar.add_task("images", total=n)
        for first in range(0, n, BATCH):
            rows = range(first, min(n, first + BATCH))
            files = [out / folders[labels[row]] / f"{row:0{len(str(n - 1))}}.png" for row in rows]
            if all(file.is_file() and file.stat().st_size for file in files):  # files can be empty after a power loss
                bar.advance(task, len(rows))
                continue
            batch_kwargs = {**kwargs, "labels": labels[first : rows.stop]} if conditional else kwargs
            images = system.sample(
                len(rows), seed=derive_seed("images", seed, first) if first else seed, **batch_kwargs
            )
            encoded = pool.map(lambda pixels: png(to_pil(pixels)), to_uint8(images))
            for file, data in zip(files, encoded, strict=True):
                temporary = file.with_name(f".tmp-{file.name}-{os.getpid()}")  # so that no image is ever half written
                disk.write(temporary, data)
                disk.rename(temporary, file)
            bar.advance(task, len(rows))
    disk.remove(out / UNFINISHED)
