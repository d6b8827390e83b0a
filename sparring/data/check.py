"""Check data before training: report contents, conversions, bad files and advice."""

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

from sparring.data.builtin import IMAGE_FILES
from sparring.data.dataset import MIN_HELD_OUT, Dataset, held_out_of
from sparring.data.decode import (
    FALLBACK_SIZE,
    MAX_BAD_FRACTION,
    SetScale,
    in_parallel,
    natural_channels,
    natural_size,
)
from sparring.data.file_index import FileIndex
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
from sparring.data.pixels import MAX_SIZE, BadImage, Header, decode_image, inspect, open_image, require_shape
from sparring.data.scan import scan
from sparring.errors import plural, printable, require_int

DECODE_ALL = 20_000  # of larger sets, all headers and the pixels of a sample of this size
SMALL_SET = 1_000
HELD_OUT = 0.1
"""Default share of held-out images, as in `load`."""

MAX_SKIPPED = 0.05
"""Above this share of skipped images the verdict is yellow."""

MAX_COPIES = 5  # duplicates listed by name
DIGEST = 16
"""Bytes of a file's hash."""

USUAL_SIZES = (32, 64, 128, 256)
USUAL_BATCH = 64


@dataclass(frozen=True)
class CheckReport:
    """The result of `check`. `print` writes plain text; a rich console adds color.

    images       image files, good and bad
    decoded      image files whose pixels were decoded as well
    bad          {name: reason}
    sizes, formats, modes, conversions, classes   {what: number of images}, the most frequent first
    skipped      images in the source that would not be used for training; the notes give the reasons
    duplicates   files (or images of an array) that are byte-identical to an earlier one
    copies       {duplicate: earlier file} of the first few
    notes        skipped files, one sentence each
    advice       what to do, one sentence each
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
    skipped: int
    duplicates: int
    copies: dict[str, str]
    notes: tuple[str, ...]
    advice: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether `load` accepts the source: at most 1 % bad files and at least two good ones."""
        return len(self.bad) <= MAX_BAD_FRACTION * self.images and self.images - len(self.bad) >= 2

    def __rich__(self) -> RenderableType:
        """A table, the notes, the verdict and the advice."""
        table = Table(
            title=f"{escape(printable(self.source))}: {self.images:,} images", title_justify="left", show_header=False
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
        copies = ", ".join(f"{printable(copy)} = {printable(earlier)}" for copy, earlier in self.copies.items())
        more = ", ..." if self.duplicates > len(self.copies) else ""
        table.add_row("duplicates", escape(f"{self.duplicates:,}" + (f" ({copies}{more})" if copies else "")))
        table.add_row("bad files", f"[red]{len(self.bad):,}[/]" if self.bad else "none")
        if self.decoded < self.images - len(self.bad):
            table.add_row("pixels read", f"of {self.decoded:,} images; headers of all")
        parts: list[RenderableType] = [table]
        if self.bad:
            reasons = Table("bad file", "reason", title_justify="left")
            for name, reason in list(self.bad.items())[:20]:
                reasons.add_row(escape(printable(name)), escape(reason))
            if len(self.bad) > 20:
                reasons.add_row(f"and {len(self.bad) - 20:,} more", "")
            parts.append(reasons)
        parts += [f"note: {escape(note)}" for note in self.notes]
        parts += [f"[bold]to do:[/] {escape(line)}" for line in self.advice]
        parts.append(self._verdict())
        return Group(*parts)

    def __repr__(self) -> str:
        """One line."""
        return f"<CheckReport of '{printable(self.source)}': {self.images:,} images, {len(self.bad):,} bad>"

    def _repr_html_(self) -> str:
        """The same text, for notebooks."""
        return f"<pre>{html.escape(str(self))}</pre>"

    def _verdict(self) -> str:
        if not self.ok:
            return "[red]not ready to train on[/]"
        if not self.skipped:
            return "[green]ready to train on[/]"
        good, total = self.images - len(self.bad), self.images + self.skipped
        color = "yellow" if self.skipped > MAX_SKIPPED * total else "green"
        share = f"{self.skipped / total:.0%}" if self.skipped >= total / 100 else "less than 1%"
        return f"[{color}]ready to train on {good:,} of {total:,} images: {self.skipped:,} ({share}) are skipped[/]"

    def __str__(self) -> str:
        """The same as plain text."""
        text = io.StringIO()
        Console(file=text, width=100).print(self, soft_wrap=True)  # keeps commands on one line for copying
        return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def check(
    source: str | Path | np.ndarray | Tensor,
    *,
    labels_from: str | Path | None = None,
    root: str | Path | None = None,
    held_out: float | str = HELD_OUT,
    cache: str | Path | None = None,
) -> CheckReport:
    """Inspect a source without stopping at bad files. The arguments are those of `load`.

    For folders and archives, all headers are read and up to 20,000 images are decoded. Raises `SparringError` if there
    is nothing to inspect: an unknown name, no images, a damaged IDX or npz file.
    """
    require_held_out(held_out)
    require_texts(root=root, cache=cache, labels_from=labels_from)
    path = files_of(source, root, cache)
    if path is None:
        return _check_dataset(load(source, root=root, held_out=0, cache=cache, labels_from=labels_from), held_out)
    flags = f" --labels-from {shlex.quote(printable(str(labels_from)))}" if labels_from is not None else ""
    flags += f" --held-out {held_out}" if held_out != HELD_OUT else ""
    return _check_files(scan(path, labels_from=labels_place(labels_from)), held_out, flags)


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
    """Load up to `count` evenly spaced images as training would. The other arguments are those of `load`."""
    require_int("count", count)
    require_shape(size, channels)
    require_texts(root=root, cache=cache, labels_from=labels_from)
    path = files_of(source, root, cache)
    if path is None:
        data = load(source, size=size, channels=channels, root=root, held_out=0, cache=cache, labels_from=labels_from)
        count = min(count, len(data))
        return data.rows(torch.arange(count) * len(data) // count)
    labels = labels_place(labels_from)
    index = scan(path, labels_from=labels)
    side = size or natural_size(index) or FALLBACK_SIZE
    side = side if side <= MAX_SIZE else FALLBACK_SIZE
    channels = channels or natural_channels(index)
    data, _ = load_images(path, size=side, channels=channels, most=count, labels_from=labels)
    return data


def files_of(source: object, root: str | Path | None, cache: str | Path | None) -> Path | None:
    """The folder or archive of image files that `load` would read; None for other kinds of sources."""
    if isinstance(source, str) and source in IMAGE_FILES:
        folder = cache_folder(cache)
        return IMAGE_FILES[source](search_roots(root, folder), folder)
    if isinstance(source, str | Path) and source not in NAMES and not is_table(path := resolve_path(source)):
        return path
    return None


def _check_files(index: FileIndex, held_out: float | str, flags: str) -> CheckReport:
    """Check image files. `flags` are the options to repeat in the suggested training command.

    Keeps at most 16 bytes per file, and the reason for each bad one, so that millions of files fit into memory.
    """
    step = -(-len(index) // DECODE_ALL)
    sizes, counts = np.unique(index.sizes, return_counts=True)
    unique = sizes[counts == 1]  # only files of equal size can be duplicates
    headers: Counter[Header] = Counter()
    bad: dict[int, str] = {}
    digests, digested, decoded = bytearray(), array("q"), 0

    with index.opener() as open_file:

        def inspect_file(number: int) -> tuple[Header, bytes]:
            source = open_file(number)
            with open_image(source) as image:
                header = inspect(image)
                if number % step == 0:
                    decode_image(image, size=FALLBACK_SIZE, channels=3)
                if is_unique[number]:
                    return header, b""
                content = source.read_bytes() if isinstance(source, Path) else source.getvalue()
                return header, blake2b(content, digest_size=DIGEST).digest()

        is_unique = np.isin(index.sizes, unique)
        for number, result in in_parallel(inspect_file, range(len(index)), "checking images"):
            if isinstance(result, BadImage):
                bad[number] = str(result)
                continue
            headers[result[0]] += 1
            digests += result[1]
            digested.extend([number] if result[1] else [])
            decoded += number % step == 0

    copies = _copies(np.frombuffer(digests, f"V{DIGEST}"))
    rows = {digested[copy]: digested[earlier] for copy, earlier in islice(copies.items(), MAX_COPIES)}
    scaled = SetScale(index).notes() if any(header.values for header in headers) else []
    of_classes = np.bincount(index.labels, minlength=len(index.classes)).tolist() if index.labels is not None else []
    classes = Counter(dict(zip(index.classes, of_classes, strict=True)))
    return CheckReport(
        source=str(index.source),
        images=len(index),
        decoded=decoded,
        bad=index.by_name(bad),
        sizes=_counted((f"{header.width} x {header.height}", n) for header, n in headers.items()),
        formats=_counted((header.format, n) for header, n in headers.items()),
        modes=_counted((header.mode, n) for header, n in headers.items()),
        conversions=_counted((kind, n) for header, n in headers.items() for kind in header.conversions),
        classes={name: classes[name] for name in index.classes},
        skipped=index.skipped,
        duplicates=len(copies),
        copies={index.name(copy): index.name(earlier) for copy, earlier in rows.items()},
        notes=(*index.notes, *scaled, _split_note(headers.total(), held_out)),
        advice=tuple(_advice(index, headers, len(bad), len(copies), classes, held_out, flags)),
    )


def _copies(digests: np.ndarray) -> dict[int, int]:
    """{row: earlier row} of every digest that occurred before."""
    _, first, inverse = np.unique(digests, return_index=True, return_inverse=True)
    earlier = first[inverse]
    return {int(row): int(earlier[row]) for row in np.flatnonzero(earlier != np.arange(len(digests)))}


def _split_note(images: int, held_out: float | str) -> str:
    number = held_out_of(images, held_out)
    return f"{images - number:,} images to train on, {number:,} held out for evaluation (--held-out {held_out})"


def _advice(
    index: FileIndex,
    headers: Counter[Header],
    bad: int,
    copies: int,
    classes: Counter[str],
    held_out: float | str,
    flags: str,
) -> Iterator[str]:
    good = headers.total()
    if bad:
        share = bad / len(index)
        limit = (
            f"more than {MAX_BAD_FRACTION:.0%} stop the training"
            if share > MAX_BAD_FRACTION
            else "they would be skipped"
        )
        yield f"repair or remove the {bad:,} bad files ({share:.1%}): {limit}"
    if good < 2:
        yield "add images: at least 2 good ones are needed"
        return
    if copies:
        yield "remove the duplicates: held-out images that are also in the training set make metrics too good"
    if classes and min(classes.values()) * 10 < max(classes.values()):
        rarest = min(classes, key=lambda name: classes[name])
        largest = max(classes.values())
        fewest = plural(classes[rarest], "image")
        yield f"the classes are imbalanced: from {fewest} ({printable(rarest)}) to {largest:,}"
    yield from _small_set_advice(good, held_out)
    sides = np.sort(np.repeat([min(header.width, header.height) for header in headers], [*headers.values()]))
    smallest, median = int(sides[0]), int(sides[good // 2])
    same = smallest == sides[-1] and all(header.width == header.height for header in headers)
    size = (
        smallest
        if same and smallest <= MAX_SIZE
        else max(side for side in USUAL_SIZES if side <= max(median, USUAL_SIZES[0]))
    )
    if smallest < size:
        by_two = f", {n:,} of them by more than a factor of 2" if (n := int((2 * sides < size).sum())) else ""
        small = int((sides < size).sum())
        images = f"{plural(small, 'image')} {'is' if small == 1 else 'are'}"
        yield f"{images} smaller than {size} x {size} and would be upscaled{by_two}"
    if not same:
        yield "images are cropped to their center square: crop them yourself if the subject is off-center"
    path = shlex.quote(printable(str(index.source)))
    yield f"sparring train RECIPE --data {path} --size {size} --channels {natural_channels(index)}{flags}"


def _small_set_advice(good: int, held_out: float | str) -> Iterator[str]:
    """Advice for small data sets."""
    number = held_out_of(good, held_out)
    if number < MIN_HELD_OUT and good >= 2 * MIN_HELD_OUT:
        yield (
            f"FD needs at least {MIN_HELD_OUT} held-out images, and {number:,} would be held out: "
            f"train with --held-out {MIN_HELD_OUT}"
        )
    if good < USUAL_BATCH:
        yield f"{good:,} images are fewer than one batch of most recipes: use --batch {max(2, good // 2)} or so"
    if good < SMALL_SET:
        yield f"{good:,} images are few: expect memorization unless the recipe augments them"


def _check_dataset(data: Dataset, held_out: float | str) -> CheckReport:
    images = data.images.contiguous().numpy()
    digests = b"".join(blake2b(image.tobytes(), digest_size=DIGEST).digest() for image in images)
    copies = _copies(np.frombuffer(digests, f"V{DIGEST}"))
    kind = "gray" if data.spec.channels == 1 else "RGB"
    names = data.spec.classes
    counts = [] if data.labels is None else torch.bincount(data.labels, minlength=len(names)).tolist()
    test = () if data.test is None else (f"{len(data.test):,} more images in the source's own test set",)
    return CheckReport(
        source=data.name,
        images=len(data),
        decoded=len(data),
        bad={},
        sizes={f"{data.spec.width} x {data.spec.height}": len(data)},
        formats={},
        modes={f"8-bit {kind}": len(data)},
        conversions={},
        classes=dict(zip(names, counts, strict=True)),
        skipped=0,
        duplicates=len(copies),
        copies={f"image {copy}": f"image {earlier}" for copy, earlier in islice(copies.items(), MAX_COPIES)},
        notes=(*data.notes, *test, _split_note(len(data), held_out)),
        advice=tuple(_small_set_advice(len(data), held_out)),
    )


def _counted(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for key, n in pairs:
        counts[key] += n
    return dict(counts.most_common())


def _frequent(counts: dict[str, int]) -> str:
    """The first twelve entries, on one line."""
    first = ", ".join(f"{printable(key)} ({count:,})" for key, count in islice(counts.items(), 12))
    return f"{first} and {len(counts) - 12:,} more" if len(counts) > 12 else first
