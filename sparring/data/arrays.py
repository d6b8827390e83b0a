"""Images and labels from arrays, .npy and .npz files. File headers are validated before memory is allocated."""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from sparring.data.dataset import Dataset
from sparring.data.pixels import scale_of
from sparring.data.zip_members import members, regular, unpacked
from sparring.errors import SparringError, printable

MAX_HEADER_BYTES = 10_000
"""Bytes of a .npy header; numpy has the same limit."""


def from_file(path: Path) -> Dataset:
    """Read a .npy file of images, or a .npz with `images` and optionally `labels`.

    Raises `SparringError` that names the file if it cannot be read.
    """
    place = f"'{printable(str(path))}'"
    with regular(path) as file:
        try:
            if not zipfile.is_zipfile(file):
                file.seek(0)
                return from_array(path.stem, _array(file, os.fstat(file.fileno()).st_size))
            stored = {info.filename.removesuffix(".npy"): info for info in members(path)}
            if "images" not in stored:
                names = printable(", ".join(stored))[:200] or "nothing"
                raise SparringError(f"{place} contains {names}; it must contain an array 'images'")
            arrays = {}
            for name in ("images", "labels"):
                if info := stored.get(name):
                    stream = io.BufferedReader(_ChunkStream(unpacked(file.fileno(), info)))
                    arrays[name] = _array(stream, info.file_size)
                    stream.read(1)  # the checksum is verified at the end of the member
        except SparringError as error:
            raise error if place in str(error) else SparringError(f"cannot read {place}: {error}") from error
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
            raise SparringError(f"cannot read {place}: {(str(error) or 'it is damaged').splitlines()[0]}") from error
        except MemoryError:
            raise SparringError(f"{place} does not fit into memory") from None
    return from_array(path.stem, arrays["images"], arrays.get("labels"))


def from_array(name: str, array: np.ndarray | Tensor, labels: np.ndarray | None = None) -> Dataset:
    """Convert an array or tensor of images to a `Dataset`.

    array   (N, H, W), (N, H, W, C) or (N, C, H, W), C = 1 or 3, uint8 or uint16; uint16 is rescaled to uint8 by one
            factor for all images
    labels  (N,) integers or class names, or None

    Raises `SparringError` for other dtypes and for ambiguous shapes.
    """
    if array.dtype not in (np.uint8, np.uint16, torch.uint8, torch.uint16):
        raise SparringError(
            f"images are {array.dtype}; give uint8 from 0 to 255: the value range of other types is ambiguous"
        )
    if isinstance(array, Tensor) and (array.is_meta or array.layout != torch.strided):
        raise SparringError("images are a meta or sparse tensor: give a dense one")
    shape = tuple(array.shape)
    _refuse_ambiguous(shape)
    channel_axis = 1 if len(shape) == 4 and shape[1] in (1, 3) else 3
    if len(shape) not in (3, 4) or 0 in shape or (len(shape) == 4 and shape[channel_axis] not in (1, 3)):
        raise SparringError(f"images have shape {shape}; give (N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1 or 3")
    notes: tuple[str, ...] = ()
    if array.dtype in (np.uint16, torch.uint16):
        values_16 = array.cpu().numpy() if isinstance(array, Tensor) else array
        (high,) = (high for _, high in scale_of([("16-bit", 0, float(values_16.max()))]).values())
        images = torch.from_numpy(np.stack([(image * (255 / high)).round().astype(np.uint8) for image in values_16]))
        notes = (f"16-bit values from 0 to {high:g} were rescaled to 0 to 255",)
    else:
        images = array.cpu() if isinstance(array, Tensor) else torch.from_numpy(np.array(array))
    if len(shape) == 3:
        images = images.unsqueeze(1)
    elif channel_axis == 3:
        images = images.permute(0, 3, 1, 2)
    if labels is None:
        return Dataset(name, images, notes=notes)
    if labels.shape not in ((len(images),), (len(images), 1)) or labels.dtype.kind not in "iubUS":
        raise SparringError(
            f"labels are {labels.dtype} of shape {labels.shape}; give {len(images)} integers or class names"
        )
    values, indices = np.unique(labels.reshape(-1), return_inverse=True)
    classes = [value.decode(errors="replace") if isinstance(value, bytes) else str(value) for value in values.tolist()]
    return Dataset(name, images, torch.from_numpy(indices.astype(np.int64)), tuple(classes), notes=notes)


def _refuse_ambiguous(shape: tuple[int, ...]) -> None:
    if len(shape) == 3 and shape[2] in (1, 3, 4) and shape[1] != shape[2]:
        height, width, columns = shape
        raise SparringError(
            f"images of shape {shape} are ambiguous: one image (H, W, C), or {height} images (N, H, W) of "
            f"{width} x {columns} pixels; give (1, {height}, {width}, {columns}) or ({height}, 1, {width}, {columns})"
        )
    if len(shape) == 4 and shape[1] == 3 and shape[3] in (1, 3):
        raise SparringError(
            f"images of shape {shape} are ambiguous, (N, C, H, W) or (N, H, W, C): avoid sides of 1 and 3 pixels"
        )


def _array(file: BinaryIO | io.BufferedReader, available: int) -> np.ndarray:
    """Read the array that starts at the current position, with `available` bytes left. Raises ValueError."""
    head = file.read(10)
    if len(head) < 10 or head[:6] != b"\x93NUMPY":
        raise ValueError("it is not a .npy file: wrong magic number")
    head += file.read(2) if head[6] > 1 else b""
    length = int.from_bytes(head[8:], "little")
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"its header has {length:,} bytes, more than {MAX_HEADER_BYTES:,}")
    head += file.read(length)
    header = io.BytesIO(head)
    version = np.lib.format.read_magic(header)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"version {version[0]}.{version[1]} of the .npy format is not supported")
    try:  # 3.0 differs from 2.0 in field names only, and fields are refused below
        read = np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
        shape, fortran, kind = read(header)
        size = math.prod(shape)
    except Exception as error:  # numpy's parser may raise any exception on hostile bytes
        raise ValueError("its header is damaged") from error
    if kind.hasobject:
        raise ValueError("it contains Python objects, which would require allow_pickle=True: save numbers or strings")
    if kind.fields or kind.subdtype or not kind.itemsize:
        raise ValueError(f"it contains {kind}: save plain numbers or strings")
    n_bytes, n_available = size * kind.itemsize, available - len(head)
    if min(shape, default=0) < 0 or n_bytes > n_available:
        raise ValueError(f"its header declares {shape} of {kind}, {n_bytes:,} bytes, but the file has {n_available:,}")
    if n_bytes > os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
        raise ValueError(f"{n_bytes / 1e9:,.0f} GB do not fit into this machine's memory: give a folder of images")
    flat = np.empty(size, kind)
    buffer, at = flat.view(np.uint8).data, 0
    while at < n_bytes:
        count = file.readinto(buffer[at:])  # type: ignore[union-attr]
        if not count:
            raise ValueError("it is cut short")
        at += count
    return flat.astype(kind.newbyteorder("="), copy=False).reshape(shape, order="F" if fortran else "C")


class _ChunkStream(io.RawIOBase):
    """An iterator of byte chunks as a readable stream."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._left = chunks, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._left = chunk
        count = min(len(buffer), len(self._left))
        buffer[:count], self._left = self._left[:count], self._left[count:]
        return count
