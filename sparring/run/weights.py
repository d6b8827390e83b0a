"""A folder with weights that are shown to the world: model.safetensors, and config.json, which rebuilds the networks.

What a file asks for is compared with what is there before any network is made: sizes and shapes first, then memory.
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

from sparring.data.dataset import Spec
from sparring.durable import digest, read_file
from sparring.errors import SparringError, abbreviated, shown
from sparring.recipes import RECIPES
from sparring.recipes.meta import Shapes, on_meta, shapes_of, size_of
from sparring.recipes.recipe import RecipeFunction, arguments, build_recipe, load_recipe, resolve_arguments
from sparring.run.schema import WeightsConfig, read_sealed, spec_of
from sparring.seeds import isolated
from sparring.system import System, resolve_precision

MEND = "sparring resume RUN writes it anew from the newest checkpoint"

HEADER = 1 << 20, 1 << 10
"""Bytes that a safetensors file has at the most beside its tensors: so many, and so many for each tensor."""


def open_system(folder: Path | str, *, recipe: str | None = None) -> System:
    """The system of a `weights/` folder (model.safetensors, config.json). Raises SparringError if it does not fit."""
    return system_of(Path(folder), recipe, None)


def system_of(folder: Path, recipe: str | RecipeFunction | None, training: str | None) -> System:
    """The same, of this training (`Run.training`)."""
    file = folder / "model.safetensors"
    if not file.exists():
        raise SparringError(f"{folder} has no weights: the run was stopped before its first save, or they are gone")
    config = read_sealed(folder / "config.json", WeightsConfig)
    if training not in (None, config["training"]):
        raise SparringError(f"{folder / 'config.json'} belongs to another run")
    function, settled = resolved_recipe(config, recipe)
    spec = spec_of(config)
    expected = expected_shapes(function, spec, settled)
    most = None
    if expected is not None:
        most = size_of(expected) + HEADER[0] + HEADER[1] * len(expected)
    state, _ = read_weights(folder, config["training"], most)
    if expected is not None:
        require_fit(state, expected, file, config["recipe"])
    with isolated(0):
        made = build_recipe(function, spec, settled)
    require_fit(state, shapes_of(made), file, config["recipe"])
    if bad := [name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()]:
        raise SparringError(f"{file} holds weights that are not finite: {', '.join(map(shown, bad[:3]))}")
    system = made.system
    system.load_state_dict(state)
    if config["precision"] == "bfloat16":
        system.precision = resolve_precision("auto", system.device)
    return system.to(memory_format=torch.channels_last).eval()


def expected_shapes(function: RecipeFunction, spec: Spec, settled: Mapping[str, Any]) -> Shapes | None:
    """Shapes of the recipe's weights, of which none is made; None where they cannot be known without."""
    made = on_meta(partial(build_recipe, function, spec, settled))
    return None if made is None else shapes_of(made)


def require_fit(state: Mapping[str, Tensor], expected: Shapes, file: Path, recipe: str) -> None:
    """Raises SparringError unless the file's tensors have the names, shapes and types of the recipe's weights."""
    if {name: (value.shape, value.dtype) for name, value in state.items()} != expected:
        raise SparringError(f"{file} does not fit the networks of {shown(recipe)}")


def read_weights(folder: Path, training: str, most: int | None = None) -> tuple[dict[str, Tensor], int]:
    """The tensors of model.safetensors and its round. Raises SparringError unless it is whole and of `training`.

    most  bytes that the file may have
    """
    file = folder / "model.safetensors"
    try:
        data = read_file(file, most)
        state = safetensors.torch.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        about = json.loads(header["__metadata__"]["sparring"])
        played, belongs = int(about["round"]), str(about["training"])
        if about["sha256"] != sum_of(state, {"round": played, "training": belongs}):
            raise SparringError(f"{file} was changed after it was written (SHA-256 differs); {MEND}")
    except OSError as error:
        raise SparringError(f"cannot read {file}: {error.strerror}") from None
    except (safetensors.SafetensorError, ValueError, RecursionError, OverflowError, KeyError, TypeError) as error:
        raise SparringError(f"{file} is damaged: {error}; {MEND}") from None
    if belongs != training:
        raise SparringError(f"{file} belongs to another run")
    return state, played


def sum_of(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> str:
    """SHA-256 of facts, and of the tensors' names, types, shapes and content."""
    found = hashlib.sha256(digest(config).encode())
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        if value.numel():
            found.update(value.view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def packed(tensors: Mapping[str, Tensor]) -> bytes:
    """As a safetensors file."""
    return safetensors.torch.save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})


def resolved_recipe(
    config: Mapping[str, Any], repeated: str | RecipeFunction | None
) -> tuple[RecipeFunction, dict[str, Any]]:
    """The recipe that a run or weights folder names, and its arguments, checked as the command line checks them.

    A recipe that is not one of ours must be `repeated` by the user: its name, or the function itself.
    """
    if inspect.isfunction(repeated):
        return repeated, resolve_arguments(repeated, config["arguments"])
    if not isinstance(repeated, str | None):
        raise SparringError(f"recipe is {abbreviated(repeated)}: give the name again, package.module:function")
    if repeated is not None and repeated != config["recipe"]:
        raise SparringError(f"this was made by recipe '{shown(config['recipe'])}', not by '{repeated}'")
    function = load_recipe(config["recipe"], RECIPES, trusted=repeated is not None)
    if missing := [a.name for a in arguments(function) if a.name not in config["arguments"]]:
        raise SparringError(f"this was made by another version of '{config['recipe']}': it has no '{missing[0]}'")
    return function, resolve_arguments(function, config["arguments"])
