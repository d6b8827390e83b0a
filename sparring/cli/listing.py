"""The verb `runs`."""

import re
from json import dumps
from pathlib import Path
from time import localtime, strftime
from typing import Annotated, Any

from pydantic import Field

from sparring.errors import SparringError, printable

COLUMNS = ("number", "recipe", "data", "rounds", "FD", "last round", "state")


def runs(
    folder: Annotated[Path, Field(description="folder of run directories (default: runs)")] = Path("runs"),
    *,
    json: Annotated[bool, Field(description="print JSON")] = False,
) -> None:
    """List the runs of a folder with their progress and FD."""
    from sparring.run import Run

    if not folder.is_dir():
        raise SparringError(f"no folder '{folder}': `sparring train` creates runs/; give the folder of its --out")
    numbered = sorted(
        (int(match[1]), path) for path in folder.iterdir() if (match := re.match(r"([0-9]{4,18})-", path.name))
    )
    rows = []
    for number, path in numbered:
        try:
            rows.append({"number": number, "path": str(path), **_row(Run.open(path))})
        except SparringError as error:
            rows.append({"number": number, "path": str(path), "state": "damaged", "error": str(error)})
    if json:
        return print(dumps(rows, indent=1))
    if not rows:
        return print(f"no runs in {folder}")

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*COLUMNS, box=None, header_style="bold", padding=(0, 2, 0, 0))
    for row in rows:
        recipe = row.get("recipe") or Path(row["path"]).name.partition("-")[2]
        progress = f"{row['played']:,} of {row['rounds']:,}" if "played" in row else ""
        distance = f"{row['FD']:.3g}" if row.get("FD") is not None else ""
        when = strftime("%Y-%m-%d %H:%M", localtime(row["at"])) if "at" in row else ""
        cells = (str(row["number"]), recipe, row.get("data", ""), progress, distance, when, row["state"])
        table.add_row(*(Text(printable(cell)) for cell in cells))
    Console().print(table)
    if damaged := [row for row in rows if "error" in row]:
        print("\n".join(printable(f"{row['number']}: {row['error']}") for row in damaged))


def _row(run: Any) -> dict[str, Any]:
    played, at = run.played()
    distances = [line["value"] for line in run.read("metrics") if line["metric"] == "FD"]
    return {
        "recipe": run.config["recipe"],
        "data": run.config["data"]["name"],
        "played": played,
        "rounds": run.config["rounds"],
        "FD": distances[-1] if distances else None,
        "at": at,
        "state": run.state(),
    }
