"""Feature extractors with metadata. Metrics of different extractors are not comparable.

To add one, write a function without arguments that returns an `Extractor`, and add a line to `EXTRACTORS`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cache, partial
from importlib import resources
from statistics import fmean
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from sparring.device import without_tf32
from sparring.errors import SparringError, unknown_name_error
from sparring.seeds import CPU, make_generator, standard_defaults
from sparring.typed import typed

LENET_MNIST, LENET_MNIST_2 = "lenet-mnist", "lenet-mnist-2"
LENET_FASHION_MNIST, LENET_FASHION_MNIST_2 = "lenet-fashion-mnist", "lenet-fashion-mnist-2"
SMALLCONV_CIFAR10, SMALLCONV_CIFAR10_2 = "smallconv-cifar10", "smallconv-cifar10-2"
FACES_NET = "faces-net"
RANDOM_CONV64 = "random-conv64"

Network = TypeVar("Network", bound=nn.Module)

BATCH = 250
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's convert("L")


_device = ContextVar("_device", default=CPU)


@contextmanager
def extracting_on(device: torch.device | None) -> Iterator[None]:
    """Inside, all extractors compute on this device; None: no change. Outside, they compute on the CPU.

    `evaluate` thus computes features where the system is.
    """
    token = _device.set(device or _device.get())
    try:
        yield
    finally:
        _device.reset(token)


class LeNet(nn.Module):
    """A modern LeNet (LeCun et al. 1998): two 5x5 convolutions with max-pooling, 64 features, one logit per class.

    (N, channels, size, size) in [-1, 1] -> features (N, 64), logits (N, classes). The features are taken before the
    ReLU, where they are approximately Gaussian and none is constantly 0.
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
        """(N, channels, size, size) in [-1, 1] -> (N, 64) features and (N, classes) logits."""
        features = self.trunk(x)
        return features, self.head(features)


class SmallConv(nn.Module):
    """Three 3x3 convolutions with batch normalization and max-pooling, global average pooling: 128 features.

    (N, channels, size, size) in [-1, 1] -> features (N, 128), before the ReLU, and logits (N, classes).
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
        """(N, channels, size, size) in [-1, 1] -> (N, 128) features and (N, classes) logits."""
        features = self.trunk(x)
        return features, self.head(features)


class AttributeNet(nn.Module):
    """Three convolutions with batch normalization and max-pooling for 64x64 images: 64 features, several classifiers.

    (N, channels, 64, 64) in [-1, 1] -> features (N, 64), before the ReLU, and logits (N, classes), where `classes` is
    the number of classes of all attributes together.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(channels, 24, 5, stride=2, padding=2), nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(24, 48, 3, padding=1), nn.BatchNorm2d(48), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(48, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(64 * 4 * 4, 64),
        )  # fmt: skip
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(64, classes))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, channels, 64, 64) in [-1, 1] -> (N, 64) features and (N, classes) logits."""
        features = self.trunk(x)
        return features, self.head(features)


@dataclass(frozen=True, eq=False)
class Extractor:
    """A frozen network and its metadata.

    name      part of the name of every metric computed with it: FD-lenet-mnist@2000
    digest    SHA-256 of its weights
    channels  1: images are converted to gray; 3: gray images are repeated
    size      images are resized to this side (bilinear, antialiased); None: the network resizes them
    classes   names of its classes; () if it has no classifier
    accuracy  accuracy on the test set of its training data; None if it was not trained
    network   (N, channels, size, size) in [-1, 1] -> features (N, F), logits (N, classes)
    slow      whether it is so expensive that it runs only on the images that are needed
    heads     of a network of several classifiers, whose logits are one after another: the classes of each -> accuracy.
              `for_classes` chooses one of them; until then, `classes` is ()
    columns   the logits of the chosen one
    """

    name: str
    digest: str
    channels: int
    size: int | None
    classes: tuple[str, ...]
    accuracy: float | None
    network: nn.Module
    slow: bool = False
    heads: Mapping[tuple[str, ...], float] = field(default_factory=dict)
    columns: slice = field(default_factory=lambda: slice(None))

    def for_classes(self, classes: tuple[str, ...]) -> Extractor:
        """The same features, with the classifier among `heads` that has all these classes; itself if there is none."""
        end = 0
        for head, accuracy in self.heads.items():
            end += len(head)
            if classes and set(classes) <= set(head):
                return replace(self, classes=head, accuracy=accuracy, columns=slice(end - len(head), end))
        return self

    def features(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Images (N, C, S, S) uint8, C = 1 or 3 -> features (N, F) and, if it has classes, logits (N, classes).

        Runs in batches on the device of `extracting_on`, in float32 even under autocast and without TF32; the results
        are on the CPU. Raises SparringError for other images.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3) or not len(images):
            actual = f"{tuple(images.shape)} {str(images.dtype).removeprefix('torch.')}"
            raise SparringError(f"extractor {self.name} takes images (N, 1 or 3, S, S) uint8, N > 0; got {actual}")
        device = _device.get()
        network = self.network.to(device)
        exact = nullcontext() if device.type == "cpu" else without_tf32()
        with torch.no_grad(), standard_defaults(), exact:
            batches = [network(self.prepare(batch.to(device))) for batch in images.split(BATCH)]
        features, logits = (torch.cat(parts).cpu() for parts in zip(*batches, strict=True))
        return features, logits[:, self.columns] if self.classes else None

    def prepare(self, images: Tensor) -> Tensor:
        """(N, C, S, S) uint8 -> (N, channels, size, size) float32 in [-1, 1]."""
        x = images.float() / 127.5 - 1
        if x.shape[1] == 3 and self.channels == 1:
            x = (x * torch.tensor(LUMA, device=x.device).view(1, 3, 1, 1)).sum(1, keepdim=True)
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


def empty_network(make: Callable[[], Network]) -> Network:
    """A network with uninitialized weights; does not use the global random generator."""
    with torch.device("meta"):
        network = make()
    return network.to_empty(device="cpu").eval().requires_grad_(False)


def trained(name: str) -> Extractor:
    """A network trained by scripts/train_extractor.py: a LeNet on MNIST or Fashion-MNIST, a SmallConv on CIFAR-10.

    Its accuracy, digest and training log are in weights/NAME.json. Raises SparringError if the weights do not
    match the digest.
    """
    kind, channels, size = (SmallConv, 3, 32) if name.startswith("smallconv") else (LeNet, 1, 28)
    network, log = _read_weights(name, lambda log: kind(channels, size, len(log["classes"])))
    return Extractor(name, log["digest"], channels, size, tuple(log["classes"]), log["test_accuracy"], network)


def faces_net() -> Extractor:
    """An AttributeNet trained by scripts/train_faces_net.py on `faces` and `pixel-faces`: a classifier per attribute.

    The accuracy of each is the mean over held-out images of both sets, of 64 and 32 pixels. Raises SparringError if the
    weights do not match the digest.
    """
    network, log = _read_weights(FACES_NET, lambda log: AttributeNet(3, sum(map(len, log["attributes"].values()))))
    heads = {
        tuple(classes): fmean(row[name] for row in log["held_out_accuracy"].values() if name in row)
        for name, classes in log["attributes"].items()
    }
    return Extractor(FACES_NET, log["digest"], 3, 64, (), None, network, heads=heads)


def _read_weights(name: str, make: Callable[[dict[str, Any]], nn.Module]) -> tuple[nn.Module, dict[str, Any]]:
    """A network that `make` builds from the log weights/NAME.json, with the weights beside it, and the log."""
    folder = resources.files("sparring.metrics") / "weights"
    log = json.loads((folder / f"{name}.json").read_text())
    network = empty_network(lambda: make(log))
    try:
        network.load_state_dict(load((folder / f"{name}.safetensors").read_bytes()))
    except (SafetensorError, RuntimeError) as error:
        raise SparringError(f"the weights of {name} cannot be read: reinstall sparring") from error
    if digest_of(network) != log["digest"]:
        raise SparringError(f"the weights of {name} are not the published ones: reinstall sparring")
    return network, log


def random_conv64() -> Extractor:
    """An untrained LeNet for 32x32 color images, with fixed random weights.

    Random features detect most faults, less sensitively than trained ones, and do not depend on the type of images
    (Naeem et al. 2020, section 4, use random VGG-16 features in the same way).
    """
    network = empty_network(lambda: LeNet(channels=3, size=32, classes=1))
    stream = make_generator(RANDOM_CONV64)
    for weight in network.parameters():
        bound = (6 / weight[0].numel()) ** 0.5 if weight.ndim > 1 else 0.1  # of weights: He et al. 2015
        weight.copy_((2 * torch.rand(weight.shape, generator=stream) - 1) * bound)
    return Extractor(RANDOM_CONV64, digest_of(network), 3, 32, (), None, network)


TRAINED = (
    *(LENET_MNIST, LENET_MNIST_2, LENET_FASHION_MNIST, LENET_FASHION_MNIST_2),
    *(SMALLCONV_CIFAR10, SMALLCONV_CIFAR10_2),
)
"""Two seeds of each, to check that a ranking does not depend on one extractor."""

EXTRACTORS: dict[str, Callable[[], Extractor]] = {
    **{name: partial(trained, name) for name in TRAINED},
    FACES_NET: faces_net,
    RANDOM_CONV64: random_conv64,
}

SHIPPED = (LENET_MNIST, LENET_FASHION_MNIST, SMALLCONV_CIFAR10, FACES_NET)
"""The candidates of `extractor_for`."""

MIN_RELATIVE_ACCURACY = 0.75
"""A classifier is suitable for images if its accuracy on them is at least this share of its own test accuracy."""

MAX_TESTED = 1000
"""Maximum number of labeled images for this test."""


@typed
@cache
def extractor(name: str) -> Extractor:
    """The extractor of that name, loaded once. Raises SparringError for an unknown one."""
    if name not in EXTRACTORS:
        raise unknown_name_error("extractor", name, EXTRACTORS)
    return EXTRACTORS[name]()


@typed
def accuracy_on(extractor: Extractor, images: Tensor, labels: Tensor | None, classes: tuple[str, ...]) -> float | None:
    """Accuracy of the extractor's classifier on up to 1,000 evenly spaced images (N, C, S, S) uint8.

    labels (N,) are indices into `classes`. None without labels, or if the extractor lacks one of the classes.
    """
    if labels is None or not labels.numel() or not classes or not set(classes) <= set(extractor.classes):
        return None
    if labels.shape != images.shape[:1]:
        raise SparringError(f"labels must be ({len(images)},), one per image; got {tuple(labels.shape)}")
    rows = torch.arange(0, len(labels), max(1, len(labels) // MAX_TESTED))[:MAX_TESTED]
    _, logits = extractor.features(images[rows])
    assert logits is not None
    index = torch.tensor([extractor.classes.index(name) for name in classes])
    return float((logits.argmax(1) == index[labels[rows]]).double().mean())


@typed
def knows(extractor: Extractor, accuracy: float | None) -> bool:
    """Whether a classifier with this accuracy on real images is reliable enough for a diagnosis."""
    return accuracy is not None and accuracy >= MIN_RELATIVE_ACCURACY * (extractor.accuracy or 1.0)


@typed
def extractor_for(images: Tensor, labels: Tensor | None, classes: tuple[str, ...]) -> Extractor:
    """The trained extractor that suits these labeled images (N, C, S, S) uint8, or random-conv64 if none does.

    Chosen by content: it must have the same class names and be accurate on the images, see `knows`. The name of the
    data set does not matter.
    """
    for name in SHIPPED:
        candidate = extractor(name).for_classes(classes)
        if knows(candidate, accuracy_on(candidate, images, labels, classes)):
            return candidate
    return extractor(RANDOM_CONV64)
