"""One door for all data: a name, a folder, a zip, an array or molecules go in, a `Dataset` comes out."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparring.data import molecules
from sparring.data.chosen import number_of, numbers_of
from sparring.data.dataset import Dataset
from sparring.data.decoded import decode_files, in_parallel, listed, natural_size
from sparring.data.domains import merged, require_one_shape
from sparring.data.listing import Listing, list_images, one_image, shown
from sparring.data.named import NAMED, celeba_folder
from sparring.data.pixels import BadImage, fit, read_image, require_shape
from sparring.errors import SparringError, unknown
from sparring.seeds import standard_defaults

NAMES = (*NAMED, "celeba", "nci")


@standard_defaults()
def load(
    source: str | Path | np.ndarray | Tensor | Mapping[str, str | Path | np.ndarray | Tensor],
    *,
    size: int | None = None,
    channels: int | None = None,
    classes: str | Iterable[str | int] | None = None,
    root: str | Path | None = None,
    held_out: float = 0.1,
    cache: str | Path | None = None,
) -> Dataset:
    """Images to train on, with about 10 % of them held out.

    source    a name (digits, optdigits, mnist, stacked-mnist, fashion-mnist, cifar10, celeba); a folder or zip of
              images, whose subfolders are the classes if it has any; a .npy file, or a .npz with `images` and perhaps
              `labels`; an array or tensor, uint8 of (N, H, W), (N, H, W, C) or (N, C, H, W); molecules: nci, or a .smi
              or .csv of SMILES; or domains without pairs, {"a": X, "b": Y} with any of these: the classes are then the
              domains
    size      side in pixels; default: natural (celeba 64; files of many sizes 64)
    channels  1 (grey) or 3; default: natural
    classes   the only classes to keep, by name or index: "cat,dog" or [3, 5]; renumbered from 0 in the data's order
    root      a folder to look for named data sets in, before SPARRING_DATA and the cache folder
    held_out  share that training never sees; 0: none
    cache     where decoded folders and fetched data sets are kept; default: SPARRING_CACHE, else ~/.cache/sparring

    Bad files and molecules are skipped and named in `.notes`. Raises `SparringError` when more than 1 % are bad, when a
    file is damaged, when the source is unknown or when fewer than two images remain.
    """
    require_shape(size, channels)
    if not 0 <= held_out < 1:
        raise SparringError(f"held_out is {held_out}; it is the share of images kept for measuring: from 0 to below 1")
    if isinstance(source, Mapping):
        if classes is not None:
            raise SparringError("classes are chosen from one data set, and here are domains: leave out classes")
        load_one = partial(load, size=size, channels=channels, root=root, held_out=held_out, cache=cache)
        return merged({name: load_one(one) for name, one in source.items()})
    cache = cache_folder(cache)

    last: int | None = None
    if isinstance(source, np.ndarray | Tensor):
        data = _from_array("array", source, None)
    elif isinstance(source, str) and source in NAMED:
        data = NAMED[source](search_roots(root, cache), cache)
    elif source == "celeba":
        folder = celeba_folder(search_roots(root, cache), cache)
        data, last = _from_files(folder, size or 64, channels or 3, cache, held_out)
        data = replace(data, name="celeba")
    elif source == "nci":
        data = molecules.nci()
    else:
        path = existing(source)
        if path.suffix.lower() in molecules.SUFFIXES and path.is_file():
            data = molecules.from_file(path)
        else:
            if path.suffix in (".npy", ".npz"):
                data = _from_numpy_file(path)
            else:
                data, last = _from_files(path, size, channels, cache, held_out)

    if classes is not None:
        data, last = _only(data, classes), None
    data = _fitted(data, size, channels)
    if data.test is not None:
        data = replace(data, test=_fitted(data.test, size, channels))
    return _held_out(data, held_out, last)


def listing_of(path: Path) -> Listing:
    """The images of a file, a folder or a zip. Raises `SparringError` when there are none."""
    if not path.exists():
        raise SparringError(f"there is no file or folder '{shown(str(path))}'")
    alone = path.is_file() and not zipfile.is_zipfile(path)
    return one_image(path) if alone else list_images(path)


def load_few(path: Path, *, size: int, channels: int, most: int) -> tuple[Dataset, list[str]]:
    """The images of a file, a folder or a zip, and their names; of more than `most`, so many that are evenly spaced.

    None is held out, nothing is cached. Raises `SparringError` when there are none, and when one of them cannot be
    used: bad files are named.
    """
    listing = listing_of(path)
    total, count = len(listing.names), min(most, len(listing.names))
    rows = [i * total // count for i in range(count)]
    with listing.opener() as open_name:
        read = partial(read_image, size=size, channels=channels)
        names = [listing.names[row] for row in rows]
        results = dict(in_parallel(lambda name: read(open_name(name)), names, "reading images"))
    bad = {name: str(result) for name, result in results.items() if isinstance(result, BadImage)}
    if bad:
        raise SparringError(f"cannot read {len(bad)} of {count} images in '{shown(str(path))}': {listed(bad)}")
    images = torch.from_numpy(np.stack([result for result in results.values() if not isinstance(result, BadImage)]))
    labels = None if listing.labels is None else torch.tensor([listing.labels[row] for row in rows])
    notes = listing.notes if count == total else (*listing.notes, f"only {count:,} of {total:,} images, evenly spaced")
    return Dataset(path.resolve().stem, images, labels, listing.classes, notes=notes), names


def load_pairs(a: Path, b: Path, *, size: int, channels: int) -> tuple[Dataset, Dataset]:
    """The images of two files, folders or zips that have the same name in both (without suffix), in the same order.

    What has no partner is passed over and noted. Raises `SparringError` when nothing has one, and as `load_few` does.
    """
    sides = [load_few(path, size=size, channels=channels, most=100_000) for path in (a, b)]
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
        if source in NAMED:
            sides[name] = load(source, root=root, held_out=0).spec.size
        elif (path := existing(source)).suffix not in (".npy", ".npz", *molecules.SUFFIXES):
            sides[name] = natural_size(list_images(path))
    require_one_shape({name: (0, side, side) for name, side in sides.items() if side})


def cache_folder(cache: str | Path | None) -> Path:
    """The folder for decoded and fetched data: as given, else SPARRING_CACHE, else ~/.cache/sparring."""
    return Path(cache or os.environ.get("SPARRING_CACHE") or Path.home() / ".cache" / "sparring")


def search_roots(root: str | Path | None, cache: Path) -> list[Path]:
    """The folders in which named data sets are looked for, in order."""
    return [Path(folder) for folder in (root, os.environ.get("SPARRING_DATA"), cache) if folder]


def existing(source: Any) -> Path:
    """The path of a source that is no name. Raises `SparringError` if there is nothing of this name or path."""
    if not isinstance(source, str | Path):
        raise SparringError(f"data is a {type(source).__name__}; give a name, a path, a numpy array or a torch tensor")
    path = Path(source).expanduser()
    if path.exists():
        return path
    if isinstance(source, Path) or os.sep in source or path.suffix:
        raise SparringError(
            f"there is no folder or file '{shown(str(source))}'; data sets with a name: {', '.join(NAMES)}"
        )
    raise unknown("data set", source, [*NAMES, "or the path of a folder, zip, npy, npz, smi or csv"])


def _from_files(
    path: Path, size: int | None, channels: int | None, cache: Path, held_out: float
) -> tuple[Dataset, int]:
    """The images of a folder or a zip, those to hold out behind the others; and how many these are.

    In this order they are decoded, so that both parts of a large set stay in one memory-mapped file.
    """
    pixels, found, report = decode_files(path, size=size, channels=channels, held_out=held_out, cache=cache)
    notes = [*report.passed, *report.notes]
    if report.bad:
        notes.append(f"skipped {len(report.bad)} of {report.files} images: {listed(report.bad)}")
    if report.conversions:
        notes.append("converted: " + ", ".join(f"{count} {kind}" for kind, count in report.conversions.items()))
    labels = None if found is None else torch.from_numpy(found)
    data = Dataset(path.resolve().stem, torch.from_numpy(pixels), labels, tuple(report.classes), notes=tuple(notes))
    return data, report.last


def _from_numpy_file(path: Path) -> Dataset:
    try:
        with open(path, "rb") as file:
            loaded = np.load(file, allow_pickle=False)
            arrays = {"images": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise SparringError(f"cannot read '{shown(str(path))}' ({str(error).splitlines()[0]})") from error
    if "images" not in arrays:
        raise SparringError(
            f"'{shown(str(path))}' holds {', '.join(arrays) or 'nothing'}; it must hold an array 'images'"
        )
    return _from_array(path.stem, arrays["images"], arrays.get("labels"))


def _from_array(name: str, given: np.ndarray | Tensor, labels: np.ndarray | None) -> Dataset:
    if given.dtype not in (np.uint8, torch.uint8):
        raise SparringError(f"images are {given.dtype}; give uint8 from 0 to 255, so that the range is not a guess")
    images = given.cpu() if isinstance(given, Tensor) else torch.from_numpy(np.array(given))
    if images.ndim == 3:
        images = images.unsqueeze(1)
    if images.ndim == 4 and images.shape[1] not in (1, 3):
        images = images.permute(0, 3, 1, 2)
    if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape:
        shape = tuple(given.shape)
        raise SparringError(
            f"images are of shape {shape}; give (N, H, W), (N, H, W, C) or (N, C, H, W) with C of 1 or 3"
        )
    if labels is None:
        return Dataset(name, images)
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise SparringError(f"labels are {labels.dtype} of shape {labels.shape}; give {len(images)} whole numbers")
    values, numbered = np.unique(labels, return_inverse=True)
    return Dataset(name, images, torch.from_numpy(numbered.astype(np.int64)), tuple(str(value) for value in values))


def _fitted(data: Dataset, size: int | None, channels: int | None) -> Dataset:
    """The same images with this size and these channels; natural where None, and always square."""
    given, height, width = data.images.shape[1:]
    images = fit(data.images, size=size or min(height, width), channels=channels or given)
    made = tuple(images.shape[1:])
    if made == (given, height, width):
        return data
    if data.values is not None:
        raise SparringError(
            f"'{shown(data.name)}' holds fingerprints of {given} x {height} x {width} cells, which cannot become "
            f"{made[0]} x {made[1]} x {made[2]}: leave out size and channels, and take the recipe 'molecules'"
        )
    note = f"images of {given} x {height} x {width} made {made[0]} x {made[1]} x {made[2]} (channels x height x width)"
    return replace(data, images=images, notes=(*data.notes, note))


def _only(data: Dataset, classes: str | Iterable[str | int]) -> Dataset:
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
        raise unknown("class", str(kept[-1]), data.classes)

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


def _held_out(data: Dataset, share: float, last: int | None) -> Dataset:
    """A share of the images held out: the last ones where they lie so already."""
    number = round(len(data) * share) if last is None else last
    if len(data) - number < 2:
        raise SparringError(
            f"'{shown(data.name)}' has {len(data)} usable images, {len(data) - number} after holding out {share:.0%}; "
            "at least 2 are needed to train"
        )
    if share and not number:
        note = f"nothing is held out: {share:.0%} of {len(data)} images is none"
        return replace(data, notes=(*data.notes, note))
    if not number:
        return data
    return data.hold_out(share) if last is None else data.hold_out_last(number)
