"""Latent tools: closed forms and norms of the ways between codes, directions that are known, codes found again."""

import json
import math
import re

import numpy as np
import pytest
import torch
from helpers import recipe_data, small
from PIL import Image
from torch import nn
from toys import SHAPE

import sparring
from sparring import latent
from sparring.cli import main
from sparring.data import load
from sparring.data.pixels import to_uint8
from sparring.errors import SparringError
from sparring.latent import neighbors as neighbors_module
from sparring.losses import game
from sparring.networks.biggan import Discriminator, Generator
from sparring.recipes import RECIPES
from sparring.recipes.recipe import build_recipe, load_recipe, resolve_arguments
from sparring.systems import biggan
from sparring.systems.autoencoder import Autoencoder
from sparring.systems.gan import GAN
from sparring.systems.improved_gan import ImprovedGAN
from sparring.systems.vae import VAE


def gan(G, latent_length, **options):
    return GAN(G, nn.Flatten(), latent_dim=latent_length, game=game("non-saturating"), **options)


def linear_gan(d=4, seed=0, scale=0.1, **options):
    """Images are linear in the code, and stay within [-1, 1]: pixels = A z."""
    torch.manual_seed(seed)
    layer = nn.Linear(d, 16, bias=False)
    nn.init.orthogonal_(layer.weight)
    layer.weight.data *= scale
    return gan(nn.Sequential(layer, nn.Unflatten(1, SHAPE)), d, **options)


def biggan_like(classes=3):
    torch.manual_seed(0)
    G = Generator(9, 2, 1, 28, classes=classes, embed_dim=4)
    return biggan.BigGAN(G, Discriminator(2, 1, 28, classes=classes), latent_dim=9, classes=classes, standing_batches=2)


# Ways from one code to another.


def test_ends_of_every_way_are_the_codes_themselves():
    a, b = torch.randn(2, 5, 30, generator=torch.Generator().manual_seed(0))
    for name, between in latent.INTERPOLATIONS.items():
        torch.testing.assert_close(between(a, b, 0.0), a, rtol=1e-4, atol=1e-4, msg=name)
        torch.testing.assert_close(between(a, b, 1.0), b, rtol=1e-4, atol=1e-4, msg=name)


def test_slerp_is_whites():
    """Raw codes weighted by sines of the angle between their directions (plat), one pair at a time, in numpy."""
    a, b = np.random.default_rng(0).normal(size=(2, 6, 10)) * np.array([1.0, 3.0])[:, None, None]
    for t in (0.0, 0.25, 0.5, 0.9):
        for one, other, found in zip(a, b, latent.slerp(torch.tensor(a), torch.tensor(b), t).numpy(), strict=True):
            omega = np.arccos(np.dot(one / np.linalg.norm(one), other / np.linalg.norm(other)))
            wanted = np.sin((1 - t) * omega) / np.sin(omega) * one + np.sin(t * omega) / np.sin(omega) * other
            np.testing.assert_allclose(found, wanted, atol=1e-9)
    right_angle = latent.slerp(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0]), 0.5)
    torch.testing.assert_close(right_angle, torch.tensor([1.0, 2.0]) / 2**0.5)


@pytest.mark.parametrize("factor", [1.0, 2.0, -1.0, -3.0])
def test_where_there_is_no_arc_slerp_is_straight(factor):
    a = torch.tensor([[0.6, -0.8, 0.1]])
    torch.testing.assert_close(latent.slerp(a, factor * a, 0.25), a * (0.75 + 0.25 * factor))
    assert latent.slerp(torch.zeros(1, 3), a, 0.5).isfinite().all()


def test_norms_are_those_of_the_table():
    """100 dimensions: codes 9.97 +- .71; half-way on the line sqrt(d / 2) = 7.07, on the sphere about 10."""
    a, b = torch.randn(2, 4000, 100, generator=torch.Generator().manual_seed(1))
    norm = a.norm(dim=1)
    assert float(norm.mean()) == pytest.approx(9.97, abs=0.05)
    assert float(norm.std()) == pytest.approx(0.71, abs=0.03)
    assert float(latent.lerp(a, b, 0.5).norm(dim=1).mean()) == pytest.approx(7.07, abs=0.05)
    for t in (0.1, 0.25, 0.5, 0.75):
        assert float(latent.slerp(a, b, t).norm(dim=1).mean()) == pytest.approx(9.97, abs=0.07)
    # Half-way in probability: the mean of two U(0, 1) is triangular, and E ndtri(that)^2 is an integral.
    u = torch.linspace(0, 1, 200_001, dtype=torch.float64)[1:-1]
    density = 4 * torch.minimum(u, 1 - u)
    second = float((torch.special.ndtri(u).square() * density).mean())
    half = latent.lerp_gaussian(a, b, 0.5)
    assert float(half.square().mean()) == pytest.approx(second, rel=0.01)


def test_lerp_gaussian_is_the_line_in_probabilities():
    a, b = torch.tensor([-1.0, 0.0, 2.0]), torch.tensor([1.0, 3.0, 2.0])
    share = torch.special.ndtr(latent.lerp_gaussian(a, b, 0.25))
    wanted = 0.75 * torch.special.ndtr(a) + 0.25 * torch.special.ndtr(b)
    torch.testing.assert_close(share, wanted)
    assert latent.lerp_gaussian(torch.tensor([50.0]), torch.tensor([-50.0]), 0.0).isfinite().all()


def test_paths_pass_their_stops_and_walks_come_home():
    stops = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(0))
    way = latent.open_path(stops, 5, "slerp")
    assert way.shape == (3, 3 * 4 + 1, 6)
    torch.testing.assert_close(way[:, ::4], stops)
    round_trip = latent.closed_path(stops, 5, "lerp")
    assert round_trip.shape == (3, 20, 6)
    torch.testing.assert_close(round_trip[:, ::5], stops)
    torch.testing.assert_close(round_trip[:, 19], 0.2 * stops[:, 3] + 0.8 * stops[:, 0])
    ends = latent.interpolate(stops[:, 0], stops[:, 1], 2, "lerp")
    torch.testing.assert_close(ends, stops[:, :2])
    with pytest.raises(SparringError, match=r"unknown interpolation 'slurp'; did you mean 'slerp'\?"):
        latent.open_path(stops, 5, "slurp")
    with pytest.raises(SparringError, match="steps is 1: it must be at least 2"):
        latent.open_path(stops, 1, "lerp")


def test_the_usual_way_follows_the_codes():
    assert latent.default_interpolation(linear_gan()) == "slerp"
    assert latent.default_interpolation(linear_gan(noise="spherical")) == "slerp"
    assert (
        latent.default_interpolation(linear_gan(noise="uniform"))
        == latent.default_interpolation(linear_gan(noise="unit-uniform"))
        == "lerp"
    )
    network = nn.Flatten()
    assert latent.default_interpolation(VAE(network, network, latent_dim=2, nll=torch.sub, to_image=network)) == "slerp"
    assert latent.default_interpolation(ImprovedGAN(network, network, network, latent_dim=2)) == "lerp"


# Arithmetic.


def test_arithmetic_is_of_means_and_keeps_the_length():
    start, minus, plus = torch.randn(3, 3, 20, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        latent.analogy(start, minus, plus), (start.sum(0) - minus.sum(0) + plus.sum(0)) / 3, rtol=1e-5, atol=1e-6
    )
    torch.testing.assert_close(latent.analogy(start, start, plus), plus.mean(0))
    every = torch.randn(2000, 3, 3, 100, generator=torch.Generator().manual_seed(2))
    norms = torch.stack([latent.analogy(*one).norm() for one in every])
    assert float(norms.mean()) == pytest.approx(9.97, abs=0.06)  # 3 times a variance of 1/3
    single = torch.stack([latent.analogy(*one[:, :1]).norm() for one in every])
    assert float(single.mean()) == pytest.approx(math.sqrt(300), abs=0.15)


def test_a_neighborhood_is_the_code_and_eight_around_it():
    code = torch.randn(4000, generator=torch.Generator().manual_seed(0))
    nine = latent.jitter_grid(code)
    assert nine.shape == (9, 4000)
    assert torch.equal(nine[4], code)
    off = (nine - code)[[0, 1, 2, 3, 5, 6, 7, 8]]
    assert 0.249 < float(off.abs().max()) <= 0.25
    assert float(off.std()) == pytest.approx(0.25 / 3**0.5, rel=0.01)
    assert off.unique(dim=0).shape[0] == 8
    assert not torch.equal(latent.jitter_grid(code, seed=1), nine)
    assert torch.equal(latent.jitter_grid(code, spread=0), code.expand(9, -1))


# Every system.


def made(name):
    extra, _ = small(name)
    function = load_recipe(name, RECIPES)
    data = recipe_data(name, 20, channels=3 if name == "cyclegan" else 1)
    torch.manual_seed(0)
    return build_recipe(function, data.spec, resolve_arguments(function, extra)).system.eval(), data


@pytest.mark.parametrize("name", RECIPES)
def test_every_tool_works_on_every_system_with_codes_and_the_others_say_why_not(name):
    system, data = made(name)
    if not (system.supports("sample") and system.supports("sample_latents")):
        with pytest.raises(
            SparringError, match=f"{type(system).__name__} does not support latent-space tools: it cannot sample"
        ):
            latent.latent_decoder(system)
        return
    paint = latent.latent_decoder(system)
    codes = paint.codes(12, seed=3)
    assert torch.equal(paint.decode(codes), system.sample(12, seed=3))
    assert latent.default_interpolation(system) in latent.INTERPOLATIONS
    way = latent.open_path(codes.unflatten(0, (6, 2)), 3, latent.default_interpolation(system))
    assert paint.rows(way).shape == (18, *data.spec.shape)
    weights = latent.latent_weights(paint, codes.shape[1])
    assert weights.shape[1] == codes.shape[1]
    found = [*latent.sefa(weights, codes, 2), *latent.ganspace(codes, paint.decode(codes).flatten(1), 2)]
    assert all(float(one.unit.norm()) == pytest.approx(1, abs=1e-4) for one in found)
    assert latent.traverse(codes[0], found, columns=3).shape == (len(found), 3, codes.shape[1])
    once = latent.invert(paint, data.images[:2], steps=2, restarts=1)
    assert once.codes.shape == (2, codes.shape[1])
    assert float(once.errors.max()) <= float(once.tried.min(1).values.max())


def test_a_painter_refuses_what_its_system_does_not_know():
    with pytest.raises(SparringError, match="GAN is not class-conditional: drop --labels"):
        latent.latent_decoder(linear_gan(), 1)
    with pytest.raises(SparringError, match="label 3 is out of range: BigGAN has classes 0 to 2"):
        latent.latent_decoder(biggan_like(), [0, 3])
    plain = Autoencoder(nn.Flatten(), nn.Flatten(), latent_dim=16)
    with pytest.raises(SparringError, match="Autoencoder does not support latent-space tools: it cannot sample"):
        latent.latent_decoder(plain)


def test_rows_of_a_told_system_are_of_one_class():
    system = biggan_like()
    codes = latent.latent_decoder(system).codes(6, seed=1).unflatten(0, (3, 2))
    images = latent.latent_decoder(system).rows(codes)
    for row in range(3):
        wanted = system.decode(codes[row], labels=row)
        torch.testing.assert_close(images[2 * row : 2 * row + 2], wanted, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(latent.latent_decoder(system, 2).rows(codes)[:2], system.decode(codes[0], labels=2))


# Gradients reach codes, and only codes that ask for them.


def test_images_have_gradients_where_codes_ask_for_them():
    system = linear_gan()
    codes = system.sample_latents(3).requires_grad_()
    images = system.decode(codes)
    (gradient,) = torch.autograd.grad(images.sum(), [codes])
    torch.testing.assert_close(gradient, system.G[0].weight.sum(0).expand(3, -1).detach())
    assert not system.decode(codes.detach()).requires_grad
    assert not system.sample(3).requires_grad
    with torch.no_grad():
        assert not system.decode(codes).requires_grad


# Truncation.


def test_truncation_in_z_is_a_truncated_distribution():
    cut = (("normal", 1.0, 0.29113), ("truncated", 1.0, 0.29113), ("uniform", 0.5, 1 / 12), ("unit-uniform", 1.5, 0.75))
    for noise, threshold, variance in cut:
        codes = linear_gan(d=400, noise=noise).sample_latents(250, truncation=threshold)
        assert 0.99 * threshold < float(codes.abs().max()) <= threshold
        assert float(codes.var()) == pytest.approx(variance, rel=0.02), noise
    far = linear_gan(d=400, noise="truncated").sample_latents(250, truncation=9.0)
    assert 1.99 < float(far.abs().max()) <= 2
    with pytest.raises(SparringError, match="spherical noise has a fixed norm"):
        linear_gan(noise="spherical").sample(2, truncation=1.0)
    with pytest.raises(SparringError, match="truncation is 0: it must be above 0"):
        linear_gan().sample(2, truncation=0)
    with pytest.raises(SparringError, match="AAE does not support truncation"):
        latent.latent_decoder(made("aae")[0]).codes(2, truncation=1.0)


def test_truncation_in_w_is_a_way_to_the_mean():
    system, _ = made("alae")
    w, center = system.sample_latents(5, seed=1), system.sample_latents(2000).mean(0)
    torch.testing.assert_close(system.sample_latents(5, seed=1, truncation=0.3), center + 0.3 * (w - center))
    assert torch.equal(system.sample(5, seed=1, truncation=1), system.sample(5, seed=1))
    with pytest.raises(SparringError, match="it must be from 0"):
        system.sample(2, truncation=1.5)


def test_a_decoder_truncates_codes_as_the_system_does():
    decoder = latent.latent_decoder(system := linear_gan())
    images = decoder.decode(decoder.codes(3, seed=1, truncation=2.0), truncation=2.0)
    torch.testing.assert_close(images, system.sample(3, seed=1, truncation=2.0))
    decoder = latent.latent_decoder(big := biggan_like(), 1)
    images = decoder.decode(decoder.codes(3, seed=1, truncation=0.5), truncation=0.5)
    torch.testing.assert_close(images, big.sample(3, seed=1, labels=1, truncation=0.5))


def test_standing_statistics_are_measured_again_when_weights_change_and_only_then():
    system, passes = biggan_like(), []
    system.G.register_forward_hook(lambda *_: passes.append(1))  # copies of G are counted with it
    before = system.sample(3, seed=1)
    assert len(passes) == system.standing_batches + 1
    assert torch.equal(system.sample(3, seed=1), before)
    assert len(passes) == system.standing_batches + 2
    with torch.no_grad():
        system.G.linear.weight.add_(torch.randn_like(system.G.linear.weight))
    changed = system.sample(3, seed=1)
    assert len(passes) == 2 * system.standing_batches + 3
    fresh = biggan_like()
    fresh.load_state_dict(system.state_dict())
    assert torch.equal(fresh.sample(3, seed=1), changed)
    assert not torch.equal(changed, before)
    system.sample(3, truncation=0.5)
    assert len(passes) == 3 * system.standing_batches + 4


# Directions.


def test_principal_directions_of_codes_are_their_long_axes():
    g = torch.Generator().manual_seed(0)
    turned, _ = torch.linalg.qr(torch.randn(3, 3, generator=g))
    codes = torch.randn(4000, 3, generator=g) * torch.tensor([5.0, 2.0, 0.5]) @ turned.T + 7
    found = latent.ganspace(codes, codes, 5)
    assert len(found) == 3
    for one, axis, length in zip(found, turned.T, (5, 2, 0.5), strict=True):
        assert abs(float(one.unit @ axis)) == pytest.approx(1, abs=1e-3)
        assert one.sigma == pytest.approx(length, rel=0.03)
        assert float(one.unit[one.unit.abs().argmax()]) > 0
    assert found[0].words.startswith("85.")  # 25 of 29.25


def test_samples_that_are_all_the_same_have_no_principal_direction():
    with pytest.raises(SparringError, match="all 50 samples are identical"):
        latent.ganspace(torch.randn(50, 3), torch.ones(50, 7), 2)


def test_principal_directions_of_pixels_move_the_image_the_most():
    """Pixels = A z with singular values 3, 1, .1: the directions are A's right singular vectors."""
    g = torch.Generator().manual_seed(0)
    u, v = (torch.linalg.qr(torch.randn(n, 3, generator=g))[0] for n in (16, 3))
    codes = torch.randn(5000, 3, generator=g)
    found = latent.ganspace(codes, codes @ v @ torch.diag(torch.tensor([3.0, 1.0, 0.1])) @ u.T, 2)
    assert len(found) == 2
    for one, axis in zip(found, v.T, strict=False):
        assert abs(float(one.unit @ axis)) == pytest.approx(1, abs=0.02)


def test_semantic_directions_are_eigenvectors_of_the_first_layers():
    weight = torch.diag(torch.tensor([1.0, 3.0, 2.0]))
    found = latent.sefa(weight, torch.randn(50, 3, generator=torch.Generator().manual_seed(0)), 3)
    assert [int(one.unit.argmax()) for one in found] == [1, 2, 0]
    assert found[0].words == "64.3% of the layers' energy"
    two = latent.sefa(torch.randn(5, 3), torch.randn(50, 3), 2)
    assert float(two[0].unit @ two[1].unit) == pytest.approx(0, abs=1e-5)


def test_first_layers_are_found_by_asking():
    torch.manual_seed(0)
    first = nn.Linear(4, 7)
    G = nn.Sequential(first, nn.ReLU(), nn.Linear(7, 16), nn.Tanh(), nn.Unflatten(1, SHAPE))
    weights = latent.latent_weights(latent.latent_decoder(gan(G, 4)), 4)
    torch.testing.assert_close(weights, first.weight.detach(), atol=1e-5, rtol=1e-4)

    up = nn.ConvTranspose2d(4, 3, 2)
    G = nn.Sequential(nn.Unflatten(1, (4, 1, 1)), up, nn.ReLU(), nn.ConvTranspose2d(3, 1, 3), nn.Tanh())
    weights = latent.latent_weights(latent.latent_decoder(gan(G, 4)), 4)
    torch.testing.assert_close(weights, up.weight.detach().flatten(1).T, atol=1e-5, rtol=1e-4)

    system = biggan_like()  # chunks of the code go to the first layer and to the batch norms of every block
    weights = latent.latent_weights(latent.latent_decoder(system), 9)
    maps = system.G.linear.out_features
    assert float(weights[:maps, system.G.chunk :].abs().max()) < 1e-5
    gains = sum(2 * norm.gain.out_features for block in system.G.blocks for norm in (block.norm1, block.norm2))
    assert len(weights) == maps + gains
    assert (weights.abs().amax(0) > 1e-3).all()

    overwritten = nn.Linear(4, 7)
    G = nn.Sequential(overwritten, nn.ReLU(inplace=True), nn.Linear(7, 16), nn.Tanh(), nn.Unflatten(1, SHAPE))
    weights = latent.latent_weights(latent.latent_decoder(gan(G, 4)), 4)
    torch.testing.assert_close(weights, overwritten.weight.detach(), atol=1e-5, rtol=1e-4)

    wide = nn.Linear(450, 16)  # more unit codes than are painted at once
    weights = latent.latent_weights(latent.latent_decoder(gan(nn.Sequential(wide, nn.Unflatten(1, SHAPE)), 450)), 450)
    torch.testing.assert_close(weights, wide.weight.detach(), atol=1e-5, rtol=1e-4)

    spherical_latent = gan(nn.Sequential(nn.Tanh(), nn.Linear(4, 16), nn.Unflatten(1, SHAPE)), 4)
    with pytest.raises(SparringError, match="GAN has no layer that takes the code as input"):
        latent.latent_weights(latent.latent_decoder(spherical_latent), 4)


def test_a_direction_leads_towards_its_class():
    codes = torch.randn(3000, 6, generator=torch.Generator().manual_seed(0)) * torch.tensor([1, 1, 4, 1, 1, 1.0])
    labels = (codes[:, 2] + 0.0 > 1).long() + 2 * (codes[:, 0] > 9).long()
    few, many, empty = "few", "many", "empty"
    found = {one.name: one for one in latent.interfacegan(codes, labels, (few, many, empty))}
    assert set(found) == {few, many}
    assert float(found[many].unit[2]) > 0.99
    assert float(found[few].unit[2]) < -0.99
    assert float(re.search(r"[\d.]+", found[many].words)[0]) > 98
    assert found[many].sigma == pytest.approx(4, rel=0.05)
    blind = latent.interfacegan(codes, torch.arange(3000) % 2, ("balance_clusters", "odd"))
    assert all(44 < float(re.search(r"[\d.]+", one.words)[0]) < 56 for one in blind)
    with pytest.raises(SparringError, match="no class has 20 of the 3,000 samples"):
        latent.interfacegan(codes, torch.zeros(3000), ("all",))


def test_a_rare_class_is_not_told_by_saying_no():
    """3 % of the codes at random: saying no to all would be right 97 times in 100, and the words must not say so."""
    g = torch.Generator().manual_seed(0)
    codes, labels = torch.randn(4000, 5, generator=g), (torch.rand(4000, generator=g) < 0.03).long()
    (_, rare) = latent.interfacegan(codes, labels, ("usual", "rare"))
    assert float(re.search(r"[\d.]+", rare.words)[0]) < 65


def test_both_sides_of_a_plane_weigh_the_same():
    """The rare class is right throughout, the others where they are at 0: (100 % + 80 %) / 2, not the 81 % of all."""
    n = 4000
    rare = torch.arange(n) % 20 == 0
    others = 2.0 * (torch.arange(n) % 5 == 1)
    codes = torch.stack([torch.where(rare, 1.0, others), torch.zeros(n)], 1)
    codes += 0.05 * torch.randn(n, 2, generator=torch.Generator().manual_seed(0))
    (_, one) = latent.interfacegan(codes, rare.long(), ("usual", "rare"))
    assert float(re.search(r"[\d.]+", one.words)[0]) == pytest.approx(89.5, abs=2)


def test_steps_go_so_many_deviations_to_either_side():
    code = torch.tensor([1.0, 2.0])
    way = latent.Direction("up", torch.tensor([0.0, 1.0]), 0.5, "")
    (row,) = latent.traverse(code, [way], reach=3, columns=7)
    assert row[:, 1].tolist() == pytest.approx([0.5, 1, 1.5, 2, 2.5, 3, 3.5])
    assert row[:, 0].tolist() == [1] * 7


# Inversion.


def test_codes_of_a_linear_generator_are_found_again():
    system = linear_gan(d=4)
    wanted = system.sample_latents(6, seed=5)
    images = to_uint8(system.decode(wanted))
    steps = []
    paint = latent.latent_decoder(system)
    found = latent.invert(paint, images, steps=100, restarts=1, on_progress=steps.append)
    torch.testing.assert_close(found.codes, wanted, atol=0.1, rtol=0)  # pixels were rounded
    assert float(found.errors.max()) < 1e-5
    assert sum(steps) == latent.total_steps(paint, init="both", steps=100, restarts=1) == 100
    again = latent.invert(paint, images, steps=100, restarts=1)
    assert torch.equal(found.codes, again.codes)
    exact = ((images.double() - found.images.double()) / 255).square().flatten(1).mean(1)
    torch.testing.assert_close(found.errors, exact)


class Trap(nn.Module):
    """A long way to go: few steps from a start that is far off do not arrive."""

    def __init__(self):
        super().__init__()
        self.unit = nn.Parameter(torch.ones(()))

    def forward(self, z):
        return (self.unit * z).tanh()[:, :1, None, None].expand(-1, *SHAPE)


def test_the_best_of_all_starts_counts_for_each_image():
    system = gan(Trap(), 2)
    images = torch.full((4, *SHAPE), 255 - 20, dtype=torch.uint8)
    found = latent.invert(latent.latent_decoder(system), images, steps=3, restarts=5, lr=0.05)
    assert found.tried.shape == (4, 5)
    assert torch.equal(found.errors, found.tried.min(1).values)
    assert (found.tried.max(1).values > found.errors + 1e-3).all()
    repainted = to_uint8(system.decode(found.codes))
    assert torch.equal(repainted, found.images)


class Halver(VAE):
    """Encodes to half the right code, so that there is something left to find."""

    takes = {"encode": {"seed"}}

    def encode(self, images, *, seed=None):
        return super().encode(images, seed=seed) / 2


def halver():
    torch.manual_seed(0)
    layer = nn.Linear(3, 16, bias=False)
    nn.init.orthogonal_(layer.weight)
    layer.weight.data *= 0.1
    back = nn.Linear(16, 6, bias=False)
    back.weight.data = torch.cat([100 * layer.weight.data.T, torch.zeros(3, 16)])
    encoder, decoder = nn.Sequential(nn.Flatten(), back), nn.Sequential(layer, nn.Unflatten(1, SHAPE))
    return Halver(encoder, decoder, latent_dim=3, nll=torch.sub, to_image=nn.Identity())


def test_an_encoder_gives_a_start_and_an_error_of_its_own():
    system = halver()
    paint = latent.latent_decoder(system)
    images = to_uint8(system.sample(5, seed=2))
    alone = latent.invert(paint, images, init="encoder")
    assert torch.equal(alone.errors, alone.encoded)
    torch.testing.assert_close(alone.codes, system.encode(images.float() / 127.5 - 1))
    both = latent.invert(paint, images, steps=60, restarts=1)
    assert torch.equal(both.encoded, alone.errors)
    assert both.tried.shape == (5, 2)
    assert (both.errors < alone.errors / 2).all()
    only = latent.invert(paint, images, init="optimization", steps=3, restarts=2)
    assert only.encoded is None
    assert only.tried.shape == (5, 2)
    with pytest.raises(SparringError, match="unknown init 'bth'"):
        latent.invert(paint, images, init="bth")
    with pytest.raises(SparringError, match="GAN has no encoder: invert by optimization"):
        latent.invert(latent.latent_decoder(linear_gan()), images, init="encoder")


def test_a_step_never_makes_it_worse():
    """The rate is too high on purpose: the best code on the way is kept, and the start is on the way."""
    system = halver()
    images = to_uint8(system.sample(5, seed=2))
    found = latent.invert(latent.latent_decoder(system), images, steps=4, restarts=1, lr=9.0)
    assert (found.tried[:, 0] <= found.encoded + 1e-9).all()


# Neighbors.


def test_neighbors_are_the_nearest_over_all_blocks(monkeypatch):
    monkeypatch.setattr(neighbors_module, "ROWS_PER_BLOCK", 7)
    g = torch.Generator().manual_seed(0)
    these = torch.randint(0, 256, (6, 1, 3, 3), generator=g, dtype=torch.uint8)
    others = torch.randint(0, 256, (50, 1, 3, 3), generator=g, dtype=torch.uint8)
    others[33] = these[2]
    near = latent.nearest(these, others, 3)
    far = (these[:, None].double() - others.double()).flatten(2).norm(dim=2)
    assert torch.equal(near.rows, far.argsort(1)[:, :3])
    torch.testing.assert_close(near.distance, far.sort(1).values[:, :3].float(), atol=0.05, rtol=1e-4)
    assert int(near.rows[2, 0]) == 33
    with pytest.raises(SparringError, match="k is 51, but only 50 images can be searched"):
        latent.nearest(these, others, 51)


# The command line.


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A GAN, a conditional GAN and an autoencoder of gray digits that are noise, with names a classifier knows."""
    out = tmp_path_factory.mktemp("runs")
    pixels = np.random.default_rng(0).integers(0, 256, (200, 28, 28), dtype=np.uint8)
    np.savez(out / "noise.npz", images=pixels, labels=np.arange(200) % 10)
    options = {"rounds": 1, "batch": 8, "out": out, "quiet": True, "precision": "fp32"}
    made = {}
    for name in ("csc321-mlp", "acgan", "cgan", "vae", "autoencoder", "mnist-net"):
        extra = {"width": 8} if name in ("vae", "autoencoder") else {}
        latent_length = {} if name in ("mnist-net",) else {"latent_dim": 6}
        run = sparring.train(name, str(out / "noise.npz"), **options, **extra, **latent_length)
        made[name] = run.path
    return made


def say(capsys, *argv):
    """The lines of stdout."""
    capsys.readouterr()
    main([str(a) for a in argv])
    return capsys.readouterr().out.strip().splitlines()


def refusal(capsys, *argv):
    """The one line on stderr of a verb that refuses."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in argv])
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert end.value.code == 2
    return line


def size_of(path):
    """(width, height) of a picture."""
    with Image.open(path) as image:
        return image.size


def test_interpolate_draws_rows_and_films(runs, tmp_path, capsys):
    lines = say(capsys, "interpolate", runs["csc321-mlp"], "--rows", 3, "--steps", 5, "--out", tmp_path / "a.png")
    assert lines[0].startswith("slerp: mean norm of the codes ")
    assert size_of(tmp_path / "a.png") == (5 * 30 + 2, 3 * 30 + 2)
    say(capsys, "interpolate", runs["cgan"], "--rows", 2, "--waypoints", 3, "--steps", 4, "--out", tmp_path / "b.png")
    assert size_of(tmp_path / "b.png") == (7 * 30 + 2, 2 * 30 + 2)
    say(capsys, "interpolate", runs["csc321-mlp"], "--rows", 3, "--steps", 5, "--out", tmp_path / "c.webp")
    with Image.open(tmp_path / "c.webp") as film:
        assert film.is_animated
        assert film.n_frames == 4 * 5
    for name, words in (
        ("mnist-net", "Classifier does not support latent-space tools: it cannot sample"),
        ("autoencoder", "Autoencoder does not support latent-space tools: it cannot sample"),
    ):
        assert refusal(capsys, "interpolate", runs[name]) == f"sparring: {words}"
    assert "must end in .png or .webp" in refusal(capsys, "interpolate", runs["vae"], "--out", "x.gif")
    assert "method (--method) is 'slurp'" in refusal(capsys, "interpolate", runs["vae"], "--method", "slurp")
    assert "GAN is not class-conditional: drop --labels" in refusal(
        capsys, "interpolate", runs["csc321-mlp"], "--labels", 3
    )
    assert "unknown class 'dog'" in refusal(capsys, "interpolate", runs["cgan"], "--labels", "dog")


def test_arithmetic_takes_samples_and_classes(runs, tmp_path, capsys):
    out = ["--out", tmp_path / "a.png"]
    three = ["--start", "3,17,25", "--minus", "4,8,9", "--plus", "11,12"]
    lines = say(capsys, "arithmetic", runs["csc321-mlp"], *three, "--seed", 7, *out)
    assert lines[0].startswith("norms: samples ")
    width, height = size_of(tmp_path / "a.png")
    assert height == 20 + 2 * (3 * 30 + 2)
    assert width > 2 * (7 * 30)
    system = sparring.open(runs["csc321-mlp"]).system()
    codes = system.sample_latents(64, seed=7)
    result = codes[[3, 17, 25]].mean(0) - codes[[4, 8, 9]].mean(0) + codes[[11, 12]].mean(0)
    assert lines[0].endswith(f", result {result.norm():.3g}")
    say(capsys, "arithmetic", runs["cgan"], *three, *out)
    line = refusal(capsys, "arithmetic", runs["cgan"], *three, "--labels", "1,2", *out)
    assert "sample 17 is out of range 0-15" in line  # as in sparring sample --labels 1,2: 8 rows, a column a class

    def refused(run, start):
        return refusal(capsys, "arithmetic", runs[run], "--start", start, "--minus", "1", "--plus", "2", *out)

    assert "--start is 'old men': 'old men' is not a concept; give sample numbers" in refused("csc321-mlp", "old men")
    assert "sample 64 is out of range 0-63 (raise -n)" in refused("csc321-mlp", "64")
    assert "no classifier available" in refused("csc321-mlp", "class:3")
    assert "ACGAN takes the class beside the code" in refused("acgan", "class:3")


def test_class_concepts_are_samples_of_that_class(runs, tmp_path, capsys, monkeypatch):
    """A judge that knows light from dark: the three codes are the first three samples it is sure of."""
    asked = []

    def judge(images):
        light = images.mean((1, 2, 3))
        sure = (light > light.median()).double() * 0.98 + 0.01
        return torch.stack([1 - sure, sure], 1).log()

    monkeypatch.setattr(
        "sparring.latent.concepts.classifier_for", lambda *given: asked.append(given) or (judge, ("dark", "light"))
    )
    run = runs["csc321-mlp"]
    flags = ["--start", "class:light", "--minus", "class:light", "--plus", "class:dark", "--seed", 2]
    lines = say(capsys, "arithmetic", run, *flags, "--out", tmp_path / "a.png")
    system = sparring.open(run).system()
    codes = system.sample_latents(1000, seed=2)
    light = system.decode(codes).mean((1, 2, 3))
    dark = codes[light <= light.median()][:3].mean(0)
    assert lines[0].endswith(f"result {dark.norm():.3g}")
    line = refusal(capsys, "arithmetic", run, "--start", "class:lihgt", "--minus", "1", "--plus", "2")
    assert "unknown concept 'class:lihgt'; did you mean 'class:light'?" in line
    monkeypatch.setattr(
        "sparring.latent.directions.classifier_for",
        lambda *given: (lambda x: torch.zeros(len(x), 2), ("dark", "light")),
    )
    line = refusal(capsys, "directions", run, "--method", "classes", "-n", 100, "--out", tmp_path / "b.png")
    assert "no class has 20" in line


def test_the_shipped_classifier_judges_data_it_knows():
    digits = load("digits")
    judge, classes = latent.classifier_for(linear_gan(), (), lambda: digits)
    assert classes == tuple("0123456789")
    found = judge(torch.zeros(2, 1, 28, 28))
    torch.testing.assert_close(found.exp().sum(1), torch.ones(2))
    system, _ = made("mlp-classifier")
    judge, classes = latent.classifier_for(system, ("a", "b"), lambda: pytest.fail("no data are needed"))
    assert judge == system.classify
    assert classes == ("a", "b")


def test_directions_are_drawn_and_told(runs, tmp_path, capsys):
    out = ["-n", 30, "--count", 2, "--columns", 3, "--out", tmp_path / "a.png"]
    for flags, words in (
        ([], "component 1: deviation "),
        (["--space", "codes"], "component 1: deviation "),
        (["--method", "sefa"], "eigenvector 1: deviation "),
    ):
        lines = say(capsys, "directions", runs["csc321-mlp"], *flags, *out)
        assert len(lines) == 3
        assert lines[0].startswith(words)
    width, height = size_of(tmp_path / "a.png")
    assert height == 2 * (2 * 30 + 2)
    assert width > 2 * (3 * 30 + 2)
    line = refusal(capsys, "directions", runs["acgan"], "--method", "classes", *out)
    assert "ACGAN takes the class beside the code, so no direction leads to a class" in line
    say(capsys, "directions", runs["acgan"], "--method", "sefa", "--sample", 40, *out)
    found = json.loads("\n".join(say(capsys, "directions", runs["vae"], "--json", *out)))
    assert [len(one["unit"]) for one in found] == [6, 6]


def test_invert_tells_every_image_and_needs_classes_where_they_are_told(runs, tmp_path, capsys):
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(3):
        Image.fromarray(np.full((28, 28), 40 * i, dtype=np.uint8)).save(folder / f"{i}.png")
    few = ["--steps", 2, "--restarts", 1, "--out", tmp_path / "a.png"]
    lines = say(capsys, "invert", runs["vae"], folder, *few)
    assert lines[0].split() == ["file", "error", "worst", "start", "encoder", "alone"]
    assert lines[-2].startswith("reconstruction error ")
    assert size_of(tmp_path / "a.png") == (2 * (3 * 30 + 2), 2 * (2 * 30 + 2))
    line = refusal(capsys, "invert", runs["cgan"], folder, *few)
    assert "ConditionalGAN needs the class of each image: give --labels" in line
    numbers = json.loads("\n".join(say(capsys, "invert", runs["cgan"], folder, "--labels", "3", "--json", *few)))
    assert [one["file"] for one in numbers] == ["0.png", "1.png", "2.png"]
    assert {len(one["code"]) for one in numbers} == {6}
    assert refusal(capsys, "invert", runs["mnist-net"], folder) == "sparring: Classifier cannot decode images"
    line = refusal(capsys, "invert", runs["cgan"], folder, "--labels", "3", "--init", "encoder")
    assert line == "sparring: ConditionalGAN has no encoder: invert by optimization"


def test_neighbors_are_drawn_beside_their_samples(runs, tmp_path, capsys):
    lines = say(capsys, "neighbors", runs["csc321-mlp"], "-n", 2, "--k", 3, "--out", tmp_path / "a.png")
    assert lines[0].startswith("median distance to the nearest training image, in pixels (0 to 1): samples ")
    assert size_of(tmp_path / "a.png") == (2 * (4 * 30 + 2), 2 * (2 * 30 + 2))
    run = sparring.open(runs["csc321-mlp"])
    data, samples = run.data(), to_uint8(run.system().sample(2))
    first = latent.nearest(samples, data.images)
    shown = np.array(Image.open(tmp_path / "a.png"))[::2, ::2][2:30, 32:60]
    np.testing.assert_array_equal(shown, data.images[first.rows[0, 0], 0].numpy())
    (words,) = re.findall(r"samples ([\d.]+), held-out images", lines[0])
    assert float(words) == pytest.approx(float(first.distance.median()) / 255, rel=1e-3)
    assert (
        "in features of random-conv64"
        in say(capsys, "neighbors", runs["csc321-mlp"], "-n", 2, "--by", "features", "--out", tmp_path / "b.png")[0]
    )
    assert refusal(capsys, "neighbors", runs["autoencoder"]) == "sparring: Autoencoder cannot sample"
