"""Disentanglement of the codes of images with known factors of variation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sparring.evaluation.measurement import Measurement
from sparring.evaluation.splits import can, in_chunks
from sparring.metrics.disentanglement import LEAF, dci, modularity, mutual_information_gap
from sparring.seeds import make_generator

if TYPE_CHECKING:
    from sparring.evaluation.context import Context


def disentanglement(context: Context) -> Sequence[Measurement]:
    """MIG, DCI and modularity of the codes of the reference images; () without two factors or with few images.

    The baseline is the same with the codes of other images, which know nothing about the factors: with few images,
    mutual information is biased upward.
    """
    factors = context.reference.factors
    if factors is None:
        return ()
    varied = [k for k, values in enumerate(factors.values.T) if int(values.amin()) < int(values.amax())]
    if len(varied) < 2 or len(context.reference) < 4 * LEAF:
        return ()
    encode = context.system.encode if can(context.system, "encode") else context.system.infer_codes
    codes = in_chunks(encode, context.reference)
    values, ordered = factors.values[:, varied], [factors.ordered[k] for k in varied]
    others = codes[torch.randperm(len(codes), generator=make_generator("evaluate", "factors"))]
    measured, floors = (_scores(rows, values, ordered) for rows in (codes, others))
    return [
        Measurement(
            metric=name,
            value=value,
            n=len(codes),
            split=context.split,
            floor=floors[name],
            floor_name="codes of other images",
            words="factors: " + ", ".join(factors.names[k] for k in varied),
        )
        for name, value in measured.items()
    ]


def _scores(codes: Tensor, factors: Tensor, ordered: Sequence[bool]) -> dict[str, float]:
    """Metric -> value."""
    gap = {"MIG": mutual_information_gap(codes, factors)}
    return gap | dci(codes, factors, ordered=ordered)._asdict() | {"modularity": modularity(codes, factors)}
