"""Priors: two-sample tests against a second implementation, and what their components promise."""

import math

import numpy as np
import pytest
import torch

from sparring import priors
from sparring.errors import SparringError

N = 4000


def codes(prior, seed=0):
    return prior.draw(torch.Generator().manual_seed(seed), N).numpy().astype(float)


def by_numpy(name, rng):
    """The same distributions, sample by sample, in the words of the papers."""
    rows = []
    for _ in range(N):
        if name == "gaussian":
            rows.append(rng.normal(0, 5, 2))
        elif name == "uniform":
            rows.append(rng.uniform(-2, 2, 2))
        elif name == "gaussians":
            k = rng.integers(10)
            x, y, a = rng.normal(0, 0.5) + 1.4, rng.normal(0, 0.1), 2 * math.pi * k / 10
            rows.append([x * math.cos(a) - y * math.sin(a), x * math.sin(a) + y * math.cos(a)])
        else:
            u = rng.uniform()
            r, phi = 3 * math.sqrt(u), 4 * math.pi * math.sqrt(u)
            rows.append([r * math.cos(phi), r * math.sin(phi)])
    return np.array(rows, dtype=float)


def kolmogorov_smirnov(a, b):
    """The largest difference of the two empirical distribution functions, times sqrt(n m / (n + m))."""
    every = np.sort(np.concatenate([a, b]))
    gap = np.searchsorted(np.sort(a), every, "right") / len(a) - np.searchsorted(np.sort(b), every, "right") / len(b)
    return float(np.abs(gap).max() * math.sqrt(len(a) * len(b) / (len(a) + len(b))))


def directions():
    angles = np.linspace(0, math.pi, 8, endpoint=False)
    return np.stack([np.cos(angles), np.sin(angles)])


PRIORS = {
    "gaussian": priors.gaussian(2, std=5.0),
    "uniform": priors.uniform(2, bound=2.0),
    "gaussians": priors.gaussian_mixture(),
    "swiss-roll": priors.swiss_roll(),
}


@pytest.mark.parametrize("name", PRIORS)
def test_two_sample_test_against_numpy(name):
    """On 8 projections and the radius; 2.2 is passed by chance once in 8,000 (P(K > x) = 2 exp(-2 x^2))."""
    mine, theirs = codes(PRIORS[name]), by_numpy(name, np.random.default_rng(1))
    for a, b in zip((mine @ directions()).T, (theirs @ directions()).T, strict=True):
        assert kolmogorov_smirnov(a, b) < 2.2
    assert kolmogorov_smirnov(np.hypot(*mine.T), np.hypot(*theirs.T)) < 2.2


def test_the_two_sample_test_sees_small_errors():
    """Petals that are a third too long, and a roll that is even in its radius, not in u, do not pass."""
    reference = by_numpy("gaussians", np.random.default_rng(1))
    long = codes(priors.gaussian_mixture(long=0.65))
    assert max(map(kolmogorov_smirnov, (long @ directions()).T, (reference @ directions()).T)) > 2.2
    reference = by_numpy("swiss-roll", np.random.default_rng(1))
    assert kolmogorov_smirnov(3 * np.random.default_rng(2).uniform(size=N), np.hypot(*reference.T)) > 2.2


def test_components_are_where_they_should_be():
    g = torch.Generator().manual_seed(3)
    petals = priors.gaussian_mixture().each(g, 2000)
    assert petals.shape == (2000, 10, 2)
    center, angle = petals.mean(0), 2 * math.pi * torch.arange(10) / 10
    torch.testing.assert_close(center, 1.4 * torch.stack([angle.cos(), angle.sin()], 1), atol=0.06, rtol=0)
    turned = petals[:, 3] @ torch.tensor(
        [[math.cos(angle[3]), -math.sin(angle[3])], [math.sin(angle[3]), math.cos(angle[3])]]
    )
    torch.testing.assert_close(turned.std(0), torch.tensor([0.5, 0.1]), rtol=0.06, atol=0)

    arms = priors.swiss_roll().each(g, 500)
    u = (arms.norm(dim=2) / 3).square()
    assert all(bool(((u[:, k] >= k / 10 - 1e-5) & (u[:, k] <= (k + 1) / 10 + 1e-5)).all()) for k in range(10))
    assert (u[:, 4] - 0.4).mean().item() == pytest.approx(0.05, abs=0.005)


def test_the_whole_takes_every_component_equally_often():
    drawn = priors.categorical(5).draw(torch.Generator().manual_seed(0), 5000)
    assert set(drawn.sum(1).tolist()) == {1.0}
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    chi_squared = ((drawn.sum(0) - 1000).square() / 1000).sum().item()
    assert chi_squared < 23.5  # 4 degrees of freedom, p = .0001


def test_codes_depend_on_the_generator_only():
    for prior in PRIORS.values():
        first, again, other = (prior.draw(torch.Generator().manual_seed(s), 7) for s in (1, 1, 2))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert first.dtype == torch.float32


def test_walks_stay_on_the_prior():
    """The middle of every petal's row is its center; the roll's rows join; the plane has equal steps of probability."""
    (petals,) = priors.gaussian_mixture().traversals().values()
    torch.testing.assert_close(petals[:, 7].norm(dim=1), torch.full((10,), 1.4))
    (roll,) = priors.swiss_roll().traversals().values()
    torch.testing.assert_close(roll[:-1, -1], roll[1:, 0])
    (plane,) = priors.gaussian(2, std=3.0).traversals().values()
    steps = torch.distributions.Normal(0.0, 3.0).cdf(plane[0, :, 0])
    torch.testing.assert_close(steps, torch.linspace(0.05, 0.95, 15))
    assert plane[0, 0, 1] > plane[-1, 0, 1]
    assert not priors.gaussian(3).traversals()


def test_a_prior_of_the_users_own():
    ring = priors.from_sampler(lambda g, n: torch.nn.functional.normalize(torch.randn(n, 3, generator=g)), 3)
    torch.testing.assert_close(ring.draw(torch.Generator(), 50).norm(dim=1), torch.ones(50))
    with pytest.raises(SparringError, match=r"returned codes \(4, 3\): it must return \(4, 2\)"):
        priors.from_sampler(lambda g, n: torch.randn(n, 3, generator=g), 2).draw(torch.Generator(), 4)
