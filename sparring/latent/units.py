"""What the units of a layer have learned: exciting patches, images optimized for a unit, and what it changes.

A unit is a channel of a convolutional layer, or a unit of a fully connected one. Its most exciting patches are those of
Zeiler and Fergus 2014 (section 4.1), the optimized image is activation maximization (Erhan et al. 2009), and switching
units off is the ablation of GAN dissection (Bau et al. 2019, section 3.2).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sparring.errors import SparringError, abbreviated, require_int, unknown_name_error
from sparring.latent.decoder import latent_decoder
from sparring.seeds import make_generator
from sparring.system import System
from sparring.typed import require_images, typed

BATCH = 250
"""Inputs per pass, at most one batch of `run_batched`."""

SOURCES = ("score", "decode", "classify", "encode", "infer_codes")
"""Capabilities that run a network: `decode` on latent codes, the others on images."""

TOTAL_VARIATION, JITTER = 0.5, 2
"""Regularization of optimized images: weight of the total variation, and pixels by which they are moved at random."""

Change = Callable[[Tensor], Tensor | None]


DERIVED = ("sparring.cpu_kernels", nn.utils.parametrize.__name__)
"""Modules of classes that replace that of a layer without changing what it computes."""


@dataclass(frozen=True)
class Layer:
    """A layer and its output: that after the activation function that follows.

    name    of the module with the weights, in the system: "D.3"
    kind    its class
    shape   (units, height, width) of the output; height and width are 1 for a fully connected layer
    source  the capability that runs it, one of SOURCES
    output  name of the module that makes the output, and the number of its call
    """

    name: str
    kind: str
    shape: tuple[int, int, int]
    source: str
    output: tuple[str, int]

    @property
    def units(self) -> int:
        """Number of units."""
        return self.shape[0]


class Patches(NamedTuple):
    """The patches that excite k units most, one per image, from most to least.

    rows    (k, count) row of the image
    values  (k, count) activation
    images  (k, count, C, h, w) receptive fields in [-1, 1]; what lies outside of the image is 0
    """

    rows: Tensor
    values: Tensor
    images: Tensor


# The layers of a system.


@typed
def layers(system: System, images: Tensor) -> list[Layer]:
    """The layers of all networks that a capability of the system runs, in order, each with the first of these.

    images  (n, C, S, S) in [-1, 1], n > 0; one is used. Raises SparringError for a system without layers.
    """
    require_images(1, images=images)
    found: dict[str, Layer] = {}
    for source in SOURCES:
        if system.supports(source) and (source != "decode" or system.supports("sample_latents")):
            for layer in _traced(system, source, images[:1]):
                found.setdefault(layer.name, layer)
    if not found:
        raise SparringError(f"{type(system).__name__} has no layers: it has none of {', '.join(SOURCES)}")
    return list(found.values())


@typed
def default_layer(found: Sequence[Layer], size: int, network: str | None = None) -> Layer:
    """The last convolutional layer of a network whose units are smaller than the image; else its first layer.

    size     side of the images
    network  name in the system: "D"; None: that of the first layer that sees images

    Raises SparringError for an unknown network, or without layers.
    """
    if not found:
        raise SparringError("found is empty: give the layers of a system")
    networks = list(dict.fromkeys(layer.name.partition(".")[0] for layer in found))
    if network is not None and network not in networks:
        raise unknown_name_error("network", network, networks)
    seeing = [layer for layer in found if layer.source != "decode"] or list(found)
    chosen = network or seeing[0].name.partition(".")[0]
    own = [layer for layer in found if layer.name.partition(".")[0] == chosen]
    maps = [layer for layer in own if 1 < layer.shape[1] < size] or own[:1]
    return maps[-1]


def _traced(system: System, source: str, images: Tensor) -> list[Layer]:
    """The layers of one pass."""
    found: list[Layer] = []
    calls: dict[str, int] = {}
    opened = torch.Size()  # the shape of the last layer, while its activation function may still follow

    def record(name: str, module: nn.Module, _: object, out: object) -> None:
        nonlocal opened
        call = calls[name] = calls.get(name, -1) + 1
        if not isinstance(out, Tensor) or out.ndim not in (2, 4):
            return
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor) and weight.ndim in (2, 4) and not isinstance(module, nn.Embedding):
            units, height, width = (*out.shape[1:], 1, 1)[:3]
            kind = next(c.__name__ for c in type(module).__mro__ if c.__module__ not in DERIVED)
            found.append(Layer(name, kind, (units, height, width), source, (name, call)))
            opened = out.shape
        elif out.shape == opened and not any(module.children()):
            found[-1] = replace(found[-1], output=(name, call))
            if type(module).__module__ == nn.ReLU.__module__:
                opened = torch.Size()

    handles = [module.register_forward_hook(partial(record, name)) for name, module in system.named_modules() if name]
    try:
        _run(system, source, inputs_of(system, source, images, 1))
    finally:
        for handle in handles:
            handle.remove()
    return found


def inputs_of(system: System, source: str, images: Tensor, n: int, *, seed: int = 0) -> Tensor:
    """(n, ...) inputs of a layer with this source: latent codes for `decode`, else the first images (m, C, S, S)."""
    return latent_decoder(system).codes(n, seed=seed) if source == "decode" else images[:n]


def _run(system: System, source: str, inputs: Tensor) -> Tensor:
    """What the capability returns for images in [-1, 1], or for latent codes; with class 0 if it takes labels."""
    if source == "decode":
        return latent_decoder(system).decode(inputs)
    labels = {"labels": 0} if system.accepts(source, "labels") else {}
    result: Tensor = getattr(system, source)(inputs, **labels)
    return result


@contextmanager
def _changed(system: System, layer: Layer, change: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """Within it, the layer's output is replaced by `change(output)`, unless that is None."""
    name, call = layer.output
    calls = 0

    def hook(module: nn.Module, _: object, out: Tensor) -> Tensor | None:
        nonlocal calls
        calls += 1
        return change(out) if calls == call + 1 else None

    handle = system.get_submodule(name).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def activations(system: System, layer: Layer, inputs: Tensor) -> Tensor:
    """(n, units, H, W) output of a layer for at most BATCH inputs; differentiable if these require gradients."""
    kept: list[Tensor] = []
    with _changed(system, layer, kept.append):
        _run(system, layer.source, inputs)
    return kept[0].unflatten(1, layer.shape) if kept[0].ndim == 2 else kept[0]


# Units that see images.


@typed
def receptive_field(system: System, layer: Layer, shape: Sequence[int]) -> tuple[list[slice], list[slice]]:
    """The pixels that the output at each position depends on: rows for each of its rows, columns for each column.

    shape  (C, S, S) of an image

    Exact for any network: a row of the image is made NaN, and the outputs that become NaN depend on it (in float64,
    where convolutions are not approximated by transforms).
    """
    require_source(layer)
    _require_shape(shape)
    exact = copy.deepcopy(system).double()
    images = torch.zeros(shape[1], *shape, dtype=torch.float64)
    rows = torch.arange(shape[1])
    images[rows, :, rows] = float("nan")
    fields = []
    for axis, marked in ((3, images), (2, images.transpose(2, 3))):
        maps = torch.cat([activations(exact, layer, part) for part in marked.split(BATCH)])
        reached = maps.isnan().any(1).any(axis - 1)  # (row of the image, row of the output)
        fields.append([_span(column) for column in reached.T])
    return fields[0], fields[1]


def _span(reached: Tensor) -> slice:
    """From the first to the last pixel that is reached; empty if none is."""
    pixels = reached.nonzero().flatten().tolist()
    return slice(pixels[0], pixels[-1] + 1) if pixels else slice(0, 0)


def require_source(layer: Layer) -> None:
    """Raise SparringError if the layer does not see images."""
    if layer.source == "decode":
        raise SparringError(f"layer {layer.name} sees latent codes, not images: choose a layer of another network")


def _require_shape(shape: Sequence[int]) -> None:
    if len(shape) != 3 or any(isinstance(side, bool) or not isinstance(side, int) or side < 1 for side in shape):
        raise SparringError(f"shape is {abbreviated(shape)}: give (channels, height, width) of an image")


def _require_units(layer: Layer, units: Sequence[int]) -> None:
    for unit in units:
        if not 0 <= unit < layer.units:
            raise SparringError(f"unit {unit} is out of range: layer {layer.name} has units 0 to {layer.units - 1}")
    if not units:
        raise SparringError(f"units is empty: give units from 0 to {layer.units - 1}")


@typed
def exciting_patches(
    system: System,
    layer: Layer,
    images: Tensor,
    units: Sequence[int],
    *,
    count: int = 9,
    on_progress: Callable[[int], object] = lambda images: None,
) -> Patches:
    """The patches of images (n, C, S, S) in [-1, 1] that excite each unit most, the best one of each image.

    count        per unit, at most n
    on_progress  called with the number of further images done

    Zeiler and Fergus 2014, section 4.1. A patch is the receptive field of the position with the highest activation.
    Raises SparringError for units that the layer does not have, and for a layer that sees latent codes.
    """
    require_images(1, images=images)
    require_source(layer)
    _require_units(layer, units)
    count = min(require_int("count", count), len(images))
    values, places = [], []
    for part in images.split(BATCH):
        maps = activations(system, layer, part)[:, list(units)].float().cpu().flatten(2)
        best = maps.max(2)
        values.append(best.values)
        places.append(best.indices)
        on_progress(len(part))
    top = torch.cat(values).topk(count, dim=0)
    where = torch.cat(places).gather(0, top.indices)
    rows, columns = receptive_field(system, layer, images.shape[1:])
    size = max(field.stop - field.start for field in rows), max(field.stop - field.start for field in columns)
    width = layer.shape[2]
    patches = [
        torch.stack(
            [_patch(images[image], rows[place // width], columns[place % width], size) for image, place in pairs]
        )
        for pairs in (zip(*pair, strict=True) for pair in zip(top.indices.T.tolist(), where.T.tolist(), strict=True))
    ]
    return Patches(top.indices.T, top.values.T, torch.stack(patches))


def _patch(image: Tensor, rows: slice, columns: slice, size: tuple[int, int]) -> Tensor:
    """(C, h, w): a field of an image, with 0 for what lies outside."""
    patch = image.new_zeros(len(image), *size)
    top, left = (length - (field.stop - field.start) if field.start == 0 else 0
                 for field, length in zip((rows, columns), size, strict=True))  # fmt: skip
    content = image[:, rows, columns]
    patch[:, top : top + content.shape[1], left : left + content.shape[2]] = content
    return patch


@typed
def optimized_images(
    system: System,
    layer: Layer,
    shape: Sequence[int],
    units: Sequence[int],
    *,
    steps: int = 200,
    lr: float = 0.05,
    total_variation: float = TOTAL_VARIATION,
    seed: int = 0,
    on_progress: Callable[[int], object] = lambda steps: None,
) -> Tensor:
    """(k, C, h, w) images in [-1, 1], each optimized for one unit at the middle of its map; its receptive field.

    shape   (C, S, S) of an image
    steps   of Adam, with this learning rate, from small random images
    total_variation  weight of the absolute differences of neighboring pixels, relative to the mean slope of the unit

    Activation maximization: Erhan et al. 2009, section 3.1. Regularized by total variation and by moving the image at
    random by up to two pixels in each step (Olah et al. 2017: penalties of high frequencies, transformation
    robustness). The gradient of each unit is divided by its mean absolute value, because units differ in scale and one
    weight would leave some images gray and others noise. Raises SparringError as `exciting_patches`.
    """
    require_source(layer)
    _require_shape(shape)
    _require_units(layer, units)
    kinds = torch.arange(len(units))
    g = make_generator("optimized", seed)
    row, column = layer.shape[1] // 2, layer.shape[2] // 2
    raw = (0.3 * torch.randn(len(units), *shape, generator=g)).requires_grad_()
    optimizer = torch.optim.Adam([raw], lr=lr)
    for _ in range(steps):
        x = raw.tanh()
        moved = x.roll(torch.randint(-JITTER, JITTER + 1, (2,), generator=g).tolist(), (2, 3))
        excited = activations(system, layer, moved).float().cpu()[kinds, list(units), row, column]
        slope = torch.autograd.grad(excited.sum(), x, retain_graph=True)[0]
        slope = slope / slope.abs().mean((1, 2, 3), keepdim=True).clamp(min=1e-12)
        rough = x.diff(dim=2).abs().sum() + x.diff(dim=3).abs().sum()
        optimizer.zero_grad()
        (total_variation * rough - (slope * x).sum()).backward()
        optimizer.step()
        on_progress(1)
    rows, columns = receptive_field(system, layer, shape)
    return raw.detach().tanh()[:, :, rows[row], columns[column]]


# Switching units off.


@typed
def without_unit(system: System, layer: Layer, inputs: Tensor, unit: int) -> Tensor:
    """What the layer's capability returns for at most BATCH inputs if the output of one unit is 0."""
    _require_units(layer, [unit])

    def off(out: Tensor) -> Tensor:
        out = out.clone()
        out[:, unit] = 0
        return out

    with _changed(system, layer, off):
        return _run(system, layer.source, inputs)


@typed
def ablation(
    system: System,
    layer: Layer,
    inputs: Tensor,
    *,
    on_progress: Callable[[int], object] = lambda units: None,
) -> Tensor:
    """(units,) mean absolute change of what the layer's capability returns if each unit is switched off.

    inputs  (n, d) latent codes for a layer that `decode` runs, else (n, C, S, S) images in [-1, 1]; at most BATCH.
            The change of images is that of pixels from 0 to 1

    Bau et al. 2019, section 3.2; they measure the change of segmented objects, here it is that of all pixels.
    """
    if not inputs.ndim or not 0 < len(inputs) <= BATCH:
        raise SparringError(f"ablation needs 1 to {BATCH} inputs; got {abbreviated(inputs)}")
    before = _run(system, layer.source, inputs)
    scale = 0.5 if layer.source == "decode" else 1.0
    changes = []
    for unit in range(layer.units):
        changes.append(scale * float((without_unit(system, layer, inputs, unit) - before).abs().mean()))
        on_progress(1)
    return torch.tensor(changes)
