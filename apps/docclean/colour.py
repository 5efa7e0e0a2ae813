"""Colour on top of a grey restorer: paper goes white, ink and stamps keep their hue."""

import cv2
import numpy as np

SAMPLE = 1 / 8  # the paper's tint is measured on a copy this large
REACH = 5  # pixels of that copy: wider than the strokes of running text
STRONGEST = 5.0  # the most a colour is intensified
BAND = 512  # rows worked on at a time


def luma(pixels: np.ndarray) -> np.ndarray:
    """uint8 or uint16, RGB (H, W, 3) or grey (H, W) -> float32 (H, W) in [0, 1], Rec. 601."""
    return normalize(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if pixels.ndim == 3 else pixels)


def normalize(pixels: np.ndarray) -> np.ndarray:
    """Converts uint8 or uint16 of any shape to float32 in [0, 1], 1 = white."""
    return np.divide(pixels, np.iinfo(pixels.dtype).max, dtype=np.float32)


def repaint(pixels: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """The restored luma, float32 (H, W) in [0, 1], with the colours of `pixels` as seen on white paper; as `pixels`.

    A colour is its luma and a chroma beside it. The chroma follows the luma up or down, as far as there is room between
    black and white: what is restored to white is white.
    """
    white = np.iinfo(pixels.dtype).max
    balance = (1 / (white * tint(pixels))).astype(np.float32)
    out = np.empty_like(pixels)
    for top in range(0, len(pixels), BAND):
        rows = slice(top, top + BAND)
        level = restored[rows, :, None]
        seen = pixels[rows] * balance
        light = cv2.cvtColor(seen, cv2.COLOR_RGB2GRAY)[..., None]
        chroma = (seen - light) * np.minimum(level / np.maximum(light, 1e-3), STRONGEST)
        room = np.where(chroma > 0, 1 - level, level) / np.maximum(np.abs(chroma), 1e-6)
        out[rows] = np.rint((level + chroma * np.minimum(room.min(2, keepdims=True), 1)) * white)
    return out


def tint(pixels: np.ndarray) -> np.ndarray:
    """The colour (3,) of most of the paper, of luma 1: the median where strokes are closed."""
    height, width = (max(int(length * SAMPLE), 1) for length in pixels.shape[:2])
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    closed = cv2.morphologyEx(small, cv2.MORPH_CLOSE, np.ones((REACH, REACH), np.uint8)).astype(np.float32)
    light = cv2.cvtColor(closed, cv2.COLOR_RGB2GRAY)[..., None]
    return np.maximum(np.median(closed / np.maximum(light, 1), axis=(0, 1)), 0.1)
