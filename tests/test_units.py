"""Units: receptive fields against arithmetic, planted patches found, optima and ablations in closed form."""

import json

import numpy as np
import pytest
import torch
import toys
from PIL import Image
from torch import nn

import sparring
from sparring import latent
from sparring.cli import main
from sparring.errors import SparringError
from sparring.losses import game
from sparring.systems.gan import GAN


def gan(D, G=None, latent_dim=3):
    G = G or nn.Sequential(nn.Linear(latent_dim, 1), nn.Unflatten(1, (1, 1, 1)))
    return GAN(G, D, latent_dim=latent_dim, game=game("non-saturating"))


def score_layer(system, name, shape=(1, 12, 12)):
    return next(layer for layer in latent.layers(system, torch.zeros(1, *shape)) if layer.name == name)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 0), (4, 2, 1), (5, 2, 2)])
def test_receptive_fields_are_those_of_arithmetic(kernel, stride, padding):
    D = nn.Sequential(
        nn.Conv2d(1, 2, kernel, stride, padding), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(2, 3, 2), nn.LeakyReLU(0.2)
    )
    system = gan(nn.Sequential(*D, nn.Flatten(), nn.LazyLinear(1)))
    system.D(torch.zeros(1, 1, 16, 16))
    layer = score_layer(system, "D.3", (1, 16, 16))
    assert (layer.kind, layer.units, layer.output) == ("Conv2d", 3, ("D.4", 0))
    for fields in latent.receptive_field(system, layer, (1, 16, 16)):
        assert len(fields) == layer.shape[1]
        for i, field in enumerate(fields):  # 2 outputs of the pooling, 4 of the first convolution, its kernel
            start, stop = 2 * i * stride - padding, (2 * i + 3) * stride - padding + kernel
            assert (field.start, field.stop) == (max(start, 0), min(stop, 16))


def test_a_layer_ends_with_its_activation_function():
    D = nn.Sequential(
        nn.utils.parametrizations.spectral_norm(nn.Conv2d(1, 4, 3)),
        *(nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(400, 5), nn.Linear(5, 1)),
    )
    found = latent.layers(gan(D), torch.zeros(1, 1, 12, 12))
    named = {layer.name: (layer.kind, layer.shape, layer.output[0], layer.source) for layer in found}
    assert named == {
        "D.0": ("Conv2d", (4, 10, 10), "D.2", "score"),
        "D.5": ("Linear", (5, 1, 1), "D.5", "score"),
        "D.6": ("Linear", (1, 1, 1), "D.6", "score"),
        "G.0": ("Linear", (1, 1, 1), "G.0", "decode"),
    }
    assert latent.default_layer(found, 12).name == "D.0"
    assert latent.default_layer(found, 12, "G").name == "G.0"
    with pytest.raises(SparringError, match="unknown network 'H'"):
        latent.default_layer(found, 12, "H")


def test_one_module_called_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.relu = nn.Linear(16, 4), nn.Linear(4, 4), nn.ReLU()

        def forward(self, x):
            return self.relu(self.second(self.relu(self.first(x.flatten(1))))).sum(1, keepdim=True)

    system, x = gan(Twice()), torch.randn(5, *toys.SHAPE)
    first, second = (score_layer(system, f"D.{name}", toys.SHAPE) for name in ("first", "second"))
    assert (first.output, second.output) == (("D.relu", 0), ("D.relu", 1))
    hidden = system.D.first(x.flatten(1)).relu()
    torch.testing.assert_close(latent.units.activations(system, first, x)[:, :, 0, 0], hidden)
    torch.testing.assert_close(latent.units.activations(system, second, x)[:, :, 0, 0], system.D.second(hidden).relu())


@pytest.fixture
def template():
    """A discriminator whose unit 1 looks for a 3 x 3 corner."""
    corner = torch.tensor([[1.0, 1, 1], [1, -1, -1], [1, -1, -1]])
    layer = nn.Conv2d(1, 2, 3, padding=1)
    layer.weight.data[1, 0], layer.bias.data[:] = corner, 0
    return gan(nn.Sequential(layer, nn.ReLU(), nn.Flatten(), nn.Linear(288, 1))), corner


def test_planted_patches_are_found(template):
    system, corner = template
    images = 0.1 * torch.randn(300, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    images[280, 0, 4:7, 8:11] = corner  # in the second batch
    images[7] = 0
    images[7, 0, 0, 1:3] = -1  # in the corner: the field begins outside of the image
    layer = score_layer(system, "D.0")
    best = latent.exciting_patches(system, layer, images, [1], count=2)
    assert best.rows[0, 0] == 280
    assert float(best.values[0, 0]) == pytest.approx(9)
    torch.testing.assert_close(best.images[0, 0, 0], corner)
    single = latent.exciting_patches(system, layer, images[7:8], [1])
    expected = torch.zeros(3, 3)
    expected[1, 1:] = -1
    assert float(single.values) == pytest.approx(float((corner * expected).sum()))
    torch.testing.assert_close(single.images[0, 0, 0], expected)
    with pytest.raises(SparringError, match=r"unit 2 is out of range: layer D.0 has units 0 to 1"):
        latent.exciting_patches(system, layer, images, [2])
    with pytest.raises(SparringError, match=r"layer G.0 sees latent codes"):
        latent.exciting_patches(system, score_layer(system, "G.0"), images, [0])


def test_the_optimized_image_is_the_template(template):
    system, corner = template
    layer = score_layer(system, "D.0")
    best = latent.optimized_images(system, layer, (1, 12, 12), [1], steps=60, total_variation=0.0)
    assert best.shape == (1, 1, 3, 3)
    assert float((best[0, 0] * corner).sum()) > 3  # moved at random, so not the corner alone
    smooth = latent.optimized_images(system, layer, (1, 12, 12), [1], steps=60, total_variation=3.0)
    assert float(smooth.diff(dim=2).abs().mean()) < 0.5 * float(best.diff(dim=2).abs().mean())


def test_switching_off_a_unit_of_a_linear_generator():
    """Pixels are A z: without unit u, they lose z_u A_u, so the mean change is mean |z_u| mean |A_u| / 2."""
    hidden, layer = nn.Linear(3, 3, bias=False), nn.Linear(3, 16, bias=False)
    hidden.weight.data = torch.eye(3)
    layer.weight.data = torch.randn(16, 3, generator=torch.Generator().manual_seed(1))
    system = gan(
        nn.Sequential(nn.Flatten(), nn.Linear(16, 1)), nn.Sequential(hidden, layer, nn.Unflatten(1, toys.SHAPE))
    )
    codes = torch.randn(50, 3)
    changes = latent.ablation(system, score_layer(system, "G.0", toys.SHAPE), codes)
    torch.testing.assert_close(changes, codes.abs().mean(0) * layer.weight.abs().mean(0) / 2)
    off = latent.without_unit(system, score_layer(system, "G.0", toys.SHAPE), codes, 2)
    kept = codes * torch.tensor([1.0, 1, 0])
    torch.testing.assert_close(off, system.decode(kept))
    torch.testing.assert_close(system.decode(codes), (codes @ layer.weight.T).view(50, *toys.SHAPE).detach())


def test_switching_off_a_unit_of_a_discriminator_changes_its_score():
    D = nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.Linear(3, 1))
    system, x = gan(D), torch.randn(20, *toys.SHAPE)
    expected = (D[1](x.flatten(1)) * D[2].weight).abs().mean(0).detach()
    torch.testing.assert_close(latent.ablation(system, score_layer(system, "D.1", toys.SHAPE), x), expected)


# The verb.


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("units")
    np.save(folder / "images.npy", np.random.default_rng(0).integers(0, 256, (60, 28, 28), dtype=np.uint8))
    made = sparring.train("cs231n-dcgan", folder / "images.npy", rounds=1, batch=8, out=folder, monitor=False)
    return str(made.path)


def test_the_verb(run, tmp_path, capsys):
    out = tmp_path / "units.png"
    options = ["--count", "3", "--patches", "4", "-n", "20", "--steps", "2", "--out", str(out)]
    main(["units", run, *options])
    printed = capsys.readouterr().out
    assert "D.3" in printed
    assert "G.7" in printed
    assert "change of the score if a unit of D.3 is switched off" in printed
    with Image.open(out) as picture:
        assert picture.height > 3 * 64
    main(["units", run, *options, "--network", "G", "--units", "5,6", "--json"])
    said = json.loads(capsys.readouterr().out)
    assert said["layer"] == "G.7"
    assert [row["unit"] for row in said["units"]] == [5, 6]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--layer", "D.33"], "unknown layer 'D.33'; did you mean 'D.3'"),
        (["--layer", "D.3", "--units", "64"], "'64' is not a unit of D.3, which has units 0 to 63"),
        (["--layer", "D.3", "--network", "D"], "--layer names its network: drop --network"),
        (["--network", "E"], "unknown network 'E'"),
        (["--out", "units.jpg"], "must end in .png"),
    ],
)
def test_mistakes_are_one_line(run, words, message, capsys):
    with pytest.raises(SystemExit):
        main(["units", run, *words])
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
