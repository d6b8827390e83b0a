"""What tells data from other data: every pixel, label and value of every part."""

import hashlib
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image

import sparring
from sparring.data import dataset
from sparring.data.dataset import Dataset


def whole():
    pixels = torch.arange(120, dtype=torch.uint8).view(30, 1, 2, 2)
    data = Dataset("toy", pixels.clone(), torch.arange(30) % 3, ("a", "b", "c"), values=torch.arange(30.0)[:, None])
    test = Dataset("toy test", pixels[:5].clone(), torch.zeros(5, dtype=torch.long), ("a", "b", "c"))
    return replace(data.hold_out(0.2), test=test)


def test_every_number_counts_wherever_it_is():
    first, seen = whole().fingerprint, set()
    changes = 0
    for part, field in product(("train", "held_out", "test"), ("images", "labels", "values")):
        data = whole()
        owner = data if part == "train" else getattr(data, part)
        numbers, rows = getattr(owner, field), range(len(owner))
        if field == "images":
            numbers, rows = owner.pixels, rows if owner.index is None else owner.index.tolist()
        for row in () if numbers is None else rows:
            before = numbers[row].clone()
            numbers[row] = (before + 1) % 3 if field == "labels" else before + 1
            seen.add(replace(data, test=replace(data.test)).fingerprint)  # which nobody has asked before
            numbers[row] = before
            changes += 1
        assert whole().fingerprint == first
    assert changes == 3 * 24 + 3 * 6 + 2 * 5
    assert len(seen - {first}) == changes


def test_names_of_classes_and_the_place_of_the_split_count():
    data = whole()
    other = replace(data, classes=("a", "b", "d"))
    unlabeled = replace(data, labels=None)
    first = {name: getattr(data.held_out, name)[:1] for name in ("index", "labels", "values")}
    moved = replace(
        data,
        held_out=data.held_out.rows(slice(1, None)),
        **{name: torch.cat([getattr(data, name), row]) for name, row in first.items()},
    )
    assert len({one.fingerprint for one in (data, other, unlabeled, moved)}) == 4


def test_pixels_are_those_of_the_source_in_any_layout(monkeypatch):
    data = whole()
    expected = hashlib.sha256(bytes(range(120))).hexdigest()
    assert data.pixel_digest == expected
    monkeypatch.setattr(dataset, "BLOCK", 9)
    turned = data.pixels.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    turned = replace(data, pixels=turned, held_out=replace(data.held_out, pixels=turned))
    assert (turned.pixel_digest, turned.fingerprint) == (expected, data.fingerprint)
    apart = [replace(part, pixels=part.images, index=None) for part in (data, data.held_out)]
    apart = replace(apart[0], held_out=apart[1])
    assert (
        apart.pixel_digest
        == hashlib.sha256(b"".join(part.images.numpy().tobytes() for part in (data, data.held_out))).hexdigest()
    )


def test_images_that_are_not_used_do_not_count():
    data = whole()
    used = data.of_class(1)
    more = replace(data, pixels=torch.cat([data.pixels, data.pixels]))
    more = replace(more, held_out=replace(data.held_out, pixels=more.pixels))
    assert more.fingerprint == data.fingerprint
    kept = torch.arange(30) % 3 == 1
    alone = Dataset("toy", data.pixels[kept], torch.ones(10, dtype=torch.long), ("a", "b", "c"))
    alone = replace(alone, values=torch.arange(30.0)[kept, None])
    parts = [sorted((kept.cumsum(0)[part.index] - 1).tolist()) for part in (used, used.held_out)]
    alone = replace(alone.rows(torch.tensor(parts[0])), held_out=alone.rows(torch.tensor(parts[1])), test=used.test)
    assert alone.fingerprint == used.fingerprint


def test_what_is_decoded_is_not_read_again(tmp_path, monkeypatch):
    """Of a folder the SHA-256 is made while it is decoded; after a kill, of what was decoded before, too."""
    noise = np.random.default_rng(0)
    for i in range(20):
        Image.fromarray(noise.integers(0, 256, (8, 8), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    first = sparring.load(tmp_path, cache=tmp_path.parent / "cache")
    known = first.pixel_digest
    assert known == replace(first).pixel_digest
    assert first.fingerprint == replace(first).fingerprint
    monkeypatch.setattr(
        dataset, "_bytes", lambda numbers: pytest.fail("read again") if numbers.dtype == torch.uint8 else b""
    )
    assert sparring.load(tmp_path, cache=tmp_path.parent / "cache").pixel_digest == known
