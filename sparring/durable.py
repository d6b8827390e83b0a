"""Files that survive kill -9 and power loss: written to a temporary name, synced, renamed, and verified when read.

All changes go through the operations of `Disk`, so that tests can interrupt, drop or fail each of them.
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
from sparring.machine import SMALL_BYTES, free_memory

MANIFEST = "manifest.json"
WRITE_BLOCK_BYTES = 1 << 24

REPLACED_PREFIX = ".tmp-old-"
"""Prefix of a folder's name while another folder takes its place."""

MAX_JSON_BYTES = 1 << 26
"""Size limit of JSON files; those written here are much smaller."""


class CorruptCheckpointError(SparringError):
    """The content of a file or folder differs from its checksum or manifest; the message names file and reason."""


class Disk:
    """The operations that change the disk. OSError becomes StorageError, with path, bytes needed and bytes free."""

    def mkdir(self, path: Path) -> None:
        """Create a folder and its parents, unless they exist."""
        self._do(path, 0, lambda: path.mkdir(parents=True, exist_ok=True))

    def write(self, path: Path, data: bytes) -> None:
        """Write or overwrite a file, without syncing it."""

        def in_blocks() -> None:
            with open(path, "wb", buffering=0) as file:
                view = memoryview(data)
                while view:
                    view = view[file.write(view[:WRITE_BLOCK_BYTES]) :]

        self._do(path, len(data), in_blocks)

    def sync(self, path: Path) -> None:
        """Flush a file, or the entries of a folder, to the disk (fsync)."""

        def fsync() -> None:
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

        self._do(path, 0, fsync)

    def rename(self, old: Path, new: Path) -> None:
        """Move a file or folder in one atomic step; an existing file of the new name is replaced."""
        self._do(new, 0, lambda: os.replace(old, new))

    def remove(self, path: Path) -> None:
        """Delete a folder or a file; a link is deleted, not followed. Failures are ignored."""
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
    """Replace a file atomically: it then has either the old content or the new one, never a part."""
    temporary = path.with_name(f".tmp-{path.name}-{os.getpid()}")
    try:
        disk.write(temporary, data)
        disk.sync(temporary)
        disk.rename(temporary, path)
    except StorageError:
        disk.remove(temporary)  # a partial file would occupy a full disk
        raise
    disk.sync(path.parent)


def sealed(config: Mapping[str, Any]) -> bytes:
    """`config` as JSON with an additional key "sha256": the SHA-256 of the other content."""
    return as_json({**config, "sha256": digest(config)})


def unsealed(data: bytes) -> dict[str, Any]:
    """The inverse of `sealed`. Raises CorruptCheckpointError, without a file name, if the content was changed."""
    try:
        config: dict[str, Any] = json.loads(data)
        sha256 = config.pop("sha256", None)
        changed = sha256 != digest(config)
    except (ValueError, RecursionError, AttributeError, TypeError):
        raise CorruptCheckpointError("is damaged: not valid JSON with a SHA-256") from None
    if changed:
        raise CorruptCheckpointError("was changed after it was written (SHA-256 differs)")
    return config


def digest(config: Mapping[str, Any]) -> str:
    """SHA-256 of JSON values; invariant under writing and reading them."""
    plain = json.loads(json.dumps(config))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def as_json(value: Mapping[str, Any]) -> bytes:
    """Indented JSON; names that are not valid UTF-8 are preserved."""
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")


def write_folder(disk: Disk, folder: Path, files: Mapping[str, bytes], config: Mapping[str, object]) -> None:
    """Write `folder` atomically, with these files and a manifest of their sizes and SHA-256.

    Raises StorageError, before writing anything, if less than 1.2 times the size is free.
    """
    total = sum(map(len, files.values()))
    disk.mkdir(folder.parent)
    free = shutil.disk_usage(folder.parent).free
    if free < 1.2 * total:
        raise StorageError(f"cannot write {folder}: it needs {int(1.2 * total):,} bytes and {free:,} are free")

    temporary = folder.with_name(f".tmp-{folder.name}-{os.getpid()}")
    replaced = folder.with_name(f"{REPLACED_PREFIX}{folder.name}-{os.getpid()}")
    disk.remove(temporary)
    sums = {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
    manifest = json.dumps({**config, "files": sums}, indent=1, sort_keys=True).encode()
    try:
        disk.mkdir(temporary)
        for name, data in [*files.items(), (MANIFEST, manifest)]:
            disk.write(temporary / name, data)
            disk.sync(temporary / name)
        disk.sync(temporary)
        if old := folder.exists():  # kept until the new folder is complete on disk
            disk.rename(folder, replaced)
        disk.rename(temporary, folder)
        if old:
            disk.remove(replaced)
    except StorageError:
        disk.remove(temporary)
        if replaced.exists() and not folder.exists():
            disk.rename(replaced, folder)
        raise
    disk.sync(folder.parent)


def sweep(disk: Disk, folder: Path, *, name: str = "", shared: bool = False) -> None:
    """Delete temporary files that killed processes left in `folder`; a folder that was being replaced is restored.

    name    only temporary files of the file with this name
    shared  other processes may be writing into `folder`: keep the temporary files of live processes of this machine
    """
    if not folder.is_dir() or folder.is_symlink():
        return
    for stray in folder.glob(f".tmp-{escape(name) + '-' if name else ''}*"):
        writer = stray.name.rpartition("-")[2]
        if shared and writer.isdecimal() and lives(int(writer)):
            continue
        replaced = folder / stray.name.removeprefix(REPLACED_PREFIX).rpartition("-")[0]
        if stray.name.startswith(REPLACED_PREFIX) and not replaced.exists():
            disk.rename(stray, replaced)
        else:
            disk.remove(stray)


def lives(process: int) -> bool:
    """Whether a process with this id exists on this machine."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def open_file(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file for reading. Raises OSError; for a pipe or device immediately, without blocking."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        yield file


def read_file(path: Path, limit: int | None = None) -> bytes:
    """The bytes of a regular file. Raises OSError, as `open_file` does, and for a file that is too large, unread.

    limit  maximum size in bytes (default: free memory)
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if limit is None and size > SMALL_BYTES:
            limit = free_memory()
        if limit is not None and size > limit:
            raise OSError(errno.EFBIG, f"it has {size:,} bytes, more than the limit of {limit:,}")
        return file.read()


def read_json(path: Path) -> bytes:
    """The bytes of a JSON file. Raises OSError, as `read_file` does."""
    return read_file(path, MAX_JSON_BYTES)


def read_folder(folder: Path) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The files of `folder` and its manifest. Raises CorruptCheckpointError if a file is missing or was changed."""
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
            raise CorruptCheckpointError(f"{folder.name}: file name {name!r} is not a plain file name")
        try:
            actual = (folder / name).lstat().st_size
            if actual != size:  # before reading
                raise CorruptCheckpointError(f"{folder.name}/{name} has {actual:,} bytes instead of {size:,}")
            data = read_file(folder / name)
        except OSError as error:
            raise CorruptCheckpointError(f"{folder.name}/{name}: {error.strerror}") from None
        if hashlib.sha256(data).hexdigest() != sha256:
            raise CorruptCheckpointError(f"{folder.name}/{name} was changed after it was written (SHA-256 differs)")
        files[name] = data
    return files, manifest
