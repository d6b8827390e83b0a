"""What the loop costs beside forward, backward and optimizer: sparring against a bare loop with the same networks.

    python benchmarks/bookkeeping.py [cs231n-mlp cs231n-dcgan dcgan] [--rounds 40] [--blocks 9] [--whole] [--json FILE]

Each loop lives in a process of its own; they take turns, block by block, so that a machine that drifts slows all of
them alike. Printed are medians, and the median, least and greatest of the blocks' ratios to the bare loop. All use the
same networks, precision, fused optimizer and images in memory.

bare       the loop one writes by hand: batch, two losses, two backwards, two steps, and nothing else
bare-kept  the same with the memory setting that the referee makes (referee.keep_freed_memory)
play       Referee.play: seeded draws, guard, gradient norms, moving average, and a log line every 10th round
whole      sparring.train with its defaults, all of it but the set-up: play plus display, sample grids, FD measurements
           and checkpoints, for as many rounds as the recipe's source played (--whole: minutes)
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import torch
import torch.nn.functional as F

import sparring
import sparring.referee
from sparring.data.dataset import Dataset
from sparring.recipes import RECIPES
from sparring.recipes.recipe import Recipe, build_recipe, info, load_recipe, resolve_arguments
from sparring.referee import Referee


def make(name: str, data: Dataset) -> tuple[Recipe, Referee]:
    function = load_recipe(name, RECIPES)
    torch.manual_seed(0)
    made = build_recipe(function, data.spec, resolve_arguments(function, {}))
    referee = Referee(
        made.system,
        {"train": data},
        batch=made.batch,
        optimizers=made.optimizers,
        schedules=made.schedules,
        ema_decay=made.ema_decay,
    )
    return made, referee


def bare_loop(name: str, data: Dataset, *, kept: bool) -> Callable[[], None]:
    """One round of GAN training, written out: non-saturating game, fused Adam, autocast as the referee chose it."""
    if not kept:
        sparring.referee.disable_malloc_trim = lambda: None
    made, referee = make(name, data)
    G, D, latent_dim = made.system.G, made.system.D, made.system.latent_dim
    reuse = not made.system.resample_noise
    step_d, step_g = referee.optimizers["discriminator"], referee.optimizers["generator"]
    weights_d, weights_g = list(D.parameters()), list(G.parameters())
    half = referee.precision == torch.bfloat16

    def one_round() -> None:
        rows = torch.randint(0, len(data), (made.batch,))
        x = data.images_at(rows).float().div_(127.5).sub_(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            with torch.set_grad_enabled(reuse):
                fake = G(torch.rand(made.batch, latent_dim) * 2 - 1)
            real_score, fake_score = D(x).float(), D(fake.detach()).float()
        loss = F.softplus(-real_score).mean() + F.softplus(fake_score).mean()
        loss.backward(inputs=weights_d)
        step_d.step()
        step_d.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            if not reuse:
                fake = G(torch.rand(made.batch, latent_dim) * 2 - 1)
            score = D(fake).float()
        F.softplus(-score).mean().backward(inputs=weights_g)
        step_g.step()
        step_g.zero_grad()

    return one_round


def refereed(name: str, data: Dataset, folder: str) -> Callable[[], None]:
    """One round as the training loop plays it, with its log."""
    _, referee = make(name, data)

    def one_round() -> None:
        results = referee.play()
        if referee.round % 10 == 0:
            with open(f"{folder}/log.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps({"round": referee.round, "moves": referee.reduce_logs(results)}) + "\n")

    return one_round


def seconds(one_round: Callable[[], None], rounds: int) -> float:
    started = time.perf_counter()
    for _ in range(rounds):
        one_round()
    return (time.perf_counter() - started) / rounds


def worker(loop: str, name: str, wire: Connection) -> None:
    """Builds a loop, then times as many rounds as its input asks for, until that is 0."""
    data = sparring.load("digits", size=info(load_recipe(name, RECIPES)).size)
    with tempfile.TemporaryDirectory() as folder:
        one_round = refereed(name, data, folder) if loop == "play" else bare_loop(name, data, kept=loop == "bare-kept")
        seconds(one_round, 10)
        wire.send(0.0)
        while rounds := wire.recv():
            wire.send(seconds(one_round, rounds))


def compare(name: str, rounds: int, blocks: int, whole: bool) -> dict[str, dict[str, float]]:
    """Loop -> milliseconds per round and its ratio to the bare loop: median, least, greatest."""
    context = multiprocessing.get_context("spawn")
    wires = {}
    for loop in ("bare", "bare-kept", "play"):
        wires[loop], theirs = context.Pipe()
        context.Process(target=worker, args=(loop, name, theirs), daemon=True).start()
        wires[loop].recv()
    times: dict[str, list[float]] = {loop: [] for loop in wires}

    def block() -> None:
        for loop, wire in wires.items():
            wire.send(rounds)
            times[loop].append(wire.recv())

    for _ in range(blocks):
        block()
    if whole:
        data = sparring.load("digits", size=info(load_recipe(name, RECIPES)).size)
        with tempfile.TemporaryDirectory() as folder:
            last = sparring.train(name, data, out=folder, quiet=True).read("timing")[-1]
        times["whole"] = [last["seconds"] / last["round"]] * blocks
    for wire in wires.values():
        wire.send(0)

    found = {}
    for loop, its in times.items():
        ratios = sorted(t / b for t, b in zip(its, times["bare"], strict=True))
        middle = statistics.median(ratios)
        found[loop] = {"ms": 1e3 * statistics.median(its), "ratio": middle, "low": ratios[0], "high": ratios[-1]}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=["cs231n-mlp", "cs231n-dcgan"])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--blocks", type=int, default=9)
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--json")
    options = parser.parse_args()
    found = {}
    for name in options.recipes:
        found[name] = compare(name, options.rounds, options.blocks, options.whole)
        for loop, row in found[name].items():
            print(
                f"{name:<14} {loop:<10} {row['ms']:8.2f} ms   x {row['ratio']:.3f}"
                f"  ({row['low']:.3f} to {row['high']:.3f})",
                flush=True,
            )
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(
                {"torch": torch.__version__, "threads": torch.get_num_threads(), "recipes": found}, file, indent=1
            )


if __name__ == "__main__":
    main()
