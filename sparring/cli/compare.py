"""The verb that holds evaluated runs against each other."""

from json import dumps
from pathlib import Path
from typing import Annotated

from pydantic import Field

from sparring.cli.common import RunPath, require_place
from sparring.errors import SparringError


def compare(
    *runs: RunPath,
    out: Annotated[Path, Field(description="the page, HTML")] = Path("compare.html"),
    json: Annotated[bool, Field(description="print numbers as JSON and write no page")] = False,
) -> None:
    """evaluated runs side by side, seed by seed:  sparring compare RUN RUN ... --out compare.html"""
    if out.suffix.lower() != ".html":
        raise SparringError(f"--out is {out}: the page is HTML, let its name end in .html")
    require_place(out)

    from rich.console import Console

    from sparring.comparing import compare, page
    from sparring.durable import Disk, write_file

    found = compare(runs)
    if json:
        print(dumps(found.as_dict(), indent=1))
        return
    write_file(Disk(), out, page(found).encode())
    for table in found.tables():
        Console().print(table)
    for note in found.notes:
        print(note)
    print(out)
