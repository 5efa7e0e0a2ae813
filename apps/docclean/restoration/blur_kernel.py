"""Estimates the blur kernel of a page from the page and its restoration by a network.

The network is right about most letters, if not about all. The kernel that best maps its restoration to the given page
is therefore the blur of the page: wrong letters do not agree on another one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy import fft

STEPS = 150  # of the accelerated proximal gradient method (Beck & Teboulle 2009, FISTA)
RIDGE = 1e-3  # added to the diagonal, relative to it
FAINT = 0.03  # of the largest element: smaller ones are noise


@dataclass(frozen=True)
class NormalEquations:
    """Least squares for a kernel of `side` x `side` pixels: autocorrelation and cross-correlation of the gradients.

    `auto` (2 * side - 1, 2 * side - 1) has the zero lag in its centre, `cross` is (side, side).
    """

    auto: np.ndarray
    cross: np.ndarray

    def plus(self, other: "NormalEquations", weight: float) -> "NormalEquations":
        """Return the sum with `weight` times the other equations."""
        return NormalEquations(self.auto + weight * other.auto, self.cross + weight * other.cross)

    def solve(self, start: np.ndarray | None = None) -> np.ndarray:
        """Return the kernel (side, side): not negative, of sum 1, one connected piece; without strokes, a point."""
        side = len(self.cross)
        energy = self.auto[side - 1, side - 1]
        if energy <= 0:
            return _point(side)
        shape = (fft.next_fast_len(2 * side - 1, real=True),) * 2
        lags = np.zeros(shape)
        lags[: 2 * side - 1, : 2 * side - 1] = self.auto / energy
        spectrum = fft.rfft2(np.roll(lags, (1 - side, 1 - side), (0, 1)))
        steepest = float(np.abs(spectrum).max()) + RIDGE
        kernel = ahead = _point(side) if start is None else start
        momentum = 1.0
        for _ in range(STEPS):
            product = fft.irfft2(fft.rfft2(ahead, s=shape) * spectrum, s=shape)[:side, :side]
            new = np.maximum(ahead - (product - self.cross / energy + RIDGE * ahead) / steepest, 0)
            following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
            ahead = new + (momentum - 1) / following * (new - kernel)
            kernel, momentum = new, following
        return _one_piece(kernel)


def normal_equations(page: np.ndarray, restored: np.ndarray, side: int) -> NormalEquations:
    """Return the equations of one part of a page: both float32 (h, w) in [0, 1]; `side` is odd."""
    shape = tuple(fft.next_fast_len(length + side, real=True) for length in page.shape)
    lags, shifts = np.arange(1 - side, side), np.arange(-(side // 2), side // 2 + 1)
    auto, cross = np.zeros((len(lags),) * 2), np.zeros((side, side))
    for axis in (0, 1):
        sharp, soft = (fft.rfft2(np.diff(each, axis=axis), s=shape) for each in (restored, page))
        auto += fft.irfft2(np.abs(sharp) ** 2, s=shape)[np.ix_(lags, lags)]
        cross += fft.irfft2(np.conj(sharp) * soft, s=shape)[np.ix_(shifts, shifts)]
    return NormalEquations(auto, cross)


def mean_equations(parts: Sequence[NormalEquations]) -> NormalEquations:
    """Return the mean of the equations of all parts of a page."""
    total = parts[0]
    for part in parts[1:]:
        total = total.plus(part, 1)
    return NormalEquations(total.auto / len(parts), total.cross / len(parts))


def _point(side: int) -> np.ndarray:
    kernel = np.zeros((side, side))
    kernel[side // 2, side // 2] = 1
    return kernel


def _one_piece(kernel: np.ndarray) -> np.ndarray:
    """Return the heaviest connected piece of a kernel, with sum 1; a point if the kernel is empty."""
    kernel = np.where(kernel < FAINT * kernel.max(), 0, kernel)
    if not kernel.any():
        return _point(len(kernel))
    _, labels = cv2.connectedComponents((kernel > 0).astype(np.uint8))
    weights = np.bincount(labels.ravel(), kernel.ravel())
    kernel = np.where(labels == weights.argmax(), kernel, 0)
    whole: np.ndarray = kernel / kernel.sum()
    return whole
