"""Writes TIFFs: cleaned pages replace pages of the source, the others are copied without decoding."""

import io
import struct
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from fastdiff.apps.images import tiff
from fastdiff.apps.images.encoding import tiff_page
from fastdiff.apps.images.image_document import ImageDocument, open_images
from fastdiff.apps.images.metadata import PHOTOSHOP_TAG, XMP_TAG
from fastdiff.apps.images.page import one_bit
from fastdiff.apps.images.tiff import Directory
from fastdiff.solvers.errors import OutputError

BITS_PER_SAMPLE, ORIENTATION = 258, 274
RESOLUTION = (282, 283, 296)  # horizontal, vertical, unit


def from_parts(parts: Mapping[int, Path], target: Path) -> None:
    """Write a TIFF of parts, TIFF files of one page, in the order of their indices."""
    pages = (_part(parts[index], "<") for index in sorted(parts))
    _write(target, pages, "<", big=_size(parts) > tiff.CLASSIC_LIMIT)


def replace_pages(document: ImageDocument, parts: Mapping[int, Path], target: Path) -> None:
    """Write a copy of a TIFF in which `parts`, TIFF files of one page, replace the pages of their indices.

    Copied pages keep their compressed strips and all tags. A part takes over the descriptive tags of its page.
    """
    assert document.reader is not None
    order = document.reader.order
    big = document.reader.big or document.reader.size + _size(parts) > tiff.CLASSIC_LIMIT

    def pages() -> Iterator[Directory]:
        for index in range(document.count):
            source = document.directory(index)
            assert source is not None
            if index in parts:
                yield _described(_part(parts[index], order), source)
            elif source.can_be_copied:
                yield source
            else:
                yield _described(_encoded(tiff_page(one_bit(document.page(index)), order)), source)

    _write(target, pages(), order, big=big)


def _write(target: Path, pages: Iterator[Directory], order: tiff.Order, *, big: bool) -> None:
    try:
        with target.open("wb") as file:
            tiff.write(file, pages, order, big=big)
    except struct.error:  # an offset does not fit
        raise OutputError("the TIFF would have more than 4 GiB: give --format pdf") from None


def _size(parts: Mapping[int, Path]) -> int:
    return sum(part.stat().st_size for part in parts.values())


def _part(path: Path, order: tiff.Order) -> Directory:
    """Return the page of a part; its 16-bit samples are encoded again if they have the other byte order."""
    page = _encoded(path.read_bytes())
    if order == "<" or page.integer(BITS_PER_SAMPLE) <= 8:
        return page
    with open_images(path) as document:
        turned = _encoded(tiff_page(replace(document.page(0), metadata=None), order))
    return replace(turned, fields={**page.fields, **turned.fields}, children=page.children)


def _encoded(data: bytes) -> Directory:
    reader = tiff.open_reader(io.BytesIO(data))
    return reader.directory(reader.first)


def _described(page: Directory, source: Directory) -> Directory:
    """Return the page with all tags of its source, except those of its own pixels and its orientation."""
    carried = {tag: value for tag, value in source.fields.items() if tag not in tiff.OF_PIXELS and tag != XMP_TAG}
    own = {tag: value for tag, value in page.fields.items() if tag != PHOTOSHOP_TAG or tag in source.fields}
    if RESOLUTION[0] in source.fields and source.integer(ORIENTATION, 1) < 5:  # else the axes have changed places
        own = {tag: value for tag, value in own.items() if tag not in RESOLUTION}
        own |= {tag: source.fields[tag] for tag in RESOLUTION if tag in source.fields}
    below = {tag: children for tag, children in source.children.items() if tag != tiff.SUB_IFDS}
    return replace(page, fields={**carried, **own}, children={**below, **page.children})
