"""The files of a folder or a zip, in a temporary database on the disk: a million of them need little memory."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from threading import Lock
from typing import Any, Generic, TypeVar, overload

import numpy as np

T = TypeVar("T")


@dataclass(frozen=True)
class FileEntry:
    """An image file as it was found: its name inside the source, bytes, mtime in ns.

    member  of a zip's: offset, compressed bytes, way of compression, checksum, flags
    """

    name: str
    size: int
    mtime: int
    member: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)


class FileIndex:
    """All image files that were found, and those of them that are used, numbered from 0 in their order.

    SQLite's temporary file is removed by itself. Raises sqlite3.Error when there is no room for it.
    """

    def __init__(self, found: Iterable[FileEntry]) -> None:
        self._database = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._lock = Lock()
        self._database.executescript(
            """
            PRAGMA journal_mode = OFF;
            CREATE TABLE files (
                name BLOB PRIMARY KEY, key BLOB, folder BLOB, size INT, mtime INT,
                offset INT, compressed INT, method INT, checksum INT, flags INT, times INT
            ) WITHOUT ROWID;
            CREATE TABLE folders (folder BLOB PRIMARY KEY, label INT) WITHOUT ROWID;
            CREATE TABLE labels (name BLOB PRIMARY KEY, label INT) WITHOUT ROWID;
            CREATE TABLE images (number INTEGER PRIMARY KEY, name BLOB, label INT);
            BEGIN;
            """
        )
        rows = (
            (_bytes(f.name), _bytes(_key(f.name)), _bytes(folder(f.name)), f.size, f.mtime, *f.member) for f in found
        )
        self._database.executemany(
            "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1) ON CONFLICT DO UPDATE SET times = times + 1, "
            "size = excluded.size, offset = excluded.offset, compressed = excluded.compressed, "
            "method = excluded.method, checksum = excluded.checksum, flags = excluded.flags",
            rows,
        )

    def use(self, labels: Mapping[str, int | None]) -> int:
        """The images are the files of these folders, in natural order, with the label of their folder.

        Returns their number.
        """
        rows = ((_bytes(name), label) for name, label in labels.items())
        self._database.executemany("INSERT INTO folders VALUES (?, ?)", rows)
        return self._number("SELECT name, key, folders.label FROM files JOIN folders USING (folder)")

    def use_labeled(self, labels: Mapping[str, int]) -> int:
        """The images are these files, in natural order, with these labels. Returns their number."""
        rows = ((_bytes(name), label) for name, label in labels.items())
        self._database.executemany("INSERT INTO labels VALUES (?, ?)", rows)
        return self._number("SELECT name, key, labels.label FROM files JOIN labels USING (name)")

    def _number(self, chosen: str) -> int:
        self._database.execute(
            f"INSERT INTO images SELECT row_number() OVER (ORDER BY key, name) - 1, name, label FROM ({chosen})"
        )
        return int(self._ask("SELECT count(*) FROM images")[0])

    def __len__(self) -> int:
        return int(self._ask("SELECT count(*) FROM files")[0])

    def folders(self) -> dict[str, int]:
        """The number of files in each folder that has any; '' is the source itself."""
        found = self._database.execute("SELECT folder, count(*) FROM files GROUP BY folder")
        return {_text(name): count for name, count in found}

    def first_in(self, folder: str) -> str:
        """Of the files of a folder the first in natural order."""
        return _text(self._ask("SELECT name FROM files WHERE folder = ? ORDER BY key, name LIMIT 1", _bytes(folder))[0])

    def names(self) -> Iterator[str]:
        """Of all files."""
        return (_text(name) for (name,) in self._database.execute("SELECT name FROM files"))

    def twice(self) -> tuple[int, str]:
        """How many names were found more than once, and the first of these; the last file of a name is kept."""
        count, name = self._ask("SELECT count(*), min(name) FROM files WHERE times > 1")
        return count, _text(name or b"")

    def total_size(self) -> int:
        """Bytes of all files, unpacked."""
        return int(self._ask("SELECT total(size) FROM files")[0])

    def overlapping(self, header: int) -> str | None:
        """Of an archive with so many bytes before each member: one that begins before the one before it ends."""
        row = self._ask(
            "SELECT name FROM (SELECT name, offset, lag(offset + compressed) OVER (ORDER BY offset, compressed) "
            "AS stop FROM files) WHERE offset < stop + ? LIMIT 1",
            header,
        )
        return row and _text(row[0])

    def name(self, number: int) -> str:
        """Of an image; so are `label` and `size`."""
        return _text(self._ask("SELECT name FROM images WHERE number = ?", number)[0])

    def label(self, number: int) -> int:
        return int(self._ask("SELECT label FROM images WHERE number = ?", number)[0])

    def size(self, number: int) -> int:
        return int(self._ask("SELECT size FROM images JOIN files USING (name) WHERE number = ?", number)[0])

    def found(self, name: str) -> FileEntry:
        """Raises KeyError for a name that is none of the files'."""
        row = self._ask(
            "SELECT size, mtime, offset, compressed, method, checksum, flags FROM files WHERE name = ?", _bytes(name)
        )
        if row is None:
            raise KeyError(name)
        return FileEntry(name, row[0], row[1], row[2:])

    def state(self) -> str:
        """Changes with the name, size, mtime or label of any image."""
        digest = blake2b(digest_size=16)
        for row in self._database.execute(
            "SELECT name, size, mtime, label FROM images JOIN files USING (name) ORDER BY number"
        ):
            digest.update(repr(row).encode())
        return digest.hexdigest()

    def _ask(self, question: str, *given: Any) -> Any:
        """The first row of an answer, None where there is none; many threads may ask."""
        with self._lock:
            return self._database.execute(question, given).fetchone()


class LazyColumn(Sequence[T], Generic[T]):
    """Values of images by their numbers, each read when it is asked for; a slice is a column of these numbers."""

    def __init__(self, read: Callable[[int], T], numbers: np.ndarray) -> None:
        self.read, self.numbers = read, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> LazyColumn[T]: ...
    def __getitem__(self, at: int | slice) -> T | LazyColumn[T]:
        return LazyColumn(self.read, self.numbers[at]) if isinstance(at, slice) else self.read(int(self.numbers[at]))

    def __iter__(self) -> Iterator[T]:
        return (self.read(int(number)) for number in self.numbers)


def natural_key(name: str) -> tuple[str, str]:
    """Numbers inside names count as numbers; equal keys fall back on the plain name."""
    return _key(name), name


def folder(name: str) -> str:
    """The folders on the way to a file, '' where there is none."""
    return name.rpartition("/")[0]


def _key(name: str) -> str:
    parts = (part.zfill(20) if part.isdecimal() else part.lower() for part in re.split(r"(\d+)", name))
    return "\0".join(parts)  # below all that a name can hold: parts are compared one by one


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")  # names may be no UTF-8; and so the order is that of the text


def _text(stored: bytes) -> str:
    return stored.decode(errors="surrogatepass")
