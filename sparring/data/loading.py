"""`load`: a `Dataset` from a data set name, a folder, an archive, an array or molecules."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from numbers import Integral, Real
from pathlib import Path, PurePosixPath
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from sparring.data import arrays, molecules
from sparring.data.builtin import DATASETS, IMAGE_FILES
from sparring.data.chosen import number_of, numbers_of
from sparring.data.dataset import Dataset, held_out_of
from sparring.data.decode import SetScale, cached_scan, decode, format_bad_files, in_parallel, natural_size
from sparring.data.domains import merge_domains, require_one_shape
from sparring.data.edges import edges
from sparring.data.faces import FACES, drawn_faces, require_attribute
from sparring.data.file_index import FileIndex, one_file
from sparring.data.pairs import PairsFrom, match_names, stack, unstack
from sparring.data.pixels import BadImage, Half, decode_image, inspect, open_image, require_shape, resize
from sparring.data.scan import scan
from sparring.data.zip_members import kind_of
from sparring.errors import ROWS, SparringError, abbreviated, plural, printable, require_path, unknown_name_error
from sparring.seeds import standard_defaults

NAMES = (*DATASETS, *FACES, *IMAGE_FILES, "nci")
NUMPY = (".npy", ".npz")


@standard_defaults()
def load(
    source: str | Path | np.ndarray | Tensor | Mapping[str, str | Path | np.ndarray | Tensor],
    *,
    size: int | None = None,
    channels: int | None = None,
    classes: str | Iterable[str | int] | None = None,
    labels_from: str | Path | None = None,
    root: str | Path | None = None,
    held_out: float | str = 0.1,
    pairs: PairsFrom | None = None,
    cache: str | Path | None = None,
) -> Dataset:
    """Load training images and hold out about 10 % of them.

    source    a built-in name (digits, faces, pixel-faces, optdigits, sprites, mnist, stacked-mnist, fashion-mnist,
              cifar10, celeba, lsun; takes precedence over files of that name); a folder, zip, tar or tar.gz of images;
              a .npy file, or a .npz with `images` and optionally `labels`; an array or tensor, uint8 or uint16 of
              (N, H, W), (N, H, W, C) or (N, C, H, W); molecules: nci, or a .smi or .csv of SMILES; or unpaired
              domains, {"a": X, "b": Y} with any of these: the classes are then the domains
    size      side in pixels; default: the native size (celeba, lsun, and files of different sizes: 64)
    channels  1 (gray) or 3 (RGB); default: 3 if any image has color
    classes   keep only these classes, by name or index: "cat,dog" or [3, 5]; renumbered from 0 in the original order
    labels_from  source of the labels of image files: "folders" (the top-level folder of each); "none"; or the path of a
              .csv, .tsv or .json with a label for each file. Default: StyleGAN's dataset.json if there is one, else
              the folders, if there are any. Folders train/ and test/ (or val/) are not classes: the second is the
              test set. For faces and pixel-faces: an attribute (default: glasses), or "none"
    root      a folder to search for built-in data sets, before SPARRING_DATA and the cache folder
    held_out  images that training never sees: a share (0.1) or a number (500), chosen at random; rows of the source,
              "50000:55000" (the last is excluded); 0: none. Of pairs, a number of pairs
    pairs     load pairs of two domains, a and b, that belong together. "names": {"a": X, "b": Y} with equal file names
              (arrays: row by row), or one source with two class folders; "halves": one source of images with a on the
              left and b on the right; "edges": one source of images, which are b, and a are their edges
              (`sparring.data.edges`)
    cache     the folder for decoded images and downloads; default: SPARRING_CACHE, else ~/.cache/sparring

    Bad files and molecules are skipped and listed in `.notes`. `.source` contains the arguments to reload the data set
    (None for arrays). Raises `SparringError` if more than 1 % are bad, a file is damaged, the source is unknown or
    ambiguous, or fewer than two images remain.
    """
    require_shape(size, channels)
    require_held_out(held_out)
    require_texts(classes=classes, labels_from=labels_from, root=root, cache=cache)
    if pairs is not None:
        if classes is not None or labels_from is not None:
            raise SparringError("the domains of pairs are the classes: omit classes and labels_from")
        return _load_pairs(source, pairs, size=size, channels=channels, root=root, held_out=held_out, cache=cache)
    if isinstance(source, Mapping):
        if classes is not None or labels_from is not None:
            raise SparringError("the domains are the classes: omit classes and labels_from")
        return _load_domains(source, size=size, channels=channels, root=root, held_out=held_out, cache=cache)
    in_memory = isinstance(source, np.ndarray | Tensor)
    path = None if in_memory or (isinstance(source, str) and source in NAMES) else resolve_path(source)
    if labels_from is not None and (is_table(path) if path else in_memory or source not in (*FACES, *IMAGE_FILES)):
        raise SparringError("labels_from is for image files and drawn faces: omit it")
    labels_from = labels_place(labels_from, "" if in_memory else source)
    read = _read(source, path, size, channels, labels_from, root, cache_folder(cache))
    names = classes if isinstance(classes, str | None) else [str(name) for name in classes]
    data = _resized(read if names is None else _select_classes(read, names), size, channels)
    digest = vars(read).get("pixel_digest") if data is read else None  # computed while decoding
    data = _held_out(data, held_out)
    if not in_memory:
        data = replace(data, source=_record(path or source, size, channels, names, labels_from, root, held_out, cache))
    if digest is not None:
        vars(data)["pixel_digest"] = digest
    return data


def _record(
    source: Any,
    size: int | None,
    channels: int | None,
    classes: str | list[str] | None,
    labels_from: str | None,
    root: str | Path | None,
    held_out: float | str,
    cache: str | Path | None,
) -> dict[str, Any]:
    """The arguments of `load` that reload a data set, as JSON types; paths are absolute."""
    root = root or os.environ.get("SPARRING_DATA")  # recorded, so that it is found again without the variable
    is_path = isinstance(source, Path)
    return {
        "source": str(source.resolve()) if is_path else str(source),
        "size": None if size is None else int(size),
        "channels": None if channels is None else int(channels),
        "classes": classes,
        "labels_from": labels_from,
        "root": str(Path(root).resolve()) if root and not is_path else None,
        "held_out": _plain(held_out),
        "cache": str(Path(cache).resolve()) if cache else None,
    }


def _plain(held_out: float | str) -> float | str:
    """The same as a JSON type: numpy's numbers are converted."""
    return (
        held_out if isinstance(held_out, str) else int(held_out) if isinstance(held_out, Integral) else float(held_out)
    )


def _read(
    source: str | Path | np.ndarray | Tensor,
    path: Path | None,
    size: int | None,
    channels: int | None,
    labels_from: str | None,
    root: str | Path | None,
    cache: Path,
) -> Dataset:
    """All images of a source, before classes are selected and images are resized or held out."""
    if isinstance(source, np.ndarray | Tensor):
        return arrays.from_array("array", source)
    if path is None:
        return _built_in(str(source), size, channels, labels_from, root, cache)
    if not is_table(path):
        return _from_files(path, size, channels, labels_from, cache)
    if path.suffix.lower() in molecules.SUFFIXES:
        return molecules.from_file(path)
    return arrays.from_file(path)


def _load_domains(sources: Mapping[str, Any], **options: Any) -> Dataset:
    """Load unpaired domains and merge them: the label of an image is its domain."""
    if len(sources) < 2 or not all(isinstance(name, str) for name in sources):
        raise SparringError('give at least two domains, as {"a": X, "b": Y}')
    parts = {name: load(source, **options) for name, source in sources.items()}
    data = merge_domains(parts)
    records = {name: part.source for name, part in parts.items() if part.source}
    if len(records) < len(parts):
        return data
    locations = {name: record["source"] for name, record in records.items()}
    return replace(data, source={**next(iter(records.values())), "source": locations})


def _load_pairs(
    source: Any,
    kind: str,
    *,
    size: int | None,
    channels: int | None,
    root: str | Path | None,
    held_out: float | str,
    cache: str | Path | None,
) -> Dataset:
    """Load pairs of two domains: images 2i and 2i + 1 of each part belong together."""
    if not isinstance(kind, str) or kind not in get_args(PairsFrom):
        raise unknown_name_error("kind of pairs", str(kind), get_args(PairsFrom))
    if kind == "names":
        stacked, domains = _pairs_by_name(source, size, channels, cache_folder(cache))
    elif isinstance(source, Mapping):
        raise SparringError(f"pairs of {kind} are made from one source, not from two: give --data X")
    elif kind == "halves":
        stacked, domains = _pairs_of_halves(source, size, channels, cache_folder(cache)), ("a", "b")
    else:
        stacked, domains = _pairs_with_edges(source, size, channels, root, cache_folder(cache)), ("edges", "images")
    data = unstack(_held_out(stacked, held_out), domains)
    sources = source if isinstance(source, Mapping) else {"": source}
    if any(isinstance(one, np.ndarray | Tensor) for one in sources.values()):
        return data
    places = [one if one in NAMES else resolve_path(one) for one in sources.values()]
    first, *others = [_record(place, size, channels, None, None, root, held_out, cache) for place in places]
    if isinstance(source, Mapping):
        first["source"] = dict(zip(source, (record["source"] for record in (first, *others)), strict=True))
    return replace(data, source={**first, "pairs": kind})


def _pairs_by_name(source: Any, size: int | None, channels: int | None, cache: Path) -> tuple[Dataset, tuple[str, str]]:
    """Stacked pairs of two sets with equal file names, or of the two class folders of one source; and the domains."""
    if isinstance(source, Mapping):
        if len(source) != 2 or not all(isinstance(name, str) for name in source):
            raise SparringError('pairs have two domains: give {"a": X, "b": Y}')
        a, b = source
        tables = [isinstance(one, np.ndarray | Tensor) or is_table(_place_of_pairs(one)) for one in source.values()]
        if all(tables):
            return _stacked_arrays(source, size, channels), (a, b)
        first, second = (cached_scan(_place_of_pairs(one), labels_from="none", cache=cache) for one in source.values())
    else:
        index = cached_scan(_place_of_pairs(source), labels_from="folders", cache=cache)
        if len(index.classes) != 2:
            raise SparringError(
                f"'{printable(str(source))}' has {plural(len(index.classes), 'class folder')}, and pairs by name need "
                "two: give a folder of two folders, or --data-a X --data-b Y"
            )
        a, b = index.classes
        first, second = index.of_class(0), index.of_class(1)
    data = _stacked_files({a: first, b: second}, size, channels, cache)
    if first.test is not None and second.test is not None:
        channels, side, _ = data.spec.shape
        test = _stacked_files({a: first.test, b: second.test}, side, channels // 2, cache)
        data = replace(data, test=replace(test, name=f"{data.name} test", notes=()))
    return data, (a, b)


def _place_of_pairs(source: Any) -> Path:
    """The path of images that are paired by their file names. Raises `SparringError` for a built-in name."""
    if isinstance(source, str) and source in NAMES:
        raise SparringError(
            f"'{source}' is a built-in data set, without file names to pair: give folders or archives of images"
        )
    return resolve_path(source)


def _stacked_files(indices: Mapping[str, FileIndex], size: int | None, channels: int | None, cache: Path) -> Dataset:
    """Stacked pairs of equal names. An image that cannot be decoded is skipped together with its partner."""
    first, second = indices.values()
    order = match_names([*first.names()], [*second.names()], tuple(f"domain {printable(name)}" for name in indices))
    second = replace(second, rows=second.rows[order])
    (a, good_a), (b, good_b) = (_decoded(index, size, channels, cache) for index in (first, second))
    return _stacked({name: part for name, part in zip(indices, (a, b), strict=True)}, good_a, good_b)


def _pairs_of_halves(source: Any, size: int | None, channels: int | None, cache: Path) -> Dataset:
    """Stacked pairs: the left half of each image file on its right half."""
    if isinstance(source, np.ndarray | Tensor) or source in NAMES or is_table(resolve_path(source)):
        raise SparringError(f"pairs of halves are made from image files: {abbreviated(source)} has none")
    index = cached_scan(resolve_path(source), labels_from="none", cache=cache)

    def stacked(index: FileIndex, size: int | None, channels: int | None) -> Dataset:
        (a, good_a), (b, good_b) = (_decoded(index, size, channels, cache, half) for half in get_args(Half))
        return _stacked({"a": a, "b": b}, good_a, good_b)

    data = stacked(index, size, channels)
    if index.test is None:
        return data
    channels, side, _ = data.spec.shape
    test = stacked(index.test, side, channels // 2)
    return replace(data, test=replace(test, name=f"{data.name} test", notes=()))


def _pairs_with_edges(
    source: Any, size: int | None, channels: int | None, root: str | Path | None, cache: Path
) -> Dataset:
    """Stacked pairs: the edges of each image on the image."""
    in_memory = isinstance(source, np.ndarray | Tensor)
    path = None if in_memory or (isinstance(source, str) and source in NAMES) else resolve_path(source)
    data = _resized(_read(source, path, size, channels, "none", root, cache), size, channels)
    if data.modality != "images":
        raise SparringError(f"'{printable(data.name)}' contains {data.modality}, which have no edges: give images")

    def stacked(part: Dataset) -> Dataset:
        return stack(replace(part, pixels=edges(part.images), index=None), part)

    return replace(stacked(data), test=None if data.test is None else stacked(data.test))


def _stacked_arrays(sources: Mapping[str, Any], size: int | None, channels: int | None) -> Dataset:
    """Stacked pairs of two arrays, row by row."""
    parts = {
        name: _resized(
            arrays.from_array("array", one) if isinstance(one, np.ndarray | Tensor) else arrays.from_file(Path(one)),
            size,
            channels,
        )
        for name, one in sources.items()
    }
    counts = [len(part) for part in parts.values()]
    if counts[0] != counts[1]:
        raise SparringError(f"arrays are paired row by row, and these have {counts[0]:,} and {counts[1]:,} images")
    return _stacked(parts, np.arange(counts[0]), np.arange(counts[0]))


def _stacked(parts: Mapping[str, Dataset], rows_a: np.ndarray, rows_b: np.ndarray) -> Dataset:
    """Stacked pairs of the images whose numbers are in both lists; if one domain has color, both become RGB."""
    require_one_shape({name: (0, *part.spec.shape[1:]) for name, part in parts.items()})
    _, first, second = np.intersect1d(rows_a, rows_b, return_indices=True)
    channels = max(part.spec.channels for part in parts.values())
    a, b = (
        replace(part, pixels=resize(part.images[rows], size=part.spec.size, channels=channels), index=None, labels=None)
        for part, rows in zip(parts.values(), (first, second), strict=True)
    )
    return stack(a, b)


def _built_in(
    name: str, size: int | None, channels: int | None, labels_from: str | None, root: str | Path | None, cache: Path
) -> Dataset:
    """A built-in data set; a note if there is a file or folder of that name."""
    if name in IMAGE_FILES:
        place = IMAGE_FILES[name](search_roots(root, cache), cache)
        data = replace(_from_files(place, size or 64, channels or 3, labels_from, cache), name=name)
    elif name == "nci":
        data = molecules.nci()
    elif name in FACES:
        data = drawn_faces(name, size, labels_from)
    else:
        data = DATASETS[name](search_roots(root, cache), cache)
    if os.path.lexists(name):
        note = f"'{name}' is the built-in data set; use './{name}' for the file or folder of that name"
        data = replace(data, notes=(note, *data.notes))
    return data


def reload_data(source: Mapping[str, Any], own_size: int | None) -> Dataset:
    """Load data from a recorded source, the arguments of `load`; `own_size`: image size if it has none."""
    names = ("channels", "classes", "labels_from", "root", "held_out", "pairs", "cache")
    options = {name: source[name] for name in names if name in source}
    return load(source["source"], size=source.get("size") or own_size, **options)


def labels_place(labels_from: str | Path | None, source: Any = "") -> str | None:
    """`labels_from` with a file as an absolute path; for drawn faces, the name of an attribute.

    Raises `SparringError` if the file or the attribute does not exist.
    """
    if isinstance(source, str) and source in FACES:
        return require_attribute(source, labels_from) if labels_from not in (None, "none") else labels_from and "none"
    if labels_from is None or labels_from in ("folders", "none"):
        return labels_from and str(labels_from)
    return str(resolve_path(labels_from).resolve())


def is_table(path: Path) -> bool:
    """Whether a path is a file of arrays or molecules rather than images."""
    return path.suffix.lower() in (*NUMPY, *molecules.SUFFIXES) and not path.is_dir()


def require_held_out(held_out: Any) -> None:
    """Raise `SparringError` unless it is a share in [0, 1), a whole number of images or rows "START:END"."""
    if isinstance(held_out, str) and re.fullmatch(ROWS, held_out):
        return
    number = isinstance(held_out, Real) and not isinstance(held_out, bool)
    if not number or not float(held_out) >= 0 or (not isinstance(held_out, Integral) and float(held_out) >= 1):
        raise SparringError(
            f"held_out is {abbreviated(held_out)}; give a share of the images from 0 to below 1 (0.1), a count (500), "
            "or rows ('50000:55000')"
        )


def require_texts(classes: object = None, **paths: object) -> None:
    """Raise `SparringError` unless paths are paths or None, and classes are names or indices."""
    for name, value in paths.items():
        if value is not None:
            require_path(name, value)
    if not isinstance(classes, str | Iterable | None) or isinstance(classes, bytes):
        raise SparringError(f"classes is {abbreviated(classes)}; give names or indices: 'cat,dog' or [3, 5]")


def index_of(path: Path, labels_from: str | None = None) -> FileIndex:
    """The images of a file, a folder or an archive. Raises `SparringError` if there are none."""
    path = resolve_path(path)
    return scan(path, labels_from=labels_from) if path.is_dir() or kind_of(path) else one_file(path)


def load_images(
    path: Path, *, size: int, channels: int, most: int, labels_from: str | None = None
) -> tuple[Dataset, list[str]]:
    """Load up to `most` evenly spaced images of a file, a folder or an archive. Returns the images and their names.

    Nothing is held out or cached. Raises `SparringError` if there are no images, or if one of them cannot be decoded;
    bad files are listed.
    """
    index = index_of(path, labels_from)
    count = min(most, len(index))
    rows = [i * len(index) // count for i in range(count)]
    set_scale = SetScale(index)
    with index.opener() as open_file:

        def read(row: int) -> np.ndarray:
            with open_image(open_file(row)) as image:
                scale = set_scale() if inspect(image).values else None
                return decode_image(image, size=size, channels=channels, scale=scale)

        results = dict(in_parallel(read, rows, "reading images"))
    bad = {row: str(result) for row, result in results.items() if isinstance(result, BadImage)}
    if bad:
        files = format_bad_files(index.by_name(bad))
        raise SparringError(f"cannot read {len(bad)} of {count} images in '{printable(str(path))}': {files}")
    images = torch.from_numpy(np.stack([result for result in results.values() if not isinstance(result, BadImage)]))
    labels = None if index.labels is None else torch.from_numpy(index.labels[rows].astype(np.int64))
    notes = (*index.notes, *(f"only {count:,} of {len(index):,} images, evenly spaced",) * (count < len(index)))
    return Dataset(path.resolve().stem, images, labels, index.classes, notes=notes), [*map(index.name, rows)]


def load_pairs(a: Path, b: Path, *, size: int, channels: int) -> tuple[Dataset, Dataset]:
    """Load pairs of images from two files, folders or archives, matched by file name without suffix.

    Images without a partner are skipped, with a note. Raises `SparringError` if there are no pairs, and as
    `load_images` does.
    """
    sides = [load_images(path, size=size, channels=channels, most=100_000) for path in (a, b)]
    rows = [{PurePosixPath(name).stem: row for row, name in enumerate(names)} for _, names in sides]
    shared = [name for name in rows[0] if name in rows[1]]
    if not shared:
        raise SparringError(
            f"no image in '{printable(str(a))}' has the same name as one in '{printable(str(b))}': pairs must have "
            "equal names"
        )
    first, second = (
        data.rows(torch.tensor([row[name] for name in shared])) for (data, _), row in zip(sides, rows, strict=True)
    )
    unpaired = sum(len(row) - len(shared) for row in rows)
    return replace(first, notes=(f"{unpaired:,} images have no partner and were skipped",) if unpaired else ()), second


def require_one_size(domains: Mapping[str, str | Path], root: str | Path | None = None) -> None:
    """Raise SparringError if the native sizes of the domains differ. Reads headers only."""
    sides: dict[str, int | None] = {}
    for name, source in domains.items():
        if source in (*DATASETS, *FACES):
            sides[name] = load(source, root=root, held_out=0).spec.size
        elif source not in NAMES and not is_table(path := resolve_path(source)):
            sides[name] = natural_size(scan(path))
    require_one_shape({name: (0, side, side) for name, side in sides.items() if side})


def cache_folder(cache: str | Path | None) -> Path:
    """The folder for decoded images and downloads: `cache`, else SPARRING_CACHE, else ~/.cache/sparring."""
    return Path(cache or os.environ.get("SPARRING_CACHE") or os.path.expanduser("~/.cache/sparring"))


def search_roots(root: str | Path | None, cache: Path) -> list[Path]:
    """The folders to search for built-in data sets, in order."""
    return [Path(folder) for folder in (root, os.environ.get("SPARRING_DATA"), cache) if folder]


def resolve_path(source: Any) -> Path:
    """The path of a source that is not a built-in name. Raises `SparringError` if it does not exist."""
    if not isinstance(source, str | Path):
        raise SparringError(f"data is a {type(source).__name__}; give a name, a path, a numpy array or a torch tensor")
    if not str(source):
        raise SparringError(f"data is empty; give the path of a folder ('.' is the current one), or {', '.join(NAMES)}")
    quoted = f"'{printable(str(source))}'"
    try:
        path = Path(source).expanduser()
        os.stat(path)
        str(path.resolve()).encode()
        return path
    except (FileNotFoundError, NotADirectoryError):
        pass
    except UnicodeEncodeError:
        raise SparringError(f"the path {quoted} is not UTF-8, so a run cannot record it: rename it") from None
    except OSError as error:
        raise SparringError(f"cannot access {quoted[:200]}: {error.strerror}") from None
    except (RuntimeError, ValueError) as error:  # unknown user in ~user; NUL in the path
        raise SparringError(f"{quoted[:200]} is not a valid path: {error}") from None
    if isinstance(source, Path) or os.sep in source or path.suffix:
        raise SparringError(f"there is no folder or file {quoted}; built-in data sets: {', '.join(NAMES)}")
    raise unknown_name_error("data set", source, [*NAMES, "or the path of a folder, zip, tar, npy, npz, smi or csv"])


def _from_files(path: Path, size: int | None, channels: int | None, labels_from: str | None, cache: Path) -> Dataset:
    """The images of a folder or archive, and its own test set."""
    index = cached_scan(path, labels_from=labels_from, cache=cache)
    data, _ = _decoded(index, size, channels, cache)
    if index.test is None:
        return data
    try:
        test, _ = _decoded(index.test, data.spec.size, data.spec.channels, cache)
    except SparringError as error:
        return replace(data, notes=(*data.notes, f"the source's test set is not used: {error}"))
    with_test = replace(data, test=replace(test, name=f"{data.name} test", notes=()))
    vars(with_test)["pixel_digest"] = data.pixel_digest
    return with_test


def _decoded(
    index: FileIndex, size: int | None, channels: int | None, cache: Path, half: Half | None = None
) -> tuple[Dataset, np.ndarray]:
    """The images of an index, or one half of each, and their (M,) numbers in the index."""
    pixels, numbers, report = decode(index, size=size, channels=channels, cache=cache, half=half)
    notes = [*index.notes, *report.notes]
    if report.bad:
        files = format_bad_files(index.by_name(report.bad))
        notes.append(f"skipped {len(report.bad)} of {report.files} images: {files}")
    if report.conversions:
        notes.append("converted: " + ", ".join(f"{count} {kind}" for kind, count in report.conversions.items()))
    labels = None if index.labels is None else torch.from_numpy(index.labels[numbers].astype(np.int64))
    data = Dataset(index.source.resolve().stem, torch.from_numpy(pixels), labels, index.classes, notes=tuple(notes))
    vars(data)["pixel_digest"] = report.sha256
    return data, numbers


def _resized(data: Dataset, size: int | None, channels: int | None) -> Dataset:
    """The images at this size and with these channels; None keeps the native ones. Always square."""
    depth, height, width = data.spec.shape
    side = size or min(height, width)
    shape = (channels or depth, side, side)
    test = data.test and _resized(data.test, size, channels)
    if shape == (depth, height, width):
        return data if test is data.test else replace(data, test=test)
    if data.modality != "images":
        raise SparringError(
            f"'{printable(data.name)}' contains {data.modality}, which cannot be resized from "
            f"{depth} x {height} x {width} to {shape[0]} x {shape[1]} x {shape[2]}: omit size and channels, and use a "
            f"recipe for {data.modality}"
        )
    note = f"images resized from {depth} x {height} x {width} to {shape[0]} x {shape[1]} x {shape[2]} (C x H x W)"
    if shape[1] > 2 * min(height, width):
        note += ", upscaled by more than a factor of 2"
    images = resize(data.images, size=side, channels=shape[0])
    return replace(data, pixels=images, index=None, test=test, notes=(*data.notes, note))


def _select_classes(data: Dataset, classes: str | Iterable[str | int]) -> Dataset:
    """Keep only these classes, renumbered from 0 in the original order, also in the test set."""
    if data.labels is None:
        raise SparringError(f"classes is set, but '{printable(data.name)}' has no labels")
    if isinstance(classes, str):
        indices = numbers_of(classes, data.classes)
    else:
        indices = [number_of(str(name), data.classes) for name in classes]
    selected = sorted(set(indices))
    if not selected:
        raise SparringError(f"classes is empty; possible: {', '.join(data.classes)}")
    if selected[-1] >= len(data.classes):
        raise unknown_name_error("class", str(selected[-1]), data.classes)

    def select(part: Dataset) -> Dataset:
        assert part.labels is not None
        renumbered = torch.full((len(data.classes),), -1)
        renumbered[selected] = torch.arange(len(selected))
        rows = (renumbered[part.labels] >= 0).nonzero().squeeze(1)
        subset = part.rows(rows)
        assert subset.labels is not None
        return replace(
            subset, labels=renumbered[subset.labels], classes=tuple(data.classes[index] for index in selected)
        )

    test = None if data.test is None else select(data.test)
    return replace(select(data), test=test, notes=data.notes)


def _held_out(data: Dataset, held_out: float | str) -> Dataset:
    """Hold out part of the images. Raises `SparringError` if fewer than two remain."""
    number = held_out_of(len(data), held_out)
    amount = f"{number:,}" if isinstance(held_out, Integral | str) else f"{held_out:.0%}"
    if len(data) - number < 2:
        raise SparringError(
            f"'{printable(data.name)}' has {len(data)} usable images, {max(0, len(data) - number)} after holding out "
            f"{amount}; at least 2 are needed to train"
        )
    if held_out and not number:
        note = f"nothing is held out: {amount} of {len(data)} images rounds to 0"
        return replace(data, notes=(*data.notes, note))
    return data.hold_out(held_out if isinstance(held_out, str) else number) if number else data
