"""Compares a restored page with the evened-out one: finds lost, recoloured and new marks."""

from dataclasses import dataclass

import cv2
import numpy as np

from fastdiff.apps.docclean.imaging.layers import HALF, Layers, channel_maximum

KEPT = 0.5  # least share of its contrast that a stroke keeps
SHIFT = 3  # pixels a side of the square in which a stroke may move
TINGE = 18  # grey levels between channels from which a stroke is coloured
HUE = 0.6  # share of its chroma by which the chroma of a stroke may change
PALER = 0.4  # share of its difference from the paper that the ground may lose, but at most
LIGHTER = 20.0  # grey levels; and
BARELY = 8.0  # grey levels that it may always lose
DARKER = 0.7  # share of its difference from the paper that the ground may gain, but at least
BLACKER = 24.0  # grey levels
SPREAD = 4  # pixels at half size: standard deviation of the Gaussian over which blurred ink may have spread
INK = 90  # grey levels from which ground may become black: it is ink
NEW = 56  # grey levels of a new stroke, and
FAINT = 0.25  # the largest share of them on the evened-out page


@dataclass(frozen=True)
class Changes:
    """Masks (H, W) of strokes that are gone, recoloured or new, and at half size of ground gone or recoloured."""

    gone: np.ndarray
    recoloured: np.ndarray
    new: np.ndarray
    ground_gone: np.ndarray
    ground_recoloured: np.ndarray
    paler: np.ndarray  # at half size: less ink in the neighbourhood; False for ink that became sharper


def compare(evened: Layers, restored: Layers) -> Changes:
    """Compare the layers of two working copies that were split with one paper."""
    square = np.ones((SHIFT, SHIFT), np.uint8)
    gone = cv2.dilate(restored.strokes, square) < KEPT * evened.strokes
    before, after = _chroma(evened.page), _chroma(restored.page)
    strength, change = channel_maximum(np.abs(before)), channel_maximum(np.abs(before - after))
    turned = ((strength > TINGE) & (change > HUE * strength)).astype(np.uint8)
    recoloured = cv2.resize(turned, gone.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    depth = channel_maximum(cv2.subtract(np.broadcast_to(evened.paper, evened.page.shape), evened.page))
    near = cv2.dilate(depth, np.ones((9, 9), np.uint8))
    new = (restored.strokes > NEW) & (near < FAINT * restored.strokes)
    return Changes(gone, recoloured, new, *_compare_grounds(evened, restored), _compare_ink(evened, restored))


def _compare_grounds(evened: Layers, restored: Layers) -> tuple[np.ndarray, np.ndarray]:
    """Return two masks: ground that lost its difference from the paper, and ground that changed its colour or became
    much darker.
    """
    paper = evened.paper.astype(np.float32)
    before, after = paper - evened.ground, paper - restored.ground
    ones = np.ones((1, 3), np.float32)
    kept = cv2.transform(before * after, ones) / np.maximum(cv2.transform(before * before, ones), 1)
    depth = evened.depth.astype(np.float32)
    aside = channel_maximum(np.abs(after - before * kept[..., None]))
    gone = depth * (1 - kept) > np.maximum(BARELY, np.minimum(PALER * depth, LIGHTER))
    darker = (depth < INK) & (depth * (kept - 1) > np.maximum(BLACKER, DARKER * depth))
    recoloured = aside > np.maximum(BLACKER / 2, PALER * depth)
    return gone, darker | (recoloured & ~gone)


def _compare_ink(evened: Layers, restored: Layers) -> np.ndarray:
    """Return the mask, bool at half size, of less ink within SPREAD than a share KEPT of the ink before."""
    before, after = (cv2.GaussianBlur(_ink(each), (0, 0), SPREAD) for each in (evened, restored))
    return after < KEPT * before


def _ink(layers: Layers) -> np.ndarray:
    """Return the mean darkness of the channels relative to the paper at half size, float32 (h, w)."""
    half = cv2.resize(layers.page, layers.depth.shape[::-1], interpolation=cv2.INTER_AREA)
    absorbed = cv2.subtract(np.broadcast_to(layers.paper, half.shape), half)
    return cv2.transform(absorbed.astype(np.float32), np.full((1, 3), 1 / 3, np.float32))


def _chroma(page: np.ndarray) -> np.ndarray:
    """Return the channels minus their mean at half size, the resolution of chroma in scans: float32 (h, w, 3)."""
    height, width = (max(length // HALF, 1) for length in page.shape[:2])
    half = cv2.resize(page, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    return half - cv2.transform(half, np.full((1, 3), 1 / 3, np.float32))[..., None]
