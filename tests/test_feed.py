"""The feed: endless, seeded, stateless, the same images in the same order for any number of shares."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import images

import sparring
from sparring.data.dataset import Dataset
from sparring.data.feed import Feed
from sparring.errors import SparringError


def labeled(count=30):
    pixels = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    return Dataset("numbered", pixels, labels=torch.arange(count), classes=tuple(map(str, range(count))))


def feed(data=None, batch=4, seed=0, **options):
    return Feed({"train": data or labeled(), "other": labeled(50)}, batch, seed=seed, **options)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 40), st.integers(0, 5))
def test_shares_together_see_the_whole_batch_in_order(shares, per_share, k, seed):
    whole = feed(batch=shares * per_share, seed=seed)
    parts = [feed(batch=shares * per_share, seed=seed, share=s, shares=shares) for s in range(shares)]
    assert torch.equal(torch.cat([p.rows("train", k) for p in parts]), whole.rows("train", k))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30), st.integers(0, 3))
def test_every_epoch_shows_every_image_once(batch, seed):
    one = feed(batch=batch, seed=seed)
    seen = torch.cat([one.rows("train", k) for k in range(-(-60 // batch))])
    assert sorted(seen[:30].tolist()) == sorted(seen[30:60].tolist()) == list(range(30))
    assert seen[:30].tolist() != list(range(30))
    assert seen[:30].tolist() != seen[30:60].tolist()


def test_a_batch_depends_on_seed_stream_and_number_only():
    walked, jumped = feed(), feed()
    for _ in range(25):
        x, y = walked("train")
    assert torch.equal(walked.rows("train", 3), jumped.rows("train", 3))
    jumped.positions["train"] = 24
    x2, y2 = jumped("train")
    assert torch.equal(x, x2)
    assert torch.equal(y, y2)
    assert not torch.equal(jumped.rows("train", 0), jumped.rows("other", 0))
    assert not torch.equal(jumped.rows("train", 0), feed(seed=1).rows("train", 0))


def test_the_last_images_are_known():
    one = feed()
    assert one.last_rows() == {}
    _, y = one("train")
    assert one.last_rows() == {"train": y.tolist()}


def test_streams_advance_by_themselves():
    one = feed()
    one("train")
    one("train")
    one("other")
    assert one.positions == {"train": 2, "other": 1}


def test_images_are_floats_in_range_and_labels_go_with_them():
    x, y = feed(batch=30)("train")
    assert x.dtype == torch.float32
    torch.testing.assert_close((x[:, 0, 0, 0] + 1) * 127.5, y.float())
    x, y = Feed({"train": images()}, 64, seed=0)("train")
    assert y is None
    assert (float(x.min()), float(x.max())) == (-1.0, 1.0)


def test_what_cannot_be_is_refused():
    with pytest.raises(SparringError, match="batch 31 is larger than the 30 images"):
        feed(batch=31)
    with pytest.raises(SparringError, match="batch 5 cannot be split into 2 equal parts"):
        feed(batch=5, shares=2)
    with pytest.raises(SparringError, match="unknown stream 'tran'; did you mean 'train'"):
        feed()("tran")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (torch.arange(40) % 11, "labels from 0 to 10 and 10 classes"),
        (torch.arange(40) % 10 - 1, "labels from -1 to 8"),
        (torch.arange(80).view(40, 2) % 10, "labels of shape (40, 2)"),
        ((torch.arange(40) % 10).float(), "type torch.float32"),
    ],
)
@pytest.mark.parametrize("part", ["train", "held_out", "test"])
def test_labels_that_no_class_has_are_refused(labels, words, part, tmp_path):
    images, names = torch.zeros(40, 1, 28, 28, dtype=torch.uint8), tuple("0123456789")
    good, bad = Dataset("mine", images, torch.arange(40) % 10, names), Dataset("mine", images, labels, names)
    data = bad if part == "train" else replace(good, **{part: bad})
    with pytest.raises(SparringError) as error:
        sparring.train("cgan", data, rounds=1, out=tmp_path / "runs", quiet=True)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "runs").exists()


def test_a_data_set_with_another_number_of_labels_cannot_be_made():
    images = torch.zeros(40, 1, 28, 28, dtype=torch.uint8)
    with pytest.raises(SparringError, match=r"^labels are .*: give a tensor with one row per image") as error:
        Dataset("mine", images, torch.arange(39) % 10, tuple("0123456789"))
    assert "\n" not in str(error.value)
