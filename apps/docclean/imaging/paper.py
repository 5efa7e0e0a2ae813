"""Measures the colour of a page's paper; dividing the page by this colour makes its paper white."""

import colorsys
from dataclasses import dataclass

import cv2
import numpy as np

SAMPLE = 1 / 8  # scale of the copy on which the paper is measured
REACH = 5  # pixels of that copy: wider than the strokes of running text
BINS = 64  # of lightness
NEAR = 2  # bins to either side that count as one lightness
LEAST = 0.2  # share of the page with the lightness of its paper, at least
DARKEST = 0.3  # lightness of paper
BRIGHTER = 1.25  # times the lightness of paper: brighter pixels are no paper, and
FEW = 0.02  # a larger share of them shows that no paper was found
WARM = (20.0, 65.0)  # degrees of hue in which aged paper lies
WARM_TINT = 0.28  # least saturation of coloured paper of a warm hue: paler paper is neutral and yellowed
COLD_TINT = 0.15  # least saturation of coloured paper of any other hue: paler paper has a drifted white balance
AGED = 0.7  # darker warm paper is brown with age, whatever its saturation


@dataclass(frozen=True)
class Paper:
    """The colour of most of a page's paper, RGB float32 (3,) in (0, 1]; white if no paper was found."""

    colour: np.ndarray

    @property
    def tinted(self) -> bool:
        """True for coloured paper, False for white paper that is aged or badly lit."""
        hue, saturation, value = colorsys.rgb_to_hsv(*self.colour.tolist())
        if WARM[0] <= 360 * hue <= WARM[1]:
            return saturation >= WARM_TINT and value >= AGED
        return saturation >= COLD_TINT


def measure_paper(page: np.ndarray) -> Paper:
    """Measure the paper of a page, grey (H, W) or RGB (H, W, 3), uint8, uint16 or float32 in [0, 1].

    Paper is the brightest lightness that a share LEAST of the page has between its strokes. The page has none if a
    share FEW of its pixels is more than BRIGHTER times as bright.
    """
    height, width = (max(int(length * SAMPLE), 1) for length in page.shape[:2])
    full = 1.0 if page.dtype == np.float32 else float(np.iinfo(page.dtype).max)
    small = cv2.resize(page, (width, height), interpolation=cv2.INTER_AREA) / np.float32(full)
    small = small if small.ndim == 3 else np.repeat(small[..., None], 3, axis=-1)
    closed = cv2.morphologyEx(small, cv2.MORPH_CLOSE, np.ones((REACH, REACH), np.uint8))
    light = cv2.cvtColor(closed, cv2.COLOR_RGB2GRAY)
    counts = np.bincount((light * (BINS - 1)).round().astype(int).ravel(), minlength=BINS)
    near = np.convolve(counts, np.ones(2 * NEAR + 1), "same") / light.size
    peaks = (near >= LEAST) & (near >= cv2.dilate(near, np.ones((2 * NEAR + 1, 1))).ravel())
    peaks[: int(DARKEST * BINS)] = False
    white = Paper(np.ones(3, np.float32))
    if not peaks.any():
        return white
    level = np.flatnonzero(peaks)[-1] / (BINS - 1)
    colour = np.median(closed[np.abs(light - level) <= (NEAR + 0.5) / (BINS - 1)], axis=0)
    brightest = cv2.cvtColor(page, cv2.COLOR_RGB2GRAY) if page.ndim == 3 else page
    if np.mean(brightest > BRIGHTER * level * full) > FEW:
        return white
    return Paper(np.clip(colour, 0.05, 1).astype(np.float32))
