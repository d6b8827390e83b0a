"""The verb that measures speed."""

from functools import partial
from json import dumps
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from sparring.errors import unknown_name_error

if TYPE_CHECKING:
    from rich.table import Table


def bench(
    *,
    only: Annotated[str | None, Field(description="workloads, comma-separated (default: all)")] = None,
    readings: Annotated[int, Field(ge=1, le=1000, description="of every way; the median counts")] = 7,
    fd: Annotated[
        float | None,
        Field(gt=0, description="race on real digits until FD is at most this, in place of measuring rounds"),
    ] = None,
    rounds: Annotated[int, Field(ge=20, description="of a race")] = 400,
    seeds: Annotated[int, Field(ge=1, le=100, description="of a race")] = 3,
    json: Annotated[Path | None, Field(description="a file for all numbers")] = None,
) -> None:
    """speed against the loops of the lectures, on this machine:  sparring bench --only dcgan-64 --json speed.json"""
    from rich.console import Console
    from rich.progress import Progress

    from sparring.bench.measuring import bench, machine
    from sparring.bench.race import RACERS, race
    from sparring.bench.workloads import WORKLOADS
    from sparring.cli.common import require_place, write

    names = [name.strip() for name in only.split(",")] if only else [*WORKLOADS]
    for name in names:
        if name not in WORKLOADS:
            raise unknown_name_error("workload", name, WORKLOADS)
    if json is not None:
        require_place(json)

    if fd is not None:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            bar = progress.add_task("", total=len(names) * seeds * len(RACERS))
            told = partial(progress.update, bar, advance=1)
            raced = race(names, target=fd, rounds=rounds, seeds=seeds, told=lambda what: told(description=what))
        if json is not None:
            write(json, dumps({"machine": machine(), "races": raced}, indent=1).encode())
        Console().print(_races(raced))
        return
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("", total=len(names) * (readings + 1) + 2)
        found = bench(names, readings, lambda what: progress.update(bar, description=what, advance=1))
    if json is not None:
        write(json, dumps(found, indent=1).encode())
    console = Console()
    config, peak = found["machine"], found["peaks"]
    console.print(f"{config['processor']}, {config['threads']} threads, torch {config['torch']}", highlight=False)
    console.print("peaks, TFLOP/s: " + ", ".join(f"{n.replace('_', ' ')} {v:.2f}" for n, v in peak.items()))
    console.print("seconds to start: " + ", ".join(f"{n} {v:.2f}" for n, v in found["startup"].items()))
    console.print(_table(found["workloads"]))
    if config["load"] > 1.2 * config["cores"]:
        console.print(f"The machine is busy (load {config['load']:.1f}): only the ratios mean something.")


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


def _races(races: dict[str, Any]) -> "Table":
    from rich.table import Table

    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for title in ("workload", "way"):
        table.add_column(title, no_wrap=True)
    for title in ("rounds", "FD after them", f"seconds to FD {next(iter(races.values()))['target']:g}", "reached"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, n in races.items():
        for way, distances in n["FD"].items():
            seconds = [s for s in n["seconds"][way] if s is not None]
            table.add_row(
                name,
                way,
                f"{n['rounds']:,}",
                f"{mean(distances):.1f} ({min(distances):.1f} to {max(distances):.1f})",
                f"{median(seconds):.1f}" if seconds else "-",
                f"{len(seconds)} of {len(distances)}",
            )
    return table
