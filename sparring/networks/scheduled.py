"""Layers that change with the round: noise that fades, networks that grow."""

from __future__ import annotations

from torch import nn


class Scheduled(nn.Module):
    """A layer that changes with the round.

    The system calls `set_round` on each of its scheduled layers before every round. Nothing has to be stored for a
    resumed training; a layer that also changes in sampling saves its round with its weights (`get_extra_state`).

    round_index  number of rounds before this one
    """

    round_index: int = 0

    def set_round(self, round_index: int) -> None:
        """Set the number of rounds before this one."""
        self.round_index = round_index
