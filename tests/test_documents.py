"""docclean's reading and writing of images: real files of every kind, through the real readers and writers."""

import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps

from fastdiff.apps.docclean import tiff_writer
from fastdiff.apps.docclean.document import open_document
from fastdiff.apps.images.encoding import save
from fastdiff.apps.images.page import ON_WHITE, Page, upright
from fastdiff.solvers.errors import UsageError

RNG = np.random.default_rng(1)
GREY = RNG.integers(0, 256, (40, 60), np.uint8)
COLOUR = RNG.integers(0, 256, (40, 60, 3), np.uint8)
PIXELS = {
    "1": GREY > 127,
    "grey 8": GREY,
    "grey 16": GREY.astype(np.uint16) * 257 + 3,
    "rgb 8": COLOUR,
    "rgb 16": COLOUR.astype(np.uint16) * 255 + 7,
}
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def first_page(path: Path) -> Page:
    with open_document(path) as document:
        return document.page(0)


@pytest.mark.parametrize("kind", ["png", "tiff"])
@pytest.mark.parametrize("depth", PIXELS)
def test_depths_channels_resolution_and_profile_survive(tmp_path: Path, kind: str, depth: str) -> None:
    page = Page(PIXELS[depth], dpi=(300, 150), icc=SRGB)
    path = tmp_path / f"page.{kind}"
    save(page, path, kind)
    back = first_page(path)
    assert back.bilevel == (depth == "1")
    expected = page.pixels if depth != "1" else page.pixels.astype(np.uint8) * 255
    assert back.pixels.dtype == expected.dtype
    np.testing.assert_array_equal(back.pixels, expected)
    assert back.dpi == (300, 150)
    assert back.icc == SRGB


@pytest.mark.parametrize("kind", ["bmp", "webp", "jpg", "heic"])
@pytest.mark.parametrize("depth", PIXELS)
def test_eight_bit_kinds_take_every_page(tmp_path: Path, kind: str, depth: str) -> None:
    smooth = cv2.GaussianBlur(PIXELS[depth].astype(np.float64), (0, 0), 5)
    pixels = smooth > 0.5 if depth == "1" else smooth.astype(PIXELS[depth].dtype)
    path = tmp_path / f"page.{kind}"
    save(Page(pixels, dpi=(300, 300)), path, kind)
    back = first_page(path).pixels
    full = {"bool": 1, "uint8": 255, "uint16": 65535}[str(pixels.dtype)]
    expected = pixels if back.ndim == pixels.ndim else np.repeat(pixels[..., None], 3, axis=2)
    error = np.abs(back / 255 - expected / full)
    assert error.mean() < (0.003 if kind in ("bmp", "webp") else 0.03)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_its_tag_reset(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[274], exif[271] = orientation, "maker"
    for kind, compression in (("png", None), ("tiff", "raw"), ("tiff", "tiff_lzw")):
        path = tmp_path / f"page.{kind}"
        Image.fromarray(GREY).save(path, exif=exif, dpi=(300, 150), compression=compression)
        if kind == "png":
            expected = np.asarray(ImageOps.exif_transpose(Image.open(path)))
        page = first_page(path)
        np.testing.assert_array_equal(page.pixels, expected)
        assert page.dpi == ((300, 150) if orientation < 5 else (150, 300))
        save(page, path, kind)
        np.testing.assert_array_equal(np.asarray(Image.open(path)), expected)
        assert Image.open(path).getexif().get(274, 1) == 1


def test_exif_of_photographs_is_kept(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274], exif[271] = 6, "maker"
    path = tmp_path / "page.jpg"
    Image.fromarray(GREY).save(path, exif=exif)
    page = first_page(path)
    save(page, path, "jpg")
    assert dict(Image.open(path).getexif()) == {271: "maker"}
    assert page.lossy


def test_transparency_becomes_white_paper_and_is_noted(tmp_path: Path) -> None:
    cover = np.zeros((40, 60), np.uint8)
    cover[:, 30:] = 255
    path = tmp_path / "page.png"
    Image.fromarray(np.dstack([COLOUR, cover])).save(path)
    page = first_page(path)
    assert (page.pixels[:, :30] == 255).all()
    np.testing.assert_array_equal(page.pixels[:, 30:], COLOUR[:, 30:])
    assert page.note == ON_WHITE
    cv2.imwrite(str(path), np.dstack([PIXELS["rgb 16"], cover.astype(np.uint16) * 257])[..., [2, 1, 0, 3]])
    deep = first_page(path)
    assert (deep.pixels[:, :30] == 65535).all() and deep.note == ON_WHITE
    np.testing.assert_array_equal(deep.pixels[:, 30:], PIXELS["rgb 16"][:, 30:])
    Image.fromarray(np.dstack([GREY, np.full_like(GREY, 255)])).save(path)
    opaque = first_page(path)
    np.testing.assert_array_equal(opaque.pixels, GREY)
    assert opaque.note is None


def test_palettes_and_cmyk_are_resolved(tmp_path: Path) -> None:
    path = tmp_path / "page.png"
    Image.fromarray(COLOUR).quantize(16).save(path)
    np.testing.assert_array_equal(first_page(path).pixels, np.asarray(Image.open(path).convert("RGB")))
    Image.fromarray(GREY).convert("P").save(path)
    np.testing.assert_array_equal(first_page(path).pixels, GREY)
    path = tmp_path / "page.tif"
    Image.fromarray(COLOUR).convert("CMYK").save(path)
    np.testing.assert_array_equal(first_page(path).pixels, COLOUR)


def test_pages_of_a_tiff_are_of_any_mixture(tmp_path: Path) -> None:
    path = tmp_path / "pages.tif"
    parts = {number: tmp_path / str(number) for number in range(len(PIXELS))}
    for number, pixels in enumerate(PIXELS.values()):
        save(Page(pixels, dpi=(100 + number, 100 + number)), parts[number], "tiff")
    tiff_writer.from_parts(parts, path)
    with open_document(path) as document:
        assert document.count == len(PIXELS)
        for index in reversed(range(document.count)):
            page, pixels = document.page(index), list(PIXELS.values())[index]
            assert page.dpi == (100 + index, 100 + index)
            np.testing.assert_array_equal(page.pixels, pixels if pixels.dtype != bool else pixels * np.uint8(255))
    with Image.open(path) as image:
        assert image.info["compression"] == "group4"


def test_what_cannot_be_used_is_said_in_one_sentence(tmp_path: Path) -> None:
    whole = tmp_path / "whole.png"
    save(Page(COLOUR), whole, "png")
    header = b"IHDR" + (60_000).to_bytes(4, "big") * 2 + whole.read_bytes()[24:29]
    bomb = whole.read_bytes()[:12] + header + zlib.crc32(header).to_bytes(4, "big") + whole.read_bytes()[33:]
    moving = tmp_path / "moving.webp"
    Image.fromarray(COLOUR).save(moving, save_all=True, append_images=[Image.fromarray(255 - COLOUR)])
    (tmp_path / "folder.png").mkdir()
    files = {
        "empty.png": (b"", "is empty"),
        "text.png": (b"just a letter, not its picture", "not an image of a known kind"),
        "cut.png": (whole.read_bytes()[:-400], "damaged or cut short"),
        "pages.png": (b"%PDF-1.4\nof pages", "is a PDF: give it the suffix .pdf"),
        "cut.tif": (b"II*\0\x08\0\0\0\xff\xff", "not an image of a known kind"),
        "text.heic": (b"just a letter, not its picture", "not an image of a known kind"),
        "bomb.png": (bomb, "million pixels"),
        "moving.webp": (moving.read_bytes(), "animation of 2 frames"),
    }
    for name, (content, sentence) in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UsageError, match=sentence) as caught:
            first_page(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="cannot be read"):
        first_page(tmp_path / "folder.png")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_sixteen_bit_colour_with_orientation(tmp_path: Path, orientation: int) -> None:
    tiff, png = tmp_path / "page.tif", tmp_path / "page.png"
    expected = upright(PIXELS["rgb 16"], orientation)
    tifffile.imwrite(tiff, PIXELS["rgb 16"], photometric="rgb", extratags=[(274, "H", 1, orientation, True)])
    np.testing.assert_array_equal(first_page(tiff).pixels, expected)
    save(Page(PIXELS["rgb 16"]), png, "png")
    exif = Image.Exif()
    exif[274] = orientation
    block = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    data = png.read_bytes()
    chunk = (len(block) - 4).to_bytes(4, "big") + block + zlib.crc32(block).to_bytes(4, "big")
    png.write_bytes(data[:33] + chunk + data[33:])
    np.testing.assert_array_equal(first_page(png).pixels, expected)
