"""Compares a restored page with the evened-out one: what is gone, recoloured or new."""

from dataclasses import dataclass

import cv2
import numpy as np

from fastdiff.apps.docclean.guard_layers import Layers

KEPT = 0.5  # share of its contrast that a stroke keeps at least
SHIFT = 3  # pixels a side of the square in which a stroke may move
TINGE = 18  # grey levels between channels from which a stroke is coloured
HUE = 0.6  # share of its chroma by which the chroma of a stroke may change
LEVEL = 11  # grey levels by which the ground may change
NEW = 56  # grey levels of a stroke that is not on the evened-out page, and
FAINT = 0.25  # the share of them that it has there


@dataclass(frozen=True)
class Changes:
    """Masks (H, W) of strokes that are gone, recoloured or new, and at half size of ground that changed."""

    gone: np.ndarray
    recoloured: np.ndarray
    new: np.ndarray
    ground: np.ndarray


def compare(evened: Layers, restored: Layers) -> Changes:
    """Compares the layers of two working copies, split with one paper."""
    square = np.ones((SHIFT, SHIFT), np.uint8)
    seen = _darkness(evened)
    left = cv2.dilate(_darkness(restored), square)
    gone = left < KEPT * seen
    before, after = _chroma(evened.page), _chroma(restored.page)
    strength = np.abs(before).max(axis=2)
    change = np.abs(before - after).max(axis=2)
    recoloured = (strength > TINGE) & (change > HUE * strength)
    depth = cv2.subtract(np.broadcast_to(evened.paper, evened.page.shape), evened.page).max(axis=2)
    near = cv2.dilate(depth, np.ones((9, 9), np.uint8))
    new = (restored.strokes > NEW) & (near < FAINT * restored.strokes)
    ground = cv2.absdiff(evened.ground, restored.ground).max(axis=2) > LEVEL
    return Changes(gone, recoloured, new, ground)


def _darkness(layers: Layers) -> np.ndarray:
    return layers.strokes


def _chroma(page: np.ndarray) -> np.ndarray:
    """The channels less their mean, float32, a little softened: chroma of a scan is coarse."""
    soft = cv2.boxFilter(page, cv2.CV_32F, (3, 3))
    return soft - soft.mean(axis=2, keepdims=True)
