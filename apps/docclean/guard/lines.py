"""Finds fine straight lines that a restored page lost: rules of forms and tables, fainter than the noise of the page.

Averaging a page along its rows or columns makes lines in this direction stand out. Folds and scratches are not that
straight.
"""

import cv2
import numpy as np

from fastdiff.apps.docclean.imaging.layers import Layers

ALONG = 41  # pixels of the working copy over which a line is averaged
BESIDE = 4  # pixels to both sides of a line at which the page is brighter
FAINTEST = 3.0  # grey levels, on that average
LENGTH = 1 / 12  # of the longer side: the shortest line
KEPT = 0.6  # least share of its contrast that a line keeps
INK, TEXT = 30, 0.1  # grey levels of strokes that are no faint line, and the share of them in a row of text


def lost_lines(before: Layers, after: Layers) -> np.ndarray:
    """Return the faint lines of a working copy that the other one lacks, bool (H, W). Rows of text are excluded."""
    grey, restored = (cv2.cvtColor(layers.page, cv2.COLOR_RGB2GRAY).astype(np.float32) for layers in (before, after))
    ink = (before.strokes > INK).astype(np.float32)
    length = round(max(grey.shape) * LENGTH) | 1
    across, down = _lost_along_rows(grey, restored, ink, length), _lost_along_rows(grey.T, restored.T, ink.T, length)
    lost: np.ndarray = across | down.T
    return lost


def _lost_along_rows(before: np.ndarray, after: np.ndarray, ink: np.ndarray, length: int) -> np.ndarray:
    before, after, ink = (np.ascontiguousarray(layer) for layer in (before, after, ink))
    was, left = _depth(before), cv2.dilate(_depth(after), np.ones((3, 1), np.uint8))
    text = cv2.dilate(cv2.boxFilter(ink, -1, (ALONG, 1)), np.ones((2 * BESIDE + 1, 1), np.uint8)) > TEXT
    faint = (was > FAINTEST) & ~text
    sharpest = faint & (was >= cv2.dilate(was, np.ones((3, 1), np.uint8)))
    thick = cv2.dilate(sharpest.astype(np.uint8), np.ones((3, 1), np.uint8))  # a line may climb by a pixel
    long = cv2.morphologyEx(thick, cv2.MORPH_OPEN, np.ones((1, length), np.uint8)) > 0
    lost = long & faint & (left < KEPT * was)
    return cv2.dilate(lost.astype(np.uint8), np.ones((3, 5), np.uint8)) > 0


def _depth(page: np.ndarray) -> np.ndarray:
    """Return the darkness of each pixel relative to those BESIDE it above and below, averaged along its row: float32
    (H, W).
    """
    mean = cv2.boxFilter(page, -1, (ALONG, 1))
    edged = cv2.copyMakeBorder(mean, BESIDE, BESIDE, 0, 0, cv2.BORDER_REPLICATE)
    return np.minimum(edged[: len(mean)], edged[2 * BESIDE :]) - mean
