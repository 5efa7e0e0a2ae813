"""Fits the evenly lit page beside a cleaned one: matches its paper."""

import cv2
import numpy as np

from fastdiff.apps.docclean.imaging import illumination

STEP = 4  # pixels a side of the cells in which paper is compared
REACH = 1 / 40  # of the longer side of the page: wider than strokes
MOST = 3.0  # largest factor by which paper is brightened or darkened
ROWS = 512  # processed at a time


def match_paper(evened: np.ndarray, cleaned: np.ndarray) -> np.ndarray:
    """Return `evened` with the local paper of `cleaned`.

    Both are uint8 or uint16 of one dtype, grey (H, W) or RGB (H, W, 3). Only the light changes: grain and the soft
    edges of strokes stay.
    """
    white = np.iinfo(evened.dtype).max
    gain = (_paper(cleaned) + 1) / (_paper(evened) + 1)  # 1 where both are black
    gain = cv2.GaussianBlur(np.clip(gain, 1 / MOST, MOST), (0, 0), 2)
    out = np.empty_like(evened)
    for top in range(0, len(evened), ROWS):
        rows = slice(top, min(top + ROWS, len(evened)))
        page = evened[rows] * illumination.upsampled_rows(gain, rows, *evened.shape[:2])
        out[rows] = np.rint(np.clip(page, 0, white))
    return out


def _paper(pixels: np.ndarray) -> np.ndarray:
    """Return the level of the paper in cells of STEP pixels: float32 (h, w) or (h, w, 3)."""
    height, width = (-(-length // STEP) for length in pixels.shape[:2])
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    reach = max(3, round(max(small.shape[:2]) * REACH)) | 1
    return cv2.morphologyEx(small, cv2.MORPH_CLOSE, np.ones((reach, reach), np.uint8)).astype(np.float32)
