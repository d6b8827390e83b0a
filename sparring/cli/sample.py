"""The verb that makes new images."""

import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from sparring.cli.common import RecipeName, RunPath, Truncation, class_labels, require_place, sample_kwargs, write
from sparring.errors import SparringError

if TYPE_CHECKING:
    from sparring.system import System

GRID = 4096
"""The most images of one picture."""

BATCH = 250
"""Images made at a time where each becomes a file, so that memory does not grow with their number."""

UNFINISHED = ".unfinished.json"
"""In a folder that is being filled: what was asked for."""


def sample(
    run: RunPath,
    *,
    n: Annotated[int | None, Field(ge=1, le=10_000_000, description="how many images (default: 8 rows)")] = None,
    seed: Annotated[int, Field(ge=0, description="the same seed gives the same images")] = 0,
    labels: Annotated[
        str | None, Field(description="classes to make: 3 or cat,dog or '\"a, b\",c' (default: each in turn)")
    ] = None,
    truncation: Truncation = None,
    out: Annotated[
        Path,
        Field(
            description="the picture, a PNG; or a new folder, in which each image is a PNG, by class where it has one; "
            "the same command fills a folder in which it was interrupted"
        ),
    ] = Path("samples.png"),
    recipe: RecipeName = None,
) -> None:
    """a picture of new images, or a folder of them:  sparring sample RUN -n 10000 --out samples/"""
    from sparring.image_grid import grid, png
    from sparring.run import Run

    alone = out.suffix.lower() != ".png"
    if alone:
        _check_folder(out)
    elif n is not None and n > GRID:
        raise SparringError(f"a picture shows at most {GRID:,} images, -n is {n:,}: give a folder, --out samples/")
    else:
        require_place(out)
    opened = Run.open(run)
    system = opened.system(recipe=recipe)
    if not system.supports("sample"):
        raise SparringError(f"{type(system).__name__} cannot sample")
    asked = sample_kwargs(system, {"labels": labels, "truncation": truncation})
    columns, classes = system.grid_columns, opened.config["spec"]["classes"]
    if labels is not None:
        asked["labels"] = kinds = class_labels(labels, classes)
        columns = len(kinds) if len(kinds) > 1 else columns
    count = n or 8 * columns
    if alone:
        order = {"weights": opened.weights_sum(), "n": count, "seed": seed, **asked}
        _write_each(system, count, seed, asked, classes, out, order)
        print(f"{count:,} images: {out}")
        return
    images = system.sample(count, seed=seed, **asked)
    write(out, png(grid(images, columns=columns if n is None or labels is not None else None)))
    print(out)


def _check_folder(out: Path) -> None:
    """Before anything is made: --out names a folder, and nothing is in it."""
    if out.suffix:
        raise SparringError(
            f"--out is {out}: a picture is a PNG, let its name end in .png; a folder's name has no ending"
        )
    if out.is_file() or (out.is_dir() and not (out / UNFINISHED).exists() and any(out.iterdir())):
        raise SparringError(
            f"--out is {out}, which is not empty: give a new folder (or, for a grid, a name that ends in .png)"
        )


def _begin(order: dict[str, Any], out: Path) -> None:
    """Note in the folder what it is filled with. Raises SparringError when it is half full of something else."""
    from sparring.durable import CorruptCheckpointError, Disk, read_file, sealed, unsealed, write_file

    disk, note = Disk(), out / UNFINISHED
    if note.exists():
        try:
            begun = unsealed(read_file(note))
        except (CorruptCheckpointError, OSError):
            begun = {}
        other = [f"{name} {begun.get(name, 'unknown')}" for name in order if begun.get(name) != order[name]]
        if other or begun != order:
            raise SparringError(
                f"--out is {out}, where other images were interrupted ({', '.join(other) or 'other arguments'}): "
                "repeat that command to have the rest of them, or give a new folder"
            )
    disk.mkdir(out)
    write_file(disk, note, sealed(order))


def _write_each(
    system: "System", n: int, seed: int, asked: dict[str, Any], classes: list[str], out: Path, order: dict[str, Any]
) -> None:
    """`n` images as PNGs in `out`, and there in a folder of its class where the system is told one.

    Those that an interrupted command of the same order has left are not made again.
    """
    from concurrent.futures import ThreadPoolExecutor

    from rich.console import Console
    from rich.progress import Progress

    from sparring.data.chosen import folders_of
    from sparring.data.pixels import to_uint8
    from sparring.durable import Disk, sweep
    from sparring.image_grid import png, to_pil
    from sparring.seeds import derive_seed

    kinds, folders = [0] * n, [""]
    told = "labels" in inspect.signature(system.sample).parameters
    if told:
        kinds = system.expand_labels(n, asked.pop("labels", None)).tolist()
        folders = folders_of(classes)
    _begin(order, out)
    disk, console = Disk(), Console(stderr=True)
    for kind in set(kinds):
        disk.mkdir(out / folders[kind])
        sweep(disk, out / folders[kind])
    bar = Progress(console=console, transient=True, disable=not console.is_terminal)
    with bar, ThreadPoolExecutor(2) as pool:
        task = bar.add_task("images", total=n)
        for first in range(0, n, BATCH):
            rows = range(first, min(n, first + BATCH))
            files = [out / folders[kinds[row]] / f"{row:0{len(str(n - 1))}}.png" for row in rows]
            if all(file.is_file() and file.stat().st_size for file in files):  # empty after a power loss
                bar.advance(task, len(rows))
                continue
            given = {**asked, "labels": kinds[first : rows.stop]} if told else asked
            made = system.sample(len(rows), seed=derive_seed("images", seed, first) if first else seed, **given)
            encoded = pool.map(lambda pixels: png(to_pil(pixels)), to_uint8(made))
            for file, data in zip(files, encoded, strict=True):
                aside = file.with_name(f".tmp-{file.name}-{os.getpid()}")  # a file of its name is whole
                disk.write(aside, data)
                disk.rename(aside, file)
            bar.advance(task, len(rows))
    disk.remove(out / UNFINISHED)
