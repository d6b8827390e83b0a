"""Curves, scatter plots and bars as inline SVG, with selectable text and no external files."""

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

from sparring.errors import printable

BLUE, ORANGE, GRAY = "#2f6fb0", "#d9731a", "#8a8f98"
COLORS = [BLUE, ORANGE, "#3c9a5f", "#9a5fb0", "#b03c4a", "#7a5230", "#e06bb0", "#17a2b8", "#b3a200", "#1d2330"]
SPLIT_AXIS_RATIO = 10
"""If the losses of two players differ by more than this factor, each player gets its own axis."""
MAX_LEGEND = 20
"""With more classes than this, a plot has no legend."""
MAX_DRAWN = 1e30
"""Larger absolute values are not drawn."""
OWN_PLOT = {"loss", "gradient", "real", "fake", "prior", "code"}
"""Logged numbers with a plot of their own; the others share one figure."""

Log = Sequence[Mapping[str, Any]]
"""Lines {"round", "moves": [{"player", "loss", "gradient", ...}]} of a run's log."""


def loss_curves(log: Log, equilibrium: Mapping[str, float]) -> Markup:
    """The loss of each player: on one axis, or on separate axes if their scales differ too much."""
    curves = _curves(log, "loss")
    if not curves:
        return Markup("")
    title = "Loss of each player" if len(curves) > 1 else "Loss"
    sizes = [median(abs(value) for _, value in points) for points in curves.values()]
    separate = max(sizes) > SPLIT_AXIS_RATIO * min(sizes)
    figure, panels = _panels(title, list(curves) if separate else [])
    for i, (player, points) in enumerate(curves.items()):
        axes, color = panels[i if separate else 0], _color(i)
        _draw(axes, points, color, player)
        if player in equilibrium:
            axes.axhline(equilibrium[player], color=color, linestyle="--", linewidth=1)
    if len(curves) > 1 and not separate:
        panels[0].legend(fontsize=9, frameon=False)
    return _svg(figure, "Losses over the rounds" + (", with the equilibrium as dashed lines" if equilibrium else ""))


def mean_scores(log: Log, first: str, second: str, *, title: str, names: tuple[str, str]) -> Markup | str:
    """Two logged values of a discriminator's moves on one axis; "" if they are not in the log."""
    first_curves, second_curves = _curves(log, first), _curves(log, second)
    if not first_curves or not second_curves:
        return ""
    figure, (axes,) = _panels(title)
    _draw(axes, next(iter(first_curves.values())), BLUE, names[0])
    _draw(axes, next(iter(second_curves.values())), ORANGE, names[1])
    axes.legend(fontsize=9, frameon=False)
    return _svg(figure, f"{title} over the rounds")


def extra_names(log: Log) -> list[str]:
    """Names of the logged numbers without a plot of their own."""
    names = {name: None for line in log for move in line["moves"] for name in move if name not in OWN_PLOT}
    return [name for name in names if name != "player"]


def extra_series(log: Log) -> Markup:
    """Each of the `extra_names` on its own axis, with the players' colors of `loss_curves`."""
    series, players = {name: _curves(log, name) for name in extra_names(log)}, list(_curves(log, "loss"))
    titles = [
        f"{name}, {next(iter(curves))}" if len(curves) == 1 < len(players) else name for name, curves in series.items()
    ]
    figure, panels = _panels("Other logged values", titles)
    shared = {}
    for axes, curves in zip(panels, series.values(), strict=True):
        for player, points in curves.items():
            line = _draw(axes, points, _color(players.index(player)), player)
            if len(curves) > 1:
                shared[player] = line
    if shared:
        figure.legend(
            shared.values(), map(as_text, shared), loc="upper right", ncols=4, fontsize=9, frameon=False, borderpad=0
        )
    return _svg(figure, f"{', '.join(series)} over the rounds")


def gradient_curves(log: Log) -> Markup:
    """The gradient norm of each player on one logarithmic axis."""
    curves = _curves(log, "gradient")
    figure, (axes,) = _panels("Gradient norm of each player" if len(curves) > 1 else "Gradient norm")
    for i, (player, points) in enumerate(curves.items()):
        _draw(axes, points, _color(i), player)
    axes.set_yscale("log")
    if len(curves) > 1:
        axes.legend(fontsize=9, frameon=False)
    return _svg(figure, "Gradient norms over the rounds")


def score_histogram(real: Sequence[float], fake: Sequence[float], held_out: Sequence[float] = ()) -> Markup:
    """Histograms of a discriminator's scores of training images, generated images and held-out images."""
    real, fake, held_out = ([v for v in values if abs(v) < MAX_DRAWN] for values in (real, fake, held_out))
    scores = torch.tensor([*real, *fake, *held_out] or [0.0])
    low, high = (float(q) for q in scores.quantile(torch.tensor([0.002, 0.998])))
    edges = torch.linspace(low - 1e-3, high + 1e-3, 41).tolist()
    figure, (axes,) = _panels("Discriminator scores after training", x="score (higher: more real)")
    outline: dict[str, Any] = {"histtype": "step", "linewidth": 1.4}
    filled: dict[str, Any] = {"alpha": 0.5}
    for name, values, color, style in (
        ("real, training", real, BLUE, filled),
        ("real, held-out", held_out, GRAY, outline),
        ("generated", fake, ORANGE, filled),
    ):
        if values:
            axes.hist(values, bins=edges, weights=[1 / len(values)] * len(values), color=color, label=name, **style)
    axes.set_yticks([])
    axes.legend(fontsize=9, frameon=False)
    return _svg(figure, "Histograms of the scores of real and generated images")


def fd_curve(metrics: Sequence[Mapping[str, Any]], marked: int | None = None) -> Markup:
    """Lines {"round", "name", "value", "floor"} of one metric of a run, with the round `marked` highlighted."""
    figure, (axes,) = _panels(metrics[-1]["name"])
    axes.plot([m["round"] for m in metrics], [m["value"] for m in metrics], color=BLUE, marker="o", markersize=3)
    axes.axhline(metrics[-1]["floor"], color=GRAY, linestyle="--", linewidth=1, label="floor: real vs. real")
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
    return _svg(figure, "Distance to real images over the rounds, with its real-vs-real floor")


def error_curves(metrics: Sequence[Mapping[str, Any]]) -> Markup:
    """Lines {"round", "name", "value"} of one error rate in [0, 1]."""
    name = metrics[0]["name"].capitalize()
    figure, (axes,) = _panels(f"{name}, % of held-out images")
    axes.plot([m["round"] for m in metrics], [100 * m["value"] for m in metrics], color=BLUE, marker="o", markersize=3)
    if min(m["value"] for m in metrics) > 0:
        axes.set_yscale("log")
    return _svg(figure, f"{name} on held-out images over the rounds")


def latent_scatter(
    points: Tensor, prior: Tensor | None, labels: Tensor | None, classes: Sequence[str], axis_names: tuple[str, str]
) -> Markup:
    """Codes of images (n, 2), colored by their labels (n,), over codes of the prior (m, 2) in gray."""
    figure, (axes,) = _panels("Latent codes of images", x=axis_names[0], height=3.9)
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
    alt = f"Latent codes of {len(points):,} images" + ("" if labels is None else " in the colors of their classes")
    return _svg(figure, alt + ("" if prior is None else ", over codes of the prior in gray"))


def code_scatter(codes: Tensor, encoded: Tensor) -> Markup:
    """Units of codes w (n, d) against the same units of E(G(w)), in standard deviations."""
    scale = codes.std(0).clamp(min=1e-12)
    x, y = (((each - codes.mean(0)) / scale).clamp(-4, 4).flatten().tolist() for each in (codes, encoded))
    figure, (axes,) = _panels("Codes of samples, encoded again", x="unit of w, in standard deviations", height=3.9)
    axes.set_ylabel("the same unit of E(G(w))", fontsize=10)
    axes.plot([-4, 4], [-4, 4], color=ORANGE, linewidth=1, label="equal")
    axes.scatter(x, y, color=BLUE, s=5, linewidths=0, rasterized=True)
    axes.set_aspect("equal", adjustable="box")
    axes.legend(fontsize=9, frameon=False, loc="upper left")
    return _svg(figure, f"Units of {len(codes):,} codes of samples against the same units of their encoded images")


def kl_bars(nats: Sequence[float], active: Sequence[bool]) -> Markup:
    """The KL divergence of each latent unit, largest first; inactive units in another color."""
    units = sorted(zip(nats, active, strict=True), reverse=True)
    figure, (axes,) = _panels("KL divergence of each latent unit from the prior, nats", x="latent unit, sorted")
    for name, color, kind in (("active", BLUE, True), ("inactive", ORANGE, False)):
        bars = [(position, value) for position, (value, is_active) in enumerate(units, 1) if is_active == kind]
        if bars:  # the outline keeps bars of zero height visible
            positions, values = zip(*bars, strict=True)
            axes.bar(positions, values, color=color, edgecolor=color, linewidth=1.5, width=0.7, label=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(0.3, len(nats) + 0.7)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=9, frameon=False)
    return _svg(figure, f"Mean KL divergence of {len(nats)} latent units from the prior, sorted")


def confusion(counts: Tensor, classes: Sequence[str]) -> Markup:
    """Confusion matrix of image counts (K, K): true class by row, predicted class by column."""
    size = len(classes)
    share = counts / counts.sum(1, keepdim=True).clamp(min=1)
    figure, (axes,) = _panels("Confusion matrix", x="predicted class", height=4.6)
    axes.imshow(share.numpy(), cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    axes.set_ylabel("true class", fontsize=10)
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
    correct, total = int(counts.diagonal().sum()), int(counts.sum())
    return _svg(figure, f"Confusion matrix: {correct:,} of {total:,} images are classified correctly")


def as_text(name: str, most: int = 30) -> str:
    """A user-defined name escaped for matplotlib: on one line, cut after `most` characters.

    Dollar signs do not start math text, and names that start with an underscore still appear in legends.
    """
    name = printable(name)
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
    """A figure with one axis, or with one small axis per name, stacked."""
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
    """Player -> (round, value) of this logged name."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for line in log:
        for move in line["moves"]:
            if name in move and abs(move[name]) < MAX_DRAWN:  # also excludes NaN
                curves.setdefault(move["player"], []).append((line["round"], move[name]))
    return curves


def _draw(axes: Axes, points: list[tuple[int, float]], color: str, label: str) -> Line2D:
    """Draw the raw curve (pale) and the smoothed curve (strong); return the latter."""
    rounds, values = zip(*points, strict=True)
    axes.plot(rounds, values, color=color, alpha=0.25, linewidth=0.7)
    return axes.plot(rounds, smoothed(values), color=color, linewidth=1.6, label=as_text(label))[0]


def smoothed(values: Sequence[float]) -> list[float]:
    """Moving average over +- 1/50 of the curve."""
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
