"""What can be seen of a training from outside: one row of numbers, from 64 samples, 128 real images and the last moves.

A look reads weights and asks for abilities (`sample`, `score`). It draws from generators of its own, puts every
module back into the mode it was in, and changes nothing that training will read.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sparring.data.dataset import Dataset
from sparring.data.pixels import to_float
from sparring.seeds import derive_seed, isolated, make_generator
from sparring.system import System

SEEN = 64
"""Samples, training images and held-out images of one look."""

EVERY = 25
"""Rounds between two looks, at first; more for small batches and small networks, see `spacing`."""

SMALL = 1_000_000
"""With fewer weights a round is so short that looks come half as often."""

LAGS = 4
"""The averaged weights are looked at in every fourth look."""

REFERENCE = 1024
"""Training images that are described once, before the first round."""

PROBED = 64
"""Weights of each tensor whose movement is followed."""

Row = dict[str, Any]
"""One look: "round", and numbers by name; a number that is not finite is None."""


def spacing(round_number: int, batch: int, weights: int) -> int:
    """Rounds between looks around a round: at first as many as cost little, then 20 looks for every doubling.

    It depends on the round and on what a round costs, and not on how many rounds there will be: a run that is resumed
    with another end is looked at in the same rounds.
    """
    first = EVERY * max(1, -(-SEEN // batch)) * (2 if weights < SMALL else 1)
    return first << max(0, (round_number // (20 * first)).bit_length() - 1)


class Observer:
    """Looks at a system in training.

    live    the system that plays; shown: the same with averaged networks
    """

    def __init__(self, live: System, shown: System, data: Dataset, *, batch: int, seed: int) -> None:
        self.live, self.shown, self.data = live, shown, data
        self.batch, self.seed = batch, seed
        self.weights = sum(w.numel() for w in live.parameters())
        self._before: dict[str, Tensor] = {}
        if not live.supports("sample"):
            return
        rows = torch.randperm(len(data), generator=make_generator("health", "reference"))[:REFERENCE]
        labels = data.labels[rows] if live.classes and data.labels is not None else None
        self.real = ImageStatistics(to_network_range(data.images[rows]), labels, live.classes)

    def spacing(self, round_number: int) -> int:
        return spacing(round_number, self.batch, self.weights)

    def due(self, round_number: int) -> bool:
        """Whether this round ends with a look."""
        return round_number % self.spacing(round_number) == 0

    def before(self) -> None:
        """Keep a few weights of every player, just before the round that is looked at."""
        self._before = weight_sample(self.live)

    @torch.no_grad()
    def look(
        self, round_number: int, moves: Sequence[Mapping[str, float | str]], rates: Mapping[str, float] | None = None
    ) -> Row:
        """The row of this round: `moves` as `Referee.agree` gives them, `rates` the players' learning rates."""
        row: dict[str, Any] = {"round": round_number} | {f"{player}.lr": lr for player, lr in (rates or {}).items()}
        for move in moves:  # of several moves of a player the last is kept
            row |= {f"{move['player']}.{name}": value for name, value in move.items() if name != "player"}
        for player, after in weight_sample(self.live).items():
            size = float(self._before[player].norm())
            row[f"{player}.weights"] = float(after.norm())
            row[f"{player}.step"] = float((after - self._before[player]).norm()) / max(size, 1e-12)
        if self.live.supports("sample") and not self.live.growing:  # before, samples lack detail of images
            with preserving_mode_and_rng(self.live):
                row |= self._pictures(round_number)
        return {name: value if math.isfinite(value) else None for name, value in row.items()}

    def _pictures(self, round_number: int) -> Row:
        row: Row = {}
        fake = self.live.sample(SEEN, seed=derive_seed(self.seed, "health")).float()
        if not bool(fake.isfinite().all()):
            return {"diversity": math.nan}
        train = self._some(self.data, round_number)
        row |= self.real.compare(fake, to_network_range(train.images))
        if self.shown is not self.live and (round_number // self.spacing(round_number)) % LAGS == 0:
            shown = self.shown.sample(SEEN, seed=derive_seed(self.seed, "health")).float()
            row["shown"] = energy(shown.flatten(1), to_network_range(train.images).flatten(1)) / self.real.spread
        if self.live.supports("score"):
            row |= self._scores(fake, train, round_number)
        return row

    def _scores(self, fake: Tensor, train: Dataset, round_number: int) -> Row:
        parts = [train, self._some(self.data.held_out, round_number)] if self.data.held_out else [train]
        images = torch.cat([to_network_range(part.images) for part in parts] + [fake])
        if "labels" in inspect.signature(self.live.score).parameters:
            asked = torch.arange(SEEN) % self.live.classes  # `sample` gives each class in turn
            labels = torch.cat([part.labels for part in parts if part.labels is not None] + [asked])
            scores = self.live.score(images, labels=labels)
        else:
            scores = self.live.score(images)
        seen, *unseen, made = scores.float().split([len(part.images) for part in parts] + [SEEN])
        row = {"separation": 2 * above(seen, made) - 1, "scores": float(scores.abs().mean())}
        if self.data.held_out:
            row["memory"] = 2 * above(seen, unseen[0]) - 1
            row["memory_error"] = (3 * len(self.data.held_out)) ** -0.5  # the variance of a rank is 1/12
        return row

    def _some(self, part: Dataset, round_number: int) -> Dataset:
        """Other images in every look, so that what a judge thinks of them can be averaged over looks."""
        stream = make_generator("health", round_number)
        return part.rows(torch.randint(len(part), (SEEN,), generator=stream))


class ImageStatistics:
    """What real images are like, described once; and how others compare.

    images   (N, C, H, W) in [-1, 1], or points (N, D); labels (N,) into `classes`, or None
    """

    def __init__(self, images: Tensor, labels: Tensor | None, classes: int) -> None:
        flat = images.flatten(1)
        self.mean, self.std = float(flat.mean()), max(float(flat.std()), 1e-6)
        self.darkest, self.brightest = float(flat.amin(1).mean()), float(flat.amax(1).mean())
        self.extreme = share_of_extremes(images)
        self.edges, self.checker = (edges(images), checkerboard(images)) if images.ndim == 4 else (0.0, 0.0)
        groups = [g for g in flat.split(SEEN) if len(g) > 1]
        apart = [torch.pdist(g) for g in groups]
        self.spread = max(float(torch.stack([a.mean() for a in apart]).mean()), 1e-6)
        self.nearest = max(float(torch.cat([nearest(g) for g in groups]).median()), 1e-6)
        self.classes = class_means(flat, labels, classes) if labels is not None else None

    def compare(self, fake: Tensor, real: Tensor) -> Row:
        """Numbers that are near 1 (ratios) or near 0 (differences) for images of the same kind.

        diversity  mean distance of two samples, over that of two real images
        neighbors median distance of a sample to the nearest other one, over that of real images
        twins      share of samples for which it is less than a fifth of that of real images
        distance   energy distance in pixels, over the mean distance of two real images
        level      mean brightness, over the deviation of pixels; contrast: that deviation
        darkest    pixel of an image on average, brightest: likewise, over the distance of the two in real images
        extremes   share of pixels at +-1
        edges      variance of the Laplacian, checker: power at the Nyquist frequencies
        labels     cosine between what the classes differ in, of samples and of real images
        """
        flat = fake.flatten(1)
        apart = nearest(flat) / self.nearest
        reach = max(self.brightest - self.darkest, 1e-6)
        row: Row = {
            "diversity": float(torch.pdist(flat).mean()) / self.spread,
            "neighbors": float(apart.median()),
            "twins": float((apart < 0.2).float().mean()),
            "distance": energy(flat, real.flatten(1)) / self.spread,
            "level": (float(flat.mean()) - self.mean) / self.std,
            "contrast": float(flat.std()) / self.std,
            "darkest": (float(flat.amin(1).mean()) - self.darkest) / reach,
            "brightest": (float(flat.amax(1).mean()) - self.brightest) / reach,
        }
        if fake.ndim == 4:
            row["extremes"] = share_of_extremes(fake) - self.extreme
            row["edges"] = edges(fake) / max(self.edges, 1e-6)
            row["checker"] = checkerboard(fake) / max(self.checker, 1e-9)
        if self.classes is not None:
            asked = torch.arange(len(fake)) % len(self.classes)
            made = class_means(flat, asked, len(self.classes))
            row["labels"] = float(torch.cosine_similarity(made.flatten(), self.classes.flatten(), dim=0))
        return row


@contextmanager
def preserving_mode_and_rng(system: System) -> Iterator[None]:
    """Afterwards every module is in the mode it was in, and the global generators are where they were."""
    modes = {module: module.training for module in system.modules()}
    with isolated(0, system.device), torch.no_grad():
        try:
            yield
        finally:
            for module, mode in modes.items():
                module.training = mode


def to_network_range(images: Tensor) -> Tensor:
    """Images as networks see them; points of toys are floats already."""
    return to_float(images) if images.dtype == torch.uint8 else images.float()


def weight_sample(system: System) -> dict[str, Tensor]:
    """Player -> up to PROBED of the weights of each of its tensors, evenly spaced, as float32 on the CPU."""
    found = {}
    for player, networks in system.players.items():
        weights = [w for name in networks for w in getattr(system, name).parameters() if w.requires_grad]
        found[player] = torch.cat([strided_sample(w) for w in weights]).float().cpu()
    return found


def strided_sample(weight: nn.Parameter) -> Tensor:
    """(at most PROBED,) of a tensor's numbers, as they lie in memory: no copy of the rest."""
    every = -(-weight.numel() // PROBED)
    return weight.detach().as_strided((-(-weight.numel() // every),), (every,))


def above(scores: Tensor, others: Tensor) -> float:
    """How often one of `scores` (N,) is above one of `others` (M,), ties half: 1/2 if they are alike."""
    difference = scores[:, None] - others
    return float((difference.sign().mean() + 1) / 2)


def nearest(flat: Tensor) -> Tensor:
    """(N,) distance of each row of (N, F) to the nearest other row."""
    apart = torch.cdist(flat, flat)
    return apart.fill_diagonal_(math.inf).min(1).values


def energy(fake: Tensor, real: Tensor) -> float:
    """Energy distance of (N, F) and (M, F), without bias: 2 E|x - f| - E|x - x'| - E|f - f'|."""
    between = torch.cdist(fake, real).mean()
    return float(2 * between - torch.pdist(real).mean() - torch.pdist(fake).mean())


def share_of_extremes(images: Tensor) -> float:
    return float((images.abs() > 0.99).float().mean())


def edges(images: Tensor) -> float:
    """Mean variance of the Laplacian of (N, C, H, W); 0 for images of fewer than 3 pixels a side."""
    if min(images.shape[2:]) < 3:
        return 0.0
    middle = images[..., 1:-1, 1:-1]
    around = images[..., :-2, 1:-1] + images[..., 2:, 1:-1] + images[..., 1:-1, :-2] + images[..., 1:-1, 2:]
    return float((around - 4 * middle).flatten(2).var(2).mean())


def checkerboard(images: Tensor) -> float:
    """Mean power of (N, C, H, W) at the three Nyquist frequencies: stripes and checkers one pixel wide."""
    height, width = images.shape[2] // 2 * 2, images.shape[3] // 2 * 2
    images = images[..., :height, :width]
    down = 1 - 2 * (torch.arange(height, device=images.device) % 2).float()
    along = 1 - 2 * (torch.arange(width, device=images.device) % 2).float()
    rows, columns = images.mean(3) @ down / max(height, 1), images.mean(2) @ along / max(width, 1)
    checkers = (images @ along @ down) / max(height * width, 1)
    return float((rows.square() + columns.square() + checkers.square()).mean())


def class_means(flat: Tensor, labels: Tensor, classes: int) -> Tensor:
    """(classes, F) how the mean of each class differs from the mean of all; 0 for a class without images."""
    member = nn.functional.one_hot(labels, classes).to(flat)
    means = member.T @ flat / member.sum(0).clamp(min=1)[:, None]
    return torch.where(member.sum(0)[:, None] > 0, means - means.mean(0), 0.0)
