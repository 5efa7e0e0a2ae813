"""Metadata on its way through a page: from files of other writers into every kind, read by other readers than ours."""

import io
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pillow_heif
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

from fastdiff.apps.docclean.document import open_document
from fastdiff.apps.images import picture
from fastdiff.apps.images.encoding import save
from fastdiff.apps.images.kinds import IMAGE_SUFFIXES
from fastdiff.apps.images.metadata_transfer import lost_metadata
from fastdiff.apps.images.page import Page

COLOUR = cv2.GaussianBlur(np.random.default_rng(5).integers(0, 256, (40, 60, 3), np.uint8), (0, 0), 6)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><d tiff:Orientation="6" dc:source="box 9"/></x:xmpmeta>'
UPRIGHT_XMP = XMP.replace(b'"6"', b'"1"')
IPTC = b"\x1c\x02\x78\x00\x05shelf"
RESOURCES = struct.pack(">4sHHI", b"8BIM", 0x0404, 0, len(IPTC)) + IPTC
EXIF_IN_JP2, XMP_IN_JP2 = b"JpgTiffExif->JP2", bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
THUMBNAIL = struct.pack(">4sHHI", b"8BIM", 0x040C, 0, 4) + b"tiny"


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[ExifTags.Base.Orientation] = orientation
    block[ExifTags.Base.ImageDescription], block[ExifTags.Base.Make] = "A deed", "Maker"
    inner = block.get_ifd(ExifTags.IFD.Exif)
    inner[ExifTags.Base.DateTimeOriginal], inner[ExifTags.Base.ExifImageWidth] = "2024:01:02 03:04:05", 60
    inner[ExifTags.Base.ExifImageHeight] = 40
    block.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    return block


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def photo(path: Path, orientation: int = 6) -> Path:
    """A JPEG with everything that one can say."""
    thumbnail = exif(orientation).tobytes()
    image = Image.fromarray(COLOUR)
    extra = segment(0xED, b"Photoshop 3.0\0" + RESOURCES + THUMBNAIL) + segment(0xEB, b"JP of another program")
    image.save(path, exif=thumbnail, xmp=XMP, comment="two words", icc_profile=SRGB, dpi=(300, 150), extra=extra)
    return path


def with_chunk(data: bytes, name: bytes, body: bytes, checksum: int | None = None) -> bytes:
    check = zlib.crc32(name + body) if checksum is None else checksum
    return data[:33] + struct.pack(">I", len(body)) + name + body + struct.pack(">I", check) + data[33:]


def page_of(path: Path) -> Page:
    with open_document(path) as document:
        return document.page(0)


def written(page: Page, folder: Path, suffix: str) -> Image.Image:
    path = folder / f"written{suffix}"
    save(page, path, IMAGE_SUFFIXES[suffix])
    if suffix == ".heic":
        return pillow_heif.open_heif(path).to_pillow()
    image = Image.open(path)
    image.load()
    return image


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", ".heic", ".avif"])
def test_a_photograph_takes_along_what_the_kind_holds(tmp_path: Path, suffix: str) -> None:
    page = page_of(photo(tmp_path / "photo.jpg"))
    assert page.pixels.shape == (60, 40, 3) and page.dpi == (150, 300)
    image = written(page, tmp_path, suffix)
    block = image.getexif()
    assert image.size == (40, 60)
    assert (block[270], block[271], block.get(274, 1)) == ("A deed", "Maker", 1)
    assert block.get_ifd(34665)[36867] == "2024:01:02 03:04:05"
    assert [block.get_ifd(34665)[tag] for tag in (40962, 40963)] == [40, 60]
    assert block.get_ifd(34853)[1] == "N"
    xmp = image.info["xmp"] if suffix != ".png" else image.info["XML:com.adobe.xmp"].encode()
    assert xmp == UPRIGHT_XMP
    assert image.info["icc_profile"] == SRGB
    lost = set(lost_metadata(page, IMAGE_SUFFIXES[suffix])) - {"APP11"}
    if suffix == ".jpg":
        assert image.info["comment"] == b"two words" and not lost
        assert image.info["photoshop"] == {0x0404: IPTC}  # no thumbnail
    elif suffix == ".tif":
        assert lost == {'text "Comment"'}  # the description is taken
        with tifffile.TiffFile(tmp_path / "written.tif") as file:
            assert bytes(file.pages.first.tags[34377].value) == RESOURCES
    elif suffix == ".png":
        assert image.info["Comment"] == "two words" and lost == {"IPTC"}
    else:
        assert lost == {"resolution", "IPTC", 'text "Comment"'}
    assert "APP11" in lost_metadata(page, IMAGE_SUFFIXES[suffix])


@pytest.mark.parametrize("writer", [".webp", ".heic", ".avif", ".png", ".tif", ".jp2"])
def test_every_kind_is_read_and_reaches_a_jpeg(tmp_path: Path, writer: str) -> None:
    path, image = tmp_path / f"page{writer}", Image.fromarray(COLOUR)
    block = exif(1)
    if writer == ".heic":
        pillow_heif.from_pillow(image).save(path, exif=block.tobytes(), xmp=UPRIGHT_XMP, quality=95)
    elif writer == ".png":
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", XMP.decode())
        text.add_text("Author", "Ann", zip=True)
        image.save(path, pnginfo=text, exif=block)
    elif writer == ".tif":
        block[700], block[33723] = UPRIGHT_XMP, IPTC
        image.save(path, exif=block.tobytes())
    elif writer == ".jp2":
        image.save(path)
        for body in (EXIF_IN_JP2 + block.tobytes()[6:], XMP_IN_JP2 + UPRIGHT_XMP):
            path.write_bytes(path.read_bytes() + struct.pack(">I4s", 8 + len(body), b"uuid") + body)
    else:
        image.save(path, exif=block, xmp=UPRIGHT_XMP)
    page = page_of(path)
    assert page.pixels.shape == COLOUR.shape
    after = written(page, tmp_path, ".jpg")
    assert after.getexif()[270] == "A deed" and after.getexif().get_ifd(34665)[36867] == "2024:01:02 03:04:05"
    assert after.info["xmp"] == UPRIGHT_XMP
    if writer == ".tif":
        assert after.info["photoshop"] == {0x0404: IPTC}
    if writer == ".png":
        assert after.getexif()[315] == "Ann"
    again = written(replace(page, icc=SRGB, dpi=(300, 72.5)), tmp_path, ".jp2")
    data = (tmp_path / "written.jp2").read_bytes()
    assert XMP_IN_JP2 + UPRIGHT_XMP in data and EXIF_IN_JP2 in data and again.info["dpi"] == (300, 72.5)
    assert (page_of(tmp_path / "written.jp2").icc, page_of(tmp_path / "written.jp2").dpi) == (SRGB, (300, 72.5))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", ".jp2"])
def test_orientations_are_applied_once(tmp_path: Path, suffix: str) -> None:
    for orientation in range(1, 9):
        first = page_of(photo(tmp_path / "photo.jpg", orientation))
        written(first, tmp_path, suffix)
        again = page_of(tmp_path / f"written{suffix}")
        assert np.abs(again.pixels.astype(int) - first.pixels).mean() < 10
    turned = tmp_path / "turned.jpg"
    Image.fromarray(COLOUR).save(turned, xmp=XMP)  # which alone says that it lies on its side
    written(page_of(turned), tmp_path, suffix)
    assert page_of(tmp_path / f"written{suffix}").pixels.shape == (60, 40, 3)


def test_png_chunks_come_through_as_they_are(tmp_path: Path) -> None:
    path, text = tmp_path / "page.png", PngImagePlugin.PngInfo()
    text.add_text("Title", "Deed")
    text.add_text("Description", "Straße", zip=True)
    text.add_itxt("Author", "Šimon", "cs", "Autor")
    text.add(b"gAMA", struct.pack(">I", 45455))
    text.add(b"cHRM", struct.pack(">8I", *range(30000, 30008)))
    text.add(b"tIME", bytes(7))
    Image.fromarray(COLOUR).save(path, pnginfo=text)
    path.write_bytes(with_chunk(path.read_bytes(), b"pHYs", struct.pack(">IIB", 3, 2, 0)))
    page = page_of(path)
    after = written(page, tmp_path, ".png")
    assert (after.info["Title"], after.info["Description"], after.info["Author"]) == ("Deed", "Straße", "Šimon")
    assert after.info["Author"].lang == "cs"
    assert after.info["gamma"] == 0.45455 and after.info["aspect"] == (3, 2) and "dpi" not in after.info
    assert lost_metadata(page, "png") == ()
    written(page, tmp_path, ".tif")
    with tifffile.TiffFile(tmp_path / "written.tif") as file:
        assert [file.pages.first.tags[tag].value for tag in (269, 270, 315)] == ["Deed", "Straße", "Šimon"]
    assert lost_metadata(page, "tiff") == ("cHRM", "gAMA", "pHYs")
    assert lost_metadata(page, "bmp")[:3] == ('text "Title"', 'text "Description"', 'text "Author"')


def test_turned_pixel_aspects_and_resolutions_change_places(tmp_path: Path) -> None:
    path = tmp_path / "page.png"
    Image.fromarray(COLOUR).save(path, exif=exif(6))
    path.write_bytes(with_chunk(path.read_bytes(), b"pHYs", struct.pack(">IIB", 3, 2, 0)))
    assert written(page_of(path), tmp_path, ".png").info["aspect"] == (2, 3)


def test_a_resolution_is_not_invented(tmp_path: Path) -> None:
    path = tmp_path / "page.jpg"
    Image.fromarray(COLOUR).save(path, exif=exif(1))
    assert page_of(path).dpi is None
    Image.fromarray(COLOUR).save(path, exif=exif(1), dpi=(72, 72))
    assert page_of(path).dpi == (72, 72)


def test_comments_of_netpbm_and_gif(tmp_path: Path) -> None:
    ppm, gif = tmp_path / "page.ppm", tmp_path / "page.gif"
    ppm.write_bytes(b"P6\n# from the attic\n# box 2\n60 40\n255\n" + COLOUR.tobytes())
    page = page_of(ppm)
    save(page, ppm, "ppm")
    assert ppm.read_bytes().startswith(b"P6\n# from the attic\n# box 2\n60 40\n255\n")
    np.testing.assert_array_equal(page_of(ppm).pixels, COLOUR)
    Image.fromarray(COLOUR).quantize(8).save(gif, comment=b"scanned")
    assert written(page_of(gif), tmp_path, ".png").info["Comment"] == "scanned"


def test_broken_metadata_fails_no_page(tmp_path: Path) -> None:
    image, garbage = Image.fromarray(COLOUR), b"Exif\0\0II*\0\xff\xff\xff\xff nothing"
    files: dict[str, tuple[bytes, str]] = {}
    kinds: dict[str, dict[str, Any]] = {".jpg": {"quality": 95}, ".webp": {"lossless": True}, ".png": {}}
    for suffix, settings in kinds.items():
        for name, block in (("garbage", garbage), ("no", b"Exif\0\0what is this?"), ("short", garbage[:8])):
            file = io.BytesIO()
            image.save(file, format={".jpg": "JPEG", ".webp": "WEBP", ".png": "PNG"}[suffix], exif=block, **settings)
            files[f"{name}{suffix}"] = (file.getvalue(), "EXIF")
    plain = io.BytesIO()
    image.save(plain, format="PNG")
    bomb = b"Comment\0\0" + zlib.compress(bytes(1 << 22))
    files["bomb.png"] = (with_chunk(plain.getvalue(), b"zTXt", bomb), "zTXt")
    files["giant.png"] = (with_chunk(plain.getvalue(), b"tEXt", b"Comment\0" + b"x" * (1 << 24)), "tEXt")
    files["checksum.png"] = (with_chunk(plain.getvalue(), b"tEXt", b"Comment\0x", 1), "tEXt")
    files["density.png"] = (with_chunk(plain.getvalue(), b"pHYs", b"\0"), "pHYs")
    files["itxt.png"] = (with_chunk(plain.getvalue(), b"iTXt", b"Comment\0\1\0"), "iTXt")
    tiff = io.BytesIO()
    tifffile.imwrite(tiff, COLOUR, photometric="rgb", metadata=None, extratags=[(65000, "I", 1, 1 << 30, True)])
    far_away = tiff.getvalue().replace(struct.pack("<HHI", 65000, 4, 1), struct.pack("<HHI", 34665, 4, 1))
    for name, kind in (("profile.jpg", "JPEG"), ("profile.webp", "WEBP"), ("profile.png", "PNG")):
        file = io.BytesIO()
        image.save(file, format=kind, icc_profile=b"nothing of use", quality=95)
        files[name] = (file.getvalue(), "colour profile")
    files["page.tif"] = (far_away, "a part of its tags")
    for name, (data, lost) in files.items():
        path = tmp_path / name
        path.write_bytes(data)
        page = page_of(path)
        assert np.abs(page.pixels.astype(int) - COLOUR).mean() < 20, name
        assert lost in " ".join(lost_metadata(page, IMAGE_SUFFIXES[path.suffix])), name
        assert picture.read(path).colour.shape == (1, 3, 40, 60)


def test_blocks_too_large_for_a_jpeg_are_named(tmp_path: Path) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", "x" * 70_000)
    text.add_text("Comment", "y" * 70_000)
    block = Image.Exif()
    block[270] = "z" * 70_000
    Image.fromarray(COLOUR).save(tmp_path / "page.png", pnginfo=text, exif=block)
    page = page_of(tmp_path / "page.png")
    written(page, tmp_path, ".jpg")
    assert set(lost_metadata(page, "jpg")) == {"EXIF", "XMP", 'text "Comment"'}
    assert lost_metadata(page, "png") == ()


def test_pages_of_a_pdf_say_what_they_lose(tmp_path: Path) -> None:
    page = page_of(photo(tmp_path / "photo.jpg"))
    assert {"EXIF", "XMP", "IPTC", 'text "Comment"'} < set(lost_metadata(page, "pdf"))
