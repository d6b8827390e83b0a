"""min over x, max over y of f(x, y) = x y: the smallest game in which gradient descent does not converge.

CS231n's exercise: six alternating steps of size 1 from (1, 1). The only equilibrium is (0, 0).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from sparring.errors import SparringError, unknown_name_error
from sparring.plots import BLUE, GRAY, ORANGE
from sparring.toys.frames import frame_indices, panels

RULES: dict[str, str] = {
    "alternating": "players move in turn: the path circles (0, 0)",
    "simultaneous": "both players move at once: the path spirals outwards",
    "extragradient": "use the gradient one step ahead: converges for steps below 1",
    "optimistic": "twice the gradient minus the last one: converges for steps below 1 / sqrt(3)",
}

Pair = tuple[float, float]


def play(
    rule: str = "alternating",
    *,
    first: str = "y",
    step: float = 1.0,
    rounds: int = 6,
    start: Pair = (1.0, 1.0),
) -> list[Pair]:
    """The path of rounds + 1 pairs (x, y); x descends x y (gradient y) and y ascends it (gradient x).

    first: the player that moves first when they alternate. Raises SparringError for an unknown rule or player.
    """
    pairs = [start]
    for _, pair in zip(range(rounds), _play(_resolve(rule, first), step, start), strict=False):
        pairs.append(pair)
    return pairs


def _play(rule: str, step: float, start: Pair) -> Iterator[Pair]:
    x, y = start
    past_x, past_y = start
    while True:
        if rule == "y first":  # Gauss-Seidel: x sees the new y
            y = y + step * x
            x = x - step * y
        elif rule == "x first":
            x = x - step * y
            y = y + step * x
        elif rule == "simultaneous":  # Jacobi: both see the old pair
            x, y = x - step * y, y + step * x
        elif rule == "extragradient":  # Korpelevich 1976
            ahead_x, ahead_y = x - step * y, y + step * x
            x, y = x - step * ahead_y, y + step * ahead_x
        else:  # optimistic: Popov 1980; Daskalakis et al. 2018, eq. 2
            now_x, now_y = x, y
            x, y = x - step * (2 * y - past_y), y + step * (2 * x - past_x)
            past_x, past_y = now_x, now_y
        yield x, y


def invariant(rule: str, pairs: Sequence[Pair], *, first: str = "y", step: float = 1.0) -> list[float] | None:
    """The quadratic form that alternating steps conserve, for each pair; None for the other rules.

    x^2 + step x y + y^2 when y moves first, x^2 - step x y + y^2 when x does: an ellipse for steps below 2.
    """
    signs = {"y first": 1, "x first": -1}
    sign = signs.get(_resolve(rule, first))
    return None if sign is None else [x * x + sign * step * x * y + y * y for x, y in pairs]


def update(rule: str, *, first: str = "y", step: float = 1.0) -> Tensor:
    """One round as a float64 matrix on (x, y); on (x, y, last x, last y) for the optimistic rule."""
    identity = torch.eye(2, dtype=torch.float64)
    rotation = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)  # descent of x, ascent of y
    descend, ascend = (identity + step * rotation * row for row in (torch.tensor([[1], [0]]), torch.tensor([[0], [1]])))
    matrices: dict[str, Callable[[], Tensor]] = {
        "y first": lambda: descend @ ascend,
        "x first": lambda: ascend @ descend,
        "simultaneous": lambda: identity + step * rotation,
        "extragradient": lambda: identity + step * rotation @ (identity + step * rotation),
        "optimistic": lambda: torch.cat(
            [
                torch.cat([identity + 2 * step * rotation, -step * rotation], 1),
                torch.cat([identity, 0 * identity], 1),
            ]
        ),
    }
    return matrices[_resolve(rule, first)]()


def growth(rule: str, *, first: str = "y", step: float = 1.0) -> float:
    """The largest absolute eigenvalue of `update`: how the distance from (0, 0) grows per round, in the limit.

    Alternating 1 for steps up to 2; simultaneous sqrt(1 + step^2); extragradient sqrt(1 - step^2 + step^4).
    """
    return float(torch.linalg.eigvals(update(rule, first=first, step=step)).abs().max())


def _resolve(rule: str, first: str) -> str:
    """The key of `update`'s table."""
    if rule not in RULES:
        raise unknown_name_error("rule", rule, RULES)
    if first not in ("x", "y"):
        raise SparringError(f"first is '{first}': it must be x or y")
    return f"{first} first" if rule == "alternating" else rule


def verdict(rule: str, *, first: str = "y", step: float = 1.0) -> str:
    """`growth` in words."""
    factor = growth(rule, first=first, step=step)
    if math.isclose(factor, 1, abs_tol=1e-6):
        return "circles (0, 0)" if step < 2 else "diverges linearly"
    return f"{'converges to' if factor < 1 else 'diverges from'} (0, 0)"


def figures(rule: str, pairs: Sequence[Pair], *, first: str = "y", step: float = 1.0) -> Iterator[Figure]:
    """The path so far, frame by frame; dashed: the invariant curve of alternating steps."""
    limit = 1.15 * max(1.0, *(abs(value) for pair in pairs for value in pair))
    signs = {"y first": step, "x first": -step}
    sign = signs.get(_resolve(rule, first))
    ticks = torch.linspace(-limit, limit, 201).tolist()
    form = [[x * x + (sign or 0) * x * y + y * y for x in ticks] for y in ticks]
    for at in frame_indices(len(pairs)):
        figure, (axes,) = panels(f"xy, {rule}, step {step:g}: round {at}")
        if sign is not None:
            start = invariant(rule, pairs[:1], first=first, step=step)
            axes.contour(ticks, ticks, form, levels=start, colors=GRAY, linestyles="dashed", linewidths=1)
        xs, ys = zip(*pairs[: at + 1], strict=True)
        axes.plot(xs, ys, color=BLUE, linewidth=1, marker="o", markersize=3)
        axes.plot(xs[-1:], ys[-1:], color=ORANGE, marker="o", markersize=8)
        axes.plot(0, 0, color="black", marker="+", markersize=10)
        axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xlabel="x", ylabel="y")
        yield figure
