"""Renders PDF pages to pixels, as viewers show them."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import pikepdf
import pypdfium2
import pypdfium2.raw as pdfium

from fastdiff.apps.docclean.pdf.page_tree import Box, inherited, rotation
from fastdiff.apps.images.page import is_grey
from fastdiff.solvers.errors import UsageError

MARGIN = 0.01  # pixels
KEPT = ("/Contents", "/Annots", "/Group")


def render_page(pdf: pikepdf.Pdf, page: pikepdf.Object, box: Box, width: int, height: int) -> np.ndarray:
    """Render the part of a page inside `box`, upright and with annotations, in uint8 grey (H, W) or RGB (H, W, 3).

    The box is widened by a hundredth of a pixel: single precision would otherwise round an image that ends at its edge
    up by one pixel, and resample it. Raises UsageError if the page is damaged.
    """
    across = height if rotation(page) in (90, 270) else width
    margin = MARGIN * box.width / across
    corners = [box.left - margin, box.bottom - margin, box.right + margin, box.top + margin]
    entries = {name: page[name] for name in KEPT if name in page}
    entries["/Resources"] = inherited(page, "/Resources")
    return _rendered(pdf, {**entries, "/Rotate": rotation(page)}, corners, width, height)


def render_images(
    pdf: pikepdf.Pdf, content: bytes, resources: pikepdf.Dictionary, width: int, height: int
) -> np.ndarray:
    """Render content on white paper, a pixel per unit of its space, in uint8 grey (H, W) or RGB (H, W, 3)."""
    entries = {"/Contents": pdf.make_stream(content), "/Resources": resources}
    return _rendered(pdf, entries, [0, 0, width, height], width, height)


def _rendered(
    pdf: pikepdf.Pdf, entries: Mapping[str, Any], corners: list[float], width: int, height: int
) -> np.ndarray:
    page = pikepdf.Dictionary({"/Type": pikepdf.Name.Page, "/MediaBox": pikepdf.Array(corners)})
    for name, value in entries.items():
        if value is not None:
            page[name] = value
    with pikepdf.new() as single:
        single.pages.append(pikepdf.Page(pdf.make_indirect(page)))
        layers = pdf.Root.get("/OCProperties")
        if layers is not None:
            single.Root.OCProperties = single.copy_foreign(layers if layers.is_indirect else pdf.make_indirect(layers))
        file = io.BytesIO()
        single.save(file, compress_streams=False, stream_decode_level=pikepdf.StreamDecodeLevel.none)
    return _drawn(file.getvalue(), width, height)


def _drawn(file: bytes, width: int, height: int) -> np.ndarray:
    try:
        document = pypdfium2.PdfDocument(file)
    except pypdfium2.PdfiumError:
        raise UsageError("a page is damaged") from None
    try:
        page = document[0]
        bitmap = pypdfium2.PdfBitmap.new_native(width, height, pdfium.FPDFBitmap_BGR, rev_byteorder=True)
        bitmap.fill_rect((255, 255, 255, 255), 0, 0, width, height)
        flags = pdfium.FPDF_REVERSE_BYTE_ORDER | pdfium.FPDF_ANNOT
        pdfium.FPDF_RenderPageBitmap(bitmap, page, 0, 0, width, height, 0, flags)
        pixels: np.ndarray = bitmap.to_numpy()
        pixels = (pixels[..., 0] if is_grey(pixels) else pixels).copy()
        bitmap.close()
        page.close()
        return pixels
    except pypdfium2.PdfiumError:
        raise UsageError("a page is damaged") from None
    finally:
        document.close()
