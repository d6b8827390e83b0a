"""The sections of the report, in order. Each is a function of the page and a template; None: nothing to show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from torch import Tensor

from sparring import plots
from sparring.data.dataset import Dataset
from sparring.data.pixels import to_float, to_uint8
from sparring.errors import plural
from sparring.evaluation.measurement import format_number
from sparring.evaluation.metrics import METRICS
from sparring.evaluation.splits import in_chunks
from sparring.image_grid import MAX_COLUMNS, grid, preview, reconstructions, translations
from sparring.latent.neighbors import nearest
from sparring.metrics.codes import ACTIVE, active_units, posterior_collapsed
from sparring.numbers import NUMBERS
from sparring.reporting.images import code_grid, from_file, picture, single, timelapse
from sparring.reporting.page import Page, Section
from sparring.seeds import derive_seed, make_generator
from sparring.system import System
from sparring.templates import render

MAX_ENCODED, MAX_CLASSIFIED = 2000, 10_000
"""Limits of the numbers of images that are encoded for plots, and classified or clustered."""

HANDLED_KEYS = {
    *("format", "data", "fingerprint", "n", "repeats", "sampling", "checkpoint"),
    *("metrics", "findings", "classes", "cells", "system", "notes"),
}
"""Keys of an evaluation that have their own place in the report; the others are shown as tables."""

CAPTIONS = {
    "closest": Markup(
        "<b>The ten closest pairs.</b> Above: samples. Below: their nearest training images, by distance relative to "
        "the distance between training images there. Near-duplicates in a column are memorized images."
    ),
    "duplicates": Markup(
        "<b>Near-duplicates.</b> Each row: samples that are closer to each other than almost any two real images."
    ),
    "cells": Markup("<b>Underrepresented.</b> Each row: real images of a region with almost no samples."),
    "overfull": Markup("<b>Overrepresented.</b> Each row: samples of a region with fewer real images."),
    "far": Markup("<b>Worst samples:</b> those farthest from all real images."),
    "near": Markup("<b>Samples nearest to a real image:</b> typical rather than good ones."),
    "spectrum": Markup(
        "<b>Power spectra</b> of real images (left) and samples (right) on one logarithmic scale: low frequencies at "
        "the center, high frequencies at the edge. Bright dots in the right spectrum only indicate checkerboard "
        "artifacts; a dark edge indicates blur."
    ),
}
"""Image of an evaluation -> its caption."""


# Samples.


def samples(page: Page) -> Section | None:
    """Samples, translations or reconstructions: over the rounds, and after training."""
    system = page.system
    sampling, translating = system.supports("sample"), system.supports("translate")
    over_rounds, note = timelapse(page.run.samples(), page.run.spec.size)
    values = {
        "timelapse": over_rounds,
        "translations": _translations(page),
        "final": _final(page),
    }
    if not any(values.values()):
        return None
    title = "Samples" if sampling else "Translations" if translating else "Reconstructions over the rounds"
    domains = page.run.config["spec"]["classes"] if translating else ()
    if translating and len(system.translates_to) == 1:
        domains = domains if system.translates_to == (1,) else domains[::-1]
    both = translating and len(system.translates_to) > 1
    options = {"timelapse_note": note, "samples": sampling, "domains": domains, "both": both, "part": page.part}
    return Section(title, render("report/samples.html.j2", **values, **options))


def _translations(page: Page) -> Markup | str:
    data = page.images_for("translate")
    if data is None:
        return ""
    alt = "Images of both domains; below each its translation, and below that its reconstruction"
    if len(page.system.translates_to) == 1:
        alt = "Inputs; below each its translation" + (", and below that its target" if data.paired else "")
    return picture(translations(page.system, data, 10), alt)


def _final(page: Page) -> Markup | str:
    image = preview(page.system, None, seed=derive_seed(page.run.config["seed"], "report"))
    return "" if image is None else picture(image, "New samples, not cherry-picked")


# Health monitor and diagnosis.


def monitor(page: Page) -> Section | None:
    """The alarms of the health monitor, each with the last sample grid before it was noticed."""
    grids = page.run.samples()
    alarms = []
    for alarm in page.run.health():
        grid_round = max((number for number in grids if number <= alarm["noticed"]), default=None)
        image = "" if grid_round is None else from_file(grids[grid_round], f"The grid of round {grid_round}")
        alarms.append({**alarm, "picture": image, "grid_round": grid_round})
    return Section("Health monitor", render("report/monitor.html.j2", alarms=alarms)) if alarms else None


def _pictures(page: Page) -> dict[str, Markup]:
    """Name -> image of the evaluation; without damaged ones."""
    files = page.run.evaluation_pictures()
    images = {name: from_file(file, CAPTIONS[name]) for name, file in files.items() if name in CAPTIONS}
    return {name: image for name, image in images.items() if image}


def diagnosis(page: Page) -> Section | None:
    """The diagnoses of the evaluation; each image is shown once."""
    if not page.evaluation or not page.evaluation["findings"]:
        return None
    pictures = _pictures(page)
    diagnoses = [
        {**one, "picture": pictures.pop(one["picture"], ""), "caption": CAPTIONS.get(one["picture"], "")}
        for one in page.evaluation["findings"]
    ]
    return Section("Diagnosis", render("report/diagnosis.html.j2", diagnoses=diagnoses))


# Latent codes.


def codes(page: Page) -> Section | None:
    """Reconstructions, the distribution of the codes, latent units and traversals."""
    system = page.system
    traversals = {}
    if system.supports("traversals") and system.supports("decode"):
        traversals = {
            title: picture(code_grid(system.decode(codes.flatten(0, 1)), codes), f"Decoded codes: {title}")
            for title, codes in system.traversals().items()
        }
    values = {
        "reconstructions": _reconstructions(page),
        "samples": _encoded_samples(page.system),
        "codes": _codes(page) if page.images_for("encode") else None,
        "units": _units(page) if page.images_for("kl") else None,
        "traversals": traversals,
    }
    if not any(values.values()):
        return None
    options = {"part": page.part, "active": ACTIVE, "max_columns": MAX_COLUMNS}
    return Section("Latent codes", render("report/codes.html.j2", **values, **options))


def _reconstructions(page: Page) -> Markup | str:
    data = page.images_for("reconstruct")
    if data is None:
        return ""
    image = reconstructions(page.system, data.held_out or data, 10, 10)
    return picture(image, "Images, each above its reconstruction")


def _encoded_samples(system: System) -> dict[str, Markup] | None:
    """Samples above what is decoded from their encoded images, and the two codes of each against each other."""
    if not all(map(system.supports, ("sample_latents", "encode", "decode"))):
        return None
    codes = system.sample_latents(200, seed=derive_seed("report", "encoded samples"))
    images = system.decode(codes)
    encoded = system.encode(images)
    if encoded.shape != codes.shape:
        return None
    pair = torch.cat([images[:10], system.decode(encoded[:10])])
    alt = "Samples, each above the image decoded from its encoded image"
    return {"picture": picture(grid(pair, columns=10), alt), "plot": plots.code_scatter(codes, encoded)}


def _codes(page: Page) -> dict[str, Any]:
    """The scatter plot of the codes, their length, and the fraction of their variance that it shows."""
    part, system = page.sample_rows(MAX_ENCODED), page.system
    codes = system.encode(to_float(part.images))
    prior = (
        system.sample_latents(len(codes), seed=derive_seed("report", "prior"))
        if system.supports("sample_latents")
        else None
    )
    points, prior_points, share = plane_of(codes, prior)
    length, colored = codes.shape[1], part.labels is not None
    names = {1: ("code", ""), 2: ("first unit", "second unit")}.get(length, ("first component", "second component"))
    image = plots.latent_scatter(points, prior_points, part.labels, part.classes, names)
    return {"picture": image, "length": length, "share": share, "prior": prior is not None, "colored": colored}


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


def _units(page: Page) -> dict[str, Any]:
    """The KL divergence of each latent unit, and the number of active units."""
    images = to_float(page.sample_rows(MAX_ENCODED).images)
    nats = page.system.kl(images).mean(0).tolist()
    active = active_units(page.system.encode(images)).tolist()
    return {
        "picture": plots.kl_bars(nats, active),
        "count": len(nats),
        "active": sum(active),
        "collapsed": posterior_collapsed(sum(active), len(nats)),
        "total": sum(nats),
    }


# Training.


def training(page: Page) -> Section:
    """Losses, scores, gradients and other logged values."""
    log, equilibrium = page.log, page.run.config["equilibrium"]
    names = plots.extra_names(log)
    titles = ("Mean score of real and generated images", "Mean score of codes")
    content = render(
        "report/training.html.j2",
        losses=plots.loss_curves(log, equilibrium) if log else "",
        log_step=page.log_step,
        equilibrium=equilibrium,
        scores=plots.mean_scores(log, "real", "fake", title=titles[0], names=("real", "generated")),
        code_scores=plots.mean_scores(log, "prior", "code", title=titles[1], names=("from the prior", "of images")),
        histogram=_score_histogram(page),
        gradients=plots.gradient_curves(log) if log else "",
        extra_series=plots.extra_series(log) if names else "",
        meanings={name: NUMBERS[name] for name in names if name in NUMBERS},
    )
    return Section("Training", content)


def _score_histogram(page: Page) -> Markup | str:
    system, data = page.system, page.images_for("score")
    if data is None or not system.supports("sample"):
        return ""
    chosen = torch.randperm(len(data), generator=make_generator("report", "real"))[:1000]
    fakes = system.sample(1000, seed=derive_seed("report", "fake"))
    held_out = None if data.held_out is None else data.held_out.rows(slice(0, 1000))
    return plots.score_histogram(
        _scores(system, data.rows(chosen)),
        system.score(fakes).tolist(),  # without labels, samples cycle through the classes
        () if held_out is None else _scores(system, held_out),
    )


def _scores(system: System, part: Dataset) -> list[float]:
    """Scores of real images, with their labels if the system takes them."""
    labels = {"labels": part.labels} if system.accepts("score", "labels") else {}
    scores: list[float] = system.score(to_float(part.images), **labels).tolist()
    return scores


# Quality.


def quality(page: Page) -> Section | None:
    """Distances and errors over the rounds, misclassified images, nearest training images."""
    best, errors = page.run.best(), page.errors
    curves = []
    for metric in (metric for metric in METRICS.values() if metric.plot):
        if lines := page.distances(metric.name):
            marked = best["round"] if best and best["metric"] == metric.name else None
            image = plots.fd_curve(lines, marked)
            curves.append({"picture": image, "last": lines[-1], "meaning": metric.meaning})
    values = {
        "curves": curves,
        "errors": plots.error_curves(errors) if errors else "",
        "classified": _classified(page),
        "neighbors": _nearest(page),
    }
    if not any(values.values()):
        return None
    clustering = bool(errors) and errors[0]["metric"] == "clustering error"
    options = {"best": best or {"metric": ""}, "part": page.part, "clustering": clustering}
    return Section("Quality", render("report/quality.html.j2", **values, **options))


def _classified(page: Page) -> dict[str, Any] | None:
    """Confusion matrix and most confident errors; None for unlabeled data."""
    if not page.images_for("classify"):
        return None
    part = page.sample_rows(MAX_CLASSIFIED)
    if part.labels is None:
        return None
    probabilities = in_chunks(page.system.classify, part).exp()
    confidence, predicted = probabilities.max(1)
    n_classes = len(part.classes)
    counts = torch.bincount(part.labels * n_classes + predicted, minlength=n_classes**2).view(n_classes, n_classes)
    wrong = (predicted != part.labels).nonzero().flatten()
    worst = wrong[confidence[wrong].argsort(descending=True, stable=True)[:10]]
    errors = [
        {
            "picture": single(image, f"An image of class {true_class}, classified as {predicted_class}"),
            "predicted": predicted_class,
            "label": true_class,
            "confidence": float(confidence[i]),
        }
        for i, image in zip(worst.tolist(), part.images_at(worst), strict=True)
        for predicted_class, true_class in [(part.classes[predicted[i]], part.classes[part.labels[i]])]
    ]
    matrix = plots.confusion(counts, part.classes)
    return {"picture": matrix, "errors": errors, "wrong": len(wrong), "count": len(part)}


def _nearest(page: Page) -> Markup | str:
    """8 samples, each above its nearest training image by pixel distance."""
    data = page.images_for("sample")
    if data is None:
        return ""
    fakes = to_uint8(page.system.sample(8, seed=derive_seed("nearest")))
    index = nearest(fakes, data).rows[:, 0]
    pair = torch.cat([fakes, data.images_at(index)])
    return picture(grid(to_float(pair), columns=8), "8 samples above their nearest training images")


def clusters(page: Page) -> Section | None:
    """For each cluster its 8 most likely images, its size, and its most common class."""
    if not page.images_for("cluster"):
        return None
    part = page.sample_rows(MAX_CLASSIFIED)
    probabilities = in_chunks(page.system.cluster, part)
    cluster = probabilities.argmax(1)
    rows = []
    for k in range(min(probabilities.shape[1], MAX_COLUMNS)):
        likeliest = probabilities[:, k].topk(min(8, len(part))).indices
        image = picture(grid(to_float(part.images_at(likeliest)), columns=8), f"Most likely images of cluster {k}")
        row: dict[str, Any] = {"picture": image, "count": int((cluster == k).sum()), "most_common": None}
        if part.labels is not None and row["count"]:
            labels = torch.bincount(part.labels[cluster == k], minlength=len(part.classes))
            row |= {"most_common": part.classes[int(labels.argmax())], "share": float(labels.max() / labels.sum())}
        rows.append(row)
    unlabeled = not (page.system.supports("classify") and part.labels is not None)
    options = {"part": page.part, "max_columns": MAX_COLUMNS, "unlabeled": unlabeled, "count": plural}
    return Section("Clusters", render("report/clusters.html.j2", clusters=rows, **options))


# Evaluation.


def evaluation(page: Page) -> Section | None:
    """All numbers of the evaluation."""
    stored = page.evaluation
    if stored is None and not page.evaluation_error:
        return None
    records = stored["metrics"] if stored else []
    content = render(
        "report/evaluation.html.j2",
        error=page.evaluation_error,
        evaluation=stored or {"notes": [], "classes": []},
        best=stored is not None and stored.get("checkpoint") == "best",
        panel=[record for record in records if record["section"] == "samples"],
        others=[record for record in records if record["section"] != "samples"],
        meanings={name: metric.meaning for name, metric in METRICS.items()},
        pictures=[(image, CAPTIONS[name]) for name, image in _pictures(page).items()],
        tables=_tables(stored or {}),
        number=format_number,
        value=format_value,
        count=plural,
    )
    return Section("Evaluation", content)


def _tables(stored: dict[str, Any]) -> dict[str, list[dict[str, str]]]:
    """Heading -> rows as text: the keys of an evaluation without their own place."""
    return {
        key.replace("_", " ").capitalize(): [{name: format_value(value) for name, value in row.items()} for row in rows]
        for key, rows in _remaining(stored)
    }


def _remaining(stored: dict[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    for key, value in stored.items():
        if key not in HANDLED_KEYS and value not in (None, [], {}, ""):
            rows = value if isinstance(value, list) else [value]
            yield key, [row if isinstance(row, dict) else {"": row} for row in rows]


def format_value(value: Any, levels: int = 5) -> str:
    """A value as text: 4 digits, intervals as "1 to 2", "" for None; at most `levels` nested levels."""
    if isinstance(value, list | dict) and not levels:
        return "..."
    if isinstance(value, list):
        return (" to " if len(value) == 2 else ", ").join(format_value(v, levels - 1) for v in value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {format_value(v, levels - 1)}" for name, v in value.items())
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


# Source and settings.


def round_source(page: Page) -> Section:
    """The source of the training algorithm."""
    text = page.run.round_source()
    formatter = HtmlFormatter(noclasses=True, nowrap=False, style="friendly")
    source = Markup(highlight(text, PythonLexer(), formatter)) if text else ""
    return Section("Round", render("report/round.html.j2", source=source))


def settings(page: Page) -> Section:
    """Recipe, data and machine."""
    config = page.run.config
    tables = {
        "Recipe": {"recipe": config["recipe"], "paper": config["paper"], **config["arguments"]},
        "Data": _data_rows(config),
        "Machine": {
            **config["machine"],
            "precision": config["precision"],
            "sparring": config["sparring"],
            "commit": config["commit"] or "none (installed)",
            "command": config["command"],
        },
    }
    return Section("Settings", render("report/settings.html.j2", tables=tables))


def _data_rows(config: dict[str, Any]) -> dict[str, Any]:
    source, spec = config["data"]["source"], config["spec"]
    options = {k: v for k, v in (source or {}).items() if v is not None and k != "root"}
    return {
        "training images": config["data"]["count"],
        "size": f"{spec['channels']} x {spec['height']} x {spec['width']}",
        "classes": ", ".join(spec["classes"]) or "no labels",
        **{name: format_value(value) for name, value in options.items()},
        "rounds": config["rounds"],
        "seed": config["seed"],
    }


SECTIONS: tuple[Callable[[Page], Section | None], ...] = (
    samples,
    monitor,
    diagnosis,
    codes,
    training,
    quality,
    clusters,
    evaluation,
    round_source,
    settings,
)
"""The sections in the order of the page."""
