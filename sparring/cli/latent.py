"""The latent-space verbs. In Python: `sparring.latent`."""

import math
from collections.abc import Sequence
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from sparring.cli.common import (
    DataPlace,
    ImagesPath,
    RecipeName,
    RunPath,
    Truncation,
    class_labels,
    image_labels,
    load_run_and_images,
    require_place,
    require_png,
    write,
)
from sparring.errors import SparringError, is_number, shown, unknown_name_error

if TYPE_CHECKING:
    from torch import Tensor

    from sparring.latent import Direction, LatentDecoder
    from sparring.run import Run

Seed = Annotated[
    int, Field(ge=0, description="seed of the latent codes: sample 0, 1, ... are those of `sparring sample --seed`")
]
Labels = Annotated[
    str | None, Field(description="classes to generate: 3 or cat,dog or '\"a, b\",c' (default: all in turn)")
]
Concept = Annotated[
    str, Field(description="a concept: sample numbers, 3,17,25, or class:NAME for three samples of a class")
]

MIN_DISPLAY_SIDE = 64
"""Smaller images are upscaled to about this side, in pixels."""

SIGN_SIZE = 22
"""Font size of the signs of an equation."""

MIN_CLASS_PROBABILITY = 0.9
"""A sample is of a class if a classifier gives it at least this probability."""

SAMPLES_PER_CONCEPT = 3
"""Samples that represent a class (Radford et al. 2016: three per concept)."""


def interpolate(
    run: RunPath,
    *,
    method: Annotated[
        Literal["lerp", "slerp", "lerp-gaussian"] | None,
        Field(description="interpolation (default: slerp for codes from N(0, 1), else lerp)"),
    ] = None,
    rows: Annotated[int, Field(ge=1, le=64, description="number of paths")] = 8,
    waypoints: Annotated[
        int | None, Field(ge=2, le=64, description="samples on each path (default: 2; 4 for a WebP)")
    ] = None,
    steps: Annotated[int, Field(ge=2, le=240, description="images per segment, from one waypoint to the next")] = 9,
    seed: Seed = 0,
    labels: Labels = None,
    truncation: Truncation = None,
    out: Annotated[Path, Field(description="a PNG with one path per row, or an animated WebP of closed paths")] = Path(
        "interpolation.png"
    ),
    recipe: RecipeName = None,
) -> None:
    """Interpolate between latent codes: a grid with one path per row, or an animation."""
    from sparring.image_grid import grid, png, upscale, webp
    from sparring.latent import closed_path, default_interpolation, open_path

    animated = out.suffix.lower() == ".webp"
    if not animated and out.suffix.lower() != ".png":
        raise SparringError(f"--out {out} must end in .png or .webp")
    require_place(out)
    _, decoder = _decoder(run, labels, recipe)
    chosen: str = method or default_interpolation(decoder.system)
    count = waypoints or (4 if animated else 2)
    ends = decoder.codes(rows * count, seed=seed, truncation=truncation).unflatten(0, (rows, count))
    paths = (closed_path if animated else open_path)(ends, steps, chosen)
    images = decoder.rows(paths)
    if animated:
        columns, frames = math.ceil(math.sqrt(rows)), images.unflatten(0, paths.shape[:2]).unbind(1)
        pictures = [upscale(grid(frame, columns), _zoom_factor(frame)) for frame in frames]
        write(out, webp(pictures, milliseconds=80))
    else:
        write(out, png(grid(images, paths.shape[1])))
    midpoint = open_path(ends, 3, chosen)[:, 1::2].norm(dim=2).mean()
    print(f"{chosen}: mean norm of the codes {ends.norm(dim=2).mean():.3g} at waypoints, {midpoint:.3g} halfway")
    print(out)


def arithmetic(
    run: RunPath,
    *,
    start: Concept,
    minus: Concept,
    plus: Concept,
    n: Annotated[
        int | None, Field(ge=1, le=4096, description="number of samples to choose from, as in `sparring sample`")
    ] = None,
    seed: Seed = 0,
    labels: Labels = None,
    jitter: Annotated[float, Field(ge=0, description="the 8 images around the result get U(-jitter, jitter)")] = 0.25,
    out: Annotated[Path, Field(description="the PNG file to write")] = Path("arithmetic.png"),
    recipe: RecipeName = None,
) -> None:
    """Compute start - minus + plus with the mean latent codes of three concepts (Radford et al. 2016)."""
    import torch

    from sparring.latent import LatentDecoder, analogy, jitter_grid

    require_png(out)
    opened, decoder = _decoder(run, labels, recipe)
    classes = decoder.labels if isinstance(decoder.labels, list) else []
    columns = len(classes) if len(classes) > 1 else decoder.system.grid_columns
    samples = decoder.codes(n or 8 * columns, seed=seed)
    flags = [("start", start), ("minus", minus), ("plus", plus)]
    concepts = [_concept(opened, decoder, flag, text, samples, seed) for flag, text in flags]
    result = analogy(*(codes for codes, _ in concepts))
    result_decoder = LatentDecoder(decoder.system, concepts[0][1] and concepts[0][1][0])
    strips = [
        LatentDecoder(decoder.system, labels and [*labels, labels[0]]).decode(torch.cat([codes, codes.mean(0)[None]]))
        for codes, labels in concepts
    ]
    write(out, _equation(strips, result_decoder.decode(jitter_grid(result, spread=jitter, seed=seed))))
    means = ", ".join(f"{codes.mean(0).norm():.3g}" for codes, _ in concepts)
    typical = f"{samples.norm(dim=1).mean():.3g}"
    print(f"norms: samples {typical} on average, means of the concepts {means}, result {result.norm():.3g}")
    print(out)


def directions(
    run: RunPath,
    *,
    method: Annotated[
        Literal["pca", "sefa", "classes"],
        Field(description="principal components of samples; of the first layers' weights; or class boundaries"),
    ] = "pca",
    space: Annotated[Literal["pixels", "codes"], Field(description="space of pca (codes: for w of ALAE)")] = "pixels",
    count: Annotated[int, Field(ge=1, le=64, description="number of directions of pca and sefa")] = 6,
    n: Annotated[int, Field(ge=20, le=100_000, description="samples to estimate the directions from")] = 2000,
    max_sigma: Annotated[float, Field(gt=0, le=100, description="standard deviations to either side")] = 3.0,
    columns: Annotated[int, Field(ge=2, le=63, description="images per direction")] = 7,
    sample: Annotated[int, Field(ge=0, lt=100_000, description="number of the sample to move")] = 0,
    seed: Seed = 0,
    labels: Labels = None,
    json: Annotated[bool, Field(description="print JSON: name, sigma, words and unit vector")] = False,
    out: Annotated[Path, Field(description="the PNG file to write: one direction per row")] = Path("directions.png"),
    recipe: RecipeName = None,
) -> None:
    """Find latent directions along which images change, and draw a sample moved along each."""
    from sparring.image_grid import grid, png, upscale, with_row_labels
    from sparring.latent import traverse

    require_png(out)
    opened, decoder = _decoder(run, labels, recipe)
    samples = decoder.codes(max(n, sample + 1), seed=seed)
    results = _directions(opened, decoder, samples, method, space, count)
    codes = traverse(samples[sample], results, reach=max_sigma, columns=columns)
    if decoder.is_conditional:
        from sparring.latent import LatentDecoder

        label = int(decoder.system.expand_labels(sample + 1, decoder.labels)[sample])
        images = LatentDecoder(decoder.system, label).rows(codes)
    else:
        images = decoder.rows(codes)
    picture = upscale(grid(images, columns), _zoom_factor(images))
    write(out, png(with_row_labels([direction.name for direction in results], picture)))
    if json:
        rows = [{"name": d.name, "sigma": d.sigma, "words": d.words, "unit": d.unit.tolist()} for d in results]
        return print(dumps(rows, indent=1))
    for direction in results:
        print(f"{direction.name}: deviation {direction.sigma:.3g}, {direction.words}")
    print(out)


def invert(
    run: RunPath,
    images: ImagesPath,
    *,
    n: Annotated[int, Field(ge=1, le=256, description="maximum number of images, evenly spaced")] = 16,
    init: Annotated[
        Literal["both", "optimization", "encoder"],
        Field(
            description="both: start from samples and from the encoder; optimization: from samples; encoder: no search"
        ),
    ] = "both",
    steps: Annotated[int, Field(ge=1, le=100_000, description="Adam steps from each start")] = 200,
    restarts: Annotated[int, Field(ge=1, le=1000, description="number of samples to start from")] = 4,
    lr: Annotated[float, Field(gt=0, le=10, description="Adam's peak learning rate")] = 0.1,
    seed: Annotated[int, Field(ge=0, description="seed of the samples to start from")] = 0,
    labels: Annotated[
        str | None,
        Field(
            description="classes of the images, for class-conditional systems: 3 or 0,1,2 (default: the folder names)"
        ),
    ] = None,
    json: Annotated[bool, Field(description="print JSON: file, errors, code")] = False,
    out: Annotated[Path, Field(description="the PNG file to write: images above their reconstructions")] = Path(
        "inversions.png"
    ),
    recipe: RecipeName = None,
) -> None:
    """Find the latent codes whose decoded images are closest to yours, by gradient descent or with the encoder."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Table

    from sparring.data.pixels import to_float
    from sparring.image_grid import grid, interleave_rows, png, upscale
    from sparring.latent import invert, latent_decoder, total_steps

    require_png(out)
    system, data, names, classes = load_run_and_images(run, images, "decode", n, recipe)
    decoder = latent_decoder(system, image_labels(system, "decode", labels, data, classes))
    columns = (TextColumn("inverting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    terminal = Console(stderr=True)
    with Progress(*columns, console=terminal, transient=True, disable=not terminal.is_terminal) as bar:
        task = bar.add_task("", total=total_steps(decoder, init=init, steps=steps, restarts=restarts))
        result = invert(
            decoder,
            data.images,
            init=init,
            steps=steps,
            restarts=restarts,
            lr=lr,
            seed=seed,
            on_progress=lambda steps: bar.advance(task, steps),
        )
    picture = grid(to_float(interleave_rows(data.images, result.images, 8)), columns=min(8, len(data)))
    write(out, png(upscale(picture, _zoom_factor(data.images))))
    by_encoder = [None] * len(data) if result.encoded is None else result.encoded.tolist()
    worst = result.tried.max(1).values.tolist()
    if json:
        numbers = zip(names, result.errors.tolist(), worst, by_encoder, result.codes.tolist(), strict=True)
        keys = ("file", "error", "worst start", "encoder", "code")
        return print(dumps([dict(zip(keys, row, strict=True)) for row in numbers], indent=1))

    table = Table("file", "error", "worst start", box=None, header_style="bold", padding=(0, 2, 0, 0))
    if result.encoded is not None:
        table.add_column("encoder alone")
    for name, error, worse, encoded in zip(names, result.errors.tolist(), worst, by_encoder, strict=True):
        table.add_row(shown(name), f"{error:.4g}", f"{worse:.4g}", *([] if encoded is None else [f"{encoded:.4g}"]))
    Console(highlight=False, markup=False).print(table)
    print(f"reconstruction error {result.errors.mean():.4g} per pixel (0 to 1), n = {len(data):,}")
    print(out)


def neighbors(
    run: RunPath,
    *,
    n: Annotated[int, Field(ge=1, le=64, description="samples")] = 8,
    k: Annotated[int, Field(ge=1, le=32, description="training images per sample")] = 4,
    by: Annotated[
        Literal["pixels", "features"], Field(description="distance in pixels, or in features of the built-in extractor")
    ] = "pixels",
    seed: Seed = 0,
    out: Annotated[Path, Field(description="the PNG file to write: one sample per row, then its neighbors")] = Path(
        "neighbors.png"
    ),
    data: DataPlace = None,
    recipe: RecipeName = None,
) -> None:
    """Draw samples beside their nearest training images."""
    import torch

    from sparring.data.pixels import to_float, to_uint8
    from sparring.evaluation import choose_extractor
    from sparring.image_grid import grid, png, upscale
    from sparring.latent import nearest
    from sparring.run import Run

    require_png(out)
    opened = Run.open(run)
    system = opened.system(recipe=recipe)
    if not system.supports("sample"):
        raise SparringError(f"{type(system).__name__} cannot sample")
    images = opened.data(data)
    samples = to_uint8(system.sample(n, seed=seed))
    extractor = choose_extractor(images)

    def features(pixels: "Tensor") -> "Tensor":
        return extractor.features(pixels)[0] if by == "features" else pixels

    training = features(images.images)
    near = nearest(features(samples), training, k)
    rows = torch.cat([samples[:, None], images.images[near.rows]], 1).flatten(0, 1)
    write(out, png(upscale(grid(to_float(rows), k + 1), _zoom_factor(rows))))
    space, scale = ("pixels (0 to 1)", 255) if by == "pixels" else (f"features of {extractor.name}", 1)
    of_samples = near.distance[:, 0].median() / scale
    message = f"median distance to the nearest training image, in {space}: samples {of_samples:.4g}"
    if images.held_out:
        of_held_out = nearest(features(images.held_out.images[:500]), training).distance.median() / scale
        message += f", held-out images {of_held_out:.4g}"
    print(message)
    print(out)


def _decoder(run: Path, labels: str | None, recipe: str | None) -> "tuple[Run, LatentDecoder]":
    from sparring.latent import latent_decoder
    from sparring.run import Run

    opened = Run.open(run)
    chosen = None if labels is None else class_labels(labels, opened.config["spec"]["classes"])
    return opened, latent_decoder(opened.system(recipe=recipe), chosen)


def _concept(
    run: "Run", decoder: "LatentDecoder", flag: str, text: str, samples: "Tensor", seed: int
) -> "tuple[Tensor, list[int] | None]":
    """(k, d) codes, and their classes where the system is class-conditional."""
    if text.startswith("class:"):
        return _of_class(run, decoder, text.removeprefix("class:").strip(), seed), None
    rows = []
    for part in text.split(","):
        number = part.strip()
        if not is_number(number):
            raise SparringError(
                f"--{flag} is '{text}': '{number}' is not a concept; give sample numbers (3,17,25) or class:NAME"
            )
        if int(number) >= len(samples):
            raise SparringError(f"--{flag}: sample {number} is out of range 0-{len(samples) - 1} (raise -n)")
        rows.append(int(number))
    labels = (
        decoder.system.expand_labels(len(samples), decoder.labels)[rows].tolist() if decoder.is_conditional else None
    )
    return samples[rows], labels


def _of_class(run: "Run", decoder: "LatentDecoder", name: str, seed: int) -> "Tensor":
    """(3, d): codes of the first samples that a classifier assigns to the class."""
    from sparring.latent import classifier_for

    if decoder.is_conditional:
        raise SparringError(
            f"class:{name}: {type(decoder.system).__name__} takes the class beside the code, so codes have no class: "
            "give sample numbers"
        )
    classifier, classes = classifier_for(decoder.system, run.config["spec"]["classes"], run.data)
    if name not in classes:
        raise unknown_name_error("concept", f"class:{name}", [f"class:{known}" for known in classes])
    codes = decoder.codes(1000, seed=seed)
    confident = classifier(decoder.decode(codes))[:, classes.index(name)].exp() >= MIN_CLASS_PROBABILITY
    if int(confident.sum()) < SAMPLES_PER_CONCEPT:
        raise SparringError(
            f"class:{name}: only {int(confident.sum())} of 1,000 samples are classified as {name} with probability "
            f"{MIN_CLASS_PROBABILITY} or more; give sample numbers"
        )
    return codes[confident][:SAMPLES_PER_CONCEPT]


def _directions(
    run: "Run", decoder: "LatentDecoder", samples: "Tensor", method: str, space: str, count: int
) -> "list[Direction]":
    from sparring.latent import classifier_for, ganspace, interfacegan, latent_weights, sefa

    if method == "sefa":
        return sefa(latent_weights(decoder, samples.shape[1]), samples, count)
    if method == "classes":
        if decoder.is_conditional:
            raise SparringError(
                f"{type(decoder.system).__name__} takes the class beside the code, so no direction leads to a class: "
                "choose --method pca or sefa"
            )
        classifier, classes = classifier_for(decoder.system, run.config["spec"]["classes"], run.data)
        return interfacegan(samples, classifier(decoder.decode(samples)).argmax(1), classes)
    return ganspace(samples, samples if space == "codes" else decoder.decode(samples).flatten(1), count)


def _zoom_factor(images: "Tensor") -> int:
    """The integer factor by which images (..., H, W) are upscaled for display."""
    return max(1, round(MIN_DISPLAY_SIDE / images.shape[-1]))


def _equation(strips: "Sequence[Tensor]", nine: "Tensor") -> bytes:
    """Three concepts, each with its samples and their mean, and the 3x3 result, as PNG."""
    import torch
    from PIL import Image, ImageDraw, ImageFont

    from sparring.image_grid import PADDING, grid, png, upscale, with_row_labels

    longest = max(len(strip) for strip in strips)
    blank = torch.ones(1, *nine.shape[1:])
    padded = [torch.cat([strip[:-1], blank.expand(longest - len(strip), -1, -1, -1), strip[-1:]]) for strip in strips]
    zoom = _zoom_factor(nine)
    left = with_row_labels(["", "-", "+"], upscale(grid(torch.cat(padded), longest), zoom), size=SIGN_SIZE)
    right = upscale(grid(nine, 3), zoom).convert("RGB")
    between, above = 40, 20
    picture = Image.new("RGB", (left.width + between + right.width, above + left.height), "white")
    picture.paste(left, (0, above))
    picture.paste(right, (left.width + between, above))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=SIGN_SIZE)
    tile = zoom * (nine.shape[-1] + PADDING)
    draw.text((left.width + between / 2, above + left.height / 2), "=", fill="black", font=font, anchor="mm")
    draw.text((left.width - tile / 2, above / 2), "mean", fill="black", anchor="mm")
    return png(picture)
