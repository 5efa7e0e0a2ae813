"""The metadata of image files of every kind: EXIF, XMP, IPTC and texts."""

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from fastdiff.apps.images import exif, jp2, png, pnm
from fastdiff.apps.images.tiff import Directory

XMP_KEYWORD, EXIF_KEYWORD = "XML:com.adobe.xmp", "Raw profile type exif"  # keywords of texts in PNG
COMMENT = "Comment"
PHOTOSHOP = b"Photoshop 3.0\0"
IPTC_RESOURCE, THUMBNAIL_RESOURCES = 0x0404, (0x0409, 0x040C)
XMP_TAG, IPTC_TAG, PHOTOSHOP_TAG = 700, 33723, 34377  # of TIFF
XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:=[\"']|>))[2-8]")
OWN_SEGMENTS = ("APP0", "APP1", "APP2", "APP13", "APP14", "COM")  # of JPEG, carried over or written anew
UNKNOWN_UNIT = 0
LARGEST = 1 << 24  # bytes of one block


@dataclass(frozen=True)
class Metadata:
    """The metadata carried from a file to the page that is written.

    `exif`, `xmp` and `resources` (image resources of Photoshop, which hold IPTC) are raw blocks; `chunks` are texts and
    colour chunks as PNG keeps them. `unread` names metadata that was damaged, too large or of an unknown kind.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    resources: bytes | None = None
    chunks: tuple[png.Chunk, ...] = ()
    unread: tuple[str, ...] = ()

    def upright(self, *, turned: bool) -> "Metadata":
        """Return the metadata of the upright picture, which was `turned` on its side.

        Orientations and the thumbnail of EXIF are removed.
        """
        block, damaged = exif.upright(self.exif, turned=turned)
        xmp = XMP_ORIENTATION.sub(rb"\g<1>1", self.xmp) if self.xmp else None
        chunks = tuple(map(_turned, self.chunks)) if turned else self.chunks
        unread = (*self.unread, "a part of EXIF" if block else "EXIF") if damaged else self.unread
        return replace(self, exif=block, xmp=xmp, chunks=chunks, unread=unread)

    @property
    def texts(self) -> dict[str, str]:
        """Texts by keyword of PNG; the first of several with one keyword."""
        found: dict[str, str] = {}
        for keyword, text in filter(None, map(png.text, self.chunks)):
            found.setdefault(keyword, text)
        return found


def read(image: Image.Image, path: Path, page: Directory | None) -> Metadata:
    """Return the metadata of an open image as its file holds it; `page` is the directory of a TIFF page."""
    if image.format == "TIFF" and page is not None:
        found = _of_tiff(page)
    elif image.format == "PNG":
        found = _of_png(png.read(path), image.info.get("exif"))
    elif image.format in ("JPEG", "MPO"):
        found = _of_jpeg(image)
    elif image.format == "JPEG2000":
        blocks = jp2.read(path)
        found = Metadata(blocks.exif, blocks.xmp)
    else:
        comment = image.info.get("comment") if image.format == "GIF" else None
        if image.format == "PPM":
            comment = pnm.comment(path)
        found = Metadata(image.info.get("exif"), _bytes(image.info.get("xmp")), chunks=_comments([comment]))
    return _limited(found)


def without_thumbnail(resources: bytes) -> bytes:
    """Return image resources of Photoshop without the thumbnail, which would show the page before cleaning."""
    kept, position = [], 0
    while position + 12 <= len(resources):
        (name,) = struct.unpack_from(">H", resources, position + 4)
        label = resources[position + 6] // 2 * 2 + 2  # bytes of its name, with the length
        (size,) = struct.unpack(">I", resources[position + 6 + label : position + 10 + label].rjust(4, b"\0"))
        after = position + 10 + label + size + size % 2
        if name not in THUMBNAIL_RESOURCES:
            kept.append(resources[position:after])
        position = after
    return b"".join([*kept, resources[position:]])


def _of_tiff(page: Directory) -> Metadata:
    xmp, iptc, resources = (
        page.fields[tag].data if tag in page.fields else None for tag in (XMP_TAG, IPTC_TAG, PHOTOSHOP_TAG)
    )
    if iptc and not resources:
        resources = struct.pack(">4sHHI", b"8BIM", IPTC_RESOURCE, 0, len(iptc)) + iptc + bytes(len(iptc) % 2)
    unread = ("a part of its tags",) if page.damaged else ()
    return Metadata(exif.of_page(page), xmp, without_thumbnail(resources or b"") or None, unread=unread)


def _of_png(chunks: png.Chunks, block: bytes | None) -> Metadata:
    kept, xmp = [], None
    for chunk in chunks.sound:
        name, body = chunk
        keyword, text = png.text(chunk) or ("", "")
        if keyword == XMP_KEYWORD:
            xmp = text.encode()
        elif keyword == EXIF_KEYWORD:
            block = block or _unwrapped(text)
        elif name == b"pHYs":
            kept += [chunk] if body[8] == UNKNOWN_UNIT else []
        elif name in png.COLOURS or (name[3:].islower() and name != b"eXIf"):  # lower-case: may be copied
            kept.append(chunk)
    return Metadata(block, xmp, chunks=tuple(kept), unread=tuple(name for *_, name in chunks.broken))


def _of_jpeg(image: Image.Image) -> Metadata:
    segments: list[tuple[str, bytes]] = getattr(image, "applist", [])
    resources = b"".join(
        data.removeprefix(PHOTOSHOP) for name, data in segments if name == "APP13" and data.startswith(PHOTOSHOP)
    )
    unread = [name for name, _ in segments if name not in OWN_SEGMENTS]
    if any(data.startswith(b"http://ns.adobe.com/xmp/extension/") for name, data in segments if name == "APP1"):
        unread.append("extended XMP")
    comments = _comments(data for name, data in segments if name == "COM")
    block, xmp = image.info.get("exif"), _bytes(image.info.get("xmp"))
    return Metadata(block, xmp, without_thumbnail(resources) or None, comments, tuple(dict.fromkeys(unread)))


def _comments(comments: Iterable[object]) -> tuple[png.Chunk, ...]:
    found = [_decoded(comment) for comment in map(_bytes, comments) if comment]
    return (png.text_chunk(COMMENT, "\n".join(found)),) if found else ()


def _decoded(text: bytes) -> str:
    try:
        return text.decode().rstrip("\0")
    except UnicodeDecodeError:
        return text.decode("latin-1").rstrip("\0")


def _limited(found: Metadata) -> Metadata:
    """Remove blocks of more than LARGEST bytes, and name them."""
    blocks = {"EXIF": found.exif, "XMP": found.xmp, "IPTC": found.resources}
    large = tuple(name for name, block in blocks.items() if block and len(block) > LARGEST)
    block, xmp, resources = (None if name in large else block for name, block in blocks.items())
    return replace(found, exif=block, xmp=xmp, resources=resources, unread=(*found.unread, *large))


def _turned(chunk: png.Chunk) -> png.Chunk:
    name, body = chunk
    return (name, body[4:8] + body[:4] + body[8:]) if name == b"pHYs" else chunk


def _unwrapped(text: str) -> bytes | None:
    """Return the block of a raw profile as ImageMagick writes it: a name, a length, hexadecimal digits."""
    try:
        return bytes.fromhex("".join(text.split("\n")[3:]))
    except ValueError:
        return None


def _bytes(value: object) -> bytes | None:
    if isinstance(value, str):
        value = value.encode()
    return value if isinstance(value, bytes) and value else None
