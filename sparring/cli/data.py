"""The verb `check-data`: check a data set before training."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from sparring.cli.common import require_png, write
from sparring.errors import SparringError, printable
from sparring.options import Channels, HeldOut, LabelsFrom


def check_data(
    path: Annotated[
        str, Field(description="a folder or archive of images, a file of SMILES, or the name of a data set")
    ],
    *,
    held_out: HeldOut = 0.1,
    labels_from: LabelsFrom = None,
    preview: Annotated[
        Path | None, Field(description="write a grid of up to 64 images as they enter training: preview.png")
    ] = None,
    size: Annotated[
        int | None, Field(ge=1, description="image side in the preview, in pixels (default: as in the data)")
    ] = None,
    channels: Channels = None,
    data_root: Annotated[Path | None, Field(description="folder with a local copy of a built-in data set")] = None,
) -> None:
    """Check a data set before training, and preview the images as they enter it."""
    from sparring.data.check import check
    from sparring.data.check import preview as preview_of

    if preview is not None:
        require_png(preview)
    report = check(path, labels_from=labels_from, held_out=held_out, root=data_root)
    print(report)
    if not report.ok:
        raise SparringError(
            f"{printable(path)}: not usable for training: more than 1 % of the files are bad, or fewer than 2 are good"
        )
    if preview is not None:
        from sparring.data.pixels import to_float
        from sparring.image_grid import grid, png

        dataset = preview_of(path, size=size, channels=channels, labels_from=labels_from, root=data_root)
        write(preview, png(grid(to_float(dataset.images))))
        print(f"preview: {preview}, {len(dataset)} images of {dataset.spec.height} x {dataset.spec.width}")
