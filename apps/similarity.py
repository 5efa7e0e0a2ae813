"""Measures of the similarity of pictures and latents."""

from torch import Tensor

from fastdiff.solvers.readback import read_back

PERFECT = 100.0  # dB, for equal pictures


def psnr(a: Tensor, b: Tensor) -> float:
    """Return the PSNR of pictures, or pixels of them, in [-1, 1], in dB; at most PERFECT."""
    error = ((a - b) / 2).square().mean()
    return float(read_back(-10 * error.clamp(min=10 ** (-PERFECT / 10)).log10()))


def distance(latents: Tensor, wanted: Tensor) -> float:
    """Return the distance of latents from the expected ones, relative to their norm."""
    return float(read_back((latents - wanted).norm() / wanted.norm()))
