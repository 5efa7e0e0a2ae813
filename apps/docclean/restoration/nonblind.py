"""Deblurs pages whose blur kernel is known, with or without a restoration by a network (non-blind deconvolution)."""

import cv2
import numpy as np
from scipy import fft

# With noise of NOISE (standard deviation, white = 1) these weights are best by PSNR on 16 crops of blurred pages. Less
# smooth Wiener filters read better on clean blurred pages, and worse on grainy ones. Weights grow with the noise.
NOISE = 3 / 255
PRIOR = 0.003  # weight of the squared distance to the network's restoration
TV = 0.0005  # weight of total variation
SMOOTH = 0.001  # weight of the squared gradient in the Wiener filter, and
RIDGE = 0.003  # of the squared value
CLIPPED = 2.9  # the variance of noise on white paper, which is clipped, is less by this factor
NOISIEST = 100.0  # times NOISE squared: more is no noise
FINE, COARSE = 1.0, 2.0  # pixels: standard deviations of the Gaussians between which noise is measured
NEARBY = 9  # pixels: side of the squares in which it is measured
FEWEST = 1000  # pixels of paper on which it can be measured
COUPLING = 0.05  # of the alternating direction method of multipliers, and
STEPS = 10  # of it


def noise_variance(page: np.ndarray, empty: np.ndarray) -> float | None:
    """Return the variance of a page's noise in units of NOISE squared, at least 1; page float32 (H, W), white = 1.

    It is measured on empty paper, bool (H, W), at the frequencies at which deconvolution strengthens it most: grain and
    JPEG leave little noise at the highest. The median over the paper leaves out specks and folds. None without enough
    empty paper.
    """
    if np.count_nonzero(empty) < FEWEST:
        return None
    squares = cv2.blur(_band(page) ** 2, (NEARBY, NEARBY))
    point = np.zeros((4 * NEARBY + 1,) * 2, np.float32)
    point[2 * NEARBY, 2 * NEARBY] = 1
    variance = float(np.median(squares[empty])) / float(np.sum(_band(point) ** 2))
    return min(max(CLIPPED * variance / NOISE**2, 1.0), NOISIEST)


def consistent(page: np.ndarray, restored: np.ndarray, kernel: np.ndarray, variance: float = 1.0) -> np.ndarray:
    """Return the image x in [0, 1] that minimises |k * x - page|^2 / 2 + PRIOR |x - restored|^2 / 2 + TV(x).

    All are float32 (h, w); PRIOR and TV are multiplied by `variance`. By the alternating direction method of
    multipliers, with anisotropic total variation.
    """
    pad = len(kernel)
    given, prior = _padded(page, pad), fft.rfft2(_padded(restored, pad))
    shape = given.shape
    blur, (down, right) = _transfer(kernel, shape), _gradients(shape)
    target = np.conj(blur) * fft.rfft2(given) + PRIOR * variance * prior
    data = np.abs(blur) ** 2 + PRIOR * variance
    total = data + COUPLING * (np.abs(down) ** 2 + np.abs(right) ** 2 + 1)
    least = TV * variance / COUPLING
    x = fft.irfft2(target / data, s=shape)
    duals = np.zeros((3, *shape), np.float32)
    for _ in range(STEPS):
        split = np.stack([x - np.roll(x, 1, 0), x - np.roll(x, 1, 1), x]) + duals
        kept = np.concatenate([np.sign(split[:2]) * np.maximum(np.abs(split[:2]) - least, 0), np.clip(split[2:], 0, 1)])
        duals = split - kept
        dy, dx, inside = kept - duals
        pulled = dy - np.roll(dy, -1, 0) + dx - np.roll(dx, -1, 1) + inside
        x = fft.irfft2((target + COUPLING * fft.rfft2(pulled)) / total, s=shape)
    return _cropped(x, page.shape, pad)


def wiener(page: np.ndarray, kernel: np.ndarray, variance: float = 1.0) -> np.ndarray:
    """Return a page, float32 (h, w), after the Wiener filter of the kernel, clipped to [0, 1]."""
    pad = len(kernel)
    given = _padded(page, pad)
    blur, (down, right) = _transfer(kernel, given.shape), _gradients(given.shape)
    power = np.abs(blur) ** 2 + variance * (SMOOTH * (np.abs(down) ** 2 + np.abs(right) ** 2) + RIDGE)
    x = fft.irfft2(np.conj(blur) * fft.rfft2(given) / power, s=given.shape) * (1 + RIDGE * variance)  # keeps the paper
    return _cropped(x, page.shape, pad)


def _band(page: np.ndarray) -> np.ndarray:
    """Return the details of a page between FINE and COARSE."""
    fine, coarse = (cv2.GaussianBlur(page, (0, 0), width) for width in (FINE, COARSE))
    details: np.ndarray = fine - coarse
    return details


def _padded(page: np.ndarray, pad: int) -> np.ndarray:
    """Return the page with mirrored margins of at least `pad`, of a size whose transform is fast."""
    extra = [fft.next_fast_len(length + 2 * pad, real=True) - length - pad for length in page.shape]
    return np.pad(page, ((pad, extra[0]), (pad, extra[1])), mode="symmetric").astype(np.float32)


def _cropped(padded: np.ndarray, shape: tuple[int, ...], pad: int) -> np.ndarray:
    """Return the page without its margins, clipped to [0, 1]."""
    clipped: np.ndarray = np.clip(padded[pad : pad + shape[0], pad : pad + shape[1]], 0, 1)
    return clipped


def _transfer(kernel: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the transfer function of a kernel of odd sides."""
    point = np.zeros(shape, np.float32)
    point[: kernel.shape[0], : kernel.shape[1]] = kernel
    shift = tuple(-(side // 2) for side in kernel.shape)
    spectrum: np.ndarray = fft.rfft2(np.roll(point, shift, (0, 1)))
    return spectrum


def _gradients(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the transfer functions of the differences to the pixel above and to the pixel on the left."""
    down, right = np.zeros((3, 3)), np.zeros((3, 3))
    down[1, 1] = right[1, 1] = 1
    down[2, 1] = right[1, 2] = -1
    return _transfer(down, shape), _transfer(right, shape)
