"""Regions of a page whose content cleaning changed, and the blending that puts content back."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

FEATHER = 1 / 1500  # of the longer side: standard deviation in pixels of the blend at the edge of a region, at least 1
ROWS = 512  # blended at a time

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels, the last two exclusive
Decision = Literal["put back", "left"]


@dataclass(frozen=True)
class Region:
    """A part of a page whose content cleaning changed, with its cause and the decision on it.

    `cause` is a short phrase ("area changed", "word changed", "digits"). `decision` is "put back" if the evenly lit
    page, linearly sharpened if it was blurred, replaced the cleaned one, "left" if the cleaned page stayed. `text` of a
    word is its reading before and after; of an ambiguous one, on the deblurred and on the linearly sharpened page.
    """

    box: Box
    cause: str
    decision: Decision
    text: str | None = None


@dataclass(frozen=True)
class RecoveredWord:
    """A word that an engine reads only on the cleaned page."""

    box: Box
    text: str


def holds_middle(box: tuple[float, float, float, float], of: Box) -> bool:
    """True if a box holds the middle of another one, which may reach beyond it."""
    left, top, right, bottom = box
    return left <= (of[0] + of[2]) // 2 < right and top <= (of[1] + of[3]) // 2 < bottom


def any_holds_middle(boxes: Iterable[Box], of: Box) -> bool:
    """True if one of the boxes holds the middle of a box."""
    return any(holds_middle(box, of) for box in boxes)


def put_back(cleaned: np.ndarray, evened: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return `cleaned` with `evened` in the region `mask`, bool (H, W), blended softly just outside it.

    Both pages are uint8 or uint16 of one shape, grey (H, W) or RGB (H, W, 3).
    """
    sigma = max(1.0, max(mask.shape) * FEATHER)
    reach = round(3 * sigma)
    out = cleaned.copy()
    for top in range(0, len(mask), ROWS):
        first, last = max(top - 2 * reach, 0), min(top + ROWS + 2 * reach, len(mask))
        part = mask[first:last]
        if not part.any():
            continue
        grown = cv2.dilate(part.astype(np.uint8), np.ones((2 * reach + 1,) * 2, np.uint8))
        share = cv2.GaussianBlur(grown.astype(np.float32), (0, 0), sigma)
        share[part] = 1
        rows = slice(top, min(top + ROWS, len(mask)))
        share = share[rows.start - first : rows.stop - first]
        share = share if cleaned.ndim == 2 else share[..., None]
        out[rows] = np.rint(cleaned[rows] * (1 - share) + evened[rows] * share)
    return out


def mask_of(boxes: Iterable[Box], shape: tuple[int, ...]) -> np.ndarray:
    """Return the mask of boxes, bool (H, W), on a page of this shape: True inside."""
    mask = np.zeros(shape[:2], np.bool_)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = True
    return mask
