"""Images and labels in arrays, and in .npy and .npz files, of which no header is believed before it is checked."""

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
from sparring.errors import SparringError, shown

LONGEST_HEADER = 10_000
"""Bytes of a .npy file's header; numpy reads no longer ones either."""


def from_file(path: Path) -> Dataset:
    """A .npy file of images, or a .npz with `images` and perhaps `labels`. Raises `SparringError` naming the file."""
    place = f"'{shown(str(path))}'"
    with regular(path) as file:
        try:
            if not zipfile.is_zipfile(file):
                file.seek(0)
                return from_array(path.stem, _array(file, os.fstat(file.fileno()).st_size))
            held = {info.filename.removesuffix(".npy"): info for info in members(path)}
            if "images" not in held:
                names = shown(", ".join(held))[:200] or "nothing"
                raise SparringError(f"{place} holds {names}; it must hold an array 'images'")
            arrays = {}
            for name in ("images", "labels"):
                if info := held.get(name):
                    pieces = io.BufferedReader(_Pieces(unpacked(file.fileno(), info)))
                    arrays[name] = _array(pieces, info.file_size)
                    pieces.read(1)  # the end: where the checksum is compared
        except SparringError as error:
            raise error if place in str(error) else SparringError(f"cannot read {place}: {error}") from error
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
            raise SparringError(f"cannot read {place}: {(str(error) or 'it is damaged').splitlines()[0]}") from error
        except MemoryError:
            raise SparringError(f"{place} does not fit into memory") from None
    return from_array(path.stem, arrays["images"], arrays.get("labels"))


def from_array(name: str, given: np.ndarray | Tensor, labels: np.ndarray | None = None) -> Dataset:
    """uint8 or uint16 of (N, H, W), (N, H, W, C) or (N, C, H, W); and labels, whole numbers or names.

    16 bits become 8 by one scale for all. Raises `SparringError` for other types, and for shapes that mean two things.
    """
    if given.dtype not in (np.uint8, np.uint16, torch.uint8, torch.uint16):
        raise SparringError(f"images are {given.dtype}; give uint8 from 0 to 255, so that the range is not a guess")
    if isinstance(given, Tensor) and (given.is_meta or given.layout != torch.strided):
        raise SparringError("images are a tensor without numbers of its own (meta or sparse): give a dense one")
    shape = tuple(given.shape)
    _refuse_ambiguous(shape)
    first = 1 if len(shape) == 4 and shape[1] in (1, 3) else 3
    if len(shape) not in (3, 4) or 0 in shape or (len(shape) == 4 and shape[first] not in (1, 3)):
        raise SparringError(
            f"images are of shape {shape}; give (N, H, W), (N, H, W, C) or (N, C, H, W) with C of 1 or 3"
        )
    notes: tuple[str, ...] = ()
    if given.dtype in (np.uint16, torch.uint16):
        deep = given.cpu().numpy() if isinstance(given, Tensor) else given
        (high,) = (high for _, high in scale_of([("16-bit", 0, float(deep.max()))]).values())
        images = torch.from_numpy(np.stack([(each * (255 / high)).round().astype(np.uint8) for each in deep]))
        notes = (f"16 bits became 8: values from 0 to {high:g} are 0 to 255",)
    else:
        images = given.cpu() if isinstance(given, Tensor) else torch.from_numpy(np.array(given))
    if len(shape) == 3:
        images = images.unsqueeze(1)
    elif first == 3:
        images = images.permute(0, 3, 1, 2)
    if labels is None:
        return Dataset(name, images, notes=notes)
    if labels.shape not in ((len(images),), (len(images), 1)) or labels.dtype.kind not in "iubUS":
        raise SparringError(
            f"labels are {labels.dtype} of shape {labels.shape}; give {len(images)} whole numbers or names"
        )
    values, numbered = np.unique(labels.reshape(-1), return_inverse=True)
    classes = [value.decode(errors="replace") if isinstance(value, bytes) else str(value) for value in values.tolist()]
    return Dataset(name, images, torch.from_numpy(numbered.astype(np.int64)), tuple(classes), notes=notes)


def _refuse_ambiguous(shape: tuple[int, ...]) -> None:
    if len(shape) == 3 and shape[2] in (1, 3, 4) and shape[1] != shape[2]:
        height, width, columns = shape
        raise SparringError(
            f"images of shape {shape} may be one image (H, W, C), or {height} images (N, H, W) of {width} x {columns} "
            f"pixels: give (1, {height}, {width}, {columns}) or ({height}, 1, {width}, {columns})"
        )
    if len(shape) == 4 and shape[1] == 3 and shape[3] in (1, 3):
        raise SparringError(
            f"images of shape {shape} may be (N, C, H, W) or (N, H, W, C): give images whose sides are none of 1 and 3"
        )


def _array(file: BinaryIO | io.BufferedReader, available: int) -> np.ndarray:
    """The array that begins here, of which there are so many bytes. Raises ValueError with what is wrong with it."""
    head = file.read(10)
    if len(head) < 10 or head[:6] != b"\x93NUMPY":
        raise ValueError("it is no .npy file: it does not begin as one")
    head += file.read(2) if head[6] > 1 else b""
    length = int.from_bytes(head[8:], "little")
    if length > LONGEST_HEADER:
        raise ValueError(f"its header of {length:,} bytes is too long")
    head += file.read(length)
    header = io.BytesIO(head)
    version = np.lib.format.read_magic(header)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"it is of version {version[0]}.{version[1]}, which is not known")
    try:  # 3.0 differs in the names of fields only, of which there are none here
        read = np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
        shape, fortran, kind = read(header)
        size = math.prod(shape)
    except Exception as error:  # numpy's parser raises nearly everything on hostile bytes
        raise ValueError("its header is damaged") from error
    if kind.hasobject:
        raise ValueError("it holds Python objects, which would take allow_pickle=True: save numbers or strings")
    if kind.fields or kind.subdtype or not kind.itemsize:
        raise ValueError(f"it holds {kind}: save plain numbers or strings")
    wanted, there = size * kind.itemsize, available - len(head)
    if min(shape, default=0) < 0 or wanted > there:
        raise ValueError(f"its header says {shape} of {kind}, {wanted:,} bytes, and {there:,} are there")
    if wanted > os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
        raise ValueError(f"{wanted / 1e9:,.0f} GB do not fit into this machine's memory: give a folder of images")
    flat = np.empty(size, kind)
    held, at = flat.view(np.uint8).data, 0
    while at < wanted:
        count = file.readinto(held[at:])  # type: ignore[union-attr]
        if not count:
            raise ValueError("it is cut short")
        at += count
    return flat.astype(kind.newbyteorder("="), copy=False).reshape(shape, order="F" if fortran else "C")


class _Pieces(io.RawIOBase):
    """Pieces of bytes as one stream."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._left = pieces, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left = piece
        count = min(len(buffer), len(self._left))
        buffer[:count], self._left = self._left[:count], self._left[count:]
        return count
