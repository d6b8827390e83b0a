"""A look at data before training: what is there, what will be done to it, what is wrong with it, what to do."""

from __future__ import annotations

import html
import io
import shlex
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from sparring.data.builtin import celeba_folder
from sparring.data.dataset import MIN_HELD_OUT, Dataset, held_out_of
from sparring.data.decode_cache import (
    FALLBACK_SIZE,
    MAX_BAD_FRACTION,
    SetScale,
    in_parallel,
    natural_channels,
    natural_size,
)
from sparring.data.listing import Listing, list_images
from sparring.data.loading import (
    NAMES,
    cache_folder,
    is_table,
    labels_place,
    load,
    load_images,
    require_held_out,
    require_texts,
    resolve_path,
    search_roots,
)
from sparring.data.pixels import MAX_SIZE, BadImage, Header, decode, inspect, open_image, require_shape
from sparring.errors import require_int, shown

DECODE_ALL = 20_000  # above this, headers of all files and pixels of a sample of this many
FEW = 1_000
HELD_OUT = 0.1
"""Share of the images that `load` holds out where nothing else is said."""

MANY = 0.05
"""Share of pictures that are passed over, from which on it is no detail."""

SOME = 5  # copies that are named
DIGEST = 16
"""Bytes of a file's fingerprint."""

USUAL_SIZES = (32, 64, 128, 256)
USUAL_BATCH = 64


@dataclass(frozen=True)
class CheckReport:
    """What `check` found. `print` shows it as text; a rich console shows it in color.

    images       image files, good and bad
    decoded      those of which the pixels were read too
    bad          {name: reason}
    sizes, formats, modes, conversions, classes   {what: number of images}, the most frequent first
    passed       pictures that are there and would not be trained on; the notes say why
    duplicates   files (or images of an array) that are byte for byte equal to an earlier one
    copies       the first of these, each with the earlier one
    notes        what was passed over
    advice       what to do, a sentence each
    """

    source: str
    images: int
    decoded: int
    bad: dict[str, str]
    sizes: dict[str, int]
    formats: dict[str, int]
    modes: dict[str, int]
    conversions: dict[str, int]
    classes: dict[str, int]
    passed: int
    duplicates: int
    copies: dict[str, str]
    notes: tuple[str, ...]
    advice: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether `load` accepts it: at most 1 % bad files, and at least two good ones."""
        return len(self.bad) <= MAX_BAD_FRACTION * self.images and self.images - len(self.bad) >= 2

    def __rich__(self) -> RenderableType:
        table = Table(
            title=f"{escape(shown(self.source))}: {self.images:,} images", title_justify="left", show_header=False
        )
        table.add_column(style="bold")
        table.add_column()
        for title, counts in (
            ("sizes", self.sizes),
            ("formats", self.formats),
            ("modes", self.modes),
            ("classes", self.classes),
            ("conversions", self.conversions),
        ):
            if counts:
                table.add_row(title, escape(_frequent(counts)))
        copies = ", ".join(f"{shown(copy)} = {shown(earlier)}" for copy, earlier in self.copies.items())
        more = ", ..." if self.duplicates > len(self.copies) else ""
        table.add_row("duplicates", escape(f"{self.duplicates:,}" + (f" ({copies}{more})" if copies else "")))
        table.add_row("bad files", f"[red]{len(self.bad):,}[/]" if self.bad else "none")
        if self.decoded < self.images - len(self.bad):
            table.add_row("pixels read", f"of {self.decoded:,}, headers of all")
        parts: list[RenderableType] = [table]
        if self.bad:
            reasons = Table("bad file", "reason", title_justify="left")
            for name, reason in list(self.bad.items())[:20]:
                reasons.add_row(escape(shown(name)), escape(reason))
            if len(self.bad) > 20:
                reasons.add_row(f"and {len(self.bad) - 20:,} more", "")
            parts.append(reasons)
        parts += [f"note: {escape(note)}" for note in self.notes]
        parts += [f"[bold]to do:[/] {escape(line)}" for line in self.advice]
        parts.append(self._verdict())
        return Group(*parts)

    def __repr__(self) -> str:
        return f"<CheckReport of '{shown(self.source)}': {self.images:,} images, {len(self.bad):,} bad>"

    def _repr_html_(self) -> str:
        """In a notebook: the same text."""
        return f"<pre>{html.escape(str(self))}</pre>"

    def _verdict(self) -> str:
        if not self.ok:
            return "[red]not ready to train on[/]"
        if not self.passed:
            return "[green]ready to train on[/]"
        good, there = self.images - len(self.bad), self.images + self.passed
        color = "yellow" if self.passed > MANY * there else "green"
        share = f"{self.passed / there:.0%}" if self.passed >= there / 100 else "less than 1%"
        return (
            f"[{color}]ready to train on {good:,} of {there:,} pictures: {self.passed:,} ({share}) are passed over[/]"
        )

    def __str__(self) -> str:
        text = io.StringIO()
        Console(file=text, width=100).print(self, soft_wrap=True)  # so that a command can be copied
        return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def check(
    source: str | Path | np.ndarray | Tensor,
    *,
    labels_from: str | Path | None = None,
    root: str | Path | None = None,
    held_out: float = HELD_OUT,
    cache: str | Path | None = None,
) -> CheckReport:
    """Look at a source as `load` would take it, without stopping at bad files; the arguments are those of `load`.

    Of a folder or archive all headers are read, and the pixels too (of 20,000 files at most). Raises `SparringError`
    where there is nothing to look at: an unknown name, no images, a damaged IDX or npz file.
    """
    require_held_out(held_out)
    require_texts(root=root, cache=cache, labels_from=labels_from)
    path = files_of(source, root, cache)
    if path is None:
        return _check_dataset(load(source, root=root, held_out=0, cache=cache, labels_from=labels_from), held_out)
    flags = f" --labels-from {shlex.quote(shown(str(labels_from)))}" if labels_from is not None else ""
    flags += f" --held-out {held_out:g}" if held_out != HELD_OUT else ""
    return _check_files(list_images(path, labels_from=labels_place(labels_from)), held_out, flags)


def preview(
    source: str | Path | np.ndarray | Tensor,
    *,
    size: int | None = None,
    channels: int | None = None,
    labels_from: str | Path | None = None,
    root: str | Path | None = None,
    cache: str | Path | None = None,
    count: int = 64,
) -> Dataset:
    """Up to `count` images, evenly spaced, as training will see them; the other arguments are those of `load`."""
    require_int("count", count)
    require_shape(size, channels)
    require_texts(root=root, cache=cache, labels_from=labels_from)
    path = files_of(source, root, cache)
    if path is None:
        data = load(source, size=size, channels=channels, root=root, held_out=0, cache=cache, labels_from=labels_from)
        count = min(count, len(data))
        return data.rows(torch.arange(count) * len(data) // count)
    labels = labels_place(labels_from)
    listing = list_images(path, labels_from=labels)
    side = size or natural_size(listing) or FALLBACK_SIZE
    side = side if side <= MAX_SIZE else FALLBACK_SIZE
    return load_images(path, size=side, channels=channels or natural_channels(listing), most=count, labels_from=labels)[
        0
    ]


def files_of(source: object, root: str | Path | None, cache: str | Path | None) -> Path | None:
    """The folder or archive of image files that `load` reads for a source; None for other kinds of sources."""
    if isinstance(source, str) and source == "celeba":
        folder = cache_folder(cache)
        return celeba_folder(search_roots(root, folder), folder)
    if isinstance(source, str | Path) and source not in NAMES and not is_table(path := resolve_path(source)):
        return path
    return None


def _check_files(listing: Listing, held_out: float, flags: str) -> CheckReport:
    """flags: those of the look that training must be given, too.

    Of each file 16 bytes are kept at most, and of each bad one the reason: there may be millions."""
    step = -(-len(listing.names) // DECODE_ALL)
    sample = set(listing.names[::step])
    alike = Counter(listing.sizes)  # only files of equal length can be equal
    headers: Counter[Header] = Counter()
    bad: dict[str, str] = {}
    digests, digested, decoded = bytearray(), array("q"), 0

    with listing.opener() as open_name:

        def look(name: str) -> tuple[Header, bytes]:
            source = open_name(name)
            with open_image(source) as image:
                header = inspect(image)
                if name in sample:
                    decode(image, size=FALLBACK_SIZE, channels=3)
                if alike[listing.files.found(name).size] == 1:
                    return header, b""
                content = source.read_bytes() if isinstance(source, Path) else source.getvalue()
                return header, blake2b(content, digest_size=DIGEST).digest()

        for row, (name, result) in enumerate(in_parallel(look, listing.names, "checking images")):
            if isinstance(result, BadImage):
                bad[name] = str(result)
                continue
            headers[result[0]] += 1
            digests += result[1]
            digested.extend([row] if result[1] else [])
            decoded += name in sample

    copies = _copies(np.frombuffer(digests, f"V{DIGEST}"))
    rows = {digested[copy]: digested[earlier] for copy, earlier in islice(copies.items(), SOME)}
    scaled = SetScale(listing).notes() if any(header.values for header in headers) else []
    classes = Counter(listing.classes[label] for label in listing.labels or [])
    return CheckReport(
        source=str(listing.source),
        images=len(listing.names),
        decoded=decoded,
        bad=bad,
        sizes=_counted((f"{header.width} x {header.height}", n) for header, n in headers.items()),
        formats=_counted((header.format, n) for header, n in headers.items()),
        modes=_counted((header.mode, n) for header, n in headers.items()),
        conversions=_counted((kind, n) for header, n in headers.items() for kind in header.conversions),
        classes={name: classes[name] for name in listing.classes},
        passed=listing.passed,
        duplicates=len(copies),
        copies={listing.names[copy]: listing.names[earlier] for copy, earlier in rows.items()},
        notes=(*listing.notes, *scaled, _parts(headers.total(), held_out)),
        advice=tuple(_advice(listing, headers, len(bad), len(copies), classes, held_out, flags)),
    )


def _copies(digests: np.ndarray) -> dict[int, int]:
    """The position of each digest that is there before, and where."""
    _, first, which = np.unique(digests, return_index=True, return_inverse=True)
    earlier = first[which]
    return {int(row): int(earlier[row]) for row in np.flatnonzero(earlier != np.arange(len(digests)))}


def _parts(images: int, held_out: float) -> str:
    number = held_out_of(images, held_out)
    return f"{images - number:,} images to train on, {number:,} held out for measuring (--held-out {held_out:g})"


def _advice(
    listing: Listing,
    headers: Counter[Header],
    bad: int,
    copies: int,
    classes: Counter[str],
    held_out: float,
    flags: str,
) -> Iterator[str]:
    good = headers.total()
    if bad:
        share = bad / len(listing.names)
        limit = (
            f"more than {MAX_BAD_FRACTION:.0%} stop the training"
            if share > MAX_BAD_FRACTION
            else "they would be skipped"
        )
        yield f"repair or take away the {bad:,} bad files ({share:.1%}): {limit}"
    if good < 2:
        yield "add images: at least 2 good ones are needed"
        return
    if copies:
        yield "take away the copies: a held-out image that was also trained on makes a measurement too good"
    if classes and min(classes.values()) * 10 < max(classes.values()):
        rarest = min(classes, key=lambda name: classes[name])
        yield f"the classes are uneven: from {classes[rarest]:,} images ({shown(rarest)}) to {max(classes.values()):,}"
    yield from _few(good, held_out)
    sides = np.sort(np.repeat([min(header.width, header.height) for header in headers], [*headers.values()]))
    smallest, middle = int(sides[0]), int(sides[good // 2])
    same = smallest == sides[-1] and all(header.width == header.height for header in headers)
    size = (
        smallest
        if same and smallest <= MAX_SIZE
        else max(side for side in USUAL_SIZES if side <= max(middle, USUAL_SIZES[0]))
    )
    if smallest < size:
        twice = f", {n:,} of them to more than twice their size" if (n := int((2 * sides < size).sum())) else ""
        yield f"{int((sides < size).sum()):,} images are smaller than {size} x {size} and would be enlarged{twice}"
    if not same:
        yield "images are cropped to their center square: crop them yourself where the middle is not what matters"
    path = shlex.quote(shown(str(listing.source)))
    yield f"sparring train RECIPE --data {path} --size {size} --channels {natural_channels(listing)}{flags}"


def _few(good: int, held_out: float) -> Iterator[str]:
    """What it means that there are few images, if there are."""
    number = held_out_of(good, held_out)
    if number < MIN_HELD_OUT and good >= 2 * MIN_HELD_OUT:
        yield (
            f"FD is measured against {MIN_HELD_OUT} held-out images or more, and {number:,} would be held out: "
            f"give --held-out {MIN_HELD_OUT} to training"
        )
    if good < USUAL_BATCH:
        yield f"{good:,} images are fewer than a batch of most recipes: give --batch {max(2, good // 2)} or so"
    if good < FEW:
        yield f"{good:,} images are few: expect copies of them unless the recipe augments them"


def _check_dataset(data: Dataset, held_out: float) -> CheckReport:
    images = data.images.contiguous().numpy()
    digests = b"".join(blake2b(image.tobytes(), digest_size=DIGEST).digest() for image in images)
    copies = _copies(np.frombuffer(digests, f"V{DIGEST}"))
    kind = "gray" if data.spec.channels == 1 else "RGB"
    names = data.spec.classes
    counts = [] if data.labels is None else torch.bincount(data.labels, minlength=len(names)).tolist()
    test = () if data.test is None else (f"{len(data.test):,} more images are the source's own test set",)
    return CheckReport(
        source=data.name,
        images=len(data),
        decoded=len(data),
        bad={},
        sizes={f"{data.spec.size} x {data.spec.size}": len(data)},
        formats={},
        modes={f"8-bit {kind}": len(data)},
        conversions={},
        classes=dict(zip(names, counts, strict=True)),
        passed=0,
        duplicates=len(copies),
        copies={f"image {copy}": f"image {earlier}" for copy, earlier in islice(copies.items(), SOME)},
        notes=(*data.notes, *test, _parts(len(data), held_out)),
        advice=tuple(_few(len(data), held_out)),
    )


def _counted(things: Iterable[tuple[str, int]]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for what, n in things:
        counts[what] += n
    return dict(counts.most_common())


def _frequent(counts: dict[str, int]) -> str:
    """The twelve first, on one line."""
    first = ", ".join(f"{shown(what)} ({count:,})" for what, count in islice(counts.items(), 12))
    return f"{first} and {len(counts) - 12:,} more" if len(counts) > 12 else first
