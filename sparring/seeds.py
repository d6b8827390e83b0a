"""Stateless randomness: every stream of random numbers is derived from what it is for, never from what came before.

So a resumed run needs a round number and no generator snapshots, and the number of processes does not matter.
"""

from __future__ import annotations

import hashlib

import torch


def derive(*purpose: int | str) -> int:
    """A 63-bit seed that depends on every part of `purpose`, in order, and on nothing else."""
    digest = hashlib.blake2b(repr(purpose).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(*purpose: int | str) -> torch.Generator:
    """A CPU generator at the start of the stream named by `purpose`."""
    return torch.Generator().manual_seed(derive(*purpose))
