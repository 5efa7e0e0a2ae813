"""Colour on top of a grey restorer: paper goes white, ink and stamps keep their hue."""

from collections.abc import Iterator

import cv2
import numpy as np

PAPER_SCALE = 1 / 8  # the paper's colour is estimated on a copy this large
PAPER_REACH = 1 / 30  # of the page's width: wider than any stroke
STRONGEST = 5.0  # the most a pixel is brightened or darkened
BAND = 512  # rows worked on at a time


def luma(pixels: np.ndarray) -> np.ndarray:
    """uint8 or uint16, RGB (H, W, 3) or grey (H, W) -> float32 (H, W) in [0, 1], Rec. 601."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if pixels.ndim == 3 else pixels
    return np.divide(grey, np.iinfo(pixels.dtype).max, dtype=np.float32)


def repaint(pixels: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """The restored luma, float32 (H, W) in [0, 1], with the colours of `pixels` as seen on white paper; as `pixels`."""
    white = np.iinfo(pixels.dtype).max
    out = np.empty_like(pixels)
    for rows, ground in _bands(paper(pixels), pixels.shape):
        flat = np.minimum(pixels[rows] / np.maximum(ground, 1), 1).astype(np.float32)
        light = cv2.cvtColor(flat, cv2.COLOR_RGB2GRAY)
        ratio = np.clip((restored[rows] + 0.02) / (light + 0.02), 1 / STRONGEST, STRONGEST)
        painted = np.clip(flat * ratio[..., None], 0, 1)
        # Where the colour cannot get as bright or dark as the restorer says, grey says it.
        painted += (restored[rows] - cv2.cvtColor(painted, cv2.COLOR_RGB2GRAY))[..., None]
        out[rows] = np.rint(np.clip(painted, 0, 1) * white)
    return out


def paper(pixels: np.ndarray) -> np.ndarray:
    """The colour of the paper, in the units of `pixels`, float32 on a small copy: a wide closing, smoothed."""
    small = cv2.resize(pixels, None, fx=PAPER_SCALE, fy=PAPER_SCALE, interpolation=cv2.INTER_AREA)
    reach = max(3, int(small.shape[1] * PAPER_REACH)) | 1
    closed = cv2.morphologyEx(small, cv2.MORPH_CLOSE, np.ones((reach, reach), np.uint8))
    return cv2.blur(closed.astype(np.float32), (reach, reach))


def _bands(small: np.ndarray, shape: tuple[int, ...]) -> Iterator[tuple[slice, np.ndarray]]:
    """Bands of rows with `small` enlarged to each of them, as one bilinear enlargement to `shape` would be."""
    height, width = shape[:2]
    y, x = np.arange(small.shape[0]), np.arange(small.shape[1])
    columns = np.clip((np.arange(width) + 0.5) * len(x) / width - 0.5, 0, len(x) - 1).astype(np.float32)
    for top in range(0, height, BAND):
        rows = np.arange(top, min(top + BAND, height))
        places = np.clip((rows + 0.5) * len(y) / height - 0.5, 0, len(y) - 1).astype(np.float32)
        grid_x, grid_y = np.meshgrid(columns, places)
        yield slice(rows[0], rows[-1] + 1), cv2.remap(small, grid_x, grid_y, cv2.INTER_LINEAR)
