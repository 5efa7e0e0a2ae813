"""Whether a picture shows a background, by colour distance to the nearest true one; applications use other measures."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import product

import cv2
import numpy as np

from fastdiff.training.edit.render import background
from fastdiff.training.edit.scenes import KINDS, Background, Pattern

PLAIN_DB, PATTERNED_DB = 17.0, 13.5  # PSNR from which on a background is there; half of both colours is below
PERIODS, SHIFTS = np.arange(26.0, 51.0, 2.0), 12  # pixels, and places of a period
COARSE = 32  # pixels at which the nearest is looked for


def nearest(picture: np.ndarray, region: np.ndarray, wished: Background) -> float:
    """PSNR in dB of a picture (SIDE, SIDE, 3) uint8 to the nearest true background, within a region of bool."""
    found = _small(picture.astype(np.float32))[None]
    weights = _small(region.astype(np.float32))[None, ..., None]
    errors = (weights * (_true(wished) - found) ** 2).sum((1, 2, 3)) / (3 * weights.sum())
    return float(-10 * np.log10(max(float(errors.min()) / 255**2, 1e-6)))


def is_shown(picture: np.ndarray, region: np.ndarray, wished: Background, before: Background) -> bool:
    """True if the wished background is there, nearer than the one before, other kinds, and either colour alone."""
    least = PLAIN_DB if wished.kind in ("plain", "gradient") else PATTERNED_DB
    reached = nearest(picture, region, wished)
    others = [] if wished == before else [before]
    if wished.kind != "plain":
        others += [Background("plain", (colour,)) for colour in wished.colours]
        others += [replace(wished, kind=kind) for kind in KINDS if kind not in ("plain", wished.kind)]
    return reached >= least and all(reached > nearest(picture, region, other) for other in others)


@cache
def _true(described: Background) -> np.ndarray:
    """The true backgrounds of this description, (N, COARSE, COARSE, 3)."""
    return np.stack([_small(background(described, pattern)) for pattern in _patterns(described.kind)])


def _patterns(kind: str) -> Iterator[Pattern]:
    if kind in ("plain", "gradient"):
        yield from (Pattern(45.0 * turn, 30.0, 0.0) for turn in range(1 if kind == "plain" else 8))
        return
    for turn, period, shift in product(range(4), PERIODS, range(SHIFTS)):
        yield Pattern(45.0 * turn, float(period), float(period) * shift / SHIFTS)


def _small(picture: np.ndarray) -> np.ndarray:
    return cv2.resize(np.ascontiguousarray(picture, np.float32), (COARSE, COARSE), interpolation=cv2.INTER_AREA)
