"""Measures how well the background of a scene shows wished colours in a wished kind of pattern."""

from dataclasses import dataclass
from functools import cache
from itertools import product

import cv2
import numpy as np

from fastdiff.apps.edit.scene_prompt import PLAIN, Background
from fastdiff.models.scene_colours import COLOURS

SIDE = 128  # pixels of a scene
COARSE = 32  # pixels at which patterns are compared
PERIODS = np.arange(24.0, 53.0, 2.0)  # pixels of a scene; scenes have 28 to 48
PHASES = 12  # of a period
PATTERNED = ("striped", "dotted", "checkered")  # kinds
DOT = 0.3  # radius of dots, of a period
LEAST_SPAN = 0.6  # change of a gradient across the picture, of the whole way from one colour to the other
LEAST_CONTRAST = 0.15  # deviation of the share of the first colour; two plain halves have 0.5


@dataclass(frozen=True)
class BackgroundFit:
    """The root mean square `distance` of colours in levels of 255, and the correlation with the nearest `pattern`.

    The correlation is at most 1, and 1 for plain backgrounds. `rival` is the largest correlation with patterns of
    another kind, 0 for plain backgrounds and gradients.
    """

    distance: float
    pattern: float
    rival: float = 0.0

    def is_pattern(self, least: float) -> bool:
        """True if the pattern correlates at least so much, and no other kind more."""
        return self.pattern >= max(least, self.rival)


def fit(picture: np.ndarray, region: np.ndarray, wished: Background) -> BackgroundFit:
    """Measure the background of a picture (SIDE, SIDE, 3) in [0, 255] within a region (SIDE, SIDE) of bool.

    A gradient may have any colour between its two; other patterns have one of the two in every pixel, and their place
    and period are free.
    """
    first, *second = (np.array(COLOURS[name], np.float32) for name in wished.colours)
    pixels = picture.astype(np.float32)
    if wished.kind == PLAIN:
        return BackgroundFit(_mean(np.linalg.norm(pixels - first, axis=-1), region), 1.0)
    between = first - second[0]
    share = ((pixels - second[0]) @ between / (between @ between)).clip(0, 1)
    ideal = share if wished.kind == "gradient" else (share > 0.5).astype(np.float32)
    distance = np.linalg.norm(pixels - (second[0] + ideal[..., None] * between), axis=-1)
    if wished.kind == "gradient":
        return BackgroundFit(_mean(distance, region), _slope(share, region))
    correlations = {kind: _pattern(share, region, kind) for kind in PATTERNED}
    pattern = correlations.pop(wished.kind)
    return BackgroundFit(_mean(distance, region), pattern, max(correlations.values()))


def _mean(distance: np.ndarray, region: np.ndarray) -> float:
    return float(np.sqrt(np.square(distance[region]).mean()))


def _slope(share: np.ndarray, region: np.ndarray) -> float:
    """Correlation of a share with the plane that fits it best; lower if the plane is nearly level."""
    rows, columns = (axis[region] / (SIDE - 1) for axis in np.mgrid[:SIDE, :SIDE])
    values = share[region]
    design = np.column_stack([rows, columns, np.ones_like(rows)])
    plane = np.linalg.lstsq(design, values, rcond=None)[0]
    span = float(np.abs(plane[:2]).sum())
    error, spread = values - design @ plane, values - values.mean()
    explained = 1 - float(error @ error) / max(float(spread @ spread), 1e-6)
    return float(np.sqrt(max(explained, 0.0))) * min(1.0, span / LEAST_SPAN)


def _pattern(share: np.ndarray, region: np.ndarray, kind: str) -> float:
    """Largest correlation of a share with a pattern of the kind; lower if the share hardly varies."""
    weights = cv2.resize(region.astype(np.float32), (COARSE, COARSE), interpolation=cv2.INTER_AREA).ravel()
    values: np.ndarray = cv2.resize(share.astype(np.float32), (COARSE, COARSE), interpolation=cv2.INTER_AREA).ravel()
    shares = weights / max(float(weights.sum()), 1e-6)
    bank = patterns(kind)
    values = values - shares @ values
    deviation = float(np.sqrt(shares @ values**2))
    spread = np.sqrt(np.maximum(_squares(kind) @ shares - (bank @ shares) ** 2, 1e-6))
    correlation = float((bank @ (shares * values) / spread).max() / max(deviation, 1e-3))
    return correlation * min(1.0, deviation / LEAST_CONTRAST)


@cache
def patterns(kind: str) -> np.ndarray:
    """Return patterns of a kind at all directions, periods and phases: the share of the first colour, (N, COARSE^2)."""
    axis = (np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2)[2::4]  # one of four pixels
    angles = (0, 45, 90, 135) if kind == "striped" else (0, 45)
    shifts = np.arange(PHASES) / PHASES
    found = []
    for angle, period in product(np.deg2rad(angles), PERIODS):
        along = np.cos(angle) * axis[None] + np.sin(angle) * axis[:, None]
        across = np.cos(angle) * axis[:, None] - np.sin(angle) * axis[None]
        u, v = (((line / period + shifts[:, None, None]) % 1 - 0.5) * period for line in (along, across))
        if kind == "striped":
            found.append(_soft(period / 4 - abs(u)))
            continue
        u, v = u[:, None], v[None]
        if kind == "dotted":
            shares = _soft(np.hypot(u, v) - DOT * period)
        else:
            first, second = _soft(period / 4 - abs(u)), _soft(period / 4 - abs(v))
            shares = first + second - 2 * first * second
        found.append(shares.reshape(-1, *shares.shape[-2:]))
    return np.concatenate(found).reshape(-1, COARSE**2)


@cache
def _squares(kind: str) -> np.ndarray:
    return patterns(kind) ** 2


def _soft(distance: np.ndarray) -> np.ndarray:
    """Edges are as soft as the coarse grid, whose pixels are 4 of a scene wide."""
    return (0.5 + distance / 4).clip(0, 1).astype(np.float32)
