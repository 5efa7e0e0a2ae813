"""Whether a picture shows a background, by colour distance to the nearest true one; applications use other measures.

The place of a pattern is free, along its lines and across them: nobody asks for it.
"""

from dataclasses import replace
from functools import cache
from itertools import product

import cv2
import numpy as np

from fastdiff.models.scene_colours import COLOURS
from fastdiff.training.edit.render import SIDE
from fastdiff.training.edit.scenes import KINDS, Background

PLAIN_DB, PATTERNED_DB = 17.0, 13.5  # PSNR from which on a background is there; half of both colours is below
PERIODS, PLACES = np.arange(26.0, 51.0, 2.0), 8  # pixels, and places of a period in each direction
DOT = 0.3  # radius of dots, of a period
COARSE = 32  # pixels at which the nearest is looked for


def nearest(picture: np.ndarray, region: np.ndarray, wished: Background) -> float:
    """PSNR in dB of a picture (SIDE, SIDE, 3) uint8 to the nearest true background, within a region of bool."""
    pixels, weights = _small(picture.astype(np.float32)).reshape(-1, 3), _small(region.astype(np.float32)).ravel()
    first, *second = (np.array(COLOURS[name], np.float32) for name in wished.colours)
    from_second = pixels - (second[0] if second else first)
    errors = weights @ (from_second**2).sum(1)
    if second:
        way, shares = first - second[0], _shares(wished.kind)
        errors = errors + shares**2 @ weights * (way @ way) - 2 * shares @ (weights * (from_second @ way))
    least = float(np.min(errors)) / (3 * float(weights.sum()))
    return float(-10 * np.log10(max(least / 255**2, 1e-6)))


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
def _shares(kind: str) -> np.ndarray:
    """Shares of the first colour, (N, COARSE^2), of the backgrounds of a kind."""
    axis = np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2
    drawn = []
    for angle in np.deg2rad(np.arange(0, 360, 45) if kind == "gradient" else (0, 45, 90, 135)):
        along, across = (
            np.cos(turned) * axis[None] + np.sin(turned) * axis[:, None] for turned in (angle, angle + np.pi / 2)
        )
        if kind == "gradient":
            drawn.append(0.5 - along / np.ptp(along))
            continue
        places = range(1) if kind == "striped" else range(PLACES)
        for period, first, second in product(PERIODS, range(PLACES), places):
            u, v = (
                ((line / period + place / PLACES) % 1 - 0.5) * period
                for line, place in ((along, first), (across, second))
            )
            drawn.append(_pattern(kind, u, v, period))
    return np.stack([_small(share).ravel() for share in drawn])


def _pattern(kind: str, u: np.ndarray, v: np.ndarray, period: float) -> np.ndarray:
    """The share of the first colour at distances `u` and `v` from the middle of a period, in pixels."""
    if kind == "dotted":
        return _soft(np.hypot(u, v) - DOT * period)  # the dots have the second colour
    first, second = (_soft(period / 4 - abs(line)) for line in (u, v))
    return first if kind == "striped" else first + second - 2 * first * second


def _soft(distance: np.ndarray) -> np.ndarray:
    return (0.5 + distance).clip(0, 1)


def _small(picture: np.ndarray) -> np.ndarray:
    return cv2.resize(np.ascontiguousarray(picture, np.float32), (COARSE, COARSE), interpolation=cv2.INTER_AREA)
