"""From a system and data to numbers with their cards: honest about n, intervals, floors, and what they cannot know."""

import dataclasses
import json
import time

import pytest
import torch
from rich.console import Console

from sparring.data import Dataset, load
from sparring.data.pixels import to_float
from sparring.errors import SparringError
from sparring.evaluation import Measure, Yardstick, evaluate
from sparring.metrics import (
    LENET_MNIST,
    RANDOM_CONV64,
    extractor,
    frechet_distance,
    kernel_distance,
    mean_interval,
    neighbours,
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
