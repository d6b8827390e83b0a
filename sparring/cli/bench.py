"""The verb that measures speed."""

from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from sparring.errors import SparringError, unknown

if TYPE_CHECKING:
    from rich.table import Table


def bench(
    *,
    only: Annotated[str | None, Field(description="workloads, comma-separated (default: all)")] = None,
    readings: Annotated[int, Field(ge=1, le=1000, description="of every way; the median counts")] = 7,
    json: Annotated[Path | None, Field(description="a file for all numbers")] = None,
) -> None:
    """speed against the loops of the lectures, on this machine:  sparring bench --only dcgan-64 --json speed.json"""
    from rich.console import Console
    from rich.progress import Progress

    from sparring.bench.measuring import bench
    from sparring.bench.workloads import WORKLOADS
    from sparring.cli.common import write

    names = [name.strip() for name in only.split(",")] if only else [*WORKLOADS]
    for name in names:
        if name not in WORKLOADS:
            raise unknown("workload", name, WORKLOADS)
    if json is not None and not json.absolute().parent.is_dir():
        raise SparringError(f"cannot write {json}: {json.absolute().parent} is no folder")

    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("", total=len(names) * (readings + 1) + 2)
        found = bench(names, readings, lambda what: progress.update(bar, description=what, advance=1))
    if json is not None:
        write(json, dumps(found, indent=1).encode())
    console = Console()
    facts, peak = found["machine"], found["peaks"]
    console.print(f"{facts['processor']}, {facts['threads']} threads, torch {facts['torch']}", highlight=False)
    console.print("peaks, TFLOP/s: " + ", ".join(f"{n.replace('_', ' ')} {v:.2f}" for n, v in peak.items()))
    console.print("seconds to start: " + ", ".join(f"{n} {v:.2f}" for n, v in found["startup"].items()))
    console.print(_table(found["workloads"]))
    if facts["load"] > 1.2 * facts["cores"]:
        console.print(f"The machine is busy (load {facts['load']:.1f}): only the ratios mean something.")


def _table(workloads: dict[str, Any]) -> "Table":
    from rich.table import Table

    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    titles = "images/s\ntextbook", "\nbare", "\nsparring", "\n+-", "times\ntextbook", "over\nbare", "of\npeak", "\nMB"
    table.add_column("\nworkload", no_wrap=True)
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    for name, n in workloads.items():
        slowest, fastest = n["spread"]["sparring"]
        table.add_row(
            name,
            *(f"{n[way]:,.0f}" for way in ("textbook", "bare", "sparring")),
            f"{50 * (fastest - slowest) / n['sparring']:.0f} %",
            f"{n['ratio']:.1f}",
            f"{100 * n['overhead']:+.1f} %",
            f"{100 * n['peak_share']:.0f} %",
            f"{n['memory']['sparring'] / 1e6:,.0f}",
        )
    return table
