"""The verb that looks at data before it is trained on."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from sparring.errors import SparringError


def check_data(
    path: Annotated[Path, Field(description="a folder or zip of images, a file of SMILES, or the name of a data set")],
) -> None:
    """look at images before training on them:  sparring check-data my-pictures/"""
    from sparring.data.check import check

    found = check(str(path))
    print(found)
    if not found.ok:
        raise SparringError(f"{path}: more than 1 % of the files are bad; training would refuse them")
