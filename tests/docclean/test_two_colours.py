"""Pages of one bit a pixel in two colours keep the bit and the colours, whether they are cleaned or kept.

Files are written by Pillow, tifffile or by hand, and read by other readers than docclean's.
"""

import json
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pikepdf
import pytest
import tifffile
from known import known
from PIL import Image, ImageCms
from scans import docclean, judged, lightening, save_tiff, striped, tiff_pages

from fastdiff.apps.images import picture
from fastdiff.cli.main import main

BLUE, CREAM = (0, 0, 128), (255, 250, 220)
DARK, PALE = (60, 60, 60), (100, 100, 100)  # both are nearer to black than to white
PAPER = striped() > 100
RAW, DEFLATE = 1, 8  # compressions of TIFF
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
PAIRS = pytest.mark.parametrize(("ink", "paper"), [(BLUE, CREAM), (DARK, PALE)])
Colour = tuple[int, int, int]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lightening(tmp_path_factory.mktemp("weights"), 0.1)


@pytest.fixture(scope="module")
def whitening(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lightening(tmp_path_factory.mktemp("weights"), 1.0)


def in_colours(ink: Colour, paper: Colour) -> np.ndarray:
    return np.where(PAPER[..., None], np.array(paper, np.uint8), np.array(ink, np.uint8))


def palette_image(ink: Colour, paper: Colour, bits: np.ndarray = PAPER) -> Image.Image:
    """An image of PIL whose first colour is paper."""
    image = Image.fromarray((~bits).astype(np.uint8))
    image.putpalette([*paper, *ink])
    return image


def bmp(ink: Colour, paper: Colour, os2: bool) -> bytes:
    height, width = PAPER.shape
    rows = np.packbits(PAPER, axis=1)[::-1].tobytes()
    if os2:
        head = struct.pack("<2s4I4H", b"BM", 32 + len(rows), 0, 32, 12, width, height, 1, 1)
        return head + bytes((*ink[::-1], *paper[::-1])) + rows
    head = struct.pack("<2s4I2i2H", b"BM", 62 + len(rows), 0, 62, 40, width, height, 1, 1)
    table = bytes((*ink[::-1], 0, *paper[::-1], 0))
    return head + struct.pack("<6I", 0, len(rows), 0, 0, 2, 2) + table + rows


def tiff(ink: Colour, paper: Colour, compression: int = DEFLATE) -> bytes:
    height, width = PAPER.shape
    rows = np.packbits(PAPER, axis=1).tobytes()
    strip = zlib.compress(rows) if compression == DEFLATE else rows
    strip += bytes(len(strip) % 2)
    colours = [257 * value for channel in zip(ink, paper, strict=True) for value in channel]
    tags = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 1, 1), (259, 3, 1, compression), (262, 3, 1, 3)]
    tags += [(270, 2, 7, 20), (273, 4, 1, 28), (278, 3, 1, height), (279, 4, 1, len(strip))]
    tags += [(320, 3, 6, 8)]
    head = struct.pack("<2sHI6H", b"II", 42, 28 + len(strip), *colours) + b"A deed\0\0" + strip
    return head + struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)


def status(folder: Path) -> str:
    (page,) = json.loads((folder / "scan-clean-report.json").read_text())["pages"]
    return str(page["status"])


def assert_one_bit_tiff(path: Path, ink: Colour, paper: Colour, index: int = 0) -> None:
    with tifffile.TiffFile(path) as file:
        page = tiff_pages(file)[index]
        assert (page.bitspersample, page.samplesperpixel, page.photometric) == (1, 1, 3)
        colours = (np.asarray(page.colormap) // 257).T
        np.testing.assert_array_equal(colours[page.asarray().astype(int)], in_colours(ink, paper))


@PAIRS
def test_png(tmp_path: Path, weights: Path, ink: Colour, paper: Colour) -> None:
    scan, out = tmp_path / "scan.png", tmp_path / "scan-clean.png"
    palette_image(ink, paper).save(scan, bits=1, dpi=(300, 300), optimize=True)
    assert docclean(weights, scan) == 0 and status(tmp_path) == "cleaned"
    assert out.read_bytes()[24:26] == b"\x01\x03"  # bits a pixel, and that they are places in a palette
    np.testing.assert_array_equal(known(cv2.imread(str(out)))[..., ::-1], in_colours(ink, paper))
    assert out.stat().st_size <= scan.stat().st_size + 12  # inverted bits compress a little differently


@PAIRS
@pytest.mark.parametrize("os2", [False, True])
def test_bmp(tmp_path: Path, weights: Path, ink: Colour, paper: Colour, os2: bool) -> None:
    scan, out = tmp_path / "scan.bmp", tmp_path / "scan-clean.bmp"
    scan.write_bytes(bmp(ink, paper, os2))
    assert docclean(weights, scan) == 0 and status(tmp_path) == "cleaned"
    assert struct.unpack_from("<H", out.read_bytes(), 28) == (1,)  # bits a pixel
    np.testing.assert_array_equal(known(cv2.imread(str(out)))[..., ::-1], in_colours(ink, paper))
    assert out.stat().st_size == scan.stat().st_size + 30 * os2  # whose header is shorter


@PAIRS
@pytest.mark.parametrize("compression", [RAW, DEFLATE])
def test_tiff(tmp_path: Path, weights: Path, ink: Colour, paper: Colour, compression: int) -> None:
    scan, out = tmp_path / "scan.tif", tmp_path / "scan-clean.tif"
    scan.write_bytes(tiff(ink, paper, compression))
    assert docclean(weights, scan) == 0 and status(tmp_path) == "cleaned"
    assert_one_bit_tiff(out, ink, paper)
    np.testing.assert_array_equal(known(cv2.imread(str(out)))[..., ::-1], in_colours(ink, paper))
    assert tifffile.TiffFile(out).pages.first.description == "A deed"
    assert out.stat().st_size <= scan.stat().st_size + 12  # one tag more


@PAIRS
def test_gif_becomes_png(tmp_path: Path, weights: Path, ink: Colour, paper: Colour) -> None:
    scan, out = tmp_path / "scan.gif", tmp_path / "scan-clean.png"
    palette_image(ink, paper).save(scan)
    assert docclean(weights, scan) == 0 and status(tmp_path) == "cleaned"
    assert out.read_bytes()[24:26] == b"\x01\x03"
    np.testing.assert_array_equal(known(cv2.imread(str(out)))[..., ::-1], in_colours(ink, paper))
    assert out.stat().st_size <= scan.stat().st_size


def test_pages_of_a_tiff_cleaned_and_kept(tmp_path: Path, whitening: Path) -> None:
    scan, out = tmp_path / "scan.tif", tmp_path / "scan-clean.tif"
    save_tiff(scan, [Image.fromarray(np.full((120, 160), 200, np.uint8)), tiff(BLUE, CREAM)])
    assert judged(whitening, scan) == 0
    report = json.loads((tmp_path / "scan-clean-report.json").read_text())
    assert [page["status"] for page in report["pages"]] == ["cleaned", "kept"]
    assert_one_bit_tiff(out, BLUE, CREAM, index=1)
    assert judged(whitening, scan, "--format", "png", "-o", tmp_path / "out") == 0
    kept = tmp_path / "out" / "scan-0002.png"
    assert kept.read_bytes()[24:26] == b"\x01\x03"
    np.testing.assert_array_equal(known(cv2.imread(str(kept)))[..., ::-1], in_colours(BLUE, CREAM))


def test_cleaned_and_blank_pages_keep_both_colours(tmp_path: Path, whitening: Path) -> None:
    scan, out = tmp_path / "scan.png", tmp_path / "scan-clean.png"
    palette_image(BLUE, CREAM).save(scan, bits=1)
    assert docclean(whitening, scan) == 0 and status(tmp_path) == "cleaned"
    assert out.read_bytes()[24:26] == b"\x01\x03"
    assert (known(cv2.imread(str(out)))[..., ::-1] == CREAM).all()
    palette_image(BLUE, CREAM, np.ones_like(PAPER)).save(scan, bits=1)
    assert docclean(whitening, scan, "--force") == 0 and status(tmp_path) == "cleaned"
    with Image.open(out) as image:
        assert out.read_bytes()[24:26] == b"\x01\x03" and (np.asarray(image.convert("RGB")) == CREAM).all()
        assert image.getpalette() == [*BLUE, *CREAM]


def test_binarized_pages_keep_their_colours(tmp_path: Path, weights: Path) -> None:
    scan, out = tmp_path / "scan.png", tmp_path / "scan-clean.png"
    palette_image(BLUE, CREAM).save(scan, bits=1, icc_profile=SRGB)
    chosen = ["--task", "binarize", "--ocr", "none", "--weights", str(weights), "--force-clean"]
    assert main(["docclean", str(scan), *chosen]) == 0 and status(tmp_path) == "cleaned"
    assert out.read_bytes()[24:26] == b"\x01\x03" and Image.open(out).info["icc_profile"] == SRGB
    np.testing.assert_array_equal(known(cv2.imread(str(out)))[..., ::-1], in_colours(BLUE, CREAM))


@pytest.mark.parametrize("kind", ["webp", "jp2", "ppm", "jpg"])
@PAIRS
def test_kinds_without_palettes_show_the_colours(
    tmp_path: Path, weights: Path, kind: str, ink: Colour, paper: Colour
) -> None:
    scan, out = tmp_path / "scan.png", tmp_path / f"out.{kind}"
    palette_image(ink, paper).save(scan, bits=1)
    assert docclean(weights, scan, "-o", out) == 0
    shown = known(cv2.imread(str(out)))[..., ::-1].astype(int)
    assert np.abs(shown - in_colours(ink, paper)).max() <= (20 if kind == "jpg" else 0)


def test_pdf_holds_one_bit_in_two_colours(tmp_path: Path, weights: Path) -> None:
    scan, out = tmp_path / "scan.png", tmp_path / "out.pdf"
    palette_image(BLUE, CREAM).save(scan, bits=1)
    assert docclean(weights, scan, "-o", out) == 0
    with pikepdf.open(out) as pdf:
        (image,) = pdf.pages[0].get_images().values()
        assert isinstance(image, pikepdf.Stream)
        assert image.BitsPerComponent == 1
        shown = pikepdf.PdfImage(image).as_pil_image().convert("RGB")
        np.testing.assert_array_equal(np.asarray(shown), in_colours(BLUE, CREAM))


def test_pbm_is_refused(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    palette_image(BLUE, CREAM).save(tmp_path / "scan.png", bits=1)
    assert docclean(weights, tmp_path / "scan.png", "-o", tmp_path / "out.pbm") == 5
    assert "PBM holds black and white, and the page has other colours: give --format png" in capsys.readouterr().err


def test_transparent_paper_is_white_and_turned_pages_are_upright(tmp_path: Path, weights: Path) -> None:
    scan, out = tmp_path / "scan.png", tmp_path / "scan-clean.png"
    exif = Image.Exif()
    exif[274] = 6
    palette_image(BLUE, CREAM).save(scan, bits=1, transparency=0, exif=exif)
    assert docclean(weights, scan) == 0
    assert out.read_bytes()[24:26] == b"\x01\x03"
    expected = np.rot90(in_colours(BLUE, (255, 255, 255)), -1)
    np.testing.assert_array_equal(np.asarray(Image.open(out).convert("RGB")), expected)


def test_eight_bits_in_two_colours_stay_eight_bits(tmp_path: Path, weights: Path) -> None:
    image = palette_image(BLUE, CREAM)
    image.save(tmp_path / "scan.bmp")
    assert docclean(weights, tmp_path / "scan.bmp") == 0
    assert Image.open(tmp_path / "scan-clean.bmp").mode == "RGB"


def test_black_and_white_with_a_profile_stays_one_bit(tmp_path: Path, weights: Path) -> None:
    scan, out = tmp_path / "scan.png", tmp_path / "scan-clean.png"
    palette_image((0, 0, 0), (255, 255, 255)).save(scan, bits=1, icc_profile=SRGB)
    assert docclean(weights, scan) == 0
    assert out.read_bytes()[24:26] == b"\x01\x03" and Image.open(out).info["icc_profile"] == SRGB
    np.testing.assert_array_equal(np.asarray(Image.open(out).convert("L")) > 127, PAPER)


def test_other_applications_see_the_colours(tmp_path: Path) -> None:
    palette_image(BLUE, CREAM).save(tmp_path / "scan.png", bits=1)
    seen = picture.to_uint8(picture.read(tmp_path / "scan.png").colour[0])
    np.testing.assert_array_equal(seen, in_colours(BLUE, CREAM))
