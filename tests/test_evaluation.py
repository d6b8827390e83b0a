"""From a system and data to numbers with their cards: honest about n, intervals, floors, and what they cannot know."""

import dataclasses
import json
import time

import pytest
import torch
from rich.console import Console

from sparring.data import Dataset, load
from sparring.data.pixels import to_float, to_uint8
from sparring.errors import SparringError
from sparring.evaluation import Finding, Measure, Yardstick, evaluate
from sparring.metrics import (
    LENET_MNIST,
    RANDOM_CONV64,
    extractor,
    frechet_distance,
    kernel_distance,
    mean_interval,
    neighbours,
    parzen_log_likelihood,
    wilson_interval,
)
from sparring.seeds import derive, generator


class Drawer:
    """A 'generator' that draws from given images, and may spoil them: its true quality is known."""

    def __init__(self, images, spoil=lambda images: images):
        self.images, self.spoil, self.seeds = images, spoil, []

    def sample(self, n, *, seed=0, labels=None):
        self.seeds.append(seed)
        order = torch.randperm(len(self.images), generator=generator("drawer", seed))
        return self.spoil(to_float(self.images[order[:n]]))


@pytest.fixture(scope="module")
def digits():
    """1,500 digits to train on and 400 held out; and 3,100 more, which only the perfect generator has."""
    data = load("digits", held_out=0)
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(5))
    kept = dataclasses.replace(data.rows(order[:1500]), held_out=data.rows(order[1500:1900]))
    return kept, data.rows(order[1900:])


def noise(images):
    return torch.rand(images.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_a_perfect_generator_measures_as_real_images(digits):
    data, fresh = digits
    perfect = evaluate(Drawer(fresh.images), data, repeats=5)
    assert (perfect.n, perfect.repeats, perfect.data) == (400, 5, "digits")
    assert 0.7 < perfect["FD"].value / perfect["FD"].floor < 1.4
    assert abs(perfect["KID"].value) < 0.05
    for name in ("precision", "recall", "density", "coverage"):
        assert perfect[name].value == pytest.approx(perfect[name].floor, abs=0.06)
    assert perfect["classes"].value < 0.12


def test_faults_are_seen_and_named(digits):
    data, fresh = digits
    broken = evaluate(Drawer(fresh.images, noise), data, repeats=2)
    assert broken["FD"].value > 20 * broken["FD"].floor
    assert broken["FD"].words.endswith(" x the floor")
    assert broken["KID"].value > 1
    assert broken["recall"].value < 0.1
    assert broken["coverage"].words.endswith("below real images")
    no_threes = evaluate(Drawer(fresh.images[fresh.labels != 3]), data, repeats=3)
    assert [row.name for row in no_threes.classes if row.high < 0.05] == ["3"]
    assert no_threes["classes"].value > no_threes["classes"].floor + 0.03
    assert no_threes["coverage"].value < no_threes["coverage"].floor - 0.03


def test_copies_of_the_reference_are_suspected(digits):
    data, _ = digits
    copies = evaluate(Drawer(data.held_out.images), data, repeats=3)
    assert copies["FD"].value < 1e-3 < copies["FD"].floor
    assert copies["FD"].words == "closer than real images: copies?"


def test_numbers_are_means_over_repeats_of_the_plain_functions(digits):
    data, fresh = digits
    system = Drawer(fresh.images, noise_of(0.3))
    result = evaluate(system, data, n=150, repeats=3, seed=7)
    assert system.seeds == [derive("evaluate", 7, i) for i in range(3)]
    lenet = extractor(LENET_MNIST)
    chosen = torch.randperm(400, generator=generator("evaluate", "reference"))[:150]
    real, _ = lenet.features(data.held_out.images[chosen])
    order = torch.randperm(1500, generator=generator("evaluate", "floor"))
    floors = [lenet.features(data.images[order[150 * i : 150 * (i + 1)]])[0] for i in range(3)]
    fakes = [
        lenet.features(((system.sample(150, seed=s) + 1) * 127.5).round().clamp(0, 255).byte())[0]
        for s in system.seeds[:3]
    ]

    def functions(fake):
        return [
            frechet_distance(real=real, fake=fake),
            kernel_distance(real=real, fake=fake),
            *neighbours(real=real, fake=fake),
        ]

    values = torch.tensor([functions(fake) for fake in fakes], dtype=torch.float64)
    floor_values = torch.tensor([functions(fake) for fake in floors], dtype=torch.float64)
    names = ["FD-lenet-mnist@150", "KID-lenet-mnist@150", "precision", "recall", "density", "coverage"]
    assert [measure.name for measure in result.measures] == [*names, "classes-TV"]
    for i, name in enumerate(names):
        assert result[name].value == pytest.approx(values[:, i].mean().item(), rel=1e-6)
        assert result[name].floor == pytest.approx(floor_values[:, i].mean().item(), rel=1e-6)
        assert result[name].interval == pytest.approx(mean_interval(values[:, i].tolist()), rel=1e-5)
        assert result[name].floor_interval == pytest.approx(mean_interval(floor_values[:, i].tolist()), rel=1e-5)


def noise_of(sigma):
    def spoil(images):
        return (images + sigma * torch.randn(images.shape, generator=torch.Generator().manual_seed(3))).clamp(-1, 1)

    return spoil


def test_the_cards_are_complete_and_survive_json(digits):
    data, fresh = digits
    result = evaluate(Drawer(fresh.images), data, n=100, seed=3, repeats=2, averaged=True)
    lenet = extractor(LENET_MNIST)
    for measure in result.measures:
        assert (measure.n, measure.split, measure.seed, measure.averaged) == (100, "held_out", 3, True)
        assert (measure.extractor, measure.digest) == ("lenet-mnist", lenet.digest)
        assert measure.interval[0] <= measure.value <= measure.interval[1]
    plain = result.as_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["fingerprint"] == data.fingerprint
    assert plain["metrics"][0]["name"] == "FD-lenet-mnist@100"
    assert set(plain["classes"][0]) == {"name", "share", "low", "high", "real_share"}
    assert len(plain["classes"]) == 10
    assert sum(row["share"] for row in plain["classes"]) == pytest.approx(1)


def test_the_table_says_it_in_words(digits):
    data, fresh = digits
    result = evaluate(Drawer(fresh.images, noise), data, n=60, repeats=2)
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(result.table())
    text = console.export_text()
    assert "digits: 60 samples, 2 times, against 60 held-out images" in text
    assert "FD-lenet-mnist@60" in text
    assert "x the floor" in text
    assert "below real images" in text


def test_the_same_seed_gives_the_same_numbers_and_another_one_moves_samples_only(digits):
    data, fresh = digits
    first, again, other = (evaluate(Drawer(fresh.images), data, n=80, repeats=2, seed=s) for s in (1, 1, 2))
    assert first == again
    assert first["FD"].value != other["FD"].value
    assert [m.floor for m in first.measures] == [m.floor for m in other.measures]


def test_one_repeat_has_no_interval(digits):
    data, fresh = digits
    result = evaluate(Drawer(fresh.images), data, n=60, repeats=1)
    assert all(measure.interval is None for measure in result.measures)
    assert all(measure["interval"] is None for measure in result.as_dict()["metrics"])
    assert result.table().row_count == len(result.measures)


def test_classes_are_counted_only_where_the_extractor_knows_them(digits):
    data, fresh = digits
    system = Drawer(fresh.images)
    assert evaluate(system, data, n=60, repeats=1, extractor=extractor(RANDOM_CONV64)).classes == ()
    renamed = dataclasses.replace(data, classes=tuple("abcdefghij"))
    result = evaluate(system, renamed, n=60, repeats=1)
    assert result.classes == ()
    assert "classes-TV" not in [measure.name for measure in result.measures]


def test_unknown_data_gets_the_untrained_extractor():
    images = torch.randint(0, 256, (90, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = Dataset("holiday", images).hold_out(0.2)
    result = evaluate(Drawer(images), data, repeats=2)
    assert result["FD"].name == "FD-random-conv64@18"
    assert result["FD"].value > 0


def test_n_is_what_reference_and_training_images_can_give(digits):
    data, fresh = digits
    system = Drawer(fresh.images)
    assert evaluate(system, data, n=10_000, repeats=1).n == 400
    few = dataclasses.replace(data.rows(torch.arange(50)), held_out=data.held_out)
    assert evaluate(system, few, repeats=2).n == 50
    # The halves of the training images, one for the reference and one for the floor: never the same images.
    copies = evaluate(Drawer(data.images[:30]), data.rows(torch.arange(30)), split="train", repeats=1)
    assert copies.n == 15
    assert copies["FD"].floor > 0.1


def test_test_images_are_used_only_when_asked_for(digits):
    data, fresh = digits
    inverted = dataclasses.replace(data.held_out, images=255 - data.held_out.images)
    data = dataclasses.replace(data, test=inverted)
    system = Drawer(fresh.images)
    held_out, test = (evaluate(system, data, n=100, repeats=1, split=split) for split in ("held_out", "test"))
    assert test["FD"].split == "test"
    assert test["FD"].value > 10 * held_out["FD"].value


def test_what_cannot_be_measured_is_said(digits):
    data, fresh = digits
    system = Drawer(fresh.images)
    with pytest.raises(SparringError, match="unknown split 'tests'; did you mean 'test'"):
        evaluate(system, data, split="tests")
    with pytest.raises(SparringError, match="'digits' has no test images; choose split from: held_out, train"):
        evaluate(system, data, split="test")
    with pytest.raises(SparringError, match="has no held_out images; choose split from: train"):
        Yardstick(fresh)
    with pytest.raises(SparringError, match="repeats must be at least 1"):
        evaluate(system, data, repeats=0)
    with pytest.raises(SparringError, match="at least 6 real samples are needed; got 3"):
        evaluate(system, data, n=3)
    with pytest.raises(SparringError, match=r"samples must be \(50, 1, 28, 28\).*got \(50, 1, 14, 14\)"):
        evaluate(Drawer(fresh.images, lambda images: images[..., ::2, ::2]), data, n=50)
    with pytest.raises(SparringError, match="50 of 50 samples hold NaN or infinite values"):
        evaluate(Drawer(fresh.images, lambda images: images / 0), data, n=50)
    with pytest.raises(SparringError, match="unknown measure 'FDD'"):
        evaluate(system, data, n=50, repeats=1)["FDD"]


@pytest.mark.parametrize(
    ("name", "value", "interval", "floor", "floor_interval", "words"),
    [
        ("FD-x@9", 31.0, (30.0, 32.0), 10.0, (9.0, 11.0), "3.1 x the floor"),
        ("FD-x@9", 11.0, (10.5, 12.5), 10.0, (9.0, 11.0), "not told apart from real images"),
        ("FD-x@9", 8.0, (7.5, 8.5), 10.0, (9.0, 11.0), "0.8 x the floor"),
        ("FD-x@9", 1.0, None, 10.0, None, "closer than real images: copies?"),
        ("FD-x@9", 1.0, None, 0.0, None, "1 above real images"),
        ("KID-x@9", 0.5, (0.4, 0.6), -0.01, None, "0.51 above real images"),
        ("precision", 0.7, (0.6, 0.8), 0.95, (0.9, 1.0), "0.25 below real images"),
        ("classes-TV", 0.2, (0.18, 0.22), 0.1, None, "2.0 x the floor"),
    ],
)
def test_words(name, value, interval, floor, floor_interval, words):
    assert Measure(name, value, 9, interval, floor, floor_interval, "x", "", "held_out", None, 0).words == words


def test_a_measure_prints_as_one_line():
    measure = Measure("FD-x@9", 20.704, 9, (20.2, 21.2), 1.0716, (0.9, 1.2), "x", "", "held_out", None, 0)
    assert str(measure) == f"FD-x@9 20.7 (20.2 to 21.2), real images 1.07: {measure.words}"


# What systems can do beside sampling.


class Keeper:
    """An 'autoencoder' that does to images what it is told; its codes are the first pixels."""

    def __init__(self, spoil=lambda images: images):
        self.spoil = spoil

    def reconstruct(self, images):
        return self.spoil(images)

    def encode(self, images):
        return images.flatten(1)[:, :3]


class Namer:
    """Knows the class of every image by heart."""

    def __init__(self, data, change=lambda labels: labels):
        self.known = {image.numpy().tobytes(): int(y) for image, y in zip(data.images, data.labels, strict=True)}
        self.change = change

    def labels(self, images):
        return torch.tensor([self.known[image.numpy().tobytes()] for image in to_uint8(images)])

    def classify(self, images):
        return torch.nn.functional.one_hot(self.change(self.labels(images)), 10).float().log_softmax(1)


class Clusterer(Namer):
    """Two clusters for each digit, and one that is never the likeliest."""

    def cluster(self, images):
        kinds = 2 * self.labels(images) + (images.flatten(1).sum(1) > -600)
        return torch.nn.functional.one_hot(self.change(kinds), 21).float().log_softmax(1)

    classify = None


class Coder:
    """Codes and prior are given: its distance to the prior is known."""

    def __init__(self, prior, codes):
        self.prior, self.codes = prior, codes

    def prior_codes(self, n, *, seed=0):
        return self.prior(n, generator("prior", seed))

    def encode(self, images):
        return self.codes(len(images), generator("codes"))


class Sleeper:
    """Twenty units of which only the first few tell images apart."""

    def __init__(self, awake):
        self.awake = awake

    def encode(self, images):
        spread = torch.zeros(20)
        spread[: self.awake] = 1
        return spread * images.flatten(1)[:, 300:301]

    def divergence(self, images):
        return torch.arange(20.0) * (1 + images.flatten(1)[:, 300:301])


def together(*parts):
    return Dataset("all", torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts]))


def test_what_keeps_everything_has_no_error_and_all_edges(digits):
    data, _ = digits
    result = evaluate(Keeper(), data)
    assert (result.measures, result.classes, result.rates, result.codes, result.likelihood) == ((), (), (), (), ())
    (error,), (blur,) = result.reconstruction, result.blur
    assert (error.name, error.value, error.interval, error.n) == ("reconstruction error", 0, (0, 0), 400)
    assert (error.unit, error.split, error.reference_name) == ("per pixel", "held_out", "the mean training image")
    assert (blur.name, blur.value, blur.interval) == ("blur ratio of reconstructions", 1, (1, 1))
    assert 0.9 < blur.reference < 1.1
    assert blur.reference_interval[0] < blur.reference < blur.reference_interval[1]
    assert blur.words == "not told apart from real images"
    plain = result.as_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["reconstruction"][0]["value"] == 0
    assert (plain["metrics"], plain["codes"], plain["parzen"], plain["units"]) == ([], [], [], [])
    assert plain["reconstruction"][0].keys() == {f.name for f in dataclasses.fields(Finding)}


def test_errors_are_of_the_reference_images_with_an_interval_over_images(digits):
    data, _ = digits
    result = evaluate(Keeper(lambda images: 0.5 * images - 0.5), data, n=150)
    chosen = torch.randperm(400, generator=generator("evaluate", "reference"))[:150]
    pixels = data.held_out.images[chosen].double() / 255
    errors = (pixels - (pixels / 2 * 255).round() / 255).square().flatten(1).mean(1)
    (error,) = result.reconstruction
    assert error.value == pytest.approx(errors.mean().item(), rel=2e-3)  # a half may be rounded up or down
    assert error.interval == pytest.approx(mean_interval(errors.tolist()), rel=2e-3)
    others = data.images[torch.randperm(1500, generator=generator("evaluate", "floor"))[:750]]
    average = (others.double() / 255).mean(0)
    assert error.reference == pytest.approx((pixels - average).square().mean().item(), rel=1e-3)
    assert str(error).startswith(f"reconstruction error {error.value:.4g} ({error.interval[0]:.4g} to ")
    assert "per pixel, n = 150; the mean training image 0.0" in str(error)


def test_the_mean_image_reconstructs_as_badly_as_its_reference(digits):
    data, _ = digits
    average = to_float(data.images).mean(0)
    (error,) = evaluate(Keeper(lambda images: average.expand_as(images)), data).reconstruction
    assert error.value == pytest.approx(error.reference, rel=0.01)


def test_blur_and_noise_are_named_beside_the_blur_of_samples(digits):
    data, fresh = digits
    blurred = evaluate(Keeper(lambda images: torch.nn.functional.avg_pool2d(images, 3, 1, 1)), data).blur
    assert blurred[0].value < 0.5
    assert blurred[0].words == "blurred, edges are lost"
    noisy = evaluate(Keeper(noise_of(0.5)), data).blur
    assert noisy[0].words == "more edges than real images, perhaps noise"
    system = Drawer(fresh.images)
    system.reconstruct = lambda images: images
    both = evaluate(system, data, repeats=2, n=100).blur
    assert [(f.name, f.n) for f in both] == [("blur ratio of reconstructions", 100), ("blur ratio of samples", 200)]
    assert both[1].words == "not told apart from real images"
    assert both[1].interval[0] < both[1].value < both[1].interval[1]
    flat = dataclasses.replace(data.rows(torch.arange(30)), images=torch.zeros(30, 1, 28, 28, dtype=torch.uint8))
    assert evaluate(Keeper(), flat, split="train").blur == ()


def test_a_system_that_must_know_labels_is_told_those_of_its_images(digits):
    data, _ = digits
    heard = []

    class Told(Namer):
        classify = None

        def reconstruct(self, images, *, labels=None):
            heard.append(torch.equal(labels, self.labels(images)))
            return images

    assert evaluate(Told(data.held_out), data, n=90).reconstruction[0].value == 0
    assert heard == [True]


def test_reconstructions_that_are_broken_are_refused(digits):
    data, _ = digits
    with pytest.raises(SparringError, match=r"reconstructions must be \(50, 1, 28, 28\)"):
        evaluate(Keeper(lambda images: images[..., ::2]), data, n=50)
    with pytest.raises(SparringError, match="50 of 50 reconstructions hold NaN or infinite values: the autoencoder"):
        evaluate(Keeper(lambda images: images / 0), data, n=50)


def normal_codes(n, g):
    return torch.randn(n, 4, generator=g)


def by_turns(n, g):
    return torch.eye(10)[torch.arange(n) % 10]


def as_they_fall(n, g):
    return torch.eye(10)[torch.randint(10, (n,), generator=g)]


@pytest.mark.parametrize(
    ("prior", "codes"), [(normal_codes, normal_codes), (by_turns, as_they_fall), (as_they_fall, as_they_fall)]
)
def test_codes_that_follow_the_prior_are_not_told_apart_from_it(digits, prior, codes):
    data, _ = digits
    (distance,) = evaluate(Coder(prior, codes), data).codes
    assert (distance.name, distance.n) == ("energy distance to the prior", 400)
    assert distance.words == "not told apart from the prior"
    assert 0.5 < distance.value / distance.reference < 2
    assert 0 < distance.reference < distance.reference_interval[1] < 2 * distance.reference
    assert distance.interval[0] < distance.value < distance.interval[1]


def test_codes_that_do_not_follow_the_prior_are_told_apart(digits):
    data, _ = digits
    (shifted,) = evaluate(Coder(normal_codes, lambda n, g: normal_codes(n, g) + 0.5), data).codes
    assert shifted.value > 5 * shifted.reference
    assert shifted.words == f"{shifted.value / shifted.reference:.1f} x as far as two sets of it"
    (narrow,) = evaluate(Coder(normal_codes, lambda n, g: 0.6 * normal_codes(n, g)), data).codes
    assert narrow.value > narrow.reference_interval[1]
    again = evaluate(Coder(normal_codes, lambda n, g: 0.6 * normal_codes(n, g)), data, seed=1).codes[0]
    assert again.reference == narrow.reference
    assert again.value != narrow.value


@pytest.mark.parametrize(("prior", "codes"), [(normal_codes, normal_codes), (by_turns, as_they_fall)])
def test_nothing_is_told_apart_much_more_often_than_1_in_20(digits, prior, codes):
    data, _ = digits
    few = dataclasses.replace(data.rows(torch.arange(60)), held_out=data.held_out.rows(torch.arange(50)))
    system = Coder(prior, None)
    wrong = 0
    for i in range(100):
        system.encode = lambda images, i=i: codes(len(images), generator("codes", i))
        (distance,) = evaluate(system, few, repeats=2, seed=i).codes
        wrong += distance.words != "not told apart from the prior"
    assert wrong <= 12


def test_codes_with_noise_are_drawn_where_the_system_can(digits):
    data, _ = digits

    class Noisy(Coder):
        """Mean codes are all the same; with their noise they follow the prior."""

        def encode(self, images, *, seed=None):
            means = torch.zeros(len(images), 4)
            return means if seed is None else normal_codes(len(images), generator("noise", seed))

        def divergence(self, images):
            return torch.zeros(len(images), 4)

    class Mean(Noisy):
        def encode(self, images):
            return super().encode(images)

    distance, total, active = evaluate(Noisy(normal_codes, None), data).codes
    assert distance.words == "not told apart from the prior"
    assert (total.value, active.value) == (0, 0)
    assert evaluate(Mean(normal_codes, None), data).codes[0].words.endswith("(mean codes: their noise is left out)")


@pytest.mark.parametrize(("awake", "collapsed"), [(0, True), (1, True), (2, False), (20, False)])
def test_posterior_collapse_is_named_below_a_tenth_of_the_units(digits, awake, collapsed):
    data, _ = digits
    result = evaluate(Sleeper(awake), data)
    total, active = result.codes
    pixel = to_float(data.held_out.images).flatten(1)[:, 300]
    assert total.name == "KL divergence"
    assert total.value == pytest.approx(190 * (1 + pixel.mean().item()), rel=1e-5)
    assert total.interval == pytest.approx(mean_interval((190 * (1 + pixel)).tolist()), rel=1e-4)
    assert (active.name, active.value, active.unit, active.n) == ("active units", awake, "of 20", 400)
    assert ("posterior collapse" in active.words) == collapsed
    assert str(active).startswith(f"active units {awake} of 20, n = 400")
    assert [unit.divergence for unit in result.units] == pytest.approx(
        [i * (1 + pixel.mean().item()) for i in range(20)], rel=1e-5, abs=1e-6
    )
    variance = pixel.var().item()
    assert [unit.variance for unit in result.units] == pytest.approx([variance] * awake + [0] * (20 - awake), abs=1e-5)
    assert result.as_dict()["units"][0].keys() == {"divergence", "variance"}


def test_log_likelihood_is_a_mean_over_images_beside_the_bound(digits):
    data, _ = digits
    asked = []

    class Knower(Keeper):
        def log_likelihood(self, images, *, draws=100, seed=0):
            asked.append((len(images), draws))
            return images.flatten(1).mean(1) - 1 / draws

    (found,) = evaluate(Knower(), data, n=300).likelihood
    assert asked == [(300, 100), (300, 1)]
    chosen = torch.randperm(400, generator=generator("evaluate", "reference"))[:300]
    expected = to_float(data.held_out.images[chosen]).flatten(1).mean(1)
    assert (found.name, found.unit, found.n) == ("log-likelihood", "nats", 300)
    assert found.value == pytest.approx(expected.mean().item() - 0.01, rel=1e-5)
    assert found.interval == pytest.approx(mean_interval((expected - 0.01).tolist()), rel=1e-5)
    assert found.reference == pytest.approx(expected.mean().item() - 1, rel=1e-5)
    assert "100 draws" in found.words


def test_numbers_that_are_not_finite_are_refused(digits):
    data, _ = digits
    system = Sleeper(3)
    system.divergence = lambda images: torch.full((len(images), 20), torch.inf)
    with pytest.raises(SparringError, match="400 of 400 KL divergences are NaN or infinite"):
        evaluate(system, data)
    system = Keeper()
    system.log_likelihood = lambda images, *, draws, seed: (
        images.flatten(1).sum(1).index_fill(0, torch.tensor([2]), torch.nan)
    )
    with pytest.raises(SparringError, match="1 of 400 log-likelihoods are NaN or infinite"):
        evaluate(system, data)


def test_clusters_that_are_pure_make_no_error(digits):
    data, _ = digits
    every = together(data, data.held_out)
    (rate,) = evaluate(Clusterer(every), data).rates
    assert (rate.name, rate.value, rate.n, rate.split) == ("clustering error", 0, 400, "held_out")
    assert rate.interval == wilson_interval(0, 400)
    assert rate.note.startswith("21 clusters, each named after one of 750 training images; with one cluster for all ")
    largest = int(data.held_out.labels.bincount().max())
    assert rate.note.endswith(f"{100 - largest / 4:.2f} %")
    assert rate.note in str(rate)


def test_a_cluster_of_two_digits_errs_on_one_of_them(digits):
    data, _ = digits
    every = together(data, data.held_out)
    (rate,) = evaluate(Clusterer(every, lambda kinds: torch.where(kinds // 2 == 3, 16, kinds)), data).rates
    kinds = Clusterer(every).cluster(to_float(data.held_out.images)).argmax(1)
    threes, eights = int((kinds // 2 == 3).sum()), int((kinds == 16).sum())
    assert 0 < threes != eights > 0
    assert round(rate.value * 400) in (threes, eights)


def test_clusters_are_named_by_images_that_are_not_measured(digits):
    data, fresh = digits
    test = fresh.rows(torch.arange(200))
    data = dataclasses.replace(data, test=test)
    seen = []

    class Watched(Clusterer):
        def cluster(self, images):
            seen.append({image.numpy().tobytes() for image in to_uint8(images)})
            return super().cluster(images)

    every = together(data, data.held_out, test)
    kinds = {
        "train": {image.numpy().tobytes() for image in data.images},
        "held_out": {image.numpy().tobytes() for image in data.held_out.images},
        "test": {image.numpy().tobytes() for image in test.images},
    }
    for split, naming in (("held_out", "train"), ("test", "held_out"), ("train", "train")):
        seen.clear()
        (rate,) = evaluate(Watched(every), data, split=split).rates
        named, *measured = seen
        assert named <= kinds[naming]
        assert set().union(*measured) <= kinds[split]
        assert not named & set().union(*measured)
        assert ("held-out" if naming == "held_out" else "training") in rate.note


def test_a_classifier_is_measured_without_samples(digits):
    data, _ = digits
    wrong = Namer(data.held_out, lambda labels: torch.where(labels == 4, 9, labels))
    result = evaluate(wrong, data)
    fours = int((data.held_out.labels == 4).sum())
    (rate,) = result.rates
    assert (rate.name, rate.value, rate.n) == ("classification error", fours / 400, 400)
    assert result.measures == ()


def test_systems_that_cannot_be_measured_are_refused(digits):
    data, _ = digits
    with pytest.raises(SparringError, match="object can do nothing that is measured: sample, classify, cluster"):
        evaluate(object(), data)
    with pytest.raises(SparringError, match="parzen is about samples, and Keeper cannot sample"):
        evaluate(Keeper(), data, parzen=True)
    with pytest.raises(SparringError, match="truncation is about samples, and Keeper cannot sample"):
        evaluate(Keeper(), data, sampling={"truncation": 0.5})
    with pytest.raises(SparringError, match=r"unknown finding 'blur'.*possible: reconstruction error, blur ratio of"):
        evaluate(Keeper(), data, n=30).finding("blur")


def test_parzen_is_printed_beside_real_images_and_claims_nothing(digits):
    data, fresh = digits
    unlike = dataclasses.replace(data.held_out, images=255 - data.held_out.images)  # and so another width is chosen
    data = dataclasses.replace(data.rows(torch.arange(300)), held_out=unlike, test=fresh.rows(torch.arange(150)))
    assert evaluate(Drawer(fresh.images), data, n=30, repeats=1).parzen == ()
    (found,) = evaluate(Drawer(data.images), data, n=30, repeats=1, parzen=True).parzen
    order = torch.randperm(400, generator=generator("evaluate", "parzen"))
    numbers = parzen_log_likelihood(
        real=data.test.images / 255, fake=data.images / 255, chosen_on=data.held_out.images[order] / 255
    )
    assert found.value == found.reference == pytest.approx(numbers.value, rel=1e-6)
    half = 1.959964 * numbers.error
    assert found.interval == pytest.approx((numbers.value - half, numbers.value + half), rel=1e-5)
    assert (found.n, found.split, found.unit) == (150, "test", "nats")
    assert found.reference_name == "300 real training images in place of 300 samples"
    for words in ("chosen on 400 held-out images", "No claim of quality", "k-means", f"sigma {numbers.sigma:.3g}"):
        assert words in found.words
    other = evaluate(Drawer(data.images, noise), data, n=30, repeats=1, parzen=True).parzen[0]
    assert other.value != other.reference == found.reference


def test_parzen_without_a_test_set_divides_what_is_held_out(digits):
    data, fresh = digits
    (found,) = evaluate(Drawer(fresh.images), data, n=30, repeats=1, parzen=True).parzen
    assert (found.n, found.split) == (200, "held_out")
    assert "chosen on 200 held-out images" in found.words
    with pytest.raises(SparringError, match="the Parzen window needs held-out images"):
        evaluate(Drawer(fresh.images), data.rows(torch.arange(90)), n=30, repeats=1, split="train", parzen=True)


# The yardstick.


def test_the_yardstick_is_evaluates_fd(digits):
    data, fresh = digits
    yardstick = Yardstick(data, n=150)
    result = evaluate(Drawer(fresh.images), data, n=150, repeats=1)
    samples = Drawer(fresh.images).sample(150, seed=derive("evaluate", 0, 0))
    assert yardstick.name == result["FD"].name == "FD-lenet-mnist@150"
    assert yardstick.fd(samples) == pytest.approx(result["FD"].value, rel=1e-6)
    assert yardstick.floor == pytest.approx(result["FD"].floor, rel=1e-6)


def test_the_yardstick_changes_nothing_and_takes_pixels_or_floats(digits):
    data, fresh = digits
    yardstick = Yardstick(data, n=200)
    images = fresh.images[:200]
    before = torch.get_rng_state()
    values = {yardstick.fd(images), yardstick.fd(to_float(images)), Yardstick(data, n=200).fd(images)}
    assert len(values) == 1
    assert torch.equal(before, torch.get_rng_state())
    assert yardstick.fd(255 - images) > 10 * yardstick.floor


def test_the_yardstick_refuses_what_it_cannot_compare(digits):
    data, fresh = digits
    yardstick = Yardstick(data, n=1000)
    assert yardstick.n == 400
    with pytest.raises(SparringError, match=r"samples must be \(400, 1, 28, 28\)"):
        yardstick.fd(fresh.images[:399])
    with pytest.raises(SparringError, match="1 of 400 samples hold NaN"):
        yardstick.fd(to_float(fresh.images[:400]).index_fill(0, torch.tensor([3]), torch.nan))


def test_the_yardstick_is_fast(digits):
    data, fresh = digits
    yardstick = Yardstick(data, n=400)
    begun = time.perf_counter()
    yardstick.fd(fresh.images[:400])
    assert time.perf_counter() - begun < 2  # 0.1 s on an idle core; this only catches the absurd
