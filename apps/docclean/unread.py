"""Finds the strokes of a deblurred page that no OCR engine read: nobody can tell whether they are right."""

import cv2
import numpy as np

from fastdiff.apps.docclean import strokes
from fastdiff.apps.docclean.regions import Box

FAINTEST = 0.15  # contrast of a stroke, as a share of the level of the paper around it
JOINED = 6  # widths of an edge between strokes that count as one region


def unread_strokes(page: np.ndarray, read: np.ndarray, edge_width: float) -> np.ndarray:
    """Returns the surroundings of strokes outside of `read`, bool (H, W), of a page that was deblurred.

    `page` is uint8 or uint16, grey (H, W) or RGB (H, W, 3), `read` bool (H, W). The surroundings, as wide as an edge of
    the page as it came (`edge_width` pixels), hold what blur made of the strokes.
    """
    grey = cv2.cvtColor(page, cv2.COLOR_RGB2GRAY) if page.ndim == 3 else page
    paper = strokes.paper(grey)
    ink = cv2.subtract(paper, grey) > (FAINTEST * paper).astype(grey.dtype)
    ink &= ~read
    around = cv2.dilate(ink.astype(np.uint8), _disc(edge_width)) > 0
    return around & ~read


def boxes_of(mask: np.ndarray, edge_width: float) -> list[Box]:
    """The boxes around what is True in a mask (H, W); parts nearer than JOINED edges share one."""
    joined = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, _disc(JOINED * edge_width / 2))
    _, _, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    return [(left, top, left + width, top + height) for left, top, width, height, _ in stats[1:].tolist()]


def _disc(radius: float) -> np.ndarray:
    side = 2 * max(round(radius), 1) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
