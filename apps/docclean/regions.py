"""Regions of a page that cleaning changed, and how they go back to the evenly lit page."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

BLEND = 2.0  # pixels: standard deviation of the soft border between cleaned and put-back pixels
BAND = 512  # rows worked on at a time

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels; right and bottom are exclusive
Decision = Literal["put back", "left"]


@dataclass(frozen=True)
class Region:
    """A part of a page whose content cleaning changed, and what was done about it.

    `cause` is a short phrase ("photograph changed", "word changed", "digits"). `decision` is "put back" where the
    evenly lit page took the place of the cleaned one, "left" where the cleaned page stayed. `text` of a word is what
    was read before and after.
    """

    box: Box
    cause: str
    decision: Decision
    text: str | None = None


@dataclass(frozen=True)
class Recovered:
    """A word that could not be read on the page as it came and can be read on the cleaned page."""

    box: Box
    text: str


def put_back(cleaned: np.ndarray, evened: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Returns `cleaned` with the pixels of `evened` inside `mask`, softly blended across its border.

    `cleaned` and `evened` are uint8 or uint16 of one dtype, grey (H, W) or RGB (H, W, 3); `mask` is bool (H, W).
    Pixels inside the mask are those of `evened`, pixels more than three BLEND outside are those of `cleaned`.
    """
    if not mask.any():
        return cleaned
    margin = int(3 * BLEND)
    reach = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin - 1, 2 * margin - 1))
    out = cleaned.copy()
    for top in range(0, len(mask), BAND):
        bottom = min(top + BAND, len(mask))
        first, last = max(top - 2 * margin, 0), min(bottom + 2 * margin, len(mask))
        inside = mask[first:last]
        if not inside.any():
            continue
        near = cv2.dilate(inside.astype(np.uint8), reach)
        share = cv2.GaussianBlur(near.astype(np.float32), (0, 0), BLEND)
        share = np.where(inside, 1, share)[top - first : bottom - first]
        rows = slice(top, bottom)
        weight = share if cleaned.ndim == 2 else share[..., None]
        mixed = cleaned[rows] + (evened[rows].astype(np.float32) - cleaned[rows]) * weight
        out[rows] = np.rint(mixed)
    return out


def mask_of(boxes: list[Box], shape: tuple[int, ...]) -> np.ndarray:
    """True inside the boxes: bool (H, W) of a page of this shape."""
    mask = np.zeros(shape[:2], np.bool_)
    for left, top, right, bottom in boxes:
        mask[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = True
    return mask
