"""Splits a page into its strokes and the ground behind them, both relative to its paper."""

from dataclasses import dataclass

import cv2
import numpy as np

from fastdiff.apps.docclean.imaging import paper

LONGEST = 2000  # pixels of the working copy, on the longer side
STROKE = 1 / 115  # of the longer side: width up to which a dark mark is a stroke
SOFT = 0.7  # standard deviation, in pixels, of the Gaussian that removes single noisy pixels
HALF = 2  # the working copy is so many times the size of the ground
WHITE = 0.97  # paper this bright in every channel is white


@dataclass(frozen=True)
class Layers:
    """The layers of a working copy of a page, RGB uint8 (H, W, 3).

    `strokes` (H, W) is the darkness of a pixel relative to its ground. `ground` and `depth` have half the size; `depth`
    is the difference of the ground from the paper, of the channel with the largest.
    """

    page: np.ndarray
    paper: np.ndarray  # (3,) uint8
    strokes: np.ndarray
    ground: np.ndarray
    depth: np.ndarray


def working_copy(pixels: np.ndarray) -> np.ndarray:
    """Return a page, uint8 or uint16, grey (H, W) or RGB (H, W, 3), as RGB uint8 with at most LONGEST pixels a side."""
    scale = min(1.0, LONGEST / max(pixels.shape[:2]))
    if scale < 1:
        height, width = (max(round(length * scale), 1) for length in pixels.shape[:2])
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    return pixels if pixels.ndim == 3 else cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)


def split(page: np.ndarray, colour: np.ndarray | None = None) -> Layers:
    """Split a working copy into layers. `colour` is that of its paper, uint8 (3,); by default it is measured."""
    colour = paper_colour(page) if colour is None else colour
    soft = cv2.GaussianBlur(page, (0, 0), SOFT)
    width = widest_stroke(page)
    ground = cv2.morphologyEx(soft, cv2.MORPH_CLOSE, np.ones((width, width), np.uint8))
    strokes = channel_maximum(cv2.subtract(ground, soft))
    height, width = (max(length // HALF, 1) for length in page.shape[:2])
    small = cv2.medianBlur(cv2.resize(ground, (width, height), interpolation=cv2.INTER_AREA), 3)
    depth = channel_maximum(cv2.absdiff(small, np.broadcast_to(colour, small.shape)))
    return Layers(page, colour, strokes, small, depth)


def widest_stroke(page: np.ndarray) -> int:
    """Return the width in pixels, odd, up to which a mark of a working copy is a stroke."""
    longer: int = max(page.shape[:2])
    return max(3, round(longer * STROKE)) | 1


def paper_colour(page: np.ndarray) -> np.ndarray:
    """Return the colour of the paper of an evened-out page, uint8 (3,): white, unless the paper is coloured or grey."""
    found = paper.measure_paper(page / np.float32(255)).colour
    white = np.ones(3, np.float32) if found.min() > WHITE else found
    return np.round(white * 255).astype(np.uint8)


def channel_maximum(page: np.ndarray) -> np.ndarray:
    """Return the largest of the three channels of each pixel, (H, W, 3) -> (H, W)."""
    red, green, blue = cv2.split(page)
    return cv2.max(cv2.max(red, green), blue)
