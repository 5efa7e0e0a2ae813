"""Writes pages to image files of every kind, with their resolution, colour profile and metadata."""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from PIL import Image, features

from fastdiff.apps.images import exif, jp2, png, pnm, tiff
from fastdiff.apps.images.metadata import COMMENT, PHOTOSHOP, PHOTOSHOP_TAG, XMP_KEYWORD, XMP_TAG, Metadata
from fastdiff.apps.images.metadata_transfer import for_kind
from fastdiff.apps.images.page import Page, in_colour
from fastdiff.apps.images.tiff import Directory, Field
from fastdiff.solvers.errors import MissingError, OutputError

INCH = 0.0254  # metres
BYTES, SHORTS, UNDEFINED = 1, 3, 7  # field types of TIFF
PHOTOMETRIC, PALETTE, COLOUR_MAP = 262, 3, 320  # a tag of TIFF, its value for palettes, and the tag of their colours
PALETTE_KINDS = ("png", "tiff", "bmp")  # kinds with one bit a pixel in any two colours
BMP_TABLE = slice(54, 62)  # the two colours of a BMP of one bit a pixel by PIL: blue, green, red, 0
LEAST_JPEG_2000 = 32  # pixels a side that OpenCV needs
MOST_OF_SEGMENT = 65_000  # bytes of image resources in one segment of a JPEG


def save(page: Page, path: Path, kind: str) -> None:
    """Write one page as `kind`, a value of `kinds.IMAGE_SUFFIXES` except "gif".

    Bool pages take one bit in PNG, BMP, PBM and TIFF (there CCITT group 4, or deflate with a palette). Two colours stay
    a palette of one bit in PNG, BMP and TIFF, and become 8 bits a channel elsewhere. 16 bits stay in PNG, TIFF, JPEG
    2000, PGM and PPM, and become 8 elsewhere. JPEG, HEIC and AVIF have quality 95; all other kinds are lossless. Raises
    OutputError for a page that the kind cannot hold, MissingError if a library is not installed.
    """
    page = for_kind(page, kind)
    if kind not in PALETTE_KINDS or page.pixels.dtype != np.bool_:
        page = in_colour(page)
    if kind == "tiff":
        path.write_bytes(tiff_page(page))
    elif kind == "png":
        path.write_bytes(_png(page))
    elif kind in pnm.KINDS:
        texts = page.metadata.texts if page.metadata else {}
        path.write_bytes(pnm.encode(page.pixels, kind, texts.get(COMMENT, "")))
    elif kind in ("jp2", "j2k"):
        path.write_bytes(_jpeg_2000(page, kind))
    elif kind == "bmp":
        path.write_bytes(_bmp(page))
    else:
        image = Image.fromarray(to_8_bits(page).pixels)
        _save_image(image.convert("L") if image.mode == "1" else image, page, path, kind)


def tiff_page(page: Page, order: tiff.Order = "<") -> bytes:
    """Return a TIFF file of one page in byte order `order`."""
    file = io.BytesIO()
    if page.pixels.dtype == np.uint16:
        tifffile.imwrite(
            file,
            page.pixels,
            byteorder=order,
            photometric="minisblack" if page.pixels.ndim == 2 else "rgb",
            compression="zlib",
            resolution=page.dpi or (1, 1),
            resolutionunit="INCH" if page.dpi else "NONE",
            iccprofile=page.icc,
            metadata=None,
            software=False,
        )
    else:
        group_4 = page.pixels.dtype == np.bool_ and page.ink_and_paper is None
        compression = "group4" if group_4 else "tiff_adobe_deflate"
        Image.fromarray(page.pixels).save(file, format="TIFF", compression=compression, **_about(page, "dpi", "icc"))
    if page.metadata is None and page.ink_and_paper is None:
        return file.getvalue()
    reader = tiff.open_reader(file)
    bare, said = reader.directory(reader.first), _directory_of(page.metadata or Metadata())
    out = io.BytesIO()
    fields = {**said.fields, **bare.fields, **_palette_fields(page)}
    tiff.write(out, [replace(bare, fields=fields, children=said.children)], order)
    return out.getvalue()


def to_8_bits(page: Page) -> Page:
    """Return the page with at most 8 bits a channel."""
    if page.pixels.dtype != np.uint16:
        return page
    return replace(page, pixels=((page.pixels.astype(np.uint32) + 128) // 257).astype(np.uint8))


def _directory_of(about: Metadata) -> Directory:
    """Return the metadata as fields of a TIFF page."""
    said = exif.read(about.exif) if about.exif else Directory({})
    fields = dict(said.fields)
    if about.xmp:
        fields[XMP_TAG] = Field(BYTES, about.xmp)
    if about.resources:
        fields[PHOTOSHOP_TAG] = Field(BYTES, about.resources)
    return Directory(fields, said.children)


def _palette_fields(page: Page) -> dict[int, Field]:
    """Return the fields that make the bits of a TIFF page indices of its two colours; none for other pages."""
    if page.ink_and_paper is None:
        return {}
    channels = [257 * value for channel in zip(*page.ink_and_paper, strict=True) for value in channel]
    return {
        PHOTOMETRIC: Field(SHORTS, struct.pack("<H", PALETTE)),
        COLOUR_MAP: Field(SHORTS, struct.pack("<6H", *channels)),
    }


def _png(page: Page) -> bytes:
    if page.pixels.dtype == np.uint16 and page.pixels.ndim == 3:  # PIL has no such mode
        data = cv2.imencode(".png", page.pixels[..., ::-1])[1].tobytes()
    else:
        file = io.BytesIO()
        if page.ink_and_paper:
            image = Image.fromarray(page.pixels.astype(np.uint8))
            image.putpalette([value for colour in page.ink_and_paper for value in colour])
            image.save(file, format="PNG", bits=1, optimize=True)
        else:
            Image.fromarray(page.pixels).save(file, format="PNG")
        data = file.getvalue()
    return png.insert(data, _chunks(page))


def _chunks(page: Page) -> Iterator[png.Chunk]:
    about = page.metadata or Metadata()
    if page.icc:
        yield b"iCCP", b"icc\0\0" + zlib.compress(page.icc)
    if page.dpi:
        yield b"pHYs", struct.pack(">IIB", *(round(value / INCH) for value in page.dpi), 1)
    if about.exif:
        yield b"eXIf", about.exif.removeprefix(exif.HEADER)
    if about.xmp:
        yield png.text_chunk(XMP_KEYWORD, about.xmp.decode("utf-8", "replace"))
    yield from about.chunks


def _bmp(page: Page) -> bytes:
    file = io.BytesIO()
    Image.fromarray(to_8_bits(page).pixels).save(file, format="BMP", **_about(page, "dpi"))
    data = bytearray(file.getvalue())
    if page.ink_and_paper:
        data[BMP_TABLE] = b"".join(bytes((blue, green, red, 0)) for red, green, blue in page.ink_and_paper)
    return bytes(data)


def _jpeg_2000(page: Page, kind: str) -> bytes:
    pixels = page.pixels
    if pixels.dtype == np.uint16 and pixels.ndim == 3:  # PIL has no such mode
        if min(pixels.shape[:2]) < LEAST_JPEG_2000:
            raise OutputError(f"16-bit JPEG 2000 is written from {LEAST_JPEG_2000} pixels a side on: give --format png")
        lossless = [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000]
        data = cv2.imencode(".jp2", pixels[..., ::-1], lossless)[1].tobytes()
    else:
        file = io.BytesIO()
        image = Image.fromarray(pixels)
        (image.convert("L") if image.mode == "1" else image).save(file, format="JPEG2000")
        data = file.getvalue()
    if kind == "j2k":
        return jp2.codestream(data)
    about = page.metadata or Metadata()
    block = about.exif.removeprefix(exif.HEADER) if about.exif else None
    return jp2.insert(data, jp2.Blocks(block, about.xmp, page.icc), page.dpi)


def _save_image(image: Image.Image, page: Page, path: Path, kind: str) -> None:
    about = page.metadata or Metadata()
    if kind == "jpg":
        said = _about(page, "dpi", "icc", "exif", "xmp", "comment")
        image.save(path, format="JPEG", quality=95, subsampling=0, extra=_segments(about.resources), **said)
    elif kind == "webp":
        if max(image.size) > 16383:
            raise OutputError(f"{image.width} x {image.height} pixels are too many for WebP, at most 16383 a side")
        image.save(path, format="WEBP", lossless=True, **_about(page, "icc", "exif", "xmp"))
    elif kind == "avif":
        if not features.check("avif"):
            raise MissingError("AVIF cannot be written: install a Pillow that does, or give --format png")
        image.save(path, format="AVIF", quality=95, subsampling="4:4:4", **_about(page, "icc", "exif", "xmp"))
    elif kind == "heic":
        try:
            import pillow_heif
        except ImportError:
            raise MissingError("HEIC is written by: pip install 'fastdiff-toolkit[heif]'") from None
        pillow_heif.from_pillow(image).save(path, quality=95, **_about(page, "icc", "exif", "xmp"))


def _segments(resources: bytes | None) -> bytes:
    """Return image resources as APP13 segments of a JPEG."""
    resources = resources or b""
    pieces = (resources[start : start + MOST_OF_SEGMENT] for start in range(0, len(resources), MOST_OF_SEGMENT))
    bodies = (PHOTOSHOP + piece for piece in pieces)
    return b"".join(b"\xff\xed" + struct.pack(">H", len(body) + 2) + body for body in bodies)


def _about(page: Page, *names: str) -> dict[str, Any]:
    """Return the page's metadata of these names as arguments of PIL, without absent ones."""
    about = page.metadata or Metadata()
    known = {
        "dpi": ("dpi", page.dpi),
        "icc": ("icc_profile", page.icc),
        "exif": ("exif", about.exif),
        "xmp": ("xmp", about.xmp),
        "comment": ("comment", about.texts.get(COMMENT) if "comment" in names else None),
    }
    return {key: value for key, value in (known[name] for name in names) if value is not None}
