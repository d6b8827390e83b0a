"""Codes, reconstructions and edges: closed forms, second implementations, and intervals that hold what they promise."""

import math

import pytest
import torch
import torch.nn.functional as F

from sparring.errors import SparringError
from sparring.metrics import (
    active_units,
    blur_ratio,
    cluster_to_class,
    codes,
    energy_distance,
    laplacian_variance,
    squared_errors,
)

# Distance of codes.


def normal(n, d=1, *, seed):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_energy_distance_of_two_points_is_twice_their_distance():
    origin, far = torch.zeros(4, 2), torch.tensor([[3.0, 4.0]]).repeat(7, 1)
    assert energy_distance(real=origin, fake=far) == pytest.approx(10)
    assert energy_distance(real=origin, fake=origin[:2]) == 0


def test_energy_distance_by_two_loops():
    x, y = normal(7, 3, seed=0), 2 * normal(5, 3, seed=1) + 0.5

    def mean_distance(a, b):
        return sum(math.dist(p, q) for p in a.tolist() for q in b.tolist()) / (len(a) * len(b))

    expected = 2 * mean_distance(x, y) - mean_distance(x, x) - mean_distance(y, y)
    assert energy_distance(real=x, fake=y) == pytest.approx(expected, rel=1e-12)


def test_energy_distance_in_one_dimension_is_the_area_between_distribution_functions():
    x, y = normal(60, seed=2), 1.5 * normal(40, seed=3) + 1  # Szekely and Rizzo 2013: 2 int (F - G)^2
    at = torch.cat([x, y]).flatten().sort().values
    difference = (x <= at).double().mean(0) - (y <= at).double().mean(0)
    area = (difference[:-1].square() * at.diff()).sum()
    assert energy_distance(real=x, fake=y) == pytest.approx(2 * area.item(), rel=1e-10)


@pytest.mark.parametrize("shift", [0.0, 0.5, 3.0])
def test_energy_distance_of_two_normals(shift):
    def mean_absolute(m, s):
        return s * math.sqrt(2 / math.pi) * math.exp(-(m**2) / (2 * s**2)) + m * math.erf(m / (s * math.sqrt(2)))

    expected = 2 * mean_absolute(shift, math.sqrt(2)) - 2 * mean_absolute(0, math.sqrt(2))
    found = energy_distance(real=normal(4000, seed=4), fake=normal(4000, seed=5) + shift)
    assert found == pytest.approx(expected, abs=0.01 + 0.03 * expected)


def test_two_sets_of_one_distribution_are_as_far_apart_as_the_docstring_says():
    n, m = 50, 80
    found = [energy_distance(real=normal(n, seed=i), fake=normal(m, seed=1000 + i)) for i in range(300)]
    expected = 2 / math.sqrt(math.pi) * (1 / n + 1 / m)
    assert sum(found) / 300 == pytest.approx(expected, rel=0.15)


def test_energy_distance_does_not_change_with_order_place_or_blocks(monkeypatch):
    x, y = normal(30, 4, seed=6), 0.5 * normal(20, 4, seed=7)
    found = energy_distance(real=x, fake=y)
    turned = torch.linalg.qr(normal(4, 4, seed=8)).Q
    assert energy_distance(real=y, fake=x) == pytest.approx(found, rel=1e-12)
    assert energy_distance(real=x.flip(0) @ turned + 9, fake=y @ turned + 9) == pytest.approx(found, rel=1e-9)
    monkeypatch.setattr(codes, "BLOCK", 7)
    assert energy_distance(real=x, fake=y) == pytest.approx(found, rel=1e-12)


def test_codes_that_cannot_be_compared():
    with pytest.raises(SparringError, match="real codes have 2 dimensions, fake codes 3"):
        energy_distance(real=torch.zeros(4, 2), fake=torch.zeros(4, 3))
    with pytest.raises(SparringError, match="1 of 4 codes are NaN"):
        energy_distance(real=torch.zeros(4, 2), fake=torch.zeros(4, 2).index_fill(0, torch.tensor([1]), torch.nan))
    with pytest.raises(SparringError, match=r"must be \(N, F\), N > 0"):
        energy_distance(real=torch.zeros(0, 2), fake=torch.zeros(4, 2))


# Units and clusters.


def test_a_unit_is_awake_if_its_variance_exceeds_a_hundredth():
    each = torch.tensor([-1.0, 1.0]).repeat(500)[:, None] * (999 / 1000) ** 0.5  # variance 1
    spread = torch.tensor([0.0, 0.05, 0.0999, 0.1001, 1.0])
    assert active_units(7 + each * spread).tolist() == [False, False, False, True, True]


def test_a_cluster_is_named_after_the_image_that_is_surest():
    p = torch.tensor([[0.6, 0.4, 0.0], [0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.05, 0.9, 0.05], [0.5, 0.4, 0.1]])
    assert cluster_to_class(p.log(), torch.tensor([4, 7, 5, 2, 4])).tolist() == [7, 2, 4]


# Reconstructions.


def test_squared_errors_are_of_pixels_from_0_to_1(monkeypatch):
    black, white = torch.zeros(3, 1, 4, 4, dtype=torch.uint8), torch.full((3, 1, 4, 4), 255, dtype=torch.uint8)
    assert squared_errors(real=black, fake=white).tolist() == [1, 1, 1]
    fake = black.clone()
    fake[1] = 51
    fake[2, 0, 0] = 51
    expected = [0, pytest.approx(0.04), pytest.approx(0.01)]
    assert squared_errors(real=black, fake=fake).tolist() == expected
    monkeypatch.setattr(codes, "BLOCK", 2)
    assert squared_errors(real=fake, fake=black).tolist() == expected
    with pytest.raises(SparringError, match="do not have the images' shape"):
        squared_errors(real=black, fake=black[:2])


# Edges.


def test_edges_in_closed_form():
    row, column = torch.arange(8.0)[:, None], torch.arange(6.0)[None, :]
    board = 3 * (-1) ** (row + column)
    pictures = torch.stack([board, row + 2 * column, row**2 + column.expand(8, 6), row**3 + 0 * column])[:, None]
    # The Laplacian of +-3 is -+24, of a plane 0, of a parabola 2 everywhere, of row^3 it is 6 row for rows 1 to 6.
    assert laplacian_variance(pictures).tolist() == pytest.approx([24**2, 0, 0, 36 * 35 / 12], abs=1e-9)


def test_edges_by_convolution_and_of_colors():
    colors = torch.randint(0, 256, (5, 3, 9, 7), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    luma = (colors * torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)[:, None, None]).sum(1, keepdim=True)
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]], dtype=torch.float64)[None, None]
    torch.testing.assert_close(laplacian_variance(colors), F.conv2d(luma, kernel).flatten(1).var(1, correction=0))
    gray = colors[:, :1]
    torch.testing.assert_close(laplacian_variance(gray.expand(-1, 3, -1, -1)), laplacian_variance(gray))


def test_images_without_an_inside_have_no_edges():
    assert laplacian_variance(torch.rand(3, 1, 2, 9)).tolist() == [0, 0, 0]
    with pytest.raises(SparringError, match=r"C = 1 or 3; got \(2, 2, 9, 9\)"):
        laplacian_variance(torch.rand(2, 2, 9, 9))
    with pytest.raises(SparringError, match="flat"):
        blur_ratio(real=torch.zeros(3), fake=torch.ones(3))


def test_blur_lowers_the_ratio_and_noise_raises_it():
    pictures = torch.rand(40, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    real = laplacian_variance(pictures)
    assert blur_ratio(real=real, fake=real, paired=True) == (1, (1, 1))
    assert blur_ratio(real=real, fake=laplacian_variance(F.avg_pool2d(pictures, 3, 1, 1)))[1][1] < 0.3
    noise = 0.3 * torch.randn(pictures.shape, generator=torch.Generator().manual_seed(2))
    assert blur_ratio(real=real, fake=laplacian_variance(pictures + noise))[1][0] > 1.5


@pytest.mark.parametrize("paired", [True, False])
def test_the_interval_of_a_ratio_holds_the_truth_95_times_in_100(paired):
    g = torch.Generator().manual_seed(3)
    hits, widths = 0, []
    for _ in range(1000):
        real = 1 + torch.rand(100, generator=g, dtype=torch.float64)
        shared = real if paired else 1 + torch.rand(80, generator=g, dtype=torch.float64)
        fake = 0.7 * shared + 0.1 * torch.randn(len(shared), generator=g, dtype=torch.float64)
        ratio, (low, high) = blur_ratio(real=real, fake=fake, paired=paired)
        assert low < ratio < high
        hits += low < 0.7 < high
        widths.append(high - low)
    assert 0.93 < hits / 1000 < 0.97
    assert sum(widths) / 1000 < (0.04 if paired else 0.2)
