"""The members of a zip, one at a time: `zipfile` keeps .6 kB of memory for each, and there may be millions.

The directory is cut into pieces that `zipfile` reads as small archives, and a member's bytes go to its own reader: only
where these lie is found here (APPNOTE.TXT 4.3, the format's definition).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import BinaryIO
from zipfile import BadZipFile, ZipExtFile, ZipFile, ZipInfo

from sparring.data.pixels import MAX_BYTES, BadImage

END = struct.Struct("<4s4H2LH")  # 4.3.16: signature, ..., bytes of the directory, its offset, length of the comment
END_64 = struct.Struct("<4sQ2H2L4Q")  # 4.3.14
LOCATOR_64 = 20  # bytes, 4.3.15
ENTRY = struct.Struct("<4s24x3H12x")  # 4.3.12: signature, lengths of name, extra field and comment
LOCAL = struct.Struct("<4s22x2H")  # 4.3.7: signature, lengths of name and extra field
AT_ONCE = 1000


def members(path: Path) -> Iterator[ZipInfo]:
    """What the zip's directory says of each member, in its order. Raises BadZipFile."""
    with open(path, "rb") as file:
        start, size, shift = _directory(file)
        file.seek(start)
        entries = _entries(file, size)
        while some := list(islice(entries, AT_ONCE)):
            piece = b"".join(some)
            end = END.pack(b"PK\5\6", 0, 0, len(some), len(some), len(piece), 0, 0)
            with ZipFile(BytesIO(piece + end)) as part:
                for info in part.infolist():
                    if max(info.file_size, info.compress_size, info.header_offset) >= 1 << 62:
                        raise BadZipFile("its directory is damaged")
                    info.header_offset += shift
                    yield info


def content(handle: int, info: ZipInfo) -> BytesIO:
    """The bytes of a member of the open file `handle`; safe to call from many threads. Raises BadImage."""
    try:
        if max(info.file_size, info.compress_size) > MAX_BYTES:
            raise BadImage(f"more than {MAX_BYTES // 1_000_000} MB")
        if info.flag_bits & 1:
            raise BadImage("it is encrypted")
        signature, name, extra = LOCAL.unpack(os.pread(handle, LOCAL.size, info.header_offset))
        if signature != b"PK\3\4":
            raise BadImage("the zip's directory points to something else")
        held = os.pread(handle, info.compress_size, info.header_offset + LOCAL.size + name + extra)
        with ZipExtFile(BytesIO(held), "r", info) as member:
            return BytesIO(member.read())
    except BadImage:
        raise
    except Exception as error:  # wrong checksum, unknown compression, broken stream, a file that ends too early
        raise BadImage(str(error) or type(error).__name__) from error


def _directory(file: BinaryIO) -> tuple[int, int, int]:
    """Where the directory begins, its bytes, and what all offsets are short of: bytes that were put before the zip."""
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
        raise BadZipFile("its end record tells of a directory that is larger than the file")
    return stop - size, size, stop - size - offset


def _entries(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The entries of the directory that begins here."""
    while size > 0:
        head = file.read(ENTRY.size)
        if len(head) < ENTRY.size or head[:4] != b"PK\1\2":
            raise BadZipFile("its directory is damaged")
        rest = sum(ENTRY.unpack(head)[1:])
        size -= len(head) + rest
        if size < 0:
            raise BadZipFile("its directory is damaged")
        yield head + file.read(rest)
