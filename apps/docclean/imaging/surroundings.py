"""Finds strokes with their surroundings: the parts of a page that go back together with them."""

import cv2
import numpy as np

from fastdiff.apps.docclean.imaging import strokes
from fastdiff.apps.docclean.imaging.grain import SMOOTHED, SPREADS, grain_level

FAINTEST = 0.12  # contrast of a stroke, as a share of the level of the paper around it
LEAST = 1 / 500  # of the longer side: reach of the surroundings of strokes of a sharp page, at least 2 pixels
PALEST = 0.03  # contrast of a cleaned page from which it shows no paper
CLEAR = 6.0  # spreads of the grain of paper beyond its median that only strokes reach


def near_strokes(page: np.ndarray, edge_width: float = 0.0) -> np.ndarray:
    """Return the surroundings of the strokes of a page, bool (H, W).

    `page` is uint8 or uint16, grey (H, W) or RGB (H, W, 3). The surroundings are as wide as an edge of the page
    (`edge_width` pixels): they hold the blur around strokes.
    """
    return _grown(_darkness(page) > 255 * FAINTEST, _reach(page, edge_width))


def strokes_of_either(evened: np.ndarray, cleaned: np.ndarray, edge_width: float = 0.0) -> np.ndarray:
    """Return the strokes of an evened-out page and of the cleaned one with their blur, bool (H, W).

    Both are uint8 or uint16 of one shape, grey (H, W) or RGB (H, W, 3); edges of strokes are `edge_width` pixels wide.
    Paper beside strokes, and in the eyes of letters, is left out: there the cleaned page is white, and the evened-out
    one no darker than the grain of empty paper.
    """
    given, done = _darkness(evened), _darkness(cleaned)
    reach = _reach(evened, edge_width)
    empty = ~_grown(done > 255 * PALEST, reach)
    grain, clear = (grain_level(given, empty, spreads) or 0 for spreads in (SPREADS, CLEAR))
    near = _grown((given > max(255 * FAINTEST, clear)) | (done > 255 * FAINTEST), reach)
    return _grown(near & ((given > grain) | (done > 255 * PALEST)), 1)


def _darkness(page: np.ndarray) -> np.ndarray:
    """Return the smoothed darkness of a page relative to the paper around each pixel, uint8 (H, W), 255 = black."""
    grey = cv2.cvtColor(page, cv2.COLOR_RGB2GRAY) if page.ndim == 3 else page
    grey = cv2.convertScaleAbs(grey, alpha=255 / np.iinfo(page.dtype).max)
    grey = cv2.GaussianBlur(grey, (0, 0), SMOOTHED)
    paper = strokes.paper_level(grey)
    return cv2.divide(cv2.subtract(paper, grey), paper, scale=255)


def _reach(page: np.ndarray, edge_width: float) -> float:
    longer: int = max(page.shape)
    return max(edge_width, LEAST * longer, 2)


def _grown(mask: np.ndarray, radius: float) -> np.ndarray:
    return cv2.dilate(mask.astype(np.uint8), _disc(radius)) > 0


def _disc(radius: float) -> np.ndarray:
    side = 2 * max(round(radius), 1) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
