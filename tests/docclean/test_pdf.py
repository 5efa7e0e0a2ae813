"""PDF in and out: scans at their own resolution, pages of text untouched, sizes and metadata kept."""

from pathlib import Path

import img2pdf
import numpy as np
import pikepdf
import pytest
from PIL import Image

from fastdiff.apps.docclean import pdf_writer
from fastdiff.apps.docclean.document import open_document
from fastdiff.apps.docclean.pdf import NO_TEXT_LAYER
from fastdiff.apps.page import Page
from fastdiff.solvers.errors import UsageError

RNG = np.random.default_rng(2)
GREY = RNG.integers(0, 256, (330, 255), np.uint8)
COLOUR = RNG.integers(0, 256, (330, 255, 3), np.uint8)


def scan(path: Path, *pages: np.ndarray, dpi: int = 300) -> Path:
    """A PDF of scans, made by another writer than ours."""
    images = []
    for number, pixels in enumerate(pages):
        images.append(path.with_name(f"{path.stem}-{number}.png"))
        Image.fromarray(pixels).save(images[-1], dpi=(dpi, dpi))
    path.write_bytes(img2pdf.convert([str(image) for image in images]))
    return path


def show_text(pdf: pikepdf.Pdf, page: pikepdf.Page, text: str, *, hidden: bool = False) -> None:
    """Add a line of text to a page, seen or unseen as OCR programs add it."""
    font = pikepdf.Dictionary(Type=pikepdf.Name.Font, Subtype=pikepdf.Name.Type1, BaseFont=pikepdf.Name.Helvetica)
    page.add_resource(font, pikepdf.Name.Font, pikepdf.Name("/F"))
    mode = 3 if hidden else 0
    page.contents_add(f"BT /F 1 Tf {mode} Tr 5 5 Td ({text}) Tj ET".encode())


def test_scans_are_read_pixel_for_pixel(tmp_path: Path) -> None:
    path = scan(tmp_path / "scan.pdf", GREY, COLOUR, GREY > 127)
    with open_document(path) as document:
        assert (document.kind, document.count) == ("pdf", 3)
        for index, pixels in enumerate((GREY, COLOUR, (GREY > 127) * np.uint8(255))):
            page = document.page(index)
            np.testing.assert_array_equal(page.pixels, pixels)
            assert page.dpi == (300, 300) and page.bilevel == (index == 2) and not page.lossy
            assert document.untouched(index) is None
            assert document.megapixels(index) == pytest.approx(330 * 255 / 1e6, rel=1e-3)


@pytest.mark.parametrize(("shape", "dpi"), [((74, 802), 150), ((366, 691), 300), ((595, 595), 600), ((491, 855), 150)])
def test_scans_of_odd_sizes_are_not_resampled(tmp_path: Path, shape: tuple[int, int], dpi: int) -> None:
    pixels = RNG.integers(0, 256, shape, np.uint8)
    with open_document(scan(tmp_path / "scan.pdf", pixels, dpi=dpi)) as document:
        np.testing.assert_array_equal(document.page(0).pixels, pixels)


def test_a_speck_of_an_image_has_no_say_in_the_resolution(tmp_path: Path) -> None:
    path = scan(tmp_path / "scan.pdf", GREY)
    with pikepdf.open(path, allow_overwriting_input=True) as pdf:
        name = next(iter(pdf.pages[0].get_images()))
        pdf.pages[0].contents_add(f"q 0.01 0 0 0.01 5 5 cm {name} Do Q".encode())
        pdf.save(path)
    with open_document(path) as document:
        assert document.page(0).dpi == (300, 300)


def test_pages_of_text_or_nothing_are_not_touched_but_scans_with_a_text_layer_are(tmp_path: Path) -> None:
    path = scan(tmp_path / "pages.pdf", GREY, GREY, GREY)
    with pikepdf.open(path, allow_overwriting_input=True) as pdf:
        show_text(pdf, pdf.pages[0], "x" * 500, hidden=True)
        show_text(pdf, pdf.pages[1], "Case 12, page 3")
        show_text(pdf, pdf.pages[2], "x" * 500)
        show_text(pdf, pdf.add_blank_page(), "one line")
        pdf.add_blank_page()
        pdf.save(path)
    with open_document(path) as document:
        reasons = [document.untouched(index) for index in range(5)]
        assert [document.page(index).note for index in (0, 1)] == [NO_TEXT_LAYER, None]
    assert reasons[:2] == [None, None]
    assert all("real text" in str(reason) for reason in reasons[2:4])
    assert "without scan or text" in str(reasons[4])


@pytest.mark.parametrize(
    ("pixels", "shown"),
    [
        pytest.param(GREY, GREY, id="grey"),
        pytest.param(COLOUR, COLOUR, id="colour"),
        pytest.param(GREY > 127, (GREY > 127) * np.uint8(255), id="one bit"),
        pytest.param(GREY.astype(np.uint16) * 257, GREY, id="16 bits"),
    ],
)
def test_images_become_pages_of_their_size(tmp_path: Path, pixels: np.ndarray, shown: np.ndarray) -> None:
    part, target = tmp_path / "part", tmp_path / "made.pdf"
    pdf_writer.save_part(Page(pixels, dpi=(150, 150)), part)
    pdf_writer.from_images([part, part], target)
    with open_document(target) as document:
        assert document.count == 2
        page = document.page(1)
    np.testing.assert_array_equal(page.pixels, shown)
    assert page.dpi == (150, 150)
    with pikepdf.open(target) as pdf:
        box = [float(number) for number in pdf.pages[0].mediabox]
        assert box == pytest.approx([0, 0, 255 * 72 / 150, 330 * 72 / 150], abs=0.01)
        (image,) = pdf.pages[0].get_images().values()
        assert ("/CCITTFaxDecode" in pikepdf.PdfImage(image).filters) == (pixels.dtype == bool)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_page_is_replaced_in_place(tmp_path: Path, rotation: int) -> None:
    path, part, target = scan(tmp_path / "scan.pdf", GREY, GREY), tmp_path / "part", tmp_path / "out.pdf"
    with pikepdf.open(path, allow_overwriting_input=True) as pdf:
        pdf.Root.Pages.Rotate = rotation
        pdf.pages[1].cropbox = [6, 12, 54, 60]
        pdf.docinfo["/Title"] = "Minutes"
        pdf.save(path)
    with open_document(path) as document:
        other, before = document.page(0), document.page(1)
    inverted = Page(255 - before.pixels, before.dpi)
    pdf_writer.save_part(inverted, part)
    pdf_writer.replace_pages(path, {1: part}, target)
    with open_document(target) as document:
        np.testing.assert_array_equal(document.page(0).pixels, other.pixels)
        np.testing.assert_array_equal(document.page(1).pixels, inverted.pixels)
    with pikepdf.open(target) as after:
        assert after.docinfo["/Title"] == "Minutes"
        assert [float(number) for number in after.pages[1].cropbox] == [6, 12, 54, 60]


def test_pdfs_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    path = scan(tmp_path / "scan.pdf", GREY)
    with pikepdf.open(path) as pdf:
        pdf.save(tmp_path / "locked.pdf", encryption=pikepdf.Encryption(owner="o", user="u"))
    (tmp_path / "empty.pdf").write_bytes(b"")
    (tmp_path / "text.pdf").write_text("a letter")
    (tmp_path / "cut.pdf").write_bytes(path.read_bytes()[:300])
    for name, sentence in {
        "locked.pdf": "is encrypted: remove its password",
        "empty.pdf": "is empty",
        "text.pdf": "is damaged or no PDF",
        "cut.pdf": "is damaged or no PDF",
    }.items():
        with pytest.raises(UsageError, match=sentence), open_document(tmp_path / name):
            pass


def test_a_page_of_too_many_pixels_is_refused_before_it_is_rendered(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pdf"
    with pikepdf.new() as pdf:
        page = pdf.add_blank_page()
        bomb = pdf.make_stream(bytes(20_000 * 20_000 // 8))
        bomb.update({"/Subtype": pikepdf.Name.Image, "/Width": 20_000, "/Height": 20_000, "/BitsPerComponent": 1})
        bomb.ColorSpace = pikepdf.Name.DeviceGray
        page.add_resource(bomb, pikepdf.Name.XObject, pikepdf.Name("/I"))
        page.contents_add(b"q 612 0 0 792 0 0 cm /I Do Q")
        pdf.save(path)
    with open_document(path) as document, pytest.raises(UsageError, match="pixels: 1 to 178 million"):
        document.page(0)
