"""Pages of a TIFF that are not cleaned stay what they are, and those that are keep what their tags say.

Files are written by Pillow, tifffile or by hand, and read by tifffile.
"""

import io
import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from scans import docclean, judged, lightening, save_tiff, striped, tiff_pages

from fastdiff.apps.docclean.document import open_document

BLANK = np.full((120, 160), 200, np.uint8)  # has no ink to lose: cleaned, where the others are kept
COLOUR = np.dstack([striped(), striped(90), striped(30)])
OFFSETS = (254, 255, 273, 279, 324, 325, 330, 34665)
SAMPLES = Path(__file__).with_name("images")
SAID = {270: "Box 12 folder 3", 285: "page A", 305: "ScannerSoft", 306: "2024:01:02 03:04:05", 315: "Archivist"}


@pytest.fixture(scope="module")
def whitening(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lightening(tmp_path_factory.mktemp("weights"), 1.0)


def compressed(image: Image.Image, compression: str) -> Image.Image:
    image.info["compression"] = compression
    return image


def four_bits(order: str) -> bytes:
    """A page of 4 bits a pixel, white as 0, its bits from the least significant on, in two strips."""
    grey = 15 - striped() // 17
    packed = (grey[:, ::2] << 4 | grey[:, 1::2]).astype(np.uint8).tobytes()
    strips = bytes(int(f"{value:08b}"[::-1], 2) for value in packed)
    fields = [(256, 3, 1, 160), (257, 3, 1, 120), (258, 3, 1, 4), (259, 3, 1, 1), (262, 3, 1, 0), (266, 3, 1, 2)]
    ends = 8 + len(strips)
    fields += [(273, 4, 2, ends), (277, 3, 1, 1), (278, 3, 1, 60), (279, 4, 2, ends + 8)]
    body = b""
    for tag, kind, count, value in fields:
        short = kind == 3
        body += struct.pack(f"{order}HHIH2x" if short else f"{order}HHII", tag, kind, count, value)
    tables = struct.pack(f"{order}4I", 8, 8 + len(strips) // 2, len(strips) // 2, len(strips) // 2)
    head = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, ends + len(tables))
    return head + strips + tables + struct.pack(f"{order}H", len(fields)) + body + bytes(4)


def deep(order: Any, **settings: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, striped().astype(np.uint16) * 257, byteorder=order, metadata=None, **settings)
    return file.getvalue()


def page_as_it_is(page: tifffile.TiffPage) -> tuple[dict[int, Any], list[bytes]]:
    """The tags of a page but those of places, and its compressed strips."""
    tags = {tag.code: (tag.dtype, str(tag.value)) for tag in page.tags if tag.code not in OFFSETS}
    strips = []
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        page.parent.filehandle.seek(offset)
        strips.append(page.parent.filehandle.read(count))
    return tags, strips


def test_kept_pages_are_copied_as_they_are(tmp_path: Path, whitening: Path) -> None:
    bit = Image.fromarray(striped() > 100)
    pages: list[Image.Image | bytes] = [
        Image.fromarray(BLANK),
        compressed(bit.copy(), "group4"),
        compressed(bit.copy(), "packbits"),
        compressed(Image.fromarray(striped()), "tiff_lzw"),
        compressed(Image.fromarray(COLOUR), "jpeg"),
        compressed(Image.fromarray(COLOUR).quantize(16), "tiff_lzw"),
        compressed(Image.fromarray(COLOUR).convert("CMYK"), "tiff_adobe_deflate"),
        four_bits("<"),
        deep("<", photometric="miniswhite", tile=(64, 64)),
    ]
    scan, out = tmp_path / "scan.tif", tmp_path / "scan-clean.tif"
    save_tiff(scan, pages, tiffinfo=SAID, dpi=(200, 200))
    assert judged(whitening, scan) == 0
    report = json.loads((tmp_path / "scan-clean-report.json").read_text())
    assert [page["status"] for page in report["pages"]] == ["cleaned", *["kept"] * 8]
    with tifffile.TiffFile(scan) as before, tifffile.TiffFile(out) as after:
        assert len(after.pages) == len(pages)
        for old, new in zip(tiff_pages(before)[1:], tiff_pages(after)[1:], strict=True):
            assert page_as_it_is(new) == page_as_it_is(old)
        first = after.pages.first
        assert (first.asarray() == 255).all() and first.bitspersample == 8
        said = {tag: first.tags[tag].value for tag in SAID}
        assert said == SAID and first.tags[282].value == (200, 1)


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])  # Pillow reads no fourth
def test_byte_orders_and_bigtiff_stay(tmp_path: Path, whitening: Path, order: Any, big: bool) -> None:
    scan, out = tmp_path / "scan.tif", tmp_path / "scan-clean.tif"
    with tifffile.TiffWriter(scan, byteorder=order, bigtiff=big) as writer:
        for pixels in (BLANK, BLANK.astype(np.uint16) * 257, striped().astype(np.uint16) * 257):
            writer.write(pixels, metadata=None, description="leaf", extratags=[(65000, "H", 2, (7, 300), True)])
    assert judged(whitening, scan) == 0
    with tifffile.TiffFile(scan) as before, tifffile.TiffFile(out) as after:
        assert (after.byteorder, after.is_bigtiff) == (order, big)
        assert page_as_it_is(tiff_pages(after)[2]) == page_as_it_is(tiff_pages(before)[2])
        for page, white in zip(tiff_pages(after), (255, 65535), strict=False):
            assert (page.asarray() == white).all()
            assert page.description == "leaf" and page.tags[65000].value == (7, 300)
        np.testing.assert_array_equal(after.pages[2].asarray(), striped().astype(np.uint16) * 257)


def test_kept_bits_stay_in_other_kinds(tmp_path: Path, whitening: Path) -> None:
    scan = tmp_path / "scan.tif"
    save_tiff(scan, [compressed(Image.fromarray(striped() > 100), "group4"), Image.fromarray(BLANK)])
    assert judged(whitening, scan, "--format", "png", "-o", tmp_path / "out") == 0
    page = (tmp_path / "out" / "scan-0001.png").read_bytes()
    assert page[24] == 1  # bits a channel, in the header
    with Image.open(io.BytesIO(page)) as image:
        np.testing.assert_array_equal(np.asarray(image.convert("L")) > 127, striped() > 100)


def test_thumbnails_masks_and_sub_directories_are_no_pages(tmp_path: Path, whitening: Path) -> None:
    scan, out = tmp_path / "scan.tif", tmp_path / "scan-clean.tif"
    small = np.full((30, 40), 100, np.uint8)
    with tifffile.TiffWriter(scan) as writer:
        writer.write(striped(), metadata=None, subfiletype=2)
        writer.write(small, metadata=None, subfiletype=1)
        writer.write(BLANK, metadata=None, subifds=1)
        writer.write(small, metadata=None, subfiletype=1)  # in the SubIFDs
        writer.write(small > 0, metadata=None, subfiletype=4)
        writer.write(small, metadata=None, extratags=[(255, "H", 1, 2, True)])
    with open_document(scan) as document:
        assert document.count == 2
        np.testing.assert_array_equal(document.page(1).pixels, BLANK)
    assert judged(whitening, scan) == 0
    first, second = json.loads((tmp_path / "scan-clean-report.json").read_text())["pages"]
    assert (first["status"], second["status"]) == ("kept", "cleaned")
    assert "thumbnails and masks in the file were left out: 3" in second["reason"]
    assert "its reduced images were left out" in second["reason"]
    with tifffile.TiffFile(out) as after:
        assert [page.shape for page in after.pages] == [BLANK.shape] * 2
        first, second_page = tiff_pages(after)
        assert first.tags[254].value == 2 and 330 not in second_page.tags


def test_a_page_that_cannot_be_read_stays_in_its_file(tmp_path: Path, whitening: Path) -> None:
    scan, out = tmp_path / "scan.tif", tmp_path / "scan-clean.tif"
    with tifffile.TiffWriter(scan) as writer:
        for pixels in (BLANK, np.ones((4, 5, 120, 160), np.float64)[0, 0]):
            writer.write(pixels, metadata=None)
    assert judged(whitening, scan) == 4
    statuses = [page["status"] for page in json.loads((tmp_path / "scan-clean-report.json").read_text())["pages"]]
    assert statuses == ["cleaned", "failed"]
    with tifffile.TiffFile(scan) as before, tifffile.TiffFile(out) as after:
        assert page_as_it_is(tiff_pages(after)[1]) == page_as_it_is(tiff_pages(before)[1])


def test_a_chain_of_directories_that_loops_ends(tmp_path: Path) -> None:
    scan = tmp_path / "scan.tif"
    save_tiff(scan, [Image.fromarray(striped()), Image.fromarray(BLANK)])
    with tifffile.TiffFile(scan) as file:
        first, second = (page.offset for page in file.pages)
    data = bytearray(scan.read_bytes())
    link = second + 2 + 12 * struct.unpack_from("<H", data, second)[0]
    data[link : link + 4] = struct.pack("<I", first)
    scan.write_bytes(data)
    with open_document(scan) as document:
        assert document.count == 2
        np.testing.assert_array_equal(document.page(1).pixels, BLANK)


def test_files_as_they_came(tmp_path: Path) -> None:
    for path in SAMPLES.iterdir():
        shutil.copy(path, tmp_path / path.name)
    assert docclean(lightening(tmp_path, 0.1), tmp_path, "-o", tmp_path / "out") == 0
    with tifffile.TiffFile(tmp_path / "out" / "multipage-mixed.tif") as file:
        pages = tiff_pages(file)
        assert [page.bitspersample for page in pages] == [1, 8, 8, 8]
        assert [page.compression for page in pages] == [4, 8, 8, 8]
        assert [page.tags[282].value[0] for page in pages] == [200, 300, 150, 100]
        for page in pages:
            said = [page.tags[tag].value for tag in (270, 285, 305, 306, 315, 33432)]
            when = "2024:01:02 03:04:05"
            assert said == ["Box 12 folder 3", "page A", "ScannerSoft 1.0", when, "Archivist", "Public domain"]
    with tifffile.TiffFile(tmp_path / "out" / "thumbnail-page.tif") as file:
        assert [page.shape for page in file.pages] == [(400, 500)]
    assert (tmp_path / "out" / "shot.jfif").read_bytes()[:3] == b"\xff\xd8\xff"
    assert Image.open(tmp_path / "out" / "page.png").size == (500, 400)
