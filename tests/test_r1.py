"""Zero-centered penalties: the right place, the right scale, also when they are lazy."""

from functools import partial

import pytest
import torch
from helpers import two_tone
from torch import nn
from toys import SHAPE, referee, state

from sparring.errors import SparringError
from sparring.losses import game, gradient_penalty
from sparring.networks import mlp
from sparring.systems.r1 import PENALIZE, R1GAN


def system(**options):
    torch.manual_seed(11)
    G = mlp.generator(5, [16], SHAPE, activation=nn.ReLU)
    D = mlp.discriminator(SHAPE, [16], activation=nn.Softplus)
    return R1GAN(G, D, latent_dim=5, game=game("non-saturating"), **options)


def linear():
    torch.manual_seed(11)
    G = mlp.generator(5, [16], SHAPE, activation=nn.ReLU)
    return R1GAN(G, nn.Sequential(nn.Flatten(), nn.Linear(16, 1)), latent_dim=5, game=game("hinge"), gamma=3.0)


def test_a_linear_discriminator_pays_its_squared_weight():
    """R1 is gamma/2 |w|^2 wherever it is taken."""
    judged = linear()
    norm = judged.D[1].weight.detach().square().sum()
    free = referee(R1GAN(judged.G, judged.D, latent_dim=5, game=game("hinge"), gamma=0.0)).play()[0]
    judged = linear()
    told = referee(judged).play()[0]
    torch.testing.assert_close(told.numbers["gradient_penalty"], norm)
    torch.testing.assert_close(told.numbers["loss"] - free.numbers["loss"], 3.0 / 2 * norm)


def test_the_places_are_what_they_say():
    x, fake = torch.ones(6, *SHAPE), -torch.ones(6, *SHAPE)
    penalties = {penalize: system(penalize=penalize).penalty(x, fake) for penalize in PENALIZE}
    D = system().D
    torch.testing.assert_close(penalties["real"], gradient_penalty(D, x))
    torch.testing.assert_close(penalties["fake"], gradient_penalty(D, fake))
    torch.testing.assert_close(penalties["both"], penalties["real"] + penalties["fake"])
    assert not torch.isclose(penalties["interpolated"], penalties["real"])
    assert not torch.isclose(penalties["interpolated"], penalties["fake"])
    with pytest.raises(SparringError, match="unknown penalize 'reel'"):
        system(penalize="reel")


def test_the_lazy_form_is_rare_and_as_much_stronger():
    """Every 4th round, 4 times as strong: the sum over 4 rounds of unmoving networks is that of the eager form."""

    def penalties(penalty_interval):
        judge = referee(
            system(penalty_interval=penalty_interval), optimizers=dict.fromkeys(("discriminator", "generator"), still())
        )
        free = referee(system(gamma=0.0), optimizers=dict.fromkeys(("discriminator", "generator"), still()))
        pairs = [(judge.play()[0].numbers["loss"], free.play()[0].numbers["loss"]) for _ in range(4)]
        return torch.stack([with_penalty - without for with_penalty, without in pairs])

    eager, lazy = penalties(1), penalties(4)
    assert (lazy[1:].abs() < 1e-6).all()
    torch.testing.assert_close(lazy[0], 4 * eager[0], rtol=1e-4, atol=1e-6)


def still():
    return partial(torch.optim.SGD, lr=0.0)


@pytest.mark.parametrize("penalize", PENALIZE)
def test_two_pieces_equal_the_whole(penalize):
    whole = referee(system(penalize=penalize, penalty_interval=2).double())
    pieces = referee(system(penalize=penalize, penalty_interval=2).double(), grad_accum=2)
    for judge in (whole, pieces):
        for _ in range(4):
            judge.play()
    ours, theirs = state(pieces), state(whole)
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-9, atol=1e-12)


def test_the_second_derivative_is_right():
    """gradgradcheck of the penalty against finite differences."""
    torch.manual_seed(0)
    D = mlp.discriminator(SHAPE, [6], activation=nn.Tanh).double()
    x = torch.randn(3, *SHAPE, dtype=torch.float64)
    names = [name for name, _ in D.named_parameters()]

    def penalty(*weights):
        return gradient_penalty(
            lambda one: torch.func.functional_call(D, dict(zip(names, weights, strict=True)), one), x
        )

    weights = [w.detach().clone().requires_grad_() for w in D.parameters()]
    assert torch.autograd.gradcheck(penalty, weights)
    assert torch.autograd.gradgradcheck(penalty, weights)


@pytest.mark.slow
def test_both_kinds_are_made_in_equal_parts():
    torch.manual_seed(0)
    G = mlp.generator(5, [64, 64], SHAPE, activation=nn.ReLU)
    D = mlp.discriminator(SHAPE, [64, 64], activation=partial(nn.LeakyReLU, 0.2))
    judge = referee(
        R1GAN(G, D, latent_dim=5, game=game("non-saturating"), gamma=1.0),
        two_tone(),
        batch=64,
        seed=0,
        ema_decay=0.99,
    )
    for _ in range(600):
        judge.play()
    tone = judge.ema_system.sample(1000).mean((1, 2, 3))
    assert float((tone < -0.4).float().mean()) == pytest.approx(0.5, abs=0.15)
    assert float((tone > 0.4).float().mean()) == pytest.approx(0.5, abs=0.15)
