"""The verbs that show a run images of the user's."""

from dataclasses import replace
from json import dumps
from pathlib import Path
from typing import Annotated

from pydantic import Field

from sparring.cli.common import ImagesPath, RecipeName, RunPath, image_labels, load_run_and_images, require_png, write
from sparring.errors import shown


def reconstruct(
    run: RunPath,
    images: ImagesPath,
    *,
    n: Annotated[int, Field(ge=1, le=4096, description="at most so many images, evenly spaced")] = 64,
    labels: Annotated[
        str | None,
        Field(description="classes of the images, where the system must know them: 3 or 0,1,2 (default: the folders)"),
    ] = None,
    out: Annotated[Path, Field(description="the picture, a PNG")] = Path("reconstructions.png"),
    recipe: RecipeName = None,
) -> None:
    """images, and below them what their codes keep:  sparring reconstruct RUN my-pictures/ --out pairs.png"""
    from sparring.data.pixels import to_float
    from sparring.evaluation import reconstruct_all
    from sparring.image_grid import grid, interleave_rows, png
    from sparring.metrics import squared_errors

    require_png(out)
    system, part, _, classes = load_run_and_images(run, images, "reconstruct", n, recipe)
    part = replace(part, labels=image_labels(system, "reconstruct", labels, part, classes))
    pictures = reconstruct_all(system, part)
    write(out, png(grid(to_float(interleave_rows(part.images, pictures, 8)), columns=min(8, len(part)))))
    error = squared_errors(real=part.images, fake=pictures).mean()
    print(f"reconstruction error {error:.4g} per pixel (0 to 1), n = {len(part):,}")
    print(out)


def classify(
    run: RunPath,
    images: ImagesPath,
    *,
    n: Annotated[int, Field(ge=1, le=100_000, description="at most so many images, evenly spaced")] = 1000,
    json: Annotated[bool, Field(description="as JSON: file, class, probability")] = False,
    recipe: RecipeName = None,
) -> None:
    """the class of each image, and how sure it is:  sparring classify RUN my-pictures/ [--json]"""
    from sparring.evaluation import in_chunks

    system, part, names, classes = load_run_and_images(run, images, "classify", n, recipe)
    surest = in_chunks(system.classify, part.images).max(1)
    found = zip(names, surest.indices.tolist(), surest.values.exp().tolist(), strict=True)
    rows = [{"file": name, "class": classes[kind], "probability": sure} for name, kind, sure in found]
    if json:
        return print(dumps(rows, indent=1))

    from rich.console import Console
    from rich.table import Table

    table = Table("file", "class", "probability", box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.columns[0].overflow = "fold"
    for row in rows:
        table.add_row(shown(str(row["file"])), row["class"], f"{row['probability']:.3f}")
    Console(highlight=False, markup=False).print(table)
