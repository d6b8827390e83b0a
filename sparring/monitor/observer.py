"""Observations of a training: one row of numbers from 64 samples, 128 real images and the moves of one round.

An observation reads weights and calls `sample` and `score`. It draws from its own generators, restores the mode of
every module, and does not change anything that training reads.
"""

from __future__ import annotations

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

N_IMAGES = 64
"""Number of samples, of training images and of held-out images per observation."""

FIRST_SPACING = 25
"""Rounds between two observations at the start; more for small batches and small networks, see `spacing`."""

SMALL_NETWORK = 1_000_000
"""Networks with fewer weights are observed half as often, because their rounds are short."""

EMA_EVERY = 4
"""Samples of the EMA weights are part of every fourth observation."""

N_REFERENCE = 1024
"""Number of training images that are described once, before the first round."""

WEIGHTS_PER_TENSOR = 64
"""At most this many weights of each tensor are tracked."""

Row = dict[str, Any]
"""One observation: "round", and numbers by name; a number that is not finite is None.

Names are those of OBSERVED and, for a player, "PLAYER.NAME" with a name of PER_PLAYER or of a number that it logs.
"""

OBSERVED: dict[str, str] = {
    "diversity": "mean distance between two samples, divided by that of images",
    "neighbors": "median distance of a sample to its nearest neighbor, divided by that of images",
    "near_duplicates": "share of samples whose nearest-neighbor distance is below a fifth of that of images",
    "distance": "energy distance between samples and images in pixels, divided by the mean distance between two images",
    "ema_distance": "`distance` of the samples of the EMA weights (every fourth observation)",
    "separation": "how reliably the discriminator scores images above samples: 1 always, 0 at chance, -1 never",
    "memory": "how reliably it scores training images above held-out ones",
    "memory_error": "standard error of `memory`",
    "scores": "mean absolute score of the discriminator",
    "level": "difference in mean brightness, in standard deviations of the pixels of images",
    "contrast": "standard deviation of the pixels, divided by that of images",
    "darkest": "difference in the mean darkest pixel, as a share of the range of images",
    "brightest": "difference in the mean brightest pixel, as a share of the range of images",
    "extremes": "difference in the share of pixels at +-1",
    "edges": "variance of the Laplacian, divided by that of images",
    "checker": "power at the Nyquist frequencies, divided by that of images",
    "labels": "cosine similarity between the class means of samples and of images",
}
"""Number of an observation -> its meaning."""

PER_PLAYER: dict[str, str] = {
    "lr": "its learning rate",
    "weights": "norm of a sample of its weights",
    "step": "relative change of these in one round",
}
"""Number of an observation about one player -> its meaning."""


def spacing(round_number: int, batch: int, weights: int) -> int:
    """Number of rounds between observations around a round: constant at first, then 20 observations per doubling.

    It depends on the round and the cost of a round, not on the planned number of rounds: a run that is resumed with
    another end is observed in the same rounds.
    """
    first = FIRST_SPACING * max(1, -(-N_IMAGES // batch)) * (2 if weights < SMALL_NETWORK else 1)
    return first << max(0, (round_number // (20 * first)).bit_length() - 1)


class Observer:
    """Observes a system in training.

    live   the system in training
    ema    the same system with EMA weights
    """

    def __init__(self, live: System, ema: System, data: Dataset, *, batch: int, seed: int) -> None:
        self.live, self.ema, self.data = live, ema, data
        self.batch, self.seed = batch, seed
        self.weights = sum(w.numel() for w in live.parameters())
        self._before: dict[str, Tensor] = {}
        if not live.supports("sample"):
            return
        rows = torch.randperm(len(data), generator=make_generator("health", "reference"))[:N_REFERENCE]
        labels = data.labels[rows] if live.classes and data.labels is not None else None
        self.real = ImageStatistics(to_network_range(data.images_at(rows)), labels, live.classes)

    def spacing(self, round_number: int) -> int:
        """Number of rounds between observations around a round."""
        return spacing(round_number, self.batch, self.weights)

    def due(self, round_number: int) -> bool:
        """Whether this round is observed."""
        return round_number % self.spacing(round_number) == 0

    def before_round(self) -> None:
        """Store a sample of each player's weights; call just before the round that is observed."""
        self._before = weight_sample(self.live)

    @torch.no_grad()
    def observe(
        self, round_number: int, moves: Sequence[Mapping[str, float | str]], rates: Mapping[str, float] | None = None
    ) -> Row:
        """The row of this round.

        moves  results of `Referee.reduce_logs`
        rates  learning rates by player
        """
        row: dict[str, Any] = {"round": round_number} | {f"{player}.lr": lr for player, lr in (rates or {}).items()}
        for move in moves:  # the last of several moves of a player counts
            row |= {f"{move['player']}.{name}": value for name, value in move.items() if name != "player"}
        for player, after in weight_sample(self.live).items():
            size = float(self._before[player].norm())
            row[f"{player}.weights"] = float(after.norm())
            row[f"{player}.step"] = float((after - self._before[player]).norm()) / max(size, 1e-12)
        if self.live.supports("sample") and not self.live.growing:  # before, samples lack detail of images
            with preserving_mode_and_rng(self.live):
                row |= self._sample_statistics(round_number)
        return {name: value if math.isfinite(value) else None for name, value in row.items()}

    def _sample_statistics(self, round_number: int) -> Row:
        """The numbers of OBSERVED."""
        row: Row = {}
        fake = self.live.sample(N_IMAGES, seed=derive_seed(self.seed, "health")).float()
        if not bool(fake.isfinite().all()):
            return {"diversity": math.nan}
        train = self._draw(self.data, round_number)
        row |= self.real.compare(fake, to_network_range(train.images))
        if self.ema is not self.live and (round_number // self.spacing(round_number)) % EMA_EVERY == 0:
            ema_fake = self.ema.sample(N_IMAGES, seed=derive_seed(self.seed, "health")).float()
            row["ema_distance"] = (
                energy(ema_fake.flatten(1), to_network_range(train.images).flatten(1)) / self.real.spread
            )
        if self.live.supports("score"):
            row |= self._scores(fake, train, round_number)
        return row

    def _scores(self, fake: Tensor, train: Dataset, round_number: int) -> Row:
        parts = [train, self._draw(self.data.held_out, round_number)] if self.data.held_out else [train]
        images = torch.cat([to_network_range(part.images) for part in parts] + [fake])
        if self.live.accepts("score", "labels"):
            fake_labels = torch.arange(N_IMAGES) % self.live.classes  # `sample` cycles through the classes
            labels = torch.cat([part.labels for part in parts if part.labels is not None] + [fake_labels])
            scores = self.live.score(images, labels=labels)
        else:
            scores = self.live.score(images)
        on_train, *on_held_out, on_fake = scores.float().split([len(part.images) for part in parts] + [N_IMAGES])
        row = {"separation": 2 * above(on_train, on_fake) - 1, "scores": float(scores.abs().mean())}
        if self.data.held_out:
            row["memory"] = 2 * above(on_train, on_held_out[0]) - 1
            row["memory_error"] = (3 * len(self.data.held_out)) ** -0.5  # the variance of a rank is 1/12
        return row

    def _draw(self, part: Dataset, round_number: int) -> Dataset:
        """Different images in every observation, so that scores can be averaged over observations."""
        stream = make_generator("health", round_number)
        return part.rows(torch.randint(len(part), (N_IMAGES,), generator=stream))


class ImageStatistics:
    """Statistics of real images, computed once, to compare samples with.

    images   (N, C, H, W) in [-1, 1], or points (N, D)
    labels   (N,) class indices, or None
    classes  number of classes
    """

    def __init__(self, images: Tensor, labels: Tensor | None, classes: int) -> None:
        flat = images.flatten(1)
        self.mean, self.std = float(flat.mean()), max(float(flat.std()), 1e-6)
        self.darkest, self.brightest = float(flat.amin(1).mean()), float(flat.amax(1).mean())
        self.extreme = share_of_extremes(images)
        self.edges, self.checker = (edges(images), checkerboard(images)) if images.ndim == 4 else (0.0, 0.0)
        groups = [g for g in flat.split(N_IMAGES) if len(g) > 1]
        distances = [torch.pdist(g) for g in groups]
        self.spread = max(float(torch.stack([d.mean() for d in distances]).mean()), 1e-6)
        self.nearest = max(float(torch.cat([nearest(g) for g in groups]).median()), 1e-6)
        self.classes = class_means(flat, labels, classes) if labels is not None else None

    def compare(self, fake: Tensor, real: Tensor) -> Row:
        """Ratios (near 1 for images of the same kind) and differences (near 0).

        Names as in OBSERVED.
        """
        flat = fake.flatten(1)
        neighbors = nearest(flat) / self.nearest
        span = max(self.brightest - self.darkest, 1e-6)
        row: Row = {
            "diversity": float(torch.pdist(flat).mean()) / self.spread,
            "neighbors": float(neighbors.median()),
            "near_duplicates": float((neighbors < 0.2).float().mean()),
            "distance": energy(flat, real.flatten(1)) / self.spread,
            "level": (float(flat.mean()) - self.mean) / self.std,
            "contrast": float(flat.std()) / self.std,
            "darkest": (float(flat.amin(1).mean()) - self.darkest) / span,
            "brightest": (float(flat.amax(1).mean()) - self.brightest) / span,
        }
        if fake.ndim == 4:
            row["extremes"] = share_of_extremes(fake) - self.extreme
            row["edges"] = edges(fake) / max(self.edges, 1e-6)
            row["checker"] = checkerboard(fake) / max(self.checker, 1e-9)
        if self.classes is not None:
            labels = torch.arange(len(fake)) % len(self.classes)
            means = class_means(flat, labels, len(self.classes))
            row["labels"] = float(torch.cosine_similarity(means.flatten(), self.classes.flatten(), dim=0))
        return row


@contextmanager
def preserving_mode_and_rng(system: System) -> Iterator[None]:
    """Restore the mode of every module and the state of the global generators on exit."""
    modes = {module: module.training for module in system.modules()}
    with isolated(0, system.device), torch.no_grad():
        try:
            yield
        finally:
            for module, mode in modes.items():
                module.training = mode


def to_network_range(images: Tensor) -> Tensor:
    """uint8 images as floats in [-1, 1]; float data (points of toys) unchanged."""
    return to_float(images) if images.dtype == torch.uint8 else images.float()


def weight_sample(system: System) -> dict[str, Tensor]:
    """Player -> evenly spaced weights of each of its tensors, at most WEIGHTS_PER_TENSOR, as float32 on the CPU."""
    samples = {}
    for player, networks in system.players.items():
        weights = [w for name in networks for w in getattr(system, name).parameters() if w.requires_grad]
        samples[player] = torch.cat([strided_sample(w) for w in weights]).float().cpu()
    return samples


def strided_sample(weight: nn.Parameter) -> Tensor:
    """(at most WEIGHTS_PER_TENSOR,) evenly spaced elements in memory order, as a view."""
    stride = -(-weight.numel() // WEIGHTS_PER_TENSOR)
    return weight.detach().as_strided((-(-weight.numel() // stride),), (stride,))


def above(scores: Tensor, others: Tensor) -> float:
    """Probability that one of `scores` (N,) exceeds one of `others` (M,); ties count half."""
    difference = scores[:, None] - others
    return float((difference.sign().mean() + 1) / 2)


def nearest(flat: Tensor) -> Tensor:
    """(N,) distance of each row of (N, F) to the nearest other row."""
    distances = torch.cdist(flat, flat)
    return distances.fill_diagonal_(math.inf).min(1).values


def energy(fake: Tensor, real: Tensor) -> float:
    """Unbiased energy distance of (N, F) and (M, F): 2 E|x - f| - E|x - x'| - E|f - f'|."""
    cross = torch.cdist(fake, real).mean()
    return float(2 * cross - torch.pdist(real).mean() - torch.pdist(fake).mean())


def share_of_extremes(images: Tensor) -> float:
    """Share of the pixels at +-1."""
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
    """(classes, F) mean of each class minus the mean over classes; 0 for a class without images."""
    member = nn.functional.one_hot(labels, classes).to(flat)
    means = member.T @ flat / member.sum(0).clamp(min=1)[:, None]
    return torch.where(member.sum(0)[:, None] > 0, means - means.mean(0), 0.0)
