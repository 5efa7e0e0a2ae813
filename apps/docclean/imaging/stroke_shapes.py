"""Keeps the shapes of strokes: shapes of the given page, with the paper and contrast of the cleaned page.

Networks redraw letters: on a soft scan they make them bolder and close the eyes of "e". Near every stroke of the
cleaned page, `slope * evened + offset` replaces the output of the network. Slope and offset vary from line to line
only: a stroke may get darker and its paper white, but its shape stays.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from fastdiff.apps.docclean.imaging import illumination
from fastdiff.apps.docclean.imaging.layers import widest_stroke, working_copy

NEARBY = 0.3  # of the widest stroke: standard deviation of the Gaussian over which papers are compared
DARKER = 4  # power of its level with which ground counts there: the ground of a thick stroke is ink
FAINTEST = 0.05  # least share of the light that a stroke of the cleaned page absorbs
REACH = 2  # pixels of the working copy around a stroke that are taken from the evened-out page
LINE = 1 / 80  # of the longer side: standard deviation of the Gaussian over which contrast is compared
SLOPES = 1.0, 4.0  # least and most contrast of a cleaned stroke, times that of the evened-out one, and
ABOVE = 1.2  # most contrast, times that of the page's darkest strokes: pencil stays paler than print
ROWS = 512  # processed at a time


@dataclass(frozen=True)
class ToneTransfer:
    """The map from the ink of an evened-out page to that of the cleaned page, on a small copy.

    `slope` and `offset` are float32 (h, w, 3), the offset with white = 1. `near`, float32 (h, w) in [0, 1], is 1 near
    strokes of the cleaned page.
    """

    slope: np.ndarray
    offset: np.ndarray
    near: np.ndarray


def measure_tone(evened: np.ndarray, cleaned: np.ndarray) -> ToneTransfer:
    """Measure the map between two pages of one shape, uint8 or uint16, grey (H, W) or RGB (H, W, 3)."""
    pages = [working_copy(page) for page in (evened, cleaned)]
    base, target = (_ground(page) for page in pages)
    before, after = (_absorbed(*pair) for pair in zip(pages, (base, target), strict=True))
    side = 2 * REACH + 1
    near = cv2.dilate((after > FAINTEST).astype(np.uint8), np.ones((side, side), np.uint8)).astype(np.float32)
    sigma = LINE * max(near.shape)
    shared, strength = (cv2.GaussianBlur(near * before * each, (0, 0), sigma) for each in (after, before))
    contrast = shared / np.maximum(strength, 1e-6)  # by least squares
    dark = near * before**3
    most = ABOVE * float((dark * after).sum()) / max(float((dark * before).sum()), 1e-6)
    contrast = np.clip(np.minimum(contrast, most), *SLOPES)[..., None]
    lighter = _lighter(base, target)
    soft = np.maximum(near, cv2.GaussianBlur(near, (0, 0), 1))
    return ToneTransfer(contrast * lighter, (1 - contrast) * lighter * base / 255, soft)


def keep_shapes(evened: np.ndarray, cleaned: np.ndarray) -> np.ndarray:
    """Return the cleaned page with the stroke shapes of the evened-out page; arguments as for `measure_tone`."""
    return apply_tone(measure_tone(evened, cleaned), evened, cleaned)


def with_ground(page: np.ndarray, cleaned: np.ndarray) -> np.ndarray:
    """Return the page with the ground of the cleaned page behind its strokes; arguments as for `measure_tone`."""
    lighter = _lighter(*(_ground(working_copy(each)) for each in (page, cleaned)))
    return apply_tone(ToneTransfer(lighter, np.zeros_like(lighter), np.ones(lighter.shape[:2], np.float32)), page)


def apply_tone(tone: ToneTransfer, evened: np.ndarray, cleaned: np.ndarray | None = None) -> np.ndarray:
    """Apply the map to the evened-out page.

    With `cleaned`, the result is the cleaned page away from its strokes; without it, the map applies everywhere.
    """
    height, width = evened.shape[:2]
    white = np.iinfo(evened.dtype).max
    slope, offset = tone.slope, tone.offset
    if evened.ndim == 2:
        slope, offset = slope.mean(axis=2), offset.mean(axis=2)
    out = np.empty_like(evened)
    for top in range(0, height, ROWS):
        rows = slice(top, min(top + ROWS, height))
        page = evened[rows] * illumination.upsampled_rows(slope, rows, height, width)
        page += white * illumination.upsampled_rows(offset, rows, height, width)
        if cleaned is not None:
            share = illumination.upsampled_rows(tone.near, rows, height, width)
            share = share if page.ndim == 2 else share[..., None]
            page = page * share + cleaned[rows] * (1 - share)
        out[rows] = np.rint(np.clip(page, 0, white))
    return out


def _ground(page: np.ndarray) -> np.ndarray:
    """Return the ground behind the strokes of a working copy: float32 (h, w, 3), at least 1."""
    width = widest_stroke(page)
    calm = cv2.medianBlur(page, 3)  # closing alone would spread the brightest pixels of noise; the median keeps edges
    closed = cv2.morphologyEx(calm, cv2.MORPH_CLOSE, np.ones((width, width), np.uint8))
    return np.maximum(closed, 1).astype(np.float32)


def _lighter(base: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the ratio of the lightness of ground `target` to `base`, both float32 (h, w, 3), measured on the paper
    nearby.
    """
    sigma = NEARBY * widest_stroke(base)
    weight = (target / 255) ** DARKER
    new, old = (cv2.GaussianBlur(weight * ground, (0, 0), sigma) for ground in (target, base))
    ratio: np.ndarray = new / np.maximum(old, 1e-3)
    return ratio


def _absorbed(page: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """Return the share of the light that strokes absorb, averaged over the channels: float32 (h, w)."""
    share = 1 - page.astype(np.float32) / ground
    return np.maximum(cv2.transform(share, np.full((1, 3), 1 / 3, np.float32)), 0)
