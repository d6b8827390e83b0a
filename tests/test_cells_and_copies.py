"""Cells, twins, copies, two-sample tests, spectra: closed forms, published values, p-values that mean what they say."""

import math

import numpy as np
import pytest
import torch

from sparring.data import load
from sparring.errors import SparringError
from sparring.metrics import (
    authenticity,
    bin_z,
    checkerboard_power,
    chi_square_p,
    classifier_test,
    duplicate_threshold,
    duplicates,
    effective_support,
    fit_cells,
    frechet_distance,
    frechet_infinity,
    high_frequency_share,
    jensen_shannon,
    kernel_distance,
    missing_cells,
    missing_share,
    ndb,
    nearest,
    nearest_other,
    nearest_train_test,
    one_nn_accuracy,
    power_spectrum,
    prdc,
)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(n, dimensions, seed=0):
    return torch.randn(n, dimensions, generator=rng(seed), dtype=torch.float64)


def counts(*numbers):
    return torch.tensor(numbers)


# Cells.


def test_jensen_shannon_has_its_closed_forms():
    assert jensen_shannon(real=counts(3, 5), fake=counts(6, 10)) == pytest.approx(0, abs=1e-12)
    assert jensen_shannon(real=counts(4, 0), fake=counts(0, 7)) == pytest.approx(math.log(2))
    by_hand = (math.log(1 / 0.75) + 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)) / 2
    assert jensen_shannon(real=counts(9, 0), fake=counts(5, 5)) == pytest.approx(by_hand)


def test_cells_that_differ_are_counted():
    # Shares .1 of 1,000 and .2 of 500: pooled 2/15, error sqrt(2/15 13/15 (1/1000 + 1/500)) = .01862.
    z = bin_z(real=counts(100, 900, 0), fake=counts(100, 400, 0))
    assert z.tolist() == pytest.approx([5.3709, -5.3709, 0], abs=1e-3)
    assert ndb(real=counts(100, 900, 0), fake=counts(100, 400, 0)) == pytest.approx(2 / 3)
    assert ndb(real=counts(100, 900, 0), fake=counts(100, 400, 0), beyond=6) == 0


def test_chi_square_has_scipys_values():
    # scipy 1.15: chi2_contingency(..., correction=False)
    assert chi_square_p(real=counts(10, 20, 30), fake=counts(15, 15, 30)) == pytest.approx(0.42437284567695)
    assert chi_square_p(real=counts(100, 220, 330), fake=counts(15, 45, 60)) == pytest.approx(0.6159507920957443)
    assert chi_square_p(real=counts(100, 220, 330, 0), fake=counts(15, 45, 60, 0)) == pytest.approx(0.6159507920957443)


def test_cells_find_clumps_and_name_the_one_that_is_missing():
    centers = 20 * normal(6, 5)
    clump = torch.arange(600) % 6
    points = centers[clump] + normal(600, 5, 1)
    cells = fit_cells(points, 6)
    member = cells.of(points)
    assert len({(int(a), int(b)) for a, b in zip(member, clump, strict=True)}) == 6
    real, fake = cells.counts(points), cells.counts(points[clump != 4])
    assert missing_share(real=real, fake=fake) == pytest.approx(1 / 6)
    assert missing_cells(real=real, fake=fake).nonzero().item() == int(member[clump == 4][0])
    assert missing_share(real=fake, fake=real) == 0, "the other way round, nothing is missing"


def test_a_rare_cell_is_not_missing_by_chance():
    assert not missing_cells(real=counts(5, 995), fake=counts(0, 1000)).any()
    assert missing_cells(real=counts(40, 960), fake=counts(2, 998)).tolist() == [True, False]
    assert not missing_cells(real=counts(40, 960), fake=counts(15, 985)).any()


def test_cells_do_not_see_scale_and_are_the_same_every_time():
    points = normal(400, 3)
    scaled = points * torch.tensor([1.0, 100, 0.01]) + 5
    first, again = fit_cells(points, 20), fit_cells(scaled, 20)
    assert torch.equal(first.of(points), again.of(scaled))
    assert len(fit_cells(torch.ones(30, 2), 10).centers) == 1, "equal points have one cell"


@pytest.mark.parametrize("seed", [0])
def test_ndb_of_mnist_is_the_published_one(sparring_data, seed):
    """Richardson and Weiss 2018, their README: pixels, 100 bins of 45,000 digits, against 10,000."""
    data = load("mnist", root=sparring_data, held_out=0)
    order = torch.randperm(len(data), generator=rng(seed))
    pixels, labels = data.images.flatten(1).float() / 255, data.labels
    train, rest = pixels[order[:45_000]], order[45_000:]
    cells = fit_cells(train, 100, standardize=False, seed=seed)
    real = cells.counts(train)
    without_nines = rest[labels[rest] != 9]

    def measured(images):
        fake = cells.counts(images)
        return round(100 * ndb(real=real, fake=fake)), jensen_shannon(real=real, fake=fake)

    (unseen, unseen_js), (test, test_js), (no_nines, no_nines_js) = (
        measured(images)
        for images in (pixels[rest[:10_000]], data.test.images.flatten(1).float() / 255, pixels[without_nines])
    )
    assert unseen <= 2  # published: 0
    assert unseen_js == pytest.approx(0.0014, abs=0.0003)
    assert 2 <= test <= 9  # published: 4
    assert test_js == pytest.approx(0.0041, abs=0.0006)
    assert 9 <= no_nines <= 16  # published: 11
    assert no_nines_js == pytest.approx(0.014, abs=0.0025)  # published: .016


# Twins.


def test_twins_by_hand():
    points = torch.tensor([[0.0], [0.1], [5.0], [9.0], [9.0]])
    assert nearest_other(points).tolist() == pytest.approx([0.1, 0.1, 4, 0, 0], abs=1e-6)
    assert duplicates(fake=points, within=0.2) == (0.8, 2)
    assert duplicates(fake=points, within=0.0) == (0.4, 1)
    assert duplicate_threshold(normal(2000, 2), share=0.5) == pytest.approx(
        float(nearest_other(normal(2000, 2)).median()), rel=0.01
    )


@pytest.mark.parametrize("support", [50, 1000])
def test_the_birthday_paradox_counts_what_there_is(support):
    inside = 0
    for seed in range(20):
        drawn = torch.randint(support, (200,), generator=rng(seed)).double()[:, None]
        pairs = duplicates(fake=drawn, within=0.0).pairs
        value, (low, high) = effective_support(pairs, 200)
        inside += low <= support <= high
        assert low <= value <= high
    assert inside >= 17
    assert effective_support(0, 200)[0] == 19_900
    # Arora and Zhang: a twin with probability 1/2 in a set of s means a support of s^2 / 2 ln 2.
    s = 100
    assert effective_support(1, s)[0] == pytest.approx(s**2 / 2, rel=0.02)


# Copies of the training images.


def test_copies_are_all_taken_for_training_images():
    train, held_out = normal(600, 8), normal(300, 8, 1)
    found = nearest_train_test(train=train, held_out=held_out, fake=train[:200])
    assert (found.share, found.copied) == (1, 1)
    assert found.expected == pytest.approx(2 / 3)
    assert found.p < 1e-6
    assert nearest_train_test(train=train, held_out=held_out, fake=held_out[:200]).copied == pytest.approx(-2)
    auth = authenticity(train=train, fake=train[:200])
    assert auth.share == 0
    assert (auth.distance == 0).all()
    assert torch.equal(auth.at, torch.arange(200))


def test_the_share_of_copies_is_estimated_without_bias_whatever_else_is_wrong():
    """Equal piles and 30 % copies: share .65. And for fakes that are blurred, shrunk or few, nothing."""
    equal, tenfold = [], []
    for seed in range(12):
        train, held_out = normal(2000, 6, 10 * seed), normal(2000, 6, 10 * seed + 1)
        fresh = normal(700, 6, 10 * seed + 2)
        fake = torch.cat([train[:300], fresh])
        equal.append(nearest_train_test(train=train, held_out=held_out, fake=fake))
        tenfold.append(nearest_train_test(train=train, held_out=held_out[:200], fake=fake))
        for wrong in (fresh * 0.3, fresh + 2, fresh[:5].repeat(100, 1)):
            assert abs(nearest_train_test(train=train, held_out=held_out, fake=wrong).z) < 4
    assert np.mean([one.share for one in equal]) == pytest.approx(0.65, abs=0.015)
    for found in (equal, tenfold):
        assert np.mean([one.copied for one in found]) == pytest.approx(0.3, abs=0.04)
    assert min(one.z for one in equal) > 5


def test_the_deviation_is_that_of_relabeling_the_pile():
    pile, fake = normal(300, 3), torch.cat([normal(80, 3, 1), normal(4, 3, 2).repeat(20, 1)])
    shares = []
    for seed in range(400):
        order = torch.randperm(300, generator=rng(seed))
        found = nearest_train_test(train=pile[order[:200]], held_out=pile[order[200:]], fake=fake)
        shares.append(found.share)
    assert np.std(shares) == pytest.approx(found.deviation, rel=0.1)
    assert np.mean(shares) == pytest.approx(found.expected, abs=0.02)
    # Without the repetitions of 4 images it is far smaller: they are no independent witnesses.
    alone = nearest_train_test(train=pile[:200], held_out=pile[200:], fake=normal(160, 3, 1))
    assert alone.deviation < 0.6 * found.deviation


def test_authenticity_by_hand():
    train = torch.tensor([[0.0], [1.0], [10.0]])
    # Nearest: 0, whose own neighbor is 1 away; 1, likewise; 10, whose neighbor is 9 away.
    found = authenticity(train=train, fake=torch.tensor([[-2.0], [1.5], [14.0]]))
    assert found.share == pytest.approx(1 / 3)
    assert found.own.tolist() == pytest.approx([1, 1, 9])


def test_the_nearest_is_the_nearest():
    x, y = normal(70, 9), normal(1200, 9, 1)
    distance, at = nearest(of=x, among=y)
    every = torch.cdist(x, y)
    assert torch.equal(at, every.argmin(1))
    assert distance.double() == pytest.approx(every.min(1).values, rel=1e-5)
    own, _ = nearest(of=y[:50], among=y, itself=torch.arange(50))
    assert own.double() == pytest.approx(nearest_other(y)[:50], rel=1e-4)


# Two-sample tests.


def test_a_classifier_tells_shifted_and_spread_points_apart():
    real = normal(400, 5)
    assert classifier_test(real=real, fake=normal(400, 5, 1) + 2).accuracy > 0.95
    spread = classifier_test(real=real, fake=3 * normal(400, 5, 1))
    assert spread.accuracy > 0.85, "squares are looked at too"
    assert spread.p < 1e-9
    assert 0.4 < classifier_test(real=real, fake=normal(400, 5, 1)).accuracy < 0.6


def test_nearest_alike_by_hand_and_swapped():
    real, fake = torch.tensor([[0.0], [1.0], [9.0]]), torch.tensor([[9.1], [9.2], [0.4]])
    # Reals: 0 is nearest to the fake .4, 1 too, 9 to the fake 9.1. Fakes: 9.1 is as near to 9 as to 9.2 (1/2), 9.2
    # is nearest to 9.1, .4 to the real 0.
    assert one_nn_accuracy(real=real.double(), fake=fake.double()).real == 0
    x = normal(300, 4)
    copies = one_nn_accuracy(real=x, fake=x + 1e-6)
    assert copies.real == copies.fake == 0
    collapsed = one_nn_accuracy(real=x, fake=x[:3].repeat(100, 1) + 1e-6 * normal(300, 4, 1))
    assert collapsed.fake > 0.95
    assert one_nn_accuracy(real=x, fake=x[:3].repeat(100, 1)) != one_nn_accuracy(real=x[:3].repeat(100, 1), fake=x)
    equal = one_nn_accuracy(real=x, fake=normal(300, 4, 1))
    assert equal.real == pytest.approx(0.5, abs=0.1)


def uniform_distance(values):
    """Kolmogorov's distance of values to the uniform distribution on [0, 1]."""
    values, n = np.sort(values), len(values)
    return max(np.max(np.arange(1, n + 1) / n - values), np.max(values - np.arange(n) / n))


@pytest.mark.parametrize("test", ["cells", "classifier", "copies"])
def test_p_values_are_uniform_when_nothing_is_wrong(test):
    """200 real-real splits; Kolmogorov and Smirnov, 0.1 % level, and some room for counts, which are whole numbers."""
    known = fit_cells(normal(2000, 4, 9999), 20)
    found = []
    for seed in range(200):
        real, fake = normal(500, 4, 3 * seed), normal(500, 4, 3 * seed + 1)
        if test == "cells":
            found.append(chi_square_p(real=known.counts(real), fake=known.counts(fake)))
        elif test == "classifier":
            found.append(classifier_test(real=real, fake=fake).p)
        else:
            found.append(nearest_train_test(train=normal(500, 4, 3 * seed + 2), held_out=real, fake=fake).p)
    assert uniform_distance(found) < 1.95 / 200**0.5 + 0.03
    assert uniform_distance(np.array(found) ** 2) > 0.2, "the test can fail"


# Frechet distance without its bias.


def test_fd_infinity_has_no_bias_where_fd_has():
    real, fake = normal(800, 16), normal(800, 16, 1)
    assert frechet_distance(real=real, fake=fake) > 0.15
    values = [frechet_infinity(real=normal(800, 16, 2 * s), fake=normal(800, 16, 2 * s + 1)) for s in range(15)]
    assert abs(np.mean(values)) < 0.05
    moved = frechet_infinity(real=real, fake=2 * fake + 1)
    assert moved == pytest.approx(16 + 16, rel=0.05)  # |m|^2 + d (1 - s)^2
    with pytest.raises(SparringError, match="at least 128 real samples are needed"):
        frechet_infinity(real=real[:100], fake=fake)


# prdc.


@pytest.mark.parametrize(
    ("k", "swapped", "theirs"),
    [
        (5, False, (0.725, 0.9175, 0.683, 0.915)),
        (5, True, (0.9175, 0.725, 1.267, 0.9575)),
        (3, False, (0.6375, 0.84, 0.6941666666666666, 0.7675)),
    ],
)
def test_neighbors_are_those_of_prdc(k, swapped, theirs):
    """prdc 0.2: compute_prdc(real, fake, nearest_k=k)."""
    numbers = np.random.RandomState(0)
    real, fake = torch.from_numpy(numbers.randn(400, 16)), torch.from_numpy(numbers.randn(400, 16) * 1.1 + 0.2)
    if swapped:
        real, fake = fake, real
    assert prdc(real=real, fake=fake, k=k) == pytest.approx(theirs)


# Spectra.


def test_a_spectrum_adds_up_and_knows_where_a_pattern_sits():
    noise = torch.rand(50, 3, 16, 16, generator=rng())
    spectrum = power_spectrum(noise)
    assert float(spectrum.sum()) == pytest.approx(1)
    assert float(spectrum[0, 0]) == pytest.approx(0, abs=1e-9)
    board = ((torch.arange(16)[:, None] + torch.arange(16)) % 2).float()[None, None]
    stripes = (torch.arange(16) // 2 % 2).float().expand(1, 1, 16, 16)
    assert checkerboard_power(power_spectrum(board), 2) == pytest.approx(1)
    assert checkerboard_power(power_spectrum(board), 4) == pytest.approx(0, abs=1e-9)
    assert checkerboard_power(power_spectrum(stripes), 4) == pytest.approx(1)
    assert power_spectrum(torch.ones(2, 1, 8, 8)).sum() == 0
    with pytest.raises(SparringError, match="images of 10 x 10 have no frequency 1/4"):
        checkerboard_power(power_spectrum(torch.rand(2, 1, 10, 10)), 4)


def test_high_frequencies_are_a_share_of_the_area_for_white_noise():
    rows = torch.fft.fftfreq(32, dtype=torch.float64)
    area = float((torch.hypot(rows[:, None], rows) > 0.35).double().mean())
    white = torch.randn(400, 1, 32, 32, generator=rng())
    assert high_frequency_share(power_spectrum(white)) == pytest.approx(area, rel=0.02)
    label_smoothing = torch.nn.functional.avg_pool2d(white, 3, 1, 1)
    assert high_frequency_share(power_spectrum(label_smoothing)) < area / 4
    assert torch.equal(power_spectrum(white * 7 + 3) > 0, power_spectrum(white) > 0)


# Swapped, and refused.


@pytest.mark.parametrize(
    ("metric", "same"),
    [
        (frechet_distance, True),
        (kernel_distance, False),
        (prdc, False),
        (one_nn_accuracy, False),
        (lambda real, fake: missing_share(real=real[:8, 0].abs().mul(100), fake=fake[:8, 0].abs().mul(100)), False),
        (lambda real, fake: authenticity(train=real, fake=fake).share, False),
    ],
)
def test_real_and_fake_are_not_exchanged(metric, same):
    real, fake = normal(200, 4), 0.3 * normal(200, 4, 1).exp()
    there, back = metric(real=real, fake=fake), metric(real=fake, fake=real)
    assert (there == pytest.approx(back, rel=1e-9)) == same


@pytest.mark.parametrize("function", [classifier_test, one_nn_accuracy, frechet_infinity])
def test_bad_features_are_refused_by_the_others_too(function):
    x = normal(100, 3)
    broken = x.clone()
    broken[7] = torch.nan
    with pytest.raises(SparringError, match="1 of 100 fake features are NaN"):
        function(real=x, fake=broken)
    with pytest.raises(SparringError, match="3 dimensions, fake features 2"):
        function(real=x, fake=x[:, :2])
    with pytest.raises(SparringError, match=r"must be \(N, F\)"):
        function(real=x, fake=x[0])


def test_what_cannot_be_counted_is_refused():
    with pytest.raises(SparringError, match="counts of the same cells, not all 0"):
        jensen_shannon(real=counts(1, 2), fake=counts(0, 0))
    with pytest.raises(SparringError, match="counts of the same cells"):
        bin_z(real=counts(1, 2), fake=counts(1, 2, 3))
    with pytest.raises(SparringError, match="cells need"):
        fit_cells(torch.full((5, 2), torch.nan))
    with pytest.raises(SparringError, match="as many fakes as reals; got 10, 9"):
        classifier_test(real=normal(10, 2), fake=normal(9, 2))
    with pytest.raises(SparringError, match="10 real, 9 fake"):
        one_nn_accuracy(real=normal(10, 2), fake=normal(9, 2))
    with pytest.raises(SparringError, match="NaN or infinite"):
        duplicates(fake=torch.full((5, 2), torch.inf), within=1)
    with pytest.raises(SparringError, match="NaN or infinite"):
        nearest_train_test(train=normal(5, 2), held_out=normal(5, 2), fake=torch.full((5, 2), torch.nan))
    assert nearest_train_test(train=torch.ones(5, 2), held_out=torch.ones(5, 2), fake=torch.ones(3, 2)).z < 4
