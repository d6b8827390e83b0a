"""CycleGAN: networks counted exactly, a round by hand, pools, two domains from anywhere, translations measured."""

import importlib.util
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

import sparring
from sparring.cli import main
from sparring.data.dataset import Dataset, Spec
from sparring.data.feed import Feed
from sparring.data.loading import load_pairs
from sparring.data.pixels import to_float, to_uint8
from sparring.data.transforms import ResizeAndCrop
from sparring.errors import SparringError
from sparring.evaluation import compare, evaluate
from sparring.metrics.ssim import structural_similarity
from sparring.networks.cyclegan import Residual, ScaleMatch, discriminator, foreground_fraction, generator
from sparring.recipes import RECIPES
from sparring.recipes.recipe import build_recipe, load_recipe, resolve_arguments
from sparring.recipes.schedules import linear_decay
from sparring.run import Run
from sparring.seeds import make_generator as stream
from sparring.system import System
from sparring.systems.cyclegan import CycleGAN, Pool
from sparring.training import resume, train

TINY = ["--channels", "1", "--width", "4", "--blocks", "1", "--d-layers", "1", "--rounds", "3", "--size", "16"]


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("SPARRING_CACHE", str(tmp_path_factory.mktemp("cache")))


def randoms(*shape, seed=0):
    return torch.rand(shape, generator=stream("test", seed)) * 2 - 1


def refused(call, *words):
    with pytest.raises(SparringError) as refusal:
        call()
    message = str(refusal.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


# Networks.


@pytest.mark.parametrize(
    ("network", "count"),
    [(generator(3), 11_378_179), (generator(3, blocks=6), 7_837_699), (discriminator(3), 2_764_737)],
)
def test_networks_have_the_authors_number_of_parameters(network, count):
    assert sum(p.numel() for p in network.parameters()) == count
    for name, weight in network.named_parameters():
        assert float(weight.detach().std()) == pytest.approx(0.02, rel=0.1) if "weight" in name else not weight.any()


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


def test_padding_is_by_reflection():
    x = randoms(1, 4, 6, 6)
    block = Residual(4)
    padded = F.pad(x, (1, 1, 1, 1), mode="reflect")
    conv = block.branch[1]
    torch.testing.assert_close(block.branch[:2](x), F.conv2d(padded, conv.weight, conv.bias))
    G = generator(3, 4, 1)
    for at in (0, -3):
        pad, conv = G[at], G[at + 1]
        x = randoms(1, conv.in_channels, 8, 8)
        expected = F.conv2d(F.pad(x, (3, 3, 3, 3), mode="reflect"), conv.weight, conv.bias)
        torch.testing.assert_close(conv(pad(x)), expected)


def test_images_of_any_size_that_is_a_multiple_of_4_are_translated_into_the_same_size():
    G = generator(1, 4, 1)
    for height, width in ((8, 8), (12, 20)):
        made = G(randoms(2, 1, height, width))
        assert made.shape == (2, 1, height, width)
        assert float(made.detach().abs().max()) <= 1


def test_a_translator_that_paints_on_top_starts_with_its_image():
    x = randoms(2, 1, 8, 8)
    network = generator(1, 4, 1, residual_output=True)
    last = network.body[-1]
    nn.init.zeros_(last.weight)
    torch.testing.assert_close(network(x), 0.95 * x)
    nn.init.constant_(last.bias, 100.0)
    assert float(network(x).detach().min()) == 1
    counted = sum(p.numel() for p in network.parameters())
    assert counted == sum(p.numel() for p in generator(1, 4, 1).parameters())


def test_a_zoom_enlarges_about_the_center():
    x = F.avg_pool2d(randoms(2, 1, 18, 26), 5, 1, 2)
    match_scale = ScaleMatch()
    torch.testing.assert_close(match_scale(x), x, atol=1e-5, rtol=0)
    match_scale.factor.fill_(2.0)
    resized = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(match_scale(x), resized[:, :, 9:27, 13:39])
    match_scale.factor.fill_(0.5)
    torch.testing.assert_close(match_scale(x)[:, :, 5:13, 7:19], F.avg_pool2d(x[:, :, 1:17, 1:25], 2))
    torch.testing.assert_close(match_scale(x)[:, :, ::17, ::25], x[:, :, ::17, ::25])  # the edge goes on


def test_a_translator_may_zoom_before_it_paints():
    plain, zooming = (
        generator(1, 4, 1, residual_output=True),
        generator(1, 4, 1, residual_output=True, match_scale=ScaleMatch()),
    )
    zooming[1].load_state_dict(plain.state_dict())
    zooming[0].factor.fill_(1.5)
    x = randoms(2, 1, 8, 12)
    torch.testing.assert_close(zooming(x), plain(zooming[0](x)))
    with torch.autocast("cpu", torch.bfloat16):
        assert zooming(x).isfinite().all()
    assert float(generator(1, 4, 1, match_scale=ScaleMatch())(100 * x).detach().abs().max()) <= 1
    assert sum(p.numel() for p in zooming.parameters()) == sum(p.numel() for p in plain.parameters())


def squares(count, side, color, background):
    """(count, 3, 20, 20) uint8: a square of that side on a background."""
    images = torch.full((count, 3, 20, 20), background, dtype=torch.uint8)
    at = (20 - side) // 2
    images[:, 0, at : at + side, at : at + side] = color
    return images


def test_how_much_is_filled_is_told_by_the_color_of_all_edges():
    assert foreground_fraction(squares(5, 8, 0, 255)) == pytest.approx(64 / 400)
    assert foreground_fraction(squares(5, 8, 255, 0)) == pytest.approx(64 / 400)
    assert foreground_fraction(squares(5, 8, 229, 255)) == pytest.approx(64 / 400)
    assert foreground_fraction(squares(5, 8, 230, 255)) == 0  # not more than a tenth
    for colors in ((0, 255), (255, 0)):
        some_whole = torch.cat([squares(3, 8, *colors), squares(2, 20, *colors)])
        assert foreground_fraction(some_whole) == pytest.approx((3 * 64 / 400 + 2) / 5)


def test_translators_zoom_to_the_size_of_the_other_domain(tmp_path):
    """And what was measured is in the weights, for a run that goes on or is opened."""
    for name, side in (("a", 8), ("b", 12)):
        (tmp_path / name).mkdir()
        for index, image in enumerate(squares(6, side, 0, 255)):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / name / f"{index}.png")
    domains = f"--data-a {tmp_path / 'a'} --data-b {tmp_path / 'b'}"
    given = f"{domains} --width 4 --blocks 1 --d-layers 1 --match-scale --lambda-identity 0"
    for name, first, last in (("whole", "4", "4"), ("parts", "2", "4")):
        out = tmp_path / name
        main(
            ["train", "cyclegan", *given.split(), "--batch", "2", "--size", "20", "--rounds", first, "--out", str(out)]
        )
        if first != last:
            main(["resume", str(next(out.iterdir())), "--rounds", last])
    whole, parts = (Run.open(next((tmp_path / name).iterdir())).system().state_dict() for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert float(whole["G.0.factor"]) == pytest.approx(12 / 8)
    assert float(whole["F.0.factor"]) == pytest.approx(8 / 12)


def test_where_a_domain_is_blank_nothing_is_zoomed():
    images = torch.cat([squares(4, 8, 0, 255), squares(4, 0, 0, 255)])
    data = Dataset("blank", images, torch.arange(8) // 4, ("a", "b"))
    recipe = load_recipe("cyclegan", RECIPES)
    made = build_recipe(
        recipe,
        data.spec,
        resolve_arguments(recipe, {"width": 4, "d_layers": 1, "match_scale": True, "lambda_identity": 0.0}),
    )
    made.prepare(data)
    assert float(made.system.G[0].factor) == float(made.system.F[0].factor) == 1
    with pytest.raises(SparringError, match="requires --lambda-identity 0"):
        build_recipe(recipe, data.spec, resolve_arguments(recipe, {"width": 4, "d_layers": 1, "match_scale": True}))


# The round.


def toy(pool_size=50, lambda_identity=0.5):
    torch.manual_seed(1)
    networks = [generator(1, 4, 1), generator(1, 4, 1), discriminator(1, 4, 1), discriminator(1, 4, 1)]
    return CycleGAN(*networks, lambda_cycle=10.0, lambda_identity=lambda_identity, pool_size=pool_size, shape=(1, 8, 8))


def test_a_round_is_the_papers():
    system = toy(pool_size=0)
    a, b = randoms(2, 1, 8, 8, seed=1), randoms(2, 1, 8, 8, seed=2)
    moves = system.round(lambda name: ({"a": a, "b": b}[name], None))
    translators = next(moves)
    G, T, DA, DB = system.G, system.F, system.DA, system.DB
    fools = ((DB(G(a)) - 1) ** 2).mean() + ((DA(T(b)) - 1) ** 2).mean()
    lambda_cycle = (T(G(a)) - a).abs().mean() + (G(T(b)) - b).abs().mean()
    same = (G(b) - b).abs().mean() + (T(a) - a).abs().mean()
    assert translators.player == "translators"
    torch.testing.assert_close(translators.loss, fools + 10 * lambda_cycle + 5 * same)
    torch.testing.assert_close(translators.numbers, {"adversarial": fools, "cycle": lambda_cycle, "identity": same})

    discriminators = next(moves)
    of_a = ((DA(a) - 1) ** 2).mean() / 2 + (DA(T(b)) ** 2).mean() / 2
    of_b = ((DB(b) - 1) ** 2).mean() / 2 + (DB(G(a)) ** 2).mean() / 2
    assert discriminators.player == "discriminators"
    torch.testing.assert_close(discriminators.loss, of_a + of_b)
    discriminators.loss.backward()
    assert all(p.grad is None for network in (G, T) for p in network.parameters())
    assert list(moves) == []

    without = next(toy(pool_size=0, lambda_identity=0).round(lambda name: ({"a": a, "b": b}[name], None)))
    torch.testing.assert_close(without.loss, fools + 10 * lambda_cycle)


def test_the_discriminators_judge_the_translations_that_the_first_move_made():
    system = toy(pool_size=0)
    a, b = randoms(1, 1, 8, 8, seed=1), randoms(1, 1, 8, 8, seed=2)
    moves = system.round(lambda name: ({"a": a, "b": b}[name], None))
    next(moves)
    fake_b, fake_a = system.G(a), system.F(b)
    with torch.no_grad():
        for network in (system.G, system.F):
            for weight in network.parameters():
                weight.add_(0.1)
    expected = (system.DB(fake_b) ** 2).mean() / 2 + ((system.DB(b) - 1) ** 2).mean() / 2
    expected = expected + (system.DA(fake_a) ** 2).mean() / 2 + ((system.DA(a) - 1) ** 2).mean() / 2
    torch.testing.assert_close(next(moves).loss, expected)


def by_the_book(fakes, chances, places, pool_size, pool):
    """The authors' pool, one image after the other, with a list."""
    shown = []
    for fake, u, v in zip(fakes, chances, places, strict=True):
        if len(pool) < pool_size:
            pool.append(fake)
            shown.append(fake)
        elif u < 0.5:
            k = int(v * pool_size)
            shown.append(pool[k])
            pool[k] = fake
        else:
            shown.append(fake)
    return shown


def test_the_pool_shows_old_translations_as_often_as_new_ones():
    pool, book = Pool(5, (1, 1, 1)), []
    old = 0
    for k in range(200):
        fakes = torch.arange(3 * k, 3 * k + 3).float().view(3, 1, 1, 1)
        draws = torch.rand(2, 3, generator=stream("pool", k))
        shown = pool.query(fakes, *draws)
        assert shown.flatten().tolist() == by_the_book(fakes.flatten().tolist(), *draws.tolist(), 5, book)
        old += int((shown < fakes).sum())
    assert pool.images.flatten().tolist() == book
    assert 240 < old < 360  # of 600
    assert set(pool.state_dict()) == {"images", "_extra_state"}
    assert torch.equal(Pool(0, (1, 1, 1)).query(fakes, *draws), fakes)


def test_pools_are_saved_and_a_resumed_run_goes_on_with_them(tmp_path):
    data = domains(20)
    options = {
        "width": 4,
        "blocks": 1,
        "d_layers": 1,
        "pool_size": 3,
        "batch": 2,
        "log_every": 1,
        "sample_every": 9,
        "quiet": True,
    }
    straight = train("cyclegan", data, rounds=6, out=tmp_path / "a", **options)
    stopped = train("cyclegan", data, rounds=4, out=tmp_path / "b", **options)
    saved = stopped.newest_checkpoint().tensors["system"]
    assert int(saved["pool_a._extra_state"]) == 3
    assert all(saved[f"pool_{side}.images"].flatten(1).any(1).all() for side in "ab")
    resumed = resume(stopped, rounds=6, data=data, quiet=True)
    assert straight.read("log") == resumed.read("log")


def test_the_rate_is_constant_then_falls_in_a_line():
    rate = [linear_decay(0.5, first=100, last=201)(r) for r in range(1, 203)]
    assert rate[:100] == [0.5] * 100
    assert rate[100] == pytest.approx(0.5 * 100 / 101)
    assert rate[149] == pytest.approx(0.5 * 51 / 101)
    assert rate[199] == pytest.approx(0.5 / 101)
    assert rate[200:] == [0, 0]


# Augmentation of a stream.


def test_resize_and_crop_cuts_a_window_out_of_the_larger_image():
    x = randoms(3, 2, 16, 16)
    larger = F.interpolate(x, (20, 20), mode="bicubic", antialias=True).clamp(-1, 1)
    draws = torch.tensor([[0.0, 0.0, 0.9], [0.999, 0.5, 0.9], [0.5, 0.999, 0.1]])
    first, second, third = ResizeAndCrop(1.25, hflip=True)(x, draws)
    torch.testing.assert_close(first, larger[0, :, :16, :16])
    torch.testing.assert_close(second, larger[1, :, 4:, 2:18])
    torch.testing.assert_close(third, larger[2, :, 2:18, 4:].flip(2))
    assert torch.equal(ResizeAndCrop(1.0, hflip=False)(x, draws), x)
    assert torch.equal(ResizeAndCrop(1.0, hflip=True)(x, draws)[2], x[2].flip(2))


def test_images_are_enlarged_as_pillow_does():
    pixels = np.random.default_rng(2).integers(60, 196, (16, 16), dtype=np.uint8)  # nothing beyond 0 to 255 arises
    larger = np.asarray(Image.fromarray(pixels).resize((32, 32), Image.Resampling.BICUBIC)).astype(np.float32)
    x = torch.from_numpy(pixels / 127.5 - 1).float()[None, None]
    for corner in (0.0, 0.999):
        made = (ResizeAndCrop(2.0, hflip=False)(x, torch.tensor([[corner, corner, 0.9]]))[0, 0] + 1) * 127.5
        window = larger[:16, :16] if corner == 0 else larger[16:, 16:]
        assert float((made - torch.from_numpy(window)).abs().max()) < 1.5  # with a = -3/4 it is 8


def test_a_batch_is_augmented_alike_whatever_came_before_and_in_pieces():
    data = replace(domains(40), augment=ResizeAndCrop(1.25, hflip=True))
    whole = Feed({"a": data}, 4, seed=3)
    batches = [whole("a")[0] for _ in range(3)]
    later = Feed({"a": data}, 4, seed=3)
    later.positions["a"] = 2
    assert torch.equal(later("a")[0], batches[2])
    pieces = [Feed({"a": data}, 4, seed=3, share=s, shares=2) for s in range(2)]
    for batch in batches:
        assert torch.equal(torch.cat([piece("a")[0] for piece in pieces]), batch)
    plain = Feed({"a": replace(data, augment=None)}, 4, seed=3)("a")[0]
    assert not torch.equal(plain, batches[0])
    same = Feed({"a": replace(data, index=None, pixels=data.images[:1].expand_as(data.images))}, 4, seed=3)
    assert not torch.equal(same("a")[0], same("a")[0])  # every batch is changed in its own way
    other = Feed({"b": data}, 4, seed=3)
    assert not torch.equal(other("b")[0], batches[0])


# Two domains.


def domains(count=40, size=16):
    """Dark images and light ones, half of them each; the pixels within are random."""
    pixels = np.random.default_rng(5).integers(0, 100, (count, 1, size, size), dtype=np.uint8)
    pixels[count // 2 :] += 150
    return sparring.load({"a": pixels[: count // 2], "b": pixels[count // 2 :]})


def folder(path, count, size=(16, 16), mode="RGB", shade=0):
    path.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        Image.new(mode, size, (shade + k,) * len(mode) if len(mode) > 1 else shade + k).save(path / f"{k}.png")
    return str(path)


def test_two_sources_become_one_labeled_data_set(tmp_path):
    data = sparring.load({"a": folder(tmp_path / "x", 20), "b": folder(tmp_path / "y", 30, shade=100)})
    assert data.spec == Spec(1, 16, 16, ("a", "b"))
    assert data.labels.tolist() == [0] * 18 + [1] * 27
    assert data.held_out.labels.tolist() == [0] * 2 + [1] * 3
    assert int(data.of_class(0).images.max()) < 100 <= int(data.of_class(1).images.min())
    assert len(data.of_class(1).held_out) == 3
    assert data.of_class(1).pixels.data_ptr() == data.pixels.data_ptr()  # no copy
    assert data.name == "x-y"


def test_streams_are_the_two_domains(tmp_path):
    data = domains()
    made = build_recipe(
        load_recipe("cyclegan", RECIPES),
        data.spec,
        resolve_arguments(load_recipe("cyclegan", RECIPES), {"d_layers": 1}),
    )
    streams = made.streams(data, 0)
    assert {name: len(part) for name, part in streams.items()} == {"a": 18, "b": 18}
    assert int(streams["a"].images.max()) < 100 < int(streams["b"].images.min())
    feed = Feed(streams, 4, seed=0)
    assert feed("a")[0].mean() < 0 < feed("b")[0].mean()
    assert feed("a")[1] is None


def test_domains_that_do_not_fit_are_refused_in_one_line(tmp_path):
    large, small = folder(tmp_path / "large", 20, (32, 32)), folder(tmp_path / "small", 20)
    gray, color = folder(tmp_path / "gray", 20, mode="L"), tmp_path / "color"
    for k in range(20):
        color.mkdir(exist_ok=True)
        Image.new("RGB", (16, 16), (k, 0, 200)).save(color / f"{k}.png")
    (tmp_path / "empty").mkdir()

    def both(a, b, **options):
        return lambda: train("cyclegan", {"a": a, "b": b}, out=tmp_path / "runs", quiet=True, **options)

    refused(both(large, small), "differ in size (a 32 x 32, b 16 x 16)", "--size")
    refused(both(gray, str(color), size=16), "differ in channels (a gray, b color)", "--channels")
    refused(both(small, str(tmp_path / "empty")), "no images in", "empty")
    refused(both(small, str(tmp_path / "nowhere")), "nowhere")
    refused(both(small, small, size=18), "not 18", "multiple of 4")
    refused(both(small, small, size=16), "not 16", "at least 24")
    refused(both(small, small, size=16, classes="1"), "omit classes")
    refused(both(small, small, size=16, d_layers=1, batch=19), "larger than the 18 images of 'a'")
    refused(lambda: train("cyclegan", small, out=tmp_path / "runs"), "--data-a X --data-b Y", "none")
    refused(lambda: train("cyclegan", domains().of_class(0), d_layers=1, out=tmp_path / "runs"), "0 images of 'b'")
    assert not (tmp_path / "runs").exists()


@pytest.mark.skipif(importlib.util.find_spec("sklearn") is None, reason="optdigits comes with scikit-learn")
def test_optdigits_come_with_scikit_learn():
    data = sparring.load("optdigits", held_out=0)
    assert data.spec == Spec(1, 8, 8, tuple("0123456789"))
    assert data.labels.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert (int(data.images.min()), int(data.images.max())) == (0, 255)
    assert sorted(set(data.images.unique().tolist())) == [round(v * 255 / 16) for v in range(17)]
    assert data.images[0, 0, 0].tolist() == [round(v * 255 / 16) for v in (0, 0, 5, 13, 9, 1, 0, 0)]
    middle, edge = data.images.float().mean(0)[0, 2:6, 2:6].mean(), data.images.float().mean(0)[0, :, 0].mean()
    assert middle > 10 * edge
    refused(lambda: train("cyclegan", {"a": "digits", "b": "optdigits"}), "a 28 x 28, b 8 x 8", "--size")
    both = sparring.load({"a": "digits", "b": "optdigits"}, size=28)
    assert (both.spec, len(both)) == (Spec(1, 28, 28, ("a", "b")), 4500 + 1617)


# What is measured.


class Known(System):
    """Translates by two given functions."""

    players = {"nobody": ()}

    def __init__(self, forth, back):
        super().__init__()
        self.ways = (back, forth)

    def round(self, feed):
        yield

    def translate(self, images, to):
        return self.ways[to](images)


def brightened(x):
    """Dark images become light ones: 150 of 255 more."""
    return x + 150 / 127.5


def darkened(x):
    return x - 150 / 127.5


@pytest.mark.parametrize(
    ("untranslated", "words"), [(3.888, "too few images (20)"), (5.8, "145% of the way to b"), (2.9, "too few images")]
)
def test_domains_that_the_features_do_not_distinguish_are_named(untranslated, words, monkeypatch):
    distances = itertools.cycle([2.9, untranslated, 3.8])
    monkeypatch.setattr("sparring.evaluation.domains.frechet_distance", lambda **sets: next(distances))
    found = evaluate(Known(brightened, darkened), domains(400), n=50)
    assert words in found["translation FD-random-conv64@20 a to b"].words


def test_a_right_translation_arrives_and_comes_back():
    found = evaluate(Known(brightened, darkened), domains(400), n=50)
    assert found["cycle error a to b to a"].value == pytest.approx(0, abs=1e-6)
    moved = found["identity distance a to b"]
    assert moved.value == pytest.approx(150 / 255, rel=1e-4)
    assert moved.words == ""
    arrived = found["translation FD-random-conv64@20 a to b"]
    assert arrived.value < 2 * arrived.floor
    assert any(f"{share}% of the way to b" in arrived.words for share in range(95, 106))
    noisy = found["cycle error with noise a to b to a"]
    assert noisy.words == "no hidden information"
    assert noisy.value == pytest.approx(0.02 * (2 / np.pi) ** 0.5, rel=0.05)  # the noise itself comes back


def test_a_lazy_copy_is_named_and_untranslated_images_are_no_nearer():
    found = evaluate(Known(lambda x: x + 0.01, lambda x: x - 0.01), domains(400), n=50)
    moved = found["identity distance a to b"]
    assert moved.value == pytest.approx(0.005, rel=1e-3)
    assert "lazy copy" in moved.words
    assert moved.floor > 0.3
    assert found["cycle error a to b to a"].value == pytest.approx(0, abs=1e-6)


def test_hidden_information_is_found():
    def hiding(x):
        """A light picture of nothing, in which the image is written a thousand times fainter."""
        return 0.5 + x / 1000

    def reading(y):
        return (y - 0.5) * 1000

    found = evaluate(Known(hiding, reading), domains(400), n=50)["cycle error with noise a to b to a"]
    assert found.words.startswith("hidden information")
    assert found.floor < 1e-3 < 0.1 < found.value


def test_paired_errors_stand_beside_copying():
    x = torch.randint(0, 100, (12, 1, 16, 16), dtype=torch.uint8, generator=stream("pairs"))
    pairs = (Dataset("a", x), Dataset("b", x + 150))
    found = evaluate(Known(brightened, lambda x: x), domains(400), n=50, pairs=pairs)
    forth, back = found["paired L1 a to b"], found["paired L1 b to a"]
    assert forth.value == pytest.approx(0, abs=1e-6)
    assert forth.floor == pytest.approx(150 / 255, rel=1e-4)
    assert (forth.words, back.words) == ("better than copying", "no significant difference from copying")
    assert found["paired SSIM a to b"].value == pytest.approx(1)
    assert found["paired SSIM b to a"].value < 0.9
    worse = evaluate(Known(lambda x: -x, lambda x: x), domains(400), n=50, pairs=(pairs[0], pairs[0]))
    assert worse["paired L1 a to b"].words == "worse than copying"


def test_ssim_equals_its_formula():
    generator = stream("ssim")
    x = torch.randint(0, 256, (3, 2, 13, 14), generator=generator).to(torch.uint8)
    y = (x.float() + 40 * torch.randn(x.shape, generator=generator)).clamp(0, 255).to(torch.uint8)
    places = np.arange(11) - 5
    window = np.exp(-(places[:, None] ** 2 + places**2) / (2 * 1.5**2))
    window /= window.sum()
    expected = []
    for one, other in zip(x.numpy().astype(float), y.numpy().astype(float), strict=True):
        values = []
        for c in range(2):
            for i in range(3):
                for j in range(4):
                    p, q = one[c, i : i + 11, j : j + 11], other[c, i : i + 11, j : j + 11]
                    m, n = (window * p).sum(), (window * q).sum()
                    v, w = (window * (p - m) ** 2).sum(), (window * (q - n) ** 2).sum()
                    k = (window * (p - m) * (q - n)).sum()
                    values.append(
                        (2 * m * n + 2.55**2) * (2 * k + 7.65**2) / ((m**2 + n**2 + 2.55**2) * (v + w + 7.65**2))
                    )
        expected.append(np.mean(values))
    np.testing.assert_allclose(structural_similarity(real=x, fake=y).numpy(), expected, rtol=1e-9)
    torch.testing.assert_close(structural_similarity(real=x, fake=x), torch.ones(3, dtype=torch.float64))
    refused(lambda: structural_similarity(real=x[..., :8], fake=x[..., :8]), "11 x 11")


def test_pairs_are_found_by_name(tmp_path):
    for side, names in (("a", "pqr"), ("b", "rsqx")):
        (tmp_path / side).mkdir()
        for name in names:
            Image.new("L", (8, 8), ord(name) + (side == "b")).save(tmp_path / side / f"{name}.png")
    first, second = load_pairs(tmp_path / "a", tmp_path / "b", size=8, channels=1)
    assert [chr(int(image.max())) for image in first.images] == ["q", "r"]
    assert torch.equal(second.images, first.images + 1)
    assert first.notes == ("3 images have no partner and were skipped",)
    (tmp_path / "c").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "c" / "z.png")
    refused(lambda: load_pairs(tmp_path / "a", tmp_path / "c", size=8, channels=1), "equal names")


def test_images_that_cannot_be_translated_are_named():
    system = toy()
    refused(lambda: system.translate(randoms(1, 1, 8, 8), 2), "domain 2")
    refused(lambda: system.translate(randoms(1, 3, 8, 8), 1), "(1, 3, 8, 8)")
    refused(lambda: system.translate(randoms(1, 1, 10, 8), 1), "multiples of 4")
    with torch.no_grad():
        torch.testing.assert_close(system.translate(randoms(60, 1, 8, 8), 1), system.G(randoms(60, 1, 8, 8)))
        torch.testing.assert_close(system.translate(randoms(2, 1, 8, 8), 0), system.F(randoms(2, 1, 8, 8)))


# As a user meets it.


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("cyclegan")
    a, b = folder(place / "horses", 30), folder(place / "zebras", 40, shade=100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARRING_CACHE", str(place / "cache"))
        main(["train", "cyclegan", "--data-a", a, "--data-b", b, *TINY, "--out", str(place / "runs")])
        (path,) = (place / "runs").iterdir()
        yield path


def test_training_on_two_folders_can_be_resumed_and_reported(run):
    assert run.name == "0001-cyclegan-horses-zebras"
    main(["resume", str(run), "--rounds", "4"])
    page = (run / "report.html").read_text()
    assert "Translations and reconstructions" in page
    assert Run.open(run).read("log") == [] or Run.open(run).config["rounds"] == 4
    with Image.open(Run.open(run).samples()[4]) as picture:
        assert picture.size == (3 * 18 + 2, 6 * 18 + 2)  # 3 held-out horses


def test_translations_keep_names_and_sizes(run, tmp_path, capsys):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name, size in (("one.png", (16, 16)), ("two.jpg", (50, 20)), ("deep.png", (7, 9))):
        Image.new("RGB", size, (10, 200, 30)).save(tmp_path / "in" / name)
    main(["translate", str(run), str(tmp_path / "in"), "--to", "b", "--out", str(tmp_path / "out")])
    said = capsys.readouterr()
    assert "3 images translated to b" in said.out
    assert "do not have the training size 16" in said.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["deep.png", "one.png", "two.jpg"]
    for name, size in (("one.png", (16, 16)), ("two.jpg", (50, 20)), ("deep.png", (7, 9))):
        with Image.open(tmp_path / "out" / name) as made, Image.open(tmp_path / "in" / name) as given:
            assert (made.size, made.format) == (size, given.format)

    system = Run.open(run).system()
    with Image.open(tmp_path / "in" / "one.png") as image:
        gray = np.asarray(image.convert("L"))
    expected = to_uint8(system.translate(to_float(torch.from_numpy(gray.copy())[None, None]), 1))[0, 0]
    with Image.open(tmp_path / "out" / "one.png") as made:
        np.testing.assert_array_equal(np.asarray(made), expected.numpy())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--to", "c", "--out", "OUT"], "unknown domain 'c' (possible: a, b)"),
        (["--to", "b", "--out", "IN"], "would be overwritten"),
        (["--to", "b", "--out", "IN/0.png"], "a file: give a folder"),
    ],
)
def test_wrong_requests_for_translations_get_one_line(run, tmp_path, capsys, arguments, words):
    folder(tmp_path / "in", 2)
    arguments = [a.replace("IN", str(tmp_path / "in")).replace("OUT", str(tmp_path / "out")) for a in arguments]
    with pytest.raises(SystemExit):
        main(["translate", str(run), str(tmp_path / "in"), *arguments])
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_bad_images_are_named_before_any_is_translated(run, tmp_path, capsys):
    folder(tmp_path / "in", 2)
    (tmp_path / "in" / "bad.png").write_bytes(b"no image")
    Image.new("RGB", (200, 2)).save(tmp_path / "in" / "long.png")
    with pytest.raises(SystemExit):
        main(["translate", str(run), str(tmp_path / "in"), "--to", "b", "--out", str(tmp_path / "out")])
    error = capsys.readouterr().err
    assert "cannot translate 2 of 4 images: bad.png" in error
    assert "long.png (200 x 2 pixels: one side is more than 16 times the other" in error
    assert not (tmp_path / "out").exists()


def test_evaluate_takes_pairs(run, tmp_path, capsys):
    a, b = folder(tmp_path / "a", 5), folder(tmp_path / "b", 5, shade=100)
    main(["evaluate", str(run), "--pairs-a", a, "--pairs-b", b])
    out = capsys.readouterr().out
    for name in (
        "cycle error a to b to a",
        "identity distance b to a",
        "translation FD-random-conv64@3 a to b",
        "paired L1 a to b",
    ):
        assert name in out
    with pytest.raises(SystemExit):
        main(["evaluate", str(run), "--pairs-a", a])
    assert "give both --pairs-a and --pairs-b" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data-a", "X"], "give both --data-a and --data-b"),
        (["--data", "X", "--data-b", "X"], "given: --data, --data-b"),
        ([], "given: none"),
    ],
)
def test_half_a_pair_of_domains_is_refused(capsys, arguments, words):
    with pytest.raises(SystemExit):
        main(["train", "cyclegan", *arguments])
    assert words in capsys.readouterr().err


def test_other_recipes_know_nothing_of_domains(capsys):
    with pytest.raises(SystemExit):
        main(["train", "cs231n-mlp", "--data-a", "x", "--data-b", "y"])
    assert "unknown option '--data-a'" in capsys.readouterr().err


def test_two_evaluations_of_translations_can_be_compared():
    """Both directions have an FD: each is compared with the same direction."""
    first, second = (evaluate(Known(forth, darkened), domains(400), n=50) for forth in (brightened, lambda x: x))
    found = {one.name: one for one in compare(first.as_dict(), second.as_dict())}
    assert found.keys() == {one.name for one in first.measurements}
    there, back = (found[f"translation FD-random-conv64@20 {way}"] for way in ("a to b", "b to a"))
    assert (there.first, there.second) == (first["translation FD a to b"].value, second["translation FD a to b"].value)
    assert there.first < there.second
    assert back.first == back.second
