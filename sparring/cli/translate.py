"""The verb `translate`: images from one domain to the other."""

import sys
from pathlib import Path
from typing import Annotated

from pydantic import Field

from sparring.cli.common import ImagesPath, RecipeName, RunPath
from sparring.errors import SparringError, unknown_name_error
from sparring.options import Device


def translate(
    run: RunPath,
    images: ImagesPath,
    *,
    to: Annotated[str, Field(description="target domain: b, or the name of its folder")],
    out: Annotated[Path, Field(description="folder for the translations, which keep their names and sizes")],
    recipe: RecipeName = None,
    device: Device = "auto",
) -> None:
    """Translate images from one domain to the other; translations keep the names and sizes of the images."""
    from sparring.data.loading import index_of
    from sparring.progress import Progress
    from sparring.run import Run
    from sparring.translating import check_files, translate_files

    opened = Run.open(run)
    system, spec = opened.system(recipe=recipe, device=device), opened.spec
    if not system.supports("translate"):
        raise SparringError(f"{type(system).__name__} cannot translate images")
    if to not in spec.classes:
        raise unknown_name_error("domain", to, spec.classes)
    if spec.classes.index(to) not in system.translates_to:
        only = spec.classes[system.translates_to[0]]
        raise SparringError(f"{run} translates to '{only}' only: give --to {only}, or train with the other direction")
    index = index_of(images)
    for note in [*index.notes, *check_files(index, out, spec.size)]:
        print(f"sparring: {note}", file=sys.stderr)
    with Progress("translating", len(index)) as bar:
        translate_files(
            system,
            index,
            out,
            size=spec.size,
            channels=spec.channels,
            to=spec.classes.index(to),
            on_progress=bar.advance,
        )
    print(f"{len(index):,} images translated to {to}: {out}")
