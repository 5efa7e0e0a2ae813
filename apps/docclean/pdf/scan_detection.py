"""Decides whether a PDF page is a scan, and which of its images are pictures to clean."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fastdiff.apps.docclean.pdf.page_content import Content, Draw, Text, inverse
from fastdiff.apps.docclean.pdf.page_tree import Box

SCAN_COVER = 0.5  # share of the page that images cover on a scan
SCAN_TEXT = 200  # visible characters that a scan may carry, such as a court's stamp
STAMP_HEIGHT = 0.02  # of the page's longer side: larger text is no stamp
FEW_LETTERS = 5  # of larger text, which a scan may carry
SCAN_SEGMENTS = 200  # visible segments of paths that a scan may carry
FIGURE_SEGMENTS = 20  # the same for a page with less cover
SPECK = 0.01  # share of the page below which an image is no picture
TOUCH = 0.75  # points between images that belong together
GRID = 48  # points a side at which the cover is measured
INSET = 0.02  # of an image's side: its edge is not tested for being painted over

TEXT, DRAWINGS, NOTHING = "text", "drawings", "nothing to clean"


@dataclass(frozen=True)
class Scan:
    """The pictures to clean on a page: groups of draws (indices into `Content.draws`), one group per picture.

    `instead` names the content of a page without pictures: TEXT, DRAWINGS or NOTHING.
    """

    groups: tuple[tuple[int, ...], ...] = ()
    instead: str | None = None


def find_scan(content: Content, box: Box) -> Scan:
    """Decide by the visible content of the page, whose visible box is `box`."""
    page = box.width * box.height
    areas = np.array([_area(draw.bounds.cut(box)) for draw in content.draws])
    shown = [k for k, draw in enumerate(content.draws) if areas[k] > 0 and _is_seen(draw, content.draws, box)]
    texts = [text for text in content.texts if _holds(box.cut(text.clip), text.x, text.y)]
    places = np.array([(text.x, text.y) for text in texts]).reshape(-1, 2)
    buried = _buried(places, np.array([text.order for text in texts]), content.draws)
    texts = [text for text, below in zip(texts, buried, strict=True) if not below]
    cover = _cover([content.draws[k] for k in shown], box)
    characters = sum(text.characters for text in texts)
    if characters and (cover < SCAN_COVER or characters >= SCAN_TEXT or _is_set(texts, box)):
        return Scan(instead=TEXT)
    if _segments(content, box) >= (FIGURE_SEGMENTS if cover < SCAN_COVER else SCAN_SEGMENTS):
        return Scan(instead=DRAWINGS)
    groups = [group for group in _groups(content.draws, shown, areas, page) if areas[list(group)].sum() >= SPECK * page]
    return Scan(tuple(groups), None if groups else NOTHING)


def marks_below(content: Content, group: Sequence[int], box: Box) -> bool:
    """True if the page paints visible text or drawings before the last image of a group, inside its bounds."""
    last = max(content.draws[k].order for k in group)
    around = [content.draws[k].bounds.cut(box) for k in group]
    texts = [text for text in content.texts if text.order < last]
    places = np.array([(text.x, text.y) for text in texts]).reshape(-1, 2)
    buried = _buried(places, np.array([text.order for text in texts]), content.draws)
    seen = [(text.x, text.y) for text, below in zip(texts, buried, strict=True) if not below]
    for drawing in content.drawings:
        part = drawing.box.cut(box)
        if drawing.order < last and not part.is_empty:
            middle = ((part.left + part.right) / 2, (part.bottom + part.top) / 2)
            if not _buried(np.array([middle]), np.array([drawing.order]), content.draws)[0]:
                seen.append(middle)
    return any(_holds(each, x, y) for each in around for x, y in seen)


def _is_set(texts: Sequence[Text], box: Box) -> bool:
    """True if the text is larger than that of stamps and page numbers."""
    height = STAMP_HEIGHT * max(box.width, box.height)
    return sum(text.characters for text in texts if text.height > height) >= FEW_LETTERS


def _segments(content: Content, box: Box) -> int:
    drawings = [each for each in content.drawings if not each.box.cut(box).is_empty or _is_line(each.box, box)]
    middles = np.array([_middle(each.box.cut(box)) for each in drawings]).reshape(-1, 2)
    buried = _buried(middles, np.array([each.order for each in drawings]), content.draws)
    return sum(each.segments for each, below in zip(drawings, buried, strict=True) if not below)


def _is_line(drawing: Box, box: Box) -> bool:
    return _holds(box, *_middle(drawing))


def _middle(box: Box) -> tuple[float, float]:
    return (box.left + box.right) / 2, (box.bottom + box.top) / 2


def _is_seen(draw: Draw, draws: Sequence[Draw], box: Box) -> bool:
    steps = np.linspace(INSET, 1 - INSET, 5)
    across, up = (axis.ravel() for axis in np.meshgrid(steps, steps))
    a, b, c, d, e, f = draw.matrix
    points = np.stack([a * across + c * up + e, b * across + d * up + f], 1)
    inside = np.array([_holds(draw.bounds.cut(box), x, y) for x, y in points])
    if not inside.any():  # a clip leaves less than the points find
        points, inside = np.array([_middle(draw.bounds.cut(box))]), np.array([True])
    return bool((inside & ~_buried(points, np.full(len(points), draw.order), draws)).any())


def _buried(points: np.ndarray, orders: np.ndarray, draws: Sequence[Draw]) -> np.ndarray:
    """Return the mask, bool (N,), of points (N, 2), painted as number `orders`, that lie below an opaque image."""
    below = np.zeros(len(points), bool)
    for draw in draws:
        if draw.opaque and (orders < draw.order).any():
            below |= (orders < draw.order) & _inside(points, draw)
    return below


def _inside(points: np.ndarray, draw: Draw) -> np.ndarray:
    back = inverse(draw.matrix)
    if back is None or not len(points):
        return np.zeros(len(points), bool)
    a, b, c, d, e, f = back
    x, y = points[:, 0], points[:, 1]
    across, up = a * x + c * y + e, b * x + d * y + f
    clip = draw.clip
    held = (x >= clip.left) & (x <= clip.right) & (y >= clip.bottom) & (y <= clip.top)
    return held & (across >= 0) & (across <= 1) & (up >= 0) & (up <= 1)


def _cover(draws: Sequence[Draw], box: Box) -> float:
    steps = (np.arange(GRID) + 0.5) / GRID
    across, up = (axis.ravel() for axis in np.meshgrid(steps, steps))
    points = np.stack([box.left + across * box.width, box.bottom + up * box.height], 1)
    covered = np.zeros(len(points), bool)
    for draw in draws:
        covered |= _inside(points, draw)
    return float(covered.mean())


def _groups(draws: Sequence[Draw], shown: Sequence[int], areas: np.ndarray, page: float) -> list[tuple[int, ...]]:
    """Return groups of shown draws that touch or overlap; specks inside a larger image are left out."""
    boxes = np.array([_corners(draws[k].bounds) for k in shown]).reshape(-1, 4)
    large = np.array([areas[k] >= SPECK * page for k in shown], bool)
    inside = (
        (boxes[:, None, :2] >= boxes[None, :, :2] - TOUCH) & (boxes[:, None, 2:] <= boxes[None, :, 2:] + TOUCH)
    ).all(2)
    stuck_on = (~large)[:, None] & large[None, :] & inside
    kept = ~stuck_on.any(1)
    meets = (
        (boxes[:, None, :2] <= boxes[None, :, 2:] + TOUCH) & (boxes[:, None, 2:] >= boxes[None, :, :2] - TOUCH)
    ).all(2)
    meets &= kept[:, None] & kept[None, :]
    waiting, groups = set(np.flatnonzero(kept).tolist()), []
    while waiting:
        edge, members = [min(waiting)], set()
        while edge:
            member = edge.pop()
            if member not in members:
                members.add(member)
                edge.extend(set(np.flatnonzero(meets[member]).tolist()) - members)
        waiting -= members
        groups.append(tuple(shown[k] for k in sorted(members)))
    return groups


def _corners(box: Box) -> tuple[float, float, float, float]:
    return box.left, box.bottom, box.right, box.top


def _area(box: Box) -> float:
    return 0.0 if box.is_empty else box.width * box.height


def _holds(box: Box, x: float, y: float) -> bool:
    return box.left <= x <= box.right and box.bottom <= y <= box.top
