"""The members of a zip, read without `zipfile`'s list of them: as `zipfile` reads them, and refusing what is broken."""

import io
import os
import struct
import subprocess
import sys
import tarfile
import warnings
import zipfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparring.data import file_index, zip_members
from sparring.data.labels import natural_key
from sparring.data.pixels import BadImage
from sparring.data.scan import scan
from sparring.data.zip_members import members, read_member
from sparring.errors import SparringError


def read(path):
    """[(name, bytes)] of all members."""
    with open(path, "rb") as file:
        return [(info.filename, read_member(file.fileno(), info).getvalue()) for info in members(path)]


def by_zipfile(path):
    with zipfile.ZipFile(path) as whole:
        return [(info.filename, whole.read(info)) for info in whole.infolist()]


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
WAYS = st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])


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
        patch.setattr(zip_members, "ENTRIES_PER_READ", at_once)
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
    assert list(scan(path).names()) == ["1.png"]


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
        scan(path)


def empty_members(count):
    """A zip of so many empty members, as `zipfile` writes it, which takes twenty times as long."""
    held, pieces, directory = io.BytesIO(), [], []
    with zipfile.ZipFile(held, "w") as made:
        made.writestr("000000.png", b"")
    one = held.getvalue()
    entry, end = one.index(b"PK\1\2"), one.index(b"PK\5\6")
    for index in range(count):
        name = b"%06d.png" % index
        pieces.append(one[:entry].replace(b"000000.png", name))
        directory.append(one[entry : end - 14] + struct.pack("<L", index * entry) + name)
    start, size = count * entry, count * (end - entry)
    large = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, start)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, start + size, 1)
    last = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, size, start, 0)
    return b"".join([*pieces, *directory, large, locator, last])


@pytest.mark.slow
def test_more_members_than_16_bits_count_need_little_memory(tmp_path):
    """`zipfile` takes .6 kB for each: 40 MB for these."""
    path = tmp_path / "all.zip"
    path.write_bytes(empty_members(5))
    assert read(path) == by_zipfile(path) == [(f"{index:06}.png", b"") for index in range(5)]
    path.write_bytes(empty_members(70_000))
    look = """if True:
        import resource, sys
        from pathlib import Path
        from sparring.data.scan import scan
        most = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        before = most()
        index = scan(Path(sys.argv[1]))
        assert len(index) == 70_000 and len({index.name(i) for i in range(0, 70_000, 70)}) == 1000
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
        (start + 42, b"\5", "points to a wrong offset"),
        (0, b"PK\0\0", "points to a wrong offset"),
        (start + 42, b"\xff\xff\xff\x7f", "points to a wrong offset"),
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
    with pytest.raises(SparringError, match="cannot read the archive"):
        scan(tmp_path / "one.zip")


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
        index = scan(path)
        with index.opener() as opened:
            for image in range(len(index)):
                opened(image)
    except SparringError as error:
        said = str(error)
    assert "\n" not in said


# What an archive says of itself is not believed.


def patched(whole, at, number):
    """With a 32-bit number at a place in the directory's first entry."""
    changed = bytearray(whole)
    struct.pack_into("<L", changed, whole.index(b"PK\1\2") + at, number)
    return changed


def zipped(files, way=zipfile.ZIP_DEFLATED):
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", way) as made:
        for name, inside in files:
            made.writestr(name, inside)
    return held.getvalue()


def test_a_bomb_is_unpacked_no_further_than_its_stated_size(tmp_path, monkeypatch):
    path = tmp_path / "bomb.zip"
    path.write_bytes(patched(zipped([("1.png", bytes(50_000_000))]), 24, 100_000))  # of uncompressed bytes
    unpacked = []
    real = zlib.decompressobj

    class Counting:
        def __init__(self, bits):
            self.real = real(bits)

        def decompress(self, piece, most):
            unpacked.append(self.real.decompress(piece, most))
            return unpacked[-1]

        eof = property(lambda self: self.real.eof)
        unconsumed_tail = property(lambda self: self.real.unconsumed_tail)

    monkeypatch.setattr(zlib, "decompressobj", Counting)
    with pytest.raises(BadImage, match="more than the 100,000 bytes"):
        read(path)
    assert sum(map(len, unpacked)) == 100_001


def test_what_grows_beyond_measure_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "all.zip"
    path.write_bytes(patched(zipped([("1.png", b"x" * 1000)]), 24, 200_000_000))
    with pytest.raises(BadImage, match=r"impossible for .* compressed bytes"):
        read(path)
    path.write_bytes(zipped([("1.png", bytes(90_000)), ("2.png", bytes(90_000))]))
    monkeypatch.setattr(zip_members, "FREE_BYTES", 80_000)
    with pytest.raises(BadImage, match="more than 200 times"):
        read(path)
    monkeypatch.setattr(zip_members, "FREE_BYTES", 100_000)
    with pytest.raises(SparringError, match="more than 200 times"):
        scan(path)


def test_many_names_over_one_stream_are_refused(tmp_path):
    whole = zipped([(f"{index}.png", b"picture") for index in range(9)])
    path = tmp_path / "all.zip"
    path.write_bytes(whole)
    assert len(scan(path)) == 9
    second = whole.index(b"PK\1\2", whole.index(b"PK\1\2") + 1)
    path.write_bytes(whole[: second + 42] + bytes(4) + whole[second + 46 :])  # the first member's place
    with pytest.raises(SparringError, match=r"png overlaps another member"):
        scan(path)


@pytest.mark.parametrize("way", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_ways_of_compression_are_named(tmp_path, way):
    path = tmp_path / "all.zip"
    path.write_bytes(zipped([("1.png", b"picture")], way))
    with pytest.raises(BadImage, match=r"compression method is (bzip2|lzma); only deflate"):
        read(path)


def test_sizes_of_a_stored_member_agree(tmp_path):
    path = tmp_path / "all.zip"
    path.write_bytes(patched(zipped([("1.png", b"picture")], zipfile.ZIP_STORED), 24, 3))
    with pytest.raises(BadImage, match="two different sizes"):
        read(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (zipped([("1.png", b"picture" * 99)])[:100], "incomplete download"),
        (b"Rar!\x1a\7\0" + bytes(600), "is a RAR archive"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(600), "is a 7z archive"),
        (b"BZh9" + bytes(600), "is a bzip2 archive"),
        (b"text", "neither a folder nor an archive"),
        (b"\x1f\x8b" + bytes(600), "neither a folder nor an archive"),
    ],
    ids=["half a zip", "RAR", "7z", "bzip2", "text", "half a gzip"],  # the bytes of a zip hold the time
)
def test_what_is_no_archive_is_called_what_it_is(tmp_path, content, words):
    path = tmp_path / "data.zip"
    path.write_bytes(content)
    with pytest.raises(SparringError, match=words) as error:
        scan(path)
    assert "\n" not in str(error.value)


def test_an_archive_that_may_not_be_read_says_so(tmp_path, monkeypatch):
    path = tmp_path / "all.zip"
    path.write_bytes(zipped([("1.png", b"picture")]))
    real = os.open

    def refused(name, *flags):
        if str(name) == str(path):
            raise PermissionError(13, "Permission denied")
        return real(name, *flags)

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(SparringError, match="Permission denied"):
        scan(path)


NAMED = ["cats\\1.png", "./cats/2.png", "C:\\cats\\3.png", "/cats//4.png", "../cats/5.png", "cats/./6.png"]


def test_names_of_any_system_mean_the_same(tmp_path):
    path = tmp_path / "all.zip"
    path.write_bytes(zipped([("dogs\\", b""), *((name, b"picture") for name in [*NAMED, "dogs/1.png"])]))
    index = scan(path)
    assert index.classes == ("cats", "dogs")
    assert list(index.names()) == [*(f"cats/{number}.png" for number in range(1, 7)), "dogs/1.png"]


def test_two_members_of_one_name_are_named(tmp_path):
    path = tmp_path / "all.zip"
    path.write_bytes(zipped([("a\\1.png", b"first"), ("b/1.png", b"other"), ("a/1.png", b"second")]))
    index = scan(path)
    (note,) = [note for note in index.notes if "more than once" in note]
    assert "1 names" in note
    assert "a/1.png" in note
    with index.opener() as opened:
        assert [opened(image).getvalue() for image in range(2)] == [b"second", b"other"]


# Tars.


def tarred(path, files, mode="w"):
    with tarfile.open(path, mode) as made:
        for name, inside in files:
            info = tarfile.TarInfo(name)
            info.size = len(inside)
            made.addfile(info, io.BytesIO(inside))
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        made.addfile(link)
    return path


@pytest.mark.parametrize(("name", "mode"), [("all.tar", "w"), ("all.tar.gz", "w:gz"), ("all.tgz", "w:gz")])
def test_a_tar_is_read_like_a_zip(tmp_path, name, mode):
    files = [(f"set/{'ab'[index % 2]}/{index}.png", bytes([index]) * 700) for index in range(5)]
    index = scan(tarred(tmp_path / name, files, mode))
    assert index.classes == ("a", "b")
    with index.opener() as opened:
        assert sorted((index.name(image), opened(image).getvalue()) for image in range(len(index))) == sorted(files)


def test_a_gz_that_grows_beyond_measure_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(zip_members, "FREE_BYTES", 1_000_000)
    path = tarred(tmp_path / "all.tar.gz", [("1.png", bytes(5_000_000))], "w:gz")
    with pytest.raises(SparringError, match="more than 200 times"):
        scan(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SparringError, match=r"cannot unpack|more than 200"):
        scan(path)


@given(position=st.integers(0, 3000), value=st.integers(0, 255), end=st.integers(0, 2000))
@settings(max_examples=100, deadline=None)
def test_mutated_tars_are_read_or_refused(tmp_path_factory, position, value, end):
    path = tarred(tmp_path_factory.mktemp("tar") / "all.tar", [("1.png", b"picture"), ("a/2.png", b"picture")])
    whole = bytearray(path.read_bytes())
    whole[position % len(whole)] = value
    path.write_bytes(whole[: len(whole) - end])
    said = ""
    try:
        index = scan(path)
        with index.opener() as opened:
            for image in range(len(index)):
                opened(image)
    except SparringError as error:
        said = str(error)
    assert "\n" not in said


WORDS = st.text("aA10.é/\udcff", min_size=1, max_size=7).map(lambda text: text.strip("/").replace("//", "/") or "0")


@given(names=st.lists(WORDS, max_size=12), key_bytes=st.integers(1, 4), block=st.integers(1, 3))
@settings(max_examples=200, deadline=None)
def test_files_are_sorted_as_by_their_whole_keys(names, key_bytes, block):
    """By folder and in natural order; of equal names the last. Keys are compared by a few bytes, in blocks."""
    table = file_index.FileTable(file_index.FILE)
    for number, name in enumerate(names):
        table.append(name, number, 0)
    table.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_index, "KEY_BYTES", key_bytes)
        patch.setattr(file_index, "BLOCK", block)
        order, repeated = table.sorted()
    last = {name: number for number, name in enumerate(names)}
    keys = {name: tuple(map(natural_key, name.rpartition("/")[::2])) for name in last}
    expected = sorted(last, key=lambda name: keys[name])
    assert [table.name(row) for row in order.tolist()] == expected
    assert table.rows["size"][order].tolist() == [last[name] for name in expected]
    assert sorted(repeated) == sorted(name for name in last if names.count(name) > 1)


def test_an_index_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as made:
        for name in ("train/b/2.png", "train/a/10.png", "train/a/9.png", "test/b/1.png", "notes.txt"):
            made.writestr(name, name.encode())
    index = scan(path)
    with open(tmp_path / "index.npz", "wb") as file:
        file_index.write_index(file, index, "key")
    with open(tmp_path / "index.npz", "rb") as file:
        again = file_index.read_index(file, path, "key")
        file.seek(0)
        with pytest.raises(ValueError, match="another archive"):
            file_index.read_index(file, path, "other")
    for one, other in ((index, again), (index.test, again.test)):
        assert list(other.names()) == list(one.names())
        assert other.labels.tolist() == one.labels.tolist()
        assert (other.classes, other.skipped, other.digest, other.state) == (
            *(one.classes, one.skipped, one.files.digest(one.rows, one.archive), one.state),
        )
        with other.opener() as opened:
            assert [opened(i).getvalue().decode() for i in range(len(other))] == list(one.names())
    assert (list(index.names()), again.notes) == (["train/a/9.png", "train/a/10.png", "train/b/2.png"], index.notes)
