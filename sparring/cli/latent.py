"""The latent-space verbs. In Python: `sparring.latent`."""

import math
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from sparring.cli.common import (
    DataPlace,
    ImagesPath,
    Labels,
    LabelsOfImages,
    RecipeName,
    RunPath,
    Truncation,
    load_run_and_images,
    require_place,
    require_png,
    write,
)
from sparring.errors import SparringError, printable
from sparring.options import Device

if TYPE_CHECKING:
    from sparring.latent import Direction, LatentDecoder
    from sparring.run import Run

Seed = Annotated[
    int, Field(ge=0, description="seed of the latent codes: sample 0, 1, ... are those of `sparring sample --seed`")
]
Concept = Annotated[
    str, Field(description="a concept: sample numbers, 3,17,25, or class:NAME for three samples of a class")
]


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
    device: Device = "auto",
) -> None:
    """Interpolate between latent codes: a grid with one path per row, or an animation."""
    from sparring.image_grid import display_scale, grid, png, upscale, webp
    from sparring.latent import closed_path, default_interpolation, open_path

    animated = out.suffix.lower() == ".webp"
    if not animated and out.suffix.lower() != ".png":
        raise SparringError(f"--out {out} must end in .png or .webp")
    require_place(out)
    _, decoder = _decoder(run, labels, recipe, device)
    chosen: str = method or default_interpolation(decoder.system)
    count = waypoints or (4 if animated else 2)
    ends = decoder.codes(rows * count, seed=seed, truncation=truncation).unflatten(0, (rows, count))
    paths = (closed_path if animated else open_path)(ends, steps, chosen)
    images = decoder.rows(paths)
    if animated:
        columns, frames = math.ceil(math.sqrt(rows)), images.unflatten(0, paths.shape[:2]).unbind(1)
        pictures = [upscale(grid(frame, columns), display_scale(frame)) for frame in frames]
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
    device: Device = "auto",
) -> None:
    """Compute start - minus + plus with the mean latent codes of three concepts (Radford et al. 2016)."""
    import torch

    from sparring.image_grid import equation, png
    from sparring.latent import LatentDecoder, analogy, jitter_grid
    from sparring.latent.concepts import concept_codes

    require_png(out)
    opened, decoder = _decoder(run, labels, recipe, device)
    system, classes = decoder.system, decoder.labels if isinstance(decoder.labels, list) else []
    samples = decoder.codes(n or 8 * (len(classes) if len(classes) > 1 else system.grid_columns), seed=seed)
    concepts = []
    for flag, text in (("start", start), ("minus", minus), ("plus", plus)):
        try:
            concepts.append(
                concept_codes(decoder, text, samples, seed=seed, classes=opened.spec.classes, data=opened.data)
            )
        except SparringError as error:
            raise SparringError(f"--{flag} is '{text}': {error}") from None
    result = analogy(*(codes for codes, _ in concepts))
    grid_decoder = LatentDecoder(system, concepts[0][1] and concepts[0][1][0])
    strips = [
        LatentDecoder(system, labels and [*labels, labels[0]]).decode(torch.cat([codes, codes.mean(0)[None]]))
        for codes, labels in concepts
    ]
    write(out, png(equation(strips, grid_decoder.decode(jitter_grid(result, spread=jitter, seed=seed)))))
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
    device: Device = "auto",
) -> None:
    """Find latent directions along which images change, and draw a sample moved along each."""
    from sparring.image_grid import display_scale, grid, png, upscale, with_row_labels
    from sparring.latent import LatentDecoder, ganspace, latent_weights, sefa, traverse
    from sparring.latent.directions import class_directions

    require_png(out)
    opened, decoder = _decoder(run, labels, recipe, device)
    samples = decoder.codes(max(n, sample + 1), seed=seed)
    if method == "sefa":
        results = sefa(latent_weights(decoder, samples.shape[1]), samples, count)
    elif method == "classes":
        results = class_directions(decoder, samples, classes=opened.spec.classes, data=opened.data)
    else:
        results = ganspace(samples, samples if space == "codes" else decoder.decode(samples).flatten(1), count)
    codes = traverse(samples[sample], results, reach=max_sigma, columns=columns)
    if decoder.is_conditional:
        label = int(decoder.system.expand_labels(sample + 1, decoder.labels)[sample])
        decoder = LatentDecoder(decoder.system, label)
    images = decoder.rows(codes)
    picture = upscale(grid(images, columns), display_scale(images))
    write(out, png(with_row_labels([direction.name for direction in results], picture)))
    if json:
        return print(dumps([_as_dict(direction) for direction in results], indent=1))
    for direction in results:
        print(f"{direction.name}: deviation {direction.sigma:.3g}, {direction.words}")
    print(out)


def _as_dict(d: "Direction") -> dict[str, Any]:
    return {"name": d.name, "sigma": d.sigma, "words": d.words, "unit": d.unit.tolist()}


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
    labels: LabelsOfImages = None,
    json: Annotated[bool, Field(description="print JSON: file, errors, code")] = False,
    out: Annotated[Path, Field(description="the PNG file to write: images above their reconstructions")] = Path(
        "inversions.png"
    ),
    recipe: RecipeName = None,
    device: Device = "auto",
) -> None:
    """Find the latent codes whose decoded images are closest to yours, by gradient descent or with the encoder."""
    from sparring.data.pixels import to_float
    from sparring.image_grid import display_scale, grid, interleave_rows, png, upscale
    from sparring.latent import invert, latent_decoder, total_steps
    from sparring.progress import Progress
    from sparring.sampling import labels_of_images

    require_png(out)
    system, data, names, classes = load_run_and_images(run, images, "decode", n, recipe, device)
    decoder = latent_decoder(system, labels_of_images(system, "decode", labels, data, classes))
    with Progress("inverting", total_steps(decoder, init=init, steps=steps, restarts=restarts)) as bar:
        result = invert(
            decoder,
            data.images,
            init=init,
            steps=steps,
            restarts=restarts,
            lr=lr,
            seed=seed,
            on_progress=bar.advance,
        )
    picture = grid(to_float(interleave_rows(data.images, result.images, 8)), columns=min(8, len(data)))
    write(out, png(upscale(picture, display_scale(data.images))))
    errors = {"error": result.errors.tolist(), "worst start": result.tried.max(1).values.tolist()}
    errors["encoder"] = [None] * len(data) if result.encoded is None else result.encoded.tolist()
    rows = [dict(zip(errors, row, strict=True)) for row in zip(*errors.values(), strict=True)]
    if json:
        codes = result.codes.tolist()
        inverted = [{"file": f, **row, "code": c} for f, row, c in zip(names, rows, codes, strict=True)]
        return print(dumps(inverted, indent=1))
    _print_errors(names, rows)
    print(f"reconstruction error {result.errors.mean():.4g} per pixel (0 to 1), n = {len(data):,}")
    print(out)


def _print_errors(names: list[str], rows: list[dict[str, Any]]) -> None:
    """Print a table of the errors of each file; without an encoder, two columns."""
    from rich.console import Console
    from rich.table import Table

    table = Table("file", "error", "worst start", box=None, header_style="bold", padding=(0, 2, 0, 0))
    if rows[0]["encoder"] is not None:
        table.add_column("encoder alone")
    for name, row in zip(names, rows, strict=True):
        table.add_row(printable(name), *(f"{error:.4g}" for error in row.values() if error is not None))
    Console(highlight=False, markup=False).print(table)


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
    device: Device = "auto",
) -> None:
    """Draw samples beside their nearest training images."""
    import torch

    from sparring.data.pixels import to_float, to_uint8
    from sparring.evaluation import choose_extractor
    from sparring.image_grid import display_scale, grid, png, upscale
    from sparring.latent import nearest
    from sparring.run import Run
    from sparring.sampling import sample_request

    require_png(out)
    opened = Run.open(run)
    system = opened.system(recipe=recipe, device=device)
    request = sample_request(system, opened.spec.classes, n=n, seed=seed)
    images = opened.data(data)
    samples = to_uint8(request.images(system))
    extractor = choose_extractor(images)

    def features(pixels: torch.Tensor) -> torch.Tensor:
        return extractor.features(pixels)[0] if by == "features" else pixels

    training = features(images.images)
    near = nearest(features(samples), training, k)
    rows = torch.cat([samples[:, None], images.images[near.rows]], 1).flatten(0, 1)
    write(out, png(upscale(grid(to_float(rows), k + 1), display_scale(rows))))
    space, scale = ("pixels (0 to 1)", 255) if by == "pixels" else (f"features of {extractor.name}", 1)
    of_samples = near.distance[:, 0].median() / scale
    message = f"median distance to the nearest training image, in {space}: samples {of_samples:.4g}"
    if images.held_out:
        of_held_out = nearest(features(images.held_out.images[:500]), training).distance.median() / scale
        message += f", held-out images {of_held_out:.4g}"
    print(message)
    print(out)


def _decoder(run: Path, labels: str | None, recipe: str | None, device: str) -> "tuple[Run, LatentDecoder]":
    from sparring.data.chosen import numbers_of
    from sparring.latent import latent_decoder
    from sparring.run import Run

    opened = Run.open(run)
    chosen = None if labels is None else numbers_of(labels, opened.spec.classes)
    return opened, latent_decoder(opened.system(recipe=recipe, device=device), chosen)
