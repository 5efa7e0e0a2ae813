"""Regions of a page whose content was put back, and the blending that puts it back."""

from dataclasses import dataclass

import cv2
import numpy as np

FEATHER = 1 / 1500  # of the longer side: deviation in pixels of the blend at the edge of a region, at least 1
ROWS = 512  # blended at a time


@dataclass(frozen=True)
class Region:
    """A part of a page: `box` is left, top, right, bottom in pixels, the last two exclusive."""

    box: tuple[int, int, int, int]
    cause: str  # a short plain phrase: "coloured fill gone", "word changed"
    decision: str  # "put back" or "left"
    text: str | None = None  # for words: what was read before -> after


def put_back(cleaned: np.ndarray, evened: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Returns `cleaned` with `evened` where `mask`, bool (H, W), is True, blended softly just outside it.

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
