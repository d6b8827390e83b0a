"""Images in memory or memory-mapped: one uint8 tensor, optional labels, and parts that are rows of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Integral, Real
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from sparring.errors import ROWS, SparringError, abbreviated, printable, require_int
from sparring.seeds import make_generator
from sparring.typed import typed

BLOCK = 1 << 22
"""Elements hashed at a time: images that are not contiguous are copied."""

MIN_HELD_OUT = 50
"""FD is not computed against fewer held-out images."""


Modality = Literal["images", "molecules"]
"""What the pixels of a data set are: images, or molecular fingerprints (`sparring.data.molecules`)."""


@dataclass(frozen=True)
class Spec:
    """Shape of the data for networks: channels, height and width in pixels, classes (empty: unlabeled), modality."""

    channels: int
    height: int
    width: int
    classes: tuple[str, ...] = ()
    modality: Modality = "images"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        return (self.channels, self.height, self.width)

    @property
    def size(self) -> int:
        """Side of square images in pixels. Raises SparringError if they are not square."""
        if self.height != self.width:
            raise SparringError(f"the images are {self.height} x {self.width} pixels, and this needs square ones")
        return self.height


def held_out_of(images: int, part: float | str) -> int:
    """The number of held-out images; `part` is a share below 1, a number of images, or rows such as "50000:55000"."""
    if isinstance(part, str):
        return len(held_out_rows(images, part))
    return int(part) if isinstance(part, Integral) else round(images * float(part))


def held_out_rows(images: int, part: str) -> range:
    """The rows "START:END", END excluded. Raises SparringError unless they are a part of that many images."""
    start, _, end = part.partition(":")
    if not re.fullmatch(ROWS, part) or not int(start) < int(end) <= images:
        raise SparringError(
            f"cannot hold out rows {abbreviated(part)} of {images:,} images: give START:END, with END up to {images}"
        )
    return range(int(start), int(end))


@dataclass(frozen=True, eq=False)
class Factors:
    """The factors of variation of generated images, for metrics of disentanglement.

    names    of the K factors
    values   (M, K) int64: the value of each factor in each image, from 0
    ordered  (K) whether neighboring values are similar, as positions are and shapes are not
    """

    names: tuple[str, ...]
    values: Tensor
    ordered: tuple[bool, ...]

    def rows(self, index: Tensor | slice) -> Factors:
        """The factors of some of the images."""
        return replace(self, values=self.values[index])


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training images, and held-out images that training never sees.

    pixels    (N, C, H, W) uint8, in memory or memory-mapped: the images of the whole source, shared by its parts; for
              toy games (N, D) float points, which the feed does not rescale
    labels    (M,) int64 into `classes`, or None
    values    (M, K) float32 measurements of each image, or None; the feed returns them instead of labels
    factors   what each image was generated from (`Factors`), or None; training does not use them
    augment   augmentation by the feed: images (B, C, S, S) in [-1, 1] and (B, 3) from U(0, 1) -> images; or None
    held_out  images for evaluation (about 10 %, chosen by a fixed seed)
    test      the source's own test set, or None; used by the final evaluation only
    notes     sentences for the user about conversions and skipped files
    source    the arguments of `sparring.load` that reload this data set; None for arrays and for subsets
    modality  "images", or "molecules" for fingerprints: recipes are for one of them
    index     (M,) int64 rows of `pixels`: the images of this part; None: all
    paired    whether the images are pairs of two domains, as `sparring.load(..., pairs=...)` returns them: images 2i
              (label 0) and 2i + 1 (label 1) belong together, in each part
    """

    name: str
    pixels: Tensor
    labels: Tensor | None = None
    classes: tuple[str, ...] = ()
    held_out: Dataset | None = None
    test: Dataset | None = None
    notes: tuple[str, ...] = field(default=())
    values: Tensor | None = None
    augment: Callable[[Tensor, Tensor], Tensor] | None = None
    source: Mapping[str, Any] | None = None
    modality: Modality = "images"
    index: Tensor | None = None
    factors: Factors | None = None
    paired: bool = False

    def __post_init__(self) -> None:
        """Validate types, and that labels and values have one row per image. Raises SparringError."""
        images = self.pixels
        if not isinstance(self.name, str):
            raise SparringError(f"name is {abbreviated(self.name)}: it must be a string")
        if not isinstance(images, Tensor) or images.ndim < 1 or images.is_meta or images.layout != torch.strided:
            raise SparringError(
                f"images are {abbreviated(images)}: give a (N, C, S, S) uint8 tensor, as sparring.load returns"
            )
        self._require_rows()
        for what, texts in (("classes", self.classes), ("notes", self.notes)):
            if not isinstance(texts, tuple | list) or not all(isinstance(text, str) for text in texts):
                raise SparringError(f"{what} are {abbreviated(texts)}: give a tuple of strings")
        for what, part in (("held_out", self.held_out), ("test", self.test)):
            if part is not None and not isinstance(part, Dataset):
                raise SparringError(f"{what} is {abbreviated(part)}: give a Dataset, or None")
        if self.augment is not None and not callable(self.augment):
            raise SparringError(f"augment is {abbreviated(self.augment)}: give a function, or None")
        if self.source is not None and not isinstance(self.source, Mapping):
            raise SparringError(f"source is {abbreviated(self.source)}: give the arguments of sparring.load, or None")
        if not isinstance(self.modality, str) or self.modality not in get_args(Modality):
            raise SparringError(
                f"modality is {abbreviated(self.modality)}: it must be {' or '.join(get_args(Modality))}"
            )

    def _require_rows(self) -> None:
        """Raise SparringError unless `index` has rows, and labels and values have one row per image."""
        index = self.index
        if index is not None and (not isinstance(index, Tensor) or index.ndim != 1 or index.dtype != torch.int64):
            raise SparringError(f"index is {abbreviated(index)}: give the rows of the images, or None")
        if not isinstance(self.factors, Factors | None):
            raise SparringError(f"factors are {abbreviated(self.factors)}: give sparring.data.dataset.Factors, or None")
        factors = None if self.factors is None else self.factors.values
        for what, numbers in (("labels", self.labels), ("values", self.values), ("factors", factors)):
            if numbers is not None and (not isinstance(numbers, Tensor) or numbers.shape[:1] != (len(self),)):
                raise SparringError(f"{what} are {abbreviated(numbers)}: give a tensor with one row per image, or None")

    def __repr__(self) -> str:
        """One line."""
        shape = " x ".join(map(str, self.pixels.shape[1:]))
        parts = [f"{len(self):,} images of {shape}"]
        parts += [f"{len(self.classes):,} classes"] if self.classes else []
        parts += [f"{len(self.held_out):,} held out"] if self.held_out is not None else []
        parts += [f"{len(self.test):,} test images"] if self.test is not None else []
        return f"<Dataset '{printable(self.name)}': {', '.join(parts)}>"

    def __len__(self) -> int:
        """Number of images in this part."""
        return len(self.pixels if self.index is None else self.index)

    @property
    def images(self) -> Tensor:
        """(M, C, H, W) uint8: all images of this part, copied if it is not the whole source."""
        return self.pixels if self.index is None else self.pixels[self.index]

    def images_at(self, rows: Tensor | slice) -> Tensor:
        """Some images of this part; no others are read."""
        return self.pixels[rows if self.index is None else self.index[rows]]

    def blocks(self, images: int) -> Iterator[Tensor]:
        """All images of this part, at most `images` at a time."""
        return (self.images_at(slice(start, start + images)) for start in range(0, len(self), images))

    @property
    def spec(self) -> Spec:
        """The shape of one image, and the class names of labeled data."""
        channels, height, width = self.pixels.shape[1:]
        return Spec(channels, height, width, self.classes if self.labels is not None else (), self.modality)

    def require_images(self) -> None:
        """Raise SparringError unless all parts have square uint8 images of one shape, and valid labels."""
        for part in (self, self.held_out, self.test):
            if part is None:
                continue
            shape = (len(part), *part.pixels.shape[1:])
            kind = str(part.pixels.dtype).removeprefix("torch.")
            if part.pixels.dtype != torch.uint8 or len(shape) != 4 or shape[2] != shape[3] or not all(shape[1:]):
                raise SparringError(
                    f"'{printable(part.name)}' has images {shape} {kind}: give (N, C, S, S) uint8, as sparring.load "
                    "returns"
                )
            if shape[1:] != tuple(self.pixels.shape[1:]):
                raise SparringError(
                    f"the parts of '{printable(self.name)}' have images of different shapes: give all parts the same "
                    "shape"
                )
        self.require_labels()

    def require_labels(self) -> None:
        """Raise SparringError unless each image has a label in range(len(classes))."""
        for part in (self, self.held_out, self.test):
            labels = part.labels if part is not None else None
            if part is None or labels is None:
                continue
            if labels.shape != (len(part),) or labels.dtype != torch.int64:
                raise SparringError(
                    f"'{printable(part.name)}' has labels of shape {tuple(labels.shape)} and type {labels.dtype}; give "
                    f"{len(part)} int64, one per image"
                )
            if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(self.classes):
                raise SparringError(
                    f"'{printable(part.name)}' has labels from {int(labels.min())} to {int(labels.max())} and "
                    f"{len(self.classes)} classes; labels are indices into the classes"
                )

    @typed
    def rows(self, index: Tensor | slice) -> Dataset:
        """The subset with these rows, without held-out part and test set; images are not copied."""
        labels = None if self.labels is None else self.labels[index]
        values = None if self.values is None else self.values[index]
        factors = None if self.factors is None else self.factors.rows(index)
        rows = (torch.arange(len(self)) if self.index is None else self.index)[index]
        return replace(
            self,
            index=rows,
            labels=labels,
            values=values,
            factors=factors,
            held_out=None,
            test=None,
            notes=(),
            source=None,
            paired=False,
        )

    def pairs(self) -> Dataset:
        """Each pair as one image of 2C channels, those of domain 0 first: (M / 2, 2C, H, W); pixels are not copied.

        Raises SparringError unless the data are pairs.
        """
        index = torch.arange(len(self.pixels)) if self.index is None else self.index
        first, second = index[::2], index[1::2]
        if not self.paired or len(index) % 2 or (first % 2).any() or not torch.equal(first + 1, second):
            raise SparringError(
                f"'{printable(self.name)}' has no pairs of images: load it with pairs='names', 'halves' or 'edges'"
            )
        count, channels, height, width = self.pixels.shape
        return replace(
            self,
            pixels=self.pixels.view(count // 2, 2 * channels, height, width),
            index=first // 2,
            labels=None,
            classes=(),
            held_out=None if self.held_out is None else self.held_out.pairs(),
            test=None if self.test is None else self.test.pairs(),
            notes=(),
            source=None,
            paired=False,
        )

    @typed
    def of_class(self, label: int) -> Dataset:
        """The images of one class, in all three parts."""
        if self.labels is None:
            raise SparringError(f"'{printable(self.name)}' has no labels")
        held_out = None if self.held_out is None else self.held_out.of_class(label)
        test = None if self.test is None else self.test.of_class(label)
        return replace(self.rows((self.labels == label).nonzero().flatten()), held_out=held_out, test=test)

    @typed
    def labeled_subset(self, count: int, seed: int) -> Dataset:
        """A class-balanced subset of `count` images, chosen by the seed.

        Raises SparringError for unlabeled data, for fewer labels than classes, and if a class has too few images.
        """
        return self.rows(self._balanced_rows(count, seed))

    def _balanced_rows(self, count: int, seed: int) -> Tensor:
        if self.labels is None or not self.classes:
            raise SparringError(f"'{printable(self.name)}' has no labels")
        if require_int("number of labels", count) < len(self.classes):
            raise SparringError(
                f"{count} labels are fewer than the {len(self.classes)} classes of '{printable(self.name)}'"
            )
        per_class = count // len(self.classes)
        order = torch.randperm(len(self), generator=make_generator(seed, "few labels"))
        rows = []
        for y, name in enumerate(self.classes):
            of_class = order[self.labels[order] == y]
            if len(of_class) < per_class:
                raise SparringError(
                    f"{per_class} labeled images per class are needed, and class '{name}' has {len(of_class)}"
                )
            rows.append(of_class[:per_class])
        return torch.cat(rows)

    @typed
    def mask_labels(self, count: int, seed: int) -> Dataset:
        """All images; outside of a class-balanced subset of `count`, labels become `len(classes)`, "unknown".

        Raises SparringError as `labeled_subset` does.
        """
        labeled = self._balanced_rows(count, seed)
        assert self.labels is not None
        labels = torch.full_like(self.labels, len(self.classes))
        labels[labeled] = self.labels[labeled]
        return replace(self, labels=labels, held_out=None, test=None, notes=(), source=None)

    @typed
    def repeated(self, at_least: int) -> Dataset:
        """The images repeated until there are at least that many, so that a batch may be larger than the data set."""
        require_int("at_least", at_least, most=1 << 24)
        if not len(self):
            raise SparringError(f"'{printable(self.name)}' has no images to repeat")
        return self.rows(torch.arange(len(self)).repeat(-(-at_least // len(self))))

    def hold_out(self, part: float | str) -> Dataset:
        """Move a share of the images (below 1), a number of them, or the rows "START:END" into `held_out`.

        A share or a number is chosen at random, independent of the run's seed. Raises SparringError for other shares
        and for more images than there are.
        """
        if isinstance(part, str):
            rows = torch.zeros(len(self), dtype=torch.bool)
            chosen = held_out_rows(len(self), part)
            rows[chosen.start : chosen.stop] = True
            return self._divided((~rows).nonzero().flatten(), rows.nonzero().flatten())
        most = len(self) + 1 if isinstance(part, Integral) else 1
        if not isinstance(part, Real) or isinstance(part, bool) or not 0 <= part < most:
            raise SparringError(
                f"cannot hold out {abbreviated(part)} of {len(self):,} images: give a share or a number"
            )
        order = torch.randperm(len(self), generator=make_generator("held-out"))
        n_train = len(self) - held_out_of(len(self), part)
        return self._divided(order[:n_train].sort().values, order[n_train:].sort().values)

    def _divided(self, train: Tensor, held_out: Tensor) -> Dataset:
        return replace(self.rows(train), held_out=self.rows(held_out), test=self.test, notes=self.notes)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of pixels, labels, values and class names of all parts, and of the split."""
        shape = tuple(self.pixels.shape[1:])
        digest = hashlib.sha256(repr((shape, self.classes, self.pixel_digest)).encode(errors="surrogatepass"))
        parts = [part for part in (self, self.held_out) if part is not None]
        for part, places in zip(parts, self._stored[1], strict=True):
            for numbers in (places, part.labels, part.values):
                digest.update(b"none" if numbers is None else repr(tuple(numbers.shape)).encode())
                digest.update(b"" if numbers is None else _bytes(numbers))
        if self.test is not None:
            digest.update(self.test.fingerprint.encode())
        return digest.hexdigest()

    @cached_property
    def pixel_digest(self) -> str:
        """SHA-256 of the pixels of training and held-out images, in the order of the source."""
        digest = hashlib.sha256()
        for pixels, rows in self._stored[0]:
            size = max(1, BLOCK // max(1, pixels[:1].numel()))
            for start in range(0, len(rows), size):
                digest.update(_bytes(pixels[rows[start : start + size]]))
        return digest.hexdigest()

    @cached_property
    def _stored(self) -> tuple[list[tuple[Tensor, Tensor]], list[Tensor]]:
        """Pixels and their rows that the parts use, and the places of the images of each part among these rows."""
        parts = [part for part in (self, self.held_out) if part is not None]
        rows = [torch.arange(len(part)) if part.index is None else part.index for part in parts]
        if all(part.pixels is self.pixels for part in parts):
            used, places = torch.unique(torch.cat(rows), return_inverse=True)
            return [(self.pixels, used)], [*places.split([len(part) for part in rows])]
        return [(part.pixels, part_rows) for part, part_rows in zip(parts, rows, strict=True)], [
            torch.arange(len(part)) for part in rows
        ]


def _bytes(numbers: Tensor) -> memoryview:
    """The bytes of a tensor, copied only if it is not contiguous."""
    return numbers.contiguous().cpu().numpy().data.cast("B") if numbers.numel() else memoryview(b"")
