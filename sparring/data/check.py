"""A look at data before training: what is there, what will be done to it, what is wrong with it, what to do."""

from __future__ import annotations

import io
import shlex
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

from sparring.data import molecules
from sparring.data.dataset import Dataset
from sparring.data.decoded import FALLBACK_SIZE, MOST_BAD, in_parallel, natural_channels
from sparring.data.listing import Listing, list_images, shown
from sparring.data.named import NAMED, celeba_folder
from sparring.data.pixels import MAX_SIZE, BadImage, Header, decode, inspect, open_image
from sparring.data.sources import cache_folder, existing, load, search_roots

DECODE_ALL = 20_000  # above this, headers of all files and pixels of a sample of this many
FEW = 1_000
DIGEST = 16
"""Bytes of a file's fingerprint."""

USUAL_SIZES = (32, 64, 128, 256)


@dataclass(frozen=True)
class CheckReport:
    """What `check` found. `print` shows it as text; a rich console shows it in colour.

    images       image files, good and bad
    decoded      those of which the pixels were read too
    bad          {name: reason}
    sizes, formats, modes, conversions, classes   {what: number of images}, the most frequent first
    duplicates   files (or images of an array) that are byte for byte equal to an earlier one
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
    duplicates: int
    notes: tuple[str, ...]
    advice: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether `load` accepts it: at most 1 % bad files, and at least two good ones."""
        return len(self.bad) <= MOST_BAD * self.images and self.images - len(self.bad) >= 2

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
        table.add_row("duplicates", f"{self.duplicates:,}")
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
        parts.append("[green]ready to train on[/]" if self.ok else "[red]not ready to train on[/]")
        return Group(*parts)

    def __str__(self) -> str:
        text = io.StringIO()
        Console(file=text, width=100).print(self, soft_wrap=True)  # so that a command can be copied
        return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def check(
    source: str | Path | np.ndarray | Tensor, *, root: str | Path | None = None, cache: str | Path | None = None
) -> CheckReport:
    """Look at a source as `load` would take it, without stopping at bad files.

    Of a folder or zip all headers are read, and the pixels too (of 20,000 files at most). Raises `SparringError` where
    there is nothing to look at: an unknown name, no images, a damaged IDX or npz file.
    """
    if isinstance(source, str) and source == "celeba":
        folder = cache_folder(cache)
        return _check_files(list_images(celeba_folder(search_roots(root, folder), folder)))
    if isinstance(source, str | Path) and source not in (*NAMED, "nci"):
        path = existing(source)
        if path.suffix not in (".npy", ".npz", *molecules.SUFFIXES):
            return _check_files(list_images(path))
    return _check_dataset(load(source, root=root, held_out=0, cache=cache))


def _check_files(listing: Listing) -> CheckReport:
    """Of each file 16 bytes are kept at most, and of each bad one the reason: there may be millions."""
    step = -(-len(listing.names) // DECODE_ALL)
    sample = set(listing.names[::step])
    alike = Counter(listing.sizes)  # only files of equal length can be equal
    headers: Counter[Header] = Counter()
    bad: dict[str, str] = {}
    digests, decoded = bytearray(), 0

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

        for name, result in in_parallel(look, listing.names, "checking images"):
            if isinstance(result, BadImage):
                bad[name] = str(result)
                continue
            headers[result[0]] += 1
            digests += result[1]
            decoded += name in sample

    copies = len(digests) // DIGEST - len(np.unique(np.frombuffer(digests, f"V{DIGEST}")))
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
        duplicates=copies,
        notes=listing.notes,
        advice=tuple(_advice(listing, headers, len(bad), copies, classes)),
    )


def _advice(listing: Listing, headers: Counter[Header], bad: int, copies: int, classes: Counter[str]) -> Iterator[str]:
    good = headers.total()
    if bad:
        share = bad / len(listing.names)
        limit = f"more than {MOST_BAD:.0%} stop the training" if share > MOST_BAD else "they would be skipped"
        yield f"repair or take away the {bad:,} bad files ({share:.1%}): {limit}"
    if good < 2:
        yield "add images: at least 2 good ones are needed"
        return
    if copies:
        yield "take away the copies: a held-out image that was also trained on makes a measurement too good"
    if classes and min(classes.values()) * 10 < max(classes.values()):
        rarest = min(classes, key=lambda name: classes[name])
        yield f"the classes are uneven: from {classes[rarest]:,} images ({shown(rarest)}) to {max(classes.values()):,}"
    if good < FEW:
        yield f"{good:,} images are few: expect copies of them unless the recipe augments them"
    sides = np.sort(np.repeat([min(header.width, header.height) for header in headers], [*headers.values()]))
    smallest, middle = int(sides[0]), int(sides[good // 2])
    same = smallest == sides[-1] and all(header.width == header.height for header in headers)
    size = (
        smallest
        if same and smallest <= MAX_SIZE
        else max(side for side in USUAL_SIZES if side <= max(middle, USUAL_SIZES[0]))
    )
    if smallest < size:
        yield f"{int((sides < size).sum()):,} images are smaller than {size} x {size} and would be enlarged"
    if not same:
        yield "images are cropped to their centre square: crop them yourself where the middle is not what matters"
    path = shlex.quote(shown(str(listing.source)))
    yield f"sparring train RECIPE --data {path} --size {size} --channels {natural_channels(listing)}"


def _check_dataset(data: Dataset) -> CheckReport:
    images = data.images.contiguous().numpy()
    copies = Counter(blake2b(image.tobytes(), digest_size=DIGEST).digest() for image in images)
    kind = "grey" if data.spec.channels == 1 else "RGB"
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
        duplicates=sum(count - 1 for count in copies.values()),
        notes=(*data.notes, *test),
        advice=(),
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
