"""Distances of a page from its truth: measures of binarisation (DIBCO) and of grey restoration.

Ink masks are bool (H, W), True for ink. Grey pages are floats (H, W) in [0, 1], 1 being white. The mean of a measure
over pages is the mean of its values per page.
"""

import numpy as np
import torch
from scipy import ndimage
from skimage.morphology import skeletonize
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from fastdiff.solvers.errors import UsageError

PSNR_CEILING = 100.0  # dB for identical pages, so that means stay finite


def f_measure(truth: np.ndarray, result: np.ndarray) -> float:
    """Return the harmonic mean of ink precision and recall, in percent; 100 for two masks without ink."""
    _check_ink(truth, result)
    return 100 * _harmonic(_share(truth & result, result), _share(truth & result, truth))


def pseudo_f_measure_skeleton(truth: np.ndarray, result: np.ndarray) -> float:
    """Return the F-measure with recall counted on the skeleton of the truth, in percent.

    The version of the H-DIBCO 2010 to DIBCO 2012 contests (Pratikakis, Gatos, Ntirogiannis); not to be confused with
    the weighted pseudo F-measure of 2013 and later.
    """
    _check_ink(truth, result)
    skeleton = skeletonize(truth)
    return 100 * _harmonic(_share(truth & result, result), _share(skeleton & result, skeleton))


def drd(truth: np.ndarray, result: np.ndarray) -> float:
    """Return the distance reciprocal distortion; 0 is perfect.

    Each wrong pixel costs the weighted share of its 5x5 neighbourhood in the truth that differs from it. The sum is
    divided by the number of whole 8x8 blocks of the truth that hold both ink and paper; it is infinite for errors
    without such a block. Lu, Kot, Shi, IEEE Signal Processing Letters 11(2), 2004, as the DIBCO tool computes it.
    """
    _check_ink(truth, result)
    ink = ndimage.convolve(truth.astype(float), _RECIPROCAL, mode="constant")
    paper = ndimage.convolve((~truth).astype(float), _RECIPROCAL, mode="constant")
    distortion = float(ink[truth & ~result].sum() + paper[result & ~truth].sum())
    if distortion == 0:
        return 0.0
    blocks = _mixed_blocks(truth)
    return distortion / blocks if blocks else np.inf


def rmse(truth: np.ndarray, result: np.ndarray) -> float:
    """Return the root mean square error of two grey pages or, as shares of 1, of two masks."""
    _check_shapes(truth, result)
    return float(np.sqrt(np.mean(np.square(truth.astype(float) - result))))


def psnr(truth: np.ndarray, result: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio in dB with peak 1, at most `PSNR_CEILING`; for masks the DIBCO one."""
    error = rmse(truth, result)
    return min(PSNR_CEILING, -20 * np.log10(error)) if error else PSNR_CEILING


def ms_ssim(truth: np.ndarray, result: np.ndarray) -> float:
    """Return the structural similarity over five scales, 1 for equal pages, of pages of 176 pixels a side or more.

    Wang, Simoncelli, Bovik, Asilomar Conference 2003, with its weights.
    """
    _check_shapes(truth, result)
    shown, true = (torch.from_numpy(page.astype(np.float32))[None, None] for page in (result, truth))
    return float(multiscale_structural_similarity_index_measure(shown, true, data_range=1.0))


def ink_psnr(truth: np.ndarray, result: np.ndarray) -> float:
    """Return the PSNR over the ink of the grey truth (darker than 0.5) grown by two pixels; white paper does not dilute
    it.
    """
    _check_shapes(truth, result)
    ink = ndimage.binary_dilation(truth < 0.5, np.ones((5, 5)))
    return psnr(truth[ink], result[ink]) if ink.any() else PSNR_CEILING


def edge_sharpness(truth: np.ndarray, result: np.ndarray) -> float:
    """Return the ink-edge sharpness relative to the truth: mean |grad result| / mean |grad truth| over the ink contour.

    Gradients are central differences; the contour is the pixels on both sides of the border of the truth's ink (darker
    than 0.5). 1 is as sharp as the truth and below 1 is blurred: an edge blurred by a Gaussian of s pixels gives
    Phi(1.5 / s) + Phi(0.5 / s) - 1, Phi being the normal distribution. Raises UsageError for a truth without ink.
    """
    _check_shapes(truth, result)
    ink = truth < 0.5
    contour = ndimage.binary_dilation(ink) ^ ndimage.binary_erosion(ink, border_value=1)
    if not contour.any():
        raise UsageError("edge sharpness needs a truth with ink on paper: this one has no edge")
    across, along = (np.hypot(*np.gradient(page.astype(float)))[contour].mean() for page in (result, truth))
    return float(across / along)


def _reciprocal_distances() -> np.ndarray:
    """Return 1 / distance from the centre of a 5x5 window, 0 at the centre, with sum 1."""
    distance = np.hypot(*np.mgrid[-2:3, -2:3])
    weights = np.divide(1.0, distance, out=np.zeros_like(distance), where=distance > 0)
    return weights / weights.sum()


_RECIPROCAL = _reciprocal_distances()


def _mixed_blocks(ink: np.ndarray) -> int:
    rows, columns = (side // 8 for side in ink.shape)
    blocks = ink[: rows * 8, : columns * 8].reshape(rows, 8, columns, 8).mean(axis=(1, 3))
    return int(np.count_nonzero((blocks > 0) & (blocks < 1)))


def _share(part: np.ndarray, whole: np.ndarray) -> float:
    """Return the share of a part in a mask; 1 for an empty mask, so that two empty masks agree."""
    total = np.count_nonzero(whole)
    return np.count_nonzero(part) / total if total else 1.0


def _harmonic(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _check_shapes(truth: np.ndarray, result: np.ndarray) -> None:
    if truth.shape != result.shape:
        raise UsageError(f"the truth is {truth.shape} and the result {result.shape}: pages of one size are compared")


def _check_ink(truth: np.ndarray, result: np.ndarray) -> None:
    """Reject a truth that is mostly ink: its black and white were swapped."""
    _check_shapes(truth, result)
    if truth.mean() >= 0.5:
        raise UsageError(f"{truth.mean():.0%} of the truth is ink: below 50 % is expected, True being ink")
