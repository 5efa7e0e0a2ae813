"""Perturbations of pixels in proportion to the texture around them, which hides them from SSIM and from the eye.

SSIM (Wang et al. 2004) compares a change with the variance of the colours around it, as the eye does (texture masking):
at one SSIM a change may be many times larger in grass than in the sky.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from fastdiff.apps.attack.gradient import Pullback
from fastdiff.apps.attack.space import eight_bits

RADIUS = 2.0  # standard deviation in pixels of the window that the texture is measured in, about that of SSIM
LEAST = 0.022  # deviation of colours in an even area: half of SSIM's constant for the contrast, squared


@dataclass(frozen=True, eq=False)
class TexturedPixels:
    """The `Space` of colours (B, C, H, W) in [0, 1]: a perturbation of 1 is one standard deviation around the pixel.

    The gradients are smoothed by a Gaussian of `smoothing` pixels, which makes the perturbation translation-invariant
    (Dong et al. 2019, arXiv 1904.02884); 0 leaves them as they are.
    """

    pictures: Tensor
    deviation: Tensor  # (B, 1, H, W)
    smoothing: float = 0.0

    calls = 0

    @classmethod
    def of(cls, pictures: Tensor, smoothing: float = 0.0) -> "TexturedPixels":
        return cls(pictures, local_deviation(pictures), smoothing)

    @property
    def unperturbed(self) -> Tensor:
        return torch.zeros_like(self.pictures)

    def take(self, rows: Tensor) -> "TexturedPixels":
        return replace(self, pictures=self.pictures[rows], deviation=self.deviation[rows])

    def add(self, delta: Tensor, change: Tensor) -> Tensor:
        return delta + change

    def sampled(self, delta: Tensor) -> tuple[Tensor, Pullback]:
        return delta, lambda gradient: smooth(gradient, self.smoothing) if self.smoothing else gradient

    def decode(self, made: Tensor) -> Tensor:
        return eight_bits(self.pictures + self.deviation * made)

    def quantized(self, pictures: Tensor) -> Tensor:
        return pictures


def local_deviation(pictures: Tensor) -> Tensor:
    """Return the standard deviation (B, 1, H, W) of the grey values around each pixel, at least LEAST."""
    grey = pictures.mean(1, keepdim=True)
    mean = smooth(grey, RADIUS)
    variance = (smooth(grey.square(), RADIUS) - mean.square()).clamp(min=0)
    return (variance + LEAST**2).sqrt()


def smooth(values: Tensor, deviation: float) -> Tensor:
    """Smooth values (B, C, H, W) by a Gaussian with this standard deviation in pixels, up to three of them away."""
    reach = round(3 * deviation)
    weights = torch.exp(-(torch.arange(-reach, reach + 1).to(values) / deviation).square() / 2)
    weights = (weights / weights.sum()).expand(values.shape[1], 1, -1)
    padded = F.pad(values, (reach,) * 4, mode="replicate")
    across = F.conv2d(padded, weights[:, :, None], groups=values.shape[1])
    return F.conv2d(across, weights[..., None], groups=values.shape[1])
