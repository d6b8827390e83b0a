"""pix2pix: networks counted exactly, a round by hand, pairs that stay together, edges against loops, refusals."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import one_line
from PIL import Image
from torch import nn

import sparring
from sparring.cli import main
from sparring.data.dataset import Dataset, Spec
from sparring.data.edges import edges
from sparring.data.feed import Feed
from sparring.data.pairs import match_names
from sparring.data.pixels import to_float
from sparring.evaluation import evaluate
from sparring.networks.noise import Dropout
from sparring.networks.pix2pix import UNet, discriminator
from sparring.recipes import RECIPES
from sparring.recipes.meta import on_meta
from sparring.recipes.recipe import build_recipe, load_recipe, resolve_arguments
from sparring.run import Run
from sparring.seeds import make_generator as stream
from sparring.system import System
from sparring.systems.pix2pix import Pix2Pix
from sparring.training import resume, train

SHORT = {"width": 4, "batch": 2, "log_every": 1, "sample_every": 9, "quiet": True}


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("SPARRING_CACHE", str(tmp_path_factory.mktemp("cache")))


def randoms(*shape, seed=0):
    return torch.rand(shape, generator=stream("test", seed)) * 2 - 1


def recipe_of(data, **given):
    function = load_recipe("pix2pix", RECIPES)
    return build_recipe(function, data.spec, resolve_arguments(function, given))


def partners(count=40, size=16):
    """Random dark images, and the same ones 100 brighter."""
    dark = np.random.default_rng(5).integers(40, 110, (count, 1, size, size), dtype=np.uint8)
    return {"a": dark, "b": dark + 100}


# Networks.


@pytest.mark.parametrize(
    ("spec", "generator", "discriminator"),
    [
        (Spec(3, 256, 256, ("a", "b")), 54_413_955, 2_768_705),  # "54.414 M", "2.769 M" in the authors' PyTorch code
        (Spec(1, 64, 64, ("a", "b")), 29_237_889, 662_337),  # "29.238 M", "0.662 M"
    ],
)
def test_networks_have_the_authors_number_of_parameters(spec, generator, discriminator):
    function = load_recipe("pix2pix", RECIPES)
    system = on_meta(lambda: build_recipe(function, spec, resolve_arguments(function, {}))).system
    counts = [sum(p.numel() for p in network.parameters()) for network in (system.G, system.D)]
    assert counts == [generator, discriminator]


def test_initial_weights_are_the_authors():
    for network in (UNet(3, 32, 4), discriminator(6, 32)):
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                assert float(layer.weight.detach().std()) == pytest.approx(0.02, rel=0.15)
                assert layer.bias is None or not layer.bias.any()
            if isinstance(layer, nn.InstanceNorm2d):
                gains = layer.weight.detach()
                assert (float(gains.mean()), float(gains.std())) == pytest.approx((1, 0.02), abs=0.012)
                assert not layer.bias.any()


@pytest.mark.parametrize("skips", [True, False])
def test_the_unet_is_the_authors_layer_by_layer(skips):
    """The Lua code, written out for three layers: leaky ReLU before the encoder's layers, ReLU before the decoder's."""
    G = UNet(2, 3, 3, dropout=0.0, skips=skips)
    for p in G.parameters():
        nn.init.normal_(p, 0.0, 0.3)
    weights = dict(G.named_parameters())

    def normed(x, name):
        mean, variance = x.mean((2, 3), keepdim=True), x.var((2, 3), correction=0, keepdim=True)
        x = (x - mean) / (variance + 1e-5).sqrt()
        return x * weights[f"{name}.weight"][:, None, None] + weights[f"{name}.bias"][:, None, None]

    def down(x, name):
        return F.conv2d(x, weights[f"{name}.weight"], stride=2, padding=1)

    def up(x, name):
        bias = weights.get(f"{name}.bias")
        return F.conv_transpose2d(F.relu(x), weights[f"{name}.weight"], bias, stride=2, padding=1)

    def joined(x, skip):
        return torch.cat([x, skip], 1) if skips else x

    x = randoms(2, 2, 8, 16)
    e1 = down(x, "down.0")
    e2 = normed(down(F.leaky_relu(e1, 0.2), "down.1.1"), "down.1.2")
    e3 = down(F.leaky_relu(e2, 0.2), "down.2.1")  # not normalized
    d1 = normed(up(e3, "up.0.1"), "up.0.2")
    d2 = normed(up(joined(d1, e2), "up.1.1"), "up.1.2")
    expected = torch.tanh(up(joined(d2, e1), "up.2.1"))
    torch.testing.assert_close(G(x), expected)


def test_dropout_is_in_the_first_three_decoder_layers_also_when_translating():
    G = UNet(1, 2, 6).eval()
    assert [any(isinstance(part, Dropout) for part in layer) for layer in G.up] == [True] * 3 + [False] * 3
    assert [any(isinstance(part, Dropout) for part in layer) for layer in UNet(1, 2, 2).up] == [True, False]
    same = randoms(1, 1, 64, 64).expand(2, -1, -1, -1)
    first, second = G(same)
    assert not torch.equal(first, second)
    first, second = UNet(1, 2, 6, dropout=0.0).eval()(same)
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize(("d_layers", "patch"), [(1, 16), (2, 34), (3, 70)])
def test_a_score_sees_a_patch(d_layers, patch):
    D = discriminator(1, 2, d_layers)
    for i, layer in enumerate(D):
        if isinstance(layer, nn.InstanceNorm2d):  # it looks at the whole image
            D[i] = nn.Identity()
    for p in D.parameters():
        nn.init.constant_(p, 0.1)
    x = torch.ones(1, 1, 128, 128, requires_grad=True)
    score = D(x)
    score[0, 0, score.shape[2] // 2, score.shape[3] // 2].backward()
    rows, columns = (x.grad[0, 0].abs().sum(dim) > 0 for dim in (0, 1))
    assert (int(rows.sum()), int(columns.sum())) == (patch, patch)


@pytest.mark.parametrize(
    ("size", "depth", "d_layers"),
    [(256, 8, 3), (512, 8, 3), (128, 7, 3), (96, 5, 2), (64, 6, 2), (32, 5, 1), (28, 2, 1)],
)
def test_networks_fit_the_images(size, depth, d_layers):
    recipe = recipe_of(Dataset("x", torch.zeros(2, 1, size, size), torch.arange(2), ("a", "b")), width=1)
    system = recipe.system
    assert (len(system.G.down), len(system.G.up), system.side_multiple) == (depth, depth, 2**depth)
    assert sum(isinstance(layer, nn.InstanceNorm2d) for layer in system.D) == d_layers


# The round.


def toy(to=1, **options):
    torch.manual_seed(1)
    G, D = UNet(1, 4, 2, dropout=0.0), discriminator(2, 4, 1)
    return Pix2Pix(G, D, lambda_l1=100.0, to=to, channels=1, side_multiple=4, **options)


@pytest.mark.parametrize("to", [1, 0])
def test_a_round_is_the_papers(to):
    system = toy(to)
    a, b = randoms(3, 1, 8, 8, seed=1), randoms(3, 1, 8, 8, seed=2)
    x, y = (a, b) if to else (b, a)
    moves = system.round(lambda name: ({"pairs": torch.cat([a, b], 1)}[name], None))
    first = next(moves)
    G, D = system.G, system.D
    real, fake = (torch.sigmoid(D(torch.cat([x, image], 1))) for image in (y, G(x)))
    expected = -(real.log().mean() + (1 - fake).log().mean()) / 2
    assert first.player == "discriminator"
    torch.testing.assert_close(first.loss, expected)
    first.loss.backward()
    assert all(p.grad is None for p in G.parameters())

    with torch.no_grad():  # the step of D comes between: G meets the new D
        for p in D.parameters():
            p.add_(0.05)
    second = next(moves)
    fooled = -torch.sigmoid(D(torch.cat([x, G(x)], 1))).log().mean()
    l1 = (G(x) - y).abs().mean()
    assert second.player == "generator"
    torch.testing.assert_close(second.loss, fooled + 100 * l1)
    torch.testing.assert_close(second.numbers, {"adversarial": fooled, "l1": l1})
    assert list(moves) == []


def test_l1_alone_has_no_adversarial_gradient():
    system = toy(lambda_adversarial=0.0)
    a, b = randoms(2, 1, 8, 8, seed=1), randoms(2, 1, 8, 8, seed=2)
    moves = system.round(lambda name: (torch.cat([a, b], 1), None))
    next(moves)
    torch.testing.assert_close(next(moves).loss, 100 * (system.G(a) - b).abs().mean())


def test_equilibrium_is_log_2():
    half = torch.zeros(2, 1, 3, 3)
    assert toy().equilibrium()["discriminator"] == pytest.approx(math.log(2))
    assert float(F.softplus(half).mean()) == pytest.approx(math.log(2))


def test_translations_go_one_way_and_repeat():
    torch.manual_seed(0)
    system = Pix2Pix(UNet(1, 4, 3), discriminator(2, 4, 1), lambda_l1=100.0, channels=1, side_multiple=8)
    x = randoms(3, 1, 8, 24)
    made = system.translate(x, 1)
    assert made.shape == x.shape
    assert torch.equal(made, system.translate(x, 1))
    one_line(lambda: system.translate(x, 0), "translates to domain 1 only, not to 0")
    one_line(lambda: system.translate(randoms(1, 3, 8, 8), 1), "(1, 3, 8, 8)")
    one_line(lambda: system.translate(randoms(1, 1, 12, 8), 1), "multiples of 8")


def test_a_resumed_run_goes_on_to_the_bit(tmp_path):
    """With dropout, crops and flips."""
    data = sparring.load(partners(20), pairs="names")
    straight = train("pix2pix", data, rounds=5, out=tmp_path / "a", **SHORT)
    stopped = train("pix2pix", data, rounds=3, out=tmp_path / "b", **SHORT)
    resumed = resume(stopped, rounds=5, data=data, quiet=True)
    assert straight.read("log") == resumed.read("log")
    first, second = (run.system().state_dict() for run in (straight, resumed))
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())


# Pairs stay together.


def test_pairs_stay_together_through_splits_shuffles_crops_and_flips():
    data = sparring.load(partners(), pairs="names", held_out=0.25)
    assert (len(data), len(data.held_out), data.classes) == (60, 20, ("a", "b"))
    for part in (data, data.held_out):
        assert torch.equal(part.of_class(0).images + 100, part.of_class(1).images)
        assert part.of_class(0).pixels.data_ptr() == data.pixels.data_ptr()  # no copy
    made = recipe_of(data, width=4)
    feed = Feed(made.streams(data, 0), 8, seed=3)
    seen = []
    for _ in range(6):
        a, b = feed("pairs")[0].chunk(2, 1)
        torch.testing.assert_close(b - a, torch.full_like(a, 100 / 127.5))
        seen.append(a)
    originals = to_float(data.of_class(0).images)
    flipped = torch.cat([originals, originals.flip(3)])
    exact = Feed({"pairs": data.pairs()}, 8, seed=3)("pairs")[0][:, :1]
    assert all((image == originals).flatten(1).all(1).any() for image in exact)
    assert not any((image == flipped).flatten(1).all(1).any() for image in seen[0])  # each was resized and cropped


def test_pairs_are_refused_where_there_are_none():
    data = sparring.load(partners())
    one_line(data.pairs, "has no pairs of images: load it with pairs='names', 'halves' or 'edges'")
    paired = sparring.load(partners(), pairs="names")
    one_line(paired.rows(torch.arange(10)).pairs, "has no pairs")
    assert paired.pairs().spec == Spec(2, 16, 16)
    assert paired.fingerprint == sparring.load(partners(), pairs="names").fingerprint


def save(folder, names, size=(8, 8), mode="L", shade=0):
    folder.mkdir(parents=True, exist_ok=True)
    for k, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        color = (shade + k,) * 3 if mode == "RGB" else shade + k
        Image.new(mode, size, color).save(folder / name)
    return str(folder)


def test_two_folders_are_paired_by_name(tmp_path):
    """Whatever the suffix, the order and the folder that all images share."""
    a = save(tmp_path / "x", ["1.png", "2.png", "10.png", "deep/1.png"])
    save(tmp_path / "y", ["all/deep/1.bmp", "all/10.bmp", "all/2.bmp", "all/1.bmp"], shade=100)
    data = sparring.load({"a": a, "b": str(tmp_path / "y")}, pairs="names", held_out=0)
    pairs = dict(zip(*(data.of_class(y).images.amax((1, 2, 3)).tolist() for y in range(2)), strict=True))
    assert pairs == {0: 103, 1: 102, 2: 101, 3: 100}
    again = sparring.load(**{name: value for name, value in data.source.items() if name != "size"})
    assert (again.fingerprint, data.name) == (data.fingerprint, "x-y")


def test_one_folder_of_two_folders_is_paired_by_name_with_its_test_set(tmp_path):
    for part, names in (("train", ["1.png", "2.png", "3.png"]), ("test", ["4.png"])):
        for domain, shade in (("maps", 10), ("photos", 110)):
            save(tmp_path / part / domain, names, shade=shade, mode="RGB")
    data = sparring.load(tmp_path, pairs="names", held_out=0)
    assert (len(data), data.classes, len(data.test)) == (6, ("maps", "photos"), 2)
    for part in (data, data.test):
        assert part.paired
        assert torch.equal(part.of_class(0).images + 100, part.of_class(1).images)


def test_a_damaged_image_is_skipped_with_its_partner(tmp_path):
    names = [f"{k}.png" for k in range(120)]
    a, b = save(tmp_path / "a", names), save(tmp_path / "b", names, shade=120)
    (tmp_path / "a" / "7.png").write_bytes(b"no image")
    data = sparring.load({"a": a, "b": b}, pairs="names", held_out=0)
    assert len(data) == 2 * 119
    assert torch.equal(data.of_class(0).images + 120, data.of_class(1).images)
    assert 127 not in data.of_class(1).images
    assert any("7.png" in note for note in data.notes)


def test_gray_and_color_are_both_color(tmp_path):
    a, b = save(tmp_path / "a", ["1.png", "2.png"]), tmp_path / "b"
    b.mkdir()
    for k in (1, 2):
        Image.new("RGB", (8, 8), (k, 0, 200)).save(b / f"{k}.png")
    data = sparring.load({"a": a, "b": str(b)}, pairs="names", held_out=0)
    assert data.spec.channels == 3
    assert data.of_class(1).images[:, 2].unique().tolist() == [200]


@pytest.mark.parametrize(("suffix", "tolerance"), [("png", 0), ("jpg", 2)])
def test_halves_are_left_and_right(tmp_path, suffix, tolerance):
    for k in range(3):
        pair = Image.new("L", (600, 300), 20 + k)
        pair.paste(Image.new("L", (300, 300), 220 + k), (300, 0))
        pair.save(tmp_path / f"{k}.{suffix}", quality=95)
    for size, expected in ((None, 300), (16, 16)):
        data = sparring.load(tmp_path, pairs="halves", size=size, held_out=0)
        assert data.spec == Spec(1, expected, expected, ("a", "b"))
        for y, shade in enumerate((20, 220)):
            error = data.of_class(y).images.float() - (shade + torch.arange(3.0))[:, None, None, None]
            assert float(error.abs().max()) <= tolerance


def test_edges_are_made_from_any_images(tmp_path):
    pixels = np.full((4, 1, 16, 16), 200, np.uint8)
    pixels[:, :, 4:12, 4:12] = 40
    data = sparring.load(pixels, pairs="edges", held_out=0)
    drawn, images = (data.of_class(y).images for y in range(2))
    assert data.classes == ("edges", "images")
    assert torch.equal(images, torch.from_numpy(pixels))
    assert drawn.unique().tolist() == [0, 255]
    outline = drawn[0, 0] == 0
    assert outline[4:12, 4:12].any()
    assert not outline[6:10, 6:10].any()
    assert not outline[:2].any()


def canny(image, sigma, low, high):
    """Canny's detector with loops, for one gray image in [0, 1]."""
    radius = math.ceil(3 * sigma)
    weights = [math.exp(-(k**2) / (2 * sigma**2)) for k in range(-radius, radius + 1)]
    height, width = image.shape

    def at(values, i, j, outside=None):
        if outside is not None and not (0 <= i < height and 0 <= j < width):
            return outside
        return values[min(max(i, 0), height - 1)][min(max(j, 0), width - 1)]

    places = [(i, j) for i in range(height) for j in range(width)]
    smooth = np.zeros_like(image)
    for i, j in places:
        for u, p in enumerate(weights, -radius):
            for v, q in enumerate(weights, -radius):
                smooth[i, j] += p * q * at(image, i + u, j + v) / sum(weights) ** 2
    strength, angle = np.zeros_like(image), np.zeros_like(image)
    for i, j in places:
        dy = sum(w * (at(smooth, i + 1, j + v) - at(smooth, i - 1, j + v)) for v, w in ((-1, 1), (0, 2), (1, 1))) / 8
        dx = sum(w * (at(smooth, i + v, j + 1) - at(smooth, i + v, j - 1)) for v, w in ((-1, 1), (0, 2), (1, 1))) / 8
        strength[i, j], angle[i, j] = math.hypot(dy, dx), math.degrees(math.atan2(dy, dx)) % 180
    ridge = np.zeros(image.shape, bool)
    for i, j in places:
        u, v = ((0, 1), (1, 1), (1, 0), (1, -1))[round(angle[i, j] / 45) % 4]
        after, before = at(strength, i + u, j + v, 0), at(strength, i - u, j - v, 0)
        ridge[i, j] = strength[i, j] > after and strength[i, j] >= before
    found = {(i, j) for i, j in places if ridge[i, j] and strength[i, j] >= high}
    waiting = list(found)
    while waiting:
        i, j = waiting.pop()
        for near in ((i + u, j + v) for u in (-1, 0, 1) for v in (-1, 0, 1)):
            if near in places and near not in found and ridge[near] and strength[near] >= low:
                found.add(near)
                waiting.append(near)
    return np.array([[(i, j) not in found for j in range(width)] for i in range(height)])


def test_edges_equal_cannys_with_loops():
    g = np.random.default_rng(3)
    blocks = g.integers(0, 256, (3, 1, 4, 5)).repeat(4, 2).repeat(3, 3).astype(np.uint8)
    made = edges(torch.from_numpy(blocks), sigma=0.8, low=0.06, high=0.15)
    for ours, image in zip(made, blocks, strict=True):
        np.testing.assert_array_equal(ours[0].numpy() > 0, canny(image[0] / 255, 0.8, 0.06, 0.15))
    assert not torch.equal(made, edges(torch.from_numpy(blocks), sigma=0.8, low=0.15, high=0.15))  # hysteresis matters


def test_edges_of_color_follow_the_color_that_changes_most():
    image = torch.full((1, 3, 12, 12), 100, dtype=torch.uint8)
    image[:, 2, :, 6:] = 220
    assert (edges(image)[0, 0] == 0).any()
    torch.testing.assert_close(edges(image)[:, :1], edges(image[:, 2:]))


# Refusals.


def test_partners_are_matched_whatever_the_order():
    assert match_names(["1.png", "2.png", "x/1.png"], ["y/x/1.jpg", "y/2.jpg", "y/1.jpg"], ("a", "b")) == [2, 1, 0]


def test_partners_that_are_missing_are_named():
    one_line(
        lambda: match_names(["1.png", "2.png"], ["1.png"], ("domain a", "domain b")), "1 of 3 images has no partner"
    )
    one_line(lambda: match_names(["1.png"], ["1.png", "x.png", "y.png"], ("domain a", "b")), "e.g. x in b")
    one_line(
        lambda: match_names(["1.png", "1.jpg"], ["1.png"], ("domain a", "b")), "two images in domain a are named 1"
    )


def test_pairs_that_do_not_fit_are_refused_in_one_line(tmp_path):
    a, b = save(tmp_path / "a", ["1.png", "2.png"]), save(tmp_path / "b", ["1.png", "3.png"])
    odd = save(tmp_path / "odd", ["1.png", "2.png"], size=(17, 8))
    three = tmp_path / "three"
    for name in "xyz":
        save(three / name, ["1.png"])
    dark = partners(20)

    def loading(source, pairs, **options):
        return lambda: sparring.load(source, pairs=pairs, **options)

    one_line(loading({"a": a, "b": b}, "names"), "2 of 4 images have no partner", "e.g. 2 in domain a")
    one_line(loading({"a": dark["a"], "b": dark["b"][:9]}, "names"), "20 and 9 images")
    one_line(loading({"a": "digits", "b": a}, "names"), "'digits' is a built-in data set, without file names")
    one_line(loading(str(three), "names"), "3 class folders", "--data-a X --data-b Y")
    one_line(loading({"a": a, "b": b}, "halves"), "one source, not from two")
    one_line(loading(odd, "halves"), "17 x 8 pixels: an odd width has no halves")
    one_line(loading("digits", "halves"), "image files", "'digits'")
    one_line(loading(a, "thirds"), "unknown kind of pairs 'thirds'", "names, halves, edges")
    one_line(loading(a, "edges", classes="x"), "omit classes")
    out = tmp_path / "runs"
    one_line(lambda: train("pix2pix", sparring.load(dark), d_layers=1, out=out), "has no pairs of images")
    one_line(lambda: train("pix2pix", a, pairs="edges", size=18, out=out), "multiple of 4", "not 18")
    one_line(lambda: train("pix2pix", dark["a"], pairs="edges", depth=5, out=out), "multiple of 32", "not 16")
    one_line(lambda: train("pix2pix", sparring.load(dark["a"]), out=out), "--pairs halves or edges")
    assert not out.exists()


# Measured, and as a user meets it.


class Known(System):
    """Translates to b only, perfectly."""

    players = {"nobody": ()}
    translates_to = (1,)

    def round(self, feed):
        yield

    def translate(self, images, to):
        assert to == 1
        return images + 100 / 127.5


def test_held_out_pairs_are_measured_in_the_one_direction():
    data = sparring.load(partners(100), pairs="names")
    found = {one.name: one for one in evaluate(Known(), data).measurements}
    assert [name.partition(" a to b")[0] for name in found] == [
        "identity distance",
        "translation FD-random-conv64@10",
        "paired L1",
        "paired SSIM",
    ]
    assert found["paired L1 a to b"].value == pytest.approx(0, abs=1e-6)
    assert (found["paired L1 a to b"].n, found["paired L1 a to b"].split) == (10, "held_out")
    assert found["paired L1 a to b"].floor == pytest.approx(100 / 255, rel=1e-4)
    assert found["paired SSIM a to b"].value == pytest.approx(1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("pix2pix")
    names = [f"{k}.png" for k in range(30)]
    a = save(place / "drawings", names, (16, 16))
    b = save(place / "pictures", names, (16, 16), shade=100)
    options = "--channels 1 --width 4 --rounds 2 --size 16 --batch 2"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARRING_CACHE", str(place / "cache"))
        main(["train", "pix2pix", "--data-a", a, "--data-b", b, *options.split(), "--out", str(place / "runs")])
        (path,) = (place / "runs").iterdir()
        yield path


def test_a_run_shows_input_output_and_target(run):
    assert run.name == "0001-pix2pix-drawings-pictures"
    page = (run / "report.html").read_text()
    assert "Inputs, outputs and targets" in page
    assert "reconstruction" not in page
    opened = Run.open(run)
    with Image.open(opened.samples()[2]) as picture:
        assert picture.size == (3 * 18 + 2, 3 * 18 + 2)  # 3 held-out pairs
        shown = torch.from_numpy(np.array(picture))
    held_out = opened.data().held_out
    assert torch.equal(shown[2:18, 2:18], held_out.of_class(0).images[0, 0])
    assert torch.equal(shown[38:54, 2:18], held_out.of_class(1).images[0, 0])


def test_translate_and_evaluate(run, tmp_path, capsys):
    folder = save(tmp_path / "in", ["1.png", "2.png"], (40, 20))
    main(["translate", str(run), folder, "--to", "b", "--out", str(tmp_path / "out")])
    assert "2 images translated to b" in capsys.readouterr().out
    with Image.open(tmp_path / "out" / "1.png") as made:
        assert made.size == (40, 20)
    main(["evaluate", str(run)])
    out = capsys.readouterr().out
    assert "paired L1 a to b" in out
    assert "cycle" not in out
    assert "b to a" not in out
    with pytest.raises(SystemExit):
        main(["translate", str(run), folder, "--to", "a", "--out", str(tmp_path / "other")])
    error = capsys.readouterr().err
    assert "translates to 'b' only: give --to b" in error
    assert error.count("\n") == 1


def test_only_recipes_of_two_domains_take_pairs(capsys):
    with pytest.raises(SystemExit):
        main(["train", "cs231n-mlp", "--data", "digits", "--pairs", "edges"])
    assert "unknown option '--pairs'" in capsys.readouterr().err


def test_check_data_knows_pairs(tmp_path, capsys):
    a, b = (
        save(tmp_path / "a", ["1.png", "2.png", "3.png"]),
        save(tmp_path / "b", ["1.bmp", "2.bmp", "3.bmp"], shade=99),
    )
    main(["check-data", a, "--pairs", "names", "--pairs-b", b, "--held-out", "1", "--preview", str(tmp_path / "p.png")])
    out = capsys.readouterr().out
    assert "a-b: 3 pairs, a and b" in out
    assert "8 x 8 pixels, gray; 2 pairs to train on, 1 held out" in out
    with Image.open(tmp_path / "p.png") as picture:
        shown = np.array(picture)
    assert shown.shape == (2 * 10 + 2, 2 * 10 + 2)
    assert (shown[2:10, 2:10] + 99 == shown[12:20, 2:10]).all()
    for given, words in (
        (["--pairs-b", b], "requires --pairs names"),
        (["--pairs", "halves", "--labels-from", "none"], "omit --labels-from"),
        (["--pairs", "names", "--pairs-b", str(tmp_path / "p.png")], "p.png"),
    ):
        with pytest.raises(SystemExit):
            main(["check-data", a, *given])
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1
