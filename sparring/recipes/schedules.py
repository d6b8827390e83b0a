"""Numbers that change with the round, counted from 1: learning rates, momentum, weights of penalties.

`schedule` turns them into the settings of an optimizer.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparring.referee import Schedule

Curve = Callable[[int], float]
"""Round, counted from 1 -> number."""


def schedule(**settings: Callable[[int], Any]) -> "Schedule":
    """Optimizer settings in each round: `schedule(lr=warmup(1e-3, 500))`."""
    return lambda round_number: {name: curve(round_number) for name, curve in settings.items()}


def constant(value: float) -> Curve:
    """The same value in every round."""
    return lambda round_number: value


def warmup(value: float, rounds: int, *, start: float = 0.0) -> Curve:
    """Linear change from `start` in round 0 to `value` in round `rounds`; then `value`. 0 rounds: constant."""
    if not rounds:
        return constant(value)
    return lambda round_number: start + (value - start) * min(1.0, round_number / rounds)


def linear_decay(value: float, *, first: float, last: float) -> Curve:
    """`value` up to round `first`, then linear decay to 0 in round `last` and later."""
    return lambda round_number: value * max(0.0, 1 - max(0.0, round_number - first) / (last - first))


def step_decay(value: float, drops: Sequence[int]) -> Curve:
    """`value`, divided by 10 from each of the rounds `drops` on."""
    return lambda round_number: value * 0.1 ** sum(round_number >= drop for drop in drops)


def inverse_time(value: float, decay: float) -> Curve:
    """`value / (1 + decay t)`, where t is the number of earlier rounds (Keras: decay)."""
    return lambda round_number: value / (1 + decay * (round_number - 1))


def exponential_decay(value: float, factor: float, *, floor: float = 0.0) -> Curve:
    """`value` divided by `factor` in every round, down to `floor` times `value`."""
    return lambda round_number: value * max(factor**-round_number, floor)


def cosine(value: float, final: float, rounds: int) -> Curve:
    """Half a cosine from `value` in round 1 to `final` after `rounds` rounds and later."""

    def curve(round_number: int) -> float:
        fraction = min((round_number - 1) / rounds, 1.0)
        return final + (value - final) * (1 + math.cos(math.pi * fraction)) / 2

    return curve
