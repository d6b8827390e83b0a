"""The verb `units`: what the units of a layer have learned."""

from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sparring.cli.common import DataPlace, RecipeName, RunPath, require_png, write
from sparring.errors import SparringError, is_number, unknown_name_error
from sparring.options import Device

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from sparring.latent import Layer, Patches
    from sparring.system import System

CHANGES = {"score": "score", "decode": "samples", "classify": "log-probabilities", "encode": "codes"}
"""Source of a layer -> what changes if one of its units is switched off."""


def units(
    run: RunPath,
    *,
    layer: Annotated[
        str | None, Field(description="layer, as listed: D.3 (default: the last convolutional one of the network)")
    ] = None,
    network: Annotated[
        str | None, Field(description="network of the default layer: D or G (default: the first that sees images)")
    ] = None,
    units: Annotated[
        str | None,
        Field(description="units to draw: 3,17 (default: those that change the output most if switched off)"),
    ] = None,
    count: Annotated[int, Field(ge=1, le=64, description="number of units to draw, if --units is not given")] = 8,
    patches: Annotated[int, Field(ge=1, le=32, description="images per unit")] = 9,
    n: Annotated[int, Field(ge=2, le=100_000, description="training images to search for exciting patches")] = 2000,
    steps: Annotated[int, Field(ge=1, le=100_000, description="Adam steps for the optimized images")] = 200,
    seed: Annotated[int, Field(ge=0, description="seed of the samples, and of the optimized images")] = 0,
    json: Annotated[bool, Field(description="print JSON")] = False,
    out: Annotated[Path, Field(description="the PNG file to write: one unit per row")] = Path("units.png"),
    data: DataPlace = None,
    recipe: RecipeName = None,
    device: Device = "auto",
) -> None:
    """Show what the units of a layer have learned.

    Lists the layers, and draws units of one: for a network that sees images, the patches of training images that excite
    a unit most and an image optimized for it; for a generator or decoder, samples with the unit switched off.
    """
    import torch

    from sparring.data.pixels import to_float
    from sparring.latent import ablation, default_layer, layers
    from sparring.latent.units import inputs_of
    from sparring.progress import Progress
    from sparring.run import Run

    require_png(out)
    opened = Run.open(run)
    system = opened.system(recipe=recipe, device=device)
    dataset = opened.data(data)
    images = to_float(dataset.images_at(torch.arange(min(n, len(dataset))) * len(dataset) // min(n, len(dataset))))
    found = layers(system, images)
    if layer is None:
        chosen = default_layer(found, opened.spec.size, network)
    elif network is not None:
        raise SparringError("--layer names its network: drop --network")
    else:
        chosen = _named(found, layer)
    given = None if units is None else _numbers(units, chosen)
    inputs = inputs_of(system, chosen.source, images, 64, seed=seed)
    with Progress("switching units off", chosen.units) as progress:
        changes = ablation(system, chosen, inputs, on_progress=progress.advance)
    shown = given or changes.argsort(descending=True, stable=True)[:count].tolist()
    if chosen.source == "decode":
        picture, best = _samples(system, chosen, shown, changes, inputs[:patches]), None
    else:
        best, optimized = _excited(system, chosen, shown, images, patches, steps, seed)
        picture = _patches(chosen, shown, changes, best, optimized)
    write(out, _png(picture))
    if json:
        return print(_to_json(found, chosen, shown, changes, best))
    _print_layers(found, chosen)
    top = ", ".join(f"{unit} ({changes[unit]:.3g})" for unit in shown)
    print(f"mean absolute change of the {_changed(chosen)} if a unit of {chosen.name} is switched off: {top}")
    print(out)


def _changed(layer: "Layer") -> str:
    return CHANGES.get(layer.source, "inferred codes")


def _named(found: "list[Layer]", name: str) -> "Layer":
    for layer in found:
        if layer.name == name:
            return layer
    raise unknown_name_error("layer", name, [layer.name for layer in found])


def _numbers(text: str, layer: "Layer") -> list[int]:
    words = [word.strip() for word in text.split(",")]
    wrong = next((word for word in words if not is_number(word) or int(word) >= layer.units), None)
    if wrong is not None:
        raise SparringError(f"--units: '{wrong}' is not a unit of {layer.name}, which has units 0 to {layer.units - 1}")
    return [int(word) for word in words]


def _excited(
    system: "System", layer: "Layer", units: list[int], images: "Tensor", count: int, steps: int, seed: int
) -> "tuple[Patches, Tensor]":
    from sparring.latent import exciting_patches, optimized_images
    from sparring.progress import Progress

    with Progress("searching images", len(images)) as progress:
        best = exciting_patches(system, layer, images, units, count=count, on_progress=progress.advance)
    with Progress("optimizing images", steps) as progress:
        options = {"steps": steps, "seed": seed}
        optimized = optimized_images(system, layer, images.shape[1:], units, **options, on_progress=progress.advance)
    return best, optimized


def _patches(layer: "Layer", units: list[int], changes: "Tensor", best: "Patches", optimized: "Tensor") -> "Image":
    import torch

    from sparring.image_grid import display_scale, grid, upscale, with_headings, with_row_labels

    rows = torch.cat([optimized[:, None], best.images], 1)
    columns = rows.shape[1]
    picture = upscale(grid(rows.flatten(0, 1), columns), display_scale(rows))
    labeled = with_row_labels([f"unit {unit} ({changes[unit]:.3g})" for unit in units], picture)
    title = (
        f"{_about(layer)}: the training images that excite each unit most, cut to what it sees\n"
        f"(in brackets: mean change of the {_changed(layer)} if the unit is switched off)"
    )
    headings = ["optimized", *map(str, range(1, columns))]
    return with_headings(labeled, title, headings, left=labeled.width - picture.width)


def _samples(system: "System", layer: "Layer", units: list[int], changes: "Tensor", codes: "Tensor") -> "Image":
    import torch

    from sparring.image_grid import display_scale, grid, upscale, with_headings, with_row_labels
    from sparring.latent import latent_decoder, without_unit

    samples = latent_decoder(system).decode(codes)
    changed = torch.stack([without_unit(system, layer, codes, unit) for unit in units])
    where = (changed - samples).abs().mean((1, 2), keepdim=True).expand(-1, 1, *samples.shape[1:])
    maps = 2 * where / where.max().clamp(min=1e-12) - 1
    blank = torch.ones(1, 1, *samples.shape[1:])
    rows = torch.cat([torch.cat([samples[None], blank], 1), torch.cat([changed, maps], 1)])
    columns = rows.shape[1]
    picture = upscale(grid(rows.flatten(0, 1), columns), display_scale(rows))
    names = ["all units", *(f"without unit {unit} ({changes[unit]:.3g})" for unit in units)]
    labeled = with_row_labels(names, picture)
    title = (
        f"{_about(layer)}: samples, and the same samples with one unit switched off\n"
        "(in brackets: mean change of a pixel from 0 to 1; on the right: where the pixels change)"
    )
    headings = [*(f"sample {i}" for i in range(columns - 1)), "change"]
    return with_headings(labeled, title, headings, left=labeled.width - picture.width)


def _about(layer: "Layer") -> str:
    units, height, width = layer.shape
    return f"Layer {layer.name}, {units} units" + (f" of {height} x {width}" if height > 1 else "")


def _png(picture: "Image") -> bytes:
    from sparring.image_grid import png

    return png(picture)


def _to_json(found: "list[Layer]", layer: "Layer", units: list[int], changes: "Tensor", best: "Patches | None") -> str:
    rows = [{"unit": unit, "change": float(changes[unit])} for unit in units]
    if best is not None:
        for row, images, values in zip(rows, best.rows.tolist(), best.values.tolist(), strict=True):
            row |= {"images": images, "activations": values}
    return dumps({"layer": layer.name, "layers": [one.name for one in found], "units": rows}, indent=1)


def _print_layers(found: "list[Layer]", chosen: "Layer") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("layer", "kind", "units", "map", "used by", "", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for layer in found:
        units, height, width = layer.shape
        size = f"{height} x {width}" if height > 1 else ""
        table.add_row(layer.name, layer.kind, f"{units:,}", size, layer.source, "drawn" if layer is chosen else "")
    Console(highlight=False, markup=False).print(table)
