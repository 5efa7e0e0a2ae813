"""The page tree of a PDF: pages in their order, inherited attributes, and the box that viewers show."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeGuard

import pikepdf

DEEPEST = 60  # levels of the tree
LETTER = (0.0, 0.0, 612.0, 792.0)  # the box that viewers take if no box is usable
SMALLEST = 1e-3  # points


@dataclass(frozen=True)
class Box:
    """A rectangle in default user space."""

    left: float
    bottom: float
    right: float
    top: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.top - self.bottom

    @property
    def is_empty(self) -> bool:
        return not (self.width > SMALLEST and self.height > SMALLEST)

    def cut(self, other: "Box") -> "Box":
        """Return the common part, which is empty if the boxes do not meet."""
        return Box(
            max(self.left, other.left),
            max(self.bottom, other.bottom),
            min(self.right, other.right),
            min(self.top, other.top),
        )


def page_objects(pdf: pikepdf.Pdf, most: int) -> list[pikepdf.Object | None]:
    """Return the pages in order, with None for other objects in the tree; the walk ends after `most` + 1."""
    found: list[pikepdf.Object | None] = []
    root = pdf.Root.get("/Pages")
    if is_dictionary(root):
        for leaf in _walk(root, (), 0):
            found.append(leaf)
            if len(found) > most:
                break
    return found


def _walk(node: pikepdf.Object, above: tuple[tuple[int, int], ...], depth: int) -> Iterator[pikepdf.Object | None]:
    kids = node.get("/Kids")
    if not isinstance(kids, pikepdf.Array):
        yield None if depth == 0 or node.get("/Type") == pikepdf.Name.Pages else node
        return
    if node.objgen in above or depth > DEEPEST:
        yield None
        return
    for kid in kids:
        if is_dictionary(kid):
            yield from _walk(kid, (*above, node.objgen), depth + 1)
        else:
            yield None


def remove_broken_pages(pdf: pikepdf.Pdf) -> None:
    """Remove objects that are no dictionaries from the page tree, as qpdf does with a warning when it writes a file."""
    waiting: list[Any] = [pdf.Root.get("/Pages")]
    seen: set[tuple[int, int]] = set()
    while waiting:
        node = waiting.pop()
        kids = node.get("/Kids") if is_dictionary(node) else None
        if isinstance(kids, pikepdf.Array) and node.objgen not in seen:
            seen.add(node.objgen)
            good = [kid for kid in kids if is_dictionary(kid)]
            if len(good) < len(kids):
                node.Kids = pikepdf.Array(good)
            waiting += good


def is_dictionary(value: Any) -> TypeGuard[pikepdf.Object]:
    """True if a value is a PDF dictionary and no stream."""
    return isinstance(value, pikepdf.Dictionary) and not isinstance(value, pikepdf.Stream)


def inherited(page: pikepdf.Object, name: str) -> Any:
    """Return an attribute of the page or of the nearest node above it, or None."""
    node: Any = page
    for _ in range(DEEPEST):
        if not is_dictionary(node):
            return None
        value = node.get(name)
        if value is not None:
            return value
        node = node.get("/Parent")
    return None


def rotation(page: pikepdf.Object) -> int:
    """Return degrees clockwise, 0, 90, 180 or 270; other values count as 0, as in viewers."""
    try:
        degrees = int(inherited(page, "/Rotate") or 0)
    except (TypeError, ValueError, OverflowError):
        return 0
    return degrees % 360 if degrees % 90 == 0 else 0


def visible_box(page: pikepdf.Object) -> Box:
    """Return the box of a page that viewers show: its crop box cut to its media box, corners in any order."""
    media = _box(inherited(page, "/MediaBox")) or Box(*LETTER)
    crop = _box(inherited(page, "/CropBox"))
    shown = crop.cut(media) if crop else media
    return media if shown.is_empty else shown


def numbers(value: Any, count: int) -> tuple[float, ...] | None:
    """Return the numbers of an array of `count` numbers; None for other values."""
    try:
        found = tuple(float(each) for each in value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if len(found) == count and all(abs(each) < 1e9 for each in found) else None


def _box(value: Any) -> Box | None:
    corners = numbers(value, 4)
    if corners is None:
        return None
    (left, right), (bottom, top) = sorted(corners[::2]), sorted(corners[1::2])
    box = Box(left, bottom, right, top)
    return None if box.is_empty else box
