"""What is evaluated and against what: the input of every metric, each part computed once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparring.data.dataset import Dataset
from sparring.evaluation.features import Features, describe, subset
from sparring.evaluation.memorization import Memorization, memorization
from sparring.evaluation.panel import FLOORS, Panel, floor_rows
from sparring.evaluation.reconstruction import kl_and_means, reconstruct_all
from sparring.evaluation.splits import (
    HELD_OUT_B,
    PixelRange,
    choose_extractor,
    classifier_check_images,
    pixels_of,
    range_of,
    split_of,
)
from sparring.metrics.data_driven import FITTED_ON, pixels_pca64
from sparring.metrics.extractors import SHIPPED, Extractor, accuracy_on, knows
from sparring.metrics.extractors import extractor as shipped
from sparring.seeds import derive_seed


class Recognized(NamedTuple):
    """The classes of the data if the extractor recognizes real images, else (); and a note with the reason."""

    classes: tuple[str, ...]
    note: str


class Samples(NamedTuple):
    """The samples and the real images they are compared with.

    sets      of samples, one for each repeat
    panel     the reference and what was fitted to other real images
    floors    sets of training images that take the place of samples
    training  training images to search for copies, of which the floors are subsets
    range     of the pixels of the samples and of the reference
    """

    sets: list[Features]
    panel: Panel
    floors: list[Features]
    training: Features
    range: PixelRange


@dataclass(frozen=True, kw_only=True)
class Context:
    """The input of an evaluation.

    system     a `System`, any object with capabilities, or `Images`
    data       training images and their held-out images
    split      of the reference images
    reference  the real images that everything is compared with
    others     training images: for the floors, and to search for copies
    n          requested number of images per repeat; the reference may have fewer
    repeats    number of sets of samples
    seed       of the samples
    chosen     the extractor; None: the best one for the data
    sampling   arguments of `system.sample`
    parzen     whether the Parzen-window log-likelihood is requested
    pairs      row-aligned images of two domains, or None
    """

    system: Any
    data: Dataset
    split: str
    reference: Dataset
    others: Dataset
    n: int
    repeats: int
    seed: int
    chosen: Extractor | None
    sampling: Mapping[str, Any]
    parzen: bool
    pairs: tuple[Dataset, Dataset] | None

    @cached_property
    def part(self) -> Dataset:
        """All images of the split."""
        return split_of(self.data, self.split)

    @cached_property
    def extractor(self) -> Extractor:
        """The extractor of the features."""
        return self.chosen or choose_extractor(self.data)

    @cached_property
    def recognized(self) -> Recognized:
        """The classes that can be counted, and why if there are none.

        The note also covers shipped classifiers that have these classes but do not recognize the images.
        """
        real = classifier_check_images(self.data)
        others = [shipped(name).for_classes(real.classes) for name in SHIPPED]
        for classifier in (self.extractor, *(() if self.extractor.classes else others)):
            accuracy = accuracy_on(classifier, real.images, real.labels, real.classes)
            if knows(classifier, accuracy):
                return Recognized(self.data.classes if self.data.classes == self.extractor.classes else (), "")
            if accuracy is not None:
                note = (
                    f"{classifier.name} classifies {100 * accuracy:.0f} % of the real images correctly, instead of "
                    f"{100 * (classifier.accuracy or 1):.0f} % on its test set: classes of samples are not counted"
                )
                return Recognized((), note)
        return Recognized((), "")

    def sample(self, n: int, *, seed: int) -> Tensor:
        """(n, C, S, S) samples with the requested arguments."""
        images: Tensor = self.system.sample(n, seed=seed, **self.sampling)
        return images

    @cached_property
    def samples(self) -> Samples:
        """The samples, and the statistics of the real images they are compared with."""
        n, classes = len(self.reference), self.recognized.classes
        n_train = min(len(self.others), FLOORS * n) if self.extractor.slow else len(self.others)
        training = describe(self.others.images_at(slice(n_train)), self.extractor)
        floors = [subset(training, rows) for rows in floor_rows(n_train, n)]
        panel = Panel.fit(describe(self.reference.images, self.extractor), floors, self.extractor, classes)
        sets, ranges = [], []
        for i in range(self.repeats):
            images = self.sample(n, seed=sample_seed(self.seed, i))
            sets.append(describe(pixels_of(images, n, self.reference), self.extractor))
            ranges.append(range_of(images, self.reference.images))
        return Samples(sets, panel, floors, training, PixelRange.of_all(ranges))

    @cached_property
    def memorization(self) -> Memorization | None:
        """Copies of training images among the samples; None if fewer than two images are held out."""
        held_out = None if self.split == "train" else self.data.held_out
        if held_out is not None and self.split == HELD_OUT_B:
            held_out = self.part
        if held_out is None or len(held_out) < 2:
            return None
        sets, training = self.samples.sets, self.samples.training
        pca = pixels_pca64(self.others.images_at(slice(FITTED_ON)))
        fakes = torch.cat([one.images for one in sets])
        pixels = pca.features(fakes)[0], pca.features(training.images)[0], pca.features(held_out.images)[0]
        reals = describe(held_out.images, self.extractor)
        return memorization(sets, training, reals, self.extractor, pixels, self.split)

    @cached_property
    def reconstructed(self) -> Tensor:
        """Reconstructions (N, C, S, S) uint8 of the reference."""
        return reconstruct_all(self.system, self.reference)

    @cached_property
    def latents(self) -> tuple[Tensor, Tensor]:
        """KL divergences and mean codes (N, latent_dim) of the reference."""
        return kl_and_means(self.system, self.reference)


def sample_seed(seed: int, repeat: int) -> int:
    """The seed of `system.sample` for one of the sets."""
    return derive_seed("evaluate", seed, repeat)
