"""An index of the files of a folder or archive in a temporary SQLite database, so that a million need little memory."""

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
    """A file of the source: name inside the source, size in bytes, mtime in ns.

    member  for archives: offset, compressed size, compression method, checksum, flags
    """

    name: str
    size: int
    mtime: int
    member: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)


class FileIndex:
    """All image files, and the selected ones, numbered from 0 in natural order.

    SQLite deletes its temporary file. Raises sqlite3.Error if there is no space for it.
    """

    def __init__(self, entries: Iterable[FileEntry]) -> None:
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
            (_bytes(f.name), _bytes(_key(f.name)), _bytes(folder(f.name)), f.size, f.mtime, *f.member) for f in entries
        )
        self._database.executemany(
            "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1) ON CONFLICT DO UPDATE SET times = times + 1, "
            "size = excluded.size, offset = excluded.offset, compressed = excluded.compressed, "
            "method = excluded.method, checksum = excluded.checksum, flags = excluded.flags",
            rows,
        )

    def select(self, labels: Mapping[str, int | None]) -> int:
        """Select the files of these folders, in natural order, with the label of their folder. Returns their number."""
        rows = ((_bytes(name), label) for name, label in labels.items())
        self._database.executemany("INSERT INTO folders VALUES (?, ?)", rows)
        return self._insert_images("SELECT name, key, folders.label FROM files JOIN folders USING (folder)")

    def select_labeled(self, labels: Mapping[str, int]) -> int:
        """Select these files, in natural order, with these labels. Returns their number."""
        rows = ((_bytes(name), label) for name, label in labels.items())
        self._database.executemany("INSERT INTO labels VALUES (?, ?)", rows)
        return self._insert_images("SELECT name, key, labels.label FROM files JOIN labels USING (name)")

    def _insert_images(self, query: str) -> int:
        self._database.execute(
            f"INSERT INTO images SELECT row_number() OVER (ORDER BY key, name) - 1, name, label FROM ({query})"
        )
        return int(self._query("SELECT count(*) FROM images")[0])

    def __len__(self) -> int:
        return int(self._query("SELECT count(*) FROM files")[0])

    def folders(self) -> dict[str, int]:
        """{folder: number of files in it}; '' is the source itself."""
        rows = self._database.execute("SELECT folder, count(*) FROM files GROUP BY folder")
        return {_text(name): count for name, count in rows}

    def first_in(self, folder: str) -> str:
        """The first file of a folder, in natural order."""
        return _text(
            self._query("SELECT name FROM files WHERE folder = ? ORDER BY key, name LIMIT 1", _bytes(folder))[0]
        )

    def names(self) -> Iterator[str]:
        """The names of all files."""
        return (_text(name) for (name,) in self._database.execute("SELECT name FROM files"))

    def repeated_names(self) -> tuple[int, str]:
        """The number of names that occur more than once, and the first of them; the last file of a name is kept."""
        count, name = self._query("SELECT count(*), min(name) FROM files WHERE times > 1")
        return count, _text(name or b"")

    def total_size(self) -> int:
        """Uncompressed size of all files, in bytes."""
        return int(self._query("SELECT total(size) FROM files")[0])

    def overlapping(self, header: int) -> str | None:
        """A member that overlaps its predecessor, or None; `header`: bytes before the data of each member."""
        row = self._query(
            "SELECT name FROM (SELECT name, offset, lag(offset + compressed) OVER (ORDER BY offset, compressed) "
            "AS stop FROM files) WHERE offset < stop + ? LIMIT 1",
            header,
        )
        return row and _text(row[0])

    def name(self, number: int) -> str:
        """The name of an image, by its number; so are `label` and `size`."""
        return _text(self._query("SELECT name FROM images WHERE number = ?", number)[0])

    def label(self, number: int) -> int:
        return int(self._query("SELECT label FROM images WHERE number = ?", number)[0])

    def size(self, number: int) -> int:
        return int(self._query("SELECT size FROM images JOIN files USING (name) WHERE number = ?", number)[0])

    def entry(self, name: str) -> FileEntry:
        """The entry of a file. Raises KeyError for an unknown name."""
        row = self._query(
            "SELECT size, mtime, offset, compressed, method, checksum, flags FROM files WHERE name = ?", _bytes(name)
        )
        if row is None:
            raise KeyError(name)
        return FileEntry(name, row[0], row[1], row[2:])

    def digest(self) -> str:
        """A hash of name, size, mtime and label of all images."""
        digest = blake2b(digest_size=16)
        for row in self._database.execute(
            "SELECT name, size, mtime, label FROM images JOIN files USING (name) ORDER BY number"
        ):
            digest.update(repr(row).encode())
        return digest.hexdigest()

    def _query(self, query: str, *arguments: Any) -> Any:
        """The first row of the result, or None. Thread-safe."""
        with self._lock:
            return self._database.execute(query, arguments).fetchone()


class LazyColumn(Sequence[T], Generic[T]):
    """A lazy sequence of one value per image; a slice is again a LazyColumn."""

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
    """A sort key that compares digits inside names as numbers; ties are broken by the plain name."""
    return _key(name), name


def folder(name: str) -> str:
    """The folder of a file, '' if it has none."""
    return name.rpartition("/")[0]


def _key(name: str) -> str:
    parts = (part.zfill(20) if part.isdecimal() else part.lower() for part in re.split(r"(\d+)", name))
    return "\0".join(parts)  # sorts before every character of a name, so parts are compared one by one


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")  # names may not be valid UTF-8; keeps the order of the text


def _text(stored: bytes) -> str:
    return stored.decode(errors="surrogatepass")
