"""Writing PDFs: cleaned pages take the place of scanned ones, everything else of the file stays as it is."""

import io
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import img2pdf
import numpy as np
import pikepdf

from fastdiff.apps.encode import save, to_8_bits
from fastdiff.apps.page import Page

POINTS = 72  # an inch
UNKNOWN_DPI = (300, 300)  # of pages that do not say


def save_part(page: Page, path: Path) -> None:
    """Write a page as it goes into a PDF without being encoded again: group 4, JPEG, or PNG of 8 bits."""
    page = replace(to_8_bits(page), dpi=page.dpi or UNKNOWN_DPI, metadata=None)
    kind = "tiff" if page.pixels.dtype == np.bool_ else "jpg" if page.lossy else "png"
    save(page, path, kind)


def replace_pages(source: Path, images: Mapping[int, Path], target: Path) -> None:
    """Copy a PDF with `images` (made by `save_part`) in the place of the pages of these indices, from 0.

    Page sizes, rotations, annotations, outlines and metadata stay.
    """
    with pikepdf.open(source) as pdf:
        for index, image in images.items():
            _fill(pdf, pdf.pages[index], image)
        pdf.remove_unreferenced_resources()
        pdf.save(target)


def from_images(images: Iterable[Path], target: Path) -> None:
    """Make a PDF of images (made by `save_part`), each a page of the size that its resolution gives."""
    with pikepdf.new() as pdf:
        for image in images:
            with pikepdf.open(io.BytesIO(img2pdf.convert(str(image)))) as single:
                pdf.pages.extend(single.pages)
        pdf.save(target)


def _fill(pdf: pikepdf.Pdf, page: pikepdf.Page, image: Path) -> None:
    """Show nothing but an upright image on a page, over what viewers show of it."""
    wrapped = img2pdf.convert(str(image), layout_fun=lambda width, height, dpi: (POINTS,) * 4)
    with pikepdf.open(io.BytesIO(wrapped)) as single:
        (picture,) = single.pages[0].get_images().values()
        drawn = pdf.copy_foreign(picture)
    page.obj.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(Page=drawn))
    matrix = " ".join(f"{number:.6f}" for number in _placement(page))
    page.obj.Contents = pdf.make_stream(f"q {matrix} cm /Page Do Q".encode())


def _placement(page: pikepdf.Page) -> tuple[float, ...]:
    """The matrix that lays the unit square over the visible box so that it is upright after the page's rotation."""
    left, bottom, right, top = (float(number) for number in page.cropbox)
    width, height = right - left, top - bottom
    return {
        0: (width, 0, 0, height, left, bottom),
        90: (0, height, -width, 0, right, bottom),
        180: (-width, 0, 0, -height, right, top),
        270: (0, -height, width, 0, left, top),
    }[page.rotation % 360]
