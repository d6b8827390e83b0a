"""Networks that turn images into features, each with its identity card. Never compare numbers of two extractors.

To add one: a function without arguments that returns an `Extractor`, and a line in `EXTRACTORS`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib import resources

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from sparring.errors import SparringError, unknown_name_error
from sparring.seeds import make_generator
from sparring.typed import typed

LENET_MNIST, LENET_MNIST_2 = "lenet-mnist", "lenet-mnist-2"
LENET_FASHION_MNIST, LENET_FASHION_MNIST_2 = "lenet-fashion-mnist", "lenet-fashion-mnist-2"
SMALLCONV_CIFAR10, SMALLCONV_CIFAR10_2 = "smallconv-cifar10", "smallconv-cifar10-2"
RANDOM_CONV64 = "random-conv64"

BATCH = 250
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's convert("L")


class LeNet(nn.Module):
    """LeCun et al. 1998 in today's words: two 5x5 convolutions with max-pooling, 64 features, one score per class.

    (N, channels, size, size) in [-1, 1] -> features (N, 64), logits (N, classes). The features are taken before their
    ReLU, where they are spread like Gaussians and none of them is silent.
    """

    def __init__(self, channels: int, size: int, classes: int) -> None:
        super().__init__()
        side = ((size - 4) // 2 - 4) // 2
        self.trunk = nn.Sequential(
            nn.Conv2d(channels, 32, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(64 * side * side, 64),
        )  # fmt: skip
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(64, classes))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.trunk(x)
        return features, self.head(features)


class SmallConv(nn.Module):
    """Three 3x3 convolutions with batch normalization and max-pooling, averaged over places: 128 features.

    (N, channels, size, size) in [-1, 1] -> features (N, 128), before their ReLU, and logits (N, classes).
    """

    def __init__(self, channels: int, size: int, classes: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(channels, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(64, 128, 3, padding=1), nn.BatchNorm2d(128), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(128, 128),
        )  # fmt: skip
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(128, classes))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.trunk(x)
        return features, self.head(features)


@dataclass(frozen=True, eq=False)
class Extractor:
    """A frozen network and its identity card.

    name      goes into the name of every number made with it: FD-lenet-mnist@2000
    digest    SHA-256 of its weights
    channels  1: images are made gray first; 3: gray images are repeated
    size      images of another side are resized to this (bilinear, antialiased); None: the network does that itself
    classes   names of its classes; () if it knows none
    accuracy  share of its training data's test set that it classifies right; None if it was not trained
    network   (N, channels, size, size) in [-1, 1] -> features (N, F), logits (N, classes)
    slow      so large that only the images that are needed are looked at
    """

    name: str
    digest: str
    channels: int
    size: int | None
    classes: tuple[str, ...]
    accuracy: float | None
    network: nn.Module
    slow: bool = False

    def features(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Images (N, C, S, S) uint8, C = 1 or 3 -> features (N, F) and, if it knows classes, logits (N, classes).

        On the CPU, in float32 (whatever autocast says), in batches. Raises SparringError for other images.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3) or not len(images):
            given = f"{tuple(images.shape)} {str(images.dtype).removeprefix('torch.')}"
            raise SparringError(f"extractor {self.name} takes images (N, 1 or 3, S, S) uint8, N > 0; got {given}")
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            batches = [self.network(self.prepare(batch)) for batch in images.cpu().split(BATCH)]
        features, logits = (torch.cat(parts) for parts in zip(*batches, strict=True))
        return features, logits if self.classes else None

    def prepare(self, images: Tensor) -> Tensor:
        """(N, C, S, S) uint8 -> (N, channels, size, size) float32 in [-1, 1]."""
        x = images.float() / 127.5 - 1
        if x.shape[1] == 3 and self.channels == 1:
            x = (x * torch.tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
        if self.size is not None and x.shape[2:] != (self.size, self.size):
            x = F.interpolate(x, (self.size, self.size), mode="bilinear", align_corners=False, antialias=True)
        return x.expand(-1, self.channels, -1, -1)


def digest_of(network: nn.Module) -> str:
    """SHA-256 over the names, shapes and bytes of a network's weights."""
    digest = hashlib.sha256()
    for name, weight in sorted(network.state_dict().items()):
        digest.update(repr((name, str(weight.dtype), tuple(weight.shape))).encode())
        digest.update(weight.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def empty_network(kind: type[LeNet | SmallConv], channels: int, size: int, classes: int) -> LeNet | SmallConv:
    """A network to be filled with weights: made without drawing any, so the user's random numbers are left alone."""
    with torch.device("meta"):
        network = kind(channels, size, classes)
    return network.to_empty(device="cpu").eval().requires_grad_(False)


def trained(name: str) -> Extractor:
    """A network trained by scripts/train_extractor.py: a LeNet on MNIST or Fashion-MNIST, a SmallConv on CIFAR-10.

    Its accuracy, digest and training log are in weights/NAME.json. Raises SparringError if the weights are not the
    ones that log describes.
    """
    folder = resources.files("sparring.metrics") / "weights"
    log = json.loads((folder / f"{name}.json").read_text())
    kind, channels, size = (SmallConv, 3, 32) if name.startswith("smallconv") else (LeNet, 1, 28)
    network = empty_network(kind, channels, size, len(log["classes"]))
    try:
        network.load_state_dict(load((folder / f"{name}.safetensors").read_bytes()))
    except (SafetensorError, RuntimeError) as error:
        raise SparringError(f"the weights of {name} cannot be read: install sparring again") from error
    digest = digest_of(network)
    if digest != log["digest"]:
        raise SparringError(f"the weights of {name} are not the published ones: install sparring again")
    return Extractor(name, digest, channels, size, tuple(log["classes"]), log["test_accuracy"], network)


def random_conv64() -> Extractor:
    """A LeNet for color images, 32x32, whose weights are random and were never trained; always the same ones.

    Such features see most faults, more weakly than trained ones, and need nothing to be known about the images
    (Naeem et al. 2020, section 4, use random VGG-16 features in the same way).
    """
    network = empty_network(LeNet, channels=3, size=32, classes=1)
    stream = make_generator(RANDOM_CONV64)
    for weight in network.parameters():
        bound = (6 / weight[0].numel()) ** 0.5 if weight.ndim > 1 else 0.1  # of weights: He et al. 2015
        weight.copy_((2 * torch.rand(weight.shape, generator=stream) - 1) * bound)
    return Extractor(RANDOM_CONV64, digest_of(network), 3, 32, (), None, network)


TRAINED = (
    *(LENET_MNIST, LENET_MNIST_2, LENET_FASHION_MNIST, LENET_FASHION_MNIST_2),
    *(SMALLCONV_CIFAR10, SMALLCONV_CIFAR10_2),
)
"""Two independent seeds of each, so that a ranking can be checked for the luck of one extractor."""

EXTRACTORS: dict[str, Callable[[], Extractor]] = {
    **{name: partial(trained, name) for name in TRAINED},
    RANDOM_CONV64: random_conv64,
}

SHIPPED = (LENET_MNIST, LENET_FASHION_MNIST, SMALLCONV_CIFAR10)
"""Those that `extractor_for` chooses from."""

KNOWS = 0.75
"""A classifier knows images if its accuracy on them is at least this share of that on its own test set."""

EXAMINED = 1000
"""Labeled images at most that it shows this on."""


@typed
@cache
def extractor(name: str) -> Extractor:
    """The extractor of that name, loaded once. Raises SparringError for an unknown one."""
    if name not in EXTRACTORS:
        raise unknown_name_error("extractor", name, EXTRACTORS)
    return EXTRACTORS[name]()


@typed
def accuracy_on(extractor: Extractor, images: Tensor, labels: Tensor | None, classes: tuple[str, ...]) -> float | None:
    """The share of labeled images (N, C, S, S) uint8 whose class the extractor sees, on up to 1,000, evenly spaced.

    labels (N,) into `classes`. None where it cannot be known: no labels, or a class that the extractor has not.
    """
    if labels is None or not labels.numel() or not classes or not set(classes) <= set(extractor.classes):
        return None
    if labels.shape != images.shape[:1]:
        raise SparringError(f"labels must be ({len(images)},), one for each image; got {tuple(labels.shape)}")
    rows = torch.arange(0, len(labels), max(1, len(labels) // EXAMINED))[:EXAMINED]
    _, logits = extractor.features(images[rows])
    assert logits is not None
    theirs = torch.tensor([extractor.classes.index(name) for name in classes])
    return float((logits.argmax(1) == theirs[labels[rows]]).double().mean())


@typed
def knows(extractor: Extractor, accuracy: float | None) -> bool:
    """Whether a classifier with this accuracy on real images knows them: only then a finding may rest on it."""
    return accuracy is not None and accuracy >= KNOWS * (extractor.accuracy or 1.0)


@typed
def extractor_for(images: Tensor, labels: Tensor | None, classes: tuple[str, ...]) -> Extractor:
    """The trained extractor that knows these labeled images (N, C, S, S) uint8, or random-conv64 if none does.

    Chosen by content: it has their classes, by name, and shows on them that it `knows` them. What the data set is
    called does not count.
    """
    for name in SHIPPED:
        if knows(extractor(name), accuracy_on(extractor(name), images, labels, classes)):
            return extractor(name)
    return extractor(RANDOM_CONV64)
