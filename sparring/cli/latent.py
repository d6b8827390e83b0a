"""The verbs that walk through a run's codes. Python users: sparring.latent."""

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

Seed = Annotated[int, Field(ge=0, description="of the codes: samples 0, 1, ... are those of sparring sample --seed")]
Labels = Annotated[
    str | None, Field(description="classes to paint: 3 or cat,dog or '\"a, b\",c' (default: each in turn)")
]
Concept = Annotated[
    str, Field(description="a concept: samples by number, 3,17,25, or class:NAME for three samples of a class")
]

SEEN = 64
"""Pixels that the side of an image should have on the screen, at least."""

SIGN = 22
"""Size of the signs of an equation."""

SURE = 0.9
"""A sample is of a class if a classifier gives it at least this probability."""

SAMPLES_PER_CONCEPT = 3
"""Samples that stand for a class (Radford et al. 2016: three a concept)."""


def interpolate(
    run: RunPath,
    *,
    how: Annotated[
        Literal["lerp", "slerp", "lerp-gaussian"] | None,
        Field(description="default: slerp for codes of N(0, 1), else lerp"),
    ] = None,
    rows: Annotated[int, Field(ge=1, le=64, description="walks")] = 8,
    stops: Annotated[
        int | None, Field(ge=2, le=64, description="samples each walk passes (default: 2; 4 in a WebP)")
    ] = None,
    steps: Annotated[int, Field(ge=2, le=240, description="images from one stop to the next")] = 9,
    seed: Seed = 0,
    labels: Labels = None,
    truncation: Truncation = None,
    out: Annotated[
        Path, Field(description="a PNG, a walk per row; or a WebP that moves, from the last stop back to the first")
    ] = Path("interpolation.png"),
    recipe: RecipeName = None,
) -> None:
    """images on the way from one code to another:  sparring interpolate RUN --how slerp --out walk.webp"""
    from sparring.image_grid import grid, png, upscale, webp
    from sparring.latent import closed_path, default_interpolation, open_path

    moves = out.suffix.lower() == ".webp"
    if not moves and out.suffix.lower() != ".png":
        raise SparringError(f"--out is {out}: the picture is a PNG or a WebP, let its name end in .png or .webp")
    require_place(out)
    _, paint = _painter(run, labels, recipe)
    chosen: str = how or default_interpolation(paint.system)
    count = stops or (4 if moves else 2)
    ends = paint.codes(rows * count, seed=seed, truncation=truncation).unflatten(0, (rows, count))
    way = (closed_path if moves else open_path)(ends, steps, chosen)
    images = paint.rows(way)
    if moves:
        columns, frames = math.ceil(math.sqrt(rows)), images.unflatten(0, way.shape[:2]).unbind(1)
        pictures = [upscale(grid(frame, columns), _zoom_factor(frame)) for frame in frames]
        write(out, webp(pictures, milliseconds=80))
    else:
        write(out, png(grid(images, way.shape[1])))
    half = open_path(ends, 3, chosen)[:, 1::2].norm(dim=2).mean()
    print(f"{chosen}: codes have length {ends.norm(dim=2).mean():.3g} at the stops, {half:.3g} half-way between them")
    print(out)


def arithmetic(
    run: RunPath,
    *,
    start: Concept,
    minus: Concept,
    plus: Concept,
    n: Annotated[int | None, Field(ge=1, le=4096, description="samples to number, as in sparring sample")] = None,
    seed: Seed = 0,
    labels: Labels = None,
    spread: Annotated[float, Field(ge=0, description="the eight around the result differ by U(-this, this)")] = 0.25,
    out: Annotated[Path, Field(description="the picture, a PNG")] = Path("arithmetic.png"),
    recipe: RecipeName = None,
) -> None:
    """concept - concept + concept:  sparring arithmetic RUN --start 3,17,25 --minus 4,8,9 --plus 11,12,13 --seed 7"""
    import torch

    from sparring.latent import LatentDecoder, analogy, jitter_grid

    require_png(out)
    opened, paint = _painter(run, labels, recipe)
    kinds = paint.labels if isinstance(paint.labels, list) else []
    columns = len(kinds) if len(kinds) > 1 else paint.system.grid_columns
    samples = paint.codes(n or 8 * columns, seed=seed)
    told = [("start", start), ("minus", minus), ("plus", plus)]
    concepts = [_concept(opened, paint, flag, text, samples, seed) for flag, text in told]
    result = analogy(*(codes for codes, _ in concepts))
    one_kind = LatentDecoder(paint.system, concepts[0][1] and concepts[0][1][0])
    strips = [
        LatentDecoder(paint.system, kinds and [*kinds, kinds[0]]).paint(torch.cat([codes, codes.mean(0)[None]]))
        for codes, kinds in concepts
    ]
    write(out, _equation(strips, one_kind.paint(jitter_grid(result, spread=spread, seed=seed))))
    means = ", ".join(f"{codes.mean(0).norm():.3g}" for codes, _ in concepts)
    usual = f"{samples.norm(dim=1).mean():.3g}"
    print(f"codes have length {usual}, the means of the concepts {means}, the result {result.norm():.3g}")
    print(out)


def directions(
    run: RunPath,
    *,
    method: Annotated[
        Literal["pca", "sefa", "classes"],
        Field(description="principal components of samples; of the first layers' weights; or between classes"),
    ] = "pca",
    of: Annotated[Literal["pixels", "codes"], Field(description="what pca is of (codes: for w of ALAE)")] = "pixels",
    count: Annotated[int, Field(ge=1, le=64, description="directions of pca and sefa")] = 6,
    n: Annotated[int, Field(ge=20, le=100_000, description="samples to learn from")] = 2000,
    reach: Annotated[float, Field(gt=0, le=100, description="deviations to either side")] = 3.0,
    columns: Annotated[int, Field(ge=2, le=63, description="images per direction")] = 7,
    at: Annotated[int, Field(ge=0, lt=100_000, description="the sample to move, by its number")] = 0,
    seed: Seed = 0,
    labels: Labels = None,
    json: Annotated[bool, Field(description="as JSON: name, sigma, words and the unit vector")] = False,
    out: Annotated[Path, Field(description="the picture, a PNG: a direction per row")] = Path("directions.png"),
    recipe: RecipeName = None,
) -> None:
    """ways through the codes along which images change:  sparring directions RUN --method sefa --out ways.png"""
    from sparring.image_grid import grid, png, upscale, with_row_labels
    from sparring.latent import traverse

    require_png(out)
    opened, paint = _painter(run, labels, recipe)
    samples = paint.codes(max(n, at + 1), seed=seed)
    found = _directions(opened, paint, samples, method, of, count)
    codes = traverse(samples[at], found, reach=reach, columns=columns)
    if paint.told:
        from sparring.latent import LatentDecoder

        kind = int(paint.system.expand_labels(at + 1, paint.labels)[at])
        images = LatentDecoder(paint.system, kind).rows(codes)
    else:
        images = paint.rows(codes)
    picture = upscale(grid(images, columns), _zoom_factor(images))
    write(out, png(with_row_labels([one.name for one in found], picture)))
    if json:
        rows = [{"name": d.name, "sigma": d.sigma, "words": d.words, "unit": d.unit.tolist()} for d in found]
        return print(dumps(rows, indent=1))
    for one in found:
        print(f"{one.name}: deviation {one.sigma:.3g}, {one.words}")
    print(out)


def invert(
    run: RunPath,
    images: ImagesPath,
    *,
    n: Annotated[int, Field(ge=1, le=256, description="at most so many images, evenly spaced")] = 16,
    way: Annotated[
        Literal["both", "optimization", "encoder"],
        Field(description="start from the encoder's code and from samples; from samples; or take the encoder's code"),
    ] = "both",
    steps: Annotated[int, Field(ge=1, le=100_000, description="of Adam, from every start")] = 200,
    restarts: Annotated[int, Field(ge=1, le=1000, description="samples to start from")] = 4,
    lr: Annotated[float, Field(gt=0, le=10, description="Adam's highest rate")] = 0.1,
    seed: Annotated[int, Field(ge=0, description="of the samples to start from")] = 0,
    labels: Annotated[
        str | None,
        Field(description="classes of the images, where the system must know them: 3 or 0,1,2 (default: the folders)"),
    ] = None,
    json: Annotated[bool, Field(description="as JSON: file, errors, code")] = False,
    out: Annotated[Path, Field(description="the picture, a PNG: images, and below them what was found")] = Path(
        "inversions.png"
    ),
    recipe: RecipeName = None,
) -> None:
    """the codes of images, looked for:  sparring invert RUN my-pictures/ --restarts 8 --out found.png"""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Table

    from sparring.data.pixels import to_float
    from sparring.image_grid import grid, interleave_rows, png, upscale
    from sparring.latent import invert, latent_decoder, total_steps

    require_png(out)
    system, part, names, classes = load_run_and_images(run, images, "decode", n, recipe)
    paint = latent_decoder(system, image_labels(system, "decode", labels, part, classes))
    columns = (TextColumn("looking for codes"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    terminal = Console(stderr=True)
    with Progress(*columns, console=terminal, transient=True, disable=not terminal.is_terminal) as bar:
        task = bar.add_task("", total=total_steps(paint, way=way, steps=steps, restarts=restarts))
        found = invert(
            paint,
            part.images,
            way=way,
            steps=steps,
            restarts=restarts,
            lr=lr,
            seed=seed,
            told=lambda more: bar.advance(task, more),
        )
    picture = grid(to_float(interleave_rows(part.images, found.images, 8)), columns=min(8, len(part)))
    write(out, png(upscale(picture, _zoom_factor(part.images))))
    by_encoder = [None] * len(part) if found.encoded is None else found.encoded.tolist()
    worst = found.tried.max(1).values.tolist()
    if json:
        numbers = zip(names, found.errors.tolist(), worst, by_encoder, found.codes.tolist(), strict=True)
        keys = ("file", "error", "worst start", "encoder", "code")
        return print(dumps([dict(zip(keys, row, strict=True)) for row in numbers], indent=1))

    table = Table("file", "error", "worst start", box=None, header_style="bold", padding=(0, 2, 0, 0))
    if found.encoded is not None:
        table.add_column("encoder alone")
    for name, error, worse, encoded in zip(names, found.errors.tolist(), worst, by_encoder, strict=True):
        table.add_row(shown(name), f"{error:.4g}", f"{worse:.4g}", *([] if encoded is None else [f"{encoded:.4g}"]))
    Console(highlight=False, markup=False).print(table)
    print(f"reconstruction error {found.errors.mean():.4g} per pixel (0 to 1), n = {len(part):,}")
    print(out)


def neighbors(
    run: RunPath,
    *,
    n: Annotated[int, Field(ge=1, le=64, description="samples")] = 8,
    k: Annotated[int, Field(ge=1, le=32, description="training images beside each sample")] = 4,
    by: Annotated[
        Literal["pixels", "features"], Field(description="distance of pixels, or of the shipped extractor's features")
    ] = "pixels",
    seed: Seed = 0,
    out: Annotated[Path, Field(description="the picture, a PNG: a sample, then its neighbors, per row")] = Path(
        "neighbors.png"
    ),
    data: DataPlace = None,
    recipe: RecipeName = None,
) -> None:
    """samples and the training images nearest to them:  sparring neighbors RUN --by features --out near.png"""
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

    def seen(pixels: "Tensor") -> "Tensor":
        return extractor.features(pixels)[0] if by == "features" else pixels

    training = seen(images.images)
    near = nearest(seen(samples), training, k)
    rows = torch.cat([samples[:, None], images.images[near.rows]], 1).flatten(0, 1)
    write(out, png(upscale(grid(to_float(rows), k + 1), _zoom_factor(rows))))
    what, unit = ("pixels (0 to 1)", 255) if by == "pixels" else (f"features of {extractor.name}", 1)
    typical = near.distance[:, 0].median() / unit
    told = f"median distance to the nearest training image, in {what}: samples {typical:.4g}"
    if images.held_out:
        unseen = nearest(seen(images.held_out.images[:500]), training).distance.median() / unit
        told += f", images never trained on {unseen:.4g}"
    print(told)
    print(out)


def _painter(run: Path, labels: str | None, recipe: str | None) -> "tuple[Run, LatentDecoder]":
    from sparring.latent import latent_decoder
    from sparring.run import Run

    opened = Run.open(run)
    asked = None if labels is None else class_labels(labels, opened.config["spec"]["classes"])
    return opened, latent_decoder(opened.system(recipe=recipe), asked)


def _concept(
    run: "Run", paint: "LatentDecoder", flag: str, text: str, samples: "Tensor", seed: int
) -> "tuple[Tensor, list[int] | None]":
    """(k, d) codes, and the classes they are painted in where the system is told the class."""
    if text.startswith("class:"):
        return _of_class(run, paint, text.removeprefix("class:").strip(), seed), None
    rows = []
    for word in text.split(","):
        number = word.strip()
        if not is_number(number):
            raise SparringError(
                f"--{flag} is '{text}': '{number}' is no concept; give numbers of samples (3,17,25) or class:NAME"
            )
        if int(number) >= len(samples):
            raise SparringError(
                f"--{flag}: there is no sample {number} of {len(samples)} (0 to {len(samples) - 1}; more: -n)"
            )
        rows.append(int(number))
    kinds = paint.system.expand_labels(len(samples), paint.labels)[rows].tolist() if paint.told else None
    return samples[rows], kinds


def _of_class(run: "Run", paint: "LatentDecoder", name: str, seed: int) -> "Tensor":
    """(3, d): codes of the first samples that a classifier takes for the class."""
    from sparring.latent import classifier_for

    if paint.told:
        raise SparringError(
            f"class:{name}: {type(paint.system).__name__} is told the class beside the code, so no code is of a class; "
            "give numbers of samples"
        )
    judge, classes = classifier_for(paint.system, run.config["spec"]["classes"], run.data)
    if name not in classes:
        raise unknown_name_error("concept", f"class:{name}", [f"class:{one}" for one in classes])
    codes = paint.codes(1000, seed=seed)
    surely = judge(paint.paint(codes))[:, classes.index(name)].exp() >= SURE
    if int(surely.sum()) < SAMPLES_PER_CONCEPT:
        raise SparringError(f"class:{name}: only {int(surely.sum())} of 1,000 samples are surely of this class")
    return codes[surely][:SAMPLES_PER_CONCEPT]


def _directions(
    run: "Run", paint: "LatentDecoder", samples: "Tensor", method: str, of: str, count: int
) -> "list[Direction]":
    from sparring.latent import classifier_for, ganspace, interfacegan, latent_weights, sefa

    if method == "sefa":
        return sefa(latent_weights(paint, samples.shape[1]), samples, count)
    if method == "classes":
        if paint.told:
            raise SparringError(
                f"{type(paint.system).__name__} is told the class beside the code: no direction of codes leads to one"
            )
        judge, classes = classifier_for(paint.system, run.config["spec"]["classes"], run.data)
        return interfacegan(samples, judge(paint.paint(samples)).argmax(1), classes)
    return ganspace(samples, samples if of == "codes" else paint.paint(samples).flatten(1), count)


def _zoom_factor(images: "Tensor") -> int:
    """How many times images (..., H, W) are enlarged to be seen."""
    return max(1, round(SEEN / images.shape[-1]))


def _equation(strips: "Sequence[Tensor]", nine: "Tensor") -> bytes:
    """Three concepts, each with its samples and their mean, and the 3x3 result, as PNG."""
    import torch
    from PIL import Image, ImageDraw, ImageFont

    from sparring.image_grid import PADDING, grid, png, upscale, with_row_labels

    wide = max(len(strip) for strip in strips)
    blank = torch.ones(1, *nine.shape[1:])
    padded = [torch.cat([strip[:-1], blank.expand(wide - len(strip), -1, -1, -1), strip[-1:]]) for strip in strips]
    times = _zoom_factor(nine)
    left = with_row_labels(["", "-", "+"], upscale(grid(torch.cat(padded), wide), times), size=SIGN)
    right = upscale(grid(nine, 3), times).convert("RGB")
    between, above = 40, 20
    picture = Image.new("RGB", (left.width + between + right.width, above + left.height), "white")
    picture.paste(left, (0, above))
    picture.paste(right, (left.width + between, above))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=SIGN)
    tile = times * (nine.shape[-1] + PADDING)
    draw.text((left.width + between / 2, above + left.height / 2), "=", fill="black", font=font, anchor="mm")
    draw.text((left.width - tile / 2, above / 2), "mean", fill="black", anchor="mm")
    return png(picture)
