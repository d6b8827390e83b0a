"""WGAN and WGAN-GP: clipping, the warm start, the penalty proven, pieces that equal the whole, both modes found."""

from functools import partial

import pytest
import torch
from helpers import two_tone
from torch import nn
from toys import SHAPE, images, referee, state

from sparring.data.dataset import Spec
from sparring.losses import gradient_penalty, interpolate
from sparring.networks import mlp, wgan_gp
from sparring.recipes import RECIPES
from sparring.recipes.recipe import build_recipe, load_recipe, resolve_arguments
from sparring.seeds import make_generator
from sparring.systems.wgan import WGAN
from sparring.systems.wgan_gp import WGANGP


def networks(hidden=16):
    torch.manual_seed(11)
    G = mlp.generator(5, [hidden], SHAPE, activation=nn.ReLU)
    D = mlp.discriminator(SHAPE, [hidden], activation=partial(nn.LeakyReLU, 0.2))
    return G, D


def play(judge, rounds):
    return [judge.reduce_logs(judge.play()) for _ in range(rounds)]


def test_every_weight_of_the_critic_stays_within_the_clip():
    judge = referee(WGAN(*networks(), latent_dim=5, clip=0.03, critic_steps=2, warm_start=3))
    play(judge, 2)
    largest = max(float(p.detach().abs().max()) for p in judge.system.D.parameters())
    assert largest == pytest.approx(0.03, rel=1e-5)
    assert max(float(p.detach().abs().max()) for p in judge.system.G.parameters()) > 0.03


def test_the_authors_code_clips_before_the_step():
    """So every gradient is taken at clipped weights, and the generator meets weights beyond the clip."""
    clipped = []
    system = WGAN(*networks(), latent_dim=5, clip=0.03, critic_steps=2, warm_start=2, clip_first=True)

    def look(D, _):
        clipped.append(max(float(p.detach().abs().max()) for p in D.parameters()) <= 0.03)

    system.D.register_forward_pre_hook(look)
    referee(system).play()
    assert clipped == [True, True, True, True, False]  # real and fake, twice; then the generator's move


@pytest.mark.parametrize(
    ("played", "moves"), [(0, 7), (24, 7), (25, 2), (26, 2), (499, 2), (500, 7), (501, 2), (1000, 7)]
)
def test_the_critic_starts_warm_and_is_warmed_every_500th_round(played, moves):
    judge = referee(WGAN(*networks(), latent_dim=5, critic_steps=2, warm_start=7))
    judge.round = played
    told = judge.play()
    assert [t.player for t in told] == ["critic"] * moves + ["generator"]
    assert judge.feeds[0].positions == {"train": moves}  # fresh data for every critic move


def test_pieces_do_not_warm_the_critic_twice():
    judge = referee(WGAN(*networks(), latent_dim=5, critic_steps=2, warm_start=3), grad_accum=2)
    judge.round = 24
    assert [len(judge.play()) for _ in range(2)] == [4, 3]


@pytest.mark.parametrize(
    "kind",
    [partial(WGAN, warm_start=3, critic_steps=2), partial(WGANGP, critic_steps=2, generator_batch=2, dequantize=True)],
)
def test_two_pieces_equal_the_whole(kind):
    whole = referee(kind(*networks(), latent_dim=5).double())
    pieces = referee(kind(*networks(), latent_dim=5).double(), grad_accum=2)
    play(whole, 4)
    play(pieces, 4)
    ours, theirs = state(pieces), state(whole)
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("unit_range", "steeper"), [(False, 1), (True, 2)])
def test_a_linear_critic_has_the_same_slope_everywhere(unit_range, steeper):
    G, _ = networks()
    D = nn.Sequential(nn.Flatten(), nn.Linear(16, 1))
    norm = D[1].weight.detach().norm()
    told = referee(WGANGP(G, D, latent_dim=5, unit_range=unit_range)).play()[0]
    torch.testing.assert_close(told.numbers["gradient_penalty"], (steeper * norm - 1) ** 2)


@pytest.mark.parametrize(
    ("name", "size", "bright"), [("wgan-gp", 28, 1), ("wgan-gp-resnet", 32, 2), ("smu-frogs-wgan-gp", 16, 2)]
)
def test_the_slope_is_that_of_the_authors_pixels(name, size, bright):
    """gan_mnist.py has pixels in [0, 1], the other two in [-1, 1]: from black to white it is `bright`."""
    function = load_recipe(name, RECIPES)
    torch.manual_seed(0)
    made = build_recipe(
        function, Spec(1, size, size), resolve_arguments(function, {} if "smu" in name else {"width": 4})
    ).system
    theirs = torch.rand(3, 1, size, size, requires_grad=True)
    (slope,) = torch.autograd.grad(made.D(2 * theirs - 1).sum(), theirs)
    expected = (slope.flatten(1).norm(dim=1) / bright - 1).square().mean()
    penalty = gradient_penalty(made.D, 2 * theirs.detach() - 1, target=1.0, scale=made.pixel_scale)
    torch.testing.assert_close(penalty.detach(), expected)
    assert made.dequantize == (name == "wgan-gp-resnet")


def test_the_generator_may_move_with_a_larger_batch():
    sizes = []
    system = WGANGP(*networks(), latent_dim=5, critic_steps=1, generator_batch=2)
    system.G.register_forward_pre_hook(lambda G, given: sizes.append(len(given[0])))
    referee(system, batch=8).play()
    assert sizes == [8, 16]


def test_each_sample_has_its_own_place_between_real_and_fake():
    x, fake = torch.ones(4, 1, 2, 2), torch.zeros(4, 1, 2, 2)
    share = torch.tensor([0.0, 0.25, 0.5, 1.0])
    joint_batch = interpolate(x, fake, share)
    assert torch.equal(joint_batch.flatten(1).amin(1), share)
    assert torch.equal(joint_batch.flatten(1).amax(1), share)
    system = WGANGP(*networks(), latent_dim=5)
    drawn = system.uniform(500)
    assert drawn.shape == (500,)
    assert len(drawn.unique()) > 490
    assert 0 <= float(drawn.min()) < 0.05 < 0.95 < float(drawn.max()) <= 1


def test_the_critics_loss_agrees_with_a_second_implementation():
    """Algorithm 1, lines 4 to 8, written out again with torch.autograd.grad: equal loss, equal step."""
    judge = referee(WGANGP(*networks(), latent_dim=5, critic_steps=1, gp_weight=10.0).double())
    G, D = (n.double() for n in networks())
    told = judge.play()

    draws = make_generator(0, "noise", 1)
    x = images().images[judge.feeds[0].rows("train", 0)].double() / 127.5 - 1
    with torch.no_grad():
        fake = G(torch.randn(16, 5, generator=draws).double())
    epsilon = ((torch.rand(16, generator=draws) * 2 - 1).double() + 1) / 2
    joint_batch = (epsilon[:, None, None, None] * x + (1 - epsilon[:, None, None, None]) * fake).requires_grad_()
    (slope,) = torch.autograd.grad(D(joint_batch).sum(), joint_batch, create_graph=True)
    norms = slope.square().sum((1, 2, 3)).sqrt()
    loss = (D(fake).mean() - D(x).mean()) + 10 * (norms - 1).square().mean()
    torch.testing.assert_close(told[0].numbers["loss"], loss.detach())

    step = torch.optim.Adam(D.parameters(), lr=1e-3, betas=(0.5, 0.999))
    loss.backward()
    step.step()
    for ours, theirs in zip(judge.system.D.parameters(), D.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_dequantized_images_are_uniform_between_two_levels():
    system = WGANGP(*networks(), latent_dim=5, dequantize=True)
    level = torch.arange(256.0).repeat(100, 1)
    x = system.dequantized(level / 127.5 - 1)
    above = (x + 1) * 128 - level
    assert float(above.min()) > -1e-3
    assert float(above.max()) < 1 + 1e-3
    assert float(above.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(above.std()) == pytest.approx(12**-0.5, abs=0.01)


def test_permuting_or_doubling_the_batch_changes_no_penalty():
    torch.manual_seed(0)
    D = wgan_gp.mnist_critic(4).double()
    x = torch.randn(5, 1, 28, 28, dtype=torch.float64)
    once = gradient_penalty(D, x, target=1.0)
    torch.testing.assert_close(gradient_penalty(D, x[[3, 1, 4, 0, 2]], target=1.0), once)
    torch.testing.assert_close(gradient_penalty(D, x.repeat(2, 1, 1, 1), target=1.0), once)


def test_in_bf16_the_penalty_and_its_gradient_are_near_those_of_float32():
    """Slopes come of bf16 networks, their norms and the penalty of float32 numbers."""
    torch.manual_seed(0)
    D, x = wgan_gp.mnist_critic(32), torch.randn(16, 1, 28, 28)
    weights = [w for w in D.parameters() if w.ndim > 1]

    def found():
        gp_weight = gradient_penalty(D, x, target=1.0)
        assert gp_weight.dtype == torch.float32
        return gp_weight, torch.cat([g.flatten() for g in torch.autograd.grad(gp_weight, weights)])

    exact, exact_gradient = found()
    with torch.autocast("cpu", torch.bfloat16):
        inside, gradient = found()
    torch.testing.assert_close(inside, exact, rtol=0.01, atol=0)
    assert (gradient - exact_gradient).norm() < 0.05 * exact_gradient.norm()


@pytest.mark.slow
def test_wgan_gp_makes_both_kinds_in_equal_parts():
    """The two-tone images on which an unpenalized GAN drops a mode; the distance estimate falls on the way."""
    torch.manual_seed(0)
    G = mlp.generator(5, [64, 64], SHAPE, activation=nn.ReLU)
    D = mlp.discriminator(SHAPE, [64, 64], activation=partial(nn.LeakyReLU, 0.2))
    adam = partial(torch.optim.Adam, lr=1e-3, betas=(0.0, 0.9))
    judge = referee(
        WGANGP(G, D, latent_dim=5, gp_weight=1.0),
        two_tone(),
        batch=64,
        seed=0,
        ema_decay=0.99,
        optimizers={"critic": adam, "generator": adam},
    )
    log = play(judge, 300)
    tone = judge.ema_system.sample(1000).mean((1, 2, 3))
    assert float((tone < -0.4).float().mean()) == pytest.approx(0.5, abs=0.15)
    assert float((tone > 0.4).float().mean()) == pytest.approx(0.5, abs=0.15)
    largest = max(move["distance"] for told in log for move in told if "distance" in move)
    assert log[-1][4]["distance"] < largest / 4
