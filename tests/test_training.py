"""Every recipe at toy size: it plays, only moves its players, resumes bit for bit, samples; and what a run leaves."""

import json
import re
from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers import recipe_data, small, toy_data
from PIL import Image
from toys import gan, referee

from sparring.cli.training import OneSource
from sparring.data.dataset import Dataset, Spec
from sparring.data.pixels import to_float
from sparring.errors import DivergedError, SparringError
from sparring.losses import GAMES
from sparring.networks import infogan
from sparring.options import TrainOptions
from sparring.recipes import RECIPES
from sparring.recipes.arguments import GameName
from sparring.recipes.recipe import arguments, build_recipe, info, load_recipe, resolve_arguments
from sparring.referee import Referee
from sparring.run import Run, open_system
from sparring.system import CAPABILITIES
from sparring.training import resume, train
from sparring.training_loop import _caveats, why_no_fd

CODES = {"encode", "decode", "reconstruct"}
GENERATIVE = CODES | {"sample", "sample_latents", "traversals"}
PLAYFUL = {"sample", "sample_latents", "decode", "score"}
PROMISED = {
    "mnist-net": {"classify"},
    "mlp-classifier": {"classify"},
    "cs231n-classifier": {"classify"},
    "autoencoder": CODES,
    "vae": GENERATIVE | {"kl", "log_likelihood"},
    "chollet-vae": GENERATIVE | {"kl", "log_likelihood"},
    "smu-vae": GENERATIVE | {"kl", "log_likelihood"},
    "vae-gan": GENERATIVE | {"kl", "score"},
    "aae": GENERATIVE,
    "aae-labeled-prior": GENERATIVE,
    "aae-supervised": GENERATIVE,
    "aae-semi-supervised": GENERATIVE | {"classify"},
    "aae-clustering": GENERATIVE | {"cluster"},
    "aae-reduction": GENERATIVE | {"cluster"},
    "aae-labeled-reduction": GENERATIVE | {"cluster", "classify"},
    "molecular-aae": GENERATIVE | {"screen"},
    "alae": GENERATIVE | {"score"},
    "style-alae": GENERATIVE | {"score"},
    "cyclegan": {"translate"},
    "pix2pix": {"translate"},
    "infogan": PLAYFUL | {"infer_codes"},
    "improved-gan": PLAYFUL | {"classify"},
    "acgan": PLAYFUL | {"classify"},
}
"""What a system can do beside playing, where it is not what all GANs can: make images and judge them."""


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """InfoGAN's networks, whose 13 million weights no argument makes fewer."""
    monkeypatch.setattr(infogan, "FEATURES", 32)


COURSES = ("goodfellow-mlp", "cs231n-mlp", "raschka-mlp", "csc321-mlp", "chollet-frogs", "smu-frogs", "smu-frogs-lsgan")
COURSES += ("mnist-net", "chollet-vae", "vae")


def test_flags_that_docstrings_name_exist_and_courses_have_a_table_of_what_differs():
    for name in RECIPES:
        function = load_recipe(name, RECIPES)
        known = {a.name for a in (*arguments(function), *arguments(OneSource), *arguments(TrainOptions))} | {
            "data_a",
            "data_b",
        }
        named = set(re.findall(r"(?<![-\w])--([a-z][a-z0-9-]*)", function.__doc__))
        assert {word.removeprefix("no-").replace("-", "_") for word in named} <= known, name
        table = [line.strip() for line in function.__doc__.splitlines() if line.strip().startswith("|")]
        assert table or name not in COURSES, name
        assert all(line.count("|") == 4 for line in table), name


@pytest.mark.parametrize("name", RECIPES)
def test_a_measured_training_is_shorter_and_its_flags_are_those_of_the_recipe(name):
    function = load_recipe(name, RECIPES)
    short = info(function).measured
    if short is None:
        return
    flags = {a.name: a.type for a in (*arguments(function), *arguments(OneSource), *arguments(TrainOptions))}
    pairs = pairwise([*short.options.split(), "--"])
    given = {word[2:].replace("-", "_"): value for word, value in pairs if word.startswith("--")}
    assert given.keys() <= flags.keys()
    given = {n: True if value.startswith("--") else value for n, value in given.items() if n != "size"}
    settled = resolve_arguments(function, given)
    with torch.device("meta"):
        spec = info(function).spec(channels=1)
        made = build_recipe(function, spec, settled)
    assert 0 < short.rounds < made.rounds
    assert short.minutes < 60
    assert "docs/results" in function.__doc__


def test_what_a_training_is_not_is_said_before_it_starts():
    lr_decay_rounds = {player: lambda r: {"lr": 1e-3 * (1 - (r - 1) / 6)} for player in ("discriminator", "generator")}
    plain, cut = referee(gan()), referee(gan(dropout=0.5), grad_accum=2, schedules=lr_decay_rounds)
    assert list(_caveats(plain, 9)) == []
    assert list(_caveats(referee(gan(), grad_accum=2, schedules=lr_decay_rounds), 6)) == []
    pieces, end = _caveats(cut, 9)
    assert pieces.startswith("dropout: computed separately for each of the 2 parts of a batch")
    assert end == (
        "the learning rate of discriminator and generator is 0 after round 6, where the schedule ends: "
        "the last 3 rounds have no effect; --rounds 6 omits them"
    )


def play_three_rounds(made, data):
    """The referee of a recipe after three rounds, which move the players' networks and no others."""
    streams = made.streams(data, 0) if made.streams else {"train": data}
    options = {"batch": made.batch, "optimizers": made.optimizers, "schedules": made.schedules}
    referee = Referee(made.system, streams, **options, precision="fp32")
    for _ in range(3):
        before = {k: v.clone() for k, v in made.system.named_parameters()}
        logs = referee.reduce_logs(referee.play())
        assert {log["player"] for log in logs} == set(made.system.players)
        assert all(np.isfinite([v for k, v in log.items() if k != "player"]).all() for log in logs)
        moved = {k.split(".")[0] for k, v in made.system.named_parameters() if not torch.equal(v, before[k])}
        assert moved == {network for networks in made.system.players.values() for network in networks}
    return referee


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_plays_moves_only_its_players_and_samples(name):
    extra, _ = small(name)
    function = load_recipe(name, RECIPES)
    data = recipe_data(name, 100)
    torch.manual_seed(0)
    made = build_recipe(function, data.spec, resolve_arguments(function, extra))
    if made.prepare:
        made.prepare(data)
    shown, shape = play_three_rounds(made, data).ema_system, (5, *data.spec.shape)
    can = {ability for ability in CAPABILITIES if shown.supports(ability)}
    assert can - {"equilibrium"} == PROMISED.get(name, PLAYFUL)
    images = to_float(data.images[:5])
    if "sample" in can:
        fake = shown.sample(5, seed=1)
        assert fake.shape == shape
        assert float(fake.abs().max()) <= 1
        assert torch.equal(fake, shown.sample(5, seed=1))
        assert not torch.equal(fake, shown.sample(5, seed=2))
    if "score" in can:
        assert shown.score(images).shape == (5,)
    if "translate" in can:
        translated = [shown.translate(images, to) for to in shown.translates_to]
        assert all(made.shape == shape for made in translated)
        assert not any(torch.equal(made, other) for made, other in zip(translated, [images, *translated], strict=False))
    for ability in can & {"classify", "cluster"}:
        torch.testing.assert_close(getattr(shown, ability)(images).exp().sum(1), torch.ones(5))
    if "reconstruct" in can:
        assert shown.reconstruct(images).shape == shape
        assert shown.encode(images).shape[0] == 5
    if "sample_latents" in can:
        codes = shown.sample_latents(5, seed=1)
        assert torch.equal(shown.decode(codes), fake)
    if "traversals" in can:
        assert codes.shape == shown.encode(images).shape
        for walk in shown.traversals().values():
            assert shown.decode(walk.flatten(0, 1)).shape[1:] == shape[1:]
    for ability, shape in {"kl": (5, shown.latent_dim), "log_likelihood": (5,)}.items():
        options = {"draws": 3} if ability == "log_likelihood" else {}
        assert ability not in can or getattr(shown, ability)(images, **options).shape == shape
    if "equilibrium" in can:
        assert set(shown.equilibrium()) <= set(shown.players)


BATCH_FREE = (
    *(
        "cs231n-mlp",
        "cs231n-lsgan",
        "csc321-mlp",
        "wgan-gp",
        "r1gan",
        "r3gan",
        "mnist-net",
        "mlp-classifier",
        "autoencoder",
        "vae",
        "chollet-vae",
        "smu-vae",
        "aae",
    ),
    *("aae-labeled-prior", "aae-supervised", "aae-semi-supervised", "aae-reduction", "aae-labeled-reduction"),
    *("alae", "cyclegan"),
)
"""Recipes whose networks treat each image by itself and draw nothing: no batch norm, dropout or spectral norm."""


@pytest.mark.parametrize("name", BATCH_FREE)
def test_pieces_of_a_batch_equal_the_whole(name):
    extra, _ = small(name)
    function = load_recipe(name, RECIPES)
    data = recipe_data(name, 100)
    extra |= {"noise": 0.0} if name in ("aae-semi-supervised", "aae-reduction", "aae-labeled-reduction") else {}
    states = []
    for grad_accum in (1, 2):
        torch.manual_seed(0)
        made = build_recipe(function, data.spec, resolve_arguments(function, extra))
        judge = Referee(
            made.system.double(),
            made.streams(data, 0) if made.streams else {"train": data},
            batch=made.batch,
            optimizers=made.optimizers,
            schedules=made.schedules,
            grad_accum=grad_accum,
            precision="fp32",
        )
        assert judge.batchwise() == []
        for _ in range(2):
            judge.play()
        states.append(made.system.state_dict())
    for key, whole in states[0].items():
        torch.testing.assert_close(states[1][key], whole, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_resumes_bit_for_bit(name, tmp_path):
    extra, _ = small(name)
    data = recipe_data(name, 300)
    options = {"quiet": True, "log_every": 1, **extra}
    straight = train(name, data, rounds=4, save_every=2, out=tmp_path / "a", **options, eval_every=4, sample_every=4)
    stopped = train(name, data, rounds=2, out=tmp_path / "b", **options, eval_every=1, sample_every=1)
    resumed = resume(stopped, rounds=4, data=data, quiet=True)
    for file in ("log.jsonl", "weights/model.safetensors", "checkpoints/round-00000004/system.safetensors"):
        assert (straight.path / file).read_bytes() == (resumed.path / file).read_bytes(), file


def test_a_run_leaves_what_the_design_promises(tmp_path):
    data = toy_data(28)
    run = train("cs231n-mlp", data, rounds=20, out=tmp_path, seed=3, latent_dim=6, batch=16, save_every=5, quiet=True)
    assert run.path.name == "0001-cs231n-mlp-array"
    config = json.loads((run.path / "recipe.json").read_text())
    assert config["arguments"]["latent_dim"] == 6
    assert config["arguments"]["generator_lr"] == 1e-3
    assert config["spec"] == {"channels": 1, "height": 28, "width": 28, "classes": [], "modality": "images"}
    assert config["data"]["count"] == 540
    assert config["seed"] == 3
    assert config["equilibrium"] == pytest.approx({"discriminator": 1.386294, "generator": 0.693147})
    assert {"processor", "threads", "torch"} <= config["machine"].keys()
    assert "yield Move" in run.round_source()

    log = run.read("log")
    assert [line["round"] for line in log] == [10, 20]
    assert [move["player"] for move in log[0]["moves"]] == ["discriminator", "generator"]
    assert {"loss", "gradient", "real", "fake"} <= log[0]["moves"][0].keys()
    assert all("seconds" not in line for line in log)
    assert [line["round"] for line in run.read("timing")] == [10, 20]
    for kind in ("FD", "KID"):
        assert [m["round"] for m in run.read("metrics") if m["metric"] == kind] == list(range(0, 21, 2))
    assert {"value", "floor", "n", "extractor"} <= run.read("metrics")[0].keys()
    assert run.checkpoints() == [10, 15, 20]
    assert list(run.samples()) == list(range(21))
    with Image.open(run.samples()[20]) as picture:
        assert picture.size == (8 * 30 + 2, 8 * 30 + 2)

    shown = run.system()
    assert torch.equal(shown.sample(4, seed=9), open_system(run.path / "weights").sample(4, seed=9))
    assert float(shown.sample(4).std()) > 0


def test_the_same_seed_gives_the_same_run_and_leaves_the_callers_numbers_alone(tmp_path):
    data = toy_data(28, 200)
    torch.manual_seed(42)
    before = torch.get_rng_state()
    a = train("raschka-mlp", data, rounds=5, out=tmp_path / "a", batch=16, log_every=1, quiet=True)
    assert torch.equal(torch.get_rng_state(), before)
    b = train("raschka-mlp", data, rounds=5, out=tmp_path / "b", batch=16, log_every=1, quiet=True)
    c = train("raschka-mlp", data, rounds=5, out=tmp_path / "c", batch=16, log_every=1, quiet=True, seed=1)
    assert a.read("log") == b.read("log") != c.read("log")


def test_measuring_showing_and_saving_change_nothing(tmp_path):
    data = toy_data(28, 600)
    options = {"rounds": 12, "batch": 16, "log_every": 1, "quiet": True}
    rare = train("raschka-mlp", data, out=tmp_path / "a", **options)
    often = train("raschka-mlp", data, out=tmp_path / "b", sample_every=1, eval_every=1, save_every=1, **options)
    assert rare.read("log") == often.read("log")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"latnt": 3}, "unknown argument 'latnt'; did you mean 'latent_dim'"),
        ({"round": 3}, "unknown argument 'round'; did you mean 'rounds'"),
        ({"generator_lr": 0}, r"generator_lr \(--generator-lr\) is 0: input should be greater than 0"),
        ({"generator_lr": float("nan")}, "finite number"),
        ({"game": "hing"}, "'hinge'"),
        ({"latent_dim": "many"}, "valid integer"),
        ({"batch": 10_000}, "larger than the 540 images"),
        ({"rounds": 0}, "rounds is 0: it must be at least 1"),
        ({"save_every": 0}, "save_every is 0"),
        ({"grad_accum": 3}, "cannot be split into 3"),
        ({"size": 28}, "pass them to sparring.load"),
        ({"precision": "fp16"}, "auto, fp32 or bf16"),
        ({"game": "hinge", "label_smoothing": 0.1}, "the hinge game does not use targets: remove .*label_smoothing"),
        ({"label_smoothing": 0.9}, "less than or equal to 0.5"),
    ],
)
def test_wrong_arguments_stop_before_anything_is_made(tmp_path, arguments, words):
    with pytest.raises(SparringError, match=words) as caught:
        train("cs231n-mlp", toy_data(28), out=tmp_path / "runs", quiet=True, **arguments)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_wrong_recipes_and_data_are_named(tmp_path):
    with pytest.raises(SparringError, match="unknown recipe 'dcgn'; did you mean 'dcgan'"):
        train("dcgn", toy_data(28), out=tmp_path)
    with pytest.raises(SparringError, match="cannot be imported"):
        train("nowhere:nothing", toy_data(28), out=tmp_path)
    with pytest.raises(SparringError, match="is not a recipe"):
        train("json:dumps", toy_data(28), out=tmp_path)
    with pytest.raises(SparringError, match="--size 28"):
        train("cs231n-dcgan", toy_data(32), out=tmp_path, quiet=True)
    assert not list(tmp_path.iterdir())


def own_recipe(data: Spec, *, latent_dim: int = 3):
    function = load_recipe("raschka-mlp", RECIPES)
    return build_recipe(function, data, resolve_arguments(function, {"latent_dim": latent_dim, "batch": 16}))


own_recipe.info = info(load_recipe("raschka-mlp", RECIPES))


def test_recipes_outside_the_library_are_functions_and_are_not_imported_unasked(tmp_path):
    run = train(own_recipe, toy_data(28, 200), rounds=2, out=tmp_path, quiet=True)
    name = f"{own_recipe.__module__}:own_recipe"
    assert run.config["recipe"] == name
    with pytest.raises(SparringError, match=f"not a built-in recipe: give --recipe {re.escape(name)}"):
        Run.open(run.path).system()
    assert run.system(recipe=name).sample(2).shape == (2, 1, 28, 28)


def test_divergence_leaves_a_note_and_finite_weights(tmp_path):
    with pytest.raises(DivergedError, match="Lower the learning rates") as caught:
        train(
            "goodfellow-mlp",
            toy_data(28),
            rounds=2000,
            lr=1.0,
            momentum=0.99,
            final_momentum=0.99,
            batch=16,
            game="wasserstein",
            out=tmp_path,
            quiet=True,
            save_every=10,
        )
    assert caught.value.exit_code == 3
    (path,) = tmp_path.iterdir()
    failure = json.loads((path / "failure" / "failure.json").read_text())
    assert failure["round"] > 0
    assert failure["seed"] == 0
    assert len(failure["rows"]["train"]) == 16
    assert failure["last"][-1]["round"] < failure["round"] or failure["last"] == []
    for value in Run.open(path).newest_checkpoint().tensors["system"].values():
        assert bool(value.isfinite().all())


def test_game_names_of_the_recipes_are_the_games():
    assert set(GameName.__args__) == set(GAMES)


def test_flags_of_recipes_and_of_training_do_not_collide():
    ours = {a.name for a in [*arguments(OneSource), *arguments(TrainOptions)]}
    for name in RECIPES:
        theirs = [a.name for a in arguments(load_recipe(name, RECIPES))]
        assert len(theirs) == len(set(theirs))
        assert not ours & set(theirs), name
        assert all(a.help for a in arguments(load_recipe(name, RECIPES))), name


def test_small_held_out_parts_are_not_measured(tmp_path, capsys):
    data = Dataset("few", torch.zeros(40, 1, 28, 28, dtype=torch.uint8)).hold_out(0.1)
    run = train("raschka-mlp", data, rounds=1, batch=8, out=tmp_path)
    assert run.read("metrics") == []
    assert (
        "FD is off: it needs at least 50 held-out images (4 of 40 are held out); add images" in capsys.readouterr().err
    )
    more = Dataset("more", torch.zeros(120, 1, 8, 8, dtype=torch.uint8)).hold_out(0.1)
    assert why_no_fd(run.system(), more).endswith(
        "(12 of 120 are held out); train with --held-out 50 or more (in Python: held_out=50)"
    )
