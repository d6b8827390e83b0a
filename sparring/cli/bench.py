"""The verb `bench`: throughput."""

from json import dumps
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from sparring.cli.common import require_place, write
from sparring.errors import unknown_name_error
from sparring.options import Device

if TYPE_CHECKING:
    from rich.table import Table


def bench(
    *,
    only: Annotated[str | None, Field(description="workloads, comma-separated (default: all)")] = None,
    repeats: Annotated[int, Field(ge=1, le=1000, description="timings per training loop; the median is reported")] = 7,
    fd: Annotated[
        float | None,
        Field(gt=0, description="measure the time to reach this FD on real digits instead of the time per round"),
    ] = None,
    rounds: Annotated[int, Field(ge=20, description="rounds of each training with --fd")] = 400,
    seeds: Annotated[int, Field(ge=1, le=100, description="trainings per loop with --fd")] = 3,
    device: Device = "auto",
    json: Annotated[Path | None, Field(description="also write all results to this JSON file")] = None,
) -> None:
    """Measure throughput versus textbook training loops on this machine."""
    from rich.console import Console

    from sparring.bench.measuring import bench, machine
    from sparring.bench.race import LOOPS, time_to_fd
    from sparring.bench.workloads import WORKLOADS
    from sparring.device import resolve_device
    from sparring.progress import Progress

    names = [name.strip() for name in only.split(",")] if only else [*WORKLOADS]
    for name in names:
        if name not in WORKLOADS:
            raise unknown_name_error("workload", name, WORKLOADS)
    if json is not None:
        require_place(json)
    place = resolve_device(device)
    total = len(names) * (repeats + 1) + 2 if fd is None else len(names) * seeds * len(LOOPS)
    with Progress("bench", total) as progress:

        def advance(step: str) -> None:
            progress.advance(what=step)

        if fd is None:
            results = bench(names, repeats, advance, place)
        else:
            races = time_to_fd(names, target=fd, rounds=rounds, seeds=seeds, on_progress=advance, device=place)
            results = {"machine": machine(place), "races": races}
    if json is not None:
        write(json, dumps(results, indent=1).encode())
    if fd is None:
        _print(results)
    else:
        Console().print(_race_table(results["races"]))


def _print(results: dict[str, Any]) -> None:
    from rich.console import Console

    console = Console()
    config, peak = results["machine"], results["peaks"]
    place = "" if config["device"] == "cpu" else f"{config['device']}; "
    console.print(
        f"{place}{config['processor']}, {config['threads']} threads, torch {config['torch']}", highlight=False
    )
    console.print("peak TFLOP/s: " + ", ".join(f"{n.replace('_', ' ')} {v:.2f}" for n, v in peak.items()))
    console.print("startup seconds: " + ", ".join(f"{n} {v:.2f}" for n, v in results["startup"].items()))
    console.print(_table(results["workloads"]))
    if config["load"] > 1.2 * config["cores"]:
        console.print(f"The machine is busy (load {config['load']:.1f}): only the ratios are meaningful.")


def _table(workloads: dict[str, Any]) -> "Table":
    from rich.table import Table

    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    titles = (
        "images/s\ntextbook",
        "\nbare",
        "\nsparring",
        "\n+-",
        "versus\ntextbook",
        "overhead\nvs bare",
        "of\npeak",
        "\nMB",
    )
    table.add_column("\nworkload", no_wrap=True)
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    for name, n in workloads.items():
        slowest, fastest = n["spread"]["sparring"]
        table.add_row(
            name,
            *(f"{n[loop]:,.0f}" for loop in ("textbook", "bare", "sparring")),
            f"{50 * (fastest - slowest) / n['sparring']:.0f} %",
            f"{n['ratio']:.1f}",
            f"{100 * n['overhead']:+.1f} %",
            f"{100 * n['peak_share']:.0f} %",
            f"{n['memory']['sparring'] / 1e6:,.0f}",
        )
    return table


def _race_table(races: dict[str, Any]) -> "Table":
    from rich.table import Table

    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for title in ("workload", "loop"):
        table.add_column(title, no_wrap=True)
    for title in ("rounds", "final FD", f"seconds to FD {next(iter(races.values()))['target']:g}", "reached"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, n in races.items():
        for loop, distances in n["FD"].items():
            seconds = [s for s in n["seconds"][loop] if s is not None]
            table.add_row(
                name,
                loop,
                f"{n['rounds']:,}",
                f"{mean(distances):.1f} ({min(distances):.1f} to {max(distances):.1f})",
                f"{median(seconds):.1f}" if seconds else "-",
                f"{len(seconds)} of {len(distances)}",
            )
    return table
