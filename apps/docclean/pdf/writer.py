"""Writes PDFs of images, one page each."""

import io
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import img2pdf
import numpy as np
import pikepdf

from fastdiff.apps.images.encoding import save, to_8_bits
from fastdiff.apps.images.page import Page

UNKNOWN_DPI = (300, 300)  # of pages without a resolution


def save_part(page: Page, path: Path) -> None:
    """Write a page so that a PDF can hold it without encoding it again: group 4, JPEG, or PNG of 8 bits."""
    page = replace(to_8_bits(page), dpi=page.dpi or UNKNOWN_DPI, metadata=None)
    kind = "tiff" if page.pixels.dtype == np.bool_ else "jpg" if page.lossy else "png"
    save(page, path, kind)


def from_images(images: Iterable[Path], target: Path) -> None:
    """Make a PDF of images (made by `save_part`), each on a page of the size that its resolution gives."""
    with pikepdf.new() as pdf:
        for image in images:
            with pikepdf.open(io.BytesIO(img2pdf.convert(str(image)))) as single:
                pdf.pages.extend(single.pages)
        pdf.save(target)
