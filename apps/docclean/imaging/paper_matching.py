"""Fits the evenly lit page beside a cleaned one: matches its paper and, after blur, sharpens its strokes linearly."""

import cv2
import numpy as np

from fastdiff.apps.docclean.imaging import illumination

STEP = 4  # pixels a side of the cells in which paper is compared
REACH = 1 / 40  # of the longer side of the page: wider than strokes
MOST = 3.0  # largest factor by which paper is brightened or darkened
ROWS = 512  # processed at a time
AMOUNT = 0.5  # of the unsharp mask
WIDTH = 0.35  # standard deviation of its Gaussian, in widths of the page's edges


def match_paper(evened: np.ndarray, cleaned: np.ndarray, edge_width: float = 0.0) -> np.ndarray:
    """Return `evened` with the local paper of `cleaned`, sharpened for edges of `edge_width` pixels (0 for no
    sharpening).

    Both are uint8 or uint16 of one dtype, grey (H, W) or RGB (H, W, 3). The filter is linear and only clips values
    beyond black and white: grain and the soft edges of strokes stay.
    """
    white = np.iinfo(evened.dtype).max
    gain = _paper(cleaned) / np.maximum(_paper(evened), 1)
    gain = cv2.GaussianBlur(np.clip(gain, 1 / MOST, MOST), (0, 0), 2)
    sigma = WIDTH * edge_width
    halo = int(4 * sigma) + 1
    out = np.empty_like(evened)
    for top in range(0, len(evened), ROWS):
        rows = slice(top, min(top + ROWS, len(evened)))
        around = slice(max(rows.start - halo, 0), min(rows.stop + halo, len(evened)))
        page = evened[around] * illumination.upsampled_rows(gain, around, *evened.shape[:2])
        if sigma:
            page = cv2.addWeighted(page, 1 + AMOUNT, cv2.GaussianBlur(page, (0, 0), sigma), -AMOUNT, 0)
        page = page[rows.start - around.start :][: rows.stop - rows.start]
        out[rows] = np.rint(np.clip(page, 0, white))
    return out


def _paper(pixels: np.ndarray) -> np.ndarray:
    """Return the level of the paper in cells of STEP pixels: float32 (h, w) or (h, w, 3)."""
    height, width = (-(-length // STEP) for length in pixels.shape[:2])
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    reach = max(3, round(max(small.shape[:2]) * REACH)) | 1
    return cv2.morphologyEx(small, cv2.MORPH_CLOSE, np.ones((reach, reach), np.uint8)).astype(np.float32)
