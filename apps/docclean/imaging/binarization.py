"""Ink or paper: the last step of binarization, from a restored page and the page as it came."""

import cv2
import numpy as np
from scipy import ndimage
from skimage.filters import apply_hysteresis_threshold

from fastdiff.apps.docclean.imaging import strokes

# Restored pixels darker than INK are ink if a stroke of theirs is darker than CORE and, on the page as it came, has at
# least FAINTEST of the typical stroke's contrast: what shines through from the back is as dark as ink on a patch, and
# paler than the ink of its page. All three are the best on DIBCO 2009 to 2011.
INK, CORE, FAINTEST = 0.85, 0.5, 0.55


def paper_mask(restored: np.ndarray, grey: np.ndarray) -> np.ndarray:
    """The paper of a page, bool (H, W), True where there is no ink.

    `restored` is float in [0, 1], `grey` the page before, uint8, both (H, W).
    """
    dark = apply_hysteresis_threshold(1 - restored, 1 - INK, 1 - CORE)
    labels, count = ndimage.label(dark, np.ones((3, 3)))
    if not count:
        return ~dark
    contrast = cv2.GaussianBlur(strokes.contrast(grey), (0, 0), 0.7)
    strongest = ndimage.maximum(contrast, labels, np.arange(1, count + 1))
    kept = strongest >= FAINTEST * _median(strongest, np.bincount(labels.ravel())[1:])
    return ~np.concatenate([[False], kept])[labels]


def _median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values)
    passed = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(passed, passed[-1] / 2)]])
