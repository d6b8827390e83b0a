"""Arguments, data sets and checks that several test files share."""

import gzip
import importlib
import inspect
import pkgutil
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from toys import SHAPE

import sparring
import sparring.systems
from sparring.cli import main
from sparring.data.dataset import Dataset
from sparring.errors import SparringError
from sparring.recipes import RECIPES
from sparring.recipes.recipe import arguments, info, load_recipe
from sparring.seeds import make_generator
from sparring.system import System

TRAIN = ["train", "csc321-mlp", "--size", "8", "--rounds", "4", "--latent-dim", "8", "--batch", "16"]

SMALL = {
    "dcgan": ({"width": 4}, 16),
    "raschka-dcgan": ({"width": 4}, 16),
    "wgan": ({"width": 4, "warm_start": 3, "critic_steps": 2}, 16),
    "wgan-gp": ({"width": 4, "critic_steps": 2}, 28),
    "r1gan": ({"width": 4}, 28),
    "biggan": ({"latent_dim": 6, "width": 4, "attention": 0, "standing_batches": 1, "ema_start": 2}, 28),
    "biggan-small": ({"width": 4, "standing_batches": 1}, 28),
    "biggan-cifar": ({"width": 4, "standing_batches": 1, "discriminator_steps": 2}, 28),
    "biggan-deep": ({"width": 4, "attention": 0, "standing_batches": 1, "ema_start": 2}, 28),
    "r3gan": ({"width": 8, "groups": 2, "blocks": 1}, 16),
    "chollet-frogs": ({"width": 4}, 32),
    "smu-frogs": ({}, 16),
    "smu-frogs-lsgan": ({}, 16),
    "smu-frogs-wgan-gp": ({"critic_steps": 2}, 16),
    "ganhacks": ({"width": 4}, 28),
    "improved-gan": ({"n_labeled": 20}, 28),
    "wgan-gp-resnet": ({"width": 4, "critic_steps": 2}, 32),
    "mlp-classifier": ({"n_labeled": 20, "width": 16}, 28),
    "autoencoder": ({"width": 16}, 16),
    "vae": ({"width": 16}, 16),
    "vae-gan": ({"width": 2}, 16),
    "aae": ({"width": 16}, 16),
    "aae-labeled-prior": ({"n_labeled": 20, "width": 16}, 16),
    "aae-supervised": ({"width": 16}, 16),
    "aae-semi-supervised": ({"n_labeled": 20, "width": 16}, 16),
    "aae-clustering": ({"width": 16}, 16),
    "aae-reduction": ({"width": 16}, 16),
    "aae-labeled-reduction": ({"n_labeled": 20, "width": 16}, 16),
    "alae": ({"width": 16}, 16),
    "cyclegan": ({"width": 4, "blocks": 1, "d_layers": 1, "pool_size": 10}, 16),
    "pix2pix": ({"width": 4}, 16),
    "style-alae": ({"width": 4, "max_channels": 8, "mapping_layers": 2, "rounds_per_level": 2}, 16),
}
"""Recipe -> arguments and image size that are small enough for a test, unless the defaults are."""


# Recipes.


def small(name):
    """Arguments of a recipe that are small enough for a test, and the size of its images."""
    function = load_recipe(name, RECIPES)
    extra, size = SMALL.get(name, ({}, info(function).size))
    short = {"latent_dim": 6} if "latent_dim" in {a.name for a in arguments(function)} else {}
    return {"batch": 8, **short, **extra}, size


# Systems.


def shipped_systems():
    """All systems of the library."""
    names = [module.name for module in pkgutil.iter_modules(sparring.systems.__path__)]
    modules = [importlib.import_module(f"sparring.systems.{name}") for name in names]
    classes = {c for module in modules for c in vars(module).values() if inspect.isclass(c) and issubclass(c, System)}
    return sorted(classes - {System}, key=lambda c: c.__name__)


# Data sets.


def toy_data(size, count=600, channels=1, classes=0):
    pixels = np.random.default_rng(1).integers(0, 256, (count, channels, size, size), dtype=np.uint8)
    data = sparring.load(pixels)
    return labeled(data, classes) if classes else data


def recipe_data(name, count=100, channels=1):
    """Random data that a recipe accepts, with images of the size of `small`."""
    about = info(load_recipe(name, RECIPES))
    if about.modality == "molecules":
        return molecules(toy_data(about.spec().size, count))
    if about.paired:
        shape = (count, channels, small(name)[1], small(name)[1])
        a, b = np.random.default_rng(1).integers(0, 256, (2, *shape), dtype=np.uint8)
        return sparring.load({"a": a, "b": b}, pairs="names")
    return toy_data(small(name)[1], count, channels, min(about.classes, 10))


def molecules(data):
    """The same pixels as fingerprints, with random concentration and growth."""
    values = torch.randn(len(data), 2, generator=torch.Generator().manual_seed(0))
    return replace(data, values=values, modality="molecules", held_out=data.held_out and molecules(data.held_out))


def labeled(data, classes):
    """The same images with cyclic labels."""
    part = data.held_out and labeled(data.held_out, classes)
    return replace(
        data, labels=torch.arange(len(data)) % classes, classes=tuple(map(str, range(classes))), held_out=part
    )


def two_tone() -> Dataset:
    """Dark and light images, half of each, with a little noise."""
    g = make_generator("two-tone")
    level = torch.where(torch.rand(512, 1, 1, 1, generator=g) < 0.5, 40, 215)
    return Dataset("two-tone", (level + torch.randint(-8, 9, (512, *SHAPE), generator=g)).to(torch.uint8))


def with_labels(data):
    """Dark images are class 0, light ones class 1."""
    light = (data.images.float().mean((1, 2, 3)) > 127).long()
    return replace(data, labels=light, classes=("dark", "light"))


def idx(array, magic=None):
    """The bytes of an IDX file."""
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return struct.pack(">I", 0x0800 + array.ndim if magic is None else magic) + sizes + array.tobytes()


def small_mnist(root, kind="MNIST", *, zipped=False):
    """Write 40 training and 20 test images in torchvision's layout; returns their folder."""
    folder = root / kind / "raw"
    folder.mkdir(parents=True)
    for prefix, number in (("train", 40), ("t10k", 20)):
        images = (np.arange(number * 784) % 251).astype(np.uint8).reshape(number, 28, 28)
        labels = (np.arange(number) % 10).astype(np.uint8)
        for stem, array in ((f"{prefix}-images-idx3-ubyte", images), (f"{prefix}-labels-idx1-ubyte", labels)):
            if zipped:
                (folder / f"{stem}.gz").write_bytes(gzip.compress(idx(array)))
            else:
                (folder / stem).write_bytes(idx(array))
    return folder


# Errors.


def one_line(call, *words):
    """The message of the SparringError that `call` raises: one line that contains all `words`."""
    with pytest.raises(SparringError) as refusal:
        call()
    message = str(refusal.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


def fails(capsys, *argv):
    """Exit code and the one line on stderr."""
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in argv])
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return end.value.code, lines[0]
