"""Finds the photographs of a page. No network redraws them: they are evened out, and their grain is smoothed."""

import cv2
import numpy as np

from fastdiff.apps.docclean.guard.marks import PALEST
from fastdiff.apps.docclean.imaging.layers import HALF, Layers

SMALLEST = 0.02  # of the page
JOINED = 1 / 150  # of the longer side: gap over which areas are one photograph
FILLED = 0.5  # least share of its box that areas of content fill
COVERED = 0.97  # least share of its box that differs from the paper
RANGE = 40  # least grey levels between its dark and its bright twentieth: fills of boxes are flat
SAME = 1.0  # grey levels by which the network may change it on average
WINDOW, NEARBY = 5, 1.5  # pixels a side, and standard deviation in pixels, of the bilateral filter
# Its standard deviation in tone, white = 1. On 8 photographs under medium and heavy dirt, 8, 12 and 25 grey levels give
# an SSIM to the truth of at least 0.90, 0.91 and 0.93, and 0.89 without the filter; 12 suffices with a margin.
TONES = 12 / 255


def find_photographs(evened: Layers, restored: Layers, content: np.ndarray) -> np.ndarray:
    """Return the boxes of photographs that the network changed, bool at half size (h, w).

    `content` are the areas of content of the evened-out page, bool (h, w).
    """
    width = round(HALF * max(content.shape) * JOINED) | 1
    joined = cv2.morphologyEx(content.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((width, width), np.uint8))
    change = cv2.resize(cv2.absdiff(evened.page, restored.page), content.shape[::-1], interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(evened.ground, cv2.COLOR_RGB2GRAY)
    found = np.zeros(content.shape, np.bool_)
    for left, top, wide, high, size in cv2.connectedComponentsWithStats(joined, connectivity=8)[2][1:].tolist():
        box = np.s_[top : top + high, left : left + wide]
        if wide * high < SMALLEST * content.size or size < FILLED * wide * high or change[box].mean() < SAME:
            continue
        dark, bright = np.quantile(grey[box], (0.05, 0.95))
        if bright - dark >= RANGE and np.mean(evened.depth[box] > PALEST) >= COVERED:
            found[max(top - 1, 0) : top + high + 1, max(left - 1, 0) : left + wide + 1] = True
    return found


def smooth_grain(page: np.ndarray) -> np.ndarray:
    """Return a page, uint8 or uint16, grey (H, W) or RGB (H, W, 3), without most of its grain; edges stay."""
    white = np.iinfo(page.dtype).max
    smooth = cv2.bilateralFilter(page.astype(np.float32), WINDOW, TONES * white, NEARBY)
    return np.rint(np.clip(smooth, 0, white)).astype(page.dtype)
