"""The verb `screen`: candidate molecules most similar to generated ones."""

import csv
import io
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from sparring.cli.common import RecipeName, RunPath, require_place, write
from sparring.errors import SparringError, printable
from sparring.options import Device

if TYPE_CHECKING:
    from sparring.data.dataset import Dataset

DRAWN = 24
"""At most this many structures are drawn."""


def screen(
    run: RunPath,
    *,
    data: Annotated[str, Field(description="candidates: nci, or a .smi or .csv of SMILES")] = "nci",
    growth: Annotated[
        float, Field(ge=-5, le=5, description="growth of cells to generate molecules for; -1: all cells dead, 1: none")
    ] = -1.0,
    n: Annotated[int, Field(ge=1, le=100_000, description="number of candidates to list")] = 10,
    generated: Annotated[int, Field(ge=1, le=100_000, description="number of molecules to generate")] = 640,
    seed: Annotated[int, Field(ge=0, description="seed of the generated molecules")] = 0,
    json: Annotated[bool, Field(description="print JSON")] = False,
    out: Annotated[
        Path | None, Field(description="also write a .csv with the table, or a .png with the structures")
    ] = None,
    recipe: RecipeName = None,
    device: Device = "auto",
) -> None:
    """Rank candidate molecules by their similarity to molecules generated for a growth of cells.

    Kadurin et al. 2017: generate fingerprints for low growth, and list the candidates with the highest Tanimoto
    similarity (166 MACCS keys) to the nearest of them.
    """
    from sparring.data.pixels import to_float
    from sparring.run import Run

    if out is not None:
        if out.suffix.lower() not in (".csv", ".png"):
            raise SparringError(f"--out {out} must end in .csv or .png")
        require_place(out)
    opened = Run.open(run)
    system = opened.system(recipe=recipe, device=device)
    if not system.supports("screen"):
        raise SparringError(f"{type(system).__name__} cannot screen molecules: use a run of molecular-aae")
    candidates, names = _candidates(data)
    images = to_float(candidates.images)
    ranked, similarities = system.screen(images, len(images), growth=growth, generated=generated, seed=seed)
    best, similarity = ranked[:n], similarities[:n]
    median = float(similarities.median())
    predicted = system.encode(images[best])[:, -1]
    rows = [
        {"rank": i, "similarity": similar, "growth": grown, "name": names[row][1], "smiles": names[row][0]}
        for i, (row, similar, grown) in enumerate(
            zip(best.tolist(), similarity.tolist(), predicted.tolist(), strict=True), 1
        )
    ]
    if out is not None:
        write(out, _csv(rows) if out.suffix.lower() == ".csv" else _structures(rows[:DRAWN]))
    if json:
        print(dumps({"growth": growth, "generated": generated, "median": median, "molecules": rows}))
        return
    _print_table(rows)
    print(
        f"similarity to the nearest of {generated:,} molecules generated for growth {growth:g}; median of all "
        f"{len(images):,} candidates: {median:.3f}"
    )
    print("growth is the network's prediction, learned from the data of the run; similar keys are no measured effect")
    if out is not None:
        print(out)


def _candidates(source: str) -> "tuple[Dataset, list[tuple[str, str]]]":
    """The molecules, and (SMILES, name) of each. Raises SparringError for other files."""
    from sparring.data import molecules
    from sparring.data.loading import resolve_path

    if source == "nci":
        return molecules.read(molecules.nci_file())
    if Path(source).suffix.lower() not in molecules.SUFFIXES:
        raise SparringError(f"--data {printable(source)} must be nci, or end in {' or '.join(molecules.SUFFIXES)}")
    return molecules.read(resolve_path(source))


def _csv(rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _structures(rows: list[dict[str, Any]]) -> bytes:
    """A PNG with the structural formulas, six per row, under each its rank and similarity."""
    from rdkit import Chem
    from rdkit.Chem import Draw

    from sparring.image_grid import png

    labels = [f"{row['rank']}. {row['name']} (similarity {row['similarity']:.3f})" for row in rows]
    molecules = [Chem.MolFromSmiles(row["smiles"]) for row in rows]
    picture = Draw.MolsToGridImage(molecules, molsPerRow=min(6, len(rows)), subImgSize=(220, 190), legends=labels)
    return png(picture)


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("rank", "similarity", "growth", "name", "SMILES", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for row in rows:
        numbers = (f"{row['similarity']:.3f}", f"{row['growth']:.2f}")
        table.add_row(str(row["rank"]), *numbers, printable(row["name"][:40]), printable(row["smiles"]))
    Console(highlight=False, markup=False).print(table)
