"""PDF files as documents: scanned pages are rendered at the resolution of their scan, the others left alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pypdfium2
import pypdfium2.raw as pdfium

from fastdiff.apps.images import MOST_PAGES, MOST_PIXELS, check_size
from fastdiff.apps.page import Page, is_grey
from fastdiff.solvers.errors import UsageError

POINTS = 72  # an inch
MIXED_DPI = 300  # of pages that are no plain scan
SCAN_COVER = 0.5  # share of the page that images cover on a scan
STRIP_COVER = 0.01  # the least share of an image that has a say in the resolution
SCAN_TEXT = 200  # visible characters that a scan may carry, such as a court's stamp
DEPTH = 5  # of forms within forms
MARGIN = 0.01  # pixels
NO_TEXT_LAYER = "the scan's hidden text layer is not carried over"


@contextmanager
def open_pdf(path: Path) -> Iterator["PdfDocument"]:
    """Open a PDF. Raises UsageError where it is empty, damaged, encrypted with a password, or too long."""
    try:
        if path.stat().st_size == 0:
            raise UsageError(f"{path.name} is empty")
        file = pypdfium2.PdfDocument(path)
    except OSError as error:
        raise UsageError(f"{path.name} cannot be read: {error.strerror}") from error
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise UsageError(f"{path.name} is encrypted: remove its password first") from None
        raise UsageError(f"{path.name} is damaged or no PDF") from None
    try:
        if not 0 < len(file) <= MOST_PAGES:
            raise UsageError(f"{path.name} has {len(file)} pages: 1 to {MOST_PAGES}")
        yield PdfDocument(path, file)
    finally:
        file.close()


@dataclass(frozen=True)
class PdfDocument:
    """A `Document` over an open PDF."""

    path: Path
    file: pypdfium2.PdfDocument

    @property
    def kind(self) -> str:
        return "pdf"

    @property
    def count(self) -> int:
        return len(self.file)

    def untouched(self, index: int) -> str | None:
        with self._open(index) as page:
            content = _content(page)
        if content.cover >= SCAN_COVER and content.characters < SCAN_TEXT:
            return None
        if content.characters:
            return "a page of real text, not a scan: passed through untouched"
        return None if content.images else "a page without scan or text: passed through untouched"

    def megapixels(self, index: int) -> float:
        with self._open(index) as page:
            dpi = _resolution(page, _content(page))
            width, height = page.get_size()
        return width * height * (dpi / POINTS) ** 2 / 1e6

    def page(self, index: int) -> Page:
        with self._open(index) as page:
            content = _content(page)
            dpi = _resolution(page, content)
            width, height = (max(1, round(side * dpi / POINTS)) for side in page.get_size())
            check_size(self.path, width, height)
            _widen(page, MARGIN * POINTS / dpi)
            bitmap = pypdfium2.PdfBitmap.new_native(width, height, pdfium.FPDFBitmap_BGR, rev_byteorder=True)
            bitmap.fill_rect((255, 255, 255, 255), 0, 0, width, height)
            pdfium.FPDF_RenderPageBitmap(bitmap, page, 0, 0, width, height, 0, pdfium.FPDF_REVERSE_BYTE_ORDER)
            pixels = bitmap.to_numpy()
            pixels = (pixels[..., 0] if is_grey(pixels) else pixels).copy()
            bitmap.close()
        note = NO_TEXT_LAYER if content.hidden_text else None
        return Page(pixels, (dpi, dpi), None, None, content.bilevel and pixels.ndim == 2, content.lossy, note)

    @contextmanager
    def _open(self, index: int) -> Iterator[pypdfium2.PdfPage]:
        try:
            page = self.file[index]
        except pypdfium2.PdfiumError:
            raise UsageError(f"page {index + 1} of {self.path.name} is damaged") from None
        try:
            yield page
        finally:
            page.close()


def _widen(page: pypdfium2.PdfPage, margin: float) -> None:
    """Move the edges of the open page outwards by `margin` points.

    An image that ends at the very edge is otherwise rounded to one pixel more, and resampled, by single precision.
    """
    left, bottom, right, top = page.get_cropbox()
    box = (left - margin, bottom - margin, right + margin, top + margin)
    page.set_mediabox(*box)
    page.set_cropbox(*box)


@dataclass(frozen=True)
class _Content:
    """What a page shows: share covered by `images` images, their greatest resolution, visible `characters`."""

    images: int
    cover: float
    dpi: float | None
    bilevel: bool
    lossy: bool
    characters: int
    hidden_text: bool


def _content(page: pypdfium2.PdfPage) -> _Content:
    width, height = page.get_size()
    images, cover, dpis, bits, lossy = 0, 0.0, [0.0], [], False
    characters, hidden = 0, False
    text = page.get_textpage()
    for thing in page.get_objects(max_depth=DEPTH, textpage=text):
        if thing.type == pdfium.FPDF_PAGEOBJ_IMAGE:
            left, bottom, right, top = thing.get_bounds()
            images += 1
            share = max(0.0, right - left) * max(0.0, top - bottom) / (width * height)
            cover += share
            meta = thing.get_metadata()
            if share >= STRIP_COVER:
                dpis.append(max(meta.horizontal_dpi, meta.vertical_dpi))
            bits.append(meta.bits_per_pixel)
            lossy |= "DCTDecode" in thing.get_filters() or "JPXDecode" in thing.get_filters()
        elif thing.type == pdfium.FPDF_PAGEOBJ_TEXT:
            mode = pdfium.FPDFTextObj_GetTextRenderMode(thing.raw)
            if mode == pdfium.FPDF_TEXTRENDERMODE_INVISIBLE:
                hidden = True
            else:
                characters += len(thing.extract().strip())
    text.close()
    bilevel = bool(bits) and set(bits) == {1}
    return _Content(images, min(cover, 1.0), round(max(dpis), 2) or None, bilevel, lossy, characters, hidden)


def _resolution(page: pypdfium2.PdfPage, content: _Content) -> float:
    """Dots an inch to render at: the scan's own, else MIXED_DPI or what the limit on pixels leaves."""
    width, height = page.get_size()
    most = POINTS * (MOST_PIXELS / (width * height)) ** 0.5
    if content.cover >= SCAN_COVER and content.dpi:
        return content.dpi
    return min(MIXED_DPI, 0.99 * most)
