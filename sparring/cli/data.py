"""The verb `check-data`: check a data set before training."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from sparring.cli.common import require_png, write
from sparring.errors import SparringError, printable
from sparring.options import Channels, HeldOut, LabelsFrom, Pairs

if TYPE_CHECKING:
    from sparring.data.pairs import PairsFrom

MAX_PREVIEWED = 32
"""Pairs in a preview."""


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
    pairs: Pairs = None,
    pairs_b: Annotated[
        str | None,
        Field(description="with --pairs names: the partners of the images, under the same file names: photos/"),
    ] = None,
    data_root: Annotated[Path | None, Field(description="folder with a local copy of a built-in data set")] = None,
) -> None:
    """Check a data set before training, and preview the images as they enter it."""
    from sparring.data.check import check
    from sparring.data.check import preview as preview_of

    if preview is not None:
        require_png(preview)
    if pairs_b is not None and pairs != "names":
        raise SparringError(f"--pairs-b {printable(pairs_b)} requires --pairs names")
    if pairs is not None:
        if labels_from is not None:
            raise SparringError("the domains of pairs are the classes: omit --labels-from")
        source: str | dict[str, str] = path if pairs_b is None else {"a": path, "b": pairs_b}
        _check_pairs(source, pairs, preview, size=size, channels=channels, root=data_root, held_out=held_out)
        return
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


def _check_pairs(source: str | dict[str, str], pairs: "PairsFrom", preview: Path | None, **options: Any) -> None:
    """Load pairs as training would; print how many there are, and write a grid of each image of a above its partner."""
    import torch

    from sparring.data.loading import load
    from sparring.data.pixels import to_float
    from sparring.image_grid import grid, interleave_rows, png

    data = load(source, pairs=pairs, **options)
    held_out = 0 if data.held_out is None else len(data.held_out) // 2
    shape = f"{data.spec.height} x {data.spec.width} pixels, {'gray' if data.spec.channels == 1 else 'color'}"
    print(f"{printable(data.name)}: {len(data) // 2 + held_out:,} pairs, {' and '.join(map(printable, data.classes))}")
    for note in data.notes:
        print(f"note: {note}")
    print(f"{shape}; {len(data) // 2:,} pairs to train on, {held_out:,} held out for evaluation")
    if preview is not None:
        count = min(MAX_PREVIEWED, len(data) // 2)
        a, b = (data.of_class(y) for y in range(2))
        rows = torch.arange(count) * len(a) // count
        write(preview, png(grid(to_float(interleave_rows(a.images_at(rows), b.images_at(rows), 8)), min(8, count))))
        print(f"preview: {preview}, {count} pairs, each image of {data.classes[0]} above its partner")
