"""The last step of binarization: separates ink from paper on a restored page, with the given page as evidence."""

import cv2
import numpy as np
from scipy import ndimage
from skimage.filters import apply_hysteresis_threshold

from fastdiff.apps.docclean.imaging import strokes

# Restored pixels darker than INK are ink if their stroke is darker than CORE somewhere and has, on the given page, at
# least FAINTEST of the typical contrast of strokes. Show-through from the back can be as dark as ink on a patch, but is
# paler than the ink of its page. All three values are the best on DIBCO 2009 to 2011.
INK, CORE, FAINTEST = 0.85, 0.5, 0.55


def paper_mask(restored: np.ndarray, grey: np.ndarray) -> np.ndarray:
    """Return the paper of a page, bool (H, W): True for paper, False for ink.

    `restored` is float in [0, 1], `grey` the given page, uint8, both (H, W).
    """
    dark: np.ndarray = apply_hysteresis_threshold(1 - restored, 1 - INK, 1 - CORE)
    labels, count = ndimage.label(dark, np.ones((3, 3)))
    if not count:
        return ~dark
    contrast = cv2.GaussianBlur(strokes.contrast(grey), (0, 0), 0.7)
    strongest = ndimage.maximum(contrast, labels, np.arange(1, count + 1))
    kept = strongest >= FAINTEST * _median(strongest, np.bincount(labels.ravel())[1:])
    ink: np.ndarray = np.concatenate([[False], kept])[labels]
    return ~ink


def _median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values)
    passed = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(passed, passed[-1] / 2)]])
