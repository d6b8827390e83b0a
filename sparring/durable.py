"""Files that survive kill -9 and power loss: written aside, synced, renamed; read back only if every byte is right.

Everything goes through the five operations of `Disk`, so that a test can stop, drop or refuse each of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from sparring.errors import SparringError, StorageError

MANIFEST = "manifest.json"
BLOCK = 1 << 24


class DamagedError(SparringError):
    """A folder's content is not what its manifest says; the message names the file and the reason."""


class Disk:
    """The operations that change the disk. An OSError becomes a StorageError with path, need and free space."""

    def mkdir(self, path: Path) -> None:
        self._do(path, 0, lambda: path.mkdir(parents=True, exist_ok=True))

    def write(self, path: Path, data: bytes) -> None:
        def in_blocks() -> None:
            with open(path, "wb", buffering=0) as file:
                view = memoryview(data)
                while view:
                    view = view[file.write(view[:BLOCK]) :]

        self._do(path, len(data), in_blocks)

    def sync(self, path: Path) -> None:
        def fsync() -> None:
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

        self._do(path, 0, fsync)

    def rename(self, old: Path, new: Path) -> None:
        self._do(new, 0, lambda: os.replace(old, new))

    def remove(self, path: Path) -> None:
        """Delete a folder; failing is no reason to stop."""
        shutil.rmtree(path, ignore_errors=True)

    def _do(self, path: Path, size: int, operation) -> None:
        try:
            operation()
        except OSError as error:
            raise StorageError(_explain(path, size, error)) from error


def _explain(path: Path, size: int, error: OSError) -> str:
    folder = next(p for p in [path, *path.parents] if p.exists())
    free = shutil.disk_usage(folder).free
    need = f" (needs {size:,} bytes, {free:,} are free)" if size else ""
    return f"cannot write {path}: {error.strerror}{need}"


def write_file(disk: Disk, path: Path, data: bytes) -> None:
    """Replace one file as a whole: afterwards it is the old one or the new one, never a part."""
    aside = path.with_name(f".tmp-{path.name}-{os.getpid()}")
    disk.write(aside, data)
    disk.sync(aside)
    disk.rename(aside, path)
    disk.sync(path.parent)


def write_folder(disk: Disk, folder: Path, files: Mapping[str, bytes], facts: Mapping[str, object]) -> None:
    """Make `folder` with these files and a manifest of their sizes and SHA-256, all of it or nothing.

    Raises StorageError, before anything is written, when less than 1.2 times the size is free.
    """
    total = sum(map(len, files.values()))
    disk.mkdir(folder.parent)
    free = shutil.disk_usage(folder.parent).free
    if free < 1.2 * total:
        raise StorageError(f"cannot write {folder}: it needs {int(1.2 * total):,} bytes and {free:,} are free")

    aside = folder.with_name(f".tmp-{folder.name}-{os.getpid()}")
    disk.remove(aside)
    disk.mkdir(aside)
    for name, data in files.items():
        disk.write(aside / name, data)
        disk.sync(aside / name)
    sums = {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
    manifest = json.dumps({**facts, "files": sums}, indent=1, sort_keys=True).encode()
    disk.write(aside / MANIFEST, manifest)
    disk.sync(aside / MANIFEST)
    disk.sync(aside)
    disk.remove(folder)  # only there if it was damaged
    disk.rename(aside, folder)
    disk.sync(folder.parent)


def read_folder(folder: Path) -> tuple[dict[str, bytes], dict]:
    """The files of `folder` and its manifest. Raises DamagedError unless every file is there, whole and unchanged."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        sums = {str(name): (int(s["bytes"]), str(s["sha256"])) for name, s in manifest["files"].items()}
    except OSError as error:
        raise DamagedError(f"{folder.name}/{MANIFEST}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DamagedError(f"{folder.name}/{MANIFEST} is not a manifest") from None
    extra = sorted({p.name for p in folder.iterdir()} - set(sums) - {MANIFEST})
    if extra:
        raise DamagedError(f"{folder.name}/{extra[0]} does not belong there")
    files = {}
    for name, (size, digest) in sums.items():
        if Path(name).name != name:
            raise DamagedError(f"{folder.name}: file name {name!r} is not a plain name")
        try:
            data = (folder / name).read_bytes()
        except OSError as error:
            raise DamagedError(f"{folder.name}/{name}: {error.strerror}") from None
        if len(data) != size:
            raise DamagedError(f"{folder.name}/{name} has {len(data):,} bytes instead of {size:,}")
        if hashlib.sha256(data).hexdigest() != digest:
            raise DamagedError(f"{folder.name}/{name} was changed after it was written (SHA-256 differs)")
        files[name] = data
    return files, manifest
