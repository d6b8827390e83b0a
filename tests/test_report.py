"""The report: one file, nothing from elsewhere, everything that the design promises."""

import base64
import html
import io
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import sparring
from sparring import plots
from sparring.data.dataset import Dataset
from sparring.data.pixels import to_float
from sparring.errors import SparringError
from sparring.evaluation import METRICS, Measurement
from sparring.evaluation.measurement import format_number
from sparring.evaluation.metrics import Metric
from sparring.evaluation.panel import complete
from sparring.evaluation.result import FORMAT
from sparring.image_grid import grid, png, reconstructions, with_row_labels
from sparring.recipes.recipe import Recipe, recipe
from sparring.reporting import report
from sparring.reporting.sections import plane_of
from sparring.run import Run
from sparring.seeds import derive_seed, make_generator
from sparring.system import Move, System
from sparring.systems.autoencoder import Autoencoder
from sparring.systems.classifier import Classifier
from sparring.training import train


@pytest.fixture(scope="module")
def run(toy_file, tmp_path_factory):
    return train(
        "csc321-mlp",
        toy_file,
        size=8,
        rounds=30,
        batch=16,
        latent_dim=8,
        out=tmp_path_factory.mktemp("runs"),
        quiet=True,
    )


def test_the_page_needs_nothing_from_elsewhere(run):
    page = report(run).read_text()
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page)
    assert not re.findall(r"url\((?!#)", page)
    assert "<script" not in page
    assert "@import" not in page


def test_the_page_shows_what_happened(run):
    page = report(run).read_text()
    assert page.count('src="data:image/webp;base64,') == 1  # growing
    assert page.count('src="data:image/png;base64,') == 2  # now, nearest training images
    assert page.count("<svg") == 6  # losses, mean scores, histogram, gradients, two distances
    for words in (
        "discriminator 0.693, generator 0.693",
        "floor",
        "Memorization.",
        "yield",
        "real, held-out",
        "csc321-mlp",
        "real_label",
    ):
        assert words in page, words
    sparring.evaluate(run.system(), run.data(), n=60)


def test_without_its_data_the_page_says_what_is_missing(tmp_path):
    pixels = torch.randint(0, 256, (600, 1, 8, 8), dtype=torch.uint8)
    data = Dataset("mine", pixels).hold_out(0.1)
    run = train("csc321-mlp", data, rounds=3, batch=16, out=tmp_path, quiet=True)
    page = report(run).read_text()
    assert "Sections that need images are omitted (score histogram, nearest training images)" in page
    assert "data created in memory" in page
    assert "are omitted" not in report(run, data=data).read_text()


def test_words_of_the_user_are_escaped(tmp_path):
    pixels = torch.randint(0, 256, (100, 1, 8, 8), dtype=torch.uint8)
    data = Dataset("<script>alert(1)</script>", pixels).hold_out(0.1)
    run = train("csc321-mlp", data, rounds=2, batch=16, out=tmp_path, quiet=True)
    assert "<script" not in report(run, data=data).read_text()


def test_grid_places_images_row_by_row():
    images = torch.full((5, 1, 2, 2), -1.0)
    images[3] = 1.0
    picture = grid(images, columns=2)
    assert picture.size == (2 * 4 + 2, 3 * 4 + 2)
    assert picture.getpixel((6, 6)) == 255  # the fourth: second row, second column
    assert picture.getpixel((2, 2)) == 0
    with pytest.raises(SparringError, match="a grid needs"):
        grid(torch.zeros(2, 5, 4, 4))


# Systems that can other things than GANs.

CLASSES = ("ape", "bee", "cat")
KL = torch.cat([torch.full((7,), 0.5), torch.full((13,), 0.009)])


class Known(System):
    """Every ability in closed form: what it says of an image stands in the image's own pixels, 0 to 255.

    Pixel 0 says the class, 1 how sure, 2 the cluster.
    """

    players = {"player": ("net",)}
    ema_networks = ("net",)

    def __init__(self, active):
        super().__init__()
        self.net = nn.Linear(1, 1)
        self.active = active

    def round(self, feed):
        feed("train")
        yield Move("player", self.net(torch.ones(1, 1)).square().mean(), accuracy=0.5)

    def said(self, images, pixel):
        return ((images.flatten(1)[:, pixel] + 1) * 127.5).round()

    def reconstruct(self, images):
        return -images

    def encode(self, images):
        return images.flatten(1)[:, 3:4] * (torch.arange(20) < self.active)

    def sample_latents(self, n, *, seed=0):
        return torch.randn(n, 20, generator=make_generator(seed))

    def decode(self, codes):
        return codes[:, :1, None, None].expand(-1, 1, 4, 4)

    def traversals(self):
        return {"from black to white": torch.linspace(-1, 1, 6).view(2, 3, 1).expand(2, 3, 5)}

    def kl(self, images):
        return KL.clone().index_fill_(0, torch.arange(self.active, 7), 0.0).expand(len(images), -1)

    def classify(self, images):
        sure = self.said(images, 1)[:, None] / 255
        others = ((1 - sure) / 2).expand(-1, 3)
        return torch.where(torch.arange(3) == self.said(images, 0)[:, None], sure, others).log()

    def cluster(self, images):
        return torch.where(torch.arange(2) == self.said(images, 2)[:, None], 0.9, 0.1).log()


class Told(Known):
    """Reconstructions show the label they were told."""

    takes = {"reconstruct": {"labels"}}

    def reconstruct(self, images, *, labels=None):
        return (labels / 2 - 0.5)[:, None, None, None].expand_as(images)


class Sampling(Known):
    """What it samples is black."""

    def sample(self, n, *, seed=0):
        return -torch.ones(n, 1, 4, 4)


class Recorded(Known):
    """Codes of two units, without a prior."""

    sample_latents = traversals = kl = None

    def encode(self, images):
        return images.flatten(1)[:, 3:5]


def sgd(system, rounds=3):
    return Recipe(system, {p: lambda w: torch.optim.SGD(w, lr=0.01) for p in system.players}, batch=8, rounds=rounds)


@recipe(paper="none", size=4)
def known(data, *, active: int = 7):
    return sgd(Known(active))


@recipe(paper="none", size=4)
def told(data):
    return sgd(Told(7))


@recipe(paper="none", size=4)
def sampling(data):
    return sgd(Sampling(7))


@recipe(paper="none", size=4)
def recorded(data):
    return sgd(Recorded(7))


@recipe(paper="none", size=4)
def plain(data):
    return sgd(Autoencoder(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), Painter(3), latent_dim=3), rounds=20)


@recipe(paper="none", size=4)
def naming(data):
    return sgd(Classifier(nn.Sequential(nn.Flatten(), nn.Linear(16, 3))))


class Painter(nn.Linear):
    def __init__(self, latent_dim):
        super().__init__(latent_dim, 16)

    def forward(self, codes):
        return super().forward(codes).tanh().view(-1, 1, 4, 4)


def toy(count=300, share=0.2):
    """Images whose pixels say what `Known` is to say of them, half of them in the wrong class of three."""
    pixels = torch.randint(0, 256, (count, 1, 4, 4), dtype=torch.uint8, generator=make_generator("known"))
    labels = torch.arange(count) % 3
    flat = pixels.view(count, 16)
    flat[:, 0] = torch.where(torch.arange(count) % 2 == 0, labels, (labels + 1) % 3)
    flat[:, 1] = 130 + torch.randperm(count, generator=make_generator("sure")) % 120
    flat[:, 2] = (labels == 2) | (torch.arange(count) % 10 == 0)
    data = Dataset("toy", pixels, labels, CLASSES)
    return data.hold_out(share) if share else data


def page_of(recipe, data, tmp_path, **options):
    run = train(recipe, data, out=tmp_path, quiet=True, **options)
    return report(run, data=data, recipe=f"{recipe.__module__}:{recipe.__name__}").read_text()


def images_of(page):
    """Alternative text -> pixels, of every PNG on the page."""
    found = re.findall(r'<img class="[^"]*" alt="([^"]*)" src="data:image/png;base64,([^"]*)"', page)
    return {html.unescape(alt): np.array(Image.open(io.BytesIO(base64.b64decode(data)))) for alt, data in found}


def words_of(page):
    """What a reader reads, without pictures."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", re.sub(r"<svg.*?</svg>", "", page, flags=re.S))))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return page_of(known, toy(), tmp_path_factory.mktemp("known"))


def test_reconstructions_stand_below_their_images(page):
    part = toy().held_out
    above = to_float(part.images[torch.arange(10) * len(part) // 10])
    expected = np.array(grid(torch.cat([above, -above]), 10))
    shown = images_of(page)["Images, each above its reconstruction"]
    np.testing.assert_array_equal(shown, expected)
    assert "Above: held-out images" in words_of(page)


def test_a_decoder_that_is_told_the_class_is_told_the_right_one(tmp_path):
    data = toy()
    shown = images_of(page_of(told, data, tmp_path))["Images, each above its reconstruction"]
    labels = data.held_out.labels[torch.arange(10) * len(data.held_out) // 10]
    assert len(labels.unique()) == 3
    assert [shown[10, 6 * i + 4] for i in range(10)] == [(64, 128, 191)[y] for y in labels]


def test_reconstructions_come_in_whole_rows_of_all_kinds():
    part = Dataset("sorted", torch.arange(23, dtype=torch.uint8)[:, None, None, None].expand(23, 1, 1, 1))
    system = Known(7)
    shown = np.array(reconstructions(system, part, 12, 5))  # two rows of 5 images, each above its negatives
    assert shown.shape == (4 * 3 + 2, 5 * 3 + 2)
    assert shown[2::3, 2::3].ravel().tolist() == [
        *(0, 2, 4, 6, 9), *(255, 253, 251, 249, 246), *(11, 13, 16, 18, 20), *(244, 242, 239, 237, 235),
    ]  # fmt: skip
    assert np.array(reconstructions(system, part.rows(torch.arange(3)), 12, 5)).shape == (2 * 3 + 2, 3 * 3 + 2)


def test_a_codes_picture_tells_classes_from_each_other_and_from_the_prior(page):
    for words in (*CLASSES, "prior", "first component"):
        assert f">{words}</text>" in page, words
    assert "Codes have 20 dimensions" in words_of(page)
    left, right = torch.tensor([[-1.0, 0.0]] * 9), torch.tensor([[1.0, 0.0]] * 9)
    labels = torch.tensor([1] * 9 + [0] * 9)
    svg = plots.latent_scatter(torch.cat([left, right]), None, labels, ("one", "two"), ("a", "b"))
    dots = raster(svg)
    half = dots.shape[1] // 2
    assert mean_color(dots[:, :half]) == pytest.approx(rgb(plots.ORANGE), abs=12)
    assert mean_color(dots[:, half:]) == pytest.approx(rgb(plots.BLUE), abs=12)


def raster(svg):
    """The pixels inside an SVG, as (height, width, 4), as they are seen."""
    tag = re.search(r"<image [^>]*>", str(svg).replace("\n", ""))[0]
    inside = re.search(r'xlink:href="data:image/png;base64,([^"]*)"', tag)[1]
    pixels = np.array(Image.open(io.BytesIO(base64.b64decode(inside))).convert("RGBA")).astype(float)
    return pixels[::-1] if "scale(1 -1)" in tag else pixels


def mean_color(pixels):
    solid = pixels[pixels[..., 3] > 250][:, :3]
    assert len(solid)
    return solid.mean(0).tolist()


def rgb(color):
    return [int(color[i : i + 2], 16) for i in (1, 3, 5)]


def test_codes_of_many_dimensions_are_seen_in_the_plane_of_their_components():
    g = torch.Generator().manual_seed(0)
    long, wide = torch.linalg.qr(torch.randn(6, 2, generator=g)).Q.T
    steps = torch.randn(500, 2, generator=g) * torch.tensor([5.0, 2.0])
    codes = 3 + steps[:, :1] * long + steps[:, 1:] * wide
    points, below, share = plane_of(codes, codes[:7] + 0.0)
    assert share == pytest.approx(1.0, abs=1e-6)
    torch.testing.assert_close(points[:7], below)  # the prior is seen from the same place
    torch.testing.assert_close(torch.cdist(points, points), torch.cdist(codes, codes), atol=2e-2, rtol=1e-3)
    assert points[:, 0].std() > 2 * points[:, 1].std()
    noisy = codes + torch.randn(500, 6, generator=g)
    assert plane_of(noisy, None)[2] == pytest.approx(1 - 4 / (25 + 4 + 6), abs=0.02)
    flat = torch.randn(9, 2)
    assert plane_of(flat, None)[0] is flat
    assert plane_of(torch.ones(9, 1), torch.ones(4, 1))[1].shape == (4, 2)
    assert plane_of(torch.ones(9, 4), None)[2] == 0.0  # all codes are the same


def test_codes_without_prior_and_labels(tmp_path):
    unlabeled = replace(toy(100, share=0.0), labels=None, classes=())
    page = page_of(recorded, unlabeled, tmp_path)
    words = words_of(page)
    assert "Latent codes of training images. There is no prior" in words
    assert "component" not in page
    assert ">first unit</text>" in page
    assert not any(f">{name}</text>" in page for name in (*CLASSES, "prior"))
    assert "Confusion matrix" not in page
    assert "Cluster 0 :" in words
    assert "The clusters were learned without labels." in words
    assert "active units" not in words
    assert "Latent traversal." not in words


def test_walks_show_their_codes_in_their_places(page):
    expected = np.array(grid(torch.linspace(-1, 1, 6)[:, None, None, None].expand(6, 1, 4, 4), 3))
    np.testing.assert_array_equal(images_of(page)["Decoded codes: from black to white"], expected)
    assert "<h3>From black to white</h3>" in page


@pytest.mark.parametrize("active", [7, 2, 1, 0])
def test_posterior_collapse_is_named_when_it_is_there(page, tmp_path, active):
    words = words_of(page if active == 7 else page_of(known, toy(), tmp_path, active=active))
    assert f"{active} of 20 active units" in words
    assert ("Posterior collapse" in words) == (active < 2)
    assert ("Lower the weight of the KL divergence (beta)" in words) == (active < 2)


def test_a_unit_that_is_not_active_has_another_color():
    def bars(nats, active):
        svg = str(plots.kl_bars(nats, active))
        return [svg.count(f"fill: {c}; stroke: {c}") for c in (plots.BLUE, plots.ORANGE)]

    legend = 1  # patch of each color that is there
    assert bars([0.009, 3.0, 0.01, 0.0], [False, True, True, False]) == [2 + legend, 2 + legend]
    assert bars([1.0, 1.0], [True, True]) == [2 + legend, 0]


def test_the_classes_of_held_out_images(page):
    part = toy().held_out
    said = part.images.view(-1, 16)[:, 0].long()
    wrong = int((said != part.labels).sum())
    words = words_of(page)
    assert f"{wrong} of {len(part)} held-out images are misclassified" in words
    assert f"Confusion matrix: {len(part) - wrong} of {len(part)} images are classified correctly" in page
    sure = part.images.view(-1, 16)[:, 1].float()
    order = [i for i in sure.argsort(descending=True).tolist() if said[i] != part.labels[i]][:10]
    told = re.findall(r"“(\w+)”, (\d+) % label “(\w+)”", words)
    assert told == [(CLASSES[said[i]], f"{100 * sure[i] / 255:.0f}", CLASSES[part.labels[i]]) for i in order]
    first = order[0]
    shown = images_of(page)[f"An image of class {CLASSES[part.labels[order[-1]]]}, classified as {told[-1][0]}"]
    assert any(np.array_equal(shown, part.images[i, 0].numpy()) for i in order)
    assert first == max(order, key=lambda i: sure[i])


def test_a_confusion_matrix_has_a_row_for_each_class(page):
    part = toy().held_out
    said = part.images.view(-1, 16)[:, 0].long()
    counted = [[int(((part.labels == is_) & (said == taken)).sum()) for taken in range(3)] for is_ in range(3)]
    assert counted != np.transpose(counted).tolist()
    svg = next(svg for svg in re.findall(r"<svg.*?</svg>", page, flags=re.S) if "Confusion matrix" in svg)
    cells = {(y, x): int(text) for text, x, y in places(svg) if text.isdigit()}
    ys, xs = (sorted({place[axis] for place in cells}) for axis in (0, 1))
    assert [[cells.get((y, x), 0) for x in xs] for y in ys] == counted

    svg = plots.confusion(torch.tensor([[50, 3], [0, 60]]), ("ape", "bee"))
    at = {text: (x, y) for text, x, y in places(svg)}
    assert at["true class"][0] < min(xs)
    assert at["predicted class"][1] > at["60"][1]
    assert "0" not in at
    shades = raster(svg)[..., :3].sum(2)
    middle, side = shades.shape[0] // 4, shades.shape[1] // 4
    assert shades[middle, 3 * side] < shades[3 * middle, side] - 50  # 3 apes taken for bees, no bee for an ape


def places(svg):
    """(text, x, y) of every text in an SVG of ours."""
    found = []
    for tag, text in re.findall(r"<text ([^>]*)>([^<]*)</text>", str(svg)):
        at = re.search(r"translate\(([-\d.]+) ([-\d.]+)\)", tag) or re.search(r'x="([-\d.]+)" y="([-\d.]+)"', tag)
        found.append((text, round(float(at[1]) / 4), round(float(at[2]) / 4)))
    return found


def test_clusters_show_their_likeliest_images(page):
    part = toy().held_out
    member = part.images.view(-1, 16)[:, 2].long()
    words = words_of(page)
    for k in (0, 1):
        labels = part.labels[member == k]
        commonest = int(labels.bincount(minlength=3).argmax())
        share = 100 * float((labels == commonest).float().mean())
        assert f"Cluster {k} : {len(labels)} images, {share:.0f} % of them “{CLASSES[commonest]}”" in words
        shown = images_of(page)[f"Most likely images of cluster {k}"]
        assert shown.shape == (8, 8 * 6 + 2)
        assert (shown[2, 4::6] == k).all()  # the pixel that says the cluster
    assert "learned without labels" not in words  # it can classify


def test_every_picture_has_words_for_those_who_do_not_see_it(page):
    pictures = re.findall(r"<img [^>]*>", page)
    assert len(pictures) >= 13
    assert all(re.search(r'alt="[^"]{10,}"', tag) for tag in pictures)
    curves = re.findall(r"<svg [^>]*>", page)
    assert len(curves) == 8  # codes, units, units encoded again, losses, gradients, other numbers, error, confusion
    assert all(re.search(r'aria-label="[^"]{10,}"', tag) for tag in curves)
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page)
    assert not re.findall(r"url\((?!#)", page)
    assert len(page) < 1_000_000


def test_gans_have_none_of_these(run):
    words = words_of(report(run).read_text())
    for absent in ("Latent codes", "active units", "traversal", "confident errors", "Cluster", "Other logged"):
        assert absent not in words, absent


# Losses.


def log_of(rounds=40, **players):
    """A log of that many rounds; player -> its loss, or its numbers."""
    numbers = {player: told if isinstance(told, dict) else {"loss": told} for player, told in players.items()}
    moves = [{"player": player, "gradient": 1.0, **told} for player, told in numbers.items()]
    return [{"round": i + 1, "moves": moves} for i in range(rounds)]


def axes_in(svg):
    return len(re.findall(r'id="axes_\d+"', str(svg)))


def test_losses_of_very_different_size_have_an_axis_each():
    alike = plots.loss_curves(log_of(discriminator=1.4, generator=-0.7), {"discriminator": 1.386})
    assert axes_in(alike) == 1
    assert "legend" in alike
    apart = plots.loss_curves(log_of(autoencoder=40.0, discriminator=1.4, encoder=0.7), {"discriminator": 1.386})
    assert axes_in(apart) == 3
    for i, axes in enumerate(apart.split('id="axes_')[1:]):
        assert f">{('autoencoder', 'discriminator', 'encoder')[i]}</text>" in axes
        assert [f"stroke: {color}" in axes for color in plots.COLORS[:3]] == [i == 0, i == 1, i == 2]
    assert str(apart).count("stroke-dasharray") == 1
    assert axes_in(plots.loss_curves(log_of(first=0.0, second=0.0), {})) == 1
    spike = [*log_of(first=1.0, second=1.0), *log_of(1, first=900.0, second=1.0)]
    assert axes_in(plots.loss_curves(spike, {})) == 1  # the median does not see one spike


def test_what_else_moves_tell_is_drawn_with_the_name_of_who_told():
    log = log_of(
        discriminators={"loss": 1.0, "category": 0.5, "prior": 1.0, "code": 2.0},
        encoder={"loss": 1.0, "category": 0.5},
        classifier={"loss": 1.0, "accuracy": 0.9},
    )
    assert plots.extra_names(log) == ["category", "accuracy"]
    svg = plots.extra_series(log)
    assert axes_in(svg) == 2
    assert ">category</text>" in svg
    assert ">accuracy, classifier</text>" in svg
    assert {">discriminators</text>" in svg, ">encoder</text>" in svg} == {True}
    assert f"stroke: {plots.COLORS[2]}" in svg  # the third player's, as among the losses
    assert plots.mean_scores(log, "real", "fake", title="t", names=("a", "b")) == ""
    assert ">from the prior</text>" in plots.mean_scores(log, "prior", "code", title="t", names=("from the prior", ""))


# Words.


def test_a_system_that_makes_no_images_shows_what_it_keeps(tmp_path):
    data = toy(share=0.2)
    run = train(plain, data, out=tmp_path, quiet=True, sample_every=5)
    assert sorted(run.samples()) == [0, 5, 10, 15, 20]
    shown = np.array(Image.open(run.samples()[20]))
    system = run.system(recipe=f"{plain.__module__}:plain")
    part = data.held_out
    above = to_float(part.images[torch.arange(32) * len(part) // 32])
    below = system.reconstruct(above)
    rows = [row for i in range(4) for row in (above[8 * i : 8 * i + 8], below[8 * i : 8 * i + 8])]
    np.testing.assert_array_equal(shown, np.array(grid(torch.cat(rows), 8)))
    words = words_of(report(run, data=data, recipe=f"{plain.__module__}:plain").read_text())
    first, last = run.read("log")[0]["moves"][0]["loss"], run.read("log")[-1]["moves"][0]["loss"]
    assert f"The loss on a batch went from {first:.4g} in round 10 to {last:.4g}." in words
    assert "distance to real images" not in words.lower()
    assert "Quality" not in words
    assert "Rows of held-out images" in words
    assert "Training" in words
    assert "(reconstructions, latent codes)" in words_of(report(run, recipe=f"{plain.__module__}:plain").read_text())


def test_grids_show_training_images_when_nothing_is_held_out(tmp_path):
    data = toy(100, share=0.0)
    run = train(plain, data, rounds=2, out=tmp_path, quiet=True)
    assert np.array_equal(np.array(Image.open(run.samples()[2]))[2:6, 2:6], data.images[0, 0].numpy())


def test_the_grids_of_systems_that_sample_are_samples(run):
    seed = derive_seed(run.config["seed"], "show")
    shown = np.array(Image.open(run.samples()[30]))
    np.testing.assert_array_equal(shown, np.array(grid(run.system().sample(64, seed=seed), 8)))


def test_a_system_that_samples_and_reconstructs_shows_samples(tmp_path):
    run = train(sampling, toy(100), out=tmp_path, quiet=True)
    np.testing.assert_array_equal(np.array(Image.open(run.samples()[3])), np.array(grid(-torch.ones(64, 1, 4, 4), 8)))
    words = words_of(report(run, data=toy(100), recipe=f"{sampling.__module__}:sampling").read_text())
    assert "Over the rounds. Samples of the same latent codes" in words
    assert "Reconstructions. Above" in words


def test_the_summary_of_a_classifier_tells_its_error(tmp_path):
    data = toy()
    run = train(naming, data, rounds=20, out=tmp_path, quiet=True)
    words = words_of(report(run, data=data, recipe=f"{naming.__module__}:naming").read_text())
    error = run.read("metrics")[-1]["value"]
    assert f"{100 * error:.2f} % of 60 held-out images are misclassified." in words
    assert "The loss on a batch" not in words
    assert f"{round(error * 60)} of 60 held-out images are misclassified" in words
    assert "accuracy: fraction of the batch that is classified correctly." in words
    assert "Samples" not in words


def test_opponents_losses_are_not_called_progress(tmp_path):
    pixels = torch.randint(0, 256, (100, 1, 8, 8), dtype=torch.uint8)
    data = Dataset("few", pixels).hold_out(0.1)
    run = train("csc321-mlp", data, rounds=20, batch=16, latent_dim=8, out=tmp_path, quiet=True)
    assert not run.read("metrics")
    assert "The loss on" not in words_of(report(run, data=data).read_text())


def test_whatever_an_evaluation_found_is_told(tmp_path):
    data = toy()
    run = train(known, data, out=tmp_path, quiet=True)
    finding = Measurement(
        metric="reconstruction error", value=0.06036, unit="per pixel", n=1200, split="held_out", interval=(0.05, 0.07),
        floor=0.06799, floor_interval=(0.065, 0.0708), floor_name="the mean training image",
        words="not better than <nothing>",
    )  # fmt: skip
    bare = Measurement(metric="active units", value=7, unit="of 20", n=1200, split="held_out")
    share = {"unit": "share", "value": 0.25, "n": 60, "interval": (0.2, 0.3), "split": "held_out"}
    words = "clusters are named after their likeliest image"
    named = Measurement(metric="clustering error", words=words, **share)
    agreed = Measurement(metric="class agreement", floor=0.99, floor_name="lenet on real images", **share)
    shared = {"averaged": None, "seeds": [], "fingerprint": "f"}
    metrics = [{**complete(one).as_dict(), **shared} for one in (finding, bare, named, agreed)]
    run.write_evaluation(
        {
            "format": FORMAT, "data": "toy", "fingerprint": "f", "n": 60, "repeats": 1, "classes": [], "cells": [],
            "sampling": {}, "metrics": metrics, "findings": [],
            "notes": [], "range": {}, "system": {},
            "units": [{"kl": 0.123456, "variance": 2.0}, {"kl": 0.5, "variance": 0.25}],
            "something_new": {"depth": 3, "range": [1.5, 2.5]},
        },
        {},
    )  # fmt: skip
    page = report(run, data=data, recipe=f"{known.__module__}:known").read_text()
    words = words_of(page)
    assert (
        "Reconstruction error: 0.06036 per pixel (0.05 to 0.07), n = 1,200; the mean training image: 0.06799 "
        "(0.065 to 0.0708). Not better than <nothing>." in words
    )
    assert "<nothing>" not in page
    assert "Active units: 7 of 20, n = 1,200." in words
    assert "Clustering error: 25.00 % (20.00 to 30.00 %), n = 60. Clusters are named after" in words
    assert "Class agreement: 25.00 % (20.00 to 30.00 %), n = 60; lenet on real images: 99.0 %" in words
    assert "Units kl variance 1 0.1235 2 2 0.5 0.25" in words
    assert "Something new depth range 3 1.5 to 2.5" in words
    assert "Parzen" not in words
    assert "samples, 1 repeats" not in words


def test_a_new_row_of_the_table_is_on_the_page(copied, monkeypatch):
    def brightness(*, real, fake):
        return float(fake.double().mean() / real.double().mean())

    row = Metric(name="brightness", function=brightness, needs="pixels", meaning="mean gray level of samples")
    monkeypatch.setitem(METRICS, "brightness", row)
    run = Run.open(copied)
    result = sparring.evaluate(run.system(), run.data(), n=60, repeats=2)
    run.write_evaluation(result.as_dict(), {})
    words = words_of(report(run).read_text())
    value = re.escape(format_number(result["brightness"].value))
    assert re.search(rf"brightness {value} .{{0,60}} mean gray level of samples", words)


# Whatever is on disk.


@pytest.fixture
def copied(run, tmp_path):
    shutil.copytree(run.path, tmp_path / "copy")
    return tmp_path / "copy"


def test_damaged_pictures_and_strays_are_passed_over_and_said(copied):
    files = [*Run.open(copied).samples().values()]
    files[0].write_bytes(b"")
    files[1].write_bytes(files[1].read_bytes()[:100])
    Image.new("L", (5, 5)).save(files[2])
    for name in ("9999999.png", "notes.txt", "12 (copy).png", "١٢.png"):
        (copied / "samples" / name).write_bytes(b"stray")
    (copied / "samples" / "000007.png").unlink()
    (copied / "samples" / "000007.png").mkdir()
    words = words_of(report(copied).read_text())
    assert f"{len(files) - 4} of {len(files)} grids are shown." in words


def test_grids_come_in_the_order_of_their_rounds(copied):
    for number in (999_999, 1_000_000, 10_000_000):
        shutil.copy(copied / "samples" / "000000.png", copied / "samples" / f"{number:06d}.png")
    assert [*Run.open(copied).samples()][-3:] == [999_999, 1_000_000, 10_000_000]


def test_a_copied_run_needs_neither_its_round_nor_its_logs_nor_its_evaluation(copied):
    (copied / "round.py").unlink()
    Run.open(copied).write_evaluation({"format": FORMAT}, {})
    (copied / "eval.json").write_bytes((copied / "eval.json").read_bytes()[:-5])
    for log in ("log", "metrics", "health", "timing"):
        (copied / f"{log}.jsonl").write_bytes(
            b'\xff{\n[]\n{"round": "x"}\n{"alarm": {}}\n{"round": 1, "moves": [{}]}\n'
        )
    words = words_of(report(copied).read_text())
    assert "round.py is missing." in words
    assert "eval.json is damaged" in words
    assert "sparring evaluate" in words
    for name in ("log", "metrics", "health", "timing"):
        (copied / f"{name}.jsonl").unlink()
    assert "for 0 of 30 rounds" in words_of(report(copied).read_text())


@recipe(paper="none", size=8)
def many(data):
    return sgd(Sorted(7))


class Sorted(Sampling):
    """3,000 clusters, and codes that are walked through all of them."""

    grid_columns = 3000

    def sample(self, n, *, seed=0):
        return -torch.ones(n, 1, 8, 8)

    def traversals(self):
        return {"clusters": torch.zeros(2, 3000, 5)}

    def cluster(self, images):
        return torch.eye(3000)[self.said(images, 2).long()].add(1e-9).log()

    def classify(self, images):
        return torch.eye(600)[self.said(images, 0).long()].add(1e-9).log()


def test_of_very_many_classes_clusters_and_columns_the_first_are_drawn(tmp_path):
    """Where a picture of all would be larger than its format allows (WebP: 16,383 pixels a side)."""
    pixels = torch.randint(0, 256, (700, 1, 8, 8), dtype=torch.uint8)
    names = tuple(f"${i}^" for i in range(600))
    data = Dataset("many", pixels, torch.arange(700) % 600, names).hold_out(0.9)
    run = train(many, data, out=tmp_path, quiet=True, rounds=1, monitor=False)
    for number in (1, 2):
        run.write_sample(number, png(grid(torch.zeros(3000, 1, 8, 8), 3000)))
    page = report(run, data=data, recipe=f"{many.__module__}:many").read_text()
    shown = images_of(page)
    assert shown["New samples, not cherry-picked"].shape == (8 * 10 + 2, 32 * 10 + 2)
    assert shown["Decoded codes: clusters"].shape == (2 * 6 + 2, 32 * 6 + 2)
    words = words_of(page)
    assert "cropped to 32 columns and rows" in words
    assert "Cluster 31 :" in words
    assert "Cluster 32 :" not in words


def test_a_log_of_very_many_lines_is_thinned(copied):
    line = (copied / "log.jsonl").read_text().splitlines()[0]
    moves = line[line.index('"moves"') :]
    with open(copied / "log.jsonl", "w") as file:
        file.writelines(f'{{"round": {i}, {moves}\n' for i in range(1, 10_002))
    log, every = Run.open(copied).thinned("log")
    assert [one["round"] for one in log] == [*range(1, 10_001, 8), 10_001]
    assert every == 8
    words = words_of(report(copied).read_text())
    assert "Pale: as logged, one line in 8;" in words
    assert "for 10,001 of 30 rounds" in words


def test_somebodys_names_are_drawn_letter_by_letter():
    """Of classes, players and numbers: no name is mathematics to matplotlib, and none ends a training or a report."""
    names = ["$", "a$b$c", "$x^2$", r"\$5", r"$\frac", "_hidden", "two\nlines", "x" * 300, "a_b^c%#&<>"]
    shown = [*names[:6], r"two\nlines", "x" * 29 + "…", names[-1]]
    labels = torch.arange(len(names))
    log = [{"round": r, "moves": [{"player": one, "loss": 1.0, names[1]: 2.0} for one in names]} for r in (1, 2)]
    legend = plots.latent_scatter(torch.randn(len(names), 2), None, labels, names, ("a", "b"))
    for picture in (legend, plots.confusion(torch.eye(len(names)), names), plots.loss_curves(log, {})):
        text = html.unescape(str(picture))
        assert [one for one in shown if f"{one}</text>" not in text] == []
    assert "a$b$c</text>" in plots.extra_series(log)
    with_row_labels(names, Image.new("RGB", (9, 99)))
