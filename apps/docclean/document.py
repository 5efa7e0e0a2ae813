"""A document as a sequence of pages, whatever its file: image, multi-page TIFF, PDF."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from fastdiff.apps.kinds import IMAGE_SUFFIXES
from fastdiff.apps.page import Page

SUFFIXES = {**IMAGE_SUFFIXES, ".pdf": "pdf"}


class Document(Protocol):
    """An open file whose pages are read one at a time."""

    @property
    def kind(self) -> str:
        """A value of SUFFIXES; the content decides, not the name."""
        ...

    @property
    def count(self) -> int: ...

    def untouched(self, index: int) -> str | None:
        """Why page `index` (from 0) holds nothing to clean, or None where it does."""
        ...

    def megapixels(self, index: int) -> float:
        """Size of page `index`, found without decoding it."""
        ...

    def page(self, index: int) -> Page:
        """Page `index`, from 0. Raises UsageError where it is damaged, too large or of an unknown kind."""
        ...


def open_document(path: Path) -> AbstractContextManager[Document]:
    """Open `path`; its suffix tells PDFs from images.

    On entering, raises UsageError for a file that is empty, damaged, encrypted, no document, or beyond the limits of
    `images`, and MissingError for HEIC and AVIF without what reads them.
    """
    if path.suffix.lower() == ".pdf":
        from fastdiff.apps.docclean.pdf import open_pdf

        return open_pdf(path)
    from fastdiff.apps.images import open_images

    return open_images(path)
