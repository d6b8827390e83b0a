"""Chollet's frogs and the SMU course's: published networks, Keras's clipping and decay, and the slips on request."""

from functools import partial
from math import log

import pytest
import torch
from torch import nn
from toys import gan, images, referee, state

from sparring.data.dataset import Spec
from sparring.errors import SparringError
from sparring.losses import Targets
from sparring.networks import chollet, smu
from sparring.recipes import RECIPES
from sparring.recipes.optimizers import with_gradient_clipping, with_weight_clipping
from sparring.recipes.recipe import build_recipe, load_recipe, resolve_arguments
from sparring.recipes.schedules import inverse_time
from sparring.referee import Referee
from sparring.system import Move
from sparring.systems.gan import GAN

NAMES = ["chollet_frogs", "smu_frogs", "smu_frogs_lsgan", "smu_frogs_wgan_gp"]
COLOR32 = Spec(3, 32, 32)


def recipe(name, spec=COLOR32, **arguments):
    function = load_recipe(name.replace("_", "-"), RECIPES)
    if name == "chollet_frogs":
        arguments = {"width": 4, **arguments}
    torch.manual_seed(5)
    return build_recipe(function, spec, resolve_arguments(function, arguments))


def judge(made, spec=COLOR32):
    data = images(60, spec.shape)
    return Referee(
        made.system,
        {"train": data},
        batch=8,
        optimizers=made.optimizers,
        schedules=made.schedules,
        precision="fp32",
    )


def count(network):
    return sum(p.numel() for p in network.parameters())


# Networks.


@pytest.mark.parametrize(
    ("name", "arguments", "d", "g"),
    [
        ("chollet_frogs", {"width": 128}, 790913, 6264579),
        ("chollet_frogs", {"width": 128, "bug_unit_data": True}, 790913, 6264579),
        ("smu_frogs", {}, 98401, 641667),
        ("smu_frogs_lsgan", {"bug_sigmoid": True}, 98401, 641667),
        ("smu_frogs_wgan_gp", {}, 98401, 641667),
    ],
)
def test_parameter_counts(name, arguments, d, g):
    made = recipe(name, **arguments).system
    assert (count(made.D), count(made.G)) == (d, g)


def test_chollets_weights_layer_by_layer():
    """As Keras's summaries list them."""
    layers = [count(layer) for layer in chollet.generator(32) if count(layer)]
    assert layers == [1081344, 819456, 1048832, 1638656, 1638656, 37635]
    assert [count(layer) for layer in chollet.discriminator() if count(layer)] == [3584, 262272, 262272, 262272, 513]


def sides(network, x):
    """The side of the image after each layer that changes it."""
    found = []
    for layer in network:
        x = layer(x)
        if x.ndim == 4 and (not found or x.shape[2] != found[-1]):
            found.append(x.shape[2])
    return found


def test_chollets_maps_have_the_books_sides():
    assert sides(chollet.generator(6, 4), torch.randn(2, 6)) == [16, 32]
    assert sides(chollet.discriminator(4), torch.randn(2, 3, 32, 32)) == [30, 14, 6, 2]


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("name", NAMES)
def test_any_number_of_channels(name, channels):
    made = recipe(name, Spec(channels, 32, 32), latent_dim=6).system
    fake = made.G(torch.randn(2, 6))
    assert fake.shape == (2, channels, 32, 32)
    assert made.D(fake).shape == (2, 1)


@pytest.mark.parametrize("size", [16, 48])
@pytest.mark.parametrize("name", NAMES[1:])
def test_smu_at_other_sizes(name, size):
    made = recipe(name, Spec(3, size, size), latent_dim=6).system
    fake = made.G(torch.randn(2, 6))
    assert fake.shape == (2, 3, size, size)
    assert made.D(fake).shape == (2, 1)


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        ("chollet_frogs", 64, "size is 32 pixels, not 64: give --size 32"),
        ("smu_frogs", 28, "a multiple of 16 and at least 16 pixels, not 28: give --size 32"),
        ("smu_frogs_wgan_gp", 8, "not 8: give --size 16"),
    ],
)
def test_other_sizes_are_refused(name, size, words):
    with pytest.raises(SparringError, match=words):
        recipe(name, Spec(3, size, size))


def slopes(network):
    return [layer.negative_slope for layer in network.modules() if isinstance(layer, nn.LeakyReLU)]


def test_smu_norms_follow_the_activation():
    for network, kind in ((smu.discriminator(), nn.BatchNorm2d), (smu.critic(), nn.GroupNorm)):
        layers = list(network)
        before = [layers[i - 1] for i, layer in enumerate(layers) if isinstance(layer, kind)]
        assert [type(layer) for layer in before] == [nn.LeakyReLU] * 3
    assert slopes(smu.discriminator()) == [0.2, 0.3, 0.2, 0.2]
    assert slopes(smu.critic()) == [0.2] * 4
    assert slopes(chollet.generator(6, 4)) + slopes(chollet.discriminator(4)) == [0.3] * 9


def test_the_critic_scores_each_image_by_itself():
    """Layer norm, unlike batch norm: the penalty's norms per sample mean nothing otherwise."""
    torch.manual_seed(0)
    D, x = smu.critic(), torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(D(x)[:2], D(x[:2]))
    assert not torch.allclose(smu.discriminator()(x)[:2], smu.discriminator()(x[:2]))


def test_chollet_starts_with_kerass_own_weights():
    """U(-b, b), b = sqrt(6 / (fan in + fan out)), and no bias."""
    made = recipe("chollet_frogs", width=32).system
    for layer, fans in (
        (made.G[0], 32 + 32 * 16 * 16),
        (made.G[3], 25 * (32 + 64)),
        (made.G[5], 16 * (64 + 64)),
        (made.D[2], 16 * (32 + 32)),
    ):
        weight = layer.weight.detach()
        assert float(weight.abs().max()) == pytest.approx((6 / fans) ** 0.5, rel=0.01)
        assert float(weight.std()) == pytest.approx((2 / fans) ** 0.5, rel=0.03)
        assert not layer.bias.any()


def test_smu_starts_as_the_notebook_does():
    for name in ("smu_frogs", "smu_frogs_lsgan"):
        made = recipe(name).system
        for network in (made.G, made.D):
            for conv in (m for m in network if isinstance(m, nn.Conv2d)):
                assert float(conv.weight.detach().std()) == pytest.approx(0.02, rel=0.1)
            for norm in (m for m in network if isinstance(m, nn.BatchNorm2d)):
                assert float(norm.weight.detach().mean()) == pytest.approx(1, abs=0.01)
                assert float(norm.weight.detach().std()) == pytest.approx(0.02, rel=0.4)
                assert not norm.bias.any()
            linear = next(m for m in network if isinstance(m, nn.Linear))
            bound = (6 / (linear.in_features + linear.out_features)) ** 0.5
            assert float(linear.weight.detach().abs().max()) == pytest.approx(bound, rel=0.02)
            assert torch.equal(linear.bias, torch.full_like(linear.bias, 0.01))


def test_smus_wgan_gp_starts_with_pytorchs_own_weights():
    made = recipe("smu_frogs_wgan_gp").system
    for conv in (made.G[4], made.D[5]):
        assert float(conv.weight.detach().abs().max()) == pytest.approx(conv.weight[0].numel() ** -0.5, rel=0.01)


# Clipping and decay.

LOUD = torch.tensor([-5.0, 0.25, 1e6, 1.0, -1.0, 0.0])


def stepped(make, gradient=LOUD):
    weights = nn.Parameter(torch.zeros_like(gradient))
    optimizer = make([weights])
    weights.grad = gradient.clone()
    optimizer.step()
    return weights.detach()


def test_each_element_of_the_gradient_is_cut():
    sgd = partial(torch.optim.SGD, lr=1.0)
    assert torch.equal(stepped(with_gradient_clipping(sgd, 1.0)), torch.tensor([1.0, -0.25, -1.0, -1.0, 1.0, 0.0]))
    assert torch.equal(stepped(with_gradient_clipping(sgd, 2.0)), torch.tensor([2.0, -0.25, -2.0, -1.0, 1.0, 0.0]))


def test_each_weight_is_cut_after_the_step():
    sgd = partial(torch.optim.SGD, lr=1.0)
    assert torch.equal(stepped(with_weight_clipping(sgd, 3.0)), torch.tensor([3.0, -0.25, -3.0, -1.0, 1.0, 0.0]))


class Loud(GAN):
    """A GAN with losses so large that most gradients are beyond 1."""

    def round(self, feed):
        for move in super().round(feed):
            yield Move(move.player, move.loss * 1e4)


def cut_sgd(lr=1e-3):
    make = with_gradient_clipping(partial(torch.optim.SGD, lr=lr), 1.0)
    return {"discriminator": make, "generator": make}


def test_the_referee_steps_with_cut_gradients_and_logs_the_uncut_norm():
    made = referee(gan(Loud), optimizers=cut_sgd())
    before = {name: p.detach().clone() for name, p in made.system.named_parameters()}
    told = made.reduce_logs(made.play())
    steps = torch.cat([(p.detach() - before[name]).flatten() for name, p in made.system.named_parameters()])
    assert float(steps.abs().max()) == pytest.approx(1e-3, rel=1e-2)
    assert all(move["gradient"] > 100 for move in told)


def test_the_cut_is_made_once_on_the_whole_batch():
    """Two pieces equal the whole: it is their mean that is cut, not each piece."""
    whole = referee(gan(Loud).double(), optimizers=cut_sgd())
    pieces = referee(gan(Loud).double(), optimizers=cut_sgd(), grad_accum=2)
    for _ in range(3):
        whole.play()
        pieces.play()
    ours, theirs = state(pieces), state(whole)
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-9, atol=1e-12)


def test_a_restored_referee_still_cuts():
    straight, stopped = (referee(gan(Loud), optimizers=cut_sgd()) for _ in range(2))
    straight.play()
    stopped.play()
    resumed = referee(gan(Loud), optimizers=cut_sgd())
    resumed.load_state(stopped.state_tensors(), stopped.state_numbers())
    straight.play()
    resumed.play()
    for name, value in state(straight).items():
        assert torch.equal(state(resumed)[name], value)


def test_clipping_and_decay_are_kerass():
    """Keras 2.0.8, RMSprop(lr, rho=.9, epsilon=1e-8, clipvalue=1, decay): written out again, equal weights."""
    lr, decay, gradients = 0.01, 0.5, [LOUD, LOUD.flip(0) / 2, LOUD / 7]
    p, a = torch.zeros(6, dtype=torch.float64), torch.zeros(6, dtype=torch.float64)
    for iterations, raw in enumerate(gradients):
        g = raw.double().clamp(-1, 1)
        a = 0.9 * a + 0.1 * g * g
        p = p - lr / (1 + decay * iterations) * g / (a.sqrt() + 1e-8)

    weights = nn.Parameter(torch.zeros(6, dtype=torch.float64))
    optimizer = with_gradient_clipping(partial(torch.optim.RMSprop, lr=lr, alpha=0.9), 1.0)([weights])
    for round_number, raw in enumerate(gradients, 1):
        optimizer.param_groups[0].update(lr=inverse_time(lr, decay)(round_number))
        weights.grad = raw.double()
        optimizer.step()
    torch.testing.assert_close(weights.detach(), p)


@pytest.mark.parametrize(("name", "alpha"), [("chollet_frogs", 0.9), ("smu_frogs", 0.99), ("smu_frogs_lsgan", 0.99)])
@pytest.mark.parametrize("clip", [None, "gradients", "weights", "none"])
def test_what_each_recipe_clips(name, alpha, clip):
    """RMSprop's first squared average is (1 - alpha) times the square of the gradient that it was given."""
    makes = recipe(name, **({"clip": clip} if clip else {})).optimizers
    assert makes.keys() == {"discriminator", "generator"}
    for player, make in makes.items():
        weight = nn.Parameter(torch.tensor([3.0, -3.0]))
        optimizer = make([weight])
        weight.grad = torch.tensor([100.0, -100.0])
        optimizer.step()
        seen = 1.0 if clip in (None, "gradients") else 100.0
        torch.testing.assert_close(optimizer.state[weight]["square_avg"], torch.full((2,), (1 - alpha) * seen**2))
        bounded = clip == "weights" and player == "discriminator"
        assert torch.equal(weight, torch.tensor([1.0, -1.0])) == bounded


@pytest.mark.parametrize("name", NAMES[:3])
def test_rates_decay_unless_told_otherwise(name):
    made = recipe(name)
    for player, lr in (("discriminator", 8e-4), ("generator", 4e-4)):
        defaults = made.optimizers[player]([nn.Parameter(torch.zeros(1))]).defaults
        assert (defaults["lr"], defaults["weight_decay"]) == (lr, 0)
        assert made.schedules[player](1) == {"lr": lr}
        assert made.schedules[player](10**8 + 1)["lr"] == pytest.approx(lr / 2)


@pytest.mark.parametrize(("decay", "expected"), [("weights", 1e-8), ("none", 0.0)])
def test_weight_decay_takes_the_place_of_the_rates(decay, expected):
    made = recipe("smu_frogs", decay=decay)
    assert made.schedules == {}
    for make in made.optimizers.values():
        assert make([nn.Parameter(torch.zeros(1))]).defaults["weight_decay"] == expected


def test_smus_weight_clip_holds_all_of_d_and_nothing_of_g():
    made = recipe("smu_frogs", clip="weights")
    with torch.no_grad():
        made.system.D[0].weight.mul_(100)
        made.system.G[0].weight.mul_(100)
    judge(made).play()
    assert max(float(p.detach().abs().max()) for p in made.system.D.parameters()) == 1
    assert float(made.system.G[0].weight.detach().abs().max()) > 1


# The other slips.


def test_unit_data_shows_d_what_it_saw_in_the_book():
    """Real pixels in [0, 1], generated ones as tanh leaves them; what is shown is cut to [-1, 1]."""
    plain, slip = (recipe("chollet_frogs", bug_unit_data=unit).system for unit in (False, True))
    for D in (plain.D, slip.D):
        D.eval()  # no dropout
    z, x = torch.randn(6, 32), torch.rand(6, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        y = plain.G(z)
        fake = slip.G(z)
        torch.testing.assert_close(fake, 2 * y - 1)
        assert float(fake.min()) < -1
        torch.testing.assert_close(slip.D(fake), plain.D(y))
        torch.testing.assert_close(slip.D(x), plain.D((x + 1) / 2))
        assert not torch.allclose(slip.D(x), plain.D(x))
    shown = slip.sample(6)
    assert float(shown.min()) == -1
    assert float(shown.max()) <= 1
    torch.testing.assert_close(shown, (2 * plain.sample(6) - 1).clamp(-1, 1))


def test_the_sigmoid_of_smus_lsgan_is_a_slip_on_request():
    x = torch.randn(6, 3, 32, 32)
    plain, slip = (recipe("smu_frogs_lsgan", bug_sigmoid=sigmoid).system for sigmoid in (False, True))
    torch.testing.assert_close(slip.D(x), plain.D(x).sigmoid())
    assert not any(isinstance(layer, nn.Sigmoid) for layer in plain.D)
    with pytest.raises(SparringError, match="--bug-sigmoid is for the least-squares game"):
        recipe("smu_frogs_lsgan", bug_sigmoid=True, game="non-saturating")


def test_the_rules_of_each_game():
    book = recipe("chollet_frogs").system
    assert book.game.targets == Targets(real=0.0, fake=1.0, real_noise=0.05, fake_noise=-0.05)
    assert (book.joint_batch, book.resample_noise) == (True, True)
    assert book.equilibrium() == pytest.approx({"discriminator": log(2), "generator": log(2)})  # its log: .69, .74
    course = recipe("smu_frogs").system
    assert course.game.targets == Targets(real=1.0, fake=0.0, real_noise=-0.05, fake_noise=0.05)
    assert (course.joint_batch, course.resample_noise) == (False, False)
    assert course.equilibrium() == pytest.approx({"discriminator": log(2), "generator": log(2)})
    squares = recipe("smu_frogs_lsgan").system
    assert squares.game.name == "least-squares"
    assert squares.equilibrium() == pytest.approx({"discriminator": 0.475**2, "generator": 0.125})
    assert (recipe("smu_frogs_wgan_gp").system.critic_steps, recipe("smu_frogs_wgan_gp").system.gp_weight) == (5, 10)


def test_length_and_batch_are_the_sources():
    """500 epochs of 20 batches; 1,580 epochs of 20 critic moves, 5 a round."""
    assert [(made.batch, made.rounds) for made in map(recipe, NAMES)] == [
        (20, 10_000),
        (250, 500 * 20),
        (250, 500 * 20),
        (250, 1580 * 20 // 5),
    ]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("chollet_frogs", {}),
        ("chollet_frogs", {"bug_unit_data": True, "clip": "none", "decay": "none"}),
        ("smu_frogs", {}),
        ("smu_frogs", {"clip": "weights", "decay": "weights"}),
        ("smu_frogs_lsgan", {}),
        ("smu_frogs_lsgan", {"bug_sigmoid": True, "clip": "weights", "decay": "weights"}),
        ("smu_frogs_wgan_gp", {"critic_steps": 2}),
    ],
)
def test_three_rounds(name, arguments):
    made = recipe(name, latent_dim=6, **arguments)
    playing = judge(made)
    moves = ["critic", "critic", "generator"] if "critic" in made.optimizers else ["discriminator", "generator"]
    for _ in range(3):
        before = {k: v.detach().clone() for k, v in made.system.named_parameters()}
        told = playing.reduce_logs(playing.play())
        assert [t["player"] for t in told] == moves
        assert all(torch.isfinite(torch.tensor([v for k, v in t.items() if k != "player"])).all() for t in told)
        moved = {k.split(".")[0] for k, v in made.system.named_parameters() if not torch.equal(v, before[k])}
        assert moved == {"G", "D"}
    fake = playing.ema_system.sample(5, seed=1)
    assert fake.shape == (5, 3, 32, 32)
    assert float(fake.abs().max()) <= 1
    assert playing.ema_system.score(fake).shape == (5,)
