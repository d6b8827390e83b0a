"""ALAE: equalized layers, the three steps, shared squares, exact counts, growth, style mixing, both kinds found."""

import math
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from helpers import two_tone
from torch import nn
from toys import SHAPE, images, referee, state

import sparring
from sparring.data.dataset import Dataset, Spec
from sparring.data.pixels import to_float
from sparring.errors import SparringError
from sparring.losses import gradient_penalty
from sparring.networks import alae as mlp
from sparring.networks import style_alae as style
from sparring.networks.equalized import Conv2d, Linear
from sparring.recipes.alae import alae
from sparring.recipes.optimizers import shared_adam
from sparring.recipes.recipe import build_recipe, resolve_arguments
from sparring.recipes.style_alae import style_alae
from sparring.seeds import make_generator
from sparring.systems.alae import ALAE
from sparring.systems.style_alae import StyleALAE

PLAYERS = ALAE.players


def count(network):
    return sum(p.numel() for p in network.parameters())


def system(kind=ALAE, latent_dim=5, width=16, **options):
    torch.manual_seed(11)
    return kind(
        mlp.mapping(latent_dim, 2),
        mlp.generator(latent_dim, width, SHAPE),
        mlp.Encoder(SHAPE, width, latent_dim),
        mlp.discriminator(latent_dim, latent_dim),
        latent_dim=latent_dim,
        **options,
    )


def small_style(size=16, rounds_per_level=4, channels=1, **options):
    arguments = {"latent_dim": 6, "width": 4, "max_channels": 8, "mapping_layers": 2, "batch": 8, **options}
    torch.manual_seed(11)
    data = Spec(channels, size, size)
    return build_recipe(
        style_alae, data, resolve_arguments(style_alae, {"rounds_per_level": rounds_per_level, **arguments})
    )


def shared(players=PLAYERS, lr=2e-3):
    return dict.fromkeys(players, shared_adam(lr))


# Equalized layers.


def lreq_adam(weight, coefficient, lr=2e-3, beta=0.99, eps=1e-8):
    """The authors' step, written out: RMSProp with a correction, times a coefficient of each weight."""
    square, steps = torch.zeros_like(weight), 0

    def step(gradient):
        nonlocal square, steps
        steps += 1
        square = beta * square + (1 - beta) * gradient**2
        weight.sub_(lr * coefficient * math.sqrt(1 - beta**steps) * gradient / (square.sqrt() + eps))

    return step


@pytest.mark.parametrize(("gain", "speed"), [(math.sqrt(2), 1.0), (1.0, 1.0), (math.sqrt(2), 0.1)])
def test_plain_adam_on_an_equalized_layer_is_lreq_adam(gain, speed):
    torch.manual_seed(0)
    layer = Linear(7, 3, gain=gain, lr_multiplier=speed).double()
    s = gain * speed / 7**0.5
    weight, bias = (s * layer.weight).detach().clone(), (speed * layer.bias).detach().clone()
    theirs, theirs_bias = lreq_adam(weight, s), lreq_adam(bias, speed)
    adam = torch.optim.Adam(layer.parameters(), lr=2e-3, betas=(0.0, 0.99))
    for _ in range(5):
        x, upstream = torch.randn(4, 7).double(), torch.randn(4, 3).double()
        torch.testing.assert_close(layer(x), x @ weight.T + bias)
        (layer(x) * upstream).sum().backward()
        adam.step()
        adam.zero_grad()
        theirs(upstream.T @ x)
        theirs_bias(upstream.sum(0))
    torch.testing.assert_close((s * layer.weight).detach(), weight, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close((speed * layer.bias).detach(), bias, rtol=1e-6, atol=1e-9)


def test_plain_adam_on_an_equalized_convolution_is_lreq_adam():
    torch.manual_seed(0)
    layer = Conv2d(2, 3, 3).double()
    s = 2**0.5 / 18**0.5
    weight = (s * layer.weight).detach().clone()
    theirs = lreq_adam(weight, s)
    adam = torch.optim.Adam([layer.weight], lr=2e-3, betas=(0.0, 0.99))
    for _ in range(4):
        x, upstream = torch.randn(4, 2, 5, 5).double(), torch.randn(4, 3, 5, 5).double()
        (layer(x) * upstream).sum().backward()
        adam.step()
        adam.zero_grad()
        theirs(nn.grad.conv2d_weight(x, weight.shape, upstream, padding=1))
    torch.testing.assert_close((s * layer.weight).detach(), weight, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("speed", "std"), [(1.0, 1.0), (0.1, 10.0)])
def test_equalized_weights_start_with_one_variance_and_compute_with_hes(speed, std):
    torch.manual_seed(0)
    layer = Linear(300, 400, lr_multiplier=speed)
    assert float(layer.weight.detach().std()) == pytest.approx(std, rel=0.02)
    assert float(layer.bias.detach().abs().max()) == 0
    assert float(layer(torch.randn(200, 300)).detach().std()) == pytest.approx(2**0.5, rel=0.02)
    assert float(Conv2d(32, 64, 3)(torch.randn(8, 32, 9, 9)).detach()[..., 1:-1, 1:-1].std()) == pytest.approx(
        2**0.5, rel=0.03
    )


def test_resizing_convolutions_are_the_plain_ones_beside_a_repetition_or_a_mean():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6, 6).double()
    up, down, plain = (Conv2d(3, 5, 3, resize=resize).double() for resize in ("up", "down", "none"))
    for layer in (up, down, plain):
        layer.bias.data.normal_()
    kernel = 2**0.5 / 27**0.5
    torch.testing.assert_close(plain(x), F.conv2d(x, kernel * plain.weight, plain.bias, padding=1))
    repeated = F.interpolate(x, scale_factor=2)
    torch.testing.assert_close(up(x), F.conv2d(repeated, kernel * up.weight, up.bias, padding=1))
    torch.testing.assert_close(down(x), F.avg_pool2d(F.conv2d(x, kernel * down.weight, down.bias, padding=1), 2))


# The fully connected networks.


def test_parameter_counts_of_the_authors_networks():
    with torch.device("meta"):
        made = build_recipe(alae, Spec(1, 28, 28), resolve_arguments(alae, {})).system
    assert {n: count(getattr(made, n)) for n in "FGED"} == {"F": 15_300, "G": 1_905_424, "E": 1_904_690, "D": 7_650}
    assert made.gamma == 40  # of pixels in [-1, 1]: 10 of pixels in [0, 1]


def test_the_networks_are_those_of_the_authors():
    torch.manual_seed(0)
    made = build_recipe(alae, Spec(1, 28, 28), resolve_arguments(alae, {"width": 8, "latent_dim": 4})).system.double()

    def dense(layer, x, slope):
        y = x @ (layer.scale * layer.weight).T + layer.lr_multiplier * layer.bias
        return torch.where(y > 0, y, slope * y)

    def layers(network):
        return [m for m in network.modules() if isinstance(m, Linear)]

    w = z = torch.randn(5, 4).double()
    w = z / (z.square().mean(1, keepdim=True) + 1e-8).sqrt()
    for layer in layers(made.F):
        w = dense(layer, w, 0.2)
    torch.testing.assert_close(made.F(z), w)
    assert {layer.lr_multiplier for layer in layers(made.F) + layers(made.D)} == {0.1}
    assert {layer.lr_multiplier for layer in layers(made.G) + layers(made.E)} == {1.0}

    one, two, three = layers(made.G)
    unit = dense(three, dense(two, dense(one, w, 0.01), 0.01), 1.0).view(5, 1, 28, 28)
    torch.testing.assert_close(made.G(w), 2 * unit - 1)

    one, two, three = layers(made.E)
    hidden = dense(two, dense(one, unit.flatten(1), 0.2), 0.2)
    torch.testing.assert_close(made.E.features(2 * unit - 1), hidden)
    torch.testing.assert_close(made.E(2 * unit - 1), dense(three, hidden, 0.01))

    judged = w
    for layer in layers(made.D):
        judged = dense(layer, judged, 1.0)
    torch.testing.assert_close(made.D(w), judged[:, :1])


def test_gamma_is_for_pixels_from_0_to_1():
    made = build_recipe(alae, Spec(1, 4, 4), resolve_arguments(alae, {"width": 16, "gamma": 10.0})).system.double()
    x = torch.rand(6, 1, 4, 4).double()
    of_unit = gradient_penalty(lambda unit: made.score_logits(2 * unit - 1), x)
    torch.testing.assert_close(made.gamma * gradient_penalty(made.score_logits, 2 * x - 1), 10 * of_unit)


# The three steps.


class Watched(ALAE):
    """Notes after every move which networks it has changed, and which weights have a gradient left."""

    def round(self, feed):
        self.changed = []
        for move in super().round(feed):
            before = {k: v.clone() for k, v in self.named_parameters()}
            yield move
            moved = {k[0] for k, v in self.named_parameters() if not torch.equal(v, before[k])}
            self.changed.append((move.player, moved))
            assert all(p.grad is None for p in self.parameters())


def test_each_step_moves_its_players_only():
    judge = referee(system(Watched), optimizers=shared())
    judge.play()
    assert judge.system.changed == [
        ("discriminator", {"E", "D"}),
        ("generator", {"F", "G"}),
        ("autoencoder", {"E", "G"}),
    ]


@pytest.mark.parametrize("kind", [ALAE, StyleALAE])
def test_the_mapping_moves_in_step_three_if_asked(kind):
    made = system(kind, train_mapping=True)
    made.E.fade, made.G.layers = nn.Identity(), 1
    made.styles = lambda n: made.F(made.noise(n))
    judge = referee(made, optimizers=shared())
    *_, third = made.round(judge.feeds[0])
    assert made.players["autoencoder"] == ("E", "G", "F")
    assert ALAE.players["autoencoder"] == ("E", "G")
    assert all(g.abs().max() > 0 for g in torch.autograd.grad(third.loss, [*made.F.parameters()]))


@pytest.mark.parametrize("train_mapping", [False, True])
def test_three_rounds_agree_with_a_second_implementation(train_mapping):
    """Algorithm 1 with the authors' two optimizers, written out: equal losses, equal weights after three rounds."""
    judge = referee(system(gamma=3.0, train_mapping=train_mapping).double(), optimizers=shared())
    theirs = system().double()
    mapping, G, E, D = theirs.F, theirs.G, theirs.E, theirs.D
    encoder = torch.optim.Adam([*E.parameters(), *D.parameters()], lr=2e-3, betas=(0.0, 0.99))
    decoder = torch.optim.Adam([*G.parameters(), *mapping.parameters()], lr=2e-3, betas=(0.0, 0.99))

    def step(loss, *optimizers):
        encoder.zero_grad()
        decoder.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()

    for played in range(3):
        told = [float(t.numbers["loss"]) for t in judge.play()]
        draws = make_generator(0, "noise", played + 1)
        z1, z2, z3 = (torch.randn(16, 5, generator=draws).double() for _ in range(3))
        x = to_float(images().images[judge.feeds[0].rows("train", played)]).double().requires_grad_()

        real, fake = D(E(x)), D(E(G(mapping(z1)).detach()))
        (slope,) = torch.autograd.grad(real.sum(), x, create_graph=True)
        first = ((1 + fake.exp()).log() + (1 + (-real).exp()).log()).mean() + 3 / 2 * slope.square().sum(
            (1, 2, 3)
        ).mean()
        step(first, encoder)
        second = (1 + (-D(E(G(mapping(z2))))).exp()).log().mean()
        step(second, decoder)
        w = mapping(z3) if train_mapping else mapping(z3).detach()
        third = (w.detach() - E(G(w))).pow(2).sum() / w.numel()
        step(third, encoder, decoder)
        assert told == pytest.approx([loss.item() for loss in (first, second, third)], rel=1e-9)
    for (name, ours), other in zip(judge.system.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-7, atol=1e-10, msg=name)


def test_the_slope_moves_encoder_and_discriminator_by_its_second_order():
    """With linear E and D the slope is |A^T d|^2 everywhere: gradients 2 A A^T d in D and 2 d d^T A in E."""
    linear = {"bias": False, "dtype": torch.float64}
    moved = {}
    for gamma in (0.0, 4.0):
        torch.manual_seed(0)
        E = nn.Sequential(nn.Flatten(), nn.Linear(16, 5, **linear))
        D = nn.Linear(5, 1, **linear)
        G = nn.Sequential(nn.Linear(5, 16, **linear), nn.Unflatten(1, SHAPE))
        A, d = E[1].weight.detach().clone(), D.weight.detach().clone()
        sgd = dict.fromkeys(PLAYERS, lambda weights: torch.optim.SGD(weights, lr=0.1))
        judge = referee(ALAE(nn.Linear(5, 5, **linear), G, E, D, latent_dim=5, gamma=gamma), optimizers=sgd)
        steps = judge.system.round(judge.feeds[0])
        move = next(steps)
        move.loss.backward(inputs=judge.weights["discriminator"])
        moved[gamma] = E[1].weight.grad, D.weight.grad
        torch.testing.assert_close(move.numbers["gradient_penalty"], (d @ A).square().sum())
    torch.testing.assert_close(moved[4.0][0] - moved[0.0][0], 4 / 2 * 2 * d.T @ d @ A)
    torch.testing.assert_close(moved[4.0][1] - moved[0.0][1], 4 / 2 * 2 * d @ A @ A.T)


def test_losses_where_nobody_can_tell():
    made = system()
    for network in (made.D, made.F, made.E):
        for p in network.parameters():
            p.data.zero_()
    told = {t.player: t.numbers for t in referee(made, optimizers=shared()).play()}
    assert float(told["discriminator"]["loss"]) == pytest.approx(made.equilibrium()["discriminator"]) == 2 * math.log(2)
    blind = referee(deepcopy(made), optimizers=shared(lr=1e-12)).play()
    assert [float(t.numbers["loss"]) for t in blind] == pytest.approx(list(made.equilibrium().values()), abs=1e-6)


def test_two_pieces_equal_the_whole():
    whole = referee(system().double(), optimizers=shared())
    pieces = referee(system().double(), optimizers=shared(), grad_accum=2)
    for _ in range(3):
        whole.play()
        pieces.play()
    ours, theirs = state(pieces), state(whole)
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-9, atol=1e-12)


# Shared squares, saved and restored.


def test_a_weight_that_two_players_move_has_one_square():
    judge = referee(system(), optimizers=shared())
    judge.play()
    judge.play()
    slots = {player: optimizer.state for player, optimizer in judge.optimizers.items()}
    for p in judge.system.E.parameters():
        assert slots["discriminator"][p] is slots["autoencoder"][p]
        assert float(slots["autoencoder"][p]["step"]) == 4
    for p in judge.system.G.parameters():
        assert slots["generator"][p] is slots["autoencoder"][p]
    assert {float(slots["generator"][p]["step"]) for p in judge.system.F.parameters()} == {2}


@pytest.mark.parametrize("fresh", [True, False])
def test_a_restored_game_goes_on_as_if_it_had_not_been_stopped(fresh):
    judge = referee(system(), optimizers=shared())
    judge.play()
    judge.play()
    saved, numbers = deepcopy(judge.state_tensors()), deepcopy(judge.state_numbers())
    judge.play()
    wanted = state(judge)
    other = judge
    if fresh:
        other = referee(system(), optimizers=shared())
        other.play()
    other.load_state(saved, numbers)
    other.play()
    for name, value in state(other).items():
        assert torch.equal(value, wanted[name]), name


# What it can do beside playing.


def test_abilities():
    made = system(latent_dim=5)
    x = to_float(images().images)[:7]
    w = made.sample_latents(7, seed=3)
    torch.testing.assert_close(w, made.F(made.codes(7, 3)).detach())
    assert torch.equal(made.sample(7, seed=3), made.decode(w))
    assert torch.equal(made.reconstruct(x), made.decode(made.encode(x)))
    assert float(made.G(100 * w).detach().abs().max()) > 1
    assert float(made.decode(100 * w).abs().max()) == 1
    torch.testing.assert_close(made.score(x), made.D(made.E(x)).detach().flatten())
    torch.testing.assert_close(made.encode(x), made.E.code(made.features(x)).detach())
    assert made.features(x).shape == (7, 16)


def test_walks_are_straight_lines_between_codes_of_noise():
    made = system()
    (rows,) = made.traversals().values()
    assert rows.shape == (8, 15, 5)
    torch.testing.assert_close(torch.stack([rows[:, 0], rows[:, -1]]).flatten(0, 1), made.sample_latents(16))
    torch.testing.assert_close(rows[:, 7], (rows[:, 0] + rows[:, -1]) / 2)


def test_the_average_depends_on_images_not_on_rounds():
    for batch, ema_half_life, ema_decay in ((10_000, 10_000, 0.5), (128, 10_000, 0.5**0.0128), (50, 100, 0.5**0.5)):
        made = build_recipe(
            alae, Spec(1, 4, 4), resolve_arguments(alae, {"width": 4, "batch": batch, "ema_half_life": ema_half_life})
        )
        assert made.ema_decay == pytest.approx(ema_decay)


# Styles.


@pytest.mark.parametrize(
    ("size", "arguments", "counts"),
    [
        (1024, {"latent_dim": 512, "width": 16, "max_channels": 512}, (2_101_248, 24_118_379, 26_974_352, 525_825)),
        (128, {"latent_dim": 256, "width": 64, "max_channels": 256}, (526_336, 5_944_402, 6_625_600, 131_841)),
        (256, {"latent_dim": 512, "width": 64, "max_channels": 512}, (2_101_248, 23_984_981, 26_789_952, 525_825)),
    ],
)
def test_parameter_counts_of_the_style_networks(size, arguments, counts):
    """FFHQ, CelebA and CelebA-HQ as the authors configure them; their D has more outputs, which nothing uses."""
    with torch.device("meta"):
        made = build_recipe(style_alae, Spec(3, size, size), resolve_arguments(style_alae, arguments)).system
    assert tuple(count(getattr(made, n)) for n in "FGED") == counts


@pytest.mark.parametrize(
    ("played", "level", "blend"),
    [
        *((0, 0, 1), (99, 0, 1), (100, 1, 0), (110, 1, (1 - math.cos(math.pi / 5)) / 2), (125, 1, 0.5), (150, 1, 1)),
        *((199, 1, 1), (200, 2, 0), (225, 2, 0.5), (299, 2, 1), (300, 2, 1), (99_999, 2, 1)),
    ],
)
def test_levels_come_one_by_one_and_slowly(played, level, blend):
    assert style.level_and_blend(played, 3, 100) == (level, pytest.approx(blend))


def test_without_rounds_per_level_networks_are_full_grown():
    assert style.level_and_blend(0, 3, 0) == style.level_and_blend(7, 3, 0) == (2, 1.0)
    made = small_style(rounds_per_level=0)
    assert made.system.G(torch.randn(2, 6)).shape == (2, 1, 16, 16)
    assert made.rounds > 0


def grow(network, played):
    for layer in network.modules():
        if isinstance(layer, style.ProgressiveSchedule):
            layer.round_index = played


def test_nothing_jumps_when_a_level_begins():
    """The first round of a level shows the images and codes of the last round before it, twice the side."""
    made = small_style(size=16, rounds_per_level=10).system
    w, x = torch.randn(3, 6), torch.rand(3, 1, 16, 16) * 2 - 1
    for begins in (10, 20):
        for network in (made.G, made.E):
            grow(network, begins - 1)
        before, code, real = made.G(w), made.E(made.E.fade(x)), made.E.fade(x)
        for network in (made.G, made.E):
            grow(network, begins)
        torch.testing.assert_close(made.G(w), F.interpolate(before, scale_factor=2))
        torch.testing.assert_close(made.E.fade(x), F.interpolate(real, scale_factor=2))
        torch.testing.assert_close(made.E(made.E.fade(x)), code)
        for network in (made.G, made.E):
            grow(network, begins + 3)
        assert not torch.allclose(made.G(w), F.interpolate(before, scale_factor=2))
        assert not torch.allclose(made.E(made.E.fade(x)), code)
    grow(made.E, 25)
    assert torch.equal(made.E.fade(x), x)


@pytest.mark.parametrize(("played", "side"), [(0, 4), (5, 8), (9, 16), (50, 16)])
def test_images_are_small_while_training_and_of_full_size_in_evaluation(played, side):
    made = small_style(channels=3).system
    made.round_index = played
    x = torch.rand(2, 3, 16, 16) * 2 - 1
    small = made.E.fade(x)
    assert made.G(torch.randn(2, 6)).shape == small.shape == (2, 3, side, side)
    assert made.G.layers == 2 * (side.bit_length() - 2)
    w = made.E(small).detach()
    torch.testing.assert_close(made.encode(x), w)  # in evaluation mode E fades by itself
    assert made.decode(w).shape == (2, 3, 16, 16)
    torch.testing.assert_close(F.avg_pool2d(made.decode(w), 16 // side), made.G(w).detach().clamp(-1, 1))
    assert made.sample(3).shape == (3, 3, 16, 16)
    assert made.score(x).shape == (2,)
    torch.testing.assert_close(made.features(x), made.E.features(small).detach())


def test_styles_say_the_mean_and_deviation_of_every_map():
    torch.manual_seed(0)
    layer = style.StyleLayer(3, 4)
    w, x = torch.randn(2, 3), 5 * torch.randn(2, 4, 8, 8) + 2
    y, (scale, shift) = layer(x, w), layer.style(w).chunk(2, 1)
    torch.testing.assert_close(y.mean((2, 3)), shift, atol=1e-5, rtol=0)
    torch.testing.assert_close(y.std((2, 3), correction=0), (1 + scale).abs(), atol=1e-5, rtol=0)
    assert torch.equal(layer(x, w), y)  # the noise starts with weight 0
    layer.noise.data.fill_(1)
    assert not torch.allclose(layer(x, w), layer(x, w))


def test_the_encoder_sums_linear_maps_of_the_statistics_of_every_layer():
    made = small_style(size=8, rounds_per_level=0).system
    E, x = made.E, torch.rand(2, 1, 8, 8) * 2 - 1
    w = 0
    h = F.leaky_relu(E.features.from_image[1](x), 0.04)  # as in the authors' code, .2 twice
    for level in (1, 0):
        block = E.features.blocks[level]
        for layer, to_code in zip((block.conv, block.widen), E.styles[2 * level :], strict=False):
            h = F.leaky_relu(layer(h), 0.2)
            mean, std = h.mean((2, 3)), h.std((2, 3), correction=0)
            w = w + to_code(torch.cat([mean, std], 1))
            h = F.instance_norm(h, eps=1e-5)
    torch.testing.assert_close(E(x), w)


def test_a_new_level_of_the_encoder_comes_in_slowly_biases_included():
    """The authors' code blends the codes of the new level's statistics, not the statistics."""
    E = small_style(size=8, rounds_per_level=10).system.E
    for linear in E.styles:
        nn.init.constant_(linear.bias, 0.3)
    grow(E, 12)
    level, blend = E.features.growth.now()
    assert (level, blend) == (1, pytest.approx((1 - math.cos(0.4 * math.pi)) / 2))
    x = torch.rand(2, 1, 8, 8)
    present = E.features(x).split(E.sizes, 1)
    old, new = (sum(E.styles[i](present[i]) for i in part) for part in ((0, 1), (2, 3)))
    torch.testing.assert_close(E(x), old + blend * new)
    assert E(torch.zeros(1, 1, 8, 8).requires_grad_()).sum().backward() is None
    assert all(p.grad is None or p.grad.isfinite().all() for p in E.parameters())


class Noting(nn.Module):
    """A generator that notes the styles it is given."""

    layers = 6

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.given = []

    def forward(self, w):
        self.given.append(w.detach())
        flat = w if w.ndim == 2 else w.mean(1)
        return (self.scale * flat).repeat(1, 8)[:, :16].view(-1, *SHAPE)


class Eye(nn.Sequential):
    """An encoder that notes the mean of what it is shown; its real images become brighter by 10."""

    def fade(self, x):
        return x + 10

    def forward(self, x):
        self.shown = [*getattr(self, "shown", []), float(x.detach().mean())]
        return super().forward(x)


def noting(mixing):
    E = Eye(nn.Flatten(), nn.Linear(16, 5))
    return StyleALAE(nn.Linear(5, 5), Noting(), E, nn.Linear(5, 1), latent_dim=5, mixing=mixing)


@pytest.mark.parametrize(("mixing", "mixed"), [(0.0, 0.0), (0.6, 0.6 * 5 / 6), (1.0, 5 / 6)])
def test_some_images_have_two_codes(mixing, mixed):
    """The second code begins after 1 to 6 of 6 layers, each as often; after 6 it does not begin."""
    torch.manual_seed(0)
    made = noting(mixing)
    styles = made.styles(4000)
    assert styles.shape == (4000, 6, 5)
    change = (styles[:, 1:] != styles[:, :-1]).any(2)
    assert set(change.sum(1).tolist()) <= {0, 1}
    assert float(change.any(1).double().mean()) == pytest.approx(mixed, abs=0.03)
    if mixing:
        torch.testing.assert_close(change.double().mean(0), torch.full((5,), mixing / 6).double(), atol=0.03, rtol=0)
    (styles.sum()).backward()
    assert made.F.weight.grad is not None


def test_steps_one_and_two_mix_and_step_three_does_not():
    torch.manual_seed(0)
    made = noting(1.0)
    referee(made, optimizers=shared()).play()
    one, two, three = made.G.given
    assert one.shape == two.shape == (16, 6, 5)
    assert three.shape == (16, 5)
    assert not torch.equal(one, two)
    real, fake, of_the_slope, *others = made.E.shown
    assert real == of_the_slope > 9
    assert max(map(abs, [fake, *others])) < 1


def test_the_rounds_of_both_systems_are_one_where_nothing_is_mixed_or_faded():
    """Without mixing and fading the two pages say the same."""

    class AsStyle(nn.Module):
        layers = 1

        def __init__(self, G):
            super().__init__()
            self.G = G

        def forward(self, w):
            return self.G(w if w.ndim == 2 else w[:, 0])

    plain = system()
    other = system(StyleALAE, mixing=0.0)
    other.G, other.E.fade = AsStyle(other.G), lambda x: x
    drawn = torch.randn(3, 16, 5)
    codes = iter([*drawn, drawn[0], drawn[0], drawn[1], drawn[1], drawn[2]])
    plain.noise = other.noise = lambda n: next(codes)
    ours, theirs = (referee(made, optimizers=shared()).play() for made in (plain, other))
    assert [t.player for t in ours] == [t.player for t in theirs]
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.numbers, b.numbers)


def test_truncation_draws_codes_to_their_mean():
    made = small_style(size=32, rounds_per_level=0).system
    for block in made.G.blocks:  # louder, so that images differ
        block.conv.weight.data.mul_(3)
    whole, cut = made.sample(30, seed=1), made.sample(30, seed=1, truncation=0.3)
    assert torch.allclose(made.sample(30, seed=1, truncation=1.0), whole, atol=1e-5)
    assert float(cut.std(0).mean()) < 0.6 * float(whole.std(0).mean())
    assert float(made.sample(30, seed=1, truncation=0.0).std(0).max()) < 1e-5
    with pytest.raises(SparringError, match="truncation is 2: it must be from 0"):
        made.sample(3, truncation=2)


def test_truncation_leaves_the_layers_after_the_eighth_alone():
    made = small_style(size=64, rounds_per_level=0).system
    given = []
    made.G.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    made.sample(4, seed=1, truncation=0.5)
    w, center = made.sample_latents(4, seed=1), made.sample_latents(2000).mean(0)
    assert given[0].shape == (4, 10, 6)
    torch.testing.assert_close(given[0][:, :8], ((w + center) / 2)[:, None].expand(-1, 8, -1))
    torch.testing.assert_close(given[0][:, 8:], w[:, None].expand(-1, 2, -1))


@pytest.mark.parametrize(("size", "factor"), [(128, 1), (256, 4 / 3), (512, 2), (1024, 2)])
def test_the_rate_rises_with_the_images(size, factor):
    with torch.device("meta"):
        made = build_recipe(
            style_alae,
            Spec(3, size, size),
            resolve_arguments(style_alae, {"rounds_per_level": 10, "width": 4, "max_channels": 4}),
        )
    levels = style.levels_of(size)
    for schedule in made.schedules.values():
        assert schedule(1) == {"lr": 1.5e-3}
        assert schedule(10 * (levels - 1) + 1) == {"lr": pytest.approx(1.5e-3 * factor)}
        assert schedule(10 * (levels - 1))["lr"] <= 1.5e-3 * factor
    assert made.rounds == 20 * levels


def test_sizes_that_cannot_be_made_are_refused():
    with pytest.raises(SparringError, match="128, 256, 512 or 1024 pixels, not 28: give --size 32"):
        small_style(size=28)


def play_style(rounds, precision="fp32", **options):
    made = small_style(**options)
    pixels = torch.randint(0, 256, (64, 1, 16, 16), dtype=torch.uint8, generator=make_generator("style"))
    judge = referee(
        made.system,
        Dataset("style", pixels),
        batch=8,
        optimizers=made.optimizers,
        schedules=made.schedules,
        ema_decay=made.ema_decay,
        precision=precision,
    )
    for _ in range(rounds):
        judge.play()
    return judge


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_style_networks_play_through_all_levels(precision):
    judge = play_style(10, precision)
    assert judge.system.G.growth.now() == judge.system.E.features.growth.now() == (2, pytest.approx(0.5))
    assert all(bool(p.isfinite().all()) for p in judge.system.parameters())
    assert judge.ema_system.G.growth.now() == judge.system.G.growth.now()


def test_only_layers_that_are_grown_move():
    judge = play_style(0)
    before = {k: v.clone() for k, v in judge.system.named_parameters()}
    for _ in range(4):
        judge.play()
    still = {k for k, v in judge.system.named_parameters() if torch.equal(v, before[k])}
    assert {k for k in before if ".blocks.1." in k or ".blocks.2." in k} <= still
    assert "E.styles.2.weight" in still
    assert not {"G.start", "G.blocks.0.conv.weight", "E.features.blocks.0.conv.weight", "E.styles.1.weight"} & still


def test_a_run_keeps_how_far_its_networks_have_grown(tmp_path):
    pixels = torch.randint(0, 256, (80, 1, 16, 16), dtype=torch.uint8, generator=make_generator("style"))
    options = {"latent_dim": 6, "width": 4, "max_channels": 8, "mapping_layers": 1, "rounds_per_level": 6, "batch": 8}
    options |= {"quiet": True, "log_every": 1}
    data = Dataset("style", pixels)
    straight = sparring.train(style_alae, data, rounds=16, out=tmp_path / "a", **options)
    stopped = sparring.train(style_alae, data, rounds=9, out=tmp_path / "b", **options)
    name = straight.config["recipe"]
    shown = stopped.system(recipe=name)
    assert shown.G.growth.now() == style.level_and_blend(8, 3, 6)  # in round 9
    assert float(F.avg_pool2d(shown.sample(2), 2).std()) > 0
    resumed = sparring.resume(stopped, rounds=16, data=data, quiet=True, recipe=name)
    for file in ("log.jsonl", "weights/model.safetensors", "checkpoints/round-00000016/system.safetensors"):
        assert (straight.path / file).read_bytes() == (resumed.path / file).read_bytes(), file
    full = resumed.system(recipe=name)
    assert full.E.features.growth.now() == style.level_and_blend(15, 3, 6) == (2, 1.0)


# It works.


@pytest.mark.slow
def test_both_kinds_of_images_are_made_and_given_back():
    """The two-tone images: samples are of both kinds, and a code keeps which kind its image was."""
    torch.manual_seed(0)
    made = ALAE(
        mlp.mapping(8, 2),
        mlp.generator(8, 32, SHAPE),
        mlp.Encoder(SHAPE, 32, 8),
        mlp.discriminator(8, 8),
        latent_dim=8,
        gamma=0.3,
    )
    judge = referee(made, two_tone(), batch=64, seed=0, ema_decay=0.98, optimizers=shared(lr=0.01))
    for _ in range(500):
        judge.play()
    tone = judge.ema_system.sample(1000).mean((1, 2, 3))
    assert float((tone < -0.4).float().mean()) > 0.15
    assert float((tone > 0.4).float().mean()) > 0.15
    x = to_float(two_tone().images)
    again = judge.ema_system.reconstruct(x)
    assert float((again - x).square().mean()) < 0.12  # the mean image: .47
    assert torch.equal(again.mean((1, 2, 3)).sign(), x.mean((1, 2, 3)).sign())
