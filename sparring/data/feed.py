"""Endless, seeded, stateless streams of batches: batch k depends only on (seed, stream, k, share)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sparring.data.dataset import Dataset
from sparring.data.pixels import to_float
from sparring.errors import SparringError, unknown_name_error
from sparring.machine import to_device
from sparring.seeds import make_generator


class Feed:
    """Gives `feed("train")`: the next batch of a stream, as images in [-1, 1] and labels, or measured values, or None.

    An endless sequence of images is one random order after another (order e of a stream depends on (seed, stream, e)).
    Global batch k is its rows [k * batch, (k + 1) * batch); share s of S sees the s-th of S equal parts of it, so the
    same images come in the same order for one process or many, whole or in pieces.

    What augments a batch draws from (seed, stream, k) too, and every share takes its own rows of these draws.

    streams    name -> data; batch: images of one optimizer step, over all shares
    positions  stream -> k, the number of batches given so far: all that a resumed run needs
    """

    def __init__(
        self,
        streams: Mapping[str, Dataset],
        batch: int,
        *,
        seed: int,
        share: int = 0,
        shares: int = 1,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if batch % shares:
            raise SparringError(f"batch {batch} cannot be split into {shares} equal parts (processes x accumulate)")
        for name, data in streams.items():
            if batch > len(data):
                raise SparringError(f"batch {batch} is larger than the {len(data)} images of '{name}': lower --batch")
        self.streams, self.batch, self.seed = dict(streams), batch, seed
        self.share, self.shares = share, shares
        self.device, self.dtype = torch.device(device), dtype
        self.positions = dict.fromkeys(self.streams, 0)
        self._orders: dict[str, tuple[int, Tensor]] = {}

    def __call__(self, stream: str = "train") -> tuple[Tensor, Tensor | None]:
        if stream not in self.streams:
            raise unknown_name_error("stream", stream, self.streams)
        data = self.streams[stream]
        k = self.positions[stream]
        rows = self.rows(stream, k)
        self.positions[stream] += 1
        x = to_device(data.images[rows], self.device)
        x = (x if x.is_floating_point() else to_float(x)).to(self.dtype)
        if data.augment is not None:
            draws = torch.rand(self.batch, 3, generator=make_generator(self.seed, "augment", stream, k))
            x = data.augment(x, draws[self.share * len(x) : (self.share + 1) * len(x)])
        if data.values is not None:
            return x, to_device(data.values[rows].to(self.dtype), self.device)
        y = None if data.labels is None else to_device(data.labels[rows], self.device)
        return x, y

    def rows(self, stream: str, k: int) -> Tensor:
        """(batch / shares,) indexes of this share of global batch k."""
        size = self.batch // self.shares
        first, total = k * self.batch + self.share * size, len(self.streams[stream])
        pieces = []
        while size:
            epoch, at = divmod(first, total)
            piece = self._order(stream, epoch, total)[at : at + size]
            pieces.append(piece)
            first, size = first + len(piece), size - len(piece)
        return torch.cat(pieces)

    def last_rows(self) -> dict[str, list[int]]:
        """Stream -> indexes of the images it gave last, for a note on what went wrong."""
        return {stream: self.rows(stream, k - 1).tolist() for stream, k in self.positions.items() if k}

    def _order(self, stream: str, epoch: int, total: int) -> Tensor:
        known = self._orders.get(stream)
        if known is None or known[0] != epoch:
            known = (epoch, torch.randperm(total, generator=make_generator(self.seed, "order", stream, epoch)))
            self._orders[stream] = known
        return known[1]
