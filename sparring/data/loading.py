"""One door for all data: a name, a folder, an archive, an array or molecules go in, a `Dataset` comes out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from numbers import Integral, Real
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparring.data import arrays, molecules
from sparring.data.builtin import DATASETS, celeba_folder
from sparring.data.chosen import number_of, numbers_of
from sparring.data.dataset import Dataset, held_out_of
from sparring.data.decode_cache import SetScale, decode_files, format_bad_files, in_parallel, natural_size
from sparring.data.domains import merge_domains, require_one_shape
from sparring.data.listing import Listing, list_images, one_image
from sparring.data.pixels import BadImage, decode, inspect, open_image, require_shape, resize
from sparring.data.zip_members import kind_of
from sparring.errors import SparringError, abbreviated, require_path, shown, unknown_name_error
from sparring.seeds import standard_defaults

NAMES = (*DATASETS, "celeba", "nci")
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
    held_out: float = 0.1,
    cache: str | Path | None = None,
) -> Dataset:
    """Images to train on, with about 10 % of them held out.

    source    a name (digits, optdigits, mnist, stacked-mnist, fashion-mnist, cifar10, celeba), whatever the current
              folder holds; a folder, zip, tar or tar.gz of images; a .npy file, or a .npz with `images` and perhaps
              `labels`; an array or tensor, uint8 or uint16 of (N, H, W), (N, H, W, C) or (N, C, H, W); molecules: nci,
              or a .smi or .csv of SMILES; or domains without pairs, {"a": X, "b": Y} with any of these: the classes
              are then the domains
    size      side in pixels; default: natural (celeba 64; files of many sizes 64)
    channels  1 (gray) or 3; default: 3 if any image has color
    classes   the only classes to keep, by name or index: "cat,dog" or [3, 5]; renumbered from 0 in the data's order
    labels_from  where classes of image files come from: "folders", the first folder on the way to each; "none"; or the
              path of a .csv, .tsv or .json with a label for each file. Default: StyleGAN's dataset.json where there is
              one, else the folders, if there are any. Folders train/ and test/ (or val/) are no classes: the second is
              the test set
    root      a folder to look for named data sets in, before SPARRING_DATA and the cache folder
    held_out  what training never sees: a share (0.1), or a number of images (500, counted before bad files are
              skipped); 0: none
    cache     where decoded folders and fetched data sets are kept; default: SPARRING_CACHE, else ~/.cache/sparring

    Bad files and molecules are skipped and named in `.notes`; `.source` says how to load the same again (arrays: None).
    Raises `SparringError` when more than 1 % are bad, when a file is damaged, when the source is unknown or means two
    things, or when fewer than two images remain.
    """
    require_shape(size, channels)
    require_held_out(held_out)
    require_texts(classes=classes, labels_from=labels_from, root=root, cache=cache)
    if isinstance(source, Mapping):
        if classes is not None or labels_from is not None:
            raise SparringError("the classes are the domains here: leave out classes and labels_from")
        if len(source) < 2 or not all(isinstance(name, str) for name in source):
            raise SparringError('domains are given as {"a": X, "b": Y}, at least two of them')
        load_one = partial(load, size=size, channels=channels, root=root, held_out=held_out, cache=cache)
        parts = {name: load_one(one) for name, one in source.items()}
        records = {name: part.source for name, part in parts.items() if part.source}
        record = next(iter(records.values()), None)
        if record and len(records) == len(parts):
            record = {**record, "source": {name: each["source"] for name, each in records.items()}}
            return replace(merge_domains(parts), source=record)
        return merge_domains(parts)
    kept_in = cache
    cache = cache_folder(cache)

    last: int | None = None
    pixels = ""
    by_name = isinstance(source, str) and source in NAMES
    path = None if by_name or isinstance(source, np.ndarray | Tensor) else resolve_path(source)
    of_files = path is not None and not is_table(path)
    if labels_from is not None and not (of_files or source == "celeba"):
        raise SparringError("labels_from is for image files: leave it out")
    labels_from = labels_place(labels_from)
    read = partial(_from_files, cache=cache, held_out=held_out, labels_from=labels_from)
    if isinstance(source, np.ndarray | Tensor):
        data = arrays.from_array("array", source)
    elif path is None and source == "celeba":
        folder = celeba_folder(search_roots(root, cache), cache)
        data, last, pixels = read(folder, size or 64, channels or 3)
        data = replace(data, name="celeba")
    elif path is None and source == "nci":
        data = molecules.nci()
    elif path is None:
        data = DATASETS[str(source)](search_roots(root, cache), cache)
    elif of_files:
        data, last, pixels = read(path, size, channels)
    elif path.suffix.lower() in molecules.SUFFIXES:
        data = molecules.from_file(path)
    else:
        data = arrays.from_file(path)

    if by_name and os.path.lexists(str(source)):
        note = f"'{source}' is the data set of that name; for the file or folder of the same name give './{source}'"
        data = replace(data, notes=(note, *data.notes))
    if classes is not None:
        classes = classes if isinstance(classes, str) else [str(name) for name in classes]
        data, last = _select_classes(data, classes), None
    data = _resized(data, size, channels)
    if data.test is not None:
        data = replace(data, test=_resized(data.test, size, channels))
    data = _held_out(data, held_out, last)
    if isinstance(source, np.ndarray | Tensor):
        return data
    root = root or os.environ.get("SPARRING_DATA")  # where it is found today, it is looked for tomorrow
    data = replace(
        data,
        source={
            "source": str(path.resolve()) if path else str(source),
            "size": None if size is None else int(size),
            "channels": None if channels is None else int(channels),
            "classes": classes,
            "labels_from": labels_from,
            "root": str(Path(root).resolve()) if root and by_name else None,
            "held_out": int(held_out) if isinstance(held_out, Integral) else float(held_out),
            "cache": str(Path(kept_in).resolve()) if kept_in else None,
        },
    )
    if last is not None:  # all of them, as they were decoded
        vars(data)["pixels"] = pixels
    return data


def labels_place(labels_from: str | Path | None) -> str | None:
    """Where labels come from, a file by its whole path. Raises `SparringError` when there is none."""
    if labels_from is None or labels_from in ("folders", "none"):
        return labels_from and str(labels_from)
    return str(resolve_path(labels_from).resolve())


def is_table(path: Path) -> bool:
    """Whether a path is a file of arrays or molecules, and not of images."""
    return path.suffix.lower() in (*NUMPY, *molecules.SUFFIXES) and not path.is_dir()


def require_held_out(held_out: Any) -> None:
    """Raise `SparringError` unless it is a share from 0 to below 1, or a whole number of images."""
    number = isinstance(held_out, Real) and not isinstance(held_out, bool)
    if not number or not float(held_out) >= 0 or (not isinstance(held_out, Integral) and float(held_out) >= 1):
        raise SparringError(
            f"held_out is {abbreviated(held_out)}; give a share of the images from 0 to below 1 (0.1), or a count (500)"
        )


def require_texts(classes: object = None, **paths: object) -> None:
    """Raise `SparringError` unless the paths are some or None, and classes names or numbers."""
    for name, value in paths.items():
        if value is not None:
            require_path(name, value)
    if not isinstance(classes, str | Iterable | None) or isinstance(classes, bytes):
        raise SparringError(f"classes is {abbreviated(classes)}; give names or numbers: 'cat,dog' or [3, 5]")


def listing_of(path: Path, labels_from: str | None = None) -> Listing:
    """The images of a file, a folder or an archive. Raises `SparringError` when there are none."""
    path = resolve_path(path)
    return list_images(path, labels_from=labels_from) if path.is_dir() or kind_of(path) else one_image(path)


def load_images(
    path: Path, *, size: int, channels: int, most: int, labels_from: str | None = None
) -> tuple[Dataset, list[str]]:
    """The images of a file, a folder or an archive, and their names; of more than `most`, so many, evenly spaced.

    None is held out, nothing is cached. Raises `SparringError` when there are none, and when one of them cannot be
    used: bad files are named.
    """
    listing = listing_of(path, labels_from)
    total, count = len(listing.names), min(most, len(listing.names))
    rows = [i * total // count for i in range(count)]
    set_scale = SetScale(listing)
    with listing.opener() as open_name:

        def read(name: str) -> np.ndarray:
            with open_image(open_name(name)) as image:
                scale = set_scale() if inspect(image).values else None
                return decode(image, size=size, channels=channels, scale=scale)

        names = [listing.names[row] for row in rows]
        results = dict(in_parallel(read, names, "reading images"))
    bad = {name: str(result) for name, result in results.items() if isinstance(result, BadImage)}
    if bad:
        raise SparringError(
            f"cannot read {len(bad)} of {count} images in '{shown(str(path))}': {format_bad_files(bad)}"
        )
    images = torch.from_numpy(np.stack([result for result in results.values() if not isinstance(result, BadImage)]))
    labels = None if listing.labels is None else torch.tensor([listing.labels[row] for row in rows])
    notes = listing.notes if count == total else (*listing.notes, f"only {count:,} of {total:,} images, evenly spaced")
    return Dataset(path.resolve().stem, images, labels, listing.classes, notes=notes), names


def load_pairs(a: Path, b: Path, *, size: int, channels: int) -> tuple[Dataset, Dataset]:
    """The images of two files, folders or zips that have the same name in both (without suffix), in the same order.

    What has no partner is passed over and noted. Raises `SparringError` when nothing has one, and as `load_images`
    does.
    """
    sides = [load_images(path, size=size, channels=channels, most=100_000) for path in (a, b)]
    rows = [{PurePosixPath(name).stem: row for row, name in enumerate(names)} for _, names in sides]
    both = [name for name in rows[0] if name in rows[1]]
    if not both:
        raise SparringError(
            f"no image in '{shown(str(a))}' has the name of one in '{shown(str(b))}': pairs have equal names"
        )
    first, second = (
        data.rows(torch.tensor([row[name] for name in both])) for (data, _), row in zip(sides, rows, strict=True)
    )
    alone = sum(len(row) - len(both) for row in rows)
    return replace(first, notes=(f"{alone:,} images have no partner and were passed over",) if alone else ()), second


def require_one_size(domains: Mapping[str, str | Path], root: str | Path | None = None) -> None:
    """Raises SparringError when the domains' images have sides of their own, and not the same; no pixel is read."""
    sides: dict[str, int | None] = {}
    for name, source in domains.items():
        if source in DATASETS:
            sides[name] = load(source, root=root, held_out=0).spec.size
        elif source not in NAMES and not is_table(path := resolve_path(source)):
            sides[name] = natural_size(list_images(path))
    require_one_shape({name: (0, side, side) for name, side in sides.items() if side})


def cache_folder(cache: str | Path | None) -> Path:
    """The folder for decoded and fetched data: as given, else SPARRING_CACHE, else ~/.cache/sparring."""
    return Path(cache or os.environ.get("SPARRING_CACHE") or os.path.expanduser("~/.cache/sparring"))


def search_roots(root: str | Path | None, cache: Path) -> list[Path]:
    """The folders in which named data sets are looked for, in order."""
    return [Path(folder) for folder in (root, os.environ.get("SPARRING_DATA"), cache) if folder]


def resolve_path(source: Any) -> Path:
    """The path of a source that is no name. Raises `SparringError` if there is nothing of this name or path."""
    if not isinstance(source, str | Path):
        raise SparringError(f"data is a {type(source).__name__}; give a name, a path, a numpy array or a torch tensor")
    if not str(source):
        raise SparringError(f"data is empty; give the path of a folder ('.' is the current one), or {', '.join(NAMES)}")
    said = f"'{shown(str(source))}'"
    try:
        path = Path(source).expanduser()
        os.stat(path)
        str(path.resolve()).encode()
        return path
    except (FileNotFoundError, NotADirectoryError):
        pass
    except UnicodeEncodeError:
        raise SparringError(f"the path {said} is not UTF-8, so that no run could record it: rename it") from None
    except OSError as error:
        raise SparringError(f"cannot look at {said[:200]}: {error.strerror}") from None
    except (RuntimeError, ValueError) as error:  # of a user that is not there; of a path with a NUL
        raise SparringError(f"{said[:200]} is no path: {error}") from None
    if isinstance(source, Path) or os.sep in source or path.suffix:
        raise SparringError(f"there is no folder or file {said}; data sets with a name: {', '.join(NAMES)}")
    raise unknown_name_error("data set", source, [*NAMES, "or the path of a folder, zip, tar, npy, npz, smi or csv"])


def _from_files(
    path: Path, size: int | None, channels: int | None, *, cache: Path, held_out: float, labels_from: str | None
) -> tuple[Dataset, int, str]:
    """The images of a folder or an archive, those to hold out behind the others; how many these are; and `pixels`.

    In this order they are decoded, so that both parts of a large set stay in one memory-mapped file.
    """
    read = partial(decode_files, path, cache=cache, labels_from=labels_from)
    pixels, found, report = read(size=size, channels=channels, held_out=held_out)
    notes = [*report.passed, *report.notes]
    if report.bad:
        notes.append(f"skipped {len(report.bad)} of {report.files} images: {format_bad_files(report.bad)}")
    if report.conversions:
        notes.append("converted: " + ", ".join(f"{count} {kind}" for kind, count in report.conversions.items()))
    labels = None if found is None else torch.from_numpy(found)
    classes = tuple(report.classes)
    test = None
    if report.test is not None:
        try:
            shape = {"size": pixels.shape[2], "channels": pixels.shape[1]}
            theirs, found, tested = read(**shape, held_out=0, part=report.test)
            numbers = [classes.index(name) for name in tested.classes]
            if classes and not numbers:
                raise ValueError("it has no labels")
            marks = torch.tensor(numbers)[torch.from_numpy(found)] if classes and found is not None else None
            test = Dataset(f"{path.resolve().stem} test", torch.from_numpy(theirs), marks, classes)
            vars(test)["pixels"] = tested.pixels
        except (SparringError, ValueError) as error:
            notes.append(f"the test set in {shown(report.test)} is not used: {error}")
    data = Dataset(path.resolve().stem, torch.from_numpy(pixels), labels, classes, test=test, notes=tuple(notes))
    return data, report.last, report.pixels


def _resized(data: Dataset, size: int | None, channels: int | None) -> Dataset:
    """The same images with this size and these channels; natural where None, and always square."""
    given, height, width = data.images.shape[1:]
    images = resize(data.images, size=size or min(height, width), channels=channels or given)
    made = tuple(images.shape[1:])
    if made == (given, height, width):
        return data
    if data.values is not None:
        raise SparringError(
            f"'{shown(data.name)}' holds fingerprints of {given} x {height} x {width} cells, which cannot become "
            f"{made[0]} x {made[1]} x {made[2]}: leave out size and channels, and take the recipe 'molecules'"
        )
    note = f"images of {given} x {height} x {width} made {made[0]} x {made[1]} x {made[2]} (channels x height x width)"
    if made[1] > 2 * min(height, width):
        note += ": enlarged to more than twice their size"
    return replace(data, images=images, notes=(*data.notes, note))


def _select_classes(data: Dataset, classes: str | Iterable[str | int]) -> Dataset:
    """Only these classes, renumbered from 0 in the data's own order; of the test set too."""
    if data.labels is None:
        raise SparringError(f"classes were asked for, but '{shown(data.name)}' has no labels")
    if isinstance(classes, str):
        asked = numbers_of(classes, data.classes)
    else:
        asked = [number_of(str(name), data.classes) for name in classes]
    kept = sorted(set(asked))
    if not kept:
        raise SparringError(f"classes is empty; possible: {', '.join(data.classes)}")
    if kept[-1] >= len(data.classes):
        raise unknown_name_error("class", str(kept[-1]), data.classes)

    def chosen(part: Dataset) -> Dataset:
        assert part.labels is not None
        renumbered = torch.full((len(data.classes),), -1)
        renumbered[kept] = torch.arange(len(kept))
        rows = (renumbered[part.labels] >= 0).nonzero().squeeze(1)
        few = part.rows(rows)
        assert few.labels is not None
        return replace(few, labels=renumbered[few.labels], classes=tuple(data.classes[index] for index in kept))

    test = None if data.test is None else chosen(data.test)
    return replace(chosen(data), test=test, notes=data.notes)


def _held_out(data: Dataset, held_out: float, last: int | None) -> Dataset:
    """A part of the images held out: the last ones where they lie so already."""
    number = held_out_of(len(data), held_out) if last is None else last
    said = f"{held_out:,}" if isinstance(held_out, Integral) else f"{held_out:.0%}"
    left = max(0, len(data) - number)
    if len(data) - number < 2:
        raise SparringError(
            f"'{shown(data.name)}' has {len(data)} usable images, {left} after holding out {said}; "
            "at least 2 are needed to train"
        )
    if held_out and not number:
        note = f"nothing is held out: {said} of {len(data)} images is none"
        return replace(data, notes=(*data.notes, note))
    if not number:
        return data
    return data.hold_out(number) if last is None else data.hold_out_last(number)
