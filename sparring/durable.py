"""Files that survive kill -9 and power loss: written aside, synced, renamed; read back only if every byte is right.

Everything goes through the operations of `Disk`, so that a test can stop, drop or refuse each of them.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import Any, BinaryIO

from sparring.errors import SparringError, StorageError
from sparring.machine import free_memory

MANIFEST = "manifest.json"
BLOCK = 1 << 24

OLD = ".tmp-old-"
"""What a folder is called while another takes its place."""

MOST_JSON = 1 << 26
"""Bytes of a JSON file; none that is written here is nearly as long."""


class CorruptCheckpointError(SparringError):
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
        """Delete a folder or a file; a link is deleted, not followed. Failing is no reason to stop."""
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()

    def _do(self, path: Path, size: int, operation: Callable[[], object]) -> None:
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
    try:
        disk.write(aside, data)
        disk.sync(aside)
        disk.rename(aside, path)
    except StorageError:
        disk.remove(aside)  # half a file would keep a full disk full
        raise
    disk.sync(path.parent)


def sealed(config: Mapping[str, Any]) -> bytes:
    """`config` as JSON that holds the SHA-256 of the rest of its content."""
    return as_json({**config, "sha256": digest(config)})


def unsealed(data: bytes) -> dict[str, Any]:
    """What `sealed` was given. Raises DamagedError, without the file's name, when it is not that."""
    try:
        config = json.loads(data)
        sha256 = config.pop("sha256", None)
        changed = sha256 != digest(config)
    except (ValueError, RecursionError, AttributeError, TypeError):
        raise CorruptCheckpointError("is damaged: it is not the JSON that sparring writes") from None
    if changed:
        raise CorruptCheckpointError("was changed after it was written (SHA-256 differs)")
    return config


def digest(config: Mapping[str, Any]) -> str:
    """SHA-256 of JSON values: the same after they were written and read."""
    plain = json.loads(json.dumps(config))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def as_json(value: Mapping[str, Any]) -> bytes:
    """Readable JSON; of names that are no UTF-8, too."""
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")


def write_folder(disk: Disk, folder: Path, files: Mapping[str, bytes], config: Mapping[str, object]) -> None:
    """Make `folder` with these files and a manifest of their sizes and SHA-256, all of it or nothing.

    Raises StorageError, before anything is written, when less than 1.2 times the size is free.
    """
    total = sum(map(len, files.values()))
    disk.mkdir(folder.parent)
    free = shutil.disk_usage(folder.parent).free
    if free < 1.2 * total:
        raise StorageError(f"cannot write {folder}: it needs {int(1.2 * total):,} bytes and {free:,} are free")

    aside = folder.with_name(f".tmp-{folder.name}-{os.getpid()}")
    before = folder.with_name(f"{OLD}{folder.name}-{os.getpid()}")
    disk.remove(aside)
    sums = {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
    manifest = json.dumps({**config, "files": sums}, indent=1, sort_keys=True).encode()
    try:
        disk.mkdir(aside)
        for name, data in [*files.items(), (MANIFEST, manifest)]:
            disk.write(aside / name, data)
            disk.sync(aside / name)
        disk.sync(aside)
        if old := folder.exists():  # which stays until all of the new is on the disk
            disk.rename(folder, before)
        disk.rename(aside, folder)
        if old:
            disk.remove(before)
    except StorageError:
        disk.remove(aside)
        if before.exists() and not folder.exists():
            disk.rename(before, folder)
        raise
    disk.sync(folder.parent)


def sweep(disk: Disk, folder: Path, *, name: str = "", shared: bool = False) -> None:
    """Delete what writers that were killed have left in `folder`; a folder that was to be replaced is put back.

    name    only what was to become the file of this name
    shared: other processes may write there meanwhile: what a living process of this machine has aside is spared.
    """
    if not folder.is_dir() or folder.is_symlink():
        return
    for stray in folder.glob(f".tmp-{escape(name) + '-' if name else ''}*"):
        writer = stray.name.rpartition("-")[2]
        if shared and writer.isdecimal() and lives(int(writer)):
            continue
        replaced = folder / stray.name.removeprefix(OLD).rpartition("-")[0]
        if stray.name.startswith(OLD) and not replaced.exists():
            disk.rename(stray, replaced)
        else:
            disk.remove(stray)


def lives(process: int) -> bool:
    """Whether there is a process of this number on this machine."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def open_file(path: Path) -> Iterator[BinaryIO]:
    """A regular file, to read. Raises OSError; of a pipe or a device at once, without waiting for it."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        yield file


def read_file(path: Path, most: int | None = None) -> bytes:
    """The bytes of a regular file. Raises OSError, as `open_file` does, and before it reads one that is too large.

    most  bytes that it may have (default: what memory is free)
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        most = free_memory() if most is None else most
        if most is not None and size > most:
            raise OSError(errno.EFBIG, f"it has {size:,} bytes, more than the {most:,} that it may have")
        return file.read()


def read_json(path: Path) -> bytes:
    """The bytes of a file of JSON. Raises OSError, as `read_file` does."""
    return read_file(path, MOST_JSON)


def read_folder(folder: Path) -> tuple[dict[str, bytes], dict]:
    """The files of `folder` and its manifest. Raises DamagedError unless every file is there, whole and unchanged."""
    try:
        manifest = json.loads(read_json(folder / MANIFEST))
        sums = {str(name): (int(s["bytes"]), str(s["sha256"])) for name, s in manifest["files"].items()}
    except OSError as error:
        raise CorruptCheckpointError(f"{folder.name}/{MANIFEST}: {error.strerror}") from None
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        raise CorruptCheckpointError(f"{folder.name}/{MANIFEST} is not a manifest") from None
    extra = sorted({p.name for p in folder.iterdir()} - set(sums) - {MANIFEST})
    if extra:
        raise CorruptCheckpointError(f"{folder.name}/{extra[0]} does not belong there")
    files = {}
    for name, (size, sha256) in sums.items():
        if Path(name).name != name:
            raise CorruptCheckpointError(f"{folder.name}: file name {name!r} is not a plain name")
        try:
            there = (folder / name).lstat().st_size
            if there != size:  # before it is read
                raise CorruptCheckpointError(f"{folder.name}/{name} has {there:,} bytes instead of {size:,}")
            data = read_file(folder / name)
        except OSError as error:
            raise CorruptCheckpointError(f"{folder.name}/{name}: {error.strerror}") from None
        if hashlib.sha256(data).hexdigest() != sha256:
            raise CorruptCheckpointError(f"{folder.name}/{name} was changed after it was written (SHA-256 differs)")
        files[name] = data
    return files, manifest
