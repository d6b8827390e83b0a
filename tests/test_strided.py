"""Halving and doubling convolutions as matrix products: the same function as PyTorch's own, and its derivatives."""

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck

from sparring.networks import strided
from sparring.networks.strided import Conv2d, ConvTranspose2d, Gather, Scatter

PAIRS = [
    (Conv2d, lambda x, w: F.conv2d(x, w, stride=2, padding=1), 8),
    (ConvTranspose2d, lambda x, w: F.conv_transpose2d(x, w, stride=2, padding=1), 4),
]


@pytest.fixture
def always_a_product(monkeypatch):
    monkeypatch.setattr(strided, "WIDE", 0)


def taken(monkeypatch):
    """Counts how often a matrix product over patches was made."""
    calls = []
    for function in (Gather, Scatter):
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
    Conv2d(64, 64)(torch.randn(1, 64, 8, 8))
    assert not calls
    Conv2d(256, 256)(torch.randn(1, 256, 8, 8))
    assert calls
