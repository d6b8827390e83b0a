"""The verb `sample`: generate images."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from sparring.cli.common import Labels, RecipeName, RunPath, Truncation, require_place, write
from sparring.errors import SparringError
from sparring.options import Device

MAX_GRID = 4096
"""Maximum number of images in one grid."""


def sample(
    run: RunPath,
    *,
    n: Annotated[int | None, Field(ge=1, le=10_000_000, description="number of images (default: 8 rows)")] = None,
    seed: Annotated[int, Field(ge=0, description="the same seed gives the same images")] = 0,
    labels: Labels = None,
    truncation: Truncation = None,
    out: Annotated[
        Path,
        Field(
            description="a PNG for a grid; or a new folder for one PNG per image, in one folder per class if there are "
            "classes; after an interruption the same command resumes"
        ),
    ] = Path("samples.png"),
    recipe: RecipeName = None,
    device: Device = "auto",
) -> None:
    """Generate images, as one grid or as one file per image."""
    from sparring.image_grid import png
    from sparring.progress import Progress
    from sparring.run import Run
    from sparring.sampling import require_sample_folder, sample_request, write_samples

    to_folder = out.suffix.lower() != ".png"
    if to_folder:
        require_sample_folder(out)
    elif n is not None and n > MAX_GRID:
        raise SparringError(f"a grid shows at most {MAX_GRID:,} images, -n is {n:,}: give a folder, --out samples/")
    else:
        require_place(out)
    opened = Run.open(run)
    system, classes = opened.system(recipe=recipe, device=device), opened.spec.classes
    request = sample_request(system, classes, n=n, seed=seed, labels=labels, truncation=truncation)
    if not to_folder:
        write(out, png(request.grid(system)))
        return print(out)
    with Progress("images", request.n) as bar:
        weights = opened.weights_sum()
        write_samples(system, request, out, classes=classes, weights=weights, on_progress=bar.advance)
    print(f"{request.n:,} images: {out}")
