"""Precision: networks compute in bf16 under autocast; all that a round computes from their outputs is in float32."""

import pytest
import torch
from helpers import recipe_data, small
from toys import gan, images, referee

from sparring.errors import SparringError
from sparring.networks import infogan
from sparring.recipes import RECIPES
from sparring.recipes.recipe import build_recipe, load_recipe, resolve_arguments
from sparring.referee import Referee
from sparring.system import Move
from sparring.systems.gan import GAN


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """InfoGAN's networks, whose 13 million weights no argument makes fewer."""
    monkeypatch.setattr(infogan, "FEATURES", 32)


def first_round(name, precision):
    """The moves of the recipe's first round, and the number of layers that computed in bf16."""
    function, (extra, _) = load_recipe(name, RECIPES), small(name)
    data = recipe_data(name)
    torch.manual_seed(0)
    made = build_recipe(function, data.spec, resolve_arguments(function, extra))
    if made.prepare:
        made.prepare(data)
    still = dict.fromkeys(made.system.players, lambda weights: torch.optim.SGD(weights, lr=0.0))
    streams = made.streams(data, 0) if made.streams else {"train": data}
    judge = Referee(made.system, streams, batch=made.batch, optimizers=still, precision=precision)
    kinds = []
    for layer in made.system.modules():
        if not [*layer.children()]:
            layer.register_forward_hook(lambda layer, inputs, output: kinds.append(output.dtype))
    return [result.moves[0] for result in judge.play()], kinds.count(torch.bfloat16)


@pytest.mark.parametrize("name", RECIPES)
def test_losses_are_in_float32_and_near_those_without_autocast(name):
    exact, none = first_round(name, "fp32")
    coarse, some = first_round(name, "bf16")
    assert none == 0 < some
    for a, b in zip(exact, coarse, strict=True):
        assert {b.loss.dtype, *(v.dtype for v in b.numbers.values() if v.is_floating_point())} == {torch.float32}
        # The bf16 kernels of PyTorch 2.11 and 2.14 differ by 10 % in improved-gan.
        assert float(b.loss) == pytest.approx(float(a.loss), rel=0.2, abs=0.05), b.player


def test_outputs_are_float32_and_gradients_pass():
    judge = referee(gan(), images(), precision="bf16")
    D, x = judge.system.D, torch.randn(4, 1, 4, 4, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        scores = D(x)
        assert scores.dtype == torch.float32
        assert D[:-1](x).dtype == torch.bfloat16  # only the network's own output
    assert torch.equal(scores, scores.bfloat16().float())
    assert torch.autograd.grad(scores.sum(), x)[0].abs().max() > 0
    for network in (judge.ema_system.G, judge.system.G):  # the averaged copy, too
        with torch.autocast("cpu", torch.bfloat16):
            assert network(torch.randn(4, 5)).dtype == torch.float32


def test_a_loss_in_bf16_is_refused():
    class Careless(GAN):
        def round(self, feed):
            x, _ = feed("train")
            yield Move("discriminator", self.D[:-1](x).mean())  # past the network's own output

    with pytest.raises(SparringError, match=r"Careless.round yields a loss of 'discriminator' in bfloat16: .* float32"):
        referee(gan(Careless), precision="bf16").play()
    referee(gan(Careless), precision="fp32").play()
