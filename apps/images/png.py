"""PNG's chunks beside the pixels: read from one file, put into another as they are (PNG, third edition, section 11)."""

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
LONGEST_TEXT = 1 << 20  # bytes of a compressed text once it is expanded: where Pillow gives up

Chunk = tuple[bytes, bytes]  # name and body


@dataclass(frozen=True)
class Chunks:
    """Chunks that are sound, and the places (offset, length in the file) and names of those that are not."""

    sound: tuple[Chunk, ...]
    broken: tuple[tuple[int, int, str], ...]


def read(path: Path) -> Chunks:
    """The chunks of a PNG that a reader may ignore, but the frames of animations."""
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
    """The file without its broken chunks, in memory."""
    data = path.read_bytes()
    kept, position = [], 0
    for start, length, _ in chunks.broken:
        kept.append(data[position:start])
        position = start + length
    return io.BytesIO(b"".join([*kept, data[position:]]))


def insert(data: bytes, chunks: Iterable[Chunk]) -> bytes:
    """The PNG file `data` with chunks put in behind its header."""
    added = b"".join(struct.pack(">I", len(body)) + name + body + _checksum(name, body) for name, body in chunks)
    return data[:HEADER] + added + data[HEADER:]


def text(chunk: Chunk) -> tuple[str, str] | None:
    """Keyword and text of a chunk that holds one and is sound."""
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
    """The chunk of a text of any language."""
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
