"""Stride-2 convolutions as matrix products: the same function as PyTorch's own, and its derivatives."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from toys import images, referee

import sparring
from sparring import cpu_kernels
from sparring.cpu_kernels import Col2Im, Im2Col, MatMulConv2d, MatMulConvTranspose2d, use_matmul_convolutions
from sparring.losses import game, gradient_penalty
from sparring.networks import dcgan
from sparring.networks.spectral import SpectralConv2d
from sparring.systems.gan import GAN

LAYERS = [
    (partial(nn.Conv2d, kernel_size=4, stride=2, padding=1, bias=False), 8),
    (partial(nn.Conv2d, kernel_size=5, stride=2, padding=2), 8),
    (partial(nn.ConvTranspose2d, kernel_size=4, stride=2, padding=1, bias=False), 4),
    (partial(nn.ConvTranspose2d, kernel_size=3, stride=2, padding=1, output_padding=1), 4),
]
"""PyTorch's layer, and a side that is small enough for a product."""


@pytest.fixture
def always_a_product(monkeypatch):
    monkeypatch.setattr(cpu_kernels, "MIN_WEIGHTS", 0)


def with_product(layer):
    """A copy of the layer that uses matrix products."""
    other = copy.deepcopy(layer)
    use_matmul_convolutions(other)
    return other


def count_products(monkeypatch):
    """A list that grows with every matrix product over patches."""
    calls = []
    for function in (Im2Col, Col2Im):
        original = function.apply
        monkeypatch.setattr(function, "apply", lambda *a, original=original: calls.append(1) or original(*a))
    return calls


def assert_equal_with_gradients(layer, x):
    """The layer and its copy with products: equal outputs and equal gradients of everything."""
    other = with_product(layer)
    theirs, ours = layer(x), other(x)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    up = torch.randn_like(theirs)
    expected = torch.autograd.grad(theirs, [x, *layer.parameters()], up)
    for a, b in zip(torch.autograd.grad(ours, [x, *other.parameters()], up), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("kind", "side"), LAYERS)
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_the_same_images_and_gradients(always_a_product, kind, side, memory, monkeypatch):
    layer = kind(3, 5).double().to(memory_format=memory)
    x = torch.randn(2, 3, side, side // 2, dtype=torch.float64).to(memory_format=memory).requires_grad_()
    calls = count_products(monkeypatch)
    assert_equal_with_gradients(layer, x)
    assert calls


@pytest.mark.parametrize(("kind", "side"), LAYERS)
def test_gradient_penalties_may_be_differentiated(always_a_product, kind, side):
    layer = with_product(kind(2, 2).double())
    x = torch.randn(1, 2, side // 2, side // 2, dtype=torch.float64, requires_grad=True)

    def squared(x, w):
        return torch.func.functional_call(layer, {"weight": w}, x).square()

    assert gradcheck(squared, (x, layer.weight))
    assert gradgradcheck(squared, (x, layer.weight))


@pytest.mark.parametrize(("kind", "side"), LAYERS)
def test_in_bf16_as_near_to_the_truth_as_the_library(kind, side, monkeypatch):
    layer = kind(256, 256)
    x = torch.randn(4, 256, side, side)
    truth = layer(x)
    calls = count_products(monkeypatch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours, theirs = with_product(layer)(x), layer(x)
    assert len(calls) == 1
    assert ours.dtype == theirs.dtype == torch.bfloat16
    assert (ours - truth).square().mean() < 3 * (theirs - truth).square().mean()


def test_large_images_and_narrow_layers_use_the_library(monkeypatch):
    calls = count_products(monkeypatch)
    down, up = partial(nn.Conv2d, kernel_size=4, stride=2, padding=1), partial(nn.ConvTranspose2d, kernel_size=4)
    up = partial(up, stride=2, padding=1)
    with_product(down(256, 256))(torch.randn(1, 256, 16, 16))
    with_product(up(256, 256))(torch.randn(1, 256, 8, 8))
    with_product(down(32, 64))(torch.randn(1, 32, 8, 8))
    with_product(up(32, 64))(torch.randn(1, 32, 4, 4))
    assert not calls
    with_product(down(256, 256))(torch.randn(1, 256, 8, 8))
    with_product(up(256, 256))(torch.randn(1, 256, 4, 4))
    assert len(calls) == 2


@pytest.mark.parametrize("side", [7, 8, 9])
@pytest.mark.parametrize(("kernel", "padding"), [(3, 0), (3, 1), (4, 0), (4, 1), (5, 2), (6, 2)])
@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_every_kernel_and_side_and_a_bias(always_a_product, kind, kernel, padding, side, monkeypatch):
    monkeypatch.setattr(cpu_kernels, "MAX_PIXELS", 10_000)
    calls = count_products(monkeypatch)
    layer = kind(3, 2, kernel, 2, padding).double()
    assert_equal_with_gradients(layer, torch.randn(2, 3, side, side + 2, dtype=torch.float64, requires_grad=True))
    assert calls


@pytest.mark.parametrize(("stride", "bias"), [(1, False), (2, False), (3, True)])
def test_a_transposed_convolution_of_one_pixel_is_a_product(stride, bias, monkeypatch):
    layer = nn.ConvTranspose2d(6, 5, 4, stride, bias=bias).double()
    calls, product = [], cpu_kernels.MatMul.apply
    monkeypatch.setattr(cpu_kernels.MatMul, "apply", lambda *a: calls.append(1) or product(*a))
    assert_equal_with_gradients(layer, torch.randn(3, 6, 1, 1, dtype=torch.float64, requires_grad=True))
    assert calls


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 4, 3, stride=(2, 1)),
        nn.Conv2d(4, 4, (3, 5), stride=2),
        nn.Conv2d(4, 4, 4, stride=2, padding=(1, 2)),
        nn.Conv2d(4, 4, 3, stride=2, padding="valid"),
        nn.Conv2d(4, 4, 3, stride=2, groups=2),
        nn.Conv2d(4, 4, 3, stride=2, dilation=2),
        nn.Conv2d(4, 4, 3, stride=2, padding=1, padding_mode="reflect"),
        nn.ConvTranspose2d(4, 4, 3, stride=3),
        nn.ConvTranspose2d(4, 4, 3, stride=2, groups=2),
        nn.ConvTranspose2d(4, 4, 3, stride=2, output_padding=(1, 0)),
        SpectralConv2d(4, 4, 3),
    ],
)
def test_other_convolutions_are_those_of_the_library(always_a_product, layer, monkeypatch):
    layer = layer.eval()
    calls = count_products(monkeypatch)
    x = torch.randn(2, 4, 9, 9)
    assert torch.equal(with_product(layer)(x), layer(x))
    assert not calls


def test_without_a_batch_dimension_and_with_an_output_size(always_a_product):
    down, up = nn.Conv2d(3, 5, 3, 2), nn.ConvTranspose2d(5, 3, 3, 2)
    x, y = torch.randn(3, 8, 8), torch.randn(2, 5, 3, 3)
    assert torch.equal(with_product(down)(x), down(x))
    assert torch.equal(with_product(up)(y[0]), up(y[0]))
    assert torch.equal(with_product(up)(y, [8, 8]), up(y, [8, 8]))


def test_a_gradient_penalty_takes_its_derivative_through_the_product(always_a_product):
    """`torch.func.grad` requires more of a function than autograd does."""
    theirs = nn.Sequential(nn.Conv2d(3, 5, 5, 2, 2), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(5 * 4 * 4, 1)).double()
    ours = with_product(theirs)
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    gradients, expected = (
        torch.autograd.grad(gradient_penalty(D, x, target=1.0), list(D.parameters()), allow_unused=True)
        for D in (ours, theirs)
    )
    assert gradients[0] is not None
    for a, b in zip(gradients, expected, strict=True):
        assert (a is None) == (b is None)
        assert a is None or torch.allclose(a, b, atol=1e-12)


def test_products_are_dense():
    """Norms take ten times as long on a view of a larger image."""
    layer = with_product(nn.ConvTranspose2d(256, 256, 4, 2, 1, bias=False))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        image = layer(torch.randn(2, 256, 4, 4))
    assert image.is_contiguous(memory_format=torch.channels_last)


def test_the_referee_uses_them_and_weights_keep_their_names():
    system = GAN(dcgan.generator(5, 4, 1, 16), dcgan.discriminator(4, 1, 16), latent_dim=5, game=game("hinge"))
    names = [*system.state_dict()]
    kinds = {type(layer) for layer in system.modules()}
    assert not kinds & {MatMulConv2d, MatMulConvTranspose2d}
    averaged = referee(system, images(shape=(1, 16, 16))).ema_system
    for network in (system.G, averaged.G):
        assert {type(layer) for layer in network if isinstance(layer, nn.ConvTranspose2d)} == {MatMulConvTranspose2d}
    assert {type(layer) for layer in system.D if getattr(layer, "stride", 0) == (2, 2)} == {MatMulConv2d}
    assert [*system.state_dict()] == names


def test_a_run_opened_from_disk_uses_them(tmp_path):
    options = {"rounds": 1, "batch": 8, "latent_dim": 4, "width": 4, "out": tmp_path, "quiet": True}
    run = sparring.train("dcgan", images(80, shape=(1, 16, 16)), **options)
    assert MatMulConvTranspose2d in {type(layer) for layer in run.system().G}
