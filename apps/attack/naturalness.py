"""Measures of how natural a change is, of a picture before and after, uint8 (H, W, 3)."""

import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from skimage.restoration import estimate_sigma

MOST_PSNR = 100.0  # dB, of equal pictures
LPIPS_WEIGHTS = "alexnet-owt-7be5be79.pth"  # as torchvision names the file in the cache of torch.hub
LEAST_SIDE = 7  # pixels of the window of SSIM
LOW = 1 / 8  # cycles per pixel that low frequencies stay below


@dataclass(frozen=True)
class Naturalness:
    """Colours count from 0 to 1 in `linf` and `noise_change`; None where something could not be measured."""

    psnr: float  # dB
    ssim: float | None  # Wang et al. 2004, mean over windows of 7 x 7
    ssim_p10: float | None  # what a tenth of the windows stay below
    ciede2000: float  # mean colour difference
    linf: float  # largest change of a channel
    low_frequencies: float | None  # share of the energy of the change below LOW; None of no change
    noise_change: float | None  # absolute change of the noise that wavelets estimate (Donoho and Johnstone 1994)
    lpips: float | None  # Zhang et al. 2018, of AlexNet, where its weights are on this computer


def compare(before: np.ndarray, after: np.ndarray) -> Naturalness:
    """The measures of two pictures of one size."""
    whole = structure = None
    if min(before.shape[:2]) >= LEAST_SIDE:
        mean, windows = structural_similarity(before, after, channel_axis=2, data_range=255, full=True)
        whole, structure = float(mean), float(np.percentile(windows.mean(axis=2), 10))
    equal = bool((before == after).all())
    return Naturalness(
        psnr=MOST_PSNR if equal else float(peak_signal_noise_ratio(before, after, data_range=255)),
        ssim=whole,
        ssim_p10=structure,
        ciede2000=float(deltaE_ciede2000(rgb2lab(before), rgb2lab(after)).mean()),
        linf=float(np.abs(before.astype(np.int16) - after).max() / 255),
        low_frequencies=None if equal else low_frequencies(before, after),
        noise_change=abs(_noise(after) - _noise(before)),
        lpips=_lpips(before, after),
    )


def low_frequencies(before: np.ndarray, after: np.ndarray) -> float:
    """Return the share of the energy of the difference, over the three channels, at frequencies below LOW."""
    power = np.abs(np.fft.fft2(after.astype(float) - before, axes=(0, 1))) ** 2  # (H, W, 3)
    down, across = (np.fft.fftfreq(side) for side in before.shape[:2])
    return float(power[np.hypot(down[:, None], across) < LOW].sum() / power.sum())


def _noise(picture: np.ndarray) -> float:
    """The mean over channels; one without any detail has none."""
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        return float(np.nan_to_num(estimate_sigma(picture / 255, channel_axis=2)).mean())


def _lpips(before: np.ndarray, after: np.ndarray) -> float | None:
    measure = _lpips_network()
    if measure is None:
        return None
    a, b = (torch.from_numpy(each.copy()).movedim(2, 0)[None] / 127.5 - 1 for each in (before, after))
    with torch.no_grad():
        return float(measure(a, b))


@cache
def _lpips_network() -> Any:
    """The network of the package lpips, or None without it or its weights: nothing is downloaded."""
    if not (Path(torch.hub.get_dir()) / "checkpoints" / LPIPS_WEIGHTS).is_file():
        return None
    try:
        import lpips
    except ImportError:
        return None
    return lpips.LPIPS(net="alex", verbose=False).eval()
