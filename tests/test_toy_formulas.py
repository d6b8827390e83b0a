"""The toys saturation, distance and elbo, and constant codes on the ring: numbers against closed forms."""

import json
import math

import pytest
import torch
from PIL import Image
from scipy.optimize import linprog

from sparring.cli import main
from sparring.data.dataset import Dataset
from sparring.errors import SparringError
from sparring.seeds import make_generator
from sparring.toys import distance, elbo, mixtures, saturation

P = saturation.PROBABILITIES


@pytest.mark.parametrize(
    ("name", "cost", "gradient"),
    [
        ("minimax", lambda p: math.log(1 - p), lambda p: -p),
        ("non-saturating", lambda p: -math.log(p), lambda p: p - 1),
        ("least-squares", lambda p: (p - 1) ** 2 / 2, lambda p: p - 1),
        ("logistic + squared error", lambda p: (p - 1) ** 2 / 2, lambda p: (p - 1) * p * (1 - p)),
    ],
)
def test_costs_and_gradients_against_their_formulas(name, cost, gradient):
    costs, gradients = saturation.curve(name, P)
    assert costs == pytest.approx([cost(p) for p in P])
    assert gradients == pytest.approx([gradient(p) for p in P])
    ends, _ = saturation.curve(name, [1e-9, 1 - 1e-9])
    for limit, end in zip(
        sorted((saturation.COSTS[name].lowest, saturation.COSTS[name].highest)), sorted(ends), strict=True
    ):
        assert abs(end) > 20 if math.isinf(limit) else end == pytest.approx(limit, abs=1e-8)


def test_which_games_are_zero_sum():
    assert [name for name in saturation.GAMES if saturation.zero_sum(name)] == ["minimax", "wasserstein"]
    assert saturation.payoffs("minimax", 0.2) == pytest.approx(math.log(0.5))  # E log D(x), whatever G does
    assert saturation.payoffs("non-saturating", 0.2) == pytest.approx(sum(map(math.log, (0.5, 0.8, 0.2))))


def test_a_good_discriminator_leaves_the_minimax_generator_no_gradient():
    generator = make_generator("bright")
    bright = Dataset("bright", torch.randint(200, 256, (128, 1, 6, 6), dtype=torch.uint8, generator=generator))
    minimax, other = (list(saturation.play(game, bright, steps=40)) for game in ("minimax", "non-saturating"))
    assert [state.steps for state in minimax] == list(range(41))
    assert [s.score for s in minimax] == pytest.approx([s.score for s in other])  # the same D from the same seed
    ratios = [b.gradient / a.gradient for a, b in zip(minimax, other, strict=True)]  # (1 - D(G(z))) / D(G(z)), about
    assert ratios[0] == pytest.approx(1, rel=0.3)
    assert ratios[-1] > 5
    assert minimax[-1].score < 0.1


def test_distances_against_their_formulas():
    for theta in (0.01, 1.0, 4.0):
        far, near = distance.distances(distance.lines(theta)), distance.distances(distance.gaussians(theta))
        assert (far.jsd, far.kl) == (pytest.approx(math.log(2)), math.inf)
        assert near.kl == pytest.approx(theta**2 / 2)
        for one in (far, near):
            assert one.wasserstein == pytest.approx(theta)
            assert one.value == pytest.approx(one.from_jsd, abs=1e-9)
    same = distance.distances(distance.lines(0.0))
    assert (same.jsd, same.kl, same.wasserstein) == (0, 0, 0)
    assert same.value == pytest.approx(-math.log(4))


def test_the_wasserstein_distance_against_a_linear_program():
    generator = make_generator("program")
    real, fake = (torch.randn(7, generator=generator, dtype=torch.float64) for _ in range(2))
    rows = torch.eye(7, dtype=torch.float64)
    margins = torch.cat([rows.repeat_interleave(7, 1), rows.repeat(1, 7)])
    cost = (real[:, None] - fake).abs().flatten()
    best = linprog(cost.numpy(), A_eq=margins.numpy(), b_eq=[1 / 7] * 14).fun
    points = distance.Pair(rows[0], rows[0], real, fake)
    assert distance.distances(points).wasserstein == pytest.approx(best)


def test_the_critic_has_the_slope_of_its_formula():
    trained = distance.train("wgan-gp", 2.0, steps=120)
    assert trained.distance == pytest.approx(2 * 1.1, rel=0.01)
    assert trained.gradient == pytest.approx(distance.slope(2.0), rel=0.05)


def test_the_best_bound_is_that_of_a_search():
    """The bound of N(w z, sigma^2) with its exact posterior is log N(x; 0, w^2 + sigma^2), maximized over w."""
    for sigma in (0.3, 1.0, 1.4):
        variances = [w * w + sigma**2 for w in torch.linspace(0, 2, 2001).tolist()]
        best = max(-0.5 * (math.log(2 * math.pi * v) + 1 / v) for v in variances)
        assert elbo.optimum(sigma).bound == pytest.approx(best, abs=1e-5)
    assert elbo.optimum(1.0).bound == elbo.LOG_LIKELIHOOD == pytest.approx(elbo.optimum(0.1).bound)
    assert [elbo.optimum(sigma).rate for sigma in (0.5, 1.0, 2.0)] == pytest.approx([math.log(2), 0, 0])


def test_the_vae_reaches_it():
    for sigma in (0.5, 1.5):
        reached, best = elbo.train(sigma, rounds=150), elbo.optimum(sigma)
        assert reached.bound == pytest.approx(best.bound, abs=0.03)
        assert reached.rate == pytest.approx(best.rate, abs=0.05)


def test_without_noise_the_generator_is_one_point():
    *_, last = mixtures.play(mixtures.ring(), "gan", rounds=1, constant_codes=True)
    assert len(last.points.unique(dim=0)) == 1
    *_, last = mixtures.play(mixtures.ring(), "gan", rounds=1)
    assert len(last.points.unique(dim=0)) > 1000


def test_the_commands(capsys, tmp_path):
    for command, words in (
        ("saturation --steps 0", "Zero-sum: minimax, wasserstein."),
        ("distance --steps 0", "-log 4 + 2 JSD"),
        ("elbo --rounds 0", "-1.4189"),
    ):
        name = command.split()[0]
        out = tmp_path / f"{name}.webp"
        main(["toy", *command.split(), "--out", str(out)])
        assert words in capsys.readouterr().out
        with Image.open(out) as picture:
            assert min(picture.size) > 300
        main(["toy", *command.split(), "--json"])
        assert json.loads(capsys.readouterr().out)["toy"] == name


def test_unknown_names_are_refused():
    with pytest.raises(SparringError, match="unknown cost 'minmax'"):
        saturation.curve("minmax", P)
    with pytest.raises(SparringError, match="unknown game 'minmax'"):
        saturation.payoffs("minmax", 0.5)
    with pytest.raises(SparringError, match="unknown game 'hinge'"):
        next(saturation.play("hinge", Dataset("one", torch.zeros(1, 1, 6, 6, dtype=torch.uint8))))
