"""Faults planted into real images, each at three severities, as a generator with exactly that fault would produce."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sparring.data.dataset import Dataset
from sparring.data.pixels import to_float, to_uint8


class Material(NamedTuple):
    """Real images to plant faults into: unused ones (`fresh`), and the training images for copies."""

    fresh: Dataset
    train: Tensor


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def without(n_missing: int) -> Callable[[Material, int], Tensor]:
    """The last `n_missing` classes are missing."""

    def plant(material: Material, n: int) -> Tensor:
        kept = (material.fresh.labels[:, None] != torch.arange(10 - n_missing, 10)).all(1)
        return material.fresh.images[kept][:n]

    return plant


def mostly_one(share: float) -> Callable[[Material, int], Tensor]:
    """One class has this share of all samples."""

    def plant(material: Material, n: int) -> Tensor:
        is_one = material.fresh.labels == 1
        ones = material.fresh.images[is_one][: round(share * n)]
        return torch.cat([ones, material.fresh.images[~is_one][: n - len(ones)]])

    return plant


def repeated(share: float) -> Callable[[Material, int], Tensor]:
    """Only share * n distinct images, repeated."""
    return lambda material, n: material.fresh.images[torch.arange(n) % round(share * n)]


def partly_repeated(share: float, n_distinct: int = 20) -> Callable[[Material, int], Tensor]:
    """This share of the samples repeats `n_distinct` images."""

    def plant(material: Material, n: int) -> Tensor:
        n_repeated = round(share * n)
        return torch.cat(
            [
                material.fresh.images[torch.arange(n_repeated) % n_distinct],
                material.fresh.images[n_distinct : n_distinct + n - n_repeated],
            ]
        )

    return plant


def copied(share: float, noise: float = 0.0) -> Callable[[Material, int], Tensor]:
    """This share of the samples are training images, with Gaussian noise of `noise` gray levels."""

    def plant(material: Material, n: int) -> Tensor:
        count = round(share * n)
        copies = material.train[torch.randperm(len(material.train), generator=rng())[:count]]
        return torch.cat([noisy(noise)(material, 0, copies), material.fresh.images[: n - count]])

    return plant


def changed(change: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """Apply `change` to every image, in [-1, 1]."""

    def plant(material: Material, n: int, images: Tensor | None = None) -> Tensor:
        return to_uint8(change(to_float(material.fresh.images[:n] if images is None else images)))

    return plant


def noisy(levels: float) -> Callable[..., Tensor]:
    return changed(lambda x: x + levels / 127.5 * torch.randn(x.shape, generator=rng(1)))


def blurred(sigma: float) -> Callable[..., Tensor]:
    reach = torch.arange(-4, 5).float()
    kernel = torch.exp(-(reach**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
    return changed(lambda x: F.conv2d(F.conv2d(x, kernel, padding=(0, 4)), kernel.mT, padding=(4, 0)))


def checkerboard(levels: float) -> Callable[..., Tensor]:
    """Add an alternating pattern of +-`levels` gray levels."""

    def change(x: Tensor) -> Tensor:
        board = (torch.arange(x.shape[2])[:, None] + torch.arange(x.shape[3])).remainder(2) * 2 - 1
        return x + levels / 127.5 * board

    return changed(change)


def shrunk(factor: float) -> Callable[[Material, int], Tensor]:
    """Of `factor` times as many images, the nearest to their class mean."""

    def plant(material: Material, n: int) -> Tensor:
        candidates = material.fresh.rows(torch.arange(round(factor * n)))
        flat, kept = candidates.images.flatten(1).float(), []
        for label in range(10):
            members = (candidates.labels == label).nonzero().flatten()
            distances = (flat[members] - flat[members].mean(0)).square().sum(1)
            kept.append(members[distances.argsort()[: -(-len(members) * n // len(flat))]])
        return candidates.images[torch.cat(kept).sort().values][:n]

    return plant


def with_garbage(share: float) -> Callable[[Material, int], Tensor]:
    """This share of the samples is uniform noise."""

    def plant(material: Material, n: int) -> Tensor:
        count = round(share * n)
        garbage = torch.randint(0, 256, (count, *material.fresh.images.shape[1:]), generator=rng(2), dtype=torch.uint8)
        return torch.cat([garbage, material.fresh.images[: n - count]])

    return plant


FAULTS: dict[str, list[Callable[..., Tensor]]] = {
    "classes missing": [without(1), without(3), without(5)],
    "mostly one class": [mostly_one(0.2), mostly_one(0.3), mostly_one(0.5)],
    "few images": [repeated(0.7), repeated(0.3), repeated(0.1)],
    "half the same": [partly_repeated(0.15), partly_repeated(0.3), partly_repeated(0.5)],
    "shrunk": [shrunk(1.5), shrunk(2.5), shrunk(3.9)],
    "copies": [copied(0.3), copied(0.6), copied(1.0)],
    "noisy copies": [copied(0.5, 8), copied(0.75, 8), copied(1.0, 8)],
    "blur": [blurred(0.5), blurred(0.7), blurred(1.2)],
    "checkerboard": [checkerboard(6), checkerboard(12), checkerboard(20)],
    "noise": [noisy(10), noisy(20), noisy(40)],
    "garbage": [with_garbage(0.02), with_garbage(0.05), with_garbage(0.15)],
}
"""Fault -> the fault at three severities, weakest first."""
