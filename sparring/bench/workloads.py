"""The benchmark workloads and the three training loops."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from sparring.bench import textbook
from sparring.cpu_kernels import use_matmul_convolutions
from sparring.data.dataset import Dataset
from sparring.data.feed import Feed
from sparring.device import resolve_precision, set_tf32
from sparring.machine import disable_malloc_trim
from sparring.recipes import RECIPES
from sparring.recipes.recipe import Recipe, build_recipe, load_recipe, resolve_arguments
from sparring.referee import Referee, return_float32
from sparring.seeds import CPU

LOG_EVERY = 10
"""Rounds between log lines, as in `sparring train`."""


@dataclass(frozen=True)
class Workload:
    """A recipe with arguments, the shape of its images, and the corresponding textbook loop."""

    recipe: str
    loop: textbook.Loop
    channels: int
    size: int
    classes: int = 0
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def data(self) -> Dataset:
        """2,048 images of noise: speed does not depend on the content."""
        g = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (2048, self.channels, self.size, self.size), generator=g, dtype=torch.uint8)
        labels = torch.arange(2048) * self.classes // 2048 if self.classes else None
        return Dataset("noise", images, labels, tuple(map(str, range(self.classes))))

    def prepare(self, data: Dataset, seed: int = 0) -> tuple[Recipe, Mapping[str, Dataset]]:
        """The recipe for this data, freshly initialized, and its streams."""
        torch.manual_seed(seed)
        function = load_recipe(self.recipe, RECIPES)
        recipe = build_recipe(function, data.spec, resolve_arguments(function, self.arguments))
        return recipe, recipe.streams(data, seed) if recipe.streams else {"train": data}


WORKLOADS: dict[str, Workload] = {
    "cs231n-mlp": Workload("cs231n-mlp", textbook.gan, 1, 28),
    "cs231n-dcgan": Workload("cs231n-dcgan", textbook.gan, 1, 28),
    "dcgan-64": Workload("dcgan", textbook.gan, 3, 64),
    "wgan-gp": Workload("wgan-gp", textbook.wgan_gp, 1, 28),
    "aae-semi-supervised": Workload("aae-semi-supervised", textbook.aae_semi_supervised, 1, 28, classes=10),
    "cyclegan-64": Workload("cyclegan", textbook.cyclegan, 3, 64, classes=2),
    "biggan-32": Workload("biggan-cifar", textbook.biggan, 3, 32, classes=10, arguments={"width": 32}),
}

# The three training loops. Each is an endless iterator; one step is one round.


def textbook_loop(
    recipe: Recipe, streams: Mapping[str, Dataset], loop: textbook.Loop, device: torch.device = CPU
) -> Iterator[None]:
    """PIL images with one transform each, float32, PyTorch's defaults."""
    system = recipe.system.to(device).train()
    optimizers = {
        player: make([p for net in system.players[player] for p in getattr(system, net).parameters()])
        for player, make in recipe.optimizers.items()
    }
    batches = {name: textbook.batches(data, recipe.batch, device) for name, data in streams.items()}
    yield from loop(system, optimizers, batches)


def minimal_loop(recipe: Recipe, streams: Mapping[str, Dataset], device: torch.device = CPU) -> Iterator[None]:
    """Our rounds, kernels, layouts and precision in the shortest possible loop: no checks, no EMA, no logs."""
    disable_malloc_trim()
    use_matmul_convolutions(recipe.system)
    return_float32(recipe.system)
    system = recipe.system.to(memory_format=torch.channels_last).train()
    weights = {
        player: list(dict.fromkeys(p for net in nets for p in getattr(system, net).parameters() if p.requires_grad))
        for player, nets in system.players.items()
    }
    optimizers = {player: make(weights[player]) for player, make in recipe.optimizers.items()}
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            group["fused"] = True
    precision = resolve_precision(recipe.precision, device)
    if device.type != "cpu":
        set_tf32(precision != torch.float32)
    feed = Feed(streams, recipe.batch, seed=0, device=device)
    while True:
        moves = system.round(feed)
        while True:
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == torch.bfloat16):
                move = next(moves, None)
            if move is None:
                break
            move.loss.backward(inputs=weights[move.player])
            optimizers[move.player].step()
            optimizers[move.player].zero_grad()
        yield


def sparring_loop(
    recipe: Recipe, streams: Mapping[str, Dataset], device: torch.device = CPU, seed: int = 0
) -> Iterator[None]:
    """As in `sparring train`: checks, EMA, schedules, and logged numbers every LOG_EVERY rounds."""
    referee = Referee(
        recipe.system,
        streams,
        batch=recipe.batch,
        optimizers=recipe.optimizers,
        schedules=recipe.schedules,
        ema_decay=recipe.ema_decay,
        ema_start=recipe.ema_start,
        precision=recipe.precision,
        device=device,
        seed=seed,
    )
    while True:
        results = referee.play()
        if referee.round % LOG_EVERY == 0:
            referee.reduce_logs(results)
        yield


LOOPS = ("textbook", "bare", "sparring")


def start(name: str, loop: str, device: torch.device = CPU) -> tuple[Iterator[None], int]:
    """A workload in one of the LOOPS: an iterator over its rounds, and the batch size."""
    workload = WORKLOADS[name]
    recipe, streams = workload.prepare(workload.data())
    if loop == "textbook":
        return textbook_loop(recipe, streams, workload.loop, device), recipe.batch
    return (minimal_loop if loop == "bare" else sparring_loop)(recipe, streams, device), recipe.batch
