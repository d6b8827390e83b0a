"""Exact parameter counts of the published networks, their shapes and their initial weights."""

import json

import pytest
import torch
from torch import nn

from sparring.data.dataset import Dataset, Spec
from sparring.errors import SparringError
from sparring.networks import chollet, cs231n, dcgan, gan, improved_gan, infogan, pacgan, smu, wgan_gp
from sparring.recipes import RECIPES
from sparring.recipes.recipe import build_recipe, load_recipe, resolve_arguments

GRAY28 = Spec(1, 28, 28)
CLASSES1000 = tuple(map(str, range(1000)))


def count(network):
    return sum(p.numel() for p in network.parameters())


def system(name, spec=GRAY28, **arguments):
    function = load_recipe(name, RECIPES)
    return build_recipe(function, spec, resolve_arguments(function, arguments)).system


@pytest.mark.parametrize(
    ("recipe", "spec", "arguments", "d", "g"),
    [
        ("cs231n-mlp", GRAY28, {}, 267009, 1952528),
        ("cs231n-mlp", GRAY28, {"latent_dim": 4}, 267009, 1858320),
        ("cs231n-lsgan", GRAY28, {}, 267009, 1952528),
        ("cs231n-dcgan", GRAY28, {}, 1102721, 6675009),
        ("cs231n-dcgan", GRAY28, {"latent_dim": 4}, 1102721, 6580801),
        ("raschka-mlp", GRAY28, {}, 100609, 114064),
        ("raschka-dcgan", Spec(3, 64, 64), {}, 2765633, 3576704),
        ("csc321-mlp", GRAY28, {}, 265701, 266284),
        ("goodfellow-mlp", GRAY28, {}, 1231441, 2503984),
        ("dcgan", Spec(3, 64, 64), {}, 2765568, 3576704),
        ("wgan", Spec(3, 64, 64), {}, 2765568, 3576704),
        ("wgan-gp", GRAY28, {}, 1030145, 1554177),
        ("r1gan", GRAY28, {}, 1030145, 1554177),
        ("r3gan", Spec(3, 32, 32), {}, 20683776, 20732160),
        ("wgan-gp-resnet", Spec(3, 32, 32), {}, 1053825, 1204483),
        ("dcgan", Spec(1, 64, 64), {}, 2763520, 3574656),
        ("biggan", Spec(3, 128, 128, CLASSES1000), {}, 87982370, 70433988),
        ("biggan-cifar", Spec(3, 32, 32, tuple("0123456789")), {}, 4207361, 4304387),
        ("biggan-deep", Spec(3, 128, 128, CLASSES1000), {}, 34590210, 50244484),
        ("chollet-frogs", Spec(3, 32, 32), {}, 790913, 6264579),
        ("smu-frogs", Spec(3, 32, 32), {}, 98401, 641667),
        ("smu-frogs-lsgan", Spec(3, 32, 32), {}, 98401, 641667),
        ("smu-frogs-wgan-gp", Spec(3, 32, 32), {}, 98401, 641667),
        ("ganhacks", GRAY28, {}, 138817, 766017),
    ],
)
def test_parameter_counts(recipe, spec, arguments, d, g):
    with torch.device("meta"):
        made = system(recipe, spec, **arguments)
    assert (count(made.D), count(made.G)) == (d, g)


def test_adams_epsilon_of_biggans_scripts():
    """1e-6 in the authors' scripts for ImageNet, the default 1e-8 in the one for CIFAR-10."""
    spec = Spec(3, 32, 32, tuple("0123456789"))
    for name, epsilon in (("biggan-small", 1e-6), ("biggan-cifar", 1e-8)):
        function = load_recipe(name, RECIPES)
        with torch.device("meta"):
            made = build_recipe(function, spec, resolve_arguments(function, {"width": 4}))
        weights = [nn.Parameter(torch.zeros(1))]
        assert {m(weights).defaults["eps"] for m in made.optimizers.values()} == {epsilon}, name


@pytest.mark.parametrize("size", [16, 32, 64, 128])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_dcgan_at_other_sizes(size, channels):
    G, D = dcgan.generator(10, 8, channels, size), dcgan.discriminator(8, channels, size)
    image = G(torch.randn(2, 10))
    assert image.shape == (2, channels, size, size)
    assert D(image).shape == (2, 1)


@pytest.mark.parametrize("recipe", ["cs231n-mlp", "raschka-mlp", "csc321-mlp", "goodfellow-mlp"])
def test_fully_connected_recipes_take_any_size(recipe):
    made = system(recipe, Spec(3, 12, 12))
    fake = made.G(torch.randn(5, made.latent_dim))
    assert fake.shape == (5, 3, 12, 12)
    assert float(fake.detach().abs().max()) <= 1
    assert made.D(fake).shape == (5, 1)


@pytest.mark.parametrize(
    ("recipe", "spec", "words"),
    [
        ("cs231n-dcgan", Spec(1, 32, 32), "--size 28"),
        ("dcgan", Spec(3, 60, 60), "16, 32, 64, 128 or 256 pixels, not 60: give --size 64"),
        ("wgan-gp", Spec(1, 32, 32), "--size 28"),
        ("r3gan", Spec(1, 28, 28), "give --size 32"),
        ("wgan-gp-resnet", Spec(1, 28, 28), "--size 32"),
    ],
)
def test_sizes_that_a_network_cannot_make_are_refused(recipe, spec, words):
    with pytest.raises(SparringError, match=words):
        system(recipe, spec)


def test_cs231n_starts_with_xavier_except_in_convolutions():
    G, D = cs231n.generator(96), cs231n.discriminator()
    linear = G[0].weight
    assert float(linear.detach().abs().max()) == pytest.approx((6 / (96 + 1024)) ** 0.5, rel=0.01)
    conv = D[0].weight
    assert float(conv.detach().abs().max()) == pytest.approx((1 / 25) ** 0.5, rel=0.05)  # PyTorch's own


@pytest.mark.parametrize("name", ["cs231n-mlp", "cs231n-lsgan"])
def test_the_fully_connected_ones_of_cs231n_start_as_their_cells_do_or_as_the_text_says(name):
    for xavier, bounds in ((False, (784**-0.5, 96**-0.5)), (True, ((6 / 1040) ** 0.5, (6 / 1120) ** 0.5))):
        made = system(name, xavier=xavier)
        first = [next(m.weight for m in net.modules() if isinstance(m, nn.Linear)) for net in (made.D, made.G)]
        assert [float(w.detach().abs().max()) for w in first] == pytest.approx(bounds, rel=0.01)


@pytest.mark.parametrize("name", ["cs231n-mlp", "cs231n-lsgan", "cs231n-dcgan", "goodfellow-mlp"])
def test_the_notebooks_learn_from_as_many_images_as_their_source(name):
    function = load_recipe(name, RECIPES)
    data = Dataset("toy", torch.zeros(60_000, 1, 1, 1, dtype=torch.uint8))
    few = data.rows(slice(0, 40_000))
    for given, sizes in (({}, (50_000, 40_000)), ({"n_images": 0}, (60_000, 40_000)), ({"n_images": 7}, (7, 7))):
        with torch.device("meta"):
            streams = build_recipe(function, GRAY28, resolve_arguments(function, given)).streams
        assert tuple(len(streams(d, 0)["train"]) for d in (data, few)) == sizes


def test_csc321_judges_one_joined_batch_by_the_mean_of_all():
    """The lecture's criterion(D(torch.cat([real, fake])), labels), real 0 and fake 1; then D(fake) against 0."""
    made = system("csc321-mlp")
    real, fake = torch.randn(8, 1), torch.randn(8, 1)
    labels = torch.cat([torch.zeros(8, 1), torch.ones(8, 1)])
    criterion = nn.BCEWithLogitsLoss()
    torch.testing.assert_close(made.game.discriminator(real, fake), criterion(torch.cat([real, fake]), labels))
    torch.testing.assert_close(made.game.generator(fake), criterion(fake, torch.zeros(8, 1)))
    assert made.joint_batch


def test_goodfellows_noise_is_uniform_with_variance_one():
    codes = system("goodfellow-mlp").codes(500, seed=0)
    assert 1.73 < float(codes.abs().max()) <= 3**0.5
    assert float(codes.var()) == pytest.approx(1, abs=0.02)


def test_radford_starts_normal():
    D = dcgan.discriminator(64, 3)
    assert float(D[5].weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    norm = next(m for m in D if isinstance(m, nn.BatchNorm2d))
    assert float(norm.weight.detach().mean()) == pytest.approx(1, abs=0.02)
    assert float(norm.weight.detach().std()) == pytest.approx(0.02, rel=0.3)


def test_gulrajani_starts_uniform_with_zero_biases():
    """Bounds computed from the authors' library: sqrt(3) times its standard deviation, for the published widths."""
    hidden = 0.072169  # 3x3, 128 to 128 maps
    bounds = {
        "G28": (wgan_gp.mnist_generator(128), [0.037689, 0.05, 0.070711, 0.168034]),
        "D28": (wgan_gp.mnist_critic(), [0.168034, 0.070711, 0.05, 0.038269]),
        "G32": (wgan_gp.resnet_generator(128), [0.052511, *[hidden, hidden, 0.153093] * 3, 0.071339]),
        "D32": (
            wgan_gp.resnet_critic(),
            [0.100887, hidden, 0.214013, hidden, hidden, 0.153093, *[hidden] * 4, 0.215666],
        ),
    }
    for name, (network, expected) in bounds.items():
        layers = [m for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)]
        assert [float(m.weight.detach().abs().max()) for m in layers] == pytest.approx(expected, rel=0.02), name
        assert all(not m.bias.detach().any() for m in layers), name


def corner_only(layer):
    """The layer with a kernel that has a single 1, in its upper left corner, for one feature map."""
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[0, 0, 0, 0] = 1
    return layer


def rows_seen(layers, side):
    """The shape that comes of an image whose rows are 1, 2, 3 ..., and which of them its first four are."""
    convolution = corner_only(next(m for m in layers if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)))
    image = torch.zeros(1, convolution.in_channels, side, side)
    image[0, 0] = torch.arange(1.0, side + 1)[:, None]
    seen = nn.Sequential(*layers)(image)[0, 0].detach()
    return tuple(seen.shape), seen[:4].amax(1).tolist()


def test_sides_are_halved_and_doubled_as_tensorflow_and_keras_do():
    """SAME: of what a kernel reaches beyond an image the smaller part lies above and to the left."""
    critic, made = wgan_gp.mnist_critic(1), wgan_gp.mnist_generator(1, 1)
    assert rows_seen(critic[1:3], 28) == ((14, 14), [0, 2, 4, 6])  # padded by one and two
    assert rows_seen(critic[4:6], 14) == ((7, 7), [0, 2, 4, 6])
    assert rows_seen(critic[7:8], 7) == ((4, 4), [0, 1, 3, 5])  # by two and two
    assert rows_seen(made[3:5], 4) == ((7, 7), [0, 2, 0, 3])
    assert rows_seen(made[6:8], 7) == ((14, 14), [0, 2, 0, 3])
    assert rows_seen(made[9:11], 14) == ((28, 28), [0, 2, 0, 3])
    for network in (pacgan.discriminator(1, 1), chollet.vae_encoder(2)[2:], smu.vae_encoder(2)[2:]):
        halvings = [i for i, layer in enumerate(network) if isinstance(layer, nn.ZeroPad2d)]
        for side, i in zip((28, 14), halvings, strict=False):
            assert rows_seen(network[i : i + 2], side) == ((side // 2, side // 2), [1, 3, 5, 7])  # by none and one
    assert len(halvings) == 2
    assert rows_seen(pacgan.discriminator(1, 1)[8:9], 7) == ((4, 4), [0, 2, 4, 6])  # by one and one
    doubling = pacgan.generator(1)
    assert rows_seen(doubling[4:5], 4) == ((7, 7), [0, 2, 0, 3])
    assert rows_seen(doubling[7:9], 7) == ((14, 14), [1, 0, 2, 0])
    assert rows_seen(doubling[11:13], 14) == ((28, 28), [1, 0, 2, 0])
    assert rows_seen(chollet.vae_decoder(2)[3:5], 14) == ((28, 28), [1, 0, 2, 0])


def test_the_courses_vaes_start_as_keras_does():
    """Bounds sqrt(6 / (fan in + fan out)), biases 0; Keras has a layer of its own for means and for log-variances."""
    torch.manual_seed(0)
    bounds = {
        chollet.vae_encoder(2): [0.142134, 0.083333, 0.072169, 0.072169, 0.021843, 0.420084],
        chollet.vae_decoder(2): [0.021869, 0.083333, 0.142134],
        smu.vae_encoder(2): [0.142134, 0.083333, 0.072169, 0.043519, 0.420084],
        smu.vae_decoder(2): [0.043727, 0.0625, 0.076547, 0.142134],
    }
    for network, expected in bounds.items():
        layers = [m for m in network if isinstance(m, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)]
        assert [float(m.weight.detach().abs().max()) for m in layers] == pytest.approx(expected, rel=0.02)
        assert all(not m.bias.detach().any() for m in layers)


def test_infogan_and_pacgan_start_as_in_their_authors_code():
    """N(0, .02), convolutions cut at two deviations (.88 of the deviation is left), biases 0; PacGAN's gains are 1."""
    torch.manual_seed(0)
    networks = [
        infogan.generator(74),
        infogan.trunk(),
        infogan.q_head(12),
        pacgan.generator(256),
        pacgan.discriminator(3, 16),
    ]
    for network, spread in zip(networks, (0.02, 0.02, 0.02, 0.0, 0.0), strict=True):
        for layer in network:
            bias = getattr(layer, "bias", None)
            assert bias is None or not bias.detach().any()
            if isinstance(layer, nn.Conv2d):
                assert float(layer.weight.detach().abs().max()) <= 0.04
            if isinstance(layer, nn.Linear | nn.ConvTranspose2d | nn.Conv2d) and layer.weight.numel() > 1000:
                std = 0.0176 if isinstance(layer, nn.Conv2d) else 0.02
                assert float(layer.weight.detach().std()) == pytest.approx(std, rel=0.08)
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                assert float(layer.weight.detach().mean()) == pytest.approx(1, abs=spread / 2)
                assert float(layer.weight.detach().std()) == pytest.approx(spread, rel=0.3)


def test_improved_gans_generator_starts_as_in_lasagne():
    network = improved_gan.generator(100, (1, 28, 28))
    weights = [w for w in network.parameters() if w.ndim == 2]
    bounds = [float(w.detach().abs().max()) for w in weights]
    assert bounds == pytest.approx([0.1, 0.077460, 0.068359], rel=0.001)  # sqrt(6 / (fan in + fan out))


def test_goodfellow_starts_at_the_mean_image():
    images = torch.randint(0, 256, (50, 1, 28, 28), dtype=torch.uint8)
    G = gan.generator(100, 1200, (1, 28, 28))
    assert float(G[0].weight.detach().abs().max()) == pytest.approx(0.05, rel=0.01)
    gan.init_bias_to_marginals(G, images)
    silent = G(torch.zeros(1, 100))
    torch.testing.assert_close((silent[0] + 1) / 2, images.float().mean(0) / 255, atol=1e-5, rtol=0)


def test_maxout_is_the_largest_of_its_pieces():
    layer = gan.Maxout(4, 3, 5)
    x = torch.randn(2, 4)
    for unit in range(3):
        rows = slice(unit * 5, unit * 5 + 5)
        pieces = x @ layer.linear.weight[rows].T + layer.linear.bias[rows]
        torch.testing.assert_close(layer(x)[:, unit], pieces.max(1).values)


def test_recipes_json_tells_the_counts(capsys):
    from sparring.cli import main

    main(["recipes", "cs231n-mlp", "--json"])
    config = json.loads(capsys.readouterr().out)
    assert config["networks"] == {"G": 1952528, "D": 267009}
    assert config["players"] == {"discriminator": ["D"], "generator": ["G"]}
    assert {a["name"]: a["default"] for a in config["arguments"]}["latent_dim"] == 96
