"""Classification and clustering errors on real images, and agreement of samples with the requested classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sparring.data.dataset import Dataset
from sparring.errors import plural
from sparring.evaluation.given import Images
from sparring.evaluation.measurement import Measurement
from sparring.evaluation.splits import in_chunks, shuffled
from sparring.metrics.codes import cluster_to_class
from sparring.metrics.intervals import wilson_interval

if TYPE_CHECKING:
    from sparring.evaluation.context import Context

EXAMPLES = 10_000
"""At most this many labeled images are used to name clusters."""


def classification_error(system: Any, part: Dataset, split: str) -> Measurement:
    """Share of labeled images that `system.classify` assigns to a wrong class."""
    assert part.labels is not None
    wrong = int((in_chunks(system.classify, part).argmax(1) != part.labels).sum())
    return _share("classification error", wrong, len(part), split)


def clustering_error(system: Any, data: Dataset, split: str) -> Measurement:
    """Share of images of `split` whose class is not that of their cluster.

    Each cluster is named after the class of the image that most probably belongs to it, among held-out images if the
    split is "test", else among training images; if the split is "train", these images are excluded.
    """
    naming = data.held_out if split == "test" and data.held_out else data
    order = shuffled(naming, "clusters")
    examples = naming.rows(order[: min(EXAMPLES, -(-len(order) // 2))])
    part: Dataset = data.rows(order[len(examples) :]) if split == "train" else getattr(data, split)
    assert examples.labels is not None
    assert part.labels is not None
    names = cluster_to_class(in_chunks(system.cluster, examples), examples.labels)
    wrong = int((names[in_chunks(system.cluster, part).argmax(1)] != part.labels).sum())
    single = 1 - float(part.labels.bincount().max()) / len(part)
    words = (
        f"{plural(len(names), 'cluster')}, each named after one of {len(examples):,} "
        f"{'training' if naming is data else 'held-out'} images; a single cluster has {100 * single:.2f} %"
    )
    return _share("clustering error", wrong, len(part), split, words=words)


def class_agreement(context: Context) -> Sequence[Measurement]:
    """Share of samples that the classifier assigns to the requested class; () if no classifier has the classes.

    The baseline is the classifier's accuracy on real images.
    """
    requested = _requested_classes(context)
    if requested is None or context.part.labels is None:
        return ()
    predicted = [fake.labels for fake in context.samples.sets if fake.labels is not None]
    hits = sum(int((labels == targets).sum()) for labels, targets in zip(predicted, requested, strict=True))
    _, logits = context.extractor.features(context.part.images)
    assert logits is not None
    words = "requested class: its folder or label" if isinstance(context.system, Images) else ""
    return [
        _share(
            "class agreement",
            hits,
            sum(map(len, predicted)),
            context.split,
            floor=float((logits.argmax(1) == context.part.labels).float().mean()),
            floor_name=f"{context.extractor.name} on real images",
            extractor=context.extractor.name,
            words=words,
        )
    ]


def _requested_classes(context: Context) -> Sequence[Tensor] | None:
    """The requested class (n,) of each sample of each set; None if none was requested or the classes are unknown."""
    system, n = context.system, len(context.reference)
    if not context.recognized.classes:
        return None
    if isinstance(system, Images):
        return None if system.labels is None else system.labels[: context.repeats * n].split(n)
    if getattr(system, "classes", None) and "labels" not in context.sampling:
        return [torch.arange(n) % len(context.data.classes)] * context.repeats
    return None


def _share(metric: str, hits: int, n: int, split: str, **fields: Any) -> Measurement:
    """A share of n images, with its 95 % Wilson interval."""
    return Measurement(
        metric=metric, value=hits / n, n=n, split=split, unit="share", interval=wilson_interval(hits, n), **fields
    )


def classification(context: Context) -> Sequence[Measurement]:
    """`classification_error` on the labeled images of the split."""
    if context.part.labels is None:
        return ()
    return [classification_error(context.system, context.part, context.split)]


def clustering(context: Context) -> Sequence[Measurement]:
    """`clustering_error` on the labeled images of the split."""
    if context.part.labels is None:
        return ()
    return [clustering_error(context.system, context.data, context.split)]
