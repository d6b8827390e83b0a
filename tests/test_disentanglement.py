"""Disentanglement: perfect, rotated, duplicated and independent codes in closed form, and scikit-learn's trees."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.tree import DecisionTreeRegressor
from torch import nn

import sparring
from sparring.data.dataset import Dataset, Factors
from sparring.data.pixels import to_uint8
from sparring.errors import SparringError
from sparring.losses import game
from sparring.metrics import dci, modularity, mutual_information, mutual_information_gap
from sparring.metrics.disentanglement import Forest
from sparring.system import System
from sparring.systems.infogan import InfoGAN


def every(*sizes):
    return torch.cartesian_prod(*map(torch.arange, sizes))


FACTORS = every(3, 4, 8, 8).repeat(2, 1)[torch.randperm(2 * 768, generator=torch.Generator().manual_seed(0))]
ORDERED = (False, True, True, True)
PERFECT = FACTORS.double() @ torch.diag(torch.tensor([2.0, -1, 0.5, 3]).double())


def test_mutual_information_by_hand():
    codes = torch.tensor([[0.0], [0.0], [1.0], [1.0]])
    factors = torch.tensor([[0, 0], [0, 1], [1, 0], [0, 1]])
    p = torch.tensor([[0.5, 0.0], [0.25, 0.25]])
    expected = sum(
        float(v * math.log(v / (p.sum(1)[i] * p.sum(0)[j]))) for i in range(2) for j, v in enumerate(p[i]) if v
    )
    found = mutual_information(codes, factors)
    assert float(found[0, 0]) == pytest.approx(expected)
    assert float(found[0, 1]) == pytest.approx(0, abs=1e-12)


def test_a_perfect_code():
    assert mutual_information_gap(PERFECT, FACTORS) == pytest.approx(1)
    assert modularity(PERFECT, FACTORS) == pytest.approx(1)
    scores = dci(PERFECT, FACTORS, ordered=ORDERED)
    assert scores.disentanglement > 0.99
    assert scores.completeness > 0.99
    assert scores.informativeness > 0.99
    idle = torch.cat([PERFECT, torch.zeros(len(PERFECT), 3).double()], 1)  # constant units: only modularity counts them
    assert mutual_information_gap(idle, FACTORS) == pytest.approx(1)
    assert modularity(idle, FACTORS) == pytest.approx(4 / 7)
    assert dci(idle, FACTORS, ordered=ORDERED).disentanglement > 0.99


def test_two_units_for_one_factor_are_modular_but_have_no_gap():
    twice = torch.cat([PERFECT, PERFECT], 1)
    assert mutual_information_gap(twice, FACTORS) == pytest.approx(0, abs=1e-9)
    assert modularity(twice, FACTORS) == pytest.approx(1)


def test_one_unit_for_two_factors_is_complete_but_not_disentangled():
    factors = every(4, 5).repeat(40, 1)
    codes = (5 * factors[:, :1] + factors[:, 1:]).double()  # 20 values: both factors are known from one unit
    assert mutual_information_gap(codes, factors) == pytest.approx(1)  # there is no second unit
    a, b = math.log(4) ** 2, math.log(5) ** 2
    assert modularity(codes, factors) == pytest.approx(1 - a / b)
    scores = dci(codes, factors, ordered=(False, False))
    assert scores.completeness == pytest.approx(1)
    assert scores.disentanglement < 0.05
    assert scores.informativeness > 0.7


def test_rotation_and_independence():
    turned = PERFECT.clone()
    turned[:, 2:] = FACTORS[:, 2:].double() @ torch.tensor([[1.0, 1], [-1, 1]]).double() / 2**0.5
    assert 0.4 < mutual_information_gap(turned, FACTORS) < 0.6  # shape and scale are still perfect
    assert 0.4 < dci(turned, FACTORS, ordered=ORDERED).disentanglement < 0.85
    noise = torch.randn(len(FACTORS), 4, generator=torch.Generator().manual_seed(1))
    assert mutual_information_gap(noise, FACTORS) < 0.02
    scores = dci(noise, FACTORS, ordered=ORDERED)
    assert scores.disentanglement < 0.1
    assert scores.completeness < 0.1
    assert scores.informativeness < 0.05


def test_a_tree_is_that_of_scikit_learn():
    g = torch.Generator().manual_seed(2)
    x = torch.randint(0, 12, (400, 5), generator=g)
    y = torch.stack([x[:, 1] * 1.3 + (x[:, 3] > 4) * 5.7, x[:, 0].float().sin()], 1) + torch.randn(400, 2, generator=g)
    ours = Forest(x, y, trees=1, depth=4, leaf=3)
    theirs = DecisionTreeRegressor(max_depth=4, min_samples_leaf=3, random_state=0).fit(x.numpy(), y.numpy())
    np.testing.assert_allclose(ours.importance, theirs.feature_importances_, atol=1e-9)
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x.numpy()), atol=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mutual_information_gap(PERFECT[:5], FACTORS), "factors \\(N, K\\)"),
        (lambda: mutual_information_gap(PERFECT, FACTORS - 1), "int64 values from 0"),
        (lambda: mutual_information_gap(PERFECT / 0, FACTORS), "NaN|infinite|finite"),
        (lambda: mutual_information_gap(PERFECT, torch.zeros_like(FACTORS)), "single value"),
        (lambda: modularity(PERFECT, FACTORS[:, :1]), "at least two factors"),
        (lambda: dci(PERFECT[:10], FACTORS[:10], ordered=ORDERED), "16 images or more"),
        (lambda: dci(PERFECT, FACTORS, ordered=(True,)), "`ordered` for each factor"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(SparringError, match=message):
        call()


# Evaluation.


class Reader(System):
    """Encodes each image as its factors, turned by a matrix."""

    def __init__(self, data, matrix):
        super().__init__()
        self.data, self.matrix = data, matrix

    def encode(self, images):
        key = {image.numpy().tobytes(): i for i, image in enumerate(self.data.images)}
        rows = [key[image.numpy().tobytes()] for image in to_uint8(images)]
        return self.data.factors.values[rows].float() @ self.matrix


def with_factors(count=600):
    """Random images with factors."""
    values = FACTORS[:count]
    pixels = torch.randint(0, 256, (count, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    factors = Factors(("shape", "scale", "x", "y"), values, ORDERED)
    return Dataset("factors", pixels.to(torch.uint8), factors=factors)


def test_evaluation_measures_data_with_factors():
    data = with_factors()
    split = data.hold_out(0.5)
    perfect = sparring.evaluate(Reader(data, torch.eye(4)), split)
    mixed = sparring.evaluate(Reader(data, torch.full((4, 4), 0.5) + torch.eye(4) / 4), split)
    for name in ("MIG", "disentanglement", "completeness", "informativeness", "modularity"):
        assert perfect[name].value > 0.9
        assert (perfect[name].n, perfect[name].split) == (300, "held_out")
        assert perfect[name].floor < (0.95 if name == "modularity" else 0.35)
        assert perfect[name].words == "factors: shape, scale, x, y"
    for name in ("MIG", "disentanglement", "completeness"):
        assert mixed[name].value < perfect[name].value - 0.4
    without = sparring.evaluate(
        Reader(data, torch.eye(4)), replace(split, factors=None, held_out=replace(split.held_out, factors=None))
    )
    assert "MIG" not in {one.metric for one in without.measurements}


def test_the_codes_of_infogan_are_its_category_and_values():
    torch.manual_seed(0)
    T = nn.Flatten()
    Q, D = nn.Linear(16, 5), nn.Linear(16, 1)
    G = nn.Sequential(nn.Linear(6, 16), nn.Unflatten(1, (1, 4, 4)))
    system = InfoGAN(G, T, D, Q, latent_dim=1, n_categories=3, n_continuous=2, game=game("minimax"))
    x = torch.randn(7, 1, 4, 4)
    predicted = Q(x.flatten(1)).detach()
    codes = system.infer_codes(x)
    assert codes.shape == (7, 3)
    assert torch.equal(codes[:, 0].long(), predicted[:, :3].argmax(1))
    torch.testing.assert_close(codes[:, 1:], predicted[:, 3:])


def test_reciprocity_of_codes_in_closed_form():
    """E halves the codes, so the error is a quarter of their mean square; their variance is the baseline."""

    class Halving(System):
        latent_dim = 4

        def sample_latents(self, n, *, seed=0):
            return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed % 1000))

        def decode(self, codes):
            return (codes / 8).view(-1, 1, 2, 2)

        def encode(self, images):
            return 4 * images.flatten(1)

    pixels = torch.randint(0, 256, (60, 1, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = sparring.evaluate(Halving(), Dataset("pixels", pixels).hold_out(0.5))["latent reconstruction error"]
    assert found.n == 30
    assert found.value == pytest.approx(found.floor / 4, rel=0.15)
    assert found.floor == pytest.approx(1, abs=0.4)
    assert (found.unit, found.better, found.floor_name) == ("per unit", "lower", "the mean code")
