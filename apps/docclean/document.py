"""A document as a sequence of pages, whatever its file: image, multi-page TIFF, PDF."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from fastdiff.apps.images.kinds import IMAGE_SUFFIXES
from fastdiff.apps.images.page import Page

if TYPE_CHECKING:
    from fastdiff.apps.docclean.pdf.pictures import Picture

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
        """What page `index` (from 0) shows instead of a scan, such as "text", or None where there is one to clean."""
        ...

    def megapixels(self, index: int) -> float:
        """Size of page `index`, found without decoding it."""
        ...

    def page(self, index: int) -> Page:
        """Page `index`, from 0. Raises UsageError where it is damaged, too large or of an unknown kind."""
        ...


@runtime_checkable
class PictureDocument(Document, Protocol):
    """A document whose pages hold pictures among other things, and keep those."""

    @property
    def is_signed(self) -> bool:
        """Whether a change breaks a signature."""
        ...

    def pictures(self, index: int) -> "Sequence[Picture]":
        """What is to be cleaned on page `index`, but for pictures that earlier pages show too.

        Raises UsageError where the page is damaged, and UnsupportedPicture where its pictures cannot be put back.
        """
        ...

    def earlier(self, index: int) -> Sequence[int]:
        """Earlier pages that show pictures of this page, and are cleaned with them."""
        ...

    def replace_pictures(self, parts: Mapping[int, Path], target: Path) -> None:
        """Write a copy with the changes that `pdf.changes.save_changes` kept for each page."""
        ...


def open_document(path: Path) -> AbstractContextManager[Document]:
    """Open `path`; its suffix tells PDFs from images.

    On entering, raises UsageError for a file that is empty, damaged, encrypted, no document, or beyond the limits of
    `images`, and MissingError for HEIC and AVIF without what reads them.
    """
    if path.suffix.lower() == ".pdf":
        from fastdiff.apps.docclean.pdf.pdf_document import open_pdf

        return open_pdf(path)
    from fastdiff.apps.images.image_document import open_images

    return open_images(path)
