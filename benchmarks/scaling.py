"""On paper: what 8, 64 and 512 GPUs do with a round, from counted operations and counted bytes. No GPU is used,
and nothing is computed: tensors have shapes only. A minute on one core.

    python benchmarks/scaling.py

Each GPU keeps the batch of the recipe divided by the 8 of one machine (weak scaling). A round's time is its operations
over what a GPU computes; a move's all-reduce is a ring over one flat buffer of float32 gradients: 2 (n - 1) / n of the
bytes over the bandwidth of the slowest link, and 2 (n - 1) hops.
"""

from dataclasses import dataclass

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from sparring.bench.measuring import FlopCounter
from sparring.data.dataset import Spec
from sparring.recipes import RECIPES
from sparring.recipes.recipe import build_recipe, load_recipe, resolve_arguments
from sparring.system import System

COMPUTES = 100e12  # FLOP/s of one GPU on convolutions in bf16: a third of an A100's 312 at the best
INSIDE = 200e9  # bytes/s between the GPUs of a machine (NVLink)
OUTSIDE = 25e9  # bytes/s of each GPU's share of the network (200 Gbit/s)
HOP = 10e-6  # seconds
GPUS = (8, 64, 512)

CASES = [
    ("dcgan", Spec(3, 64, 64), {"batch": 1024}),
    ("wgan-gp-resnet", Spec(3, 32, 32), {"batch": 512}),
    ("r3gan", Spec(3, 32, 32), {}),
    ("biggan", Spec(3, 128, 128, tuple(map(str, range(1000)))), {}),
]


@dataclass
class Count:
    """Of one round: operations for each image of the batch and for the weights, and bytes of gradients of each move."""

    batch: int
    for_images: float
    for_weights: float
    moves: list[int]


def count(name: str, spec: Spec, arguments: dict) -> Count:
    """Plays a round of two images and one of four, in shapes alone: what does not double is done for the weights."""
    function = load_recipe(name, RECIPES)
    with FakeTensorMode():
        made = build_recipe(function, spec, resolve_arguments(function, arguments))
        (few, moves), (more, _) = (_round(made.system.train(), spec, images) for images in (2, 4))
    return Count(made.batch, (more - few) / 2, 2 * few - more, moves)


def _round(system: System, spec: Spec, images: int) -> tuple[int, list[int]]:
    """Operations of a round with so many images, and bytes of gradients of its moves."""

    def feed(stream: str) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(images, *spec.shape), torch.zeros(images, dtype=torch.int64)

    moves = []
    with FlopCounter() as counted:
        for move in system.round(feed):
            weights = [p for net in system.players[move.player] for p in getattr(system, net).parameters()]
            move.loss.backward(inputs=weights)
            moves.append(sum(4 * p.numel() for p in weights))
    return counted.total, moves


def seconds(moves: list[int], gpus: int) -> float:
    """All-reduces of one round, none hidden behind arithmetic."""
    link = INSIDE if gpus <= 8 else OUTSIDE
    return sum(2 * (gpus - 1) / gpus * size / link + 2 * (gpus - 1) * HOP for size in moves)


if __name__ == "__main__":
    print(f"{COMPUTES / 1e12:.0f} TFLOP/s a GPU, {INSIDE / 1e9:.0f} GB/s inside, {OUTSIDE / 1e9:.0f} GB/s outside\n")
    head = "| recipe | batch on each GPU | TFLOP a GPU | ms of arithmetic | MB to reduce |"
    print(head + "".join(f" {n} GPUs: ms, efficiency |" for n in GPUS))
    print("|---|---|---|---|---|" + "---|" * len(GPUS))
    for name, spec, arguments in CASES:
        found = count(name, spec, arguments)
        each = found.batch // 8
        work = found.for_images * each + found.for_weights
        arithmetic = work / COMPUTES
        row = f"| `{name}` {spec.height}x{spec.width} | {each} | {work / 1e12:.2f} | {1e3 * arithmetic:.0f} | "
        row += f"{sum(found.moves) / 1e6:.0f} |"
        for n in GPUS:
            reduce = seconds(found.moves, n)
            row += f" {1e3 * reduce:.1f}, {100 * arithmetic / (arithmetic + reduce):.0f} % |"
        print(row, flush=True)
