"""A folder with weights for sampling: model.safetensors, and config.json, from which the networks are rebuilt.

Sizes and shapes are compared with those of the recipe before any network is allocated.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from sparring.cpu_kernels import use_matmul_convolutions
from sparring.data.dataset import Spec
from sparring.device import resolve_device, resolve_precision
from sparring.durable import digest, read_file
from sparring.errors import SparringError, abbreviated, printable
from sparring.recipes import RECIPES
from sparring.recipes.meta import Shapes, on_meta, shapes_of, size_of
from sparring.recipes.recipe import RecipeFunction, arguments, build_recipe, load_recipe, resolve_arguments
from sparring.run.schema import WeightsConfig, read_sealed, spec_of
from sparring.seeds import isolated
from sparring.system import System

REMEDY = "sparring resume RUN restores it from the newest checkpoint"

MAX_HEADER_BYTES, MAX_HEADER_BYTES_PER_TENSOR = 1 << 20, 1 << 10
"""Upper limits of the size of a safetensors file in addition to its tensors."""


def open_system(folder: Path | str, *, recipe: str | None = None, device: str | torch.device = "auto") -> System:
    """The system of a `weights/` folder (model.safetensors, config.json). Raises SparringError if it is not valid.

    recipe  required for a recipe that is not built in ("module:function")
    device  as in `resolve_device`
    """
    return system_of(Path(folder), recipe, None, device)


def system_of(
    folder: Path, recipe: str | RecipeFunction | None, training: str | None, device: str | torch.device
) -> System:
    """As `open_system`; also raises SparringError if the weights are not of this training (`Run.training`)."""
    device = resolve_device(device)
    file = folder / "model.safetensors"
    if not file.exists():
        raise SparringError(f"{folder} has no weights: the run was stopped before its first save, or they were deleted")
    config = read_sealed(folder / "config.json", WeightsConfig)
    if training not in (None, config["training"]):
        raise SparringError(f"{folder / 'config.json'} belongs to another run")
    function, resolved = resolved_recipe(config, recipe)
    spec = spec_of(config)
    expected = expected_shapes(function, spec, resolved)
    limit = None
    if expected is not None:
        limit = size_of(expected) + MAX_HEADER_BYTES + MAX_HEADER_BYTES_PER_TENSOR * len(expected)
    state, _ = read_weights(folder, config["training"], limit)
    if expected is not None:
        require_fit(state, expected, file, config["recipe"])
    with isolated(0):
        built = build_recipe(function, spec, resolved)
    require_fit(state, shapes_of(built), file, config["recipe"])
    if bad := [name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()]:
        raise SparringError(f"{file} contains weights that are not finite: {', '.join(map(printable, bad[:3]))}")
    system = built.system
    system.load_state_dict(state)
    if device.type == "cpu":
        use_matmul_convolutions(system)
    if config["precision"] == "bfloat16":
        system.precision = resolve_precision("auto", device)
    return system.to(device).to(memory_format=torch.channels_last).eval()


def expected_shapes(function: RecipeFunction, spec: Spec, resolved: Mapping[str, Any]) -> Shapes | None:
    """Shapes of the recipe's weights, without allocating them; None if the recipe does not run on the meta device."""
    built = on_meta(partial(build_recipe, function, spec, resolved))
    return None if built is None else shapes_of(built)


def require_fit(state: Mapping[str, Tensor], expected: Shapes, file: Path, recipe: str) -> None:
    """Raises SparringError unless the file's tensors have the names, shapes and types of the recipe's weights."""
    if {name: (value.shape, value.dtype) for name, value in state.items()} != expected:
        raise SparringError(f"{file} does not fit the networks of {printable(recipe)}")


def read_weights(folder: Path, training: str, limit: int | None = None) -> tuple[dict[str, Tensor], int]:
    """The tensors of model.safetensors, and its round. Raises SparringError if it is damaged or of another training.

    limit  maximum size of the file in bytes
    """
    file = folder / "model.safetensors"
    try:
        data = read_file(file, limit)
        state = safetensors.torch.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        metadata = json.loads(header["__metadata__"]["sparring"])
        round_number, owner = int(metadata["round"]), str(metadata["training"])
        if metadata["sha256"] != sum_of(state, {"round": round_number, "training": owner}):
            raise SparringError(f"{file} was changed after it was written (SHA-256 differs); {REMEDY}")
    except OSError as error:
        raise SparringError(f"cannot read {file}: {error.strerror}") from None
    except (safetensors.SafetensorError, ValueError, RecursionError, OverflowError, KeyError, TypeError) as error:
        raise SparringError(f"{file} is damaged: {error}; {REMEDY}") from None
    if owner != training:
        raise SparringError(f"{file} belongs to another run")
    return state, round_number


def sum_of(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> str:
    """SHA-256 of `config`, and of the tensors' names, dtypes, shapes and content."""
    sha256 = hashlib.sha256(digest(config).encode())
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        sha256.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        if value.numel():
            sha256.update(value.view(-1).view(torch.uint8).numpy().data)
    return sha256.hexdigest()


def packed(tensors: Mapping[str, Tensor]) -> bytes:
    """The tensors as bytes of a safetensors file."""
    return safetensors.torch.save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})


def resolved_recipe(
    config: Mapping[str, Any], confirmed: str | RecipeFunction | None
) -> tuple[RecipeFunction, dict[str, Any]]:
    """The recipe of a run or weights folder, and its arguments, validated as on the command line.

    A recipe that is not built in must be `confirmed` by the user: its name, or the function itself.
    """
    if inspect.isfunction(confirmed):
        return confirmed, resolve_arguments(confirmed, config["arguments"])
    if not isinstance(confirmed, str | None):
        raise SparringError(
            f"recipe is {abbreviated(confirmed)}: it must be the recipe's name, package.module:function"
        )
    if confirmed is not None and confirmed != config["recipe"]:
        raise SparringError(f"this was trained with recipe '{printable(config['recipe'])}', not '{confirmed}'")
    function = load_recipe(config["recipe"], RECIPES, trusted=confirmed is not None)
    if missing := [a.name for a in arguments(function) if a.name not in config["arguments"]]:
        raise SparringError(f"this was trained with another version of '{config['recipe']}': '{missing[0]}' is missing")
    return function, resolve_arguments(function, config["arguments"])
