"""Classification and clustering errors on real images."""

from __future__ import annotations

from typing import Any

from sparring.data.dataset import Dataset
from sparring.evaluation.measurement import Rate
from sparring.evaluation.splits import in_chunks, shuffled
from sparring.metrics import cluster_to_class, wilson_interval

EXAMPLES = 10_000
"""At most this many labeled images are used to name clusters."""


def classification_error(system: Any, part: Dataset, split: str) -> Rate:
    """Share of labeled images that `system.classify` assigns to a wrong class."""
    assert part.labels is not None
    wrong = int((in_chunks(system.classify, part.images).argmax(1) != part.labels).sum())
    return Rate("classification error", wrong / len(part), len(part), wilson_interval(wrong, len(part)), split)


def clustering_error(system: Any, data: Dataset, split: str) -> Rate:
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
    names = cluster_to_class(in_chunks(system.cluster, examples.images), examples.labels)
    wrong = int((names[in_chunks(system.cluster, part.images).argmax(1)] != part.labels).sum())
    single = 1 - float(part.labels.bincount().max()) / len(part)
    note = (
        f"{len(names)} clusters, each named after one of {len(examples):,} "
        f"{'training' if naming is data else 'held-out'} images; a single cluster has {100 * single:.2f} %"
    )
    interval = wilson_interval(wrong, len(part))
    return Rate("clustering error", wrong / len(part), len(part), interval, split, note=note)
