"""The chunks of PNG beside the pixels: reads them from one file and inserts them into another (PNG, third edition,
section 11).
"""

import io
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER = 33  # bytes of signature and IHDR, after which ancillary chunks may begin
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
COLOURS = (b"gAMA", b"cHRM", b"sRGB", b"cICP")
LENGTHS = {b"pHYs": 9, b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"cICP": 4}
LARGEST = 1 << 24  # bytes of one chunk beside the pixels
MOST = 1 << 25  # bytes of all
LONGEST_TEXT = 1 << 20  # bytes of a compressed text after expansion: the limit of Pillow

Chunk = tuple[bytes, bytes]  # name and body


@dataclass(frozen=True)
class Chunks:
    """Sound chunks, and the places (offset, length in the file) and names of broken ones."""

    sound: tuple[Chunk, ...]
    broken: tuple[tuple[int, int, str], ...]


def read(path: Path) -> Chunks:
    """Return the chunks of a PNG that a reader may ignore, except the frames of animations."""
    sound, broken, left = [], [], MOST
    with path.open("rb") as file:
        size, position = file.seek(0, 2), len(SIGNATURE)
        while position + 12 <= size:
            file.seek(position)
            length, name = struct.unpack(">I4s", file.read(8))
            if position + 12 + length > size:
                break
            if name[:1].islower() and name != b"fdAT":
                fits = length <= min(LARGEST, left)
                body = file.read(length) if fits else b""
                if fits and file.read(4) == _checksum(name, body) and _is_sound(name, body):
                    sound.append((name, body))
                    left -= length
                else:
                    broken.append((position, length + 12, name.decode("latin-1")))
            position += length + 12
    return Chunks(tuple(sound), tuple(broken))


def without(path: Path, chunks: Chunks) -> io.BytesIO:
    """Return the file without its broken chunks, in memory."""
    data = path.read_bytes()
    kept, position = [], 0
    for start, length, _ in chunks.broken:
        kept.append(data[position:start])
        position = start + length
    return io.BytesIO(b"".join([*kept, data[position:]]))


def insert(data: bytes, chunks: Iterable[Chunk]) -> bytes:
    """Return the PNG file `data` with chunks inserted behind its header."""
    added = b"".join(struct.pack(">I", len(body)) + name + body + _checksum(name, body) for name, body in chunks)
    return data[:HEADER] + added + data[HEADER:]


def text(chunk: Chunk) -> tuple[str, str] | None:
    """Return keyword and text of a chunk; None if it holds no text."""
    name, body = chunk
    if name not in TEXTS:
        return None
    keyword, _, rest = body.partition(b"\0")
    if name == b"tEXt":
        content = rest
    elif name == b"zTXt":
        content = _expanded(rest[1:])
    else:
        content = rest[2:].split(b"\0", 2)[2]
        content = _expanded(content) if rest[:1] == b"\1" else content
    return keyword.decode("latin-1"), content.decode("utf-8" if name == b"iTXt" else "latin-1", "replace")


def text_chunk(keyword: str, content: str) -> Chunk:
    """Return the chunk of a text of any language."""
    return b"iTXt", keyword.encode("latin-1") + b"\0\0\0\0\0" + content.encode()


def _is_sound(name: bytes, body: bytes) -> bool:
    if name in LENGTHS:
        return len(body) == LENGTHS[name]
    try:
        found = text((name, body))
    except (zlib.error, IndexError, ValueError):
        return False
    return found is None or 0 < len(found[0]) < 80


def _expanded(data: bytes) -> bytes:
    decoder = zlib.decompressobj()
    content = decoder.decompress(data, LONGEST_TEXT)
    if not decoder.eof:
        raise ValueError("the text is cut short or too long")
    return content


def _checksum(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(name + body))
