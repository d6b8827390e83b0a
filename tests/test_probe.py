"""Learned features: which numbers they are, that no label gets into them, and that the protocol is the paper's."""

import json
import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.svm import LinearSVC
from torch import nn

import sparring
from sparring.cli import main
from sparring.data.dataset import Dataset
from sparring.errors import SparringError
from sparring.latent import probe as probing
from sparring.latent.features import (
    ConvActivations,
    available_features,
    discriminator_features,
    pixels,
    pooled,
    recalibrate_batchnorm,
)
from sparring.losses import game
from sparring.networks import dcgan
from sparring.recipes.recipe import build_recipe, load_recipe, resolve_arguments
from sparring.systems.cgan import ConditionalGAN
from sparring.systems.gan import GAN


def critic(size=32, width=4, channels=1):
    torch.manual_seed(0)
    D = dcgan.discriminator(width, channels, size)
    return GAN(nn.Linear(2, 2), D, latent_dim=2, game=game("non-saturating")).eval()


def images(count=20, size=32, channels=1, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, channels, size, size), generator=g, dtype=torch.uint8)


def tones(count=600, classes=3, size=16, seed=0):
    """Noise around one gray for each class: the mean of an image tells its class."""
    labels = torch.arange(count) % classes
    level = 60 + 130 * labels / (classes - 1)
    noise = 50 * torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(seed))
    pictures = (level[:, None, None, None] + noise).to(torch.uint8)
    names = ("dark", "gray", "light", "white")[:classes]
    return Dataset("tones", pictures, labels, names).hold_out(0.2)


# Features.


def test_maps_are_pooled_to_four_by_four_maxima():
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    cells = x.unfold(2, 2, 2).unfold(3, 2, 2).amax((4, 5))
    assert torch.equal(pooled(x), cells.flatten(1))
    assert pooled(x[:, :, :7, :7]).shape == (2, 3 * 16)
    small = x[:, :, :2, :2]
    assert torch.equal(pooled(small), small.flatten(1))


def test_maps_are_what_leaves_a_layer_and_its_activation():
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(1, 2, 3), nn.LeakyReLU(0.2, inplace=True), nn.MaxPool2d(2)),
        *(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Sequential(nn.Conv2d(3, 4, 3), nn.Identity())),
        *(nn.Flatten(), nn.Linear(4 * 3 * 3, 9), nn.Unflatten(1, (1, 3, 3)), nn.Conv2d(1, 1, 3)),
    ).eval()
    x = torch.randn(5, 1, 16, 16)
    with torch.no_grad(), ConvActivations() as maps:
        network(x)
    with torch.no_grad():
        one = F.leaky_relu(network[0](x), 0.2)
        two = network[5](network[4](network[3](F.max_pool2d(one, 2))))
        three = network[6](two)
    assert len(maps.each) == 3  # the last layer gives one number: a score
    for mine, wanted in zip(maps.each, (one, two, three), strict=True):
        torch.testing.assert_close(mine, wanted)
    with torch.no_grad():
        network(x)
    assert len(maps.each) == 3


def test_the_papers_network_has_as_many_features_as_the_papers_code():
    """Three layers of 64, 128 and 256 maps, 4x4 each: 7,168."""
    assert discriminator_features(critic(width=64, channels=3), images(2, channels=3)).shape == (2, 7168)


def test_features_do_not_depend_on_the_batch():
    system, x = critic(), images(300)
    whole = discriminator_features(system, x)
    assert whole.shape == (300, 16 * (4 + 8 + 16))
    torch.testing.assert_close(discriminator_features(system, x[295:]), whole[295:], rtol=1e-4, atol=1e-5)


def test_batch_norm_measures_the_training_images():
    system, x = critic(), images(100, seed=1)
    before = {name: value.clone() for name, value in system.state_dict().items()}
    measured = recalibrate_batchnorm(system, x)
    assert all(torch.equal(value, before[name]) for name, value in system.state_dict().items())
    with torch.no_grad():
        first = F.leaky_relu(system.D[0](x.float() / 127.5 - 1), 0.2)
        second = system.D[2](first)
    torch.testing.assert_close(measured.D[3].running_mean, second.mean((0, 2, 3)), atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(measured.D[3].running_var, second.var((0, 2, 3)), atol=1e-6, rtol=1e-3)
    after = {name: value.clone() for name, value in measured.state_dict().items()}
    discriminator_features(measured, images(50, seed=2))  # what is probed later is not measured
    assert all(torch.equal(value, after[name]) for name, value in measured.state_dict().items())
    several = recalibrate_batchnorm(system, images(600, seed=3))
    with torch.no_grad():
        second = system.D[2](F.leaky_relu(system.D[0](images(600, seed=3).float() / 127.5 - 1), 0.2))
    means = torch.stack([rows.mean((0, 2, 3)) for rows in second.split(250)]).mean(0)
    torch.testing.assert_close(several.D[3].running_mean, means, atol=1e-6, rtol=1e-4)


class Told(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.said = nn.Conv2d(1, 2, 3), []

    def forward(self, x, y):
        self.said.append(y)
        return self.conv(x + y[:, None, None, None]).mean((1, 2, 3))


def test_a_discriminator_that_is_told_the_class_is_told_nothing():
    system = ConditionalGAN(nn.Linear(2, 2), Told(), latent_dim=2, classes=5, game=game("non-saturating"))
    x = images(7)
    found = available_features(system, x)
    features = found["discriminator"](x)
    with torch.no_grad():
        torch.testing.assert_close(features, pooled(system.D.conv(x.float() / 127.5 - 1)))
    assert all(int(y.max()) == 0 for y in system.D.said)
    torch.testing.assert_close(pixels(x), x.flatten(1).float() / 127.5 - 1)


@pytest.mark.parametrize(
    ("name", "extra", "size", "kinds"),
    [
        ("vae", {"width": 8, "latent_dim": 3}, 16, {"codes": 3}),
        ("alae", {"width": 8, "latent_dim": 3}, 16, {"codes": 3, "hidden layer": 8}),
        ("dcgan", {"width": 4}, 16, {"discriminator": 16 * (4 + 8)}),
        ("infogan", {}, 28, {"discriminator": 16 * (64 + 128)}),
        ("cs231n-dcgan", {}, 28, {"discriminator": 16 * (32 + 64)}),
    ],
)
def test_what_a_system_knows_of_images_is_found(name, extra, size, kinds):
    function = load_recipe(name, sparring.recipes.RECIPES)
    data = tones(size=size, count=40)
    system = build_recipe(function, data.spec, resolve_arguments(function, extra)).system.eval()
    found = available_features(system, data.images)
    assert {kind: features(data.images[:5]).shape for kind, features in found.items()} == {
        kind: (5, numbers) for kind, numbers in kinds.items()
    }


@pytest.mark.parametrize("name", ["csc321-mlp", "mnist-net"])
def test_a_system_without_features_says_so(name):
    function = load_recipe(name, sparring.recipes.RECIPES)
    data = tones(size=28, count=40)
    system = build_recipe(function, data.spec, resolve_arguments(function, {})).system.eval()
    with pytest.raises(
        SparringError, match=rf"{type(system).__name__} has no features to probe: neither an encoder nor"
    ):
        available_features(system, data.images)


# The protocol.


def rows_of(part, data):
    """Which images of the data these are."""
    flat = {image.numpy().tobytes(): i for i, image in enumerate(data.images)}
    return [flat[image.numpy().tobytes()] for image in part.images]


def test_labels_are_drawn_anew_from_what_is_not_kept_for_choosing():
    data = tones()
    plan = probing.protocol(data, labels=31, draws=4, seed=1)
    kept = set(rows_of(plan.validation, data))
    assert len(kept) == len(data) // 5
    drawn = [tuple(rows_of(part, data)) for part in (*plan.choosing, *plan.asked)]
    assert len(plan.choosing) == len(plan.asked) == 4
    assert len(set(drawn)) == 8
    for part, rows in zip((*plan.choosing, *plan.asked), drawn, strict=True):
        assert part.labels.bincount().tolist() == [10, 10, 10]
        assert not kept & set(rows)
    assert plan.exam is data.held_out
    exam = tones(seed=5)
    assert probing.protocol(replace(data, test=exam), labels=30, draws=1).exam is exam
    again = probing.protocol(data, labels=31, draws=4, seed=1)
    assert [tuple(rows_of(part, data)) for part in again.asked] == drawn[4:]
    other = probing.protocol(data, labels=31, draws=4, seed=2)
    assert tuple(rows_of(other.asked[0], data)) not in drawn
    assert sorted(rows_of(other.validation, data)) == sorted(kept)


def test_without_a_number_all_labels_are_used_once():
    data = tones()
    plan = probing.protocol(data, labels=None, draws=7)
    assert len(plan.choosing) == len(plan.asked) == 1
    assert len(plan.asked[0]) == len(data) - len(plan.validation)
    assert not set(rows_of(plan.asked[0], data)) & set(rows_of(plan.validation, data))


def test_data_that_cannot_be_probed_is_named():
    data = tones()
    with pytest.raises(SparringError, match="'tones' has no labels"):
        probing.protocol(replace(data, labels=None), labels=30, draws=1)
    with pytest.raises(SparringError, match="'tones' has no test or held-out images"):
        probing.protocol(replace(data, held_out=None), labels=30, draws=1)
    with pytest.raises(SparringError, match="2 labels are fewer than the 3 classes of 'tones'"):
        probing.protocol(data, labels=2, draws=1)
    with pytest.raises(SparringError, match="labeled images per class are needed, and class 'dark' has "):
        probing.protocol(data, labels=600, draws=1)


# The SVM.


def patterned(count=900, classes=3, strength=12):
    """Noise, and a faint pattern of the class: the SVM can see it, and can take noise for it."""
    g = torch.Generator().manual_seed(0)
    labels, patterns = torch.arange(count) % classes, torch.randn(classes, 1, 8, 8, generator=g)
    noisy = 128 + strength * patterns[labels] + 30 * torch.randn(count, 1, 8, 8, generator=g)
    return Dataset("patterns", noisy.clamp(0, 255).to(torch.uint8), labels, ("a", "b", "c")).hold_out(0.2)


def loud(x):
    return 5 * pixels(x)


@pytest.mark.parametrize("labels", [90, 45])
def test_a_probe_is_the_svm_of_the_draws(labels):
    """The same done by hand with scikit-learn: which C is chosen, and the shares on the test images.

    With 45 labels there are fewer images than numbers.
    """
    plan = probing.protocol(patterned(), labels=labels, draws=3)
    told = []
    found = probing.probe("loud", loud, plan, on_progress=lambda: told.append(1))
    assert len(told) == probing.n_fits(plan) == 3 * 7 + 3

    def right(part, penalty, exam):
        machine = LinearSVC(C=penalty, max_iter=5000, random_state=0)
        machine.fit(loud(part.images).numpy(), part.labels.numpy())
        return machine.score(loud(exam.images).numpy(), exam.labels.numpy())

    each = {
        c: np.mean([right(part, c, plan.validation) for part in plan.choosing])
        for c in (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2)
    }
    assert found.chosen == max(each, key=each.get)
    assert found.validation == pytest.approx(each[found.chosen])
    assert found.right == pytest.approx([right(part, found.chosen, plan.exam) for part in plan.asked])
    assert found.numbers == 64
    assert found.mean == pytest.approx(np.mean(found.right))
    assert found.spread == pytest.approx(np.std(found.right, ddof=1))
    assert found.edge == (found.chosen in (1e-4, 1e-2))
    assert len(set(each.values())) > 3
    x, exam = loud(plan.asked[0].images), loud(plan.exam.images)
    nearest = plan.asked[0].labels[(exam[:, None] - x).norm(dim=2).argmin(1)]
    assert found.neighbor[0] == pytest.approx(float((nearest == plan.exam.labels).float().mean()), abs=0.02)


def test_good_features_are_right_and_noise_is_right_by_chance():
    plan = probing.protocol(tones(count=900), labels=90, draws=2)
    shares = torch.eye(3)
    good = probing.probe("good", lambda x: 30 * shares[(pixels(x).mean(1) * 1.5 + 1.4).long().clamp(0, 2)], plan)
    assert good.mean == 1
    assert good.neighbor == (1, 1)

    def noise(x):
        return torch.stack([torch.randn(5, generator=torch.Generator().manual_seed(int(i.sum()))) for i in x])

    blind = probing.probe("noise", noise, plan, neighbors=False)
    assert blind.mean == pytest.approx(1 / 3, abs=0.12)
    assert blind.neighbor == ()


def test_without_scikit_learn_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.svm", None)
    with pytest.raises(SparringError, match=r"pip install 'sparring\[probe\]'"):
        probing.svm()


def test_a_spread_needs_two_draws():
    one = probing.ProbeResult("x", 3, (0.5,), 1e-3, False, 0.5)
    assert one.spread == 0
    assert replace(one, right=(0.5, 0.7)).spread == pytest.approx(0.2 / math.sqrt(2))


# The supervised network.


def test_the_same_layers_learn_the_labels(monkeypatch):
    monkeypatch.setattr(probing, "EPOCHS", 24)
    plan = probing.protocol(tones(count=600), labels=240, draws=2)
    asked, told = [], []

    def fresh(seed):
        asked.append(seed)
        torch.manual_seed(seed)
        D = dcgan.discriminator(4, 1, 16)
        return GAN(nn.Linear(2, 2), D, latent_dim=2, game=game("non-saturating"))

    found = probing.supervised(fresh, plan, on_progress=lambda: told.append(1))
    assert found.mean > 0.95
    assert found.chosen in probing.RATES
    assert found.numbers == 16 * 8  # the last layer's 8 maps of 4x4
    assert len(told) == probing.n_networks(plan) == len(asked) == len(probing.RATES) + 2
    assert asked == [0, 0, 0, 0, 0, 1, 2]
    shuffled = replace(plan.asked[0], labels=(plan.asked[0].labels + 1) % 3)
    blind = probing.supervised(fresh, replace(plan, choosing=(shuffled,), asked=(shuffled,)))
    assert blind.mean < 0.5  # it learns what it is told


def test_gradients_reach_all_layers_but_the_score():
    system = critic(size=16)
    network = probing.Supervised(system.D, 3, torch.zeros(2, 1, 16, 16)).train()
    network(torch.randn(4, 1, 16, 16)).sum().backward()
    without = [name for name, p in system.D.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == ["5.weight"]


# The command line.


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    data = tones(count=400)
    np.savez(out / "tones.npz", images=data.images[:, 0].numpy(), labels=data.labels.numpy())
    common = {"out": out, "quiet": True, "rounds": 1, "batch": 8}
    made = {
        name: sparring.train(name, str(out / "tones.npz"), **common, **extra).path
        for name, extra in (
            ("dcgan", {"width": 4, "latent_dim": 4, "size": 16}),
            ("vae", {"width": 8, "latent_dim": 3, "size": 16}),
            ("csc321-mlp", {"latent_dim": 4, "size": 16}),
        )
    }
    return made, out / "tones.npz"


def test_probe_prints_every_kind_of_features(runs, capsys):
    made, path = runs
    few = ["--labels", "30", "--repeats", "2"]
    main(["probe", str(made["dcgan"]), *few])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("30 labels, 2 repeats; 32 held-out images of tones")
    assert [line.strip().split("  ")[0] for line in lines[2:5]] == [
        "discriminator",
        "discriminator, random",
        "pixels",
    ]
    main(["probe", str(made["vae"]), *few, "--data", str(path), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["data"], found["labels"], found["draws"]) == ("tones", 30, 2)
    assert [row["name"] for row in found["features"]] == ["codes", "codes, random", "pixels"]
    assert [row["numbers"] for row in found["features"]] == [3, 3, 256]
    system = sparring.open(made["vae"]).system()
    plan = probing.protocol(sparring.load(str(path)), labels=30, draws=2)
    wanted = probing.probe("codes", available_features(system, plan.exam.images)["codes"], plan)
    assert found["features"][0]["right"] == pytest.approx(wanted.right)
    again = json.loads(json.dumps(found))
    main(["probe", str(made["vae"]), *few, "--json"])
    assert json.loads(capsys.readouterr().out) == again


def test_probe_trains_the_same_layers_when_asked(runs, capsys, monkeypatch):
    monkeypatch.setattr(probing, "EPOCHS", 4)
    made, _ = runs
    main(["probe", str(made["dcgan"]), "--labels", "30", "--repeats", "2", "--supervised", "--json"])
    rows = json.loads(capsys.readouterr().out)["features"]
    assert [row["name"] for row in rows][-1] == "supervised network"
    assert len(rows[-1]["right"]) == 2


@pytest.mark.parametrize(
    ("name", "flags", "words"),
    [
        ("csc321-mlp", [], "GAN has no features to probe: neither an encoder nor"),
        ("dcgan", ["--labels", "2"], "2 labels are fewer than the 3 classes of 'tones'"),
        ("dcgan", ["--labels", "many"], "labels (--labels) is 'many'"),
        ("dcgan", ["--data", "nowhere"], "unknown data set 'nowhere'"),
        ("vae", ["--labels", "30", "--supervised"], "VAE has no convolutional discriminator: drop --supervised"),
    ],
)
def test_what_cannot_be_probed_is_refused_in_one_line(runs, capsys, name, flags, words):
    made, _ = runs
    with pytest.raises(SystemExit) as end:
        main(["probe", str(made[name]), *flags])
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert end.value.code == 2
    assert words in line
