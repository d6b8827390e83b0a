"""`check` tells what is in a folder, what will be done to it and what is wrong, and never stops at a bad file."""

import importlib
import io
import os
import zipfile

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from sparring.data import check, load
from sparring.errors import SparringError


@pytest.fixture
def zoo(tmp_path):
    """Two classes of 150 gray images of 16 x 16, and one of every trouble among the cats."""
    folder = tmp_path / "[zoo]"
    for index in range(150):
        for name in ("cat", "dog"):
            path = folder / name / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            value = np.random.default_rng([index, len(name), ord(name[0])]).integers(0, 256, (16, 16), dtype=np.uint8)
            Image.fromarray(value).save(path)
    cats = folder / "cat"
    (cats / "0.png").write_bytes((cats / "1.png").read_bytes())
    Image.fromarray(np.full((16, 16), 4000, np.uint16)).save(cats / "deep.tif")
    Image.new("RGBA", (16, 16), (1, 2, 3, 0)).save(cats / "clear.png")
    (cats / "page\n404.jpg").write_bytes(b"<html>")
    (cats / "cut.png").write_bytes((cats / "2.png").read_bytes()[:100])
    os.mkfifo(cats / "fifo.png")
    (cats / "notes.txt").write_text("these are cats")
    return folder


def test_everything_is_counted(zoo):
    report = check(zoo)
    assert (report.images, report.decoded, report.duplicates) == (305, 302, 1)
    assert report.classes == {"cat": 155, "dog": 150}
    assert report.sizes == {"16 x 16": 302}
    assert report.formats == {"PNG": 301, "TIFF": 1}
    assert report.modes == {"L": 300, "I;16": 1, "RGBA": 1}
    assert report.conversions == {"16-bit scaled to 8 bits": 1, "transparency blended with the background": 1}
    assert sorted(report.bad) == ["cat/cut.png", "cat/fifo.png", "cat/page\n404.jpg"]
    assert report.bad["cat/fifo.png"] == "not a regular file"
    assert any("notes.txt" in note for note in report.notes)


@pytest.mark.parametrize("repaired", [False, True])
def test_it_is_ok_exactly_when_load_takes_it(zoo, repaired, tmp_path):
    if not repaired:
        (zoo / "cat/4.png").write_bytes(b"")  # 4 of 305, and not 3
    report = check(zoo)
    assert report.ok == repaired
    assert str(report).endswith("\nready to train on" if repaired else "\nnot ready to train on")
    if repaired:
        assert len(load(zoo, cache=tmp_path / "cache", held_out=0)) == report.images - len(report.bad)
    else:
        with pytest.raises(SparringError, match="more than 1%"):
            load(zoo, cache=tmp_path / "cache")


def test_the_text_can_be_read(zoo):
    text = str(check(zoo))
    assert "[zoo]" in text  # no markup of rich's
    assert "cat/page\\n404.jpg" in text
    assert "16 x 16 (302)" in text
    assert f"sparring train RECIPE --data '{zoo}' --size 16 --channels 1" in text
    assert all(line == line.rstrip() for line in text.splitlines())
    console = Console(record=True, width=80, file=io.StringIO())
    console.print(check(zoo))
    assert "bad files" in console.export_text()


def test_mixed_sizes_get_a_suggestion(tmp_path):
    for index in range(30):
        side = 70 + index if index else 20
        Image.new("RGB", (side, side + 5), (200, index, 0)).save(tmp_path / f"{index}.jpg")
    report = check(tmp_path)
    assert any("--size 64 --channels 3" in line for line in report.advice)
    assert any(line.startswith("1 image is smaller than 64 x 64") for line in report.advice)
    assert any("center square" in line for line in report.advice)
    assert report.ok


def test_skipped_images_are_counted_in_the_last_line(tmp_path):
    for index in range(40):
        folder = tmp_path / ("cat", "dog", ".", "cat")[index % 4]
        folder.mkdir(exist_ok=True)
        Image.fromarray(np.full((16, 16), index, np.uint8)).save(folder / f"{index}.png")
    for index in range(10):
        (tmp_path / "dog" / f"{index}.heic").write_bytes(b"heic")
    report = check(tmp_path, held_out=5)
    assert (report.images, report.skipped, report.ok) == (30, 20, True)
    assert str(report).endswith("\nready to train on 30 of 50 images: 20 (40%) are skipped")
    assert "--labels-from none uses all images" in str(report)
    assert "--size 16 --channels 1 --held-out 5\n" in str(report)
    everything = check(tmp_path, labels_from="none")
    assert (everything.images, everything.skipped) == (40, 10)
    assert "--labels-from none" in everything.advice[-1]
    assert check(np.zeros((60, 8, 8), np.uint8)).advice[0].startswith("60 images are fewer than one batch")
    assert "train with --held-out 50" in check(np.zeros((100, 8, 8), np.uint8)).advice[0]


def test_reports_and_data_are_short_in_a_notebook(zoo):
    report, data = check(zoo), load(np.zeros((60, 8, 8), np.uint8))
    assert repr(report) == f"<CheckReport of '{zoo}': 305 images, 3 bad>"
    assert report._repr_html_().startswith("<pre>")
    assert "&lt;" not in str(report)
    assert repr(data) == "<Dataset 'array': 54 images of 1 x 8 x 8, 6 held out>"


def test_uneven_classes_are_pointed_out(zoo):
    (zoo / "owl").mkdir()
    Image.new("L", (16, 16)).save(zoo / "owl/1.png")
    assert any("1 image (owl) to 155" in line for line in check(zoo).advice)


def test_a_zip_is_checked_like_its_folder(zoo, tmp_path):
    (zoo / "cat/fifo.png").unlink()
    with zipfile.ZipFile(tmp_path / "zoo.zip", "w") as archive:
        for file in sorted(zoo.rglob("*")):
            archive.write(file, str(file.relative_to(zoo)))
    zipped, plain = check(tmp_path / "zoo.zip"), check(zoo)
    for name in ("images", "bad", "sizes", "formats", "modes", "conversions", "classes", "duplicates"):
        assert getattr(zipped, name) == getattr(plain, name)


def test_of_a_very_large_folder_only_a_sample_is_decoded(zoo, monkeypatch):
    monkeypatch.setattr(importlib.import_module("sparring.data.check"), "DECODE_ALL", 100)
    report = check(zoo)
    assert 70 < report.decoded <= 100
    assert sum(report.sizes.values()) >= 302
    assert "headers of all" in str(report)


def test_named_sets_and_arrays_are_checked_too():
    report = check("digits")
    assert (report.images, report.ok, report.sizes) == (5000, True, {"28 x 28": 5000})
    assert report.classes == {str(digit): 500 for digit in range(10)}
    assert check(np.zeros((5, 8, 8), np.uint8)).duplicates == 4


def test_nothing_to_check_is_one_line(tmp_path):
    with pytest.raises(SparringError, match="no images"):
        check(tmp_path)
    with pytest.raises(SparringError, match="unknown data set"):
        check("digitz")


def test_molecules_are_looked_at(tmp_path):
    found = check("nci")
    assert found.ok
    assert found.sizes == {"13 x 13": found.images}
    assert any("synthetic growth" in note for note in found.notes)
    (tmp_path / "mine.smi").write_text("CCO\nc1ccccc1\n")
    assert check(tmp_path / "mine.smi").images == 2
