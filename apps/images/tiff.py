"""TIFF directories without decoding: read with all their tags and compressed strips, and written to another file.

Pillow and tifffile decode on reading and encode on writing. This module copies an unchanged page strip by strip. EXIF
blocks have the same structure (TIFF 6.0, section 2; BigTIFF; Exif 2.32, section 4.5).
"""

import struct
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Literal

from fastdiff.solvers.errors import UsageError

Order = Literal["<", ">"]
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
LONG, IFD, LONG8, IFD8 = 4, 13, 16, 18  # field types of offsets
INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
SUB_IFDS, EXIF_IFD, GPS_IFD, INTEROPERABILITY_IFD = 330, 34665, 34853, 40965
CHILDREN = (SUB_IFDS, EXIF_IFD, GPS_IFD, INTEROPERABILITY_IFD)
STRIPS, TILES = (273, 279), (324, 325)  # tags of offsets and byte counts
SUBFILE_TYPE, OLD_SUBFILE_TYPE, COMPRESSION = 254, 255, 259
OLD_JPEG = 6  # the compression whose tables lie anywhere in the file
FREE_SPACE = (288, 289)
RANGES_OF_PIXELS = (
    *((256, 259), (262, 266), (273, 274), (277, 284), (288, 293), (301, 301), (317, 317), (320, 328), (332, 336)),
    *((338, 347), (512, 521), (529, 532), (559, 559), (34675, 34675), (37724, 37724)),
)
OF_PIXELS = frozenset(tag for first, last in RANGES_OF_PIXELS for tag in range(first, last + 1))
# tags that describe the storage of the pixels, their colours, or other versions of them
LAYERS = 37724  # of Photoshop
DEEPEST, MOST_CHILDREN = 4, 64
MOST_VALUES = 1 << 26  # bytes of one directory's tags
CLASSIC_LIMIT = 4_000_000_000  # bytes, above which a file has to be a BigTIFF


@dataclass(frozen=True)
class Field:
    """The value of a tag: its TIFF type and its bytes, least significant first."""

    type: int
    data: bytes

    @property
    def integers(self) -> tuple[int, ...]:
        """The value as integers; empty for other types."""
        code = INTEGERS.get(self.type)
        return struct.unpack(f"<{len(self.data) // SIZES[self.type]}{code}", self.data) if code else ()


@dataclass(frozen=True)
class Directory:
    """A directory with its fields and child directories by tag.

    `segments` are the (offset, byte count) of its strips or tiles in `file`. `order` is the byte order of this file and
    its samples. `damaged` is True if a part could not be read and is absent.
    """

    fields: Mapping[int, Field]
    children: Mapping[int, tuple["Directory", ...]] = field(default_factory=dict)
    segments: tuple[tuple[int, int], ...] = ()
    file: BinaryIO | None = None
    order: Order = "<"
    damaged: bool = False

    def integer(self, tag: int, default: int = 0) -> int:
        """Return the first integer of a tag."""
        values = self.fields[tag].integers if tag in self.fields else ()
        return values[0] if values else default

    @property
    def can_be_copied(self) -> bool:
        """True if `write` gives the same image: its strips or tiles are all known and complete."""
        known = bool(self.segments) and all(count or not offset for offset, count in self.segments)
        return known and self.integer(COMPRESSION) != OLD_JPEG


@dataclass(frozen=True)
class Reader:
    """An open TIFF file or EXIF block. `order` is "<" or ">"; `size` is that of the file in bytes."""

    file: BinaryIO
    order: Order
    big: bool
    first: int
    size: int

    def offsets(self, most: int) -> tuple[int, ...]:
        """Return the offsets of the directories, up to the first that repeats or lies outside; at most `most` and one
        more.
        """
        found: dict[int, None] = {}
        offset = self.first
        while 0 < offset < self.size and offset not in found and len(found) <= most:
            found[offset] = None
            try:
                offset = self._next(offset)
            except struct.error:
                break
        return tuple(found)

    def is_page(self, offset: int) -> bool:
        """True if the directory at `offset` is neither a reduced-resolution image nor a transparency mask."""
        found = self.directory(offset, tags=(SUBFILE_TYPE, OLD_SUBFILE_TYPE))
        reduced_or_mask = found.integer(SUBFILE_TYPE) & 0b101
        return not reduced_or_mask and found.integer(OLD_SUBFILE_TYPE) != 2

    def directory(self, offset: int, depth: int = 0, tags: Container[int] | None = None) -> Directory:
        """Return the directory at `offset` with these tags, or all; unreadable parts are left out."""
        fields: dict[int, Field] = {}
        children: dict[int, tuple[Directory, ...]] = {}
        damaged, left = False, MOST_VALUES
        try:
            entries = self._entries(offset)
        except struct.error:
            return Directory({}, damaged=True)
        for tag, kind, count, place in entries:
            if tags is not None and tag not in tags:
                continue
            length = SIZES.get(kind, 0) * count
            if not length or length > min(left, self.size):
                damaged |= bool(count)
                continue
            left -= length
            data = self._at(place if length <= self._inline else self._number(place), length)
            if len(data) < length:
                damaged = True
                continue
            value = Field(kind, _swapped(data, kind) if self.order == ">" else data)
            if tag in CHILDREN or kind in (IFD, IFD8):
                places = value.integers[:MOST_CHILDREN]
                below = [self.directory(each, depth + 1) for each in places if 0 < each < self.size and depth < DEEPEST]
                damaged |= len(below) < len(value.integers) or any(child.damaged for child in below)
                children[tag] = tuple(child for child in below if child.fields)
            else:
                fields[tag] = value
        return Directory(fields, children, self._segments(fields), self.file, self.order, damaged)

    @property
    def _inline(self) -> int:
        return 8 if self.big else 4

    def _at(self, offset: int, length: int) -> bytes:
        self.file.seek(offset)
        return self.file.read(length)

    def _unpack(self, layout: str, offset: int) -> tuple[int, ...]:
        layout = self.order + layout
        return struct.unpack(layout, self._at(offset, struct.calcsize(layout)))

    def _number(self, offset: int) -> int:
        return self._unpack("Q" if self.big else "I", offset)[0]

    def _body(self, offset: int) -> tuple[int, int, int]:
        """Return the number of entries of the directory, the position of the first, and the bytes of one."""
        (count,) = self._unpack("Q" if self.big else "H", offset)
        return min(count, 1 << 16), offset + (8 if self.big else 2), 20 if self.big else 12

    def _next(self, offset: int) -> int:
        count, begin, each = self._body(offset)
        return self._number(begin + count * each)

    def _entries(self, offset: int) -> list[tuple[int, int, int, int]]:
        """Yield tag, type, number of values and position of the value of every entry that the file holds."""
        count, begin, each = self._body(offset)
        layout = self.order + ("HHQ" if self.big else "HHI")
        data = self._at(begin, count * each)
        head = struct.calcsize(layout)
        places = range(0, len(data) - each + 1, each)
        return [(*struct.unpack_from(layout, data, place), begin + place + head) for place in places]  # type: ignore[misc]

    def _segments(self, fields: Mapping[int, Field]) -> tuple[tuple[int, int], ...]:
        offsets, counts = ((fields[tag].integers if tag in fields else ()) for tag in _segment_tags(fields))
        if len(offsets) != len(counts):
            return ()
        segments = tuple((start, min(count, max(self.size - start, 0))) for start, count in zip(offsets, counts))  # noqa: B905
        return segments if sum(count for _, count in set(segments)) <= self.size else ()


def open_reader(file: BinaryIO) -> Reader:
    """Open a TIFF file or an EXIF block without its "Exif" header. Raises UsageError for other data."""
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(16).ljust(16, b"\0")
    orders: dict[bytes, Order] = {b"II": "<", b"MM": ">"}
    order = orders.get(head[:2], "<")
    version = struct.unpack(f"{order}H", head[2:4])[0]
    if head[:2] not in orders or version not in (42, 43):
        raise UsageError("it is no TIFF")
    if version == 43:
        return Reader(file, order, True, struct.unpack(f"{order}Q", head[8:16])[0], size)
    return Reader(file, order, False, struct.unpack(f"{order}I", head[4:8])[0], size)


def write(file: BinaryIO, directories: Iterable[Directory], order: Order = "<", *, big: bool = False) -> None:
    """Write a TIFF file of these directories in byte order `order`; strips and tiles are copied.

    Raises struct.error if a file that is not `big` grows beyond 4 GiB.
    """
    file.write(struct.pack(f"{order}2sHHH", b"", 43, 8, 0) if big else struct.pack(f"{order}2sH", b"", 42))
    file.seek(0)
    file.write(b"II" if order == "<" else b"MM")
    writer = _Writer(file, order, big)
    link = file.seek(0, 2)
    writer.number(0)
    for directory in directories:
        offset, following = writer.directory(directory)
        file.seek(link)
        writer.number(offset)
        link = following
        file.seek(0, 2)


@dataclass(frozen=True)
class _Writer:
    file: BinaryIO
    order: Order
    big: bool

    def number(self, value: int) -> None:
        self.file.write(struct.pack(self.order + ("Q" if self.big else "I"), value))

    def directory(self, directory: Directory) -> tuple[int, int]:
        """Write a directory at the end of the file; return its offset and that of its link to the next."""
        fields = {tag: value for tag, value in directory.fields.items() if tag not in FREE_SPACE}
        for tag, children in directory.children.items():
            if children:
                fields[tag] = self._offsets([self.directory(child)[0] for child in children])
        if directory.segments:
            copied = self._copy(directory)
            offsets, counts = _segment_tags(fields)
            fields[offsets] = self._offsets([place for place, _ in copied])
            fields[counts] = self._offsets([length for _, length in copied])
        entries = [(tag, value, self._inline_or_offset(value)) for tag, value in sorted(fields.items())]
        start = self._begin()
        layout = self.order + ("HHQ8s" if self.big else "HHI4s")
        self.file.write(struct.pack(self.order + ("Q" if self.big else "H"), len(entries)))
        for tag, value, place in entries:
            self.file.write(struct.pack(layout, tag, value.type, len(value.data) // SIZES[value.type], place))
        link = self.file.tell()
        self.number(0)
        return start, link

    def _begin(self) -> int:
        """Go to the end of the file, on an even offset."""
        end = self.file.seek(0, 2)
        self.file.write(bytes(end % 2))
        return end + end % 2

    def _offsets(self, values: list[int]) -> Field:
        code, kind = ("Q", LONG8) if self.big else ("I", LONG)
        return Field(kind, struct.pack(f"<{len(values)}{code}", *values))

    def _copy(self, directory: Directory) -> list[tuple[int, int]]:
        assert directory.file is not None
        places: dict[tuple[int, int], tuple[int, int]] = {}
        for offset, length in directory.segments:
            if (offset, length) not in places:
                start = self._begin() if length else 0  # sparse tiles have neither place nor length
                directory.file.seek(offset)
                self.file.write(directory.file.read(length))
                places[offset, length] = (start, length)
        return [places[segment] for segment in directory.segments]

    def _inline_or_offset(self, value: Field) -> bytes:
        data = _swapped(value.data, value.type) if self.order == ">" else value.data
        width = 8 if self.big else 4
        if len(data) <= width:
            return data.ljust(width, b"\0")
        start = self._begin()
        self.file.write(data)
        return struct.pack(self.order + ("Q" if self.big else "I"), start)


def _segment_tags(fields: Mapping[int, Field]) -> tuple[int, int]:
    return TILES if TILES[0] in fields else STRIPS


def _swapped(data: bytes, kind: int) -> bytes:
    """Return the values of a type in the other byte order; rationals are two numbers of four bytes."""
    width = 4 if kind in (5, 10) else SIZES[kind]
    out = bytearray(len(data))
    for place in range(width):
        out[place::width] = data[width - 1 - place :: width]
    return bytes(out)
