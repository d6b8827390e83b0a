"""The report: one file, nothing from elsewhere, everything that the design promises."""

import re

import pytest
import torch

import sparring
from sparring.data.dataset import Dataset
from sparring.errors import SparringError
from sparring.pictures import grid
from sparring.reporting import report
from sparring.training import train


@pytest.fixture(scope="module")
def run(toy_file, tmp_path_factory):
    return train(
        "csc321-mlp", toy_file, size=8, rounds=30, batch=16, latent=8, out=tmp_path_factory.mktemp("runs"), quiet=True
    )


def test_the_page_needs_nothing_from_elsewhere(run):
    page = report(run).read_text()
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page)
    assert not re.findall(r"url\((?!#)", page)
    assert "<script" not in page
    assert "@import" not in page


def test_the_page_shows_what_happened(run):
    page = report(run).read_text()
    assert page.count('src="data:image/webp;base64,') == 1  # growing
    assert page.count('src="data:image/png;base64,') == 2  # now, nearest training images
    assert page.count("<svg") == 5  # losses, mean scores, histogram, gradients, distance
    for words in (
        "discriminator 1.386, generator 0.693",
        "floor",
        "Copies?",
        "yield",
        "never seen",
        "csc321-mlp",
        "real_label",
    ):
        assert words in page, words
    sparring.evaluate(run.system(), run.data(), n=60)


def test_without_its_data_the_page_says_what_is_missing(tmp_path):
    pixels = torch.randint(0, 256, (600, 1, 8, 8), dtype=torch.uint8)
    data = Dataset("mine", pixels).hold_out(0.1)
    run = train("csc321-mlp", data, rounds=3, batch=16, out=tmp_path, quiet=True)
    page = report(run).read_text()
    assert "are missing" in page
    assert "data made in memory" in page
    assert "are missing" not in report(run, data=data).read_text()


def test_words_of_the_user_are_escaped(tmp_path):
    pixels = torch.randint(0, 256, (100, 1, 8, 8), dtype=torch.uint8)
    data = Dataset("<script>alert(1)</script>", pixels).hold_out(0.1)
    run = train("csc321-mlp", data, rounds=2, batch=16, out=tmp_path, quiet=True)
    assert "<script" not in report(run, data=data).read_text()


def test_grid_places_images_row_by_row():
    images = torch.full((5, 1, 2, 2), -1.0)
    images[3] = 1.0
    picture = grid(images, columns=2)
    assert picture.size == (2 * 4 + 2, 3 * 4 + 2)
    assert picture.getpixel((6, 6)) == 255  # the fourth: second row, second column
    assert picture.getpixel((2, 2)) == 0
    with pytest.raises(SparringError, match="a grid needs"):
        grid(torch.zeros(2, 5, 4, 4))
