"""The verb `compare`: evaluated runs side by side."""

from json import dumps
from pathlib import Path
from typing import Annotated

from pydantic import Field

from sparring.cli.common import RunPath, require_place
from sparring.errors import SparringError


def compare(
    *runs: RunPath,
    out: Annotated[Path, Field(description="the HTML page")] = Path("compare.html"),
    json: Annotated[bool, Field(description="print JSON and write no page")] = False,
) -> None:
    """Compare evaluated runs on one page: differences with intervals over seeds, grids side by side."""
    if out.suffix.lower() != ".html":
        raise SparringError(f"--out {out} must end in .html")
    require_place(out)

    from rich.console import Console

    from sparring.comparing import compare, page
    from sparring.durable import Disk, write_file

    comparison = compare(runs)
    if json:
        print(dumps(comparison.as_dict(), indent=1))
        return
    write_file(Disk(), out, page(comparison).encode())
    for table in comparison.tables():
        Console().print(table)
    for note in comparison.notes:
        print(note)
    print(out)
