"""Stacked digits: the data, PacGAN's small networks, and the modes that `evaluate` counts."""

import math
from types import SimpleNamespace

import pytest
import torch
from helpers import small_mnist

import sparring
from sparring.data.builtin import STACKED
from sparring.data.dataset import Dataset
from sparring.data.pixels import to_float
from sparring.errors import SparringError
from sparring.evaluation import stacked
from sparring.evaluation.stacked import stacked_modes
from sparring.networks import pacgan
from sparring.networks.minibatch import PacDiscriminator
from sparring.recipes.pacgan import pacgan as recipe


def weights(network):
    return sum(p.numel() for p in network.parameters())


def test_the_networks_have_the_sizes_of_the_paper():
    """Table 3 of Lin et al. 2018 names D = G/4 and D = G/2; the counts are those of its code."""
    assert weights(pacgan.generator(256)) == 287_875
    assert [weights(pacgan.discriminator(3 * m, 2)) for m in (1, 2, 3, 4)] == [585, 639, 693, 747]
    assert [weights(pacgan.discriminator(3 * m, 4)) for m in (1, 2, 3, 4)] == [1889, 1997, 2105, 2213]
    images = pacgan.generator(256)(torch.randn(8, 256))
    assert images.shape == (8, 3, 28, 28)
    assert float(images.detach().abs().max()) <= 1
    assert PacDiscriminator(pacgan.discriminator(12, 2), 4)(images).shape == (2, 1)


def test_the_recipe_packs():
    spec = Dataset("x", torch.zeros(1, 3, 28, 28, dtype=torch.uint8)).spec
    made = recipe(spec)
    assert isinstance(made.system.D, PacDiscriminator)
    assert (made.system.D.m, weights(made.system.D), made.batch) == (4, 747, 512)
    optimizer = made.optimizers["discriminator"](list(made.system.D.parameters()))
    assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (2e-4, (0.5, 0.99))
    with pytest.raises(SparringError, match="--batch 10 is not a multiple of --packing 4"):
        recipe(spec, batch=10)
    with pytest.raises(SparringError, match="give --size 28"):
        recipe(Dataset("x", torch.zeros(1, 3, 32, 32, dtype=torch.uint8)).spec)


def test_stacked_digits_are_digits_on_top_of_each_other(tmp_path):
    small_mnist(tmp_path)
    plain, data = (sparring.load(name, root=tmp_path, held_out=0) for name in ("mnist", "stacked-mnist"))
    assert data.spec.shape == (3, *plain.spec.shape[1:])
    assert (len(data), len(data.test)) == (len(plain), len(plain.test))
    assert data.classes == STACKED
    label_of = {image.numpy().tobytes(): int(label) for image, label in zip(plain.images, plain.labels, strict=True)}
    for image, label in zip(data.images, data.labels, strict=True):
        a, b, c = (label_of[channel[None].numpy().tobytes()] for channel in image)
        assert int(label) == 100 * a + 10 * b + c
        assert STACKED[label] == f"{a}{b}{c}"
    for channel in range(3):  # each digit is once in each channel, in three different orders
        mean = data.images[:, channel].double().mean(0)
        torch.testing.assert_close(mean, plain.images[:, 0].double().mean(0))
    assert not torch.equal(data.images[:, 0], data.images[:, 1])
    assert data.fingerprint == sparring.load("stacked-mnist", root=tmp_path, held_out=0).fingerprint


def context(data, images):
    """Of a system whose samples are the first of these images."""
    return SimpleNamespace(system=None, data=data, split="held_out", seed=0, sample=lambda n, seed: images[:n])


def test_modes_are_read_as_the_labels_say(sparring_data, monkeypatch):
    monkeypatch.setattr(stacked, "SAMPLES", 2000)
    data = sparring.load("stacked-mnist", root=sparring_data)
    seen = stacked.read_digits(data.test.images[:500])
    assert float((seen == data.test.labels[:500]).float().mean()) > 0.96  # three times 99.4 %

    made = to_float(data.images[:2000])
    modes, kl = stacked_modes(context(data, made))
    assert (modes.n, kl.n) == (2000, 2000)
    assert modes.value == pytest.approx(1000 * (1 - math.exp(-2)), abs=40)  # a perfect sampler misses some
    assert modes.value == pytest.approx(modes.floor, abs=40)
    assert kl.value == pytest.approx(kl.floor, abs=0.05)
    assert f"{modes}".startswith(f"modes {modes.value} of 1,000, n = 2,000; 2,000 real training images")

    few = made[torch.arange(2000) % 10]  # ten images again and again
    modes, kl = stacked_modes(context(data, few))
    assert modes.value <= 10
    assert kl.value == pytest.approx(math.log(1000 / modes.value), abs=0.3)


def test_other_data_has_no_modes():
    color = Dataset("color", torch.zeros(4, 3, 28, 28, dtype=torch.uint8), torch.zeros(4).long(), ("one",))
    assert stacked_modes(context(color, None)) == ()
