"""Images that illustrate the metrics of samples."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL.Image import Image
from torch import Tensor

from sparring.data.pixels import to_float
from sparring.evaluation.context import Context
from sparring.evaluation.features import Features, pool
from sparring.evaluation.measurement import Cell
from sparring.evaluation.panel import Panel, duplicate_groups, far_and_near
from sparring.image_grid import grid


def pictures(context: Context, cells: Sequence[Cell]) -> dict[str, Image]:
    """Name -> image: far, near, closest, duplicates, cells, overfull, spectrum; without those that have no content.

    cells  that are generated too rarely or too often
    """
    panel, sets, train = context.samples.panel, context.samples.sets, context.samples.training
    images, illustrations = sets[0].images, {}
    far, near = far_and_near(panel, sets[0])
    for name, rows in (("far", far), ("near", near)):
        illustrations[name] = grid(to_float(images[rows]), columns=8)
    if copies := context.memorization:
        pairs = torch.cat([images[copies.samples], train.images[copies.training]])
        illustrations["closest"] = grid(to_float(pairs), columns=len(copies.samples))
    illustrations |= _rows("duplicates", [images[group] for group in duplicate_groups(panel, sets[0])])
    for name, missing, source in (("cells", True, panel.real), ("overfull", False, sets[0])):
        member = panel.cells.of(source.features)
        inside = [source.images[member == cell.number][:8] for cell in cells if cell.missing == missing]
        illustrations |= _rows(name, [row for row in inside if len(row)])
    return illustrations | {"spectrum": _spectra(panel, sets)}


def _spectra(panel: Panel, sets: Sequence[Features]) -> Image:
    """Power spectra of real images and of samples, side by side on one logarithmic scale."""
    spectra = torch.stack([panel.real.spectrum, pool(sets).spectrum])
    spectra = torch.fft.fftshift(spectra.clamp(min=1e-12).log10(), dim=(1, 2))[:, None]
    scaled = (spectra - spectra.quantile(0.02)) / (spectra.max() - spectra.quantile(0.02)).clamp(min=1e-9)
    return grid(2 * scaled.clamp(0, 1).float() - 1, columns=2)


def _rows(name: str, rows: Sequence[Tensor]) -> dict[str, Image]:
    """{name: an image with one row for each set of up to 8 images}; {} without sets."""
    if not rows:
        return {}
    blank = torch.full((8, *rows[0].shape[1:]), 255, dtype=torch.uint8)
    return {name: grid(to_float(torch.cat([torch.cat([row, blank])[:8] for row in rows])), columns=8)}
