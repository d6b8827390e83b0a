"""Faults planted into real images, each at three severities: what a generator with exactly that fault would make."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sparring.data.dataset import Dataset
from sparring.data.pixels import to_float, to_uint8


class Material(NamedTuple):
    """Real images to plant faults into: `fresh` ones that nobody has seen, and the training images for copies."""

    fresh: Dataset
    train: Tensor


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def without(many: int) -> Callable[[Material, int], Tensor]:
    """The last `many` classes are never made."""

    def plant(material: Material, n: int) -> Tensor:
        kept = (material.fresh.labels[:, None] != torch.arange(10 - many, 10)).all(1)
        return material.fresh.images[kept][:n]

    return plant


def mostly_one(share: float) -> Callable[[Material, int], Tensor]:
    """One class is this share of everything."""

    def plant(material: Material, n: int) -> Tensor:
        one = material.fresh.labels == 1
        ones = material.fresh.images[one][: round(share * n)]
        return torch.cat([ones, material.fresh.images[~one][: n - len(ones)]])

    return plant


def repeated(share: float) -> Callable[[Material, int], Tensor]:
    """The same images, this share of n, again and again."""
    return lambda material, n: material.fresh.images[torch.arange(n) % round(share * n)]


def partly_repeated(share: float, many: int = 20) -> Callable[[Material, int], Tensor]:
    """This share of the samples are the same `many` images."""

    def plant(material: Material, n: int) -> Tensor:
        same = round(share * n)
        return torch.cat(
            [material.fresh.images[torch.arange(same) % many], material.fresh.images[many : many + n - same]]
        )

    return plant


def copied(share: float, noise: float = 0.0) -> Callable[[Material, int], Tensor]:
    """This share of the samples are training images, with Gaussian noise of this many gray levels."""

    def plant(material: Material, n: int) -> Tensor:
        count = round(share * n)
        copies = material.train[torch.randperm(len(material.train), generator=rng())[:count]]
        return torch.cat([noisy(noise)(material, 0, copies), material.fresh.images[: n - count]])

    return plant


def changed(change: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """Something is done to every image, in [-1, 1]."""

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
    """Lighter and darker pixels in turn, on a gray that lets both be seen."""

    def change(x: Tensor) -> Tensor:
        board = (torch.arange(x.shape[2])[:, None] + torch.arange(x.shape[3])).remainder(2) * 2 - 1
        return x + levels / 127.5 * board

    return changed(change)


def shrunk(factor: float) -> Callable[[Material, int], Tensor]:
    """Of `factor` times as many images, those nearest to the center of their class."""

    def plant(material: Material, n: int) -> Tensor:
        some = material.fresh.rows(torch.arange(round(factor * n)))
        flat, kept = some.images.flatten(1).float(), []
        for label in range(10):
            members = (some.labels == label).nonzero().flatten()
            far = (flat[members] - flat[members].mean(0)).square().sum(1)
            kept.append(members[far.argsort()[: -(-len(members) * n // len(flat))]])
        return some.images[torch.cat(kept).sort().values][:n]

    return plant


def with_garbage(share: float) -> Callable[[Material, int], Tensor]:
    """This share of the samples are pixels without sense."""

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
"""Fault -> the same fault at three severities, weakest first."""
