"""Colour of pages: detects it, and gives the restored luma of a grey network the colours of the given page."""

from typing import Any

import cv2
import numpy as np

from fastdiff.apps.docclean.imaging import paper

SAMPLE = 1 / 8  # scale of the copy on which the tint of the paper is measured
REACH = 5  # pixels of that copy: wider than the strokes of running text
STRONGEST = 5.0  # largest factor by which a colour is intensified
BAND = 512  # rows processed at a time


LONGEST_SIDE = 1200  # pixels of the copy in which colour is looked for
WARM = (10, 65)  # degrees of hue of paper, stains and brown ink: below WARM_CHROMA, such a colour is aged grey
COLD_CHROMA, WARM_CHROMA = 0.12, 0.25  # of 1, the largest difference between channels on white paper
LEAST = 3e-4  # share of the page


def grey(pixels: np.ndarray) -> np.ndarray:
    """Return the luma (Rec. 601) of uint8 or uint16, RGB (H, W, 3) or grey (H, W), in the same type: (H, W)."""
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if pixels.ndim == 3 else pixels


def luma(pixels: np.ndarray) -> np.ndarray:
    """Return the luma of uint8 or uint16, RGB (H, W, 3) or grey (H, W), as float32 (H, W) in [0, 1]."""
    return normalize(grey(pixels))


def is_coloured(pixels: np.ndarray) -> bool:
    """True for a page on coloured paper, or with colour on a share LEAST of it after its paper is made white.

    `pixels` are uint8 or uint16, grey (H, W) or RGB (H, W, 3).
    """
    if pixels.ndim == 2:
        return False
    scale = min(1.0, LONGEST_SIDE / max(pixels.shape[:2]))
    height, width = (max(round(length * scale), 1) for length in pixels.shape[:2])
    small = normalize(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA))
    found = paper.measure_paper(small)
    if found.tinted:
        return True
    seen = cv2.blur(np.minimum(small / found.colour, 1), (3, 3))
    hue = cv2.cvtColor(seen, cv2.COLOR_RGB2HSV)[..., 0]
    warm = (hue >= WARM[0]) & (hue <= WARM[1])
    strong = np.ptp(seen, axis=-1) > np.where(warm, WARM_CHROMA, COLD_CHROMA)
    return bool(strong.mean() >= LEAST)


def normalize(pixels: np.ndarray) -> np.ndarray:
    """Convert uint8 or uint16 of any shape to float32 in [0, 1], 1 = white; floats are returned as they are."""
    if np.issubdtype(pixels.dtype, np.floating):
        return pixels
    levels: np.ndarray = np.divide(pixels, np.iinfo(pixels.dtype).max, dtype=np.float32)
    return levels


def quantize(page: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Convert a page, float32 in [0, 1], to uint8 or uint16. It is changed: memory holds a large page once.

    For a type of floats it is returned as it is.
    """
    if np.issubdtype(dtype, np.floating):
        return page
    page *= np.iinfo(dtype).max
    levels: np.ndarray = np.rint(page, out=page).astype(dtype)
    return levels


def repaint(pixels: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """Give the restored luma, float32 in [0, 1] or integers, (H, W), the colours of `pixels`, RGB, as they look on
    white paper.

    Returns pixels of the type of `pixels`. A colour is its luma plus a chroma. The chroma grows and shrinks with the
    luma, as far as there is room between black and white: white luma stays white.
    """
    white = np.iinfo(pixels.dtype).max
    balance = (1 / (white * tint(pixels))).astype(np.float32)
    out = np.empty_like(pixels)
    for top in range(0, len(pixels), BAND):
        rows = slice(top, top + BAND)
        level = normalize(restored[rows, :, None])
        seen = pixels[rows] * balance
        light = cv2.cvtColor(seen, cv2.COLOR_RGB2GRAY)[..., None]
        chroma = (seen - light) * np.minimum(level / np.maximum(light, 1e-3), STRONGEST)
        room = np.where(chroma > 0, 1 - level, level) / np.maximum(np.abs(chroma), 1e-6)
        out[rows] = np.rint((level + chroma * np.minimum(room.min(2, keepdims=True), 1)) * white)
    return out


def tint(pixels: np.ndarray) -> np.ndarray:
    """Return the colour (3,) of most of the paper, scaled to luma 1: the median after strokes are closed."""
    height, width = (max(int(length * SAMPLE), 1) for length in pixels.shape[:2])
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    closed = cv2.morphologyEx(small, cv2.MORPH_CLOSE, np.ones((REACH, REACH), np.uint8)).astype(np.float32)
    light = cv2.cvtColor(closed, cv2.COLOR_RGB2GRAY)[..., None]
    return np.maximum(np.median(closed / np.maximum(light, 1), axis=(0, 1)), 0.1)
