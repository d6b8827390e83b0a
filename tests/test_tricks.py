"""Each trick of docs/tricks.md does what it says; and every value of every argument of the recipe `ganhacks` plays."""

import re
import shlex
from functools import cache
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from toys import SHAPE, gan, images, referee, state

from sparring.data.dataset import Dataset, Spec
from sparring.data.pixels import to_float
from sparring.errors import SparringError
from sparring.losses import game
from sparring.networks import diffaug
from sparring.networks.diffaug import POLICIES, AdaptiveAugment, DiffAugment, Distortion, with_distortion
from sparring.networks.ganhacks import ACTIVATIONS, OUTPUTS
from sparring.networks.labels import LabelAsChannels, LabelEmbeddingInput
from sparring.networks.minibatch import MinibatchDiscrimination, MinibatchStd, PacDiscriminator
from sparring.networks.noise import Dropout, GaussianNoise, InstanceNoise
from sparring.networks.norms import NORMS, VirtualBatchNorm, WithReferenceBatch
from sparring.networks.resample import DOWN, UP
from sparring.recipes import RECIPES
from sparring.recipes.recipe import arguments, build_recipe, load_recipe, resolve_arguments
from sparring.referee import Referee
from sparring.seeds import make_generator
from sparring.systems.ada import ADA
from sparring.systems.gan import GAN
from sparring.systems.replay import Replay

RECIPE = load_recipe("ganhacks", RECIPES)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


class Seen(nn.Module):
    """Lets everything through and keeps it."""

    def __init__(self):
        super().__init__()
        self.inputs = []

    def forward(self, x):
        self.inputs.append(x.detach().clone())
        return x


def play(judge, rounds):
    return [judge.reduce_logs(judge.play()) for _ in range(rounds)]


# Noise.


@pytest.mark.parametrize(("played", "std"), [(0, 0.8), (25, 0.6), (50, 0.4), (99, 0.008), (100, 0), (1000, 0)])
def test_instance_noise_falls_linearly_to_nothing(played, std):
    layer = InstanceNoise(0.8, over=100)
    layer.round_index = played
    x = torch.ones(64, 1, 28, 28)
    added = layer(x) - x
    assert float(added.std()) == pytest.approx(std, rel=0.02)
    assert float(added.mean()) == pytest.approx(0, abs=0.02)
    assert torch.equal(layer.eval()(x), x)


def test_instance_noise_is_told_the_time():
    toy = gan()
    system = GAN(toy.G, nn.Sequential(InstanceNoise(0.8, over=4), toy.D), latent_dim=5, game=toy.game)
    judge = referee(system)
    present = []
    for _ in range(6):
        judge.play()
        present.append(system.D[0].current_std())
    assert present == pytest.approx([0.8, 0.6, 0.4, 0.2, 0.0, 0.0])


@pytest.mark.parametrize("layer", [GaussianNoise(0.3), Dropout(0.5, active_in_eval=True)])
def test_what_lasts_is_there_in_samples_which_stay_the_same(layer):
    toy = gan()
    system = GAN(nn.Sequential(toy.G[:2], layer, toy.G[2:]), toy.D, latent_dim=5, game=toy.game)
    assert not torch.equal(system.sample(6, seed=1), toy.sample(6, seed=1))
    assert torch.equal(system.sample(6, seed=1), system.sample(6, seed=1))


def test_noise_of_layers_has_its_deviation_in_both_modes():
    x = torch.zeros(100, 8, 16, 16)
    for layer in (GaussianNoise(0.3), GaussianNoise(0.3).eval()):
        assert float(layer(x).std()) == pytest.approx(0.3, rel=0.02)


def test_dropout_that_is_active_in_eval_drops_in_both_modes():
    x = torch.ones(100, 8, 16, 16)
    for layer in (Dropout(0.25, active_in_eval=True), Dropout(0.25, active_in_eval=True).eval()):
        y = layer(x)
        assert float((y == 0).float().mean()) == pytest.approx(0.25, abs=0.01)
        assert torch.equal(y[y != 0].unique(), torch.tensor([1 / 0.75]))


# Several images at once.


def test_minibatch_discrimination_agrees_with_a_double_loop():
    layer = MinibatchDiscrimination(7, kernels=3, dims=2).double()
    nn.init.normal_(layer.log_scale)
    x = torch.randn(5, 7, dtype=torch.float64)
    y = layer(x)
    assert torch.equal(y[:, :7], x)
    for k in range(3):
        columns = layer.direction[:, k] / layer.direction[:, k].square().sum(0).sqrt() * layer.log_scale[k].exp()
        rows = x @ columns
        for i in range(5):
            near = sum(torch.exp(-(rows[i] - rows[j]).abs().sum()) for j in range(5) if j != i)
            torch.testing.assert_close(y[i, 7 + k], near - 1)  # the bias starts at -1


def test_minibatch_discrimination_tells_repetition_from_variety():
    layer = MinibatchDiscrimination(7, kernels=3)
    alike, different = torch.randn(1, 7).expand(6, 7), 1e4 * torch.randn(6, 7)
    torch.testing.assert_close(layer(alike)[:, 7:], torch.full((6, 3), 6.0 - 1 - 1))
    torch.testing.assert_close(layer(different)[:, 7:], torch.full((6, 3), -1.0))


def test_minibatch_std_of_known_groups():
    x = torch.zeros(6, 2, 3, 3)
    x[0, 0], x[1, 0] = 1, -1  # std 1 in one of two maps of the first pair, nothing in the second, 2 and 0 in the third
    x[4:, :, 0, 0] = torch.tensor([[2.0, 0], [-2, 0]])
    y = MinibatchStd(group=2)(x)
    assert torch.equal(y[:, :2], x)
    expected = torch.tensor([0.5, 0.5, 0, 0, 2 / 18, 2 / 18])
    torch.testing.assert_close(y[:, 2], expected[:, None, None].expand(6, 3, 3), atol=2e-4, rtol=0)


def test_minibatch_std_fills_the_last_group_and_shrinks_to_a_small_batch():
    x = torch.randn(5, 2, 3, 3)
    y = MinibatchStd(group=4)(x)[:, 2, 0, 0]
    assert torch.equal(y[:4], y[:1].expand(4))
    torch.testing.assert_close(y[4], x[[4, 0, 1, 2]].std(0, correction=0).mean(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        MinibatchStd(group=8)(x)[0, 2, 0, 0], x.std(0, correction=0).mean(), atol=1e-5, rtol=1e-5
    )


def test_packs_are_channels():
    x = torch.randn(6, 3, 4, 4).to(memory_format=torch.channels_last)
    seen = Seen()
    PacDiscriminator(nn.Sequential(seen, nn.Flatten()), 2)(x)
    packs = seen.inputs[0]
    assert packs.shape == (3, 6, 4, 4)
    for pack in range(3):
        assert torch.equal(packs[pack, :3], x[2 * pack])
        assert torch.equal(packs[pack, 3:], x[2 * pack + 1])


def test_permuting_a_pack_is_permuting_its_channels():
    conv = nn.Conv2d(6, 1, 4)
    x = torch.randn(2, 3, 4, 4)
    swapped = nn.Conv2d(6, 1, 4)
    swapped.weight.data, swapped.bias.data = conv.weight.data[:, [3, 4, 5, 0, 1, 2]], conv.bias.data
    torch.testing.assert_close(PacDiscriminator(conv, 2)(x[[1, 0]]), PacDiscriminator(swapped, 2)(x))
    assert not torch.allclose(PacDiscriminator(conv, 2)(x[[1, 0]]), PacDiscriminator(conv, 2)(x))


def test_every_image_gets_its_packs_score_in_evaluation_mode():
    network = nn.Sequential(nn.Flatten(), nn.Linear(6, 1))
    packed = PacDiscriminator(network, 3).eval()
    x = torch.randn(7, 2, 1, 1)
    scores = packed(x)
    assert scores.shape == (7, 1)
    for i in range(7):
        pack = [i // 3 * 3 + j for j in range(3)]
        torch.testing.assert_close(scores[i], network(x[[j % 7 for j in pack]].reshape(1, 6))[0])
    assert packed(x[:1]).shape == (1, 1)  # an image alone is packed with itself


def test_packs_that_do_not_fill_are_refused_in_training():
    with pytest.raises(SparringError, match="a batch of 7 is not a multiple of the packing 3"):
        PacDiscriminator(nn.Flatten(), 3)(torch.randn(7, 1, 2, 2))


# Doubling and halving.


@pytest.mark.parametrize("name", UP)
def test_up_doubles(name):
    layer = UP[name](3, 5)
    y = layer(torch.randn(2, 3, 6, 6))
    assert y.shape == (2, 5, 12, 12)
    y.square().sum().backward()
    assert all(float(p.grad.abs().sum()) > 0 for p in layer.parameters())


@pytest.mark.parametrize("name", DOWN)
def test_down_halves(name):
    layer = DOWN[name](3, 5)
    y = layer(torch.randn(2, 3, 12, 12))
    assert y.shape == (2, 5, 6, 6)
    y.square().sum().backward()
    assert all(float(p.grad.abs().sum()) > 0 for p in layer.parameters())


def test_only_resizing_first_leaves_a_constant_image_without_a_board():
    """docs/results/checkerboards.md: four output phases of their own weights, or one."""
    flat = torch.ones(1, 3, 6, 6)
    inner = {name: upsampling(3, 1)(flat).detach()[0, 0, 3:-3, 3:-3] for name, upsampling in UP.items()}
    assert float(inner["nearest"].std()) < 1e-6
    assert float(inner["bilinear"].std()) < 1e-6
    assert float(inner["transposed"].std()) > 1e-3
    assert float(inner["pixel-shuffle"].std()) > 1e-3


def test_only_max_pooling_has_sparse_gradients():
    share = {}
    for name in ("average-pool", "bilinear", "max-pool"):
        x = torch.randn(1, 5, 12, 12, requires_grad=True)
        DOWN[name](3, 5)[1](x).sum().backward()
        share[name] = float((x.grad != 0).float().mean())
    assert share == {"average-pool": 1.0, "bilinear": 1.0, "max-pool": 0.25}


def test_pooling_and_smoothing_of_known_images():
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert DOWN["average-pool"](1, 1)[1](x).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert DOWN["max-pool"](1, 1)[1](x).flatten().tolist() == [5, 7, 13, 15]
    line = torch.zeros(1, 1, 8, 8)
    line[..., 3] = 1  # a column: its two neighbors in the halved image get 3/8 and 1/8 of it
    assert DOWN["bilinear"](1, 1)[1](line)[0, 0, 2].tolist() == pytest.approx([0, 0.375, 0.125, 0])


# Norms.


@pytest.mark.parametrize("shape", [(3,), (3, 4, 4)])
def test_virtual_batch_norm_is_batch_norm_of_the_reference_and_the_example(shape):
    vbn_size, x = torch.randn(6, *shape, dtype=torch.float64), 3 * torch.randn(5, *shape, dtype=torch.float64) + 1
    layer = VirtualBatchNorm(3).double()
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    y = WithReferenceBatch(layer, vbn_size)(x)
    for i in range(5):
        together = torch.cat([vbn_size, x[i : i + 1]])
        alone = F.batch_norm(together, None, None, layer.weight, layer.bias, training=True)
        torch.testing.assert_close(y[i], alone[-1])
    of_reference = F.batch_norm(vbn_size, None, None, layer.weight, layer.bias, training=True)
    torch.testing.assert_close(layer(torch.cat([vbn_size, x]))[:6], of_reference)


@pytest.mark.parametrize("norm", ["batch", "virtual"])
def test_with_virtual_batch_norm_no_example_depends_on_the_others(norm):
    network = nn.Sequential(nn.Conv2d(2, 4, 3), NORMS[norm](4), nn.ReLU(), nn.Conv2d(4, 4, 3), NORMS[norm](4))
    network = WithReferenceBatch(network, torch.randn(6, 2, 8, 8))
    x, others = torch.randn(1, 2, 8, 8), torch.randn(4, 2, 8, 8)
    alone, among = network(x), network(torch.cat([others, x]))[-1:]
    assert torch.allclose(alone, among, atol=1e-5) == (norm == "virtual")


def test_virtual_batch_norm_without_a_reference_says_so():
    with pytest.raises(SparringError, match="wrap the network in WithReferenceBatch"):
        VirtualBatchNorm(3)(torch.randn(2, 3, 4, 4))


def test_the_reference_is_saved_with_the_weights():
    network = WithReferenceBatch(nn.Sequential(nn.Linear(2, 3), VirtualBatchNorm(3)), torch.randn(4, 2))
    assert torch.equal(network.state_dict()["reference"], network.reference)


@pytest.mark.parametrize("norm", ["instance", "layer"])
def test_instance_and_layer_norm_see_one_image(norm):
    x = torch.randn(5, 3, 6, 6) * 3 + 2
    y = NORMS[norm](3)(x)
    axes = (2, 3) if norm == "instance" else (1, 2, 3)
    torch.testing.assert_close(y.mean(axes), torch.zeros_like(y.mean(axes)), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var(axes, correction=0), torch.ones_like(y.mean(axes)), atol=1e-3, rtol=0)
    assert torch.equal(NORMS["none"](3)(x), x)


# Augmentation.


def test_brightness_moves_the_mean_and_nothing_else():
    x = torch.rand(500, 3, 4, 4)
    moved = diffaug.random_brightness(x) - x
    assert float(moved.flatten(1).std(1).max()) < 1e-6
    by = moved.mean((1, 2, 3))
    assert -0.5 <= float(by.min()) < -0.45
    assert 0.45 < float(by.max()) <= 0.5


def test_saturation_keeps_the_gray_of_each_pixel():
    x = torch.rand(500, 3, 4, 4)
    y = diffaug.random_saturation(x)
    torch.testing.assert_close(y.mean(1), x.mean(1))
    color = (y - y.mean(1, keepdim=True)).flatten(1).norm(dim=1) / (x - x.mean(1, keepdim=True)).flatten(1).norm(dim=1)
    assert float(color.min()) < 0.05
    assert 1.95 < float(color.max()) <= 2.0001
    gray = torch.rand(4, 1, 4, 4)
    torch.testing.assert_close(diffaug.random_saturation(gray), gray)


def test_contrast_keeps_the_mean_of_each_image():
    x = torch.rand(500, 3, 4, 4)
    y = diffaug.random_contrast(x)
    torch.testing.assert_close(y.mean((1, 2, 3)), x.mean((1, 2, 3)))
    times = y.std((1, 2, 3)) / x.std((1, 2, 3))
    assert 0.5 <= float(times.min()) < 0.55
    assert 1.45 < float(times.max()) <= 1.5001


@pytest.mark.parametrize("amount", [1.0, 0.5])
def test_distortion_turns_sizes_slants_and_moves_each_image_as_far_as_it_says(amount):
    n, side = 2000, 33
    line = (2 * torch.arange(side).double() + 1) / side - 1
    frame = torch.stack([line.expand(side, side), line[:, None].expand(side, side)])  # where a pixel is: right, down
    inner = slice(side // 2 - 3, side // 2 + 4)  # far from the border
    seen = Distortion(amount)(frame.expand(n, 2, side, side))[:, :, inner, inner].flatten(2).transpose(1, 2)
    places = torch.cat([frame[:, inner, inner].flatten(1).T, torch.ones(49, 1).double()], 1)
    a = torch.linalg.pinv(places) @ seen  # (n, 3, 2)
    torch.testing.assert_close(places @ a, seen, atol=1e-9, rtol=0)

    size, angle = a[:, 0].norm(dim=1), torch.atan2(a[:, 0, 1], a[:, 0, 0]).rad2deg()
    slant = a[:, 1, 0] + a[:, 0, 1]
    torch.testing.assert_close(a[:, 1, 1], a[:, 0, 0])
    for name, got, most in [
        ("angle", angle, 15),
        ("size", size - 1, 0.15),
        ("slant", slant, 0.15),
        ("right", a[:, 2, 0] / 2, 1 / 14),
        ("downsampling", a[:, 2, 1] / 2, 1 / 14),
    ]:
        share = got / (amount * most)
        assert float(share.min()) == pytest.approx(-1, abs=0.01), name
        assert float(share.max()) == pytest.approx(1, abs=0.01), name
        assert float(share.std()) == pytest.approx(3**-0.5, abs=0.03), name
    assert float(torch.corrcoef(torch.stack([angle, size, slant, a[:, 2, 0], a[:, 2, 1]])).triu(1).abs().max()) < 0.1


def test_distortion_is_for_training_only_and_repeats_the_border():
    x = torch.rand(8, 1, 28, 28)
    distort = Distortion(1.0)
    assert not torch.equal(distort(x), x)
    assert torch.equal(distort.eval()(x), x)
    torch.testing.assert_close(distort.train()(torch.full_like(x, 0.3)), torch.full_like(x, 0.3))
    network = torch.nn.Flatten()
    assert with_distortion(network, 0.0) is network
    assert not torch.equal(with_distortion(network, 1.0)(x), network(x))


@pytest.mark.parametrize(("side", "most"), [(16, 2), (20, 3), (28, 4), (27, 3)])
def test_translation_moves_whole_images_up_to_an_eighth_rounded(side, most):
    x = torch.arange(1.0, side**2 + 1).view(1, 1, side, side).expand(2000, 2, side, side)
    y = diffaug.random_translation(x)
    middle = y[:, 0, side // 2, side // 2].long() - 1  # where this pixel came from
    downsampling, right = side // 2 - middle // side, side // 2 - middle % side
    assert set(zip(downsampling.tolist(), right.tolist(), strict=True)) == {
        (i, j) for i in range(-most, most + 1) for j in range(-most, most + 1)
    }
    for one, i, j in zip(y[:50], downsampling.tolist(), right.tolist(), strict=False):
        window = F.pad(x[0], [most] * 4)[:, most - i : most - i + side, most - j : most - j + side]
        assert torch.equal(one, window)


def test_translation_keeps_what_is_not_at_the_border():
    x = torch.zeros(50, 1, 16, 16)
    x[:, :, 2:-2, 2:-2] = torch.rand(50, 1, 12, 12)
    torch.testing.assert_close(diffaug.random_translation(x).sum((1, 2, 3)), x.sum((1, 2, 3)))


def test_cutout_makes_a_square_of_half_the_side_nothing():
    x = torch.ones(2000, 3, 28, 28)
    hole = diffaug.random_cutout(x) == 0
    assert torch.equal(hole[:, 0], hole[:, 1])
    rows, columns = hole[:, 0].any(2).sum(1), hole[:, 0].any(1).sum(1)
    assert torch.equal(hole[:, 0].sum((1, 2)), rows * columns)  # a full rectangle
    assert int(rows.max()) == int(columns.max()) == 14
    assert int(rows.min()) == int(columns.min()) == 7  # its middle is always in the image
    assert float((rows == 14).float().mean()) == pytest.approx(15 / 29, abs=0.04)


def test_cutout_of_an_odd_side_is_rounded_up():
    hole = diffaug.random_cutout(torch.ones(500, 1, 27, 27))[:, 0] == 0
    assert int(hole.any(2).sum(1).max()) == int(hole.any(1).sum(1).max()) == 14


@pytest.mark.parametrize(("side", "first", "last"), [(8, -2, 6), (7, -2, 5), (5, -1, 3)])
def test_cutout_falls_where_the_authors_code_lets_it(side, first, last, monkeypatch):
    """Its middle lies on 0 ... side for squares of an even side, on 0 ... side - 1 for those of an odd one."""
    monkeypatch.setattr(diffaug, "cut_out", lambda x, top, left: torch.stack([top, left]))
    corners = diffaug.random_cutout(torch.ones(500, 1, side, side))
    assert (int(corners.min()), int(corners.max())) == (first, last)


def test_cutting_out_where_it_is_told():
    x = torch.ones(2, 1, 8, 8)
    y = diffaug.cut_out(x, torch.tensor([2, -1]), torch.tensor([3, 6]))
    expected = torch.ones(2, 1, 8, 8)
    expected[0, :, 2:6, 3:7], expected[1, :, :3, 6:] = 0, 0
    assert torch.equal(y, expected)


@pytest.mark.parametrize("policy", [*POLICIES, "color+translation+cutout"])
def test_each_image_is_changed_in_its_own_way_and_only_in_training(policy):
    layer = DiffAugment(policy)
    x = torch.rand(1, 3, 16, 16).expand(8, 3, 16, 16)
    assert len({tuple(y.flatten().tolist()) for y in layer(x)}) > 4
    assert torch.equal(layer.eval()(x), x)


def test_an_unknown_policy_is_named():
    with pytest.raises(SparringError, match="unknown augmentation 'colour'; did you mean 'color'"):
        DiffAugment("translation+colour")


def test_gradients_flow_through_diffaugment():
    def changed(x):
        torch.manual_seed(3)
        return DiffAugment("color+translation+cutout")(x)

    x = torch.rand(3, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(changed, x)
    toy = gan()
    toy.D(DiffAugment("color+translation+cutout")(toy.G(torch.randn(6, 5)))).sum().backward()
    assert all(float(p.grad.abs().sum()) > 0 for p in toy.G.parameters())


def test_moves_mirror_the_image_at_its_border():
    x = torch.arange(6.0).expand(2, 1, 6, 6)
    y = diffaug.translate_mirrored(x, torch.tensor([0, 3]), torch.tensor([2, -2]))
    assert y[0, 0, 0].tolist() == [2, 1, 0, 1, 2, 3]
    assert y[1, 0, 0].tolist() == [2, 3, 4, 5, 4, 3]
    turned = diffaug.translate_mirrored(x.mT, torch.tensor([0, 3]), torch.tensor([2, -2]))
    assert turned[1, 0, :, 0].tolist() == [3, 2, 1, 0, 1, 2]


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_each_change_befalls_an_image_with_probability_p(p):
    layer = AdaptiveAugment()
    layer.p.fill_(p)
    x = torch.rand(6000, 3, 8, 8)
    same = float((layer(x) == x).flatten(1).all(1).float().mean())
    stays = (1 - p / 2) * (1 - p * 3 / 4) * (1 - p * 3 / 4) * (1 - p) ** 3  # mirror, turn, move by -1, 0 or 1, color
    assert same == pytest.approx(stays, abs=0.02)
    assert torch.equal(layer.eval()(x), x)


def test_turning_and_mirroring_reach_all_eight_positions():
    layer = AdaptiveAugment()
    layer.p.fill_(1.0)
    ramp = torch.arange(8.0) - 3.5
    x = (ramp[:, None] + 10 * ramp).expand(400, 3, 8, 8)
    y = layer(x).mean(1)
    y = y - y.mean((1, 2), keepdim=True)
    across = (y[:, :, 5] - y[:, :, 2]).mean(1)
    downsampling = (y[:, 5] - y[:, 2]).mean(1)
    flat = across.abs() > downsampling.abs()
    assert len({(bool(f), bool(a > 0), bool(d > 0)) for f, a, d in zip(flat, across, downsampling, strict=True)}) == 8


def test_p_takes_500_000_images_from_0_to_1():
    layer = AdaptiveAugment()
    for step in range(1, 1001):
        layer.observe(torch.ones(100), 500)
        layer.adapt()
        assert float(layer.p) == pytest.approx(step * 500 / 500_000, rel=1e-3)
    layer.observe(torch.ones(100), 500)
    layer.adapt()
    assert float(layer.p) == 1.0


def test_p_follows_the_sign_of_r_minus_its_target():
    layer = AdaptiveAugment(images=1000)
    layer.p.fill_(0.5)
    for wrong, expected in [(1, 0.6), (3, 0.5)]:  # of 10: r = .8, then r = .4, on both sides of .6
        scores = torch.cat([torch.rand(10 - wrong), -torch.rand(wrong)])
        layer.observe(scores, 100)
        layer.adapt()
        assert float(layer.p) == pytest.approx(expected)
        layer.adapt()  # nothing new, no step
        assert float(layer.p) == pytest.approx(expected)


def ada(images=400, **options):
    return gan(lambda G, D, **rest: ADA(G, D, AdaptiveAugment(images=images), **rest), **options)


def test_p_rises_when_the_discriminator_overfits():
    """Sixteen images and a generator that stands still: D learns them by heart."""
    adam = lambda lr: lambda weights: torch.optim.Adam(weights, lr=lr, betas=(0.5, 0.999))  # noqa: E731
    rates = {"discriminator": adam(1e-2), "generator": adam(1e-12)}
    judge = referee(ada(), images(16), optimizers=rates)
    told = play(judge, 120)
    p = [move["augment_p"] for moves in told for move in moves if "augment_p" in move]
    assert p[:5] == [0.0] * 4 + [pytest.approx(p[4])]  # it may move before every fourth round
    assert p[-1] > 0.5
    still = referee(ada(), images(16), optimizers={"discriminator": adam(1e-12), "generator": adam(1e-12)})
    assert play(still, 120)[-1][0]["augment_p"] < 0.1


@pytest.mark.parametrize("joint_batch", [True, False])
def test_the_discriminator_sees_augmented_images_only(joint_batch):
    system = gan(lambda G, D, **rest: ADA(G, D, AdaptiveAugment(), joint_batch=joint_batch, **rest))
    system.augment.forward = lambda x: x + 100
    shown = Seen()
    system.D = nn.Sequential(shown, system.D)
    referee(system).play()
    assert len(shown.inputs) == (2 if joint_batch else 3)
    assert all(float(x.min()) > 90 for x in shown.inputs)


def test_pieces_observe_what_the_whole_batch_observes():
    whole, pieces = referee(ada(10_000)), referee(ada(10_000), grad_accum=2)
    for judge in (whole, pieces):
        play(judge, 4)
        assert float(judge.system.augment.seen) == 4 * 16
    torch.testing.assert_close(pieces.system.augment.signs, whole.system.augment.signs)
    for judge in (whole, pieces):
        judge.system.augment.observe(torch.ones(3), 1000)  # far from the target, whatever came before
        play(judge, 1)
    assert float(whole.system.augment.p) == float(pieces.system.augment.p) == pytest.approx((64 + 1000) / 10_000)


def test_a_score_leads_where_real_images_are():
    least = ada()
    least.game = game("least-squares")
    torch.testing.assert_close(least.signed_margin(torch.tensor([0.4, 0.6])).sign(), torch.tensor([-1.0, 1.0]))
    swapped = ada()
    swapped.game = game("non-saturating", real_label=0.0, fake_label=1.0)
    torch.testing.assert_close(swapped.signed_margin(torch.tensor([-1.0, 1.0])), torch.tensor([1.0, -1.0]))


def test_wasserstein_scores_adapt_nothing():
    with pytest.raises(SparringError, match="ADA cannot use the wasserstein game: its scores have no neutral value"):
        ADA(nn.Linear(5, 2), nn.Linear(2, 1), AdaptiveAugment(), latent_dim=5, game=game("wasserstein"))


# Old fakes.


def replay(memory=3, **options):
    return gan(Replay, batch=16, shape=SHAPE, memory=memory, **options)


@pytest.mark.parametrize("resample_noise", [True, False])
def test_every_second_fake_is_an_old_one_from_the_pool(resample_noise):
    system = replay(resample_noise=resample_noise)
    made, shown = Seen(), Seen()
    system.G.append(made)
    system.D = nn.Sequential(shown, system.D)
    judge = referee(system)
    for round_number in range(6):
        pool, kept = system.pool.clone(), system.filled.clone()
        made.inputs.clear()
        shown.inputs.clear()
        judge.play()
        fake, judged = made.inputs[0], shown.inputs[1]

        assert torch.equal(judged[::2], fake[::2])
        for place in range(8):
            rows = [place + 8 * row for row in range(3)]
            possible = [pool[i] if kept[i] else fake[2 * place + 1] for i in rows]
            assert any(torch.equal(judged[2 * place + 1], image) for image in possible)

        pool[round_number % 3 * 8 : round_number % 3 * 8 + 8] = fake[1::2]
        assert torch.equal(system.pool, pool)
        assert int(system.filled.sum()) == 8 * min(round_number + 1, 3)
    old = [torch.equal(judged[2 * place + 1], fake[2 * place + 1]) for place in range(8)]
    assert not any(old)


def test_old_fakes_come_from_all_rounds_that_are_kept():
    system = replay(memory=4)
    system.pool[:] = torch.arange(4.0).repeat_interleave(8)[:, None, None, None]
    system.filled[:] = True
    second, place = system.odd_slots(16)
    shown = torch.cat([system.mix_in_replays(torch.full((16, *SHAPE), -1.0), second, place)[1::2] for _ in range(100)])
    rows, counts = shown[:, 0, 0, 0].unique(return_counts=True)
    assert rows.tolist() == [0, 1, 2, 3]
    assert all(abs(int(c) - 200) < 50 for c in counts)


def test_with_an_empty_pool_it_is_a_gan():
    plain, remembering = referee(gan(resample_noise=False)), referee(replay(resample_noise=False))
    assert play(plain, 1) == play(remembering, 1)
    assert play(plain, 3) != play(remembering, 3)


@pytest.mark.parametrize("resample_noise", [True, False])
def test_pieces_remember_what_the_whole_batch_remembers(resample_noise):
    whole = referee(replay(resample_noise=resample_noise).double())
    pieces = referee(replay(resample_noise=resample_noise).double(), grad_accum=2)
    play(whole, 6)
    play(pieces, 6)
    ours, theirs = state(pieces), state(whole)
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-9, atol=1e-12)


def test_odd_pieces_share_the_pool_too():
    make = lambda: gan(Replay, batch=30, shape=SHAPE, memory=3).double()  # noqa: E731
    whole, pieces = referee(make(), batch=30), referee(make(), batch=30, grad_accum=2)
    play(whole, 4)
    play(pieces, 4)
    assert int(pieces.system.filled.sum()) == 3 * 15
    torch.testing.assert_close(pieces.system.pool, whole.system.pool, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("make", [replay, ada])
def test_several_discriminator_steps_each_take_new_images(make):
    judge = referee(make(discriminator_steps=3))
    players = [[move["player"] for move in moves] for moves in play(judge, 2)]
    assert players == [["discriminator"] * 3 + ["generator"]] * 2
    assert judge.feeds[0].positions == {"train": 6}


@pytest.mark.parametrize("make", [replay, ada])
def test_what_is_remembered_is_resumed(make):
    straight, stopped, resumed = (referee(make()) for _ in range(3))
    play(straight, 7)
    play(stopped, 4)
    resumed.load_state(state_files(stopped), stopped.state_numbers())
    play(resumed, 3)
    ours, theirs = state(resumed), state(straight)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def state_files(judge):
    return {file: {k: v.clone() for k, v in named.items()} for file, named in judge.state_tensors().items()}


def test_a_batch_of_one_has_no_old_fakes():
    with pytest.raises(SparringError, match="choose --batch 2 or more"):
        gan(Replay, batch=1, shape=SHAPE, memory=3)


# Labels.


def test_labels_are_channels_that_nothing_else_touches():
    seen, blank = Seen(), nn.Module()
    blank.forward = torch.zeros_like
    network = LabelAsChannels(blank, nn.Sequential(seen, nn.Flatten()), classes=3, maps=2)
    network(torch.rand(4, 1, 28, 28), torch.tensor([0, 1, 2, 0]))
    shown = seen.inputs[0]
    assert shown.shape == (4, 3, 28, 28)
    assert float(shown[:, 0].abs().max()) == 0
    assert torch.equal(shown[0, 1:], shown[3, 1:])
    assert not torch.equal(shown[0, 1:], shown[1, 1:])
    small = network.spread(network.embedding(torch.tensor([1])))
    torch.testing.assert_close(shown[1:2, 1:], F.interpolate(small, size=28, mode="bilinear").detach())


def test_labels_are_numbers_of_the_code():
    network = LabelEmbeddingInput(nn.Identity(), classes=3, length=2)
    z, y = torch.randn(4, 5), torch.tensor([0, 1, 2, 0])
    assert torch.equal(network(z, y), torch.cat([z, network.embedding.weight[y]], 1))


# The recipe.

SPEC = Spec(3, 28, 28, ("a", "b"))
TINY = {"width": 4, "batch": 8, "latent_dim": 6, "vbn_size": 4}
OTHERS = {
    "latent_dim": [1],
    "width": [3],
    "batch": [4],
    "layer_noise": [0.1],
    "generator_dropout": [0.5],
    "discriminator_dropout": [0.4],
    "instance_noise": [0.1],
    "instance_noise_rounds": [1],
    "mbstd_group": [2, 3],
    "packing": [2, 4],
    "discriminator_lr": [0.01],
    "generator_lr": [0.01],
    "beta1": [0.0],
    "replay": [1, 3],
    "label_channels": [2],
    "vbn_size": [2],
    "ema_decay": [0.0],
    "real_label": [0.0],
    "fake_label": [1.0],
    "label_smoothing": [0.2],
    "real_label_noise": [-0.3, 0.2],
    "fake_label_noise": [0.3],
    "label_flip_prob": [0.1],
    "discriminator_steps": [1, 2],
}
"""What is tried of arguments that are numbers; of the others every value is."""

TOGETHER = {
    "instance_noise_rounds": {"instance_noise": 0.5},
    "mbstd_group": {"minibatch": "std"},
    "dropout_at_sampling": {"generator_dropout": 0.5},
    "vbn_size": {"generator_norm": "virtual", "discriminator_norm": "virtual"},
    "game": {"label_smoothing": 0.0},
}
"""Arguments that do something only beside others."""


def values():
    for argument in arguments(RECIPE):
        if argument.group == "old":
            continue  # old players first play after a period: test_courses_gan
        kind = get_args(argument.type)[0]
        choices = get_args(kind) if get_origin(kind) is Literal else (True, False) if kind is bool else None
        for value in choices or OTHERS[argument.name]:
            yield pytest.param(argument.name, value, id=f"{argument.name}={value}")


def made(spec=SPEC, **given):
    torch.manual_seed(0)
    return build_recipe(RECIPE, spec, resolve_arguments(RECIPE, {**TINY, **given}))


def toy_data(spec=SPEC, count=30):
    pixels = torch.randint(0, 256, (count, *spec.shape), dtype=torch.uint8, generator=make_generator("toy"))
    return Dataset("toy", pixels, torch.arange(count) % 2, ("a", "b"))


def two_rounds(**given):
    """What two rounds told, samples after them, and the memory of the moving average."""
    data, recipe = toy_data(), made(**given)
    recipe.prepare(data)
    judge = Referee(
        recipe.system, {"train": data}, batch=recipe.batch, optimizers=recipe.optimizers, ema_decay=0, precision="bf16"
    )
    before = {k: v.detach().clone() for k, v in recipe.system.named_parameters()}
    told = play(judge, 2)
    moves = [*["discriminator"] * given.get("discriminator_steps", 1), "generator"]
    assert [[t["player"] for t in played] for played in told] == [moves] * 2
    moved = {k.split(".")[0] for k, v in recipe.system.named_parameters() if not torch.equal(v, before[k])}
    assert moved == {"G", "D"}
    fake = judge.ema_system.sample(5, seed=1)
    assert fake.shape == (5, 3, 28, 28)
    assert float(fake.abs().max()) <= 1
    assert torch.equal(fake, judge.ema_system.sample(5, seed=1))
    assert judge.ema_system.score(fake).shape == (5,)
    return told, fake.tolist(), recipe.ema_decay


PLAIN = cache(two_rounds)


@pytest.mark.parametrize(("name", "value"), list(values()))
def test_every_value_of_every_argument_plays_and_makes_a_difference(name, value):
    beside = TOGETHER.get(name, {})
    story = two_rounds(**beside, **{name: value})
    default = {a.name: a.default for a in arguments(RECIPE)} | TINY
    assert (story == PLAIN(**beside)) == (value == default[name])


def test_choices_are_the_tables():
    choices = {a.name: get_args(get_args(a.type)[0]) for a in arguments(RECIPE)}
    assert set(choices["upsampling"]) == set(UP)
    assert set(choices["downsampling"]) == set(DOWN)
    assert set(choices["generator_norm"]) == set(choices["discriminator_norm"]) == set(NORMS)
    assert set(choices["generator_activation"]) == set(choices["discriminator_activation"]) == set(ACTIVATIONS)
    assert set(choices["output"]) == set(OUTPUTS)
    assert {p for policy in choices["augment"] for p in policy.split("+")} == {"none", "adaptive", *POLICIES}


@pytest.mark.parametrize(
    ("size", "g", "d"), [(28, 766_017, 138_817), (32, 1_071_169, 661_697), (64, 3_583_297, 2_764_481)]
)
def test_parameters_of_the_recipe_as_it_comes(size, g, d):
    system = build_recipe(RECIPE, Spec(1, size, size), resolve_arguments(RECIPE, {})).system
    assert sum(p.numel() for p in system.G.parameters()) == g
    assert sum(p.numel() for p in system.D.parameters()) == d
    assert system.G(torch.randn(2, 100)).shape == (2, 1, size, size)


def test_packing_costs_the_first_layers_weights_only():
    count = lambda m: sum(p.numel() for p in made(packing=m).system.D.parameters())  # noqa: E731
    assert count(3) - count(2) == count(2) - count(1) == 3 * 4 * 4 * 4


@pytest.mark.parametrize("other", [{}, {"replay": 3}, {"augment": "adaptive"}])
def test_every_round_plays_by_the_rules(other):
    system = made(
        **other, noise="uniform", joint_batch=True, resample_noise=True, game="hinge", label_smoothing=0
    ).system
    assert (system.noise_distribution, system.joint_batch, system.resample_noise, system.game.name) == (
        "uniform",
        True,
        True,
        "hinge",
    )
    assert system.latent_dim == 6
    if "replay" in other:
        assert system.pool.shape == (3 * 4, 3, 28, 28)  # half of 8 images a round


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"replay": 2, "augment": "adaptive"}, "--replay and --augment adaptive cannot be combined"),
        ({"replay": 2, "label_channels": 2}, "--replay and --label-channels cannot be combined"),
        (
            {"label_channels": 2, "generator_norm": "virtual"},
            "virtual batch norm cannot be combined with --label-channels",
        ),
        ({"label_channels": 2, "joint_batch": True}, "--joint-batch cannot be combined"),
        ({"augment": "adaptive", "game": "wasserstein", "label_smoothing": 0}, "wasserstein game"),
        ({"augment": "cutup"}, "augment"),
    ],
)
def test_what_cannot_be_is_refused(given, words):
    with pytest.raises(SparringError, match=words):
        made(**given)


def test_labels_need_labeled_data():
    with pytest.raises(SparringError, match="the data has none"):
        made(Spec(1, 28, 28), label_channels=2)


def test_sizes_that_it_cannot_make_are_refused():
    with pytest.raises(SparringError, match="28, 32 or 64 pixels, not 30: give --size 28"):
        made(Spec(1, 30, 30))


def test_references_are_codes_and_real_images_in_packs():
    recipe, data = made(generator_norm="virtual", discriminator_norm="virtual", noise="uniform", packing=2), toy_data()
    recipe.prepare(data)
    of_g, of_d = (
        recipe.system.G.reference,
        next(m for m in recipe.system.D.modules() if isinstance(m, WithReferenceBatch)).reference,
    )
    assert of_g.shape == (4, 6)
    assert 0.5 < float(of_g.abs().max()) <= 1
    assert of_d.shape == (4, 6, 28, 28)
    real = {tuple(x.flatten().tolist()) for x in to_float(data.images)}
    assert all(tuple(x.flatten().tolist()) in real for pack in of_d for x in pack.chunk(2))


@pytest.mark.parametrize(
    ("name", "kind"), [("adam", torch.optim.Adam), ("sgd", torch.optim.SGD), ("rmsprop", torch.optim.RMSprop)]
)
@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_each_player_has_its_own_optimizer(name, kind, player):
    recipe = made(**{f"{player}_optimizer": name, f"{player}_lr": 0.125, "beta1": 0.25})
    for each in ("discriminator", "generator"):
        optimizer = recipe.optimizers[each]([nn.Parameter(torch.zeros(1))])
        assert type(optimizer) is (kind if each == player else torch.optim.Adam)
        assert optimizer.defaults["lr"] == (
            0.125 if each == player else {"discriminator": 2e-4, "generator": 1e-3}[each]
        )
        assert optimizer.defaults.get("betas", (0.25, 0.999)) == (0.25, 0.999)


# The page.

PAGE = (Path(__file__).parent.parent / "docs/tricks.md").read_text()
COMMANDS = sorted(set(re.findall(r"sparring train [^`|\n]+", PAGE)))


def test_the_parts_go_together_as_the_page_says():
    names = {}
    exec(re.search(r"```python\n(.*?)```", PAGE, re.DOTALL).group(1), names)
    assert names["D"](torch.randn(4, 1, 28, 28)).shape == (2, 1)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_page_is_one_that_its_recipe_takes(command):
    _, _, recipe, data, mnist, *flags = shlex.split(command)
    assert (data, mnist) == ("--data", "mnist")
    function = load_recipe(recipe, RECIPES)
    given = {}
    while flags:
        name = flags.pop(0).removeprefix("--")
        if flags and not flags[0].startswith("--"):
            given[name.replace("-", "_")] = flags.pop(0)
        else:
            given[name.removeprefix("no-").replace("-", "_")] = not name.startswith("no-")
    size = int(given.pop("size", 28))  # of the images, an option of every training
    known = {a.name: a.default for a in arguments(function)}
    settled = resolve_arguments(function, given)
    assert all(settled[name] != known[name] for name in given), "the command changes nothing"
    build_recipe(function, Spec(1, size, size, tuple("0123456789")), settled)
