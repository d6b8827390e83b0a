"""How folders and archives are read: classes, splits, shards, tables of labels, and what is said of everything else."""

import json
import os
import shutil

import numpy as np
import pytest
from helpers import one_line
from PIL import Image

from sparring.data import Spec, check, load
from sparring.data.check import preview
from sparring.data.scan import scan
from sparring.errors import plural


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("SPARRING_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def some(tmp_path):
    """Makes images in a folder, by their names, and returns the folder; each has one value of its own."""
    home = tmp_path / "set"
    home.mkdir()

    def make(*names, size=(8, 8)):
        for name in names:
            path = home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", size, len(list(home.rglob("*")))).save(path)
        return home

    return make


def names(*folders, number=3):
    return [f"{folder}/{index}.png" for folder in folders for index in range(number)]


def said(index, *words):
    """The one note that has all these words."""
    (note,) = [note for note in index.notes if all(word in note for word in words)]
    return note


# Strays, empty folders, nested folders.


@pytest.mark.parametrize("strays", [1, 2])
def test_strays_do_not_hide_the_classes(some, strays):
    folder = some(*names("cat", "dog"), *(f"stray{number}.png" for number in range(strays)))
    index = scan(folder)
    assert (index.classes, len(index)) == (("cat", "dog"), 6)
    said(index, f"skipped {plural(strays, 'image')} outside the class folders", "stray0.png")


def test_empty_class_folders_are_named(some):
    folder = some(*names("cat", "dog"))
    (folder / "owl").mkdir()
    (folder / "phone").mkdir()
    (folder / "phone/1.HEIC").write_bytes(b"picture")
    index = scan(folder)
    assert index.classes == ("cat", "dog")
    said(index, "no images in 2 folders: owl, phone")
    said(index, "1 HEIC file,", "phone/1.HEIC", "convert")


def test_images_in_folders_of_a_class_are_of_that_class(some):
    folder = some(*names("cat", "cat/2019", "cat/2020/may", "dog"))
    data = load(folder, held_out=0)
    assert (data.classes, data.labels.bincount().tolist()) == (("cat", "dog"), [9, 3])
    said(data, "6 images in nested folders", "cat/2019/0.png")


def test_many_in_folders_and_many_beside_them_are_asked_about(some):
    folder = some(*names("old", number=4), *(f"{number}.png" for number in range(12)))
    one_line(lambda: load(folder), "12 images are directly", "4 in its folders (old)", "--labels-from")
    assert load(folder, labels_from="folders", held_out=0).classes == ("old",)
    every = load(folder, labels_from="none", held_out=0)
    assert (len(every), every.labels) == (16, None)
    some("13.png", "14.png", "15.png", "16.png")
    said(scan(folder), "skipped 4 images in deeper folders", "old/0.png")


def test_folders_that_are_too_deep_are_named(some):
    folder = some(*names("a", "b"), "a/2/3/4/5/6/7/8/9/10/far.png")
    index = scan(folder)
    assert len(index) == 6
    said(index, "more than 8 levels deep")


def test_masks_are_named(some):
    said(scan(some(*names("images", "masks"))), "masks sounds like masks")
    shutil.rmtree(some() / "masks")
    index = scan(some("images/0_mask.png", "images/1_MASK.png"))
    said(index, "2 files are named like masks", "images/")


@pytest.mark.parametrize(
    ("suffix", "kind"), [("heic", "HEIC"), ("HEIF", "HEIC"), ("avif", "AVIF"), ("psd", "Photoshop")]
)
def test_pictures_that_are_not_read_are_called_what_they_are(some, suffix, kind):
    (some() / f"1.{suffix}").write_bytes(b"picture")
    one_line(lambda: load(some()), f"1 {kind} file,", "convert them to JPEG or PNG")


@pytest.mark.parametrize(("brand", "kind"), [(b"heic", "HEIC"), (b"mif1", "HEIC"), (b"avif", "AVIF")])
def test_a_phones_picture_under_another_name_is_called_what_it_is(some, brand, kind):
    (some() / "1.jpg").write_bytes(b"\0\0\0\x18ftyp" + brand + bytes(40))
    assert f"it is {kind}" in check(some("2.jpg")).bad["1.jpg"]


def test_class_folders_that_are_not_utf8_are_refused_by_name(some):
    folder = some(*names("cat"))
    shutil.copytree(folder / "cat", os.fsdecode(os.fsencode(folder) + b"/caf\xe9"))
    for look in (load, check):
        one_line(lambda look=look: look(folder), "caf\\udce9", "not UTF-8", "rename")


def test_a_path_that_is_not_utf8_is_refused_before_anything_is_made(some, tmp_path):
    from sparring import train

    folder = shutil.copytree(some(*names("cat")), os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    for look in (load, check):
        one_line(lambda look=look: look(folder), "not UTF-8", "rename")
    one_line(lambda: train("cs231n-mlp", some(), out=folder + "/runs", quiet=True), "out is", "not valid UTF-8")
    assert not os.path.exists(folder + "/runs")


# Splits.


def test_train_and_test_are_a_split_and_no_classes(some):
    folder = some(*names("train/cat", "train/dog"), *names("test/dog", number=2), *names("val/cat", number=1))
    data = load(folder, held_out=2)
    assert (data.classes, len(data), len(data.held_out), len(data.test)) == (("cat", "dog"), 4, 2, 2)
    assert data.test.labels.tolist() == [1, 1]
    said(data, "only train/ is used for training", "test/ is the test set")
    said(data, "skipped val/")
    assert load(folder, labels_from="none", held_out=0).labels is None


def test_a_split_of_an_archive_is_found_below_its_folder(some, tmp_path):
    folder = some(*names("faces/train"), *names("faces/valid", number=2))
    path = shutil.make_archive(str(tmp_path / "faces"), "zip", folder)
    data = load(path, held_out=0)
    assert (data.labels, len(data), len(data.test)) == (None, 3, 2)
    assert load(path, held_out=0).notes == data.notes  # from the cache
    assert len(load(path, held_out=0).test) == 2


def test_a_test_set_of_other_classes_is_not_used(some):
    data = load(some(*names("train/cat", "train/dog", "test/owl")), held_out=0)
    assert data.test is None
    said(data, "test set", "is not used")


# Labels.


def shards(some):
    files = [f"0000{index // 2}/img0000000{index}.png" for index in range(5)]
    return some(*files), files


def test_shards_are_no_classes(some):
    folder, files = shards(some)
    index = scan(folder)
    assert (index.classes, list(index.names())) == ((), files)


@pytest.mark.parametrize("zipped", [False, True])
def test_labels_of_stylegans_json_are_read(some, tmp_path, zipped):
    folder, files = shards(some)
    pairs = [[name, label] for name, label in zip(files, [3, 0, 10, 3, 0], strict=True)]
    (folder / "dataset.json").write_text(json.dumps({"labels": pairs}))
    source = shutil.make_archive(str(tmp_path / "set"), "zip", folder) if zipped else folder
    data = load(source, held_out=0)
    assert (data.classes, data.labels.tolist()) == (("0", "3", "10"), [1, 0, 2, 1, 0])
    assert not any("without an image suffix" in note for note in data.notes)
    if not zipped:  # other labels of the same images are other data
        (folder / "dataset.json").write_text(json.dumps({"labels": [[name, 1 - label % 2] for name, label in pairs]}))
        assert load(source, held_out=0).labels.tolist() == [0, 1, 1, 0, 1]
        (folder / "dataset.json").write_text('{"labels": null}')
        assert load(source, held_out=0).labels is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "cannot read labels"),
        ('{"labels": [["a.png", [0.5, 0.5]]]}', "give integers or names"),
        ('{"labels": [["other.png", 1]]}', "no file in"),
        ('{"labels": 3}', "no labels in the expected format"),
        ("[" * 100_000, "cannot read labels"),
    ],
)
def test_a_json_that_cannot_be_read_says_why(some, text, words):
    folder, _ = shards(some)
    (folder / "dataset.json").write_text(text)
    one_line(lambda: load(folder), "dataset.json", words)


TABLES = {
    "header": ("l.csv", "label,file\ndog,a.png\ncat,b.png\ndog,sub/c.png\n"),
    "no header": ("l.csv", "a.png,dog\nb.png,cat\nsub/c.png,dog\n"),
    "other names": ("l.csv", "id,breed,age\na,dog,3\nb,cat,4\nc,dog,5\n"),
    "one known name": ("l.csv", "image,what\na.png,dog\nb.png,cat\nc.png,dog\n"),
    "tabs": ("l.tsv", "file\tlabel\na.png\tdog\nb.png\tcat\nc.png\tdog\n"),
    "windows": ("l.csv", "\ufefffile,label\r\na.png,dog\r\n.\\b.png,cat\r\nsub\\c.png,dog\r\n"),
    "json": ("l.json", '{"a.png": "dog", "b.png": "cat", "sub/c.png": "dog"}'),
}


@pytest.mark.parametrize("kind", TABLES)
def test_labels_come_from_a_table(some, tmp_path, kind):
    name, text = TABLES[kind]
    (tmp_path / name).write_text(text, newline="")
    data = load(some("a.png", "b.png", "sub/c.png"), labels_from=tmp_path / name, held_out=0)
    assert (data.classes, data.labels.tolist()) == (("cat", "dog"), [1, 0, 1])
    said(data, "labels from", "3 images, 2 classes")


def test_a_table_that_fits_in_part_says_so(some, tmp_path):
    (tmp_path / "l.csv").write_text("a.png,dog\nb.png,cat\nnowhere.png,cat\n")
    data = load(some("a.png", "b.png", "c.png"), labels_from=str(tmp_path / "l.csv"), held_out=0)
    assert len(data) == 2
    said(data, "skipped 1 image without a label", "c.png")
    said(data, "lists 1 file that is no image of the source", "nowhere.png")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a.png,dog\na.png,cat\n", "two labels, dog and cat"),
        ("x,y,z\na.png,dog,1\n", "the columns of"),
        ("file,label\na.png\n", "1 columns instead of 2"),
        ("", "is empty"),
        ("nowhere.png,cat\n", "e.g. nowhere.png"),
        ("\xff", "cannot read labels"),
    ],
)
def test_a_table_that_cannot_be_read_says_why(some, tmp_path, text, words):
    (tmp_path / "l.csv").write_bytes(text.encode("latin-1"))
    one_line(lambda: load(some("a.png", "b.png"), labels_from=tmp_path / "l.csv"), "l.csv", words)


def test_a_table_that_was_not_asked_for_is_named(some):
    folder = some("a.png", "b.png")
    (folder / "labels.csv").write_text("a.png,dog\nb.png,cat\n")
    said(scan(folder), "labels.csv was not read", "--labels-from")


def test_a_table_is_for_image_files(tmp_path):
    (tmp_path / "l.csv").write_text("a.png,dog\n")
    one_line(lambda: load("digits", labels_from=tmp_path / "l.csv"), "labels_from is for image files")


# One decision for a set.


def test_color_anywhere_is_color(some):
    folder = some(*(f"{index}.png" for index in range(300)))
    Image.new("RGB", (8, 8), (9, 9, 9)).save(folder / "7.png")
    assert load(folder, held_out=0).spec.channels == 1
    pixels = np.full((8, 8, 3), 9, np.uint8)
    pixels[0, 0] = 9, 8, 9
    Image.fromarray(pixels).save(folder / "133.png")
    for held_out in (0, 0.1, 0.5):
        assert load(folder, held_out=held_out).spec.channels == 3
    assert "--channels 3" in str(check(folder))


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([819, 1638, 4095], np.uint16, [51, 102, 255]),
        ([0, 4096, 65535], np.uint16, [0, 16, 255]),
        ([-1000, 0, 1000], np.int32, [0, 128, 255]),
        ([0.25, 0.5, 0.75], np.float32, [64, 128, 191]),
        ([0, 25, 100], np.float32, [0, 64, 255]),
    ],
)
def test_one_scale_for_all_images_of_a_set(tmp_path, values, kind, expected):
    for index, value in enumerate(values):
        Image.fromarray(np.full((8, 8), value, kind)).save(tmp_path / f"{index}.tif")
    data = load(tmp_path, held_out=0)
    assert data.images[:, 0, 0, 0].tolist() == expected
    scaled = [note for note in data.notes if "become 0 to 255" in note]
    assert bool(scaled) == (values[-1] != 65535)
    assert [note for note in check(tmp_path).notes if "become 0 to 255" in note] == scaled


def test_what_is_much_enlarged_is_said(some):
    data = load(some("a.png", "b.png"), size=17, held_out=0)
    said(data, "2 upscaled by more than a factor of 2")
    assert not load(some(), size=16, held_out=0).notes
    assert "upscaled by more than" in load(np.zeros((4, 8, 8), np.uint8), size=17, held_out=0).notes[0]


# What is held out; names; what a set remembers of where it came from.


@pytest.mark.parametrize(("held_out", "expected"), [(3, 3), (np.int64(3), 3), (0.25, 5), (0, 0), (0.0, 0)])
def test_a_share_or_a_number_is_held_out(some, held_out, expected):
    folder = some(*(f"{index}.png" for index in range(20)))
    for source in (folder, np.zeros((20, 8, 8), np.uint8)):
        data = load(source, held_out=held_out)
        assert len(data) == 20 - expected
        assert (len(data.held_out) if data.held_out else 0) == expected
    assert f"{20 - expected} images to train on, {expected} held out" in str(check(folder, held_out=held_out))


def test_a_folder_beside_a_named_set_is_said(some, monkeypatch):
    folder = some(*names("digits"))
    monkeypatch.chdir(folder)
    assert len(load("digits", held_out=0)) == 5000
    said(load("digits", held_out=0), "'digits' is the built-in data set", "'./digits'")
    assert check("digits").images == 5000
    assert load("./digits", held_out=0).spec == Spec(1, 8, 8)


def test_the_source_gives_the_same_data_again(some, tmp_path, monkeypatch):
    folder = some(*names("cat", "dog", "owl"))
    monkeypatch.chdir(folder.parent)
    data = load("set", size=4, classes=["owl", "cat"], held_out=2, labels_from="folders")
    monkeypatch.chdir("/")
    assert json.loads(json.dumps(data.source)) == data.source
    again = load(**data.source)
    assert again.fingerprint == data.fingerprint
    assert (again.classes, len(again.held_out)) == (("cat", "owl"), 2)
    assert load({"a": folder, "b": folder}).source["source"] == {"a": str(folder), "b": str(folder)}
    for part in (data.rows(slice(2)), data.held_out, data.of_class(0), load(np.zeros((9, 8, 8), np.uint8))):
        assert part.source is None


# Looking before training.


def test_copies_are_named(some):
    folder = some("a.png", "b.png", "c.png")
    for name in ("d.png", "e.png"):
        shutil.copy(folder / "b.png", folder / name)
    report = check(folder)
    assert (report.duplicates, report.copies) == (2, {"d.png": "b.png", "e.png": "b.png"})
    assert "2 (d.png = b.png, e.png = b.png)" in str(report)
    assert check(np.zeros((3, 8, 8), np.uint8)).copies == {"image 1": "image 0", "image 2": "image 0"}


def test_few_images_are_asked_about(some):
    assert "use --batch 2 or so" in str(check(some("a.png", "b.png", "c.png")))


def test_a_preview_is_what_training_sees(some):
    folder = some(*names("cat", "dog", number=50))
    seen = preview(folder, size=4)
    assert seen.images.shape == (64, 1, 4, 4)
    assert set(seen.labels.tolist()) == {0, 1}
    assert preview(np.zeros((9, 8, 8), np.uint8)).images.shape == (9, 1, 8, 8)


# Anything else that can be given.


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"source": ""}, ["data is empty", "'.'"]),
        ({"source": "a" * 5000}, ["File name too long"]),
        ({"source": "/" + "a" * 300}, ["File name too long"]),
        ({"source": "~nosuchuser/x"}, ["is not a valid path"]),
        ({"source": "a\0b"}, ["is not a valid path"]),
        ({"source": b"digits"}, ["data is a bytes"]),
        ({"source": None}, ["data is a NoneType"]),
        ({"source": []}, ["data is a list"]),
        ({"source": {}}, ["at least two"]),
        ({"source": {"a": "digits"}}, ["at least two"]),
        ({"source": {"a": "digits", "b": None}}, ["data is a NoneType"]),
        ({"size": "64"}, ["size is '64', a str"]),
        ({"size": 64.0}, ["size is 64.0"]),
        ({"size": True}, ["size is True"]),
        ({"size": [64]}, ["size is [64]"]),
        ({"channels": "3"}, ["channels is '3'"]),
        ({"channels": 2}, ["channels is 2"]),
        ({"held_out": "0.1"}, ["held_out is '0.1'"]),
        ({"held_out": None}, ["held_out is None"]),
        ({"held_out": True}, ["held_out is True"]),
        ({"held_out": -1}, ["held_out is -1"]),
        ({"held_out": 4999}, ["1 after holding out 4,999"]),
        ({"held_out": 10**30}, ["0 after holding out"]),
        ({"held_out": 1.5}, ["held_out is 1.5"]),
        ({"classes": 3}, ["classes is 3"]),
        ({"classes": b"3"}, ["classes is b'3'"]),
        ({"root": 3}, ["root is 3"]),
        ({"cache": 3}, ["cache is 3"]),
        ({"labels_from": 3}, ["labels_from is 3"]),
        ({"labels_from": "nowhere.csv"}, ["labels_from is for image files"]),
    ],
)
def test_wrong_arguments_are_one_line(options, words):
    one_line(lambda: load(**{"source": "digits", **options}), *words)


def test_a_path_below_a_folder_without_rights_says_so(monkeypatch):
    def refused(path, **_):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "stat", refused)
    one_line(lambda: load("/private/set"), "'/private/set'", "Permission denied")


def test_escape_sequences_are_written_out(some):
    folder = some("\x1b[31mred/1.png", "\x1b[31mred/2.png", "b/1.png")
    (folder / "\x1b]0;title\x07.txt").write_text("no image")
    said = [str(check(folder)), *load(folder, held_out=0).notes]
    said.append(one_line(lambda: load(folder, classes="nothing"), "unknown class"))
    said.append(one_line(lambda: load("\x1b[2Jname"), "unknown data set"))
    assert all(text.replace("\n", "").isprintable() for text in said)
