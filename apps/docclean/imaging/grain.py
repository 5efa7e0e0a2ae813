"""Measures the grain of empty paper, to tell it from strokes and their blur."""

import cv2
import numpy as np

SMOOTHED = 1.0  # pixels: standard deviation of the Gaussian that smooths grain before it is measured
SPREADS = 3.0  # spreads beyond its median that the darkness of smoothed grain rarely reaches
PAPER = 0.02  # least share of a page that is empty paper on which grain can be measured


def grain_level(darkness: np.ndarray, empty: np.ndarray, spreads: float = SPREADS) -> int | None:
    """Return the darkness that lies `spreads` above the median of empty paper; None without enough empty paper.

    `darkness`, uint8 (H, W), is relative to the paper nearby, 255 = black, and smoothed by SMOOTHED. `empty` is the
    mask of empty paper, bool (H, W). The spread is measured below the median, where no stroke counts; it is at least a
    grey level.
    """
    counts = cv2.calcHist([darkness], [0], empty.view(np.uint8), [256], (0, 256))  # float32
    shares = np.cumsum(counts, dtype=np.float64)
    if shares[-1] < PAPER * darkness.size:
        return None
    low, middle = (int(np.searchsorted(shares, shares[-1] * share)) for share in (0.16, 0.5))
    return round(middle + spreads * max(middle - low, 1))
