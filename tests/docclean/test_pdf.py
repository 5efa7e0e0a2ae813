"""PDF in and out: scans at their own resolution, pages of text untouched, sizes and metadata kept."""

from pathlib import Path

import img2pdf
import numpy as np
import pikepdf
import pytest
from PIL import Image

from fastdiff.apps.docclean.document import open_document
from fastdiff.apps.docclean.pdf import writer
from fastdiff.apps.docclean.pdf.changes import save_changes
from fastdiff.apps.docclean.pdf.content_reader import MOST_DRAWS
from fastdiff.apps.docclean.pdf.pdf_document import open_pdf
from fastdiff.apps.docclean.pdf.pictures import turn_upright
from fastdiff.apps.images.page import Page
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
        shown = [document.untouched(index) for index in range(5)]
    assert shown == [None, None, "text", "text", "nothing to clean"]


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
    writer.save_part(Page(pixels, dpi=(150, 150)), part)
    writer.from_images([part, part], target)
    with open_document(target) as document:
        assert document.count == 2
        page = document.page(1)
    np.testing.assert_array_equal(page.pixels, shown)
    assert page.dpi == (150, 150)
    with pikepdf.open(target) as pdf:
        box = [float(number) for number in pdf.pages[0].mediabox]
        assert box == pytest.approx([0, 0, 255 * 72 / 150, 330 * 72 / 150], abs=0.01)
        (image,) = pdf.pages[0].get_images().values()
        assert isinstance(image, pikepdf.Stream)
        assert ("/CCITTFaxDecode" in pikepdf.PdfImage(image).filters) == (pixels.dtype == bool)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_picture_is_replaced_in_place(tmp_path: Path, rotation: int) -> None:
    path, part, target = scan(tmp_path / "scan.pdf", GREY, GREY), tmp_path / "part", tmp_path / "out.pdf"
    with pikepdf.open(path, allow_overwriting_input=True) as pdf:
        pdf.Root.Pages.Rotate = rotation
        pdf.pages[1].cropbox = pikepdf.Rectangle(6, 12, 54, 60)
        pdf.docinfo["/Title"] = "Minutes"
        pdf.save(path)
    with open_pdf(path) as document:
        other, before = document.page(0), document.page(1)
        (picture,) = document.pictures(1)
        np.testing.assert_array_equal(picture.page().pixels, np.rot90(GREY, -rotation // 90))
        save_changes(picture.changes(255 - picture.page().pixels), part)
        document.replace_pictures({1: part}, target)
    with open_document(target) as document:
        np.testing.assert_array_equal(document.page(0).pixels, other.pixels)
        np.testing.assert_array_equal(document.page(1).pixels, 255 - before.pixels)
    with pikepdf.open(target) as after:
        assert after.docinfo["/Title"] == "Minutes"
        assert [float(number) for number in after.pages[1].cropbox] == [6, 12, 54, 60]


def test_unusable_pdfs_are_reported(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize(
    "matrix", [(2, 0, 0, 3), (-2, 0, 0, 3), (0, 2, -3, 0), (0, -2, 3, 0), (0, 2, 3, 0), (2, 0.1, -0.1, 3)]
)
def test_pixels_turn_upright_as_viewers_turn_them(
    tmp_path: Path, matrix: tuple[float, float, float, float], rotation: int
) -> None:
    """A picture of four dark corners of different sizes is seen by pdfium as the turn says."""
    pixels = np.full((40, 30), 255, np.uint8)
    pixels[:20, :15] = 0
    pixels[:8, 22:] = 0
    a, b, c, d = (20 * number for number in matrix)
    left, bottom = min(0, a, c, a + c), min(0, b, d, b + d)
    path = tmp_path / "turned.pdf"
    with pikepdf.new() as pdf:
        page = pdf.add_blank_page(page_size=(abs(a + c), abs(b + d)))
        image = pdf.make_stream(pixels.tobytes())
        image.update({"/Subtype": pikepdf.Name.Image, "/Width": 30, "/Height": 40, "/BitsPerComponent": 8})
        image.ColorSpace = pikepdf.Name.DeviceGray
        page.add_resource(image, pikepdf.Name.XObject, pikepdf.Name("/I"))
        page.contents_add(f"q {a} {b} {c} {d} {-left} {-bottom} cm /I Do Q".encode())
        page.obj.Rotate = rotation
        pdf.save(path)
    with open_pdf(path) as document:
        seen = document.page(0).pixels
        (picture,) = document.pictures(0)
        upright = picture.page().pixels
    quarters = [[half[:, : half.shape[1] // 2], half[:, half.shape[1] // 2 :]] for half in np.array_split(seen, 2)]
    ours = [[half[:, : half.shape[1] // 2], half[:, half.shape[1] // 2 :]] for half in np.array_split(upright, 2)]
    dark = [[[part.mean() for part in row] for row in rows] for rows in (quarters, ours)]
    np.testing.assert_allclose(dark[0], dark[1], atol=60)
    turn = turn_upright((a, b, c, d, 0, 0), rotation)
    np.testing.assert_array_equal(turn.undo(turn.apply(pixels)), pixels)


def bomb(path: Path, content: bytes, forms: int = 0) -> Path:
    """A page of this content, with forms /F0 to /F of `forms` that each draw the one before a hundred times."""
    with pikepdf.new() as pdf:
        page = pdf.add_blank_page()
        for number in range(forms):
            form = pdf.make_stream(f"/F{number - 1} Do ".encode() * 100 if number else b"0 0 m 1 1 l S ")
            form.update({"/Subtype": pikepdf.Name.Form, "/BBox": pikepdf.Array([0, 0, 612, 792])})
            page.add_resource(form, pikepdf.Name.XObject, pikepdf.Name(f"/F{number}"))
        image = pdf.make_stream(b"\0")
        image.update({"/Subtype": pikepdf.Name.Image, "/Width": 1, "/Height": 1, "/BitsPerComponent": 8})
        image.ColorSpace = pikepdf.Name.DeviceGray
        page.add_resource(image, pikepdf.Name.XObject, pikepdf.Name("/I"))
        page.contents_add(content)
        pdf.save(path)
    return path


@pytest.mark.parametrize(
    ("content", "forms"), [(b"/F9 Do", 10), (b"q 9 0 0 9 0 0 cm /I Do Q " * (MOST_DRAWS + 1), 0), (b"q Q " * 2**23, 0)]
)
def test_pages_of_endless_content_are_not_followed(tmp_path: Path, content: bytes, forms: int) -> None:
    with open_document(bomb(tmp_path / "bomb.pdf", content, forms)) as document:
        assert document.untouched(0) == "drawings"


def test_page_trees_without_end_and_of_too_many_pages_are_refused(tmp_path: Path) -> None:
    path = scan(tmp_path / "scan.pdf", GREY)
    with pikepdf.open(path) as pdf:
        pages = pdf.Root.Pages
        pages.Kids.append(pages)
        pdf.save(tmp_path / "loop.pdf")
    with pikepdf.new() as pdf:
        pdf.add_blank_page()
        pdf.Root.Pages.Kids = pikepdf.Array([pdf.Root.Pages.Kids[0]] * 10_001)
        pdf.Root.Pages.Count = 10_001
        pdf.save(tmp_path / "long.pdf")
    with open_document(tmp_path / "loop.pdf") as document:
        assert document.untouched(0) is None
    with pytest.raises(UsageError, match="has more than 10000 pages"), open_document(tmp_path / "long.pdf"):
        pass
