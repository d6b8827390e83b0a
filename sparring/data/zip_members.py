"""Iterate over the members of a zip or tar in constant memory (`zipfile` needs 0.6 kB per member).

The central directory of a zip is split into parts that `zipfile` reads as small archives; the offset of a member's data
is computed here (APPNOTE.TXT 4.3). Stated sizes are not trusted: unpacking stops one byte after the stated
size, and members that would expand more than 200-fold are rejected.
"""

from __future__ import annotations

import gzip
import os
import re
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import BinaryIO
from zipfile import BadZipFile, ZipFile, ZipInfo

from sparring.data.pixels import MAX_BYTES, BadImage
from sparring.errors import SparringError, printable

END = struct.Struct("<4s4H2LH")  # 4.3.16: signature, ..., bytes of the directory, its offset, length of the comment
END_64 = struct.Struct("<4sQ2H2L4Q")  # 4.3.14
LOCATOR_64 = 20  # bytes, 4.3.15
ENTRY = struct.Struct("<4s24x3H12x")  # 4.3.12: signature, lengths of name, extra field and comment
LOCAL = struct.Struct("<4s22x2H")  # 4.3.7: signature, lengths of name and extra field
ENTRIES_PER_READ = 1000

CHUNK = 1 << 16  # bytes read and unpacked at a time
MAX_RATIO = 200  # of unpacked to packed bytes ...
FREE_BYTES = 64_000_000  # ... of what unpacks to more than this
DEFLATE_RATIO = 1032  # the maximum of deflate: 258 bytes for 2 bits

UNUSUAL_NAME = re.compile(r"\\|:|^/|//|/$|(^|/)\.\.?(/|$)")

RAW = -1
"""Compression method of a tar member: no compression, no local header."""

UNSUPPORTED = {
    b"Rar!": "RAR",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}


def kind_of(path: Path) -> str | None:
    """The kind of archive by the file's content: "zip", "tar", "tar.gz", or None for other files.

    Raises `SparringError` for irregular or unreadable files, unsupported archives and truncated zips.
    """
    place = f"'{printable(str(path))}'"
    with regular(path) as file:
        start = file.read(512)
        if zipfile.is_zipfile(file):
            return "zip"
    if start.startswith(b"PK\3\4"):
        raise SparringError(f"{place} is a truncated zip, perhaps an incomplete download: download it again")
    if start.startswith(b"PK\7\x08"):
        raise SparringError(f"{place} is part of a split zip: join the parts, or unpack it and give the folder")
    if start[257:262] == b"ustar" or (path.suffix.lower() == ".tar" and start):
        return "tar"
    if start.startswith(b"\x1f\x8b") and path.name.lower().endswith((".tar.gz", ".tgz")):
        return "tar.gz"
    for signature, name in UNSUPPORTED.items():
        if start.startswith(signature):
            raise SparringError(f"{place} is a {name} archive, which is not supported: unpack it and give the folder")
    return None


def regular(path: Path) -> BinaryIO:
    """Open a regular file for reading, without blocking on FIFOs or devices.

    Raises `SparringError` with the reason.
    """
    place = f"'{printable(str(path))}'"
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        mode = os.fstat(handle).st_mode
        if stat.S_ISREG(mode):
            return os.fdopen(handle, "rb")
        os.close(handle)
    except OSError as error:
        raise SparringError(f"cannot read {place}: {error.strerror}") from None
    kind = "folder" if stat.S_ISDIR(mode) else "FIFO" if stat.S_ISFIFO(mode) else "device"
    raise SparringError(f"{place} is a {kind}, not a regular file")


def members(path: Path) -> Iterator[ZipInfo]:
    """Yield the central directory entry of each member of a zip, in order. Raises BadZipFile."""
    with open(path, "rb") as file:
        start, size, shift = _directory(file)
        file.seek(start)
        entries = _entries(file, size)
        while batch := list(islice(entries, ENTRIES_PER_READ)):
            directory = b"".join(batch)
            end = END.pack(b"PK\5\6", 0, 0, len(batch), len(batch), len(directory), 0, 0)
            with ZipFile(BytesIO(directory + end)) as part:
                for info in part.infolist():
                    if max(info.file_size, info.compress_size, info.header_offset) >= 1 << 62:
                        raise BadZipFile("its directory is damaged")
                    info.header_offset += shift
                    yield info


def tar_members(file: BinaryIO) -> Iterator[ZipInfo]:
    """Yield the regular files of an uncompressed tar as members with method RAW. Raises tarfile.TarError."""
    with tarfile.open(fileobj=file, mode="r:") as tar:
        for member in tar:
            tar.members.clear()  # type: ignore[attr-defined]  # tarfile keeps a list of them
            if member.isreg() and not member.issparse():
                info = ZipInfo(member.name)
                info.file_size = info.compress_size = member.size
                info.CRC = 0
                info.header_offset, info.compress_type = member.offset_data, RAW
                yield info


def plain_name(name: str) -> str:
    """A member's name as a relative path with '/', whichever system and program wrote it."""
    if not UNUSUAL_NAME.search(name):
        return name
    name = re.sub(r"^[A-Za-z]:", "", name.replace("\\", "/"))
    return "/".join(part for part in name.split("/") if part not in ("", ".", ".."))


def gunzipped(path: Path) -> BinaryIO:
    """Decompress a .gz file into a temporary file, deleted when closed. Raises `SparringError`."""
    place = f"'{printable(str(path))}'"
    size = path.stat().st_size
    file = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
    try:
        with gzip.open(path) as packed:
            while chunk := packed.read(1 << 20):
                file.write(chunk)
                require_plausible(file.tell(), size, place)
    except (OSError, EOFError, zlib.error) as error:
        file.close()
        raise SparringError(f"cannot unpack {place}: {error}") from error
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return file


def require_plausible(stated: int, packed: int, what: str) -> None:
    """Raise BadImage if `packed` bytes expand to implausibly many `stated` bytes, as in a zip bomb."""
    if stated > FREE_BYTES and stated > MAX_RATIO * packed:
        raise BadImage(
            f"{what} would unpack to {stated / 1e6:,.0f} MB, more than {MAX_RATIO} times its {packed / 1e6:,.1f} MB"
        )


def read_member(handle: int, info: ZipInfo) -> BytesIO:
    """Read a member of the open file `handle`. Thread-safe. Raises BadImage."""
    if max(info.file_size, info.compress_size) > MAX_BYTES:
        raise BadImage(f"more than {MAX_BYTES // 1_000_000} MB")
    content = BytesIO()
    for chunk in unpacked(handle, info):
        content.write(chunk)
    content.seek(0)
    return content


def unpacked(handle: int, info: ZipInfo) -> Iterator[bytes]:
    """Yield the bytes of a member in chunks, at most its stated size. Raises BadImage; the checksum is checked last."""
    _require_unpackable(info)
    try:
        inflate = zlib.decompressobj(-zlib.MAX_WBITS) if info.compress_type == zipfile.ZIP_DEFLATED else None
        size, checksum = 0, 0
        for chunk in _stored(handle, info):
            while True:  # read one byte more than stated, to detect longer members
                data = inflate.decompress(chunk, min(CHUNK, info.file_size - size + 1)) if inflate else chunk
                size, checksum = size + len(data), zlib.crc32(data, checksum)
                if size > info.file_size:
                    raise BadImage(f"it has more than the {info.file_size:,} bytes that the zip states")
                yield data
                if inflate is None or inflate.eof or not data:
                    break
                chunk = inflate.unconsumed_tail
            if inflate and inflate.eof:
                break
    except (zlib.error, OSError) as error:
        raise BadImage(str(error)) from error
    if size < info.file_size:
        raise BadImage(f"it is cut short: {size:,} of {info.file_size:,} bytes")
    if info.compress_type != RAW and checksum != info.CRC:
        raise BadImage("wrong CRC-32: it is damaged")


def _require_unpackable(info: ZipInfo) -> None:
    """Raise BadImage for encryption, other compression than deflate, and impossible sizes."""
    if info.flag_bits & 1:
        raise BadImage("it is encrypted")
    if info.compress_type not in (RAW, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        method = zipfile.compressor_names.get(info.compress_type, f"method {info.compress_type}")  # type: ignore[attr-defined]
        raise BadImage(f"its compression method is {method}; only deflate is supported: compress it again")
    if info.compress_type != zipfile.ZIP_DEFLATED and info.compress_size != info.file_size:
        raise BadImage("it is stored uncompressed, but the zip states two different sizes")
    if info.file_size > DEFLATE_RATIO * (info.compress_size + 1):
        raise BadImage(
            f"the zip states {info.file_size:,} bytes, which is impossible for {info.compress_size:,} compressed bytes"
        )
    require_plausible(info.file_size, info.compress_size, "it")


def _stored(handle: int, info: ZipInfo) -> Iterator[bytes]:
    """Yield the stored bytes of a member, compressed or not."""
    start = info.header_offset
    if info.compress_type != RAW:
        head = os.pread(handle, LOCAL.size, start)
        if len(head) < LOCAL.size or head[:4] != b"PK\3\4":
            raise BadImage("the zip's directory points to a wrong offset")
        start += LOCAL.size + sum(LOCAL.unpack(head)[1:])
    stop = start + info.compress_size
    while start < stop:
        chunk = os.pread(handle, min(CHUNK, stop - start), start)
        if not chunk:
            raise BadImage("the archive ends within this file")
        start += len(chunk)
        yield chunk


def _directory(file: BinaryIO) -> tuple[int, int, int]:
    """Offset and size of the central directory, and the number of bytes prepended to the zip (added to all offsets)."""
    length = file.seek(0, os.SEEK_END)
    before = max(0, length - END.size - 0xFFFF)
    file.seek(before)
    tail = file.read()
    at = tail.rfind(b"PK\5\6", 0, len(tail) - END.size + 4)
    if at < 0:
        raise BadZipFile("it has no end record")
    *_, size, offset, _ = END.unpack_from(tail, at)
    stop = before + at
    at_64 = at - LOCATOR_64 - END_64.size
    if at_64 >= 0 and tail[at_64 : at_64 + 4] == b"PK\6\6" and tail[at - LOCATOR_64 :][:4] == b"PK\6\7":
        *_, size, offset = END_64.unpack_from(tail, at_64)
        stop = before + at_64
    if size > stop:
        raise BadZipFile("its end record states a directory larger than the file")
    return stop - size, size, stop - size - offset


def _entries(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield the directory entries that start at the current position."""
    while size > 0:
        head = file.read(ENTRY.size)
        if len(head) < ENTRY.size or head[:4] != b"PK\1\2":
            raise BadZipFile("its directory is damaged")
        rest = sum(ENTRY.unpack(head)[1:])
        size -= len(head) + rest
        if size < 0:
            raise BadZipFile("its directory is damaged")
        yield head + file.read(rest)
