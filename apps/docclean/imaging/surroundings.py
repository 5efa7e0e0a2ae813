"""Finds the surroundings of strokes: the parts of a page that go back together with them."""

import cv2
import numpy as np

from fastdiff.apps.docclean.imaging import strokes
from fastdiff.apps.docclean.imaging.regions import Box

GRAIN = 1.0  # pixels: standard deviation of the Gaussian that smooths the grain of paper
FAINTEST = 0.12  # contrast of a stroke, as a share of the level of the paper around it
LEAST = 1 / 500  # of the longer side: reach of the surroundings of strokes of a sharp page, at least 2 pixels
JOINED = 6  # edge widths between strokes that count as one region


def near_strokes(page: np.ndarray, edge_width: float = 0.0, known: np.ndarray | None = None) -> np.ndarray:
    """Return the surroundings of the strokes of a page outside of `known`, bool (H, W).

    `page` is uint8 or uint16, grey (H, W) or RGB (H, W, 3). The surroundings are as wide as an edge of the page
    (`edge_width` pixels): they hold the blur around strokes.
    """
    grey = cv2.cvtColor(page, cv2.COLOR_RGB2GRAY) if page.ndim == 3 else page
    grey = cv2.GaussianBlur(grey, (0, 0), GRAIN)
    paper = strokes.paper_level(grey)
    ink = cv2.subtract(paper, grey) > (FAINTEST * paper).astype(grey.dtype)
    if known is not None:
        ink &= ~known
    near = cv2.dilate(ink.astype(np.uint8), _disc(max(edge_width, LEAST * max(grey.shape), 2))) > 0
    return near if known is None else near & ~known


def boxes_of(mask: np.ndarray, edge_width: float) -> list[Box]:
    """Return the boxes around the parts of a mask (H, W); parts nearer than JOINED edges share one."""
    joined = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, _disc(JOINED * edge_width / 2))
    _, _, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    return [(left, top, left + width, top + height) for left, top, width, height, _ in stats[1:].tolist()]


def _disc(radius: float) -> np.ndarray:
    side = 2 * max(round(radius), 1) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
