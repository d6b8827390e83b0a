"""The verbs that apply a run to your images: `reconstruct` and `classify`."""

from dataclasses import replace
from json import dumps
from pathlib import Path
from typing import Annotated

from pydantic import Field

from sparring.cli.common import ImagesPath, LabelsOfImages, RecipeName, RunPath, load_run_and_images, require_png, write
from sparring.errors import printable
from sparring.options import Device


def reconstruct(
    run: RunPath,
    images: ImagesPath,
    *,
    n: Annotated[int, Field(ge=1, le=4096, description="maximum number of images, evenly spaced")] = 64,
    labels: LabelsOfImages = None,
    out: Annotated[Path, Field(description="the PNG file to write")] = Path("reconstructions.png"),
    recipe: RecipeName = None,
    device: Device = "auto",
) -> None:
    """Write a PNG of your images above their reconstructions."""
    from sparring.data.pixels import to_float
    from sparring.evaluation.reconstruction import reconstruct_all
    from sparring.image_grid import grid, interleave_rows, png
    from sparring.metrics import squared_errors
    from sparring.sampling import labels_of_images

    require_png(out)
    system, data, _, classes = load_run_and_images(run, images, "reconstruct", n, recipe, device)
    data = replace(data, labels=labels_of_images(system, "reconstruct", labels, data, classes))
    reconstructions = reconstruct_all(system, data)
    write(out, png(grid(to_float(interleave_rows(data.images, reconstructions, 8)), columns=min(8, len(data)))))
    error = squared_errors(real=data.images, fake=reconstructions).mean()
    print(f"reconstruction error {error:.4g} per pixel (0 to 1), n = {len(data):,}")
    print(out)


def classify(
    run: RunPath,
    images: ImagesPath,
    *,
    n: Annotated[int, Field(ge=1, le=100_000, description="maximum number of images, evenly spaced")] = 1000,
    json: Annotated[bool, Field(description="print JSON: file, class, probability")] = False,
    recipe: RecipeName = None,
    device: Device = "auto",
) -> None:
    """Print the class of each image with its probability."""
    from sparring.evaluation.splits import in_chunks

    system, data, names, classes = load_run_and_images(run, images, "classify", n, recipe, device)
    best = in_chunks(system.classify, data).max(1)
    predictions = zip(names, best.indices.tolist(), best.values.exp().tolist(), strict=True)
    rows = [{"file": name, "class": classes[y], "probability": p} for name, y, p in predictions]
    if json:
        return print(dumps(rows, indent=1))

    from rich.console import Console
    from rich.table import Table

    table = Table("file", "class", "probability", box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.columns[0].overflow = "fold"
    for row in rows:
        table.add_row(printable(str(row["file"])), row["class"], f"{row['probability']:.3f}")
    Console(highlight=False, markup=False).print(table)
