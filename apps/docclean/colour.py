"""Colour on top of a grey restorer: paper goes white, ink and stamps keep their hue."""

import cv2
import numpy as np

PAPER_SCALE = 1 / 8  # the paper's colour is estimated on a copy this large
PAPER_REACH = 1 / 30  # of the page's width: wider than any stroke
STRONGEST = 5.0  # the most a pixel is brightened or darkened


def luma(rgb: np.ndarray) -> np.ndarray:
    """(H, W, 3) or (H, W) float32 in [0, 1] -> (H, W), Rec. 601."""
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY) if rgb.ndim == 3 else rgb


def repaint(rgb: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """The restored luma (H, W) with the colours of `rgb` (H, W, 3), as seen on white paper; all float32 in [0, 1]."""
    flat = np.minimum(rgb / np.maximum(paper(rgb), 1e-3), 1)
    ratio = np.clip((restored + 0.02) / (luma(flat) + 0.02), 1 / STRONGEST, STRONGEST)
    painted = np.clip(flat * ratio[..., None], 0, 1)
    # Where the colour cannot get as bright or dark as the restorer says, grey says it.
    return np.clip(painted + (restored - luma(painted))[..., None], 0, 1)


def paper(rgb: np.ndarray) -> np.ndarray:
    """The colour of the paper under every pixel, (H, W, 3): a wide closing of each channel, smoothed."""
    height, width = rgb.shape[:2]
    small = cv2.resize(rgb, None, fx=PAPER_SCALE, fy=PAPER_SCALE, interpolation=cv2.INTER_AREA)
    reach = max(3, int(width * PAPER_SCALE * PAPER_REACH)) | 1
    closed = cv2.morphologyEx(small, cv2.MORPH_CLOSE, np.ones((reach, reach), np.uint8))
    return cv2.resize(cv2.blur(closed, (reach, reach)), (width, height), interpolation=cv2.INTER_LINEAR)
