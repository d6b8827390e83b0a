"""From a system and data to numbers with their cards: honest about n, intervals, floors, and what they cannot know."""

import dataclasses
import hashlib
import io
import json
import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from sparring.cli import main
from sparring.data import Dataset, load
from sparring.data.chosen import folders_of
from sparring.data.pixels import to_float, to_uint8
from sparring.diagnose import diagnose
from sparring.errors import SparringError
from sparring.evaluation import MEASURED, METRICS, Measurement, TrainingEvaluator, choose_extractor, compare, evaluate
from sparring.evaluation.comparison import difference
from sparring.evaluation.given import as_system
from sparring.evaluation.metrics import FROM_PIXELS, OF_SAMPLES, Metric
from sparring.evaluation.panel import complete
from sparring.evaluation.schema import require_evaluation
from sparring.evaluation.splits import HELD_OUT_B, held_out_halves, range_of
from sparring.image_grid import to_pil
from sparring.metrics import (
    LENET_MNIST,
    RANDOM_CONV64,
    Extractor,
    data_driven,
    extractor,
    frechet_distance,
    kernel_distance,
    mean_interval,
    parzen_log_likelihood,
    prdc,
    wilson_interval,
)
from sparring.seeds import derive_seed, make_generator
from sparring.system import CAPABILITIES

SHARED = ("averaged", "seeds", "fingerprint")
"""Keys of every record that are those of the evaluation."""


class Drawer:
    """A 'generator' that draws from given images, and may spoil them: its true quality is known."""

    def __init__(self, images, spoil=lambda images: images):
        self.images, self.spoil, self.seeds = images, spoil, []

    def sample(self, n, *, seed=0, labels=None):
        self.seeds.append(seed)
        order = torch.randperm(len(self.images), generator=make_generator("drawer", seed))
        return self.spoil(to_float(self.images[order[:n]]))


@pytest.fixture(scope="module", autouse=True)
def remembered():
    """Features of images that were looked at before: most tests look at the same ones."""
    seen, look = {}, Extractor.features

    def features(self, images):
        key = (self.digest, hashlib.sha256(images.numpy().tobytes()).hexdigest())
        if key not in seen:
            seen[key] = look(self, images)
        return seen[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Extractor, "features", features)
        yield


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
    assert perfect["classes-TV"].value < 0.12


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
    assert no_threes["classes-TV"].value > no_threes["classes-TV"].floor + 0.03
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
    assert system.seeds == [derive_seed("evaluate", 7, i) for i in range(3)]
    lenet = extractor(LENET_MNIST)
    chosen = torch.randperm(400, generator=make_generator("evaluate", "reference"))[:150]
    real, _ = lenet.features(data.held_out.images[chosen])
    order = torch.randperm(1500, generator=make_generator("evaluate", "floor"))
    floors = [lenet.features(data.images[order[150 * i : 150 * (i + 1)]])[0] for i in range(10)]
    fakes = [
        lenet.features(((system.sample(150, seed=s) + 1) * 127.5).round().clamp(0, 255).byte())[0]
        for s in system.seeds[:3]
    ]

    def functions(fake):
        return [
            frechet_distance(real=real, fake=fake),
            kernel_distance(real=real, fake=fake),
            *prdc(real=real, fake=fake),
        ]

    values = torch.tensor([functions(fake) for fake in fakes], dtype=torch.float64)
    floor_values = torch.tensor([functions(fake) for fake in floors], dtype=torch.float64)
    names = ["FD-lenet-mnist@150", "KID-lenet-mnist@150", "precision", "recall", "density", "coverage"]
    assert [one.name for one in result.panel] == [
        *names,
        *("cells-JS", "cells-NDB", "missing", "classes-TV", "duplicates", "duplicates-pixels"),
        *("effective support",),
        *("C2ST", "1-NN real", "1-NN fake", "blur ratio", "HF ratio"),
        *("Nyquist ratio", "Nyquist peak", "quarter ratio", "quarter peak"),
        *("copied-features", "copied-pixels", "authentic"),
    ]
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
    for one in result.panel:
        of_all = one.name in ("copied-features", "copied-pixels", "authentic")
        assert one.n == (200 if of_all else 100)
        assert one.split == "held_out"
        pixels = METRICS[one.metric].needs in FROM_PIXELS or one.metric == "copied-pixels"
        assert (one.extractor, one.digest) == (("pixels", "") if pixels else ("lenet-mnist", lenet.digest))
        assert one.interval[0] <= one.value <= one.interval[1]
    plain = result.as_dict()
    assert {record["averaged"] for record in plain["metrics"]} == {True}
    assert plain["metrics"][0]["seeds"] == [derive_seed("evaluate", 3, i) for i in range(2)]
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["fingerprint"] == data.fingerprint
    assert plain["metrics"][0]["name"] == "FD-lenet-mnist@100"
    assert set(plain["classes"][0]) == {"name", "share", "low", "high", "real_share"}
    assert len(plain["classes"]) == 10
    assert sum(row["share"] for row in plain["classes"]) == pytest.approx(1)


def test_the_table_says_it_in_words(digits):
    data, fresh = digits
    result = evaluate(Drawer(fresh.images, noise), data, n=60, repeats=2)
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(result.table())
    text = console.export_text()
    assert "digits: 60 samples, 2 times, against 60 held-out images" in text
    assert "FD-lenet-mnist@60" in text
    assert "x the floor" in text
    assert " below" in text


def test_the_same_seed_gives_the_same_numbers_and_another_one_moves_samples_only(digits):
    data, fresh = digits
    first, again, other = (evaluate(Drawer(fresh.images), data, n=80, repeats=2, seed=s) for s in (1, 1, 2))
    assert first == again
    assert first["FD"].value != other["FD"].value
    assert [m.floor for m in first.panel] == [m.floor for m in other.panel]


def test_one_repeat_has_no_interval(digits):
    data, fresh = digits
    result = evaluate(Drawer(fresh.images), data, n=60, repeats=1)
    counted = {"effective support", "copied-features", "copied-pixels", "authentic"}
    assert {one.name for one in result.panel if one.interval} == counted
    assert {one["name"] for one in result.as_dict()["metrics"] if one["interval"]} == counted
    assert result.table().row_count == len(result.panel)


def test_classes_are_counted_only_where_the_extractor_knows_them(digits):
    data, fresh = digits
    system = Drawer(fresh.images)
    assert evaluate(system, data, n=60, repeats=1, extractor=extractor(RANDOM_CONV64)).classes == ()
    renamed = dataclasses.replace(data, classes=tuple("abcdefghij"))
    result = evaluate(system, renamed, n=60, repeats=1)
    assert result.classes == ()
    assert "classes-TV" not in [one.name for one in result.panel]


def test_no_finding_rests_on_a_classifier_that_does_not_recognize_the_real_images(digits):
    """Other images that are called like digits, from a perfect generator that is asked for each class in turn."""
    data, fresh = digits

    class Asked(Drawer):
        classes = 10

    called = dataclasses.replace(data, index=None, pixels=255 - data.images.transpose(2, 3))
    held_out = data.held_out
    called = dataclasses.replace(
        called, held_out=dataclasses.replace(held_out, index=None, pixels=255 - held_out.images.mT)
    )
    system = Asked(255 - fresh.images.mT)
    result = evaluate(system, called, n=100, repeats=2)
    assert result["FD"].extractor == RANDOM_CONV64
    assert (result.classes, result.others) == ((), ())
    assert "classes of samples are not counted" in result.notes[0]
    insisted = evaluate(system, called, n=100, repeats=2, extractor=extractor(LENET_MNIST))
    assert (insisted.classes, insisted.others) == ((), ())
    assert insisted.notes[0].startswith("lenet-mnist classifies ")
    assert not {"labels ignored", "imbalance"} & {one.cause for one in result.diagnoses + insisted.diagnoses}
    known = evaluate(Asked(fresh.images), data, n=100, repeats=1)
    assert [rate.name for rate in known.others] == ["class agreement"]
    assert not [note for note in known.notes if "classes" in note]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda images: (images + 1) / 2, "seem to be images in [0, 1]"),
        (lambda images: (images + 1) * 127.5, "were clipped"),
        (lambda images: 3 * images, "were clipped"),
        (lambda images: (images - images.mean()) / images.std(), "were clipped"),
    ],
)
def test_a_wrong_range_is_named(digits, spoil, words):
    data, fresh = digits
    pixels = range_of(spoil(to_float(fresh.images)), data.held_out.images)._asdict()
    (found,) = diagnose({"metrics": [], "range": pixels})
    assert found.cause == "wrong range"
    assert words in found.sentence
    assert f"from {pixels['low']:.3g} to {pixels['high']:.3g}" in found.sentence


def test_a_wrong_range_is_named_first_and_alone(digits):
    data, fresh = digits
    result = evaluate(Drawer(fresh.images[:20].repeat(9, 1, 1, 1), lambda x: (x + 1) / 2), data, n=60, repeats=2)
    assert [one.cause for one in result.diagnoses] == ["wrong range"]
    assert result.as_dict()["range"] == result.range
    assert (result.range["low"], result.range["high"], result.range["real_low"]) == (0, 1, -1)


@pytest.mark.parametrize("spoil", [lambda x: 0 * x, lambda x: 0.3 * x, torch.tanh, lambda x: 1.05 * x, lambda x: x])
def test_gray_and_bright_images_have_the_right_range(digits, spoil):
    data, fresh = digits
    for images, real in ((fresh.images, data.held_out.images), (255 - fresh.images, 255 - data.held_out.images)):
        pixels = range_of(spoil(to_float(images)), real)._asdict()
        assert diagnose({"metrics": [], "range": pixels}) == []


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
    inverted = dataclasses.replace(data.held_out, index=None, pixels=255 - data.held_out.images)
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
    with pytest.raises(
        SparringError, match="'digits' has no test images; choose split from: held_out, held_out_b, train"
    ):
        evaluate(system, data, split="test")
    with pytest.raises(SparringError, match="has no held-out images to compare with"):
        TrainingEvaluator(fresh)
    with pytest.raises(SparringError, match="repeats is 0: it must be from 1 to 1,000"):
        evaluate(system, data, repeats=0)
    for n in (-5, 0, 3):
        with pytest.raises(SparringError, match=rf"must be at least 6; got {n}"):
            evaluate(system, data, n=n)
    few = dataclasses.replace(data, held_out=data.held_out.rows(torch.arange(3)))
    with pytest.raises(SparringError, match=r"has 3 held-out and 1,500 training images: too few .* hold out a larger"):
        evaluate(system, few)
    with pytest.raises(SparringError, match=r"samples must be \(50, 1, 28, 28\).*got \(50, 1, 14, 14\)"):
        evaluate(Drawer(fresh.images, lambda images: images[..., ::2, ::2]), data, n=50)
    with pytest.raises(SparringError, match="50 of 50 samples contain NaN or infinite values"):
        evaluate(Drawer(fresh.images, lambda images: images / 0), data, n=50)
    with pytest.raises(SparringError, match="unknown metric 'FDD'"):
        evaluate(system, data, n=50, repeats=1)["FDD"]


@pytest.mark.parametrize(
    ("metric", "value", "interval", "floor", "floor_interval", "words"),
    [
        ("FD", 31.0, (30.0, 32.0), 10.0, (9.0, 11.0), "3.1 x the floor"),
        ("FD", 11.0, (10.5, 12.5), 10.0, (9.0, 11.0), "no significant difference from real images"),
        ("FD", 8.0, (7.5, 8.5), 10.0, (9.0, 11.0), "0.8 x the floor"),
        ("FD", 1.0, None, 10.0, None, "closer than real images: copies?"),
        ("FD", 1.0, None, 0.0, None, "1 above real images"),
        ("KID", 0.5, (0.4, 0.6), -0.01, None, "0.51 above real images"),
        ("precision", 0.7, (0.6, 0.8), 0.95, (0.9, 1.0), "0.25 below real images"),
        ("classes-TV", 0.2, (0.18, 0.22), 0.1, None, "2.0 x the floor"),
    ],
)
def test_words(metric, value, interval, floor, floor_interval, words):
    numbers = {"value": value, "interval": interval, "floor": floor, "floor_interval": floor_interval}
    assert complete(Measurement(metric=metric, n=9, split="held_out", **numbers)).words == words


def test_a_measurement_prints_as_one_line():
    fd = Measurement(
        metric="FD",
        value=20.704,
        n=9,
        split="held_out",
        interval=(20.2, 21.2),
        floor=1.0716,
        floor_name="real images",
        extractor="x",
        by_extractor=True,
        words="19.3 x the floor",
    )
    assert str(fd) == "FD-x@9 20.7 (20.2 to 21.2), n = 9; real images 1.072: 19.3 x the floor"
    share = {"unit": "share", "interval": (0.0, 0.05)}
    error = Measurement(metric="classification error", value=0.01, n=1000, split="test", **share)
    assert str(error) == "classification error 1.00 % (0.00 to 5.00), n = 1,000"
    units = Measurement(metric="active units", value=7, n=1, split="test", unit="of 20")
    assert str(units) == "active units 7 of 20, n = 1"
    there = Measurement(metric="cycle error", value=0.5, n=1, split="test", direction="a to b to a", unit="per pixel")
    assert str(there) == "cycle error a to b to a 0.5 per pixel, n = 1"
    assert (there.key, there.as_dict()["metric"]) == ("cycle error a to b to a", "cycle error")


# How many images.


def test_below_the_images_that_a_number_needs_its_light_is_gray_and_one_sentence_says_so(digits, monkeypatch):
    data, fresh = digits
    least = {"FD": 200, "KID": 30, "coverage": 150}
    for metric in METRICS.values():
        monkeypatch.setitem(METRICS, metric.name, dataclasses.replace(metric, least=least.get(metric.name, 0)))
    result = evaluate(Drawer(fresh.images), data, n=50, repeats=2)
    lights = {one.metric: one.light for one in result.panel}
    assert {name for name, light in lights.items() if light == "gray"} == {"FD", "coverage"}
    assert (result["FD"].words, result["FD"].needed, result["FD"].against) == (
        "too few images to tell",
        200,
        50,
    )
    (note,) = result.notes
    assert "50 held-out images are too few for 2 of " in note
    assert note.endswith("evaluate with n = 200 or more")
    assert [one.cause for one in result.diagnoses] == ["too few images"]
    assert evaluate(Drawer(fresh.images), data, n=200, repeats=1).notes == ()
    few = dataclasses.replace(data.rows(torch.arange(450)), held_out=data.held_out.rows(torch.arange(50)))
    (note,) = evaluate(Drawer(fresh.images), few, repeats=1).notes
    assert note.endswith("hold out 40% of the 500 images (held_out=0.4), or add images")
    # A fault that is seen all the same is named.
    broken = evaluate(Drawer(fresh.images, noise), data, n=50, repeats=2)
    assert broken["FD"].light == "gray"
    assert broken["FD"].words.endswith("x the floor")
    assert "no fault found" not in [one.cause for one in broken.diagnoses]


def test_every_number_with_a_light_has_been_tried(digits):
    data, fresh = digits
    measured = evaluate(Drawer(fresh.images), data, n=30, repeats=1).panel
    assert [one.metric for one in measured if one.light and not one.needed] == []
    assert {one.metric: one.needed for one in measured} == {one.metric: METRICS[one.metric].least for one in measured}


# The table.


def test_a_function_and_a_row_are_a_new_metric(digits, monkeypatch):
    data, fresh = digits

    def brightness(*, real, fake):
        return float(fake.double().mean() / real.double().mean())

    row = Metric(name="brightness", function=brightness, needs="pixels", meaning="mean gray level", least=30)
    monkeypatch.setitem(METRICS, "brightness", row)
    dark = evaluate(Drawer(fresh.images, lambda images: (images + 1) / 2 - 1), data, n=60, repeats=2)
    found = dark["brightness"]
    assert found.value == pytest.approx(0.5, abs=0.03)
    assert found.floor == pytest.approx(1, abs=0.1)
    assert (found.light, found.extractor, found.better) == ("red", "pixels", "floor")
    assert "below real images" in found.words
    bright = evaluate(Drawer(fresh.images), data, n=60, repeats=2)
    require_evaluation(json.loads(json.dumps(dark.as_dict())))
    (difference,) = (one for one in compare(bright.as_dict(), dark.as_dict()) if one.name == "brightness")
    assert difference.words == "the first is closer to real images"


def test_a_metric_of_a_capability_is_a_function_of_the_context(digits, monkeypatch):
    data, _ = digits

    def largest_code(context):
        codes = context.system.encode(to_float(context.reference.images))
        value = float(codes.abs().max())
        return [Measurement(metric="largest code", value=value, n=len(codes), split=context.split)]

    row = {"function": largest_code, "needs": "encode", "meaning": "largest number in a code", "better": "lower"}
    monkeypatch.setitem(METRICS, "largest code", Metric(name="largest code", **row))
    result = evaluate(Keeper(), data, n=30)
    found = result["largest code"]
    assert (found.value, found.section, found.better) == (1, "others", "lower")
    assert "largest code 1, n = 30" in [str(one) for one in result.others]
    assert "largest code" not in [one.metric for one in evaluate(Namer(data.held_out), data, n=30).measurements]


def test_rows_are_consistent():
    for name, metric in METRICS.items():
        assert metric.name == name
        assert {*metric.needs.split(" or ")} <= {*OF_SAMPLES, *MEASURED, *CAPABILITIES}
        assert metric.meaning
        assert not metric.plot or metric.needs == "features"
        assert not metric.least or metric.section == "samples"


def test_the_documentation_lists_the_table():
    text = (Path(__file__).parents[1] / "docs" / "evaluation.md").read_text()
    table = text.partition("| metric | needs | meaning | better |\n|---|---|---|---|\n")[2].partition("\n\n")[0]
    rows = [f"| {one.name} | {one.needs} | {one.meaning} | {one.better} |" for one in METRICS.values()]
    assert table.splitlines() == rows
    required = text.partition("| real images | metrics |")[2].partition("\n\n")[0].splitlines()
    lines = {int(line.split("|")[1]): line.split("|")[2] for line in required if re.match(r"\| \d", line)}
    for name, metric in METRICS.items():
        family = next((one for one in ("Nyquist", "quarter", "copied", "duplicates") if name.startswith(one)), name)
        assert metric.least in (0, 512) or re.search(rf"\b{re.escape(family)}\b", lines[metric.least]), name


# Samples that are there already.


def test_images_are_measured_as_a_systems_samples_are(digits, tmp_path):
    data, fresh = digits
    result = evaluate(fresh.images[:350], data, n=100)
    assert (result.n, result.repeats, result.seeds) == (100, 3, ())
    assert [one.cause for one in result.diagnoses] == ["too few images"]
    assert result["coverage"].light == "gray"
    assert evaluate(to_float(fresh.images[:350]), data, n=100)["FD"].value == result["FD"].value
    assert evaluate(to_float(fresh.images[:350]).numpy(), data, n=100)["FD"].value == result["FD"].value
    few = evaluate(fresh.rows(torch.arange(40)), data)
    assert (few.n, few.repeats) == (40, 1)
    half = evaluate((to_float(fresh.images[:60]) + 1) / 2, data)
    assert [one.cause for one in half.diagnoses] == ["wrong range"]
    np.save(tmp_path / "large.npy", fresh.images[:60].repeat_interleave(2, 2).repeat_interleave(2, 3)[:, 0].numpy())
    assert evaluate(tmp_path / "large.npy", data).n == 60
    for images, words in (
        (fresh.images[:3], "3 images are too few"),
        (to_float(fresh.images[:9])[..., :20], r"images must be \(N, 1, 28, 28\) for data 'digits'"),
        ("nowhere/at/all", "there is no folder or file"),
    ):
        with pytest.raises(SparringError, match=words):
            evaluate(images, data)
    with pytest.raises(SparringError, match="truncation requires a system that can sample"):
        evaluate(fresh.images, data, sampling={"truncation": 0.5})


def test_a_folder_is_measured_from_the_command_line(digits, tmp_path, capsys):
    data, fresh = digits
    np.save(tmp_path / "real.npy", data.images[:300, 0].numpy())
    np.save(tmp_path / "samples.npy", fresh.images[:30, 0].numpy())
    against = ["--against", str(tmp_path / "real.npy"), "--held-out", "0.2"]
    main(["evaluate", str(tmp_path / "samples.npy"), *against])
    assert "real: 30 samples, against 30 held-out images" in capsys.readouterr().out
    main(["evaluate", str(tmp_path / "samples.npy"), *against, "--json"])
    assert json.loads(capsys.readouterr().out)["n"] == 30
    for flags, words in (
        ([], "to evaluate images: sparring evaluate"),
        ([*against, "--checkpoint", "best"], "--checkpoint applies to runs only"),
        (["--held-out", "0.2"], "--held-out requires --against"),
    ):
        with pytest.raises(SystemExit):
            main(["evaluate", str(tmp_path / "samples.npy"), *flags])
        assert words in capsys.readouterr().err


def test_samples_in_folders_are_held_against_the_class_of_their_folder(digits, tmp_path, capsys):
    data, fresh = digits
    for row in range(60):
        asked = (int(fresh.labels[row]) + (row < 15)) % 10  # a quarter lies in the wrong folder
        (tmp_path / "samples" / str(asked)).mkdir(parents=True, exist_ok=True)
        to_pil(fresh.images[row]).save(tmp_path / "samples" / str(asked) / f"{row}.png")
    result = evaluate(tmp_path / "samples", data)
    (rate,) = result.others
    assert (rate.name, rate.n) == ("class agreement", 60)
    assert rate.value == pytest.approx(0.75, abs=0.05)
    assert str(rate).endswith("requested class: its folder or label")
    assert not any("class agreement" in note for note in result.notes)
    (tmp_path / "samples" / "0").rename(tmp_path / "samples" / "owl")
    main(["evaluate", str(tmp_path / "samples"), "--against", "digits", "--held-out", "100"])
    assert "class agreement is not measured: the samples' folders owl are not classes of 'digits' (0, 1, " in " ".join(
        capsys.readouterr().out.split()
    )
    unknown = dataclasses.replace(data, index=None, pixels=data.images.flip(2), held_out=None)
    result = evaluate(unknown.rows(torch.arange(60)), unknown, split="train")
    assert not result.others
    assert any("classes of samples are not counted" in note for note in result.notes)


def test_folders_of_classes_are_found_again_by_their_names():
    classes = ("T-shirt/top", "a, b", "owl")
    samples = Dataset("s", torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.tensor([1, 0]), ("owl", "T-shirt-top"))
    data = Dataset("d", samples.images, torch.tensor([0, 1]), classes)
    assert sorted(as_system(samples, data).labels.tolist()) == [0, 2]
    assert folders_of(classes) == ["T-shirt-top", "a-b", "owl"]
    assert folders_of(("+", "-")) == ["0", "1"]


def test_an_evaluation_is_one_line_and_a_table_in_a_notebook(digits):
    data, fresh = digits
    result = evaluate(fresh.images[:60], dataclasses.replace(data, name="<b>"))
    assert str(result).startswith("<b>, n = 60: FD-lenet-mnist@60 ")
    assert "\n" not in str(result) + repr(result)
    assert max(len(str(result)), len(repr(result))) < 300
    page = result._repr_html_()
    assert page.count("<tr>") == 1 + len(result.panel)
    assert "<b>" not in page
    assert str(evaluate(Keeper(), data, n=30)).startswith("digits, n = 30: reconstruction error 0, blur ratio of")


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

    def sample_latents(self, n, *, seed=0):
        return self.prior(n, make_generator("prior", seed))

    def encode(self, images):
        return self.codes(len(images), make_generator("codes"))


class Sleeper:
    """Twenty units of which only the first few tell images apart."""

    def __init__(self, awake):
        self.awake = awake

    def encode(self, images):
        spread = torch.zeros(20)
        spread[: self.awake] = 1
        return spread * images.flatten(1)[:, 300:301]

    def kl(self, images):
        return torch.arange(20.0) * (1 + images.flatten(1)[:, 300:301])


def together(*parts):
    return Dataset("all", torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts]))


def test_what_keeps_everything_has_no_error_and_all_edges(digits):
    data, _ = digits
    result = evaluate(Keeper(), data)
    assert (result.panel, result.classes) == ((), ())
    error, blur = result.measurements
    assert (error.name, error.value, error.interval, error.n) == ("reconstruction error", 0, (0, 0), 400)
    assert (error.unit, error.split, error.floor_name) == ("per pixel", "held_out", "the mean training image")
    assert (blur.name, blur.value, blur.interval) == ("blur ratio of reconstructions", 1, (1, 1))
    assert 0.9 < blur.floor < 1.1
    assert blur.floor_interval[0] < blur.floor < blur.floor_interval[1]
    assert blur.words == "no significant difference from real images"
    plain = result.as_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert [(one["section"], one["value"]) for one in plain["metrics"]] == [("reconstruction", 0), ("blur", 1)]
    assert plain["metrics"][0].keys() == plain["metrics"][1].keys() == {*error.as_dict(), *SHARED}
    assert (plain["units"], plain["classes"], plain["cells"], plain["findings"]) == ([], [], [], [])


def test_errors_are_of_the_reference_images_with_an_interval_over_images(digits):
    data, _ = digits
    result = evaluate(Keeper(lambda images: 0.5 * images - 0.5), data, n=150)
    chosen = torch.randperm(400, generator=make_generator("evaluate", "reference"))[:150]
    pixels = data.held_out.images[chosen].double() / 255
    errors = (pixels - (pixels / 2 * 255).round() / 255).square().flatten(1).mean(1)
    error = result["reconstruction error"]
    assert error.value == pytest.approx(errors.mean().item(), rel=2e-3)  # a half may be rounded up or down
    assert error.interval == pytest.approx(mean_interval(errors.tolist()), rel=2e-3)
    others = data.images[torch.randperm(1500, generator=make_generator("evaluate", "floor"))[:750]]
    ema_decay = (others.double() / 255).mean(0)
    assert error.floor == pytest.approx((pixels - ema_decay).square().mean().item(), rel=1e-3)
    assert str(error).startswith(f"reconstruction error {error.value:.4g} ({error.interval[0]:.4g} to ")
    assert "per pixel, n = 150; the mean training image 0.0" in str(error)


def test_the_mean_image_reconstructs_as_badly_as_its_reference(digits):
    data, _ = digits
    ema_decay = to_float(data.images).mean(0)
    error = evaluate(Keeper(lambda images: ema_decay.expand_as(images)), data)["reconstruction error"]
    assert error.value == pytest.approx(error.floor, rel=0.01)


def test_blur_and_noise_of_reconstructions_are_named(digits):
    data, _ = digits
    name = "blur ratio of reconstructions"
    blurred = evaluate(Keeper(lambda images: torch.nn.functional.avg_pool2d(images, 3, 1, 1)), data)[name]
    assert blurred.value < 0.5
    assert blurred.words == "blurred: edges are lost"
    noisy = evaluate(Keeper(noise_of(0.5)), data)[name]
    assert noisy.words == "more edges than real images, possibly noise"
    assert (noisy.name, noisy.n) == (name, 400)
    assert noisy.interval[0] < noisy.value < noisy.interval[1]
    flat = dataclasses.replace(
        data.rows(torch.arange(30)), index=None, pixels=torch.zeros(30, 1, 28, 28, dtype=torch.uint8)
    )
    assert name not in [one.name for one in evaluate(Keeper(), flat, split="train").measurements]


def test_a_system_that_must_know_labels_is_told_those_of_its_images(digits):
    data, _ = digits
    heard = []

    class Told(Namer):
        takes = {"reconstruct": {"labels"}}
        classify = None

        def reconstruct(self, images, *, labels=None):
            heard.append(torch.equal(labels, self.labels(images)))
            return images

    assert evaluate(Told(data.held_out), data, n=90)["reconstruction error"].value == 0
    assert heard == [True]


def test_reconstructions_that_are_broken_are_refused(digits):
    data, _ = digits
    with pytest.raises(SparringError, match=r"reconstructions must be \(50, 1, 28, 28\)"):
        evaluate(Keeper(lambda images: images[..., ::2]), data, n=50)
    with pytest.raises(SparringError, match="50 of 50 reconstructions contain NaN or infinite values: the autoencoder"):
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
    (distance,) = evaluate(Coder(prior, codes), data).measurements
    assert (distance.name, distance.n) == ("energy distance to the prior", 400)
    assert distance.words == "no significant difference from the prior"
    assert 0.5 < distance.value / distance.floor < 2
    assert 0 < distance.floor < distance.floor_interval[1] < 2 * distance.floor
    assert distance.interval[0] < distance.value < distance.interval[1]


def test_codes_that_do_not_follow_the_prior_are_told_apart(digits):
    data, _ = digits
    (shifted,) = evaluate(Coder(normal_codes, lambda n, g: normal_codes(n, g) + 0.5), data).measurements
    assert shifted.value > 5 * shifted.floor
    assert shifted.words == f"{shifted.value / shifted.floor:.1f} times the distance between two sets of prior codes"
    (narrow,) = evaluate(Coder(normal_codes, lambda n, g: 0.6 * normal_codes(n, g)), data).measurements
    assert narrow.value > narrow.floor_interval[1]
    again = evaluate(Coder(normal_codes, lambda n, g: 0.6 * normal_codes(n, g)), data, seed=1).measurements[0]
    assert again.floor == narrow.floor
    assert again.value != narrow.value


@pytest.mark.parametrize(("prior", "codes"), [(normal_codes, normal_codes), (by_turns, as_they_fall)])
def test_nothing_is_told_apart_much_more_often_than_1_in_20(digits, prior, codes):
    data, _ = digits
    few = dataclasses.replace(data.rows(torch.arange(60)), held_out=data.held_out.rows(torch.arange(50)))
    system = Coder(prior, None)
    wrong = 0
    for i in range(100):
        system.encode = lambda images, i=i: codes(len(images), make_generator("codes", i))
        (distance,) = evaluate(system, few, repeats=2, seed=i).measurements
        wrong += distance.words != "no significant difference from the prior"
    assert wrong <= 12


def test_codes_with_noise_are_drawn_where_the_system_can(digits):
    data, _ = digits

    class Noisy(Coder):
        """Mean codes are all the same; with their noise they follow the prior."""

        takes = {"encode": {"seed"}}

        def encode(self, images, *, seed=None):
            means = torch.zeros(len(images), 4)
            return means if seed is None else normal_codes(len(images), make_generator("noise", seed))

        def kl(self, images):
            return torch.zeros(len(images), 4)

    class Mean(Noisy):
        takes = {}

        def encode(self, images):
            return super().encode(images)

    distance, total, active = evaluate(Noisy(normal_codes, None), data).measurements
    assert distance.words == "no significant difference from the prior"
    assert (total.value, active.value) == (0, 0)
    assert evaluate(Mean(normal_codes, None), data).measurements[0].words.endswith("(mean codes, without noise)")


@pytest.mark.parametrize(("awake", "collapsed"), [(0, True), (1, True), (2, False), (20, False)])
def test_posterior_collapse_is_named_below_a_tenth_of_the_units(digits, awake, collapsed):
    data, _ = digits
    result = evaluate(Sleeper(awake), data)
    total, active = result.measurements
    pixel = to_float(data.held_out.images).flatten(1)[:, 300]
    assert total.name == "KL divergence"
    assert total.value == pytest.approx(190 * (1 + pixel.mean().item()), rel=1e-5)
    assert total.interval == pytest.approx(mean_interval((190 * (1 + pixel)).tolist()), rel=1e-4)
    assert (active.name, active.value, active.unit, active.n) == ("active units", awake, "of 20", 400)
    assert ("posterior collapse" in active.words) == collapsed
    assert str(active).startswith(f"active units {awake} of 20, n = 400")
    assert [unit.kl for unit in result.units] == pytest.approx(
        [i * (1 + pixel.mean().item()) for i in range(20)], rel=1e-5, abs=1e-6
    )
    variance = pixel.var().item()
    assert [unit.variance for unit in result.units] == pytest.approx([variance] * awake + [0] * (20 - awake), abs=1e-5)
    assert result.as_dict()["units"][0].keys() == {"kl", "variance"}


def test_log_likelihood_is_a_mean_over_images_beside_the_bound(digits):
    data, _ = digits
    asked = []

    class Knower(Keeper):
        def log_likelihood(self, images, *, draws=100, seed=0):
            asked.append((len(images), draws))
            return images.flatten(1).mean(1) - 1 / draws

    found = evaluate(Knower(), data, n=300)["log-likelihood"]
    assert asked == [(300, 100), (300, 1)]
    chosen = torch.randperm(400, generator=make_generator("evaluate", "reference"))[:300]
    expected = to_float(data.held_out.images[chosen]).flatten(1).mean(1)
    assert (found.name, found.unit, found.n) == ("log-likelihood", "nats", 300)
    assert found.value == pytest.approx(expected.mean().item() - 0.01, rel=1e-5)
    assert found.interval == pytest.approx(mean_interval((expected - 0.01).tolist()), rel=1e-5)
    assert found.floor == pytest.approx(expected.mean().item() - 1, rel=1e-5)
    assert "100 draws" in found.words


def test_numbers_that_are_not_finite_are_refused(digits):
    data, _ = digits
    system = Sleeper(3)
    system.kl = lambda images: torch.full((len(images), 20), torch.inf)
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
    (rate,) = evaluate(Clusterer(every), data).measurements
    assert (rate.name, rate.value, rate.n, rate.split) == ("clustering error", 0, 400, "held_out")
    assert rate.interval == wilson_interval(0, 400)
    assert rate.words.startswith("21 clusters, each named after one of 750 training images; a single cluster has ")
    largest = int(data.held_out.labels.bincount().max())
    assert rate.words.endswith(f"{100 - largest / 4:.2f} %")
    assert rate.words in str(rate)


def test_a_cluster_of_two_digits_errs_on_one_of_them(digits):
    data, _ = digits
    every = together(data, data.held_out)
    (rate,) = evaluate(Clusterer(every, lambda kinds: torch.where(kinds // 2 == 3, 16, kinds)), data).measurements
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
        (rate,) = evaluate(Watched(every), data, split=split).measurements
        named, *measured = seen
        assert named <= kinds[naming]
        assert set().union(*measured) <= kinds[split]
        assert not named & set().union(*measured)
        assert ("held-out" if naming == "held_out" else "training") in rate.words


def test_a_classifier_is_measured_without_samples(digits):
    data, _ = digits
    wrong = Namer(data.held_out, lambda labels: torch.where(labels == 4, 9, labels))
    result = evaluate(wrong, data)
    fours = int((data.held_out.labels == 4).sum())
    (rate,) = result.measurements
    assert (rate.name, rate.value, rate.n) == ("classification error", fours / 400, 400)
    assert result.panel == ()


def test_systems_that_cannot_be_measured_are_refused(digits):
    data, _ = digits
    with pytest.raises(SparringError, match="object cannot be evaluated: it has none of sample, classify, cluster"):
        evaluate(object(), data)
    with pytest.raises(SparringError, match="parzen requires a system that can sample; Keeper cannot"):
        evaluate(Keeper(), data, parzen=True)
    with pytest.raises(SparringError, match="truncation requires a system that can sample; Keeper cannot"):
        evaluate(Keeper(), data, sampling={"truncation": 0.5})
    with pytest.raises(SparringError, match=r"unknown metric 'blur'.*possible: reconstruction error, blur ratio of"):
        evaluate(Keeper(), data, n=30)["blur"]


def test_parzen_is_printed_beside_real_images_and_claims_nothing(digits):
    data, fresh = digits
    unlike = dataclasses.replace(
        data.held_out, index=None, pixels=255 - data.held_out.images
    )  # and so another width is chosen
    data = dataclasses.replace(data.rows(torch.arange(300)), held_out=unlike, test=fresh.rows(torch.arange(150)))
    name = "Parzen log-likelihood"
    assert name not in [one.name for one in evaluate(Drawer(fresh.images), data, n=30, repeats=1).measurements]
    found = evaluate(Drawer(data.images), data, n=30, repeats=1, parzen=True)[name]
    order = torch.randperm(400, generator=make_generator("evaluate", "parzen"))
    numbers = parzen_log_likelihood(
        real=data.test.images / 255, fake=data.images / 255, chosen_on=data.held_out.images[order] / 255
    )
    assert found.value == found.floor == pytest.approx(numbers.value, rel=1e-6)
    half = 1.959964 * numbers.error
    assert found.interval == pytest.approx((numbers.value - half, numbers.value + half), rel=1e-5)
    assert (found.n, found.split, found.unit) == (150, "test", "nats")
    assert found.floor_name == "300 real training images in place of 300 samples"
    for words in ("chosen on 400 held-out images", "Not a measure of quality", "k-means", f"sigma {numbers.sigma:.3g}"):
        assert words in found.words
    other = evaluate(Drawer(data.images, noise), data, n=30, repeats=1, parzen=True)[name]
    assert other.value != other.floor == found.floor


def test_parzen_without_a_test_set_divides_what_is_held_out(digits):
    data, fresh = digits
    found = evaluate(Drawer(fresh.images), data, n=30, repeats=1, parzen=True)["Parzen log-likelihood"]
    assert (found.n, found.split) == (200, "held_out")
    assert "chosen on 200 held-out images" in found.words
    with pytest.raises(SparringError, match="the Parzen window needs held-out images"):
        evaluate(Drawer(fresh.images), data.rows(torch.arange(90)), n=30, repeats=1, split="train", parzen=True)


# The yardstick, and the two halves of what is held out.


def test_the_yardstick_measures_both_halves(digits):
    data, fresh = digits
    yardstick = TrainingEvaluator(data)
    assert yardstick.n == 200
    first, second = held_out_halves(data.held_out)
    assert set(first.tolist()) | set(second.tolist()) == set(range(400))
    samples = Drawer(fresh.images).sample(200, seed=derive_seed("evaluate", 0, 0))
    judge = extractor(LENET_MNIST)
    fake, _ = judge.features(to_uint8(samples))
    mine, other = (judge.features(data.held_out.images[rows])[0] for rows in (first, second))
    fd, kid = yardstick.lines(samples)
    assert (fd["name"], kid["name"], fd["n"]) == ("FD-lenet-mnist@200", "KID-lenet-mnist@200", 200)
    assert fd["value"] == pytest.approx(frechet_distance(real=mine, fake=fake), rel=1e-6)
    assert kid["value"] == pytest.approx(kernel_distance(real=mine, fake=fake), rel=1e-6)
    assert kid["held_out_b"] == pytest.approx(kernel_distance(real=other, fake=fake), rel=1e-6)
    assert fd["extractor"] == "lenet-mnist"
    # The other half is what `evaluate` measures against for the best checkpoint, and not the first.
    result = evaluate(Drawer(fresh.images), data, split=HELD_OUT_B, repeats=1)
    assert result["KID"].value == pytest.approx(kid["held_out_b"], rel=1e-6)
    assert (result.n, result["KID"].split) == (200, HELD_OUT_B)
    floor = evaluate(Drawer(fresh.images), data, n=200, repeats=1)["FD"].floor
    assert fd["floor"] == pytest.approx(floor, rel=0.3)


def test_the_yardstick_changes_nothing_and_takes_pixels_or_floats(digits):
    data, fresh = digits
    yardstick = TrainingEvaluator(data, n=150)
    images = fresh.images[:150]
    before = torch.get_rng_state()
    lines = [yardstick.lines(images), yardstick.lines(to_float(images)), TrainingEvaluator(data, n=150).lines(images)]
    assert lines[0] == lines[1] == lines[2]
    assert torch.equal(before, torch.get_rng_state())
    assert yardstick.lines(255 - images)[0]["value"] > 10 * lines[0][0]["floor"]


def test_the_yardstick_refuses_what_it_cannot_compare(digits):
    data, fresh = digits
    yardstick = TrainingEvaluator(data, n=1000)
    with pytest.raises(SparringError, match=r"samples must be \(200, 1, 28, 28\)"):
        yardstick.lines(fresh.images[:199])
    with pytest.raises(SparringError, match="1 of 200 samples contain NaN"):
        yardstick.lines(to_float(fresh.images[:200]).index_fill(0, torch.tensor([3]), torch.nan))


def test_the_yardstick_is_fast(digits):
    data, fresh = digits
    yardstick = TrainingEvaluator(data)
    begun = time.process_time()
    yardstick.lines(fresh.images[:200])
    assert time.process_time() - begun < 2  # 0.1 s on an idle core; this only catches the absurd


# Judges that are made from the data.


def test_a_judge_of_pixels_is_made_from_training_images(digits):
    data, fresh = digits
    judge = choose_extractor(data, "pixels-pca64")
    result = evaluate(Drawer(fresh.images, lambda images: 0.7 * images), data, n=150, repeats=2, extractor=judge)
    assert result["FD"].name == "FD-pixels-pca64@150"
    assert result["FD"].digest == judge.digest
    assert result["FD"].light == "red"


def test_a_self_taught_judge_is_measured_with_images_it_has_not_seen(digits, monkeypatch):
    monkeypatch.setattr(data_driven, "STEPS", 20)
    data, fresh = digits
    judge = choose_extractor(data, "self64")
    result = evaluate(Drawer(fresh.images), data, repeats=2, extractor=judge)
    assert (result["KID"].split, result.n) == (HELD_OUT_B, 200)
    assert result["KID"].light == "green"
    blurred = Drawer(fresh.images, lambda images: torch.nn.functional.avg_pool2d(images, 5, 1, 2))
    assert evaluate(blurred, data, repeats=2, extractor=judge)["KID"].light == "red"


def test_judges_that_there_are_not_are_refused(digits):
    data, _ = digits
    for name, words in [
        ("lenet-mnst", "did you mean 'lenet-mnist'"),
        ("inception", "never downloaded: pass its weights file, weights-inception"),
    ]:
        with pytest.raises(SparringError, match=words):
            choose_extractor(data, name)
    with pytest.raises(SparringError, match="a weights file is only for inception, dinov2, clip; got extractor none"):
        choose_extractor(data, None, "w.safetensors")
    with pytest.raises(SparringError, match="self64 learns from held-out images"):
        choose_extractor(dataclasses.replace(data, held_out=None), "self64")


# Comparing.


def test_two_evaluations_are_compared_number_by_number(digits):
    data, fresh = digits
    good, noisy = (evaluate(Drawer(fresh.images, s), data, n=150).as_dict() for s in (lambda x: x, noise_of(0.3)))
    found = {one.name: one for one in compare(good, noisy)}
    assert found["KID-lenet-mnist@150"].words == "the first is closer to real images"
    assert {one.name: one for one in compare(noisy, good)}["KID-lenet-mnist@150"].closer < 0.025
    assert found["KID-lenet-mnist@150"].interval[1] < 0
    assert {one.words for one in compare(good, good)} <= {"no significant difference"}
    assert "closer to real images" in str(found["KID-lenet-mnist@150"])


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("n", 10_000, "the number of images, on which most metrics depend, differs .150 and 10000."),
        ("extractor", "inception", "the feature extractor differs"),
        ("digest", "f" * 64, "the SHA-256 of the extractor's weights differs"),
        ("split", "test", "the split differs .held_out and test."),
        ("metric", "FD", "the metric differs"),
        ("direction", "a to b", "the direction differs"),
        ("fingerprint", "0" * 64, "the data differs"),
    ],
)
def test_unlike_cards_are_refused_and_it_is_said_why(key, value, words):
    card = {"metric": "KID", "direction": "", "name": "KID-x@150", "value": 1.0, "unit": "", "n": 150}
    card |= {"interval": [0.5, 1.5], "floor": 0.0, "fingerprint": "b" * 64}
    card |= {"extractor": "lenet-mnist", "digest": "a" * 64, "split": "held_out"}
    assert difference(card, {**card, "value": 3.0}).interval == pytest.approx((-2 - 0.5**0.5, -2 + 0.5**0.5))
    with pytest.raises(SparringError, match=words):
        difference(card, {**card, key: value})


def test_evaluations_with_another_n_or_of_other_data_are_not_compared(digits):
    data, fresh = digits
    some, fewer = (evaluate(Drawer(fresh.images), data, n=n, repeats=2).as_dict() for n in (150, 100))
    with pytest.raises(SparringError, match="FD-lenet-mnist@150 and FD-lenet-mnist@100 cannot be compared"):
        compare(some, fewer)
    with pytest.raises(SparringError, match="the data differ"):
        compare(some, {**some, "fingerprint": "x"})
    with pytest.raises(SparringError, match="another version"):
        compare(some, {"metrics": []})


# Diagnosis.


def test_a_collapsed_generator_is_called_that_and_a_healthy_one_is_not(digits):
    data, fresh = digits
    collapsed = evaluate(Drawer(fresh.images[:60].repeat(10, 1, 1, 1)), data, repeats=3)
    assert collapsed.diagnoses[0].cause == "mode collapse"
    assert collapsed.diagnoses[0].sure == "certain"
    assert collapsed["effective support"].value < 200
    assert collapsed.as_dict()["findings"][0]["cause"] == "mode collapse"
    assert {"duplicates", "far", "near", "closest", "spectrum"} <= set(collapsed.pictures)
    healthy = evaluate(Drawer(fresh.images), data)
    assert [one.cause for one in healthy.diagnoses] == ["no fault found"]
    assert "duplicates" not in healthy.pictures


def test_one_digit_alone_is_collapse_and_names_what_is_missing(digits):
    data, fresh = digits
    ones = evaluate(Drawer(fresh.images[fresh.labels == 1].repeat(2, 1, 1, 1)), data, n=200, repeats=2)
    causes = [one.cause for one in ones.diagnoses]
    assert "mode collapse" in causes
    assert any("instead of" in one.sentence for one in ones.diagnoses)


def test_findings_come_most_certain_first_and_from_numbers_alone(digits):
    data, fresh = digits
    plain = evaluate(Drawer(fresh.images, noise), data, n=150, repeats=2).as_dict()
    certainties = [one.certainty for one in diagnose(json.loads(json.dumps(plain)))]
    assert certainties == sorted(certainties, reverse=True)
    assert [one["cause"] for one in plain["findings"]] == [one.cause for one in diagnose(plain)]
    assert all(one["sentence"] and one["evidence"] for one in plain["findings"])
    assert diagnose({"metrics": []}) == []


def test_labels_that_are_ignored_and_codes_that_sleep_are_named(digits):
    data, _ = digits
    agreement = Measurement(metric="class agreement", value=0.1, n=9, split="test", interval=(0.09, 0.11), floor=0.99)
    card = agreement.as_dict()
    (ignored,) = diagnose({"metrics": [card], "classes": [{}] * 10})
    assert ignored.cause == "labels ignored"
    assert diagnose({"metrics": [{**card, "floor": 0.21}], "classes": [{}] * 10}) == []
    assert diagnose({"metrics": [{**card, "value": 0.9, "interval": [0.8, 1.0]}]}) == []
    assert evaluate(Sleeper(1), data).diagnoses[0].cause == "posterior collapse"
    assert evaluate(Sleeper(3), data).diagnoses == []
