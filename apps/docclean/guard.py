"""Puts content back that a restored page lost, recoloured or invented, by classical means alone.

The page before, evenly lit, is split into strokes and areas. Features of each tell content from dirt, independently of
the network; content that the restored page no longer shows goes back to what it was, mark by mark.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from fastdiff.apps.docclean import guard_changes, guard_layers, guard_marks
from fastdiff.apps.docclean.guard_changes import Changes
from fastdiff.apps.docclean.guard_judge import judge
from fastdiff.apps.docclean.guard_layers import HALF
from fastdiff.apps.docclean.guard_marks import Marks
from fastdiff.apps.docclean.regions import Region, put_back

STROKES, AREAS = 0.5, 0.5  # probability of content from which a mark is put back
GONE = 0.3  # share of a stroke that is gone or recoloured
CHANGED = 0.3  # share of an area that changed
FIGURE = 0.5  # share of the box of joined areas that they fill: the box is a figure
LEAST_FIGURE = 0.004  # of the page
JOINED = 1 / 150  # of the longer side: gap over which marks are one region


@dataclass(frozen=True)
class Guarded:
    """The restored page with its content back, what was put back, and its share of the page's content in [0, 1]."""

    pixels: np.ndarray
    regions: tuple[Region, ...]
    share: float


def guard(evened: np.ndarray, restored: np.ndarray) -> Guarded:
    """Compares two pages of one shape, uint8 or uint16, grey (H, W) or RGB (H, W, 3)."""
    before = guard_layers.split(guard_layers.working_copy(evened))
    after = guard_layers.split(guard_layers.working_copy(restored), before.paper)
    changes = guard_changes.compare(before, after)
    strokes, areas = guard_marks.find_strokes(before), guard_marks.find_areas(before)
    content = judge("strokes")(strokes.features) > STROKES, judge("areas")(areas.features) > AREAS
    lost = lost_strokes(strokes, changes, content[0]), lost_areas(areas, changes, content[1])
    causes = {
        "strokes gone": _grown(lost[0] & changes.gone),
        "strokes recoloured": _grown(lost[0] & ~changes.gone),
        "area changed": _stretched(_whole_figures(lost[1]), lost[0].shape),
        "strokes invented": _grown(changes.new),
    }
    mask = np.logical_or.reduce([lost[0], *causes.values()])
    return Guarded(
        put_back(restored, evened, _stretched(mask, evened.shape[:2])),
        tuple(region for cause, part in causes.items() for region in _regions(part, cause, evened.shape)),
        _share((strokes, areas), content, lost),
    )


def lost_strokes(marks: Marks, changes: Changes, content: np.ndarray) -> np.ndarray:
    """The strokes of content that changed, bool (H, W)."""
    chosen = content & (_share_of(marks, changes.gone | changes.recoloured) > GONE)
    chosen[0] = False
    return chosen[marks.labels]


def lost_areas(marks: Marks, changes: Changes, content: np.ndarray) -> np.ndarray:
    """The areas of content that changed, bool at half size."""
    chosen = content & (_share_of(marks, changes.ground) > CHANGED)
    chosen[0] = False
    return chosen[marks.labels]


def _share_of(marks: Marks, mask: np.ndarray) -> np.ndarray:
    inside = np.flatnonzero(marks.labels)
    found = np.bincount(marks.labels.ravel()[inside], mask.ravel()[inside], minlength=len(marks.sizes))
    return found / np.maximum(marks.sizes, 1)


def _whole_figures(lost: np.ndarray) -> np.ndarray:
    """Areas with the steep edges between them; joined areas that fill most of their box become the box."""
    width = round(max(lost.shape) * JOINED) | 1
    parts = lost.astype(np.uint8)
    closed = cv2.morphologyEx(parts, cv2.MORPH_CLOSE, np.ones((width, width), np.uint8))
    joined = cv2.bitwise_and(cv2.dilate(closed, np.ones((5, 5))), cv2.dilate(parts, np.ones((9, 9))))
    stats = cv2.connectedComponentsWithStats(joined)[2]
    for left, top, wide, high, size in stats[1:]:
        if wide * high > LEAST_FIGURE * lost.size and size > FIGURE * wide * high:
            joined[top : top + high, left : left + wide] = 1
    return joined > 0


def _grown(mask: np.ndarray) -> np.ndarray:
    return cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0


def _stretched(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    resized = cv2.resize(mask.astype(np.uint8), shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return resized > 0


def _regions(mask: np.ndarray, cause: str, shape: tuple[int, ...]) -> list[Region]:
    """Boxes of the parts of a mask in pixels of the page, near parts joined."""
    width = round(max(mask.shape) * JOINED) | 1
    joined = cv2.dilate(mask.astype(np.uint8), np.ones((width, width), np.uint8))
    _, labels = cv2.connectedComponents(joined)
    scale = np.array([shape[1] / mask.shape[1], shape[0] / mask.shape[0]] * 2)
    regions = []
    for rows, columns in ndimage.find_objects(np.where(mask, labels, 0)):
        box = np.round(np.array([columns.start, rows.start, columns.stop, rows.stop]) * scale).astype(int)
        regions.append(Region(tuple(box.tolist()), cause, "put back"))
    return regions


def _share(
    marks: tuple[Marks, Marks], content: tuple[np.ndarray, np.ndarray], lost: tuple[np.ndarray, np.ndarray]
) -> float:
    """The share of the content's area that was put back; areas are measured at half size."""
    pixels = (1, HALF * HALF)
    whole = sum(
        float(each.sizes[1:][chosen[1:]].sum()) * size
        for each, chosen, size in zip(marks, content, pixels, strict=True)
    )
    back = sum(float(each.sum()) * size for each, size in zip(lost, pixels, strict=True))
    return min(back / whole, 1.0) if whole else 0.0
