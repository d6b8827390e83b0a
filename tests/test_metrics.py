"""The functions of features: closed forms, hand-made examples, second implementations, and what must not matter."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from sparring.errors import SparringError
from sparring.metrics import (
    class_histogram,
    classifier_test,
    distances,
    fit_cells,
    frechet_distance,
    kernel_distance,
    mean_interval,
    prdc,
    total_variation,
    wilson_interval,
)
from sparring.metrics.intervals import t_quantile


def normal(n, dimensions, seed=0):
    return torch.randn(n, dimensions, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def standardized(x):
    """Moved and turned so that the sample mean is exactly 0 and the sample covariance exactly the identity."""
    x = x - x.mean(0)
    return x @ torch.linalg.inv(torch.linalg.cholesky(x.T @ x / (len(x) - 1))).T


def pair(n=200, dimensions=6, seed=0):
    """Real and fake features that differ in mean, scale and correlation."""
    real, fake = normal(n, dimensions, seed), normal(n, dimensions, seed + 1)
    return {"real": real, "fake": fake * torch.linspace(0.5, 1.5, dimensions) + 0.3 * fake.roll(1, 1) + 0.2}


# Frechet distance.


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (2.0, 1.0), (0.0, 3.0), (1.5, 0.25)])
def test_fd_of_gaussians_is_the_closed_form(shift, scale):
    d = 5
    real, fake = standardized(normal(400, d)), standardized(normal(60, d, seed=1)) * scale + shift
    assert frechet_distance(real=real, fake=fake) == pytest.approx(shift**2 * d + d * (1 - scale) ** 2, abs=1e-9)


def test_fd_of_covariances_that_do_not_commute():
    a = torch.tensor([[2.0, 0.6], [0.6, 1.0]], dtype=torch.float64)
    b = torch.tensor([[0.5, -0.4], [-0.4, 3.0]], dtype=torch.float64)
    real = standardized(normal(50, 2)) @ torch.linalg.cholesky(a).T
    fake = standardized(normal(50, 2, seed=1)) @ torch.linalg.cholesky(b).T
    ab = a @ b
    # In two dimensions tr(AB)^1/2 = sqrt(tr AB + 2 sqrt(det AB)).
    cross = (ab.trace() + 2 * torch.linalg.det(ab).sqrt()).sqrt()
    expected = (a.trace() + b.trace() - 2 * cross).item()
    assert frechet_distance(real=real, fake=fake) == pytest.approx(expected, abs=1e-9)


def test_fd_agrees_with_torch_fidelity():
    for n in (200, 40):
        sets = pair(n, dimensions=24)
        statistics = [fid_features_to_statistics(features) for features in sets.values()]
        theirs = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
        assert frechet_distance(**sets) == pytest.approx(theirs, rel=1e-8)


def test_fd_is_symmetric_and_does_not_see_order_or_rotation():
    sets = pair()
    distance = frechet_distance(**sets)
    rotation = torch.linalg.qr(normal(6, 6, seed=9)).Q
    order = torch.randperm(200, generator=torch.Generator().manual_seed(3))
    assert frechet_distance(real=sets["fake"], fake=sets["real"]) == pytest.approx(distance, rel=1e-9)
    assert frechet_distance(real=sets["real"][order], fake=sets["fake"]) == pytest.approx(distance, rel=1e-9)
    turned = {name: features @ rotation + 7 for name, features in sets.items()}
    assert frechet_distance(**turned) == pytest.approx(distance, rel=1e-9)
    assert frechet_distance(real=sets["real"], fake=sets["fake"] @ rotation) != pytest.approx(distance, rel=1e-2)


def test_fd_is_computed_in_float64():
    sets = pair()
    near = {name: features.float() for name, features in sets.items()}
    far = {name: features + 4096 for name, features in near.items()}
    assert frechet_distance(**far) == pytest.approx(frechet_distance(**near), rel=1e-3)


@pytest.mark.parametrize("n", [2, 10, 100])
def test_fd_of_few_equal_or_constant_samples_is_a_plain_number(n):
    x = normal(n, 30)
    assert 0 <= frechet_distance(real=x, fake=x) < 1e-5
    collapsed = frechet_distance(real=x, fake=x[:1].expand(n, -1))
    assert isinstance(collapsed, float)
    # A fake without spread: the means' distance and the whole real variance.
    assert collapsed == pytest.approx(((x[0] - x.mean(0)) ** 2).sum().item() + x.var(0).sum().item(), rel=1e-6)


# Kernel distance.


def test_kid_by_hand():
    # The reals have mean 0 and deviation 1. Within: (-1+1)^3 = 0 and (0+1)^3 = 1; between: 1, -1, 1, 27, on average 7.
    real, fake = torch.tensor([[-1.0], [1.0]]), torch.tensor([[0.0], [2.0]])
    assert kernel_distance(real=real, fake=fake) == pytest.approx(0 + 1 - 2 * 7, abs=1e-12)


def test_kid_agrees_with_torch_fidelity():
    sets = pair(150)
    mean, deviation = sets["real"].mean(0), sets["real"].std(0, correction=0)
    scaled = [(features - mean) / deviation for features in sets.values()]
    theirs = kid_features_to_metric(*scaled, kid_subsets=1, kid_subset_size=150, verbose=False)
    assert kernel_distance(**sets) == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-9)


def test_kid_of_equal_distributions_is_zero_on_average():
    pairs = [(normal(60, 4, 2 * i), normal(60, 4, 2 * i + 1)) for i in range(60)]
    values = torch.tensor([kernel_distance(real=real, fake=fake) for real, fake in pairs])
    assert abs(values.mean()) < 3.5 * values.std() / 60**0.5
    assert (values < 0).any()
    # With the diagonals left in it would be 2 (1 + 1)^3 / n or more: far outside.
    assert 3.5 * values.std() / 60**0.5 < 2 * 2**3 / 60


def test_kid_does_not_see_scale_order_or_block(monkeypatch):
    sets = pair()
    distance = kernel_distance(**sets)
    scales = torch.tensor([1e-3, 1, 10, 1e3, 5, 0.1])
    assert kernel_distance(**{name: x * scales - 3 for name, x in sets.items()}) == pytest.approx(distance, rel=1e-9)
    assert kernel_distance(real=sets["real"].flip(0), fake=sets["fake"]) == pytest.approx(distance, rel=1e-9)
    for block in (7, 10_000):
        monkeypatch.setattr(distances, "BLOCK", block)
        assert kernel_distance(**sets) == pytest.approx(distance, rel=1e-9)


def test_kid_with_a_constant_feature_is_defined():
    sets = pair()
    for features in sets.values():
        features[:, 0] = 3.0
    assert kernel_distance(**sets) == kernel_distance(**sets)
    same = torch.full((10, 4), 2.0)
    assert kernel_distance(real=same, fake=same) == 0


@pytest.mark.parametrize("deviation", [1e-2, 1e-4, 1e-8, 1e-30])
def test_a_feature_that_hardly_varies_outweighs_no_other(deviation):
    sets = pair()
    sets["real"][:, 0] *= deviation
    sets["fake"][:, 0] = torch.randn(len(sets["fake"]), generator=torch.Generator().manual_seed(0))
    width = sets["real"].shape[1]
    clipped = (100 / width + 1) ** 3  # of two points that are 10 deviations away in this feature alone
    assert abs(kernel_distance(**sets)) < 20 * clipped
    assert 0.5 <= classifier_test(real=sets["real"][:50], fake=sets["fake"][:50]).accuracy <= 1
    cells = fit_cells(sets["real"], 5)
    assert len(cells.counts(sets["fake"]).nonzero()) > 1


def test_rounding_is_no_variety():
    real = 3.0 + 1e-8 * torch.randn(50, 4, generator=torch.Generator().manual_seed(1)).double()
    assert abs(kernel_distance(real=real, fake=real + 1e-7)) < 1e-6


@pytest.mark.parametrize("size", [1e16, 1e200])
def test_features_that_would_overflow_are_refused(size):
    sets = {name: x.double() for name, x in pair().items()}
    for name in sets:
        huge = {**sets, name: sets[name] * size}
        for metric in (frechet_distance, kernel_distance, prdc):
            with pytest.raises(SparringError, match=rf"{name} features reach \d.*more than 1e\+15"):
                metric(**huge)
    with pytest.raises(SparringError, match=r"finite features up to 1e\+15"):
        fit_cells(sets["real"] * size)
    large = {name: x * 1e14 for name, x in sets.items()}
    assert frechet_distance(**large) == pytest.approx(frechet_distance(**sets) * 1e28, rel=1e-6)
    assert prdc(**large) == prdc(**sets)


# Neighbors.


def literal(real, fake, k):
    """The four definitions, word for word: loops over points, no blocks, no shared distances."""
    real, fake = real.numpy(), fake.numpy()

    def reach(points, i):
        return sorted(np.linalg.norm(points[i] - points[j]) for j in range(len(points)) if j != i)[k - 1]

    def balls(points, centers, reaches):
        return [[np.linalg.norm(p - c) <= r for c, r in zip(centers, reaches, strict=True)] for p in points]

    fakes_in = np.array(balls(fake, real, [reach(real, i) for i in range(len(real))]))
    reals_in = np.array(balls(real, fake, [reach(fake, i) for i in range(len(fake))]))
    return (
        np.mean([row.any() for row in fakes_in]),
        np.mean([row.any() for row in reals_in]),
        np.mean([row.sum() / k for row in fakes_in]),
        np.mean([column.any() for column in fakes_in.T]),
    )


def test_neighbors_by_hand():
    # Reaches: real 1, 1, 2, 7; fake 3.5, 3.5, 1, 1.
    sets = {"real": torch.tensor([0.0, 1, 3, 10])[:, None], "fake": torch.tensor([0.5, 4, 20, 21])[:, None]}
    assert prdc(**sets, k=1) == (0.5, 0.75, 1.0, 1.0)


@pytest.mark.parametrize(("n", "dimensions", "k"), [(60, 2, 1), (60, 40, 5), (45, 100, 3)])
def test_neighbors_agree_with_the_definitions(n, dimensions, k):
    sets = pair(n, dimensions)
    assert prdc(**sets, k=k) == pytest.approx(literal(**sets, k=k), abs=1e-12)
    far = {"real": sets["real"], "fake": sets["fake"] * 1.6}
    assert prdc(**far, k=k) == pytest.approx(literal(**far, k=k), abs=1e-12)


def test_neighbors_agree_with_torch_fidelity():
    sets = pair(300, 20)
    sets["fake"] = sets["fake"] * 1.3
    ours = prdc(**sets, k=5)
    theirs = prc_features_to_metric(sets["fake"], sets["real"], prc_neighborhood=5, verbose=False)
    assert ours[:2] == pytest.approx((theirs["precision"], theirs["recall"]), abs=1e-6)
    assert abs(ours.precision - ours.recall) > 0.05


def test_neighbors_of_equal_distributions_have_their_expectations():
    n, k = 200, 5
    values = torch.tensor([prdc(real=normal(n, 8, 2 * i), fake=normal(n, 8, 2 * i + 1), k=k) for i in range(60)])
    error = values.std(0) / 60**0.5
    i = torch.arange(1, k + 1)
    coverage = 1 - torch.prod((n - i) / (2 * n - i)).item()
    assert abs(values[:, 2].mean() - 1) < 4 * error[2]
    assert abs(values[:, 3].mean() - coverage) < 4 * error[3]
    assert error[3] < 0.005
    # Precision and recall change places with the two sets, so they agree on average.
    assert abs(values[:, 0].mean() - values[:, 1].mean()) < 4 * (error[0] + error[1])


def test_precision_and_recall_tell_real_from_fake():
    # Fakes at one of two real centers: precise, and half of the reals are out of reach.
    real = torch.cat([normal(100, 4), normal(100, 4, 1) + 20])
    fake = normal(200, 4, 2)
    right, swapped = prdc(real=real, fake=fake), prdc(real=fake, fake=real)
    assert right.precision > 0.9
    assert right.recall < 0.51
    assert (swapped.precision, swapped.recall) == (right.recall, right.precision)
    assert right.coverage < 0.55 < 0.8 < swapped.coverage


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(1, 6), st.sampled_from([3, 64, 10_000]))
def test_neighbors_do_not_see_order_common_scale_or_block(seed, k, block):
    sets = pair(40, 3, seed)
    whole = prdc(**sets, k=k)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(seed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distances, "BLOCK", block)
        assert prdc(**sets, k=k) == whole
    assert prdc(real=sets["real"][order], fake=sets["fake"].flip(0), k=k) == whole
    assert prdc(real=sets["real"] * 1024, fake=sets["fake"] * 1024, k=k) == whole
    assert min(whole) >= 0
    assert max(whole.precision, whole.recall, whole.coverage) <= 1


def test_neighbors_of_copies_and_of_one_image():
    real = normal(50, 8)
    copies = prdc(real=real, fake=real)
    assert (copies.precision, copies.recall, copies.coverage) == (1, 1, 1)
    assert copies.density == pytest.approx((5 + 1) / 5)
    one = real[:1].expand(50, -1)
    assert prdc(real=one, fake=one) == (1, 1, 50 / 5, 1)
    collapsed = prdc(real=real, fake=one)
    assert collapsed.precision == 1
    assert collapsed.recall == 1 / 50


def test_ties_are_not_decided_by_rounding():
    # Among copies the k-th neighbor sits exactly on the border: k + 1 balls around every point. Distances through
    # |x|^2 + |y|^2 - 2 x.y lose a few of them.
    points = normal(300, 63)
    assert prdc(real=points, fake=points.flip(0)).density == pytest.approx(6 / 5, abs=1e-12)


# What is refused.


@pytest.mark.parametrize("function", [frechet_distance, kernel_distance, prdc])
def test_bad_features_are_refused_in_plain_words(function):
    x = normal(20, 4)
    broken = x.clone()
    broken[3, 1], broken[5, 0] = torch.nan, torch.inf
    with pytest.raises(SparringError, match="2 of 20 fake features are NaN or infinite"):
        function(real=x, fake=broken)
    with pytest.raises(SparringError, match="2 of 20 real features"):
        function(real=broken, fake=x)
    with pytest.raises(SparringError, match="4 dimensions, fake features 3"):
        function(real=x, fake=x[:, :3])
    with pytest.raises(SparringError, match=r"must be \(N, F\), F > 0; got \(80,\)"):
        function(real=x.flatten(), fake=x)
    with pytest.raises(SparringError, match="real samples are needed; got 1"):
        function(real=x[:1], fake=x)
    with pytest.raises(TypeError):
        function(x, x)


def test_neighbors_refuses_unequal_sets_and_too_large_k():
    x = normal(20, 4)
    with pytest.raises(SparringError, match="20 real, 19 fake"):
        prdc(real=x, fake=x[:19])
    with pytest.raises(SparringError, match="at least 21 real samples are needed; got 20"):
        prdc(real=x, fake=x, k=20)
    with pytest.raises(SparringError, match="k is 0: it must be at least 1"):
        prdc(real=x, fake=x, k=0)
    assert prdc(real=x, fake=x, k=19).precision == 1


# Classes and intervals.


def test_class_histogram_by_hand():
    real, fake = torch.tensor([0, 0, 1, 1, 2, 2, 2, 2]), torch.tensor([0, 0, 0, 1])
    rows = class_histogram(real=real, fake=fake, classes=("cat", "dog", "owl"))
    assert [(row.name, row.share, row.real_share) for row in rows] == [
        ("cat", 0.75, 0.25),
        ("dog", 0.25, 0.25),
        ("owl", 0.0, 0.5),
    ]
    assert (rows[2].low, rows[2].high) == wilson_interval(0, 4)
    assert total_variation(real=real.bincount(minlength=3), fake=fake.bincount(minlength=3)) == 0.5
    assert json.loads(json.dumps(rows))[0][0] == "cat"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 3]), "range from 0 to 3; there are 3 classes"),
        (torch.tensor([-1, 0]), "range from -1 to 0"),
        (torch.tensor([], dtype=torch.int64), r"N > 0; got \(0,\)"),
        (torch.tensor([0.0, 1.0]), "integers"),
    ],
)
def test_class_histogram_refuses_labels_without_a_class(labels, message):
    with pytest.raises(SparringError, match=f"fake labels .*{message}"):
        class_histogram(real=torch.tensor([0]), fake=labels, classes=("a", "b", "c"))


def test_wilson_interval_has_its_published_values():
    assert wilson_interval(27, 30) == pytest.approx((0.7438, 0.9654), abs=1e-4)
    assert wilson_interval(0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    assert wilson_interval(10, 10) == pytest.approx((0.7225, 1), abs=1e-4)


def test_mean_interval_is_students():
    # Mean 3, deviation 1.5811, four degrees of freedom: 2.7764 x 1.5811 / sqrt 5 = 1.9632.
    assert mean_interval([1, 2, 3, 4, 5]) == pytest.approx((3 - 1.9632, 3 + 1.9632), abs=1e-4)
    assert mean_interval([1.0]) is None
    # Tables: 2.2010 (11), 2.0860 (20), 2.0003 (60).
    assert [t_quantile(f) for f in (11, 20, 60)] == pytest.approx([2.2010, 2.0860, 2.0003], abs=3e-3)
