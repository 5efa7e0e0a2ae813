"""The boxes of JP2 beside the pixels: EXIF, XMP, colour profile and resolution (ISO/IEC 15444-1, annex I)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CODESTREAM = b"\xff\x4f\xff\x51"  # its first two markers
SIGNATURE = b"\0\0\0\x0cjP  "
EXIF = b"JpgTiffExif->JP2"
XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
RESTRICTED_ICC, ANY_ICC = 2, 3  # methods of a colour box
COLOUR_OFFSET = 3  # bytes of a colour box before its profile
LARGEST = 1 << 24  # bytes of a box beside the pixels
INCH_OF_METRE = 254  # ten-thousandths


@dataclass(frozen=True)
class Blocks:
    """The contents of a JP2 file beside its pixels, as raw blocks."""

    exif: bytes | None = None
    xmp: bytes | None = None
    icc: bytes | None = None


def read(path: Path) -> Blocks:
    """Return the blocks of a JP2 file; empty for a bare codestream."""
    found: dict[str, bytes] = {}
    with path.open("rb") as file:
        size, position = file.seek(0, 2), 0
        while position + 8 <= size:
            file.seek(position)
            length, name = struct.unpack(">I4s", file.read(8))
            if length == 0:  # the last box
                length = size - position
            elif length == 1:
                length = int.from_bytes(file.read(8), "big")
            if length < 8 or (position == 0 and name != b"jP  "):
                break
            if name in (b"uuid", b"jp2h") and length <= LARGEST:
                body = file.read(length - 8)
                if name == b"uuid":
                    key = {EXIF: "exif", XMP: "xmp"}.get(body[:16])
                    found.update({key: body[16:]} if key else {})
                else:
                    found.update(
                        ("icc", inner[COLOUR_OFFSET:])
                        for each, inner in _boxes(body)
                        if each == b"colr" and inner[:1] and inner[0] in (RESTRICTED_ICC, ANY_ICC)
                    )
            position += length
    return Blocks(**found)


def depth(path: Path) -> int:
    """Return the bits a channel of the first component; 0 without a codestream."""
    with path.open("rb") as file:
        head = file.read(1 << 20)
    place = head.find(CODESTREAM)
    size = head[place + 42 : place + 43] if place >= 0 else b""
    return (size[0] & 0x7F) + 1 if size else 0


def insert(data: bytes, blocks: Blocks, dpi: tuple[float, float] | None) -> bytes:
    """Return the JP2 file `data` with these blocks and a resolution in pixels per inch."""
    out = []
    for name, body in _boxes(data):
        if name == b"jp2h":
            inner = [each for each in _boxes(body) if not (blocks.icc and each[0] == b"colr")]
            if blocks.icc:
                inner.append((b"colr", bytes([RESTRICTED_ICC, 0, 0]) + blocks.icc))
            if dpi:
                inner.append((b"res ", _box(b"resc", _resolution(*dpi))))
            body = b"".join(_box(*each) for each in inner)
        out.append(_box(name, body))
    for key, block in ((EXIF, blocks.exif), (XMP, blocks.xmp)):
        if block:
            out.append(_box(b"uuid", key + block))
    return b"".join(out)


def codestream(data: bytes) -> bytes:
    """Return the bare codestream of a JP2 file."""
    return dict(_boxes(data))[b"jp2c"]


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 0
    while position + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        length = length or len(data) - position
        if length < 8:
            return
        yield name, data[position + 8 : position + length]
        position += length


def _box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + name + body


def _resolution(across: float, down: float) -> bytes:
    """Return pixels per metre as fractions with a power of ten, vertical first."""
    exponent, scale = (2, 100) if max(across, down) < 655 else (4, 1)
    fractions = (round(down * scale), INCH_OF_METRE, round(across * scale), INCH_OF_METRE)
    return struct.pack(">4H2b", *fractions, exponent, exponent)
