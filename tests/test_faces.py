"""The drawn faces, their attributes, and the photographs of LSUN that a user has on disk."""

import io
import json
import sys
from dataclasses import replace
from importlib import resources
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import one_line
from PIL import Image

import sparring.data
from sparring.cli import main
from sparring.data import Spec, load
from sparring.data.faces import ATTRIBUTES, ONLY_FACES, attributes_of
from sparring.evaluation.splits import choose_extractor
from sparring.metrics.extractors import accuracy_on, extractor, extractor_for

CLASSES = ("no glasses", "glasses")


@pytest.fixture(scope="module")
def pixel_faces():
    return load("pixel-faces", size=32)


@pytest.fixture(scope="module")
def faces():
    return load("faces")


def test_both_sets_are_aligned_and_have_a_fixed_split(faces, pixel_faces):
    for data, size in ((faces, 64), (pixel_faces, 32)):
        assert data.spec == Spec(3, size, size, CLASSES)
        assert (len(data), len(data.held_out)) == (7180, 798)
    assert torch.equal(faces.held_out.index, pixel_faces.held_out.index)
    assert torch.equal(faces.labels, pixel_faces.labels)
    assert 0.3 < faces.labels.double().mean() < 0.45
    # The same persons: the background in the corner of both pictures has the same color.
    assert torch.equal(faces.images[:, :, 0, 0], pixel_faces.images[:, :, 0, 0])
    assert any("CC0" in note for note in faces.notes)


def test_pixel_art_is_enlarged_exactly(pixel_faces):
    small = load("pixel-faces", size=16).images
    assert torch.equal(small.repeat_interleave(2, 2).repeat_interleave(2, 3), pixel_faces.images)
    assert len(torch.unique(small[0].flatten(1).T, dim=0)) <= 20
    assert load("pixel-faces", size=28, held_out=0).spec.shape == (3, 28, 28)


def test_attributes_are_those_that_can_be_seen(faces):
    """White backgrounds are white, other ones are not; glasses include sunglasses, beard includes moustache."""
    table = attributes_of("faces")
    column = {name: table[:, i] for i, name in enumerate(ATTRIBUTES)}
    corner = faces.pixels[:, :, 0, 0]
    assert torch.equal((corner == 255).all(1), column["background"] == 0)
    assert (column["glasses"] >= column["sunglasses"]).all()
    assert (column["beard"] >= column["moustache"]).all()
    assert not (column["smiling"] * column["angry"]).any()
    for name, classes in ATTRIBUTES.items():
        assert column[name].unique().tolist() == [*range(len(classes))]
    hidden = attributes_of("pixel-faces") == -100
    assert hidden.all(0).tolist() == hidden.any(0).tolist() == [name in ONLY_FACES for name in ATTRIBUTES]


def test_labels_are_one_attribute(pixel_faces):
    hats = load("pixel-faces", size=16, labels_from="hat")
    assert hats.classes == ("no hat", "hat")
    assert hats.labels.double().mean() == pytest.approx(0.085, abs=0.01)
    assert load("pixel-faces", size=16, labels_from="none").labels is None
    assert hats.fingerprint != load("pixel-faces", size=16).fingerprint
    again = load(**hats.source)
    assert again.fingerprint == hats.fingerprint
    only = load("pixel-faces", size=16, labels_from="skin", classes="skin 1,skin 3")
    assert only.classes == ("skin 1", "skin 3")


def test_other_attributes_are_refused(tmp_path):
    one_line(lambda: load("pixel-faces", labels_from="sunglasses"), "pixel-faces", "sunglasses", "glasses")
    one_line(lambda: load("faces", labels_from="hats"), "did you mean 'hat'")
    one_line(lambda: load("faces", labels_from=tmp_path / "l.csv"), "attribute of faces")
    one_line(lambda: load("digits", labels_from="hat"), "omit it")


def test_a_damaged_file_is_one_line(monkeypatch, tmp_path):
    whole = (Path(sparring.data.__file__).parent / "drawn/faces.npz").read_bytes()
    (tmp_path / "drawn").mkdir()
    monkeypatch.setattr("sparring.data.faces.resources.files", lambda package: tmp_path)
    one_line(lambda: load("pixel-faces"), "reinstall sparring")
    damaged = bytearray(whole)
    damaged[len(whole) - 50_000] ^= 1  # in the attributes or in the pixels of the second set
    (tmp_path / "drawn/faces.npz").write_bytes(bytes(damaged))
    one_line(lambda: load("pixel-faces"), "reinstall sparring")


def test_check_data_and_domains_know_them(capsys, tmp_path):
    main(["check-data", "pixel-faces", "--labels-from", "hat", "--preview", str(tmp_path / "seen.png"), "--size", "16"])
    printed = capsys.readouterr().out
    assert "Pixel Art by DiceBear, CC0" in printed
    assert "7,180 images to train on" in printed
    both = load({"a": "pixel-faces", "b": "digits"}, size=16, channels=3)
    assert both.classes == ("a", "b")


# LSUN.


def jpeg(value, size=(24, 16)):
    content = io.BytesIO()
    Image.new("RGB", size, (value, 0, 0)).save(content, "JPEG")
    return content.getvalue()


class Databases:
    """A stand-in for the package lmdb: the content of a database is in data.mdb."""

    class Error(Exception):
        """Its errors."""

    def open(self, path, *, readonly, lock):
        assert readonly
        assert not lock
        stored = np.load(Path(path) / "data.mdb", allow_pickle=False)
        entries = [(name.encode(), stored[name].tobytes()) for name in stored.files]
        transaction = SimpleNamespace(cursor=lambda: iter(entries), stat=lambda: {"entries": len(entries)})
        return Closing(begin=lambda: Closing(**vars(transaction)))


class Closing(SimpleNamespace):
    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


def database(path, count):
    path.mkdir(parents=True)
    with (path / "data.mdb").open("wb") as file:
        np.savez(file, **{f"key{i}": np.frombuffer(jpeg(10 * i), np.uint8) for i in range(count)})


def test_lsun_is_found_as_folders_or_databases(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARRING_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SPARRING_DATA", raising=False)
    one_line(lambda: load("lsun", root=tmp_path / "a"), "github.com/fyu/lsun", "--data-root")
    folder = tmp_path / "a/lsun/bedroom"
    folder.mkdir(parents=True)
    for i in range(4):
        (folder / f"{i}.jpg").write_bytes(jpeg(i))
    assert load("lsun", root=tmp_path / "a", held_out=0).classes == ("bedroom",)

    for category, count in (("bedroom", 6), ("church", 3)):
        database(tmp_path / f"b/lsun/{category}_train_lmdb", count)
    database(tmp_path / "b/lsun/bedroom_val_lmdb", 2)
    database(tmp_path / "b/lsun/church_val_lmdb", 2)
    monkeypatch.setitem(sys.modules, "lmdb", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    one_line(lambda: load("lsun", root=tmp_path / "b"), "pip install 'sparring[lsun]'")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: True)
    monkeypatch.setitem(sys.modules, "lmdb", Databases())
    data = load("lsun", root=tmp_path / "b", held_out=0)
    assert (data.name, data.spec, len(data), len(data.test)) == ("lsun", Spec(3, 64, 64, ("bedroom", "church")), 9, 4)
    assert sorted(data.images[:, 0].float().mean((1, 2)).round().int().tolist())[-1] == pytest.approx(50, abs=2)
    made = (tmp_path / "cache/lsun.zip").stat().st_mtime_ns
    load("lsun", root=tmp_path / "b", held_out=0, size=32)
    assert (tmp_path / "cache/lsun.zip").stat().st_mtime_ns == made


# The network that knows the attributes.


def test_faces_net_recognizes_attributes_as_recorded(faces, pixel_faces):
    net = extractor("faces-net")
    assert (net.classes, net.features(faces.held_out.images[:2])[1]) == ((), None)
    log = json.loads((resources.files("sparring.metrics") / "weights/faces-net.json").read_text())
    assert len((resources.files("sparring.metrics") / "weights/faces-net.safetensors").read_bytes()) < 1_000_000
    for name, data in (("faces 64", faces), ("pixel-faces 32", pixel_faces)):
        images = data.held_out.images[:200]
        truth = attributes_of(name.split()[0])[data.held_out.index[:200]]
        for attribute in ("glasses", "beard", "background"):
            classes, column = ATTRIBUTES[attribute], list(ATTRIBUTES).index(attribute)
            measured = accuracy_on(net.for_classes(classes), images, truth[:, column], classes)
            assert measured == pytest.approx(log["held_out_accuracy"][name][attribute], abs=0.04)
        assert (set(ATTRIBUTES) - set(log["held_out_accuracy"][name])) == ({*ONLY_FACES} if "pixel" in name else set())


def test_faces_are_measured_by_faces_net(pixel_faces):
    net = choose_extractor(pixel_faces)
    assert (net.name, net.classes) == ("faces-net", CLASSES)
    named = choose_extractor(pixel_faces, "faces-net")
    assert (named.classes, named.columns) == (net.classes, net.columns)
    skin = extractor("faces-net").for_classes(("skin 1", "skin 3"))
    assert skin.classes == ATTRIBUTES["skin"]
    assert net.columns == slice(0, 2)
    images = pixel_faces.held_out.images[:8]
    assert net.features(images)[1].shape == (8, 2)
    assert torch.equal(net.features(images)[0], skin.features(images)[0])
    unlabeled = replace(pixel_faces, labels=None, held_out=replace(pixel_faces.held_out, labels=None))
    assert choose_extractor(unlabeled).name == "random-conv64"
    # Other images with the same class names do not get it.
    wrong = replace(pixel_faces.held_out, labels=1 - pixel_faces.held_out.labels)
    assert extractor_for(wrong.images, wrong.labels, wrong.classes).name == "random-conv64"
