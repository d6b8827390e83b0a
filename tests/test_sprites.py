"""Sprites: every image is what its factors say, and the factors follow the images through every split."""

from dataclasses import replace

import pytest
import torch

import sparring
from sparring.errors import SparringError


@pytest.fixture(scope="module")
def sprites():
    return sparring.load("sprites", held_out=0)


def place(data, shape, scale, x, y):
    return data.images_at(torch.tensor([((shape * 6 + scale) * 32 + x) * 32 + y]))[0, 0].float() / 255


def test_all_combinations_once(sprites):
    assert len(sprites) == 3 * 6 * 32 * 32
    assert sprites.classes == ("square", "ellipse", "heart")
    assert len(torch.unique(sprites.factors.values, dim=0)) == len(sprites)
    assert len(torch.unique(sprites.images.flatten(1), dim=0)) == len(sprites)  # no two images are equal
    assert torch.equal(sprites.labels, sprites.factors.values[:, 0])


def test_shapes_sizes_and_places(sprites):
    columns, rows = torch.meshgrid(torch.arange(28) + 0.5, torch.arange(28) + 0.5, indexing="xy")
    for scale, radius in enumerate((3.0, 3.6, 4.2, 4.8, 5.4, 6.0)):
        square, ellipse = place(sprites, 0, scale, 16, 16), place(sprites, 1, scale, 16, 16)
        assert float(square.sum()) == pytest.approx(4 * radius**2, rel=0.06)
        assert float(ellipse.sum()) == pytest.approx(torch.pi * radius**2 / 2, rel=0.06)
    for shape in (0, 1):  # symmetric: the center of mass is the place
        image = place(sprites, shape, 5, 20, 9)
        assert float((image * columns).sum() / image.sum()) == pytest.approx(14 + (20 - 16) / 2, abs=0.02)
        assert float((image * rows).sum() / image.sum()) == pytest.approx(14 + (9 - 16) / 2, abs=0.02)
    for shape in range(3):  # two positions are one pixel
        assert torch.equal(place(sprites, shape, 3, 12, 20), place(sprites, shape, 3, 10, 20).roll(1, 1))
        assert torch.equal(place(sprites, shape, 3, 10, 20), place(sprites, shape, 3, 10, 18).roll(1, 0))
    heart = place(sprites, 2, 5, 16, 16)
    assert torch.equal(heart, heart.flip(1))
    assert float(heart[:14].sum()) > float(heart[14:].sum())  # the point is below
    for axis in (0, 1):  # nothing is cut off: the outermost positions hold as much as the middle
        for place_at in (0, 31):
            x, y = (place_at, 16) if axis else (16, place_at)
            edge, middle = place(sprites, 2, 5, x, y), place(sprites, 2, 5, 16 + place_at % 2, 16)
            assert float(edge.sum()) == pytest.approx(float(middle.sum()), rel=0.02)


def test_factors_follow_the_images(sprites):
    split = sparring.load("sprites")
    assert len(split.held_out) == 1843
    for part in (split, split.held_out, split.held_out.rows(slice(5, 9)), split.of_class(2)):
        assert len(part.factors.values) == len(part)
        shape, scale, x, y = part.factors.values[-1].tolist()
        assert torch.equal(part.images_at(torch.tensor([-1]))[0, 0].float() / 255, place(sprites, shape, scale, x, y))
    with pytest.raises(SparringError, match=r"factors are .* one row per image"):
        replace(sprites, index=torch.arange(3), labels=None)
