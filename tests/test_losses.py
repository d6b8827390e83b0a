"""Every loss against its closed form, its equilibrium (Goodfellow et al. 2014, section 4) and its properties."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sparring.errors import SparringError
from sparring.losses import GAMES, Targets, cross_entropy, game, gradient_penalty, squared_error

LOG2 = math.log(2)
SCORES = torch.tensor([-3.0, -0.5, 0.0, 1.25, 4.0], dtype=torch.float64)
OTHER = torch.tensor([2.0, -1.0, 0.25, -7.0, 0.5], dtype=torch.float64)


def p(s):
    return 1 / (1 + torch.exp(-s))


CLOSED = {
    "minimax": (
        lambda r, f: -(torch.log(p(r)) + torch.log(1 - p(f))).mean(),
        lambda f: torch.log(1 - p(f)).mean(),
    ),
    "non-saturating": (
        lambda r, f: -(torch.log(p(r)) + torch.log(1 - p(f))).mean(),
        lambda f: -torch.log(p(f)).mean(),
    ),
    "least-squares": (
        lambda r, f: ((r - 1) ** 2 + f**2).mean() / 2,
        lambda f: ((f - 1) ** 2).mean() / 2,
    ),
    "hinge": (
        lambda r, f: (torch.clamp(1 - r, min=0) + torch.clamp(1 + f, min=0)).mean(),
        lambda f: -f.mean(),
    ),
    "wasserstein": (lambda r, f: (f - r).mean(), lambda f: -f.mean()),
}


@pytest.mark.parametrize("name", GAMES)
def test_closed_form(name):
    d, g = CLOSED[name]
    torch.testing.assert_close(game(name).discriminator(SCORES, OTHER), d(SCORES, OTHER))
    torch.testing.assert_close(game(name).generator(OTHER), g(OTHER))


@pytest.mark.parametrize(
    ("name", "options", "d", "g"),
    [
        ("minimax", {}, 2 * LOG2, -LOG2),
        ("non-saturating", {}, 2 * LOG2, LOG2),
        ("non-saturating", {"half_d_loss": True}, LOG2, LOG2),
        ("non-saturating", {"real_label": 0.0, "fake_label": 1.0}, 2 * LOG2, LOG2),
        ("least-squares", {}, 0.25, 0.125),
        ("least-squares", {"real_label": 1.0, "fake_label": -1.0}, 1.0, 0.5),
        ("hinge", {}, 2.0, 0.0),
        ("wasserstein", {}, 0.0, 0.0),
    ],
)
def test_equilibrium(name, options, d, g):
    assert game(name, **options).equilibrium() == pytest.approx((d, g))


def test_equilibrium_of_least_squares_at_score_zero_is_one_half_each():
    zero = torch.zeros(7)
    assert float(game("least-squares").discriminator(zero, zero)) == 0.5
    assert float(game("least-squares").generator(zero)) == 0.5


@pytest.mark.parametrize(
    "options", [{"label_smoothing": 0.1}, {"label_flip_prob": 0.2}, {"real_label_noise": 0.5, "fake_label_noise": 0.3}]
)
def test_equilibrium_is_where_an_indifferent_discriminator_stays(options):
    """With equal real and fake images, no constant score has a lower expected loss than the one claimed."""
    torch.manual_seed(0)
    tricky = game("non-saturating", **options)
    at_best = tricky.equilibrium()[0]

    def expected(score):
        s = torch.full((200_000,), score, dtype=torch.float64)
        return float(tricky.discriminator(s, s))

    best = tricky.neutral_score(tricky.targets)
    assert expected(best) == pytest.approx(at_best, abs=2e-3)
    assert expected(best - 0.3) > at_best
    assert expected(best + 0.3) > at_best


def test_optimal_discriminator_of_two_gaussians_is_the_density_ratio():
    """Proposition 1: the minimizer over functions is log p_data / p_g; here by gradient descent on a grid of scores."""
    x = torch.linspace(-4, 4, 81, dtype=torch.float64)
    data, model = torch.exp(-((x - 0.5) ** 2) / 2), torch.exp(-((x + 0.5) ** 2) / 2)
    data, model = data / data.sum(), model / model.sum()
    score = (data / model).log()
    loss = (data * F.softplus(-score) + model * F.softplus(score)).sum()
    for shift in (-0.1, 0.1):
        moved = score + shift * torch.sin(x)
        assert (data * F.softplus(-moved) + model * F.softplus(moved)).sum() > loss


@pytest.mark.parametrize("name", GAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_stable_at_huge_logits(name, dtype):
    for real, fake in ((1e4, -1e4), (-1e4, 1e4)):
        r = torch.full((4,), real, dtype=dtype, requires_grad=True)
        f = torch.full((4,), fake, dtype=dtype, requires_grad=True)
        d, g = game(name).discriminator(r, f), game(name).generator(f)
        assert d.dtype == g.dtype == dtype
        (d + g).backward()
        assert torch.isfinite(torch.stack([d, g])).all()
        assert torch.isfinite(r.grad).all()
        assert torch.isfinite(f.grad).all()


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(sorted(GAMES)),
    st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=1, max_size=9),
    st.randoms(),
)
def test_permuting_or_doubling_a_batch_changes_nothing(name, pairs, random):
    real, fake = torch.tensor(pairs, dtype=torch.float64).T
    shuffled = list(range(len(pairs)))
    random.shuffle(shuffled)
    d, g = game(name).discriminator(real, fake), game(name).generator(fake)
    torch.testing.assert_close(game(name).discriminator(real[shuffled], fake), d)
    torch.testing.assert_close(game(name).discriminator(real.repeat(2), fake.repeat(2)), d)
    torch.testing.assert_close(game(name).generator(fake[shuffled].repeat(3)), g)


@pytest.mark.parametrize("name", ["minimax", "non-saturating", "least-squares"])
def test_swapped_labels_mirror_the_game(name):
    """CSC321 tells D real = 0, fake = 1: with scores mirrored about the middle, nothing changes."""
    swapped = game(name, real_label=0.0, fake_label=1.0)
    mirror = (lambda s: 1 - s) if name == "least-squares" else (lambda s: -s)
    torch.testing.assert_close(
        swapped.discriminator(mirror(SCORES), mirror(OTHER)), game(name).discriminator(SCORES, OTHER)
    )
    torch.testing.assert_close(swapped.generator(mirror(OTHER)), game(name).generator(OTHER))


def test_cross_entropy_is_the_stable_formula():
    for target in (0.0, 0.3, 1.0):
        stable = (SCORES.clamp(min=0) - SCORES * target + torch.log1p(torch.exp(-SCORES.abs()))).mean()
        torch.testing.assert_close(cross_entropy(SCORES, target), stable)
        reference = F.binary_cross_entropy_with_logits(SCORES, torch.full_like(SCORES, target))
        torch.testing.assert_close(cross_entropy(SCORES, target), reference)
    torch.testing.assert_close(squared_error(SCORES, 1.0), F.mse_loss(SCORES, torch.ones_like(SCORES)) / 2)


def test_smoothing_is_one_sided():
    label_smoothing = game("non-saturating", label_smoothing=0.1)
    expected = cross_entropy(SCORES, 0.9) + cross_entropy(OTHER, 0.0)
    torch.testing.assert_close(label_smoothing.discriminator(SCORES, OTHER), expected)
    torch.testing.assert_close(label_smoothing.generator(OTHER), game("non-saturating").generator(OTHER))


def test_flips_and_noise_have_the_promised_frequency_and_range():
    torch.manual_seed(1)
    many = torch.zeros(100_000)
    flipped = Targets(flip_prob=0.2).for_real(many)
    assert set(flipped.unique().tolist()) == {0.0, 1.0}
    assert float((flipped == 0).float().mean()) == pytest.approx(0.2, abs=0.005)
    soft = Targets(smoothing=0.3, real_noise=0.5, fake_noise=0.3)  # ganhacks 6
    assert soft.bounds() == pytest.approx((0, 1.2))
    for noisy, (low, high) in ((soft.for_real(many), (0.7, 1.2)), (soft.for_fake(many), (0, 0.3))):
        assert low <= float(noisy.min()) < low + 0.01 < high - 0.01 < float(noisy.max()) <= high + 1e-6
    both = Targets(smoothing=0.1, real_noise=-0.2, fake_noise=0.4, flip_prob=0.3)
    assert both.bounds() == pytest.approx((0, 1))
    mean_real, mean_fake = both.means()
    assert float(both.for_real(many).mean()) == pytest.approx(mean_real, abs=0.005)
    assert float(both.for_fake(many).mean()) == pytest.approx(mean_fake, abs=0.005)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("hinge", {"label_smoothing": 0.1}, "does not use targets"),
        ("wasserstein", {"real_label": 0.0, "fake_label": 1.0}, "does not use targets"),
        ("hing", {}, "did you mean 'hinge'"),
        ("non-saturating", {"label_flip_prob": 0.7}, r"\[0, 0.5\]"),
        ("non-saturating", {"label_flip_prob": 0.5}, "leaves no training signal"),
        ("least-squares", {"label_flip_prob": 1 / 3, "label_smoothing": 0.5}, "leaves no training signal"),
        ("least-squares", {"label_flip_prob": 0.5, "label_smoothing": 0.4}, "leaves no training signal"),
        ("least-squares", {"fake_label_noise": 0.6}, r"\[-0.5, 0.5\]"),
        ("non-saturating", {"real_label": 0.0, "fake_label_noise": 0.1}, "label noise must be equal"),
        ("minimax", {"real_label": 2.0}, "must be 0 or 1"),
        ("minimax", {"fake_label": 1.0, "real_label_noise": 0.2, "fake_label_noise": 0.2}, "mean target is 1.1"),
        (
            "minimax",
            {"label_smoothing": 0.5, "real_label_noise": -0.5, "fake_label_noise": -0.5},
            "mean target is 0: it must be between 0 and 1",
        ),
    ],
)
def test_impossible_games_are_refused(name, options, words):
    with pytest.raises(SparringError, match=words):
        game(name, **options)


@pytest.mark.parametrize("name", ["minimax", "non-saturating", "least-squares"])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_with_equal_labels_there_is_nothing_to_learn(name, label):
    """The wrong answers of Raschka's exercises: D's loss does not say which images are real."""
    wrong, right = game(name, real_label=label, fake_label=label), game(name)
    assert float(wrong.discriminator(SCORES, OTHER)) == pytest.approx(float(wrong.discriminator(OTHER, SCORES)))
    assert float(right.discriminator(SCORES, OTHER)) != pytest.approx(float(right.discriminator(OTHER, SCORES)))

    assert wrong.equilibrium() == pytest.approx((0, 0))
    best = label if name == "least-squares" else 40 * (2 * label - 1)  # the same for every image
    score = torch.full((5,), best, dtype=torch.float64, requires_grad=True)
    (wrong.discriminator(score, score) + wrong.generator(score)).backward()
    assert float(score.grad.abs().max()) < 1e-15
    assert f"have the same label, {label:g}: D learns one score for all images" in wrong.caveats()[0]


def test_cross_entropy_with_a_target_above_one_has_no_minimum():
    soft = game("non-saturating", label_smoothing=0.3, real_label_noise=0.5, fake_label_noise=0.3)
    assert "targets reach 1.2, which is not a probability" in soft.caveats()[0]
    scores = torch.tensor([10.0, 100.0, 1000.0], dtype=torch.float64)
    losses = [float(cross_entropy(score, 1.2)) for score in scores]
    assert losses == pytest.approx([-0.2 * float(score) for score in scores], abs=1e-4)
    assert not game("non-saturating", label_smoothing=0.3, real_label_noise=0.3, fake_label_noise=0.3).caveats()
    assert not game("least-squares", real_label_noise=0.5).caveats()


# Penalties.


def linear(width=6):
    torch.manual_seed(2)
    return nn.Linear(width, 1).double()


def test_penalty_of_a_linear_judge_is_the_norm_of_its_weight():
    judge, x = linear(), torch.randn(5, 6, dtype=torch.float64)
    norm = judge.weight.norm()
    torch.testing.assert_close(gradient_penalty(judge, x), norm**2)
    torch.testing.assert_close(gradient_penalty(judge, x, target=1.0), (norm - 1) ** 2)


def curved():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1)).double()


@pytest.mark.parametrize("target", [0.0, 1.0])
def test_penalty_has_one_norm_per_sample(target):
    judge, x = curved(), torch.randn(7, 6, dtype=torch.float64)
    alone = torch.stack([gradient_penalty(judge, x[i : i + 1], target=target) for i in range(7)])
    torch.testing.assert_close(gradient_penalty(judge, x, target=target), alone.mean())
    torch.testing.assert_close(gradient_penalty(judge, x.flip(0).repeat(2, 1), target=target), alone.mean())


@pytest.mark.parametrize("target", [0.0, 1.0])
def test_penalty_agrees_with_autograd_to_second_order(target):
    """A second implementation with torch.autograd.grad: equal values and equal gradients of the weights."""
    x = torch.randn(7, 6, dtype=torch.float64)
    ours, theirs = curved(), curved()
    gradient_penalty(ours, x, target=target).backward()
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(theirs(leaf).sum(), leaf, create_graph=True)
    norms = slope.square().sum(1).sqrt()
    (norms.square() if target == 0 else (norms - target).square()).mean().backward()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(
            a.grad if a.grad is not None else torch.zeros_like(a), b.grad if b.grad is not None else torch.zeros_like(b)
        )
    assert float(ours[0].weight.grad.abs().max()) > 0


def test_second_order_of_the_penalty_by_finite_differences():
    judge = curved()
    x = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: gradient_penalty(judge, v), (x,))
