"""What is measured, and the three ways to play it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from sparring.bench import textbook
from sparring.data.dataset import Dataset
from sparring.data.feed import Feed
from sparring.recipes import RECIPES
from sparring.recipes.recipe import Recipe, build_recipe, load_recipe, resolve_arguments
from sparring.referee import Referee, disable_malloc_trim
from sparring.system import resolve_precision

LOG_EVERY = 10
"""Rounds between two readings of the players' numbers, as in `sparring train`."""


@dataclass(frozen=True)
class Workload:
    """A recipe with its arguments on pictures of one shape, and the loop that a textbook has for it."""

    recipe: str
    loop: textbook.Loop
    channels: int
    size: int
    classes: int = 0
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def data(self) -> Dataset:
        """2,048 pictures of noise: speed does not depend on what they show."""
        g = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (2048, self.channels, self.size, self.size), generator=g, dtype=torch.uint8)
        labels = torch.arange(2048) * self.classes // 2048 if self.classes else None
        return Dataset("noise", images, labels, tuple(map(str, range(self.classes))))

    def prepare(self, data: Dataset, seed: int = 0) -> tuple[Recipe, Mapping[str, Dataset]]:
        """The recipe for this data, freshly initialized, and its streams."""
        torch.manual_seed(seed)
        function = load_recipe(self.recipe, RECIPES)
        made = build_recipe(function, data.spec, resolve_arguments(function, self.arguments))
        return made, made.streams(data, seed) if made.streams else {"train": data}


WORKLOADS: dict[str, Workload] = {
    "cs231n-mlp": Workload("cs231n-mlp", textbook.gan, 1, 28),
    "cs231n-dcgan": Workload("cs231n-dcgan", textbook.gan, 1, 28),
    "dcgan-64": Workload("dcgan", textbook.gan, 3, 64),
    "wgan-gp": Workload("wgan-gp", textbook.wgan_gp, 1, 28),
    "aae-semi-supervised": Workload("aae-semi-supervised", textbook.aae_semi_supervised, 1, 28, classes=10),
    "cyclegan-64": Workload("cyclegan", textbook.cyclegan, 3, 64, classes=2),
    "biggan-32": Workload("biggan-cifar", textbook.biggan, 3, 32, classes=10, arguments={"width": 32}),
}

# The three ways. Each is an endless iterator; every step of it is one round.


def by_the_textbook(made: Recipe, streams: Mapping[str, Dataset], loop: textbook.Loop) -> Iterator[None]:
    """PIL pictures, a transform for each, float32, PyTorch's choice of everything."""
    system = textbook.in_the_librarys_kernels(made.system).train()
    optimizers = {
        player: make([p for net in system.players[player] for p in getattr(system, net).parameters()])
        for player, make in made.optimizers.items()
    }
    yield from loop(system, optimizers, {name: textbook.batches(data, made.batch) for name, data in streams.items()})


def bare(made: Recipe, streams: Mapping[str, Dataset]) -> Iterator[None]:
    """Our rounds, kernels, layouts, precision and memory in the shortest loop that plays them: no guard, no average."""
    disable_malloc_trim()
    system = made.system.to(memory_format=torch.channels_last).train()
    weights = {
        player: list(dict.fromkeys(p for net in nets for p in getattr(system, net).parameters() if p.requires_grad))
        for player, nets in system.players.items()
    }
    optimizers = {player: make(weights[player]) for player, make in made.optimizers.items()}
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            group["fused"] = True
    precision = resolve_precision("auto" if made.precision == "auto" else made.precision, system.device)
    feed = Feed(streams, made.batch, seed=0)
    while True:
        moves = system.round(feed)
        while True:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == torch.bfloat16):
                move = next(moves, None)
            if move is None:
                break
            move.loss.backward(inputs=weights[move.player])
            optimizers[move.player].step()
            optimizers[move.player].zero_grad()
        yield


def refereed(made: Recipe, streams: Mapping[str, Dataset], seed: int = 0) -> Iterator[None]:
    """As `sparring train` plays it: guards, averages, schedules, and the numbers read every 10 rounds."""
    referee = Referee(
        made.system,
        streams,
        batch=made.batch,
        optimizers=made.optimizers,
        schedules=made.schedules,
        ema_decay=made.ema_decay,
        ema_start=made.ema_start,
        precision=made.precision,
        seed=seed,
    )
    while True:
        told = referee.play()
        if referee.round % LOG_EVERY == 0:
            referee.reduce_logs(told)
        yield


WAYS = ("textbook", "bare", "sparring")


def start(name: str, way: str) -> tuple[Iterator[None], int]:
    """The rounds of a workload in one of the WAYS, and how many images the data gives in each."""
    workload = WORKLOADS[name]
    made, streams = workload.prepare(workload.data())
    if way == "textbook":
        return by_the_textbook(made, streams, workload.loop), made.batch
    return (bare if way == "bare" else refereed)(made, streams), made.batch
