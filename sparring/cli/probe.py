"""The verb `probe`: linear-probe accuracy of the learned features."""

from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sparring.cli.common import RecipeName, RunPath
from sparring.options import Device

if TYPE_CHECKING:
    from sparring.latent.probe import ProbeResult


def probe(
    run: RunPath,
    *,
    data: Annotated[
        str | None, Field(description="labeled images: a name, a folder or zip (default: the run's own data)")
    ] = None,
    labels: Annotated[
        int | None, Field(ge=2, description="labeled images to fit on, equally many per class (default: all)")
    ] = None,
    repeats: Annotated[
        int, Field(ge=1, le=1000, description="random choices of these images; the spread is over them")
    ] = 10,
    supervised: Annotated[
        bool, Field(description="also train the discriminator's network from scratch on the same labels")
    ] = False,
    data_root: Annotated[Path | None, Field(description="folder with a local copy of a built-in data set")] = None,
    seed: Annotated[int, Field(ge=0, description="seed of the choices and of random weights")] = 0,
    json: Annotated[bool, Field(description="print JSON")] = False,
    recipe: RecipeName = None,
    device: Device = "auto",
) -> None:
    """Measure the accuracy of linear classifiers on the learned features."""
    from sparring.data.loading import load
    from sparring.latent.probe import protocol
    from sparring.probing import RunProbe, as_dict
    from sparring.progress import Progress
    from sparring.run import Run

    opened = Run.open(run)
    spec = opened.spec
    dataset = opened.data() if data is None else load(data, size=spec.size, channels=spec.channels, root=data_root)
    split = protocol(dataset, labels=labels, draws=repeats, seed=seed)
    probe = RunProbe(opened, split, with_supervised=supervised, seed=seed, recipe=recipe, device=device)
    with Progress("", probe.steps) as progress:
        results = probe.results(lambda name: progress.advance(what=name))
    if json:
        return print(dumps(as_dict(results, split, dataset), indent=1))
    where = f"{'test' if dataset.test else 'held-out'} images of {dataset.name}"
    print(f"{len(split.asked[0]):,} labels, {len(split.asked)} repeats; {len(split.exam):,} {where}")
    _print_table(results)
    print("random: the same network with random weights, untrained")


def _print_table(results: "list[ProbeResult]") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("features", "dimension", "accuracy", "1-NN", "C or lr", box=None, header_style="bold")
    for row in results:
        spread = f" ± {100 * row.spread:.2f}" if len(row.right) > 1 else ""
        near = f"{100 * sum(row.neighbor) / len(row.neighbor):.2f} %" if row.neighbor else ""
        edge = " (edge)" if row.edge else ""
        table.add_row(row.name, f"{row.numbers:,}", f"{100 * row.mean:.2f}{spread} %", near, f"{row.chosen:g}{edge}")
    Console(highlight=False, markup=False).print(table)
