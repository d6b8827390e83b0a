"""A run as one self-contained HTML page: no scripts, and no fonts or images from elsewhere."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import torch
from markupsafe import Markup
from PIL import Image, ImageDraw, ImageFont
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from torch import Tensor

from sparring import plots
from sparring.data.dataset import Dataset
from sparring.data.pixels import BadImage, open_image, to_float, to_uint8
from sparring.durable import read_file
from sparring.errors import SparringError
from sparring.evaluation.measurement import format_number
from sparring.evaluation.metrics import METRICS
from sparring.evaluation.schema import require_evaluation
from sparring.image_grid import PADDING, grid, png, reconstructions, to_pil, translations
from sparring.latent.neighbors import nearest
from sparring.metrics.codes import ACTIVE, active_units, posterior_collapsed
from sparring.numbers import NUMBERS
from sparring.run import Run
from sparring.seeds import derive_seed, make_generator, standard_defaults
from sparring.system import System

MAX_ENCODED, MAX_CLASSIFIED = 2000, 10_000
"""Limits of the numbers of images that are encoded for plots, and classified or clustered."""
MAX_COLUMNS, MAX_FRAMES, MAX_PIXELS = 32, 60, 1 << 25
"""Limits of the columns and rows of a grid (and of clusters), of frames of the animation, and of their total pixels."""
NEEDS_DATA = {
    "score": "score histogram",
    "sample": "nearest training images",
    "reconstruct": "reconstructions",
    "encode": "latent codes",
    "kl": "latent units",
    "classify": "classes",
    "cluster": "clusters",
    "translate": "translations",
}
"""Capability -> the section that shows it, which needs images."""
HANDLED_KEYS = {
    *("format", "data", "fingerprint", "n", "repeats", "sampling", "checkpoint"),
    *("metrics", "findings", "classes", "cells", "system", "notes"),
}
"""Keys of an evaluation that have their own section in the report."""
CAPTIONS = {
    "closest": "<b>The ten closest pairs.</b> Above: samples. Below: their nearest training images, by distance "
    "relative to the distance between training images there. Near-duplicates in a column are memorized images.",
    "duplicates": "<b>Near-duplicates.</b> Each row: samples that are closer to each other than almost any two real "
    "images.",
    "cells": "<b>Underrepresented.</b> Each row: real images of a region with almost no samples.",
    "overfull": "<b>Overrepresented.</b> Each row: samples of a region with fewer real images.",
    "far": "<b>Worst samples:</b> those farthest from all real images.",
    "near": "<b>Samples nearest to a real image:</b> typical rather than good ones.",
    "spectrum": "<b>Power spectra</b> of real images (left) and samples (right) on one logarithmic scale: low "
    "frequencies at the center, high frequencies at the edge. Bright dots in the right spectrum only indicate "
    "checkerboard artifacts; a dark edge indicates blur.",
}
"""Image of an evaluation -> its caption (HTML)."""


@standard_defaults()
def report(
    run: Run | Path | str,
    *,
    data: Dataset | str | Path | Mapping[str, str | Path] | None = None,
    recipe: str | None = None,
) -> Path:
    """Write RUN/report.html from the files of the run, and return its path.

    data    the run's data, as in `training.resume`; without data, sections that need images are omitted
    recipe  required for a recipe that is not built in ("module:function")

    Raises SparringError if the run has no weights or is damaged, and if `data` are not the data it was trained on.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    run.require_writable()
    missing, images = "", None
    try:
        images = run.data(data)
    except SparringError as error:
        if data is not None:
            raise
        missing = str(error)
    system = run.system(recipe=recipe)
    (log, log_step), metrics = run.thinned("log"), run.read("metrics")
    plotted = {name: [m for m in metrics if m["metric"] == name and "floor" in m] for name in ("FD", "KID")}
    distances, kernel_distances = plotted["FD"], plotted["KID"]
    errors, best = [m for m in metrics if "floor" not in m], run.best()
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        (files("sparring") / "report.html.j2").read_text(encoding="utf-8")
    )
    evaluation, evaluation_error = _evaluation(run)
    pictures = {
        name: _file(file, CAPTIONS[name]) for name, file in run.evaluation_pictures().items() if name in CAPTIONS
    }
    pictures = {name: picture for name, picture in pictures.items() if picture}
    timelapse, timelapse_note = _timelapse(run.samples(), run.spec.size)
    page = template.render(
        run=run,
        config=run.config,
        title=run.path.name,
        summary=_summary(run, log, distances, errors),
        samples=system.supports("sample"),
        translations=_translations(system, images) if images and system.supports("translate") else "",
        domains=run.config["spec"]["classes"] if system.supports("translate") else (),
        timelapse=timelapse,
        timelapse_note=timelapse_note,
        final=_final(run, system),
        part="real" if images is None else "held-out" if images.held_out else "training",
        reconstructions=_reconstructions(system, images) if images and system.supports("reconstruct") else "",
        codes=_codes(system, images) if images and system.supports("encode") else None,
        active=ACTIVE,
        units=_units(system, images) if images and system.supports("kl") else None,
        traversals=_traversals(system) if system.supports("traversals") and system.supports("decode") else {},
        max_columns=MAX_COLUMNS,
        classified=_classified(system, images) if images and system.supports("classify") else None,
        clusters=_clusters(system, images) if images and system.supports("cluster") else [],
        losses=plots.loss_curves(log, run.config["equilibrium"]) if log else "",
        equilibrium=run.config["equilibrium"],
        scores=_mean_scores(log),
        code_scores=_mean_code_scores(log),
        extra_series=plots.extra_series(log) if plots.extra_names(log) else "",
        meanings={name: NUMBERS[name] for name in plots.extra_names(log) if name in NUMBERS},
        histogram=_score_histogram(system, images)
        if images and system.supports("score") and system.supports("sample")
        else "",
        gradients=plots.gradient_curves(log) if log else "",
        distance=plots.fd_curve(distances) if distances else "",
        metrics=distances,
        kid_curve=plots.fd_curve(kernel_distances, best["round"]) if best else "",
        best=best,
        last=kernel_distances[-1] if kernel_distances else None,
        errors=plots.error_curves(errors) if errors else "",
        clustering=bool(errors) and errors[0]["metric"] == "clustering error",
        neighbors=_nearest(system, images) if images and system.supports("sample") else "",
        missing=missing,
        omitted=[section for capability, section in NEEDS_DATA.items() if system.supports(capability)],
        alarms=_alarms(run),
        evaluation=evaluation,
        evaluation_error=evaluation_error,
        log_step=log_step,
        pictures=pictures,
        captions=CAPTIONS,
        meaning={name: metric.meaning for name, metric in METRICS.items()},
        format_number=format_number,
        measurements=[card for card in (evaluation or {}).get("metrics", []) if card["section"] != "samples"],
        panel=[card for card in (evaluation or {}).get("metrics", []) if card["section"] == "samples"],
        tables=_tables(evaluation or {}),
        format_value=_format,
        source=_source(run.round_source()) if run.round_source() else "",
        rows={
            "Recipe": {"recipe": run.config["recipe"], "paper": run.config["paper"], **run.config["arguments"]},
            "Data": _data_rows(run.config),
            "Machine": {
                **run.config["machine"],
                "precision": run.config["precision"],
                "sparring": run.config["sparring"],
                "commit": run.config["commit"] or "none (installed)",
                "command": run.config["command"],
            },
        },
    )
    return run.write_report(page)


def _evaluation(run: Run) -> tuple[dict[str, Any] | None, str]:
    """The evaluation of the run, or None, and the reason if it exists but cannot be read."""
    try:
        evaluation = run.evaluation()
        if evaluation is not None:
            require_evaluation(evaluation)
    except SparringError as error:
        return None, str(error)
    return evaluation, ""


def _summary(run: Run, log: list[dict[str, Any]], metrics: list[dict[str, Any]], errors: list[dict[str, Any]]) -> str:
    """One paragraph: data, rounds, duration, and how the main metric changed."""
    config = run.config
    played = log[-1]["round"] if log else 0
    length = f" in {duration}" if (duration := _duration(run)) else ""
    text = (
        f"{config['recipe']}, trained on {config['data']['count']:,} images of “{config['data']['name']}” with batch "
        f"size {config['batch']} for {played:,} of {config['rounds']:,} rounds{length}."
    )
    if len(metrics) > 1:
        first, last = metrics[0], metrics[-1]
        text += (
            f" The distance to real images ({last['name']}) went from {first['value']:,.0f} to {last['value']:,.1f}; "
            f"the floor, between two sets of real images, is {last['floor']:,.1f}."
        )
    if errors:
        last = errors[-1]
        clusters = last["metric"] == "clustering error"
        wrong = "assigned to a cluster of another class" if clusters else "misclassified"
        text += f" {100 * last['value']:.2f} % of {last['n']:,} held-out images are {wrong}."
    players = {move["player"] for line in log for move in line["moves"]}
    if not metrics and not errors and len(players) == 1 and len(log) > 1:  # losses of opponents are not informative
        first, last = (line["moves"][0]["loss"] for line in (log[0], log[-1]))
        text += f" The loss on a batch went from {first:.4g} in round {log[0]['round']:,} to {last:.4g}."
    return text


def _duration(run: Run) -> str:
    """Total duration of all sessions (the clock restarts at every resume), as text; "" if unknown."""
    total = previous = 0.0
    for line in run.lines("timing"):
        total += line["seconds"] - (previous if line["seconds"] > previous else 0.0)
        previous = line["seconds"]
    if not total:
        return ""
    return f"{total:.1f} s" if total < 60 else f"{int(total) // 60} min {int(total) % 60:02d} s"


def _data_rows(config: dict[str, Any]) -> dict[str, Any]:
    source = config["data"]["source"]
    options = {k: v for k, v in (source or {}).items() if v is not None and k != "root"}
    return {
        "training images": config["data"]["count"],
        "size": f"{config['spec']['channels']} x {config['spec']['height']} x {config['spec']['width']}",
        "classes": ", ".join(config["spec"]["classes"]) or "no labels",
        **{name: _format(value) for name, value in options.items()},
        "rounds": config["rounds"],
        "seed": config["seed"],
    }


# Images.


def _image(data: bytes, kind: str, alt: str, css: str = "pixels") -> Markup:
    encoded = base64.b64encode(data).decode()
    return Markup('<img class="{}" alt="{}" src="data:image/{};base64,{}">').format(css, alt, kind, encoded)


def _timelapse(samples: Mapping[int, Path], side: int) -> tuple[Markup | str, str]:
    """An animation of the sample grids over the rounds ("" for fewer than two), and a note on what it omits."""
    numbers = [*samples]
    if len(numbers) > MAX_FRAMES:
        numbers = [numbers[i * (len(numbers) - 1) // (MAX_FRAMES - 1)] for i in range(MAX_FRAMES)]
    frames, cut = [], False
    for number in numbers:
        try:
            with open_image(samples[number]) as image:
                picture = _drawable(image, side, MAX_PIXELS // len(numbers))
                cut |= picture.size != image.size
        except BadImage:
            continue
        frames.append(_labeled(picture, f"round {number:,}"))
    frames = [frame for frame in frames if frame.size == frames[-1].size]  # WebP has one size
    note = f"{len(frames):,} of {len(samples):,} grids are shown." if len(frames) < len(samples) else ""
    note += f" Grids are scaled down, and cropped to {MAX_COLUMNS} columns and rows." if cut else ""
    if len(frames) < 2:
        return "", note
    buffer = io.BytesIO()
    lengths = [300] * (len(frames) - 1) + [2500]
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:], duration=lengths, loop=0, quality=80)
    return _image(buffer.getvalue(), "webp", "Animation of the sample grids over the rounds"), note


def _drawable(image: Image.Image, side: int, pixels: int) -> Image.Image:
    """A grid of images of this side, cropped to MAX_COLUMNS, and scaled down to at most `pixels` pixels."""
    limit = MAX_COLUMNS * (side + PADDING) + PADDING
    image = image.crop((0, 0, min(image.width, limit), min(image.height, limit))).convert("RGB")
    factor = math.ceil(math.sqrt(image.width * image.height / pixels))
    return image.reduce(factor) if factor > 1 else image


def _labeled(picture: Image.Image, label: str) -> Image.Image:
    font = ImageFont.load_default(size=13)
    canvas = Image.new("RGB", (picture.width, picture.height + 20), "white")
    canvas.paste(picture, (0, 0))
    ImageDraw.Draw(canvas).text((picture.width / 2, picture.height + 9), label, fill="black", font=font, anchor="mm")
    return canvas


def _alarms(run: Run) -> list[dict[str, Any]]:
    """The alarms of the health monitor, each with the last sample grid before it was noticed."""
    grids = run.samples()
    alarms = []
    for alarm in run.health():
        grid_round = max((number for number in grids if number <= alarm["noticed"]), default=None)
        picture = "" if grid_round is None else _file(grids[grid_round], f"The grid of round {grid_round}")
        alarms.append({**alarm, "picture": picture, "grid_round": grid_round})
    return alarms


def _final(run: Run, system: System) -> Markup | str:
    if not system.supports("sample"):
        return ""
    columns = min(system.grid_columns, MAX_COLUMNS)
    images = system.sample(8 * columns, seed=derive_seed(run.config["seed"], "report"))
    return _image(png(grid(images, columns=columns)), "png", "New samples, not cherry-picked")


def _file(file: Path, caption: str) -> Markup | str:
    """An image file, with the text of its caption as alternative text; "" if it is damaged."""
    try:
        with open_image(file) as image:
            image.load()
        return _image(read_file(file), "png", Markup(caption).striptags())
    except (BadImage, OSError):
        return ""


def _single(pixels: Tensor, alt: str) -> Markup:
    """One image (C, H, W) uint8, without padding."""
    return _image(png(to_pil(pixels)), "png", alt)


def _nearest(system: System, data: Dataset) -> Markup:
    """8 samples, each above its nearest training image by pixel distance."""
    samples = to_uint8(system.sample(8, seed=derive_seed("nearest")))
    index = nearest(samples, data).rows[:, 0]
    pair = torch.cat([samples, data.images_at(index)])
    return _image(png(grid(to_float(pair), columns=8)), "png", "8 samples above their nearest training images")


def _translations(system: System, data: Dataset) -> Markup:
    alt = "Images of both domains; below each its translation, and below that its reconstruction"
    return _image(png(translations(system, data, 10)), "png", alt)


# Codes.


def _sample_rows(data: Dataset, count: int) -> Dataset:
    """`count` random held-out images, or training images if none are held out; always the same, in random order."""
    part = data.held_out or data
    return part.rows(torch.randperm(len(part), generator=make_generator("report", "some"))[:count])


def _reconstructions(system: System, data: Dataset) -> Markup:
    picture = reconstructions(system, data.held_out or data, 10, 10)
    return _image(png(picture), "png", "Images, each above its reconstruction")


def _codes(system: System, data: Dataset) -> dict[str, Any]:
    """The scatter plot of the codes, their length, and the fraction of their variance that it shows."""
    part = _sample_rows(data, MAX_ENCODED)
    codes = system.encode(to_float(part.images))
    prior = (
        system.sample_latents(len(codes), seed=derive_seed("report", "prior"))
        if system.supports("sample_latents")
        else None
    )
    points, prior_points, share = plane_of(codes, prior)
    length, colored = codes.shape[1], part.labels is not None
    names = {1: ("code", ""), 2: ("first unit", "second unit")}.get(length, ("first component", "second component"))
    picture = plots.latent_scatter(points, prior_points, part.labels, part.classes, names)
    return {"picture": picture, "length": length, "share": share, "prior": prior is not None, "colored": colored}


def plane_of(codes: Tensor, prior: Tensor | None) -> tuple[Tensor, Tensor | None, float]:
    """Project codes (n, d) and prior codes (m, d) to 2-D: (n, 2), (m, 2), and the fraction of variance explained.

    The plane is that of the first two principal components of `codes`; for d = 2 the codes are returned unchanged.
    """
    if codes.shape[1] < 2:
        codes = torch.nn.functional.pad(codes, (0, 1))
        prior = None if prior is None else torch.nn.functional.pad(prior, (0, 1))
    if codes.shape[1] == 2:
        return codes, prior, 1.0
    mean = codes.mean(0)
    _, singular_values, components = torch.linalg.svd((codes - mean).double(), full_matrices=False)
    plane = components[:2].T.to(codes)
    share = float(singular_values[:2].square().sum() / singular_values.square().sum().clamp(min=1e-30))
    return (codes - mean) @ plane, None if prior is None else (prior - mean) @ plane, share


def _units(system: System, data: Dataset) -> dict[str, Any]:
    """The KL divergence of each latent unit, and the number of active units."""
    images = to_float(_sample_rows(data, MAX_ENCODED).images)
    nats = system.kl(images).mean(0).tolist()
    active = active_units(system.encode(images)).tolist()
    return {
        "picture": plots.kl_bars(nats, active),
        "count": len(nats),
        "active": sum(active),
        "collapsed": posterior_collapsed(sum(active), len(nats)),
        "total": sum(nats),
    }


def _traversals(system: System) -> dict[str, Markup]:
    """Title -> grid of decoded images."""
    return {
        title: _image(png(_code_grid(system.decode(codes.flatten(0, 1)), codes)), "png", f"Decoded codes: {title}")
        for title, codes in system.traversals().items()
    }


def _code_grid(images: Tensor, codes: Tensor) -> Image.Image:
    """The decoded images of codes (rows, columns, d) as a grid, cropped to MAX_COLUMNS."""
    cells = images.unflatten(0, codes.shape[:2])[:MAX_COLUMNS, :MAX_COLUMNS]
    return grid(cells.flatten(0, 1), cells.shape[1])


# Classes.


def _classified(system: System, data: Dataset) -> dict[str, Any] | None:
    """Confusion matrix and most confident errors; None for unlabeled data."""
    part = _sample_rows(data, MAX_CLASSIFIED)
    if part.labels is None:
        return None
    probabilities = _in_batches(system.classify, part).exp()
    confidence, predicted = probabilities.max(1)
    n_classes = len(part.classes)
    counts = torch.bincount(part.labels * n_classes + predicted, minlength=n_classes**2).view(n_classes, n_classes)
    wrong = (predicted != part.labels).nonzero().flatten()
    worst = wrong[confidence[wrong].argsort(descending=True, stable=True)[:10]]
    errors = [
        {
            "picture": _single(image, f"An image of class {true_class}, classified as {predicted_class}"),
            "predicted": predicted_class,
            "label": true_class,
            "confidence": float(confidence[i]),
        }
        for i, image in zip(worst.tolist(), part.images_at(worst), strict=True)
        for predicted_class, true_class in [(part.classes[predicted[i]], part.classes[part.labels[i]])]
    ]
    matrix = plots.confusion(counts, part.classes)
    return {"picture": matrix, "errors": errors, "wrong": len(wrong), "count": len(part)}


def _clusters(system: System, data: Dataset) -> list[dict[str, Any]]:
    """For each cluster its 8 most likely images, its size, and its most common class."""
    part = _sample_rows(data, MAX_CLASSIFIED)
    probabilities = _in_batches(system.cluster, part)
    cluster = probabilities.argmax(1)
    rows = []
    for k in range(min(probabilities.shape[1], MAX_COLUMNS)):
        likeliest = probabilities[:, k].topk(min(8, len(part))).indices
        picture = png(grid(to_float(part.images[likeliest]), columns=8))
        row: dict[str, Any] = {"picture": _image(picture, "png", f"Most likely images of cluster {k}")}
        row |= {"count": int((cluster == k).sum()), "most_common": None}
        if part.labels is not None and row["count"]:
            labels = torch.bincount(part.labels[cluster == k], minlength=len(part.classes))
            row |= {"most_common": part.classes[int(labels.argmax())], "share": float(labels.max() / labels.sum())}
        rows.append(row)
    return rows


def _in_batches(function: Callable[[Tensor], Tensor], part: Dataset) -> Tensor:
    """(n, ...) `function` of all images, computed in batches."""
    return torch.cat([function(to_float(images)) for images in part.blocks(MAX_ENCODED)])


# Curves.


def _mean_scores(log: list[dict[str, Any]]) -> Markup | str:
    title = "Mean score of real and generated images"
    return plots.mean_scores(log, "real", "fake", title=title, names=("real", "generated"))


def _mean_code_scores(log: list[dict[str, Any]]) -> Markup | str:
    title = "Mean score of codes"
    return plots.mean_scores(log, "prior", "code", title=title, names=("from the prior", "of images"))


def _score_histogram(system: System, data: Dataset) -> Markup:
    conditional = system.accepts("score", "labels")  # samples cycle through the classes

    def scores(images: Tensor, labels: Tensor | None = None) -> list[float]:
        return (system.score(images, labels=labels) if conditional else system.score(images)).tolist()

    chosen = torch.randperm(len(data), generator=make_generator("report", "real"))[:1000]
    return plots.score_histogram(
        scores(*_pictures(data, chosen)),
        scores(system.sample(1000, seed=derive_seed("report", "fake"))),
        scores(*_pictures(data.held_out, slice(0, 1000))) if data.held_out is not None else (),
    )


def _pictures(data: Dataset, rows: Tensor | slice) -> tuple[Tensor, Tensor | None]:
    return to_float(data.images_at(rows)), None if data.labels is None else data.labels[rows]


# Text.


def _tables(evaluation: dict[str, Any]) -> dict[str, list[dict[str, str]]]:
    """Heading -> rows as text: the keys of an evaluation without their own section."""
    return {
        key.replace("_", " ").capitalize(): [{name: _format(value) for name, value in row.items()} for row in rows]
        for key, rows in _remaining(evaluation)
    }


def _remaining(evaluation: dict[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """(key, rows) for the keys without their own section in the report."""
    for key, value in evaluation.items():
        if key not in HANDLED_KEYS and value not in (None, [], {}, ""):
            rows = value if isinstance(value, list) else [value]
            yield key, [row if isinstance(row, dict) else {"": row} for row in rows]


def _format(value: Any, levels: int = 5) -> str:
    """A value as text: 4 digits, intervals as "1 to 2", "" for None; at most `levels` nested levels."""
    if isinstance(value, list | dict) and not levels:
        return "..."
    if isinstance(value, list):
        return (" to " if len(value) == 2 else ", ").join(_format(v, levels - 1) for v in value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {_format(v, levels - 1)}" for name, v in value.items())
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _source(text: str) -> Markup:
    return Markup(highlight(text, PythonLexer(), HtmlFormatter(noclasses=True, nowrap=False, style="friendly")))
