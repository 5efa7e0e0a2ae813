"""Image files of every kind by writers other than ours, and ours read by others than the readers in use."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pillow_heif
import pytest
import tifffile
from PIL import Image

from fastdiff.apps.docclean.document import open_document
from fastdiff.apps.images import picture
from fastdiff.apps.images.encoding import save
from fastdiff.apps.images.kinds import IMAGE_SUFFIXES
from fastdiff.apps.images.page import Page
from fastdiff.solvers.errors import OutputError, UsageError

RNG = np.random.default_rng(3)
GREY = RNG.integers(0, 256, (40, 61), np.uint8)
COLOUR = RNG.integers(0, 256, (40, 61, 3), np.uint8)
DEEP_GREY, DEEP = GREY.astype(np.uint16) * 257 + 3, COLOUR.astype(np.uint16) * 255 + 7
BITS = GREY > 127
LOSSLESS = [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000]


def first_page(path: Path) -> Page:
    with open_document(path) as document:
        return document.page(0)


def kind_of(path: Path) -> str:
    with open_document(path) as document:
        return document.kind


def by_opencv(path: Path) -> np.ndarray:
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    return pixels[..., ::-1] if pixels.ndim == 3 else pixels


@pytest.mark.parametrize("suffix", [".pgm", ".ppm", ".pnm", ".jp2"])
@pytest.mark.parametrize("deep", [False, True])
def test_netpbm_and_jpeg_2000_by_opencv(tmp_path: Path, suffix: str, deep: bool) -> None:
    grey, colour = (DEEP_GREY, DEEP) if deep else (GREY, COLOUR)
    pixels = grey if suffix == ".pgm" else colour
    path, out = tmp_path / f"page{suffix}", tmp_path / f"out{suffix}"
    assert cv2.imwrite(str(path), pixels[..., ::-1] if pixels.ndim == 3 else pixels, LOSSLESS * (suffix == ".jp2"))
    page = first_page(path)
    assert page.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(page.pixels, pixels)
    save(page, out, IMAGE_SUFFIXES[suffix])
    np.testing.assert_array_equal(by_opencv(out), pixels)


def test_kinds_are_told_by_content(tmp_path: Path) -> None:
    smooth = cv2.GaussianBlur(COLOUR, (0, 0), 8)
    image = Image.fromarray(smooth)
    codestream = io.BytesIO()
    image.save(codestream, format="JPEG2000", no_jp2=True)
    pillow_heif.from_pillow(image).save(tmp_path / "page.png", format="HEIF", quality=95)
    image.save(tmp_path / "page.heic", format="JPEG", quality=100)
    image.save(tmp_path / "page.jpg", format="AVIF", quality=100)
    image.save(tmp_path / "page.tif", format="GIF")
    (tmp_path / "page.gif").write_bytes(codestream.getvalue())
    image.save(tmp_path / "page.jfif", format="BMP")
    kinds = {path.name: kind_of(path) for path in tmp_path.iterdir()}
    assert kinds == {
        "page.png": "heic",
        "page.heic": "jpg",
        "page.jpg": "avif",
        "page.tif": "gif",
        "page.gif": "j2k",
        "page.jfif": "bmp",
    }
    for path in tmp_path.iterdir():
        shown = first_page(path).pixels
        assert shown.shape == COLOUR.shape
        assert np.abs(shown.astype(int) - smooth).mean() < 3
        assert picture.read(path).colour.shape == (1, 3, *COLOUR.shape[:2])  # of edit and attack


def test_every_suffix_is_written_as_what_it_says(tmp_path: Path) -> None:
    starts = {
        "png": b"\x89PNG",
        "jpg": b"\xff\xd8\xff",
        "webp": b"RIFF",
        "bmp": b"BM",
        "tiff": b"II*\0",
        "jp2": b"\0\0\0\x0cjP  ",
        "j2k": b"\xff\x4f\xff\x51",
        "ppm": b"P6",
        "pgm": b"P5",
        "pbm": b"P4",
        "pnm": b"P4",
    }
    for suffix, kind in IMAGE_SUFFIXES.items():
        if kind == "gif":  # is read only
            continue
        path = tmp_path / f"page{suffix}"
        save(Page(BITS, bilevel=True), path, kind)
        data = path.read_bytes()
        assert data.startswith(starts.get(kind, data[:4])), suffix
        assert kind_of(path) == kind
        shown = first_page(path).pixels
        grey = shown if shown.ndim == 2 else shown[..., 0]
        assert ((grey > 127) == BITS).mean() > 0.99, suffix
    for kind, pixels in (("pbm", GREY), ("pgm", COLOUR)):
        with pytest.raises(OutputError, match="give --format png"):
            save(Page(pixels), tmp_path / "page", kind)


def two_colours(path: Path, first_is_white: bool) -> None:
    """A PNG of one bit a pixel, or a GIF, with a palette of black and white."""
    indices = Image.fromarray((BITS ^ first_is_white).astype(np.uint8)).convert("P")
    white, black = [255] * 3, [0] * 3
    indices.putpalette(white + black if first_is_white else black + white)
    indices.save(path, bits=1)


def test_one_bit_is_seen_in_every_kind_that_has_it(tmp_path: Path) -> None:
    for number, name in enumerate(("a.png", "b.png", "c.gif")):
        two_colours(tmp_path / name, first_is_white=number % 2 == 0)
    for name, palette in (("d.bmp", b"\xff" * 4 + bytes(4)), ("e.bmp", bytes(4) + b"\xff" * 4)):
        rows = np.packbits(BITS ^ (name == "d.bmp"), axis=1)[::-1].tobytes()
        head = struct.pack("<2s4I2i2H", b"BM", 62 + len(rows), 0, 62, 40, 61, 40, 1, 1)
        sizes = struct.pack("<6I", 0, len(rows), 0, 0, 2, 2)
        (tmp_path / name).write_bytes(head + sizes + palette + rows)
    tifffile.imwrite(tmp_path / "f.tif", BITS, photometric="miniswhite")
    tifffile.imwrite(tmp_path / "g.tif", BITS, photometric="minisblack")
    (tmp_path / "h.pbm").write_bytes(b"P4\n# by hand\n61 40\n" + np.packbits(~BITS, axis=1).tobytes())
    Image.fromarray(BITS).save(tmp_path / "i.png")
    files = sorted(tmp_path.iterdir())
    for path in files:
        page = first_page(path)
        assert page.bilevel, path.name
        np.testing.assert_array_equal(page.pixels > 127, BITS ^ (path.name == "f.tif"), path.name)
    two = Image.fromarray(BITS.astype(np.uint8)).convert("P")
    two.putpalette([0, 0, 128, 255, 255, 200])
    two.save(tmp_path / "blue.png", bits=1)
    blue = first_page(tmp_path / "blue.png")
    assert blue.bilevel and blue.ink_and_paper == ((0, 0, 128), (255, 255, 200))
    np.testing.assert_array_equal(blue.pixels > 127, BITS)
    two.putpalette([0, 0, 0, 255, 255, 255])
    two.save(tmp_path / "eight.bmp")  # of two colours, with 8 bits
    np.testing.assert_array_equal(first_page(tmp_path / "eight.bmp").pixels > 127, BITS)


def test_grey_of_twelve_and_sixteen_bits_fills_its_range(tmp_path: Path) -> None:
    path = tmp_path / "page.tif"
    tifffile.imwrite(path, DEEP_GREY, photometric="miniswhite")
    np.testing.assert_array_equal(first_page(path).pixels, 65535 - DEEP_GREY)
    twelve = RNG.integers(0, 4096, (6, 8), np.uint16)
    pairs = twelve.reshape(-1, 2).astype(int)
    packed = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], axis=1)
    tags = [(256, 8), (257, 6), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 6), (279, 72)]
    entries = b"".join(struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value) for tag, value in tags)
    head = struct.pack("<2sHI", b"II", 42, 80) + packed.astype(np.uint8).tobytes()
    path.write_bytes(head + struct.pack("<H", len(tags)) + entries + bytes(4))
    np.testing.assert_array_equal(first_page(path).pixels, twelve << 4 | twelve >> 8)


def test_files_that_cannot_be_pages(tmp_path: Path) -> None:
    frames = [Image.fromarray(COLOUR), Image.fromarray(255 - COLOUR)]
    for suffix in (".gif", ".png", ".avif"):
        frames[0].save(tmp_path / f"moving{suffix}", save_all=True, append_images=frames[1:])
        with pytest.raises(UsageError, match="animation of 2 frames"):
            first_page(tmp_path / f"moving{suffix}")
    whole = {}
    for suffix in (".gif", ".avif", ".jp2", ".ppm", ".heic", ".tif"):
        path = tmp_path / f"whole{suffix}"
        save(Page(COLOUR), path, IMAGE_SUFFIXES[suffix]) if suffix != ".gif" else frames[0].save(path)
        whole[suffix] = path.read_bytes()
    empty = {
        ".png": b"\x89PNG\r\n\x1a\n" + struct.pack(">I4s2I5B", 13, b"IHDR", 0, 5, 8, 0, 0, 0, 0),
        ".ppm": b"P6\n0 5\n255\n",
        ".gif": b"GIF89a" + struct.pack("<2H3Bc4HB", 0, 5, 0, 0, 0, b",", 0, 0, 0, 5, 0) + b"\2\0;",
    }
    empty[".png"] += struct.pack(">I", zlib.crc32(empty[".png"][12:])) + bytes(4) + b"IDAT\x35\xaf\x06\x1e"
    cut = {suffix: data[: len(data) * 2 // 3] for suffix, data in whole.items()}
    for files in (cut, empty):
        for suffix, data in files.items():
            path = tmp_path / f"bad{suffix}"
            path.write_bytes(data)
            with pytest.raises(UsageError) as caught:
                first_page(path)
            assert path.name in str(caught.value) and "\n" not in str(caught.value)
