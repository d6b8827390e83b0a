"""Halving and doubling convolutions as matrix products: the same function as PyTorch's own, and its derivatives."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import gradcheck, gradgradcheck

from sparring.losses import gradient_penalty
from sparring.networks import strided
from sparring.networks.strided import Col2Im, Conv2d, ConvTranspose2d, Im2Col, PointToPatch

PAIRS = [
    (Conv2d, lambda x, w: F.conv2d(x, w, stride=2, padding=1), 8),
    (ConvTranspose2d, lambda x, w: F.conv_transpose2d(x, w, stride=2, padding=1), 4),
    (partial(Conv2d, kernel=5, padding=2), lambda x, w: F.conv2d(x, w, stride=2, padding=2), 8),
]
"""Layer, the library's function, and a side that is small enough for a product."""


@pytest.fixture
def always_a_product(monkeypatch):
    monkeypatch.setattr(strided, "MIN_CHANNEL_PAIRS", 0)


def taken(monkeypatch):
    """Counts how often a matrix product over patches was made."""
    calls = []
    for function in (Im2Col, Col2Im):
        original = function.apply
        monkeypatch.setattr(function, "apply", lambda *a, original=original: calls.append(1) or original(*a))
    return calls


@pytest.mark.parametrize(("kind", "reference", "side"), PAIRS)
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_the_same_images_and_gradients(always_a_product, kind, reference, side, memory):
    torch.manual_seed(0)
    layer = kind(3, 5).double().to(memory_format=memory)
    x = torch.randn(2, 3, side, side // 2, dtype=torch.float64).to(memory_format=memory).requires_grad_()
    mine, theirs = layer(x), reference(x, layer.weight)
    assert torch.allclose(mine, theirs, atol=1e-12)
    up = torch.randn_like(mine)
    for a, b in zip(
        torch.autograd.grad((mine * up).sum(), [x, layer.weight]),
        torch.autograd.grad((theirs * up).sum(), [x, layer.weight]),
        strict=True,
    ):
        assert torch.allclose(a, b, atol=1e-12)


@pytest.mark.parametrize(("kind", "reference", "side"), PAIRS)
def test_penalties_on_slopes_may_be_differentiated(always_a_product, kind, reference, side):
    torch.manual_seed(0)
    layer = kind(2, 2).double()
    x = torch.randn(1, 2, side // 2, side // 2, dtype=torch.float64, requires_grad=True)

    def squared(x, w):
        return torch.func.functional_call(layer, {"weight": w}, x).square()

    assert gradcheck(squared, (x, layer.weight))
    assert gradgradcheck(squared, (x, layer.weight))


@pytest.mark.parametrize(("kind", "reference", "side"), PAIRS)
def test_in_bf16_as_near_to_the_truth_as_the_library(kind, reference, side, monkeypatch):
    torch.manual_seed(0)
    layer = kind(256, 256)
    x = torch.randn(4, 256, side, side)
    truth = reference(x, layer.weight)
    calls = taken(monkeypatch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mine, theirs = layer(x), reference(x, layer.weight)
    assert calls
    assert mine.dtype == theirs.dtype == torch.bfloat16
    assert (mine - truth).square().mean() < 3 * (theirs - truth).square().mean()


def test_large_images_and_narrow_layers_go_the_librarys_way(monkeypatch):
    calls = taken(monkeypatch)
    Conv2d(256, 256)(torch.randn(1, 256, 16, 16))
    ConvTranspose2d(256, 256)(torch.randn(1, 256, 8, 8))
    Conv2d(32, 64)(torch.randn(1, 32, 8, 8))
    assert not calls
    Conv2d(256, 256)(torch.randn(1, 256, 8, 8))
    assert calls


@pytest.mark.parametrize("side", [7, 8, 9])
@pytest.mark.parametrize(("kernel", "padding"), [(3, 1), (4, 1), (5, 2), (6, 2)])
def test_every_kernel_and_side_and_a_bias(always_a_product, kernel, padding, side, monkeypatch):
    monkeypatch.setattr(strided, "MAX_PIXELS", 10_000)
    torch.manual_seed(0)
    layer = Conv2d(3, 2, kernel, padding, bias=True).double()
    x = torch.randn(2, 3, side, side + 2, dtype=torch.float64, requires_grad=True)
    theirs = F.conv2d(x, layer.weight, layer.bias, stride=2, padding=padding)
    calls = taken(monkeypatch)
    mine = layer(x)
    assert len(calls) == 1
    assert torch.allclose(mine, theirs, atol=1e-12)
    up, what = torch.randn_like(mine), [x, layer.weight, layer.bias]
    for a, b in zip(torch.autograd.grad(mine, what, up), torch.autograd.grad(theirs, what, up), strict=True):
        assert torch.allclose(a, b, atol=1e-12)


def test_a_penalty_on_slopes_takes_its_derivative_through_the_product(always_a_product):
    """`torch.func.grad` wants more of a function than autograd does."""
    torch.manual_seed(0)
    ends = [nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(5 * 4 * 4, 1)]
    judge = nn.Sequential(Conv2d(3, 5, 5, 2, bias=True), *ends).double()
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    found = torch.autograd.grad(gradient_penalty(judge, x, target=1.0), list(judge.parameters()), allow_unused=True)
    other = nn.Sequential(nn.Conv2d(3, 5, 5, 2, 2), *ends).double()
    other[0].load_state_dict(judge[0].state_dict())
    wanted = torch.autograd.grad(gradient_penalty(other, x, target=1.0), list(other.parameters()), allow_unused=True)
    assert found[0] is not None
    for a, b in zip(found, wanted, strict=True):
        assert (a is None) == (b is None)
        assert a is None or torch.allclose(a, b, atol=1e-12)


def test_a_point_becomes_an_image():
    torch.manual_seed(0)
    layer = PointToPatch(6, 5, 4).double()
    x = torch.randn(3, 6, 1, 1, dtype=torch.float64, requires_grad=True)
    theirs = F.conv_transpose2d(x, layer.weight)
    assert torch.allclose(layer(x), theirs, atol=1e-12)
    up = torch.randn_like(theirs)
    for a, b in zip(
        torch.autograd.grad(layer(x), [x, layer.weight], up),
        torch.autograd.grad(theirs, [x, layer.weight], up),
        strict=True,
    ):
        assert torch.allclose(a, b, atol=1e-12)


def test_what_a_product_makes_is_dense():
    """Norms took ten times as long on a view of a larger image."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        image = ConvTranspose2d(256, 256)(torch.randn(2, 256, 4, 4))
    assert image.is_contiguous(memory_format=torch.channels_last)
