"""Contrast of the strokes of a page, independent of its paper and light."""

import cv2
import numpy as np


def contrast(grey: np.ndarray) -> np.ndarray:
    """Return the darkness of each pixel relative to the paper around it, as a share of that paper's level.

    uint8 (H, W) -> float32 (H, W) in [0, 1].
    """
    darkness: np.ndarray = 1 - grey / np.maximum(paper_level(grey), 1).astype(np.float32)
    return darkness


def without_specks(mask: np.ndarray, least: int) -> np.ndarray:
    """Return the connected parts of a mask, bool (H, W), that have at least `least` pixels."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= least
    large[0] = False  # the label of the background
    kept: np.ndarray = large[labels]
    return kept


def paper_level(grey: np.ndarray) -> np.ndarray:
    """Return the level of the paper around each pixel of a page (H, W) or (H, W, C), channel by channel.

    The result is uint8 or float32 as `grey`. The grey closing by a square wider than any stroke fills strokes and keeps
    stains, shadows and solid areas.
    """
    width = max(15, max(grey.shape) // 40) | 1
    return cv2.morphologyEx(grey, cv2.MORPH_CLOSE, np.ones((width, width), np.uint8))
