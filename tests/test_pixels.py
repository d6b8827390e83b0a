"""Every kind of image file gives the right pixels or is refused with a reason; nothing is silently wrong."""

import contextlib
import io
import os
import struct
import time
import zlib
from threading import Event, Thread

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as some
from PIL import Image, ImageFile

from sparring.data import pixels
from sparring.data.pixels import (
    TRANSPOSE_OF_ORIENTATION,
    BadImage,
    Budget,
    read_header,
    read_image,
    resize,
    to_float,
    to_uint8,
)
from sparring.errors import SparringError

RAMP = np.linspace(0, 255, 64).round().astype(np.uint8).reshape(8, 8)
COLORS = np.stack([RAMP, RAMP.T, 255 - RAMP], axis=2)  # (8, 8, 3)
WHITE = np.full((8, 8), 255, np.uint8)


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(pixels, *, bits=8, extra=b"", claim=None):
    """A PNG written by hand, for what Pillow cannot write; (H, W, C) with C of 1, 2, 3, 4."""
    height, width, channels = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2" if bits == 16 else np.uint8).tobytes() for row in pixels)
    color = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", *(claim or (width, height)), bits, color, 0, 0, 0)
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def palette(transparent=None):
    image = Image.fromarray(RAMP // 4, "L").convert("P")
    image.putpalette([value for index in range(64) for value in (index * 4, 255 - index * 4, 0)])
    return saved(image, "PNG", **({} if transparent is None else {"transparency": transparent}))


def palette_colors(transparent=None):
    index = (RAMP // 4).astype(np.int64)
    colors = np.stack([index * 4, 255 - index * 4, index * 0], axis=2)
    if transparent is not None:
        colors[index == transparent] = 255
    return colors


def animation(kind, **options):
    frames = [Image.fromarray(frame) for frame in (RAMP, 255 - RAMP, RAMP.T)]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)


def layered(colors, alpha):
    return Image.fromarray(np.dstack([colors, alpha]))


def over_white(colors, alpha):
    share = alpha.astype(np.float64)[..., None] / 255
    return colors * share + 255 * (1 - share)


DEEP = np.linspace(0, 65535, 64).round().astype(np.uint16).reshape(8, 8)
FLOATS = (DEEP / 65535).astype(np.float32)
HALF = np.full((8, 8), 128, np.uint8)
CMYK = np.stack([RAMP, RAMP * 0, 255 - RAMP, RAMP * 0], axis=2)

# What the file holds, and the gray or color pixels that must come out.
RIGHT = {
    "8-bit": (lambda: saved(Image.fromarray(RAMP), "PNG"), RAMP),
    "1-bit": (lambda: saved(Image.fromarray(RAMP > 100), "PNG"), (RAMP > 100) * 255),
    "16-bit png": (lambda: saved(Image.fromarray(DEEP), "PNG"), RAMP),
    "16-bit tiff": (lambda: saved(Image.fromarray(DEEP), "TIFF"), RAMP),
    "16-bit tiff big-endian": (lambda: saved(Image.fromarray(DEEP.astype(">u2")), "TIFF"), RAMP),
    "16-bit tiff compressed": (lambda: saved(Image.fromarray(DEEP), "TIFF", compression="tiff_lzw"), RAMP),
    "16-bit tiff, white is zero": (lambda: white_is_zero(saved(Image.fromarray(DEEP), "TIFF")), 255 - RAMP),
    "16-bit pgm": (lambda: b"P5 8 8 65535\n" + DEEP.astype(">u2").tobytes(), RAMP),
    "16-bit gray with a transparent value": (
        lambda: png(DEEP[..., None], bits=16, extra=chunk(b"tRNS", struct.pack(">H", int(DEEP[0, 3])))),
        np.where(DEEP[0, 3] == DEEP, 255, RAMP),
    ),
    "16-bit color": (lambda: png(COLORS.astype(np.uint16) * 257, bits=16), COLORS),
    "16-bit color with alpha": (
        lambda: png(np.dstack([COLORS, HALF]).astype(np.uint16) * 257, bits=16),
        over_white(COLORS, HALF),
    ),
    "16-bit gray with alpha": (
        lambda: png(np.dstack([RAMP, HALF]).astype(np.uint16) * 257, bits=16),
        over_white(RAMP[..., None], HALF)[..., 0],
    ),
    "float tiff": (lambda: saved(Image.fromarray(FLOATS), "TIFF"), RAMP),
    "float tiff, dark": (lambda: saved(Image.fromarray(FLOATS / 2), "TIFF"), RAMP / 2),
    "float tiff beyond [0, 1]": (lambda: saved(Image.fromarray(FLOATS * 300 - 100), "TIFF"), RAMP),
    "32-bit tiff": (lambda: saved(Image.fromarray(DEEP.astype(np.int32) * 1000), "TIFF"), RAMP),
    "palette": (lambda: palette(), palette_colors()),
    "palette with a transparent entry": (lambda: palette(transparent=9), palette_colors(transparent=9)),
    "gray with alpha": (
        lambda: saved(Image.merge("LA", [Image.fromarray(RAMP), Image.fromarray(RAMP.T)]), "PNG"),
        over_white(RAMP[..., None], RAMP.T)[..., 0],
    ),
    "color with alpha": (lambda: saved(layered(COLORS, RAMP), "PNG"), over_white(COLORS, RAMP)),
    "fully transparent": (lambda: saved(layered(COLORS, RAMP * 0), "PNG"), WHITE),
    "transparent webp": (lambda: saved(layered(COLORS, RAMP * 0), "WEBP", lossless=True), WHITE),
    "gray with a transparent value": (
        lambda: png(RAMP[..., None], extra=chunk(b"tRNS", struct.pack(">H", int(RAMP[0, 3])))),
        np.where(RAMP[0, 3] == RAMP, 255, RAMP),
    ),
    "cmyk jpeg": (
        lambda: saved(Image.fromarray(CMYK, "CMYK"), "JPEG", quality=100, subsampling=0),
        np.stack([255 - RAMP, WHITE, RAMP], axis=2),
    ),
    "jpeg": (lambda: saved(Image.fromarray(RAMP), "JPEG", quality=100), RAMP),
    "progressive jpeg": (lambda: saved(Image.fromarray(RAMP), "JPEG", quality=100, progressive=True), RAMP),
    "png of long texts and a large profile": (
        lambda: png(
            RAMP[..., None],
            extra=chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(3_000_000)))
            + chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(3_000_000))) * 40
            + chunk(b"tEXt", b"x\0" + b"y" * 2_000_000),
        ),
        RAMP,
    ),
    "icc profile": (lambda: saved(Image.fromarray(RAMP), "PNG", icc_profile=b"not a profile"), RAMP),
    "gif animation": (lambda: animation("GIF"), RAMP),
    "webp animation": (lambda: animation("WEBP", lossless=True), RAMP),
    "png animation": (lambda: animation("PNG"), RAMP),
    "tiff pages": (lambda: animation("TIFF"), RAMP),
    "bmp": (lambda: saved(Image.fromarray(COLORS), "BMP"), COLORS),
}


def white_is_zero(tiff):
    """Turn PhotometricInterpretation from 1 to 0 in a little-endian TIFF."""
    entry = struct.pack("<HHI", 262, 3, 1)
    assert tiff.count(entry) == 1
    return tiff.replace(entry + b"\1", entry + b"\0")


def close(pixels, expected):
    """Within 2 of 255, with (H, W) standing for gray in all channels."""
    expected = np.asarray(expected, np.float64)
    expected = expected[None] if expected.ndim == 2 else expected.transpose(2, 0, 1)
    return np.abs(pixels.astype(np.float64) - expected).max() <= 2


@pytest.mark.parametrize("kind", RIGHT)
def test_files_give_the_right_pixels(kind):
    content, expected = RIGHT[kind]
    pixels = read_image(io.BytesIO(content()), size=8, channels=3)
    assert pixels.shape == (3, 8, 8)
    assert pixels.dtype == np.uint8
    assert close(pixels, expected)
    if np.ndim(expected) == 2:
        assert close(read_image(io.BytesIO(content()), size=8, channels=1), expected)


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("8-bit", None),
        ("1-bit", "1-bit"),
        ("16-bit png", "16-bit"),
        ("16-bit tiff big-endian", "16-bit"),
        ("16-bit color", "16-bit"),
        ("float tiff", "float"),
        ("32-bit tiff", "32-bit"),
        ("palette", "palette"),
        ("gray with alpha", "transparency"),
        ("palette with a transparent entry", "transparency"),
        ("cmyk jpeg", "CMYK"),
        ("gif animation", "first frame"),
        ("png animation", "first frame"),
    ],
)
def test_headers_say_what_will_be_converted(kind, word):
    header = read_header(io.BytesIO(RIGHT[kind][0]()))
    assert (header.width, header.height) == (8, 8)
    assert any(word in conversion for conversion in header.conversions) if word else header.conversions == ()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(kind, orientation):
    upright = np.kron(np.array([[0, 80, 160], [240, 120, 40], [200, 30, 90]], np.uint8), np.ones((8, 8), np.uint8))
    turned = Image.fromarray(upright)
    if orientation in TRANSPOSE_OF_ORIENTATION:  # store it so that the EXIF instruction brings it back
        back = {
            Image.Transpose.ROTATE_90: Image.Transpose.ROTATE_270,
            Image.Transpose.ROTATE_270: Image.Transpose.ROTATE_90,
        }
        turned = turned.transpose(
            back.get(TRANSPOSE_OF_ORIENTATION[orientation], TRANSPOSE_OF_ORIENTATION[orientation])
        )
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 100}, "WEBP": {"lossless": True}}.get(kind, {})
    content = saved(turned, kind, exif=exif, **options)
    assert close(read_image(io.BytesIO(content), size=24, channels=1), upright)
    assert (orientation > 1) == any("EXIF" in each for each in read_header(io.BytesIO(content)).conversions)


def test_exif_orientations_are_the_standard_ones():
    """The table against its definition: which corner the first row and column of the file belong to (EXIF 2.3)."""
    stored = np.arange(6, dtype=np.uint8).reshape(2, 3)
    right = {
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.T,
        6: np.rot90(stored, -1),
        7: np.rot90(stored, 2).T,
        8: np.rot90(stored),
    }
    for orientation, expected in right.items():
        assert np.array_equal(
            np.asarray(Image.fromarray(stored).transpose(TRANSPOSE_OF_ORIENTATION[orientation])), expected
        )


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_does_not_spoil_sound_pixels():
    content = saved(Image.fromarray(RAMP), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert close(read_image(io.BytesIO(content), size=8, channels=1), RAMP)


def test_the_background_can_be_chosen():
    content = saved(layered(COLORS, RAMP * 0), "PNG")
    assert (read_image(io.BytesIO(content), size=8, channels=3, background=7) == 7).all()


def test_color_becomes_luma():
    content = saved(Image.fromarray(COLORS), "PNG")
    assert close(read_image(io.BytesIO(content), size=8, channels=1), COLORS @ np.array([0.299, 0.587, 0.114]))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5000), (5000, 1), (60, 20), (21, 80)])
def test_the_short_side_is_scaled_and_the_center_kept(height, width):
    pixels = np.full((height, width), 255, np.uint8)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    around = slice(max(top - 7, 0), top + side + 7), slice(max(left - 7, 0), left + side + 7)  # the filter reaches out
    pixels[around] = 40
    content = saved(Image.fromarray(pixels), "PNG")
    assert close(read_image(io.BytesIO(content), size=10, channels=1), np.full((10, 10), 40))


def test_shrinking_is_antialiased():
    lines = np.tile(np.array([0, 255], np.uint8), (256, 128))
    pixels = read_image(io.BytesIO(saved(Image.fromarray(lines), "PNG")), size=16, channels=1)
    assert close(pixels[:, 1:-1, 1:-1], np.full((14, 14), 127.5))


def test_large_jpegs_are_read_as_if_decoded_in_full():
    rows, columns = np.mgrid[0:1024, 0:1024] / 1024
    label_smoothing = (127 + 120 * np.sin(9 * rows) * np.cos(7 * columns)).astype(np.uint8)
    jpeg = read_image(io.BytesIO(saved(Image.fromarray(label_smoothing), "JPEG", quality=95)), size=32, channels=1)
    full = read_image(io.BytesIO(saved(Image.fromarray(label_smoothing), "PNG")), size=32, channels=1)
    assert np.abs(jpeg.astype(int) - full).max() <= 2


@pytest.mark.parametrize("channels", [0, 2, 4])
def test_impossible_channels_are_refused(channels):
    with pytest.raises(SparringError, match="channels is"):
        read_image(io.BytesIO(saved(Image.fromarray(RAMP), "PNG")), size=8, channels=channels)


# Refused, with a reason.

NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
PNG_FILE = saved(Image.fromarray(NOISE), "PNG")
JPEG_FILE = saved(Image.fromarray(NOISE), "JPEG")
FLIPPED = PNG_FILE[:200] + bytes([PNG_FILE[200] ^ 1]) + PNG_FILE[201:]
GIANT = {"claim": (60_000, 60_000)}

REFUSED = {
    "no bytes": b"",
    "zeros": bytes(1000),
    "html": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "text": b"label,file\n3,a.png\n",
    "png header only": PNG_FILE[:33],
    "png signature only": PNG_FILE[:8],
    "png half": PNG_FILE[: len(PNG_FILE) // 2],
    "jpeg header only": JPEG_FILE[:100],
    "jpeg half": JPEG_FILE[: len(JPEG_FILE) // 2],
    "jpeg without its last 5 bytes": JPEG_FILE[:-5],
    "png with a flipped bit": FLIPPED,
    "gif half": saved(Image.fromarray(NOISE), "GIF")[:3000],
    "webp half": saved(Image.fromarray(NOISE), "WEBP", lossless=True)[:3000],
    "tiff half": saved(Image.fromarray(NOISE), "TIFF")[:3000],
    "bmp half": saved(Image.fromarray(NOISE), "BMP")[:3000],
    "giant in the header": png(RAMP[..., None], **GIANT),
    "giant gif": b"GIF89a" + struct.pack("<HH", 65535, 65535) + bytes(20),
    "giant pgm": b"P5 60000 60000 255\n" + bytes(100),
    "not a number": saved(Image.fromarray(FLOATS * np.float32("nan")), "TIFF"),
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n",
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("on_disk", [False, True])
def test_bad_files_are_refused_with_a_reason(kind, on_disk, tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(REFUSED[kind])
    start = time.process_time()
    with pytest.raises(BadImage) as refusal:
        read_image(path if on_disk else io.BytesIO(REFUSED[kind]), size=8, channels=3)
    reason = str(refusal.value)
    assert 3 < len(reason) < 140
    assert "\n" not in reason
    assert "object at 0x" not in reason
    assert time.process_time() - start < 2


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bomb_that_pillow_only_warns_of_is_refused_before_its_pixels_are_decoded():
    packed = zlib.compressobj()
    rows = b"".join(packed.compress(bytes(12_001)) for _ in range(12_000)) + packed.flush()
    header = struct.pack(">IIBBBBB", 12_000, 12_000, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    before, start = memory(), time.process_time()
    with pytest.raises(BadImage, match="12000 x 12000 pixels are more than the limit of 64 million"):
        read_image(io.BytesIO(bomb), size=8, channels=1)
    assert time.process_time() - start < 0.5
    assert memory() - before < 50_000_000


def test_a_jpeg_of_a_thousand_scans_is_refused_before_they_are_decoded(monkeypatch):
    whole = saved(Image.fromarray(NOISE), "JPEG", progressive=True)
    assert read_image(io.BytesIO(whole), size=8, channels=3).shape == (3, 8, 8)
    last = whole[whole.rindex(b"\xff\xda") : -2]
    monkeypatch.setattr(ImageFile.ImageFile, "load", None)
    for scans in (100, 1000):  # and the 10 that it has
        with pytest.raises(BadImage, match=rf"a JPEG of {scans + 10:,} scans, more than 100"):
            read_image(io.BytesIO(whole[:-2] + scans * last + whole[-2:]), size=8, channels=3)


def test_who_asks_for_more_than_is_left_of_a_budget_waits():
    budget, entered = Budget(100), Event()

    def enter():
        with budget.hold(41):
            entered.set()

    other = Thread(target=enter)
    with budget.hold(60):
        other.start()
        assert not entered.wait(0.05)
    assert entered.wait(10)
    other.join()
    with budget.hold(1000):  # what is more than all of it gets all of it
        assert budget.used == 100
    assert budget.used == 0


@pytest.mark.parametrize(
    "read", [pixels.has_color, pixels.value_range, lambda image: pixels.decode_image(image, size=4, channels=1)]
)
def test_pixels_are_decoded_within_the_budget(monkeypatch, read):
    held = []
    real = ImageFile.ImageFile.load
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: held.append(pixels.PIXELS.used) or real(image))
    content = saved(Image.fromarray(DEEP if read is pixels.value_range else COLORS), "TIFF")
    with pixels.open_image(io.BytesIO(content)) as image:
        read(image)
    assert held[0] == 64
    assert pixels.PIXELS.used == 0


def memory():
    if not os.path.exists("/proc/self/statm"):
        return 0
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def test_what_is_no_file_is_refused_without_waiting(tmp_path):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "endless.png").symlink_to("/dev/zero")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "empty.png").touch()
    reasons = {}
    for path in tmp_path.iterdir():
        with pytest.raises(BadImage) as refusal:
            read_image(path, size=8, channels=1)
        reasons[path.stem] = str(refusal.value)
    assert reasons["folder"] == reasons["endless"] == reasons["fifo"] == "not a regular file"
    assert reasons["empty"] == "empty file"
    assert "No such file" in reasons["dangling"]


def test_names_do_not_matter(tmp_path):
    for name in ["a png.jpg", "ünïcödé.png", "new\nline.png", "no suffix", os.fsdecode(b"\xff.png")]:
        (tmp_path / name).write_bytes(saved(Image.fromarray(RAMP), "PNG"))
        assert close(read_image(tmp_path / name, size=8, channels=1), RAMP)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
@settings(max_examples=300, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"]))
def test_only_bad_image_escapes_from_mutated_files(data, kind):
    content = bytearray(saved(Image.fromarray(COLORS), kind))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(1, len(content)))]
    with contextlib.suppress(BadImage):
        assert read_image(io.BytesIO(content), size=8, channels=3).shape == (3, 8, 8)


# Between uint8 and [-1, 1].

EVERY_VALUE = torch.arange(256, dtype=torch.uint8)


def test_every_value_survives_the_round_trip():
    assert torch.equal(to_uint8(to_float(EVERY_VALUE)), EVERY_VALUE)
    assert torch.equal(to_float(EVERY_VALUE), EVERY_VALUE / 127.5 - 1)
    assert to_float(EVERY_VALUE)[[0, -1]].tolist() == [-1, 1]
    assert torch.equal(EVERY_VALUE, torch.arange(256, dtype=torch.uint8))  # not changed in place


def test_floats_are_clamped_and_rounded():
    given = torch.tensor([-3.0, -1.0, 0.0, 1 / 127.5, 0.4 / 127.5 - 1, 0.6 / 127.5 - 1, 1.0, 9.0])
    kept = given.clone()
    assert to_uint8(given).tolist() == [0, 0, 128, 128, 0, 1, 255, 255]
    assert torch.equal(given, kept)


@given(some.arrays(np.float32, some.array_shapes(max_side=6), elements=st.floats(-1, 1, width=32)))
def test_rounding_moves_no_value_by_more_than_half_a_step(values):
    images = torch.from_numpy(values)
    assert (to_float(to_uint8(images)) - images).abs().max() <= 0.5 / 127.5 + 1e-6


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_memory_format_can_be_chosen(memory_format):
    images = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    made = to_float(images, memory_format=memory_format)
    assert made.is_contiguous(memory_format=memory_format)
    assert torch.equal(made, images / 127.5 - 1)


def test_tensors_are_fitted_like_files():
    rows, columns = np.mgrid[0:40, 0:48] / 40
    label_smoothing = np.stack(
        [127 + 120 * np.sin(4 * rows + k) * np.cos(3 * columns) for k in range(3)], axis=2
    ).astype(np.uint8)
    tensor = torch.from_numpy(label_smoothing).permute(2, 0, 1).unsqueeze(0)
    for size, channels in ((40, 3), (20, 3), (20, 1), (64, 3)):
        file = read_image(io.BytesIO(saved(Image.fromarray(label_smoothing), "PNG")), size=size, channels=channels)
        fitted = resize(tensor, size=size, channels=channels)
        assert fitted.shape == (1, channels, size, size)
        assert np.abs(fitted[0].numpy().astype(int) - file).max() <= 8  # bilinear here, Lanczos there
    gray = resize(tensor[:, :1], size=40, channels=3)
    assert torch.equal(gray[:, 0], gray[:, 2])
    assert torch.equal(resize(tensor, size=40, channels=3), tensor[:, :, :, 4:44])
