"""Questions that the courses ask about their GANs, played: outputs, activations, norms, labels, old players."""

from functools import partial

import pytest
import torch
from torch import nn
from toys import gan, images, referee, state

import sparring
from sparring.data.dataset import Spec
from sparring.errors import SparringError
from sparring.losses import game
from sparring.networks.mlp import ACTIVATIONS, NORMS, OUTPUTS
from sparring.recipes import RECIPES
from sparring.recipes.recipe import build_recipe, load_recipe, resolve_arguments
from sparring.systems.old_players import OldPlayers

SMALL = Spec(1, 8, 8)


def made(name, spec=SMALL, **given):
    torch.manual_seed(0)
    function = load_recipe(name, RECIPES)
    return build_recipe(function, spec, resolve_arguments(function, given)).system


def layers_only(name, **given):
    with torch.device("meta"):
        return made(name, **given)


def kinds(network):
    return [type(layer).__name__ for layer in network]


MLPS = {
    "raschka-mlp": (0.01, "tanh", "leaky-relu", 1),
    "csc321-mlp": (0.2, "sigmoid", "leaky-relu", 2),
    "cs231n-mlp": (0.01, "tanh", "relu+leaky-relu", 2),
    "cs231n-lsgan": (0.01, "tanh", "relu+leaky-relu", 2),
}
"""Recipe -> slope of LeakyReLU, output, activation, hidden layers of D."""


@pytest.mark.parametrize("name", MLPS)
def test_output_activation_and_norm_change_the_layers_that_they_name(name):
    slope, output, activation, hidden = MLPS[name]
    plain = layers_only(name)
    same = layers_only(name, output=output, activation=activation, norm="none")
    assert str(plain) == str(same)
    for choice, (of_g, of_d) in ACTIVATIONS.items():
        system = layers_only(name, activation=choice)
        for network, activation_of in ((system.G, of_g), (system.D, of_d)):
            expected = activation_of(slope)
            found = [layer for layer in network if isinstance(layer, nn.ReLU | nn.LeakyReLU | nn.Tanh)]
            assert str(found[0]) == str(expected)

    normed = {norm: layers_only(name, norm=norm) for norm in NORMS}
    for norm, layer in (("batch", "BatchNorm1d"), ("layer", "LayerNorm")):
        assert kinds(normed[norm].D).count(layer) == hidden - 1  # none next to the image
        assert kinds(normed[norm].G)[1] == layer
    for norm, system in normed.items():
        without = [kind for kind in kinds(system.G) if kind not in ("BatchNorm1d", "LayerNorm")]
        assert without == kinds(plain.G), norm


@pytest.mark.parametrize("output", OUTPUTS)
def test_images_of_every_output_have_its_range_and_d_sees_the_same_one(output):
    system = made("raschka-mlp", output=output)
    last = [layer for layer in system.G if isinstance(layer, nn.Linear)][-1]
    nn.init.normal_(last.weight, std=9.0)
    pixels = system.sample(50)
    low = 0.0 if output == "unscaled-sigmoid" else -1.0
    assert float(pixels.min()) == pytest.approx(low, abs=1e-3)
    assert float(pixels.max()) == pytest.approx(1, abs=1e-3)
    seen = []
    next(layer for layer in system.D if isinstance(layer, nn.Linear)).register_forward_pre_hook(
        lambda _, given: seen.append(given[0])
    )
    system.D(torch.linspace(-1, 1, 64).view(1, 1, 8, 8))
    assert float(seen[0].min()) == (0 if output == "sigmoid" else -1)
    assert bool(system.caveats) == (output == "unscaled-sigmoid")


# Labels.


def gradients_of_g(rounds, **labels):
    system = gan()
    system.game = game("non-saturating", **labels)
    judge = referee(system, optimizers=dict.fromkeys(system.players, partial(torch.optim.SGD, lr=0.5)))
    return [float(judge.play()[-1].gradient) for _ in range(rounds)]


def test_with_equal_labels_the_generators_gradient_dies():
    right = gradients_of_g(30)
    assert right[-1] > 0.3 * right[0]
    for label in (0.0, 1.0):
        wrong = gradients_of_g(30, real_label=label, fake_label=label)
        assert wrong[-1] < 0.1 * wrong[0]


def test_the_wrong_answers_are_played_with_a_note(tmp_path, capsys):
    wrong = {"real_label": 1, "fake_label": 1, "output": "unscaled-sigmoid"}
    sparring.train("raschka-mlp", images(40), rounds=2, batch=8, latent_dim=4, out=tmp_path, **wrong)
    said = capsys.readouterr().err
    assert "real and generated images have the same label, 1: D learns one score for all images" in said
    assert "G's pixels are in [0, 1], those of the images in [-1, 1]" in said


# Old players.


def old_players(copies=2, every=4, rounds=2, **options):
    return gan(OldPlayers, copies=copies, every=every, rounds=rounds, **options)


def play(judge, rounds):
    return [judge.reduce_logs(judge.play()) for _ in range(rounds)]


@pytest.mark.parametrize("options", [{}, {"resample_noise": False}, {"joint_batch": True, "discriminator_steps": 2}])
def test_in_the_first_period_it_is_a_gan(options):
    plain, with_copies = referee(gan(**options)), referee(old_players(**options))
    assert play(plain, 6) == play(with_copies, 6)  # in round 7 the first old players play
    assert play(plain, 1) != play(with_copies, 1)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_the_last_copies_are_kept_and_take_turns():
    system = old_players(copies=2, every=4, rounds=3)
    judge, past = referee(system), []
    for r in range(16):
        system.round_index = r
        opponents = system.opponents()
        if r < 4 or r % 4 == 0:
            assert opponents == (system.G, system.D)
        else:
            kept = past[-2:]
            turn = (r % 4 - 1) % len(kept)
            # copy number n lies in slot n % 2
            expected = [copy for copy in kept if copy[0] % 2 == turn]
            (_, G, D) = expected[0]
            assert same(opponents[0], G)
            assert same(opponents[1], D)
        judge.play()
        if r % 4 == 3:
            past.append((len(past), gan().G, gan().D))
            past[-1][1].load_state_dict(system.G.state_dict())
            past[-1][2].load_state_dict(system.D.state_dict())
    assert not same(system.old_G[0], system.old_G[1])


@pytest.mark.parametrize("resample_noise", [True, False])
def test_an_old_player_plays_and_only_the_others_learn(resample_noise):
    """The moves of a round with old players, from their weights: G's images for D, D's scores for G."""
    system = old_players(copies=1, every=2, rounds=1, resample_noise=resample_noise)
    judge = referee(system)
    play(judge, 3)  # rounds 1 and 2, of which the second is kept, and 3
    before = {name: value.clone() for name, value in system.named_parameters()}
    made_by, scored_by = [], []
    system.old_G[0].register_forward_hook(lambda _, given, images: made_by.append(images))
    system.old_D[0].register_forward_hook(lambda _, given, scores: scored_by.append((given[0], scores)))
    moves = judge.play()
    (images,), ((fake, scores),) = made_by, scored_by
    assert fake.requires_grad
    assert not torch.equal(fake, images)
    torch.testing.assert_close(moves[1].numbers["loss"], -scores.sigmoid().log().mean().detach())
    moved = {name.split(".")[0] for name, value in system.named_parameters() if not torch.equal(value, before[name])}
    assert moved == {"D", "G", "old_D", "old_G"}  # the copies were renewed at the end
    assert same(system.old_G[0], system.G)


def test_old_players_are_resumed_and_the_same_for_microbatches():
    straight, stopped, resumed = (referee(old_players().double()) for _ in range(3))
    play(straight, 9)
    play(stopped, 6)
    files = {file: {k: v.clone() for k, v in named.items()} for file, named in stopped.state_tensors().items()}
    resumed.load_state(files, stopped.state_numbers())
    play(resumed, 3)
    pieces = referee(old_players().double(), grad_accum=2)
    play(pieces, 9)
    ours, theirs, parts = state(resumed), state(straight), state(pieces)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    for name in theirs:
        torch.testing.assert_close(parts[name], theirs[name], rtol=1e-9, atol=1e-12)


def test_ganhacks_has_old_players_on_request():
    given = {"old_players": 3, "old_players_every": 50, "old_players_rounds": 5, "width": 2}
    system = made("ganhacks", Spec(1, 28, 28), **given)
    assert (type(system), len(system.old_G), system.every, system.rounds) == (OldPlayers, 3, 50, 5)


def test_a_period_of_old_players_only_is_refused():
    with pytest.raises(SparringError, match="old players would play 4 of every 4 rounds: choose fewer, such as 1"):
        old_players(every=4, rounds=4)
    with pytest.raises(SparringError, match="--replay and --old-players cannot be combined"):
        made("ganhacks", Spec(1, 28, 28), replay=2, old_players=2)


def test_old_players_play_in_bf16():
    judge = referee(old_players(copies=1, every=2, rounds=1), precision="bf16")
    assert all(torch.isfinite(torch.tensor(move["loss"])) for moves in play(judge, 4) for move in moves)


# Raschka's DCGAN.


def layers_of_the_notebook(latent_dim=100, maps=64, channels=3):
    """The layers of 02_dcgan-celeba: all sizes of kernels are 4; biases only in D's first and last convolution."""
    up = [(latent_dim, 8), (8, 4), (4, 2), (2, 1), (1, channels)]
    G, D = [], []
    for i, (before, after) in enumerate(up):
        first, last = i == 0, i == len(up) - 1
        inputs, outputs = before if first else before * maps, after if last else after * maps
        G.append(nn.ConvTranspose2d(inputs, outputs, 4, 1 if first else 2, 0 if first else 1, bias=False))
        G += [nn.Tanh()] if last else [nn.BatchNorm2d(outputs), nn.LeakyReLU()]
        D = [nn.Conv2d(outputs, 1 if first else inputs, 4, 2, 1, bias=last), *D] if not first else D
        if not first:
            D[1:1] = [*([] if last else [nn.BatchNorm2d(inputs)]), nn.LeakyReLU()]
    return nn.Sequential(*G), nn.Sequential(*D, nn.Conv2d(8 * maps, 1, 4, 1, 0), nn.Flatten())


def test_raschkas_dcgan_is_the_notebooks_layer_by_layer():
    system = made("raschka-dcgan", Spec(3, 64, 64), width=4, latent_dim=6)
    for ours, theirs, x in zip(
        (system.G, system.D),
        layers_of_the_notebook(6, 4),
        (torch.randn(3, 6, 1, 1), torch.randn(3, 3, 64, 64)),
        strict=True,
    ):
        theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
        assert torch.equal(theirs(x), ours(x.flatten(1) if x.shape[-1] == 1 else x))
    assert (system.resample_noise, system.game.half_d_loss, system.discriminator_steps) == (False, True, 1)


def test_raschkas_dcgan_starts_as_pytorch_does():
    system = made("raschka-dcgan", Spec(3, 64, 64))
    assert [layer.negative_slope for layer in system.modules() if isinstance(layer, nn.LeakyReLU)] == [0.01] * 8
    for layer in system.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            bound = layer.weight[0].numel() ** -0.5
            assert float(layer.weight.detach().abs().max()) == pytest.approx(bound, rel=0.02)
        if isinstance(layer, nn.BatchNorm2d):
            assert bool((layer.weight == 1).all())
