"""PDF files as documents: scanned pages with their pictures, and other pages, which stay unchanged."""

import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from math import hypot, sqrt
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import pikepdf

from fastdiff.apps.docclean.pdf import image_samples
from fastdiff.apps.docclean.pdf.changes import apply_changes, read_changes
from fastdiff.apps.docclean.pdf.composition import ComposedPicture, needs_composing
from fastdiff.apps.docclean.pdf.content_reader import ContentTooLong, read_content
from fastdiff.apps.docclean.pdf.errors import UnsupportedPicture
from fastdiff.apps.docclean.pdf.optional_content import OptionalContent
from fastdiff.apps.docclean.pdf.page_content import Content, Draw
from fastdiff.apps.docclean.pdf.page_tree import page_objects, remove_broken_pages, rotation, visible_box
from fastdiff.apps.docclean.pdf.pictures import Change, Picture, SinglePicture
from fastdiff.apps.docclean.pdf.rendering import render_page
from fastdiff.apps.docclean.pdf.scan_detection import DRAWINGS, NOTHING, Scan, find_scan, marks_below
from fastdiff.apps.docclean.pdf.signatures import is_signed
from fastdiff.apps.images.image_document import MOST_PAGES, MOST_PIXELS, check_size
from fastdiff.apps.images.page import Page
from fastdiff.solvers.errors import FastdiffError, UsageError

POINTS = 72  # an inch
MOST_DECODED = 2**30  # bytes of one stream: MOST_PIXELS samples of 16 bits
MIXED_DPI = 300  # of pages that are no plain scan
FAULTS = (
    *(pikepdf.PdfError, cv2.error, struct.error, ArithmeticError, AttributeError),
    *(LookupError, OSError, TypeError, ValueError, RecursionError),
)
Value = TypeVar("Value")


@contextmanager
def open_pdf(path: Path) -> Iterator["PdfDocument"]:
    """Open a PDF. Raises UsageError if it is empty, damaged, encrypted with a password, or too long."""
    with _opened(path) as pdf:
        document = PdfDocument(path, pdf)
        if not 0 < document.count <= MOST_PAGES:
            more = "more than " if document.count > MOST_PAGES else ""
            pages = min(document.count, MOST_PAGES)
            raise UsageError(f"{path.name} has {more}{pages} pages: 1 to {MOST_PAGES}")
        yield document


@contextmanager
def _opened(path: Path) -> Iterator[pikepdf.Pdf]:
    try:
        if path.stat().st_size == 0:
            raise UsageError(f"{path.name} is empty")
        pikepdf.settings.set_qpdf_limits(
            flate_max_memory=MOST_DECODED, run_length_max_memory=MOST_DECODED, png_max_memory=MOST_DECODED
        )
        pdf = pikepdf.open(path, inherit_page_attributes=False)
    except OSError as error:
        raise UsageError(f"{path.name} cannot be read: {error.strerror}") from error
    except pikepdf.PasswordError:
        raise UsageError(f"{path.name} is encrypted: remove its password first") from None
    except pikepdf.PdfError:
        raise UsageError(f"{path.name} is damaged or no PDF") from None
    with pdf:
        yield pdf


@dataclass(frozen=True)
class _Shown:
    """The content of a page, and the part of it to clean."""

    content: Content
    scan: Scan

    @property
    def pieces(self) -> list[Draw]:
        """The images of the pictures."""
        return [self.content.draws[k] for group in self.scan.groups for k in group]


@dataclass(frozen=True)
class _GuardedPicture:
    """A picture that reports damage as damage of its page."""

    picture: Picture
    guarded: Callable[[Callable[[], Any]], Any]

    @property
    def megapixels(self) -> float:
        found: float = self.guarded(lambda: self.picture.megapixels)
        return found

    def page(self) -> Page:
        found: Page = self.guarded(self.picture.page)
        return found

    def changes(self, cleaned: np.ndarray) -> list[Change]:
        found: list[Change] = self.guarded(partial(self.picture.changes, cleaned))
        return found


@dataclass(frozen=True)
class PdfDocument:
    """A `Document` over an open PDF."""

    path: Path
    pdf: pikepdf.Pdf

    @property
    def kind(self) -> str:
        return "pdf"

    @property
    def count(self) -> int:
        return len(self._pages)

    @property
    def is_signed(self) -> bool:
        """True if a change breaks a signature."""
        return is_signed(self.pdf)

    def untouched(self, index: int) -> str | None:
        shown = self._survey[index]
        return None if isinstance(shown, FastdiffError) else shown.scan.instead

    def megapixels(self, index: int) -> float:
        shown = self._survey[index]
        if isinstance(shown, FastdiffError):
            return 0.0
        if not shown.scan.groups:
            width, height = self._size(index, self._resolution(index))
            return width * height / 1e6
        return sum(picture.megapixels for picture in self.pictures(index))

    def pictures(self, index: int) -> list[Picture]:
        """Return the pictures to clean on page `index`, except pictures of earlier pages.

        Raises UsageError if the page is damaged, UnsupportedPicture if its pictures cannot be put back.
        """
        found = self._guarded(index, lambda: self._pictures(index))
        return [_GuardedPicture(picture, partial(self._guarded, index)) for picture in found]

    def earlier(self, index: int) -> list[int]:
        """Return the earlier pages that show pictures of this page and are cleaned with them."""
        shown = self._survey[index]
        if isinstance(shown, FastdiffError):
            return []
        owners = {self._owners.get(draw.key) for _, draw in self._in_place(shown)}
        return sorted(owner for owner in owners if owner is not None and owner != index)

    def page(self, index: int) -> Page:
        """Return page `index` as viewers show it."""
        dpi = self._resolution(index)
        width, height = self._size(index, dpi)
        check_size(self.path, width, height)
        leaf = self._leaf(index)
        pixels = self._guarded(index, lambda: render_page(self.pdf, leaf, visible_box(leaf), width, height))
        shown = self._survey[index]
        draws = [] if isinstance(shown, FastdiffError) else shown.pieces
        filters = [image_samples.filters_of(draw.image)[-1:] for draw in draws]
        bilevel = bool(draws) and all(int(draw.image.get("/BitsPerComponent", 1)) == 1 for draw in draws)
        lossy = any(each and each[0] in image_samples.LOSSY for each in filters)
        return Page(pixels, (dpi, dpi), bilevel=bilevel and pixels.ndim == 2, lossy=lossy)

    def replace_pictures(self, parts: Mapping[int, Path], target: Path) -> None:
        """Write the file to `target`, with the changes of `parts` (made by `changes.save_changes`) by page.

        Unchanged streams keep their bytes, and an encrypted file keeps its encryption and permissions.
        """
        with _opened(self.path) as pdf:
            pages, layers = page_objects(pdf, MOST_PAGES), OptionalContent(pdf)
            for index, part in parts.items():
                page = pages[index]
                assert page is not None
                content = read_content(pdf, page, layers)
                with read_changes(part) as changes:
                    apply_changes(pdf, page, content, changes)
            remove_broken_pages(pdf)
            as_they_are = None if pdf.is_encrypted else pikepdf.StreamDecodeLevel.none  # pikepdf refuses both at once
            pdf.save(
                target,
                encryption=pdf.is_encrypted,
                linearize=pdf.is_linearized,
                fix_metadata_version=False,
                compress_streams=False,
                stream_decode_level=as_they_are,
            )

    @cached_property
    def _pages(self) -> list[pikepdf.Object | None]:
        found = page_objects(self.pdf, MOST_PAGES)
        remove_broken_pages(self.pdf)
        return found

    @cached_property
    def _survey(self) -> list[_Shown | FastdiffError]:
        layers = OptionalContent(self.pdf)
        found: list[_Shown | FastdiffError] = []
        for index in range(self.count):
            try:
                found.append(self._guarded(index, partial(self._shown, index, layers)))
            except FastdiffError as error:
                found.append(error)
        return found

    def _shown(self, index: int, layers: OptionalContent) -> _Shown:
        leaf = self._leaf(index)
        try:
            content = read_content(self.pdf, leaf, layers)
        except ContentTooLong:
            return _Shown(Content(), Scan(instead=DRAWINGS))
        scan = find_scan(content, visible_box(leaf))
        if scan.instead == NOTHING and content.absent:
            lost = content.absent[0]
            raise UsageError(f"page {index + 1} of {self.path.name} is damaged: {lost}, which it shows, is not there")
        return _Shown(content, scan)

    @cached_property
    def _uses(self) -> Counter[tuple[int, int]]:
        """Numbers of times that each image and form is drawn."""
        pages = [shown for shown in self._survey if not isinstance(shown, FastdiffError)]
        return Counter(
            key for shown in pages for key in [*(draw.key for draw in shown.content.draws), *shown.content.forms]
        )

    @cached_property
    def _owners(self) -> dict[tuple[int, int], int]:
        """The first page of each image that makes a picture by itself wherever it is drawn."""
        counted: Counter[tuple[int, int]] = Counter()
        first: dict[tuple[int, int], int] = {}
        for index, shown in enumerate(self._survey):
            if not isinstance(shown, FastdiffError):
                for _, draw in self._in_place(shown):
                    counted[draw.key] += 1
                    first.setdefault(draw.key, index)
        return {key: index for key, index in first.items() if counted[key] == self._uses[key]}

    def _in_place(self, shown: _Shown) -> list[tuple[int, Draw]]:
        """Return the draws of a page that make a picture by themselves."""
        alone = [group[0] for group in shown.scan.groups if len(group) == 1]
        drawn = [(k, shown.content.draws[k]) for k in alone]
        return [(k, draw) for k, draw in drawn if not needs_composing([draw], self.path.name)]

    def _pictures(self, index: int) -> list[Picture]:
        shown = self._survey[index]
        if isinstance(shown, FastdiffError):
            raise shown
        leaf, name = self._leaf(index), self.path.name
        turned = rotation(leaf)
        alone: dict[tuple[int, int], list[tuple[int, Draw]]] = {}
        pictures: list[Picture] = []
        for k, draw in self._in_place(shown):
            if self._owners.get(draw.key, index) == index:
                alone.setdefault(draw.key, []).append((k, draw))
        for key, draws in alone.items():
            private = draws[0][1].inline or key not in self._owners
            for _, draw in draws:
                self._check(draw, private=private)
                if draw.is_stencil and not draw.paint.is_dark:
                    raise UnsupportedPicture("a stencil painted in a pale or unknown colour is kept as it is")
            pictures.append(SinglePicture(draws[0][1], tuple(k for k, _ in draws), turned, private, name))
        single = {k for k, _ in self._in_place(shown)}
        for group in shown.scan.groups:
            if group[0] not in single:
                members = tuple((k, shown.content.draws[k]) for k in group)
                shared = frozenset(draw.key for _, draw in members if self._uses[draw.key] > 1)
                for _, draw in members:
                    self._check(draw, private=draw.inline or draw.key in shared)
                below = marks_below(shown.content, group, visible_box(leaf))
                pictures.append(ComposedPicture(self.pdf, members, turned, shared, name, below))
        return pictures

    def _check(self, draw: Draw, *, private: bool) -> None:
        if private and draw.container is not None and self._uses[draw.container.objgen] > 1:
            raise UnsupportedPicture("an image inside a form that is drawn more than once is kept as it is")

    def _leaf(self, index: int) -> pikepdf.Object:
        leaf = self._pages[index]
        if leaf is None:
            raise UsageError(f"page {index + 1} of {self.path.name} is damaged: the page tree holds no page there")
        return leaf

    def _guarded(self, index: int, read: Callable[[], Value]) -> Value:
        """Return the value; raise UsageError about the page if its objects are malformed."""
        try:
            return read()
        except FAULTS as error:
            raise UsageError(f"page {index + 1} of {self.path.name} is damaged: {_short(error)}") from error

    def _size(self, index: int, dpi: float) -> tuple[int, int]:
        leaf = self._leaf(index)
        box, scale = visible_box(leaf), dpi / POINTS * _unit(leaf)
        width, height = (max(1, round(side * scale)) for side in (box.width, box.height))
        return (height, width) if rotation(leaf) in (90, 270) else (width, height)

    def _resolution(self, index: int) -> float:
        """Return dots per inch to render at: the scan's own, else MIXED_DPI or the most that the limit on pixels
        allows.
        """
        leaf, shown = self._leaf(index), self._survey[index]
        box = visible_box(leaf)
        if not isinstance(shown, FastdiffError) and shown.pieces:
            return round(max(_dpi(draw, self.path.name) for draw in shown.pieces) / _unit(leaf), 2)
        most = POINTS / _unit(leaf) * sqrt(MOST_PIXELS / (box.width * box.height))
        return min(MIXED_DPI, 0.99 * most)


def _dpi(draw: Draw, name: str) -> float:
    """Return the greater resolution of an image, in pixels per inch of default user space."""
    width, height = image_samples.image_size(draw.image, name)
    a, b, c, d, _, _ = draw.matrix
    return max(width / hypot(a, b), height / hypot(c, d)) * POINTS


def _unit(page: pikepdf.Object) -> float:
    """Return the size of a unit of user space in points."""
    try:
        unit = float(page.get("/UserUnit", 1))
    except (TypeError, ValueError):
        return 1.0
    return unit if 1e-3 < unit < 1e6 else 1.0


def _short(error: BaseException) -> str:
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__
