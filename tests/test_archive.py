"""The members of a zip, read without `zipfile`'s list of them: as `zipfile` reads them, and refusing what is broken."""

import io
import struct
import subprocess
import sys
import warnings
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparring.data import archive
from sparring.data.archive import content, members
from sparring.data.listing import list_images
from sparring.data.pixels import BadImage
from sparring.errors import SparringError


def read(path):
    """[(name, bytes)] of all members."""
    with open(path, "rb") as file:
        return [(info.filename, content(file.fileno(), info).getvalue()) for info in members(path)]


def by_zipfile(path):
    with zipfile.ZipFile(path) as whole:
        return [(info.filename, whole.read(info)) for info in whole.infolist()]


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
WAYS = st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])


@given(
    files=st.lists(st.tuples(NAMES, st.binary(max_size=60), WAYS), max_size=8),
    before=st.binary(max_size=30),
    comment=st.binary(max_size=40).filter(lambda text: b"PK" not in text),  # `zipfile` stumbles over its signatures
    at_once=st.integers(1, 4),
)
@settings(max_examples=60, deadline=None)
def test_members_are_what_zipfile_reads(tmp_path_factory, files, before, comment, at_once):
    """Of any names, ways of compression, comment, and with bytes before the zip, as a self-extracting one has."""
    held = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(held, "w") as made:
        warnings.simplefilter("ignore")  # of two members of one name
        for name, inside, way in files:
            made.writestr(name, inside, way)
        made.comment = comment
    path = tmp_path_factory.mktemp("zip") / "all.zip"
    path.write_bytes(before + held.getvalue())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive, "AT_ONCE", at_once)
        assert read(path) == by_zipfile(path)


def test_the_large_format_is_read_too(tmp_path, monkeypatch):
    """As for members beyond 4 GiB and archives of more than 65,535: with 64-bit fields and their end record."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 3)
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w") as made:
        for index in range(8):
            with made.open(f"{index}.png", "w", force_zip64=True) as member:
                member.write(bytes([index]) * 90)
    written = path.read_bytes()
    assert b"PK\6\6" in written
    assert b"PK\6\7" in written
    path.write_bytes(b"before it" + written)
    assert read(path) == by_zipfile(path) == [(f"{index}.png", bytes([index]) * 90) for index in range(8)]


def test_a_member_without_a_name_is_passed_over(tmp_path):
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w") as made:
        for name in ("", "1.png"):
            made.writestr(zipfile.ZipInfo(name), b"")
    assert list(list_images(path).names) == ["1.png"]


@pytest.mark.parametrize("field", [0, 1])
def test_numbers_that_no_file_can_have_are_refused(tmp_path, monkeypatch, field):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("1.png", bytes(90))
    written = bytearray(path.read_bytes())
    at = written.index(b"PK\1\2") + 46 + len("1.png") + 4 + 8 * field  # in the extra field: both sizes, 8 bytes each
    assert struct.unpack_from("<Q", written, at) == (90,)
    written[at : at + 8] = b"\xff" * 8
    path.write_bytes(written)
    with pytest.raises(SparringError, match="directory is damaged"):
        list_images(path)


def test_more_members_than_16_bits_count_need_little_memory(tmp_path):
    """`zipfile` takes .6 kB for each: 40 MB for these."""
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w") as made:
        for index in range(70_000):
            made.writestr(f"{index}.png", b"")
    look = """if True:
        import resource, sys
        from pathlib import Path
        from sparring.data.listing import list_images
        most = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        before = most()
        names = list_images(Path(sys.argv[1])).held_out_last(0.1)[0].names
        assert len(names) == 70_000 and len({name for name in names[::70]}) == 1000
        print(most() - before)
    """
    done = subprocess.run([sys.executable, "-c", look, path], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 16, "MB"


@pytest.fixture
def one(tmp_path):
    """A zip with one deflated member, as bytes that can be changed, and a function that reads the changed ones."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("1.png", b"picture " * 9)
    path = tmp_path / "one.zip"

    def of(changed):
        path.write_bytes(changed)
        return read(path)

    return bytearray(held.getvalue()), of


def test_a_broken_member_says_why(one):
    whole, of = one
    start = whole.index(b"PK\1\2")
    assert of(whole) == [("1.png", b"picture " * 9)]
    for at, change, words in (
        (start + 8, b"\1", "encrypted"),
        (start + 10, b"\x63", "compression"),
        (start + 16, b"\0\0\0\0", "CRC"),
        (start + 24, struct.pack("<L", 300_000_000), "more than 256 MB"),
        (start + 20, struct.pack("<L", 300_000_000), "more than 256 MB"),
        (start + 42, b"\5", "points to something else"),
        (0, b"PK\0\0", "points to something else"),
        (start + 42, b"\xff\xff\xff\x7f", "unpack"),
        (36, b"\xff\xff", ""),
    ):
        broken = whole[:]
        broken[at : at + len(change)] = change
        with pytest.raises(BadImage) as error:
            of(broken)
        assert words in str(error.value)
        assert "\n" not in str(error.value)


def test_a_broken_directory_is_refused(one, tmp_path):
    whole, of = one
    start, end = whole.index(b"PK\1\2"), whole.index(b"PK\5\6")
    for at, change in (
        (start, b"PK\0\0"),
        (start + 28, b"\xff\xff"),
        (end, b"PK\0\0"),
        (end + 12, b"\xff\xff\xff\xff"),
        (end + 12, b"\7\0\0\0"),
    ):
        broken = whole[:]
        broken[at : at + len(change)] = change
        with pytest.raises(zipfile.BadZipFile):
            of(broken)
    broken = whole[:]
    broken[start] = 0
    (tmp_path / "one.zip").write_bytes(broken)
    with pytest.raises(SparringError, match="cannot read the zip"):
        list_images(tmp_path / "one.zip")


@given(position=st.integers(0, 400), value=st.integers(0, 255), end=st.integers(0, 400))
@settings(max_examples=200, deadline=None)
def test_mutated_zips_are_read_or_refused(tmp_path_factory, position, value, end):
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as made:
        for name in ("1.png", "a/2.png"):
            made.writestr(name, b"picture " * 9)
    whole = bytearray(held.getvalue())
    whole[position % len(whole)] = value
    path = tmp_path_factory.mktemp("zip") / "all.zip"
    path.write_bytes(whole[: len(whole) - end % 5])
    said = ""
    try:
        listing = list_images(path)
        with listing.opener() as opened:
            for name in listing.names:
                opened(name)
    except SparringError as error:
        said = str(error)
    assert "\n" not in said
