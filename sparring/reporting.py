"""A run as one self-contained page that can be shown in class: no script, no font and no picture from elsewhere."""

from __future__ import annotations

import base64
import inspect
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
from sparring.evaluation.panel import MEANING
from sparring.evaluation.schema import require_evaluation
from sparring.image_grid import PADDING, grid, png, reconstructions, to_pil, translations
from sparring.latent import nearest
from sparring.metrics import ACTIVE, active_units, posterior_collapsed
from sparring.run import Run
from sparring.seeds import derive_seed, make_generator, standard_defaults
from sparring.system import System

DRAWN, EXAMINED = 2000, 10_000
"""At most so many images are drawn as codes, and put into classes and clusters."""
WIDEST, FRAMES, PIXELS = 32, 60, 1 << 25
"""At most so many columns and rows of a grid, clusters, grids in the moving picture, and pixels in all of its grids."""
NEEDS_DATA = {
    "score": "score histogram",
    "sample": "nearest training images",
    "reconstruct": "reconstructions",
    "encode": "codes",
    "kl": "units of the code",
    "classify": "classes",
    "cluster": "clusters",
    "translate": "translations",
}
"""Ability -> the section that shows it and takes images."""
MEANINGS = {
    "nll": "-log p(image | code), in nats",
    "kl": "KL divergence of the codes from the prior, in nats",
    "reconstruction": "half the squared error of an image",
    "accuracy": "share of the batch put into its class",
    "category": "part of the loss that is about the class or cluster in the code",
    "style": "part of the loss that is about the rest of the code",
    "repulsion": "how much the heads of clusters lack in distance",
    "information": "what the image tells of the message, in nats",
    "distance": "mean score of real images less that of generated ones",
    "class_loss_real": "cross-entropy of the classes of real images",
    "class_loss_fake": "cross-entropy of the classes of generated images",
    "gradient_penalty": "the gradient penalty, before its weight",
    "gradient_penalties": "the gradient penalties, before their weight",
    "adversarial": "how far translations are from passing for images of their domain, as both judges see it",
    "cycle": "mean distance of an image from what comes back of it, pixels from -1 to 1, both ways added",
    "identity": "what a translator changes of an image that is in its target domain already",
}
"""Numbers that moves log, in words; those of one paper only are explained in its file."""
HANDLED_KEYS = {
    *("format", "data", "fingerprint", "n", "repeats", "sampling", "checkpoint"),
    *("metrics", "findings", "classes", "cells", "system", "notes"),
}
"""Keys of an evaluation that have a place of their own on the page."""
CAPTIONS = {
    "closest": "<b>The ten closest pairs.</b> Above: samples. Below: the training images nearest to them, in "
    "proportion to how near other training images are to those. Twins in a column are copies.",
    "twins": "<b>Twins.</b> Each row: samples that are as near to each other as hardly any two real images are.",
    "cells": "<b>What is hardly ever made.</b> Each row: real images of a region with next to no samples in it.",
    "overfull": "<b>What is made too often.</b> Each row: samples of a region that real images are rarer in.",
    "far": "<b>The worst.</b> The samples farthest from every real image.",
    "near": "<b>The nearest</b> to a real image: typical ones, rather than good ones.",
    "spectrum": "<b>Spectra</b> of real images (left) and of samples (right), on one scale of logarithms: low "
    "frequencies in the middle, the finest patterns at the rim. Bright dots on the right alone are checkerboards; a "
    "dark rim is blur.",
}
"""Picture of an evaluation -> what there is to see."""


@standard_defaults()
def report(
    run: Run | Path | str,
    *,
    data: Dataset | str | Path | Mapping[str, str | Path] | None = None,
    recipe: str | None = None,
) -> Path:
    """Write RUN/report.html from what is on disk, and return its path.

    data    the run's data, as in `training.resume`; without data the sections that need it say so
    recipe  needed again for a recipe that is not one of ours ("module:function")

    Raises SparringError when the run has no weights or is damaged, and when `data` is not what it was trained on.
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
    (log, every), metrics = run.thinned("log"), run.read("metrics")
    distances, errors = ([m for m in metrics if m["name"].startswith("FD-")], [m for m in metrics if "floor" not in m])
    kernel_distances, best = [m for m in metrics if m["name"].startswith("KID-")], run.best()
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        (files("sparring") / "report.html.j2").read_text(encoding="utf-8")
    )
    evaluation, unread = _evaluation(run)
    pictures = {
        name: _file(file, CAPTIONS[name]) for name, file in run.evaluation_pictures().items() if name in CAPTIONS
    }
    pictures = {name: picture for name, picture in pictures.items() if picture}
    growing, of_growing = _timelapse(run.samples(), run.config["spec"]["size"])
    page = template.render(
        run=run,
        config=run.config,
        title=run.path.name,
        summary=_summary(run, log, distances, errors),
        samples=system.supports("sample"),
        translations=_translations(system, images) if images and system.supports("translate") else "",
        domains=run.config["spec"]["classes"] if system.supports("translate") else (),
        growing=growing,
        of_growing=of_growing,
        final=_final(run, system),
        part="real" if images is None else "held-out" if images.held_out else "training",
        rebuilt=_reconstructions(system, images) if images and system.supports("reconstruct") else "",
        codes=_codes(system, images) if images and system.supports("encode") else None,
        active=ACTIVE,
        units=_units(system, images) if images and system.supports("kl") else None,
        traversals=_walks(system) if system.supports("traversals") and system.supports("decode") else {},
        widest=WIDEST,
        classified=_classified(system, images) if images and system.supports("classify") else None,
        clusters=_clusters(system, images) if images and system.supports("cluster") else [],
        players=len(system.players),
        losses=plots.loss_curves(log, run.config["equilibrium"]) if log else "",
        equilibrium=run.config["equilibrium"],
        scores=_mean_scores(log),
        code_scores=_mean_code_scores(log),
        others=plots.extra_series(log) if plots.extra_names(log) else "",
        meanings={name: MEANINGS[name] for name in plots.extra_names(log) if name in MEANINGS},
        histogram=_score_histogram(system, images)
        if images and system.supports("score") and system.supports("sample")
        else "",
        gradients=plots.gradient_curves(log) if log else "",
        distance=plots.fd_curve(distances) if distances else "",
        metrics=distances,
        choosing=plots.fd_curve(kernel_distances, best["round"]) if best else "",
        best=best,
        last=kernel_distances[-1] if kernel_distances else None,
        errors=plots.error_curves(errors) if errors else "",
        clustering=bool(errors) and errors[0]["name"] == "clustering error",
        neighbors=_nearest(system, images) if images and system.supports("sample") else "",
        missing=missing,
        needing=[section for ability, section in NEEDS_DATA.items() if system.supports(ability)],
        alarms=_alarms(run),
        evaluation=evaluation,
        unread=unread,
        every=every,
        pictures=pictures,
        shown=CAPTIONS,
        meaning=_meaning,
        short=format_number,
        numbers=[card for card in (evaluation or {}).get("metrics", []) if card["section"] != "samples"],
        panel=[card for card in (evaluation or {}).get("metrics", []) if card["section"] == "samples"],
        tables=_tables(evaluation or {}),
        in_words=_format,
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
    """What was measured, or None; and if it was measured and cannot be shown, why."""
    try:
        found = run.evaluation()
        if found is not None:
            require_evaluation(found)
    except SparringError as error:
        return None, str(error)
    return found, ""


def _summary(run: Run, log: list[dict], metrics: list[dict], errors: list[dict]) -> str:
    config = run.config
    played = log[-1]["round"] if log else 0
    length = f" in {duration}" if (duration := _duration(run)) else ""
    text = (
        f"{config['recipe']} saw {config['data']['count']:,} images of “{config['data']['name']}” in batches of "
        f"{config['batch']} and played {played:,} of {config['rounds']:,} rounds{length}."
    )
    if len(metrics) > 1:
        first, last = metrics[0], metrics[-1]
        text += (
            f" Its distance to real images ({last['name']}) went from {first['value']:,.0f} to {last['value']:,.1f}; "
            f"two sets of real images are {last['floor']:,.1f} apart."
        )
    if errors:
        last = errors[-1]
        clusters = last["name"] == "clustering error"
        wrong = "a cluster that is named after another class" if clusters else "a wrong class"
        text += f" It puts {100 * last['value']:.2f} % of {last['n']:,} held-out images into {wrong}."
    players = {move["player"] for line in log for move in line["moves"]}
    if not metrics and not errors and len(players) == 1 and len(log) > 1:  # opponents' losses say nothing
        first, last = (line["moves"][0]["loss"] for line in (log[0], log[-1]))
        text += f" Its loss on a batch went from {first:.4g} in round {log[0]['round']:,} to {last:.4g}."
    return text


def _duration(run: Run) -> str:
    """Seconds of all sessions of this run, the clock starts again at every resume; "" when nothing is known."""
    total = previous = 0.0
    for line in run.lines("timing"):
        total += line["seconds"] - (previous if line["seconds"] > previous else 0.0)
        previous = line["seconds"]
    if not total:
        return ""
    return f"{total:.1f} s" if total < 60 else f"{int(total) // 60} min {int(total) % 60:02d} s"


def _data_rows(config: dict[str, Any]) -> dict[str, Any]:
    source = config["data"]["source"]
    asked = {k: v for k, v in (source or {}).items() if v is not None and k != "root"}
    return {
        "images to learn from": config["data"]["count"],
        "size": f"{config['spec']['channels']} x {config['spec']['size']} x {config['spec']['size']}",
        "classes": ", ".join(config["spec"]["classes"]) or "no labels",
        **{name: _format(value) for name, value in asked.items()},
        "rounds": config["rounds"],
        "seed": config["seed"],
    }


# Pictures.


def _image(data: bytes, kind: str, alt: str, css: str = "pixels") -> Markup:
    encoded = base64.b64encode(data).decode()
    return Markup('<img class="{}" alt="{}" src="data:image/{};base64,{}">').format(css, alt, kind, encoded)


def _timelapse(samples: Mapping[int, Path], side: int) -> tuple[Markup | str, str]:
    """One picture that moves: the same noise, or the same images, round after round; and what of it is not shown."""
    numbers = [*samples]
    if len(numbers) > FRAMES:
        numbers = [numbers[i * (len(numbers) - 1) // (FRAMES - 1)] for i in range(FRAMES)]
    frames, cut = [], False
    for number in numbers:
        try:
            with open_image(samples[number]) as image:
                picture = _drawable(image, side, PIXELS // len(numbers))
                cut |= picture.size != image.size
        except BadImage:
            continue
        frames.append(_labeled(picture, f"round {number:,}"))
    frames = [frame for frame in frames if frame.size == frames[-1].size]  # WebP has one size
    said = f"{len(frames):,} of {len(samples):,} grids are shown." if len(frames) < len(samples) else ""
    said += f" Grids are made smaller, and cut after {WIDEST} columns and rows." if cut else ""
    if len(frames) < 2:
        return "", said
    buffer = io.BytesIO()
    lengths = [300] * (len(frames) - 1) + [2500]
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:], duration=lengths, loop=0, quality=80)
    return _image(buffer.getvalue(), "webp", "The grids of every round shown, one after the other"), said


def _drawable(image: Image.Image, side: int, pixels: int) -> Image.Image:
    """A grid of images of this side, cut and made smaller where it has more than that many pixels."""
    most = WIDEST * (side + PADDING) + PADDING
    image = image.crop((0, 0, min(image.width, most), min(image.height, most))).convert("RGB")
    times = math.ceil(math.sqrt(image.width * image.height / pixels))
    return image.reduce(times) if times > 1 else image


def _labeled(picture: Image.Image, label: str) -> Image.Image:
    font = ImageFont.load_default(size=13)
    canvas = Image.new("RGB", (picture.width, picture.height + 20), "white")
    canvas.paste(picture, (0, 0))
    ImageDraw.Draw(canvas).text((picture.width / 2, picture.height + 9), label, fill="black", font=font, anchor="mm")
    return canvas


def _alarms(run: Run) -> list[dict[str, Any]]:
    """What the health monitor told, each with the last grid that was shown when it was noticed."""
    grids = run.samples()
    found = []
    for alarm in run.health():
        seen = max((number for number in grids if number <= alarm["noticed"]), default=None)
        picture = "" if seen is None else _file(grids[seen], f"The grid of round {seen}")
        found.append({**alarm, "picture": picture, "grid_round": seen})
    return found


def _final(run: Run, system: System) -> Markup | str:
    if not system.supports("sample"):
        return ""
    columns = min(system.grid_columns, WIDEST)
    images = system.sample(8 * columns, seed=derive_seed(run.config["seed"], "report"))
    return _image(png(grid(images, columns=columns)), "png", "New samples, not picked")


def _file(file: Path, caption: str) -> Markup | str:
    """A picture on disk, with the words in its caption for those who cannot see it; "" for one that is damaged."""
    try:
        with open_image(file) as image:
            image.load()
        return _image(read_file(file), "png", Markup(caption).striptags())
    except (BadImage, OSError):
        return ""


def _single(pixels: Tensor, alt: str) -> Markup:
    """One (C, H, W) uint8 image, without a frame."""
    return _image(png(to_pil(pixels)), "png", alt)


def _nearest(system: System, data: Dataset) -> Markup:
    """8 samples, and under each the training image with the smallest pixel distance."""
    samples = to_uint8(system.sample(8, seed=derive_seed("nearest")))
    index = nearest(samples, data.images).rows[:, 0]
    pair = torch.cat([samples, data.images[index]])
    return _image(png(grid(to_float(pair), columns=8)), "png", "8 samples above their nearest training images")


def _translations(system: System, data: Dataset) -> Markup:
    alt = "Images of both domains, below each its translation, and below that the way back"
    return _image(png(translations(system, data, 10)), "png", alt)


# Codes.


def _sample_rows(data: Dataset, count: int) -> Dataset:
    """`count` held-out images, or training images when nothing is held out: the same ones every time, in any order."""
    part = data.held_out or data
    return part.rows(torch.randperm(len(part), generator=make_generator("report", "some"))[:count])


def _reconstructions(system: System, data: Dataset) -> Markup:
    picture = reconstructions(system, data.held_out or data, 10, 10)
    return _image(png(picture), "png", "Images, and below each what the system makes of its code")


def _codes(system: System, data: Dataset) -> dict[str, Any]:
    """The picture of the codes, their length, and the share of their variance that is seen."""
    part = _sample_rows(data, DRAWN)
    found = system.encode(to_float(part.images))
    prior = (
        system.sample_latents(len(found), seed=derive_seed("report", "prior"))
        if system.supports("sample_latents")
        else None
    )
    points, below, share = plane_of(found, prior)
    length, colored = found.shape[1], part.labels is not None
    names = {1: ("code", ""), 2: ("first unit", "second unit")}.get(length, ("first component", "second component"))
    picture = plots.latent_scatter(points, below, part.labels, part.classes, names)
    return {"picture": picture, "length": length, "share": share, "prior": prior is not None, "colored": colored}


def plane_of(codes: Tensor, prior: Tensor | None) -> tuple[Tensor, Tensor | None, float]:
    """(n, 2) and (m, 2): codes (n, d) and prior codes (m, d), as they are for d = 2, else in one and the same plane.

    The plane is that of the first two principal components of `codes`; the third value is its share of their variance.
    """
    if codes.shape[1] < 2:
        codes = torch.nn.functional.pad(codes, (0, 1))
        prior = None if prior is None else torch.nn.functional.pad(prior, (0, 1))
    if codes.shape[1] == 2:
        return codes, prior, 1.0
    middle = codes.mean(0)
    _, strength, directions = torch.linalg.svd((codes - middle).double(), full_matrices=False)
    plane = directions[:2].T.to(codes)
    share = float(strength[:2].square().sum() / strength.square().sum().clamp(min=1e-30))
    return (codes - middle) @ plane, None if prior is None else (prior - middle) @ plane, share


def _units(system: System, data: Dataset) -> dict[str, Any]:
    """The divergence of each unit, and how many units are active."""
    images = to_float(_sample_rows(data, DRAWN).images)
    nats = system.kl(images).mean(0).tolist()
    active = active_units(system.encode(images)).tolist()
    return {
        "picture": plots.kl_bars(nats, active),
        "count": len(nats),
        "active": sum(active),
        "collapsed": posterior_collapsed(sum(active), len(nats)),
        "total": sum(nats),
    }


def _walks(system: System) -> dict[str, Markup]:
    """Title -> the images of its codes, in their rows and columns."""
    return {
        title: _image(png(_walked(system.decode(codes.flatten(0, 1)), codes)), "png", f"Images of codes: {title}")
        for title, codes in system.traversals().items()
    }


def _walked(images: Tensor, codes: Tensor) -> Image.Image:
    """The images of (rows, columns, d) codes in their places; of very many columns the first."""
    some = images.unflatten(0, codes.shape[:2])[:WIDEST, :WIDEST]
    return grid(some.flatten(0, 1), some.shape[1])


# Classes.


def _classified(system: System, data: Dataset) -> dict[str, Any] | None:
    """Who is taken for whom, and the surest mistakes; nothing for unlabeled data."""
    part = _sample_rows(data, EXAMINED)
    if part.labels is None:
        return None
    probabilities = _of_all(system.classify, part).exp()
    sure, said = probabilities.max(1)
    kinds = len(part.classes)
    counts = torch.bincount(part.labels * kinds + said, minlength=kinds**2).view(kinds, kinds)
    wrong = (said != part.labels).nonzero().flatten()
    worst = wrong[sure[wrong].argsort(descending=True, stable=True)[:10]]
    mistakes = [
        {
            "picture": _single(part.images[i], f"An image of class {is_} that was taken for {taken}"),
            "said": taken,
            "is": is_,
            "sure": float(sure[i]),
        }
        for i in worst.tolist()
        for taken, is_ in [(part.classes[said[i]], part.classes[part.labels[i]])]
    ]
    matrix = plots.confusion(counts, part.classes)
    return {"picture": matrix, "mistakes": mistakes, "wrong": len(wrong), "count": len(part)}


def _clusters(system: System, data: Dataset) -> list[dict[str, Any]]:
    """For each cluster the 8 likeliest images, how many it has, and which class is commonest among them."""
    part = _sample_rows(data, EXAMINED)
    probabilities = _of_all(system.cluster, part)
    member = probabilities.argmax(1)
    rows = []
    for k in range(min(probabilities.shape[1], WIDEST)):
        likeliest = probabilities[:, k].topk(min(8, len(part))).indices
        picture = png(grid(to_float(part.images[likeliest]), columns=8))
        row: dict[str, Any] = {"picture": _image(picture, "png", f"Likeliest images of cluster {k}")}
        row |= {"count": int((member == k).sum()), "commonest": None}
        if part.labels is not None and row["count"]:
            labels = torch.bincount(part.labels[member == k], minlength=len(part.classes))
            row |= {"commonest": part.classes[int(labels.argmax())], "share": float(labels.max() / labels.sum())}
        rows.append(row)
    return rows


def _of_all(ability: Callable[[Tensor], Tensor], part: Dataset) -> Tensor:
    """(n, ...) what it says of every image."""
    return torch.cat([ability(to_float(images)) for images in part.images.split(DRAWN)])


# Curves.


def _mean_scores(log: list[dict]) -> Markup | str:
    title = "Mean score of real and generated images"
    return plots.mean_scores(log, "real", "fake", title=title, names=("real", "generated"))


def _mean_code_scores(log: list[dict]) -> Markup | str:
    title = "Mean score of codes"
    return plots.mean_scores(log, "prior", "code", title=title, names=("from the prior", "of images"))


def _score_histogram(system: System, data: Dataset) -> Markup:
    told = "labels" in inspect.signature(system.score).parameters  # samples come in each class in turn

    def scores(images: Tensor, labels: Tensor | None = None) -> list[float]:
        return (system.score(images, labels=labels) if told else system.score(images)).tolist()

    chosen = torch.randperm(len(data), generator=make_generator("report", "real"))[:1000]
    return plots.score_histogram(
        scores(*_pictures(data, chosen)),
        scores(system.sample(1000, seed=derive_seed("report", "fake"))),
        scores(*_pictures(data.held_out, slice(0, 1000))) if data.held_out is not None else (),
    )


def _pictures(data: Dataset, rows: Tensor | slice) -> tuple[Tensor, Tensor | None]:
    return to_float(data.images[rows]), None if data.labels is None else data.labels[rows]


# Words.


def _meaning(name: str) -> str:
    """What a number of the panel says: FD-lenet-mnist@2000 is an FD."""
    known = [short for short in MEANING if name == short or name.startswith(f"{short}-")]
    return MEANING[max(known, key=len)] if known else ""


def _tables(evaluation: dict[str, Any]) -> dict[str, list[dict[str, str]]]:
    """Heading -> rows in words: all the rest of an evaluation."""
    return {
        key.replace("_", " ").capitalize(): [{name: _format(value) for name, value in row.items()} for row in rows]
        for key, rows in _remaining(evaluation)
    }


def _remaining(evaluation: dict[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Key -> rows, for the keys that have no place of their own on the page."""
    for key, value in evaluation.items():
        if key not in HANDLED_KEYS and value not in (None, [], {}, ""):
            rows = value if isinstance(value, list) else [value]
            yield key, [row if isinstance(row, dict) else {"": row} for row in rows]


def _format(value: Any, levels: int = 5) -> str:
    """A number in 4 digits, an interval as "1 to 2", nothing for None; of what is nested, so many levels."""
    if isinstance(value, list | dict) and not levels:
        return "..."
    if isinstance(value, list):
        return (" to " if len(value) == 2 else ", ").join(_format(v, levels - 1) for v in value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {_format(v, levels - 1)}" for name, v in value.items())
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _source(text: str) -> Markup:
    return Markup(highlight(text, PythonLexer(), HtmlFormatter(noclasses=True, nowrap=False, style="friendly")))
