"""The verb that looks at data before it is trained on."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from sparring.cli.common import Channels, HeldOut, LabelsFrom, require_png, write
from sparring.errors import SparringError, shown


def check_data(
    path: Annotated[
        str, Field(description="a folder or archive of images, a file of SMILES, or the name of a data set")
    ],
    *,
    held_out: HeldOut = 0.1,
    labels_from: LabelsFrom = None,
    preview: Annotated[
        Path | None, Field(description="write a grid of up to 64 images as training will see them: preview.png")
    ] = None,
    size: Annotated[
        int | None, Field(ge=1, description="of the preview: side in pixels (default: as the data is)")
    ] = None,
    channels: Channels = None,
    data_root: Annotated[Path | None, Field(description="folder with a local copy of a named data set")] = None,
) -> None:
    """look at images before training on them:  sparring check-data my-pictures/ --preview preview.png"""
    from sparring.data.check import check
    from sparring.data.check import preview as preview_of

    if preview is not None:
        require_png(preview)
    found = check(path, labels_from=labels_from, held_out=held_out, root=data_root)
    print(found)
    if not found.ok:
        raise SparringError(
            f"{shown(path)}: more than 1 % of the files are bad or fewer than 2 are good; training would refuse them"
        )
    if preview is not None:
        from sparring.data.pixels import to_float
        from sparring.image_grid import grid, png

        seen = preview_of(path, size=size, channels=channels, labels_from=labels_from, root=data_root)
        write(preview, png(grid(to_float(seen.images))))
        print(f"preview: {preview}, {len(seen)} images of {seen.spec.size} x {seen.spec.size}")
