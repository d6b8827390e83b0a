"""A run as one self-contained page that can be shown in class: no script, no font and no picture from elsewhere."""

from __future__ import annotations

import base64
import inspect
import io
import math
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import torch
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from torch import Tensor

from sparring.data.dataset import Dataset
from sparring.data.pixels import to_float, to_uint8
from sparring.errors import SparringError
from sparring.pictures import grid, png
from sparring.run import Run
from sparring.seeds import derive, generator
from sparring.system import System

BLUE, ORANGE, GREY = "#2f6fb0", "#d9731a", "#8a8f98"
COLOURS = [BLUE, ORANGE, "#3c9a5f", "#9a5fb0", "#b03c4a", "#5f7d8c"]


def report(run: Run | Path | str, *, data: Dataset | None = None, recipe: str | None = None) -> Path:
    """Write RUN/report.html from what is on disk, and return its path.

    data    the run's data, if it was made in memory; without data the sections that need it say so
    recipe  needed again for a recipe that is not one of ours ("module:function")
    """
    run = run if isinstance(run, Run) else Run.open(run)
    missing = ""
    if data is None:
        try:
            data = run.data()
        except SparringError as error:
            missing = str(error)
    system = run.system(recipe=recipe)
    log, metrics = run.read("log"), run.read("metrics")
    distances, errors = [m for m in metrics if "floor" in m], [m for m in metrics if "floor" not in m]
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        (files("sparring") / "report.html.j2").read_text(encoding="utf-8")
    )
    page = template.render(
        run=run,
        facts=run.facts,
        title=run.path.name,
        summary=_summary(run, log, distances, errors),
        growing=_growing(run.samples()),
        final=_final(run, system),
        losses=_losses(log, run.facts["equilibrium"]) if log else "",
        equilibrium=run.facts["equilibrium"],
        scores=_mean_scores(log) if log else "",
        histogram=_score_histogram(system, data) if data and system.can("score") and system.can("sample") else "",
        gradients=_gradients(log) if log else "",
        distance=_distance(distances) if distances else "",
        metrics=distances,
        errors=_errors(errors) if errors else "",
        neighbours=_nearest(system, data) if data and system.can("sample") else "",
        missing=missing,
        evaluation=run.evaluation(),
        source=_source(run.round_source()),
        rows={
            "Recipe": {"recipe": run.facts["recipe"], "paper": run.facts["paper"], **run.facts["arguments"]},
            "Data": _data_rows(run.facts),
            "Machine": {
                **run.facts["machine"],
                "precision": run.facts["precision"],
                "sparring": run.facts["sparring"],
                "commit": run.facts["commit"] or "none (installed)",
                "command": run.facts["command"],
            },
        },
    )
    return run.write_report(page)


def _summary(run: Run, log: list[dict], metrics: list[dict], errors: list[dict]) -> str:
    facts = run.facts
    played = log[-1]["round"] if log else 0
    length = f" in {_duration(run)}" if run.read("timing") else ""
    text = (
        f"{facts['recipe']} saw {facts['data']['count']:,} images of “{facts['data']['name']}” in batches of "
        f"{facts['batch']} and played {played:,} of {facts['rounds']:,} rounds{length}."
    )
    if len(metrics) > 1:
        first, last = metrics[0], metrics[-1]
        text += (
            f" Its distance to real images ({last['name']}) went from {first['value']:,.0f} to {last['value']:,.1f}; "
            f"two sets of real images are {last['floor']:,.1f} apart."
        )
    if errors:
        last = errors[-1]
        text += f" It puts {100 * last['value']:.2f} % of {last['n']:,} held-out images into a wrong class."
    return text


def _duration(run: Run) -> str:
    """Seconds of all sessions of this run: the clock starts again at every resume."""
    total = previous = 0.0
    for line in run.read("timing"):
        total += line["seconds"] - (previous if line["seconds"] > previous else 0.0)
        previous = line["seconds"]
    return f"{int(total) // 60} min {int(total) % 60:02d} s"


def _data_rows(facts: dict[str, Any]) -> dict[str, Any]:
    source = facts["data"]["source"]
    asked = {k: v for k, v in (source or {}).items() if v is not None and k != "root"}
    return {
        "images to learn from": facts["data"]["count"],
        "size": f"{facts['spec']['channels']} x {facts['spec']['size']} x {facts['spec']['size']}",
        "classes": ", ".join(facts["spec"]["classes"]) or "no labels",
        **asked,
        "rounds": facts["rounds"],
        "seed": facts["seed"],
    }


# Pictures.


def _image(data: bytes, kind: str, alt: str, css: str = "pixels") -> Markup:
    encoded = base64.b64encode(data).decode()
    return Markup('<img class="{}" alt="{}" src="data:image/{};base64,{}">').format(css, alt, kind, encoded)


def _growing(samples: dict[int, Path]) -> Markup | str:
    """One picture that moves: the same noise, round after round."""
    if len(samples) < 2:
        return ""
    frames = [_labelled(Image.open(path).convert("RGB"), f"round {number:,}") for number, path in samples.items()]
    buffer = io.BytesIO()
    lengths = [300] * (len(frames) - 1) + [2500]
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:], duration=lengths, loop=0, quality=80)
    return _image(buffer.getvalue(), "webp", "Sample grids of every round shown, one after the other")


def _labelled(picture: Image.Image, label: str) -> Image.Image:
    font = ImageFont.load_default(size=13)
    canvas = Image.new("RGB", (picture.width, picture.height + 20), "white")
    canvas.paste(picture, (0, 0))
    ImageDraw.Draw(canvas).text((picture.width / 2, picture.height + 9), label, fill="black", font=font, anchor="mm")
    return canvas


def _final(run: Run, system: System) -> Markup | str:
    if not system.can("sample"):
        return ""
    images = system.sample(8 * system.columns, seed=derive(run.facts["seed"], "report"))
    return _image(png(grid(images, columns=system.columns)), "png", "New samples, not picked")


def _nearest(system: System, data: Dataset) -> Markup:
    """8 samples, and under each the training image with the smallest pixel distance."""
    samples = to_uint8(system.sample(8, seed=derive("nearest")))
    flat = samples.flatten(1).float()
    best = torch.full((8,), math.inf)
    index = torch.zeros(8, dtype=torch.long)
    for start in range(0, len(data), 4096):
        distance, at = torch.cdist(flat, data.images[start : start + 4096].flatten(1).float()).min(1)
        closer = distance < best
        best, index = torch.where(closer, distance, best), torch.where(closer, at + start, index)
    pair = torch.cat([samples, data.images[index]])
    return _image(png(grid(to_float(pair), columns=8)), "png", "8 samples above their nearest training images")


# Curves.


def _svg(figure: Figure, alt: str) -> Markup:
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": alt}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    head, _, body = text.partition(">")
    box = head[head.index('viewBox="') :].split('"')[1]
    opening = Markup('<svg class="curve" role="img" aria-label="{}" viewBox="{}" xmlns:xlink="{}">').format(
        alt, box, "http://www.w3.org/1999/xlink"
    )
    return opening + Markup(body)


def _axes(title: str, x: str = "round") -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.2, 3.0), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.subplots()
    axes.patch.set_alpha(0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, fontsize=11, loc="left")
    axes.set_xlabel(x, fontsize=9)
    axes.tick_params(labelsize=8)
    return figure, axes


def _smooth(values: Sequence[float]) -> list[float]:
    """Means over a sliding window of 1/50 of the curve."""
    width = max(1, len(values) // 50)
    sums = torch.tensor([0.0, *values], dtype=torch.float64).cumsum(0)
    low = [max(0, i - width) for i in range(len(values))]
    high = [min(len(values), i + width + 1) for i in range(len(values))]
    return [float(sums[h] - sums[lo]) / (h - lo) for lo, h in zip(low, high, strict=True)]


def _curves(log: list[dict], name: str) -> dict[str, list[tuple[int, float]]]:
    """Player -> (round, value) of that number."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for line in log:
        for move in line["moves"]:
            if name in move:
                curves.setdefault(move["player"], []).append((line["round"], move[name]))
    return curves


def _draw(axes: Axes, points: list[tuple[int, float]], colour: str, label: str) -> None:
    rounds, values = zip(*points, strict=True)
    axes.plot(rounds, values, color=colour, alpha=0.25, linewidth=0.7)
    axes.plot(rounds, _smooth(values), color=colour, linewidth=1.6, label=label)


def _losses(log: list[dict], equilibrium: dict[str, float]) -> Markup:
    figure, axes = _axes("Loss of each player")
    for colour, (player, points) in zip(COLOURS, _curves(log, "loss").items(), strict=False):
        _draw(axes, points, colour, player)
        if player in equilibrium:
            axes.axhline(equilibrium[player], color=colour, linestyle="--", linewidth=1)
    axes.legend(fontsize=8, frameon=False)
    return _svg(figure, "Losses over the rounds, with the equilibrium as dashed lines")


def _mean_scores(log: list[dict]) -> Markup | str:
    real, fake = _curves(log, "real"), _curves(log, "fake")
    if not real or not fake:
        return ""
    figure, axes = _axes("Mean score of real and generated images")
    _draw(axes, next(iter(real.values())), BLUE, "real")
    _draw(axes, next(iter(fake.values())), ORANGE, "generated")
    axes.legend(fontsize=8, frameon=False)
    return _svg(figure, "Mean scores over the rounds")


def _gradients(log: list[dict]) -> Markup:
    figure, axes = _axes("Gradient norm of each player")
    for colour, (player, points) in zip(COLOURS, _curves(log, "gradient").items(), strict=False):
        _draw(axes, points, colour, player)
    axes.set_yscale("log")
    axes.legend(fontsize=8, frameon=False)
    return _svg(figure, "Gradient norms over the rounds")


def _score_histogram(system: System, data: Dataset) -> Markup:
    told = "labels" in inspect.signature(system.score).parameters  # samples come in each class in turn

    def scores(images: Tensor, labels: Tensor | None = None) -> list[float]:
        return (system.score(images, labels=labels) if told else system.score(images)).tolist()

    chosen = torch.randperm(len(data), generator=generator("report", "real"))[:1000]
    groups = [
        ("real, trained on", scores(*_pictures(data, chosen)), BLUE),
        ("generated", scores(system.sample(1000, seed=derive("report", "fake"))), ORANGE),
    ]
    if data.held_out is not None:
        groups.insert(1, ("real, never seen", scores(*_pictures(data.held_out, slice(0, 1000))), GREY))
    everything = torch.tensor([s for _, group, _ in groups for s in group])
    low, high = (float(q) for q in everything.quantile(torch.tensor([0.002, 0.998])))
    edges = torch.linspace(low - 1e-3, high + 1e-3, 41).tolist()
    figure, axes = _axes("Scores the discriminator gives now", x="score (higher: more real)")
    for name, values, colour in groups:
        weights = [1 / len(values)] * len(values)
        seen = name == "real, never seen"
        style: dict[str, Any] = {"histtype": "step", "linewidth": 1.4} if seen else {"alpha": 0.5}
        axes.hist(values, bins=edges, weights=weights, color=colour, label=name, **style)
    axes.set_yticks([])
    axes.legend(fontsize=8, frameon=False)
    return _svg(figure, "Histograms of the scores of real and generated images")


def _pictures(data: Dataset, rows: Tensor | slice) -> tuple[Tensor, Tensor | None]:
    return to_float(data.images[rows]), None if data.labels is None else data.labels[rows]


def _distance(metrics: list[dict]) -> Markup:
    figure, axes = _axes(metrics[-1]["name"])
    axes.plot([m["round"] for m in metrics], [m["value"] for m in metrics], color=BLUE, marker="o", markersize=3)
    axes.axhline(metrics[-1]["floor"], color=GREY, linestyle="--", linewidth=1, label="floor: real against real")
    if min(m["value"] for m in metrics) > 0:
        axes.set_yscale("log")
    axes.legend(fontsize=8, frameon=False)
    return _svg(figure, "Distance to real images over the rounds, with its floor")


def _errors(errors: list[dict]) -> Markup:
    figure, axes = _axes("Classification error, % of held-out images")
    axes.plot([m["round"] for m in errors], [100 * m["value"] for m in errors], color=BLUE, marker="o", markersize=3)
    if min(m["value"] for m in errors) > 0:
        axes.set_yscale("log")
    return _svg(figure, "Classification error on held-out images over the rounds")


def _source(text: str) -> Markup:
    return Markup(highlight(text, PythonLexer(), HtmlFormatter(noclasses=True, nowrap=False, style="friendly")))
