"""EXIF blocks: makes them upright, makes them of the tags of a TIFF page, and fills them with texts (Exif 2.32)."""

import io
import struct
from collections.abc import Mapping
from dataclasses import replace

from fastdiff.apps.images import tiff
from fastdiff.apps.images.tiff import Directory, Field
from fastdiff.solvers.errors import UsageError

HEADER = b"Exif\0\0"
ORIENTATION = 274
ASCII, SHORT = 2, 3
PIXEL_SIZE = (40962, 40963)  # width and height in the EXIF directory
DESCRIPTION, SOFTWARE, ARTIST, COPYRIGHT, DOCUMENT_NAME = 270, 305, 315, 33432, 269
DESCRIPTIVE = (DOCUMENT_NAME, DESCRIPTION, 271, 272, 285, 297, SOFTWARE, 306, ARTIST, 316, COPYRIGHT)
# tags of a TIFF page that describe its picture and not its pixels
TEXTS = {
    "Title": DOCUMENT_NAME,
    "Description": DESCRIPTION,
    "Comment": DESCRIPTION,
    "Software": SOFTWARE,
    "Author": ARTIST,
    "Copyright": COPYRIGHT,
}  # keywords of PNG


def read(block: bytes) -> Directory:
    """Return the directory of an EXIF block without the thumbnail, which would show the page before cleaning.

    Raises UsageError for other data.
    """
    reader = tiff.open_reader(io.BytesIO(block.removeprefix(HEADER)))
    return replace(reader.directory(reader.first), segments=())


def pack(directory: Directory) -> bytes | None:
    """Return the EXIF block of a directory, or None for an empty one."""
    if not directory.fields and not directory.children:
        return None
    file = io.BytesIO()
    tiff.write(file, [directory], directory.order)
    return HEADER + file.getvalue()


def upright(block: bytes | None, *, turned: bool) -> tuple[bytes | None, bool]:
    """Return an EXIF block for the upright picture, and True if a part of `block` was damaged and is left out.

    Orientation and thumbnail are removed; width and height change places if the picture was `turned` on its side.
    """
    if block is None:
        return None, False
    try:
        directory = read(block)
        fields = {tag: value for tag, value in directory.fields.items() if tag != ORIENTATION}
        children = dict(directory.children)
        if turned:
            children = {tag: tuple(map(_turned, below)) for tag, below in children.items()}
        return pack(replace(directory, fields=fields, children=children)), directory.damaged
    except (UsageError, struct.error):
        return None, True


def of_page(page: Directory) -> bytes | None:
    """Return the description that a TIFF page has of its picture, as an EXIF block."""
    fields = {tag: page.fields[tag] for tag in DESCRIPTIVE if tag in page.fields}
    children = {tag: below for tag, below in page.children.items() if tag in (tiff.EXIF_IFD, tiff.GPS_IFD)}
    return pack(Directory(fields, children, order=page.order))


def with_texts(block: bytes | None, texts: Mapping[str, str]) -> bytes | None:
    """Return an EXIF block with the texts, by keyword of PNG, whose tag in TEXTS is free."""
    directory = read(block) if block else Directory({})
    fields = dict(directory.fields)
    for keyword, text in texts.items():
        if keyword in TEXTS:
            fields.setdefault(TEXTS[keyword], Field(ASCII, text.encode() + b"\0"))
    return pack(replace(directory, fields=fields))


def _turned(directory: Directory) -> Directory:
    width, height = (directory.fields.get(tag) for tag in PIXEL_SIZE)
    if width is None or height is None:
        return directory
    return replace(directory, fields={**directory.fields, PIXEL_SIZE[0]: height, PIXEL_SIZE[1]: width})
