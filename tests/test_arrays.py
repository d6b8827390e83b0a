"""Arrays and files of them: what is meant is read, what means two things is asked about, what is damaged is refused."""

import io
import os
import zipfile

import numpy as np
import pytest
import torch
from helpers import one_line
from hypothesis import given, settings
from hypothesis import strategies as st

from sparring.data import Spec, arrays, load, zip_members
from sparring.errors import SparringError

IMAGES = np.arange(6 * 64).astype(np.uint8).reshape(6, 8, 8)


@pytest.mark.parametrize("name", ["A.NPY", "a.Npy", "B.NPZ", "b.npz", "really-npz.npy"])
def test_suffixes_count_in_any_case_and_content_decides(tmp_path, name):
    with open(tmp_path / name, "wb") as file:
        np.save(file, IMAGES) if "a." in name.lower() else np.savez(file, images=IMAGES)
    assert torch.equal(load(tmp_path / name, held_out=0).images[:, 0], torch.from_numpy(IMAGES))


@pytest.mark.parametrize("kind", ["<U3", "S3"])
def test_labels_may_be_names(tmp_path, kind):
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=np.array(["dog", "cat", "dog", "owl", "cat", "cat"], kind))
    data = load(tmp_path / "a.npz", held_out=0)
    assert data.classes == ("cat", "dog", "owl")
    assert data.labels.tolist() == [1, 0, 1, 2, 0, 0]


def test_labels_may_lie_in_a_column_and_a_file_may_hold_more(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", images=IMAGES, labels=np.arange(6)[:, None], other=np.zeros(9))
    assert load(tmp_path / "a.npz", held_out=0).labels.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["<u2", ">u2", torch.uint16])
def test_sixteen_bits_become_eight_by_one_scale(tmp_path, order, kind):
    deep = np.stack([np.full((8, 8), value) for value in (0, 819, 4095)])  # 12 bits in 16
    if kind is torch.uint16:
        data = load(torch.from_numpy(deep.astype(np.uint16)), held_out=0)
    else:
        np.save(tmp_path / "a.npy", np.asarray(deep.astype(kind), order=order))
        data = load(tmp_path / "a.npy", held_out=0)
    assert data.images[:, 0, 0, 0].tolist() == [0, 51, 255]
    assert any("0 to 4095" in note for note in data.notes)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((40, 30, 3), ["(H, W, C)", "40 images (N, H, W) of 30 x 3", "(1, 40, 30, 3)", "(40, 1, 30, 3)"]),
        ((16, 16, 4), ["(H, W, C)"]),
        ((28, 28, 1), ["(H, W, C)"]),
        ((5, 3, 8, 3), ["(N, C, H, W) or (N, H, W, C)"]),
    ],
)
def test_shapes_that_mean_two_things_are_asked_about(shape, words):
    one_line(lambda: load(np.zeros(shape, np.uint8)), *words)


def test_a_shape_that_was_asked_about_can_be_said():
    assert load(np.zeros((40, 1, 30, 3), np.uint8), held_out=0).spec == Spec(1, 3, 3)
    assert load(np.zeros((2, 30, 40, 3), np.uint8), held_out=0).spec == Spec(3, 30, 30)


def npy(shape, kind="|u1", content=b""):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
    return file.getvalue() + content


DAMAGED = {
    "2.7 TiB in the header": (npy((1_000_000, 1000, 1000, 3)), "1000000, 1000, 1000, 3"),
    "cut": (npy((6, 8, 8), content=bytes(300)), "384 bytes, but the file has 300"),
    "negative": (npy((-6, 8, 8), content=bytes(600)), "(-6, 8, 8)"),
    "objects": (npy((6,), "|O", bytes(600)), "allow_pickle"),
    "fields": (npy((6,), [("a", "<i4")], bytes(600)), "plain numbers"),
    "no bytes each": (npy((10**12,), "|S0"), "plain numbers"),
    "long header": (b"\x93NUMPY\2\0\xff\xff\xff\x7f{}", "more than 10,000"),
    "no header": (b"\x93NUMPY\1\0\x10\0" + b"f()             ", "header is damaged"),
    "version": (b"\x93NUMPY\x09\0\x10\0\0\0" + bytes(16), "version 9.0"),
    "text": (b"not an array", "not a .npy file"),
}


@pytest.mark.parametrize("kind", DAMAGED)
@pytest.mark.parametrize("zipped", [False, True])
def test_damaged_files_are_refused_from_their_header(tmp_path, kind, zipped, monkeypatch):
    content, words = DAMAGED[kind]
    path = tmp_path / "a.npy"
    if zipped:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
            made.writestr("images.npy", content)
    else:
        path.write_bytes(content)
    monkeypatch.setattr(np, "empty", None)  # nothing is allocated
    one_line(lambda: load(path), words, "a.npy")


def test_a_file_as_large_as_its_header_says_must_fit_into_memory(tmp_path, monkeypatch):
    with open(tmp_path / "a.npy", "wb") as file:
        file.write(npy((1 << 41,)))
        file.truncate(1 << 42)  # without a block on the disk
    monkeypatch.setattr(np, "empty", None)
    one_line(lambda: load(tmp_path / "a.npy"), "do not fit into this machine's memory")


def test_an_npz_that_grows_beyond_measure_is_refused(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", images=np.zeros((200, 32, 32), np.uint8))
    assert len(load(tmp_path / "a.npz", held_out=0)) == 200
    monkeypatch.setattr(zip_members, "FREE_BYTES", 100_000)
    one_line(lambda: load(tmp_path / "a.npz"), "a.npz", "more than 200 times")


def test_a_checksum_of_an_npz_counts(tmp_path):
    np.savez(tmp_path / "a.npz", images=IMAGES)
    whole = bytearray((tmp_path / "a.npz").read_bytes())
    whole[whole.index(bytes(range(50, 60)))] ^= 1
    (tmp_path / "a.npz").write_bytes(whole)
    one_line(lambda: load(tmp_path / "a.npz"), "CRC-32")


@pytest.mark.parametrize("suffix", ["npy", "npz", "zip", "smi"])
def test_what_is_no_regular_file_is_not_waited_for(tmp_path, suffix):
    os.mkfifo(tmp_path / f"a.{suffix}")
    one_line(lambda: load(tmp_path / f"a.{suffix}"), "not a regular file")
    (tmp_path / f"b.{suffix}").symlink_to("/dev/zero")
    one_line(lambda: load(tmp_path / f"b.{suffix}"), "not a regular file")


@given(
    place=st.integers(0, 2000), value=st.integers(0, 255), end=st.integers(0, 300), kind=st.sampled_from(["npy", "npz"])
)
@settings(max_examples=200, deadline=None)
def test_mutated_files_are_read_or_refused(tmp_path_factory, place, value, end, kind):
    held = io.BytesIO()
    if kind == "npy":
        np.save(held, IMAGES)
    else:
        np.savez_compressed(held, images=IMAGES, labels=np.arange(6))
    whole = bytearray(held.getvalue())
    whole[place % len(whole)] = value
    path = tmp_path_factory.getbasetemp() / f"mutated.{kind}"
    path.write_bytes(whole[: len(whole) - end % len(whole)])
    said = ""
    try:
        arrays.from_file(path)
    except SparringError as error:
        said = str(error)
    assert "\n" not in said
