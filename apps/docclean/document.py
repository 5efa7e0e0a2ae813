"""The contract of documents: sequences of pages, read from images, multi-page TIFFs and PDFs."""

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
        """A value of SUFFIXES, decided by the content of the file."""
        ...

    @property
    def count(self) -> int: ...

    def untouched(self, index: int) -> str | None:
        """Return the content of page `index` (from 0) if it is no scan, such as "text"; None for a page to clean."""
        ...

    def megapixels(self, index: int) -> float:
        """Return the size of page `index` without decoding it."""
        ...

    def page(self, index: int) -> Page:
        """Return page `index`, from 0. Raises UsageError if it is damaged, too large or of an unknown kind."""
        ...


@runtime_checkable
class PictureDocument(Document, Protocol):
    """A document whose pages hold pictures among other content, and keep this content."""

    @property
    def is_signed(self) -> bool:
        """True if a change breaks a signature."""
        ...

    def pictures(self, index: int) -> "Sequence[Picture]":
        """Return the pictures to clean on page `index`, except those that an earlier page shows too.

        Raises UsageError if the page is damaged, UnsupportedPicture if its pictures cannot be put back.
        """
        ...

    def earlier(self, index: int) -> Sequence[int]:
        """Return the earlier pages that show pictures of this page and are cleaned with them."""
        ...

    def replace_pictures(self, parts: Mapping[int, Path], target: Path) -> None:
        """Write a copy with the changes that `pdf.changes.save_changes` stored for each page."""
        ...


def open_document(path: Path) -> AbstractContextManager[Document]:
    """Open `path`, a PDF or an image by its suffix.

    On entering, raises UsageError for a file that is empty, damaged, encrypted, no document, or beyond the limits of
    `images`, and MissingError for HEIC and AVIF without their library.
    """
    if path.suffix.lower() == ".pdf":
        from fastdiff.apps.docclean.pdf.pdf_document import open_pdf

        return open_pdf(path)
    from fastdiff.apps.images.image_document import open_images

    return open_images(path)
