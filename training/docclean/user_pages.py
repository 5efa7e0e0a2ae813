"""The user's clean pages for the pool."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fastdiff.apps.docclean.document import SUFFIXES, open_document
from fastdiff.apps.docclean.imaging import colour, page_analysis
from fastdiff.solvers.errors import UsageError
from fastdiff.training.docclean.page import Page

GLYPH_TO_X = 1 / 1.4  # median height of letters -> x-height
TYPICAL = 14.0  # x-height in pixels of a page without measurable letters
INK = 128  # squares without a darker pixel are left out


def page_squares(folder: Path, side: int) -> Iterator[Page]:
    """Yield squares of `side` pixels of the images and PDFs below a folder, except those without ink.

    Raises UsageError if the folder holds no page, or one that cannot be read.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        raise UsageError(f"{folder} holds no pages: give a folder of {', '.join(SUFFIXES)}")
    for path in files:
        with open_document(path) as document:
            for index in range(document.count):
                grey = colour.luma(document.page(index).pixels)
                yield from _cut(np.rint(grey * 255).astype(np.uint8), side)


def _cut(page: np.ndarray, side: int) -> Iterator[Page]:
    """Yield squares side by side over the page, on white if the page is smaller than one."""
    x_height = page_analysis.analyze(page).glyph_height * GLYPH_TO_X or TYPICAL
    for top in range(0, max(page.shape[0] - side // 2, 1), side):
        for left in range(0, max(page.shape[1] - side // 2, 1), side):
            piece = page[top : top + side, left : left + side]
            square = np.full((side, side), 255, np.uint8)
            square[: piece.shape[0], : piece.shape[1]] = piece
            if square.min() < INK:
                yield Page(square, x_height)
