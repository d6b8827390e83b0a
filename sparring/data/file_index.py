"""The files of a folder or archive: names, sizes, labels. A million need about 60 MB.

Their names are one block of bytes, everything else is a table of numpy.
"""

from __future__ import annotations

import json
import weakref
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np

from sparring.data.labels import natural_key, sort_key
from sparring.data.zip_members import gunzipped, kind_of, read_member, regular

BLOCK = 1 << 16  # files that are compared or hashed at a time
KEY_BYTES = 32  # of a sort key that are compared by numpy; equal ones are compared whole

FILE = np.dtype([("start", "i8"), ("folder", "i4"), ("size", "i8"), ("mtime", "i8")])
MEMBER_COLUMNS = ("offset", "i8"), ("packed", "i8"), ("method", "i4"), ("checksum", "u4"), ("flags", "u2")
MEMBER = np.dtype([("start", "i8"), ("folder", "i4"), ("size", "i8"), *MEMBER_COLUMNS])
"""Columns of a file and of a member of an archive: where its name starts, the number of its folder, sizes in bytes."""

T = TypeVar("T")
Open = Callable[[int], Path | BytesIO]


class FileTable:
    """Files of a source in the order of the scan.

    columns   FILE, or MEMBER for archives
    unpacked  the uncompressed content of a .tar.gz, if there is one
    """

    def __init__(self, columns: np.dtype[Any]) -> None:
        """An empty table."""
        self.rows, self.names, self.folders = np.zeros(1024, columns), bytearray(), list[str]()
        self._count, self._numbers = 0, dict[str, int]()
        self.unpacked: BinaryIO | None = None

    def __len__(self) -> int:
        """Number of files."""
        return self._count

    def append(self, name: str, size: int, *values: int) -> None:
        """Add a file; `values`: the columns after `size`."""
        folder, _, base = name.rpartition("/")
        number = self._numbers.setdefault(folder, len(self.folders))
        if number == len(self.folders):
            self.folders.append(folder)
        if self._count == len(self.rows):
            self.rows.resize(self._count * 5 // 4, refcheck=False)
        self.rows[self._count] = (len(self.names), number, size, *values)
        self.names += base.encode(errors="surrogatepass")  # names may not be valid UTF-8
        self._count += 1

    def fill(self, rows: np.ndarray, names: bytes, folders: list[str]) -> None:
        """Take the files of another table."""
        self.rows, self.names, self.folders, self._count = rows, bytearray(names), folders, len(rows)

    def unpack(self, source: Path) -> BinaryIO:
        """Decompress a .tar.gz into a temporary file, which lives as long as this table."""
        self.unpacked = gunzipped(source)
        weakref.finalize(self, self.unpacked.close)
        return self.unpacked

    def close(self) -> None:
        """Free what is left for more files."""
        self.rows.resize(self._count, refcheck=False)
        self._numbers.clear()

    def base(self, row: int) -> str:
        """The name of a file without its folder."""
        stop = int(self.rows["start"][row + 1]) if row + 1 < self._count else len(self.names)
        return bytes(self.names[int(self.rows["start"][row]) : stop]).decode(errors="surrogatepass")

    def name(self, row: int) -> str:
        """The path of a file inside the source, with '/'."""
        folder = self.folders[int(self.rows["folder"][row])]
        return f"{folder}/{self.base(row)}" if folder else self.base(row)

    def member(self, row: int) -> zipfile.ZipInfo:
        """Where a file is in its archive."""
        _, _, size, offset, packed, method, checksum, flags = self.rows[row].item()
        info = zipfile.ZipInfo(self.name(row))
        info.file_size, info.header_offset, info.compress_size = size, offset, packed
        info.compress_type, info.CRC, info.flag_bits = method, checksum, flags
        return info

    def sorted(self) -> tuple[np.ndarray, list[str]]:
        """Rows by folder and in natural order, and the names that occur more than once: the last file of a name counts.

        Keys are compared by their first bytes, in numpy; a Python list of all keys would take 100 bytes per file.
        """
        keys = np.fromiter(
            (sort_key(self.base(row)).encode(errors="surrogatepass")[:KEY_BYTES] for row in range(len(self))),
            f"S{KEY_BYTES}",
            len(self),
        )
        rank = np.zeros(len(self.folders), np.int32)
        rank[sorted(range(len(rank)), key=lambda folder: natural_key(self.folders[folder]))] = np.arange(len(rank))
        place = rank[self.rows["folder"]]
        order = np.argsort(keys, kind="stable").astype(np.int32)
        order = order[np.argsort(place[order], kind="stable")]
        equal = np.concatenate([np.zeros(0, np.int64), *_neighbors(order, keys, place)])
        keep, repeated = np.ones(len(order), bool), dict[str, None]()
        for run in np.split(equal, np.flatnonzero(np.diff(equal) > 1) + 1) if len(equal) else ():
            first, stop = int(run[0]), int(run[-1]) + 2
            rows = sorted(order[first:stop].tolist(), key=lambda row: (*natural_key(self.base(row)), row))
            order[first:stop] = rows
            for at, (row, following) in enumerate(pairwise(rows), first):
                if self.base(row) == self.base(following):
                    keep[at] = False
                    repeated[self.name(row)] = None
        return order[keep], list(repeated)

    def digest(self, rows: np.ndarray, more: str) -> str:
        """A hash of the columns of these files, and of `more`."""
        digest = blake2b(more.encode(), digest_size=10)
        for start in range(0, len(rows), BLOCK):
            block = rows[start : start + BLOCK]
            digest.update("\0".join(map(self.name, block.tolist())).encode(errors="surrogatepass"))
            for column in self.rows.dtype.names[2:]:
                digest.update(self.rows[column][block].tobytes())
        return digest.hexdigest()


def _neighbors(order: np.ndarray, keys: np.ndarray, place: np.ndarray) -> Iterator[np.ndarray]:
    """Positions in `order` of files whose key and folder are those of the next file, block by block to save memory."""
    for start in range(0, len(order), BLOCK):
        block = order[start : start + BLOCK + 1]
        same_key, same_place = (values[block[1:]] == values[block[:-1]] for values in (keys, place))
        yield start + np.flatnonzero(same_key & same_place)


@dataclass(frozen=True)
class FileIndex:
    """The images of a folder, a zip or a tar, by folder and in natural order (2.png before 10.png).

    files     all image files of the source
    rows      (n,) rows of `files`: the selected images
    labels    (n,) int32 into `classes`, or None
    classes   class names; () if the images have no labels
    notes     sentences about skipped files
    skipped   number of other images in the source: in other places, without a label, or of an unsupported format
    test      the source's own test set, with the same classes, or None
    archive   size and mtime of an archive; '' for folders
    """

    source: Path
    files: FileTable
    rows: np.ndarray
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    skipped: int = 0
    test: FileIndex | None = None
    archive: str = ""

    def __len__(self) -> int:
        """Number of images."""
        return len(self.rows)

    def name(self, image: int) -> str:
        """Path of an image inside the source, with '/'."""
        return self.files.name(int(self.rows[image]))

    def names(self) -> Iterator[str]:
        """The paths of all images."""
        return map(self.files.name, self.rows.tolist())

    def by_name(self, values: Mapping[int, T]) -> dict[str, T]:
        """{path: value} of {number of an image: value}."""
        return {self.name(image): value for image, value in values.items()}

    def of_class(self, label: int) -> FileIndex:
        """The images of one class, without labels; also those of the test set."""
        assert self.labels is not None
        test = None if self.test is None else self.test.of_class(label)
        return replace(self, rows=self.rows[self.labels == label], labels=None, classes=(), test=test)

    @property
    def sizes(self) -> np.ndarray:
        """(n,) bytes of each file, uncompressed."""
        sizes: np.ndarray = self.files.rows["size"][self.rows]
        return sizes

    @cached_property
    def digest(self) -> str:
        """A hash of the names, sizes and times of the images; it is independent of their labels."""
        return self.files.digest(self.rows, self.archive)

    @property
    def state(self) -> str:
        """The state of the source, which changes with any of its images."""
        return self.archive or "-".join(str(int(self.files.rows[name].sum())) for name in ("size", "mtime"))

    @contextmanager
    def opener(self) -> Iterator[Open]:
        """A thread-safe function from the number of an image to a path or stream for `open_image`."""
        with open_rows(self.source, self.files) as open_row:
            yield lambda image: open_row(int(self.rows[image]))


@contextmanager
def open_rows(source: Path, files: FileTable) -> Iterator[Open]:
    """A thread-safe function from a row of the table to a path or stream for `open_image`."""
    if source.is_dir():
        yield lambda row: source / files.name(row)
        return
    if files.unpacked is None and kind_of(source) == "tar.gz":
        files.unpack(source)
    with nullcontext(files.unpacked) if files.unpacked else regular(source) as archive:
        yield lambda row: read_member(archive.fileno(), files.member(row))


def archive_state(source: Path) -> str:
    """Size and mtime of an archive."""
    status = source.stat()
    return f"{status.st_size}-{status.st_mtime_ns}"


def one_file(path: Path) -> FileIndex:
    """The index of one image file."""
    files = FileTable(FILE)
    status = path.stat()
    files.append(path.name, status.st_size, status.st_mtime_ns)
    files.close()
    return FileIndex(path.parent, files, np.zeros(1, np.int32))


def write_index(file: Any, index: FileIndex, key: str) -> None:
    """Write the index of an archive as .npz."""
    arrays: dict[str, Any] = {"files": index.files.rows, "names": np.frombuffer(index.files.names, np.uint8)}
    for name, part in (("", index), ("test_", index.test)):
        if part is not None:
            arrays[f"{name}rows"] = part.rows
            if part.labels is not None:
                arrays[f"{name}labels"] = part.labels
    names = ("classes", "notes", "skipped", "archive", "digest")
    values = {"key": key, "folders": index.files.folders, **{name: getattr(index, name) for name in names}}
    np.savez(file, **arrays, values=np.array(json.dumps(values)))


def read_index(file: BinaryIO, source: Path, key: str) -> FileIndex:
    """Read an index that `write_index` wrote with this key. Raises ValueError, KeyError or BadZipFile for others."""
    with np.load(file, allow_pickle=False) as arrays:
        values = json.loads(str(arrays["values"]))
        if values.pop("key") != key:
            raise ValueError("the index of another archive")
        files = FileTable(MEMBER)
        files.fill(arrays["files"], arrays["names"].tobytes(), values.pop("folders"))
        digest, classes, notes = values.pop("digest"), tuple(values.pop("classes")), tuple(values.pop("notes"))
        labels = {name: arrays[name] for name in ("labels", "test_labels") if name in arrays}
        test = None
        if "test_rows" in arrays:
            test = FileIndex(source, files, arrays["test_rows"], labels.get("test_labels"), classes, **values)
        index = FileIndex(source, files, arrays["rows"], labels.get("labels"), classes, notes, test=test, **values)
    vars(index)["digest"] = digest
    return index
