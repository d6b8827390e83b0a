"""Numbers as curves, points and bars: SVG that stands in a page, with its words as text and no file beside it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import matplotlib
import torch
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from sparring.errors import shown

BLUE, ORANGE, GRAY = "#2f6fb0", "#d9731a", "#8a8f98"
COLORS = [BLUE, ORANGE, "#3c9a5f", "#9a5fb0", "#b03c4a", "#7a5230", "#e06bb0", "#17a2b8", "#b3a200", "#1d2330"]
SPLIT_AXIS_RATIO = 10
"""When one player's losses are so many times another's, an axis for both would show one of them as a flat line."""
MAX_LEGEND = 20
"""More classes than these get colors, but no legend."""
HUGE = 1e30
"""What is larger cannot be drawn."""
STANDARD_NAMES = {"player", "loss", "gradient", "real", "fake", "prior", "code"}

Log = Sequence[Mapping[str, Any]]
"""Lines {"round", "moves": [{"player", "loss", "gradient", ...}]} of a run's log."""


def loss_curves(log: Log, equilibrium: Mapping[str, float]) -> Markup:
    """The loss of each player: on one axis, or one below the other where their sizes are too different."""
    curves = _curves(log, "loss")
    if not curves:
        return Markup("")
    title = "Loss of each player" if len(curves) > 1 else "Loss"
    sizes = [median(abs(value) for _, value in points) for points in curves.values()]
    apart = max(sizes) > SPLIT_AXIS_RATIO * min(sizes)
    figure, panels = _panels(title, list(curves) if apart else [])
    for i, (player, points) in enumerate(curves.items()):
        axes, color = panels[i if apart else 0], _color(i)
        _draw(axes, points, color, player)
        if player in equilibrium:
            axes.axhline(equilibrium[player], color=color, linestyle="--", linewidth=1)
    if len(curves) > 1 and not apart:
        panels[0].legend(fontsize=9, frameon=False)
    return _svg(figure, "Losses over the rounds" + (", with the equilibrium as dashed lines" if equilibrium else ""))


def mean_scores(log: Log, these: str, those: str, *, title: str, names: tuple[str, str]) -> Markup | str:
    """Two numbers of a judge's moves on one axis; "" when they are not in the log."""
    first, second = _curves(log, these), _curves(log, those)
    if not first or not second:
        return ""
    figure, (axes,) = _panels(title)
    _draw(axes, next(iter(first.values())), BLUE, names[0])
    _draw(axes, next(iter(second.values())), ORANGE, names[1])
    axes.legend(fontsize=9, frameon=False)
    return _svg(figure, f"{title} over the rounds")


def extra_names(log: Log) -> list[str]:
    """Names of what moves have logged beside losses, gradients and scores."""
    names = {name: None for line in log for move in line["moves"] for name in move if name not in STANDARD_NAMES}
    return list(names)


def extra_series(log: Log) -> Markup:
    """Each of the `extra_names` on an axis of its own, in the colors that players have in `loss_curves`."""
    every, players = {name: _curves(log, name) for name in extra_names(log)}, list(_curves(log, "loss"))
    titles = [
        f"{name}, {next(iter(curves))}" if len(curves) == 1 < len(players) else name for name, curves in every.items()
    ]
    figure, panels = _panels("Other numbers of the moves", titles)
    shared = {}
    for axes, curves in zip(panels, every.values(), strict=True):
        for player, points in curves.items():
            line = _draw(axes, points, _color(players.index(player)), player)
            if len(curves) > 1:
                shared[player] = line
    if shared:
        figure.legend(
            shared.values(), map(as_text, shared), loc="upper right", ncols=4, fontsize=9, frameon=False, borderpad=0
        )
    return _svg(figure, f"{', '.join(every)} over the rounds")


def gradient_curves(log: Log) -> Markup:
    curves = _curves(log, "gradient")
    figure, (axes,) = _panels("Gradient norm of each player" if len(curves) > 1 else "Gradient norm")
    for i, (player, points) in enumerate(curves.items()):
        _draw(axes, points, _color(i), player)
    axes.set_yscale("log")
    if len(curves) > 1:
        axes.legend(fontsize=9, frameon=False)
    return _svg(figure, "Gradient norms over the rounds")


def score_histogram(real: Sequence[float], fake: Sequence[float], unseen: Sequence[float] = ()) -> Markup:
    """Histograms of a judge's scores; `unseen`: of real images it was not trained on."""
    real, fake, unseen = ([v for v in values if abs(v) < HUGE] for values in (real, fake, unseen))
    everything = torch.tensor([*real, *fake, *unseen] or [0.0])
    low, high = (float(q) for q in everything.quantile(torch.tensor([0.002, 0.998])))
    edges = torch.linspace(low - 1e-3, high + 1e-3, 41).tolist()
    figure, (axes,) = _panels("Scores the discriminator gives now", x="score (higher: more real)")
    outline: dict[str, Any] = {"histtype": "step", "linewidth": 1.4}
    filled: dict[str, Any] = {"alpha": 0.5}
    for name, values, color, style in (
        ("real, trained on", real, BLUE, filled),
        ("real, never seen", unseen, GRAY, outline),
        ("generated", fake, ORANGE, filled),
    ):
        if values:
            axes.hist(values, bins=edges, weights=[1 / len(values)] * len(values), color=color, label=name, **style)
    axes.set_yticks([])
    axes.legend(fontsize=9, frameon=False)
    return _svg(figure, "Histograms of the scores of real and generated images")


def fd_curve(metrics: Sequence[Mapping[str, Any]], marked: int | None = None) -> Markup:
    """Lines {"round", "name", "value", "floor"} of a run's metrics of one name; the round `marked` stands out."""
    figure, (axes,) = _panels(metrics[-1]["name"])
    axes.plot([m["round"] for m in metrics], [m["value"] for m in metrics], color=BLUE, marker="o", markersize=3)
    axes.axhline(metrics[-1]["floor"], color=GRAY, linestyle="--", linewidth=1, label="floor: real against real")
    for line in metrics:
        if line["round"] == marked:
            axes.plot(
                [line["round"]],
                [line["value"]],
                color=ORANGE,
                marker="o",
                linestyle="",
                label=f"best: round {line['round']:,}",
            )
    if min(m["value"] for m in metrics) > 0:
        axes.set_yscale("log")
    axes.legend(fontsize=9, frameon=False)
    return _svg(figure, "Distance to real images over the rounds, with its floor")


def error_curves(metrics: Sequence[Mapping[str, Any]]) -> Markup:
    """Lines {"round", "name", "value"} of one name, the value a share of images."""
    name = metrics[0]["name"].capitalize()
    figure, (axes,) = _panels(f"{name}, % of held-out images")
    axes.plot([m["round"] for m in metrics], [100 * m["value"] for m in metrics], color=BLUE, marker="o", markersize=3)
    if min(m["value"] for m in metrics) > 0:
        axes.set_yscale("log")
    return _svg(figure, f"{name} on held-out images over the rounds")


def latent_scatter(
    points: Tensor, prior: Tensor | None, labels: Tensor | None, classes: Sequence[str], axis_names: tuple[str, str]
) -> Markup:
    """(n, 2) codes of images, colored by their labels (n,), over (m, 2) codes of the prior in gray."""
    figure, (axes,) = _panels("Codes of images", x=axis_names[0], height=3.9)
    axes.set_ylabel(axis_names[1], fontsize=10)
    dots: dict[str, Any] = {"s": 5, "linewidths": 0, "rasterized": True}
    if prior is not None:
        axes.scatter(*prior.T.tolist(), color="#c3c8d1", **dots)
        axes.scatter([], [], color="#c3c8d1", s=18, label="prior")
        axes.set_aspect("equal", adjustable="datalim")
    if labels is None:
        axes.scatter(*points.T.tolist(), color=BLUE, **dots)
    else:
        colors = _class_colors(len(classes))
        axes.scatter(*points.T.tolist(), color=[colors[y] for y in labels.tolist()], **dots)
        for name, color in zip(classes, colors, strict=True):
            if len(classes) <= MAX_LEGEND:
                axes.scatter([], [], color=color, s=18, label=as_text(name))
    if axes.get_legend_handles_labels()[1]:
        figure.legend(loc="outside right center", fontsize=9, frameon=False, handletextpad=0.2, borderpad=0)
    what = f"Codes of {len(points):,} images" + ("" if labels is None else " in the colors of their classes")
    return _svg(figure, what + ("" if prior is None else ", over codes of the prior in gray"))


def kl_bars(nats: Sequence[float], active: Sequence[bool]) -> Markup:
    """A bar for each unit of a code, largest first; units that are not active in another color."""
    units = sorted(zip(nats, active, strict=True), reverse=True)
    figure, (axes,) = _panels("Divergence of each unit from the prior, nats", x="unit of the code, sorted")
    for name, color, kind in (("active", BLUE, True), ("not active", ORANGE, False)):
        bars = [(place, value) for place, (value, tells) in enumerate(units, 1) if tells == kind]
        if bars:  # a bar of no height keeps its outline, so that it can be counted
            places, values = zip(*bars, strict=True)
            axes.bar(places, values, color=color, edgecolor=color, linewidth=1.5, width=0.7, label=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(0.3, len(nats) + 0.7)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=9, frameon=False)
    return _svg(figure, f"Mean divergence of {len(nats)} units from the prior, sorted")


def confusion(counts: Tensor, classes: Sequence[str]) -> Markup:
    """(K, K) numbers of images: a row for each class, a column for what they were taken for."""
    size = len(classes)
    share = counts / counts.sum(1, keepdim=True).clamp(min=1)
    figure, (axes,) = _panels("Classes of the images, and what they were taken for", x="taken for", height=4.6)
    axes.imshow(share.numpy(), cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    axes.set_ylabel("is", fontsize=10)
    if size <= 30:
        names = [as_text(name) for name in classes]
        axes.set_xticks(range(size), names, rotation=90 if max(map(len, names)) > 2 else 0)
        axes.set_yticks(range(size), names)
    if size <= 12:
        for row in range(size):
            for column in range(size):
                ink = "white" if share[row, column] > 0.35 else "#1d2330"
                number = int(counts[row, column])
                axes.text(column, row, f"{number or ''}", color=ink, fontsize=9, ha="center", va="center")
    right, every = int(counts.diagonal().sum()), int(counts.sum())
    return _svg(figure, f"Confusion matrix: {right:,} of {every:,} images are in their own class")


def as_text(name: str, most: int = 30) -> str:
    """Somebody's name for a class, a player or a number, so that matplotlib draws it letter by letter.

    Dollars are no mathematics, and what begins with an underscore stands in legends, too. On one line, cut after `most`
    letters.
    """
    name = shown(name)
    name = name if len(name) <= most else f"{name[: most - 1]}…"
    return ("\u200b" if name.startswith("_") else "") + name.replace("$", r"\$")


def _svg(figure: Figure, alt: str) -> Markup:
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": alt, "axes.formatter.min_exponent": 5}):
        figure.savefig(buffer, format="svg", dpi=200, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    head, _, body = text.partition(">")
    box = head[head.index('viewBox="') :].split('"')[1]
    opening = Markup('<svg class="curve" role="img" aria-label="{}" viewBox="{}" xmlns:xlink="{}">').format(
        alt, box, "http://www.w3.org/1999/xlink"
    )
    return opening + Markup(body)


def _panels(
    title: str, names: Sequence[str] = (), *, x: str = "round", height: float = 3.0
) -> tuple[Figure, list[Axes]]:
    """A figure with one axis, or with a small one for each name, below each other."""
    figure = Figure(figsize=(5.2, 0.5 + 1.35 * len(names) if names else height), layout="constrained")
    figure.patch.set_alpha(0)
    panels = list(figure.subplots(max(1, len(names)), sharex=True, squeeze=False)[:, 0])
    if names:
        figure.suptitle(as_text(title, 70), fontsize=12, x=0.01, ha="left")
    for axes, name in zip(panels, names or [title], strict=True):
        axes.patch.set_alpha(0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(as_text(name, 70), fontsize=10 if names else 12, loc="left")
        axes.tick_params(which="both", labelsize=9)
        if names:
            axes.locator_params(axis="y", nbins=4)
    panels[-1].set_xlabel(x, fontsize=10)
    return figure, panels


def _curves(log: Log, name: str) -> dict[str, list[tuple[int, float]]]:
    """Player -> (round, value) of that number."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for line in log:
        for move in line["moves"]:
            if name in move and abs(move[name]) < HUGE:  # nor what is no number
                curves.setdefault(move["player"], []).append((line["round"], move[name]))
    return curves


def _draw(axes: Axes, points: list[tuple[int, float]], color: str, label: str) -> Line2D:
    """The curve as logged, pale, and smoothed, strong; the strong one is returned."""
    rounds, values = zip(*points, strict=True)
    axes.plot(rounds, values, color=color, alpha=0.25, linewidth=0.7)
    return axes.plot(rounds, smoothed(values), color=color, linewidth=1.6, label=as_text(label))[0]


def smoothed(values: Sequence[float]) -> list[float]:
    """Means over a sliding window of 1/50 of the curve."""
    width = max(1, len(values) // 50)
    sums = torch.tensor([0.0, *values], dtype=torch.float64).cumsum(0)
    low = [max(0, i - width) for i in range(len(values))]
    high = [min(len(values), i + width + 1) for i in range(len(values))]
    return [float(sums[h] - sums[lo]) / (h - lo) for lo, h in zip(low, high, strict=True)]


def _color(player: int) -> str:
    return COLORS[player % len(COLORS)]


def _class_colors(count: int) -> list[str]:
    if count <= len(COLORS):
        return COLORS[:count]
    return [to_hex(matplotlib.colormaps["turbo"](i / (count - 1))) for i in range(count)]
