"""The Parzen-window log-likelihood: closed forms, a second implementation, and why it is no measure of quality."""

import math

import numpy as np
import pytest
import torch

from sparring.data import load
from sparring.errors import SparringError
from sparring.metrics import SIGMAS, Parzen, parzen_log_likelihood


def rand(n, *shape, seed):
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed))


def test_the_widths_are_those_of_the_published_protocol():
    assert np.allclose(SIGMAS, np.logspace(-1, 0, 10))
    assert SIGMAS[2] == pytest.approx(0.1668, abs=1e-4)


def test_one_center_is_a_normal_distribution():
    center, x = torch.full((1, 1, 2, 2), 0.5), rand(50, 1, 2, 2, seed=0)
    found = parzen_log_likelihood(real=x, fake=center, chosen_on=x)
    center = torch.tensor(0.5, dtype=torch.float64)
    expected = torch.distributions.Normal(center, found.sigma).log_prob(x.double()).flatten(1).sum(1)
    assert found.value == pytest.approx(expected.mean().item(), rel=1e-12)
    assert found.error == pytest.approx(expected.std(correction=0).item() / math.sqrt(50), rel=1e-12)


def test_many_centers_are_a_mixture(monkeypatch):
    x, centers, choosing = rand(31, 1, 3, 3, seed=1), rand(17, 1, 3, 3, seed=2), rand(9, 1, 3, 3, seed=3)

    def mixture(points, sigma):
        each = torch.distributions.Independent(torch.distributions.Normal(centers.flatten(1).double(), sigma), 1)
        weights = torch.distributions.Categorical(torch.ones(17))
        density = torch.distributions.MixtureSameFamily(weights, each, validate_args=False)
        return density.log_prob(points.flatten(1).double())

    likeliest = max(SIGMAS, key=lambda sigma: mixture(choosing, sigma).mean())
    assert likeliest not in (SIGMAS[0], SIGMAS[-1])
    found = parzen_log_likelihood(real=x, fake=centers, chosen_on=choosing)
    assert found.sigma == likeliest
    assert found.value == pytest.approx(mixture(x, likeliest).mean().item(), rel=1e-6)
    monkeypatch.setattr("sparring.metrics.parzen.BLOCK", 4)
    again = parzen_log_likelihood(real=x, fake=centers, chosen_on=choosing)
    assert (again.sigma, again.value) == (found.sigma, pytest.approx(found.value, rel=1e-12))


def test_the_width_is_chosen_on_other_images_than_those_that_are_tested():
    centers = torch.full((3, 4), 0.5)
    near, far = torch.full((5, 4), 0.5), torch.tensor([[0.0], [1.0]]).repeat(4, 4)
    assert parzen_log_likelihood(real=far, fake=centers, chosen_on=near).sigma == SIGMAS[0]
    found = parzen_log_likelihood(real=near, fake=centers, chosen_on=far)
    assert found.sigma == pytest.approx(0.5, abs=0.07)  # the likeliest width is the distance in each dimension
    assert found == Parzen(pytest.approx(-4 * math.log(found.sigma * math.sqrt(2 * math.pi))), 0.0, found.sigma)


def test_a_point_on_a_center_keeps_its_precision():
    centers = torch.ones(400, 784)
    found = parzen_log_likelihood(real=centers[:3], fake=centers, chosen_on=centers[:3])
    assert found.value == pytest.approx(-784 * math.log(0.1 * math.sqrt(2 * math.pi)), rel=1e-12)


def test_pixels_and_shapes_that_are_wrong():
    x = rand(4, 1, 3, 3, seed=4)
    with pytest.raises(SparringError, match="fake images have pixels outside 0 to 1"):
        parzen_log_likelihood(real=x, fake=2 * x - 1, chosen_on=x)
    with pytest.raises(SparringError, match=r"fake images are \(4, 1, 2, 2\)"):
        parzen_log_likelihood(real=x, fake=x[..., :2, :2], chosen_on=x)
    with pytest.raises(SparringError, match="chosen_on images have pixels"):
        parzen_log_likelihood(real=x, fake=x, chosen_on=x * torch.nan)


def test_blurred_means_score_higher_than_real_digits():
    """Theis et al. 2016: what is best here is no generator of digits, but the centers of k-means."""
    digits = load("digits", held_out=0).images[torch.randperm(5000, generator=torch.Generator().manual_seed(0))] / 255
    training, choosing, tested = digits[:2000].flatten(1), digits[2000:2200], digits[2200:3200]
    centers = training[:100].clone()
    for _ in range(8):
        nearest = torch.cdist(training, centers).argmin(1)
        centers = torch.stack([training[nearest == k].mean(0) for k in range(100)])
    real = parzen_log_likelihood(real=tested, fake=training[:100].view(-1, 1, 28, 28), chosen_on=choosing)
    blurred = parzen_log_likelihood(real=tested, fake=centers.view(-1, 1, 28, 28), chosen_on=choosing)
    assert blurred.value > real.value + 20


def test_real_mnist_digits_score_243_6(sparring_data):
    data = load("mnist", root=sparring_data, held_out=0)
    assert data.test is not None
    found = parzen_log_likelihood(
        real=data.test.images / 255, fake=data.images[:10_000] / 255, chosen_on=data.images[50_000:51_000] / 255
    )
    assert found.value == pytest.approx(243.6, abs=4)  # another 10,000 digits move it by one or two
    assert found.error == pytest.approx(2.1, abs=0.1)
    assert found.sigma == SIGMAS[2]
