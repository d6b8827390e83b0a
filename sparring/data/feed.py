"""Infinite, seeded, stateless streams of batches: batch k depends only on (seed, stream, k, share)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sparring.data.dataset import Dataset
from sparring.data.pixels import to_float
from sparring.device import to_device
from sparring.errors import SparringError, unknown_name_error
from sparring.seeds import make_generator


class Feed:
    """`feed("train")` returns the next batch of a stream: images in [-1, 1], and labels, measured values or None.

    A stream is a sequence of random permutations; permutation e depends on (seed, stream, e). Global batch k is rows
    [k * batch, (k + 1) * batch) of that sequence, and shard s of S gets the s-th of S equal parts of it. The order of
    the images therefore does not depend on the number of processes or microbatches.

    Augmentation draws from (seed, stream, k), and every shard takes its own rows of these draws.

    streams    name -> data
    batch      images per optimizer step, over all shards
    share      index of this shard; shares: number of shards
    positions  stream -> k, the number of batches returned so far: all the state that a resumed run needs
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
            raise SparringError(f"batch {batch} cannot be split into {shares} equal parts (processes x grad_accum)")
        for name, data in streams.items():
            if batch > len(data):
                raise SparringError(f"batch {batch} is larger than the {len(data)} images of '{name}': lower --batch")
        self.streams, self.batch, self.seed = dict(streams), batch, seed
        self.share, self.shares = share, shares
        self.device, self.dtype = torch.device(device), dtype
        self.positions = dict.fromkeys(self.streams, 0)
        self._orders: dict[str, tuple[int, Tensor]] = {}

    def __call__(self, stream: str = "train") -> tuple[Tensor, Tensor | None]:
        """The next batch of a stream: (batch / shares, C, H, W) images in [-1, 1], and labels, values or None.

        labels  (batch / shares,) int64; values  (batch / shares, K) floats

        Raises SparringError for an unknown stream.
        """
        if stream not in self.streams:
            raise unknown_name_error("stream", stream, self.streams)
        data = self.streams[stream]
        k = self.positions[stream]
        rows = self.rows(stream, k)
        self.positions[stream] += 1
        x = to_device(data.images_at(rows), self.device)
        x = (x if x.is_floating_point() else to_float(x)).to(self.dtype)
        if data.augment is not None:
            draws = torch.rand(self.batch, 3, generator=make_generator(self.seed, "augment", stream, k))
            x = data.augment(x, draws[self.share * len(x) : (self.share + 1) * len(x)])
        if data.values is not None:
            return x, to_device(data.values[rows].to(self.dtype), self.device)
        y = None if data.labels is None else to_device(data.labels[rows], self.device)
        return x, y

    def rows(self, stream: str, k: int) -> Tensor:
        """(batch / shares,) image indices of this shard in global batch k."""
        size = self.batch // self.shares
        first, total = k * self.batch + self.share * size, len(self.streams[stream])
        parts = []
        while size:
            epoch, at = divmod(first, total)
            part = self._order(stream, epoch, total)[at : at + size]
            parts.append(part)
            first, size = first + len(part), size - len(part)
        return torch.cat(parts)

    def last_rows(self) -> dict[str, list[int]]:
        """{stream: image indices of its last batch}, for failure reports."""
        return {stream: self.rows(stream, k - 1).tolist() for stream, k in self.positions.items() if k}

    def _order(self, stream: str, epoch: int, total: int) -> Tensor:
        cached = self._orders.get(stream)
        if cached is None or cached[0] != epoch:
            cached = (epoch, torch.randperm(total, generator=make_generator(self.seed, "order", stream, epoch)))
            self._orders[stream] = cached
        return cached[1]
