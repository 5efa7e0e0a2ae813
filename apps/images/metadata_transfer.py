"""Transfers the metadata, colour profile and resolution of a page to a kind of file, and names the losses."""

from collections.abc import Iterator
from dataclasses import replace

from fastdiff.apps.images import exif, png, pnm
from fastdiff.apps.images.metadata import COMMENT, Metadata
from fastdiff.apps.images.page import Page

RESOLUTION, PROFILE, EXIF, XMP, IPTC = "resolution", "colour profile", "EXIF", "XMP", "IPTC"
HOLDS = {
    "png": (RESOLUTION, PROFILE, EXIF, XMP),
    "jpg": (RESOLUTION, PROFILE, EXIF, XMP, IPTC),
    "tiff": (RESOLUTION, PROFILE, EXIF, XMP, IPTC),
    "webp": (PROFILE, EXIF, XMP),
    "heic": (PROFILE, EXIF, XMP),
    "avif": (PROFILE, EXIF, XMP),
    "jp2": (RESOLUTION, PROFILE, EXIF, XMP),
    "bmp": (RESOLUTION,),
    "pdf": (RESOLUTION, PROFILE),
}  # the others hold none
ONE_BIT_KINDS = ("png", "tiff", "bmp", "pbm", "pnm", "pdf")  # kinds with one bit a pixel
DEEP_KINDS = ("png", "tiff", "jp2", "j2k", "pgm", "ppm", "pnm")  # kinds with 16 bits a channel
LARGEST_IN_JPEG = 65_000  # bytes of a segment
LARGEST_TAG = 8_000  # bytes of a text, so that all of them fit a segment


def for_kind(page: Page, kind: str) -> Page:
    """Return the page with the metadata that a file of `kind` can hold.

    Texts become EXIF tags if the kind has no other place for them.
    """
    about = page.metadata
    if about is None:
        return page
    held = HOLDS.get(kind, ())
    block, chunks = about.exif, about.chunks
    if kind != "png":
        tags, comment = _placed(about, kind)
        block = exif.with_texts(block, tags) if tags else block
        chunks = (png.text_chunk(COMMENT, comment),) if comment else ()
    kept = replace(
        about,
        exif=block if EXIF in held and _fits(block, kind) else None,
        xmp=about.xmp if XMP in held and _fits(about.xmp, kind) else None,
        resources=about.resources if IPTC in held else None,
        chunks=chunks,
    )
    return replace(page, metadata=kept)


def lost_metadata(page: Page, kind: str) -> tuple[str, ...]:
    """Return names of the metadata that a file of `kind` does not take over from the page."""
    about, held = page.metadata or Metadata(), HOLDS.get(kind, ())
    kept = for_kind(page, kind).metadata or Metadata()
    there = {RESOLUTION: page.dpi, PROFILE: page.icc}
    blocks = {EXIF: (about.exif, kept.exif), XMP: (about.xmp, kept.xmp), IPTC: (about.resources, kept.resources)}
    return (
        *about.unread,
        *(name for name, value in there.items() if value and name not in held),
        *(name for name, (before, after) in blocks.items() if before and not after),
        *(_lost_chunks(about, kind) if kind != "png" else ()),
    )


def _fits(block: bytes | None, kind: str) -> bool:
    return block is not None and (kind != "jpg" or len(block) <= LARGEST_IN_JPEG)


def _placed(about: Metadata, kind: str) -> tuple[dict[str, str], str | None]:
    """Return the texts that become EXIF tags, because their tag is free, and the comment if the kind has one."""
    texts = about.texts
    comment = texts.pop(COMMENT, None) if kind in ("jpg", *pnm.KINDS) else None
    taken = set(exif.read(about.exif).fields) if about.exif else set()
    tags: dict[str, str] = {}
    for keyword, text in texts.items() if EXIF in HOLDS.get(kind, ()) else ():
        tag = exif.TEXTS.get(keyword)
        if tag is not None and tag not in taken and len(text.encode()) <= LARGEST_TAG:
            taken.add(tag)
            tags[keyword] = text
    return tags, comment if comment and len(comment.encode()) <= LARGEST_IN_JPEG else None


def _lost_chunks(about: Metadata, kind: str) -> Iterator[str]:
    tags, comment = _placed(about, kind)
    placed = {*tags, COMMENT} if comment else {*tags}
    yield from (f'text "{keyword}"' for keyword in about.texts if keyword not in placed)
    names = {name for name, _ in about.chunks} - {*png.TEXTS}
    if b"sRGB" in names:  # the default colours of other kinds
        names -= {b"sRGB", b"gAMA", b"cHRM"}
    yield from sorted(name.decode("latin-1") for name in names)
