"""R3GAN: its loss in closed form and against a second implementation, its networks' promises, both modes found."""

import math
from functools import partial

import pytest
import torch
from helpers import two_tone
from torch import nn
from toys import SHAPE, images, referee, state

from sparring.losses import relativistic
from sparring.networks import mlp
from sparring.networks import r3gan as networks
from sparring.recipes.schedules import constant, cosine
from sparring.seeds import make_generator
from sparring.systems.r3gan import R3GAN


def system(**options):
    torch.manual_seed(11)
    G = mlp.generator(5, [16], SHAPE, activation=nn.ReLU)
    D = mlp.discriminator(SHAPE, [16], activation=nn.Softplus)
    return R3GAN(G, D, latent_dim=5, **({"gamma": cosine(2.0, 0.5, 100)} | options))


def test_relativistic_loss_in_closed_form():
    mine, theirs = torch.tensor([1.0, -2.0]), torch.tensor([0.0, 3.0])
    expected = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(5))) / 2
    assert float(relativistic(mine, theirs)) == pytest.approx(expected)
    assert float(relativistic(mine, mine)) == pytest.approx(math.log(2))
    huge = torch.tensor([1e4, -1e4], requires_grad=True)
    relativistic(huge, -huge).backward()
    assert bool(huge.grad.isfinite().all())


def test_scores_only_matter_by_their_difference():
    real, fake = torch.randn(9), torch.randn(9)
    torch.testing.assert_close(relativistic(real + 100, fake + 100), relativistic(real, fake), atol=1e-4, rtol=1e-4)
    order = torch.randperm(9)
    torch.testing.assert_close(relativistic(real[order], fake[order]), relativistic(real, fake))


def test_a_round_agrees_with_a_second_implementation():
    judge = referee(system().double())
    plain = system().double()
    G, D = plain.G, plain.D
    told = judge.play()

    draws = make_generator(0, "noise", 1)
    x = (images().images[judge.feeds[0].rows("train", 0)].double() / 127.5 - 1).requires_grad_()
    fake = G(torch.randn(16, 5, generator=draws).double()).detach().requires_grad_()
    real_score, fake_score = D(x), D(fake)
    (slope_x,) = torch.autograd.grad(real_score.sum(), x, create_graph=True)
    (slope_f,) = torch.autograd.grad(fake_score.sum(), fake, create_graph=True)
    penalty = slope_x.square().sum((1, 2, 3)).mean() + slope_f.square().sum((1, 2, 3)).mean()
    loss = -torch.log(torch.sigmoid(real_score - fake_score)).mean() + 2.0 / 2 * penalty
    torch.testing.assert_close(told[0].numbers["loss"], loss.detach())
    step = torch.optim.Adam(D.parameters(), lr=1e-3, betas=(0.5, 0.999))
    loss.backward()
    step.step()
    again = G(torch.randn(16, 5, generator=draws).double())
    assert judge.feeds[0].positions == {"train": 2}
    y = images().images[judge.feeds[0].rows("train", 1)].double() / 127.5 - 1  # the authors' code: a new real batch
    loss = -torch.log(torch.sigmoid(D(again) - D(y))).mean()
    torch.testing.assert_close(told[1].numbers["loss"], loss.detach())


def test_gamma_moves_on_a_cosine():
    assert [cosine(4.0, 2.0, 100)(r) for r in (1, 51, 101, 701)] == pytest.approx([4.0, 3.0, 2.0, 2.0])
    made = system(gamma=cosine(2.0, 0.5, 10))
    weights = []
    for made.round_index in (0, 5, 10, 99):
        weights.append(made.current_gamma())
    assert weights == pytest.approx([2.0, 1.25, 0.5, 0.5])


def test_two_pieces_equal_the_whole():
    whole, pieces = referee(system().double()), referee(system().double(), grad_accum=2)
    for _ in range(4):
        whole.play()
        pieces.play()
    ours, theirs = state(pieces), state(whole)
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-9, atol=1e-12)


def test_a_new_block_does_nothing_and_has_no_other_bias_than_its_activations():
    block = networks.Block(8, groups=2, blocks=8)
    x = torch.randn(2, 8, 4, 4)
    assert torch.equal(block(x), x)
    assert [name for name, _ in block.named_parameters() if "bias" in name] == ["first.bias", "second.bias"]
    wide = networks.Block(256, groups=1, blocks=16)
    assert float(wide.widen.weight.detach().std()) == pytest.approx((2 / 1.04 / 256) ** 0.5 / 2, rel=0.05)


@pytest.mark.parametrize("up", [True, False])
def test_resampling_keeps_a_constant_inside_the_image(up):
    layer = networks.Resample(3, up=up)
    x = torch.full((1, 3, 16, 16), 2.5)
    y = layer(x)
    assert y.shape[-1] == (32 if up else 8)
    torch.testing.assert_close(y[..., 2:-2, 2:-2], torch.full_like(y[..., 2:-2, 2:-2], 2.5))
    assert not list(layer.state_dict())


@pytest.mark.parametrize("size", [16, 32, 64])
def test_networks_at_other_sizes(size):
    G, D = networks.generator(5, 8, 2, 1, 1, size), networks.discriminator(8, 2, 1, 1, size)
    image = G(torch.randn(3, 5))
    assert image.shape == (3, 1, size, size)
    assert D(image).shape == (3, 1)


@pytest.mark.slow
def test_both_kinds_are_made_in_equal_parts():
    torch.manual_seed(0)
    G = mlp.generator(5, [64, 64], SHAPE, activation=nn.ReLU)
    D = mlp.discriminator(SHAPE, [64, 64], activation=partial(nn.LeakyReLU, 0.2))
    calm = partial(torch.optim.Adam, lr=1e-3, betas=(0.0, 0.99))
    judge = referee(
        R3GAN(G, D, latent_dim=5, gamma=constant(2.0)),
        two_tone(),
        batch=64,
        seed=0,
        ema_decay=0.99,
        optimizers={"discriminator": calm, "generator": calm},
    )
    for _ in range(500):
        told = judge.reduce_logs(judge.play())
    tone = judge.ema_system.sample(1000).mean((1, 2, 3))
    assert float((tone < -0.4).float().mean()) == pytest.approx(0.5, abs=0.15)
    assert float((tone > 0.4).float().mean()) == pytest.approx(0.5, abs=0.15)
    assert told[1]["loss"] == pytest.approx(math.log(2), abs=0.15)
