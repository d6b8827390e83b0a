"""A set of images in memory (or memory-mapped): one uint8 tensor, perhaps labels, and a held-out part."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

from sparring.errors import SparringError, abbreviated, require_int, shown
from sparring.seeds import make_generator
from sparring.typed import typed

BLOCK = 1 << 22
"""Numbers whose bytes are looked at in one go: images in another order in memory are copied."""

MIN_HELD_OUT = 50
"""With fewer held-out images an FD says nothing."""


@dataclass(frozen=True)
class Spec:
    """What a network must know about the data: channels, side in pixels, names of the classes (none: unlabeled)."""

    channels: int
    size: int
    classes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        return (self.channels, self.size, self.size)


def held_out_of(images: int, part: float) -> int:
    """How many of so many images are held out: a share below 1 of them, or a whole number of them."""
    return int(part) if isinstance(part, Integral) else round(images * float(part))


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images to learn from, and images that training never sees.

    images    (M, C, S, S) uint8; of toys: points (M, D), floats that the feed gives as they are
    labels    (M,) int64 into `classes`, or None
    values    (M, K) float32 numbers measured for each image, or None; the feed gives them in the place of labels
    augment   what the feed does to a batch: images (B, C, S, S) in [-1, 1] and (B, 3) from U(0, 1) -> images; or None
    held_out  the part kept for measuring (about 10 %, chosen by a fixed seed)
    test      the source's own test set where there is one; only the final measurement looks at it
    notes     sentences for the user about what was done on the way in
    source    the arguments of `sparring.load` that give the same again, or None: of arrays, and of any part
    """

    name: str
    images: Tensor
    labels: Tensor | None = None
    classes: tuple[str, ...] = ()
    held_out: Dataset | None = None
    test: Dataset | None = None
    notes: tuple[str, ...] = field(default=())
    values: Tensor | None = None
    augment: Callable[[Tensor, Tensor], Tensor] | None = None
    source: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        """Raises SparringError unless everything is of its type, and there are labels and values for all images."""
        images = self.images
        if not isinstance(self.name, str):
            raise SparringError(f"name is {abbreviated(self.name)}: it must be a text")
        if not isinstance(images, Tensor) or images.ndim < 1 or images.is_meta or images.layout != torch.strided:
            raise SparringError(
                f"images are {abbreviated(images)}: give a tensor (N, C, S, S) uint8, as sparring.load makes"
            )
        for what, numbers in (("labels", self.labels), ("values", self.values)):
            if numbers is not None and (not isinstance(numbers, Tensor) or numbers.shape[:1] != images.shape[:1]):
                raise SparringError(
                    f"{what} are {abbreviated(numbers)}: give a tensor with a row for each image, or None"
                )
        for what, texts in (("classes", self.classes), ("notes", self.notes)):
            if not isinstance(texts, tuple | list) or not all(isinstance(text, str) for text in texts):
                raise SparringError(f"{what} are {abbreviated(texts)}: give a tuple of texts")
        for what, part in (("held_out", self.held_out), ("test", self.test)):
            if part is not None and not isinstance(part, Dataset):
                raise SparringError(f"{what} is {abbreviated(part)}: give a Dataset, or None")
        if self.augment is not None and not callable(self.augment):
            raise SparringError(f"augment is {abbreviated(self.augment)}: give a function, or None")
        if self.source is not None and not isinstance(self.source, Mapping):
            raise SparringError(f"source is {abbreviated(self.source)}: give the arguments of sparring.load, or None")

    def __repr__(self) -> str:
        """One line, without pixels."""
        shape = " x ".join(map(str, self.images.shape[1:]))
        parts = [f"{len(self):,} images of {shape}"]
        parts += [f"{len(self.classes):,} classes"] if self.classes else []
        parts += [f"{len(self.held_out):,} held out"] if self.held_out is not None else []
        parts += [f"{len(self.test):,} of a test set"] if self.test is not None else []
        return f"<Dataset '{shown(self.name)}': {', '.join(parts)}>"

    def __len__(self) -> int:
        return len(self.images)

    @property
    def spec(self) -> Spec:
        return Spec(self.images.shape[1], self.images.shape[2], self.classes if self.labels is not None else ())

    def require_images(self) -> None:
        """Raise SparringError unless all parts hold square images of one shape, and labels as `require_labels` says."""
        for part in (self, self.held_out, self.test):
            if part is None:
                continue
            shape, kind = tuple(part.images.shape), str(part.images.dtype).removeprefix("torch.")
            if part.images.dtype != torch.uint8 or len(shape) != 4 or shape[2] != shape[3] or not all(shape[1:]):
                raise SparringError(
                    f"'{shown(part.name)}' has images {shape} {kind}: give (N, C, S, S) uint8, as sparring.load makes"
                )
            if shape[1:] != self.images.shape[1:]:
                raise SparringError(f"the parts of '{shown(self.name)}' have images of several shapes: give them one")
        self.require_labels()

    def require_labels(self) -> None:
        """Raise SparringError unless each image has a label, and `classes` a name for each label."""
        for part in (self, self.held_out, self.test):
            labels = part.labels if part is not None else None
            if part is None or labels is None:
                continue
            if labels.shape != (len(part),) or labels.dtype != torch.int64:
                raise SparringError(
                    f"'{shown(part.name)}' has labels of shape {tuple(labels.shape)} and type {labels.dtype}; give "
                    f"{len(part)} int64, one for each image"
                )
            if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(self.classes):
                raise SparringError(
                    f"'{shown(part.name)}' has labels from {int(labels.min())} to {int(labels.max())} and "
                    f"{len(self.classes)} classes; labels count the classes from 0"
                )

    @typed
    def rows(self, index: Tensor | slice) -> Dataset:
        """The images (and labels and values) of these rows, without held-out part; of a slice, without a copy."""
        labels = None if self.labels is None else self.labels[index]
        values = None if self.values is None else self.values[index]
        images = self.images[index]
        return replace(
            self, images=images, labels=labels, values=values, held_out=None, test=None, notes=(), source=None
        )

    @typed
    def of_class(self, label: int) -> Dataset:
        """The images of one class, training, held-out and test ones; without a copy where they lie together."""
        if self.labels is None:
            raise SparringError(f"'{shown(self.name)}' has no labels")
        rows = (self.labels == label).nonzero().flatten()
        together = len(rows) > 0 and int(rows[-1] - rows[0]) + 1 == len(rows)
        part = self.rows(slice(int(rows[0]), int(rows[-1]) + 1) if together else rows)
        held_out, test = (other and other.of_class(label) for other in (self.held_out, self.test))
        return replace(part, held_out=held_out, test=test)

    @typed
    def labeled_subset(self, count: int, seed: int) -> Dataset:
        """`count` images, as many of each class, chosen by the seed.

        Raises SparringError for unlabeled data, for fewer labels than classes, and when a class has too few images.
        """
        return self.rows(self._of_each_class(count, seed))

    def _of_each_class(self, count: int, seed: int) -> Tensor:
        if self.labels is None or not self.classes:
            raise SparringError(f"'{shown(self.name)}' has no labels")
        if require_int("labels asked for", count) < len(self.classes):
            raise SparringError(
                f"{count} labels are fewer than the {len(self.classes)} classes of '{shown(self.name)}'"
            )
        each = count // len(self.classes)
        order = torch.randperm(len(self), generator=make_generator(seed, "few labels"))
        chosen = []
        for y, name in enumerate(self.classes):
            of_class = order[self.labels[order] == y]
            if len(of_class) < each:
                raise SparringError(
                    f"{each} labeled images of each class asked for; class '{name}' has {len(of_class)}"
                )
            chosen.append(of_class[:each])
        return torch.cat(chosen)

    @typed
    def mask_labels(self, count: int, seed: int) -> Dataset:
        """All images; the label of all but `count` (as many of each class, chosen by the seed) becomes "not known".

        That is one more than the classes have. Raises SparringError as `labeled_subset` does.
        """
        told = self._of_each_class(count, seed)
        assert self.labels is not None
        labels = torch.full_like(self.labels, len(self.classes))
        labels[told] = self.labels[told]
        return replace(self, labels=labels, held_out=None, test=None, notes=(), source=None)

    @typed
    def repeated(self, at_least: int) -> Dataset:
        """The same images over and over, so that there are at least that many: a batch may exceed a handful."""
        require_int("at_least", at_least, most=1 << 24)
        if not len(self):
            raise SparringError(f"'{shown(self.name)}' has no images to repeat")
        return self.rows(torch.arange(len(self)).repeat(-(-at_least // len(self))))

    def hold_out(self, part: float) -> Dataset:
        """Move a share of the images (below 1), or a number of them, into `held_out`; the same ones every time,
        whatever the run's seed. Raises SparringError for other shares, and for more images than there are.
        """
        most = len(self) + 1 if isinstance(part, Integral) else 1
        if not isinstance(part, Real) or isinstance(part, bool) or not 0 <= part < most:
            raise SparringError(
                f"cannot hold out {abbreviated(part)} of {len(self):,} images: give a share or a number"
            )
        order = torch.randperm(len(self), generator=make_generator("held-out"))
        kept = len(self) - held_out_of(len(self), part)
        train, rest = order[:kept].sort().values, order[kept:].sort().values
        return replace(self.rows(train), held_out=self.rows(rest), test=self.test, notes=self.notes)

    @typed
    def hold_out_last(self, number: int) -> Dataset:
        """Move the last `number` images into `held_out`, without a copy."""
        require_int("number", number, least=0, most=len(self))
        train, rest = self.rows(slice(0, len(self) - number)), self.rows(slice(len(self) - number, None))
        return replace(train, held_out=rest, test=self.test, notes=self.notes)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of everything in it: pixels, labels, values and names of classes of all its parts."""
        shapes = [part and tuple(part.images.shape) for part in (self, self.held_out)]
        found = hashlib.sha256(repr((shapes, self.classes, self.pixels)).encode(errors="surrogatepass"))
        for part in (self, self.held_out):
            for numbers in (part.labels, part.values) if part else ():
                found.update(b"none" if numbers is None else _bytes(numbers))
        if self.test is not None:
            found.update(self.test.fingerprint.encode())
        return found.hexdigest()

    @cached_property
    def pixels(self) -> str:
        """SHA-256 of the pixels, the held-out ones behind the others."""
        found = hashlib.sha256()
        for part in (self, self.held_out):
            if part is not None and part.images.numel():
                for some in part.images.split(max(1, BLOCK // part.images[0].numel())):
                    found.update(_bytes(some))
        return found.hexdigest()


def _bytes(numbers: Tensor) -> memoryview:
    """The bytes of a tensor, without a copy where they lie together."""
    return numbers.contiguous().cpu().numpy().data.cast("B") if numbers.numel() else memoryview(b"")
